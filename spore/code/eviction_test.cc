#include "spore/code/eviction.h"

#include <gtest/gtest.h>

#include <limits>

namespace spore::code {
namespace {

constexpr double kNow = 1e9;
constexpr double kWeekS = 7.0 * 24 * 3600;

using Order = std::vector<size_t>;

Order order(const std::vector<EvictionCandidate>& candidates, Eviction policy) {
  return eviction_order(candidates, policy, kNow);
}

TEST(EvictionOrderTest, NamesLeadThereAndBack) {
  for (const Eviction policy : {Eviction::kLru, Eviction::kLfu, Eviction::kTtl, Eviction::kAdaptive}) {
    EXPECT_EQ(parse_eviction(eviction_name(policy)).value(), policy);
  }
  EXPECT_EQ(parse_eviction("fifo").code(), Code::kInvalidArgument);
  EXPECT_NE(parse_eviction("fifo").status().message().find("lru, lfu, ttl, adaptive"), std::string::npos);
}

TEST(EvictionOrderTest, EachPolicyLooksAtItsOwn) {
  const std::vector<EvictionCandidate> candidates{
      {.usage = {.uses = 9, .weight = 0, .last_s = kNow - 1, .stored_s = kNow - 300},
       .bytes = 10,
       .compile_ns = 10},
      {.usage = {.uses = 1, .weight = 0, .last_s = kNow - 2, .stored_s = kNow - 100},
       .bytes = 10,
       .compile_ns = 90},
      {.usage = {.uses = 5, .weight = 0, .last_s = kNow - 3, .stored_s = kNow - 200},
       .bytes = 10,
       .compile_ns = 50},
  };
  EXPECT_EQ(order(candidates, Eviction::kLru), (Order{2, 1, 0}));
  EXPECT_EQ(order(candidates, Eviction::kLfu), (Order{1, 2, 0}));
  EXPECT_EQ(order(candidates, Eviction::kTtl), (Order{0, 2, 1}));
  EXPECT_EQ(order(candidates, Eviction::kAdaptive), (Order{0, 2, 1}));
}

TEST(EvictionOrderTest, OfEquallyOftenUsedTheOneUnusedForLongestGoes) {
  EXPECT_EQ(order({{.usage = {.uses = 1, .last_s = kNow}}, {.usage = {.uses = 1, .last_s = kNow - 1}}},
                  Eviction::kLfu),
            (Order{1, 0}));
}

TEST(EvictionOrderTest, AdaptiveWeighsTimeBytesUsesAndAge) {
  const auto candidate = [](uint64_t compile_ns, uint64_t bytes, double weight, double weeks_ago) {
    return EvictionCandidate{.usage = {.weight = weight, .last_s = kNow - weeks_ago * kWeekS, .stored_s = 0},
                             .bytes = bytes,
                             .compile_ns = compile_ns};
  };
  EXPECT_EQ(order({candidate(200, 10, 0, 0), candidate(100, 10, 0, 0)}, Eviction::kAdaptive), (Order{1, 0}));
  EXPECT_EQ(order({candidate(100, 10, 0, 0), candidate(100, 20, 0, 0)}, Eviction::kAdaptive), (Order{1, 0}));
  EXPECT_EQ(order({candidate(100, 10, 3, 0), candidate(100, 10, 2, 0)}, Eviction::kAdaptive), (Order{1, 0}));
  EXPECT_EQ(order({candidate(100, 10, 0, 1), candidate(100, 10, 0, 2)}, Eviction::kAdaptive), (Order{1, 0}));
  // One week is half: 210 of a week ago is more than 100 of now, 190 is less.
  EXPECT_EQ(order({candidate(210, 10, 0, 1), candidate(100, 10, 0, 0)}, Eviction::kAdaptive), (Order{1, 0}));
  EXPECT_EQ(order({candidate(190, 10, 0, 1), candidate(100, 10, 0, 0)}, Eviction::kAdaptive), (Order{0, 1}));
  // No bytes, and a use in the future.
  EXPECT_EQ(order({candidate(100, 10, 0, -5), candidate(100, 0, 0, 0)}, Eviction::kAdaptive), (Order{0, 1}));
}

TEST(EvictionOrderTest, UsesDecayByHalfAWeek) {
  Usage usage{.last_s = kNow};
  add_use(usage, kNow);
  add_use(usage, kNow);
  EXPECT_EQ(usage.weight, 2);
  add_use(usage, kNow + kWeekS);
  EXPECT_EQ(usage.weight, 2);
  EXPECT_EQ(usage.uses, 3u);
  EXPECT_EQ(usage.last_s, kNow + kWeekS);
  add_use(usage, kNow);  // another machine's clock
  EXPECT_EQ(usage.weight, 3);
}

}  // namespace
}  // namespace spore::code
