// Modules that are called go up a tier while they are: no call is lost, none gives another answer, and all
// state is as the calls have made it.

#include <atomic>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "spore/spore.h"
#include "tests/child.h"
#include "tests/guest_file.h"
#include "tests/process.h"
#include "tests/replaced.h"
#include "tests/sanitizers.h"

namespace spore {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLong{60};

// Counts its calls in memory, in a global and in a table: `next` gives the count, or a negative number if
// they differ.  Every 64th call grows the memory, every 16th the table.
constexpr const char* kCounter = R"((module
  (memory (export "memory") 1 2000)
  (table $t 1 100000 funcref)
  (global $count (mut i32) (i32.const 0))
  (type $number (func (result i32)))
  (elem declare func $zero $one)
  (func $zero (type $number) (i32.const 0))
  (func $one (type $number) (i32.const 1))
  (func (export "next") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (if (i32.ne (i32.load (i32.const 8)) (global.get $count)) (then (return (i32.const -1))))
    (if (i32.gt_u (global.get $count) (i32.const 1))
      (then (if (i32.eq (call_indirect $t (type $number) (i32.const 0))
                        (i32.and (global.get $count) (i32.const 1)))
        (then (return (i32.const -2))))))
    (if (i32.and (global.get $count) (i32.const 1))
      (then (table.set $t (i32.const 0) (ref.func $one)))
      (else (table.set $t (i32.const 0) (ref.func $zero))))
    (if (i32.eqz (i32.and (global.get $count) (i32.const 63)))
      (then (drop (memory.grow (i32.const 1)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (global.get $count))))
    (if (i32.eqz (i32.and (global.get $count) (i32.const 15)))
      (then (drop (table.grow $t (ref.func $one) (i32.const 1)))))
    (global.get $count))
  (func (export "pages") (result i32) (memory.size))
  (func (export "elements") (result i32) (table.size $t)))
)";

// The interpreter takes no table that grows.
std::string counter_of_one_table_length() {
  return test::replaced(kCounter, "(drop (table.grow $t (ref.func $one) (i32.const 1)))", "(nop)");
}

RuntimeOptions soon_climbing() {
  RuntimeOptions options;
  options.tier_up = {.calls = 500, .delay_ms = 1, .guest_ms = 1'000'000};
  return options;
}

