#include "tests/reset/plan.h"

#include <fmt/format.h>

namespace spore::reset_test {

using differential::draw_calls;
using differential::Random;
using differential::text;

namespace {

constexpr uint64_t kRoundsMax = 3;
constexpr uint64_t kUnseenMax = 4;
constexpr uint64_t kCallsMax = 5;
// More than the resets after which a page that is not written any more leaves a write set (slot.cc).
constexpr uint32_t kQuickMax = 80;

// `plan` without element `index` of what `part` finds in it.
template <typename Part>
Plan without(Plan plan, size_t index, const Part& part) {
  auto& elements = part(plan);
  elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(index));
  return plan;
}

}  // namespace

Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, Random& random) {
  Plan plan(random.between(1, kRoundsMax));
  for (Round& round : plan) {
    round.unseen.resize(random.between(1, kUnseenMax));
    for (Use& use : round.unseen) {
      use.calls = draw_calls(functions, random.below(kCallsMax + 1), random);
      if (random.chance(1, 4)) use.quick = random.chance(1, 4) ? kQuickMax : 2;
    }
    round.clean_up = random.chance(1, 4);
    round.compared = draw_calls(functions, random.between(1, kCallsMax), random);
  }
  return plan;
}

std::vector<Plan> smaller_plans(const Plan& plan) {
  std::vector<Plan> plans;
  for (size_t i = 0; i < plan.size(); i++) {
    plans.push_back(without(plan, i, [](Plan& p) -> auto& { return p; }));
  }
  for (size_t i = 0; i < plan.size(); i++) {
    for (size_t j = 0; j < plan[i].unseen.size(); j++) {
      plans.push_back(without(plan, j, [&](Plan& p) -> auto& { return p[i].unseen; }));
    }
  }
  for (size_t i = 0; i < plan.size(); i++) {
    for (size_t j = 0; j < plan[i].unseen.size(); j++) {
      for (size_t k = 0; k < plan[i].unseen[j].calls.size(); k++) {
        plans.push_back(without(plan, k, [&](Plan& p) -> auto& { return p[i].unseen[j].calls; }));
      }
    }
    for (size_t j = 0; j < plan[i].compared.size(); j++) {
      plans.push_back(without(plan, j, [&](Plan& p) -> auto& { return p[i].compared; }));
    }
  }
  return plans;
}

std::string text(const Plan& plan) {
  std::string all;
  for (const Round& round : plan) {
    for (const Use& use : round.unseen) {
      const std::string how =
          use.quick == 0 ? "" : fmt::format(" (each {} times, each time a clean instance)", use.quick);
      all += fmt::format("  used:     {}{}\n", text(use.calls), how);
    }
    if (round.clean_up) all += "  the pool cleans up\n";
    all += fmt::format("  compared: {}\n", text(round.compared));
  }
  return all;
}

}  // namespace spore::reset_test
