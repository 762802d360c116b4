#include "spore/runtime/runtime.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"
#include "tests/json_check.h"
#include "tests/snapshot_file.h"

namespace spore::runtime {
namespace {

using engine::Tier;
using host::HostFunctions;
using host::Instance;
using test::guest;
using test::wasm;

using Bytes = std::vector<uint8_t>;
using ModulePointer = std::shared_ptr<const Module>;

constexpr uint64_t kPage = 65536;

std::unique_ptr<Runtime> make(RuntimeOptions options = {}) {
  return Runtime::create(std::move(options)).value();
}

Bytes answer(int32_t value) {
  return wasm(fmt::format("(module (func (export \"answer\") (result i32) (i32.const {})))", value));
}

int32_t ask(const Instance& instance, std::string_view name = "answer") {
  return instance.function<int32_t()>(name).value()().value();
}

// Compares code and message; a Result or a Status.
void expect_error(const Status& status, Code code, std::string_view message) {
  EXPECT_EQ(code_name(status.code()), code_name(code));
  EXPECT_EQ(status.message(), message);
}

// --- what an image says was seen of its module --------------------------------------------------------

// Compiles, and counts what it was asked for; optimised code when it may.
class CountingCompiler final : public code::Compiler {
 public:
  Result<code::Compiled> compile(const engine::Engine& engine, const code::Source& source,
                                 const std::stop_token& stop) override {
    if (engine.options().tier == Tier::kOptimised) {
      optimised++;
      while (closed && !stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return code::InProcessCompiler().compile(engine, source, stop);
  }
  std::atomic<int> optimised{0};
  std::atomic<bool> closed{false};
};

class ProfileTest : public testing::Test {
 protected:
  ProfileTest() {
    contents_.profile = code::Profile{.tier = Tier::kOptimised,
                                      .functions = {{.name = "answer", .calls = 5000, .mean_us = 3}}};
  }
  // So that no module climbs because it is called.
  std::unique_ptr<Runtime> make_slow(bool profiles) {
    RuntimeOptions options;
    options.profiles = profiles;
    options.compiler = compiler_;
    options.tier_up = {.calls = kCalls, .delay_ms = 0, .guest_ms = UINT64_MAX};
    return make(std::move(options));
  }
  template <typename Condition>
  static bool soon(const Condition& condition) {
    for (int i = 0; i < 60'000 && !condition(); i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }

  static constexpr uint64_t kCalls = 1000;
  snapshot::Contents contents_ = test::contents_without_engine(answer(42), {});
  std::shared_ptr<CountingCompiler> compiler_ = std::make_shared<CountingCompiler>();
};

// With it on, nobody has to call the module for it to get better code, which takes as long as compiling does;
// calls are answered meanwhile.
TEST_F(ProfileTest, AModuleThatIsNotCalledComesToWhereItWas) {
  compiler_->closed = true;
  const auto runtime = make_slow(true);
  const ModulePointer module = runtime->load_image("m", contents_).value();
  EXPECT_TRUE(soon([&] { return compiler_->optimised == 1; }));
  EXPECT_EQ(module->tier(), Tier::kBaseline);
  const Instance instance = runtime->instantiate(*module).value();
  EXPECT_EQ(ask(instance), 42);
  compiler_->closed = false;
  EXPECT_TRUE(soon([&] { return module->tier() == Tier::kOptimised; }));
  EXPECT_EQ(ask(instance), 42);
  EXPECT_EQ(instance.code().engine().options().tier, Tier::kOptimised);
  EXPECT_EQ(runtime->explain(*module).value().steps.at(1).why, "it was optimised before");
}

// With it off, the same module is called as often, and stays: the ladder has looked at it, as another one
// that was loaded later has climbed.  Then it is called enough.
TEST_F(ProfileTest, WhereProfilesAreOffCallsDecide) {
  const auto runtime = make_slow(false);
  const ModulePointer module = runtime->load_image("m", contents_).value();
  const Instance instance = runtime->instantiate(*module).value();
  EXPECT_EQ(ask(instance), 42);
  const ModulePointer told = runtime->load_module("told", answer(43), {.profile = contents_.profile}).value();
  EXPECT_TRUE(soon([&] { return told->tier() == Tier::kOptimised; }));
  EXPECT_EQ(compiler_->optimised, 1);
  EXPECT_EQ(module->tier(), Tier::kBaseline);
  EXPECT_EQ(runtime->explain(*module).value().steps.size(), 1u);
  for (uint64_t i = 0; i < kCalls; i++) ask(instance);
  EXPECT_TRUE(soon([&] { return module->tier() == Tier::kOptimised; }));
}

// An image says how far its module may climb: whatever was seen of it, and whoever asks.
TEST_F(ProfileTest, AModuleClimbsNoFurtherThanItsImageSays) {
  const auto runtime = make_slow(true);
  contents_.manifest.tier_max = snapshot::TierMax::kBasic;
  const ModulePointer basic = runtime->load_image("basic", contents_).value();
  snapshot::Contents other = test::contents_without_engine(answer(7), {});
  other.profile = contents_.profile;
  const ModulePointer free = runtime->load_image("free", other).value();
  EXPECT_TRUE(soon([&] { return free->tier() == Tier::kOptimised; }));  // the ladder has looked at both
  EXPECT_EQ(basic->tier(), Tier::kBaseline);
  const Status refused = runtime->warm_up(*basic, Tier::kOptimised);
  EXPECT_EQ(refused.code(), Code::kUnsupported);
  EXPECT_NE(refused.message().find("may climb to the baseline tier at most"), std::string_view::npos);
  EXPECT_EQ(basic->tier(), Tier::kBaseline);

  contents_.manifest.tier_max = snapshot::TierMax::kNone;
  const ModulePointer none = runtime->load_image("none", contents_).value();
  EXPECT_EQ(none->tier(), Tier::kInterpreter);
  EXPECT_FALSE(runtime->warm_up(*none, Tier::kBaseline).ok());
  contents_.manifest.tier_max = snapshot::TierMax::kAggressive;
  const ModulePointer aggressive = runtime->load_image("aggressive", contents_).value();
  EXPECT_TRUE(soon([&] { return aggressive->tier() == Tier::kOptimised; }));
  EXPECT_EQ(runtime->warm_up(*aggressive, Tier::kPeak).code(), Code::kUnsupported);
  // What the caller says counts, not the file.
  contents_.manifest.tier_max = snapshot::TierMax::kNone;
  EXPECT_EQ(runtime->load_image("asked", contents_, {.tier = Tier::kOptimised}).value()->tier(),
            Tier::kOptimised);
  const ModulePointer raised = runtime->load_image("raised", contents_, {.tier_max = Tier::kPeak}).value();
  EXPECT_TRUE(soon([&] { return raised->tier() == Tier::kOptimised; }));
}

// What the caller says counts, not the file.
TEST_F(ProfileTest, OptionsStandBeforeTheImage) {
  const auto runtime = make_slow(true);
  const ModulePointer low =
      runtime->load_image("low", contents_, {.profile = code::Profile{.tier = Tier::kBaseline}}).value();
  const ModulePointer fixed = runtime->load_image("fixed", contents_, {.tier = Tier::kBaseline}).value();
  snapshot::Contents other = test::contents_without_engine(answer(7), {});
  other.profile = contents_.profile;
  const ModulePointer module = runtime->load_image("m", other).value();
  EXPECT_TRUE(soon([&] { return module->tier() == Tier::kOptimised; }));
  EXPECT_EQ(low->tier(), Tier::kBaseline);
  EXPECT_EQ(fixed->tier(), Tier::kBaseline);
  EXPECT_EQ(compiler_->optimised, 1);
}

// A module that was loaded for the base learns what an image that is derived from it has seen.
TEST_F(ProfileTest, ADerivedImageTellsWhatItHasSeen) {
  for (const bool profiles : {true, false}) {
    const auto runtime = make_slow(profiles);
    snapshot::Contents base = contents_;
    base.profile.reset();
    const ModulePointer module = runtime->load_image("m", base).value();
    snapshot::Contents derived = contents_;
    derived.base = derived.id;
    ASSERT_TRUE(runtime->restore_library(*module, derived).ok());
    const ModulePointer told =
        runtime->load_module("told", answer(43), {.profile = contents_.profile}).value();
    EXPECT_TRUE(soon([&] { return told->tier() == Tier::kOptimised; }));
    const auto climbed = [&] { return module->tier() == Tier::kOptimised; };
    EXPECT_EQ(profiles ? soon(climbed) : climbed(), profiles);
  }
}

// --- modules ------------------------------------------------------------------------------------------

TEST(RuntimeTest, LoadsInstantiatesCallsAndUnloads) {
  const auto runtime = make();
  const ModulePointer module = runtime->load_module("numbers", guest("numbers.wat")).value();
  const Instance instance = runtime->instantiate("numbers").value();
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(40, 2).value()), 42);
  EXPECT_EQ(runtime->module("numbers").value(), module);
  EXPECT_TRUE(runtime->unload_module("numbers").ok());
  EXPECT_EQ(runtime->module("numbers").code(), Code::kNotFound);
}

TEST(RuntimeTest, AModuleTellsWhatItIs) {
  const auto runtime = make();
  const Bytes bytes = answer(42);
  const ModulePointer module = runtime
                                   ->load_module("m", bytes,
                                                 {.version = "1.2",
                                                  .description = "gives 42",
                                                  .tier = Tier::kBaseline,
                                                  .limits = engine::Limits{.deadline_ms = 77}})
                                   .value();
  EXPECT_EQ(module->name(), "m");
  EXPECT_EQ(module->version(), "1.2");
  EXPECT_EQ(module->description(), "gives 42");
  EXPECT_EQ(module->tier(), Tier::kBaseline);
  EXPECT_EQ(module->limits().deadline_ms, 77u);
  EXPECT_EQ(module->facts().hash, sha256(bytes));
  EXPECT_EQ(module->code()->module_hash(), sha256(bytes));
  EXPECT_GT(module->compile_ns(), 0u);
  EXPECT_GT(module->code()->native_bytes(), 0u);
}

TEST(RuntimeTest, ANameIsTakenUntilItIsUnloaded) {
  const auto runtime = make();
  const Bytes first = answer(1);
  const Bytes second = answer(2);
  ASSERT_TRUE(runtime->load_module("m", first).ok());
  const std::string hash = sha256(first).hex().substr(0, 12);
  expect_error(runtime->load_module("m", second).status(), Code::kAlreadyExists,
               fmt::format("a module 'm' is loaded already (hash {})", hash));
  expect_error(runtime->load_module("m", first).status(), Code::kAlreadyExists,
               fmt::format("a module 'm' is loaded already (hash {})", hash));
  EXPECT_EQ(ask(runtime->instantiate("m").value()), 1);
  ASSERT_TRUE(runtime->unload_module("m").ok());
  ASSERT_TRUE(runtime->load_module("m", second).ok());
  EXPECT_EQ(ask(runtime->instantiate("m").value()), 2);
}

TEST(RuntimeTest, OneModuleMayHaveSeveralNames) {
  const auto runtime = make();
  for (const char* name : {"a", "b", "folder/a b.wasm", "\u00fc"})
    EXPECT_TRUE(runtime->load_module(name, answer(1)).ok());
  EXPECT_TRUE(runtime->unload_module("a").ok());
  EXPECT_EQ(ask(runtime->instantiate("b").value()), 1);
}

TEST(RuntimeTest, UnknownNamesAreNotFound) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", answer(1)).ok());
  expect_error(runtime->module("n").status(), Code::kNotFound, "no module 'n' is loaded");
  expect_error(runtime->instantiate("n").status(), Code::kNotFound, "no module 'n' is loaded");
  expect_error(runtime->unload_module("n"), Code::kNotFound, "no module 'n' is loaded");
  ASSERT_TRUE(runtime->unload_module("m").ok());
  expect_error(runtime->unload_module("m"), Code::kNotFound, "no module 'm' is loaded");
  expect_error(runtime->load_module("", answer(1)).status(), Code::kInvalidArgument, "a module needs a name");
}

TEST(RuntimeTest, WhatIsNoModuleLeavesNoTrace) {
  const auto runtime = make();
  EXPECT_EQ(runtime->load_module("m", {}).code(), Code::kInvalidModule);
  const std::string_view text = "(module)";
  EXPECT_EQ(runtime->load_module("m", Bytes(text.begin(), text.end())).code(), Code::kInvalidModule);
  EXPECT_EQ(runtime->load_module("m", wasm("(module (func (param externref)))")).code(), Code::kUnsupported);
  EXPECT_TRUE(runtime->list_modules().empty());
  EXPECT_TRUE(runtime->load_module("m", answer(1)).ok());
}

TEST(RuntimeTest, ModulesHaveAMostAndRoomComesBack) {
  const auto runtime = make({.modules_max = 2});
  EXPECT_TRUE(runtime->load_module("a", answer(1)).ok());
  EXPECT_TRUE(runtime->load_module("b", answer(2)).ok());
  expect_error(runtime->load_module("c", answer(3)).status(), Code::kLimitExceeded,
               "2 modules are loaded (modules_max=2)");
  EXPECT_TRUE(runtime->unload_module("a").ok());
  EXPECT_TRUE(runtime->load_module("c", answer(3)).ok());
  EXPECT_EQ(make({.modules_max = 0})->load_module("a", answer(1)).code(), Code::kLimitExceeded);
}

TEST(RuntimeTest, TheLargestModuleIsTheLimit) {
  const Bytes module = answer(1);
  EXPECT_TRUE(make({.module_bytes_max = module.size() + 1})->load_module("m", module).ok());
  EXPECT_TRUE(make({.module_bytes_max = module.size()})->load_module("m", module).ok());
  const auto runtime = make({.module_bytes_max = module.size() - 1});
  EXPECT_EQ(runtime->load_module("m", module).code(), Code::kLimitExceeded);
  EXPECT_TRUE(runtime->load_module("m", wasm("(module)")).ok());
}

TEST(RuntimeTest, ModulesAndFunctionsAreListedInOrder) {
  const auto runtime = make();
  EXPECT_TRUE(runtime->list_modules().empty());
  EXPECT_TRUE(runtime->list_functions().empty());
  ASSERT_TRUE(runtime
                  ->load_module("b", wasm(R"((module (memory (export "memory") 1)
                    (func (export "z") (param i32 f64) (result i64) (i64.const 0)) (func (export "a"))))"))
                  .ok());
  ASSERT_TRUE(runtime->load_module("a", answer(1)).ok());
  std::string modules;
  for (const ModulePointer& module : runtime->list_modules()) modules += module->name() + " ";
  EXPECT_EQ(modules, "a b ");
  std::vector<std::string> functions;
  for (const FunctionDescription& function : runtime->list_functions()) {
    functions.push_back(fmt::format("{}.{} {}", function.module, function.name, function.type));
  }
  EXPECT_EQ(functions,
            (std::vector<std::string>{"a.answer () -> i32", "b.z (i32, f64) -> i64", "b.a () -> ()"}));
}

// --- lives --------------------------------------------------------------------------------------------

TEST(RuntimeTest, InstancesAndModulesOutliveTheUnloading) {
  const auto runtime = make();
  const ModulePointer module = runtime->load_module("m", answer(7)).value();
  const Instance before = runtime->instantiate(*module).value();
  ASSERT_TRUE(runtime->unload_module("m").ok());
  EXPECT_EQ(ask(before), 7);
  EXPECT_EQ(ask(runtime->instantiate(*module).value()), 7);
  EXPECT_EQ(runtime->instantiate("m").code(), Code::kNotFound);
}

// A call on an instance whose module and Runtime are gone, with a host function and a deadline, which need
// what the Runtime made: log and ticker.
TEST(RuntimeTest, InstancesOutliveTheRuntime) {
  std::vector<std::string> lines;
  auto runtime =
      make({.log = Log(LogLevel::kInfo, [&](LogLevel, std::string_view line) { lines.emplace_back(line); })});
  ModulePointer module = runtime
                             ->load_module("m", wasm(R"((module
                               (import "spore" "log" (func $log (param i32 i32)))
                               (memory (export "memory") 1) (data (i32.const 0) "hello")
                               (func (export "endless") (loop (br 0)))
                               (func (export "say") (call $log (i32.const 0) (i32.const 5)))))"))
                             .value();
  Instance instance = runtime->instantiate(*module).value();
  const Instance other = runtime->instantiate(*module).value();
  ASSERT_TRUE(runtime->unload_module("m").ok());
  module.reset();
  runtime.reset();
  EXPECT_TRUE(instance.function<void()>("say").value()().ok());
  EXPECT_EQ(lines, std::vector<std::string>{"guest: hello"});
  ASSERT_TRUE(instance.set_deadline_ms(30).ok());
  EXPECT_EQ(instance.function<void()>("endless").value()().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(other.function<void()>("say").value()().ok());
}

TEST(RuntimeTest, AModuleOutlivesItsRuntime) {
  ModulePointer module = make()->load_module("m", answer(7)).value();
  const auto other = make();
  EXPECT_EQ(ask(other->instantiate(*module).value()), 7);
}

TEST(RuntimeTest, AClosedRuntimeStartsNothingNew) {
  const auto runtime = make();
  const ModulePointer module = runtime->load_module("m", answer(7)).value();
  Instance instance = runtime->instantiate(*module).value();
  runtime->close();
  expect_error(runtime->load_module("n", answer(1)).status(), Code::kUnavailable, "this Runtime was closed");
  expect_error(runtime->instantiate(*module).status(), Code::kUnavailable, "this Runtime was closed");
  expect_error(runtime->instantiate("m").status(), Code::kUnavailable, "this Runtime was closed");
  expect_error(runtime->instantiate_linked(*module, instance, {}).status(), Code::kUnavailable,
               "this Runtime was closed");
  EXPECT_EQ(ask(instance), 7);  // what runs goes on
  EXPECT_EQ(runtime->list_modules().size(), 1u);
  EXPECT_TRUE(runtime->unload_module("m").ok());
  runtime->close();
}

// --- imports ------------------------------------------------------------------------------------------

constexpr std::string_view kMissing =
    "m: 6 imports that nobody provides: env.first (i32) -> i32, env.memory (memory), env.table (table), "
    "env.base (global), spore.log (i64) -> () (the host has (i32, i32) -> ()), other.last () -> f64";

TEST(RuntimeTest, AllMissingImportsAreToldAtOnce) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", guest("missing_imports.wat")).ok());  // loading it is no mistake
  expect_error(runtime->instantiate("m").status(), Code::kInvalidArgument, kMissing);
  expect_error(runtime->instantiate("m").status(), Code::kInvalidArgument, kMissing);
}

TEST(RuntimeTest, OneMissingImportIsOne) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (import \"env\" \"f\" (func (result f32))))")).ok());
  expect_error(runtime->instantiate("m").status(), Code::kInvalidArgument,
               "m: 1 import that nobody provides: env.f () -> f32");
}

