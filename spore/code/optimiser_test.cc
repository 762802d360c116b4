// What wasm-opt makes of modules, step by step and for the tier above the optimising compiler, and what is
// made of it if it misbehaves.

#include "spore/code/optimiser.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/binding.h"
#include "spore/engine/store.h"
#include "tests/cache_fixture.h"
#include "tests/guest_file.h"
#include "tests/says.h"

namespace spore::code {
namespace {

namespace fs = std::filesystem;
using test::expect_says;
using Wasm = std::vector<uint8_t>;
using Names = std::vector<std::string>;

constexpr size_t kModuleBytesMax = size_t{1} << 30;

// A function that nobody calls, two that are the same and called twice each, one that has one caller, and
// data with a page of zeros in it.
constexpr std::string_view kModule = R"((module
  (memory (export "memory") 2)
  (data (i32.const 0) "front\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00back")
  (func $unused (param i32) (result i32) (i32.load (i32.mul (local.get 0) (i32.const 3))))
  (func $one (param i32) (result i32) (local i32)
    (loop $again (local.set 1 (i32.add (local.get 1) (i32.load (local.get 0))))
      (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 4)) (i32.const 31)))))
    (local.get 1))
  (func $two (param i32) (result i32) (local i32)
    (loop $again (local.set 1 (i32.add (local.get 1) (i32.load (local.get 0))))
      (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 4)) (i32.const 31)))))
    (local.get 1))
  (func $once (param i32) (result i32) (local i32)
    (loop $again (local.set 1 (i32.xor (local.get 1) (i32.load8_u (local.get 0))))
      (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 1)) (i32.const 31)))))
    (local.get 1))
  (func (export "sum") (param i32) (result i32)
    (i32.add (i32.add (call $one (local.get 0)) (call $two (i32.const 4)))
             (i32.sub (call $one (i32.const 8)) (call $two (i32.const 12)))))
  (func (export "mix") (param i32) (result i32) (call $once (local.get 0)))))";

class OptimiserTest : public CacheFixture {
 protected:
  static WasmOptOptions optimiser_options() {
    WasmOptOptions options;
    options.helper = SPORE_COMPILE_HELPER;
    options.niceness = 0;
    return options;
  }
  static std::unique_ptr<Optimiser> make_optimiser(const WasmOptOptions& options = optimiser_options()) {
    return std::move(Optimiser::create(options)).value();
  }
  // In wasm-opt's place, a program that behaves so.
  WasmOptOptions stub(const std::string& behaviour) {
    WasmOptOptions options = optimiser_options();
    options.wasm_opt = folder_.path() / behaviour;
    fs::copy_file(SPORE_WASM_OPT_STUB, options.wasm_opt, fs::copy_options::skip_existing);
    return options;
  }
  static wasm::PreparedModule prepared(std::string_view text) {
    return wasm::prepare(test::wasm(text), kModuleBytesMax).value();
  }

  static Optimised optimised(std::string_view text, const OptimiseOptions& how = {}) {
    return make_optimiser()->optimise(test::wasm(text), how).value();
  }
  static uint32_t functions_left(const OptimiseOptions& how) {
    return optimised(kModule, how).steps.back().functions;
  }
  static Names steps(const OptimiseOptions& how) {
    Names names;
    for (const OptimiseStep& step : optimised(kModule, how).steps) names.emplace_back(step.name);
    return names;
  }

  std::unique_ptr<engine::Store> instantiate(const Wasm& wasm) const {
    auto store = engine::Store::create(engine_, {}).value();
    store
        ->instantiate(engine::Binding::create(engine_->compile(wasm).value(),
                                              std::make_shared<const engine::HostFunctions>())
                          .value())
        .value();
    return store;
  }
  static int32_t call(engine::Store& store, std::string_view name, int32_t argument) {
    engine::RawValue value[1] = {{.i32 = argument}};
    EXPECT_TRUE(store.function({}, name).value().call_unchecked(value, 1).ok());
    return value[0].i32;
  }
};

// --- smaller modules --------------------------------------------------------------------------------------

