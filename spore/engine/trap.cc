#include "spore/engine/trap.h"

#include <fmt/format.h>

namespace spore::engine {

std::string_view trap_kind_message(TrapKind kind) {
  switch (kind) {
    case TrapKind::kStackOverflow: return "call stack exhausted";
    case TrapKind::kMemoryOutOfBounds: return "out of bounds memory access";
    case TrapKind::kTableOutOfBounds: return "out of bounds table access";
    case TrapKind::kIndirectCallToNull: return "uninitialized element";
    case TrapKind::kBadSignature: return "indirect call type mismatch";
    case TrapKind::kIntegerOverflow: return "integer overflow";
    case TrapKind::kIntegerDivisionByZero: return "integer divide by zero";
    case TrapKind::kBadConversionToInteger: return "invalid conversion to integer";
    case TrapKind::kUnreachable: return "unreachable";
    case TrapKind::kInterrupted: return "interrupted";
    case TrapKind::kOutOfFuel: return "all fuel consumed";
    case TrapKind::kNullReference: return "null reference";
    case TrapKind::kAllocationTooLarge: return "allocation size too large";
    case TrapKind::kHostError: return "host function failed";
    case TrapKind::kOther: return "trap";
  }
  return "trap";
}

const TrapInfo* trap_info(const Status& status) {
  return dynamic_cast<const TrapInfo*>(status.attachment());
}

std::string backtrace_text(const std::vector<Frame>& frames) {
  std::string text;
  size_t number = 0;
  for (const Frame& frame : frames) {
    const std::string offset = frame.module_offset == kOffsetUnknown
                                   ? std::string()
                                   : fmt::format(", offset {:#x}", frame.module_offset);
    fmt::format_to(std::back_inserter(text), "{:5}: {}{}{} (function {}{})\n", number++, frame.module,
                   frame.module.empty() ? "" : "!",
                   frame.function.empty() ? "<unnamed>" : frame.function, frame.function_index, offset);
  }
  return text;
}

}  // namespace spore::engine
