// Cells keep their state while they sleep, and nobody else's.

#include "spore/cell/cells.h"

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/blueprint.h"
#include "tests/child.h"
#include "tests/replaced.h"
#include "tests/sanitizers.h"
#include "tests/says.h"

namespace spore::cell {
namespace {

using engine::Tier;
using test::Modules;

// State in every place that there is.
constexpr const char* kGuest = R"((module $guest
  (import "env" "tell" (func $tell (param i32)))
  (memory (export "memory") 2 10)
  (table $t 3 20 funcref)
  (type $number (func (result i32)))
  (global $i32 (mut i32) (i32.const 1))
  (global $f64 (mut f64) (f64.const 4))
  (data (i32.const 100) "as the image has it")
  (data $passive "passive")
  (elem (i32.const 0) $one)
  (elem declare func $two)
  (func $one (type $number) (i32.const 1))
  (func $two (type $number) (i32.const 2))
  (func (export "add") (param i64) (result i64)
    (i64.store (i32.const 1024) (i64.add (i64.load (i32.const 1024)) (local.get 0)))
    (i64.load (i32.const 1024)))
  (func (export "get") (result i64) (i64.load (i32.const 1024)))
  (func (export "peek") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "poke") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "set_i32") (param i32) (global.set $i32 (local.get 0)))
  (func (export "get_i32") (result i32) (global.get $i32))
  (func (export "set_f64") (param f64) (global.set $f64 (local.get 0)))
  (func (export "get_f64") (result f64) (global.get $f64))
  (func (export "table_set") (param i32) (table.set $t (local.get 0) (ref.func $two)))
  (func (export "table_null") (param i32) (table.set $t (local.get 0) (ref.null func)))
  (func (export "table_grow") (param i32) (result i32) (table.grow $t (ref.func $two) (local.get 0)))
  (func (export "table_size") (result i32) (table.size $t))
  (func (export "table_call") (param i32) (result i32)
    (if (result i32) (ref.is_null (table.get $t (local.get 0)))
      (then (i32.const 0)) (else (call_indirect $t (type $number) (local.get 0)))))
  (func (export "drop") (data.drop $passive))
  (func (export "init") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)))
  (func (export "trap") (param i64)
    (i64.store (i32.const 1024) (local.get 0)) (global.set $i32 (i32.const 77)) (unreachable))
  (func (export "spin") (i64.store (i32.const 1024) (i64.const -1)) (loop $again (br $again)))
  (func (export "tell") (param i32) (call $tell (local.get 0))))
)";

using Values = std::vector<host::Value>;
host::Value v(int32_t value) { return host::Value::i32(value); }
host::Value v(int64_t value) { return host::Value::i64(value); }
host::Value v(double value) { return host::Value::f64(value); }
void take(const host::Value& value, int32_t& into) { into = value.as_i32().value(); }
void take(const host::Value& value, int64_t& into) { into = value.as_i64().value(); }

