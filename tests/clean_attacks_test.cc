// A pooled instance after something unusual: is it as a new one?  Each test does one thing that a reset could
// miss, and then compares all state with that of a new instance.  What can be done to a slot alone is in
// spore/memory/slot_test.cc.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/instance_state.h"
#include "spore/spore.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using memory::FaultCounterKind;

struct Setting {
  Tier tier;
  bool compact;
  FaultCounterKind counter;
};

void PrintTo(const Setting& setting, std::ostream* out) {
  *out << engine::tier_name(setting.tier) << (setting.compact ? "_compact_" : "_wide_")
       << memory::fault_counter_name(setting.counter);
}

class CleanAttackTest : public testing::TestWithParam<Setting> {
 protected:
  // What `text` is after its pooled instance was used by `use`, compared with a new one.  The instance is the
  // same before and after, or the test is worth nothing; how often it was scanned is not looked at.
  template <typename Use>
  void attack(std::string_view text, const Use& use) {
    load(text);
    for (int round = 0; round < 3; round++) {
      SCOPED_TRACE(round);
      const engine::Store* before = nullptr;
      {
        Lease lease = runtime_->acquire(*module_, {.user_data = this}).value();
        before = &lease->store();
        use(*lease);
      }
      Lease lease = runtime_->acquire(*module_).value();
      EXPECT_EQ(&lease->store(), before) << "another instance: nothing was reset";
      expect_as_new(*lease);
    }
  }

