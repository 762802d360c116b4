#include "spore/host/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "spore/base/utf8.h"

namespace spore::host {
namespace {

using engine::FuncType;
using engine::ValType;

constexpr std::array<std::string_view, 7> kNames{"i32", "i64", "f32", "f64", "bool", "string", "bytes"};

// Decimal or 0x, with a sign; as wide as the type allows unsigned, so that 0xffffffff is an i32.
template <typename Signed, typename Unsigned>
std::optional<Signed> parse_integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  Unsigned magnitude = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.begin(), end, magnitude, hex ? 16 : 10);
  if (error != std::errc() || stop != end) return std::nullopt;
  constexpr auto kLowest = Unsigned{1} << (std::numeric_limits<Unsigned>::digits - 1);
  if (negative && magnitude > kLowest) return std::nullopt;
  return static_cast<Signed>(negative ? Unsigned{0} - magnitude : magnitude);
}

template <typename Float>
std::optional<Float> parse_float(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Float value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.begin(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<Value::Bytes> parse_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  Value::Bytes bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<std::byte>(high * 16 + low));
  }
  return bytes;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// "", "i32", "string, f64"
Result<std::vector<ValueType>> parse_types(std::string_view text) {
  std::vector<ValueType> types;
  text = trim(text);
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view name = trim(text.substr(0, comma));
    const std::optional<ValueType> type = value_type_named(name);
    if (!type) {
      return Status::invalid_argument("'{}' is no type (i32, i64, f32, f64, bool, string, bytes)", name);
    }
    types.push_back(*type);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (trim(text).empty()) return Status::invalid_argument("a type is missing after the last comma");
  }
  return types;
}

std::string list_text(const std::vector<ValueType>& types) {
  std::string text = "(";
  for (size_t i = 0; i < types.size(); i++) {
    if (i > 0) text += ", ";
    text += value_type_name(types[i]);
  }
  return text + ")";
}

ValType core_type_of(ValueType type) {
  switch (type) {
    case ValueType::kI64: return ValType::kI64;
    case ValueType::kF32: return ValType::kF32;
    case ValueType::kF64: return ValType::kF64;
    default: return ValType::kI32;
  }
}

Result<std::vector<ValueType>> number_types(const std::vector<ValType>& types) {
  std::vector<ValueType> result;
  for (const ValType type : types) {
    switch (type) {
      case ValType::kI32: result.push_back(ValueType::kI32); break;
      case ValType::kI64: result.push_back(ValueType::kI64); break;
      case ValType::kF32: result.push_back(ValueType::kF32); break;
      case ValType::kF64: result.push_back(ValueType::kF64); break;
      default: return Status::unsupported("values of type {} cannot cross here", val_type_name(type));
    }
  }
  return result;
}

}  // namespace

std::string_view value_type_name(ValueType type) { return kNames[static_cast<size_t>(type)]; }

std::optional<ValueType> value_type_named(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<ValueType>(found - kNames.begin());
}

Result<Value> Value::parse(ValueType type, std::string_view text) {
  const auto expected = [&](std::string_view what) {
    return Status::invalid_argument("'{}' is not {}", text, what);
  };
  switch (type) {
    case ValueType::kI32:
      if (const auto v = parse_integer<int32_t, uint32_t>(text)) return i32(*v);
      return expected("an i32 (a whole number of 32 bits)");
    case ValueType::kI64:
      if (const auto v = parse_integer<int64_t, uint64_t>(text)) return i64(*v);
      return expected("an i64 (a whole number of 64 bits)");
    case ValueType::kF32:
      if (const auto v = parse_float<float>(text)) return f32(*v);
      return expected("an f32 (a number)");
    case ValueType::kF64:
      if (const auto v = parse_float<double>(text)) return f64(*v);
      return expected("an f64 (a number)");
    case ValueType::kBool:
      if (text == "true" || text == "false") return boolean(text == "true");
      return expected("a bool (true or false)");
    case ValueType::kString:
      if (is_utf8(text)) return string(std::string(text));
      return Status::invalid_argument("a string must be UTF-8; pass it as bytes");
    case ValueType::kBytes:
      if (auto v = parse_hex(text)) return bytes(std::move(*v));
      return expected("bytes (pairs of hex digits)");
  }
  return Status::internal("a value of unknown type");
}

Result<std::string_view> Value::as_string() const {
  if (const auto* value = std::get_if<std::string>(&value_)) return std::string_view(*value);
  return wrong_type(ValueType::kString);
}

Result<std::span<const std::byte>> Value::as_bytes() const {
  if (const auto* value = std::get_if<Bytes>(&value_)) return std::span<const std::byte>(*value);
  return wrong_type(ValueType::kBytes);
}

Status Value::wrong_type(ValueType wanted) const {
  return Status::invalid_argument("the value is of type {}, not {}", value_type_name(type()),
                                  value_type_name(wanted));
}

namespace {

struct ToText {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const std::string& value) const { return value; }
  std::string operator()(const Value::Bytes& value) const {
    std::string text;
    for (const std::byte byte : value) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
    return text;
  }
  std::string operator()(auto number) const { return fmt::format("{}", number); }
};

}  // namespace

std::string Value::text() const { return std::visit(ToText{}, value_); }

Result<Signature> Signature::parse(std::string_view text) {
  const std::string_view whole = text;
  const auto malformed = [&] {
    return Status::invalid_argument("'{}' is no signature; write it like '(string, f64) -> bool'", whole);
  };
  text = trim(text);
  const size_t close = text.find(')');
  if (!text.starts_with('(') || close == std::string_view::npos) return malformed();
  Signature signature;
  signature.params = SPORE_TRY(parse_types(text.substr(1, close - 1)));
  text = trim(text.substr(close + 1));
  if (text.empty()) return signature;
  if (!text.starts_with("->")) return malformed();
  text = trim(text.substr(2));
  if (text.starts_with('(') && text.ends_with(')')) text = text.substr(1, text.size() - 2);
  signature.results = SPORE_TRY(parse_types(text));
  if (signature.results.size() > 1 && std::ranges::any_of(signature.results, is_text)) {
    return Status::unsupported("'{}': a string or bytes must be the only result", whole);
  }
  return signature;
}

Result<Signature> Signature::of(const FuncType& type) {
  Signature signature;
  signature.params = SPORE_TRY(number_types(type.params));
  signature.results = SPORE_TRY(number_types(type.results));
  return signature;
}

FuncType Signature::core_type() const {
  FuncType core;
  for (const ValueType type : params) {
    core.params.push_back(core_type_of(type));
    if (is_text(type)) core.params.push_back(ValType::kI32);
  }
  for (const ValueType type : results) core.results.push_back(core_type_of(type));
  return core;
}

std::string Signature::text() const {
  std::string text = list_text(params) + " -> ";
  text += results.size() == 1 ? std::string(value_type_name(results[0])) : list_text(results);
  return text;
}

}  // namespace spore::host
