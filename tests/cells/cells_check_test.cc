// Does the test of cells leave alone what may differ, and count what it tried?  That it notices what is
// wrong, cells_broken_* show.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cells/cells_check.h"
#include "tests/guest_file.h"

namespace spore::cells_test {
namespace {

using differential::Call;
using differential::Generator;
using differential::Guest;

constexpr std::string_view kCounter = R"((module
    (import "host" "log" (func $log (param i32)))
    (memory 1 3) (global $calls (mut i32) (i32.const 0))
    (func (export "add")
      (i32.store (i32.const 5000) (i32.add (i32.load (i32.const 5000)) (i32.const 7)))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
    (func (export "tell") (i32.store (i32.const 5000) (i32.const 9)) (call $log (i32.const 1)))
    (func (export "trap") (i32.store (i32.const 5000) (i32.const 9)) unreachable)
    (func (export "spin") (i32.store (i32.const 5000) (i32.const 9)) (loop $again (br $again)))
    (func (export "grow") (drop (memory.grow (i32.const 1))))))";

Guest guest(std::string_view text, Generator generator = Generator::kSteered) {
  return {.generator = generator, .wasm = test::wasm(text)};
}

Step call(std::string function, StepKind kind = StepKind::kCall, Answers answers = Answers::kUsual) {
  Step step{.kind = kind, .answers = answers};
  step.calls.push_back({.function = std::move(function), .type = {}, .args = {}});
  return step;
}

Options options(cell::Commit commit, uint64_t idle_sleep_ms) {
  Options made;
  made.commit = commit;
  made.idle_sleep_ms = idle_sleep_ms;
  return made;
}

TEST(CellsCheckTest, AHistoryByHandIsCounted) {
  for (const uint64_t idle_sleep_ms : {0, 60'000}) {
    CellsCheck check;
    Plan plan{.options = options(cell::Commit::kEveryCall, idle_sleep_ms), .steps = {}};
    plan.steps = {call("add"),
                  call("trap"),
                  {.kind = StepKind::kSleep, .look = Look::kCommit},
                  {.kind = StepKind::kLink},
                  call("grow"),
                  {.kind = StepKind::kFork, .look = Look::kDrop},
                  {.kind = StepKind::kLink},
                  {.kind = StepKind::kUnchain, .look = Look::kCopy},
                  {.kind = StepKind::kCarry, .look = Look::kCommit},
                  {.kind = StepKind::kRebase, .look = Look::kCommit},
                  call("add", StepKind::kTogether),
                  {.kind = StepKind::kRemove},
                  {.kind = StepKind::kCleanUp}};
    const auto text = check.run(guest(kCounter), plan);
    ASSERT_FALSE(text.has_value()) << *text;
    const Statistics& statistics = check.statistics();
    EXPECT_EQ(statistics.histories, 1U);
    EXPECT_EQ(statistics.steps, plan.steps.size());
    EXPECT_EQ(statistics.calls, 4U);
    EXPECT_EQ(statistics.returned, 3U);
    EXPECT_EQ(statistics.trapped, 1U);
    EXPECT_EQ(statistics.forked, 1U);
    EXPECT_EQ(statistics.links, 2U);
    EXPECT_EQ(statistics.links_with_changes, 2U);
    EXPECT_EQ(statistics.unchained, 1U);
    EXPECT_EQ(statistics.in_files, 1U);
    EXPECT_EQ(statistics.carried, 1U);
    EXPECT_EQ(statistics.rebased, 1U);
    EXPECT_EQ(statistics.together, 1U);
    EXPECT_EQ(statistics.calls_lost, 0U);
  }
}

// The twin never hears of what a deadline stopped, or the host: it is as if the call had not been.
TEST(CellsCheckTest, CallsThatAreStoppedNeverHappened) {
  for (const cell::Commit commit : {cell::Commit::kEveryCall, cell::Commit::kOnSleep}) {
    CellsCheck check;
    Plan plan{.options = options(commit, 60'000), .steps = {}};
    plan.steps = {call("add"),
                  call("spin"),
                  {.kind = StepKind::kLook, .look = Look::kCommit},
                  call("tell"),
                  call("", StepKind::kHindered, Answers::kNever),
                  {.kind = StepKind::kLook, .look = Look::kCommit},
                  call("tell"),
                  call("", StepKind::kHindered, Answers::kTooLate),
                  {.kind = StepKind::kLook, .look = Look::kCommit},
                  call("spin", StepKind::kUse),
                  {.kind = StepKind::kLook, .look = Look::kCommit}};
    const auto text = check.run(guest(kCounter), plan);
    ASSERT_FALSE(text.has_value()) << *text;
    EXPECT_EQ(check.statistics().stopped, 3U);
    EXPECT_EQ(check.statistics().unanswered, 1U);
    EXPECT_EQ(check.statistics().calls, 3U);
    // Before each call that failed: "add"; a look and "tell", twice; a look.
    EXPECT_EQ(check.statistics().calls_lost, commit == cell::Commit::kOnSleep ? 6U : 0U);
  }
}

TEST(CellsCheckTest, WhatCannotBeACellIsCounted) {
  CellsCheck check;
  EXPECT_FALSE(
      check.run(guest(R"((module (global (mut funcref) (ref.null func)) (func (export "f0"))))"), {}));
  EXPECT_EQ(check.statistics().not_in_place, 1U);
  EXPECT_EQ(check.statistics().histories, 0U);
}

TEST(CellsCheckTest, AStartThatTrapsIsNoDifference) {
  CellsCheck check;
  const std::string_view text = R"((module (func $f (export "f0") unreachable) (start $f)))";
  EXPECT_FALSE(check.run(guest(text, Generator::kAny), {}).has_value());
  EXPECT_EQ(check.statistics().not_instances, 1U);
  // But of a generator that makes none such.
  EXPECT_TRUE(check.run(guest(text), {}).has_value());
}

TEST(CellsCheckTest, TooLittleIsAFailure) {
  CellsCheck check;
  Plan plan;
  plan.steps = {call("add"), call("add")};
  EXPECT_FALSE(check.run(guest(kCounter), plan).has_value());
  const std::string shortfalls = check.shortfalls();
  for (const std::string_view what : {"threads", "trapped", "length", "table", "deadline", "lost", "forked",
                                      "links", "WASI", "optimised"}) {
    EXPECT_TRUE(shortfalls.find(what) != std::string::npos) << what;
  }
  EXPECT_EQ(shortfalls.find("histories to their end"), std::string::npos);
  EXPECT_EQ(shortfalls.find("calls that returned"), std::string::npos);
}

}  // namespace
}  // namespace spore::cells_test