  void load(std::string_view text) {
    RuntimeOptions options;
    options.tier = GetParam().tier;
    options.compact_memories = GetParam().compact;
    options.pool.reset.fault_counter = GetParam().counter;
    options.pool.retire_on_trap = false;
    options.pool.housekeeping = false;
    options.limits.memories_max = 2;
    options.limits.memory_bytes_max = memory_bytes_max_;
    options.limits.deadline_ms = deadline_ms_;
    options.host.define("host", "write", [](Caller& caller, uint32_t address, uint32_t value) -> Status {
      const std::span<std::byte> bytes = SPORE_TRY(caller.memory().span({address}, 4));
      std::memcpy(bytes.data(), &value, sizeof value);
      return {};
    });
    // By the kernel, as a host function does that reads a socket.
    options.host.define("host", "read", [](Caller& caller, uint32_t address, uint32_t length) -> Status {
      const std::span<std::byte> bytes = SPORE_TRY(caller.memory().span({address}, length));
      const UniqueFd zero(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
      if (::read(zero.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
        return Status::internal("read");
      }
      return {};
    });
    // By another thread, in user mode.
    options.host.define("host", "thread", [](Caller& caller, uint32_t address) -> Status {
      const std::span<std::byte> bytes = SPORE_TRY(caller.memory().span({address}, 8));
      std::thread([&] { std::ranges::fill(bytes, std::byte{0x77}); }).join();
      return {};
    });
    options.host.define("host", "fail", [] { return Status::internal("no"); });
    runtime_ = Runtime::create(std::move(options)).value();
    module_ = runtime_->load_module("guest", test::wasm(text), {.wasi = wasi_}).value();
    ASSERT_EQ(module_->prepared()->reset(), wasm::ResetMode::kInPlace);
  }

  void expect_as_new(const Instance& instance) {
    const Instance fresh = runtime_->instantiate(*module_).value();
    const auto state = [&](const Instance& of) {
      return engine::InstanceState::create(of.store(), of.handle(), *module_->prepared()).value();
    };
    const engine::InstanceState of_used = state(instance);
    const engine::InstanceState of_fresh = state(fresh);
    const engine::StateValues used = of_used.read().value();
    const engine::StateValues clean = of_fresh.read().value();
    ASSERT_EQ(used.globals.size(), clean.globals.size());
    for (size_t i = 0; i < used.globals.size(); i++) {
      const engine::ValType type = used.globals[i].type;
      const bool small = type == engine::ValType::kI32 || type == engine::ValType::kF32;
      const size_t bytes = type == engine::ValType::kV128 ? 16 : small ? 4 : 8;
      EXPECT_EQ(std::memcmp(&used.globals[i].value, &clean.globals[i].value, bytes), 0) << "global " << i;
    }
    EXPECT_EQ(used.tables, clean.tables);
    ASSERT_EQ(of_used.slots().size(), of_fresh.slots().size());
    for (size_t i = 0; i < of_used.slots().size(); i++) {
      const memory::Slot& a = *of_used.slots()[i];
      const memory::Slot& b = *of_fresh.slots()[i];
      ASSERT_EQ(a.bytes(), b.bytes()) << "memory " << i;
      const auto [at, other] = std::mismatch(a.base(), a.base() + a.bytes(), b.base());
      EXPECT_EQ(at, a.base() + a.bytes()) << "memory " << i << ", byte " << at - a.base();
      // The instance's own idea of the length, which code checks against.
      const auto name = module_->prepared()->memories[i].export_name();
      EXPECT_EQ(instance.memory(name).value().size(), b.bytes());
    }
    if (instance.wasi() != nullptr) {
      EXPECT_EQ(instance.wasi()->state(), fresh.wasi()->state());
      EXPECT_EQ(instance.wasi()->take_output(), "");
    }
  }

  static void call(const Instance& instance, std::string_view name) {
    const Status status = instance.function<void()>(name).value()();
    EXPECT_TRUE(status.ok()) << status.message();
  }
  static Code failure(const Instance& instance, std::string_view name) {
    return instance.function<void()>(name).value()().code();
  }

  uint64_t memory_bytes_max_ = 256 * engine::kMebibyte;
  uint64_t deadline_ms_ = 10'000;
  std::shared_ptr<const WasiConfig> wasi_;
  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<const Module> module_;
};

// --- who writes ----------------------------------------------------------------------------------------

constexpr std::string_view kWriters = R"((module
  (import "host" "write" (func $write (param i32 i32))) (import "host" "read" (func $read (param i32 i32)))
  (import "host" "thread" (func $thread (param i32))) (memory (export "memory") 20)
  (data (i32.const 70000) "some data")
  (func (export "store") (i32.store (i32.const 300000) (i32.const -1)) (i32.store (i32.const 70000) (i32.const -1)))
  (func (export "host") (call $write (i32.const 400000) (i32.const 7)) (call $write (i32.const 70000) (i32.const 7)))
  (func (export "kernel") (call $read (i32.const 500000) (i32.const 9000)))
  (func (export "kernel_data") (call $read (i32.const 69990) (i32.const 30)))
  (func (export "thread") (call $thread (i32.const 600000)) (call $thread (i32.const 70000)))
  (func (export "fill") (memory.fill (i32.const 700004) (i32.const 0x55) (i32.const 8190)))
  (func (export "copy") (memory.copy (i32.const 811000) (i32.const 69000) (i32.const 9000)))))";