TEST_F(OptimiserTest, AModuleGetsSmallerInNamedSteps) {
  const Wasm wasm = test::wasm(kModule);
  std::vector<OptimiseStep> told;
  const auto result = make_optimiser()->optimise(
      wasm, {}, {}, [&](const OptimiseStep& step, std::span<const uint8_t> made) -> Status {
        EXPECT_EQ(made.size(), step.wasm_bytes);
        told.push_back(step);
        return {};
      });
  const Optimised& optimised = result.value();
  EXPECT_EQ(steps({}), (Names{"read and write", "remove unused", "fold", "inline", "optimise"}));
  ASSERT_EQ(told.size(), 5u);
  EXPECT_EQ(told[0].functions, 6u);
  EXPECT_EQ(told[1].functions, 5u) << "the one that nobody calls";
  EXPECT_EQ(told[2].functions, 4u) << "one of the two that are the same";
  EXPECT_EQ(told[3].functions, 3u) << "the one with one caller";
  for (size_t i = 0; i < told.size(); i++) {
    EXPECT_EQ(told[i].name, optimised.steps[i].name);
    EXPECT_EQ(told[i].wasm_bytes, optimised.steps[i].wasm_bytes);
  }
  EXPECT_EQ(optimised.wasm.size(), optimised.steps.back().wasm_bytes);
  EXPECT_LT(optimised.wasm.size(), wasm.size());
  const wasm::ModuleFacts facts = wasm::inspect(optimised.wasm, kModuleBytesMax).value();
  EXPECT_EQ(facts.functions, 3u);
  EXPECT_EQ(facts.exports.size(), 3u);
  EXPECT_EQ(facts.code_bytes, optimised.steps.back().code_bytes);
}

TEST_F(OptimiserTest, WhateverIsAskedForTheAnswersAreTheSame) {
  const auto original = instantiate(test::wasm(kModule));
  for (const OptimisePreset preset :
       {OptimisePreset::kDefault, OptimisePreset::kAggressive, OptimisePreset::kMinimal}) {
    for (const bool dce : {false, true}) {
      for (const bool fold : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} {}", preset_name(preset), dce, fold));
        const auto other = instantiate(optimised(kModule, {.preset = preset, .dce = dce, .fold = fold}).wasm);
        for (int32_t i = 0; i < 32; i += 4) {
          EXPECT_EQ(call(*other, "sum", i), call(*original, "sum", i));
          EXPECT_EQ(call(*other, "mix", i), call(*original, "mix", i));
        }
      }
    }
  }
}

TEST_F(OptimiserTest, EachFlagLeavesOutWhatItSays) {
  EXPECT_EQ(functions_left({}), 3u);
  EXPECT_EQ(functions_left({.dce = false}), 4u);
  EXPECT_EQ(functions_left({.fold = false}), 4u);
  EXPECT_EQ(functions_left({.max_inline = 0}), 4u);
  EXPECT_EQ(functions_left({.max_inline = 5}), 4u) << "it is larger";
  EXPECT_EQ(functions_left({.dce = false, .fold = false, .max_inline = 0}), 6u);
  EXPECT_EQ(functions_left({.preset = OptimisePreset::kMinimal}), 6u);
  EXPECT_EQ(steps({.dce = false}), (Names{"read and write", "fold", "inline", "optimise"}));
  EXPECT_EQ(steps({.fold = false}), (Names{"read and write", "remove unused", "inline", "optimise"}));
  EXPECT_EQ(steps({.max_inline = 0}), (Names{"read and write", "remove unused", "fold", "optimise"}));
  EXPECT_EQ(steps({.preset = OptimisePreset::kMinimal}), Names{"read and write"});
  EXPECT_EQ(steps({.preset = OptimisePreset::kAggressive}),
            (Names{"read and write", "remove unused", "fold", "inline", "optimise", "optimise again"}));
}

TEST_F(OptimiserTest, TheSameBytesComeOutEachTime) {
  WasmOptOptions one = optimiser_options();
  one.threads = 1;
  WasmOptOptions four = optimiser_options();
  four.threads = 4;
  const Wasm wasm = test::wasm(kModule);
  EXPECT_EQ(make_optimiser(one)->optimise(wasm, {}).value().wasm,
            make_optimiser(four)->optimise(wasm, {}).value().wasm);
}

