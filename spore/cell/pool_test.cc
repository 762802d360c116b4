// Limits of pools, what is removed and when, threads that wait, forks.

#include "spore/cell/pool.h"

#include <atomic>
#include <optional>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "spore/cell/clean_function.h"
#include "tests/blueprint.h"
#include "tests/child.h"
#include "tests/sanitizers.h"

namespace spore::cell {
namespace {

using test::pass_ms;

constexpr uint64_t kLong = 60'000;  // ms: "for ever", but a test that hangs ends

// `bump` says how often it was called in this instance since it was clean: always 1, then 2 in one lease.
constexpr const char* kGuest = R"((module
  (memory (export "memory") 8)
  (global $count (mut i32) (i32.const 0))
  (func (export "bump") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
    (select (global.get $count) (i32.const -1)
      (i32.eq (global.get $count) (i32.load (i32.const 1024)))))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 7) (i32.const 262144)))
  (func (export "trap") (unreachable)))
)";

Result<int32_t> bump(const Lease& lease) { return SPORE_TRY(lease->function<int32_t()>("bump"))(); }
Status run(const Lease& lease, std::string_view name) { return SPORE_TRY(lease->function<void()>(name))(); }

class PoolTest : public testing::Test {
 protected:
  using Module = std::shared_ptr<const Blueprint>;

  void start(PoolOptions options) { pool_ = Pool::create(std::move(options)).value(); }
  Module load(std::string name) { return modules_.load(std::move(name), kGuest); }
  Result<Lease> acquire(const Module& module, std::string_view domain = {}) {
    return pool_->acquire(module, {.domain = domain});
  }
  std::string refusal(const Module& module, std::string_view domain = {}) {
    const Result<Lease> lease = acquire(module, domain);
    return lease.ok() ? "" : std::string(lease.status().message());
  }
  std::vector<Lease> take(size_t count, const Module& module, std::string_view domain = {}) {
    std::vector<Lease> leases;
    for (size_t i = 0; i < count; i++) leases.push_back(acquire(module, domain).value());
    return leases;
  }
  PoolStatistics statistics() const { return pool_->statistics(); }
  PoolCounts counts() const { return statistics().counts; }
  uint32_t live(std::string_view module, std::string_view domain = {}) const {
    for (const PoolStatistics::Entry& entry : statistics().entries) {
      if (entry.module == module && entry.domain == domain) return entry.live;
    }
    return 0;
  }
  // What must be true whenever nobody makes or removes.
  static void expect_sums(const PoolStatistics& all) {
    const PoolCounts& counts = all.counts;
    EXPECT_EQ(counts.created, all.live + counts.evicted + counts.expired + counts.retired + counts.cleared);
    EXPECT_EQ(counts.acquired, counts.hits() + counts.misses);
    EXPECT_EQ(all.waiting, 0u);
    EXPECT_EQ(all.queued, 0u);
    uint32_t live = 0;
    for (const PoolStatistics::Entry& entry : all.entries) live += entry.live;
    EXPECT_EQ(all.live, live);
  }
  void TearDown() override {
    if (pool_ == nullptr) return;
    expect_sums(statistics());
    pool_->close();
    EXPECT_EQ(statistics().live, 0u);
    EXPECT_TRUE(statistics().entries.empty());
    expect_sums(statistics());
    const std::weak_ptr<Pool> gone = pool_;
    pool_.reset();
    for (int i = 0; i < 1000 && !gone.expired(); i++) pass_ms(5);  // the housekeeper may hold it for a moment
    EXPECT_TRUE(gone.expired());
  }

  test::Modules modules_;
  std::shared_ptr<Pool> pool_;
};

// --- options -------------------------------------------------------------------------------------------

// Goal: each option that has a least or a most, one below and one above.
TEST_F(PoolTest, OptionsAreChecked) {
  const auto message = [](const PoolOptions& options) { return std::string(check(options).message()); };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.instances_per_module_max = 0}), "instances_per_module_max is 0, at least 1 is needed");
  EXPECT_EQ(message({.instances_per_module_max = 1}), "");
  EXPECT_EQ(message({.instances_per_module_max = 10, .instances_max = 10}), "");
  EXPECT_EQ(message({.instances_per_module_max = 11, .instances_max = 10}),
            "instances_per_module_max=11 is more than instances_max=10");
  EXPECT_EQ(message({.warm_up = 10}), "");
  EXPECT_EQ(message({.warm_up = 11}), "warm_up=11 is more than instances_per_module_max=10");
  EXPECT_EQ(message({.idle_expiry_ms = 1}), "");
  EXPECT_EQ(message({.idle_expiry_ms = 0}), "idle_expiry_ms is 0: no instance would stay");
  EXPECT_EQ(Pool::create({.idle_expiry_ms = 0}).code(), Code::kInvalidArgument);
}