TEST(ClimbTest, AnInstanceUnderConstantLoadLosesNothing) {
  const auto runtime = Runtime::create(soon_climbing()).value();
  const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
  EXPECT_EQ(module->tier(), Tier::kBaseline);
  const Instance instance = runtime->instantiate(*module).value();
  const auto next = instance.function<int32_t()>("next").value();
  const auto begin = Clock::now();
  int32_t calls = 0;
  int32_t after = 0;
  while (after < 10'000 && Clock::now() - begin < kLong) {
    ASSERT_EQ(next().value(), ++calls);
    if (instance.code().engine().options().tier == Tier::kOptimised) after++;
  }
  EXPECT_EQ(after, 10'000);
  EXPECT_EQ(module->tier(), Tier::kOptimised);
  EXPECT_EQ(instance.function<int32_t()>("pages").value()().value(), std::min(2000, 1 + calls / 64));
  EXPECT_EQ(instance.function<int32_t()>("elements").value()().value(), std::min(100'000, 1 + calls / 16));
  const auto steps = runtime->explain(*module).value();
  EXPECT_EQ(steps.hand_overs.done, 1u);
  EXPECT_EQ(steps.hand_overs.refused, 0u) << steps.hand_overs.last_refusal;
  ASSERT_EQ(steps.steps.size(), 2u);
  EXPECT_EQ(steps.functions.front().name, "next");
  EXPECT_EQ(steps.functions.front().calls, static_cast<uint64_t>(calls));
}

// Small modules, too, begin in the interpreter, and may be raised to the peak.
RuntimeOptions from_the_interpreter() {
  RuntimeOptions options = soon_climbing();
  options.interpret_bytes_min = 0;
  options.compile_after = {.calls = 500, .delay_ms = 1, .guest_ms = 1'000'000};
  options.peak = runtime::Peak::kManual;
  options.limits.table_elements_max = 1'000'000;
  return options;
}

Tier tier_of(const Instance& instance) { return instance.code().engine().options().tier; }

// Goal: a cell under constant load goes through all four tiers; no call is lost, none gives a wrong answer,
// all state is kept.  The last step is forced, by another thread, while calls go on.
TEST(ClimbTest, AnInstanceUnderConstantLoadGoesThroughAllTiers) {
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  EXPECT_EQ(module->tier(), Tier::kInterpreter);
  const Instance instance = runtime->instantiate(*module).value();
  const auto next = instance.function<int32_t()>("next").value();
  const auto begin = Clock::now();
  std::vector<Tier> tiers{tier_of(instance)};
  std::jthread forcing;
  int32_t calls = 0;
  int32_t after = 0;
  while (after < 5'000 && Clock::now() - begin < kLong) {
    ASSERT_EQ(next().value(), ++calls);
    const Tier tier = tier_of(instance);
    if (tier != tiers.back()) tiers.push_back(tier);
    if (tier == Tier::kOptimised && !forcing.joinable()) {
      forcing = std::jthread([&] {
        const Status raised = runtime->warm_up(*module, Tier::kPeak);
        EXPECT_TRUE(raised.ok()) << raised.message();
      });
    }
    if (tier == Tier::kPeak) after++;
  }
  if (forcing.joinable()) forcing.join();
  const std::vector<Tier> all{Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak};
  EXPECT_EQ(tiers, all);
  EXPECT_EQ(instance.function<int32_t()>("pages").value()().value(), std::min(2000, 1 + calls / 64));
  const auto steps = runtime->explain(*module).value();
  EXPECT_EQ(steps.hand_overs.done, 3u);
  EXPECT_EQ(steps.hand_overs.refused, 0u) << steps.hand_overs.last_refusal;
  ASSERT_TRUE(steps.lazy.has_value());
  EXPECT_EQ(steps.lazy->functions, 5u);
  EXPECT_GE(steps.lazy->translated, 1u);
}

// Three threads call clean instances of the counter until `until` is done; each call must find a new one.
template <typename Until>
void call_in_threads(Runtime& runtime, const Module& module, const Until& until) {
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; t++) {
      threads.emplace_back([&] {
        const auto next = runtime.clean_function<int32_t()>(module, "next").value();
        while (!stop) {
          const Result<int32_t> answer = next();
          if (!answer.ok() || answer.value() != 1) wrong++;
        }
      });
    }
    const auto begin = Clock::now();
    while (module.tier() != Tier::kOptimised && Clock::now() - begin < kLong) std::this_thread::yield();
    until();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop = true;
  }
  EXPECT_EQ(wrong, 0u);
  const auto steps = runtime.explain(module).value();
  EXPECT_GE(steps.hand_overs.done, 1u);
  EXPECT_EQ(steps.hand_overs.refused, 0u) << steps.hand_overs.last_refusal;
  EXPECT_EQ(runtime.statistics().pool.counts.failed, 0u);
}

TEST(ClimbTest, APoolUnderLoadGoesThroughAllTiers) {
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  call_in_threads(*runtime, *module, [&] { EXPECT_TRUE(runtime->warm_up(*module, Tier::kPeak).ok()); });
  EXPECT_EQ(module->tier(), Tier::kPeak);
}

// Goal: what is stopped in the middle of a climb is stopped, and nothing else.  Method: an instance loops
// past its deadline in the interpreter, while its module is compiled for what another one's calls deserve.
TEST(ClimbTest, ADeadlineStrikesWhileTheModuleClimbs) {
  constexpr const char* kLoops = R"((module (func (export "loop") (loop $l (br $l)))
    (func (export "n") (param i32) (result i32) (local.get 0))))";
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module = runtime->load_module("loops", test::wasm(kLoops)).value();
  engine::Limits limits;
  limits.deadline_ms = 100;
  const Instance looping = runtime->instantiate(*module, {.limits = limits}).value();
  const Instance other = runtime->instantiate(*module).value();
  const auto n = other.function<int32_t(int32_t)>("n").value();
  std::jthread loops([&] {
    const auto begin = Clock::now();
    EXPECT_EQ(looping.function<void()>("loop").value()().code(), Code::kDeadlineExceeded);
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(10));
  });
  const auto begin = Clock::now();
  int32_t calls = 0;
  while (tier_of(other) != Tier::kOptimised && Clock::now() - begin < kLong) {
    ASSERT_EQ(n(calls).value(), calls);
    calls++;
  }
  loops.join();
  EXPECT_EQ(tier_of(looping), Tier::kInterpreter);
  EXPECT_TRUE(looping.retired());
  EXPECT_EQ(tier_of(other), Tier::kOptimised);
}

