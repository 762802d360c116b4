// Calls: what ends them, what they leave behind, and who may be told.

#include "spore/engine/store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "spore/engine/ticker.h"
#include "tests/replaced.h"
#include "tests/sanitizers.h"

namespace spore::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kGuest = R"((module $guest
  (import "env" "call" (func $call (param i32) (result i32)))
  (memory (export "memory") 1)
  (table $t 2 100 funcref)
  (elem (i32.const 0) $divide)
  (type $binary (func (param i32 i32) (result i32)))
  (global $count (export "count") (mut i32) (i32.const 0))
  (func $divide (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "indirect") (param i32) (result i32)
    (call_indirect (type $binary) (i32.const 4) (i32.const 2) (local.get 0)))
  (func (export "trunc") (param f32) (result i32) (i32.trunc_f32_s (local.get 0)))
  (func (export "spin") (loop $again (br $again)))
  (func $deep (export "deep") (call $deep))
  (func (export "unreachable") (i32.store (i32.const 8) (i32.const 77)) (unreachable))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "grow_table") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0)))
  (func (export "fill") (param i32)
    (loop $again (memory.fill (i32.const 0) (i32.const 1) (local.get 0)) (br $again)))
  (func (export "bump") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))
  (func (export "host") (param i32) (result i32) (call $call (local.get 0)))
  (func (export "host_for_ever") (loop $again (drop (call $call (i32.const 0))) (br $again)))))";

class StoreTest : public testing::TestWithParam<Tier> {
 protected:
  using Body = std::function<Status(Caller&, RawValue*)>;

  // A store with kGuest in it, whose one import runs `body`.
  void start(
      const Limits& limits, Body body = [](Caller&, RawValue*) { return Status(); },
      EngineOptions options = {}) {
    options.tier = GetParam();
    engine_ = Engine::create(options, ticker_).value();
    auto functions = std::make_shared<HostFunctions>();
    functions->push_back({"env", "call", {{ValType::kI32}, {ValType::kI32}}, std::move(body)});
    std::string guest = kGuest;
    if (GetParam() == Tier::kInterpreter) {
      guest = test::replaced(guest, "(table.grow $t (ref.null func) (local.get 0))", "(i32.const -1)");
    }
    const auto code = engine_->compile(text_to_wasm(guest).value()).value();
    binding_ = Binding::create(code, functions).value();
    store_ = Store::create(engine_, limits).value();
    instance_ = store_->instantiate(binding_).value();
  }

  Result<int32_t> call(std::string_view name, int32_t a = 0, int32_t b = 0) {
    const RawFunction function = SPORE_TRY(store_->function(instance_, name));
    RawValue values[2] = {{.i32 = a}, {.i32 = b}};
    SPORE_TRY(function.call_unchecked(values, 2));
    return values[0].i32;
  }

  TrapKind trap(std::string_view name, int32_t a = 0, int32_t b = 0) {
    const Result<int32_t> result = call(name, a, b);
    const TrapInfo* info = result.ok() ? nullptr : trap_info(result.status());
    return info == nullptr ? TrapKind::kOther : info->kind;
  }

  std::shared_ptr<Ticker> ticker_ = std::make_shared<Ticker>();
  std::shared_ptr<const Engine> engine_;
  std::shared_ptr<const Binding> binding_;
  std::unique_ptr<Store> store_;
  InstanceHandle instance_;
};

INSTANTIATE_TEST_SUITE_P(AllTiers, StoreTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(tier_name(tier.param)); });