TEST(RuntimeTest, ProgramsForWasiRunAndTellTheirExitCode) {
  const auto runtime = make();
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"((module
                    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                    (memory (export "memory") 1)
                    (func (export "_start") (call $exit (i32.const 7)))))"))
                  .ok());
  Instance instance = runtime->instantiate("m").value();
  EXPECT_EQ(instance.run_command().value(), 7u);
  expect_error(instance.run_command().status(), Code::kUnavailable,
               "this instance has exited: make a new one");
}

TEST(RuntimeTest, InitializersRunBeforeAllElse) {
  const auto runtime = make();
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"((module
                    (global $ready (mut i32) (i32.const 0))
                    (func (export "_initialize") (global.set $ready (i32.const 1)))
                    (func (export "answer") (result i32) (global.get $ready))))"))
                  .ok());
  EXPECT_EQ(ask(runtime->instantiate("m").value()), 1);
}

TEST(RuntimeTest, AnInitializerThatTrapsIsNamed) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm(R"((module (func (export "_initialize") unreachable)))")).ok());
  expect_error(runtime->instantiate("m").status(), Code::kTrap,
               "_initialize: the guest trapped: unreachable in function 0");
}

TEST(RuntimeTest, HostFunctionsOfTheRuntimeAndOfTheModule) {
  const Bytes module = wasm(R"((module
    (import "env" "a" (func $a (result i32))) (import "env" "b" (func $b (result i32)))
    (func (export "answer") (result i32) (i32.add (i32.mul (call $a) (i32.const 10)) (call $b)))))");
  RuntimeOptions options;
  options.host.define("env", "a", [] { return int32_t{1}; }).define("env", "b", [] { return int32_t{2}; });
  const auto runtime = make(options);
  ASSERT_TRUE(runtime->load_module("plain", module).ok());
  ModuleOptions own;
  own.host.define("env", "b", [] { return int32_t{7}; });
  ASSERT_TRUE(runtime->load_module("own", module, own).ok());
  EXPECT_EQ(ask(runtime->instantiate("plain").value()), 12);
  EXPECT_EQ(ask(runtime->instantiate("own").value()), 17);  // the module's goes over the Runtime's
}

