// Does the test of tiers notice what is wrong, and leave alone what may differ?

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/guest_file.h"
#include "tests/tiers/plan.h"
#include "tests/tiers/tiers_check.h"

namespace spore::tiers_test {
namespace {

using differential::Generator;
using differential::Guest;
using engine::ValType;

Guest guest(std::string_view text, Generator generator = Generator::kAny) {
  return {.generator = generator, .wasm = test::wasm(text)};
}

// What is found, if anything is, where a tier has this flaw.
std::string found(Flaw flaw, std::string_view text) {
  TiersCheck check(flaw);
  const auto mismatch = check.check(guest(text));
  return mismatch ? mismatch->text : "";
}

TEST(TiersCheckTest, SeesABitOfANan) {
  constexpr std::string_view kText = R"((module (func (export "f0") (result f32)
      (f32.div (f32.const 0) (f32.const 0)))))";
  EXPECT_EQ(found(Flaw::kNone, kText), "");
  EXPECT_EQ(found(Flaw::kNan, kText),
            "optimised: f0(): 0x7fc00001; 0x7fc00000 is expected\n  called: nothing\n  then, after the "
            "hand-over: f0()\n");
}

TEST(TiersCheckTest, SeesAnotherTrap) {
  constexpr std::string_view kText = R"((module (func (export "f0") (result i32)
      (i32.div_s (i32.const 1) (i32.const 0)))))";
  EXPECT_EQ(found(Flaw::kNone, kText), "");
  EXPECT_EQ(found(Flaw::kTrap, kText),
            "optimised: f0(): trap: integer overflow; trap: integer divide by zero is expected\n"
            "  called: nothing\n  then, after the hand-over: f0()\n");
}

TEST(TiersCheckTest, SeesWhatACallLeaves) {
  constexpr std::string_view kText = R"((module (memory 1 100) (global $g (mut i64) (i64.const 0))
      (table 2 funcref) (elem declare func $f)
      (func $f (export "f0")
        (drop (memory.grow (i32.const 1)))
        (i32.store8 (i32.const 1000) (i32.add (i32.load8_u (i32.const 1000)) (i32.const 1)))
        (global.set $g (i64.add (global.get $g) (i64.const 1)))
        (table.set (i32.const 1) (ref.func $f)))))";
  EXPECT_EQ(found(Flaw::kNone, kText), "");
  EXPECT_EQ(found(Flaw::kByte, kText),
            "optimised: memory spore:m0: byte 0x3e8 is 0x00, 0x01 is expected after f0()\n  called: "
            "nothing\n  then, after the hand-over: f0()\n");
  EXPECT_EQ(found(Flaw::kLength, kText),
            "optimised: memory spore:m0 has 65536 bytes, 131072 are expected after f0()\n  called: nothing\n "
            " then, after the hand-over: f0()\n");
  EXPECT_TRUE(found(Flaw::kGlobal, kText).starts_with("optimised: global spore:g0 is 00000000"));
  EXPECT_EQ(found(Flaw::kElement, kText),
            "optimised: table spore:t0: element 1 is null, function 0 is expected after f0()\n  called: "
            "nothing\n  then, after the hand-over: f0()\n");
}

TEST(TiersCheckTest, SeesAnInstructionTakenForAnother) {
  constexpr std::string_view kText = R"((module (func (export "f0") (result f64)
      (f64.min (f64.const 1) (f64.const 2)))))";
  EXPECT_EQ(found(Flaw::kNone, kText), "");
  EXPECT_EQ(found(Flaw::kMin, kText),
            "optimised: f0(): 0x4000000000000000; 0x3ff0000000000000 is expected\n"
            "  called: nothing\n  then, after the hand-over: f0()\n");
}

TEST(TiersCheckTest, SeesThatAHandOverForgetsState) {
  constexpr std::string_view kText = R"((module (global $g (mut i32) (i32.const 0))
      (func (export "f0") (result i32)
        (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g))))";
  EXPECT_EQ(found(Flaw::kNone, kText), "");
  EXPECT_EQ(found(Flaw::kState, kText),
            "handed over: f0(): 0x1; 0x2 is expected\n  called: nothing\n  then, after the hand-over: f0(); "
            "f0()\n");
}

