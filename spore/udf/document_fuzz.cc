// Any path into any text: a field, or none.  Any text as values of types: refused, or told and read again to
// the same.  Any text as the settings of a function.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "spore/base/json_reader.h"
#include "spore/host/wit_value.h"
#include "spore/udf/definition.h"
#include "spore/udf/document.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using spore::udf::JsonDocument;
  if (size < 2) return 0;
  const size_t path_bytes = std::min<size_t>(data[0], size - 2);
  const std::string_view path(reinterpret_cast<const char*>(data + 2), path_bytes);
  const std::string_view text(reinterpret_cast<const char*>(data + 2 + path_bytes), size - 2 - path_bytes);

  const JsonDocument document(text);
  const auto field = document.field(path);
  SPORE_ASSERT(field.text.size() <= text.size() + 8, "a field that is longer than its document");
  static_cast<void>(document.field_names());

  spore::JsonReader reader(text);
  const auto raw = reader.raw();
  if (raw && reader.finish().ok()) {
    spore::JsonReader again(*raw);
    SPORE_ASSERT(again.skip() && again.finish().ok(), "what was skipped is not skipped again");
  }

  using spore::wasm::parse_wit_function;
  static const std::array kSignatures{
      parse_wit_function("record p { a: u8, b: option<string> } f: func() -> list<p>", "f").value().signature,
      parse_wit_function("func() -> tuple<s64, f64, char, bool>", "f").value().signature,
      parse_wit_function("func() -> result<option<option<u32>>, list<u8>>", "f").value().signature,
      parse_wit_function("func() -> string", "f").value().signature,
      parse_wit_function("enum c { x, y } f: func() -> list<c>", "f").value().signature,
  };
  const auto& type = *kSignatures[data[1] % kSignatures.size()].result;
  const auto value = spore::host::from_json(type, text);
  if (value.ok()) {
    SPORE_ASSERT(spore::host::check_value(type, value.value()).ok(), "a value that is none of its type");
    const std::string json = spore::host::to_json(type, value.value());
    const auto again = spore::host::from_json(type, json);
    SPORE_ASSERT(again.ok() && spore::host::to_json(type, again.value()) == json,
                 "JSON that is not read back");
  }
  spore::udf::Definition definition;
  static_cast<void>(definition.apply_json(text));
  static_cast<void>(definition.check());
  return 0;
}
