// Instances go over to other code with all their state, and nobody who holds something of them notices.

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "spore/cell/clean_function.h"
#include "spore/cell/pool.h"
#include "spore/engine/ticker.h"
#include "spore/host/functions.h"
#include "tests/guest_file.h"

namespace spore::cell {
namespace {

using engine::Tier;

// State of every kind; `check` says whether all of it is as `count` calls of `step` have made it.
constexpr const char* kGuest = R"((module
  (import "env" "note" (func $note (param i32)))
  (memory (export "memory") 2 40)
  (table $t 4 100 funcref)
  (type $number (func (result i32)))
  (global $i (mut i32) (i32.const 0))
  (global $l (mut i64) (i64.const 0))
  (global $d (mut f64) (f64.const 0))
  (data (i32.const 16) "hello")
  (data $passive "passive")
  (elem declare func $zero $one)
  (func $zero (type $number) (i32.const 0))
  (func $one (type $number) (i32.const 1))
  (func (export "step") (result i32)
    (global.set $i (i32.add (global.get $i) (i32.const 1)))
    (global.set $l (i64.add (global.get $l) (i64.const 1)))
    (global.set $d (f64.add (global.get $d) (f64.const 1)))
    (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (i32.const 1)))
    (if (i32.and (global.get $i) (i32.const 1))
      (then (table.set $t (i32.const 2) (ref.func $one)))
      (else (table.set $t (i32.const 2) (ref.func $zero))))
    (call $note (global.get $i))
    (global.get $i))
  (func (export "check") (result i32)
    (if (i64.ne (global.get $l) (i64.extend_i32_u (global.get $i))) (then (return (i32.const -1))))
    (if (f64.ne (global.get $d) (f64.convert_i32_u (global.get $i))) (then (return (i32.const -2))))
    (if (i32.ne (i32.load (i32.const 70000)) (global.get $i)) (then (return (i32.const -3))))
    (if (i32.load (i32.const 16)) (then) (else (return (i32.const -4))))
    (if (i32.eqz (global.get $i)) (then (return (i32.const 0))))
    (if (i32.ne (call_indirect $t (type $number) (i32.const 2)) (i32.and (global.get $i) (i32.const 1)))
      (then (return (i32.const -5))))
    (global.get $i))
  (func (export "clear_hello") (i32.store (i32.const 16) (i32.const 0)))
  (func (export "hello") (result i32) (i32.load8_u (i32.const 16)))
  (func (export "drop") (data.drop $passive))
  (func (export "init") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "table_grow") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0)))
  (func (export "table_size") (result i32) (table.size $t))
  (func (export "peek") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "poke") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "spin") (loop (br 0)))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
  (func (export "length") (param i32 i32) (result i32) (local.get 1)))
)";

class HandOverTest : public testing::Test {
 protected:
  HandOverTest() {
    const auto ticker = std::make_shared<engine::Ticker>();
    for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
      engines_.push_back(engine::Engine::create({.tier = tier}, ticker).value());
    }
    host::HostFunctions host;
    host.define("env", "note", [this](host::Caller&, int32_t number) { noted_ = number; });
    functions_ = host.freeze();
    prepared_ =
        std::make_shared<const wasm::PreparedModule>(wasm::prepare(test::wasm(kGuest), 1 << 20).value());
    for (const auto& engine : engines_) {
      bindings_.push_back(
          engine::Binding::create(engine->compile(prepared_->wasm).value(), functions_).value());
    }
    blueprint_ = std::make_shared<const Blueprint>(
        Blueprint{.name = "guest",
                  .code = std::make_shared<engine::LiveBinding>(bindings_[0]),
                  .prepared = prepared_,
                  .limits = {},
                  .wasi = nullptr});
  }

  host::Instance make() const { return instantiate(*blueprint_, {}).value(); }
  static Tier tier_of(const host::Instance& instance) { return instance.code().engine().options().tier; }
  void improve(size_t to) const { blueprint_->code->improve(bindings_[to]); }
  engine::LiveBinding::HandOvers hand_overs() const { return blueprint_->code->hand_overs(); }

  std::vector<std::shared_ptr<const engine::Engine>> engines_;
  std::shared_ptr<const engine::HostFunctions> functions_;
  std::shared_ptr<const wasm::PreparedModule> prepared_;
  std::vector<std::shared_ptr<const engine::Binding>> bindings_;
  std::shared_ptr<const Blueprint> blueprint_;
  std::atomic<int32_t> noted_{0};
};

