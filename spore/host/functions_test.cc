#include "spore/host/functions.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/ticker.h"
#include "spore/engine/trap.h"
#include "spore/host/instance.h"
#include "tests/host_guest.h"

namespace spore::host {
namespace {

using engine::GuestPtr;
using engine::Limits;
using test::host_guest;

// A guest whose "run" passes what it is given to the import env.f and gives what that gives.
std::string forwarder(std::string_view type, int params) {
  std::string text = fmt::format(R"((module
    (import "env" "f" (func $f {0}))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello") (data (i32.const 65531) "at end")
    (func (export "other") (result i32) (i32.const 7))
    (func $run (export "run") {0})",
                                 type);
  // "at end" ends where the memory does: one byte earlier, so that all of it fits.
  text.replace(text.find("65531"), 5, "65530");
  for (int i = 0; i < params; i++) text += fmt::format(" (local.get {})", i);
  return text + " (call $f)))";
}

constexpr std::string_view kView = "(param i32 i32) (result i32)";
constexpr uint32_t kPage = 65536;

// A guest that calls `callable` as env.f, and its typed "run".
template <typename Type>
struct Guest {
  template <typename Callable>
  Guest(std::string_view type, int params, Callable callable, const Limits& limits = {},
        void* user_data = nullptr)
      : instance(host_guest(forwarder(type, params),
                            {.host = HostFunctions().define("env", "f", std::move(callable)),
                             .limits = limits,
                             .user_data = user_data})),
        run(instance.function<Type>("run").value()) {}

