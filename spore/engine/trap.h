#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore::engine {

// Why a guest stopped.
enum class TrapKind : uint8_t {
  kStackOverflow,
  kMemoryOutOfBounds,
  kTableOutOfBounds,
  kIndirectCallToNull,
  kBadSignature,
  kIntegerOverflow,
  kIntegerDivisionByZero,
  kBadConversionToInteger,
  kUnreachable,
  kInterrupted,
  kOutOfFuel,
  kNullReference,
  kAllocationTooLarge,
  kHostError,  // a host function refused or failed
  kBadResult,  // the guest gave what its type does not allow: text outside its memory, or not UTF-8
  kOther,
};

// "integer divide by zero": the words of the specification where it has some.
std::string_view trap_kind_message(TrapKind kind);

inline constexpr uint64_t kOffsetUnknown = UINT64_MAX;
// So deep the engine looks: backtraces tell the innermost ones, Caller::stack_functions all of fewer.
inline constexpr size_t kStackFunctionsMax = 64;

struct Frame {
  std::string module;
  std::string function;  // from the name section; empty if it has none
  uint32_t function_index = 0;
  // Of the instruction, in the wasm file; kOffsetUnknown for a frame that had not begun.
  uint64_t module_offset = 0;
};

// What a failed call carries in its Status.
struct TrapInfo : Status::Attachment {
  TrapKind kind = TrapKind::kOther;
  std::vector<Frame> backtrace;  // innermost first
};

// Null if `status` is not a call's failure.
const TrapInfo* trap_info(const Status& status);

// A failure that a guest's answer is, kTrap with kBadResult.
Status bad_result(std::string_view what);

// "    0: fib (function 3, offset 0x4f)", a line each.
std::string backtrace_text(const std::vector<Frame>& frames);

}  // namespace spore::engine
