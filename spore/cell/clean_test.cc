// An instance that was used is as a new one for the next user, whatever was done to it.

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>
#include <tuple>

#include <gtest/gtest.h>

#include "spore/cell/clean_function.h"
#include "spore/cell/pool.h"
#include "tests/blueprint.h"
#include "tests/replaced.h"
#include "tests/sanitizers.h"

namespace spore::cell {
namespace {

using engine::Tier;
using test::Modules;

// Holds state in every place that a module without SIMD has.  Its start writes 11 to 64, `_initialize` 22 to
// 68; both tell the host.
constexpr const char* kGuest = R"((module $guest
  (import "env" "tell" (func $tell (param i32)))
  (import "env" "ask" (func $ask (result i32)))
  (memory (export "memory") 1 10)
  (table $t 3 20 funcref)
  (type $number (func (result i32)))
  (global $i32 (mut i32) (i32.const 1))
  (global $i64 (mut i64) (i64.const 2))
  (global $f32 (mut f32) (f32.const 3))
  (global $f64 (mut f64) (f64.const 4))
  (data (i32.const 0) "begin")
  (data $passive "passive")
  (elem (i32.const 0) $one)
  (elem $functions func $one)
  (elem declare func $two)
  (func $one (type $number) (i32.const 1))
  (func $two (type $number) (i32.const 2))
  (func $start (i32.store (i32.const 64) (i32.const 11)) (call $tell (i32.const 1)))
  (start $start)
  (func (export "_initialize") (i32.store (i32.const 68) (i32.const 22)) (call $tell (i32.const 2)))
  (func (export "peek") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "poke") (param i32 i32) (i32.store (local.get 0) (local.get 1)))
  (func (export "fill") (param i32) (memory.fill (i32.const 0) (local.get 0)
    (i32.mul (memory.size) (i32.const 65536))))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "size") (result i32) (memory.size))
  (func (export "set_i32") (global.set $i32 (i32.const 99)))
  (func (export "set_i64") (global.set $i64 (i64.const 99)))
  (func (export "set_f32") (global.set $f32 (f32.const 99)))
  (func (export "set_f64") (global.set $f64 (f64.const 99)))
  (func (export "get_i32") (result i32) (global.get $i32))
  (func (export "get_i64") (result i64) (global.get $i64))
  (func (export "get_f32") (result f32) (global.get $f32))
  (func (export "get_f64") (result f64) (global.get $f64))
  (func (export "table_set") (param i32) (table.set $t (local.get 0) (ref.func $two)))
  (func (export "table_null") (param i32) (table.set $t (local.get 0) (ref.null func)))
  (func (export "table_grow") (param i32) (result i32) (table.grow $t (ref.func $two) (local.get 0)))
  (func (export "table_fill") (table.fill $t (i32.const 0) (ref.func $two) (i32.const 3)))
  (func (export "table_size") (result i32) (table.size $t))
  (func (export "table_call") (param i32) (result i32)
    (if (result i32) (ref.is_null (table.get $t (local.get 0)))
      (then (i32.const 0)) (else (call_indirect $t (type $number) (local.get 0)))))
  (func (export "memory_init") (memory.init $passive (i32.const 128) (i32.const 0) (i32.const 7)))
  (func (export "data_drop") (data.drop $passive))
  (func (export "table_init") (table.init $t $functions (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "elem_drop") (elem.drop $functions))
  (func (export "trap") (i32.store (i32.const 8) (i32.const 77)) (global.set $i32 (i32.const 77)) (unreachable))
  (func (export "spin") (loop $again (br $again)))
  (func (export "work") (result i32) (local $i i32)
    (loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
      (i32.const 1000000)))) (local.get $i))
  (func (export "tell") (param i32) (call $tell (local.get 0)))
  (func (export "ask") (result i32) (call $ask))))";

