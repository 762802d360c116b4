// Do the differential tests notice what is wrong?  What they make, and what they compare.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spore/runtime/runtime.h"
#include "tests/differential/guest.h"
#include "tests/differential/state.h"
#include "tests/differential/world.h"
#include "tests/guest_file.h"

namespace spore::differential {
namespace {

using engine::Tier;

// A failure is told by a number: it must mean the same tomorrow.
TEST(GuestTest, ACaseIsTheSameEachTime) {
  size_t made = 0;
  for (uint64_t seed = 0; seed < 300; seed++) {
    for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
      const auto first = make_guest(case_bytes(seed), {.tier = tier});
      const auto second = make_guest(case_bytes(seed), {.tier = tier});
      ASSERT_EQ(first.has_value(), second.has_value()) << seed;
      if (!first) continue;
      EXPECT_EQ(first->wasm, second->wasm) << seed;
      EXPECT_EQ(first->calls_seed, second->calls_seed) << seed;
      made++;
    }
  }
  EXPECT_GT(made, 500u);
}

// A fuzzer begins with next to nothing.
TEST(GuestTest, FewBytesMakeAModule) {
  for (size_t size = 0; size < 100; size++) {
    for (const uint8_t generator : {uint8_t{0}, uint8_t{0x80}, uint8_t{0xff}}) {
      const std::vector<uint8_t> bytes(size, generator);
      const auto guest = make_guest(bytes, {});
      EXPECT_TRUE(!guest || wasm::prepare(guest->wasm, guest->wasm.size()).ok()) << size;
    }
  }
}

TEST(GuestTest, EveryModuleIsTakenByBothTiers) {
  for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
    const uint32_t allowed = tier == Tier::kBaseline ? wasm::kProposalsBaseline : wasm::kProposalsOptimised;
    for (uint64_t seed = 1000; seed < 1200; seed++) {
      const auto guest = make_guest(case_bytes(seed), {.tier = tier});
      if (!guest) continue;
      const auto prepared = wasm::prepare(guest->wasm, guest->wasm.size());
      ASSERT_TRUE(prepared.ok()) << seed << prepared.status().message();
      EXPECT_TRUE(wasm::check_proposals(prepared->facts, allowed).ok()) << seed;
    }
  }
}

class StateReaderTest : public testing::Test {
 protected:
  StateReaderTest() {
    runtime::RuntimeOptions options;
    options.tier = Tier::kBaseline;
    options.limits.memories_max = 2;
    runtime_ = runtime::Runtime::create(std::move(options)).value();
  }

  // Under a name of its own.
  std::shared_ptr<const runtime::Module> load(std::span<const uint8_t> wasm) {
    runtime::ModuleOptions options;
    options.wasi = wasi_config();
    return runtime_->load_module(fmt::format("guest {}", loaded_++), wasm, options).value();
  }

  // How an instance differs from a new one after "change" was called.
  std::string after_change(std::string_view module_text, StateReader::Changes* changes = nullptr) {
    const auto module = load(test::wasm(module_text));
    const StateReader reader({module, module->prepared()}, {});
    const host::Instance changed = runtime_->instantiate(*module).value();
    const host::Instance fresh = runtime_->instantiate(*module).value();
    State found;
    State expected;
    reader.read(changed, found);
    reader.read(fresh, expected);
    EXPECT_EQ(reader.difference(found, expected), "");
    EXPECT_TRUE(changed.function<void()>("change").value()().ok());
    reader.read(changed, found);
    if (changes != nullptr) *changes = reader.changes(expected, found);
    return reader.difference(found, expected);
  }

  std::unique_ptr<runtime::Runtime> runtime_;
  int loaded_ = 0;
};

TEST_F(StateReaderTest, SeesAByteOfAnyMemory) {
  StateReader::Changes changes;
  EXPECT_EQ(after_change(R"((module (memory 1) (memory 2) (data (memory 1) (i32.const 100000) "AB")
      (func (export "change") (i32.store8 1 (i32.const 100001) (i32.const 67)))))",
                         &changes),
            "memory spore:m1: byte 0x186a1 is 0x43, 0x42 is expected");
  EXPECT_TRUE(changes.memory);
  EXPECT_FALSE(changes.length || changes.global || changes.table);
}

