// How a plan of the test of resets is made smaller.

#include <vector>

#include <gtest/gtest.h>

#include "tests/reset/plan.h"

namespace spore::reset_test {
namespace {

using differential::Call;

// A failure is made smaller by taking away.
TEST(SmallerPlansTest, TakeAwayOneThingEach) {
  const Call call{.function = "f", .type = {}, .args = {}};
  const Plan plan{{.unseen = {{.calls = {call, call}}, {}}, .compared = {call}}};
  const std::vector<Plan> plans = smaller_plans(plan);
  ASSERT_EQ(plans.size(), 6u);  // one round, two instances, three calls
  EXPECT_TRUE(plans[0].empty());
  EXPECT_EQ(text(plans[1]), "  used:     nothing\n  compared: f()\n");
  EXPECT_EQ(text(plans[2]), "  used:     f(); f()\n  compared: f()\n");
  EXPECT_EQ(text(plans[3]), "  used:     f()\n  used:     nothing\n  compared: f()\n");
  EXPECT_EQ(text(plans[5]), "  used:     f(); f()\n  used:     nothing\n  compared: nothing\n");
}

}  // namespace
}  // namespace spore::reset_test