TEST(ClimbTest, AModuleThatIsUnloadedWhileItClimbsGoesOnWhereItIs) {
  for (int round = 0; round < 20; round++) {
    const auto runtime = Runtime::create(from_the_interpreter()).value();
    const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
    const Instance instance = runtime->instantiate(*module).value();
    const auto next = instance.function<int32_t()>("next").value();
    int32_t calls = 0;
    // Unloaded before it deserves code, while that is made, or after.
    for (int i = 0; i < 300 + 50 * round; i++) ASSERT_EQ(next().value(), ++calls);
    ASSERT_TRUE(runtime->unload_module("counter").ok());
    for (int i = 0; i < 1000; i++) ASSERT_EQ(next().value(), ++calls);
  }
}

// --- what a tier does not take
// -------------------------------------------------------------------------------

std::string with_locals(int count) {
  std::string text = "(module (func (export \"f\") (result i32) (local";
  for (int i = 0; i < count; i++) text += " i32";
  return text + ") (i32.const 5)))";
}

TEST(ClimbTest, WhatTheInterpreterRefusesBeginsAbove) {
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module = runtime->load_module("locals", test::wasm(with_locals(9'000))).value();
  EXPECT_EQ(module->tier(), Tier::kBaseline);
  const auto steps = runtime->explain(*module).value();
  EXPECT_TRUE(steps.steps.front().why.starts_with("not interpreter: the interpreter cannot take this module"))
      << steps.steps.front().why;
  EXPECT_EQ(runtime->instantiate(*module).value().function<int32_t()>("f").value()().value(), 5);
}

TEST(ClimbTest, WhatTheBaselineCompilerRefusesClimbsPastIt) {
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module =
      runtime
          ->load_module("tail", test::wasm("(module (func $f (result i32) (i32.const 3))"
                                           "(func (export \"f\") (result i32) (return_call $f)))"))
          .value();
  EXPECT_EQ(module->tier(), Tier::kInterpreter);
  const Instance instance = runtime->instantiate(*module).value();
  const auto f = instance.function<int32_t()>("f").value();
  const auto begin = Clock::now();
  while (tier_of(instance) == Tier::kInterpreter && Clock::now() - begin < kLong) ASSERT_EQ(f().value(), 3);
  EXPECT_EQ(tier_of(instance), Tier::kOptimised);
  const auto refused = runtime->explain(*module).value().refused;
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_TRUE(refused.front().starts_with("baseline: ")) << refused.front();
}

// Goal: when wasm-opt dies, or what it makes is no module, or holds hidden state, the optimised tier serves
// on, and the cause is told.  Method: a stand-in of each kind; some calls before and after.
class BadPeakTest : public testing::TestWithParam<std::pair<const char*, const char*>> {};
TEST_P(BadPeakTest, TheOptimisedTierServesOn) {
  const auto [behaviour, cause] = GetParam();
  const test::TemporaryFolder folder;
  RuntimeOptions options = from_the_interpreter();
  options.peak = runtime::Peak::kAuto;
  options.peak_after = {.calls = 100, .delay_ms = 1, .guest_ms = 1'000'000};
  options.compile.helper = SPORE_COMPILE_HELPER;
  options.rewrite.wasm_opt = folder.path() / behaviour;
  std::filesystem::copy_file(SPORE_WASM_OPT_STUB, options.rewrite.wasm_opt);
  const auto runtime = Runtime::create(options).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  const Instance instance = runtime->instantiate(*module).value();
  const auto next = instance.function<int32_t()>("next").value();
  const auto begin = Clock::now();
  int32_t calls = 0;
  const auto refused = [&] { return runtime->explain(*module).value().refused; };
  while (refused().empty() && Clock::now() - begin < kLong) {
    for (int i = 0; i < 100; i++) ASSERT_EQ(next().value(), ++calls);
  }
  ASSERT_EQ(refused().size(), 1u);
  EXPECT_TRUE(refused().front().starts_with("peak: ")) << refused().front();
  EXPECT_NE(refused().front().find(cause), std::string::npos) << refused().front();
  for (int i = 0; i < 100; i++) ASSERT_EQ(next().value(), ++calls);
  EXPECT_EQ(tier_of(instance), Tier::kOptimised);
  EXPECT_NE(runtime->statistics().metrics_text().find("spore_tiers_refused_total{module=\"counter\"} 1"),
            std::string::npos);
  EXPECT_FALSE(runtime->warm_up(*module, Tier::kPeak).ok());
}
INSTANTIATE_TEST_SUITE_P(Kinds, BadPeakTest,
                         testing::Values(std::pair("crash", "crash"), std::pair("garbage", "not WebAssembly"),
                                         std::pair("hidden_global", "does not export")),
                         [](const auto& kind) { return std::string(kind.param.first); });

TEST(ClimbTest, AStartFunctionThatNeverEndsEndsAtTheDeadline) {
  const auto runtime = Runtime::create(from_the_interpreter()).value();
  const auto module =
      runtime->load_module("start", test::wasm("(module (func $s (loop $l (br $l))) (start $s))")).value();
  EXPECT_EQ(module->tier(), Tier::kInterpreter);
  engine::Limits limits;
  limits.deadline_ms = 50;
  EXPECT_EQ(runtime->instantiate(*module, {.limits = limits}).code(), Code::kDeadlineExceeded);
}

// --- what is translated
// --------------------------------------------------------------------------------------

constexpr const char* kThree = R"((module
  (func (export "a") (result i32) (i32.const 1))
  (func (export "b") (result i32) (i32.const 2))
  (func $c (export "c") (result i32) (i32.const 3))))";

TEST(LazyTest, FunctionsAreTranslatedWhenTheyAreNeededOrAskedFor) {
  RuntimeOptions options = from_the_interpreter();
  options.tier = Tier::kInterpreter;
  const auto runtime = Runtime::create(options).value();
  const auto module = runtime->load_module("three", test::wasm(kThree)).value();
  const Instance instance = runtime->instantiate(*module).value();
  const auto lazy = [&] { return runtime->explain(*module).value().lazy.value(); };
  EXPECT_EQ(lazy().functions, 3u);
  EXPECT_EQ(lazy().translated, 0u);
  const auto a = instance.function<int32_t()>("a").value();
  for (int i = 0; i < 4; i++) EXPECT_EQ(a().value(), 1);
  EXPECT_EQ(lazy().translated, 1u);
  EXPECT_EQ(lazy().calls, 4u);
  EXPECT_EQ(lazy().calls_translating, 1u);
  EXPECT_DOUBLE_EQ(lazy().hit_rate(), 0.75);
  EXPECT_TRUE(instance.store().translate(instance.handle(), 2).ok());
  EXPECT_EQ(lazy().translated, 2u);
  EXPECT_EQ(instance.store().translate(instance.handle(), 3).code(), Code::kNotFound);
  EXPECT_EQ(instance.function<int32_t()>("c").value()().value(), 3);
  EXPECT_EQ(lazy().calls_translating, 1u);  // it was there
  EXPECT_EQ(lazy().translated, 2u);
}

TEST(LazyTest, WhatIsUnusedForLongIsDropped) {
  RuntimeOptions options = from_the_interpreter();
  options.compile_after = {.calls = 1'000'000, .delay_ms = 1, .guest_ms = 1'000'000};
  options.drop_after_ms = 50;
  const auto runtime = Runtime::create(options).value();
  const auto module = runtime->load_module("three", test::wasm(kThree)).value();
  const auto a = runtime->clean_function<int32_t()>(*module, "a").value();
  EXPECT_EQ(a().value(), 1);
  const auto steps = [&] { return runtime->explain(*module).value(); };
  const auto begin = Clock::now();
  while (steps().functions_dropped == 0 && Clock::now() - begin < kLong) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(steps().functions_dropped, 1u);
  EXPECT_EQ(steps().lazy->translated, 0u);
  EXPECT_EQ(a().value(), 1);
  EXPECT_EQ(a().value(), 1);
  EXPECT_EQ(steps().lazy->translated, 1u);  // in the new code
  EXPECT_EQ(module->tier(), Tier::kInterpreter);
}

// Goal: no lock of the interpreter's is inherited held.  Method: a process forks while another thread is
// inside of a module, and uses that one, and another, in the child.
TEST(LazyTest, AForkDuringACallLosesThatModuleAndNoOther) {
  constexpr const char* kLoops = R"((module (func (export "loop") (loop $l (br $l)))
    (func (export "n") (result i32) (i32.const 4))))";
  RuntimeOptions options = from_the_interpreter();
  options.tier = Tier::kInterpreter;
  const auto runtime = Runtime::create(options).value();
  const auto loops = runtime->load_module("loops", test::wasm(kLoops)).value();
  const auto three = runtime->load_module("three", test::wasm(kThree)).value();
  engine::Limits limits;
  limits.deadline_ms = 2'000;
  const Instance looping = runtime->instantiate(*loops, {.limits = limits}).value();
  const Instance beside = runtime->instantiate(*loops).value();
  const Instance other = runtime->instantiate(*three).value();
  const auto n = beside.function<int32_t()>("n").value();
  const auto c = other.function<int32_t()>("c").value();
  EXPECT_EQ(n().value(), 4);
  EXPECT_EQ(c().value(), 3);
  std::jthread inside([&] { static_cast<void>(looping.function<void()>("loop").value()()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(test::in_child([&]() -> std::string {
              if (n().code() != Code::kUnavailable) return "an instance that may hang goes on";
              if (c().value_or(0) != 3) return "another module is lost, too";
              const auto again = runtime->load_module("again", test::wasm(kLoops));
              if (!again.ok()) return std::string(again.status().message());
              const auto fresh = runtime->instantiate(*again.value());
              if (!fresh.ok()) return std::string(fresh.status().message());
              return fresh.value().function<int32_t()>("n").value()().value_or(0) == 4 ? ""
                                                                                       : "another answer";
            }),
            "");
  EXPECT_EQ(n().value(), 4);  // here nothing is lost
}

TEST(ClimbTest, APoolUnderLoadOfThreadsStaysClean) {
  const auto runtime = Runtime::create(soon_climbing()).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  call_in_threads(*runtime, *module, [] {});
  EXPECT_EQ(module->tier(), Tier::kOptimised);
}

TEST(ClimbTest, AWarmedUpModuleIsThereBeforeItsFirstCall) {
  const auto runtime = Runtime::create({}).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  const Instance before = runtime->instantiate(*module).value();
  EXPECT_TRUE(runtime->warm_up(*module, Tier::kOptimised).ok());
  EXPECT_EQ(module->tier(), Tier::kOptimised);
  EXPECT_EQ(before.function<int32_t()>("next").value()().value(), 1);
  EXPECT_EQ(before.code().engine().options().tier, Tier::kOptimised);
  const Instance after = runtime->instantiate(*module).value();
  EXPECT_EQ(after.code().engine().options().tier, Tier::kOptimised);
  EXPECT_TRUE(runtime->unload_module("counter").ok());
  EXPECT_EQ(runtime->warm_up(*module, Tier::kOptimised).code(), Code::kOk);  // it is there already
}

// What cannot be moved stays, says why, and goes on; new instances are of the better code.
TEST(ClimbTest, WhatCannotBeHandedOverStaysWhereItIs) {
  constexpr const char* kPassesReferences = R"((module
    (table 1 funcref)
    (global $n (mut i32) (i32.const 0))
    (func (export "get") (result funcref) (table.get 0 (i32.const 0)))
    (func (export "n") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))))";
  const auto runtime = Runtime::create({}).value();
  const auto module = runtime->load_module("references", test::wasm(kPassesReferences)).value();
  const Instance instance = runtime->instantiate(*module).value();
  const auto n = instance.function<int32_t()>("n").value();
  EXPECT_TRUE(instance.raw_function("get").ok());
  EXPECT_TRUE(runtime->warm_up(*module, Tier::kOptimised).ok());
  EXPECT_EQ(n().value(), 1);
  EXPECT_EQ(n().value(), 2);
  EXPECT_EQ(instance.code().engine().options().tier, Tier::kBaseline);
  const auto steps = runtime->explain(*module).value();
  EXPECT_EQ(steps.hand_overs.refused, 1u);
  EXPECT_EQ(steps.hand_overs.last_refusal, "'get' passes references");
  EXPECT_EQ(runtime->instantiate(*module).value().code().engine().options().tier, Tier::kOptimised);
}

