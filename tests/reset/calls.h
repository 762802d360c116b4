#pragma once

// What is called, and what came of it.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "spore/engine/engine.h"
#include "spore/engine/trap.h"
#include "spore/host/instance.h"
#include "tests/reset/random.h"

namespace spore::reset_test {

struct Call {
  std::string function;
  engine::FuncType type;
  std::vector<engine::RawValue> args;
};

// Without a look at the state of the instance.
struct Use {
  std::vector<Call> calls;
  // 0: of one instance, acquired and released.  Else each call is one of a CleanFunction, so many times, if
  // the function is of its type.
  uint32_t quick = 0;
};

// What is done with a module: all of it, or what is left of it when a failure is made smaller.
struct Round {
  std::vector<Use> unseen;
  bool clean_up = false;  // then the pool is given the time to do so
  // What follows on an instance that was used and on a new one.
  std::vector<Call> compared;
};
using Plan = std::vector<Round>;

// The functions that `code` exports beside those of the preparer.
std::vector<engine::CompiledCode::Export> functions_of(const engine::CompiledCode& code);

// `functions` is not empty.
Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, Random& random);

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
Outcome run(const Call& call, const host::Instance& instance, std::vector<int32_t>& log);

// All plans that are `plan` without one thing: a round, an instance, a call.  The largest things first.
std::vector<Plan> smaller_plans(const Plan& plan);

// "f3(0x1, 0x2)", "trap (unreachable), logged 5 7".
std::string text(const Call& call);
std::string text(const Outcome& outcome);
std::string text(const Plan& plan);

}  // namespace spore::reset_test