TEST_F(PoolTest, PresetsAreOptionsThatHold) {
  for (const char* name : {"default", "embedded", "server", "interactive"}) {
    EXPECT_TRUE(check(pool_preset(name).value()).ok()) << name;
  }
  EXPECT_EQ(pool_preset("default").value().instances_max, PoolOptions().instances_max);
  EXPECT_EQ(pool_preset("default").value().idle_expiry_ms, PoolOptions().idle_expiry_ms);
  EXPECT_EQ(pool_preset("embedded").value().instances_per_module_max, 2u);
  EXPECT_EQ(pool_preset("server").value().warm_up, 4u);
  EXPECT_EQ(pool_preset("fast").status().message(),
            "'fast' is no preset of pools (there are: default, embedded, server, interactive)");
}

// --- limits --------------------------------------------------------------------------------------------

// Goal: the tenth instance is to be had and the eleventh is not, and who hears so knows which option to turn.
TEST_F(PoolTest, ABusyModuleSaysWhichOptionIsReached) {
  start({});
  const Module rank = load("rank");
  std::vector<Lease> leases = take(10, rank);
  EXPECT_EQ(refusal(rank),
            "pool 'rank': 10 of 10 instances busy for 50 ms (instances_per_module_max=10, "
            "wait_timeout_ms=50)");
  EXPECT_EQ(acquire(rank).code(), Code::kLimitExceeded);
  EXPECT_EQ(counts().timeouts, 2u);
  EXPECT_EQ(counts().waits, 2u);
  EXPECT_GE(counts().wait_ns, 100'000'000u);
  leases.pop_back();
  EXPECT_EQ(bump(acquire(rank).value()).value(), 1);
  // Another domain has its own ten.
  EXPECT_EQ(bump(acquire(rank, "other").value()).value(), 1);
}

TEST_F(PoolTest, ADomainHasItsOwnLimit) {
  start({.instances_per_domain_max = 3, .wait_timeout_ms = 1});
  const Module a = load("a");
  const Module b = load("b");
  std::vector<Lease> leases = take(2, a, "tenant");
  leases.push_back(acquire(b, "tenant").value());
  EXPECT_EQ(refusal(b, "tenant"),
            "pool 'b' of 'tenant', its domain: 3 of 3 instances busy for 1 ms (instances_per_domain_max=3, "
            "wait_timeout_ms=1)");
  EXPECT_EQ(refusal(b, "another"), "");
  leases.erase(leases.begin());  // an idle one of `a` makes room for one of `b`
  leases.push_back(acquire(b, "tenant").value());
  EXPECT_EQ(live("a", "tenant"), 1u);
  EXPECT_EQ(live("b", "tenant"), 2u);
  EXPECT_EQ(counts().evicted, 1u);
}

TEST_F(PoolTest, TheWholePoolHasALimit) {
  start({.instances_per_module_max = 3, .instances_max = 3, .wait_timeout_ms = 0});
  const Module a = load("a");
  const Module b = load("b");
  std::vector<Lease> leases = take(3, a);
  EXPECT_EQ(refusal(b),
            "pool 'b', all modules: 3 of 3 instances busy for 0 ms (instances_max=3, wait_timeout_ms=0)");
  leases.pop_back();
  EXPECT_EQ(refusal(b), "");
  EXPECT_EQ(statistics().live, 3u);
}