// A first write to pages nobody wrote before, after calls that wrote others: scans have been skipped by then.
TEST_P(CleanAttackTest, WritesByTheGuest) {
  attack(kWriters, [](Instance& guest) { call(guest, "store"); });
}
TEST_P(CleanAttackTest, WritesByAHostFunction) {
  attack(kWriters, [](Instance& guest) {
    call(guest, "store");
    call(guest, "host");
  });
}
TEST_P(CleanAttackTest, WritesByTheKernelOnTheGuestsBehalf) {
  attack(kWriters, [](Instance& guest) {
    call(guest, "store");
    call(guest, "kernel");
    call(guest, "kernel_data");
  });
}
TEST_P(CleanAttackTest, WritesByAnotherThread) {
  attack(kWriters, [](Instance& guest) { call(guest, "thread"); });
}
TEST_P(CleanAttackTest, FillsAndCopiesAcrossPageEdges) {
  attack(kWriters, [](Instance& guest) {
    call(guest, "fill");
    call(guest, "copy");
  });
}
// Each kind alone, on an instance whose counter has been quiet for some calls.
TEST_P(CleanAttackTest, TheFirstOfAKindAfterManyQuietCalls) {
  load(kWriters);
  for (const std::string_view kind : {"host", "kernel", "kernel_data", "thread", "fill", "copy"}) {
    for (int i = 0; i < 20; i++) call(*runtime_->acquire(*module_).value(), "store");
    call(*runtime_->acquire(*module_).value(), kind);
    SCOPED_TRACE(kind);
    expect_as_new(*runtime_->acquire(*module_).value());
  }
}
// Through the host's own interface to memory.
TEST_P(CleanAttackTest, WritesByTheEmbedder) {
  attack(kWriters, [](Instance& guest) {
    ASSERT_TRUE(guest.write_string({900'000}, "left behind").ok());
    engine::GuestMemory memory = guest.memory("memory").value();
    const UniqueFd random(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::read(random.get(), memory.span({1'000'000}, 5000).value().data(), 5000), 5000);
  });
}

// WASI reads into pages that were never touched; its files, output, exit code and arguments go back.
TEST_P(CleanAttackTest, WasiLeavesNothing) {
  const std::string folder = (std::filesystem::temp_directory_path() / "spore-clean.XXXXXX").native();
  std::string name = folder;
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  std::string text(20'000, 'x');
  ASSERT_TRUE(write_file(name + "/file", {reinterpret_cast<const uint8_t*>(text.data()), text.size()}).ok());
  wasi_ = WasiConfig::create({.args = {"guest"}, .directories = {{name, "/"}}}).value();
  attack(R"((module
    (import "wasi_snapshot_preview1" "path_open"
      (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 4) (data (i32.const 0) "file")
    (data (i32.const 16) "\00\00\01\00\00\40\00\00")
    (func (export "use")
      (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 2)
            (i64.const 2) (i32.const 0) (i32.const 8)) (then unreachable))
      (if (call $read (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 12)) (then unreachable))
      (if (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 12)) (then unreachable))
      (if (call $random (i32.const 200000) (i32.const 5000)) (then unreachable)))))",
         [](Instance& guest) {
           call(guest, "use");
           EXPECT_EQ(guest.wasi()->state().descriptors.size(), 5u);
         });
  std::filesystem::remove_all(name);
}

// --- growth --------------------------------------------------------------------------------------------

constexpr std::string_view kGrowing =
    R"((module (memory (export "memory") 2 100) (data (i32.const 65536) "here")
  (func (export "grow")
    (if (i32.lt_s (memory.grow (i32.const 10)) (i32.const 0)) (then unreachable))
    (i32.store (i32.const 786428) (i32.const -1)) (i32.store (i32.const 131072) (i32.const -1))
    (memory.fill (i32.const 200000) (i32.const 1) (i32.const 100000)))
  (func (export "look")
    (if (i32.ne (memory.size) (i32.const 2)) (then unreachable))
    (if (i32.lt_s (memory.grow (i32.const 10)) (i32.const 0)) (then unreachable))
    (if (i32.load (i32.const 786428)) (then unreachable)) (if (i32.load (i32.const 131072)) (then unreachable))
    (if (i32.load (i32.const 250000)) (then unreachable)))
  (func (export "beyond") (i32.store (i32.const 131072) (i32.const 1)))
  (func (export "far") (i32.store (i32.const 786428) (i32.const 1)))))";

TEST_P(CleanAttackTest, GrowthIsUndone) {
  attack(kGrowing, [](Instance& guest) { call(guest, "grow"); });
}
// What was opened by a growth traps again, at once and after further growths, and is zeros when it is opened.
TEST_P(CleanAttackTest, WhatGrewIsClosedAndEmpty) {
  attack(kGrowing, [](Instance& guest) {
    call(guest, "look");
    call(guest, "far");
  });
  for (int round = 0; round < 5; round++) {
    Lease lease = runtime_->acquire(*module_).value();
    EXPECT_EQ(failure(*lease, "beyond"), Code::kTrap);
    EXPECT_EQ(failure(*lease, "far"), Code::kTrap);
    call(*lease, "look");
    lease.release();
    call(*runtime_->acquire(*module_).value(), "grow");
  }
}

