// Programs that are frozen at their first read, and what a request can do to the next one.

#include "spore/program/program.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "spore/cell/clean_function.h"
#include "spore/cell/pool.h"
#include "spore/engine/ticker.h"
#include "spore/program/library.h"
#include "tests/asyncify.h"
#include "tests/sanitizers.h"
#include "tests/snapshot_file.h"

namespace spore::program {
namespace {

using engine::Tier;

// Reads lines; the first byte says what to do.  `count` lives in a global, `seen` in memory: a clean start
// has both at 0.
constexpr const char* kGuest = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "env" "nested" (func $nested))
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0))
  (data (i32.const 512) "ready\n")
  (data (i32.const 528) "bye\n")
  (data (i32.const 544) "half")
  (data (i32.const 560) "trouble\nmore trouble\n")
  (func $write (param $fd i32) (param $at i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $bytes))
    (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $read (result i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (i32.const 2048))
    (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
    (i32.load (i32.const 24)))
  (func $digits (param $a i32) (param $b i32)
    (i32.store8 (i32.const 600) (i32.add (i32.const 48) (local.get $a)))
    (i32.store8 (i32.const 601) (i32.add (i32.const 48) (local.get $b)))
    (i32.store8 (i32.const 602) (i32.const 10))
    (call $write (i32.const 1) (i32.const 600) (i32.const 3)))
  (func $deep (param $depth i32) (result i32)
    (if (i32.eqz (local.get $depth)) (then (return (call $read))))
    (i32.add (local.get $depth) (i32.sub (call $deep (i32.sub (local.get $depth) (i32.const 1)))
                                         (local.get $depth))))
  ;; On standard input, and a clock of one hour, relative.
  (func $wait
    (memory.fill (i32.const 3200) (i32.const 0) (i32.const 96))
    (i32.store8 (i32.const 3208) (i32.const 1))
    (i64.store (i32.const 3248) (i64.const 2))
    (i32.store (i32.const 3264) (i32.const 1))
    (i64.store (i32.const 3272) (i64.const 3600000000000))
    (drop (call $poll (i32.const 3200) (i32.const 3400) (i32.const 2) (i32.const 3500))))
  (func (export "inner") (drop (call $read)))
  (func (export "_start") (local $n i32) (local $do i32)
    (call $write (i32.const 1) (i32.const 512) (i32.const 6))
    (loop $next
      (if (i32.eqz (local.tee $n (call $read))) (then (return)))
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
      (local.set $do (i32.load8_u (i32.const 1024)))
      (if (i32.eq (local.get $do) (i32.const 0x63)) ;; c
        (then (call $digits (global.get $count) (i32.load (i32.const 64)))))
      (if (i32.eq (local.get $do) (i32.const 0x65)) ;; e
        (then (call $write (i32.const 1) (i32.const 1024) (local.get $n))))
      (if (i32.eq (local.get $do) (i32.const 0x74)) (then (unreachable))) ;; t
      (if (i32.eq (local.get $do) (i32.const 0x73)) (then (loop $for_ever (br $for_ever)))) ;; s
      (if (i32.eq (local.get $do) (i32.const 0x78)) ;; x
        (then (call $write (i32.const 1) (i32.const 528) (i32.const 4)) (call $exit (i32.const 3))))
      (if (i32.eq (local.get $do) (i32.const 0x68)) ;; h
        (then (call $write (i32.const 1) (i32.const 544) (i32.const 4)) (call $exit (i32.const 4))))
      (if (i32.eq (local.get $do) (i32.const 0x72)) (then (return))) ;; r
      (if (i32.eq (local.get $do) (i32.const 0x66)) ;; f
        (then (loop $flood (call $write (i32.const 1) (i32.const 1024) (i32.const 1000)) (br $flood))))
      (if (i32.eq (local.get $do) (i32.const 0x67)) ;; g
        (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable)))
              (i32.store (i32.const 1000000) (i32.const 7))
              (call $digits (i32.const 0) (i32.shr_u (memory.size) (i32.const 4)))))
      (if (i32.eq (local.get $do) (i32.const 0x77)) ;; w
        (then (call $write (i32.const 2) (i32.const 560) (i32.const 21))))
      (if (i32.eq (local.get $do) (i32.const 0x75)) ;; u: words, then a trap
        (then (call $write (i32.const 2) (i32.const 560) (i32.const 21)) (unreachable)))
      (if (i32.eq (local.get $do) (i32.const 0x70)) ;; p
        (then (call $wait) (call $write (i32.const 1) (i32.const 544) (i32.const 4))))
      (if (i32.eq (local.get $do) (i32.const 0x6e)) (then (call $nested))) ;; n
      (if (i32.eq (local.get $do) (i32.const 0x64)) (then (drop (call $deep (i32.const 100))))) ;; d
      (if (i32.eq (local.get $do) (i32.const 0x44)) (then (drop (call $deep (i32.const 3000))))) ;; D
      (br $next))))
)";

