#pragma once

// What is done with a module.

#include <cstdint>
#include <string>
#include <vector>

#include "tests/differential/calls.h"
#include "tests/differential/random.h"

namespace spore::reset_test {

// Without a look at the state of the instance.
struct Use {
  std::vector<differential::Call> calls;
  // 0: of one instance, acquired and released.  Else each call is one of a CleanFunction, so many times, if
  // the function is of its type.
  uint32_t quick = 0;
};

// All of it, or what is left of it when a failure is made smaller.
struct Round {
  std::vector<Use> unseen;
  bool clean_up = false;  // then the pool is given the time to do so
  // What follows on an instance that was used and on a new one.
  std::vector<differential::Call> compared;
};
using Plan = std::vector<Round>;

// `functions` is not empty.
Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, differential::Random& random);

// All plans that are `plan` without one thing: a round, an instance, a call.  The largest things first.
std::vector<Plan> smaller_plans(const Plan& plan);

std::string text(const Plan& plan);

}  // namespace spore::reset_test