TEST_F(HandOverTest, AnInstanceGoesAlongWithItsCode) {
  const host::Instance instance = make();
  const auto step = instance.function<int32_t()>("step").value();
  const auto check = instance.function<int32_t()>("check").value();
  for (int32_t i = 1; i <= 3; i++) EXPECT_EQ(step().value(), i);
  EXPECT_EQ(tier_of(instance), Tier::kBaseline);
  improve(1);
  EXPECT_EQ(tier_of(instance), Tier::kBaseline);  // not before it is called
  EXPECT_EQ(step().value(), 4);
  EXPECT_EQ(tier_of(instance), Tier::kOptimised);
  EXPECT_EQ(check().value(), 4);
  EXPECT_EQ(noted_, 4);
  EXPECT_EQ(hand_overs().done, 1u);
  EXPECT_EQ(hand_overs().refused, 0u) << hand_overs().last_refusal;
  EXPECT_EQ(instance.function<int32_t()>("check").value()().value(), 4);
}

TEST_F(HandOverTest, AThousandTimesInARowAroundGrowth) {
  const host::Instance instance = make();
  const auto step = instance.function<int32_t()>("step").value();
  const auto check = instance.function<int32_t()>("check").value();
  const auto grow = instance.function<int32_t(int32_t)>("grow").value();
  const auto size = instance.function<int32_t()>("size").value();
  const auto table_grow = instance.function<int32_t(int32_t)>("table_grow").value();
  const auto table_size = instance.function<int32_t()>("table_size").value();
  const auto peek = instance.function<int32_t(int32_t)>("peek").value();
  const auto poke = instance.function<void(int32_t, int32_t)>("poke").value();
  int32_t pages = 2;
  int32_t elements = 4;
  for (int32_t i = 1; i <= 1000; i++) {
    if (i % 30 == 0) {
      EXPECT_EQ(grow(1).value(), pages++);
      EXPECT_TRUE(poke((pages - 1) * 65536, i).ok());
    }
    if (i % 20 == 0) {
      EXPECT_EQ(table_grow(1).value(), elements++);
    }
    improve(i % 2);
    ASSERT_EQ(step().value(), i);
    ASSERT_EQ(check().value(), i);
    ASSERT_EQ(size().value(), pages);
    ASSERT_EQ(table_size().value(), elements);
    if (i >= 30) {
      ASSERT_EQ(peek((pages - 1) * 65536).value(), i / 30 * 30);
    }
  }
  EXPECT_EQ(hand_overs().done, 1000u);
  EXPECT_EQ(hand_overs().refused, 0u) << hand_overs().last_refusal;
  EXPECT_EQ(pages, 35);
}

TEST_F(HandOverTest, ADroppedSegmentStaysDroppedAndDataIsNotWrittenAgain) {
  const host::Instance instance = make();
  const auto init = instance.function<void()>("init").value();
  EXPECT_TRUE(instance.function<void()>("clear_hello").value()().ok());
  EXPECT_TRUE(init().ok());
  improve(1);
  EXPECT_TRUE(init().ok());
  EXPECT_EQ(instance.function<int32_t()>("hello").value()().value(), 0);
  EXPECT_TRUE(instance.function<void()>("drop").value()().ok());
  improve(0);
  EXPECT_EQ(init().code(), Code::kTrap);
  EXPECT_EQ(tier_of(instance), Tier::kBaseline);
}