// Reads once at a depth of its choice, says "B\n" before, and "A" and what it read after.
std::string deep_guest(int depth, std::string_view locals = "") {
  return fmt::format(R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $deep (param $depth i32) (result i32) {1}
    (if (i32.eqz (local.get $depth)) (then
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (return (i32.load (i32.const 8)))))
    (i32.sub (i32.add (call $deep (i32.sub (local.get $depth) (i32.const 1))) (local.get $depth))
             (local.get $depth)))
  (func $check (local $at i32)
    (local.set $at (i32.const 48000))
    (loop $next
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 171)) (then (unreachable)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 65536)))))
  (func (export "_start") (local $n i32)
    (memory.fill (i32.const 48000) (i32.const 171) (i32.const 17536))
    (loop $next
      (local.set $n (call $deep (i32.const {0})))
      (call $check) ;; frames lay here
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (local.get $n))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $next (local.get $n)))))
)",
                     depth, locals);
}

// Reads messages: the first is kept, later ones are answered with the first, and their number.
constexpr const char* kServing = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (global $kept (mut i32) (i32.const 0))
  (func $read (param $at i32) (result i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.const 100))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
  (func $keep (global.set $kept (call $read (i32.const 1024))))
  (func (export "wizer.initialize") (call $keep))
  (func (export "exits") (call $exit (i32.const 5)))
  (func (export "spore_request") (local $n i32)
    (if (i32.eqz (global.get $kept)) (then (call $keep) (return)))
    (local.set $n (call $read (i32.const 2048)))
    (if (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 0x74)) (then (unreachable))) ;; t
    (if (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 0x78)) (then (call $exit (i32.const 3)))) ;; x
    (i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (i32.const 1)))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (global.get $kept))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))))";

