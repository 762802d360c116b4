// What the world gives us instead of a good module and a good call.  Each kind is tried on the library and
// on the command line: one clear line that says what, where and which option helps; the right exit code;
// and afterwards the same Runtime does what it did before.

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/trap.h"
#include "spore/runtime/runtime.h"
#include "tests/guest_file.h"
#include "tests/process.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;
using Words = std::vector<std::string>;
using std::string_view_literals::operator""sv;

constexpr int kFailed = 1;
constexpr int kMisused = 2;
constexpr int kDeadline = 124;
constexpr int kTrapped = 134;

constexpr uint64_t k100MB = 100'000'000;

std::string hint(std::string_view flag, std::string_view variable) {
  return fmt::format("       change it with {} (or {} in the environment)\n", flag, variable);
}

class BadInputTest : public testing::Test {
 protected:
  // After each test: the Runtime that was given the bad input does good work.
  void TearDown() override {
    static_cast<void>(runtime_->unload_module("good"));
    const auto module = runtime_->load_module("good", guest("numbers.wat"));
    ASSERT_TRUE(module.ok()) << module.status().message();
    const auto instance = runtime_->instantiate("good");
    ASSERT_TRUE(instance.ok()) << instance.status().message();
    const auto add = instance->function<int32_t(int32_t, int32_t)>("add");
    ASSERT_TRUE(add.ok());
    EXPECT_EQ(add.value()(40, 2).value(), 42);
  }

  // --- the library ---

  // Loading is refused.
  void expect_not_loaded(const Bytes& bytes, Code code, std::string_view message) {
    const auto module = runtime_->load_module("bad", bytes);
    EXPECT_EQ(code_name(module.code()), code_name(code));
    EXPECT_EQ(module.status().message(), message);
    EXPECT_EQ(runtime_->module("bad").code(), Code::kNotFound);
  }
  host::Instance instance_of(const Bytes& bytes) {
    static_cast<void>(runtime_->unload_module("bad"));
    return runtime_->instantiate(*runtime_->load_module("bad", bytes).value()).value();
  }
  static void expect_error(const Status& status, Code code, std::string_view message) {
    EXPECT_EQ(code_name(status.code()), code_name(code));
    EXPECT_EQ(status.message(), message);
  }

  // --- the command line ---

  std::string file(std::string_view name, std::string_view content) const {
    return folder_.write(name, content);
  }
  std::string file(std::string_view name, const Bytes& bytes) const {
    return file(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  static std::string guest_path(std::string_view name) {
    return std::string(SPORE_SOURCE_DIR "/tests/guests/").append(name);
  }
  ProcessResult spore(Words words) const {
    words.insert(words.begin(), SPORE_CLI);
    return run_process(words, {.environment = {{"HOME", folder_.path().native()}}});
  }
  // Nothing on standard output; on standard error "spore: ", the message, then `rest` (a hint, a backtrace).
  void expect_cli(const Words& words, int exit_code, std::string_view message,
                  std::string_view rest = "") const {
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, fmt::format("spore: {}\n{}", message, rest));
  }
  // A trap's message, and a backtrace of at least one line behind it.
  void expect_cli_trap(const Words& words, std::string_view message, std::string_view rest = "") const {
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, kTrapped);
    EXPECT_EQ(result.out, "");
    const std::string begin = fmt::format("spore: {}\n{}    0: ", message, rest);
    EXPECT_TRUE(result.err.starts_with(begin)) << result.err;
  }

  TemporaryFolder folder_;
  std::unique_ptr<runtime::Runtime> runtime_ =
      runtime::Runtime::create({.limits = {.deadline_ms = 200}}).value();
};

// --- files that are no modules ------------------------------------------------------------------------

TEST_F(BadInputTest, AnEmptyFile) {
  constexpr std::string_view kMessage = "the module is empty (0 bytes)";
  expect_not_loaded({}, Code::kInvalidModule, kMessage);
  const std::string empty = file("empty.wasm", "");
  expect_cli({"run", empty}, kFailed, fmt::format("{}: {}", empty, kMessage));
  expect_cli({"inspect", empty}, kFailed, fmt::format("{}: {}", empty, kMessage));
  expect_cli({"compile", empty, "-o", folder_.path() / "out"}, kFailed,
             fmt::format("{}: {}", empty, kMessage));
}

