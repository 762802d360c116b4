#include "spore/engine/trap.h"

#include <fmt/format.h>

#include "spore/base/utf8.h"

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
    case TrapKind::kBadResult: return "invalid result";
    case TrapKind::kOther: return "trap";
  }
  return "trap";
}

const TrapInfo* trap_info(const Status& status) { return dynamic_cast<const TrapInfo*>(status.attachment()); }

Status bad_result(std::string_view what) {
  auto info = std::make_shared<TrapInfo>();
  info->kind = TrapKind::kBadResult;
  return Status::make(Code::kTrap, "the guest gave an invalid result: {}", what)
      .with_attachment(std::move(info));
}

std::string backtrace_text(const std::vector<Frame>& frames) {
  std::string text;
  size_t number = 0;
  for (const Frame& frame : frames) {
    const std::string offset = frame.module_offset == kOffsetUnknown
                                   ? std::string()
                                   : fmt::format(", offset {:#x}", frame.module_offset);
    fmt::format_to(std::back_inserter(text), "{:5}: {}{}{} (function {}{})\n", number++,
                   printable(frame.module), frame.module.empty() ? "" : "!",
                   frame.function.empty() ? "<unnamed>" : printable(frame.function), frame.function_index,
                   offset);
  }
  return text;
}

}  // namespace spore::engine