// Each kind a hundred times on one store: it stays usable, and nothing leaks (ASan watches).
TEST_P(StoreTest, EachTrapHasItsKindAndLeavesTheStoreUsable) {
  start({});
  for (int i = 0; i < 100; i++) {
    EXPECT_EQ(trap("divide", 1, 0), TrapKind::kIntegerDivisionByZero);
    EXPECT_EQ(trap("divide", INT32_MIN, -1), TrapKind::kIntegerOverflow);
    EXPECT_EQ(trap("load", -1), TrapKind::kMemoryOutOfBounds);
    EXPECT_EQ(trap("indirect", 1), TrapKind::kIndirectCallToNull);
    EXPECT_EQ(trap("indirect", 2), TrapKind::kTableOutOfBounds);
    EXPECT_EQ(trap("trunc", 0x7FC00000), TrapKind::kBadConversionToInteger);
    EXPECT_EQ(trap("unreachable"), TrapKind::kUnreachable);
    EXPECT_EQ(call("divide", 8, 2).value(), 4);
  }
  EXPECT_FALSE(store_->retired());
}

TEST_P(StoreTest, ATrapNamesTheFunctionAndItsBacktraceHasOffsets) {
  if (GetParam() == Tier::kInterpreter) GTEST_SKIP() << "the interpreter does not tell where";
  start({});
  const Status status = call("divide", 1, 0).status().copy();
  EXPECT_EQ(status.code(), Code::kTrap);
  EXPECT_EQ(status.message(), "the guest trapped: integer divide by zero in 'divide'");
  const TrapInfo* info = trap_info(status);
  ASSERT_NE(info, nullptr);
  ASSERT_EQ(info->backtrace.size(), 1u);
  EXPECT_EQ(info->backtrace[0].function, "divide");
  EXPECT_EQ(info->backtrace[0].module, "guest");
  EXPECT_EQ(info->backtrace[0].function_index, 1u);
  EXPECT_GT(info->backtrace[0].module_offset, 0u);
  EXPECT_NE(status.detail().find("guest!divide (function 1, offset 0x"), std::string_view::npos);
}

TEST_P(StoreTest, WhatWasWrittenBeforeATrapStays) {
  start({});
  EXPECT_EQ(trap("unreachable"), TrapKind::kUnreachable);
  EXPECT_EQ(call("load", 8).value(), 77);
}

TEST_P(StoreTest, DeepRecursionEndsAtTheWasmStackLimit) {
  start({});
  const Status status = call("deep").status().copy();
  EXPECT_EQ(trap_info(status)->kind, TrapKind::kStackOverflow);
  EXPECT_NE(status.message().find("(wasm_stack_bytes=524288)"), std::string_view::npos) << status.message();
  EXPECT_EQ(call("divide", 8, 2).value(), 4);
}

TEST_P(StoreTest, AnEndlessLoopEndsAtTheDeadlineAndRetiresTheStore) {
  start({.deadline_ms = 100});
  const auto begin = steady_clock::now();
  const Status status = call("spin").status().copy();
  // Ticks are as old as the ticker thread's last turn, which on a busy machine may be some milliseconds.
  EXPECT_GE(steady_clock::now() - begin, milliseconds(50));
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "the call ran longer than its deadline (deadline_ms=100)");
  EXPECT_EQ(trap_info(status)->kind, TrapKind::kInterrupted);
  EXPECT_TRUE(store_->retired());
  EXPECT_EQ(call("divide", 8, 2).code(), Code::kUnavailable);
}

TEST_P(StoreTest, ALoopOfBulkOperationsEndsAtTheDeadline) {
  start({.deadline_ms = 20});
  ASSERT_EQ(call("grow", 99).value(), 1);
  EXPECT_EQ(call("fill", 100 * 65536).code(), Code::kDeadlineExceeded);
}

// The ticker is parked when the call begins, as after a long time without calls.
TEST_P(StoreTest, ADeadlineHoldsAfterTheTickerHasParked) {
  start({.deadline_ms = 20});
  ASSERT_TRUE(call("bump").ok());
  while (!ticker_->parked()) std::this_thread::yield();
  EXPECT_EQ(call("spin").code(), Code::kDeadlineExceeded);
}

TEST_P(StoreTest, CallsAfterALongPauseDoNotInheritItsTime) {
  start({.deadline_ms = 1000});
  for (int i = 0; i < 3; i++) {
    while (!ticker_->parked()) std::this_thread::yield();
    EXPECT_TRUE(call("bump").ok());
  }
}