TEST(TiersCheckTest, HandOversAreCounted) {
  TiersCheck check;
  EXPECT_FALSE(check.check(guest(R"((module (func (export "f0"))))")).has_value());
  EXPECT_EQ(check.statistics().handed_over[1], 1u);
  EXPECT_EQ(check.statistics().handed_over[2], 1u);
  EXPECT_EQ(check.statistics().not_handed_over, 0u);
  // Nobody can tell what that global holds.
  EXPECT_FALSE(check
                   .check(guest(R"((module (global (mut funcref) (ref.null func))
      (func (export "f0"))))"))
                   .has_value());
  EXPECT_EQ(check.statistics().handed_over[1], 1u);
  EXPECT_EQ(check.statistics().not_handed_over, 1u);
}

// How deep a stack goes is a tier's own affair; what follows is not compared.
TEST(TiersCheckTest, AStackThatOverflowsEndsTheComparison) {
  TiersCheck check;
  EXPECT_FALSE(check.check(guest(R"((module (func $f (export "f0") (call $f))))")).has_value());
  EXPECT_EQ(check.statistics().modules, 1u);
  EXPECT_EQ(check.statistics().ended_by_stack, 1u);
  EXPECT_EQ(check.statistics().calls, 0u);
}

TEST(TiersCheckTest, WhatTheBaselineCompilerLacksIsCounted) {
  TiersCheck check;
  EXPECT_FALSE(check.check(guest(R"((module (func $f (export "f0") (return_call $f))))")).has_value());
  EXPECT_EQ(check.statistics().not_taken, 1u);
  EXPECT_EQ(check.statistics().modules, 0u);
}

TEST(TiersCheckTest, AStartThatTrapsInAllTiersIsNoDifference) {
  TiersCheck check;
  const std::string_view text = R"((module (func $f (export "f0") unreachable) (start $f)))";
  EXPECT_FALSE(check.check(guest(text)).has_value());
  EXPECT_EQ(check.statistics().not_instances, 1u);
  // But of a generator that makes none such.
  EXPECT_TRUE(check.check(guest(text, Generator::kSteered)).has_value());
}

TEST(TiersCheckTest, TooLittleIsAFailure) {
  TiersCheck check;
  for (int i = 0; i < 10; i++) {
    EXPECT_FALSE(check.check(guest(R"((module (func (export "f0"))))")).has_value());
  }
  const std::string shortfalls = check.shortfalls();
  for (const std::string_view what : {"memory", "length", "global", "table", "NaN", "vector", "trapped"}) {
    EXPECT_TRUE(shortfalls.find(what) != std::string::npos) << what;
  }
  EXPECT_EQ(shortfalls.find("modules that are compared"), std::string::npos);
}

TEST(PlanTest, ArgumentsAreOftenNoNumbers) {
  const engine::CompiledCode::Export function{
      .name = "f", .kind = engine::ExternKind::kFunction, .type = {{ValType::kF32, ValType::kF64}, {}}};
  differential::Random random(1);
  size_t singles = 0;
  size_t doubles = 0;
  size_t all = 0;
  for (int i = 0; i < 200; i++) {
    for (const differential::Call& call : make_plan({function}, random).calls) {
      all++;
      singles += is_nan(ValType::kF32, differential::bits_of(ValType::kF32, call.args[0])) ? 1 : 0;
      doubles += is_nan(ValType::kF64, differential::bits_of(ValType::kF64, call.args[1])) ? 1 : 0;
    }
  }
  EXPECT_GT(singles * 8, all);
  EXPECT_GT(doubles * 8, all);
  EXPECT_LT(singles * 2, all);
  EXPECT_LT(doubles * 2, all);
}

TEST(PlanTest, ASmallerOneIsWithoutOneThing) {
  const differential::Call first{.function = "f", .type = {}, .args = {}};
  const differential::Call second{.function = "g", .type = {}, .args = {}};
  const std::vector<Plan> plans = smaller_plans({.calls = {first, second}, .hand_over_at = 1});
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(text(plans[0]), "  called: nothing\n  then, after the hand-over: g()\n");
  EXPECT_EQ(text(plans[1]), "  called: f()\n  then, after the hand-over: nothing\n");
}

}  // namespace
}  // namespace spore::tiers_test
