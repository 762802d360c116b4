// What prepared modules do: the same as the originals, with their state in sight.  (The core suite says so at
// length: tests/spec.)

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/spore.h"
#include "spore/wasm/prepare.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using wasm::PreparedModule;

constexpr size_t kBytesMax = 1 << 20;

// Does what a prepared module leaves to its host, in two steps.
Status write_lifted(Instance& instance, const PreparedModule& prepared) {
  for (const auto& data : prepared.lifted) {
    engine::GuestMemory memory = SPORE_TRY(instance.memory(fmt::format("spore:m{}", data.memory)));
    std::ranges::copy(std::as_bytes(std::span(data.bytes)),
                      SPORE_TRY(memory.span({data.offset}, data.bytes.size())).begin());
  }
  return {};
}

Status start(Instance& instance) { return SPORE_TRY(instance.function<void()>(wasm::kStartExport))(); }

class PreparedTest : public testing::TestWithParam<Tier> {
 protected:
  void SetUp() override {
    RuntimeOptions options;
    options.tier = GetParam();
    options.limits.memories_max = 2;
    options.limits.tables_max = 2;
    options.host.define("host", "log", [this](int32_t value) { logged_.push_back(value); });
    runtime_ = Runtime::create(std::move(options)).value();
  }

  // The module as it is, as instantiation leaves it.
  Instance plain(std::string_view text) { return make(test::wasm(text)).value(); }
  // The module prepared, before its host has done anything.
  Instance raw(std::string_view text) {
    prepared_ = wasm::prepare(test::wasm(text), kBytesMax).value();
    return make(prepared_.wasm).value();
  }
  // And after (those without a start function).
  Instance whole(std::string_view text) {
    Instance instance = raw(text);
    EXPECT_TRUE(write_lifted(instance, prepared_).ok());
    EXPECT_FALSE(prepared_.facts.has_start);
    return instance;
  }
  Result<Instance> make(std::span<const uint8_t> wasm) {
    const std::string name = fmt::format("module{}", count_++);
    SPORE_TRY(runtime_->load_module(name, wasm, {.prepare = false}));
    return runtime_->instantiate(name);
  }

  std::unique_ptr<Runtime> runtime_;
  PreparedModule prepared_;
  std::vector<int32_t> logged_;
  int count_ = 0;
};

// Nothing if it did not trap.
std::optional<TrapKind> trap_of(const Status& status) {
  const engine::TrapInfo* info = trap_info(status);
  if (status.code() != Code::kTrap || info == nullptr) return std::nullopt;
  return info->kind;
}

int32_t global_of(const Instance& instance, std::string_view name) {
  return instance.global(name).value().value.i32;
}

// Memory is empty until the host has written it, and then what it would have been; later segments win.
TEST_P(PreparedTest, DataIsTheHostsToWrite) {
  constexpr std::string_view kText = R"((module (memory (export "memory") 1)
    (data (i32.const 4) "abcdef") (data (i32.const 6) "XY")))";
  Instance instance = raw(kText);
  EXPECT_EQ(instance.read_string({0}, 12).value(), std::string(12, '\0'));
  ASSERT_TRUE(write_lifted(instance, prepared_).ok());
  EXPECT_EQ(instance.read_string({4}, 6).value(), "abXYef");
  EXPECT_EQ(instance.read_string({0}, 65536).value(), plain(kText).read_string({0}, 65536).value());
}

// An active segment is dropped by instantiation: what is left in its place must be as a dropped one is.
TEST_P(PreparedTest, ThePlaceOfALiftedSegmentIsADroppedOne) {
  constexpr std::string_view kText = R"((module (memory 1) (data (i32.const 0) "x")
    (func (export "init") (param i32 i32) (memory.init 0 (local.get 0) (i32.const 0) (local.get 1)))))";
  Instance before = plain(kText);
  Instance after = whole(kText);
  EXPECT_EQ(prepared_.lifted.size(), 1u);
  for (Instance* instance : {&before, &after}) {
    const auto init = instance->function<void(int32_t, int32_t)>("init").value();
    EXPECT_TRUE(init(65536, 0).ok());
    EXPECT_EQ(trap_of(init(0, 1)), TrapKind::kMemoryOutOfBounds);
    EXPECT_EQ(trap_of(init(65537, 0)), TrapKind::kMemoryOutOfBounds);
  }
}

TEST_P(PreparedTest, StartIsTheHostsToCall) {
  constexpr std::string_view kText = R"((module (import "host" "log" (func $log (param i32))) (memory 1)
    (data (i32.const 0) "\2a") (func $start (call $log (i32.load (i32.const 0)))) (start $start)))";
  plain(kText);
  EXPECT_EQ(logged_, std::vector<int32_t>{42});
  Instance instance = raw(kText);
  ASSERT_TRUE(write_lifted(instance, prepared_).ok());
  EXPECT_EQ(logged_, std::vector<int32_t>{42});
  ASSERT_TRUE(start(instance).ok());
  EXPECT_EQ(logged_, (std::vector<int32_t>{42, 42}));
}

TEST_P(PreparedTest, AStartFunctionThatTrapsTrapsInTheHostsCall) {
  constexpr std::string_view kText = "(module (func $start (unreachable)) (start $start))";
  const auto refused = make(test::wasm(kText));
  EXPECT_EQ(trap_of(refused.status()), TrapKind::kUnreachable);
  Instance instance = raw(kText);
  EXPECT_EQ(trap_of(start(instance)), TrapKind::kUnreachable);
}