TEST(ClimbTest, AModuleThatBaselineCannotTakeBeginsAbove) {
  const auto runtime = Runtime::create({}).value();
  const auto module =
      runtime
          ->load_module("tail", test::wasm("(module (func $f (result i32) (i32.const 3))"
                                           "(func (export \"f\") (result i32) (return_call $f)))"))
          .value();
  EXPECT_EQ(module->tier(), Tier::kOptimised);
  EXPECT_EQ(runtime->explain(*module).value().next, "none: there is no tier above");
}

TEST(ClimbTest, ALaterProcessFindsWhatThisOneCompiled) {
  const test::TemporaryFolder home;
  RuntimeOptions options = soon_climbing();
  options.code_cache.directory = home.path() / "code";
  {
    const auto runtime = Runtime::create(options).value();
    const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
    EXPECT_TRUE(runtime->warm_up(*module, Tier::kOptimised).ok());
    EXPECT_EQ(runtime->statistics().code.compiled, 2u);
  }
  const auto runtime = Runtime::create(options).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  EXPECT_EQ(module->tier(), Tier::kOptimised);
  EXPECT_EQ(runtime->instantiate(*module).value().function<int32_t()>("next").value()().value(), 1);
  EXPECT_EQ(runtime->statistics().code.compiled, 0u);
  EXPECT_EQ(runtime->statistics().code.found_in_cache, 1u);
}