template <typename R, typename... Args>
Result<R> try_call(const Lease& lease, std::string_view name, Args... args) {
  const host::Function<R(Args...)> function = SPORE_TRY(lease->function<R(Args...)>(name));
  return function(args...);
}
template <typename R, typename... Args>
R call(const Lease& lease, std::string_view name, Args... args) {
  return try_call<R>(lease, name, args...).value();
}
template <typename... Args>
Status run(const Lease& lease, std::string_view name, Args... args) {
  return SPORE_TRY(lease->function<void(Args...)>(name))(args...);
}

std::string guest_for(Tier tier) {
  if (tier != Tier::kInterpreter) return kGuest;
  return test::replaced(kGuest, "(table.grow $t (ref.func $two) (local.get 0))", "(i32.const -1)");
}

// All that kGuest lets anybody see, without changing any of it.
std::string state_of(const Lease& lease) {
  const int32_t pages = call<int32_t>(lease, "size");
  std::string text = fmt::format("{} pages:", pages);
  const std::vector<std::byte> bytes =
      lease->read_bytes(engine::GuestPtr{0}, static_cast<uint64_t>(pages) * 65536).value();
  for (size_t i = 0; i < bytes.size(); i++) {
    if (bytes[i] != std::byte{0}) text += fmt::format(" {}={}", i, static_cast<int>(bytes[i]));
    if (text.size() > 300) break;
  }
  text += fmt::format("; globals: {} {} {} {}; table:", call<int32_t>(lease, "get_i32"),
                      call<int64_t>(lease, "get_i64"), call<float>(lease, "get_f32"),
                      call<double>(lease, "get_f64"));
  const int32_t elements = call<int32_t>(lease, "table_size");
  for (int32_t i = 0; i < elements; i++) text += fmt::format(" {}", call<int32_t>(lease, "table_call", i));
  return text;
}

constexpr const char* kStart =
    "1 pages: 0=98 1=101 2=103 3=105 4=110 64=11 68=22; globals: 1 2 3 4; table: 1 0 0";

class CleanTest : public testing::TestWithParam<std::tuple<Tier, bool>> {
 protected:
  engine::EngineOptions engine_options() const {
    return {.tier = std::get<0>(GetParam()), .compact_memories = std::get<1>(GetParam())};
  }
  // kGuest in a pool; what it tells goes to `told_`, what it asks for is what `answer_` says.
  void start(const PoolOptions& options = {}, const Modules::More& more = {}, bool fuel = false) {
    engine::EngineOptions with = engine_options();
    with.fuel = fuel;
    host::HostFunctions host;
    host.define("env", "tell", [this](int32_t what) { told_ += fmt::format("{} ", what); });
    host.define("env", "ask", [this](host::Caller& caller) -> Result<int32_t> { return answer_(caller); });
    modules_.emplace(with);
    open(modules_->load("guest", guest_for(with.tier), host, more), options);
  }
  void open(const std::shared_ptr<const Blueprint>& blueprint, const PoolOptions& options = {}) {
    pool_ = Pool::create(options).value();
    entry_ = pool_->entry(blueprint).value();
  }
  Lease acquire(void* user_data = nullptr) { return entry_->acquire(user_data).value(); }
  PoolCounts counts() const { return pool_->statistics().counts; }
  void TearDown() override {
    if (pool_ == nullptr) return;
    EXPECT_EQ(pool_->statistics().idle, pool_->statistics().live);
    pool_->close();
    const PoolStatistics after = pool_->statistics();
    EXPECT_EQ(after.live, 0u);
    EXPECT_EQ(after.counts.created,
              after.counts.evicted + after.counts.expired + after.counts.retired + after.counts.cleared);
  }

  std::optional<Modules> modules_;
  std::string told_;
  std::function<Result<int32_t>(host::Caller&)> answer_ = [](host::Caller&) { return 0; };
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<PoolEntry> entry_;
};

const auto kTiers = testing::Values(std::tuple(Tier::kInterpreter, false), std::tuple(Tier::kBaseline, false),
                                    std::tuple(Tier::kOptimised, false), std::tuple(Tier::kOptimised, true),
                                    std::tuple(Tier::kBaseline, true));