  Instance instance;
  Function<Type> run;
};
using ViewGuest = Guest<int32_t(uint32_t, uint32_t)>;
using PlainGuest = Guest<void()>;

// --- what crosses -------------------------------------------------------------------------------------

template <typename T>
void expect_echoed(std::string_view core, std::initializer_list<T> values) {
  Guest<T(T)> guest(fmt::format("(param {0}) (result {0})", core), 1, [](T value) { return value; });
  for (const T value : values) EXPECT_EQ(guest.run(value).value(), value) << core;
}

TEST(HostFunctionsTest, EveryNumberTypeCrossesBothWays) {
  expect_echoed<int32_t>("i32", {0, -1, std::numeric_limits<int32_t>::min()});
  expect_echoed<uint32_t>("i32", {0, 0xFFFFFFFF});
  expect_echoed<int64_t>("i64", {0, -1, std::numeric_limits<int64_t>::min()});
  expect_echoed<uint64_t>("i64", {0, std::numeric_limits<uint64_t>::max()});
  expect_echoed<float>("f32", {0, -1.5f, std::numeric_limits<float>::infinity()});
  expect_echoed<double>("f64", {0, -1.5, std::numeric_limits<double>::denorm_min()});
  expect_echoed<bool>("i32", {false, true});
}

// A guest may call 2 true: the host sees a real bool.
TEST(HostFunctionsTest, AnyI32ButZeroIsTrue) {
  Guest<int32_t(int32_t)> guest("(param i32) (result i32)", 1, [](bool value) { return value; });
  EXPECT_EQ(guest.run(2).value(), 1);
  EXPECT_EQ(guest.run(-1).value(), 1);
  EXPECT_EQ(guest.run(0).value(), 0);
}

TEST(HostFunctionsTest, ArgumentsKeepTheirOrder) {
  std::string seen;
  Guest<double(int32_t, uint32_t, int64_t, uint64_t, float, double, bool)> guest(
      "(param i32 i32 i64 i64 f32 f64 i32) (result f64)", 7,
      [&](int32_t a, uint32_t b, int64_t c, uint64_t d, float e, double f, bool g) {
        seen = fmt::format("{} {} {} {} {} {} {}", a, b, c, d, e, f, g);
        return 0.5;
      });
  EXPECT_EQ(guest.run(-1, 2, -3, 4, 5.5f, 6.5, true).value(), 0.5);
  EXPECT_EQ(seen, "-1 2 -3 4 5.5 6.5 true");
}

TEST(HostFunctionsTest, TheCallerMayComeFirst) {
  Guest<int32_t(int32_t)> guest("(param i32) (result i32)", 1, [](Caller& caller, int32_t address) {
    return static_cast<int32_t>(caller.memory().span(GuestPtr{static_cast<uint32_t>(address)}, 1).value()[0]);
  });
  EXPECT_EQ(guest.run(16).value(), 'h');
  bool called = false;
  PlainGuest alone("", 0, [&](Caller& caller) { called = caller.memory().size() == kPage; });
  EXPECT_TRUE(alone.run().ok());
  EXPECT_TRUE(called);
}

TEST(HostFunctionsTest, ResultsOfEveryForm) {
  int calls = 0;
  EXPECT_TRUE(PlainGuest("", 0, [&] { calls++; }).run().ok());
  EXPECT_TRUE(PlainGuest("", 0,
                         [&]() -> Status {
                           calls++;
                           return {};
                         })
                  .run()
                  .ok());
  EXPECT_EQ(calls, 2);
  const auto half = [](int64_t number) -> Result<int64_t> {
    if (number % 2 != 0) return Status::invalid_argument("{} is odd", number);
    return number / 2;
  };
  EXPECT_EQ(Guest<int64_t(int64_t)>("(param i64) (result i64)", 1, half).run(8).value(), 4);
  const auto odd = Guest<int64_t(int64_t)>("(param i64) (result i64)", 1, half).run(7);
  EXPECT_EQ(odd.code(), Code::kHostError);
  EXPECT_EQ(odd.status().message(), "host function env.f: 7 is odd");
  const auto truth = []() -> Result<bool> { return true; };
  EXPECT_EQ(Guest<bool()>("(result i32)", 0, truth).run().value(), true);
}

TEST(HostFunctionsTest, TypesFollowTheCallable) {
  const auto type_of = [](auto callable) {
    return HostFunctions().define("env", "f", std::move(callable)).freeze()->at(0).type.text();
  };
  EXPECT_EQ(type_of([] {}), "() -> ()");
  EXPECT_EQ(type_of([](Caller&) { return int64_t{1}; }), "() -> i64");
  EXPECT_EQ(type_of([](std::string_view, double, std::span<std::byte>) { return true; }),
            "(i32, i32, f64, i32, i32) -> i32");
  EXPECT_EQ(type_of([](const std::string_view&, const uint64_t&) -> Result<float> { return 1.0f; }),
            "(i32, i32, i64) -> f32");
  EXPECT_EQ(type_of([]() -> Status { return {}; }), "() -> ()");
}

// --- views of guest memory ----------------------------------------------------------------------------

TEST(HostFunctionsTest, AStringViewIsTheGuestsBytes) {
  std::string seen;
  ViewGuest guest(kView, 2, [&](std::string_view text) {
    seen = text;
    return static_cast<int32_t>(text.size());
  });
  EXPECT_EQ(guest.run(16, 5).value(), 5);
  EXPECT_EQ(seen, "hello");
  EXPECT_EQ(guest.run(0, 0).value(), 0);
  EXPECT_EQ(guest.run(0, kPage).value(), static_cast<int32_t>(kPage));
}

TEST(HostFunctionsTest, ASpanCanBeWrittenTo) {
  Guest<void(uint32_t, uint32_t)> guest("(param i32 i32)", 2, [](std::span<std::byte> out) {
    for (size_t i = 0; i < out.size(); i++) out[i] = static_cast<std::byte>('a' + i);
  });
  EXPECT_TRUE(guest.run(20, 3).ok());
  EXPECT_EQ(guest.instance.read_string(GuestPtr{16}, 8).value(), std::string("hellabc\0", 8));
}

// At the end of the memory; one byte behind it; and sums that wrap around in 32 bits.
TEST(HostFunctionsTest, ViewsEndWhereTheMemoryEnds) {
  const auto take = [](std::string_view text) { return static_cast<int32_t>(text.size()); };
  ViewGuest good(kView, 2, take);
  EXPECT_EQ(good.run(kPage - 6, 6).value(), 6);
  EXPECT_EQ(good.run(kPage, 0).value(), 0);
  struct Range {
    uint32_t address;
    uint32_t length;
  };
  for (const Range& range :
       {Range{kPage - 6, 7}, Range{kPage, 1}, Range{kPage + 1, 0}, Range{0, kPage + 1}, Range{0xFFFFFFFF, 1},
        Range{0xFFFFFFFF, 2}, Range{16, 0xFFFFFFF0}, Range{0, 0xFFFFFFFF}}) {
    ViewGuest guest(kView, 2, take, {.copy_bytes_max = uint64_t{1} << 40});
    const auto outside = guest.run(range.address, range.length);
    EXPECT_EQ(outside.code(), Code::kHostError);
    EXPECT_EQ(
        outside.status().message(),
        fmt::format("host function env.f: {} bytes at guest address {:#x} are not inside the memory of 65536 "
                    "bytes",
                    range.length, range.address));
  }
}

TEST(HostFunctionsTest, AGuestWithoutMemoryHasNoViews) {
  const Instance instance = host_guest(
      R"((module (import "env" "f" (func (param i32 i32))) (func (export "run") (param i32)
           (call 0 (i32.const 0) (local.get 0)))))",
      {.host = HostFunctions().define("env", "f", [](std::string_view) {})});
  const auto run = instance.function<void(int32_t)>("run").value();
  EXPECT_TRUE(run(0).ok());
  EXPECT_EQ(run(1).message(),
            "host function env.f: 1 bytes at guest address 0x0 are not inside the memory of 0 bytes");
}

