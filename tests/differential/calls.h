#pragma once

// What is called, and what came of it.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "spore/engine/engine.h"
#include "spore/engine/trap.h"
#include "spore/host/instance.h"
#include "tests/differential/random.h"

namespace spore::differential {

struct Call {
  std::string function;
  engine::FuncType type;
  std::vector<engine::RawValue> args;
};

// The functions that `code` exports beside those of the preparer.
std::vector<engine::CompiledCode::Export> functions_of(const engine::CompiledCode& code);

// So many of them, with arguments.  `functions` is not empty.
std::vector<Call> draw_calls(const std::vector<engine::CompiledCode::Export>& functions, uint64_t count,
                             Random& random);

struct Outcome {
  using Bits = std::array<uint8_t, 16>;

  Code code = Code::kOk;
  engine::TrapKind trap = engine::TrapKind::kOther;
  std::vector<Bits> results;    // of a reference: whether it is null
  std::vector<int32_t> logged;  // what the guest told the host

  // Ended by the clock, where no two calls are alike.
  bool interrupted() const { return code == Code::kDeadlineExceeded || code == Code::kCancelled; }
  bool operator==(const Outcome&) const = default;
};

Outcome::Bits bits_of(engine::ValType type, const engine::RawValue& value);
// What a call gave or why it gave nothing.
Outcome outcome_of(const Status& status, const std::vector<int32_t>& log);
// `log`: where the host function leaves what it is told.
Outcome run(const Call& call, const engine::RawFunction& function, std::vector<int32_t>& log);
Outcome run(const Call& call, const host::Instance& instance, std::vector<int32_t>& log);

// "f3(0x1, 0x2)", "trap (unreachable), logged 5 7".
std::string text(const Call& call);
std::string text(const Outcome& outcome);
// "f3(0x1, 0x2); f0()", or "nothing".
std::string text(const std::vector<Call>& calls);

}  // namespace spore::differential