// Long enough that looking is worth it; its data, start function and table must be there each time.
std::vector<uint8_t> worth_knowing() {
  return test::wasm(fmt::format(
      R"((module (memory (export "memory") 1) (table 2 funcref) (global $s (mut i32) (i32.const 0))
        (data (i32.const 100) "known") (data (i32.const 1000) "{}")
        (elem declare func $f)
        (func $start (global.set $s (i32.const 7)) (table.set 0 (i32.const 1) (ref.func $f)))
        (start $start)
        (func $f (result i32) (i32.add (global.get $s) (i32.load8_u (i32.const 100))))
        (func (export "f") (result i32) (call_indirect (result i32) (i32.const 1)))))",
      std::string(8000, 'x')));
}

// The second time neither code nor module is read: facts and code are in the cache, and all works as before.
TEST(ClimbTest, AModuleThatIsKnownIsNotPreparedAgain) {
  const test::TemporaryFolder home;
  RuntimeOptions options;
  options.tier = Tier::kOptimised;
  options.code_cache.directory = home.path() / "code";
  const std::vector<uint8_t> wasm = worth_knowing();
  for (int round = 0; round < 3; round++) {
    const auto runtime = Runtime::create(options).value();
    const auto module = runtime->load_module("known", wasm).value();
    EXPECT_EQ(runtime->statistics().code.compiled, round == 0 ? 1u : 0u);
    EXPECT_EQ(module->facts().hash, sha256(wasm));
    EXPECT_EQ(module->prepared()->reset(), wasm::ResetMode::kInPlace);
    EXPECT_EQ(runtime->instantiate(*module).value().function<int32_t()>("f").value()().value(), 7 + 'k');
    const auto clean = runtime->clean_function<int32_t()>(*module, "f").value();
    for (int call = 0; call < 3; call++) EXPECT_EQ(clean().value(), 7 + 'k');
    EXPECT_EQ(runtime->explain(*module).value().steps[0].origin,
              round == 0 ? code::Origin::kCompiler : code::Origin::kCache);
  }
}