// memory-packing would make two of the one.
TEST_F(OptimiserTest, SegmentsStayAsTheyAre) {
  for (const OptimisePreset preset : {OptimisePreset::kDefault, OptimisePreset::kAggressive}) {
    const wasm::ModuleFacts facts =
        wasm::inspect(optimised(kModule, {.preset = preset}).wasm, kModuleBytesMax).value();
    EXPECT_EQ(facts.data_segments, 1u);
    EXPECT_EQ(facts.data_bytes, 37u);
  }
}

// --- what is refused --------------------------------------------------------------------------------------

TEST_F(OptimiserTest, PresetsHaveNames) {
  for (const std::string_view name : {"default", "aggressive", "minimal"}) {
    EXPECT_EQ(preset_name(parse_preset(name).value()), name);
  }
  expect_says(parse_preset("tiny").status(), Code::kInvalidArgument,
              {"there is no preset 'tiny' (default, aggressive, minimal)"});
}

TEST_F(OptimiserTest, WhatCannotBeOptimisedIsRefusedBefore) {
  // None of them gets as far as wasm-opt.
  WasmOptOptions options = optimiser_options();
  options.wasm_opt = "/nowhere/wasm-opt";
  const auto optimiser = make_optimiser(options);
  const Wasm wasm = test::wasm(kModule);
  expect_says(optimiser->optimise(wasm, {.preset = OptimisePreset::kMinimal, .max_inline = 1}).status(),
              Code::kInvalidArgument, {"minimal"});
  expect_says(optimiser->optimise(wasm, {.max_inline = OptimiseOptions::kMaxInlineMax + 1}).status(),
              Code::kInvalidArgument, {"1000001", "1000000"});
  expect_says(optimiser->optimise(Wasm{1, 2, 3}, {}).status(), Code::kInvalidModule, {"not WebAssembly"});
  expect_says(optimiser->optimise(test::wasm("(module (memory i64 1))"), {}).status(), Code::kUnsupported,
              {"memory64", "wasm-opt 108"});
  expect_says(optimiser->optimise(wasm, {.max_inline = OptimiseOptions::kMaxInlineMax}).status(),
              Code::kUnavailable, {"/nowhere/wasm-opt", "108", "binaryen", "rewrite_wasm_opt"});
  options = optimiser_options();
  // wasm-opt would take it, and make a loop of it that never ends.
  expect_says(make_optimiser(options)
                  ->optimise(test::wasm(R"((module
    (func (param i64) (result i64) (i64.const 1) (loop $l (param i64) (result i64)
      (i64.mul (local.get 0)) (local.set 0 (i64.sub (local.get 0) (i64.const 1)))
      (br_if $l (i32.wrap_i64 (local.get 0)))))))"),
                             {})
                  .status(),
              Code::kUnsupported, {"blocks with parameters", "wasm-opt 108"});
  options.module_bytes_max = wasm.size();
  EXPECT_TRUE(make_optimiser(options)->optimise(wasm, {}).ok());
  options.module_bytes_max--;
  expect_says(make_optimiser(options)->optimise(wasm, {}).status(), Code::kLimitExceeded,
              {"rewrite_module_bytes_max"});
  options.helper = "/nowhere";
  EXPECT_EQ(Optimiser::create(options).code(), Code::kUnavailable);
}

TEST_F(OptimiserTest, WhatAStepIsToldOfMayEndIt) {
  size_t steps = 0;
  const Status status = make_optimiser()
                            ->optimise(test::wasm(kModule), {}, {},
                                       [&](const OptimiseStep&, std::span<const uint8_t>) {
                                         return ++steps == 2 ? Status::not_found("enough") : Status();
                                       })
                            .status();
  expect_says(status, Code::kNotFound, {"enough"});
  EXPECT_EQ(steps, 2u);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(make_optimiser()->optimise(test::wasm(kModule), {}, stop.get_token()).code(), Code::kCancelled);
}

// --- what wasm-opt may do ---------------------------------------------------------------------------------