TEST_P(StoreTest, AFailingStartFunctionIsReportedAndCanBeTriedAgainElsewhere) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  const auto functions = std::make_shared<const HostFunctions>();
  const auto make = [&](const char* text) {
    return Binding::create(engine_->compile(text_to_wasm(text).value()).value(), functions).value();
  };
  const auto looping = make("(module (func $s (loop $l (br $l))) (start $s))");
  const auto trapping = make("(module (func $s unreachable) (start $s))");
  EXPECT_EQ(Store::create(engine_, {.deadline_ms = 20}).value()->instantiate(looping).code(),
            Code::kDeadlineExceeded);
  EXPECT_EQ(Store::create(engine_, {}).value()->instantiate(trapping).code(), Code::kTrap);
}

// A cancellation comes from another thread and must end the guest within 10 ms; a sanitizer, a debug
// build or a busy machine may take longer, so only the median of several is held to it.
TEST_P(StoreTest, AnyCallCanBeCancelledFromAnotherThreadWithinTenMilliseconds) {
  std::vector<double> waits;
  for (int i = 0; i < 9; i++) {
    std::atomic<bool> running{false};
    start({}, [&](Caller&, RawValue*) {
      running = true;
      return Status();
    });
    steady_clock::time_point cancelled_at;
    std::jthread other([&, canceller = store_->canceller()] {
      while (!running) std::this_thread::yield();
      cancelled_at = steady_clock::now();
      canceller.cancel();
    });
    const Status status = call("host_for_ever").status().copy();
    const auto ended = steady_clock::now();
    other.join();
    EXPECT_EQ(status.code(), Code::kCancelled);
    EXPECT_EQ(status.message(), "the call was cancelled");
    EXPECT_TRUE(store_->retired());
    waits.push_back(std::chrono::duration<double, std::milli>(ended - cancelled_at).count());
  }
  std::ranges::sort(waits);
  if (!test::kSanitized) {
    EXPECT_LT(waits[waits.size() / 2], 10.0);
  }
}

TEST_P(StoreTest, ACancellationBetweenCallsDoesNotHitTheNext) {
  start({});
  ASSERT_TRUE(call("bump").ok());
  store_->canceller().cancel();
  EXPECT_TRUE(call("bump").ok());
}

TEST_P(StoreTest, ACancellerMayOutliveItsStore) {
  start({});
  const Canceller canceller = store_->canceller();
  store_.reset();
  canceller.cancel();
}