// Text takes several calls that are one: they all run in the same code.
TEST_F(HandOverTest, AGroupOfCallsIsNotDivided) {
  const host::Instance instance = make();
  const auto length = instance.function<int32_t(std::string_view)>("length").value();
  EXPECT_EQ(length("four").value(), 4);
  improve(1);
  EXPECT_EQ(length("seven..").value(), 7);
  EXPECT_EQ(tier_of(instance), Tier::kOptimised);
  {
    const engine::Store::Group group(instance.store());
    improve(0);
    EXPECT_EQ(length("seven..").value(), 7);
    EXPECT_EQ(tier_of(instance), Tier::kOptimised);
    EXPECT_EQ(instance.store().hand_over(bindings_[0], *prepared_).code(), Code::kUnavailable);
  }
  EXPECT_EQ(length("seven..").value(), 7);
  EXPECT_EQ(tier_of(instance), Tier::kBaseline);
}

TEST_F(HandOverTest, ACancellerReachesTheInstanceInItsNewCode) {
  const host::Instance instance = make();
  const engine::Canceller canceller = instance.canceller();
  improve(1);
  std::atomic<bool> done{false};
  std::jthread other([&] {
    while (!done) canceller.cancel();
  });
  EXPECT_EQ(instance.function<void()>("spin").value()().code(), Code::kCancelled);
  done = true;
  EXPECT_EQ(tier_of(instance), Tier::kOptimised);
}

TEST_F(HandOverTest, WhatIsRetiredStaysWhereItIs) {
  host::Instance instance = make();
  EXPECT_TRUE(instance.set_deadline_ms(1).ok());
  EXPECT_EQ(instance.function<void()>("spin").value()().code(), Code::kDeadlineExceeded);
  improve(1);
  EXPECT_EQ(instance.function<int32_t()>("check").value()().code(), Code::kUnavailable);
  EXPECT_EQ(instance.store().hand_over(bindings_[1], *prepared_).message(), "the instance is retired");
}

TEST_F(HandOverTest, CallsAreCountedByFunctionAcrossHandOvers) {
  {
    const host::Instance instance = make();
    const auto step = instance.function<int32_t()>("step").value();
    for (int i = 0; i < 10; i++) EXPECT_TRUE(step().ok());
    improve(1);
    for (int i = 0; i < 10; i++) EXPECT_TRUE(step().ok());
    EXPECT_EQ(blueprint_->code->functions().at("step").calls, 20u);
  }
  EXPECT_EQ(blueprint_->code->functions().at("step").calls, 20u);
  EXPECT_EQ(blueprint_->code->total().calls, 20u);
}

// Many threads take clean instances while the code changes beneath them: no call is lost, none answers as
// from a used instance.
TEST_F(HandOverTest, AWholePoolGoesOverUnderLoad) {
  const auto pool = Pool::create({.instances_per_module_max = 4, .instances_max = 4}).value();
  const auto entry = pool->entry(blueprint_).value();
  std::atomic<uint64_t> calls{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 3; t++) {
    threads.emplace_back([&] {
      const auto step = CleanFunction<int32_t()>::create(entry, "step").value();
      while (!stop) {
        const Result<int32_t> answer = step();
        if (!answer.ok() || answer.value() != 1) wrong++;
        const Result<Lease> lease = entry->acquire();
        if (!lease.ok() || lease.value()->function<int32_t()>("step").value()().value() != 1 ||
            lease.value()->function<int32_t()>("check").value()().value() != 1) {
          wrong++;
        }
        calls++;
      }
    });
  }
  for (size_t i = 1; i <= 1000; i++) {
    improve(i % 2);
    const uint64_t before = calls;
    while (calls < before + 3 && wrong == 0) std::this_thread::yield();
  }
  stop = true;
  threads.clear();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(hand_overs().done, 1000u);
  EXPECT_EQ(hand_overs().refused, 0u) << hand_overs().last_refusal;
  pool->close();
}

}  // namespace
}  // namespace spore::cell