TEST(RuntimeTest, UserDataReachesHostFunctions) {
  RuntimeOptions options;
  options.host.define("env", "f",
                      [](host::Caller& caller) { return *static_cast<int32_t*>(caller.user_data()); });
  const auto runtime = make(options);
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"((module (import "env" "f" (func $f (result i32)))
                                    (func (export "answer") (result i32) (call $f))))"))
                  .ok());
  int32_t one = 1;
  int32_t two = 2;
  const Instance first = runtime->instantiate("m", {.user_data = &one}).value();
  const Instance second = runtime->instantiate("m", {.user_data = &two}).value();
  EXPECT_EQ(ask(first), 1);
  EXPECT_EQ(ask(second), 2);
}

// --- the guests' log ----------------------------------------------------------------------------------

TEST(RuntimeTest, GuestsLogWithinTheirLimit) {
  std::vector<std::string> lines;
  const auto runtime = make({.limits = {.log_bytes_max = 10},
                             .log = Log(LogLevel::kInfo, [&](LogLevel level, std::string_view line) {
                               lines.push_back(fmt::format("{} {}", log_level_name(level), line));
                             })});
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"((module
                    (import "spore" "log" (func $log (param i32 i32)))
                    (memory (export "memory") 1) (data (i32.const 0) "0123456789\0a{}")
                    (func (export "say") (param i32) (call $log (i32.const 0) (local.get 0)))
                    (func (export "say_twice") (param i32)
                      (call $log (i32.const 0) (local.get 0)) (call $log (i32.const 10) (local.get 0)))))"))
                  .ok());
  const Instance instance = runtime->instantiate("m").value();
  const auto say = instance.function<void(int32_t)>("say").value();
  EXPECT_TRUE(say(9).ok());
  EXPECT_TRUE(say(10).ok());
  expect_error(say(11), Code::kLimitExceeded,
               "host function spore.log: 11 bytes more than 0 in one call (log_bytes_max=10)");
  EXPECT_EQ(lines, (std::vector<std::string>{"info guest: 012345678", "info guest: 0123456789"}));

  const Instance next = runtime->instantiate("m").value();
  const auto say_twice = next.function<void(int32_t)>("say_twice").value();
  EXPECT_TRUE(say_twice(5).ok());
  expect_error(say_twice(6), Code::kLimitExceeded,
               "host function spore.log: 6 bytes more than 6 in one call (log_bytes_max=10)");
}

