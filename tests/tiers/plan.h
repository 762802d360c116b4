#pragma once

// What is done with a module.

#include <cstddef>
#include <string>
#include <vector>

#include "tests/differential/calls.h"
#include "tests/differential/random.h"

namespace spore::tiers_test {

struct Plan {
  std::vector<differential::Call> calls;
  // Before this call the instance that is to be handed over gets its other code; never, if there is none.
  size_t hand_over_at = 0;
};

// `functions` is not empty.  Arguments are often floats at which something changes, NaNs among them.
Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, differential::Random& random);

// All plans that are `plan` without one thing.
std::vector<Plan> smaller_plans(const Plan& plan);

std::string text(const Plan& plan);

}  // namespace spore::tiers_test
