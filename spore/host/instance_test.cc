#include "spore/host/instance.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/host_guest.h"

namespace spore::host {
namespace {

using engine::GuestPtr;
using engine::ValType;
using test::host_guest;

constexpr uint64_t kPage = 65536;
constexpr std::string_view kOnePage = R"((module
  (memory (export "memory") 1 3)
  (data (i32.const 100) "hello")
  (func (export "byte") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))))";

void expect_outside(const Status& status, uint64_t length, uint64_t address, uint64_t size = kPage) {
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(),
            fmt::format("{} bytes at guest address {:#x} are not inside the memory of {} bytes", length,
                        address, size));
}

std::vector<std::byte> bytes(size_t count) { return std::vector<std::byte>(count, std::byte{0xAB}); }

// --- memory -------------------------------------------------------------------------------------------

TEST(InstanceTest, ReadsAndWritesGuestMemory) {
  Instance instance = host_guest(kOnePage);
  EXPECT_EQ(instance.memory_bytes(), kPage);
  EXPECT_EQ(instance.read_string(GuestPtr{100}, 5).value(), "hello");
  EXPECT_TRUE(instance.write_string(GuestPtr{100}, "j").ok());
  EXPECT_EQ(instance.read_string(GuestPtr{100}, 5).value(), "jello");
  const auto byte = instance.function<int32_t(int32_t)>("byte").value();
  EXPECT_EQ(byte(100).value(), 'j');
  EXPECT_TRUE(instance.write_bytes(GuestPtr{0}, bytes(2)).ok());
  EXPECT_EQ(byte(1).value(), 0xAB);
  EXPECT_EQ(byte(2).value(), 0);
  EXPECT_EQ(instance.read_bytes(GuestPtr{0}, 2).value(), bytes(2));
}

// One byte before the end, at the end, and behind it, for reading and for writing.
TEST(InstanceTest, MemoryEndsWhereItEnds) {
  Instance instance = host_guest(kOnePage);
  EXPECT_TRUE(instance.read_bytes(GuestPtr{kPage - 2}, 1).ok());
  EXPECT_TRUE(instance.read_bytes(GuestPtr{kPage - 1}, 1).ok());
  expect_outside(instance.read_bytes(GuestPtr{kPage}, 1).status(), 1, kPage);
  expect_outside(instance.read_bytes(GuestPtr{kPage - 1}, 2).status(), 2, kPage - 1);
  EXPECT_TRUE(instance.read_string(GuestPtr{0}, kPage).ok());
  expect_outside(instance.read_string(GuestPtr{0}, kPage + 1).status(), kPage + 1, 0);

  EXPECT_TRUE(instance.write_bytes(GuestPtr{kPage - 4}, bytes(3)).ok());
  EXPECT_TRUE(instance.write_bytes(GuestPtr{kPage - 4}, bytes(4)).ok());
  expect_outside(instance.write_bytes(GuestPtr{kPage - 4}, bytes(5)), 5, kPage - 4);
  expect_outside(instance.write_string(GuestPtr{kPage}, "x"), 1, kPage);
  EXPECT_EQ(instance.read_bytes(GuestPtr{kPage - 5}, 5).value()[0], std::byte{0});
}

TEST(InstanceTest, ARefusedWriteWritesNothing) {
  Instance instance = host_guest(kOnePage);
  expect_outside(instance.write_bytes(GuestPtr{kPage - 8}, bytes(9)), 9, kPage - 8);
  EXPECT_EQ(instance.read_bytes(GuestPtr{kPage - 8}, 8).value(), std::vector<std::byte>(8));
}

TEST(InstanceTest, NothingMayBeReadFromWithinAndFromTheEnd) {
  Instance instance = host_guest(kOnePage);
  EXPECT_EQ(instance.read_string(GuestPtr{0}, 0).value(), "");
  EXPECT_EQ(instance.read_string(GuestPtr{kPage}, 0).value(), "");
  EXPECT_TRUE(instance.write_bytes(GuestPtr{kPage}, {}).ok());
  expect_outside(instance.read_string(GuestPtr{kPage + 1}, 0).status(), 0, kPage + 1);
}

