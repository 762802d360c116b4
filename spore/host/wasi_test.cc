// WASI as a value: what is saved, copied and limited.  What each function does is told by the programs in
// tests/wasi, and by the official suite.
#include "spore/host/wasi.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/host/wasi_files.h"
#include "spore/host/wasi_streams.h"
#include "tests/host_guest.h"
#include "tests/process.h"
#include "tests/wasi_binding.h"

namespace spore::host {
namespace {

using engine::GuestPtr;
using engine::Limits;
using test::TemporaryFolder;
using wasi::Errno;

// Passes on what it is given.  Memory: a buffer list at 0, its bytes at 1024, results at 16.
constexpr std::string_view kGuest = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "open") (param $length i32) (param $flags i32) (param $rights i64) (result i32)
    (call $path_open (i32.const 3) (i32.const 1) (i32.const 2048) (local.get $length) (local.get $flags)
      (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 16)))
  (func $buffer (param $length i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (local.get $length)))
  (func (export "read") (param $fd i32) (param $length i32) (result i32)
    (call $buffer (local.get $length))
    (call $fd_read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16)))
  (func (export "write") (param $fd i32) (param $length i32) (result i32)
    (call $buffer (local.get $length))
    (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16)))
  (func (export "seek") (param $fd i32) (param $offset i64) (param $whence i32) (result i32)
    (call $fd_seek (local.get $fd) (local.get $offset) (local.get $whence) (i32.const 16)))
  (func (export "close") (param $fd i32) (result i32) (call $fd_close (local.get $fd)))
  (func (export "stat") (param $fd i32) (result i32) (call $fd_filestat_get (local.get $fd) (i32.const 16)))
  (func (export "clock") (param $id i32) (result i32)
    (call $clock (local.get $id) (i64.const 0) (i32.const 16)))
  (func (export "random") (result i32) (call $random (i32.const 16) (i32.const 4)))
  ;; Sleeps by a relative clock, beside standard input if asked.
  (func (export "sleep") (param $ns i64) (param $with_input i32) (result i32)
    (i32.store8 (i32.const 4104) (i32.const 0))
    (i32.store (i32.const 4112) (i32.const 1))
    (i64.store (i32.const 4120) (local.get $ns))
    (i32.store8 (i32.const 4152) (i32.const 1))
    (i32.store (i32.const 4160) (i32.const 0))
    (call $poll (i32.const 4096) (i32.const 8192) (i32.add (i32.const 1) (local.get $with_input))
      (i32.const 16)))
  (func (export "exit") (param $code i32) (call $exit (local.get $code)))
  (func (export "many") (param $n i32) (result i32)
    (loop $again
      (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 16)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.const 0)))
)";

constexpr uint64_t kReads = wasi::kFdRead | wasi::kFdSeek | wasi::kFdTell | wasi::kFdFilestatGet;
constexpr uint64_t kReadsAndWrites = kReads | wasi::kFdWrite;

struct GuestOptions {
  WasiOptions wasi;
  Limits limits;
};

// The guest above in a world of its own.
class Guest {
 public:
  explicit Guest(GuestOptions options = {})
      : Guest(WasiConfig::create(options.wasi).value(), options.limits) {}
  explicit Guest(const std::shared_ptr<const WasiConfig>& config, const Limits& limits = {})
      : instance_(make(config, limits)) {}