class ProgramTest : public testing::TestWithParam<Tier> {
 protected:
  void SetUp() override {
    if (::access(test::kWasmOpt, X_OK) != 0) GTEST_SKIP() << "there is no wasm-opt: install binaryen";
    pool_ = cell::Pool::create({.instances_per_module_max = 16, .wait_timeout_ms = 10'000}).value();
  }

  cell::Blueprint blueprint(std::span<const uint8_t> wasm, const engine::Limits& limits = {},
                            const host::WasiOptions& world = {}) {
    host::HostFunctions host;
    host::define_wasi(host);
    host.define("env", "nested", [](host::Caller& caller) -> Status {
      const auto inner = SPORE_TRY(host::Function<void()>::create(caller.store(), {}, "inner"));
      return inner();
    });
    wasm::PreparedModule prepared = wasm::prepare(wasm, size_t{1} << 27).value();
    const auto code = engine(GetParam())->compile(prepared.wasm).value();
    return {
        .name = "guest",
        .code = std::make_shared<engine::LiveBinding>(engine::Binding::create(code, host.freeze()).value()),
        .prepared = std::make_shared<const wasm::PreparedModule>(std::move(prepared)),
        .limits = limits,
        .wasi = host::WasiConfig::create(world).value()};
  }
  std::shared_ptr<const engine::Engine> engine(Tier tier) {
    auto& made = engines_[static_cast<size_t>(tier)];
    if (made == nullptr) made = engine::Engine::create({.tier = tier}, ticker_).value();
    return made;
  }
  Result<std::shared_ptr<const Program>> freeze(std::string_view text, const FreezeOptions& options = {},
                                                const engine::Limits& limits = {}) {
    return Program::freeze(blueprint(test::asyncified(text), limits), pool_, options);
  }
  std::string refusal(std::string_view text, const FreezeOptions& options = {}) {
    const auto program = freeze(text, options);
    return program.ok() ? "" : std::string(program.status().message());
  }
  cell::PoolCounts counts() const { return pool_->statistics().counts; }

  std::shared_ptr<engine::Ticker> ticker_ = std::make_shared<engine::Ticker>();
  std::array<std::shared_ptr<const engine::Engine>, 4> engines_;
  std::shared_ptr<cell::Pool> pool_;
};

INSTANTIATE_TEST_SUITE_P(Tiers, ProgramTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(engine::tier_name(tier.param)); });

std::string output_of(const Program& program, std::string_view text) {
  Result<Answer> answer = program.request(text);
  return answer.ok() ? answer->output : "error: " + std::string(answer.status().message());
}

TEST_P(ProgramTest, EachRequestFindsTheProgramAtItsFirstRead) {
  const auto program = freeze(kGuest).value();
  EXPECT_EQ(program->facts().output, "ready\n");
  for (int i = 0; i < 5; i++) EXPECT_EQ(output_of(*program, "c"), "11\n");
  EXPECT_EQ(output_of(*program, "echo this"), "echo this\n");
  EXPECT_EQ(output_of(*program, "echo this\n"), "echo this\n");
  EXPECT_EQ(output_of(*program, ""), "");
  EXPECT_EQ(counts().created, 1u);
  EXPECT_EQ(counts().resets_in_place, 8u);
}

// What the setup did is part of each request's beginning.
TEST_P(ProgramTest, ASetupIsReadBeforeItIsFrozen) {
  const auto program = freeze(kGuest, {.setup = "c"}).value();
  EXPECT_EQ(program->facts().output, "ready\n11\n");
  for (int i = 0; i < 3; i++) EXPECT_EQ(output_of(*program, "c"), "22\n");

  const auto ended = freeze(kGuest, {.setup = "x"});
  EXPECT_EQ(ended.code(), Code::kExited);
  EXPECT_EQ(ended.status().message(), "guest: it ended with exit code 3 before it waited for requests");
  EXPECT_EQ(freeze(kGuest, {.setup = "t"}).code(), Code::kTrap);
  EXPECT_EQ(freeze(kGuest, {.setup = "two\nlines"}).code(), Code::kInvalidArgument);
  EXPECT_EQ(freeze(kGuest, {.framing = Framing::kEndOfInput, .setup = "c"}).code(), Code::kInvalidArgument);
}

TEST_P(ProgramTest, WhateverEndsARequestTheNextIsClean) {
  const auto program = freeze(kGuest, {.memory_growth_bytes_max = 20 * 65536}).value();
  const auto clean = [&] { return output_of(*program, "c") == "11\n"; };
  ASSERT_TRUE(clean());
  {
    const Answer answer = program->request("x").value();
    EXPECT_EQ(answer.output, "bye\n");
    EXPECT_EQ(answer.exit_code, 3u);
  }
  ASSERT_TRUE(clean());
  EXPECT_EQ(program->request("r")->exit_code, 0u);
  ASSERT_TRUE(clean());
  EXPECT_EQ(program->request("w")->error, "trouble\nmore trouble\n");
  EXPECT_EQ(program->request("c")->error, "");
  EXPECT_EQ(counts().created, 1u);  // all of them in place

  EXPECT_EQ(program->request("h").code(), Code::kExited);
  ASSERT_TRUE(clean());
  EXPECT_EQ(program->request("t").code(), Code::kTrap);
  ASSERT_TRUE(clean());
  EXPECT_EQ(program->request("s", {.deadline_ms = 20}).code(), Code::kDeadlineExceeded);
  ASSERT_TRUE(clean());
  EXPECT_EQ(program->request("f", {.output_bytes_max = 5000}).code(), Code::kLimitExceeded);
  ASSERT_TRUE(clean());
  EXPECT_EQ(output_of(*program, "g"), "01\n");
  ASSERT_TRUE(clean());
  EXPECT_EQ(output_of(*program, "g"), "01\n");  // its memory is as long as it was
  EXPECT_EQ(program->request("two\nlines").code(), Code::kInvalidArgument);
}

TEST_P(ProgramTest, MemoryGrowsToItsLimitAndNotBeyond) {
  // g makes it grow by 16 pages, and traps if it cannot.
  EXPECT_EQ(output_of(*freeze(kGuest, {.memory_growth_bytes_max = 16 * 65536}).value(), "g"), "01\n");
  const auto program = freeze(kGuest, {.memory_growth_bytes_max = 16 * 65536 - 1}).value();
  for (int i = 0; i < 3; i++) {
    const Result<Answer> answer = program->request("g");
    EXPECT_EQ(answer.code(), Code::kLimitExceeded);
    EXPECT_NE(answer.status().message().find("(memory_growth_bytes_max=1048575)"), std::string::npos)
        << answer.status().message();
    EXPECT_EQ(output_of(*program, "c"), "11\n");
    EXPECT_EQ(program->request("t").code(), Code::kTrap);  // of its own
  }
}

TEST_P(ProgramTest, ErrorsSayWhatTheProgramSaidLast) {
  const auto program = freeze(kGuest).value();
  const Result<Answer> answer = program->request("u");
  EXPECT_EQ(answer.code(), Code::kTrap);
  EXPECT_NE(answer.status().detail().find("more trouble"), std::string::npos) << answer.status().detail();
  EXPECT_EQ(program->request("h").status().message(),
            "guest: the program ended in the middle of a line of its answer, after 4 bytes");
}

TEST_P(ProgramTest, ItCanBeFrozenAgainAfterARequest) {
  const auto program = freeze(kGuest).value();
  const auto once = program->extend("c").value();
  EXPECT_EQ(once.answer.output, "11\n");
  EXPECT_FALSE(once.answer.exit_code.has_value());
  const auto twice = once.program->extend("c").value();
  EXPECT_EQ(twice.answer.output, "22\n");
  for (int i = 0; i < 3; i++) {
    EXPECT_EQ(output_of(*program, "c"), "11\n");
    EXPECT_EQ(output_of(*once.program, "c"), "22\n");
    EXPECT_EQ(output_of(*twice.program, "c"), "33\n");
    EXPECT_EQ(output_of(*twice.program, "echo"), "echo\n");
  }
  // A memory that grew is longer from then on, and each request may have it grow as far again.
  const auto grown = once.program->extend("g", {.memory_growth_bytes_max = 16 * 65536}).value();
  EXPECT_EQ(output_of(*grown.program, "c"), "33\n");
  EXPECT_EQ(output_of(*grown.program, "g"), "02\n");
  EXPECT_EQ(output_of(*once.program, "g"), "01\n");
  // Frozen while it polls, and on.
  const auto polled = program->extend("p").value();
  EXPECT_EQ(output_of(*polled.program, "c"), "half22\n");
}

TEST_P(ProgramTest, ItIsFrozenAgainOnlyWhereItWaits) {
  const auto program = freeze(kGuest).value();
  const Status exited = program->extend("x").status();
  EXPECT_EQ(exited.code(), Code::kExited);
  EXPECT_EQ(exited.message(), "guest: it ended with exit code 3 instead of waiting for another request");
  EXPECT_EQ(program->extend("t").status().code(), Code::kTrap);
  EXPECT_EQ(program->extend("s", {.deadline_ms = 50}).status().code(), Code::kDeadlineExceeded);
  EXPECT_EQ(program->extend("two\nlines").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(program->extend("n").status().code(), Code::kHostError);
  EXPECT_EQ(output_of(*program, "c"), "11\n");
}

// Goal: what stands on another program holds the pages that it changed, and outlives it.
TEST_P(ProgramTest, OnAnotherItHoldsItsOwnPagesAlone) {
  auto program = freeze(R"((module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 64)
    (func (export "_start") (local $at i32)
      ;; 4 MiB, of which each page is another, before the first read.
      (loop $fill
        (i32.store (local.get $at) (i32.add (local.get $at) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $fill (i32.lt_u (local.get $at) (i32.const 4194304))))
      (loop $next
        (i32.store (i32.const 16) (i32.const 1024))
        (i32.store (i32.const 20) (i32.const 2048))
        (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
        (i32.store8 (i32.const 2000000) (i32.add (i32.load8_u (i32.const 2000000)) (i32.load8_u (i32.const 1024))))
        (i32.store (i32.const 0) (i32.const 2000000))
        (i32.store (i32.const 4) (i32.const 1))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br $next))))
)")
                     .value();
  std::vector<std::shared_ptr<const Program>> on_it;
  for (char c = 'A'; c < 'K'; c++) on_it.push_back(program->extend(std::string(1, c)).value().program);
  EXPECT_GE(program->image().bytes(), size_t{4} << 20);
  for (const auto& one : on_it) EXPECT_LE(one->image().bytes(), 16 * memory::kPageBytes);
  program.reset();
  for (size_t i = 0; i < on_it.size(); i++) {
    const std::string expected(1, static_cast<char>('A' + i + ' '));  // and a space is added
    for (int again = 0; again < 2; again++) EXPECT_EQ(output_of(*on_it[i], " "), expected);
  }
}

TEST_P(ProgramTest, WaitingByPollIsWaiting) {
  const auto program = freeze(kGuest).value();
  // It waits in poll_oneoff: the line was read, and no other is there; what it would write after is not
  // waited for.
  const Answer answer = program->request("p").value();
  EXPECT_EQ(answer.output, "");
  EXPECT_EQ(answer.exit_code, std::nullopt);
}

TEST_P(ProgramTest, AProgramCanBeFrozenInPoll) {
  const auto program = freeze(R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store8 (i32.const 3208) (i32.const 1))
    (i64.store (i32.const 3248) (i64.const 2))
    (i32.store (i32.const 3264) (i32.const 1))
    (i64.store (i32.const 3272) (i64.const 1000000000))
    (loop $next
      (drop (call $poll (i32.const 3200) (i32.const 3400) (i32.const 2) (i32.const 1024)))
      (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (i32.load (i32.const 1024))))
      (i32.store (i32.const 0) (i32.const 1025)) (i32.store (i32.const 4) (i32.const 100))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.add (i32.const 1) (i32.load (i32.const 8))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br $next)))))")
                           .value();
  EXPECT_EQ(output_of(*program, "word"), "1word\n");  // one event: input, and not the clock
  EXPECT_EQ(output_of(*program, "word"), "1word\n");
}