// Both tables and memories, of either address type, in bounds and beyond; before the drop, after it, and
// after a second one.  The flags say what was dropped.
TEST_P(PreparedTest, ADroppedSegmentTrapsAsItDid) {
  constexpr std::string_view kText = R"((module
    (memory (export "memory") 1) (memory i64 1) (table 4 funcref) (table i64 4 funcref)
    (data $d "data") (elem $e func $f $f) (func $f)
    (func (export "m0") (param i32 i32 i32) (memory.init 0 $d (local.get 0) (local.get 1) (local.get 2)))
    (func (export "m1") (param i32 i32 i32)
      (memory.init 1 $d (i64.extend_i32_u (local.get 0)) (local.get 1) (local.get 2)))
    (func (export "t0") (param i32 i32 i32) (table.init 0 $e (local.get 0) (local.get 1) (local.get 2)))
    (func (export "t1") (param i32 i32 i32)
      (table.init 1 $e (i64.extend_i32_u (local.get 0)) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $d) (elem.drop $e))))";
  Instance before = plain(kText);
  Instance after = whole(kText);
  EXPECT_EQ(prepared_.functions_added, 4u);
  size_t trapped = 0;
  for (int round = 0; round < 3; round++) {
    EXPECT_EQ(global_of(after, "spore:d0"), round == 0 ? 0 : 1);
    EXPECT_EQ(global_of(after, "spore:e0"), round == 0 ? 0 : 1);
    for (const char* name : {"m0", "m1", "t0", "t1"}) {
      const auto original = before.function<void(int32_t, int32_t, int32_t)>(name).value();
      const auto rewritten = after.function<void(int32_t, int32_t, int32_t)>(name).value();
      for (const int32_t to : {0, 3, 4, 5, 65535, 65536, 65537, -1}) {
        for (const int32_t from : {0, 1, 2, 3, 4, 5, -1}) {
          for (const int32_t length : {0, 1, 2, 4, 5, -1}) {
            const Status expected = original(to, from, length);
            const Status found = rewritten(to, from, length);
            ASSERT_EQ(found.ok(), expected.ok()) << name << to << ' ' << from << ' ' << length;
            ASSERT_EQ(trap_of(found), trap_of(expected)) << name << to << ' ' << from << ' ' << length;
            trapped += expected.ok() ? 0 : 1;
          }
        }
      }
    }
    ASSERT_TRUE(before.function<void()>("drop").value()().ok());
    ASSERT_TRUE(after.function<void()>("drop").value()().ok());
  }
  EXPECT_GT(trapped, 1000u);
  EXPECT_EQ(after.read_string({0}, 65536).value(), before.read_string({0}, 65536).value());
}

// What the code changes is what the listed exports show.
TEST_P(PreparedTest, StateIsInSight) {
  Instance instance = whole(R"((module (memory 1) (global (mut i32) (i32.const 5))
    (func (export "change") (i32.store8 (i32.const 7) (i32.const 65)) (global.set 0 (i32.const 6)))))");
  EXPECT_EQ(prepared_.reset(), wasm::ResetMode::kInPlace);
  EXPECT_EQ(global_of(instance, prepared_.globals[0].export_name()), 5);
  ASSERT_TRUE(instance.function<void()>("change").value()().ok());
  EXPECT_EQ(global_of(instance, prepared_.globals[0].export_name()), 6);
  const engine::GuestMemory memory = instance.memory(prepared_.memories[0].export_name()).value();
  EXPECT_EQ(memory.string({7}, 1).value(), "A");
  const auto other = instance.memory("spore:m1");
  EXPECT_EQ(other.code(), Code::kNotFound);
  EXPECT_EQ(other.status().message(), "no exported memory 'spore:m1' (there are: none)");
}

// Under its number each instance has a function of its own, and no other; the host's among them.
TEST_P(PreparedTest, FunctionsThatTablesMayHoldAreCalledByNumber) {
  Instance one = raw(R"((module (import "host" "log" (func $log (param i32)))
    (global $calls (export "calls") (mut i32) (i32.const 0)) (table 4 funcref)
    (func (result i32) (i32.const 1))
    (func $two (result i32) (i32.const 2))
    (func $count (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
    (func $four (result i32) (i32.const 4))
    (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 1))
          (table.set (i32.const 1) (ref.func $four)))
    (elem $e func $log $two) (elem declare funcref (ref.func $four)) (elem (i32.const 3) $count)))");
  Instance other = make(prepared_.wasm).value();
  EXPECT_EQ(prepared_.table_functions, (std::vector<uint32_t>{0, 2, 3, 4}));
  for (Instance* instance : {&one, &other}) {
    EXPECT_EQ(instance->function<int32_t()>("spore:f2").value()().value(), 2);
    EXPECT_EQ(instance->function<int32_t()>("spore:f4").value()().value(), 4);
  }
  ASSERT_TRUE(one.function<void()>("spore:f3").value()().ok());
  EXPECT_EQ(global_of(one, "calls"), 1);
  EXPECT_EQ(global_of(other, "calls"), 0);
  ASSERT_TRUE(other.function<void(int32_t)>("spore:f0").value()(7).ok());
  EXPECT_EQ(logged_, std::vector<int32_t>{7});
  EXPECT_EQ(one.function<int32_t()>("spore:f1").code(), Code::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Tiers, PreparedTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& test) { return std::string(engine::tier_name(test.param)); });

}  // namespace
}  // namespace spore
