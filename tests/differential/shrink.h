#pragma once

#include <optional>
#include <string>
#include <utility>

namespace spore::differential {

// What is done with a module, and what was different at its end.
template <typename Plan>
struct Failure {
  std::string text;
  Plan plan;
};

// Takes away from the plan what is not needed.  `try_plan`, of a plan: what was different, if anything was.
// smaller_plans(plan): all plans that are smaller by one thing, the largest things first.
template <typename Plan, typename Try>
void shrink(Failure<Plan>& failure, const Try& try_plan) {
  constexpr int kTriesMax = 300;
  int tries = 0;
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (Plan& plan : smaller_plans(failure.plan)) {
      if (tries++ == kTriesMax) return;
      std::optional<std::string> text = try_plan(plan);
      if (!text) continue;
      failure = {.text = std::move(*text), .plan = std::move(plan)};
      smaller = true;
      break;
    }
  }
}

}  // namespace spore::differential