TEST_P(ProgramTest, AReadUnderAHostFrameIsRefused) {
  const auto program = freeze(kGuest).value();
  const Result<Answer> answer = program->request("n");
  EXPECT_EQ(answer.code(), Code::kHostError);
  EXPECT_NE(answer.status().message().find("inside of a call from a host function"), std::string::npos)
      << answer.status().message();
  EXPECT_EQ(output_of(*program, "c"), "11\n");
}

TEST_P(ProgramTest, DeepStacksAreSavedAndTooDeepOnesRefused) {
  const auto program = freeze(deep_guest(500)).value();
  EXPECT_GT(program->facts().frames_bytes, 500u * 8);
  for (int i = 0; i < 3; i++) EXPECT_EQ(output_of(*program, "far down"), "far down\n");
  // 64 KiB of memory have no room for these.
  const auto refused = freeze(deep_guest(8000));
  EXPECT_EQ(refused.code(), Code::kLimitExceeded);
  EXPECT_NE(refused.status().message().find("its stack is too large to be saved"), std::string::npos)
      << refused.status().message();
}

TEST_P(ProgramTest, TheNextReadMayBeDeeper) {
  const auto program = freeze(kGuest).value();
  for (const std::string_view request : {"d", "D", "d"}) {  // D has no room for its frames
    const Answer answer = program->request(request).value();
    EXPECT_EQ(answer.output, "");
    EXPECT_EQ(answer.exit_code, std::nullopt);
    EXPECT_EQ(output_of(*program, "c"), "11\n");
  }
}

TEST_P(ProgramTest, AProgramThatReadsAllAnswersWhenItEnds) {
  const std::string guest = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $all i32)
    (i32.store (i32.const 4) (i32.const 5))
    (loop $next
      (i32.store (i32.const 0) (i32.add (i32.const 1024) (local.get $all)))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $all (i32.add (local.get $all) (i32.load (i32.const 8))))
      (br_if $next (i32.load (i32.const 8))))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (local.get $all))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $exit (local.get $all)))))";
  const auto program = freeze(guest, {.framing = Framing::kEndOfInput}).value();
  for (const std::string_view text : {"", "some text\nin two lines", "x"}) {
    const Answer answer = program->request(text).value();
    EXPECT_EQ(answer.output, text);
    EXPECT_EQ(answer.exit_code, text.size());
  }
  EXPECT_EQ(counts().created, 1u);
  // With lines it asks for more after each: nothing was written by then.
  EXPECT_EQ(output_of(*freeze(guest).value(), "line"), "");
}