// Both views are taken in order; the first that is wrong is told, and the callable is not called.
TEST(HostFunctionsTest, SeveralViewsAndNumbersMix) {
  std::string seen;
  const auto join = [&](std::string_view a, double number, std::string_view b) {
    seen = fmt::format("{}{}{}", a, number, b);
  };
  constexpr std::string_view kType = "(param i32 i32 f64 i32 i32)";
  using Join = Guest<void(uint32_t, uint32_t, double, uint32_t, uint32_t)>;
  EXPECT_TRUE(Join(kType, 5, join).run(16, 4, 1.5, 17, 3).ok());
  EXPECT_EQ(seen, "hell1.5ell");
  seen.clear();
  const Status first = Join(kType, 5, join).run(kPage, 4, 1.5, kPage, 3);
  EXPECT_EQ(first.message(),
            "host function env.f: 4 bytes at guest address 0x10000 are not inside the memory of 65536 bytes");
  const Status second = Join(kType, 5, join).run(16, 4, 1.5, kPage, 3);
  EXPECT_EQ(second.message(),
            "host function env.f: 3 bytes at guest address 0x10000 are not inside the memory of 65536 bytes");
  EXPECT_EQ(seen, "");
}

// --- quotas -------------------------------------------------------------------------------------------

TEST(HostFunctionsTest, CopiesAreCountedAgainstTheirLimit) {
  const auto take = [](std::string_view text) { return static_cast<int32_t>(text.size()); };
  ViewGuest guest(kView, 2, take, {.copy_bytes_max = 100});
  EXPECT_EQ(guest.run(0, 99).value(), 99);
  EXPECT_EQ(guest.run(0, 100).value(), 100);  // the last call's bytes are forgotten
  const auto above = guest.run(0, 101);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(),
            "host function env.f: 101 bytes more than 0 in one call (copy_bytes_max=100)");
  EXPECT_TRUE(guest.instance.retired());
  EXPECT_EQ(ViewGuest(kView, 2, take, {.copy_bytes_max = 100}).run(0, 100).value(), 100);
}