// A guest must not be able to end a line and write one of its own, or to drive the terminal; and all that it
// said is there, however much longer it becomes.
TEST(RuntimeTest, GuestsCannotForgeLogLines) {
  std::string seen;
  const auto runtime =
      make({.log = Log(LogLevel::kInfo, [&](LogLevel, std::string_view line) { seen = line; })});
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"wat((module
                    (import "spore" "log" (func $log (param i32 i32)))
                    (memory (export "memory") 1) (data (i32.const 0) "\0a\1b\00\ffx")
                    (func (export "say") (param i32) (call $log (i32.const 0) (local.get 0)))))wat"))
                  .ok());
  const Instance instance = runtime->instantiate("m").value();
  const auto say = instance.function<void(int32_t)>("say").value();
  EXPECT_TRUE(say(5).ok());
  EXPECT_EQ(seen, "guest: \\x0a\\x1b\\x00\\xffx");
  EXPECT_TRUE(say(0).ok());
  EXPECT_EQ(seen, "guest: ");
}

// --- limits -------------------------------------------------------------------------------------------

TEST(RuntimeTest, TheMemoryOfAnInstanceHasALimit) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (memory (export \"memory\") 3))")).ok());
  const auto with = [&](uint64_t memory_bytes_max) {
    return runtime->instantiate("m", {.limits = engine::Limits{.memory_bytes_max = memory_bytes_max}});
  };
  EXPECT_EQ(with(3 * kPage + 1).value().memory_bytes(), 3 * kPage);
  EXPECT_EQ(with(3 * kPage).value().memory_bytes(), 3 * kPage);
  expect_error(with(3 * kPage - 1).status(), Code::kLimitExceeded,
               "memory minimum size of 3 pages exceeds memory limits (memory_bytes_max=196607)");
}

