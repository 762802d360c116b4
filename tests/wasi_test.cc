// WASI preview 1 as programs meet it: guests in C (tests/wasi/), each call with good and with bad arguments,
// and attempts to get out of the directories that were given to them.
//
// Each test has a folder of its own with what a guest is given, /rw and /ro, and beside it what it must never
// reach.  All but /rw is compared before and after.

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kFailed = 1;
constexpr int kMisused = 2;
constexpr int kDeadline = 124;
constexpr int kInterrupted = 130;
constexpr int kTrapped = 134;

fs::path guests_folder() { return fs::path(SPORE_SOURCE_DIR) / "build" / "guests" / "wasi"; }
std::string guest(std::string_view program) { return (guests_folder() / program).native() + ".wasm"; }

void write_file(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

// All there is to see of what lies in a folder: names, kinds, modes, times, content.  Fifos are not opened.
void describe(const fs::path& path, std::string_view name, std::string& text) {
  struct stat stat{};
  if (::lstat(path.c_str(), &stat) != 0) {
    text += fmt::format("{} cannot be seen\n", name);
    return;
  }
  text += fmt::format("{} {:o} {} links {} bytes {}.{:09}", name, stat.st_mode, stat.st_nlink,
                      S_ISDIR(stat.st_mode) ? 0 : stat.st_size, stat.st_mtim.tv_sec, stat.st_mtim.tv_nsec);
  if (S_ISLNK(stat.st_mode)) text += " -> " + fs::read_symlink(path).native();
  if (S_ISREG(stat.st_mode)) text += " [" + file_content(path) + "]";
  text += '\n';
  if (!S_ISDIR(stat.st_mode)) return;
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.insert(entry.path().filename().native());
  for (const std::string& each : names) describe(path / each, fmt::format("{}/{}", name, each), text);
}

std::string described(const fs::path& path) {
  std::string text;
  describe(path, path.filename().native(), text);
  return text;
}

// A guest's world.
class WasiRunTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(guests_folder())) {
      GTEST_SKIP() << "the guests are not built: run tools/guests.sh, which needs clang-19 and wasi-libc";
    }
    fs::create_directories(root() / "outside" / "directory");
    write_file(root() / "secret", "secret");
    write_file(root() / "outside" / "file", "outside");
    fs::create_symlink("file", root() / "outside" / "link");
    fs::create_directory(root() / "rw");
    fs::create_directories(root() / "ro" / "directory");
    fs::create_directory(root() / "ro" / "empty");
    write_file(root() / "ro" / "file", "read only");
    write_file(root() / "ro" / "directory" / "below", "below");
    fs::create_symlink("file", root() / "ro" / "link");
    before_ = surroundings();
  }

  const fs::path& root() const { return folder_.path(); }
  fs::path rw() const { return root() / "rw"; }

  // All but what the guest may change.
  std::string surroundings() const {
    std::string text;
    for (const char* name : {"secret", "outside", "ro"}) text += described(root() / name);
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(root())) names.insert(entry.path().filename().native());
    for (const std::string& name : names) text += name + "\n";
    return text;
  }
  void expect_untouched() const { EXPECT_EQ(surroundings(), before_); }
  // After a test has put something beside it itself.
  void remember() { before_ = surroundings(); }

  Words command(std::string_view program, const Words& arguments, const Words& flags = {}) const {
    Words words{SPORE_CLI, "run", "--tier", "baseline", guest(program)};
    words.insert(words.end(), {"--dir", rw().native() + "::/rw:rw"});
    words.insert(words.end(), {"--dir", (root() / "ro").native() + "::/ro"});
    words.insert(words.end(), flags.begin(), flags.end());
    words.emplace_back("--");
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  ProcessResult run(std::string_view program, const Words& arguments, const Words& flags = {},
                    const ProcessOptions& options = {}) const {
    return run_process(command(program, arguments, flags), options);
  }
  // The guest finds all as it should be.
  void expect_passes(std::string_view program, const Words& arguments, const Words& flags = {},
                     const ProcessOptions& options = {}) const {
    const ProcessResult result = run(program, arguments, flags, options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    expect_untouched();
  }

  // A name in the folder of which the other end is open: neither readers nor writers meet an end of it.
  struct Fifo {
    std::string path;
    UniqueFd end;
  };
  Fifo make_fifo() {
    Fifo fifo{(root() / "fifo").native(), UniqueFd()};
    EXPECT_EQ(::mkfifo(fifo.path.c_str(), 0600), 0);
    fifo.end = UniqueFd(::open(fifo.path.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(fifo.end.valid());
    remember();
    return fifo;
  }

  TemporaryFolder folder_;
  std::string before_;
};

// --- what each call does ------------------------------------------------------------------------------

struct GuestCase {
  const char* program;
  const char* name;
};
void PrintTo(const GuestCase& guest_case, std::ostream* out) {
  *out << guest_case.program << ' ' << guest_case.name;
}

// Those that need no more than the folder.  `own` ones have a test further below.
constexpr GuestCase kCases[] = {
    {"args", "argument_pointers"},
    {"args", "empty_environment"},
    {"clocks", "resolutions"},
    {"clocks", "realtime"},
    {"clocks", "monotonic"},
    {"clocks", "precisions"},
    {"clocks", "processor"},
    {"clocks", "unknown"},
    {"clocks", "pointers"},
    {"directories", "list"},
    {"directories", "empty"},
    {"directories", "rewind_sees_changes"},
    {"directories", "cookies"},
    {"directories", "two_descriptors"},
    {"directories", "truncated"},
    {"directories", "unlink_while_reading"},
    {"directories", "create_while_reading"},
    {"directories", "long_names"},
    {"directories", "bad_cookies"},
    {"directories", "not_a_file"},
    {"directories", "preopens"},
    {"directories", "create_and_remove"},
    {"directories", "removed"},
    {"directories", "deep"},
    {"files", "write_and_read"},
    {"files", "no_buffers"},
    {"files", "many_buffers"},
    {"files", "overlapping_buffers"},
    {"files", "large"},
    {"files", "positioned"},
    {"files", "seek"},
    {"files", "seek_beyond_the_end"},
    {"files", "far_positions"},
    {"files", "two_descriptors"},
    {"files", "append"},
    {"files", "append_switched"},
    {"files", "set_size"},
    {"files", "allocate"},
    {"files", "advise"},
    {"files", "sync"},
    {"files", "set_times"},
    {"files", "set_times_wrongly"},
    {"files", "filestat"},
    {"files", "fdstat"},
    {"files", "open_flags_each"},
    {"files", "open_directories"},
    {"files", "unknown_flags"},
    {"files", "bad_descriptors"},
    {"files", "wrong_kind"},
    {"files", "close"},
    {"files", "close_preopen"},
    {"files", "renumber"},
    {"files", "renumber_preopen"},
    {"files", "renumber_stdout"},
    {"files", "unlinked"},
    {"files", "no_other_descriptors"},
    {"links", "readlink_each"},
    {"links", "symlinks"},
    {"links", "dangling"},
    {"links", "loops"},
    {"links", "chains"},
    {"links", "hard_links"},
    {"links", "hard_links_to_symlinks"},
    {"memory", "results"},
    {"memory", "open_without_a_place_for_the_result"},
    {"memory", "paths"},
    {"memory", "lengths"},
    {"memory", "buffers"},
    {"memory", "up_to_the_end"},
    {"memory", "sums"},
    {"memory", "over_one_another"},
    {"memory", "padding"},
    {"memory", "unaligned"},
    {"paths", "spellings"},
    {"paths", "trailing_slashes"},
    {"paths", "empty"},
    {"paths", "long_paths"},
    {"paths", "zero_bytes"},
    {"paths", "text"},
    {"paths", "filestat"},
    {"paths", "set_times"},
    {"paths", "unlink_files"},
    {"paths", "rename_files"},
    {"paths", "rename_directories"},
    {"poll", "relative"},
    {"poll", "absolute"},
    {"poll", "the_earliest"},
    {"poll", "unknown_clocks"},
    {"poll", "clocks_of_the_processor"},
    {"poll", "far_away"},
    {"poll", "files"},
    {"poll", "streams"},
    {"poll", "ended_input"},
    {"poll", "bad_descriptors"},
    {"poll", "directories"},
    {"poll", "nothing_to_wait_for"},
    {"poll", "unknown_kinds"},
    {"poll", "many"},
    {"poll", "too_many"},
    {"poll", "pointers"},
    {"process", "raise"},
    {"process", "yield"},
    {"process", "random_bytes"},
    {"process", "sockets"},
    {"readonly", "read_it"},
    {"readonly", "open_for_writing"},
    {"readonly", "create"},
    {"readonly", "truncate"},
    {"readonly", "by_descriptor"},
    {"readonly", "directories"},
    {"readonly", "unlink_files"},
    {"readonly", "rename_files"},
    {"readonly", "hard_links"},
    {"readonly", "symlinks"},
    {"readonly", "set_times"},
    {"rights", "of_preopens"},
    {"rights", "as_asked_for"},
    {"rights", "each_of_a_file"},
    {"rights", "each_of_a_directory"},
    {"rights", "widening"},
    {"rights", "inheriting"},
    {"rights", "truncation"},
    {"rights", "of_streams"},
    {"stdio", "write_both"},
    {"stdio", "what_they_are"},
};

constexpr GuestCase kOwnCases[] = {
    {"args", "arguments"},
    {"args", "print"},
    {"args", "environment"},
    {"args", "environment_pointers"},
    {"files", "too_many"},
    {"files", "file_size_limit"},
    {"files", "full_disk"},
    {"poll", "silent_input"},
    {"poll", "sleep_long"},
    {"poll", "sleep_until"},
    {"poll", "wait_for_input"},
    {"process", "exit_with"},
    {"process", "exit_of_libc"},
    {"process", "do_abort"},
    {"process", "unreachable"},
    {"process", "exit_from_below"},
    {"process", "endless_loop"},
    {"process", "endless_yield"},
    {"process", "print_random"},
    {"stdio", "read_input"},
    {"stdio", "copy"},
    {"stdio", "not_blocking"},
    {"stdio", "flood"},
    {"stdio", "flood_at_once"},
    {"stdio", "flood_file"},
    {"stdio", "read_for_ever"},
    {"stdio", "random_for_ever"},
    {"stdio", "write_nothing_for_ever"},
    {"stdio", "wait_for_input"},
    {"stdio", "fill_the_pipe"},
    {"stdio", "print_the_error"},
};

class WasiGuestTest : public WasiRunTest, public testing::WithParamInterface<GuestCase> {};

TEST_P(WasiGuestTest, FindsAllAsItShouldBe) { expect_passes(GetParam().program, {GetParam().name}); }

INSTANTIATE_TEST_SUITE_P(Wasi, WasiGuestTest, testing::ValuesIn(kCases), [](const auto& each) {
  return fmt::format("{}_{}", each.param.program, each.param.name);
});

// A case that is in a guest and not in the lists above would never run.
TEST_F(WasiRunTest, EveryCaseOfEveryGuestIsListed) {
  std::set<std::string> listed;
  std::set<std::string> programs;
  const auto add = [&](const GuestCase& each) {
    EXPECT_TRUE(listed.insert(fmt::format("{}.{}", each.program, each.name)).second) << each.name;
    programs.insert(each.program);
  };
  std::ranges::for_each(kCases, add);
  std::ranges::for_each(kOwnCases, add);
  std::set<std::string> there;
  for (const std::string& program : programs) {
    const std::string names = run(program, {}).out;
    for (size_t begin = 0; begin < names.size();) {
      const size_t end = names.find('\n', begin);
      there.insert(fmt::format("{}.{}", program, names.substr(begin, end - begin)));
      begin = end + 1;
    }
  }
  EXPECT_EQ(there, listed);
  programs.insert({"escape", "escape_race"});
  std::set<std::string> sources;
  for (const auto& entry : fs::directory_iterator(SPORE_SOURCE_DIR "/tests/wasi")) {
    if (entry.path().extension() == ".c") sources.insert(entry.path().stem().native());
  }
  EXPECT_EQ(sources, programs);
}

// --- the command line ---------------------------------------------------------------------------------

TEST_F(WasiRunTest, ArgumentsReachTheGuest) {
  expect_passes("args", {"arguments", "", "two words", "\xc3\xbc\"\n", "-x", "--dir"});
}

TEST_F(WasiRunTest, ArgumentsMayBeGivenByFlags) {
  const ProcessResult result = run_process({SPORE_CLI, "run", guest("args"), "--arg", "print", "--arg", "--x",
                                            "--arg", "", "--arg", "two words", "--", "behind"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "[--x]\n[]\n[two words]\n[behind]\n");
}

TEST_F(WasiRunTest, TheEnvironmentIsWhatWasGiven) {
  const Words flags{"--env", "A=1", "--env", "EMPTY=", "--env", "EQUALS=a=b", "--env", "LINES=one\ntwo"};
  expect_passes("args", {"environment"}, flags, {.environment = {{"OTHER", "of the host"}}});
  expect_passes("args", {"environment_pointers"}, {"--env", "A=1"});
}

// --- streams ------------------------------------------------------------------------------------------

TEST_F(WasiRunTest, InputIsRead) {
  ProcessOptions options;
  options.input_path = (root() / "input").native();
  write_file(options.input_path, "one\ntwo\n");
  remember();
  expect_passes("stdio", {"read_input"}, {}, options);
}

TEST_F(WasiRunTest, OutputAndErrorsAreKeptApart) {
  const ProcessResult result = run("stdio", {"write_both"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "to the output\nabc\n");
  EXPECT_EQ(result.err, "to the errors\n");
}

// Every byte, through pipes and through files.
TEST_F(WasiRunTest, InputIsCopiedToOutput) {
  std::string bytes(3'000'001, '\0');
  uint32_t random = 12345;
  for (char& byte : bytes) byte = static_cast<char>((random = random * 1664525 + 1013904223) >> 24);
  ProcessOptions options;
  options.input_path = (root() / "input").native();
  write_file(options.input_path, bytes);
  remember();
  const ProcessResult piped = run("stdio", {"copy"}, {}, options);
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_TRUE(piped.out == bytes);
  options.output_path = rw() / "output";
  const ProcessResult to_file = run("stdio", {"copy"}, {}, options);
  EXPECT_EQ(to_file.exit_code, 0) << to_file.err;
  EXPECT_TRUE(file_content(options.output_path) == bytes);
  expect_untouched();
}

TEST_F(WasiRunTest, WaitingForInputMayHaveATimeout) {
  const Fifo silent = make_fifo();
  expect_passes("poll", {"silent_input"}, {}, {.input_path = silent.path});
}

TEST_F(WasiRunTest, InputMayBeReadWithoutBlocking) {
  const Fifo silent = make_fifo();
  expect_passes("stdio", {"not_blocking"}, {}, {.input_path = silent.path});
}

TEST_F(WasiRunTest, AFullDeviceIsAnError) {
  const ProcessResult result = run("stdio", {"print_the_error"}, {}, {.output_path = "/dev/full"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "NOSPC\n");
}

// An error for the guest (its own check ends it), or the end of the process, as of every other program.
TEST_F(WasiRunTest, OutputThatNobodyWantsEndsTheProgram) {
  Words words{"bash", "-c", R"("$0" "$@" | head -c 1; echo " ${PIPESTATUS[0]}")"};
  const Words spore = command("stdio", {"flood"});
  words.insert(words.end(), spore.begin(), spore.end());
  const ProcessResult result = run_process(words);
  EXPECT_TRUE(result.out == "x 1\n" || result.out == fmt::format("x {}\n", 128 + SIGPIPE)) << result.out;
}

// --- limits -------------------------------------------------------------------------------------------

class WasiFloodTest : public WasiRunTest, public testing::WithParamInterface<const char*> {
 protected:
  void expect_stopped(const ProcessOptions& options) {
    const ProcessResult result = run("stdio", {GetParam()}, {"--io-bytes-max", "16MiB"}, options);
    EXPECT_EQ(result.exit_code, kFailed);
    EXPECT_TRUE(has(result.err, "io_bytes_max"));
    EXPECT_LE(result.out.size(), size_t{16} << 20);
    expect_untouched();
  }
};

TEST_P(WasiFloodTest, IsStopped) { expect_stopped({.output_path = "/dev/null", .input_path = "/dev/zero"}); }

INSTANTIATE_TEST_SUITE_P(Wasi, WasiFloodTest,
                         testing::Values("flood", "flood_at_once", "flood_file", "read_for_ever",
                                         "random_for_ever"),
                         [](const auto& each) { return std::string(each.param); });

TEST_F(WasiRunTest, AFloodThroughAPipeIsStopped) {
  const ProcessResult result = run("stdio", {"flood"}, {"--io-bytes-max", "16MiB"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_TRUE(has(result.err, "io_bytes_max"));
  EXPECT_GE(result.out.size(), size_t{15} << 20);
  EXPECT_LE(result.out.size(), size_t{16} << 20);
}

TEST_F(WasiRunTest, ManyOpenFilesAreTooMany) { expect_passes("files", {"too_many"}); }

TEST_F(WasiRunTest, HowManyFilesAreTooManyIsAnOption) {
  expect_passes("files", {"too_many", "20"}, {"--open-files-max", "20"});
}

// A guest that waits or goes on without end, and how it is run.
struct Endless {
  const char* program;
  const char* name;
  bool silent_input = false;
  bool unread_output = false;
};
void PrintTo(const Endless& endless, std::ostream* out) { *out << endless.program << ' ' << endless.name; }

class WasiEndlessTest : public WasiRunTest, public testing::WithParamInterface<Endless> {
 protected:
  ProcessOptions options() {
    fifo_ = make_fifo();
    ProcessOptions options;
    if (GetParam().silent_input) options.input_path = fifo_.path;
    if (GetParam().unread_output) options.output_path = fifo_.path;
    return options;
  }
  Fifo fifo_;
};

TEST_P(WasiEndlessTest, EndsAtTheDeadline) {
  const auto begin = std::chrono::steady_clock::now();
  const ProcessResult result =
      run(GetParam().program, {GetParam().name}, {"--deadline-ms", "300"}, options());
  EXPECT_EQ(result.exit_code, kDeadline) << result.err;
  EXPECT_TRUE(has(result.err, "waiting\n"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
  expect_untouched();
}

TEST_P(WasiEndlessTest, EndsByAnInterrupt) {
  Process process(command(GetParam().program, {GetParam().name}, {"--deadline-ms", "none"}), options());
  ASSERT_TRUE(process.wait_for_error_text("waiting\n"));
  process.send(SIGINT);
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, kInterrupted) << result.err;
  EXPECT_TRUE(has(result.err, "the call was cancelled\n"));
  expect_untouched();
}

INSTANTIATE_TEST_SUITE_P(
    Wasi, WasiEndlessTest,
    testing::Values(Endless{"poll", "sleep_long"}, Endless{"poll", "sleep_until"},
                    Endless{"poll", "wait_for_input", true}, Endless{"stdio", "wait_for_input", true},
                    Endless{"stdio", "fill_the_pipe", false, true},
                    Endless{"stdio", "write_nothing_for_ever"}, Endless{"process", "endless_loop"},
                    Endless{"process", "endless_yield"}),
    [](const auto& each) { return fmt::format("{}_{}", each.param.program, each.param.name); });

// A file system of its own for one process, made as root or in a namespace where one is it.
TEST_F(WasiRunTest, AFullDiskIsAnError) {
  Words words;
  for (const char* flags : {"-m", "-rm"}) {
    const Words probe{"unshare", flags, "mount", "-t", "tmpfs", "-o", "size=256k", "none", rw().native()};
    if (run_process(probe).exit_code != 0) continue;
    words = {"unshare",    flags, "sh", "-c", R"(mount -t tmpfs -o size=256k none "$0" && exec "$@")",
             rw().native()};
    break;
  }
  if (words.empty()) GTEST_SKIP() << "no small file system can be made here: unshare and mount are refused";
  const Words spore = command("files", {"full_disk"});
  words.insert(words.end(), spore.begin(), spore.end());
  const ProcessResult result = run_process(words);
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

// A host's limit on the size of its files comes as a signal, SIGXFSZ; that must not be its end.
TEST_F(WasiRunTest, AFileSizeLimitOfTheHostsIsAnError) {
  Words words{"bash", "-c", R"(ulimit -f 1024 && exec "$0" "$@")"};
  const Words spore = command("files", {"file_size_limit"});
  words.insert(words.end(), spore.begin(), spore.end());
  const ProcessResult result = run_process(words);
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

// --- ends of programs ---------------------------------------------------------------------------------

TEST_F(WasiRunTest, ExitCodesAreTheGuests) {
  for (const int code : {0, 1, 2, 42, 124, 134, 255}) {
    const ProcessResult result = run("process", {"exit_with", std::to_string(code)});
    EXPECT_EQ(result.exit_code, code);
    EXPECT_EQ(result.out, "not lost");
    EXPECT_EQ(result.err, "");
  }
}

// Exit codes of processes have eight bits: what has more must not look like success.
TEST_F(WasiRunTest, ExitCodesThatDoNotFitAreFailures) {
  for (const char* code : {"256", "512", "65536", "0x80000000", "0xffffff00"}) {
    const ProcessResult result = run("process", {"exit_with", code});
    EXPECT_NE(result.exit_code, 0) << code;
    EXPECT_EQ(result.out, "not lost");
  }
}

TEST_F(WasiRunTest, ExitEndsTheGuestAtOnce) {
  const ProcessResult result = run("process", {"exit_from_below"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.out, "");
  const ProcessResult libc = run("process", {"exit_of_libc"});
  EXPECT_EQ(libc.exit_code, 7);
  EXPECT_EQ(libc.out, "flushed");
}

TEST_F(WasiRunTest, TrapsAreToldFromExits) {
  for (const char* name : {"do_abort", "unreachable"}) {
    const ProcessResult result = run("process", {name});
    EXPECT_EQ(result.exit_code, kTrapped);
    EXPECT_TRUE(has(result.err, "unreachable"));
  }
}

TEST_F(WasiRunTest, RandomNumbersAreOthersEachTime) {
  EXPECT_NE(run("process", {"print_random"}).out, run("process", {"print_random"}).out);
}

// --- modules that no compiler makes -------------------------------------------------------------------

class WasiModuleTest : public WasiRunTest {
 protected:
  ProcessResult run_text(std::string_view text, const Words& flags = {}) const {
    Words words{SPORE_CLI, "run", folder_.write("guest.wat", text)};
    words.insert(words.end(), flags.begin(), flags.end());
    return run_process(words);
  }
  static std::string module(std::string_view memory) {
    return fmt::format(R"((module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
      {}
      (func $fault (param i32) (if (i32.ne (local.get 0) (i32.const 21)) (then unreachable)))
      (func (export "_start")
        (drop (call $mkdir (i32.const 3) (i32.const 0) (i32.const 0)))
        (drop (call $random (i32.const 0) (i32.const 0)))
        (call $fault (call $mkdir (i32.const 3) (i32.const 0) (i32.const 1)))
        (call $fault (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (call $fault (call $random (i32.const 0) (i32.const 16)))
        (call $fault (call $clock (i32.const 0) (i64.const 0) (i32.const 0)))
        (call $fault (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 0) (i64.const 0)
          (i64.const 0) (i32.const 0) (i32.const 32)))
        (call $fault (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
    )",
                       memory);
  }
};

// Without a memory there is no address: FAULT.
TEST_F(WasiModuleTest, AGuestMayHaveNoMemory) {
  const Words flags{"--dir", rw().native() + "::/rw:rw"};
  for (const char* memory : {"", R"((memory (export "memory") 0))"}) {
    const ProcessResult result = run_text(module(memory), flags);
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
}

TEST_F(WasiModuleTest, TheMemoryMustHaveItsName) {
  const Words flags{"--dir", rw().native() + "::/rw:rw"};
  for (const char* memory : {"(memory 1)", R"((memory (export "other") 1))",
                             R"((memory 1) (global (export "memory") i32 (i32.const 0)))"}) {
    const ProcessResult result = run_text(module(memory), flags);
    EXPECT_TRUE(result.exit_code == 0 || result.exit_code == kMisused) << result.exit_code << result.err;
  }
}

// 4 GiB: the last address is 2^32 - 1, and nothing wraps around behind it.
TEST_F(WasiModuleTest, TheLargestMemoryHasAnEnd) {
  const ProcessResult result = run_text(R"((module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 65536)
    (func $is (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
    (func (export "_start")
      (call $is (call $random (i32.const -16) (i32.const 16)) (i32.const 0))
      (call $is (call $random (i32.const -16) (i32.const 17)) (i32.const 21))
      (call $is (call $random (i32.const -1) (i32.const -1)) (i32.const 21))
      (i32.store (i32.const 0) (i32.const -16)) (i32.store (i32.const 4) (i32.const 17))
      (call $is (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)) (i32.const 21))
      (i32.store (i32.const 4) (i32.const 0))
      (call $is (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -4)) (i32.const 0))
      (call $is (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const -3)) (i32.const 21))
      (call $is (call $write (i32.const 1) (i32.const -8) (i32.const 2) (i32.const 16)) (i32.const 21))))
  )",
                                        {"--memory-bytes-max", "4GiB"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

// The start function runs before anybody has seen the instance; WASI is there for it, or says that it is not.
TEST_F(WasiModuleTest, TheStartFunctionMayPrint) {
  const ProcessResult result = run_text(R"((module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\02\00\00\00hi")
    (func $begin (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
    (start $begin)
    (func (export "_start")))
  )");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "hi");
}

TEST_F(WasiModuleTest, TheStartFunctionMayExit) {
  const ProcessResult result = run_text(R"((module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func $begin (call $exit (i32.const 9)))
    (start $begin)
    (func (export "_start")))
  )");
  EXPECT_TRUE(result.exit_code == 9 || result.exit_code == kFailed) << result.exit_code << result.err;
}

TEST_F(WasiModuleTest, ImportsAreHeldToTheirTypes) {
  const ProcessResult unknown = run_text(R"((module (import "wasi_snapshot_preview1" "fd_frobnicate" (func))
    (func (export "_start"))))");
  EXPECT_EQ(unknown.exit_code, kMisused) << unknown.err;
  EXPECT_TRUE(has(unknown.err, "fd_frobnicate"));
  const ProcessResult other =
      run_text(R"((module (import "wasi_snapshot_preview1" "fd_close" (func (param i64)))
    (func (export "_start"))))");
  EXPECT_EQ(other.exit_code, kMisused) << other.err;
  EXPECT_TRUE(has(other.err, "fd_close"));
}

// --- escapes ------------------------------------------------------------------------------------------

// One call.  Words may begin with "N:", then they are below that descriptor, else below /rw; {root} is the
// folder that /rw lies in.
struct Attempt {
  const char* operation;
  std::vector<const char*> words;
  const char* expected;  // error names, with | in between
  const char* content = nullptr;
};

void PrintTo(const Attempt& attempt, std::ostream* out) {
  *out << attempt.operation;
  for (const char* word : attempt.words) *out << ' ' << word;
}

// "open_inside_UP_UP_secret" and the like; the index makes it the only one.
std::string attempt_name(const testing::TestParamInfo<Attempt>& info) {
  std::string name = fmt::format("{:02}_{}", info.index, info.param.operation);
  for (const char* word : info.param.words) {
    name += '_';
    for (std::string_view rest = word; !rest.empty(); rest.remove_prefix(1)) {
      const bool up = rest.starts_with("..");
      if (up) rest.remove_prefix(1);
      const char c = rest.front();
      name += up ? "UP" : std::string(1, std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_');
    }
  }
  return name;
}

class WasiEscapeTest : public WasiRunTest, public testing::WithParamInterface<Attempt> {
 protected:
  void SetUp() override {
    WasiRunTest::SetUp();
    if (IsSkipped()) return;
    fs::create_directories(rw() / "inside" / "deep");
    fs::create_directory(rw() / "empty");
    write_file(rw() / "file", "own");
    write_file(rw() / "inside" / "file", "inside");
    const auto link = [&](std::string_view target, std::string_view name) {
      fs::create_symlink(with_root(target), rw() / name);
    };
    // These stay inside.
    link("inside/file", "to_file");
    link("inside", "to_inside");
    link("../file", "inside/up");
    link("../../inside/../file", "inside/deep/around");
    // These do not.
    link("../secret", "out");
    link("{root}/secret", "out_absolute");
    link("inside/deep/../../../secret", "out_around");
    link("out_directory/file", "out_by_a_link");
    link("chain2", "chain1");
    link("inside/chain3", "chain2");
    link("../../secret", "inside/chain3");
    link("../outside/new", "out_missing");
    link("{root}/rw/file", "absolute");
    link("/etc/passwd", "passwd");
    link("../outside", "out_directory");
    link("{root}/outside", "out_directory_absolute");
    link("/", "slash");
    link("..", "parent");
    link("inside/../..", "parent_around");
    link("/proc/self/root/etc/passwd", "magic");
    link("/proc/self/cwd", "magic_directory");
    // Neither files nor directories.
    EXPECT_EQ(::mkfifo((rw() / "fifo").c_str(), 0666), 0);
    link("fifo", "to_fifo");
    make_socket(rw() / "socket");
  }

  std::string with_root(std::string_view text) const {
    std::string result(text);
    const size_t at = result.find("{root}");
    if (at != std::string::npos) result.replace(at, 6, root().native());
    return result;
  }

  static void make_socket(const fs::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& name = path.native();
    ASSERT_LT(name.size(), sizeof address.sun_path);
    std::ranges::copy(name, address.sun_path);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }

  ProcessResult attempt(const Attempt& attempt) {
    Words words{attempt.operation};
    for (const char* word : attempt.words) words.push_back(with_root(word));
    const Words flags{"--dir", "/::/all", "--dir", "/dev::/dev:rw"};
    const ProcessResult result = run("escape", words, flags);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::string error = result.out.substr(0, result.out.find('\n'));
    EXPECT_TRUE(has(fmt::format("|{}|", attempt.expected), fmt::format("|{}|", error))) << result.out;
    if (attempt.content != nullptr) {
      EXPECT_TRUE(has(result.out, fmt::format("[{}]\n", attempt.content)));
    }
    for (const char* secret : {"[secret]", "[outside]", "root:"}) {
      EXPECT_EQ(result.out.find(secret), std::string::npos) << result.out;
    }
    expect_untouched();
    return result;
  }
};

TEST_P(WasiEscapeTest, IsContained) { static_cast<void>(attempt(GetParam())); }

const std::vector<Attempt> kInside{
    {"open", {"file"}, "SUCCESS", "own"},
    {"open", {"inside/../file"}, "SUCCESS", "own"},
    {"open", {"inside/deep/../../inside/file"}, "SUCCESS", "inside"},
    {"open", {"to_file"}, "SUCCESS", "inside"},
    {"open", {"to_inside/file"}, "SUCCESS", "inside"},
    {"open", {"inside/up"}, "SUCCESS", "own"},
    {"open", {"to_inside/../file"}, "SUCCESS", "own"},
    {"open", {"inside/deep/around"}, "SUCCESS", "own"},
    {"write", {"to_file"}, "SUCCESS", "inside"},
    {"create", {"to_inside/new"}, "SUCCESS"},
    {"list", {"to_inside"}, "SUCCESS", "deep"},
    {"stat", {"to_inside/up"}, "SUCCESS"},
    {"mkdir", {"to_inside/new"}, "SUCCESS"},
    {"rmdir", {"to_inside/../empty"}, "SUCCESS"},
    {"rename", {"to_inside/file", "to_inside/deep/file"}, "SUCCESS"},
    {"link", {"to_inside/file", "to_inside/deep/file"}, "SUCCESS"},
    {"unlink", {"to_inside/file"}, "SUCCESS"},
    {"open", {"4:directory/../file"}, "SUCCESS", "read only"},
};
INSTANTIATE_TEST_SUITE_P(Inside, WasiEscapeTest, testing::ValuesIn(kInside), attempt_name);

const std::vector<Attempt> kDotDot{
    {"open", {".."}, "PERM"},
    {"open", {"../"}, "PERM"},
    {"open", {"../."}, "PERM"},
    {"open", {"./.."}, "PERM"},
    {"open", {"../secret"}, "PERM"},
    {"open", {"./../secret"}, "PERM"},
    {"open", {".././secret"}, "PERM"},
    {"open", {"..//secret"}, "PERM"},
    {"open", {"inside/../../secret"}, "PERM"},
    {"open", {"inside/deep/../../../secret"}, "PERM"},
    {"open", {"inside/deep/../..//.././secret"}, "PERM"},
    {"open", {"to_inside/../../secret"}, "PERM"},
    {"open", {"inside/../../rw/file"}, "PERM"},
    {"open", {"../rw/file"}, "PERM"},
    {"open", {"../../../../../../../../../../../../../../../../etc/passwd"}, "PERM"},
    {"open", {"4:../rw/file"}, "PERM"},
    {"open", {"4:directory/../../secret"}, "PERM"},
    {"open", {"missing/../../secret"}, "NOENT|PERM"},
    {"open", {"file/../../secret"}, "NOTDIR|PERM"},
    {"open", {".../secret"}, "NOENT"},
    {"open", {"..secret"}, "NOENT"},
    {"open_nofollow", {"../secret"}, "PERM"},
    {"open_directory", {".."}, "PERM"},
    {"open_directory", {"inside/../.."}, "PERM"},
    {"list", {".."}, "PERM"},
    {"list", {"../outside"}, "PERM"},
    {"write", {"../secret"}, "PERM"},
    {"create", {"../new"}, "PERM"},
    {"create_new", {"../new"}, "PERM"},
    {"truncate", {"../secret"}, "PERM"},
    {"truncate_nofollow", {"../secret"}, "PERM"},
    {"stat", {".."}, "PERM"},
    {"stat", {"../secret"}, "PERM"},
    {"stat_nofollow", {"../secret"}, "PERM"},
    {"stat_nofollow", {"inside/../.."}, "PERM"},
    {"set_times", {"../secret"}, "PERM"},
    {"set_times", {".."}, "PERM"},
    {"set_times_nofollow", {"../secret"}, "PERM"},
    {"unlink", {"../secret"}, "PERM"},
    {"unlink", {"inside/../../secret"}, "PERM"},
    {"mkdir", {"../new"}, "PERM"},
    {"mkdir", {".."}, "PERM|EXIST"},
    {"mkdir", {"../rw"}, "PERM"},
    {"rmdir", {"../outside/directory"}, "PERM"},
    {"rmdir", {".."}, "PERM|INVAL"},
    {"rmdir", {"../rw"}, "PERM"},
    {"readlink", {"../outside/link"}, "PERM"},
    {"rename", {"../secret", "stolen"}, "PERM"},
    {"rename", {"file", "../given"}, "PERM"},
    {"rename", {"file", ".."}, "PERM|INVAL|BUSY"},
    {"rename", {"..", "stolen"}, "PERM|INVAL|BUSY"},
    {"rename", {"file", "inside/../../given"}, "PERM"},
    {"link", {"../secret", "stolen"}, "PERM"},
    {"link", {"file", "../given"}, "PERM"},
    {"symlink", {"file", "3:../new"}, "PERM"},
};
INSTANTIATE_TEST_SUITE_P(DotDot, WasiEscapeTest, testing::ValuesIn(kDotDot), attempt_name);

const std::vector<Attempt> kAbsolute{
    {"open", {"/"}, "PERM"},
    {"open", {"/etc/passwd"}, "PERM"},
    {"open", {"//etc/passwd"}, "PERM"},
    {"open", {"/rw/file"}, "PERM"},
    {"open", {"/file"}, "PERM"},
    {"open", {"{root}/secret"}, "PERM"},
    {"open", {"{root}/rw/file"}, "PERM"},
    {"open", {"/proc/self/root/etc/passwd"}, "PERM"},
    {"open", {"/dev/null"}, "PERM"},
    {"open", {"5:/etc/passwd"}, "PERM"},
    {"list", {"/"}, "PERM"},
    {"write", {"{root}/secret"}, "PERM"},
    {"create", {"{root}/new"}, "PERM"},
    {"truncate", {"{root}/secret"}, "PERM"},
    {"stat", {"/"}, "PERM"},
    {"stat", {"{root}/secret"}, "PERM"},
    {"stat_nofollow", {"{root}/secret"}, "PERM"},
    {"set_times", {"{root}/secret"}, "PERM"},
    {"unlink", {"{root}/secret"}, "PERM"},
    {"mkdir", {"{root}/new"}, "PERM"},
    {"mkdir", {"/"}, "PERM"},
    {"rmdir", {"{root}/outside/directory"}, "PERM"},
    {"rmdir", {"/"}, "PERM"},
    {"readlink", {"{root}/outside/link"}, "PERM"},
    {"rename", {"{root}/secret", "stolen"}, "PERM"},
    {"rename", {"file", "{root}/given"}, "PERM"},
    {"link", {"{root}/secret", "stolen"}, "PERM"},
    {"link", {"file", "{root}/given"}, "PERM"},
    {"symlink", {"file", "3:{root}/new"}, "PERM"},
    {"symlink", {"/etc/passwd", "3:new"}, "PERM"},
    {"symlink", {"/", "3:new"}, "PERM"},
    {"symlink", {"{root}/rw/file", "3:new"}, "PERM"},
};
INSTANTIATE_TEST_SUITE_P(Absolute, WasiEscapeTest, testing::ValuesIn(kAbsolute), attempt_name);

// The last component is a link.
const std::vector<Attempt> kLastLink{
    {"open", {"out"}, "PERM"},
    {"open", {"out_absolute"}, "PERM"},
    {"open", {"out_around"}, "PERM"},
    {"open", {"out_by_a_link"}, "PERM"},
    {"open", {"chain1"}, "PERM"},
    {"open", {"absolute"}, "PERM"},
    {"open", {"passwd"}, "PERM"},
    {"open", {"slash"}, "PERM"},
    {"open", {"parent"}, "PERM"},
    {"open", {"parent_around"}, "PERM"},
    {"open", {"magic"}, "PERM|LOOP"},
    {"open", {"magic_directory"}, "PERM|LOOP"},
    {"open", {"out_missing"}, "PERM|NOENT"},
    {"open_nofollow", {"out"}, "LOOP"},
    {"open_nofollow", {"out_absolute"}, "LOOP"},
    {"open_nofollow", {"out_directory"}, "LOOP"},
    {"open_nofollow", {"out_directory/"}, "PERM"},
    {"open_directory", {"out_directory"}, "PERM"},
    {"open_directory", {"out_directory/"}, "PERM"},
    {"open_directory", {"parent"}, "PERM"},
    {"list", {"out_directory"}, "PERM"},
    {"list", {"slash"}, "PERM"},
    {"list", {"magic_directory"}, "PERM|LOOP"},
    {"write", {"out"}, "PERM"},
    {"write", {"out_absolute"}, "PERM"},
    {"write", {"chain1"}, "PERM"},
    {"write_only", {"out"}, "PERM"},
    {"create", {"out"}, "PERM"},
    {"create", {"out_missing"}, "PERM"},
    {"create_nofollow", {"out_missing"}, "LOOP"},
    {"create_new", {"out_missing"}, "EXIST|PERM"},
    {"create_new", {"out"}, "EXIST|PERM"},
    {"truncate", {"out"}, "PERM"},
    {"truncate", {"out_absolute"}, "PERM"},
    {"truncate", {"chain1"}, "PERM"},
    {"truncate_nofollow", {"out"}, "LOOP"},
    {"stat", {"out"}, "PERM"},
    {"stat", {"out_absolute"}, "PERM"},
    {"stat", {"chain1"}, "PERM"},
    {"stat", {"slash"}, "PERM"},
    {"stat", {"parent"}, "PERM"},
    {"stat_nofollow", {"out"}, "SUCCESS"},
    {"stat_nofollow", {"out_directory/"}, "PERM"},
    {"set_times", {"out"}, "PERM"},
    {"set_times", {"out_absolute"}, "PERM"},
    {"set_times", {"out_directory"}, "PERM"},
    {"set_times_nofollow", {"out"}, "SUCCESS"},
    {"set_times_nofollow", {"out_directory/"}, "PERM|NOTDIR"},
    {"unlink", {"out"}, "SUCCESS"},
    {"unlink", {"out_directory"}, "SUCCESS"},
    {"unlink", {"out_directory/"}, "PERM|NOTDIR|ISDIR"},
    {"mkdir", {"out_missing"}, "EXIST"},
    {"mkdir", {"out_missing/"}, "EXIST|PERM|NOTDIR"},
    {"mkdir", {"out_directory"}, "EXIST"},
    {"rmdir", {"out_directory"}, "NOTDIR"},
    {"rmdir", {"out_directory/"}, "NOTDIR|PERM"},
    {"rmdir", {"out_directory/."}, "PERM|INVAL"},
    {"rename", {"out", "moved"}, "SUCCESS"},
    {"rename", {"file", "out"}, "SUCCESS"},
    {"rename", {"file", "out_directory"}, "SUCCESS"},
    {"rename", {"file", "out_directory/"}, "NOTDIR|PERM|ISDIR"},
    {"rename", {"empty", "out_directory/"}, "NOTDIR|PERM"},
    {"rename", {"out_directory/", "moved"}, "NOTDIR|PERM|SUCCESS"},
    {"link", {"out", "second"}, "SUCCESS"},
    {"link", {"out_directory/", "second"}, "PERM|NOTDIR"},
    {"link", {"file", "out_missing"}, "EXIST"},
    {"link_follow", {"out", "stolen"}, "PERM|INVAL|LOOP"},
    {"link_follow", {"out_absolute", "stolen"}, "PERM|INVAL|LOOP"},
    {"symlink", {"file", "3:out_missing"}, "EXIST"},
    {"symlink", {"file", "3:out_missing/"}, "EXIST|NOENT|PERM|NOTDIR"},
    {"readlink", {"out"}, "SUCCESS", "../secret"},
    {"readlink", {"out_absolute"}, "PERM"},
    {"readlink", {"slash"}, "PERM"},
};
INSTANTIATE_TEST_SUITE_P(LastLink, WasiEscapeTest, testing::ValuesIn(kLastLink), attempt_name);

// A link in the middle.
const std::vector<Attempt> kMiddleLink{
    {"open", {"out_directory/file"}, "PERM"},
    {"open", {"out_directory_absolute/file"}, "PERM"},
    {"open", {"parent/secret"}, "PERM"},
    {"open", {"parent_around/secret"}, "PERM"},
    {"open", {"slash/etc/passwd"}, "PERM"},
    {"open", {"magic_directory/file"}, "PERM|LOOP"},
    {"open", {"parent/rw/file"}, "PERM"},
    {"open", {"out_directory/../rw/file"}, "PERM"},
    {"open_nofollow", {"out_directory/file"}, "PERM"},
    {"write", {"out_directory/file"}, "PERM"},
    {"create", {"out_directory/new"}, "PERM"},
    {"create_new", {"out_directory/new"}, "PERM"},
    {"create_nofollow", {"parent/new"}, "PERM"},
    {"truncate", {"out_directory/file"}, "PERM"},
    {"list", {"out_directory/directory"}, "PERM"},
    {"stat", {"out_directory/file"}, "PERM"},
    {"stat_nofollow", {"out_directory/file"}, "PERM"},
    {"set_times", {"out_directory/file"}, "PERM"},
    {"set_times_nofollow", {"parent/secret"}, "PERM"},
    {"unlink", {"out_directory/file"}, "PERM"},
    {"unlink", {"out_directory_absolute/file"}, "PERM"},
    {"unlink", {"parent/secret"}, "PERM"},
    {"mkdir", {"out_directory/new"}, "PERM"},
    {"mkdir", {"slash/new"}, "PERM"},
    {"rmdir", {"out_directory/directory"}, "PERM"},
    {"readlink", {"out_directory/link"}, "PERM"},
    {"rename", {"out_directory/file", "stolen"}, "PERM"},
    {"rename", {"file", "out_directory/given"}, "PERM"},
    {"rename", {"file", "parent/given"}, "PERM"},
    {"rename", {"parent/ro/file", "stolen"}, "PERM"},
    {"link", {"out_directory/file", "stolen"}, "PERM"},
    {"link", {"parent/secret", "stolen"}, "PERM"},
    {"link", {"file", "out_directory/given"}, "PERM"},
    {"symlink", {"file", "3:out_directory/new"}, "PERM"},
    {"symlink", {"file", "3:slash/new"}, "PERM"},
};
INSTANTIATE_TEST_SUITE_P(MiddleLink, WasiEscapeTest, testing::ValuesIn(kMiddleLink), attempt_name);

// Descriptor 5 is /, and in it /proc, where links lead wherever a process is, whatever their text says. /proc
// itself is not to be had: NoGuestSeesTheKernelsViewOfItsHost.
const std::vector<Attempt> kProc{
    {"open", {"5:proc/version"}, "SUCCESS"},
    {"open", {"5:proc/self/root/etc/passwd"}, "LOOP|PERM"},
    {"open", {"5:proc/self/cwd/secret"}, "LOOP|PERM"},
    {"open", {"5:proc/thread-self/root/etc/passwd"}, "LOOP|PERM"},
    {"open", {"5:proc/1/root/etc/passwd"}, "LOOP|PERM|ACCES"},
    {"open", {"5:proc/self/exe"}, "LOOP|PERM"},
    {"open", {"5:proc/self/fd/0"}, "LOOP|PERM"},
    {"open", {"5:proc/self/fd/1"}, "LOOP|PERM"},
    {"open", {"5:proc/self/fd/3/../secret"}, "LOOP|PERM|NOENT"},
    {"open", {"5:proc/self/task/../root/etc/passwd"}, "LOOP|PERM"},
    {"open_nofollow", {"5:proc/self/root"}, "LOOP"},
    {"open_directory", {"5:proc/self/root"}, "LOOP|PERM"},
    {"open_directory", {"5:proc/self/cwd"}, "LOOP|PERM"},
    {"open_directory", {"5:proc/self/root/"}, "LOOP|PERM"},
    {"list", {"5:proc/self/root"}, "LOOP|PERM"},
    {"stat", {"5:proc/self/root/etc/passwd"}, "LOOP|PERM"},
    {"stat", {"5:proc/self/exe"}, "LOOP|PERM"},
    {"readlink", {"5:proc/self/exe"}, "PERM|LOOP"},
    {"readlink", {"5:proc/self/cwd"}, "PERM|LOOP"},
    {"link", {"5:proc/self/exe", "stolen"}, "ROFS|PERM|XDEV|LOOP"},
    {"link_follow", {"5:proc/self/exe", "stolen"}, "ROFS|PERM|XDEV|LOOP|INVAL"},
    {"create", {"5:proc/self/root{root}/new"}, "LOOP|PERM|ROFS"},
    {"mkdir", {"5:proc/self/root{root}/new"}, "LOOP|PERM|ROFS"},
    {"unlink", {"5:proc/self/root{root}/secret"}, "LOOP|PERM|ROFS"},
    {"write", {"5:proc/self/mem"}, "ROFS"},
    {"write", {"5:proc/sys/kernel/core_pattern"}, "ROFS"},
};
INSTANTIATE_TEST_SUITE_P(Proc, WasiEscapeTest, testing::ValuesIn(kProc), attempt_name);

// Descriptor 6 is /dev, writable.  What is neither file nor directory may be opened, which waits for nobody,
// and then be of no use.
class WasiSpecialFileTest : public WasiEscapeTest {};
TEST_P(WasiSpecialFileTest, IsOfNoUse) {
  const ProcessResult result = attempt(GetParam());
  EXPECT_EQ(result.out.find("read SUCCESS"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("write SUCCESS"), std::string::npos) << result.out;
}

const std::vector<Attempt> kSpecial{
    {"open", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"open", {"to_fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"open_nofollow", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"open_directory", {"fifo"}, "NOTDIR"},
    {"write", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"write_only", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM|NXIO"},
    {"create", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"create_new", {"fifo"}, "EXIST"},
    {"truncate", {"fifo"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"stat", {"fifo"}, "SUCCESS"},
    {"set_times", {"fifo"}, "SUCCESS"},
    {"unlink", {"fifo"}, "SUCCESS"},
    {"rename", {"fifo", "moved"}, "SUCCESS"},
    {"link", {"fifo", "second"}, "SUCCESS"},
    {"open", {"socket"}, "SUCCESS|NOTSUP|ACCES|PERM|NXIO"},
    {"write", {"socket"}, "SUCCESS|NOTSUP|ACCES|PERM|NXIO"},
    {"stat", {"socket"}, "SUCCESS"},
    {"open", {"6:null"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"open", {"6:zero"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"open", {"6:urandom"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"write", {"6:null"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"write", {"6:full"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"write_only", {"6:null"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"create", {"6:null"}, "SUCCESS|NOTSUP|ACCES|PERM|EXIST"},
    {"truncate", {"6:null"}, "SUCCESS|NOTSUP|ACCES|PERM"},
    {"stat", {"6:null"}, "SUCCESS"},
    {"open", {"6:fd/0"}, "PERM|LOOP|NOENT"},
    {"open", {"6:stdin"}, "PERM|LOOP|NOENT"},
    {"write", {"6:stdout"}, "PERM|LOOP|NOENT"},
};
INSTANTIATE_TEST_SUITE_P(Special, WasiSpecialFileTest, testing::ValuesIn(kSpecial), attempt_name);

// A link that leads out can be made; whoever follows it is stopped then.
TEST_F(WasiEscapeTest, LinksThatAGuestMakesLeadNowhereElse) {
  static_cast<void>(run("escape", {"symlink", "../secret", "3:own"}));
  static_cast<void>(attempt({"open", {"own"}, "PERM|NOENT"}));
  static_cast<void>(run("escape", {"symlink", "inside/../..", "3:own_directory"}));
  static_cast<void>(attempt({"open", {"own_directory/secret"}, "PERM|NOENT"}));
  static_cast<void>(run("escape", {"symlink", "..", "3:inside/own"}));
  EXPECT_EQ(run("escape", {"rename", "inside/own", "own_up"}).out,
            "SUCCESS\n");  // it means another place then
  static_cast<void>(attempt({"open", {"own_up/secret"}, "PERM|NOENT"}));
  static_cast<void>(attempt({"unlink", {"own_up/secret"}, "PERM|NOENT"}));
}

// What is moved from one directory to another is where it was moved to.
TEST_F(WasiEscapeTest, DirectoriesThatAreMovedStayContained) {
  fs::create_directory(root() / "rw2");
  remember();
  const Words flags{"--dir", (root() / "rw2").native() + "::/rw2:rw"};
  EXPECT_EQ(run("escape", {"rename", "inside", "5:inside"}, flags).out, "SUCCESS\n");
  EXPECT_EQ(run("escape", {"open", "5:inside/up"}, flags).out, "NOENT\n");
  EXPECT_EQ(run("escape", {"open", "5:inside/../../rw/file"}, flags).out, "PERM\n");
  EXPECT_EQ(run("escape", {"open", "5:inside/file"}, flags).out, "SUCCESS\nread SUCCESS\n[inside]\n");
  EXPECT_EQ(run("escape", {"rename", "5:inside", "4:inside"}, flags).out, "ROFS\n");
}

// --- races --------------------------------------------------------------------------------------------

// The host moves directories out and back, and changes a directory to a link and back, while a guest goes
// through them.  A look at the path, followed by its use, would be caught here; the kernel's own is not.
TEST_F(WasiRunTest, RenamesWhileAPathIsResolvedOpenNoWayOut) {
  const auto out = root() / "outside";
  fs::create_directories(rw() / "a" / "b" / "c");
  fs::create_directories(rw() / "flip");
  fs::create_directories(out / "x");
  fs::create_directories(out / "target");
  write_file(rw() / "secret", "inside");
  write_file(rw() / "flip" / "secret", "inside");
  write_file(out / "secret", "outside");  // what a/b/../../secret is when b is in outside/x
  write_file(out / "target" / "secret", "outside");
  write_file(out / "target" / "victim", "to stay");
  fs::create_symlink(out / "target", rw() / "flop");
  const std::string target = described(out / "target");

  Process process(command("escape_race", {"1000"}));
  ASSERT_TRUE(process.wait_for_error_text("racing\n"));
  std::atomic<bool> ended = false;
  std::thread mover([&] {
    const std::string home = (rw() / "a" / "b").native();
    const std::string away = (out / "x" / "b").native();
    const std::string flip = (rw() / "flip").native();
    const std::string flop = (rw() / "flop").native();
    while (!ended) {
      for (int i = 0; i < 100; i++) {
        ::rename(home.c_str(), away.c_str());
        ::rename(away.c_str(), home.c_str());
      }
      ::renameat2(AT_FDCWD, flip.c_str(), AT_FDCWD, flop.c_str(), RENAME_EXCHANGE);
    }
  });
  const ProcessResult result = process.wait();
  ended = true;
  mover.join();
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out.find("LEAK"), std::string::npos) << result.out;
  // Where the guest could have got to, nothing was made, removed or changed.
  EXPECT_EQ(described(out / "target"), target);
}

}  // namespace
}  // namespace spore::test