TEST_F(OptimiserTest, ABadWasmOptIsToldOf) {
  const Wasm wasm = test::wasm(kModule);
  const wasm::PreparedModule module = prepared(kModule);
  struct Case {
    const char* behaviour;
    Code code;
    std::string_view says;
    Code peak_code;
    std::string_view peak_says;
  };
  const Case cases[] = {
      {"crash", Code::kInternal, "crashed on this module (signal 11", Code::kInternal, "about to crash"},
      {"fails", Code::kUnsupported, "wasm-opt cannot optimise this module (exit code 1)", Code::kUnsupported,
       "its last line: Fatal: \\x1b[31mno idea"},
      {"garbage", Code::kInternal, "of no use: not WebAssembly", Code::kUnsupported, "not WebAssembly"},
      {"silent", Code::kInternal, "of no use: the module is empty", Code::kUnsupported, "empty"},
      {"other_exports", Code::kInternal, "does not export 'memory' any more as memory 2..",
       Code::kUnsupported, "does not export 'memory' any more"},
      {"hidden_global", Code::kInternal, "does not export 'memory' any more", Code::kUnsupported,
       "does not export 'memory' any more"},
      {"old_version", Code::kUnavailable, "is version 107", Code::kUnavailable, "version 108 is needed"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.behaviour);
    const auto optimiser = make_optimiser(stub(bad.behaviour));
    expect_says(optimiser->optimise(wasm, {}).status(), bad.code, {bad.says});
    expect_says(optimiser->peak(module.wasm, module).status(), bad.peak_code, {bad.peak_says});
  }
  expect_says(make_optimiser(stub("other_exports"))->optimise(test::wasm("(module)"), {}).status(),
              Code::kInternal, {"it exports 'g', too, as global i32"});
  // Valid, and of the same exports: what it keeps for itself is its own, but for what goes from tier to tier.
  const auto hidden = make_optimiser(stub("hidden_global"));
  EXPECT_TRUE(hidden->optimise(test::wasm("(module)"), {}).ok());
  const wasm::PreparedModule nothing = prepared("(module)");
  expect_says(hidden->peak(nothing.wasm, nothing).status(), Code::kUnsupported,
              {"does not hold the state of the prepared one", "mutable global 0"});
  WasmOptOptions limited = stub("too_much");
  limited.output_bytes_max = 1'000'000;
  expect_says(make_optimiser(limited)->optimise(wasm, {}).status(), Code::kLimitExceeded,
              {"the optimised module", "rewrite_output_bytes_max=1000000"});
}

// --- the tier above ---------------------------------------------------------------------------------------

// State of each kind: memory, globals, a table that code writes to, passive segments that it drops.  $a and
// $b are the same, so only their names tell which of them a table holds.
constexpr std::string_view kStateful = R"((module
  (memory 1)
  (table $t 4 funcref)
  (type $answer (func (param i32) (result i32)))
  (global $count (mut i32) (i32.const 7))
  (global $wide (mut i64) (i64.const 1))
  (func $a (param i32) (result i32) (i32.add (local.get 0) (global.get $count)))
  (func $b (param i32) (result i32) (i32.add (local.get 0) (global.get $count)))
  (func $c (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
  (elem (table $t) (i32.const 0) func $a $b $c)
  (data $text "passive")
  (data (i32.const 64) "lifted")
  (func $bump (param i32) (global.set $count (i32.add (global.get $count) (local.get 0))))
  (func (export "step") (param $n i32) (result i32)
    (call $bump (local.get $n))
    (global.set $wide (i64.mul (global.get $wide) (i64.const 3)))
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get $n)))
    (table.set $t (i32.and (local.get $n) (i32.const 3)) (table.get $t (i32.and (i32.add (local.get $n) (i32.const 1)) (i32.const 3))))
    (if (i32.eq (local.get $n) (i32.const 5)) (then
      (memory.init $text (i32.const 128) (i32.const 0) (i32.const 7)) (data.drop $text)))
    (i32.add (i32.load (i32.const 128))
      (i32.add (i32.load (i32.const 0)) (i32.add (global.get $count) (i32.wrap_i64 (global.get $wide))))))
  (func (export "ask") (param $n i32) (result i32)
    (if (result i32) (ref.is_null (table.get $t (i32.and (local.get $n) (i32.const 3))))
      (then (i32.const -1))
      (else (call_indirect $t (type $answer) (local.get $n) (i32.and (local.get $n) (i32.const 3))))))))";