// Addresses and lengths whose sum wraps around in 32 or 64 bits to something small.
TEST(InstanceTest, SumsThatWrapAroundAreOutside) {
  Instance instance = host_guest(kOnePage);
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  constexpr uint64_t k4GiB = uint64_t{1} << 32;
  struct Range {
    uint64_t address;
    uint64_t length;
  };
  for (const Range& range :
       {Range{kMax, 1}, Range{kMax, kMax}, Range{1, kMax}, Range{0, kMax}, Range{kMax, 0},
        Range{16, kMax - 15}, Range{kMax - 15, 16}, Range{k4GiB, 1}, Range{k4GiB - 1, 1}, Range{0, k4GiB},
        Range{k4GiB + 100, 5}, Range{1ull << 63, 1ull << 63}}) {
    expect_outside(instance.read_string(GuestPtr{range.address}, range.length).status(), range.length,
                   range.address);
    expect_outside(instance.read_bytes(GuestPtr{range.address}, range.length).status(), range.length,
                   range.address);
  }
  expect_outside(instance.write_bytes(GuestPtr{kMax}, bytes(2)), 2, kMax);
  expect_outside(instance.write_bytes(GuestPtr{k4GiB}, bytes(1)), 1, k4GiB);
}

TEST(InstanceTest, MemoryIsSeenAsItGrows) {
  const Instance instance = host_guest(kOnePage);
  const auto grow = instance.function<int32_t()>("grow").value();
  expect_outside(instance.read_bytes(GuestPtr{kPage}, 1).status(), 1, kPage);
  EXPECT_EQ(grow().value(), 1);
  EXPECT_EQ(instance.memory_bytes(), 2 * kPage);
  EXPECT_EQ(instance.read_bytes(GuestPtr{2 * kPage - 1}, 1).value(), std::vector<std::byte>(1));
  EXPECT_EQ(grow().value(), 2);
  EXPECT_EQ(grow().value(), -1);  // the module's own maximum
  EXPECT_EQ(instance.memory_bytes(), 3 * kPage);
}

TEST(InstanceTest, WithoutAMemoryThereIsNothingToRead) {
  Instance instance = host_guest("(module (memory (export \"mem\") 1))");
  EXPECT_EQ(instance.memory_bytes(), 0u);
  expect_outside(instance.read_bytes(GuestPtr{0}, 1).status(), 1, 0, 0);
  expect_outside(instance.write_string(GuestPtr{0}, "x"), 1, 0, 0);
  EXPECT_EQ(instance.read_string(GuestPtr{0}, 0).value(), "");
}

TEST(InstanceTest, InstancesShareNothing) {
  Instance first = host_guest(kOnePage);
  const Instance second = host_guest(kOnePage);
  EXPECT_TRUE(first.write_string(GuestPtr{100}, "HELLO").ok());
  EXPECT_EQ(second.read_string(GuestPtr{100}, 5).value(), "hello");
}

// --- globals ------------------------------------------------------------------------------------------

TEST(InstanceTest, GlobalsOfEveryNumberType) {
  const Instance instance = host_guest(R"((module
    (global (export "a") i32 (i32.const -1)) (global (export "b") i64 (i64.const 5))
    (global (export "c") f32 (f32.const 0.5)) (global (export "d") f64 (f64.const -0.25))
    (func (export "f"))))");
  const auto a = instance.global("a").value();
  EXPECT_EQ(a.type, ValType::kI32);
  EXPECT_EQ(a.value.i32, -1);
  const auto b = instance.global("b").value();
  EXPECT_EQ(b.type, ValType::kI64);
  EXPECT_EQ(b.value.i64, 5);
  const auto c = instance.global("c").value();
  EXPECT_EQ(c.type, ValType::kF32);
  EXPECT_EQ(c.value.f32, 0.5f);
  const auto d = instance.global("d").value();
  EXPECT_EQ(d.type, ValType::kF64);
  EXPECT_EQ(d.value.f64, -0.25);
  for (const std::string_view name : {"e", "f", ""}) {
    const auto missing = instance.global(name);
    EXPECT_EQ(missing.code(), Code::kNotFound);
    EXPECT_EQ(missing.status().message(),
              fmt::format("no exported global '{}' (there are: 'a', 'b', 'c', 'd')", name));
  }
}

TEST(InstanceTest, GlobalsAreReadAsTheyStand) {
  const Instance instance = host_guest(test::guest("numbers.wat"));
  EXPECT_EQ(instance.global("answer").value().value.i64, 42);
  EXPECT_EQ(instance.global("count").value().value.i32, 0);
  EXPECT_EQ(instance.function<int32_t()>("bump").value()().value(), 1);
  EXPECT_EQ(instance.global("count").value().value.i32, 1);
}

