#pragma once

// Values whose types are known only at run time: what the command line, SQL and options files have.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/types.h"

namespace spore::host {

enum class ValueType : uint8_t { kI32, kI64, kF32, kF64, kBool, kString, kBytes };
std::string_view value_type_name(ValueType type);
std::optional<ValueType> value_type_named(std::string_view name);

// A value and its type.  Its getters give what it is or an error, never a cast.
class Value {
 public:
  using Bytes = std::vector<std::byte>;

  static Value i32(int32_t value) { return Value(value); }
  static Value i64(int64_t value) { return Value(value); }
  static Value f32(float value) { return Value(value); }
  static Value f64(double value) { return Value(value); }
  static Value boolean(bool value) { return Value(value); }
  static Value string(std::string value) { return Value(std::move(value)); }
  static Value bytes(Bytes value) { return Value(std::move(value)); }

  // What a person wrote for a value of this type: "-5", "0x1f", "1e9", "nan", "true", text; bytes are
  // written in hex.  kInvalidArgument: says what was expected.
  static Result<Value> parse(ValueType type, std::string_view text);

  ValueType type() const { return static_cast<ValueType>(value_.index()); }

  // kInvalidArgument: "a string, not an i32".
  Result<int32_t> as_i32() const { return get<int32_t>(ValueType::kI32); }
  Result<int64_t> as_i64() const { return get<int64_t>(ValueType::kI64); }
  Result<float> as_f32() const { return get<float>(ValueType::kF32); }
  Result<double> as_f64() const { return get<double>(ValueType::kF64); }
  Result<bool> as_bool() const { return get<bool>(ValueType::kBool); }
  Result<std::string_view> as_string() const;
  Result<std::span<const std::byte>> as_bytes() const;

  // For people: 5, 2.5, true, the text itself, bytes in hex.
  std::string text() const;

  bool operator==(const Value&) const = default;

 private:
  // In the order of ValueType.
  using Variant = std::variant<int32_t, int64_t, float, double, bool, std::string, Bytes>;

  template <typename T>
  explicit Value(T value) : value_(std::move(value)) {}

  template <typename T>
  Result<T> get(ValueType wanted) const {
    if (const T* value = std::get_if<T>(&value_)) return *value;
    return wrong_type(wanted);
  }
  Status wrong_type(ValueType wanted) const;

  Variant value_;
};

// What a function takes and gives, as the host sees it.
struct Signature {
  std::vector<ValueType> params;
  std::vector<ValueType> results;

  // "(string, f64) -> bool".  At most one result is a string or bytes, and then it is the only one.
  static Result<Signature> parse(std::string_view text);
  // The same numbers that the core function has; kUnsupported if it has vectors or references.
  static Result<Signature> of(const engine::FuncType& type);

  // The core function that carries it by the canonical ABI: a string is an address and a length, a
  // string result an address of these two.
  engine::FuncType core_type() const;
  std::string text() const;
  bool operator==(const Signature&) const = default;
};

inline bool is_text(ValueType type) { return type == ValueType::kString || type == ValueType::kBytes; }

}  // namespace spore::host