TEST_P(ProgramTest, LengthsAreCompared) {
  // Writes what it reads, or less of it: its length minus the byte before last, and then ends if the last is
  // X.
  const auto program = freeze(R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $n i32)
    (loop $next
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 1000))
      (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (local.set $n (i32.load (i32.const 8)))
      (i32.store (i32.const 4) (i32.sub (local.get $n)
        (i32.sub (i32.load8_u (i32.add (i32.const 1022) (local.get $n))) (i32.const 48))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $next (i32.ne (i32.load8_u (i32.add (i32.const 1023) (local.get $n))) (i32.const 0x58)))))))",
                              {.framing = Framing::kLength})
                           .value();
  EXPECT_EQ(output_of(*program, "two\nlines0."), "two\nlines0.");
  EXPECT_EQ(output_of(*program, "ends0X"), "ends0X");
  EXPECT_EQ(program->request("ends0X")->exit_code, 0u);
  EXPECT_EQ(program->request("short3.").code(), Code::kCorruption);
  EXPECT_EQ(program->request("short3X").code(), Code::kExited);
  EXPECT_EQ(program->request("9.").code(), Code::kCorruption);
  EXPECT_EQ(output_of(*program, "again0."), "again0.");
}

TEST_P(ProgramTest, WhatCannotBeFrozenSaysWhyAndWhatToDo) {
  const auto has = [](std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos ? testing::AssertionSuccess()
                                                     : testing::AssertionFailure() << text;
  };
  const std::string head = R"((module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1) (data (i32.const 16) "no such file\n")
    (func (export "read") (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))) )";
  EXPECT_TRUE(has(
      refusal(head + R"((func (export "_start")
      (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 13))
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
      (call $exit (i32.const 2)))))"),
      "guest: it ended with exit code 2 before it read its standard input; its last words: no such file"));
  EXPECT_TRUE(has(refusal(head + R"((func (export "_start") (loop (br 0)))))", {.deadline_ms = 30}),
                  "did not read its standard input within 30 ms"));
  EXPECT_TRUE(has(refusal(head + R"((func (export "_start") (unreachable))))"),
                  "before it read its standard input: the guest trapped"));
  EXPECT_TRUE(has(refusal(head + R"((func (export "go"))))"), "--init EXPORT"));
  EXPECT_TRUE(
      has(refusal(R"((module (memory (export "memory") 1) (func (export "_start"))))"), "never reads"));

  const std::vector<uint8_t> plain = engine::text_to_wasm(head + R"((func (export "_start"))))").value();
  const auto not_rewritten = Program::freeze(blueprint(plain), pool_, {});
  EXPECT_EQ(not_rewritten.code(), Code::kUnsupported);
  EXPECT_TRUE(has(not_rewritten.status().message(), "was not rewritten by asyncify"));
}