// --- failures in the middle ----------------------------------------------------------------------------

constexpr std::string_view kFailing =
    R"((module (import "host" "fail" (func $fail)) (memory (export "memory") 10)
  (global $g (mut i64) (i64.const 5)) (table $t 4 funcref) (elem (i32.const 0) $overflow)
  (func $dirty (i32.store (i32.const 123456) (i32.const -1)) (i32.store (i32.const 8) (i32.const -1))
    (global.set $g (i64.const 9)) (table.set $t (i32.const 0) (ref.null func))
    (table.set $t (i32.const 2) (ref.func $overflow)))
  (func (export "trap") (call $dirty) (i64.store (i32.const 655356) (i64.const -1)))
  (func (export "fill") (call $dirty) (memory.fill (i32.const 600000) (i32.const 1) (i32.const 100000)))
  (func $overflow (export "overflow") (call $dirty)
    (i32.store (i32.const 300000) (i32.add (i32.load (i32.const 300000)) (i32.const 1))) (call $overflow))
  (func (export "host") (call $dirty) (call $fail))
  (func (export "spin") (call $dirty) (loop (i32.store (i32.const 400000) (i32.const 1)) (br 0)))))";

TEST_P(CleanAttackTest, ATrapInTheMiddleOfAWrite) {
  attack(kFailing, [](Instance& guest) {
    EXPECT_EQ(failure(guest, "trap"), Code::kTrap);
    EXPECT_EQ(failure(guest, "fill"), Code::kTrap);
  });
}
TEST_P(CleanAttackTest, AnOverflowOfTheStack) {
  attack(kFailing, [](Instance& guest) { EXPECT_EQ(failure(guest, "overflow"), Code::kTrap); });
}
// After these the instance is never used again: the next is another one, and as new.
TEST_P(CleanAttackTest, ADeadlineAndAHostErrorRetire) {
  deadline_ms_ = 30;
  load(kFailing);
  for (const auto& [name, code] : {std::pair{"spin", Code::kDeadlineExceeded}, {"host", Code::kHostError}}) {
    const uint64_t retired = runtime_->statistics().pool.counts.retired;
    EXPECT_EQ(failure(*runtime_->acquire(*module_).value(), name), code);
    EXPECT_EQ(runtime_->statistics().pool.counts.retired, retired + 1);
    expect_as_new(*runtime_->acquire(*module_).value());
  }
}

// --- segments and tables -------------------------------------------------------------------------------

// A lifted segment is a dropped one in every use; one that code dropped is back after a reset.
TEST_P(CleanAttackTest, SegmentsAreAsTheyWere) {
  attack(R"((module (memory (export "memory") 1) (table 3 funcref) (data $lifted (i32.const 0) "lifted")
    (data $passive "passive") (elem $e func $use)
    (func $use (export "use")
      (memory.init $passive (i32.const 100) (i32.const 0) (i32.const 7)) (data.drop $passive)
      (table.init $e (i32.const 1) (i32.const 0) (i32.const 1)) (elem.drop $e))
    (func (export "lifted") (memory.init $lifted (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (export "again") (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 7)))))",
         [](Instance& guest) {
           call(guest, "use");  // traps if the last reset did not bring the segments back
           EXPECT_EQ(failure(guest, "lifted"), Code::kTrap);
           EXPECT_EQ(failure(guest, "again"), Code::kTrap);
         });
}

// --- kinds of memories ---------------------------------------------------------------------------------

