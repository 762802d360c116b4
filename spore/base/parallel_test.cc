#include "spore/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/mutex.h"

namespace spore {
namespace {

TEST(ParallelTest, EachStepIsDoneOnce) {
  for (const uint64_t count : {0, 1, 3, 4, 1000}) {
    for (const unsigned threads : {1U, 4U}) {
      std::vector<std::atomic<int>> done(count);
      const Status status = run_steps(count, {.threads_max = threads, .on_steps = {}}, [&]() -> Step {
        return [&](uint64_t number) -> Status {
          done[number]++;
          return {};
        };
      });
      EXPECT_TRUE(status.ok());
      for (const auto& times : done) EXPECT_EQ(times.load(), 1);
    }
  }
}

// After it fewer steps follow than there are threads, and the first failure is the one that is told.
TEST(ParallelTest, AFailureEndsIt) {
  for (const unsigned threads : {1U, 4U}) {
    std::atomic<uint64_t> done{0};
    const Status status = run_steps(100'000, {.threads_max = threads, .on_steps = {}}, [&]() -> Step {
      return [&](uint64_t number) -> Status {
        done++;
        return number < 10 ? Status() : Status::corruption("step {}", number);
      };
    });
    EXPECT_EQ(status.code(), Code::kCorruption);
    EXPECT_LT(done.load(), 10u + 2 * threads);
  }
}

TEST(ParallelTest, NoMemoryIsAnErrorOnEachThread) {
  for (const unsigned threads : {1U, 4U}) {
    const Status status = run_steps(100, {.threads_max = threads, .on_steps = {}}, []() -> Step {
      return [](uint64_t) -> Status { throw std::bad_alloc(); };
    });
    EXPECT_EQ(status.code(), Code::kLimitExceeded);
  }
}

TEST(ParallelTest, ProgressIsToldToTheCallersThreadAlone) {
  const std::thread::id caller = std::this_thread::get_id();
  int told = 0;
  const ParallelOptions options{.threads_max = 4, .on_steps = [&] {
                                  EXPECT_EQ(std::this_thread::get_id(), caller);
                                  told++;
                                }};
  EXPECT_TRUE(run_steps(1000, options, [] { return [](uint64_t) { return Status(); }; }).ok());
  EXPECT_GE(told, 1);
  told = 0;
  EXPECT_TRUE(run_steps(0, options, [] { return [](uint64_t) { return Status(); }; }).ok());
  EXPECT_EQ(told, 1);
}

// What a Step holds belongs to one thread.
TEST(ParallelTest, EachThreadHasAStepOfItsOwn) {
  Mutex mutex;
  std::vector<std::thread::id> made;
  const Status status = run_steps(1000, {.threads_max = 4, .on_steps = {}}, [&]() -> Step {
    const MutexLock lock(mutex);
    made.push_back(std::this_thread::get_id());
    return [mine = std::this_thread::get_id()](uint64_t) -> Status {
      EXPECT_EQ(std::this_thread::get_id(), mine);
      return {};
    };
  });
  EXPECT_TRUE(status.ok());
  EXPECT_LE(made.size(), 4u);
  std::ranges::sort(made);
  EXPECT_TRUE(std::ranges::adjacent_find(made) == made.end());
}

}  // namespace
}  // namespace spore