TEST_P(ProgramTest, ManyThreadsAskAtOnce) {
  const auto program = freeze(kGuest).value();
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; i++) {
        const std::string line = fmt::format("e {} {}\n", t, i);
        if (output_of(*program, i % 3 == 0 ? "c" : line) != (i % 3 == 0 ? "11\n" : line)) wrong++;
        if (i % 50 == 0 && program->request("t").code() != Code::kTrap) wrong++;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_P(ProgramTest, InstancesGoOverToBetterCodeBetweenRequests) {
  const std::vector<uint8_t> wasm = test::asyncified(kGuest);
  const cell::Blueprint made = blueprint(wasm);
  const auto program = Program::freeze(made, pool_, {}).value();
  EXPECT_EQ(output_of(*program, "c"), "11\n");
  const Tier other = GetParam() == Tier::kBaseline ? Tier::kOptimised : Tier::kBaseline;
  const auto code = engine(other)->compile(made.prepared->wasm).value();
  made.code->improve(engine::Binding::create(code, made.code->best()->functions()).value());
  EXPECT_EQ(output_of(*program, "c"), "11\n");
  EXPECT_EQ(made.code->hand_overs().done, 1u);
  EXPECT_EQ(counts().created, 1u);
}

// What was seen of it is in its file; its start is not part of that, and where nothing was seen, nothing is.
TEST_P(ProgramTest, AFileSaysWhatWasSeenOfTheProgram) {
  const std::filesystem::path folder = test::new_folder();
  const auto saved = [&](const Program& program, const Source& source) {
    EXPECT_TRUE(program.save(folder / "image", source).ok());
    return snapshot::read(folder / "image").value().profile;
  };
  const Source source{.wasm = std::make_shared<const std::vector<uint8_t>>(test::asyncified(kGuest))};
  const cell::Blueprint made = blueprint(*source.wasm);
  const auto program = Program::freeze(made, pool_, {}).value();
  EXPECT_FALSE(saved(*program, source).has_value());
  for (int i = 0; i < 3; i++) EXPECT_EQ(output_of(*program, "c"), "11\n");
  const bool climbed = GetParam() == Tier::kOptimised;
  EXPECT_EQ(saved(*program, source).has_value(), climbed);
  if (!climbed) {
    const auto code = engine(Tier::kOptimised)->compile(made.prepared->wasm).value();
    made.code->improve(engine::Binding::create(code, made.code->best()->functions()).value());
  }
  const auto profile = saved(*program, source);
  ASSERT_TRUE(profile.has_value());
  EXPECT_EQ(profile->tier, Tier::kOptimised);
  ASSERT_EQ(profile->functions.size(), 1u);
  EXPECT_EQ(profile->functions[0].name, "_start");
  EXPECT_EQ(profile->functions[0].calls, 3u);

  // One that is derived begins anew.
  const auto base =
      Program::restore(snapshot::read(folder / "image").value(), blueprint(*source.wasm), pool_).value();
  const auto derived = base->extend("c").value().program;
  const auto saved_derived = [&] {
    EXPECT_TRUE(derived->save_derived(folder / "derived", source, "image").ok());
    const snapshot::Contents below = snapshot::read(folder / "image").value();
    return snapshot::read(folder / "derived", {.base = &below}).value().profile;
  };
  EXPECT_FALSE(saved_derived().has_value());
  EXPECT_EQ(output_of(*derived, "c"), "22\n");
  EXPECT_EQ(saved_derived().has_value(), climbed);
  std::filesystem::remove_all(folder);
}

// A child that was forked while others asked has clean copies of its own; the parent goes on.
TEST_P(ProgramTest, AForkedChildAnswersRequests) {
  if (GetParam() == Tier::kInterpreter) GTEST_SKIP() << "a fork in the middle of a call loses the module";
  if (test::kThreadSanitizer) GTEST_SKIP() << "it does not follow a fork among threads";
  const auto program = freeze(kGuest).value();
  const auto library =
      Program::freeze(blueprint(engine::text_to_wasm(kServing).value()), pool_, {.setup = "and"}).value();
  const auto is_right = [&] {
    return output_of(*program, "c") == "11\n" && output_of(*library, "more") == "bnd\n" &&
           program->request("x")->exit_code == 3U && program->request("t").code() == Code::kTrap;
  };
  ASSERT_TRUE(is_right());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::jthread others([&] {
    while (!stop.load()) wrong += is_right() ? 0 : 1;
  });
  for (int i = 0; i < 10; i++) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool right = true;
      for (int j = 0; j < 20; j++) right = is_right() && right;
      ::_exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(is_right());
  }
  stop = true;
  others.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_P(ProgramTest, TenThousandRequestsTakeNoMemory) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "it keeps what was freed";
  const auto program = freeze(kGuest).value();
  const auto resident = [] {
    std::ifstream file("/proc/self/statm");
    size_t pages = 0;
    file >> pages >> pages;
    return pages * 4096;
  };
  const auto ask = [&](int times) {
    for (int i = 0; i < times; i++) {
      if (output_of(*program, "c") != "11\n") return false;
      if (i % 10 == 0 && program->request("x")->exit_code != 3u) return false;
      if (i % 100 == 0 && output_of(*program, "g") != "01\n") return false;
    }
    return true;
  };
  ASSERT_TRUE(ask(1000));
  const size_t before = resident();
  ASSERT_TRUE(ask(10'000));
  EXPECT_LE(resident(), before + (size_t{1} << 20));
}

TEST_P(ProgramTest, ALibraryIsFrozenAfterItsInitialiser) {
  const std::vector<uint8_t> wasm = engine::text_to_wasm(R"((module
    (memory (export "memory") 1)
    (global $g (mut i32) (i32.const 1))
    (func (export "_initialize") (global.set $g (i32.mul (global.get $g) (i32.const 10))))
    (func (export "prepare") (global.set $g (i32.add (global.get $g) (i32.const 2))))
    (func (export "takes") (param i32))
    (func (export "fails") (unreachable))
    (func (export "bump") (result i32) (global.set $g (i32.add (global.get $g) (i32.const 1))) (global.get $g))))")
                                        .value();
  const cell::Blueprint made = blueprint(wasm);
  const auto library = Library::freeze(made, pool_, {.init = "prepare"}).value();
  for (int i = 0; i < 3; i++) EXPECT_EQ(library->call("bump", {})->at(0).as_i32().value(), 13);
  EXPECT_EQ(Library::freeze(made, pool_, {.init = "none"}).code(), Code::kNotFound);
  EXPECT_EQ(Library::freeze(made, pool_, {.init = "takes"}).code(), Code::kInvalidArgument);
  EXPECT_EQ(Library::freeze(made, pool_, {.init = "fails"}).code(), Code::kTrap);
}

// What it draws at random before it is frozen is counted, or refused; `spore_resumed` is called before each
// use, and what it does is gone in the next.
TEST_P(ProgramTest, EntropyBeforeALibraryIsFrozenIsTold) {
  const std::vector<uint8_t> wasm = engine::text_to_wasm(R"((module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "draws") (drop (call $random (i32.const 0) (i32.const 300))))
    (func (export "draws_not"))
    (func (export "spore_resumed")
      (drop (call $random (i32.const 400) (i32.const 8)))
      (i32.store (i32.const 800) (i32.add (i32.load (i32.const 800)) (i32.const 1))))
    (func (export "early") (result i64) (i64.load (i32.const 0)))
    (func (export "late") (result i64) (i64.load (i32.const 400)))
    (func (export "resumed") (result i32) (i32.load (i32.const 800)))))")
                                        .value();
  const cell::Blueprint made = blueprint(wasm);
  const auto library = Library::freeze(made, pool_, {.init = "draws"}).value();
  EXPECT_EQ(library->entropy_bytes(), 300U);
  const auto number = [&](std::string_view name) { return library->call(name, {})->at(0).as_i64().value(); };
  EXPECT_EQ(number("early"), number("early"));
  EXPECT_NE(number("late"), number("late"));
  for (int i = 0; i < 3; i++) EXPECT_EQ(library->call("resumed", {})->at(0).as_i32().value(), 1);
  const auto clean = cell::CleanFunction<int64_t()>::create(library->pool_entry(), "late").value();
  EXPECT_NE(clean().value(), clean().value());

  const auto refused = Library::freeze(made, pool_, {.init = "draws", .entropy = host::Wasi::Entropy::kNone});
  EXPECT_EQ(refused.code(), Code::kHostError);
  EXPECT_NE(refused.status().message().find("draws 300 random bytes"), std::string::npos)
      << refused.status().message();
  EXPECT_EQ(Library::freeze(made, pool_, {.init = "draws_not", .entropy = host::Wasi::Entropy::kNone})
                .value()
                ->entropy_bytes(),
            0U);
}