std::string tier_text(const testing::TestParamInfo<std::tuple<Tier, bool>>& info) {
  return std::string(engine::tier_name(std::get<0>(info.param))) +
         (std::get<1>(info.param) ? "_compact" : "");
}
INSTANTIATE_TEST_SUITE_P(Tiers, CleanTest, kTiers, tier_text);

struct Deed {
  const char* name;
  void (*act)(const Lease& lease);
  bool in_place = true;
  bool grows = false;  // a memory: the interpreter cannot shrink one
};
constexpr Deed kDeeds[] = {
    {"a word is written", [](const Lease& lease) { ASSERT_TRUE(run(lease, "poke", 4096, 7).ok()); }},
    {"what start wrote is overwritten",
     [](const Lease& lease) { ASSERT_TRUE(run(lease, "poke", 64, 0).ok()); }},
    {"all is filled", [](const Lease& lease) { ASSERT_TRUE(run(lease, "fill", 0xAA).ok()); }},
    {"the host writes",
     [](const Lease& lease) { ASSERT_TRUE(lease->write_string(engine::GuestPtr{300}, "host").ok()); }},
    {"memory grows", [](const Lease& lease) { ASSERT_EQ(call<int32_t>(lease, "grow", 2), 1); }, true, true},
    {"memory grows and is filled",
     [](const Lease& lease) {
       ASSERT_EQ(call<int32_t>(lease, "grow", 9), 1);
       ASSERT_TRUE(run(lease, "fill", 0xAA).ok());
     },
     true, true},
    {"memory grows in vain", [](const Lease& lease) { ASSERT_EQ(call<int32_t>(lease, "grow", 10), -1); }},
    {"an i32 is set", [](const Lease& lease) { ASSERT_TRUE(run(lease, "set_i32").ok()); }},
    {"an i64 is set", [](const Lease& lease) { ASSERT_TRUE(run(lease, "set_i64").ok()); }},
    {"an f32 is set", [](const Lease& lease) { ASSERT_TRUE(run(lease, "set_f32").ok()); }},
    {"an f64 is set", [](const Lease& lease) { ASSERT_TRUE(run(lease, "set_f64").ok()); }},
    {"data is used and dropped",
     [](const Lease& lease) {
       ASSERT_TRUE(run(lease, "memory_init").ok());
       ASSERT_TRUE(run(lease, "data_drop").ok());
       ASSERT_EQ(run(lease, "memory_init").code(), Code::kTrap);
     }},
    {"elements are dropped",
     [](const Lease& lease) {
       ASSERT_TRUE(run(lease, "elem_drop").ok());
       ASSERT_EQ(run(lease, "table_init").code(), Code::kTrap);
     }},
    {"it traps", [](const Lease& lease) { ASSERT_EQ(run(lease, "trap").code(), Code::kTrap); }},
};

constexpr Deed kTableDeeds[] = {
    {"an element is set", [](const Lease& lease) { ASSERT_TRUE(run(lease, "table_set", 2).ok()); }},
    {"an element is cleared", [](const Lease& lease) { ASSERT_TRUE(run(lease, "table_null", 0).ok()); }},
    {"the table is filled", [](const Lease& lease) { ASSERT_TRUE(run(lease, "table_fill").ok()); }},
    {"the table is initialised", [](const Lease& lease) { ASSERT_TRUE(run(lease, "table_init").ok()); }},
    {"the table grows", [](const Lease& lease) { ASSERT_EQ(call<int32_t>(lease, "table_grow", 2), 3); },
     false},
};

