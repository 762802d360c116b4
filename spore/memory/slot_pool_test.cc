#include "spore/memory/slot_pool.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::fill;
using test::guards_differ;
using test::in_child;
using test::kPage;
using test::kShape;
using test::kWasmPage;
using test::pattern;
using test::Start;

constexpr SlotShape kOther{.capacity = 2 * kShape.capacity, .guard = kShape.guard};

void expect_statistics(const SlotPool& pool, uint64_t reserved, uint64_t reused, uint64_t kept) {
  const SlotPoolStatistics statistics = pool.statistics();
  EXPECT_EQ(statistics.reserved, reserved);
  EXPECT_EQ(statistics.reused, reused);
  EXPECT_EQ(statistics.kept, kept);
}

// Isolation: the next user sees nothing of the last.  Every byte is checked, to the slot's whole capacity.
TEST(SlotPoolTest, AReusedSlotIsEmpty) {
  const auto pool = SlotPool::create(1);
  Start secret(pattern(3 * kPage), 4 * kWasmPage);
  const std::byte* base = nullptr;
  {
    const auto slot = pool->take(kShape).value();
    base = slot->base();
    ASSERT_TRUE(secret.open(*slot).ok());
    ASSERT_TRUE(slot->grow(kShape.capacity).ok());
    fill(*slot);
  }
  expect_statistics(*pool, 1, 0, 1);
  EXPECT_FALSE(test::accessible(base));
  const auto slot = pool->take(kShape).value();
  EXPECT_EQ(slot->base(), base);
  expect_statistics(*pool, 1, 1, 0);
  EXPECT_EQ(slot->bytes(), 0u);
  EXPECT_EQ(guards_differ(*slot), "");
  Start zeros({}, kShape.capacity);
  ASSERT_TRUE(zeros.open(*slot).ok());
  EXPECT_EQ(zeros.differs(*slot), "");
}

// Two are given back where one is kept: the other is unmapped.
TEST(SlotPoolTest, ItKeepsNoMoreThanItMay) {
  for (const size_t kept_max : {size_t{0}, size_t{1}, size_t{2}}) {
    const auto pool = SlotPool::create(kept_max);
    auto first = pool->take(kShape).value();
    auto second = pool->take(kOther).value();
    auto third = pool->take(kShape).value();
    const std::byte* const base = third->base();
    first.reset();
    second.reset();
    third.reset();
    expect_statistics(*pool, 3, 0, kept_max);
    std::string map;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      uintptr_t from = 0;
      uintptr_t to = 0;
      std::sscanf(line.c_str(), "%lx-%lx", &from, &to);
      if (from <= reinterpret_cast<uintptr_t>(base) && reinterpret_cast<uintptr_t>(base) < to) map = line;
    }
    EXPECT_EQ(map, "") << "the third is still there";
  }
}

TEST(SlotPoolTest, SlotsAreReusedForTheirOwnShapeOnly) {
  const auto pool = SlotPool::create(10);
  const std::byte* base = pool->take(kShape).value()->base();
  for (const SlotShape& other : {kOther, SlotShape{.capacity = kShape.capacity, .guard = 2 * kWasmPage}}) {
    const auto slot = pool->take(other).value();
    EXPECT_NE(slot->base(), base);
    EXPECT_TRUE(slot->shape() == other);
  }
  expect_statistics(*pool, 3, 0, 3);
  EXPECT_EQ(pool->take(kShape).value()->base(), base);
  expect_statistics(*pool, 3, 1, 3);
}