// A hook that fails fails what it is called for.
TEST_P(ProgramTest, AFrozenLibraryThatCannotGoOnSaysSo) {
  const std::vector<uint8_t> wasm = engine::text_to_wasm(R"((module
    (func (export "prepare")) (func (export "spore_resumed") (unreachable)) (func (export "f"))))")
                                        .value();
  const auto library = Library::freeze(blueprint(wasm), pool_, {.init = "prepare"}).value();
  const auto failed = library->call("f", {});
  EXPECT_EQ(failed.code(), Code::kTrap);
  EXPECT_NE(failed.status().message().find("spore_resumed"), std::string::npos);
}

TEST_P(ProgramTest, ALibraryAnswersRequests) {
  const cell::Blueprint made = blueprint(engine::text_to_wasm(kServing).value());
  const auto library = Program::freeze(made, pool_, {.setup = "and"}).value();
  EXPECT_TRUE(library->is_library());
  for (int i = 0; i < 3; i++) {
    const Answer answer = library->request("more").value();
    EXPECT_EQ(answer.output, "bnd\n");  // each is the first
    EXPECT_FALSE(answer.exit_code.has_value());
    EXPECT_EQ(library->request("trap").code(), Code::kTrap);
    EXPECT_EQ(library->request("x")->exit_code, 3U);
  }
  // Frozen without: the first request is what it keeps.
  const auto bare = Program::freeze(made, pool_, {}).value();
  EXPECT_EQ(bare->request("nothing").value().output, "");
  const auto kept = bare->extend("oh").value();
  EXPECT_EQ(kept.answer.output, "");
  for (int i = 0; i < 3; i++) EXPECT_EQ(kept.program->request("more")->output, "ph\n");
  EXPECT_EQ(kept.program->extend("x").code(), Code::kExited);

  const Status exits = Program::freeze(made, pool_, {.init = "exits"}).status();
  EXPECT_EQ(exits.code(), Code::kExited);
  EXPECT_EQ(exits.message(), "guest: it ended with exit code 5 while it was initialised");
  EXPECT_EQ(Program::freeze(made, pool_, {.init = "none"}).code(), Code::kNotFound);
}

// --- cells -----------------------------------------------------------------------------------------------

class ProgramCellsTest : public ProgramTest {
 protected:
  void start(uint64_t idle_sleep_ms) {
    cells_ = cell::Cells::create({.idle_sleep_ms = idle_sleep_ms, .housekeeping = false}).value();
  }
  void create(const Program& program, std::string_view name) {
    ASSERT_TRUE(cells_->create(program.cell_kind(*cells_).value(), name).ok());
  }
  std::string output_in(const Program& program, std::string_view cell, std::string_view text) {
    Result<Answer> answer = program.request_in(*cells_, cell, text);
    return answer.ok() ? answer->output : "error: " + std::string(answer.status().message());
  }

  std::shared_ptr<cell::Cells> cells_;
};
INSTANTIATE_TEST_SUITE_P(Tiers, ProgramCellsTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(engine::tier_name(tier.param)); });