class PeakTierTest : public OptimiserTest {
 protected:
  std::shared_ptr<const engine::Binding> binding(const Wasm& wasm) const {
    return engine::Binding::create(engine_->compile(wasm).value(),
                                   std::make_shared<const engine::HostFunctions>())
        .value();
  }
  std::unique_ptr<engine::Store> start(const Wasm& wasm, const wasm::PreparedModule& module) const {
    auto store = engine::Store::create(engine_, {}).value();
    const engine::InstanceHandle instance = store->instantiate(binding(wasm)).value();
    for (const auto& data : module.lifted) {
      const auto to =
          store->memory(instance, "spore:m0").value().span({data.offset}, data.bytes.size()).value();
      std::memcpy(to.data(), data.bytes.data(), data.bytes.size());
    }
    return store;
  }
};

TEST_F(PeakTierTest, ItHoldsTheSameStateUnderTheSameNames) {
  const wasm::PreparedModule module = prepared(kStateful);
  const Peak peak = make_optimiser()->peak(module.wasm, module).value();
  EXPECT_FALSE(peak.from_cache);
  EXPECT_NE(*peak.wasm, module.wasm);
  const auto exports = [](const Wasm& wasm) {
    Names names;
    const wasm::ModuleFacts facts = wasm::inspect(wasm, kModuleBytesMax).value();
    for (const auto& entry : facts.exports) {
      names.push_back(fmt::format("{} {}", entry.name, entry.type));
    }
    std::ranges::sort(names);
    return names;
  };
  EXPECT_EQ(exports(*peak.wasm), exports(module.wasm));
  EXPECT_EQ(*make_optimiser()->peak(module.wasm, module).value().wasm, *peak.wasm);
}

// An instance that goes over in the middle of its life, there and back, answers as one that never did.
TEST_F(PeakTierTest, InstancesGoOverToItAndBack) {
  const wasm::PreparedModule module = prepared(kStateful);
  ASSERT_EQ(module.reset(), wasm::ResetMode::kInPlace);
  const Wasm peak = *make_optimiser()->peak(module.wasm, module).value().wasm;
  for (int32_t over = 0; over < 12; over++) {
    SCOPED_TRACE(over);
    const auto plain = start(module.wasm, module);
    const auto other = start(module.wasm, module);
    for (int32_t i = 0; i < 16; i++) {
      if (i == over || i == over + 4) {
        const Status status = other->hand_over(binding(i == over ? peak : module.wasm), module);
        ASSERT_TRUE(status.ok()) << status.message();
      }
      EXPECT_EQ(call(*other, "step", i), call(*plain, "step", i)) << i;
      for (int32_t entry = 0; entry < 4; entry++) {
        EXPECT_EQ(call(*other, "ask", entry), call(*plain, "ask", entry)) << i << " " << entry;
      }
    }
  }
}

TEST_F(PeakTierTest, TheSecondTimeItComesFromTheCache) {
  const wasm::PreparedModule module = prepared(kStateful);
  WasmOptOptions options = optimiser_options();
  options.cache = open();
  const Peak first = make_optimiser(options)->peak(module.wasm, module).value();
  options.wasm_opt = "/nowhere/wasm-opt";
  const auto optimiser = make_optimiser(options);
  const Peak second = optimiser->peak(module.wasm, module).value();
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(*second.wasm, *first.wasm);
  const wasm::PreparedModule another = prepared("(module)");
  EXPECT_EQ(optimiser->peak(another.wasm, another).code(), Code::kUnavailable);
  EXPECT_EQ(count(".flight"), 0u);
  EXPECT_TRUE(lines().empty()) << testing::PrintToString(lines());
}

TEST_F(PeakTierTest, WhatIsNotPreparedIsRefused) {
  const wasm::PreparedModule module = prepared(kStateful);
  expect_says(make_optimiser()->peak(test::wasm(kStateful), module).status(), Code::kInvalidArgument,
              {"not the prepared form", "spore:m0"});
  const wasm::PreparedModule wide = prepared("(module (memory i64 1))");
  expect_says(make_optimiser()->peak(wide.wasm, wide).status(), Code::kUnsupported, {"memory64"});
  // Of bulk memory, version 108 knows what is done to memories.
  const wasm::PreparedModule tables = prepared(R"((module (table $t 4 funcref)
    (func (export "copy") (table.copy $t $t (i32.const 0) (i32.const 1) (i32.const 2)))))");
  expect_says(make_optimiser()->peak(tables.wasm, tables).status(), Code::kUnsupported,
              {"wasm-opt cannot optimise this module", "Fatal: error parsing wasm"});
}

}  // namespace
}  // namespace spore::code