TEST(RuntimeTest, GrowingEndsAtTheLimit) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", guest("misbehave.wat")).ok());
  const auto pages_with = [&](uint64_t memory_bytes_max) {
    return ask(
        runtime->instantiate("m", {.limits = engine::Limits{.memory_bytes_max = memory_bytes_max}}).value(),
        "grow");
  };
  EXPECT_EQ(pages_with(10 * kPage - 1), 9);
  EXPECT_EQ(pages_with(10 * kPage), 10);
  EXPECT_EQ(pages_with(10 * kPage + 1), 10);
}

TEST(RuntimeTest, TheTablesOfAnInstanceHaveALimit) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (table 100 funcref) (func (export \"f\")))")).ok());
  const auto with = [&](uint64_t table_elements_max) {
    return runtime->instantiate("m", {.limits = engine::Limits{.table_elements_max = table_elements_max}});
  };
  EXPECT_TRUE(with(101).ok());
  EXPECT_TRUE(with(100).ok());
  expect_error(with(99).status(), Code::kLimitExceeded,
               "table minimum size of 100 elements exceeds table limits (table_elements_max=99)");
}

// The instance's own over the module's over the Runtime's.
TEST(RuntimeTest, TheNearestLimitsHold) {
  const auto runtime = make({.limits = {.deadline_ms = 1000}});
  ASSERT_TRUE(runtime->load_module("plain", answer(1)).ok());
  ASSERT_TRUE(runtime->load_module("own", answer(1), {.limits = engine::Limits{.deadline_ms = 2000}}).ok());
  EXPECT_EQ(runtime->instantiate("plain").value().limits().deadline_ms, 1000u);
  EXPECT_EQ(runtime->instantiate("own").value().limits().deadline_ms, 2000u);
  EXPECT_EQ(runtime->instantiate("own", {.limits = engine::Limits{.deadline_ms = 3000}})
                .value()
                .limits()
                .deadline_ms,
            3000u);
}

TEST(RuntimeTest, LimitsOutOfRangeAreRefused) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", answer(1)).ok());
  expect_error(runtime->instantiate("m", {.limits = engine::Limits{.deadline_ms = 0}}).status(),
               Code::kInvalidArgument, "deadline_ms is 0, allowed is 1 to 1099511627776");
  EXPECT_EQ(ask(runtime->instantiate("m").value()), 1);
}

TEST(RuntimeTest, OptionsOutOfRangeAreRefused) {
  const auto with = [](size_t wasm_stack_bytes) {
    return Runtime::create({.wasm_stack_bytes = wasm_stack_bytes}).status().copy();
  };
  EXPECT_TRUE(with(engine::kWasmStackBytesMin).ok());
  EXPECT_TRUE(with(engine::kWasmStackBytesMax).ok());
  for (const size_t bytes : {engine::kWasmStackBytesMin - 1, engine::kWasmStackBytesMax + 1}) {
    expect_error(with(bytes), Code::kInvalidArgument,
                 fmt::format("wasm_stack_bytes is {}, allowed is {} to {}", bytes, engine::kWasmStackBytesMin,
                             engine::kWasmStackBytesMax));
  }
}

TEST(RuntimeTest, FuelIsCountedWhereItIsSwitchedOn) {
  const auto runtime = make({.fuel = true, .limits = {.fuel_max = 10'000}});
  ASSERT_TRUE(runtime->load_module("m", guest("misbehave.wat")).ok());
  const Instance instance = runtime->instantiate("m").value();
  expect_error(instance.function<void()>("endless").value()(), Code::kLimitExceeded,
               "the guest trapped: all fuel consumed in function 0 (fuel_max=10000)");
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
}

// --- start functions ----------------------------------------------------------------------------------

TEST(RuntimeTest, AStartFunctionRunsOnceForEachInstance) {
  const auto runtime = make();
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm(R"((module (global $n (mut i32) (i32.const 0))
                    (func $start (global.set $n (i32.add (global.get $n) (i32.const 1)))) (start $start)
                    (func (export "answer") (result i32) (global.get $n))))"))
                  .ok());
  for (int i = 0; i < 2; i++) EXPECT_EQ(ask(runtime->instantiate("m").value()), 1);
}

TEST(RuntimeTest, AStartFunctionThatTrapsMakesNoInstance) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (func $go unreachable) (start $go))")).ok());
  expect_error(runtime->instantiate("m").status(), Code::kTrap, "the guest trapped: unreachable in 'go'");
  ASSERT_TRUE(runtime->load_module("n", answer(1)).ok());
  EXPECT_EQ(ask(runtime->instantiate("n").value()), 1);
}