TEST_F(StateReaderTest, SeesALength) {
  StateReader::Changes changes;
  EXPECT_EQ(after_change(R"((module (memory 1) (func (export "change")
      (drop (memory.grow (i32.const 1))))))",
                         &changes),
            "memory spore:m0 has 131072 bytes, 65536 are expected");
  EXPECT_TRUE(changes.length);
  EXPECT_FALSE(changes.memory || changes.global || changes.table);
}

// Bit for bit: two NaNs are no different as numbers.
TEST_F(StateReaderTest, SeesTheBitsOfAGlobal) {
  StateReader::Changes changes;
  EXPECT_EQ(
      after_change(R"((module (global i32 (i32.const 0)) (global (mut f32) (f32.const nan:0x1))
      (func (export "change") (global.set 1 (f32.const nan:0x2)))))",
                   &changes),
      "global spore:g1 is 0200807f000000000000000000000000, 0100807f000000000000000000000000 is expected "
      "(bytes, lowest first)");
  EXPECT_TRUE(changes.global);
  EXPECT_FALSE(changes.memory || changes.length || changes.table);
}

TEST_F(StateReaderTest, SeesADroppedSegment) {
  EXPECT_EQ(
      after_change(R"((module (memory 1) (data "x") (func (export "change") (data.drop 0))))"),
      "global spore:d0 is 01000000000000000000000000000000, 00000000000000000000000000000000 is expected "
      "(bytes, lowest first)");
  EXPECT_EQ(
      after_change(R"((module (table 1 funcref) (elem funcref (ref.null func))
      (func (export "change") (elem.drop 0))))"),
      "global spore:e0 is 01000000000000000000000000000000, 00000000000000000000000000000000 is expected "
      "(bytes, lowest first)");
}

TEST_F(StateReaderTest, SeesAnElementOfATable) {
  StateReader::Changes changes;
  EXPECT_EQ(after_change(R"((module (table 3 funcref) (elem (i32.const 0) $a $a $b) (func $a) (func $b)
      (func (export "change") (table.set (i32.const 1) (ref.func $b)))))",
                         &changes),
            "table spore:t0: element 1 is function 1, function 0 is expected");
  EXPECT_TRUE(changes.table);
  EXPECT_FALSE(changes.memory || changes.length || changes.global);
  EXPECT_EQ(after_change(R"((module (table 3 funcref) (elem (i32.const 2) $a) (func $a)
      (func (export "change") (table.set (i32.const 2) (ref.null func)))))"),
            "table spore:t0: element 2 is null, function 0 is expected");
  EXPECT_EQ(after_change(R"((module (table 3 funcref)
      (func (export "change") (drop (table.grow (ref.null func) (i32.const 2))))))"),
            "table spore:t0 has 5 elements, 3 are expected");
}

// The guest of WASI gets what it is for: if its calls all failed, nobody would see.
TEST_F(StateReaderTest, TheGuestOfWasiChangesWhatItIsFor) {
  const host::Instance instance = runtime_->instantiate(*load(test::guest("wasi_state.wat"))).value();
  const auto call = [&](std::string_view name, int32_t first, int32_t second) {
    return instance.function<int32_t(int32_t, int32_t)>(name).value()(first, second).value();
  };
  const auto state = [&]() -> const host::WasiState& { return instance.wasi()->state(); };
  // Descriptor 4 was opened and read from before anybody saw the instance.
  ASSERT_EQ(state().descriptors.size(), 5u);
  EXPECT_EQ(state().descriptors[4].position, 100u);
  EXPECT_EQ(call("read", 1, 3000), 3000);
  EXPECT_EQ(state().descriptors[4].position, 3100u);
  EXPECT_EQ(call("seek", 0, 3), 3);
  EXPECT_EQ(call("tell", 0, 0), 3);
  EXPECT_EQ(call("pread", 0, 300), 300);
  EXPECT_EQ(call("open", 1, 0), 5);
  EXPECT_EQ(call("open_read", 1, 0), 3000);
  EXPECT_EQ(state().descriptors[6].position, 3000u);
  call("random", 0, 100);
  EXPECT_GT(state().random_counter, 0u);
  call("clock", 0, 0);
  EXPECT_GT(state().clock_ns, 0u);
  call("write", 0, 10);
  EXPECT_EQ(instance.wasi()->take_output().size(), 10u);
  call("close", 3, 0);
  EXPECT_EQ(state().descriptors[3].kind, host::DescriptorKind::kClosed);
}

}  // namespace
}  // namespace spore::differential