// A slot keeps its pool alive, and the last one ends it.
TEST(SlotPoolTest, ASlotMayOutliveItsUsersInterestInThePool) {
  auto pool = SlotPool::create(10);
  const std::weak_ptr<SlotPool> watch = pool;
  auto slot = pool->take(kShape).value();
  pool->take(kShape).value().reset();  // one is kept in it
  pool.reset();
  EXPECT_FALSE(watch.expired());
  Start start(pattern(kPage), kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  EXPECT_EQ(start.differs(*slot), "");
  {
    const auto ends = std::move(slot);
  }  // reset() would leave the handle, which holds the pool
  EXPECT_TRUE(watch.expired());
}

// Threads take, use and give back, all at once; what each finds is empty.
TEST(SlotPoolTest, ThreadsMayTakeAndGiveBackAtOnce) {
  const auto pool = SlotPool::create(3);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&pool, i] {
      Start start(pattern(2 * kPage, static_cast<uint64_t>(i)), 2 * kWasmPage);
      for (int round = 0; round < 100; round++) {
        const auto slot = pool->take(round % 3 == 0 ? kOther : kShape).value();
        ASSERT_EQ(slot->bytes(), 0u);
        ASSERT_TRUE(start.open(*slot).ok());
        ASSERT_EQ(start.differs(*slot), "");
        fill(*slot);
        ASSERT_TRUE(slot->reset().ok());
        ASSERT_EQ(start.differs(*slot), "");
        fill(*slot);
      }
    });
  }
  threads.clear();
  const SlotPoolStatistics statistics = pool->statistics();
  EXPECT_EQ(statistics.reserved + statistics.reused, 400u);
  EXPECT_LE(statistics.kept, 3u);
}

// In a child that is allowed no new mapping a slot cannot be cleared: it must not come back, and nothing of
// it stay.
TEST(SlotPoolTest, ASlotThatCannotBeClearedIsNotKept) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "the sanitizer maps memory of its own";
  const auto pool = SlotPool::create(10);
  auto slot = pool->take(kShape).value();
  Start start(pattern(kPage), kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  EXPECT_EQ(in_child([&]() -> std::string {
              if (!test::refuse({SYS_mmap, ENOMEM, 3, MAP_FIXED})) return "no filter";
              const std::byte* const base = slot->base();
              slot.reset();
              if (test::accessible(base)) return "it is still there";
              return pool->statistics().kept == 0 ? "" : "it is kept";
            }),
            "");
}

// Without address space there is an error, which counts nothing; and what is kept can still be taken.
TEST(SlotPoolTest, WithoutAddressSpaceOnlyWhatIsKeptCanBeTaken) {
  const auto pool = SlotPool::create(10);
  pool->take(kShape).value().reset();
  EXPECT_EQ(in_child([&]() -> std::string {
              size_t pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              const rlimit limit{pages * kPage + (size_t{1} << 30), RLIM_INFINITY};
              if (::setrlimit(RLIMIT_AS, &limit) != 0) return "setrlimit";
              const SlotShape large{.capacity = size_t{4} << 30, .guard = kWasmPage};
              if (pool->take(large).code() != Code::kLimitExceeded) return "4 GiB fit into one";
              if (!pool->take(kShape).ok()) return "what is kept cannot be taken";
              if (pool->statistics().reserved != 1) return "a failure is counted";
              return "";
            }),
            "");
}

// Where pages cannot be scanned the pool says so, and its slots are reset all the same.
TEST(SlotPoolTest, WithoutAScannerItsSlotsDropTheirPages) {
  EXPECT_EQ(in_child([]() -> std::string {
              constexpr unsigned kPagemapScan = 0xc0606610;
              if (!test::refuse({SYS_ioctl, ENOTTY, 1, kPagemapScan})) return "no filter";
              const auto pool = SlotPool::create(1);
              if (pool->scanner() != nullptr) return "there is a scanner";
              const auto slot = pool->take(kShape).value();
              Start start(pattern(3 * kPage), 4 * kWasmPage);
              if (!start.open(*slot).ok()) return "it cannot be opened";
              for (int call = 0; call < 3; call++) {
                fill(*slot);
                if (!slot->reset().ok()) return "it cannot be reset";
                if (start.differs(*slot) != "") return start.differs(*slot);
              }
              return slot->counters().drops.value() == 3 ? "" : "no drops";
            }),
            "");
}

}  // namespace
}  // namespace spore::memory