class CellsTest : public testing::Test {
 protected:
  void start(const CellsOptions& options, PoolOptions pool = {}) {
    cells_.reset();
    pool.housekeeping = false;
    pool_ = Pool::create(std::move(pool)).value();
    CellsOptions own = options;
    own.housekeeping = false;
    cells_ = Cells::create(own).value();
    kind_ = make_kind("guest");
  }
  std::shared_ptr<CellKind> make_kind(std::string name, std::string_view domain = {}) {
    host::HostFunctions host;
    host.define("env", "tell", [this](int32_t value) {
      if (told_) told_(value);
    });
    blueprints_.push_back(modules_.load(std::move(name), text_, host, {.limits = {.deadline_ms = 20'000}}));
    return cells_->kind(pool_->entry(blueprints_.back(), domain).value()).value();
  }
  ~CellsTest() override {
    kind_.reset();
    cells_.reset();
    if (pool_ != nullptr) pool_->close();
  }

  template <typename R, typename... Args>
  R call(const CellId& cell, std::string_view name, Args... args) {
    const Values values{v(args)...};
    Result<Values> results = cells_->call(cell, name, values);
    EXPECT_TRUE(results.ok()) << name << ": " << results.status().message();
    R result{};
    if (results.ok()) take(results.value().at(0), result);
    return result;
  }
  template <typename... Args>
  Status run(const CellId& cell, std::string_view name, Args... args) {
    return cells_->call(cell, name, Values{v(args)...}).status().copy();
  }
  int64_t get(const CellId& cell) { return call<int64_t>(cell, "get"); }
  bool awake(const CellId& cell) { return cells_->describe(cell).value().awake; }

  std::string text_ = kGuest;
  Modules modules_{{.fuel = false}};
  std::function<void(int32_t)> told_;
  std::vector<std::shared_ptr<const Blueprint>> blueprints_;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Cells> cells_;
  std::shared_ptr<CellKind> kind_;
};

// --- state ---------------------------------------------------------------------------------------------

TEST_F(CellsTest, EachHasStateOfItsOwn) {
  start({.idle_sleep_ms = 0});
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(cells_->create(kind_, fmt::format("cell-{}", i)).ok());
  }
  for (int round = 1; round <= 3; round++) {
    for (int64_t i = 0; i < 100; i++) {
      EXPECT_EQ(call<int64_t>(fmt::format("cell-{}", i), "add", i), round * i);
    }
  }
  const CellsStatistics statistics = cells_->statistics();
  EXPECT_EQ(statistics.cells, 100U);
  EXPECT_EQ(statistics.awake, 0U);
  EXPECT_EQ(statistics.counts.calls, 300U);
  EXPECT_EQ(statistics.counts.woken, 300U);
  EXPECT_EQ(statistics.counts.slept, 300U);
  EXPECT_LE(statistics.class_bytes, 100U * 96);
}

// A sleep after each step, and an instance that never slept beside it.
TEST_F(CellsTest, AllStateSurvivesSleep) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  Lease twin = kind_->entry()->acquire().value();
  const auto both = [&](std::string_view name, const auto&... values) {
    const Values args{v(values)...};
    const auto twins = twin->dynamic_function(name).value()(args);
    const auto cells = cells_->call("cell", name, args);
    ASSERT_EQ(twins.ok(), cells.ok()) << name;
    EXPECT_EQ(twins.value(), cells.value()) << name;
    for (const char* look : {"get", "size", "get_i32", "get_f64", "table_size"}) {
      EXPECT_EQ(twin->dynamic_function(look).value()({}).value(), cells_->call("cell", look, {}).value())
          << look << " after " << name;
    }
    for (int32_t i = 0; i < call<int32_t>("cell", "table_size"); i++) {
      EXPECT_EQ(twin->dynamic_function("table_call").value()(Values{v(i)}).value(),
                cells_->call("cell", "table_call", Values{v(i)}).value());
    }
    const auto end = call<int32_t>("cell", "size") * 65536;
    for (int32_t at = 0; at < end; at += 1020) {
      EXPECT_EQ(twin->dynamic_function("peek").value()(Values{v(at)}).value(),
                cells_->call("cell", "peek", Values{v(at)}).value())
          << at << " after " << name;
    }
  };
  both("add", int64_t{5});
  both("poke", int32_t{100}, int32_t{7});
  both("set_i32", int32_t{-9});
  both("set_f64", -0.0);
  both("table_set", int32_t{1});
  both("table_null", int32_t{0});
  both("table_grow", int32_t{4});
  both("grow", int32_t{2});
  both("fill", int32_t{3 * 65536 + 100}, int32_t{0xAB}, int32_t{20'000});
  both("fill", int32_t{60'000}, int32_t{0}, int32_t{200'000});
  both("init");
  both("drop");
  both("grow", int32_t{1});
  both("poke", int32_t{100}, int32_t{0x69207361});
  const auto twins = twin->dynamic_function("init").value()(Values{});
  EXPECT_EQ(twins.code(), Code::kTrap);
  EXPECT_EQ(run("cell", "init").code(), Code::kTrap);
}

TEST_F(CellsTest, WhatIsAsTheImageAgainTakesNoBytes) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{1} << 40), int64_t{1} << 40);
  EXPECT_GT(cells_->describe("cell")->delta_bytes, 0U);
  EXPECT_LT(cells_->describe("cell")->delta_bytes, 20U);
  EXPECT_EQ(call<int64_t>("cell", "add", -(int64_t{1} << 40)), 0);
  EXPECT_EQ(cells_->describe("cell")->delta_bytes, 0U);
  EXPECT_EQ(cells_->describe("cell")->sequence, 2U);
}

TEST_F(CellsTest, TypedFunctionsCallThem) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  ASSERT_TRUE(cells_->create(kind_, "b").ok());
  const auto add = CellFunction<int64_t(int64_t)>::create(cells_, kind_, "add").value();
  EXPECT_EQ(add("a", 5).value(), 5);
  EXPECT_EQ(add("b", 7).value(), 7);
  EXPECT_EQ(add("a", 5).value(), 10);
  EXPECT_EQ(add("c", 5).code(), Code::kNotFound);
  EXPECT_EQ((CellFunction<int32_t(int64_t)>::create(cells_, kind_, "add").code()), Code::kInvalidArgument);
  const auto other = make_kind("other");
  ASSERT_TRUE(cells_->create(other, "of-other").ok());
  EXPECT_EQ(add("of-other", 1).code(), Code::kInvalidArgument);
}