class DeedTest : public CleanTest {
 protected:
  // Each deed three times over, with a look at all of the state before it, by the next user; then segments
  // that were dropped are used.
  void check(std::span<const Deed> deeds) {
    start({.retire_on_trap = false});
    for (const Deed& deed : deeds) {
      const PoolCounts before = counts();
      for (int i = 0; i < 3; i++) {
        const Lease lease = acquire();
        ASSERT_EQ(state_of(lease), kStart) << "before " << deed.name << ", time " << i;
        deed.act(lease);
        if (HasFatalFailure()) FAIL() << deed.name;
      }
      const Lease lease = acquire();
      ASSERT_EQ(state_of(lease), kStart) << "after " << deed.name;
      EXPECT_EQ(try_call<int32_t>(lease, "peek", 65536).code(), Code::kTrap) << "the end, " << deed.name;
      EXPECT_TRUE(run(lease, "memory_init").ok()) << deed.name;
      EXPECT_TRUE(run(lease, "table_init").ok()) << deed.name;
      EXPECT_EQ(counts().created, 1u);
      const bool shrinks = std::get<0>(GetParam()) != Tier::kInterpreter || !deed.grows;
      EXPECT_EQ(counts().resets_anew - before.resets_anew, deed.in_place && shrinks ? 0u : 3u) << deed.name;
    }
    EXPECT_EQ(counts().acquired, 4 * deeds.size());
    EXPECT_EQ(counts().retired, 0u);
  }
};

INSTANTIATE_TEST_SUITE_P(Tiers, DeedTest, kTiers, tier_text);

// Goal: whatever a user does, the next finds what the first found, in the same instance.
TEST_P(DeedTest, TheNextUserFindsWhatTheFirstFound) { check(kDeeds); }

// The same for tables.  One that grew does not shrink: then there is another instance.
// The interpreter has none that grows.
TEST_P(DeedTest, TheNextUserFindsTheTableOfTheFirst) {
  const bool grows = std::get<0>(GetParam()) != Tier::kInterpreter;
  check(std::span(kTableDeeds).first(std::size(kTableDeeds) - (grows ? 0 : 1)));
}

// Goal: the module is initialised once for all instances: its start function and `_initialize`.
TEST_P(CleanTest, TheModuleIsInitialisedOnce) {
  start();
  std::vector<Lease> leases;
  for (int i = 0; i < 5; i++) leases.push_back(acquire());
  for (const Lease& lease : leases) EXPECT_EQ(state_of(lease), kStart);
  leases.clear();
  for (int i = 0; i < 5; i++) acquire();
  EXPECT_EQ(told_, "1 2 ");
  EXPECT_EQ(counts().created, 5u);
  EXPECT_TRUE(pool_->statistics().entries.front().in_place);
}

// Goal: vectors in globals.  Not in the baseline compiler.
TEST_P(CleanTest, AVectorIsPutBack) {
  if (std::get<0>(GetParam()) == Tier::kBaseline) GTEST_SKIP() << "the baseline compiler takes no vectors";
  open(Modules(engine_options()).load("vector", R"((module
    (global $v (mut v128) (v128.const i64x2 1 2))
    (func (export "set") (global.set $v (v128.const i64x2 8 9)))
    (func (export "low") (result i64) (i64x2.extract_lane 0 (global.get $v)))
    (func (export "high") (result i64) (i64x2.extract_lane 1 (global.get $v)))))"));
  for (int i = 0; i < 3; i++) {
    const Lease lease = acquire();
    EXPECT_EQ(call<int64_t>(lease, "low"), 1);
    EXPECT_EQ(call<int64_t>(lease, "high"), 2);
    ASSERT_TRUE(run(lease, "set").ok());
    EXPECT_EQ(call<int64_t>(lease, "high"), 9);
  }
  EXPECT_EQ(counts().resets_in_place, 3u);
}