// Only baseline code was kept: the next process begins with that, and prepares the module when it climbs.
TEST(ClimbTest, AModuleThatIsKnownClimbs) {
  const test::TemporaryFolder home;
  RuntimeOptions options;
  options.code_cache.directory = home.path() / "code";
  const std::vector<uint8_t> wasm = worth_knowing();
  for (int round = 0; round < 3; round++) {
    const auto runtime = Runtime::create(options).value();
    const auto module = runtime->load_module("known", wasm).value();
    EXPECT_EQ(module->tier(), round < 2 ? Tier::kBaseline : Tier::kOptimised);
    EXPECT_EQ(runtime->statistics().code.compiled, round == 0 ? 1u : 0u);
    const Instance instance = runtime->instantiate(*module).value();
    const auto f = instance.function<int32_t()>("f").value();
    EXPECT_EQ(f().value(), 7 + 'k');
    if (round == 0) continue;
    const Status status = runtime->warm_up(*module, Tier::kOptimised);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(runtime->statistics().code.compiled, round == 1 ? 1u : 0u);
    EXPECT_EQ(f().value(), 7 + 'k');
    EXPECT_EQ(instance.code().engine().options().tier, Tier::kOptimised);
  }
}

TEST(ClimbTest, AForkedChildGoesOnAndCompiles) {
  const auto runtime = Runtime::create(soon_climbing()).value();
  const auto module = runtime->load_module("counter", test::wasm(counter_of_one_table_length())).value();
  const Instance instance = runtime->instantiate(*module).value();
  const auto next = instance.function<int32_t()>("next").value();
  for (int32_t i = 1; i <= 100; i++) EXPECT_EQ(next().value(), i);
  EXPECT_EQ(test::in_child([&]() -> std::string {
              for (int32_t i = 101; i <= 200; i++) {
                if (next().value() != i) return "another answer";
              }
              const Status status = runtime->warm_up(*module, Tier::kOptimised);
              if (!status.ok()) return std::string(status.message());
              if (next().value() != 201) return "another answer above";
              if (instance.code().engine().options().tier != Tier::kOptimised) return "it did not go over";
              return "";
            }),
            "");
  EXPECT_EQ(next().value(), 101);
}