TEST_P(StoreTest, FuelEndsACallAndIsFilledForTheNext) {
  start({.fuel_max = 10'000}, [](Caller&, RawValue*) { return Status(); }, {.fuel = true});
  EXPECT_TRUE(call("bump").ok());
  const uint64_t left = store_->fuel_left();
  EXPECT_GT(left, 0u);
  EXPECT_LT(left, 10'000u);
  const Status status = call("spin").status().copy();
  EXPECT_EQ(status.code(), Code::kLimitExceeded);
  EXPECT_EQ(trap_info(status)->kind, TrapKind::kOutOfFuel);
  EXPECT_NE(status.message().find("(fuel_max=10000)"), std::string_view::npos) << status.message();
  EXPECT_TRUE(call("bump").ok());
}

TEST_P(StoreTest, FuelOnAnEngineThatDoesNotCountItIsRefused) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  EXPECT_EQ(Store::create(engine_, {.fuel_max = 1}).code(), Code::kInvalidArgument);
}

TEST_P(StoreTest, MemoryGrowsToItsLimitAndNotBeyond) {
  start({.memory_bytes_max = 3 * 65536});
  EXPECT_EQ(call("grow", 3).value(), -1);
  EXPECT_EQ(call("grow", 2).value(), 1);
  EXPECT_EQ(call("grow", 1).value(), -1);
  EXPECT_EQ(store_->memory(instance_).size(), 3u * 65536);
}

TEST_P(StoreTest, TablesGrowToTheirLimitAndNotBeyond) {
  start({.table_elements_max = 10});
  if (GetParam() == Tier::kInterpreter) GTEST_SKIP() << "none grows there";
  EXPECT_EQ(call("grow_table", 9).value(), -1);
  EXPECT_EQ(call("grow_table", 8).value(), 2);
}

TEST_P(StoreTest, AModuleThatBeginsAboveItsLimitsIsRefusedWithTheLimitsName) {
  start({});
  const auto small = Store::create(engine_, {.memory_bytes_max = 65535}).value();
  const auto memory = small->instantiate(binding_);
  EXPECT_EQ(memory.code(), Code::kLimitExceeded);
  EXPECT_NE(memory.status().message().find("(memory_bytes_max=65535)"), std::string_view::npos)
      << memory.status().message();
  const auto narrow = Store::create(engine_, {.table_elements_max = 1}).value();
  const auto table = narrow->instantiate(binding_);
  EXPECT_EQ(table.code(), Code::kLimitExceeded);
  EXPECT_NE(table.status().message().find("(table_elements_max=1)"), std::string_view::npos)
      << table.status().message();
}

TEST_P(StoreTest, ALimitOutOfRangeIsRefused) {
  start({});
  EXPECT_EQ(Store::create(engine_, {.deadline_ms = 0}).code(), Code::kInvalidArgument);
  EXPECT_EQ(Store::create(engine_, {.deadline_ms = kDeadlineMsMax + 1}).code(), Code::kInvalidArgument);
  EXPECT_TRUE(Store::create(engine_, {.deadline_ms = kDeadlineMsMax}).ok());
  EXPECT_EQ(Store::create(engine_, {.nesting_max = 0}).code(), Code::kInvalidArgument);
}

// host(n) calls host(n - 1) through the host until 0.
TEST_P(StoreTest, CallsBackIntoTheGuestNestToTheLimitAndNotBeyond) {
  start({.nesting_max = 3}, [this](Caller& caller, RawValue* values) -> Status {
    if (values[0].i32 == 0) return {};
    const RawFunction host = SPORE_TRY(caller.store().function(instance_, "host"));
    RawValue inner{.i32 = values[0].i32 - 1};
    SPORE_TRY(host.call_unchecked(&inner, 1));
    values[0].i32 = inner.i32 + 1;
    return {};
  });
  EXPECT_EQ(call("host", 2).value(), 2);
  const Status status = call("host", 3).status().copy();
  EXPECT_EQ(status.code(), Code::kLimitExceeded);
  EXPECT_NE(status.message().find("(nesting_max=3)"), std::string_view::npos) << status.message();
}

TEST_P(StoreTest, TheDeadlineOfANestedCallIsTheOutersDeadline) {
  start({.deadline_ms = 20}, [this](Caller& caller, RawValue*) -> Status {
    const RawFunction spin = SPORE_TRY(caller.store().function(instance_, "spin"));
    RawValue none{};
    return spin.call_unchecked(&none, 1);
  });
  EXPECT_EQ(call("host").code(), Code::kDeadlineExceeded);
}

TEST_P(StoreTest, AHostFunctionSeesHowMuchTimeIsLeft) {
  uint64_t left = 0;
  start({.deadline_ms = 30}, [&](Caller& caller, RawValue*) {
    left = caller.time_left_ms();
    return Status();
  });
  EXPECT_EQ(call("host_for_ever").code(), Code::kDeadlineExceeded);
  EXPECT_LE(left, 30u);
}

// The ticker parks while the host function waits; the time counts all the same when the guest goes on.
TEST_P(StoreTest, AWaitInAHostFunctionCountsAgainstTheDeadline) {
  static constexpr uint64_t kDeadlineMs = Ticker::kIdleTicks + 50;
  start({.deadline_ms = kDeadlineMs}, [this, begin = steady_clock::now()](Caller&, RawValue*) {
    while (!ticker_->parked()) std::this_thread::yield();
    while (steady_clock::now() - begin < 2 * milliseconds(kDeadlineMs)) std::this_thread::yield();
    return Status();
  });
  EXPECT_EQ(call("host_for_ever").code(), Code::kDeadlineExceeded);
}

TEST_P(StoreTest, AHostFunctionThatAsksForTheTimeLeftSeesItRunOut) {
  start({.deadline_ms = Ticker::kIdleTicks + 50}, [](Caller& caller, RawValue*) {
    while (caller.time_left_ms() > 0) std::this_thread::yield();
    return Status::deadline_exceeded("gave up in time");
  });
  EXPECT_EQ(call("host").code(), Code::kDeadlineExceeded);
}

TEST_P(StoreTest, AGroupOfCallsHasOneDeadlineOneQuotaAndOneFilling) {
  start({.fuel_max = 10'000, .copy_bytes_max = 100},
        [](Caller& caller, RawValue*) { return caller.charge_copy(60); }, {.fuel = true});
  for (int i = 0; i < 3; i++) {
    const Store::Group group(*store_);
    EXPECT_TRUE(call("bump").ok());
    const uint64_t after_one = store_->fuel_left();
    EXPECT_GT(after_one, 9'000u) << "a group begins with the whole fuel";
    EXPECT_TRUE(call("bump").ok());
    EXPECT_LT(store_->fuel_left(), after_one) << "and is not filled again on the way";
  }
  const Store::Group group(*store_);
  EXPECT_TRUE(call("host").ok());
  EXPECT_EQ(call("host").code(), Code::kLimitExceeded);
}

TEST_P(StoreTest, MemoriesAndTablesAreCounted) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  const auto functions = std::make_shared<const HostFunctions>();
  const auto binding = Binding::create(engine_
                                           ->compile(text_to_wasm(R"((module (memory 1) (memory 1)
        (table 1 funcref) (table 1 funcref) (table 1 funcref)))")
                                                         .value())
                                           .value(),
                                       functions)
                           .value();
  EXPECT_TRUE(
      Store::create(engine_, {.memories_max = 2, .tables_max = 3}).value()->instantiate(binding).ok());
  const auto memories = Store::create(engine_, {}).value()->instantiate(binding);
  EXPECT_NE(memories.status().message().find("(memories_max=1)"), std::string_view::npos)
      << memories.status().message();
  const auto tables =
      Store::create(engine_, {.memories_max = 2, .tables_max = 2}).value()->instantiate(binding);
  EXPECT_NE(tables.status().message().find("(tables_max=2)"), std::string_view::npos)
      << tables.status().message();
}

// The second instance's start function calls the host while the first is the only one that is finished.
TEST_P(StoreTest, ACallerSeesTheMemoryOfTheInstanceThatCalls) {
  std::vector<size_t> sizes;
  start({.memories_max = 10}, [&](Caller& caller, RawValue*) {
    sizes.push_back(caller.memory().size() / 65536);
    return Status();
  });
  ASSERT_TRUE(call("host").ok());
  const auto code = engine_->compile(text_to_wasm(R"((module
    (import "env" "call" (func $call (param i32) (result i32)))
    (memory (export "memory") 3)
    (func $start (drop (call $call (i32.const 0))))
    (start $start)))")
                                         .value());
  ASSERT_TRUE(store_->instantiate_linked(code.value(), binding_->functions(), {}).ok());
  ASSERT_TRUE(call("host").ok());
  EXPECT_EQ(sizes, (std::vector<size_t>{1, 3, 1}));
}

// A module puts its import into another instance's table, then fails to start and is dropped: what the table
// holds must stay callable.  (A use after free, seen by ASan, before the store kept what it was given.)
TEST_P(StoreTest, AFailedInstantiationMayLeaveFunctionsBehindThatStayAlive) {
  start({});
  const auto table_owner = engine_->compile(text_to_wasm(R"((module
    (table (export "t") 1 funcref)
    (type $f (func (param i32) (result i32)))
    (func (export "run") (result i32) (call_indirect (type $f) (i32.const 7) (i32.const 0)))))")
                                                .value());
  instance_ = store_->instantiate_linked(table_owner.value(), binding_->functions(), {}).value();
  {
    auto functions = std::make_shared<HostFunctions>();
    functions->push_back({"host",
                          "left",
                          {{ValType::kI32}, {ValType::kI32}},
                          [secret = std::string(100, 'x')](Caller&, RawValue* values) {
                            values[0].i32 += static_cast<int32_t>(secret.size());
                            return Status();
                          }});
    const auto failing = engine_->compile(text_to_wasm(R"((module
      (import "owner" "t" (table 1 funcref))
      (import "host" "left" (func $left (param i32) (result i32)))
      (elem (i32.const 0) $left)
      (func $start unreachable)
      (start $start)))")
                                              .value());
    const std::vector<Store::Linked> linked{{"owner", instance_}};
    EXPECT_EQ(store_->instantiate_linked(failing.value(), functions, linked).code(), Code::kTrap);
  }
  EXPECT_EQ(call("run").value(), 107);
}