TEST(HostFunctionsTest, CopiesOfOneCallAddUp) {
  const auto instance_with = [](uint64_t copy_bytes_max) {
    return host_guest(R"((module (import "env" "f" (func (param i32 i32))) (memory (export "memory") 1)
                           (func (export "run") (call 0 (i32.const 0) (i32.const 60))
                                                (call 0 (i32.const 0) (i32.const 40)))))",
                      {.host = HostFunctions().define("env", "f", [](std::span<std::byte>) {}),
                       .limits = {.copy_bytes_max = copy_bytes_max}});
  };
  const Instance enough = instance_with(100);
  EXPECT_TRUE(enough.function<void()>("run").value()().ok());
  const Instance little = instance_with(99);
  const Status above = little.function<void()>("run").value()();
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.message(), "host function env.f: 40 bytes more than 60 in one call (copy_bytes_max=99)");
}

// The sum of what was copied must not wrap around either.
TEST(HostFunctionsTest, QuotasDoNotWrapAround) {
  PlainGuest guest("", 0, [](Caller& caller) -> Status {
    SPORE_TRY(caller.charge_copy(10));
    return caller.charge_copy(std::numeric_limits<uint64_t>::max());
  });
  EXPECT_EQ(guest.run().code(), Code::kLimitExceeded);
}

TEST(HostFunctionsTest, LogBytesHaveALimitOfTheirOwn) {
  const auto log = [](Caller& caller, int32_t bytes) -> Status {
    SPORE_TRY(caller.charge_copy(50));
    return caller.charge_log(static_cast<uint64_t>(bytes));
  };
  const Limits limits{.copy_bytes_max = 50, .log_bytes_max = 20};
  Guest<void(int32_t)> guest("(param i32)", 1, log, limits);
  EXPECT_TRUE(guest.run(20).ok());
  EXPECT_TRUE(guest.run(20).ok());
  const Status above = guest.run(21);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.message(), "host function env.f: 21 bytes more than 0 in one call (log_bytes_max=20)");
}

// --- failures -----------------------------------------------------------------------------------------

// What is thrown must not unwind through the guest's frames: it comes out as an error, and the instance,
// which was stopped in the middle, is used no more.
TEST(HostFunctionsTest, ExceptionsBecomeErrors) {
  const auto expect_failure = [](auto callable, std::string_view message) {
    PlainGuest guest("", 0, callable);
    const Status status = guest.run();
    EXPECT_EQ(status.code(), Code::kHostError);
    EXPECT_EQ(status.message(), message);
    const engine::TrapInfo* trap = engine::trap_info(status);
    ASSERT_NE(trap, nullptr);
    EXPECT_EQ(trap->kind, engine::TrapKind::kHostError);
    ASSERT_FALSE(trap->backtrace.empty());
    EXPECT_EQ(trap->backtrace[0].function, "run");

    EXPECT_TRUE(guest.instance.retired());
    EXPECT_EQ(guest.run().code(), Code::kUnavailable);
    EXPECT_EQ(guest.instance.function<int32_t()>("other").value()().code(), Code::kUnavailable);
  };
  expect_failure([] { throw std::runtime_error("boom"); }, "host function env.f: threw: boom");
  expect_failure([] { throw 42; }, "host function env.f: threw something that is no std::exception");
  expect_failure([] { throw std::bad_alloc(); }, "host function env.f: threw: std::bad_alloc");
}

TEST(HostFunctionsTest, AnotherInstanceIsNotTouchedByAFailure) {
  bool fail = true;
  const HostFunctions host = HostFunctions().define("env", "f", [&] {
    if (fail) throw std::runtime_error("boom");
  });
  const Instance first = host_guest(forwarder("", 0), {.host = host});
  const Instance second = host_guest(forwarder("", 0), {.host = host});
  EXPECT_FALSE(first.function<void()>("run").value()().ok());
  fail = false;
  EXPECT_TRUE(second.function<void()>("run").value()().ok());
}