TEST(RuntimeTest, AStartFunctionHasADeadline) {
  const auto runtime = make();
  ASSERT_TRUE(runtime
                  ->load_module("m", wasm("(module (func $go (loop (br 0))) (start $go))"),
                                {.limits = engine::Limits{.deadline_ms = 30}})
                  .ok());
  expect_error(runtime->instantiate("m").status(), Code::kDeadlineExceeded,
               "the call ran longer than its deadline (deadline_ms=30)");
  ASSERT_TRUE(runtime->load_module("n", answer(1)).ok());
  EXPECT_EQ(ask(runtime->instantiate("n").value()), 1);
}

TEST(RuntimeTest, SegmentsThatDoNotFitMakeNoInstance) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (memory 1) (data (i32.const 65535) \"xy\"))")).ok());
  const auto instance = runtime->instantiate("m");
  expect_error(instance.status(), Code::kTrap, "the guest trapped: out of bounds memory access");
}

// --- linked instances ---------------------------------------------------------------------------------

constexpr std::string_view kCounter = R"((module
  (memory (export "memory") 1)
  (global $n (mut i32) (i32.const 0))
  (func (export "endless") (loop (br 0)))
  (func (export "next") (result i32)
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store (i32.const 0) (global.get $n))
    (global.get $n))))";
constexpr std::string_view kUser = R"((module
  (import "counter" "next" (func $next (result i32)))
  (import "counter" "memory" (memory 1))
  (func (export "answer") (result i32) (drop (call $next)) (i32.load (i32.const 0)))))";

TEST(LinkedTest, AnInstanceImportsWhatAnotherExports) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("counter", wasm(kCounter)).ok());
  const ModulePointer user = runtime->load_module("user", wasm(kUser)).value();
  EXPECT_EQ(runtime->instantiate(*user).code(), Code::kInvalidArgument);  // not alone

  Instance counter = runtime->instantiate("counter").value();
  const std::vector<Instance::Link> links{{"counter", &counter}};
  const Instance first = runtime->instantiate_linked(*user, counter, links).value();
  const Instance second = runtime->instantiate_linked(*user, counter, links).value();
  EXPECT_EQ(ask(first), 1);
  EXPECT_EQ(ask(second), 2);  // one counter for both
  EXPECT_EQ(ask(counter, "next"), 3);
}

// The first instance may go: what the others import is kept.
TEST(LinkedTest, AnInstanceOutlivesTheOneItImportsFrom) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("counter", wasm(kCounter)).ok());
  const ModulePointer user = runtime->load_module("user", wasm(kUser)).value();
  std::optional<Instance> linked;
  {
    Instance counter = runtime->instantiate("counter").value();
    const std::vector<Instance::Link> links{{"counter", &counter}};
    linked.emplace(runtime->instantiate_linked(*user, counter, links).value());
  }
  EXPECT_EQ(ask(*linked), 1);
}

TEST(LinkedTest, LinkedInstancesShareTheirFate) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("counter", wasm(kCounter)).ok());
  const ModulePointer user = runtime->load_module("user", wasm(kUser)).value();
  Instance counter = runtime->instantiate("counter").value();
  const std::vector<Instance::Link> links{{"counter", &counter}};
  const Instance linked = runtime->instantiate_linked(*user, counter, links).value();
  ASSERT_TRUE(counter.set_deadline_ms(30).ok());
  EXPECT_EQ(counter.function<void()>("endless").value()().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(linked.retired());
  EXPECT_EQ(linked.function<int32_t()>("answer").value()().code(), Code::kUnavailable);
}

TEST(LinkedTest, WhatTheOtherDoesNotExportIsTold) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("counter", wasm(kCounter)).ok());
  Instance counter = runtime->instantiate("counter").value();
  const std::vector<Instance::Link> links{{"counter", &counter}};
  const auto link = [&](std::string_view import) {
    const ModulePointer module =
        runtime->load_module(import, wasm(fmt::format("(module (import {}))", import))).value();
    return runtime->instantiate_linked(*module, counter, links).status().copy();
  };
  expect_error(link("\"counter\" \"previous\" (func)"), Code::kInvalidArgument,
               "unknown import: the instance 'counter' does not export 'previous'");
  expect_error(link("\"clock\" \"next\" (func)"), Code::kInvalidArgument,
               "1 import that nobody provides: clock.next () -> ()");
  const Status type = link("\"counter\" \"next\" (func (param i32))");
  EXPECT_EQ(type.code(), Code::kInvalidArgument);
  EXPECT_NE(type.message().find("incompatible import type for `counter::next`"), std::string_view::npos)
      << type.message();
  EXPECT_EQ(ask(counter, "next"), 1);  // and nothing was harmed
}

// Code of one tier does not link to an instance of the other.
TEST(LinkedTest, TiersDoNotMix) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("counter", wasm(kCounter), {.tier = Tier::kOptimised}).ok());
  const ModulePointer user = runtime->load_module("user", wasm(kUser), {.tier = Tier::kBaseline}).value();
  Instance counter = runtime->instantiate("counter").value();
  const std::vector<Instance::Link> links{{"counter", &counter}};
  const auto linked = runtime->instantiate_linked(*user, counter, links);
  EXPECT_EQ(linked.code(), Code::kInvalidArgument) << linked.status().message();
  EXPECT_EQ(ask(counter, "next"), 1);
}

// --- tiers and saved code -----------------------------------------------------------------------------