  template <typename... Args>
  Result<uint32_t> call(std::string_view name, Args... args) {
    return instance_.function<uint32_t(Args...)>(name).value()(args...);
  }
  Result<uint32_t> open(std::string_view path, uint64_t rights = kReads, uint32_t flags = 0) {
    EXPECT_TRUE(instance_.write_string(GuestPtr{2048}, path).ok());
    return call("open", static_cast<uint32_t>(path.size()), flags, rights);
  }
  // The bytes read, or "errno N".
  std::string read(uint32_t fd, uint32_t length) {
    const uint32_t error = call("read", fd, length).value();
    if (error != 0) return fmt::format("errno {}", error);
    return instance_.read_string(GuestPtr{1024}, result()).value();
  }
  Result<uint32_t> write(uint32_t fd, std::string_view text) {
    EXPECT_TRUE(instance_.write_string(GuestPtr{1024}, text).ok());
    return call("write", fd, static_cast<uint32_t>(text.size()));
  }
  uint32_t result() { return static_cast<uint32_t>(result64()); }
  uint64_t result64() {
    uint64_t value = 0;
    std::memcpy(&value, instance_.read_bytes(GuestPtr{16}, 8).value().data(), 8);
    return value;
  }
  uint64_t clock(uint32_t id) {
    EXPECT_EQ(call("clock", id).value(), 0u);
    return result64();
  }
  Wasi& wasi() { return *instance_.wasi(); }
  Instance& instance() { return instance_; }

 private:
  static Instance make(const std::shared_ptr<const WasiConfig>& config, const Limits& limits) {
    return Instance::create(test::wasi_binding(kGuest), limits, nullptr, std::make_unique<Wasi>(config))
        .value();
  }

  Instance instance_;
};

uint32_t number(Errno error) { return static_cast<uint32_t>(error); }

void expect_error(const Status& status, Code code, std::string_view part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string_view::npos) << status.message();
}

class WasiTest : public ::testing::Test {
 protected:
  WasiTest() { folder_.write("text", "0123456789"); }

  std::shared_ptr<const WasiConfig> config(bool writable = false) const {
    return WasiConfig::create({.directories = {{folder_.path().native(), "/d", writable}}}).value();
  }

  TemporaryFolder folder_;
};

// --- the state as a value -----------------------------------------------------------------------------

TEST_F(WasiTest, CopiesShareFilesAndNotPositions) {
  const auto shared = config();
  Guest guest(shared);
  ASSERT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.read(4, 3), "012");
  const WasiState copy = guest.wasi().state();
  EXPECT_EQ(copy, guest.wasi().state());
  EXPECT_EQ(guest.read(4, 3), "345");
  EXPECT_NE(copy, guest.wasi().state());

  Guest other(shared);
  other.wasi().set_state(copy);
  EXPECT_EQ(other.read(4, 3), "345");
  guest.wasi().set_state(copy);
  EXPECT_EQ(guest.read(4, 3), "345");
}

TEST_F(WasiTest, AResetLeavesNothingBehind) {
  Guest guest(config());
  const WasiState fresh = guest.wasi().state();
  ASSERT_EQ(guest.open("text").value(), 0u);
  ASSERT_EQ(guest.call("close", 3u).value(), 0u);
  guest.clock(1);
  guest.wasi().reset();
  EXPECT_EQ(guest.wasi().state(), fresh);
  EXPECT_EQ(guest.read(4, 3), fmt::format("errno {}", number(Errno::kBadF)));
  EXPECT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.result(), 4u);
}

TEST_F(WasiTest, AClosedFileIsClosedOnTheHostWithItsLastCopy) {
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  const std::weak_ptr<const wasi::OpenFile> file = guest.wasi().state().descriptors[4].file;
  WasiState copy = guest.wasi().state();
  ASSERT_EQ(guest.call("close", 4u).value(), 0u);
  EXPECT_FALSE(file.expired());
  copy = {};
  EXPECT_TRUE(file.expired());
}

// --- saving and restoring -----------------------------------------------------------------------------

TEST_F(WasiTest, ASavedStateGoesOnWhereItWas) {
  const auto shared =
      WasiConfig::create(
          {.args = {"a", "b"}, .env = {"X=1"}, .directories = {{folder_.path().native(), "/d", true}}})
          .value();
  Guest guest(shared);
  ASSERT_EQ(guest.open("text", kReadsAndWrites).value(), 0u);
  EXPECT_EQ(guest.read(4, 4), "0123");
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  Guest other(shared);
  EXPECT_TRUE(other.wasi().restore(bytes).value().empty());
  EXPECT_EQ(other.wasi().state(), guest.wasi().state());
  EXPECT_EQ(other.read(4, 2), "45");
  EXPECT_EQ(other.write(4, "xy").value(), 0u);
  EXPECT_EQ(test::file_content(folder_.path() / "text"), "012345xy89");
}