// Goal: after what the engine does not promise to leave whole the instance is gone: a trap by default, always
// after a deadline, a cancellation, a host's error.
TEST_P(CleanTest, WhatWasStoppedIsRetired) {
  start();
  const auto retires = [&](const std::function<Code(const Lease&)>& stop, Code expected) {
    const PoolCounts before = counts();
    {
      const Lease lease = acquire();
      EXPECT_EQ(stop(lease), expected);
    }
    EXPECT_EQ(counts().retired, before.retired + 1);
    EXPECT_EQ(state_of(acquire()), kStart);
    EXPECT_EQ(counts().created, before.created + 1);
  };
  EXPECT_EQ(state_of(acquire()), kStart);
  retires([](const Lease& lease) { return run(lease, "trap").code(); }, Code::kTrap);
  retires(
      [](const Lease& lease) {
        EXPECT_TRUE(lease->set_deadline_ms(5).ok());
        return run(lease, "spin").code();
      },
      Code::kDeadlineExceeded);
  answer_ = [](host::Caller&) { return Status::host_error("no"); };
  retires([](const Lease& lease) { return try_call<int32_t>(lease, "ask").code(); }, Code::kHostError);
  retires(
      [&](const Lease& lease) {
        answer_ = [canceller = lease->canceller()](host::Caller& caller) -> Result<int32_t> {
          canceller.cancel();
          SPORE_TRY(caller.check_running());
          return 0;
        };
        return try_call<int32_t>(lease, "ask").code();
      },
      Code::kCancelled);
}

// Goal: user data and deadline are the lease's.
TEST_P(CleanTest, UserDataAndDeadlineEndWithTheLease) {
  start();
  std::vector<void*> seen;
  answer_ = [&](host::Caller& caller) {
    seen.push_back(caller.user_data());
    return 0;
  };
  int one = 1;
  int two = 2;
  {
    const Lease lease = acquire(&one);
    call<int32_t>(lease, "ask");
    ASSERT_TRUE(lease->set_deadline_ms(77).ok());
  }
  {
    const Lease lease = acquire(&two);
    call<int32_t>(lease, "ask");
    EXPECT_EQ(lease->limits().deadline_ms, engine::Limits().deadline_ms);
  }
  call<int32_t>(acquire(), "ask");
  EXPECT_EQ(seen, (std::vector<void*>{&one, &two, nullptr}));
  EXPECT_EQ(counts().created, 1u);
}

// Goal: who kept a canceller cannot end the next user's call.
TEST_P(CleanTest, AKeptCancellerReachesNoLaterCall) {
  start();
  std::optional<engine::Canceller> kept = acquire()->canceller();
  answer_ = [&](host::Caller& caller) -> Result<int32_t> {
    kept->cancel();
    SPORE_TRY(caller.check_running());
    return 5;
  };
  const Lease lease = acquire();
  EXPECT_EQ(call<int32_t>(lease, "ask"), 5);
  EXPECT_EQ(call<int32_t>(lease, "work"), 1'000'000);
  EXPECT_EQ(counts().created, 1u);
}

// Goal: each call has all of its quotas and fuel, also when every user keeps a canceller, so that the
// instance gets new ones.  (Calls were told apart by numbers that began anew.)
TEST_P(CleanTest, QuotasAndFuelAreWholeForEachUser) {
  engine::Limits limits;
  limits.copy_bytes_max = 100;
  limits.fuel_max = 20'000'000;
  start({}, {.limits = limits}, true);
  answer_ = [](host::Caller& caller) -> Result<int32_t> {
    SPORE_TRY(caller.charge_copy(60));
    return 1;
  };
  std::vector<engine::Canceller> kept;
  std::optional<uint64_t> at_first;
  std::optional<uint64_t> after;
  for (int i = 0; i < 6; i++) {
    const Lease lease = acquire();
    kept.push_back(lease->canceller());
    EXPECT_EQ(lease->fuel_left(), at_first.value_or(lease->fuel_left())) << i;
    at_first = lease->fuel_left();
    EXPECT_TRUE(try_call<int32_t>(lease, "ask").ok()) << i;
    if (i % 2 == 0) continue;
    call<int32_t>(lease, "work");
    EXPECT_EQ(lease->fuel_left(), after.value_or(lease->fuel_left())) << i;
    after = lease->fuel_left();
    EXPECT_LT(*after, limits.fuel_max - 1'000'000);
  }
  // Only the calls' cost: the same whoever came before.
  EXPECT_EQ(counts().created, 1u);
}