TEST_P(CleanAttackTest, TwoMemories) {
  attack(R"((module (memory $a (export "a") 2) (memory $b 3) (data (memory $b) (i32.const 65536) "b")
    (func (export "use") (i32.store $a (i32.const 131068) (i32.const 1)) (i32.store $b (i32.const 65536) (i32.const 2))
      (drop (memory.grow $b (i32.const 3))) (i32.store $b (i32.const 300000) (i32.const 3))
      (memory.copy $a $b (i32.const 0) (i32.const 65000) (i32.const 60000)))))",
         [](Instance& guest) { call(guest, "use"); });
}
TEST_P(CleanAttackTest, MemoriesWithAddressesOf64Bits) {
  attack(R"((module (memory (export "memory") i64 2) (data (i64.const 65536) "wide")
    (func (export "use") (i32.store (i64.const 100000) (i32.const 1)) (i32.store (i64.const 65536) (i32.const 2))
      (drop (memory.grow (i64.const 30))) (i64.store (i64.const 2000000) (i64.const 3)))))",
         [](Instance& guest) { call(guest, "use"); });
}
// To the last byte that 32 bits reach; beyond the guard comes nothing of ours.
TEST_P(CleanAttackTest, MemoriesOf4GiB) {
  memory_bytes_max_ = uint64_t{4} << 30;
  load(R"((module (memory (export "memory") 1 65536)
    (func (export "use")
      (if (i32.ne (memory.grow (i32.const 65535)) (i32.const 1)) (then unreachable))
      (i32.store8 (i32.const -1) (i32.const 7)) (i32.store (i32.const 0x80000000) (i32.const 1))
      (i32.store (i32.const 60000) (i32.const 1)))
    (func (export "last") (i32.store8 (i32.const -1) (i32.const 7)))))");
  for (int round = 0; round < 3; round++) {
    call(*runtime_->acquire(*module_).value(), "use");
    Lease lease = runtime_->acquire(*module_).value();
    expect_as_new(*lease);
    EXPECT_EQ(failure(*lease, "last"), Code::kTrap);
  }
}

// --- pages ---------------------------------------------------------------------------------------------

// More runs of pages than a scan reports at once: every second page of 100 MiB, 12,800 runs.
TEST_P(CleanAttackTest, ThousandsOfScatteredPages) {
  attack(R"((module (memory (export "memory") 1600)
    (func (export "use") (local $at i32)
      (loop (i32.store (local.get $at) (i32.const -1)) (local.set $at (i32.add (local.get $at) (i32.const 8192)))
        (br_if 0 (i32.lt_u (local.get $at) (i32.const 104857600)))))))",
         [](Instance& guest) { call(guest, "use"); });
}

// --- threads and forks ---------------------------------------------------------------------------------

// Called, and written to, on other threads, it comes back to the first, whose own counter saw nothing.
TEST_P(CleanAttackTest, CallsOfOneInstanceFromDifferentThreads) {
  attack(kWriters, [](Instance& guest) {
    call(guest, "store");
    std::thread([&] { call(guest, "fill"); }).join();
    call(guest, "store");
  });
  attack(kWriters, [](Instance& guest) {
    call(guest, "store");
    std::thread([&] { EXPECT_TRUE(guest.write_string({1'000'000}, "from another thread").ok()); }).join();
  });
}

// A child is forked while an instance is in use.  Both go on with it, each with pages of its own by then.
TEST_P(CleanAttackTest, CallsBeforeAndAfterAFork) {
  load(kWriters);
  for (int i = 0; i < 5; i++) call(*runtime_->acquire(*module_).value(), "store");
  Lease lease = runtime_->acquire(*module_).value();
  call(*lease, "fill");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  call(*lease, "copy");
  lease.release();
  for (int i = 0; i < 3; i++) {
    call(*runtime_->acquire(*module_).value(), "kernel");
    expect_as_new(*runtime_->acquire(*module_).value());
  }
  if (child == 0) ::_exit(HasFailure() ? 1 : 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child: " << status;
}

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (const FaultCounterKind counter : {FaultCounterKind::kAuto, FaultCounterKind::kSystemCall}) {
    for (const bool compact : {false, true}) all.push_back({Tier::kOptimised, compact, counter});
  }
  for (const bool compact : {false, true}) all.push_back({Tier::kBaseline, compact, FaultCounterKind::kAuto});
  all.push_back({Tier::kOptimised, false, FaultCounterKind::kNone});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Settings, CleanAttackTest, testing::ValuesIn(settings()),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace spore