// What one of them remembers it remembers asleep and awake; the program itself and the others know nothing of
// it.
TEST_P(ProgramCellsTest, VariablesLiveOn) {
  const auto program = freeze(kGuest).value();
  for (const uint64_t idle_sleep_ms : {0, 60'000}) {
    start(idle_sleep_ms);
    create(*program, "a");
    create(*program, "b");
    for (const std::string_view count : {"11\n", "22\n", "33\n", "44\n"}) {
      EXPECT_EQ(output_in(*program, "a", "c"), count);
    }
    EXPECT_EQ(output_in(*program, "b", "echo"), "echo\n");
    EXPECT_EQ(output_in(*program, "b", "c"), "22\n");
    EXPECT_EQ(output_of(*program, "c"), "11\n");
    ASSERT_TRUE(cells_->sleep("a").ok());
    ASSERT_TRUE(cells_->fork("a", "c").ok());
    EXPECT_EQ(output_in(*program, "c", "c"), "55\n");
    EXPECT_EQ(output_in(*program, "a", "c"), "55\n");
    EXPECT_LT(cells_->describe("a")->delta_bytes, 300U);
    EXPECT_EQ(cells_->describe("a")->sequence, 5U);
    // Waiting elsewhere, deeper, in a memory that grew.
    EXPECT_EQ(output_in(*program, "a", "p"), "");
    EXPECT_EQ(output_in(*program, "a", "c"), "half77\n");
    EXPECT_EQ(output_in(*program, "a", "d"), "");
    EXPECT_EQ(output_in(*program, "a", "what it reads down there"), "");
    EXPECT_EQ(output_in(*program, "a", "c"), "99\n");
    EXPECT_EQ(output_in(*program, "a", "g"), "01\n");
    EXPECT_EQ(output_in(*program, "a", "g"), "02\n");
    EXPECT_EQ(output_in(*program, "c", "g"), "01\n");
    cells_.reset();
  }
}

TEST_P(ProgramCellsTest, ARequestThatFailsDidNotHappen) {
  const auto program = freeze(kGuest).value();
  for (const uint64_t idle_sleep_ms : {0, 60'000}) {
    start(idle_sleep_ms);
    create(*program, "a");
    EXPECT_EQ(output_in(*program, "a", "c"), "11\n");
    EXPECT_EQ(program->request_in(*cells_, "a", "t").code(), Code::kTrap);
    EXPECT_EQ(program->request_in(*cells_, "a", "s", {.deadline_ms = 20}).code(), Code::kDeadlineExceeded);
    EXPECT_EQ(program->request_in(*cells_, "a", "n").code(), Code::kHostError);
    EXPECT_EQ(program->request_in(*cells_, "a", "f", {.output_bytes_max = 5000}).code(),
              Code::kLimitExceeded);
    EXPECT_EQ(program->request_in(*cells_, "a", "x")->exit_code, 3U);  // it ends, and was not asked
    EXPECT_EQ(program->request_in(*cells_, "none", "c").code(), Code::kNotFound);
    EXPECT_EQ(output_in(*program, "a", "c"), "22\n");
    const auto other = freeze(kGuest).value();
    EXPECT_EQ(other->request_in(*cells_, "a", "c").code(), Code::kInvalidArgument);
    EXPECT_EQ(output_in(*program, "a", "c"), "33\n");
    cells_.reset();
  }
}

TEST_P(ProgramCellsTest, LibrariesThatAnswerRequestsHaveThem) {
  const cell::Blueprint made = blueprint(engine::text_to_wasm(kServing).value());
  const auto library = Program::freeze(made, pool_, {.setup = "and"}).value();
  start(0);
  create(*library, "a");
  EXPECT_EQ(output_in(*library, "a", "more"), "bnd\n");
  EXPECT_EQ(output_in(*library, "a", "more"), "cnd\n");
  EXPECT_EQ(library->request_in(*cells_, "a", "trap").code(), Code::kTrap);
  EXPECT_EQ(library->request_in(*cells_, "a", "x")->exit_code, 3U);
  EXPECT_EQ(output_in(*library, "a", "more"), "dnd\n");
}

TEST_P(ProgramCellsTest, WhatEndsWithItsRequestHasNone) {
  const auto program = freeze(kGuest, {.framing = Framing::kEndOfInput}).value();
  start(0);
  EXPECT_EQ(program->cell_kind(*cells_).code(), Code::kUnsupported);
}

// Goal: of a program that is not rewritten the functions are found that it waits in; with others than those
// it is not frozen, and says in which it waited.
TEST_P(ProgramTest, TheFunctionsOfAWaitAreFound) {
  if (GetParam() == Tier::kInterpreter) GTEST_SKIP() << "the interpreter does not tell its stack";
  const std::vector<uint8_t> plain = engine::text_to_wasm(kGuest).value();
  const std::vector<uint32_t> found = Program::find_wait(blueprint(plain), {}).value();
  EXPECT_EQ(found, (std::vector<uint32_t>{6, 11}));  // behind five imports: $read, _start
  const auto with = [&](std::vector<uint32_t> functions) {
    return freeze(kGuest, {.functions = std::make_shared<const std::vector<uint32_t>>(std::move(functions))});
  };
  const auto program = with(found).value();
  for (int i = 0; i < 3; i++) EXPECT_EQ(output_of(*program, "c"), "11\n");
  const auto other = with({11});
  EXPECT_EQ(other.code(), Code::kUnsupported);
  const auto* wait = dynamic_cast<const WaitInfo*>(other.status().attachment());
  ASSERT_NE(wait, nullptr);
  EXPECT_EQ(wait->functions, found);
  // Where it waits next counts only if it is to go on from there.
  EXPECT_EQ(program->extend("d").code(), Code::kLimitExceeded);  // too deep to be told
  EXPECT_TRUE(program->request("d").ok());
  EXPECT_TRUE(program->extend("c").ok());
  // What ends before it waits says so.
  const std::string ends = R"((module
    (import "wasi_snapshot_preview1" "fd_read" (func (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (func (export "_start"))))";
  EXPECT_EQ(Program::find_wait(blueprint(engine::text_to_wasm(ends).value()), {}).code(), Code::kExited);
}

}  // namespace
}  // namespace spore::program