// Goal: what was got from an instance is refused once it was given back.
TEST_P(CleanTest, AKeptFunctionIsRefused) {
  start();
  Lease lease = acquire();
  const auto peek = lease->function<int32_t(int32_t)>("peek").value();
  EXPECT_EQ(peek(64).value(), 11);
  lease.release();
  EXPECT_EQ(peek(64).code(), Code::kUnavailable);
  lease.release();  // nothing
  EXPECT_EQ(counts().acquired, 1u);
}

// Goal: an instance that another was linked to goes its own way: whoever holds the other one has its store.
TEST_P(CleanTest, WhatWasLinkedToIsNotHandedOutAgain) {
  start();
  const auto other = modules_->compile(R"((module
    (import "guest" "poke" (func $poke (param i32 i32)))
    (func (export "write") (call $poke (i32.const 512) (i32.const 9)))))");
  Lease lease = acquire();
  const host::Instance::Link link{"guest", &*lease};
  host::Instance linked =
      host::Instance::create_linked(other, host::HostFunctions().freeze(), *lease, {&link, 1}).value();
  const auto write = linked.function<void()>("write").value();
  EXPECT_TRUE(write().ok());
  EXPECT_EQ(call<int32_t>(lease, "peek", 512), 9);
  lease.release();
  const Lease next = acquire();
  static_cast<void>(write());
  EXPECT_EQ(state_of(next), kStart);
  EXPECT_EQ(counts().resets_anew, 1u);
}

// Goal: a module whose state cannot be put back is made anew, and the statistics say so.
TEST_P(CleanTest, WhatCannotBePutBackIsMadeAnew) {
  open(Modules(engine_options()).load("reference", R"((module
    (global $held (mut funcref) (ref.null func))
    (global $count (mut i32) (i32.const 0))
    (memory (export "memory") 1)
    (func $f (export "f"))
    (func (export "hold") (global.set $held (ref.func $f)) (i32.store (i32.const 0) (i32.const 5)))
    (func (export "holds") (result i32) (i32.eqz (ref.is_null (global.get $held))))
    (func (export "peek") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "bump") (result i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1))) (global.get $count))))"));
  const auto bump = CleanFunction<int32_t()>::create(entry_, "bump").value();
  for (int i = 0; i < 3; i++) {
    EXPECT_EQ(bump().value(), 1);
    const Lease lease = acquire();
    EXPECT_EQ(call<int32_t>(lease, "holds"), 0);
    EXPECT_EQ(call<int32_t>(lease, "peek", 0), 0);
    ASSERT_TRUE(run(lease, "hold").ok());
    EXPECT_EQ(call<int32_t>(lease, "holds"), 1);
  }
  EXPECT_FALSE(pool_->statistics().entries.front().in_place);
  EXPECT_EQ(counts().resets_anew, 7u);
  EXPECT_EQ(counts().resets_in_place, 0u);
  EXPECT_EQ(counts().created, 1u);
}

