#include "spore/wasm/wit.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/wasm/inspect.h"

extern "C" {

// rust/src/wit.rs has the other half.
struct SporeWitSink {
  void* env;
  void (*function)(void* env, const char* name, size_t name_bytes, const uint8_t* code, size_t code_bytes);
  void (*refused)(void* env, const char* name, size_t name_bytes, const char* why, size_t why_bytes);
  void (*error)(void* env, const char* text, size_t text_bytes);
};

uint8_t spore_wit_of_text(const char* text, size_t text_bytes, const char* name, size_t name_bytes,
                          const SporeWitSink* sink);
uint8_t spore_wit_of_module(const uint8_t* module, size_t module_bytes, const SporeWitSink* sink);

}  // extern "C"

namespace spore::wasm {
namespace {

enum WitStatus : uint8_t { kOk, kInvalid, kPanic };

constexpr std::string_view kTextSection = "spore:wit";

// What our own Rust half has encoded: it is well-formed.
class SignatureDecoder {
 public:
  SignatureDecoder(const uint8_t* code, size_t bytes) : at_(code), end_(code + bytes) {}

  WitSignature signature() {
    WitSignature signature;
    const uint32_t count = number();
    for (uint32_t i = 0; i < count; i++) {
      std::string name = text();
      signature.params.push_back({std::move(name), type()});
    }
    signature.result = optional();
    return signature;
  }

 private:
  uint8_t byte() {
    SPORE_ASSERT(at_ < end_, "a signature that was cut short");
    return *at_++;
  }
  uint32_t number() {
    SPORE_ASSERT(static_cast<size_t>(end_ - at_) >= sizeof(uint32_t), "a signature that was cut short");
    uint32_t value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string text() {
    const uint32_t length = number();
    SPORE_ASSERT(static_cast<size_t>(end_ - at_) >= length, "a signature that was cut short");
    std::string text(reinterpret_cast<const char*>(at_), length);
    at_ += length;
    return text;
  }
  WitTypeRef optional() { return byte() == 0 ? nullptr : type(); }

  // Nested no deeper than TYPE_DEPTH_MAX there.
  WitTypeRef type() {  // NOLINT(misc-no-recursion)
    auto made = std::make_shared<WitType>();
    made->kind = static_cast<WitKind>(byte());
    switch (made->kind) {
      case WitKind::kList:
        made->parts.push_back(type());
        if (made->parts[0]->kind == WitKind::kU8) *made = {.kind = WitKind::kBytes};
        break;
      case WitKind::kOption: made->parts.push_back(type()); break;
      case WitKind::kResult:
        made->parts.push_back(optional());
        made->parts.push_back(optional());
        break;
      case WitKind::kTuple: read_parts(*made, false); break;
      case WitKind::kRecord:
        made->name = text();
        read_parts(*made, true);
        break;
      case WitKind::kEnum: {
        made->name = text();
        const uint32_t count = number();
        for (uint32_t i = 0; i < count; i++) made->labels.push_back(text());
        break;
      }
      default: break;
    }
    return made;
  }
  void read_parts(WitType& type, bool labelled) {  // NOLINT(misc-no-recursion)
    const uint32_t count = number();
    for (uint32_t i = 0; i < count; i++) {
      if (labelled) type.labels.push_back(text());
      type.parts.push_back(this->type());
    }
  }

  const uint8_t* at_;
  const uint8_t* end_;
};

// Called from Rust frames: nothing may be thrown.
struct Collector {
  std::vector<WitExport> functions;
  std::string error;