// Goal: a fork finds no lock of the engine held, whatever other threads are at: compiling, loading from the
// cache, binding, freeing code.  Method: children load a module of their own; one that hangs is the test's
// timeout.
TEST(ClimbTest, AForkWhileCodeIsMadeLeavesAnEngineThatWorks) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "its allocator has locks that a fork leaves held";
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan does not follow threads that a forked child starts";
  const test::TemporaryFolder home;
  RuntimeOptions options;
  options.code_cache.directory = home.path() / "code";
  const auto runtime = Runtime::create(options).value();
  std::atomic<bool> stop{false};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; !stop; i++) {
        const std::string name = fmt::format("m{}", t);
        const std::string text =
            fmt::format("(module (func (export \"f\") (result i32) (i32.const {})))", i % 50);
        const auto module = runtime->load_module(name, test::wasm(text)).value();
        EXPECT_EQ(runtime->instantiate(*module).value().function<int32_t()>("f").value()().value(), i % 50);
        EXPECT_TRUE(runtime->unload_module(name).ok());
      }
    });
  }
  for (int i = 0; i < 30; i++) {
    EXPECT_EQ(test::in_child([&]() -> std::string {
                const auto module = runtime->load_module("child", test::wasm(counter_of_one_table_length()));
                if (!module.ok()) return std::string(module.status().message());
                const auto instance = runtime->instantiate(*module.value());
                if (!instance.ok()) return std::string(instance.status().message());
                return instance.value().function<int32_t()>("next").value()().value() == 1 ? "" : "wrong";
              }),
              "");
  }
  stop = true;
}

}  // namespace
}  // namespace spore
