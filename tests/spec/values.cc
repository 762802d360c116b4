#include "tests/spec/values.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>

#include <fmt/format.h>

#include "spore/base/assert.h"
#include "tests/spec/text.h"

namespace spore::spec {
namespace {

using engine::RawValue;
using engine::ValType;

uint64_t parse_hex(std::string_view text) {
  uint64_t bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  SPORE_ASSERT(error == std::errc() && end == text.data() + text.size(), text);
  return bits;
}

std::array<uint8_t, 16> parse_v128(std::string_view hex) {
  SPORE_ASSERT(hex.size() == 32, hex);
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < bytes.size(); i++) {
    bytes[i] = static_cast<uint8_t>(parse_hex(hex.substr(2 * i, 2)));
  }
  return bytes;
}

// A float's bits against HEX, nan:canonical or nan:arithmetic.
template <typename Bits>
bool float_matches(Bits bits, std::string_view pattern) {
  constexpr Bits kSign = Bits{1} << (sizeof(Bits) * 8 - 1);
  constexpr Bits kQuietNan = sizeof(Bits) == 4 ? Bits{0x7fc00000} : static_cast<Bits>(0x7ff8000000000000);
  if (pattern == "nan:canonical") return (bits & ~kSign) == kQuietNan;
  if (pattern == "nan:arithmetic") return (bits & kQuietNan) == kQuietNan;
  return bits == parse_hex(pattern);
}

template <typename Bits>
bool lanes_match(const std::array<uint8_t, 16>& bytes, std::string_view patterns) {
  const auto lanes = std::bit_cast<std::array<Bits, 16 / sizeof(Bits)>>(bytes);
  for (const Bits lane : lanes) {
    if (!float_matches(lane, take_part(patterns, ','))) return false;
  }
  return true;
}

uint32_t bits32(const RawValue& raw) { return std::bit_cast<uint32_t>(raw.i32); }
uint64_t bits64(const RawValue& raw) { return std::bit_cast<uint64_t>(raw.i64); }

bool matches_either(const TypedValue& value, std::string_view alternatives) {
  alternatives.remove_suffix(1);  // the closing parenthesis
  while (!alternatives.empty()) {
    if (matches(value, take_part(alternatives, '|'))) return true;
  }
  return false;
}

// The references that exist here are functions and null.
bool reference_matches(const TypedValue& value, std::string_view pattern) {
  if (value.type != ValType::kFuncRef) return false;
  if (pattern == "ref.func") return value.raw.reference != nullptr;
  const bool null_function =
      pattern == "ref.null" || pattern == "ref.null:func" || pattern == "ref.null:nofunc";
  return null_function && value.raw.reference == nullptr;
}

}  // namespace

std::optional<TypedValue> parse_value(std::string_view text) {
  if (take_prefix(text, "i32:")) {
    return TypedValue{ValType::kI32, {.i32 = static_cast<int32_t>(parse_hex(text))}};
  }
  if (take_prefix(text, "i64:")) {
    return TypedValue{ValType::kI64, {.i64 = static_cast<int64_t>(parse_hex(text))}};
  }
  // As bits: a signalling NaN must not pass through a float register.
  if (take_prefix(text, "f32:")) {
    return TypedValue{ValType::kF32, {.i32 = static_cast<int32_t>(parse_hex(text))}};
  }
  if (take_prefix(text, "f64:")) {
    return TypedValue{ValType::kF64, {.i64 = static_cast<int64_t>(parse_hex(text))}};
  }
  if (take_prefix(text, "v128:")) return TypedValue{ValType::kV128, {.v128 = parse_v128(text)}};
  if (text == "ref.null:func") return TypedValue{ValType::kFuncRef, {.reference = nullptr}};
  SPORE_ASSERT(text.starts_with("ref."), text);
  return std::nullopt;
}

bool matches(const TypedValue& value, std::string_view pattern) {
  if (take_prefix(pattern, "either(")) return matches_either(value, pattern);
  if (pattern.starts_with("ref.")) return reference_matches(value, pattern);
  const RawValue& raw = value.raw;
  switch (value.type) {
    case ValType::kI32: return take_prefix(pattern, "i32:") && bits32(raw) == parse_hex(pattern);
    case ValType::kI64: return take_prefix(pattern, "i64:") && bits64(raw) == parse_hex(pattern);
    case ValType::kF32: return take_prefix(pattern, "f32:") && float_matches(bits32(raw), pattern);
    case ValType::kF64: return take_prefix(pattern, "f64:") && float_matches(bits64(raw), pattern);
    case ValType::kV128:
      if (take_prefix(pattern, "v128.f32:")) return lanes_match<uint32_t>(raw.v128, pattern);
      if (take_prefix(pattern, "v128.f64:")) return lanes_match<uint64_t>(raw.v128, pattern);
      return take_prefix(pattern, "v128:") && raw.v128 == parse_v128(pattern);
    case ValType::kFuncRef:
    case ValType::kOtherRef: break;
  }
  return false;
}

std::string value_text(const TypedValue& value) {
  switch (value.type) {
    case ValType::kI32: return fmt::format("i32:{:08x}", bits32(value.raw));
    case ValType::kI64: return fmt::format("i64:{:016x}", bits64(value.raw));
    case ValType::kF32: return fmt::format("f32:{:08x}", bits32(value.raw));
    case ValType::kF64: return fmt::format("f64:{:016x}", bits64(value.raw));
    case ValType::kV128: {
      std::string text = "v128:";
      for (const uint8_t byte : value.raw.v128) text += fmt::format("{:02x}", byte);
      return text;
    }
    case ValType::kFuncRef: return value.raw.reference == nullptr ? "ref.null:func" : "ref.func";
    case ValType::kOtherRef: break;
  }
  return "another reference";
}

}  // namespace spore::spec