TEST_F(WasiTest, DirectoriesAreFoundByTheirNames) {
  const TemporaryFolder empty;
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  const auto two =
      WasiConfig::create({.directories = {{empty.path().native(), "/e"}, {folder_.path().native(), "/d"}}})
          .value();
  Guest other(two);
  EXPECT_TRUE(other.wasi().restore(bytes).value().empty());
  EXPECT_EQ(other.read(4, 4), "0123");

  Guest without;
  const WasiState before = without.wasi().state();
  expect_error(without.wasi().restore(bytes).status(), Code::kInvalidArgument, "has a directory '/d'");
  EXPECT_EQ(without.wasi().state(), before);
}

// A lost descriptor keeps its number: what is opened next must not take its place.
TEST_F(WasiTest, FilesThatAreGoneOrChangedAreLostAndListed) {
  folder_.write("gone", "x");
  folder_.write("changed", "x");
  std::filesystem::create_directory(folder_.path() / "sub");
  Guest guest(config());
  ASSERT_EQ(guest.open("gone").value(), 0u);
  ASSERT_EQ(guest.open("changed").value(), 0u);
  ASSERT_EQ(guest.open("sub", 0, wasi::kOpenDirectory).value(), 0u);
  ASSERT_EQ(guest.open("text").value(), 0u);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  std::filesystem::remove(folder_.path() / "gone");
  folder_.write("changed", "xy");
  std::filesystem::remove(folder_.path() / "sub");
  folder_.write("sub", "a file now");

  const std::vector<Wasi::Lost> lost = guest.wasi().restore(bytes).value();
  ASSERT_EQ(lost.size(), 3u);
  EXPECT_EQ(lost[0].descriptor, 4u);
  EXPECT_EQ(lost[0].path, "/d/gone");
  EXPECT_EQ(lost[0].reason, "it is gone");
  EXPECT_EQ(lost[1].path, "/d/changed");
  EXPECT_EQ(lost[1].reason, "it has changed: 1 bytes then, 2 now");
  EXPECT_EQ(lost[2].reason, "it is no directory any more");
  for (const uint32_t fd : {4u, 5u, 6u})
    EXPECT_EQ(guest.read(fd, 1), fmt::format("errno {}", number(Errno::kBadF)));
  EXPECT_EQ(guest.read(7, 3), "012");
  ASSERT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.result(), 8u);
  EXPECT_EQ(guest.call("close", 4u).value(), 0u);
  ASSERT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.result(), 4u);
}

TEST_F(WasiTest, WhatWasWritableIsLostWhereItIsReadOnly) {
  Guest guest(config(true));
  ASSERT_EQ(guest.open("text", kReadsAndWrites).value(), 0u);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  Guest other(config(false));
  const std::vector<Wasi::Lost> lost = other.wasi().restore(bytes).value();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].reason, "the directory is read-only now");
}

// The bytes of a state may be an attacker's: its paths are a guest's, and lead nowhere else.
TEST_F(WasiTest, ASavedPathCannotLeaveItsDirectory) {
  const TemporaryFolder outside;
  outside.write("secret", "s");
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  SavedWasi saved = decode_wasi(guest.wasi().save().value()).value();
  for (const std::string& path : {std::string("../") + outside.path().filename().native() + "/secret",
                                  (outside.path() / "secret").native()}) {
    saved.state.descriptors[4].path = path;
    EXPECT_EQ(guest.wasi().restore(encode(saved)).value().size(), 1u) << path;
  }
}

