#include "spore/engine/ticker.h"
#include "tests/sanitizers.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

namespace spore::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Waits for something that another thread brings about; the bound only ends a failing test.
template <typename Condition>
bool eventually(Condition condition) {
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(TickerTest, NoThreadRunsUntilAGuestDoes) {
  const Ticker ticker;
  EXPECT_TRUE(ticker.parked());
  EXPECT_EQ(ticker.now(), 0u);
}

TEST(TickerTest, TicksCountMillisecondsWhileTouched) {
  const auto begin = steady_clock::now();
  Ticker ticker;
  ASSERT_TRUE(eventually([&] { return ticker.touch().ok() && ticker.now() >= 20; }));
  // Never ahead of real time; how far behind it is depends on the machine.
  EXPECT_LE(milliseconds(ticker.now()), steady_clock::now() - begin);
}

TEST(TickerTest, ItParksWhenNobodyTouchesItAndWakesWhenSomebodyDoes) {
  Ticker ticker;
  ASSERT_TRUE(ticker.touch().ok());
  EXPECT_FALSE(ticker.parked());
  ASSERT_TRUE(eventually([&] { return ticker.parked(); }));
  const uint64_t parked_at = ticker.now();
  EXPECT_GT(parked_at, Ticker::kIdleTicks);
  ASSERT_TRUE(ticker.touch().ok());
  EXPECT_FALSE(ticker.parked());
  EXPECT_TRUE(eventually([&] { return ticker.now() > parked_at; }));
}

// Parking is a race between the ticker and those that touch it.  Each touch that finds it parked must
// set it going: many threads touch at random while it keeps falling asleep.
TEST(TickerTest, EveryTouchFindsItAwakeOrWakesIt) {
  Ticker ticker;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; thread++) {
    threads.emplace_back([&ticker] {
      for (int i = 0; i < 4; i++) {
        ASSERT_TRUE(eventually([&] { return ticker.parked() || i % 2 == 0; }));
        const uint64_t before = ticker.now();
        ASSERT_TRUE(ticker.touch().ok());
        ASSERT_TRUE(eventually([&] { return ticker.now() > before; }));
      }
    });
  }
}

// A child has no ticker thread.  Its first touch starts one; the parent's goes on.
TEST(TickerTest, AForkedChildStartsItsOwnThread) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan does not follow threads that a forked child starts";
  Ticker ticker;
  ASSERT_TRUE(ticker.touch().ok());
  const uint64_t begun = ticker.now();
  ASSERT_TRUE(eventually([&] { return ticker.now() > begun; }));  // ASan: the thread has begun
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const uint64_t before = ticker.now();
    const bool parked = ticker.parked();
    const bool ticks = ticker.touch().ok() && eventually([&] { return ticker.now() > before; });
    _exit(parked && ticks ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const uint64_t before = ticker.now();
  ASSERT_TRUE(ticker.touch().ok());
  EXPECT_TRUE(eventually([&] { return ticker.now() > before; }));
}

}  // namespace
}  // namespace spore::engine
