// What the interpreter must not have, and what it must resume.

#include "spore/engine/interpreter.h"

#include <memory>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spore/engine/store.h"
#include "spore/engine/ticker.h"

namespace spore::engine {
namespace {

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; i++) all += text;
  return all;
}

class InterpreterTest : public testing::Test {
 protected:
  void TearDown() override { spore_interpreted_set_slice(100'000); }

  Result<std::shared_ptr<const CompiledCode>> compile(const std::string& text) {
    return engine_->compile(text_to_wasm(text).value());
  }
  void expect_refused(const std::string& text, std::string_view why) {
    const auto code = compile(text);
    EXPECT_EQ(code.code(), Code::kUnsupported);
    EXPECT_NE(code.status().message().find(why), std::string_view::npos) << code.status().message();
  }
  // What its export "f" gives.
  Result<RawValue> run(const std::string& text, RawValue argument = {.i64 = 0}) {
    const auto code = SPORE_TRY(compile(text));
    const auto binding = SPORE_TRY(Binding::create(code, std::make_shared<HostFunctions>()));
    const auto store = SPORE_TRY(Store::create(engine_, {.memories_max = 2}));
    const InstanceHandle instance = SPORE_TRY(store->instantiate(binding));
    const RawFunction function = SPORE_TRY(store->function(instance, "f"));
    SPORE_TRY(function.call_unchecked(&argument, 1));
    return argument;
  }

  std::shared_ptr<const Engine> engine_ =
      Engine::create({.tier = Tier::kInterpreter}, std::make_shared<Ticker>()).value();
};

// wasmi 2.0.0 counts the slots of a function in 15 bits, and translates when a function is called.
TEST_F(InterpreterTest, AFunctionOfTooManyOperandsIsRefusedBeforeItIsCalled) {
  const auto sum = [](int count) {
    return "(module (func (export \"f\") (param i32) (result i32)" +
           repeated(" (i32.popcnt (local.get 0))", count) + repeated(" (i32.add)", count - 1) + "))";
  };
  EXPECT_EQ(run(sum(10'000), {.i32 = 3}).value().i32, 20'000);
  expect_refused(sum(20'000), "20000 operands");
  expect_refused("(module (func (export \"f\") (param i32)" +
                     repeated(" (v128.not (i32x4.splat (local.get 0)))", 15'000) + repeated(" drop", 15'000) +
                     "))",
                 "15000 operands");
  // Few bytes, many results.
  expect_refused("(module (func $many (result" + repeated(" i32", 900) + ")" + repeated(" i32.const 1", 900) +
                     ") (func (export \"f\")" + repeated(" call $many", 30) + " return))",
                 "27000 operands");
}

// wasmi 2.0.0 goes on at another instruction than it stopped at, if that was a growth of a table.
TEST_F(InterpreterTest, ATableThatGrowsIsRefused) {
  expect_refused(
      "(module (table 1 funcref) (func (export \"f\") (drop (table.grow (ref.null func) (i32.const 1)))))",
      "a table that grows");
  // Its bytes stand in this constant.
  EXPECT_EQ(run("(module (func (export \"f\") (result i32) (i32.const 2044)))").value().i32, 2044);
}

// wasmi 2.0.0 overflows with the bytes of a maximum of 2^48 pages.
TEST_F(InterpreterTest, AMemoryMayBeDeclaredLongerThanThereIsSpace) {
  for (const char* max : {"", "1", "2", "1099511627776", "281474976710655", "281474976710656"}) {
    const std::string text = fmt::format(
        "(module (memory i64 1 {}) (memory i64 1 {})"
        " (func (export \"f\") (result i64)"
        "   (i64.add (i64.mul (memory.grow 0 (i64.const 1)) (i64.const 10)) (memory.grow 1 (i64.const 1)))))",
        max, max);
    EXPECT_EQ(run(text).value().i64, std::string_view(max) == "1" ? -11 : 11) << max;
  }
}

// Each instruction may be the one that is resumed.
TEST_F(InterpreterTest, ACallThatComesBackAfterEachInstructionGivesTheSame) {
  constexpr const char* kText = R"((module (memory 1 4) (table 4 funcref) (elem declare func $one)
    (data $d "abcdefgh") (elem $e func $one $one)
    (func $one (result i32) (i32.const 1))
    (func (export "f") (param $n i32) (result i32) (local $sum i32)
      (loop $again
        (memory.fill (i32.const 0) (local.get $n) (i32.const 4096))
        (memory.copy (i32.const 8192) (i32.const 1) (i32.const 4000))
        (memory.init $d (i32.const 20000) (i32.const 0) (i32.const 8))
        (table.fill (i32.const 2) (ref.func $one) (i32.const 2))
        (table.init $e (i32.const 0) (i32.const 0) (i32.const 2))
        (table.copy (i32.const 1) (i32.const 0) (i32.const 2))
        (local.set $sum (i32.add (local.get $sum) (i32.add (memory.grow (i32.const 1)) (i32.add
          (i32.load (i32.const 8192)) (i32.add (i32.load (i32.const 20004))
          (call_indirect (result i32) (i32.and (local.get $n) (i32.const 3))))))))
        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (i32.add (local.get $sum) (memory.size)))))";
  const int32_t expected = run(kText, {.i32 = 50}).value().i32;
  for (uint64_t slice = 1; slice < 200; slice++) {
    spore_interpreted_set_slice(slice);
    EXPECT_EQ(run(kText, {.i32 = 50}).value().i32, expected) << slice;
  }
}

}  // namespace
}  // namespace spore::engine