TEST_F(WasiTest, TornAndDamagedStatesAreRefused) {
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  const WasiState before = guest.wasi().state();
  for (size_t length = 0; length < bytes.size(); length++) {
    EXPECT_EQ(guest.wasi().restore(std::span(bytes).first(length)).code(), Code::kCorruption) << length;
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  expect_error(guest.wasi().restore(longer).status(), Code::kCorruption, "bytes are left over");
  std::vector<uint8_t> newer = bytes;
  newer[4] = 2;
  expect_error(guest.wasi().restore(newer).status(), Code::kUnsupported,
               "format version 2, this build reads 1");
  EXPECT_EQ(guest.wasi().state(), before);
}

// A file as version 1 was, made by hand from docs/formats/wasi.md; later versions must go on reading it.
TEST_F(WasiTest, VersionOneIsReadForEver) {
  const std::vector<uint8_t> bytes = read_file(SPORE_SOURCE_DIR "/tests/data/wasi-state-1.bin", 4096).value();
  const SavedWasi saved = decode_wasi(bytes).value();
  EXPECT_EQ(encode(saved), bytes);
  const WasiState& state = saved.state;
  EXPECT_EQ(state.exit_code, 7u);
  EXPECT_EQ(state.input_position, 3u);
  EXPECT_EQ(state.random_counter, 4u);
  EXPECT_EQ(state.clock_ns, 5u);
  EXPECT_EQ(saved.monotonic_ns, 6u);
  EXPECT_EQ(state.args, (std::vector<std::string>{"prog", "arg"}));
  EXPECT_EQ(state.env, std::vector<std::string>{"A=1"});
  EXPECT_EQ(saved.directories, (std::vector<std::string>{"/data", "/tmp"}));
  ASSERT_EQ(state.descriptors.size(), 6u);
  const Descriptor& file = state.descriptors[4];
  EXPECT_EQ(state.descriptors[2].kind, DescriptorKind::kClosed);
  EXPECT_EQ(file.kind, DescriptorKind::kOpened);
  EXPECT_EQ(file.path, "a/b");
  EXPECT_EQ(file.position, 10u);
  EXPECT_EQ(file.flags, wasi::kAppend);
  EXPECT_EQ(saved.marks[4], (FileMark{.size = 100, .modify_ns = 1'000}));
  EXPECT_EQ(state.descriptors[5].kind, DescriptorKind::kLost);
}

TEST_F(WasiTest, TheMonotonicClockGoesOnAfterRestoring) {
  Guest guest;
  const uint64_t then = guest.clock(1);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  Guest other;
  ASSERT_TRUE(other.wasi().restore(bytes).ok());
  const uint64_t now = other.clock(1);
  EXPECT_GE(now, then);
  constexpr uint64_t kMinute = 60'000'000'000;
  EXPECT_LT(now - then, kMinute);
}

// --- determinism --------------------------------------------------------------------------------------

TEST_F(WasiTest, AClockAndASeedOfOnesOwnGiveTheSameEachTime) {
  const WasiOptions options{.clock = WasiClock{.start_ns = 5'000, .step_ns = 10}, .random_seed = 1};
  std::vector<uint64_t> runs[2];
  for (auto& run : runs) {
    Guest guest({.wasi = options});
    run.push_back(guest.clock(0));
    run.push_back(guest.clock(1));
    EXPECT_EQ(guest.call("sleep", uint64_t{3'600'000'000'000}, 0u).value(), 0u);  // an hour, at once
    run.push_back(guest.clock(1));
    for (int i = 0; i < 3; i++) {
      EXPECT_EQ(guest.call("random").value(), 0u);
      run.push_back(guest.result());
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_EQ(runs[0][0], 5'000u);
  EXPECT_EQ(runs[0][1], 10u);
  EXPECT_EQ(runs[0][2], 3'600'000'000'020u);
  EXPECT_NE(runs[0][3], runs[0][4]);
}

TEST_F(WasiTest, ACoarseClockIsCoarse) {
  constexpr uint64_t kMillisecond = 1'000'000;
  Guest guest({.wasi = {.clock_resolution_ns = kMillisecond}});
  for (const uint32_t id : {0u, 1u, 2u, 3u}) EXPECT_EQ(guest.clock(id) % kMillisecond, 0u);
}

// --- quotas -------------------------------------------------------------------------------------------

TEST_F(WasiTest, OpenFilesEndWithEmfile) {
  Guest guest(config(), {.open_files_max = 6});
  EXPECT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.open("text").value(), number(Errno::kMFile));
  EXPECT_EQ(guest.call("close", 4u).value(), 0u);
  EXPECT_EQ(guest.open("text").value(), 0u);
}

TEST_F(WasiTest, BytesEndTheCallAndTheNextHasAllOfThemAgain) {
  Guest guest(config(), {.io_bytes_max = 4});
  ASSERT_EQ(guest.open("text").value(), 0u);
  EXPECT_EQ(guest.read(4, 4), "0123");
  EXPECT_EQ(guest.read(4, 4), "4567");
  Guest other({.limits = {.io_bytes_max = 4}});
  EXPECT_EQ(other.write(1, "1234").value(), 0u);
  expect_error(other.write(1, "12345").status(), Code::kLimitExceeded, "(io_bytes_max=4)");
  EXPECT_EQ(other.wasi().take_output(), "1234");
}

TEST_F(WasiTest, CallsEndTheCall) {
  Guest guest({.limits = {.host_calls_max = 100}});
  EXPECT_EQ(guest.call("many", 100u).value(), 0u);
  expect_error(guest.call("many", 101u).status(), Code::kLimitExceeded, "(host_calls_max=100)");
}

TEST_F(WasiTest, CapturedOutputHasALimit) {
  Guest guest({.wasi = {.output_bytes_max = 5}});
  EXPECT_EQ(guest.write(1, "12345").value(), 0u);
  EXPECT_EQ(guest.write(2, "12345").value(), 0u);
  expect_error(guest.write(1, "6").status(), Code::kLimitExceeded, "(output_bytes_max=5)");
  EXPECT_EQ(guest.wasi().take_output(), "12345");
  EXPECT_EQ(guest.wasi().take_error(), "12345");
}

// --- streams and waiting ------------------------------------------------------------------------------

TEST_F(WasiTest, InputIsBytesAndThenItsEnd) {
  Guest guest;
  guest.wasi().set_input("abcd");
  EXPECT_EQ(guest.read(0, 3), "abc");
  EXPECT_EQ(guest.read(0, 3), "d");
  EXPECT_EQ(guest.read(0, 3), "");
}

TEST_F(WasiTest, AReadWaitsForAnInputThatSaysWait) {
  Guest guest;
  int asked = 0;
  guest.wasi().set_input(make_input([&](std::span<std::byte> into) -> Input::Read {
    if (++asked < 3) return {Input::Outcome::kWait};
    into[0] = std::byte{'x'};
    return {Input::Outcome::kData, 1};
  }));
  EXPECT_EQ(guest.read(0, 8), "x");
  EXPECT_EQ(asked, 3);
}

TEST_F(WasiTest, AWaitEndsAtTheDeadline) {
  const auto never = [](std::span<std::byte>) { return Input::Read{Input::Outcome::kWait}; };
  for (const std::string_view how : {"read", "sleep", "poll"}) {
    Guest guest({.limits = {.deadline_ms = 50}});
    guest.wasi().set_input(make_input(never));
    const auto begin = std::chrono::steady_clock::now();
    const Result<uint32_t> result =
        how == "read" ? guest.call("read", 0u, 8u)
                      : guest.call("sleep", uint64_t{60'000'000'000}, how == "poll" ? 1u : 0u);
    expect_error(result.status(), Code::kDeadlineExceeded, "(deadline_ms=50)");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  }
}

TEST_F(WasiTest, AWaitEndsWhenItIsCancelled) {
  Guest guest;
  guest.wasi().set_input(make_input([](std::span<std::byte>) { return Input::Read{Input::Outcome::kWait}; }));
  const engine::Canceller canceller = guest.instance().canceller();
  const std::jthread thread([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      canceller.cancel();
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(guest.call("read", 0u, 8u).code(), Code::kCancelled);
}

TEST_F(WasiTest, OutputGoesToItsSink) {
  Guest guest;
  std::string seen;
  guest.wasi().set_output(make_output([&](std::span<const std::byte> bytes) {
    seen.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }));
  EXPECT_EQ(guest.write(1, "to the sink").value(), 0u);
  EXPECT_EQ(seen, "to the sink");
  EXPECT_EQ(guest.wasi().take_output(), "");
}

TEST_F(WasiTest, AnExitEndsTheInstance) {
  Guest guest;
  const Status status = guest.instance().function<void(uint32_t)>("exit").value()(9);
  expect_error(status, Code::kExited, "the guest exited with code 9");
  EXPECT_EQ(guest.wasi().exit_code(), 9u);
  expect_error(guest.call("random").status(), Code::kUnavailable, "this instance has exited");
}

// --- files --------------------------------------------------------------------------------------------

TEST_F(WasiTest, FifosAndDevicesAreOfNoUse) {
  ASSERT_EQ(::mkfifo((folder_.path() / "fifo").c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/zero", folder_.path() / "zero");
  Guest guest(config());
  ASSERT_EQ(guest.open("fifo").value(), 0u);  // its type is found out when it is used
  EXPECT_EQ(guest.read(4, 1), fmt::format("errno {}", number(Errno::kBadF)));
  EXPECT_EQ(guest.call("stat", 4u).value(), number(Errno::kBadF));
  EXPECT_EQ(guest.call("close", 4u).value(), 0u);
  EXPECT_EQ(guest.open("zero").value(), number(Errno::kPerm));
  const auto devices = WasiConfig::create({.directories = {{"/dev", "/d"}}}).value();
  Guest other(devices);
  ASSERT_EQ(other.open("zero").value(), 0u);
  EXPECT_EQ(other.read(4, 1), fmt::format("errno {}", number(Errno::kBadF)));
}

// The kernel sends SIGXFSZ to whoever writes beyond RLIMIT_FSIZE: a guest would end its host.
TEST_F(WasiTest, TheHostsLimitOnFilesIsAnErrorAndNoSignal) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 12, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Guest guest(config(true));
  EXPECT_EQ(guest.open("text", kReadsAndWrites).value(), 0u);
  EXPECT_EQ(guest.call("seek", 4u, int64_t{10}, 0u).value(), 0u);
  EXPECT_EQ(guest.write(4, "abc").value(), 0u);
  EXPECT_EQ(guest.result(), 2u);  // as much as there is room for
  EXPECT_EQ(guest.write(4, "c").value(), number(Errno::kFBig));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(test::file_content(folder_.path() / "text"), "0123456789ab");
}

// A state of a guest has standard streams as they are, and nothing that a guest could not have.
TEST_F(WasiTest, ImpossibleDescriptorsAreRefused) {
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  const SavedWasi good = decode_wasi(guest.wasi().save().value()).value();
  const auto refused = [&](auto change) {
    SavedWasi bad = good;
    change(bad.state.descriptors);
    EXPECT_EQ(guest.wasi().restore(encode(bad)).code(), Code::kCorruption);
  };
  using Descriptors = std::vector<Descriptor>;
  refused([](Descriptors& all) { all[0].type = wasi::FileType::kDirectory; });
  refused([](Descriptors& all) { all[0].writable = true; });
  refused([](Descriptors& all) { all[1].directory = 9; });
  refused([](Descriptors& all) { all[3].directory = 1; });
  refused([](Descriptors& all) { all[3].path = "sub"; });
  refused([](Descriptors& all) { all[4].directory = 1; });
  refused([](Descriptors& all) { all[4].type = wasi::FileType::kBlockDevice; });
  refused([](Descriptors& all) { all[4].position = uint64_t{1} << 63; });
  refused([](Descriptors& all) { all[4].rights_base = uint64_t{1} << 40; });
  refused([](Descriptors& all) { all[4].path = std::string("a\0b", 3); });
}

// Regular files of /proc are this process's memory and secrets.
TEST_F(WasiTest, NoGuestSeesTheKernelsViewOfItsHost) {
  EXPECT_EQ(WasiConfig::create({.directories = {{"/proc", "/d"}}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(WasiConfig::create({.directories = {{"/sys", "/d"}}}).code(), Code::kInvalidArgument);
  Guest guest(WasiConfig::create({.directories = {{"/", "/d"}}}).value());
  for (const std::string_view path : {"proc/self/environ", "proc/self/maps", "proc/self/mem"}) {
    ASSERT_EQ(guest.open(path).value(), 0u) << path;
    EXPECT_EQ(guest.read(4, 1), fmt::format("errno {}", number(Errno::kBadF))) << path;
    ASSERT_EQ(guest.call("close", 4u).value(), 0u);
  }
  EXPECT_EQ(guest.open("proc/self/root/etc/passwd").value(), number(Errno::kLoop));
}

TEST_F(WasiTest, WhatIsMadeCountsAsAFewBytes) {
  Guest guest(config(true), {.io_bytes_max = 4096});
  EXPECT_EQ(guest.open("made", kReadsAndWrites, wasi::kOpenCreate).value(), 0u);
  Guest other(config(true), {.io_bytes_max = 4095});
  expect_error(other.open("another", kReadsAndWrites, wasi::kOpenCreate).status(), Code::kLimitExceeded,
               "(io_bytes_max=4095)");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "another"));
}

// A directory's reader is a descriptor of the host's, too.
TEST_F(WasiTest, RestoringIsHeldToTheLimitOfOpenFiles) {
  Guest guest(config());
  ASSERT_EQ(guest.open("text").value(), 0u);
  ASSERT_EQ(guest.open("text").value(), 0u);
  const std::vector<uint8_t> bytes = guest.wasi().save().value();
  expect_error(guest.wasi().restore(bytes, 1).status(), Code::kLimitExceeded,
               "2 open files (open_files_max=1)");
  EXPECT_TRUE(guest.wasi().restore(bytes, 2).ok());
}

TEST_F(WasiTest, AnExitOfAStartFunctionTellsItsCode) {
  const auto binding = test::wasi_binding(R"((module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (func $start (call $exit (i32.const 7))) (start $start)))");
  const Result<Instance> instance =
      Instance::create(binding, Limits(), nullptr, std::make_unique<Wasi>(WasiConfig::create({}).value()));
  EXPECT_EQ(instance.code(), Code::kExited);
  EXPECT_EQ(exit_code(instance.status()), 7u);
  EXPECT_EQ(exit_code(Status::not_found("x")), std::nullopt);
}

// The clock never shows what is not a multiple of its resolution, and time has an end: neither holds the
// guest.
TEST_F(WasiTest, ASleepUntilTheEndOfTimeEnds) {
  for (const uint64_t resolution : {uint64_t{1}, uint64_t{1'000}, uint64_t{1} << 62}) {
    Guest guest({.wasi = {.clock = WasiClock(), .clock_resolution_ns = resolution}});
    EXPECT_EQ(guest.call("sleep", UINT64_MAX, 0u).value(), 0u);
    EXPECT_EQ(guest.call("sleep", UINT64_MAX, 0u).value(), 0u);
  }
}

TEST_F(WasiTest, WorldsAreCheckedWhenTheyAreMade) {
  const std::string here = folder_.path().native();
  EXPECT_EQ(WasiConfig::create({.directories = {{here, "/d", true}, {here, "/d"}}}).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(WasiConfig::create({.directories = {{"/no/such/place", "/d"}}}).code(), Code::kNotFound);
  EXPECT_EQ(WasiConfig::create({.directories = {{folder_.path().native() + "/text", "/d"}}}).code(),
            Code::kIo);
  EXPECT_EQ(WasiConfig::create({.args = {std::string("a\0b", 3)}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(WasiConfig::create({.env = {"NAME"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(WasiConfig::create({.env = {"=value"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(WasiConfig::create({.directories = {{"/", ""}}}).code(), Code::kInvalidArgument);
}

TEST_F(WasiTest, AnInstanceWithoutAWorldSaysSo) {
  HostFunctions host;
  define_wasi(host);
  const Instance instance = test::host_guest(kGuest, {.host = host});
  expect_error(instance.function<uint32_t()>("random").value()().status(), Code::kHostError,
               "this instance was made without WASI");
}

}  // namespace
}  // namespace spore::host