// Codes that say more than "the host failed" stay; all others become kHostError.
TEST(HostFunctionsTest, StatusErrorsKeepTheirMessage) {
  struct Case {
    Code given;
    Code seen;
  };
  for (const Case& example :
       {Case{Code::kNotFound, Code::kHostError}, Case{Code::kIo, Code::kHostError},
        Case{Code::kTrap, Code::kHostError}, Case{Code::kInvalidArgument, Code::kHostError},
        Case{Code::kLimitExceeded, Code::kLimitExceeded},
        Case{Code::kDeadlineExceeded, Code::kDeadlineExceeded}, Case{Code::kCancelled, Code::kCancelled}}) {
    PlainGuest guest("", 0, [&]() -> Status { return Status(example.given, "no {such} row"); });
    const Status status = guest.run();
    EXPECT_EQ(status.code(), example.seen) << code_name(example.given);
    EXPECT_EQ(status.message(), "host function env.f: no {such} row");
    EXPECT_TRUE(guest.instance.retired());
  }
}

TEST(HostFunctionsTest, AFailingStartFunctionIsAFailedInstance) {
  const auto instance = test::try_host_guest(test::wasm(R"((module (import "env" "f" (func)) (start 0)))"),
                                             {.host = HostFunctions().define("env", "f", []() -> Status {
                                               return Status::unavailable("not yet");
                                             })});
  EXPECT_EQ(instance.code(), Code::kHostError);
  EXPECT_EQ(instance.status().message(), "host function env.f: not yet");
}

// --- the set ------------------------------------------------------------------------------------------

int32_t answer_of(const HostFunctions& host) {
  const Instance instance = host_guest(forwarder("(result i32)", 0), {.host = host});
  return instance.function<int32_t()>("run").value()().value();
}

TEST(HostFunctionsTest, ALaterDefinitionReplaces) {
  HostFunctions host;
  host.define("env", "f", [] { return int32_t{1}; });
  host.define("env", "g", [] { return int32_t{2}; });
  host.define("other", "f", [] { return int32_t{3}; });
  EXPECT_EQ(answer_of(host), 1);
  host.define("env", "f", [] { return int32_t{4}; });
  EXPECT_EQ(answer_of(host), 4);
  EXPECT_EQ(host.freeze()->size(), 3u);
}

TEST(HostFunctionsTest, ADefinitionOfAnotherTypeReplacesToo) {
  HostFunctions host;
  host.define("env", "f", [] { return int64_t{1}; });
  const auto refused = test::try_host_guest(test::wasm(forwarder("(result i32)", 0)), {.host = host});
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.status().message(),
            "1 import that nobody provides: env.f () -> i32 (the host has () -> i64)");
  host.define("env", "f", [] { return int32_t{1}; });
  EXPECT_EQ(answer_of(host), 1);
}

TEST(HostFunctionsTest, WhatIsFrozenStaysAsItWas) {
  HostFunctions host;
  host.define("env", "f", [] { return int32_t{1}; });
  const auto frozen = host.freeze();
  HostFunctions copy = host;
  host.define("env", "f", [] { return int32_t{2}; }).define("env", "g", [] {});
  EXPECT_EQ(frozen->size(), 1u);
  EXPECT_EQ(answer_of(copy), 1);
  EXPECT_EQ(answer_of(host), 2);
}

TEST(HostFunctionsTest, FunctionsOfTypesKnownAtRunTime) {
  HostFunctions host;
  host.define_raw({.module = "env",
                   .name = "f",
                   .type = {{engine::ValType::kI32, engine::ValType::kI32}, {engine::ValType::kI32}},
                   .body = [](Caller&, engine::RawValue* values) -> Status {
                     values[0].i32 = values[0].i32 * 10 + values[1].i32;
                     return {};
                   }});
  const Instance instance = host_guest(forwarder(kView, 2), {.host = host});
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("run").value()(4, 2).value()), 42);
}

