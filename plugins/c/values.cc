#include "plugins/c/values.h"

#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "plugins/c/status.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/udf/arguments.h"

namespace spore::c {

using host::WitArg;
using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

std::string_view text_of(const spore_value& value) {
  return value.as.text.size == 0 ? std::string_view()
                                 : std::string_view(value.as.text.data, value.as.text.size);
}

std::string_view kind_name(spore_kind kind) {
  switch (kind) {
    case SPORE_NULL: return "null";
    case SPORE_I64: return "an i64";
    case SPORE_U64: return "a u64";
    case SPORE_F64: return "an f64";
    case SPORE_STRING: return "a string";
    case SPORE_BYTES: return "bytes";
    case SPORE_JSON: return "JSON";
  }
  return "no kind of value";
}

bool is_float(WitKind kind) { return kind == WitKind::kF32 || kind == WitKind::kF64; }

uint64_t float_bits(WitKind kind, double number) {
  return kind == WitKind::kF32 ? WitValue::f32(static_cast<float>(number)).bits : WitValue::f64(number).bits;
}

spore_value text_value(spore_kind kind, std::string_view text) {
  char* owned = copied(text);
  return {.kind = kind, .as = {.text = {.data = owned, .size = text.size()}}, .owned = owned};
}

}  // namespace

std::optional<uint64_t> number_bits(const WitType& type, const spore_value& value) {
  const bool integer = value.kind == SPORE_I64 || value.kind == SPORE_U64;
  if (is_float(type.kind)) {
    if (value.kind == SPORE_F64) return float_bits(type.kind, value.as.f64);
    if (value.kind == SPORE_I64) return float_bits(type.kind, static_cast<double>(value.as.i64));
    if (value.kind == SPORE_U64) return float_bits(type.kind, static_cast<double>(value.as.u64));
    return std::nullopt;
  }
  if (!integer || type.kind == WitKind::kChar || type.kind == WitKind::kEnum) return std::nullopt;
  // What is negative to one of them and not to the other is in neither's range.
  const bool is_signed = type.kind == WitKind::kS8 || type.kind == WitKind::kS16 ||
                         type.kind == WitKind::kS32 || type.kind == WitKind::kS64;
  const bool high = (value.as.u64 >> 63U) != 0;
  if (high && is_signed != (value.kind == SPORE_I64)) return std::nullopt;
  if (!host::check_value(type, WitValue::unsigned_integer(value.as.u64)).ok()) return std::nullopt;
  return value.as.u64;
}

WitArg Arguments::keep(WitValue value) { return kept_.emplace_back(std::move(value)); }

Result<WitArg> Arguments::arg_of(const WitType& type,
                                 const spore_value& value) {  // NOLINT(misc-no-recursion)
  const auto json = [&](std::string_view text) -> Result<WitArg> {
    WitValue read = SPORE_TRY(host::from_json(type, text));
    return keep(std::move(read));
  };
  if (value.kind == SPORE_JSON) return json(text_of(value));
  if (type.kind == WitKind::kOption) {
    if (value.kind == SPORE_NULL) return keep(WitValue::none());
    const WitArg inner = SPORE_TRY(arg_of(*type.parts[0], value));
    WitValue some =
        inner.value != nullptr ? *inner.value : WitValue{.bits = inner.bits, .text = std::string(inner.text)};
    return keep(WitValue::some(std::move(some)));
  }
  if (type.kind == WitKind::kString && value.kind == SPORE_STRING) return WitArg::string(text_of(value));
  const bool text = value.kind == SPORE_STRING || value.kind == SPORE_BYTES;
  if (type.kind == WitKind::kBytes && text) return WitArg::string(text_of(value));
  if ((type.kind == WitKind::kChar || type.kind == WitKind::kEnum) && value.kind == SPORE_STRING) {
    if (!is_utf8(text_of(value))) return Status::invalid_argument("a string that is not UTF-8");
    return json(json_quote(text_of(value)));
  }
  if (host::is_number(type.kind)) {
    if (const std::optional<uint64_t> bits = number_bits(type, value)) return WitArg::number(*bits);
    if (value.kind == SPORE_I64) return Status::invalid_argument("{} is no {}", value.as.i64, type.text());
    if (value.kind == SPORE_U64) return Status::invalid_argument("{} is no {}", value.as.u64, type.text());
  }
  return Status::invalid_argument("{} is given for {}", kind_name(value.kind), type.text());
}

Status Arguments::add(const udf::Function& function, std::span<const spore_value> values) {
  SPORE_TRY(udf::check_count(function, values.size()));
  for (size_t i = 0; i < values.size(); i++) {
    Result<WitArg> arg = arg_of(udf::argument_type(function, i), values[i]);
    if (!arg.ok()) {
      return std::move(arg).status().with_context(
          fmt::format("argument {} ({})", i + 1, udf::argument_name(function, i)));
    }
    args_.push_back(std::move(arg).value());
  }
  return {};
}

void Arguments::clear() {
  args_.clear();
  kept_.clear();
}

spore_value value_of(const WitType* type, const WitValue& value) {  // NOLINT(misc-no-recursion)
  if (type == nullptr) return spore_value_null();
  switch (type->kind) {
    case WitKind::kF32: return spore_value_f64(value.as_f32());
    case WitKind::kF64: return spore_value_f64(value.as_f64());
    case WitKind::kU64: return {.kind = SPORE_U64, .as = {.u64 = value.bits}, .owned = nullptr};
    case WitKind::kString: return text_value(SPORE_STRING, value.text);
    case WitKind::kBytes: return text_value(SPORE_BYTES, value.text);
    case WitKind::kEnum: return text_value(SPORE_STRING, type->labels[value.bits]);
    case WitKind::kChar: {
      std::string text;
      append_utf8(static_cast<uint32_t>(value.bits), text);
      return text_value(SPORE_STRING, text);
    }
    case WitKind::kOption:
      if (value.bits == 0) return spore_value_null();
      // Of an option in an option null could not say which of them is nothing.
      if (type->parts[0]->kind == WitKind::kOption) break;
      return value_of(type->parts[0].get(), value.items[0]);
    default:
      if (host::is_number(type->kind)) return spore_value_i64(value.as_s64());
      break;
  }
  return text_value(SPORE_JSON, host::to_json(*type, value));
}

}  // namespace spore::c

extern "C" void spore_value_free(spore_value* value) {
  if (value == nullptr) return;
  std::free(value->owned);
  *value = spore_value_null();
}
