// How a history of the test of cells is made, and made smaller.

#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cells/plan.h"

namespace spore::cells_test {
namespace {

using differential::Call;

const Call kCall{.function = "f", .type = {}, .args = {}};

// Of all kinds of steps there are some, and of all options.
TEST(PlanTest, HistoriesHaveAllKindsOfSteps) {
  const engine::CompiledCode::Export function{.name = "f", .kind = engine::ExternKind::kFunction, .type = {}};
  std::set<StepKind> kinds;
  std::set<uint64_t> options;
  for (uint64_t seed = 0; seed < 200; seed++) {
    differential::Random random(seed);
    const Plan plan = make_plan({function}, true, random);
    EXPECT_GE(plan.steps.size(), kStepsMin);
    EXPECT_LE(plan.steps.size(), kStepsMax);
    for (const Step& step : plan.steps) kinds.insert(step.kind);
    const Options& of = plan.options;
    options.insert((of.lasts() ? 1 : 0) + (of.commit == cell::Commit::kOnSleep ? 2 : 0) +
                   (of.idle_sleep_ms == 0 ? 4 : 0));
    // Else it could not be told when a cell was put back.
    EXPECT_TRUE(of.lasts() || !of.small_deltas) << seed;
  }
  EXPECT_EQ(kinds.size(), static_cast<size_t>(StepKind::kTogether) + 1);
  EXPECT_EQ(options, (std::set<uint64_t>{1, 2, 5, 7}));
}

TEST(PlanTest, OnlyModulesThatClimbDo) {
  const engine::CompiledCode::Export function{.name = "f", .kind = engine::ExternKind::kFunction, .type = {}};
  for (uint64_t seed = 0; seed < 200; seed++) {
    differential::Random random(seed);
    for (const Step& step : make_plan({function}, false, random).steps) {
      EXPECT_NE(step.kind, StepKind::kClimb) << seed;
    }
  }
}

// A failure is made smaller by taking away.
TEST(SmallerPlansTest, TakeAwayPiecesThenStepsThenCalls) {
  Plan plan;
  plan.options.cells = 2;
  plan.steps = {{.kind = StepKind::kSleep},
                {.kind = StepKind::kCall, .calls = {kCall, kCall}},
                {.kind = StepKind::kWake},
                {.kind = StepKind::kFork}};
  const std::vector<Plan> plans = smaller_plans(plan);
  ASSERT_EQ(plans.size(), 9U);  // two halves, four steps, two calls, one cell
  EXPECT_EQ(plans[0].steps.size(), 2U);
  EXPECT_EQ(plans[0].steps[0].kind, StepKind::kSleep);
  EXPECT_EQ(plans[1].steps[0].kind, StepKind::kWake);
  for (size_t i = 2; i < 6; i++) EXPECT_EQ(plans[i].steps.size(), 3U) << i;
  EXPECT_EQ(plans[6].steps[1].calls.size(), 1U);
  EXPECT_EQ(plans[7].steps[1].calls.size(), 1U);
  EXPECT_EQ(plans[8].options.cells, 1U);
}

TEST(SmallerPlansTest, NothingIsSmallerThanOneCellAlone) {
  const Plan plan;
  EXPECT_TRUE(smaller_plans(plan).empty());
  EXPECT_EQ(text(plan), "  1 cells, commit=every_call, idle_sleep_ms=0, awake_max=64\n");
}

TEST(SmallerPlansTest, TheLastStepGoes) {
  Plan plan;
  plan.steps = {{.kind = StepKind::kCall, .calls = {kCall}}};
  const std::vector<Plan> plans = smaller_plans(plan);
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_TRUE(plans[0].steps.empty());
}

}  // namespace
}  // namespace spore::cells_test