// The functions are kept by the instance: nobody else has to.
TEST(HostFunctionsTest, TheSetMayGoBeforeItsInstance) {
  auto host = std::make_unique<HostFunctions>();
  host->define("env", "f",
               [text = std::make_shared<std::string>("kept")] { return static_cast<int32_t>(text->size()); });
  const Instance instance = host_guest(forwarder("(result i32)", 0), {.host = *host});
  host.reset();
  EXPECT_EQ(instance.function<int32_t()>("run").value()().value(), 4);
}

// --- what a caller knows ------------------------------------------------------------------------------

TEST(HostFunctionsTest, UserDataIsTheInstancesOwn) {
  const auto read = [](Caller& caller) {
    return caller.user_data() == nullptr ? -1 : *static_cast<int32_t*>(caller.user_data());
  };
  int32_t one = 1;
  int32_t two = 2;
  Guest<int32_t()> first("(result i32)", 0, read, {}, &one);
  Guest<int32_t()> second("(result i32)", 0, read, {}, &two);
  Guest<int32_t()> none("(result i32)", 0, read);
  EXPECT_EQ(first.run().value(), 1);
  EXPECT_EQ(second.run().value(), 2);
  one = 3;
  EXPECT_EQ(first.run().value(), 3);
  EXPECT_EQ(none.run().value(), -1);
}

TEST(HostFunctionsTest, TheTimeLeftIsWithinTheDeadline) {
  constexpr uint64_t kDeadlineMs = 600'000;
  Guest<uint64_t()> guest("(result i64)", 0, [](Caller& caller) { return caller.time_left_ms(); },
                          {.deadline_ms = kDeadlineMs});
  for (int i = 0; i < 3; i++) {
    const uint64_t left = guest.run().value();
    EXPECT_GT(left, kDeadlineMs / 2);
    EXPECT_LE(left, kDeadlineMs);
  }
}

// A host function that waits asks how long it may: at 0 it comes back, and the guest is stopped at its next
// check.  Also where it waits for longer than the ticker goes on ticking for nobody.
TEST(HostFunctionsTest, TheTimeLeftRunsOut) {
  for (const uint64_t deadline_ms : {uint64_t{30}, engine::Ticker::kIdleTicks * 2}) {
    const Instance instance =
        host_guest(R"((module (import "env" "f" (func $f)) (func (export "run") (call $f) (loop (br 0)))))",
                   {.host = HostFunctions().define("env", "f",
                                                   [](Caller& caller) {
                                                     while (caller.time_left_ms() > 0)
                                                       std::this_thread::yield();
                                                   }),
                    .limits = {.deadline_ms = deadline_ms}});
    const Status status = instance.function<void()>("run").value()();
    EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
    EXPECT_EQ(status.message(),
              fmt::format("the call ran longer than its deadline (deadline_ms={})", deadline_ms));
  }
}

TEST(HostFunctionsTest, ACancelledCallHasNoTimeLeft) {
  uint64_t left = 1;
  std::optional<engine::Canceller> canceller;
  PlainGuest guest("", 0, [&](Caller& caller) -> Status {
    canceller->cancel();
    left = caller.time_left_ms();
    return Status::cancelled("somebody asked");
  });
  canceller = guest.instance.canceller();
  const Status status = guest.run();
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(status.code(), Code::kCancelled);
  EXPECT_EQ(status.message(), "host function env.f: somebody asked");
}

// --- guest, host, guest -------------------------------------------------------------------------------

// down(n) calls env.down(n - 1), which calls down(n - 1): n + 1 guest calls are open at the deepest.
constexpr std::string_view kDown = R"((module
  (import "env" "down" (func $host_down (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "trap") unreachable)
  (func (export "down") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 1))
      (else (i32.add (i32.const 1) (call $host_down (i32.sub (local.get 0) (i32.const 1)))))))))";

