#pragma once

// Values of WIT types.  What a value is of is known by its WitType; the value itself does not say.

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/status.h"
#include "spore/wasm/wit.h"

namespace spore::host {

struct WitValue {
  // A bool, an integer (signed ones in two's complement), the bits of a float, a character, the case of an
  // enum; of an option 1 if there is something, of a result 1 if it is an error.
  uint64_t bits = 0;
  std::string text;             // a string, in UTF-8, or bytes
  std::vector<WitValue> items;  // of a list, tuple or record; of an option or a result what is in it, or none

  static WitValue boolean(bool value) { return {.bits = value ? 1U : 0U}; }
  static WitValue integer(int64_t value) { return {.bits = static_cast<uint64_t>(value)}; }
  static WitValue unsigned_integer(uint64_t value) { return {.bits = value}; }
  static WitValue f32(float value) { return {.bits = std::bit_cast<uint32_t>(value)}; }
  static WitValue f64(double value) { return {.bits = std::bit_cast<uint64_t>(value)}; }
  static WitValue character(char32_t value) { return {.bits = value}; }
  static WitValue string(std::string value) { return {.text = std::move(value)}; }
  static WitValue list(std::vector<WitValue> values) { return {.items = std::move(values)}; }
  static WitValue none() { return {}; }
  static WitValue some(WitValue value);
  static WitValue ok(WitValue value);
  static WitValue error(WitValue value);

  bool as_bool() const { return bits != 0; }
  int64_t as_s64() const { return static_cast<int64_t>(bits); }
  uint64_t as_u64() const { return bits; }
  float as_f32() const { return std::bit_cast<float>(static_cast<uint32_t>(bits)); }
  double as_f64() const { return std::bit_cast<double>(bits); }

  bool operator==(const WitValue&) const = default;
};

// An argument: what of it its type asks for.  Refers to what somebody else holds.
struct WitArg {
  uint64_t bits = 0;                // of what is no text and has no parts
  std::string_view text;            // of a string or bytes
  const WitValue* value = nullptr;  // of all else

  WitArg() = default;
  WitArg(const WitValue& of)
      : bits(of.bits), text(of.text), value(&of) {}  // NOLINT(google-explicit-constructor)
  static WitArg number(uint64_t bits) {
    WitArg arg;
    arg.bits = bits;
    return arg;
  }
  static WitArg string(std::string_view text) {
    WitArg arg;
    arg.text = text;
    return arg;
  }
};

// What a type holds in `bits` alone.
bool is_number(wasm::WitKind kind);

// Whether the value can be one of that type: numbers in its range, a character that there is, text that is
// UTF-8, as many parts as it has.  kInvalidArgument: what is wrong, and where.
Status check_value(const wasm::WitType& type, const WitValue& value);

// As JSON, on one line: records as objects, tuples and lists as arrays, options as what is in them or null
// (within an option as an array of one, or null), results as {"ok": ...} or {"err": ...}, enums as their
// names, characters as strings, bytes as strings in base64.  NaN and infinities, which JSON has no words for,
// as NaN, Infinity and -Infinity, as JavaScript and Python say.
void append_json(const wasm::WitType& type, const WitValue& value, std::string& json);
std::string to_json(const wasm::WitType& type, const WitValue& value);

// The other way; of a record's fields those that are options may be missing.  kInvalidArgument: where it is
// no JSON, or which part is not as the type says.  Nothing may follow it.  kLimitExceeded: it has more values
// in it than `values_left`, which is less by them then: a few characters may stand for a record of many
// options.
inline constexpr size_t kJsonValuesMax = size_t{1} << 24;
Result<WitValue> from_json(const wasm::WitType& type, std::string_view json, size_t& values_left);
Result<WitValue> from_json(const wasm::WitType& type, std::string_view json);

}  // namespace spore::host