  static Collector& of(void* env) noexcept { return *static_cast<Collector*>(env); }
  static void function(void* env, const char* name, size_t name_bytes, const uint8_t* code,
                       size_t code_bytes) noexcept {
    of(env).functions.push_back(
        {.name = std::string(name, name_bytes), .signature = SignatureDecoder(code, code_bytes).signature()});
  }
  static void refused(void* env, const char* name, size_t name_bytes, const char* why,
                      size_t why_bytes) noexcept {
    of(env).functions.push_back(
        {.name = std::string(name, name_bytes), .signature = {}, .refused = std::string(why, why_bytes)});
  }
  static void error_is(void* env, const char* text, size_t text_bytes) noexcept {
    constexpr size_t kMessageBytesMax = 1000;
    of(env).error = printable({text, text_bytes}, kMessageBytesMax);
  }
  SporeWitSink sink() { return {this, function, refused, error_is}; }
};

std::string names_of(const std::vector<WitExport>& functions) {
  constexpr size_t kNamesMax = 20;
  std::string names;
  for (size_t i = 0; i < functions.size() && i < kNamesMax; i++) {
    names += fmt::format("{}{}", i == 0 ? "" : ", ", printable(functions[i].name));
  }
  if (functions.size() > kNamesMax) names += ", ...";
  return names;
}

// --- text -----------------------------------------------------------------------------------------------

std::string_view plain_name(WitKind kind) {
  switch (kind) {
    case WitKind::kBool: return "bool";
    case WitKind::kS8: return "s8";
    case WitKind::kU8: return "u8";
    case WitKind::kS16: return "s16";
    case WitKind::kU16: return "u16";
    case WitKind::kS32: return "s32";
    case WitKind::kU32: return "u32";
    case WitKind::kS64: return "s64";
    case WitKind::kU64: return "u64";
    case WitKind::kF32: return "f32";
    case WitKind::kF64: return "f64";
    case WitKind::kChar: return "char";
    case WitKind::kString: return "string";
    case WitKind::kBytes: return "list<u8>";
    default: return "";
  }
}

void append_type(const WitType& type, std::string& text);  // NOLINT(misc-no-recursion)

void append_parts(const WitType& type, std::string& text) {  // NOLINT(misc-no-recursion)
  for (size_t i = 0; i < type.parts.size(); i++) {
    if (i > 0) text += ", ";
    if (type.kind == WitKind::kRecord) text += type.labels[i] + ": ";
    append_type(*type.parts[i], text);
  }
}

void append_result(const WitType& type, std::string& text) {  // NOLINT(misc-no-recursion)
  text += "result";
  if (type.parts[0] == nullptr && type.parts[1] == nullptr) return;
  text += '<';
  if (type.parts[0] != nullptr) {
    append_type(*type.parts[0], text);
  } else {
    text += '_';
  }
  if (type.parts[1] != nullptr) {
    text += ", ";
    append_type(*type.parts[1], text);
  }
  text += '>';
}

void append_type(const WitType& type, std::string& text) {  // NOLINT(misc-no-recursion)
  switch (type.kind) {
    case WitKind::kList:
    case WitKind::kOption:
    case WitKind::kTuple:
      text += type.kind == WitKind::kList ? "list<" : type.kind == WitKind::kOption ? "option<" : "tuple<";
      append_parts(type, text);
      text += '>';
      break;
    case WitKind::kResult: append_result(type, text); break;
    case WitKind::kRecord:
      text += type.name + " {";
      append_parts(type, text);
      text += '}';
      break;
    case WitKind::kEnum:
      text += type.name + " {";
      for (size_t i = 0; i < type.labels.size(); i++) text += (i == 0 ? "" : ", ") + type.labels[i];
      text += '}';
      break;
    default: text += plain_name(type.kind);
  }
}

bool equal(const WitTypeRef& a, const WitTypeRef& b) {  // NOLINT(misc-no-recursion)
  return a == b || (a != nullptr && b != nullptr && *a == *b);
}

}  // namespace

std::string WitType::text() const {
  std::string text;
  append_type(*this, text);
  return text;
}

bool WitType::operator==(const WitType& other) const {  // NOLINT(misc-no-recursion)
  return kind == other.kind && name == other.name && labels == other.labels &&
         std::ranges::equal(parts, other.parts, equal);
}

std::string WitSignature::text() const {
  std::string text = "func(";
  for (size_t i = 0; i < params.size(); i++) {
    text += fmt::format("{}{}: {}", i == 0 ? "" : ", ", params[i].name, params[i].type->text());
  }
  text += ')';
  if (result != nullptr) text += " -> " + result->text();
  return text;
}

Result<std::vector<WitExport>> parse_wit(std::string_view text, std::string_view name) {
  Collector collector;
  const SporeWitSink sink = collector.sink();
  const uint8_t status = spore_wit_of_text(text.data(), text.size(), name.data(), name.size(), &sink);
  if (status == kInvalid) return Status::invalid_argument("the signature: {}", collector.error);
  if (status != kOk) return Status::internal("the parser of signatures panicked; please report the text");
  return std::move(collector.functions);
}

Result<WitExport> parse_wit_function(std::string_view text, std::string_view name) {
  std::vector<WitExport> functions = SPORE_TRY(parse_wit(text, name));
  const auto found =
      functions.size() == 1 ? functions.begin() : std::ranges::find(functions, name, &WitExport::name);
  if (found == functions.end()) {
    if (functions.empty()) return Status::not_found("the signature declares no function");
    return Status::not_found("the text declares no function '{}' (it has: {})", printable(name),
                             names_of(functions));
  }
  if (found->refused.empty()) return std::move(*found);
  return Status::unsupported("the function '{}': {}", printable(found->name), found->refused);
}

Result<std::vector<WitExport>> wit_of_module(std::span<const uint8_t> module) {
  Collector collector;
  const SporeWitSink sink = collector.sink();
  const uint8_t status = spore_wit_of_module(module.data(), module.size(), &sink);
  if (status == kInvalid) return Status::invalid_module("its signatures: {}", collector.error);
  if (status != kOk) return Status::internal("the reader of signatures panicked; please report the module");
  return std::move(collector.functions);
}

namespace {

void append_leb(size_t value, std::vector<uint8_t>& out) {
  constexpr size_t kLow = 0x7f;
  constexpr unsigned kBits = 7;
  constexpr uint8_t kMore = 0x80;
  while (value > kLow) {
    out.push_back(static_cast<uint8_t>((value & kLow) | kMore));
    value >>= kBits;
  }
  out.push_back(static_cast<uint8_t>(value));
}

// 0 if it is cut short.
size_t read_leb(std::span<const uint8_t> bytes, size_t& at) {
  constexpr uint8_t kMore = 0x80;
  constexpr unsigned kBits = 7;
  size_t value = 0;
  for (unsigned shift = 0; at < bytes.size() && shift < 5 * kBits; shift += kBits) {
    const uint8_t byte = bytes[at++];
    value |= size_t{byte & 0x7fu} << shift;
    if ((byte & kMore) == 0) return value;
  }
  return 0;
}

// It ends behind the section.
bool is_text_section(std::span<const uint8_t> section) {
  size_t at = 0;
  const size_t length = read_leb(section, at);
  return length == kTextSection.size() && section.size() - at >= length &&
         std::memcmp(section.data() + at, kTextSection.data(), length) == 0;
}

}  // namespace

Result<std::vector<uint8_t>> with_wit(std::span<const uint8_t> module, std::string_view text) {
  SPORE_TRY(parse_wit(text, ""));
  constexpr size_t kHeader = 8;
  if (!has_wasm_magic(module) || module.size() < kHeader) return Status::invalid_module("not WebAssembly");
  std::vector<uint8_t> out(module.begin(), module.begin() + kHeader);
  for (size_t at = kHeader; at < module.size();) {
    const size_t begin = at;
    const uint8_t id = module[at++];
    const size_t bytes = read_leb(module, at);
    if (bytes > module.size() - at) return Status::invalid_module("a section that is cut short");
    if (id != 0 || !is_text_section(module.subspan(at, bytes))) {
      out.insert(out.end(), module.begin() + static_cast<ptrdiff_t>(begin),
                 module.begin() + static_cast<ptrdiff_t>(at + bytes));
    }
    at += bytes;
  }
  std::vector<uint8_t> content;
  append_leb(kTextSection.size(), content);
  content.insert(content.end(), kTextSection.begin(), kTextSection.end());
  content.insert(content.end(), text.begin(), text.end());
  out.push_back(0);
  append_leb(content.size(), out);
  out.insert(out.end(), content.begin(), content.end());
  return out;
}

}  // namespace spore::wasm