struct Nest {
  explicit Nest(const Limits& limits)
      : instance(host_guest(
            kDown, {.host = HostFunctions().define(
                        "env", "down", [this](int32_t depth) -> Result<int32_t> { return (*down)(depth); }),
                    .limits = limits})) {
    down = instance.function<int32_t(int32_t)>("down").value();
  }
  Nest(const Nest&) = delete;
  Nest& operator=(const Nest&) = delete;

  std::optional<Function<int32_t(int32_t)>> down;
  Instance instance;
};

TEST(NestingTest, TheLimitIsTheMostCallsThatAreOpen) {
  for (const uint32_t nesting_max : {1u, 2u, 4u, 16u}) {
    Nest nest({.nesting_max = nesting_max});
    const auto deepest = static_cast<int32_t>(nesting_max) - 1;
    if (deepest > 0) {
      EXPECT_EQ((*nest.down)(deepest - 1).value(), deepest);
    }
    EXPECT_EQ((*nest.down)(deepest).value(), deepest + 1);
    const auto above = (*nest.down)(deepest + 1);
    EXPECT_EQ(above.code(), Code::kLimitExceeded);
    EXPECT_TRUE(above.status().message().ends_with(fmt::format(
        "calls from host functions back into the guest are {0} deep (nesting_max={0})", nesting_max)))
        << above.status().message();
    EXPECT_TRUE(nest.instance.retired());
    EXPECT_EQ((*Nest({.nesting_max = nesting_max}).down)(deepest).value(), deepest + 1);
  }
}

// A host function may take a nested failure for an answer: a trap leaves the instance usable, also for
// the call that is still open around it.
TEST(NestingTest, ANestedTrapCanBeHandled) {
  std::optional<Function<void()>> trap;
  Status nested;
  const Instance instance =
      host_guest(kDown, {.host = HostFunctions().define("env", "down", [&](int32_t depth) {
                   nested = (*trap)();
                   return depth + 100;
                 })});
  trap = instance.function<void()>("trap").value();
  EXPECT_EQ(instance.function<int32_t(int32_t)>("down").value()(1).value(), 101);
  EXPECT_EQ(nested.code(), Code::kTrap);
  EXPECT_EQ(nested.message(), "the guest trapped: unreachable in function 1");
  EXPECT_FALSE(instance.retired());
}

TEST(NestingTest, ANestedTrapThatIsHandedOnIsAHostError) {
  std::optional<Function<void()>> trap;
  const Instance instance =
      host_guest(kDown, {.host = HostFunctions().define("env", "down", [&](int32_t) -> Result<int32_t> {
                   SPORE_TRY((*trap)());
                   return 0;
                 })});
  trap = instance.function<void()>("trap").value();
  const auto result = instance.function<int32_t(int32_t)>("down").value()(1);
  EXPECT_EQ(result.code(), Code::kHostError);
  EXPECT_EQ(result.status().message(),
            "host function env.down: the guest trapped: unreachable in function 1");
}

// One deadline for all that is nested: an endless loop within ends all of it.
TEST(NestingTest, TheDeadlineIsThatOfTheOutermostCall) {
  std::optional<Function<void()>> loop;
  const Instance instance =
      host_guest(R"((module (import "env" "f" (func $f)) (func (export "loop") (loop (br 0)))
                     (func (export "run") (call $f))))",
                 {.host = HostFunctions().define("env", "f", [&]() -> Status { return (*loop)(); }),
                  .limits = {.deadline_ms = 200}});
  loop = instance.function<void()>("loop").value();
  const Status status = instance.function<void()>("run").value()();
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "host function env.f: the call ran longer than its deadline (deadline_ms=200)");
}