TEST_F(CellsTest, NamesAreOfADomain) {
  start({.idle_sleep_ms = 0});
  const auto other = make_kind("guest", "tenant");
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  ASSERT_TRUE(cells_->create(other, "cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{1}), 1);
  EXPECT_EQ(call<int64_t>({"cell", "tenant"}, "add", int64_t{2}), 2);
  EXPECT_EQ(get("cell"), 1);
  EXPECT_EQ(get({"cell", "tenant"}), 2);
  EXPECT_EQ(cells_->list("tenant", "", 10).size(), 1U);
  EXPECT_EQ(run({"cell", "nobody"}, "get").code(), Code::kNotFound);
  ASSERT_TRUE(cells_->remove({"cell", "tenant"}).ok());
  EXPECT_EQ(get("cell"), 1);
}

TEST_F(CellsTest, AForkGoesItsOwnWay) {
  start({.idle_sleep_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "one").ok());
  EXPECT_EQ(call<int64_t>("one", "add", int64_t{40}), 40);
  ASSERT_TRUE(cells_->fork("one", "two").ok());
  EXPECT_TRUE(awake("one"));
  EXPECT_FALSE(awake("two"));
  EXPECT_EQ(call<int64_t>("two", "add", int64_t{2}), 42);
  EXPECT_EQ(get("one"), 40);
  EXPECT_EQ(cells_->fork("one", "two").code(), Code::kAlreadyExists);
  EXPECT_EQ(cells_->fork("none", "three").code(), Code::kNotFound);
  EXPECT_EQ(cells_->statistics().counts.forked, 1U);
}

// A state that was told goes on in cells of another Cells.
TEST_F(CellsTest, AStateCanBeCarriedAway) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{11}), 11);
  const CellState state = cells_->state("cell").value();
  EXPECT_EQ(state.sequence, 1U);
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell", {.delta = state.delta, .sequence = state.sequence}).ok());
  EXPECT_EQ(get("cell"), 11);
  EXPECT_EQ(cells_->describe("cell")->sequence, 2U);
}

// --- failures ------------------------------------------------------------------------------------------