TEST_F(BadInputTest, AFileThatIsNotThere) {
  const std::string missing = folder_.path() / "missing.wasm";
  for (const char* command : {"run", "inspect"}) {
    expect_cli({command, missing}, kFailed, fmt::format("open '{}': No such file or directory", missing));
  }
}

TEST_F(BadInputTest, AFolder) {
  const std::string folder = folder_.path();
  expect_cli({"run", folder}, kMisused, fmt::format("'{}' is not a regular file", folder));
}

// Cut at three places: within a section, and where one ends.
TEST_F(BadInputTest, ATruncatedModule) {
  const Bytes whole = guest("numbers.wat");
  for (const size_t length : {size_t{9}, whole.size() / 2, whole.size() - 1}) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(length));
    const auto module = runtime_->load_module("bad", cut);
    EXPECT_EQ(module.code(), Code::kInvalidModule);
    const std::string message(module.status().message());
    EXPECT_TRUE(message.starts_with("not a valid module: unexpected end")) << message;
    EXPECT_TRUE(message.ends_with(fmt::format(" of {} bytes)", length))) << message;
    const std::string path = file("cut.wasm", cut);
    expect_cli({"run", path, "--invoke", "add", "1", "2"}, kFailed, fmt::format("{}: {}", path, message));
  }
  EXPECT_EQ(spore({"run", file("cut.wasm", whole), "--invoke", "add", "1", "2"}).out, "3\n");
}

TEST_F(BadInputTest, RandomBytes) {
  constexpr uint32_t kSeed = 20240613;
  std::mt19937 random(kSeed);
  Bytes bytes(4096);
  std::ranges::generate(bytes, [&] { return static_cast<uint8_t>(random()); });
  constexpr std::string_view kMessage =
      "not WebAssembly: 4096 bytes that do not begin with \"\\0asm\" (expected a .wasm file)";
  expect_not_loaded(bytes, Code::kInvalidModule, kMessage);
  const std::string path = file("random.wasm", bytes);
  expect_cli({"run", path}, kFailed, fmt::format("{}: {}", path, kMessage));

  // The same behind a good header.
  std::ranges::copy("\0asm\1\0\0\0"sv, bytes.begin());
  const auto module = runtime_->load_module("bad", bytes);
  EXPECT_EQ(module.code(), Code::kInvalidModule) << "seed " << kSeed;
  const std::string header = file("header.wasm", bytes);
  expect_cli({"run", header}, kFailed, fmt::format("{}: {}", header, module.status().message()));
}

TEST_F(BadInputTest, TextThatIsNoModule) {
  const std::string text = file("module.wasm", "(module)");  // text, but not named .wat
  expect_cli(
      {"run", text}, kFailed,
      fmt::format("{}: not WebAssembly: 8 bytes that do not begin with \"\\0asm\" (expected a .wasm file)",
                  text));
  const std::string broken = file("broken.wat", "(module\n  (func");
  const ProcessResult result = spore({"run", broken});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_EQ(result.err, fmt::format("spore: {}:2:8: expected `)`\n", broken));
}

TEST_F(BadInputTest, AComponent) {
  constexpr std::string_view kMessage =
      "this is a component, Spore runs core modules: build it for wasm32-wasip1 or wasm32-unknown-unknown, "
      "or take "
      "the module out with 'wasm-tools component unbundle'";
  const std::string_view component = "\0asm\x0d\0\1\0"sv;
  expect_not_loaded(Bytes(component.begin(), component.end()), Code::kUnsupported, kMessage);
  const std::string path = file("component.wasm", component);
  for (const char* command : {"run", "inspect"}) {
    expect_cli({command, path}, kFailed, fmt::format("{}: {}", path, kMessage));
  }
}

TEST_F(BadInputTest, AProposalThatIsLeftOut) {
  const Bytes module = wasm("(module (func (export \"f\") (param externref)))");
  const auto refused = runtime_->load_module("bad", module);
  EXPECT_EQ(refused.code(), Code::kUnsupported);
  const std::string message(refused.status().message());
  EXPECT_TRUE(message.ends_with("externref")) << message;
  const std::string path = file("externref.wasm", module);
  expect_cli({"run", path, "--invoke", "f"}, kFailed, fmt::format("{}: {}", path, message));
}

// --- very large files ---------------------------------------------------------------------------------