// --- limits and fate ----------------------------------------------------------------------------------

TEST(InstanceTest, TheDeadlineOfLaterCallsCanBeSet) {
  Instance instance = host_guest("(module (func (export \"f\")))", {.limits = {.deadline_ms = 5000}});
  EXPECT_EQ(instance.limits().deadline_ms, 5000u);
  EXPECT_TRUE(instance.set_deadline_ms(1).ok());
  EXPECT_EQ(instance.limits().deadline_ms, 1u);
  const Status zero = instance.set_deadline_ms(0);
  EXPECT_EQ(zero.code(), Code::kInvalidArgument);
  EXPECT_EQ(zero.message(), "deadline_ms is 0, allowed is 1 to 1099511627776");
  EXPECT_TRUE(instance.set_deadline_ms(engine::kDeadlineMsMax).ok());
  EXPECT_FALSE(instance.set_deadline_ms(engine::kDeadlineMsMax + 1).ok());
  EXPECT_EQ(instance.limits().deadline_ms, engine::kDeadlineMsMax);
}

TEST(InstanceTest, FuelIsCountedAndRefilledByEachCall) {
  const Instance instance = host_guest(R"((module (func (export "loop") (param i32)
      (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0))))))",
                                       {.limits = {.fuel_max = 10'000}, .engine = {.fuel = true}});
  const auto loop = instance.function<void(int32_t)>("loop").value();
  for (int i = 0; i < 3; i++) {
    EXPECT_TRUE(loop(1000).ok());
    EXPECT_GT(instance.fuel_left(), 0u);
    EXPECT_LT(instance.fuel_left(), 10'000u);
  }
  const Status out = loop(1'000'000);
  EXPECT_EQ(out.code(), Code::kLimitExceeded);
  EXPECT_EQ(out.message(), "the guest trapped: all fuel consumed in function 0 (fuel_max=10000)");
  EXPECT_TRUE(loop(1000).ok());
}

TEST(InstanceTest, LimitsOutOfRangeAreRefused) {
  const std::vector<uint8_t> module = test::wasm("(module)");
  const auto message = [&](const engine::Limits& limits) {
    const auto instance = test::try_host_guest(module, {.limits = limits});
    EXPECT_EQ(instance.code(), Code::kInvalidArgument);
    return std::string(instance.status().message());
  };
  EXPECT_EQ(message({.deadline_ms = 0}), "deadline_ms is 0, allowed is 1 to 1099511627776");
  EXPECT_EQ(message({.fuel_max = 1}), "fuel_max is 1, but the engine was made without fuel");
  EXPECT_EQ(message({.nesting_max = 0}), "nesting_max is 0, at least 1 is needed");
}

// A deadline stops the guest anywhere: that instance refuses all that follows, and says why.
TEST(InstanceTest, AfterADeadlineTheInstanceIsRetired) {
  Instance instance = host_guest(R"((module (func (export "loop") (loop (br 0))) (func (export "f"))))");
  const auto f = instance.function<void()>("f").value();
  EXPECT_TRUE(f().ok());
  ASSERT_TRUE(instance.set_deadline_ms(20).ok());
  const Status late = instance.function<void()>("loop").value()();
  EXPECT_EQ(late.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(late.message(), "the call ran longer than its deadline (deadline_ms=20)");
  EXPECT_TRUE(instance.retired());
  const Status again = f();
  EXPECT_EQ(again.code(), Code::kUnavailable);
  EXPECT_EQ(again.message(),
            "this instance was stopped in the middle of an earlier call and is retired: make a new one");
}

// --- linked instances ---------------------------------------------------------------------------------

TEST(InstanceTest, OnlyInstancesOfOneStoreCanBeLinked) {
  Instance first = host_guest("(module (func (export \"f\")))");
  const Instance stranger = host_guest("(module (func (export \"f\")))");
  const auto engine = engine::Engine::create({}, std::make_shared<engine::Ticker>()).value();
  const auto code = engine->compile(test::wasm("(module)")).value();
  const std::vector<Instance::Link> links{{"stranger", &stranger}};
  const auto linked = Instance::create_linked(code, HostFunctions().freeze(), first, links);
  EXPECT_EQ(linked.code(), Code::kInvalidArgument);
  EXPECT_EQ(linked.status().message(),
            "the instance 'stranger' was not linked to the others when it was made");
}

}  // namespace
}  // namespace spore::host