// Goal: what a domain's instances hold is looked at when one is made: idle ones go first.
TEST_F(PoolTest, ADomainsBytesAreLimited) {
  start({.bytes_per_domain_max = 64 * 1024, .wait_timeout_ms = 1});
  const Module a = load("a");
  const Module b = load("b");
  EXPECT_TRUE(run(acquire(a, "tenant").value(), "fill").ok());
  const uint64_t bytes = statistics().private_bytes;
  if (bytes == 0) GTEST_SKIP() << "no scanner for pages here: nothing stays private";
  EXPECT_GE(bytes, 262'144u);
  {
    const Lease busy = acquire(a, "tenant").value();
    EXPECT_EQ(
        refusal(b, "tenant"),
        fmt::format("pool 'b' of 'tenant': the instances of its domain hold {} bytes and were busy for 1 "
                    "ms (bytes_per_domain_max=65536, wait_timeout_ms=1)",
                    bytes));
    EXPECT_EQ(refusal(b, "another"), "");
  }
  EXPECT_EQ(refusal(b, "tenant"), "");
  EXPECT_EQ(live("a", "tenant"), 0u);
  EXPECT_EQ(counts().evicted, 1u);
}

// --- who goes for whom ---------------------------------------------------------------------------------

// Goal: of all modules of a domain the one goes that was not used for the longest time.
TEST_F(PoolTest, TheLeastRecentlyUsedGoes) {
  start({.instances_per_module_max = 3, .instances_max = 3});
  const Module a = load("a");
  const Module b = load("b");
  const Module c = load("c");
  const Module d = load("d");
  for (const Module& module : {a, b, c, a}) {
    EXPECT_EQ(refusal(module), "");
    pass_ms(20);
  }
  EXPECT_EQ(refusal(d), "");
  EXPECT_EQ(live("a"), 1u);
  EXPECT_EQ(live("b"), 0u);
  EXPECT_EQ(live("c"), 1u);
  EXPECT_EQ(refusal(b), "");
  EXPECT_EQ(live("c"), 0u);
  EXPECT_EQ(counts().evicted, 2u);
}

// Goal: no instance ever serves two domains, not even when one waits and the other has idle ones.
TEST_F(PoolTest, AnInstanceStaysInItsDomain) {
  start({});
  const Module a = load("a");
  const auto one = pool_->entry(a, "one").value();
  const auto two = pool_->entry(a, "two").value();
  EXPECT_NE(one, two);
  for (int i = 0; i < 10; i++) {
    const Lease first = one->acquire().value();
    EXPECT_EQ(bump(first).value(), 1);
    EXPECT_EQ(bump(two->acquire().value()).value(), 1);
  }
  EXPECT_EQ(live("a", "one"), 1u);
  EXPECT_EQ(live("a", "two"), 1u);
  EXPECT_EQ(pool_->entry(a, "one").value(), one);
  EXPECT_EQ(counts().created, 2u);
}

// Goal: a full pool is shared: who has less than his part gets it, from the one who has more, and no more.
TEST_F(PoolTest, NoTenantDrivesOutAnother) {
  start({.instances_per_module_max = 10, .instances_max = 10, .wait_timeout_ms = 0});
  const Module a = load("a");
  take(9, a, "A");
  std::vector<Lease> of_b = take(5, a, "B");
  EXPECT_EQ(live("a", "A"), 5u);
  EXPECT_EQ(refusal(a, "B"),
            "pool 'a' of 'B', all modules: 10 of 10 instances busy for 0 ms (instances_max=10, "
            "wait_timeout_ms=0)");
  EXPECT_EQ(live("a", "A"), 5u);
  of_b.clear();
  // A floods: its five and not one of B's, though they are idle.
  const std::vector<Lease> of_a = take(5, a, "A");
  for (int i = 0; i < 20; i++) EXPECT_NE(refusal(a, "A"), "");
  EXPECT_NE(refusal(load("other"), "A"), "");
  EXPECT_EQ(live("a", "B"), 5u);
  // A third one gets of B, whose idle ones are beyond its third now; then nobody has any to spare.
  const std::vector<Lease> of_c = take(2, a, "C");
  EXPECT_NE(refusal(a, "C"), "");
  EXPECT_EQ(live("a", "A"), 5u);
  EXPECT_EQ(live("a", "B"), 3u);
}

// Goal: of more domains than there are places each has its turn.
TEST_F(PoolTest, MoreDomainsThanPlacesTakeTurns) {
  start({.instances_per_module_max = 2, .instances_max = 2, .wait_timeout_ms = 0});
  const Module a = load("a");
  for (int round = 0; round < 3; round++) {
    for (const char* domain : {"1", "2", "3", "4", "5"}) {
      EXPECT_EQ(bump(acquire(a, domain).value()).value(), 1) << domain;
    }
  }
  EXPECT_EQ(statistics().live, 2u);
}

// --- age -----------------------------------------------------------------------------------------------

TEST_F(PoolTest, WhatIsIdleForTooLongGoes) {
  start({.idle_expiry_ms = 50, .housekeeping = false});
  const Module a = load("a");
  {
    const Lease busy = acquire(a).value();
    EXPECT_EQ(refusal(a), "");
    pool_->clean_up();
    EXPECT_EQ(counts().expired, 0u);
    pass_ms(100);
    EXPECT_EQ(statistics().live, 2u);  // nobody cleaned up
    pool_->clean_up();
    EXPECT_EQ(counts().expired, 1u);
    EXPECT_EQ(statistics().live, 1u);  // one in use is not idle
  }
  pool_->clean_up();
  EXPECT_EQ(statistics().live, 1u);
  pass_ms(100);
  pool_->clean_up();
  EXPECT_EQ(counts().expired, 2u);
  EXPECT_EQ(statistics().live, 0u);
  EXPECT_TRUE(statistics().entries.empty());
  EXPECT_EQ(bump(acquire(a).value()).value(), 1);
}

// Goal: the same by the pool's own thread, which comes again when there is something to do again.
TEST_F(PoolTest, TheHousekeeperRemovesWhatIsIdle) {
  start({.idle_expiry_ms = 20});
  const Module a = load("a");
  for (uint64_t round = 1; round <= 3; round++) {
    EXPECT_EQ(refusal(a), "");
    for (int i = 0; i < 1000 && counts().expired < round; i++) pass_ms(5);
    EXPECT_EQ(counts().expired, round);
  }
}

TEST_F(PoolTest, AnInstanceServesSoManyCallsAndNoMore) {
  start({.invocations_max = 3});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  for (int i = 0; i < 9; i++) {
    EXPECT_EQ(counts().retired, static_cast<uint64_t>(i / 3));
    EXPECT_EQ(bump(entry->acquire().value()).value(), 1);
  }
  EXPECT_EQ(counts().created, 3u);
  EXPECT_EQ(counts().retired, 3u);
}

// --- ahead ---------------------------------------------------------------------------------------------

TEST_F(PoolTest, InstancesAreMadeAhead) {
  start({.instances_per_module_max = 4, .instances_max = 5, .warm_up = 2});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  EXPECT_EQ(live("a"), 2u);
  EXPECT_EQ(statistics().idle, 2u);
  {
    const Lease first = entry->acquire().value();
    const Lease second = entry->acquire().value();
    EXPECT_EQ(counts().misses, 0u);
    EXPECT_EQ(counts().hits(), 2u);
  }
  EXPECT_TRUE(entry->warm_up(1).ok());  // there are more
  EXPECT_TRUE(entry->warm_up(4).ok());
  EXPECT_EQ(statistics().idle, 4u);
  EXPECT_EQ(entry->warm_up(5).message(),
            "pool 'a': no room for 5 instances made ahead (instances_per_module_max=4)");
  // Nothing is evicted, nor lost, for what nobody asked for.
  const Module b = load("b");
  const auto other = pool_->entry(b).value();
  EXPECT_EQ(live("b"), 1u);
  EXPECT_EQ(other->warm_up(2).code(), Code::kLimitExceeded);
  EXPECT_EQ(statistics().idle, 5u);
  EXPECT_EQ(counts().evicted, 0u);
  pool_->forget(*a);
  EXPECT_EQ(entry->warm_up(1).code(), Code::kUnavailable);
  EXPECT_EQ(live("a"), 0u);
}

// Goal: who asks and cannot be given one hears why, and nothing is counted that is not there.
TEST_F(PoolTest, WhatCannotBeMadeSaysWhy) {
  start({.warm_up = 1});
  const Module broken = modules_.load("broken", R"((module (func $start (unreachable)) (start $start)))");
  EXPECT_EQ(acquire(broken).code(), Code::kTrap);
  EXPECT_EQ(acquire(broken).code(), Code::kTrap);
  EXPECT_EQ(counts().failed, 3u);
  EXPECT_EQ(counts().created, 0u);
  EXPECT_EQ(statistics().live, 0u);
}

// --- calls ---------------------------------------------------------------------------------------------

// Goal: the entry's call finds the function once for each instance, and keeps no names that are wrong.
TEST_F(PoolTest, AnEntryCallsByName) {
  start({});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  for (int i = 0; i < 5; i++) {
    EXPECT_EQ(entry->call("bump", {}).value(), std::vector<host::Value>{host::Value::i32(1)});
  }
  EXPECT_EQ(entry->call("jump", {}).code(), Code::kNotFound);
  EXPECT_EQ(entry->call("trap", {}).code(), Code::kTrap);
  EXPECT_EQ(entry->call("bump", std::vector{host::Value::i32(1)}).code(), Code::kInvalidArgument);
  EXPECT_EQ(CleanFunction<int32_t()>::create(entry, "jump").code(), Code::kNotFound);
  EXPECT_EQ(CleanFunction<int64_t()>::create(entry, "bump").code(), Code::kInvalidArgument);
  EXPECT_EQ(CleanFunction<int32_t()>::create(entry, "bump").value()().value(), 1);
}

// --- clearing and closing ------------------------------------------------------------------------------

TEST_F(PoolTest, ClearRemovesIdleOnesNowAndOthersLater) {
  start({});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  std::vector<Lease> leases = take(3, a);
  leases.pop_back();
  pool_->clear();
  EXPECT_EQ(counts().cleared, 1u);
  EXPECT_EQ(live("a"), 2u);
  EXPECT_EQ(bump(leases[0]).value(), 1);
  EXPECT_EQ(bump(entry->acquire().value()).value(), 1);  // a new one, which stays
  leases.clear();
  EXPECT_EQ(counts().cleared, 3u);
  EXPECT_EQ(live("a"), 1u);
  for (int i = 0; i < 3; i++) EXPECT_EQ(bump(entry->acquire().value()).value(), 1);
  EXPECT_EQ(counts().created, 4u);
}

TEST_F(PoolTest, ADiscardedInstanceIsGone) {
  start({});
  const Module a = load("a");
  Lease lease = acquire(a).value();
  lease.discard();
  EXPECT_EQ(counts().cleared, 1u);
  EXPECT_EQ(live("a"), 0u);
}

TEST_F(PoolTest, AForgottenModuleServesItsLeasesToTheEnd) {
  start({});
  const Module a = load("a");
  const Module b = load("b");
  const auto entry = pool_->entry(a).value();
  EXPECT_EQ(refusal(b), "");
  std::optional<Lease> lease = acquire(a).value();
  pool_->forget(*a);
  EXPECT_EQ(entry->acquire().code(), Code::kUnavailable);
  EXPECT_EQ(refusal(a), "pool 'a' was closed, or its module unloaded");
  EXPECT_EQ(bump(*lease).value(), 1);
  lease.reset();
  EXPECT_EQ(live("a"), 0u);
  EXPECT_EQ(live("b"), 1u);
  EXPECT_EQ(entry->acquire().code(), Code::kUnavailable);
}

// Goal: leases stay good when the pool is closed, and when nobody else holds anything of it any more.
TEST_F(PoolTest, ALeaseOutlivesItsPool) {
  start({});
  const Module a = load("a");
  auto entry = pool_->entry(a).value();
  std::optional<Lease> lease = entry->acquire().value();
  EXPECT_EQ(refusal(load("b")), "");
  pool_->close();
  EXPECT_EQ(statistics().live, 1u);
  EXPECT_EQ(entry->acquire().code(), Code::kUnavailable);
  EXPECT_EQ(refusal(a), "this pool was closed");
  entry.reset();
  const std::weak_ptr<Pool> gone = pool_;
  pool_.reset();
  EXPECT_EQ(bump(*lease).value(), 1);
  EXPECT_EQ(bump(*lease).value(), 2);
  EXPECT_FALSE(gone.expired());
  lease.reset();
  for (int i = 0; i < 1000 && !gone.expired(); i++) pass_ms(5);
  EXPECT_TRUE(gone.expired());
}

// Goal: whoever parks an instance touches nothing of the pool after that: it may be gone.  Method: one thread
// gives back while another closes, and nobody else holds anything; under ASan and TSan.
TEST_F(PoolTest, APoolMayGoWhileALeaseIsGivenBack) {
  const Module a = load("a");
  for (int i = 0; i < 500; i++) {
    auto pool = Pool::create({.housekeeping = i % 2 == 0}).value();
    std::optional<Lease> lease = pool->acquire(a).value();
    std::atomic<bool> go{false};
    std::thread other([&go, pool = std::move(pool)]() mutable {
      go = true;
      pool->close();
      pool.reset();
    });
    while (!go) {
    }
    for (int spin = 0; spin < i % 50; spin++) std::atomic_signal_fence(std::memory_order_seq_cst);
    lease.reset();
    other.join();
  }
}

TEST_F(PoolTest, StatisticsCountFromTheirReset) {
  start({});
  const Module a = load("a");
  const Module b = load("b");
  for (int i = 0; i < 3; i++) EXPECT_EQ(refusal(a), "");
  EXPECT_EQ(refusal(b), "");
  pool_->forget(*b);  // what is gone is in the sum
  EXPECT_EQ(counts().acquired, 4u);
  EXPECT_EQ(counts().misses, 2u);
  EXPECT_EQ(counts().created, 2u);
  EXPECT_EQ(counts().cleared, 1u);
  EXPECT_EQ(counts().resets_in_place, 4u);
  const PoolStatistics::Entry entry = statistics().entries.at(0);
  EXPECT_EQ(entry.module, "a");
  EXPECT_TRUE(entry.in_place);
  EXPECT_EQ(entry.instances.at(0).uses, 3u);
  EXPECT_TRUE(entry.instances.at(0).idle);
  pool_->reset_statistics();
  EXPECT_EQ(counts().acquired, 0u);
  EXPECT_EQ(counts().created, 0u);
  EXPECT_EQ(statistics().live, 1u);
  EXPECT_EQ(refusal(a), "");
  EXPECT_EQ(counts().acquired, 1u);
  EXPECT_EQ(counts().hits(), 1u);
  pool_->clear();
  EXPECT_EQ(counts().cleared, 1u);
  pool_->reset_statistics();
}

// --- threads -------------------------------------------------------------------------------------------

constexpr int kFewer = test::kSanitized ? 10 : 1;

// Goal: who waits is woken by each way in which an instance may come free.  A wakeup that is lost shows as a
// timeout.
TEST_F(PoolTest, NobodyWaitsInVain) {
  start({.instances_per_module_max = 2, .instances_max = 2, .wait_timeout_ms = kLong});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000 / 8 / kFewer; i++) {
        Result<Lease> lease = entry->acquire();
        if (!lease.ok() || bump(lease.value()).value() != 1) wrong++;
        if (lease.ok() && i % 100 == 7) lease.value().discard();
        if (lease.ok() && i % 10 == 3) std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(counts().timeouts, 0u);
  EXPECT_EQ(counts().acquired, static_cast<uint64_t>(20'000 / 8 / kFewer * 8));
  EXPECT_LE(statistics().live, 2u);
  EXPECT_GT(counts().waits, 0u);
  // Nobody waits: instances are parked without the mutex again.
  for (int i = 0; i < 3; i++) EXPECT_EQ(bump(entry->acquire().value()).value(), 1);
}

// Goal: the same where room comes from instances of other modules and domains.
TEST_F(PoolTest, NobodyWaitsInVainForOthers) {
  start({.instances_per_module_max = 2, .instances_max = 2, .wait_timeout_ms = kLong});
  const std::vector<Module> modules = {load("a"), load("b"), load("c")};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 6; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300 / kFewer; i++) {
        Result<Lease> lease = acquire(modules[(t + static_cast<size_t>(i)) % 3]);
        if (!lease.ok() || bump(lease.value()).value() != 1) wrong++;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(counts().timeouts, 0u);
  EXPECT_GT(counts().evicted, 0u);
}

// Goal: all operations at once leave books that add up, and no instance in two hands.
TEST_F(PoolTest, AllAtOnce) {
  start({.instances_per_module_max = 2,
         .instances_max = 4,
         .instances_per_domain_max = 3,
         .idle_expiry_ms = 20,
         .wait_timeout_ms = 5,
         .invocations_max = 50});
  const std::vector<Module> modules = {load("a"), load("b"), load("c")};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      std::minstd_rand random(t);
      for (int i = 0; i < 2000 / kFewer; i++) {
        const Module& module = modules[random() % modules.size()];
        Result<Lease> lease = acquire(module, random() % 2 == 0 ? "A" : "B");
        if (!lease.ok()) {
          if (lease.code() != Code::kLimitExceeded && lease.code() != Code::kUnavailable) wrong++;
          continue;
        }
        if (bump(lease.value()).value() != 1) wrong++;
        const auto deed = random() % 40;
        if (deed == 0) lease.value().discard();
        if (deed == 1 && run(lease.value(), "trap").ok()) wrong++;
        if (deed == 2 && !run(lease.value(), "fill").ok()) wrong++;
        if (deed == 3) pool_->forget(*module);
      }
    });
  }
  std::thread keeper([&] {
    for (int i = 0; !stop; i++) {
      pool_->clean_up();
      const PoolStatistics now = statistics();
      if (now.live > 4 || now.counts.hits() > now.counts.acquired) wrong++;
      if (i % 16 == 0) pool_->clear();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  keeper.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(statistics().live, statistics().idle);
}

// --- fork ----------------------------------------------------------------------------------------------

// Goal: a child has its own pool: leases of the forking thread are good in both, and those of threads that
// the child does not have take no place in it.
TEST_F(PoolTest, AChildGoesOnWithoutTheOtherThreads) {
  start({.instances_per_module_max = 3, .instances_max = 3, .wait_timeout_ms = 0});
  const Module a = load("a");
  const auto entry = pool_->entry(a).value();
  std::atomic<bool> taken{false};
  std::atomic<bool> done{false};
  std::thread other([&] {
    const Lease theirs = entry->acquire().value();
    taken = true;
    while (!done) std::this_thread::yield();
    EXPECT_EQ(bump(theirs).value(), 1);
  });
  while (!taken) std::this_thread::yield();
  std::optional<Lease> mine = entry->acquire().value();
  EXPECT_EQ(bump(*mine).value(), 1);
  EXPECT_EQ(refusal(a), "");
  EXPECT_EQ(statistics().live, 3u);
  const std::string wrong = test::in_child([&]() -> std::string {
    if (statistics().live != 2) return fmt::format("{} live", statistics().live);
    if (bump(*mine).value() != 2) return "its own lease";
    {
      std::vector<Lease> more;
      for (int i = 0; i < 2; i++) more.push_back(entry->acquire().value());
      for (const Lease& lease : more) {
        if (bump(lease).value() != 1) return "not clean";
      }
      if (entry->acquire().ok()) return "more than there may be";
      mine.reset();
      if (bump(entry->acquire().value()).value() != 1) return "given back, and not clean";
    }
    if (statistics().live != 3 || statistics().idle != 3) return "the books";
    pool_->close();
    return statistics().live == 0 ? "" : "not closed";
  });
  EXPECT_EQ(wrong, "");
  done = true;
  other.join();
  EXPECT_EQ(bump(*mine).value(), 2);
  mine.reset();
  EXPECT_EQ(statistics().idle, 3u);
}

// Goal: a fork at any moment, while threads acquire, wait, make and give back, leaves a pool that works, in
// the child and in the parent.
TEST_F(PoolTest, AForkAtAnyMomentLeavesAPoolThatWorks) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "its allocator has locks that a fork leaves held";
  start({.instances_per_module_max = 2, .instances_max = 3, .idle_expiry_ms = 20, .wait_timeout_ms = kLong});
  const Module a = load("a");
  const Module b = load("b");
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (uint32_t i = t; !stop; i++) {
        Result<Lease> lease = acquire(i % 2 == 0 ? a : b);
        if (!lease.ok() || bump(lease.value()).value() != 1) wrong++;
        if (lease.ok() && i % 10 == 0) lease.value().discard();
      }
    });
  }
  for (int i = 0; i < 20; i++) {
    EXPECT_EQ(test::in_child([&]() -> std::string {
                for (int call = 0; call < 20; call++) {
                  Result<Lease> lease = acquire(call % 2 == 0 ? a : b);
                  if (!lease.ok()) return std::string(lease.status().message());
                  if (bump(lease.value()).value() != 1) return "not clean";
                }
                if (statistics().waiting != 0) return "somebody waits";
                return statistics().live == statistics().idle ? "" : "somebody has one";
              }),
              "");
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace spore::cell
