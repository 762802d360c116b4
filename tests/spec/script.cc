#include "tests/spec/script.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "spore/base/assert.h"
#include "spore/base/fd.h"
#include "tests/spec/text.h"

namespace spore::spec {
namespace {

constexpr size_t kFileBytesMax = 64 << 20;

size_t parse_number(std::string_view text, int base = 10) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  SPORE_ASSERT(error == std::errc() && end == text.data() + text.size(), text);
  return number;
}

std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    i++;
    SPORE_ASSERT(i < text.size(), "a backslash ends a field");
    switch (text[i]) {
      case 't': plain += '\t'; break;
      case 'n': plain += '\n'; break;
      case '\\': plain += '\\'; break;
      default:
        SPORE_ASSERT(text[i] == 'x' && i + 2 < text.size(), text);
        plain += static_cast<char>(parse_number(text.substr(i + 1, 2), 16));
        i += 2;
    }
  }
  return plain;
}

std::vector<std::string> split_line(std::string_view line) {
  std::vector<std::string> fields;
  const auto tabs = std::ranges::count(line, '\t');
  for (ptrdiff_t i = 0; i <= tabs; i++) fields.push_back(unescape(take_part(line, '\t')));
  return fields;
}

// What stands in a field, in the words of main.rs.
enum class Part : uint8_t { kName, kField, kOffset, kLength, kMessage, kArguments, kResults };

// A directive's words and the fields that follow them.
struct Shape {
  std::string_view words;  // one field, or two with a space between
  Kind kind;
  std::vector<Part> parts;
};

std::span<const Shape> shapes() {
  using enum Part;
  static const Shape kShapes[] = {
      {"module", Kind::kModule, {kName, kOffset, kLength}},
      {"module_definition", Kind::kModuleDefinition, {kName, kOffset, kLength}},
      {"module_instance", Kind::kModuleInstance, {kName, kField}},
      {"register", Kind::kRegister, {kField, kName}},
      {"invoke", Kind::kInvoke, {kName, kField, kArguments}},
      {"assert_return invoke", Kind::kAssertReturnInvoke, {kName, kField, kArguments, kResults}},
      {"assert_return get", Kind::kAssertReturnGet, {kName, kField, kArguments, kResults}},
      {"assert_trap invoke", Kind::kAssertTrapInvoke, {kName, kField, kMessage, kArguments}},
      {"assert_trap module", Kind::kAssertTrapModule, {kOffset, kLength, kMessage}},
      {"assert_exhaustion", Kind::kAssertExhaustion, {kName, kField, kMessage, kArguments}},
      {"assert_invalid", Kind::kAssertInvalid, {kOffset, kLength, kMessage}},
      {"assert_malformed", Kind::kAssertMalformed, {kOffset, kLength, kMessage}},
      {"assert_malformed_text", Kind::kAssertMalformedText, {kMessage}},
      {"assert_unlinkable", Kind::kAssertUnlinkable, {kOffset, kLength, kMessage}},
      {"skip", Kind::kSkip, {kMessage}},
  };
  return kShapes;
}

// One line's fields, taken from the front.
class Fields {
 public:
  explicit Fields(std::vector<std::string> fields) : fields_(std::move(fields)) {}

  bool empty() const { return next_ == fields_.size(); }
  std::string take() {
    SPORE_ASSERT(!empty(), "a directive is cut short");
    return std::move(fields_[next_++]);
  }
  std::string take_name() {
    std::string name = take();
    return name == "-" ? std::string() : name;
  }
  // The fields up to "=>", which goes too, or to the end.
  std::vector<std::string> take_values() {
    std::vector<std::string> taken;
    while (!empty()) {
      std::string field = take();
      if (field == "=>") break;
      taken.push_back(std::move(field));
    }
    return taken;
  }

 private:
  std::vector<std::string> fields_;
  size_t next_ = 0;
};

const Shape& take_shape(Fields& fields) {
  std::string words = fields.take();
  if (words == "assert_return" || words == "assert_trap") words += " " + fields.take();
  const auto found = std::ranges::find(shapes(), words, &Shape::words);
  SPORE_ASSERT(found != shapes().end(), words);
  return *found;
}

void take_part(Part part, Fields& fields, Directive& directive) {
  // The one directive whose second name may be "-" too.
  const bool field_is_name = directive.kind == Kind::kModuleInstance;
  switch (part) {
    case Part::kName: directive.name = fields.take_name(); break;
    case Part::kField: directive.field = field_is_name ? fields.take_name() : fields.take(); break;
    case Part::kOffset: directive.wasm_offset = parse_number(fields.take()); break;
    case Part::kLength: directive.wasm_bytes = parse_number(fields.take()); break;
    case Part::kMessage: directive.message = fields.take(); break;
    case Part::kArguments: directive.arguments = fields.take_values(); break;
    case Part::kResults: directive.results = fields.take_values(); break;
  }
}

Directive parse_directive(std::string_view line) {
  Fields fields(split_line(line));
  Directive directive;
  directive.line = parse_number(fields.take());  // aborts on "unparsable REASON", which no file may be
  const Shape& shape = take_shape(fields);
  directive.kind = shape.kind;
  for (const Part part : shape.parts) take_part(part, fields, directive);
  SPORE_ASSERT(fields.empty(), line);
  return directive;
}

std::vector<uint8_t> read_whole(const std::filesystem::path& path) {
  Result<std::vector<uint8_t>> bytes = read_file(path, kFileBytesMax);
  SPORE_ASSERT(bytes.ok(), bytes.status().message());
  return std::move(bytes).value();
}

}  // namespace

Script Script::read(const std::filesystem::path& path) {
  Script script;
  const std::vector<uint8_t> text = read_whole(path);
  std::string_view rest(reinterpret_cast<const char*>(text.data()), text.size());
  while (!rest.empty()) {
    script.directives_.push_back(parse_directive(take_part(rest, '\n')));
  }
  script.blob_ = read_whole(std::filesystem::path(path).replace_extension(".wasm-blob"));
  for (const Directive& directive : script.directives_) {
    const bool inside = directive.wasm_offset <= script.blob_.size() &&
                        directive.wasm_bytes <= script.blob_.size() - directive.wasm_offset;
    SPORE_ASSERT(inside, fmt::format("{}:{}: not in the blob", path.native(), directive.line));
  }
  return script;
}

}  // namespace spore::spec