// The same of an instance that was never finished, as a later segment of it does not fit: its function is in
// the table, with its memory, and what the segments before wrote is there.  (wasmi 2.0.0 reads wild memory.)
TEST_P(StoreTest, FunctionsOfAnInstanceThatWasNotFinishedAreWhole) {
  start({.memories_max = 10, .tables_max = 10});
  const auto table_owner = engine_->compile(text_to_wasm(R"((module
    (table (export "t") 4 funcref) (memory (export "m") 1)
    (type $f (func (param i32) (result i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call_indirect (type $f) (local.get 1) (local.get 0)))
    (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0)))))")
                                                .value());
  instance_ = store_->instantiate_linked(table_owner.value(), binding_->functions(), {}).value();
  const std::vector<Store::Linked> linked{{"owner", instance_}};
  const auto link = [&](std::string_view segments) {
    const auto code = engine_->compile(text_to_wasm(fmt::format(R"((module
      (import "owner" "t" (table $t 4 funcref)) (import "owner" "m" (memory $m 1)) (memory $own 1)
      (global $bias (mut i32) (i32.const 100)) (table $mine 1 funcref)
      (func $add (param i32) (result i32)
        (i32.store8 $own (i32.const 0) (i32.add (i32.load8_u $own (i32.const 0)) (local.get 0)))
        (i32.add (global.get $bias) (i32.load8_u $own (i32.const 0))))
      (func $twice (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
      {}
      (func (export "drop_again") (data.drop 0) (elem.drop 0))))",
                                                                segments))
                                           .value());
    return store_->instantiate_linked(code.value(), binding_->functions(), linked);
  };
  const auto trap_of = [](const auto& made) {
    const TrapInfo* info = made.ok() ? nullptr : trap_info(made.status());
    return info == nullptr ? TrapKind::kOther : info->kind;
  };
  EXPECT_EQ(trap_of(link(R"((elem (i32.const 0) $add $twice) (elem (i32.const 3) $add $add)
    (data (memory $m) (i32.const 9) "\09"))")),
            TrapKind::kTableOutOfBounds);
  EXPECT_EQ(call("run", 0, 5).value(), 105);
  EXPECT_EQ(call("run", 0, 5).value(), 110);
  EXPECT_EQ(call("run", 1, 5).value(), 10);
  EXPECT_EQ(trap("run", 3, 5), TrapKind::kIndirectCallToNull);  // written whole or not at all
  EXPECT_EQ(call("byte", 9).value(), 0);                        // elements come first

  EXPECT_EQ(
      trap_of(link(R"((elem (i32.const 2) funcref (ref.func $twice)) (data (memory $m) (i32.const 1) "\07\08")
    (data (memory $m) (i32.const 65535) "xy") (data (memory $m) (i32.const 3) "z"))")),
      TrapKind::kMemoryOutOfBounds);
  EXPECT_EQ(call("run", 2, 7).value(), 14);
  EXPECT_EQ(call("byte", 2).value(), 8);
  EXPECT_EQ(call("byte", 3).value(), 0);
  EXPECT_EQ(call("byte", 65535).value(), 0);

  const auto whole = link(R"((elem (table $mine) (i32.const 0) func $twice) (elem declare func $add)
    (elem (table $t) (i32.const 1) func $add) (data (memory $own) (i32.const 0) "\20") (data "passive"))");
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_EQ(call("run", 1, 1).value(), 133);
  instance_ = whole.value();
  EXPECT_TRUE(call("drop_again").ok());
}

// A start function may be imported: from the host, or from another instance.
TEST_P(StoreTest, AStartFunctionMayBeImported) {
  int calls = 0;
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  auto functions = std::make_shared<HostFunctions>();
  functions->push_back(
      {"env", "other", {}, [](Caller&, RawValue*) { return Status::internal("the other"); }});
  functions->push_back({"env", "called", {}, [&](Caller&, RawValue*) {
                          calls++;
                          return Status();
                        }});
  const auto host_started = engine_->compile(text_to_wasm(R"((module
    (import "env" "other" (func)) (import "env" "called" (func $start)) (start $start)
    (global $n (mut i32) (i32.const 0))
    (func (export "bump") (global.set $n (i32.add (global.get $n) (i32.const 1))))
    (func (export "count") (result i32) (global.get $n))))")
                                                 .value());
  store_ = Store::create(engine_, {}).value();
  binding_ = Binding::create(host_started.value(), functions).value();
  instance_ = store_->instantiate(binding_).value();
  EXPECT_EQ(calls, 1);
  const auto linked_started = engine_->compile(text_to_wasm(R"((module
    (import "first" "count" (func (result i32))) (import "first" "bump" (func $start)) (start $start)))")
                                                   .value());
  const std::vector<Store::Linked> linked{{"first", instance_}};
  ASSERT_TRUE(store_->instantiate_linked(linked_started.value(), functions, linked).ok());
  EXPECT_EQ(call("count").value(), 1);
}

