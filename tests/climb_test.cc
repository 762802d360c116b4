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

TEST(ClimbTest, APoolUnderLoadOfThreadsStaysClean) {
  const auto runtime = Runtime::create(soon_climbing()).value();
  const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; t++) {
      threads.emplace_back([&] {
        const auto next = runtime->clean_function<int32_t()>(*module, "next").value();
        while (!stop) {
          const Result<int32_t> answer = next();
          if (!answer.ok() || answer.value() != 1) wrong++;
        }
      });
    }
    const auto begin = Clock::now();
    while (module->tier() != Tier::kOptimised && Clock::now() - begin < kLong) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    stop = true;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(module->tier(), Tier::kOptimised);
  const auto steps = runtime->explain(*module).value();
  EXPECT_GE(steps.hand_overs.done, 1u);
  EXPECT_EQ(steps.hand_overs.refused, 0u) << steps.hand_overs.last_refusal;
  EXPECT_EQ(runtime->statistics().pool.counts.failed, 0u);
}

TEST(ClimbTest, AWarmedUpModuleIsThereBeforeItsFirstCall) {
  const auto runtime = Runtime::create({}).value();
  const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
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
    const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
    EXPECT_TRUE(runtime->warm_up(*module, Tier::kOptimised).ok());
    EXPECT_EQ(runtime->statistics().code.compiled, 2u);
  }
  const auto runtime = Runtime::create(options).value();
  const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
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
  const auto module = runtime->load_module("counter", test::wasm(kCounter)).value();
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
                const auto module = runtime->load_module("child", test::wasm(kCounter));
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