// Text within a call that passes text: both take turns on the guest's memory and allocator.
TEST(NestingTest, TextCrossesWhileAHostFunctionRuns) {
  std::optional<Function<std::string(std::string_view)>> upper;
  const Instance instance =
      host_guest(R"((module
        (import "env" "f" (func $f (param i32 i32)))
        (memory (export "memory") 2)
        (global $heap (mut i32) (i32.const 4096))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
          (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 3))))
        (func (export "inner") (param i32 i32) (result i32)
          (i32.store8 (local.get 0) (i32.const 33))
          (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))
        (func (export "outer") (param i32 i32) (result i32)
          (call $f (local.get 0) (local.get 1))
          (i32.store (i32.const 24) (local.get 0)) (i32.store (i32.const 28) (local.get 1)) (i32.const 24))))",
                 {.host = HostFunctions().define("env", "f", [&](std::string_view text) -> Status {
                   const std::string answer = SPORE_TRY((*upper)(std::string(text)));
                   return answer == "!bc" ? Status() : Status::internal("got '{}'", answer);
                 })});
  upper = instance.function<std::string(std::string_view)>("inner").value();
  const auto outer = instance.function<std::string(std::string_view)>("outer").value();
  EXPECT_EQ(outer("abc").value(), "abc");
}

// A view is dead after a call into the guest, which may have grown the memory: it is taken anew.
TEST(NestingTest, TheMemoryIsTakenAnewAfterANestedCall) {
  std::optional<Function<int32_t()>> grow;
  const Instance instance = host_guest(
      R"((module (import "env" "f" (func $f (result i32))) (memory (export "memory") 1)
           (func (export "grow") (result i32) (memory.grow (i32.const 100)))
           (func (export "run") (result i32) (call $f))))",
      {.host = HostFunctions().define("env", "f", [&](Caller& caller) -> Result<int32_t> {
        SPORE_TRY((*grow)());
        const std::span<std::byte> last = SPORE_TRY(caller.memory().span(GuestPtr{101 * kPage - 1}, 1));
        last[0] = std::byte{9};
        return static_cast<int32_t>(caller.memory().size() / kPage);
      })});
  grow = instance.function<int32_t()>("grow").value();
  EXPECT_EQ(instance.function<int32_t()>("run").value()().value(), 101);
  EXPECT_EQ(instance.read_bytes(GuestPtr{101 * kPage - 1}, 1).value()[0], std::byte{9});
}

// --- threads ------------------------------------------------------------------------------------------

// One set of functions, an instance a thread.
TEST(HostFunctionsTest, FunctionsRunOnSeveralThreadsAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 500;
  std::atomic<int> calls{0};
  const auto engine = engine::Engine::create({}, std::make_shared<engine::Ticker>()).value();
  const auto code = engine->compile(test::wasm(forwarder("(result i32)", 0))).value();
  const auto functions = HostFunctions().define("env", "f", [&] { return ++calls >= 0; }).freeze();
  const auto binding = engine::Binding::create(code, functions).value();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; t++) {
      threads.emplace_back([&] {
        const Instance instance = Instance::create(binding, {}).value();
        const auto run = instance.function<bool()>("run").value();
        for (int i = 0; i < kCalls; i++) EXPECT_TRUE(run().value());
      });
    }
  }
  EXPECT_EQ(calls, kThreads * kCalls);
}

// The clock of deadlines parks when no guest looks at it; a host function that asks must not be told that no
// time has passed.  The deadline is longer than the clock waits before it parks.
TEST(HostFunctionsTest, ALongHostFunctionIsToldOfTheDeadline) {
  using SteadyClock = std::chrono::steady_clock;
  const auto give_up = SteadyClock::now() + std::chrono::seconds(30);
  ViewGuest guest(kView, 2,
                  [&](Caller& caller, std::string_view) -> Result<int32_t> {
                    while (SteadyClock::now() < give_up) SPORE_TRY(caller.check_running());
                    return 0;
                  },
                  {.deadline_ms = 2 * engine::Ticker::kIdleTicks});
  EXPECT_EQ(guest.run(16, 5).code(), Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace spore::host