// What is not valid is told from what this tier lacks: a global that is neither mutable nor immutable.
TEST_P(StoreTest, AModuleThatIsNotValidIsNotSaidToBeUnsupported) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  std::vector<uint8_t> wasm = text_to_wasm("(module (global i32 (i32.const 0)))").value();
  const std::vector<uint8_t> global{0x7f, 0x00, 0x41, 0x00};  // i32, immutable, i32.const 0
  const auto found = std::ranges::search(wasm, global);
  ASSERT_FALSE(found.empty());
  found[1] = 0x02;
  EXPECT_EQ(engine_->compile(wasm).code(), Code::kInvalidModule);
}

// Of two engines, whatever they are, nothing is linked.
TEST_P(StoreTest, CodeOfAnotherTierIsNotLinked) {
  start({});
  for (const Tier tier : {Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak}) {
    const auto other = Engine::create({.tier = tier}, ticker_).value();
    const auto code = other->compile(text_to_wasm("(module (func (export \"f\")))").value()).value();
    const auto linked = store_->instantiate_linked(code, binding_->functions(), {});
    EXPECT_EQ(linked.code(), Code::kInvalidArgument) << linked.status().message();
  }
  EXPECT_EQ(call("bump").value(), 1);
}

TEST_P(StoreTest, QuotasOfHostCallsCountPerCall) {
  start({.copy_bytes_max = 100, .log_bytes_max = 10}, [](Caller& caller, RawValue* values) -> Status {
    SPORE_TRY(caller.charge_copy(static_cast<uint64_t>(values[0].i32)));
    return caller.charge_log(static_cast<uint64_t>(values[0].i32) / 10);
  });
  for (int i = 0; i < 3; i++) EXPECT_TRUE(call("host", 100).ok()) << "each call has the whole quota";
  const Status status = call("host", 101).status().copy();
  EXPECT_EQ(status.code(), Code::kLimitExceeded);
  EXPECT_NE(status.message().find("(copy_bytes_max=100)"), std::string_view::npos) << status.message();
  EXPECT_TRUE(store_->retired());
}