TEST(RuntimeTest, TheTierIsTheRuntimesOrTheModules) {
  const auto runtime = make({.tier = Tier::kBaseline});
  EXPECT_EQ(runtime->load_module("a", answer(1)).value()->tier(), Tier::kBaseline);
  EXPECT_EQ(runtime->load_module("b", answer(1), {.tier = Tier::kOptimised}).value()->tier(),
            Tier::kOptimised);
  for (const char* name : {"a", "b"}) EXPECT_EQ(ask(runtime->instantiate(name).value()), 1);
}

TEST(RuntimeTest, WhatATierLacksIsRefusedByName) {
  const auto runtime = make();
  const Bytes tail_call = wasm("(module (func $f (export \"f\") (return_call $f)))");
  const auto baseline = runtime->load_module("m", tail_call, {.tier = Tier::kBaseline});
  EXPECT_EQ(baseline.code(), Code::kUnsupported);
  EXPECT_NE(baseline.status().message().find("tail-call"), std::string_view::npos)
      << baseline.status().message();
  EXPECT_TRUE(runtime->load_module("m", tail_call, {.tier = Tier::kOptimised}).ok());
}

TEST(SavedCodeTest, IsLoadedInsteadOfCompiling) {
  const Bytes module = answer(9);
  for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
    const Bytes code = make()->load_module("m", module, {.tier = tier}).value()->code()->save().value();
    const auto runtime = make();
    const ModulePointer loaded =
        runtime->load_module("m", module, {.tier = tier, .trusted_code = code}).value();
    EXPECT_EQ(ask(runtime->instantiate(*loaded).value()), 9);
    EXPECT_EQ(runtime->statistics().modules_compiled, 0u);
    EXPECT_EQ(runtime->statistics().modules_loaded, 1u);
  }
}

TEST(SavedCodeTest, OfAnotherModuleTierOrConfigurationIsRefused) {
  const Bytes module = answer(9);
  const auto runtime = make();
  const Bytes code =
      runtime->load_module("saved", module, {.tier = Tier::kOptimised}).value()->code()->save().value();
  const auto other_module = runtime->load_module("m", answer(10), {.trusted_code = code});
  expect_error(other_module.status(), Code::kInvalidArgument,
               fmt::format("the saved code was made from another module ({:.12}, this is {:.12})",
                           sha256(module).hex(), sha256(answer(10)).hex()));
  const auto other_tier = runtime->load_module("m", module, {.tier = Tier::kBaseline, .trusted_code = code});
  EXPECT_EQ(other_tier.code(), Code::kUnsupported);
  const std::string_view message = other_tier.status().message();
  EXPECT_NE(message.find("optimised"), std::string_view::npos) << message;
  EXPECT_NE(message.find("baseline"), std::string_view::npos) << message;
  EXPECT_TRUE(message.ends_with(": compile it again")) << message;
  const auto other_stack =
      make({.wasm_stack_bytes = 256 * 1024})->load_module("m", module, {.trusted_code = code});
  EXPECT_EQ(other_stack.code(), Code::kUnsupported);
  EXPECT_TRUE(runtime->load_module("m", module, {.trusted_code = code}).ok());
}

// Cut or with a byte changed, anywhere in a sample of places: never loaded.
TEST(SavedCodeTest, DamagedIsRefused) {
  const Bytes module = answer(9);
  const auto runtime = make();
  const Bytes code = runtime->load_module("saved", module).value()->code()->save().value();
  for (size_t i = 0; i < 50; i++) {
    const size_t at = i * (code.size() - 1) / 49;
    Bytes damaged = code;
    damaged[at] ^= 0x10;
    const auto changed = runtime->load_module("m", module, {.trusted_code = damaged});
    ASSERT_FALSE(changed.ok()) << "byte " << at;
    ASSERT_TRUE(changed.code() == Code::kCorruption || changed.code() == Code::kUnsupported ||
                changed.code() == Code::kInvalidArgument)
        << changed.status().message();
    damaged.assign(code.begin(), code.begin() + static_cast<ptrdiff_t>(std::max<size_t>(at, 1)));
    ASSERT_EQ(runtime->load_module("m", module, {.trusted_code = damaged}).code(), Code::kCorruption) << at;
  }
  EXPECT_EQ(runtime->list_modules().size(), 1u);
}

// --- statistics ---------------------------------------------------------------------------------------

TEST(StatisticsTest, CountWhatHappened) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("a", answer(1)).ok());
  ASSERT_TRUE(runtime->load_module("b", wasm("(module (func $go unreachable) (start $go))")).ok());
  EXPECT_FALSE(runtime->load_module("c", {}).ok());
  for (int i = 0; i < 3; i++) EXPECT_TRUE(runtime->instantiate("a").ok());
  EXPECT_FALSE(runtime->instantiate("b").ok());
  ASSERT_TRUE(runtime->unload_module("b").ok());
  const RuntimeStatistics statistics = runtime->statistics();
  EXPECT_EQ(statistics.modules_loaded, 1u);
  EXPECT_EQ(statistics.modules_compiled, 2u);
  EXPECT_GT(statistics.compile_ns, 0u);
  EXPECT_EQ(statistics.instances_created, 3u);
  EXPECT_EQ(statistics.instances_failed, 1u);
  EXPECT_GT(statistics.instantiate_ns, 0u);
}

TEST(StatisticsTest, WithoutMetricsNothingIsTimed) {
  const auto runtime = make({.metrics = false});
  ASSERT_TRUE(runtime->load_module("a", answer(1)).ok());
  EXPECT_TRUE(runtime->instantiate("a").ok());
  const RuntimeStatistics statistics = runtime->statistics();
  EXPECT_EQ(statistics.compile_ns, 0u);
  EXPECT_EQ(statistics.instantiate_ns, 0u);
  EXPECT_EQ(statistics.modules_compiled, 1u);
  EXPECT_EQ(statistics.instances_created, 1u);
  EXPECT_EQ(runtime->module("a").value()->compile_ns(), 0u);
}

