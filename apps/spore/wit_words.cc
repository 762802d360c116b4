#include "apps/spore/wit_words.h"

#include <utility>

#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/udf/arguments.h"

namespace spore::cli {

using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

// What stands in quotes in JSON, and bare in a word.
bool is_text(const WitType& type) {
  using enum WitKind;
  return type.kind == kString || type.kind == kChar || type.kind == kEnum || type.kind == kBytes;
}

std::string_view float_word(std::string_view word) {
  if (word == "nan") return "NaN";
  if (word == "inf" || word == "infinity") return "Infinity";
  if (word == "-inf" || word == "-infinity") return "-Infinity";
  return word;
}

}  // namespace

Result<WitValue> parse_wit_word(const WitType& type, std::string_view word) {  // NOLINT(misc-no-recursion)
  if (type.kind == WitKind::kOption && type.parts[0]->kind != WitKind::kOption) {
    if (word == "null") return WitValue::none();
    WitValue value = SPORE_TRY(parse_wit_word(*type.parts[0], word));
    return WitValue::some(std::move(value));
  }
  if (is_text(type)) {
    if (!is_utf8(word)) return Status::invalid_argument("'{}' is not UTF-8", printable(word));
    return host::from_json(type, json_quote(word));
  }
  const bool is_float = type.kind == WitKind::kF32 || type.kind == WitKind::kF64;
  Result<WitValue> value = host::from_json(type, is_float ? float_word(word) : word);
  if (value.ok()) return value;
  return Status::invalid_argument("'{}' is no {}: {}", printable(word), type.text(),
                                  value.status().message());
}

Result<std::vector<WitValue>> parse_wit_words(const udf::Function& function,
                                              std::span<const std::string_view> words) {
  SPORE_TRY(udf::check_count(function, words.size()));
  std::vector<WitValue> values;
  for (size_t i = 0; i < words.size(); i++) {
    Result<WitValue> value = parse_wit_word(udf::argument_type(function, i), words[i]);
    if (!value.ok()) {
      return std::move(value).status().with_context(
          fmt::format("argument {} ({})", i + 1, udf::argument_name(function, i)));
    }
    values.push_back(std::move(value).value());
  }
  return values;
}

std::string wit_word(const WitType& type, const WitValue& value) {
  if (type.kind == WitKind::kString) return value.text;
  std::string json = host::to_json(type, value);
  if (type.kind == WitKind::kEnum || type.kind == WitKind::kBytes) return json.substr(1, json.size() - 2);
  if (type.kind != WitKind::kChar) return json;
  std::string text;
  append_utf8(static_cast<uint32_t>(value.bits), text);
  return text;
}

}  // namespace spore::cli
