#pragma once

// Types and values as the engine has them, without its headers.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spore::engine {

enum class ValType : uint8_t { kI32, kI64, kF32, kF64, kV128, kFuncRef, kOtherRef };
std::string_view val_type_name(ValType type);

struct FuncType {
  std::vector<ValType> params;
  std::vector<ValType> results;

  // "(i32, f64) -> f64"; "() -> ()" when there is nothing.
  std::string text() const;
  bool operator==(const FuncType&) const = default;
};

enum class ExternKind : uint8_t { kFunction, kGlobal, kTable, kMemory, kOther };
std::string_view extern_kind_name(ExternKind kind);

// One argument or result of an unchecked call: the bits, low bytes first.  Which member counts is known
// from the function's type.  Laid out as the engine's own (asserted in store.cc).
union alignas(8) RawValue {
  int32_t i32;
  int64_t i64;
  float f32;
  double f64;
  std::array<uint8_t, 16> v128;
  void* reference;  // a function; null is ref.null
};

// An address in guest memory.  Nothing may be done with it but through GuestMemory.
struct GuestPtr {
  uint64_t address = 0;
};

// An instance of one store, by the number that the store gave it.  It stays the same when the instance goes
// over to other code.
struct InstanceHandle {
  uint32_t number = 0;
};

}  // namespace spore::engine