TEST_P(StoreTest, AnUnknownExportIsToldWithWhatThereIs) {
  start({});
  EXPECT_NE(call("nope").status().message().find("'divide'"), std::string_view::npos);
  EXPECT_NE(store_->global(instance_, "nope").status().message().find("'count'"), std::string_view::npos);
  ASSERT_TRUE(call("bump").ok());
  EXPECT_EQ(store_->global(instance_, "count").value().value.i32, 1);
}

// Found by the module fuzzer: a name that ends in NUL was cut.  And a hostile name must not drive a terminal.
TEST_P(StoreTest, ExportsMayHaveAnyNameAndMessagesStayPrintable) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  const auto code = engine_->compile(
      text_to_wasm("(module (func (export \"nul\\00\") unreachable) (func (export \"a\\1b[2J\\0ab\")))")
          .value());
  binding_ = Binding::create(code.value(), std::make_shared<const HostFunctions>()).value();
  store_ = Store::create(engine_, {}).value();
  instance_ = store_->instantiate(binding_).value();
  EXPECT_EQ(trap(std::string_view("nul\0", 4)), TrapKind::kUnreachable);
  EXPECT_TRUE(call("a\x1b[2J\nb").ok());
  EXPECT_EQ(call("nul").status().message(),
            "no exported function 'nul' (there are: 'nul\\x00', 'a\\x1b[2J\\x0ab')");
}