// 100 MB of zeros, which the file system keeps as a hole.
TEST_F(BadInputTest, AHundredMegabytesOfNothing) {
  const std::string path = file("zeros.wasm", "");
  ASSERT_EQ(::truncate(path.c_str(), k100MB), 0);
  constexpr std::string_view kMessage =
      "not WebAssembly: 100000000 bytes that do not begin with \"\\0asm\" (expected a .wasm file)";
  expect_not_loaded(Bytes(k100MB), Code::kInvalidModule, kMessage);
  expect_cli({"run", path}, kFailed, fmt::format("{}: {}", path, kMessage));
}

// A module that is good and has a custom section of 100 MB: it runs, unless the limit is below it.
TEST_F(BadInputTest, AHundredMegabytesOfCustomSection) {
  // Behind the sections of a good module: number 0, a length of four bytes, an empty name, zeros.
  Bytes head = guest("numbers.wat");
  const size_t payload = k100MB - head.size() - 5;
  head.push_back(0);
  for (int shift = 0; shift < 28; shift += 7) {
    head.push_back(static_cast<uint8_t>((payload >> shift & 0x7F) | (shift < 21 ? 0x80 : 0)));
  }
  const std::string path = file("custom.wasm", head);
  ASSERT_EQ(::truncate(path.c_str(), k100MB), 0);
  head.resize(k100MB);

  {
    const host::Instance instance = instance_of(head);
    EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
  }
  const auto small = runtime::Runtime::create({.module_bytes_max = k100MB - 1}).value();
  const auto refused = small->load_module("bad", head);
  EXPECT_EQ(refused.code(), Code::kLimitExceeded);
  EXPECT_NE(refused.status().message().find("100000000 bytes, the limit is 99999999"), std::string_view::npos)
      << refused.status().message();
  EXPECT_NE(refused.status().message().find("module_bytes_max"), std::string_view::npos);

  EXPECT_EQ(spore({"run", path, "--invoke", "add", "1", "2"}).out, "3\n");
  EXPECT_NE(spore({"inspect", path}).out.find("custom          (99999"), std::string::npos);
  for (const char* command : {"run", "inspect"}) {
    const ProcessResult result = spore({command, path, "--module-bytes-max", "99999999"});
    EXPECT_EQ(result.exit_code, kFailed);
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(
        result.err.starts_with(fmt::format("spore: '{}' has 100000000 bytes, the limit is 99999999", path)))
        << result.err;
  }
}

// --- calls that do not fit ----------------------------------------------------------------------------

TEST_F(BadInputTest, AMissingExport) {
  constexpr std::string_view kMessage =
      "no exported function 'sub' (there are: 'add', 'scale', 'mix', 'swap', 'is_even', 'nothing', 'fac', "
      "'splat', "
      "'bump')";
  const host::Instance instance = instance_of(guest("numbers.wat"));
  expect_error(instance.function<int32_t(int32_t, int32_t)>("sub").status(), Code::kNotFound, kMessage);
  expect_error(instance.dynamic_function("sub").status(), Code::kNotFound, kMessage);
  expect_cli({"run", guest_path("numbers.wat"), "--invoke", "sub", "1", "2"}, kFailed, kMessage);
}

TEST_F(BadInputTest, AWrongNumberOfArguments) {
  constexpr std::string_view kMessage = "1 argument given, the function takes 2: (i32, i32) -> i32";
  const host::Instance instance = instance_of(guest("numbers.wat"));
  const auto add = instance.dynamic_function("add").value();
  expect_error(add(std::vector{host::Value::i32(1)}).status(), Code::kInvalidArgument, kMessage);
  EXPECT_EQ(add(std::vector(2, host::Value::i32(1))).value()[0].text(), "2");  // the same instance
  const std::string path = guest_path("numbers.wat");
  expect_cli({"run", path, "--invoke", "add", "1"}, kMisused, kMessage);
  expect_cli({"run", path, "--invoke", "add", "1", "2", "3"}, kMisused,
             "3 arguments given, the function takes 2: (i32, i32) -> i32");
  expect_cli({"run", guest_path("misbehave.wat"), "--invoke", "_start", "1"}, kMisused,
             "1 argument given, the function takes 0: () -> ()");
}