TEST_F(CellsTest, ACallThatFailsDidNotHappen) {
  for (const uint64_t idle_ms : {0, 60'000}) {
    start({.idle_sleep_ms = idle_ms});
    ASSERT_TRUE(cells_->create(kind_, "cell").ok());
    EXPECT_EQ(call<int64_t>("cell", "add", int64_t{3}), 3);
    EXPECT_EQ(run("cell", "trap", int64_t{99}).code(), Code::kTrap);
    EXPECT_EQ(get("cell"), 3);
    EXPECT_EQ(call<int32_t>("cell", "get_i32"), 1);
    EXPECT_EQ(cells_->statistics().counts.rolled_back, 1U);
    CellUse use = cells_->use("cell", {.deadline_ms = 20}).value();
    EXPECT_EQ(use.instance().function<void()>("spin").value()().code(), Code::kDeadlineExceeded);
    EXPECT_EQ(use.commit().code(), Code::kUnavailable);
    {
      const CellUse gone = std::move(use);
    }
    EXPECT_EQ(get("cell"), 3);
    EXPECT_EQ(run("cell", "no_such").code(), Code::kNotFound);
    EXPECT_EQ(get("cell"), 3);
  }
}

// Until it sleeps the calls of such a cell are one: what fails takes all of it back, and says how much.
TEST_F(CellsTest, CommittedOnSleep) {
  start({.idle_sleep_ms = 60'000, .commit = Commit::kOnSleep});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{3}), 3);
  ASSERT_TRUE(cells_->sleep("cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{4}), 7);
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{4}), 11);
  EXPECT_EQ(run("cell", "trap", int64_t{99}).code(), Code::kTrap);
  EXPECT_EQ(get("cell"), 3);
  EXPECT_EQ(cells_->statistics().counts.calls_lost, 2U);
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{1}), 4);
  ASSERT_TRUE(cells_->fork("cell", "other").ok());  // as it is now
  EXPECT_EQ(get("other"), 4);
}

// What was done and not committed goes with the cell: the next one that wakes in its place has none of it.
TEST_F(CellsTest, WhatARemovedCellDidIsNotCommitted) {
  start({.idle_sleep_ms = 60'000, .commit = Commit::kOnSleep});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  EXPECT_EQ(call<int64_t>("cell", "add", int64_t{3}), 3);
  ASSERT_TRUE(cells_->remove("cell").ok());
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  ASSERT_TRUE(cells_->sleep("cell").ok());
  EXPECT_EQ(cells_->describe("cell")->sequence, 0U);
  EXPECT_EQ(get("cell"), 0);
}

TEST_F(CellsTest, TheDeadlineOfOneUseIsNotTheNextOnes) {
  start({.idle_sleep_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  {
    CellUse use = cells_->use("cell", {.deadline_ms = 5}).value();
    EXPECT_EQ(use.instance().limits().deadline_ms, 5U);
    ASSERT_TRUE(use.commit().ok());
  }
  const CellUse use = cells_->use("cell").value();
  EXPECT_EQ(use.instance().limits().deadline_ms, 20'000U);
}

TEST_F(CellsTest, BadNamesAreRefused) {
  start({});
  for (const std::string& name : {std::string(), std::string(513, 'x'), std::string("a\nb"),
                                  std::string("\xff"), std::string("a\0b", 3)}) {
    EXPECT_EQ(cells_->create(kind_, name).code(), Code::kInvalidArgument) << name;
  }
  EXPECT_TRUE(cells_->create(kind_, std::string(512, 'x')).ok());
  EXPECT_TRUE(cells_->create(kind_, "Zelle nº 1 – 細胞").ok());
  EXPECT_EQ(cells_->create(kind_, std::string(512, 'x')).code(), Code::kAlreadyExists);
}

TEST_F(CellsTest, LimitsAreKept) {
  start({.cells_max = 2, .idle_sleep_ms = 0, .delta_bytes_max = 1'000});
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  ASSERT_TRUE(cells_->create(kind_, "b").ok());
  const Status full = cells_->create(kind_, "c");
  EXPECT_EQ(full.code(), Code::kLimitExceeded);
  EXPECT_TRUE(full.message().find("cells_max=2") != std::string::npos) << full.message();
  ASSERT_TRUE(cells_->remove("b").ok());
  ASSERT_TRUE(cells_->create(kind_, "c").ok());
  EXPECT_TRUE(run("a", "fill", int32_t{0}, int32_t{1}, int32_t{900}).ok());
  const Status large = run("a", "fill", int32_t{0}, int32_t{2}, int32_t{1'000});
  EXPECT_EQ(large.code(), Code::kLimitExceeded);
  EXPECT_TRUE(large.message().find("delta_bytes_max") != std::string::npos) << large.message();
  EXPECT_EQ(call<int32_t>("a", "peek", int32_t{0}), 0x01010101);
}

TEST_F(CellsTest, DeltasThatDoNotFitAreRefused) {
  start({});
  const auto refused = [&](const Delta& delta) {
    return cells_->create(kind_, "cell", {.delta = encode_delta(delta), .sequence = 0}).code();
  };
  Delta delta;
  delta.memories.resize(1);
  delta.memories[0].runs = {{131'070, {1, 2, 3}}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta.memories[0].bytes = 196'608;
  EXPECT_EQ(refused(delta), Code::kOk);
  ASSERT_TRUE(cells_->remove("cell").ok());
  delta.memories[0].bytes = 11 * 65'536;  // the module says 10
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta.memories[0].bytes = 65'536;  // none gets shorter
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta.memories.resize(2);
  delta.memories[1].runs = {{0, {1}}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta = {};
  delta.values.globals = {{0, {engine::ValType::kI64, {}}}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta.values.globals = {{99, {engine::ValType::kI32, {}}}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta = {};
  delta.values.tables = {{0, 4, {{3, 1234}}}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  delta.values.tables = {{0, uint64_t{1} << 60, {}}};
  EXPECT_EQ(refused(delta), Code::kLimitExceeded);
  delta = {};
  delta.wasi = {Delta::Part::Kind::kSet, {1}};
  EXPECT_EQ(refused(delta), Code::kInvalidArgument);
  EXPECT_EQ(cells_->create(kind_, "cell", {.delta = std::vector<uint8_t>{1, 0, 1}, .sequence = 0}).code(),
            Code::kCorruption);
  EXPECT_EQ(cells_->create(kind_, "cell", {.delta = std::vector<uint8_t>{2, 0, 0}, .sequence = 0}).code(),
            Code::kUnsupported);
  EXPECT_EQ(cells_->statistics().cells, 0U);
}

TEST_F(CellsTest, WhatCannotBeHeldIsNoCell) {
  start({});
  const auto blueprint = modules_.load("plain", text_,
                                       [] {
                                         host::HostFunctions host;
                                         host.define("env", "tell", [](int32_t) {});
                                         return host;
                                       }(),
                                       {.prepare = false});
  EXPECT_EQ(cells_->kind(pool_->entry(blueprint).value()).code(), Code::kUnsupported);
}

// --- taking turns --------------------------------------------------------------------------------------

TEST_F(CellsTest, CallsOfOneCellAreMadeOneAfterTheOther) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  constexpr int kThreads = 8;
  constexpr int kCalls = 500;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; i++) {
      threads.emplace_back([&] {
        for (int k = 0; k < kCalls; k++) EXPECT_TRUE(run("cell", "add", int64_t{1}).ok());
      });
    }
  }
  EXPECT_EQ(get("cell"), kThreads * kCalls);
}

// Waits until so many calls of the cell wait.
void await_waiting(Cells& cells, uint32_t count) {
  while (cells.describe("cell")->waiting != count) std::this_thread::yield();
}

TEST_F(CellsTest, TheyTakeTurnsInTheOrderInWhichTheyCame) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  std::vector<int32_t> order;
  told_ = [&](int32_t value) { order.push_back(value); };
  {
    std::vector<std::jthread> threads;
    CellUse use = cells_->use("cell").value();
    for (int32_t i = 0; i < 10; i++) {
      threads.emplace_back([this, i] { EXPECT_TRUE(run("cell", "tell", i).ok()); });
      await_waiting(*cells_, static_cast<uint32_t>(i) + 1);
    }
    ASSERT_TRUE(use.commit().ok());
  }
  EXPECT_EQ(order, (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(CellsTest, TheLineHasAnEnd) {
  start({.idle_sleep_ms = 0, .queue_max = 1, .queue_timeout_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  std::jthread waiting;
  CellUse use = cells_->use("cell").value();
  waiting = std::jthread([this] { EXPECT_EQ(get("cell"), 0); });
  await_waiting(*cells_, 1);
  std::jthread([this] {
    const Status refused = run("cell", "get");
    EXPECT_EQ(refused.code(), Code::kLimitExceeded);
    EXPECT_TRUE(refused.message().find("cell_queue_max=1") != std::string::npos) << refused.message();
  }).join();
  ASSERT_TRUE(use.commit().ok());
  waiting.join();
  EXPECT_EQ(cells_->statistics().counts.refused, 1U);
}

TEST_F(CellsTest, WaitingHasAnEnd) {
  start({.idle_sleep_ms = 0, .queue_timeout_ms = 1});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  {
    const CellUse use = cells_->use("cell").value();
    std::jthread([this] { EXPECT_EQ(run("cell", "get").code(), Code::kDeadlineExceeded); }).join();
    EXPECT_EQ(cells_->describe("cell")->waiting, 0U);
  }
  EXPECT_EQ(get("cell"), 0);
}

TEST_F(CellsTest, ACellDoesNotWaitForItself) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  Status inner;
  told_ = [&](int32_t) { inner = run("cell", "get"); };
  EXPECT_TRUE(run("cell", "tell", int32_t{0}).ok());
  EXPECT_EQ(inner.code(), Code::kUnavailable);
}

TEST_F(CellsTest, WhoWaitsForACellThatIsRemovedIsTold) {
  start({.idle_sleep_ms = 0, .queue_timeout_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "cell").ok());
  std::vector<std::jthread> threads;
  {
    CellUse use = cells_->use("cell").value();
    threads.emplace_back([this] { EXPECT_TRUE(cells_->remove("cell").ok()); });
    await_waiting(*cells_, 1);
    threads.emplace_back([this] { EXPECT_EQ(run("cell", "get").code(), Code::kNotFound); });
    await_waiting(*cells_, 2);
    ASSERT_TRUE(use.commit().ok());
  }
  threads.clear();
  EXPECT_EQ(cells_->describe("cell").code(), Code::kNotFound);
  EXPECT_EQ(cells_->statistics().cells, 0U);
  EXPECT_EQ(cells_->statistics().class_bytes, 0U);
}

// --- awake and asleep ----------------------------------------------------------------------------------

TEST_F(CellsTest, IdleCellsSleepByThemselves) {
  start({.idle_sleep_ms = 30});
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  ASSERT_TRUE(cells_->create(kind_, "b").ok());
  EXPECT_EQ(call<int64_t>("a", "add", int64_t{1}), 1);
  cells_->clean_up();
  EXPECT_TRUE(awake("a"));
  test::pass_ms(31);
  EXPECT_EQ(call<int64_t>("b", "add", int64_t{2}), 2);
  cells_->clean_up();
  EXPECT_FALSE(awake("a"));
  EXPECT_TRUE(awake("b"));
  EXPECT_EQ(get("a"), 1);
  EXPECT_EQ(get("b"), 2);
}

TEST_F(CellsTest, AThreadOfTheirOwnPutsThemToSleep) {
  pool_ = Pool::create({.housekeeping = false}).value();
  cells_ = Cells::create({.idle_sleep_ms = 1}).value();
  kind_ = make_kind("guest");
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  EXPECT_EQ(call<int64_t>("a", "add", int64_t{1}), 1);
  while (awake("a")) std::this_thread::yield();
  EXPECT_EQ(get("a"), 1);
}

TEST_F(CellsTest, TheColdestSleepsWhereTooManyAreAwake) {
  start({.awake_max = 3, .idle_sleep_ms = 60'000});
  for (const char* name : {"a", "b", "c", "d"}) ASSERT_TRUE(cells_->create(kind_, name).ok());
  for (const char* name : {"a", "b", "c", "a"}) EXPECT_EQ(get(name), 0);
  EXPECT_EQ(get("d"), 0);
  EXPECT_TRUE(awake("a"));
  EXPECT_FALSE(awake("b"));
  EXPECT_TRUE(awake("c"));
  EXPECT_TRUE(awake("d"));
}

// Awake cells do not keep others from being called.
TEST_F(CellsTest, APoolThatIsFullTakesItsInstancesBack) {
  start({.idle_sleep_ms = 60'000}, {.instances_per_module_max = 2, .wait_timeout_ms = 1});
  for (const char* name : {"a", "b", "c", "d"}) ASSERT_TRUE(cells_->create(kind_, name).ok());
  for (int i = 0; i < 3; i++) {
    for (const char* name : {"a", "b", "c", "d"}) EXPECT_EQ(get(name), 0);
  }
  const Lease one = kind_->entry()->acquire().value();
  EXPECT_EQ(get("a"), 0);
  EXPECT_EQ(get("b"), 0);
  {
    const CellUse use = cells_->use("c").value();
    EXPECT_EQ(run("d", "get").code(), Code::kLimitExceeded);
  }
  EXPECT_EQ(get("d"), 0);
}

TEST_F(CellsTest, TooMuchMemoryPutsTheColdestToSleep) {
  start({.awake_bytes_max = 40 * 4096, .idle_sleep_ms = 60'000});
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(cells_->create(kind_, name).ok());
    ASSERT_TRUE(run(name, "fill", int32_t{0}, int32_t{5}, int32_t{30 * 4096}).ok());
  }
  cells_->clean_up();
  EXPECT_FALSE(awake("a"));
  EXPECT_FALSE(awake("b"));
  EXPECT_EQ(call<int32_t>("a", "peek", int32_t{0}), 0x05050505);
}

TEST_F(CellsTest, AfterCloseNothingIsCalled) {
  start({.idle_sleep_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  EXPECT_EQ(get("a"), 0);
  cells_->close();
  EXPECT_EQ(cells_->statistics().awake, 0U);
  EXPECT_EQ(run("a", "get").code(), Code::kUnavailable);
  EXPECT_EQ(cells_->create(kind_, "b").code(), Code::kUnavailable);
}

TEST_F(CellsTest, WakeLeavesItAwakeAndSleepAsleep) {
  start({.idle_sleep_ms = 60'000});
  ASSERT_TRUE(cells_->create(kind_, "a").ok());
  ASSERT_TRUE(cells_->wake("a").ok());
  EXPECT_TRUE(awake("a"));
  ASSERT_TRUE(cells_->sleep("a").ok());
  EXPECT_FALSE(awake("a"));
  ASSERT_TRUE(cells_->sleep("a").ok());
  EXPECT_EQ(cells_->describe("a")->sequence, 0U);
}

// --- many, and listing ---------------------------------------------------------------------------------

TEST_F(CellsTest, ListsAreInOrderAndInParts) {
  start({.idle_sleep_ms = 0});
  for (int i = 0; i < 250; i++) ASSERT_TRUE(cells_->create(kind_, fmt::format("{:03}", i * 7 % 250)).ok());
  std::vector<std::string> names;
  for (std::string after;;) {
    const auto part = cells_->list("", after, 100);
    for (const CellDescription& cell : part) names.push_back(cell.name);
    if (part.size() < 100) break;
    after = part.back().name;
  }
  ASSERT_EQ(names.size(), 250U);
  for (int i = 0; i < 250; i++) EXPECT_EQ(names[static_cast<size_t>(i)], fmt::format("{:03}", i));
}

// Against a map: cells come, go, are called and forked in random order.
TEST_F(CellsTest, TheIndexFindsWhatIsThere) {
  start({.idle_sleep_ms = 0});
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto add = CellFunction<int64_t(int64_t)>::create(cells_, kind_, "add").value();
  std::map<std::string, int64_t> expected;
  for (int i = 0; i < 20'000; i++) {
    const std::string name = fmt::format("{}", random() % 1'000);
    const auto found = expected.find(name);
    switch (random() % 4) {
      case 0:
        EXPECT_EQ(cells_->create(kind_, name).ok(), found == expected.end());
        expected.try_emplace(name, 0);
        break;
      case 1:
        EXPECT_EQ(cells_->remove(name).ok(), found != expected.end());
        expected.erase(name);
        break;
      case 2: {
        const std::string other = fmt::format("{}", random() % 1'000);
        const bool can = found != expected.end() && !expected.contains(other);
        EXPECT_EQ(cells_->fork(name, other).ok(), can);
        if (can) expected.emplace(other, found->second);
        break;
      }
      default: {
        const int64_t by = static_cast<int32_t>(random());
        const auto now = add(name, by);
        ASSERT_EQ(now.ok(), found != expected.end());
        if (now.ok()) {
          found->second += by;
          EXPECT_EQ(now.value(), found->second);
        }
      }
    }
  }
  EXPECT_EQ(cells_->statistics().cells, expected.size());
  for (const auto& [name, value] : expected) EXPECT_EQ(get(name), value);
  for (const auto& [name, value] : expected) ASSERT_TRUE(cells_->remove(name).ok());
  EXPECT_EQ(cells_->statistics().class_bytes, 0U);
}

// Kinds whose modules are gone, and that have no cells, make room for others.
TEST_F(CellsTest, KindsThatNobodyHasAreForgotten) {
  start({.idle_sleep_ms = 0});
  ASSERT_TRUE(cells_->create(kind_, "stays").ok());
  EXPECT_EQ(call<int64_t>("stays", "add", int64_t{1}), 1);
  for (int i = 0; i < 50; i++) {
    const std::string domain = fmt::format("tenant-{}", i);
    const auto kind = make_kind("guest", domain);
    ASSERT_TRUE(cells_->create(kind, "cell").ok());
    EXPECT_EQ(call<int64_t>({"cell", domain}, "add", int64_t{i}), i);
    ASSERT_TRUE(cells_->remove({"cell", domain}).ok());
    ASSERT_EQ(run({"cell", domain}, "get").code(), Code::kNotFound);
  }
  EXPECT_EQ(get("stays"), 1);
}

// --- fork ----------------------------------------------------------------------------------------------

// In a child each cell is as it was committed, those that other threads have, too; in the parent nothing
// changed.
TEST_F(CellsTest, AForkedChildHasThemAsTheyWereCommitted) {
  if (test::kSanitized) GTEST_SKIP() << "threads in a forked child";
  start({.idle_sleep_ms = 60'000});
  for (const char* name : {"mine", "other", "busy", "held"}) ASSERT_TRUE(cells_->create(kind_, name).ok());
  EXPECT_EQ(call<int64_t>("mine", "add", int64_t{1}), 1);
  std::jthread([this] { EXPECT_EQ(call<int64_t>("other", "add", int64_t{2}), 2); }).join();
  EXPECT_EQ(call<int64_t>("busy", "add", int64_t{3}), 3);
  EXPECT_EQ(call<int64_t>("held", "add", int64_t{4}), 4);
  std::atomic<int> step{0};
  std::jthread busy([&] {
    CellUse use = cells_->use("busy").value();
    EXPECT_EQ(use.instance().function<int64_t(int64_t)>("add").value()(10).value(), 13);
    step = 1;
    while (step != 2) std::this_thread::yield();
    EXPECT_TRUE(use.commit().ok());
  });
  while (step != 1) std::this_thread::yield();
  {
    CellUse held = cells_->use("held").value();
    EXPECT_EQ(held.instance().function<int64_t(int64_t)>("add").value()(10).value(), 14);
    EXPECT_EQ(test::in_child([&]() -> std::string {
                if (!held.commit().ok()) return "what this thread has cannot be committed";
                const int64_t before = get("busy");
                return fmt::format("{} {} {} {} {}", get("mine"), get("other"), before, get("held"),
                                   call<int64_t>("busy", "add", int64_t{1}));
              }),
              "1 2 3 14 4");
  }
  step = 2;
  busy.join();
  EXPECT_EQ(get("mine"), 1);
  EXPECT_EQ(get("busy"), 13);
  EXPECT_EQ(get("held"), 4);
}

}  // namespace
}  // namespace spore::cell