TEST_P(StoreTest, MissingImportsAreNamedAllAtOnceWithTheirTypes) {
  engine_ = Engine::create({.tier = GetParam()}, ticker_).value();
  const auto code = engine_->compile(text_to_wasm(R"((module
    (import "env" "a" (func (param i32)))
    (import "env" "b" (func (result i64)))
    (import "env" "m" (memory 1))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))))")
                                         .value());
  auto functions = std::make_shared<HostFunctions>();
  functions->push_back({"env", "b", {{}, {ValType::kI32}}, [](Caller&, RawValue*) { return Status(); }});
  const auto binding = Binding::create(code.value(), functions);
  EXPECT_EQ(binding.code(), Code::kInvalidArgument);
  EXPECT_EQ(binding.status().message(),
            "4 imports that nobody provides: env.a (i32) -> (), env.b () -> i64 (the host has () -> i32), "
            "env.m (memory), wasi_snapshot_preview1.fd_write (i32, i32, i32, i32) -> i32");
}

// A store may move from thread to thread, one at a time.
TEST_P(StoreTest, MovesBetweenThreads) {
  start({});
  for (int i = 1; i <= 10; i++) {
    std::jthread([&] { EXPECT_EQ(call("bump").value(), i); });
  }
}

// A child can go on with what it copied: calls, traps, deadlines.  (It must not compile in parallel.)
TEST_P(StoreTest, AForkedChildCallsTrapsAndTimesOut) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan does not follow threads that a forked child starts";
  start({.deadline_ms = 50});
  ASSERT_EQ(call("bump").value(), 1);
  // ASan's allocator does not survive a fork while another thread begins: let the ticker's have ticked.
  for (const uint64_t now = ticker_->now(); ticker_->now() == now;) std::this_thread::yield();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool called = call("bump").value_or(0) == 2;
    const bool trapped = trap("divide", 1, 0) == TrapKind::kIntegerDivisionByZero;
    const bool compiled = engine_->compile(text_to_wasm("(module (func))").value()).ok();
    const bool timed_out = call("spin").code() == Code::kDeadlineExceeded;
    _exit(called && trapped && compiled && timed_out ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(call("bump").value(), 2);
  EXPECT_EQ(call("spin").code(), Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace spore::engine