TEST_F(BadInputTest, AWrongType) {
  const host::Instance instance = instance_of(guest("numbers.wat"));
  expect_error(instance.function<int64_t(int64_t)>("add").status(), Code::kInvalidArgument,
               "the function 'add' is of type (i32, i32) -> i32, asked for is (i64) -> i64");
  const auto add = instance.dynamic_function("add").value();
  expect_error(add(std::vector{host::Value::i32(1), host::Value::f64(2)}).status(), Code::kInvalidArgument,
               "argument 2 is of type f64, the function takes (i32, i32) -> i32");
  EXPECT_EQ(add(std::vector(2, host::Value::i32(1))).value()[0].text(), "2");

  const std::string path = guest_path("numbers.wat");
  expect_cli({"run", path, "--invoke", "add", "1", "2.5"}, kMisused,
             "argument 2: '2.5' is not an i32 (a whole number of 32 bits)");
  expect_cli({"run", path, "--invoke", "add", "1", "4294967296"}, kMisused,
             "argument 2: '4294967296' is not an i32 (a whole number of 32 bits)");
  expect_cli({"run", path, "--invoke", "add", "--signature", "(f64) -> f64", "1"}, kMisused,
             "the function 'add' is of type (i32, i32) -> i32, asked for is (f64) -> f64");
  expect_cli({"run", path, "--invoke", "splat", "1"}, kFailed,
             "the function 'splat' of type (i32) -> v128: values of type v128 cannot cross here");
}

TEST_F(BadInputTest, ImportsThatNobodyProvides) {
  constexpr std::string_view kMessage =
      "6 imports that nobody provides: env.first (i32) -> i32, env.memory (memory), env.table (table), "
      "env.base (global), spore.log (i64) -> () (the host has (i32, i32) -> ()), other.last () -> f64";
  const auto module = runtime_->load_module("bad", guest("missing_imports.wat")).value();
  expect_error(runtime_->instantiate(*module).status(), Code::kInvalidArgument,
               fmt::format("bad: {}", kMessage));
  const std::string path = guest_path("missing_imports.wat");
  expect_cli({"run", path, "--invoke", "run"}, kMisused, fmt::format("{}: {}", path, kMessage));
}

// --- guests that do not end ---------------------------------------------------------------------------

TEST_F(BadInputTest, AnEndlessLoop) {
  constexpr std::string_view kMessage = "the call ran longer than its deadline (deadline_ms={})";
  const host::Instance instance = instance_of(guest("misbehave.wat"));
  const Status status = instance.function<void()>("endless").value()();
  expect_error(status, Code::kDeadlineExceeded, fmt::format(fmt::runtime(kMessage), 200));
  ASSERT_NE(engine::trap_info(status), nullptr);
  EXPECT_EQ(engine::trap_info(status)->kind, engine::TrapKind::kInterrupted);
  const host::Instance next = runtime_->instantiate("bad").value();
  EXPECT_EQ((next.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);

  const ProcessResult result =
      spore({"run", guest_path("misbehave.wat"), "--invoke", "endless", "--deadline-ms", "50"});
  EXPECT_EQ(result.exit_code, kDeadline);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("spore: " + fmt::format(fmt::runtime(kMessage), 50) + "\n" +
                                     hint("--deadline-ms", "SPORE_DEADLINE_MS")))
      << result.err;
}

TEST_F(BadInputTest, AnEndlessStartFunction) {
  const Bytes module = wasm("(module (func $spin (loop (br 0))) (start $spin) (func (export \"_start\")))");
  const auto loaded = runtime_->load_module("bad", module).value();
  expect_error(runtime_->instantiate(*loaded).status(), Code::kDeadlineExceeded,
               "the call ran longer than its deadline (deadline_ms=200)");
  const ProcessResult result = spore({"run", file("spin.wasm", module), "--deadline-ms", "50"});
  EXPECT_EQ(result.exit_code, kDeadline);
  EXPECT_TRUE(result.err.starts_with("spore: the call ran longer than its deadline (deadline_ms=50)\n"))
      << result.err;
}