TEST(StatisticsTest, AreFieldsOfAJsonObject) {
  JsonWriter json;
  json.begin_object();
  RuntimeStatistics{.modules_loaded = 1,
                    .modules_compiled = 2,
                    .compile_ns = 3,
                    .instances_created = 4,
                    .instances_failed = 5,
                    .instantiate_ns = 6}
      .write_json(json);
  json.end_object();
  const std::string text = json.take();
  EXPECT_TRUE(test::is_json(text));
  EXPECT_TRUE(text.starts_with(R"({
  "modules_loaded": 1,
  "modules_compiled": 2,
  "compile_ns": 3,
  "instances_created": 4,
  "instances_failed": 5,
  "instantiate_ns": 6,
  "slots": {
)")) << text;
}

// --- threads ------------------------------------------------------------------------------------------

// Four threads load, instantiate, call and unload, each its own modules and all of them one that they share;
// all contend for one more name, which one of them has at a time.
TEST(RuntimeThreadsTest, EverythingAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 15;
  const auto runtime = make({.tier = Tier::kBaseline});
  ASSERT_TRUE(runtime->load_module("shared", guest("numbers.wat")).ok());
  const Bytes contended = answer(-1);
  std::atomic<int> contended_loaded{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; t++) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < kRounds; round++) {
          const std::string name = fmt::format("own {} {}", t, round);
          const int32_t value = t * 1000 + round;
          const auto module = runtime->load_module(name, answer(value));
          ASSERT_TRUE(module.ok()) << module.status().message();
          const Instance own = runtime->instantiate(name).value();
          EXPECT_EQ(ask(own), value);
          const Instance shared = runtime->instantiate("shared").value();
          EXPECT_EQ((shared.function<int32_t(int32_t, int32_t)>("add").value()(value, 1).value()), value + 1);

          const auto one = runtime->load_module("contended", contended);
          if (one.ok()) {
            contended_loaded++;
            EXPECT_EQ(ask(runtime->instantiate(*one.value()).value()), -1);
            EXPECT_TRUE(runtime->unload_module("contended").ok());
          } else {
            EXPECT_EQ(one.code(), Code::kAlreadyExists);
          }

          EXPECT_GE(runtime->list_functions().size(), 1u);
          EXPECT_TRUE(runtime->unload_module(name).ok());
          EXPECT_EQ(ask(own), value);
        }
      });
    }
  }
  EXPECT_GE(contended_loaded, 1);
  const RuntimeStatistics statistics = runtime->statistics();
  EXPECT_EQ(statistics.modules_loaded, 1u);
  // A taken name is refused before the compile, or after it if it was taken meanwhile.
  EXPECT_GE(statistics.modules_compiled + statistics.code.found_in_memory + statistics.code.joined,
            uint64_t{1 + kThreads * kRounds} + static_cast<uint64_t>(contended_loaded));
  EXPECT_LE(statistics.modules_compiled, uint64_t{1 + 2 * kThreads * kRounds});
  EXPECT_EQ(statistics.instances_created,
            uint64_t{2 * kThreads * kRounds} + static_cast<uint64_t>(contended_loaded));
  EXPECT_EQ(statistics.instances_failed, 0u);
}

// Closing while others load and instantiate: each of them succeeds or is told.
TEST(RuntimeThreadsTest, ClosingWhileOthersWork) {
  constexpr int kThreads = 4;
  const auto runtime = make({.tier = Tier::kBaseline});
  ASSERT_TRUE(runtime->load_module("shared", answer(5)).ok());
  std::atomic<int> running{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; t++) {
      threads.emplace_back([&, t] {
        for (int round = 0;; round++) {
          const auto instance = runtime->instantiate("shared");
          if (!instance.ok()) {
            EXPECT_EQ(instance.code(), Code::kUnavailable);
            break;
          }
          EXPECT_EQ(ask(instance.value()), 5);
          const auto module = runtime->load_module(fmt::format("{} {}", t, round), answer(round));
          EXPECT_TRUE(module.ok() || module.code() == Code::kUnavailable) << module.status().message();
          if (round == 0) running++;
        }
      });
    }
    while (running < kThreads) std::this_thread::yield();
    runtime->close();
  }
  EXPECT_EQ(runtime->load_module("late", answer(1)).code(), Code::kUnavailable);
}

// Many threads, one deadline each: the ticker serves them all.
TEST(RuntimeThreadsTest, DeadlinesOfSeveralThreads) {
  const auto runtime = make({.limits = {.deadline_ms = 30}});
  ASSERT_TRUE(runtime->load_module("m", guest("misbehave.wat")).ok());
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&] {
      for (int round = 0; round < 3; round++) {
        const Instance instance = runtime->instantiate("m").value();
        EXPECT_EQ(instance.function<void()>("endless").value()().code(), Code::kDeadlineExceeded);
        EXPECT_TRUE(instance.retired());
      }
    });
  }
}

TEST(StatisticsTest, AnInstanceThatLacksImportsCountsAsFailed) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", wasm("(module (import \"e\" \"f\" (func)))")).ok());
  EXPECT_FALSE(runtime->instantiate("m").ok());
  EXPECT_EQ(runtime->statistics().instances_failed, 1u);
}

TEST(RuntimeTest, ATakenNameIsToldAlsoWhenThereIsNoRoom) {
  const auto runtime = make({.modules_max = 1});
  ASSERT_TRUE(runtime->load_module("m", answer(1)).ok());
  EXPECT_EQ(runtime->load_module("m", answer(1)).code(), Code::kAlreadyExists);
}

TEST(RuntimeTest, ATakenNameCostsNoCompile) {
  const auto runtime = make();
  ASSERT_TRUE(runtime->load_module("m", answer(1)).ok());
  EXPECT_FALSE(runtime->load_module("m", answer(2)).ok());
  EXPECT_EQ(runtime->statistics().modules_compiled, 1u);
}

}  // namespace
}  // namespace spore::runtime