// Goal: a lease moves between threads like any value: what each of them wrote is gone after it.
TEST_P(CleanTest, ALeaseMovesBetweenThreads) {
  start();
  for (int i = 0; i < 10; i++) {
    std::optional<Lease> lease;
    std::thread([&] {
      lease.emplace(acquire());
      EXPECT_EQ(state_of(*lease), kStart);
      EXPECT_TRUE(run(*lease, "poke", 5000, 1).ok());
    }).join();
    EXPECT_EQ(call<int32_t>(*lease, "peek", 5000), 1);
    EXPECT_TRUE(run(*lease, "poke", 10'000, 2).ok());
    std::thread([&] {
      EXPECT_EQ(call<int32_t>(*lease, "peek", 10'000), 2);
      EXPECT_TRUE(run(*lease, "poke", 20'000, 3).ok());
      lease.reset();
    }).join();
    EXPECT_EQ(state_of(acquire()), kStart);
  }
  EXPECT_EQ(counts().created, 1u);
}

// Goal: what WASI keeps for a guest ends with the lease: output, arguments, open files, the exit code.
TEST_P(CleanTest, TheWorldOfAGuestIsMadeAsNew) {
  const std::string folder = testing::TempDir() + "spore_clean_test_" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  std::ofstream(folder + "/f") << "text";
  host::HostFunctions host;
  host::define_wasi(host);
  const auto config = host::WasiConfig::create({.args = {"guest"}, .directories = {{folder, "/d"}}}).value();
  open(Modules(engine_options())
           .load("world", R"((module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "f") (data (i32.const 8) "\00\00\00\00\01\00\00\00")
    (func (export "print") (result i32)
      (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
    (func (export "open") (result i32)
      (if (i32.ne (i32.const 0) (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32))) (then (unreachable)))
      (i32.load (i32.const 32)))
    (func (export "exit") (param i32) (call $exit (local.get 0)))))",
                 host, {.wasi = config}));
  for (int i = 0; i < 3; i++) {
    const Lease lease = acquire();
    EXPECT_EQ(lease->wasi()->state(), config->initial());
    EXPECT_EQ(lease->wasi()->take_output(), "");
    host::WasiState other = lease->wasi()->state();
    other.args = {"another"};
    lease->wasi()->set_state(other);
    EXPECT_EQ(call<int32_t>(lease, "print"), 0);
    EXPECT_EQ(call<int32_t>(lease, "open"), 4);
  }
  EXPECT_EQ(counts().created, 1u);
  {
    const Lease lease = acquire();
    EXPECT_EQ(run(lease, "exit", 3).code(), Code::kExited);
    EXPECT_EQ(lease->wasi()->exit_code(), 3u);
  }
  EXPECT_EQ(acquire()->wasi()->exit_code(), std::nullopt);
  EXPECT_EQ(counts().retired, 1u);
  EXPECT_EQ(counts().created, 2u);
  std::filesystem::remove_all(folder);
}

// Goal: the same under load: every call in a clean instance, none in anybody else's.  Method: a guest that
// says whether it found what somebody wrote, and writes; two threads on one entry.
TEST_P(CleanTest, EveryCallOfTwoThreadsIsClean) {
  constexpr int kCalls = test::kSanitized ? 10'000 : 100'000;
  open(Modules(engine_options()).load("strict", R"((module
    (memory (export "memory") 2 4)
    (global $g (mut i64) (i64.const 0))
    ;; Bits of what is not as it was: 1 memory, 2 the other page, 4 a global, 8 the length.
    (func (export "call") (param $secret i32) (result i32) (local $found i32)
      (local.set $found (i32.or (i32.ne (i32.const 0) (i32.load (i32.const 100)))
        (i32.or (i32.shl (i32.ne (i32.const 0) (i32.load (i32.const 70000))) (i32.const 1))
        (i32.or (i32.shl (i64.ne (i64.const 0) (global.get $g)) (i32.const 2))
                (i32.shl (i32.ne (i32.const 2) (memory.size)) (i32.const 3))))))
      (i32.store (i32.const 100) (local.get $secret))
      (if (i32.and (local.get $secret) (i32.const 1)) (then (i32.store (i32.const 70000) (local.get $secret))))
      (global.set $g (i64.extend_i32_u (local.get $secret)))
      (if (i32.eqz (i32.rem_u (local.get $secret) (i32.const 64))) (then (drop (memory.grow (i32.const 1)))))
      (if (i32.ne (i32.load (i32.const 100)) (local.get $secret)) (then (unreachable)))
      (local.get $found))))"));
  std::atomic<int> wrong{0};
  const auto work = [&](int32_t first) {
    const auto call = CleanFunction<int32_t(int32_t)>::create(entry_, "call").value();
    for (int32_t i = 0; i < kCalls; i++) {
      const Result<int32_t> found = call(first + 2 * i);
      if (!found.ok() || found.value() != 0) wrong++;
    }
  };
  std::thread other(work, 1);
  work(2);
  other.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(counts().acquired, 2u * kCalls + 2);
  EXPECT_EQ(counts().hits() + counts().misses, counts().acquired);
  EXPECT_LE(counts().created, 2u);
}

}  // namespace
}  // namespace spore::cell