TEST_F(BadInputTest, AnEndlessLoopThatIsCountedInstead) {
  const auto counting = runtime::Runtime::create({.fuel = true, .limits = {.fuel_max = 100'000}}).value();
  const auto module = counting->load_module("bad", guest("misbehave.wat")).value();
  const host::Instance instance = counting->instantiate(*module).value();
  expect_error(instance.function<void()>("endless").value()(), Code::kLimitExceeded,
               "the guest trapped: all fuel consumed in function 0 (fuel_max=100000)");
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
  const ProcessResult result =
      spore({"run", guest_path("misbehave.wat"), "--invoke", "endless", "--fuel-max", "100000"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_TRUE(
      result.err.starts_with("spore: the guest trapped: all fuel consumed in function 0 (fuel_max=100000)\n" +
                             hint("--fuel-max", "SPORE_FUEL_MAX")))
      << result.err;
}

TEST_F(BadInputTest, ADeepRecursion) {
  constexpr std::string_view kMessage =
      "the guest trapped: call stack exhausted in 'deep' (wasm_stack_bytes=524288)";
  const host::Instance instance = instance_of(guest("misbehave.wat"));
  expect_error(instance.function<int32_t(int32_t)>("deep").value()(0).status(), Code::kTrap, kMessage);
  EXPECT_FALSE(instance.retired());
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
  expect_cli_trap({"run", guest_path("misbehave.wat"), "--invoke", "deep", "0"}, kMessage,
                  hint("--wasm-stack-bytes", "SPORE_WASM_STACK_BYTES"));
}

// --- guests that want all the memory ------------------------------------------------------------------

// memory.grow until it says no: an answer and not a failure, and as much as the limit gives.
TEST_F(BadInputTest, AMemoryBomb) {
  const auto module = runtime_->load_module("bad", guest("misbehave.wat")).value();
  const host::Instance instance =
      runtime_->instantiate(*module, {.limits = engine::Limits{.memory_bytes_max = 4 << 20}}).value();
  EXPECT_EQ(instance.function<int32_t()>("grow").value()().value(), 64);
  EXPECT_EQ(instance.memory_bytes(), size_t{4} << 20);
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
  const std::string path = guest_path("misbehave.wat");
  EXPECT_EQ(spore({"run", path, "--invoke", "grow", "--memory-bytes-max", "4MiB"}).out, "64\n");
  EXPECT_EQ(spore({"run", path, "--invoke", "grow"}).out, "4096\n");  // 256 MiB, the default
}

TEST_F(BadInputTest, AMemoryThatBeginsAboveTheLimit) {
  constexpr std::string_view kMessage =
      "memory minimum size of 5000 pages exceeds memory limits (memory_bytes_max=268435456)";
  const Bytes bytes = wasm("(module (memory 5000) (func (export \"_start\")))");
  const auto module = runtime_->load_module("bad", bytes).value();
  expect_error(runtime_->instantiate(*module).status(), Code::kLimitExceeded, kMessage);
  EXPECT_TRUE(
      runtime_->instantiate(*module, {.limits = engine::Limits{.memory_bytes_max = uint64_t{5000} << 16}})
          .ok());
  const std::string path = file("large.wasm", bytes);
  expect_cli({"run", path}, kFailed, kMessage, hint("--memory-bytes-max", "SPORE_MEMORY_BYTES_MAX"));
  EXPECT_EQ(spore({"run", path, "--memory-bytes-max", "320MiB"}).exit_code, 0);
}

TEST_F(BadInputTest, ATableThatBeginsAboveTheLimit) {
  constexpr std::string_view kMessage =
      "table minimum size of 100001 elements exceeds table limits (table_elements_max=100000)";
  const Bytes bytes = wasm("(module (table 100001 funcref) (func (export \"_start\")))");
  const auto module = runtime_->load_module("bad", bytes).value();
  expect_error(runtime_->instantiate(*module).status(), Code::kLimitExceeded, kMessage);
  const std::string path = file("table.wasm", bytes);
  expect_cli({"run", path}, kFailed, kMessage, hint("--table-elements-max", "SPORE_TABLE_ELEMENTS_MAX"));
  EXPECT_EQ(spore({"run", path, "--table-elements-max", "100001"}).exit_code, 0);
}

TEST_F(BadInputTest, ATableBomb) {
  const Bytes bytes = wasm(R"((module (table 0 funcref) (func (export "grow") (result i32)
    (loop (br_if 0 (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)))) (table.size))))");
  const host::Instance instance = instance_of(bytes);
  EXPECT_EQ(instance.function<int32_t()>("grow").value()().value(), 100'000);
  EXPECT_EQ(spore({"run", file("table.wasm", bytes), "--invoke", "grow", "--table-elements-max", "2500"}).out,
            "2000\n");
}

// --- guests that trap and lie -------------------------------------------------------------------------

TEST_F(BadInputTest, ATrap) {
  const host::Instance instance = instance_of(guest("misbehave.wat"));
  const Status status = instance.function<void()>("boom").value()();
  expect_error(status, Code::kTrap, "the guest trapped: unreachable in 'boom'");
  EXPECT_NE(status.detail(), "");
  EXPECT_EQ((instance.function<int32_t(int32_t, int32_t)>("add").value()(1, 2).value()), 3);
  const std::string path = guest_path("misbehave.wat");
  expect_cli_trap({"run", path}, "the guest trapped: unreachable in 'boom'");
  expect_cli_trap({"run", path, "--invoke", "outside"},
                  "the guest trapped: out of bounds memory access in 'outside'");
}

TEST_F(BadInputTest, ATrapInTheStartFunction) {
  const Bytes bytes = wasm("(module (func $init unreachable) (start $init) (func (export \"_start\")))");
  const auto module = runtime_->load_module("bad", bytes).value();
  expect_error(runtime_->instantiate(*module).status(), Code::kTrap,
               "the guest trapped: unreachable in 'init'");
  expect_cli_trap({"run", file("init.wasm", bytes)}, "the guest trapped: unreachable in 'init'");
}

// Results that point out of the guest's memory, and text that is none: the guest's failure, not the user's.
TEST_F(BadInputTest, AResultThatIsNone) {
  const host::Instance instance = instance_of(guest("text.wat"));
  const auto refused = [&](const std::string& name, std::string_view message, std::string_view more) {
    const auto result = instance.function<std::string(std::string_view)>(name).value()("x");
    expect_error(result.status(), Code::kTrap, message);
    expect_cli({"run", guest_path("text.wat"), "--invoke", name, "--signature", "(string) -> string", "x"},
               kTrapped, fmt::format("{}{}", message, more));
  };
  refused(
      "outside",
      "the guest gave an invalid result: 64 bytes at guest address 0xfffffff0 are not inside the memory of "
      "1114112 bytes",
      "");
  refused(
      "pair_outside",
      "the guest gave an invalid result: 8 bytes at guest address 0xfffffffc are not inside the memory of "
      "1114112 bytes",
      "");
  refused("not_utf8", "the guest gave an invalid result: a string that is not UTF-8",
          " (ask for bytes instead)");
  EXPECT_EQ(instance.function<std::string(std::string_view)>("upper").value()("x").value(), "X");
}

// --- host functions that fail -------------------------------------------------------------------------

TEST_F(BadInputTest, AHostFunctionThatFails) {
  const Bytes bytes =
      wasm("(module (import \"db\" \"get\" (func $get)) (func $f (export \"f\") (call $get)))");
  int kind = 0;
  runtime::ModuleOptions options;
  options.host.define("db", "get", [&]() -> Status {
    if (kind == 0) throw std::runtime_error("connection lost");
    if (kind == 1) throw 7;
    if (kind == 2) return Status::not_found("no row 5");
    return {};
  });
  const auto module = runtime_->load_module("bad", bytes, options).value();
  for (const char* message : {"host function db.get: threw: connection lost",
                              "host function db.get: threw something that is no std::exception",
                              "host function db.get: no row 5"}) {
    const host::Instance instance = runtime_->instantiate(*module).value();
    const auto f = instance.function<void()>("f").value();
    const Status status = f();
    expect_error(status, Code::kHostError, message);
    EXPECT_NE(status.detail().find("f (function 1"), std::string_view::npos) << status.detail();
    EXPECT_EQ(f().code(), Code::kUnavailable);
    kind++;
  }
  EXPECT_TRUE(runtime_->instantiate(*module).value().function<void()>("f").value()().ok());
}

// Hostile: the message must not grow with the module.
TEST_F(BadInputTest, TenThousandMissingImports) {
  std::string text = "(module";
  for (int i = 0; i < 10'000; i++) text += fmt::format("(import \"e\" \"{}\" (func))", i);
  const auto module = runtime_->load_module("bad", wasm(text + ")")).value();
  const std::string message(runtime_->instantiate(*module).status().message());
  EXPECT_LT(message.size(), 10'000u);
  EXPECT_TRUE(message.starts_with("bad: 10000 imports that nobody provides: e.0 () -> (), e.1"));
  EXPECT_TRUE(message.ends_with(" more"));
}

}  // namespace
}  // namespace spore::test
