// Code that another process compiled, and all that can go wrong with that process.

#include "spore/code/helper_compiler.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "spore/engine/binding.h"
#include "spore/engine/store.h"
#include "spore/engine/ticker.h"
#include "tests/bombs.h"
#include "tests/child.h"
#include "tests/guest_file.h"
#include "tests/process.h"
#include "tests/sanitizers.h"

namespace spore::code {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using test::Wasm;

constexpr const char* kSumGuest = R"((module
  (memory 1)
  (func (export "sum") (param $n i32) (result i32) (local $all i32)
    (loop $again
      (local.set $all (i32.add (local.get $all) (local.get $n)))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (local.get $n)))
    (local.get $all))
  (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))))";

std::shared_ptr<const engine::Engine> make_engine(const engine::EngineOptions& options = {}) {
  return engine::Engine::create(options, std::make_shared<engine::Ticker>()).value();
}

HelperOptions with_helper(const std::filesystem::path& path = SPORE_COMPILE_HELPER) {
  HelperOptions options;
  options.helper = path;
  options.niceness = 0;
  return options;
}

std::unique_ptr<HelperCompiler> make_compiler(const HelperOptions& options = with_helper()) {
  return std::move(HelperCompiler::create(options)).value();
}

Source source_of(const Wasm& wasm) { return {.wasm = wasm, .hash = sha256(wasm)}; }

Result<int32_t> call(const std::shared_ptr<const engine::CompiledCode>& code,
                     const std::shared_ptr<const engine::Engine>& engine, std::string_view name,
                     int32_t value) {
  auto binding = SPORE_TRY(engine::Binding::create(code, std::make_shared<engine::HostFunctions>()));
  auto store = SPORE_TRY(engine::Store::create(engine, {}));
  const auto instance = SPORE_TRY(store->instantiate(binding));
  const engine::RawFunction function = SPORE_TRY(store->function(instance, name));
  engine::RawValue values[1] = {{.i32 = value}};
  SPORE_TRY(function.call_unchecked(values, 1));
  return values[0].i32;
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator files("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

size_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoul(line.substr(6)) * 1024;
  }
  return 0;
}

void forget_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

double children_cpu_s() {
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  const auto s = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

// The helper that process `parent` runs, once there is one.
pid_t wait_for_helper_of(pid_t parent) {
  for (const auto until = steady_clock::now() + seconds(20); steady_clock::now() < until;) {
    for (const auto& file : std::filesystem::directory_iterator("/proc")) {
      const std::string name = file.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string status = test::file_content(file.path() / "status");
      if (status.starts_with("Name:\tspore-compile\n") &&
          status.find(fmt::format("\nPPid:\t{}\n", parent)) != std::string::npos) {
        return std::stoi(name);
      }
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  return -1;
}

// Not there, or waiting for somebody to ask how it ended.
bool is_gone(pid_t pid) {
  const std::string status = test::file_content(fmt::format("/proc/{}/status", pid));
  return status.empty() || status.find("State:\tZ") != std::string::npos;
}

// A compile that goes on until somebody ends it.
Wasm endless() { return test::locals_in_loops(10'000, 1'000); }

// With a custom section of that length, which says nothing.
Wasm padded(Wasm wasm, size_t bytes) {
  Wasm content{1, 'x'};
  content.resize(bytes);
  test::append(wasm, test::section(0, content));
  return wasm;
}

HelperOptions patient() {
  HelperOptions options = with_helper();
  options.budget.cpu_s = 100;
  return options;
}

// --- what comes out -----------------------------------------------------------------------------------

class HelperCompilerTest : public testing::TestWithParam<engine::Tier> {};

INSTANTIATE_TEST_SUITE_P(BothTiers, HelperCompilerTest,
                         testing::Values(engine::Tier::kBaseline, engine::Tier::kOptimised),
                         [](const auto& tier) { return std::string(tier_name(tier.param)); });

TEST_P(HelperCompilerTest, CodeFromTheHelperRunsAsCodeOfThisProcessDoes) {
  const auto engine = make_engine({.tier = GetParam()});
  const Wasm wasm = test::wasm(kSumGuest);
  const size_t descriptors = open_descriptors();
  {
    const Compiled compiled = make_compiler()->compile(*engine, source_of(wasm), {}).value();
    EXPECT_EQ(compiled.code->module_hash(), sha256(wasm));
    EXPECT_EQ(call(compiled.code, engine, "sum", 1000).value(), 500'500);
    EXPECT_EQ(call(compiled.code, engine, "load", -1).code(), Code::kTrap) << "traps find their places";
    EXPECT_EQ(::fcntl(compiled.native.get(), F_GET_SEALS) & F_SEAL_WRITE, F_SEAL_WRITE);
    const auto here = InProcessCompiler().compile(*engine, source_of(wasm), {}).value();
    EXPECT_EQ(compiled.code->native().value(), here.code->native().value()) << "the same, byte by byte";
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

TEST_P(HelperCompilerTest, EveryOptionOfTheEngineArrives) {
  const Wasm wasm = test::wasm(kSumGuest);
  for (const bool fuel : {false, true}) {
    for (const bool compact : {false, true}) {
      for (const bool parallel : {false, true}) {
        const auto engine = make_engine({.tier = GetParam(),
                                         .fuel = fuel,
                                         .wasm_stack_bytes = engine::kWasmStackBytesMin,
                                         .parallel_compile = parallel,
                                         .compact_memories = compact});
        const auto compiled = make_compiler()->compile(*engine, source_of(wasm), {});
        EXPECT_TRUE(compiled.ok()) << compiled.status().message();
      }
    }
  }
}

// Threads inside one compile change nothing in what comes out.
TEST_P(HelperCompilerTest, AModuleOfAMegabyteIsCompiledByManyThreads) {
  std::string text = "(module (memory 20) (data (i32.const 0) \"";
  text += std::string(HelperOptions::kParallelBytesMin, 'x') + "\")";
  for (int i = 0; i < 300; i++)
    text += "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))";
  text += "(func (export \"last\") (param i32) (result i32) (call 299 (local.get 0))))";
  const Wasm wasm = test::wasm(text);
  const auto engine = make_engine({.tier = GetParam()});
  HelperOptions options = with_helper();
  options.threads = 4;
  const auto parallel = make_compiler(options)->compile(*engine, source_of(wasm), {});
  ASSERT_TRUE(parallel.ok()) << parallel.status().message();
  EXPECT_EQ(call(parallel.value().code, engine, "last", 14).value(), 42);
  options.threads = 1;
  const auto serial = make_compiler(options)->compile(*engine, source_of(wasm), {}).value();
  EXPECT_EQ(parallel.value().code->native().value(), serial.code->native().value());
}

TEST_P(HelperCompilerTest, AnInvalidModuleIsRefusedInTheSameWordsAsHere) {
  const auto engine = make_engine({.tier = GetParam()});
  for (const Wasm& wasm :
       {test::wasm("(module (func (result i32)))"), test::wasm("(module (func (param externref)))")}) {
    const auto there = make_compiler()->compile(*engine, source_of(wasm), {});
    const auto here = InProcessCompiler().compile(*engine, source_of(wasm), {});
    EXPECT_EQ(there.code(), here.code());
    EXPECT_EQ(there.status().message(), here.status().message());
  }
  for (const Wasm& wasm : {Wasm{}, Wasm{1, 2, 3}, Wasm{0, 'a', 's', 'm', 1, 0, 0, 0, 10}}) {
    EXPECT_EQ(make_compiler()->compile(*engine, source_of(wasm), {}).code(), Code::kInvalidModule);
  }
}

TEST(HelperTest, ThreadsInsideACompileDoNotChangeWhatAnEngineCanLoad) {
  for (const auto tier : {engine::Tier::kBaseline, engine::Tier::kOptimised}) {
    EXPECT_EQ(make_engine({.tier = tier})->compatibility(),
              make_engine({.tier = tier, .parallel_compile = true})->compatibility());
  }
}

TEST(HelperTest, EightAtOnceDisturbNobody) {
  const auto engine = make_engine();
  const auto compiler = make_compiler();
  const Wasm wasm = test::wasm(kSumGuest);
  std::atomic<int> right{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; i++) {
      threads.emplace_back([&] {
        for (int round = 0; round < 3; round++) {
          const auto compiled = compiler->compile(*engine, source_of(wasm), {});
          if (compiled.ok() && call(compiled.value().code, engine, "sum", 4).value() == 10) right++;
        }
      });
    }
  }
  EXPECT_EQ(right, 24);
}

// --- bombs --------------------------------------------------------------------------------------------

struct Bomb {
  const char* name;
  engine::Tier tier;
  Wasm (*make)();
  const char* limit;  // that must be named; null: it may also be compiled
};

class CompileBombTest : public testing::TestWithParam<Bomb> {};

constexpr auto kBaseline = engine::Tier::kBaseline;
constexpr auto kOptimised = engine::Tier::kOptimised;

const Bomb kBombs[] = {
    {"ManyLocals", kBaseline, [] { return test::many_locals(2'000, 49'999, test::kV128); },
     "compile_locals_max"},
    {"ManyLocalsInManyFunctions", kBaseline, [] { return test::many_locals(20'000, 10'000, test::kV128); },
     "compile_locals_bytes_max"},
    {"EmptyFunctions", kBaseline, [] { return test::empty_functions(500'000); }, "compile_functions_max"},
    {"EmptyFunctionsOptimised", kOptimised, [] { return test::empty_functions(500'000); },
     "compile_functions_max"},
    {"StraightLine", kOptimised, [] { return test::straight_line(6'000'000); }, "compile_body_bytes_max"},
    {"DeepNesting", kOptimised, [] { return test::nested(100'000); }, "compile_nesting_max"},
    {"BrTable", kOptimised, [] { return test::br_table(400'000); }, "compile_br_table_targets_max"},
    {"ManyValues", kOptimised, [] { return test::many_values(1, 100'000); }, "compile_values_max"},
    {"ManyValuesInManyFunctions", kOptimised, [] { return test::many_values(1'000, 49); },
     "compile_values_total_max"},
    {"DataSegments", kBaseline, [] { return test::data_segments(100'000); }, "compile_initialisers_max"},
    // Just below each limit:
    {"DataSegmentsBelow", kBaseline, [] { return test::data_segments(50'000); }, nullptr},
    {"LocalsInLoopsBelow", kOptimised, [] { return test::locals_in_loops(10'000, 100); }, "compile_cpu_s"},
    {"LocalsInDeepLoopsBelow", kOptimised, [] { return test::locals_in_loops(10'000, 5'000); },
     "compile_cpu_s"},
    {"DeepStackBelow", kBaseline, [] { return test::deep_stack(130'000); }, nullptr},
    {"ManyLocalsBelow", kBaseline, [] { return test::many_locals(104, 10'000, test::kV128); }, nullptr},
    {"EmptyFunctionsBelow", kBaseline, [] { return test::empty_functions(100'000); }, nullptr},
    {"EmptyFunctionsOptimisedBelow", kOptimised, [] { return test::empty_functions(100'000); }, nullptr},
    {"StraightLineBelow", kOptimised, [] { return test::straight_line(512 * 1024 - 100); }, nullptr},
    {"DeepNestingBelow", kOptimised, [] { return test::nested(5'000, true); }, nullptr},
    {"BrTableBelow", kOptimised, [] { return test::br_table(65'519); }, nullptr},
    {"ManyValuesBelow", kOptimised, [] { return test::many_values(1, 50); }, nullptr},
    {"ManyValuesInManyFunctionsBelow", kOptimised, [] { return test::many_values(83, 50); }, nullptr},
};

INSTANTIATE_TEST_SUITE_P(All, CompileBombTest, testing::ValuesIn(kBombs),
                         [](const auto& bomb) { return std::string(bomb.param.name); });

// Goal: refused or ended within 10 s; this process at most 64 MiB larger.  Processor time is what counts
// here: the machine may have other things to do.
TEST_P(CompileBombTest, HurtsNobody) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer's memory and time say nothing";
  const Bomb& bomb = GetParam();
  const Wasm wasm = bomb.make();
  const auto engine = make_engine({.tier = bomb.tier});
  const auto compiler = make_compiler();
  forget_peak_memory();
  const size_t before = peak_memory_bytes();
  const double cpu_before = children_cpu_s();
  const auto begin = steady_clock::now();
  const auto compiled = compiler->compile(*engine, source_of(wasm), {});
  const std::chrono::duration<double> took = steady_clock::now() - begin;
  const double cpu_s = children_cpu_s() - cpu_before;
  const size_t grown = peak_memory_bytes() - before;
  fmt::print("{}: {} bytes, {:.2f} s, {:.2f} s of processor time, this process {} KiB larger; {}\n",
             bomb.name, wasm.size(), took.count(), cpu_s, grown / 1024, compiled.status().message());
  EXPECT_LT(cpu_s, 10.0);
  EXPECT_LT(grown, size_t{64} * 1024 * 1024);
  if (bomb.limit != nullptr) {
    EXPECT_EQ(compiled.code(), Code::kLimitExceeded) << compiled.status().message();
    EXPECT_NE(compiled.status().message().find(fmt::format("({}=", bomb.limit)), std::string::npos)
        << compiled.status().message();
  } else if (!compiled.ok()) {
    EXPECT_TRUE(compiled.code() == Code::kLimitExceeded || compiled.code() == Code::kUnsupported)
        << compiled.status().message();
  }
}

Result<Compiled> compile_within(const CompileBudget& budget, const Wasm& wasm,
                                engine::Tier tier = engine::Tier::kBaseline) {
  HelperOptions options = with_helper();
  options.budget = budget;
  return make_compiler(options)->compile(*make_engine({.tier = tier}), source_of(wasm), {});
}

void expect_limit(const Result<Compiled>& compiled, std::string_view name) {
  EXPECT_EQ(compiled.code(), Code::kLimitExceeded);
  EXPECT_NE(compiled.status().message().find(name), std::string::npos) << compiled.status().message();
}

TEST(HelperTest, MemoryIsLimited) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer needs more than any limit";
  constexpr size_t kMib = 1024 * 1024;
  const Wasm wasm = test::empty_functions(90'000);  // takes 500 MiB
  for (const size_t mib : {64, 100, 200, 300, 400}) {
    expect_limit(compile_within({.memory_bytes_max = mib * kMib}, wasm),
                 fmt::format("(compile_memory_bytes_max={})", mib * kMib));
  }
}

// On other threads than the first, too, where errors go other ways.
TEST(HelperTest, MemoryOfManyThreadsIsLimited) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer needs more than any limit";
  constexpr size_t kMib = 1024 * 1024;
  const Wasm wasm = test::module_of(90'000, {0}, test::repeated(10, {0x01}));
  ASSERT_GE(wasm.size(), HelperOptions::kParallelBytesMin);
  HelperOptions options = with_helper();
  options.threads = 4;
  for (const size_t mib : {350, 450, 550}) {
    options.budget.memory_bytes_max = mib * kMib;
    expect_limit(make_compiler(options)->compile(*make_engine({.tier = kBaseline}), source_of(wasm), {}),
                 "compile_memory_bytes_max");
  }
}

TEST(HelperTest, LengthOfTheCodeIsLimited) {
  const Wasm wasm = test::empty_functions(1'000);
  expect_limit(compile_within({.native_bytes_max = 10'000}, wasm), "(compile_native_bytes_max=10000)");
  EXPECT_TRUE(compile_within({}, wasm).ok());
}

TEST(HelperTest, ProcessorTimeIsLimitedByTheCodeNotByTheLengthOfTheFile) {
  const Wasm wasm = padded(endless(), size_t{8} * 1024 * 1024);
  const double before = children_cpu_s();
  expect_limit(compile_within({.cpu_s = 1, .cpu_s_per_mib = 1}, wasm, kOptimised), "(compile_cpu_s=1,");
  EXPECT_LT(children_cpu_s() - before, 5.0);
}

TEST(HelperTest, WallTimeIsLimited) {
  HelperOptions options = patient();
  options.wall_max = milliseconds(200);
  const auto begin = steady_clock::now();
  expect_limit(make_compiler(options)->compile(*make_engine(), source_of(endless()), {}),
               "(compile_wall_ms=200)");
  EXPECT_LT(steady_clock::now() - begin, seconds(5));
}

// --- helpers that fail --------------------------------------------------------------------------------

class BadHelperTest : public testing::Test {
 protected:
  // A program in a helper's place; 4 is where the answer goes, 5 is for the code.
  std::string script(const std::string& text) {
    const std::string path = folder_.write("helper", "#!/bin/sh\n" + text + "\n");
    ::chmod(path.c_str(), 0755);
    return path;
  }

  Result<Compiled> compile(const HelperOptions& options) {
    return make_compiler(options)->compile(*engine_, source_of(wasm_), {});
  }
  Result<Compiled> compile_by(const std::string& text) { return compile(with_helper(script(text))); }

  // A script that says these bytes.
  std::string saying(const std::vector<std::vector<uint8_t>>& parts) {
    std::string all;
    for (const auto& part : parts) all.append(part.begin(), part.end());
    return fmt::format("/bin/cat '{}' >&4", folder_.write("answer", all));
  }
  HelperHello hello() const {
    return {.engine_version = std::string(engine::engine_version()),
            .compatibility = engine_->compatibility()};
  }

  static void expect(const Result<Compiled>& compiled, Code code, std::string_view words) {
    EXPECT_EQ(compiled.code(), code) << compiled.status().message();
    EXPECT_NE(compiled.status().message().find(words), std::string::npos) << compiled.status().message();
  }

  test::TemporaryFolder folder_;
  const std::shared_ptr<const engine::Engine> engine_ = make_engine();
  const Wasm wasm_ = test::wasm(kSumGuest);
};

TEST_F(BadHelperTest, OneThatIsMissingIsNamedWithItsOption) {
  const auto missing = HelperCompiler::create(with_helper("/nowhere/spore-compile"));
  EXPECT_EQ(missing.code(), Code::kUnavailable);
  EXPECT_NE(missing.status().message().find("(compile_helper=/nowhere/spore-compile)"), std::string::npos);
  EXPECT_EQ(HelperCompiler::create(with_helper(folder_.path())).code(), Code::kUnavailable);
  EXPECT_EQ(HelperCompiler::create(with_helper(folder_.write("plain", "text"))).code(), Code::kUnavailable);
}

TEST_F(BadHelperTest, OneThatGoesMissingLaterIsNamedToo) {
  const auto compiler = make_compiler(with_helper(script("exit 0")));
  std::filesystem::remove(compiler->helper());
  expect(compiler->compile(*engine_, source_of(wasm_), {}), Code::kUnavailable, "(compile_helper=");
}

TEST_F(BadHelperTest, OneThatIsNoProgramIsAnError) {
  const std::string path = folder_.write("text", "not a program");
  ::chmod(path.c_str(), 0755);
  expect(compile(with_helper(path)), Code::kUnavailable, "cannot be started");
}

TEST_F(BadHelperTest, OneOfAnotherVersionIsAnError) {
  expect(compile_by("printf 'SPCMPAN1\\002\\000\\000\\000' >&4; exec /bin/sleep 1000 4>&-"),
         Code::kUnavailable, "of another version: it speaks protocol 2, this is 1");
  HelperHello other = hello();
  other.engine_version = "1.0.0";
  expect(compile_by(saying({encode(other)})), Code::kUnavailable, "its engine is 1.0.0");
  other = hello();
  other.compatibility.bytes[0] ^= 1;
  expect(compile_by(saying({encode(other)})), Code::kUnavailable, "cannot load");
}

TEST_F(BadHelperTest, ARealOneRefusesARequestOfAnotherEngine) {
  // The other way round: what it was built with is not what is asked for.
  HelperRequest request;
  request.engine_version = "1.0.0";
  const std::string file = folder_.write("request", "");
  const std::vector<uint8_t> bytes = encode(request);
  std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), kRequestBytes);
  expect(compile_by(fmt::format("exec '{}' 3< '{}'", SPORE_COMPILE_HELPER, file)), Code::kInternal,
         "without an answer");
}

TEST_F(BadHelperTest, OneThatWritesNonsenseIsAnError) {
  expect(compile_by("echo nonsense >&4"), Code::kUnavailable, "is no compile helper");
  expect(compile_by("/usr/bin/yes >&4 2> /dev/null; exec /bin/sleep 1000"), Code::kUnavailable,
         "more than a compile helper does");
  expect(compile_by(saying({encode(hello()), {200, 1, 2, 3}})), Code::kUnavailable, "is no compile helper");
}

TEST_F(BadHelperTest, CodeThatIsNoneIsAnError) {
  const std::vector<uint8_t> done = encode(HelperAnswer{.code = Code::kOk, .native_bytes = 8});
  expect(compile_by(saying({encode(hello()), done})), Code::kInternal, "gave no code");
  expect(compile_by("echo nonsense >&5; " + saying({encode(hello()), done})), Code::kUnsupported,
         "does not fit");
}

TEST_F(BadHelperTest, WhatItSaysIsMadePrintable) {
  const HelperAnswer answer{.code = Code::kInvalidModule, .message = "a\x1b[2Jb"};
  const auto compiled = compile_by(saying({encode(hello()), encode(answer)}));
  EXPECT_EQ(compiled.code(), Code::kInvalidModule);
  EXPECT_EQ(compiled.status().message().find('\x1b'), std::string::npos);
}

TEST_F(BadHelperTest, ACodeThatCompilersDoNotGiveIsAnErrorOfTheHelper) {
  const HelperAnswer answer{.code = Code::kExited, .message = "left"};
  expect(compile_by(saying({encode(hello()), encode(answer)})), Code::kInternal,
         "the compile helper failed: left");
}

TEST_F(BadHelperTest, OneThatEndsEarlyIsAnErrorWithItsLastWords) {
  expect(compile_by("exit 0"), Code::kUnavailable, "is no compile helper");
  expect(compile_by(saying({encode(hello())}) + "; echo oh no >&2; exit 3"), Code::kInternal,
         "(exit code 3); its last words: oh no");
  expect(compile_by("kill -SEGV $$"), Code::kInternal, "crashed on this module (signal 11");
  expect(compile_by("kill -SYS $$"), Code::kInternal, "signal 31");
  expect(compile_by("kill -KILL $$"), Code::kUnavailable, "killed by somebody (signal 9");
  expect(compile_by("kill -XCPU $$"), Code::kLimitExceeded, "compile_cpu_s");
  expect(compile_by("kill -XFSZ $$"), Code::kLimitExceeded, "compile_native_bytes_max");
  expect(compile_by("echo memory allocation of 7 bytes failed >&2; kill -ABRT $$"), Code::kLimitExceeded,
         "compile_memory_bytes_max");
}

TEST_F(BadHelperTest, OneThatClosesItsPipeAndStaysIsEnded) {
  const auto begin = steady_clock::now();
  expect(compile_by("exec 4>&-; exec /bin/sleep 1000"), Code::kUnavailable, "");
  EXPECT_LT(steady_clock::now() - begin, seconds(20));
}

TEST_F(BadHelperTest, OneThatLeavesSomebodyWithItsPipeIsNotWaitedFor) {
  const auto begin = steady_clock::now();
  expect(compile_by("/bin/sleep 30 & exit 5"), Code::kUnavailable, "is no compile helper");
  EXPECT_LT(steady_clock::now() - begin, seconds(10));
}

TEST_F(BadHelperTest, OneThatNeverAnswersIsEnded) {
  HelperOptions options = with_helper(script("exec /bin/sleep 1000"));
  options.wall_max = milliseconds(100);
  expect(compile(options), Code::kLimitExceeded, "(compile_wall_ms=100)");
}

TEST_F(BadHelperTest, ItInheritsNothingThatIsOpenHere) {
  constexpr int kForgotten = 77;
  ASSERT_EQ(::dup2(0, kForgotten), kForgotten);  // not close-on-exec
  const auto compiled =
      compile_by(saying({encode(hello())}) +
                 "; for fd in 1 5 77; do [ -e /proc/$$/fd/$fd ] && echo $fd is open >&2; done; exit 3");
  ::close(kForgotten);
  expect(compiled, Code::kInternal, "last words: 1 is open 5 is open");
  EXPECT_EQ(compiled.status().message().find("77"), std::string::npos) << compiled.status().message();
}

TEST_F(BadHelperTest, NothingStaysOpenHereWhateverGoesWrong) {
  const size_t descriptors = open_descriptors();
  for (const char* text : {"exit 0", "echo nonsense >&4", "kill -SEGV $$"}) {
    EXPECT_FALSE(compile_by(text).ok());
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

// --- the end of it ------------------------------------------------------------------------------------

TEST(HelperTest, CancellingKillsItAtOnce) {
  std::stop_source stop;
  std::optional<Result<Compiled>> compiled;
  const Wasm wasm = endless();
  std::jthread compiling([&] {
    compiled.emplace(make_compiler(patient())->compile(*make_engine(), source_of(wasm), stop.get_token()));
  });
  const pid_t helper = wait_for_helper_of(::getpid());
  ASSERT_GT(helper, 0);
  const auto begin = steady_clock::now();
  stop.request_stop();
  compiling.join();
  EXPECT_LT(steady_clock::now() - begin, seconds(3));
  EXPECT_EQ(compiled->code(), Code::kCancelled);
  EXPECT_TRUE(is_gone(helper));
  EXPECT_EQ(make_compiler()->compile(*make_engine(), source_of(wasm), stop.get_token()).code(),
            Code::kCancelled)
      << "asked for before it began";
}

TEST(HelperTest, KilledInTheMiddleItIsMissedAndTheNextOneWorks) {
  std::optional<Result<Compiled>> compiled;
  const auto compiler = make_compiler(patient());
  const auto engine = make_engine();
  const Wasm wasm = endless();
  std::jthread compiling([&] { compiled.emplace(compiler->compile(*engine, source_of(wasm), {})); });
  const pid_t helper = wait_for_helper_of(::getpid());
  ASSERT_GT(helper, 0);
  ::kill(helper, SIGKILL);
  compiling.join();
  EXPECT_EQ(compiled->code(), Code::kUnavailable);
  EXPECT_NE(compiled->status().message().find("killed by somebody"), std::string::npos);
  const Wasm good = test::wasm(kSumGuest);
  EXPECT_TRUE(compiler->compile(*engine, source_of(good), {}).ok());
}

TEST(HelperTest, ItDiesWithItsParent) {
  const pid_t parent = ::fork();
  if (parent == 0) {
    const Wasm wasm = endless();
    static_cast<void>(make_compiler(patient())->compile(*make_engine(), source_of(wasm), {}));
    ::_exit(0);
  }
  const pid_t helper = wait_for_helper_of(parent);
  ASSERT_GT(helper, 0);
  // Past the start, where it is still to ask for that: confined.
  const std::string status = fmt::format("/proc/{}/status", helper);
  while (!is_gone(helper) && test::file_content(status).find("\nSeccomp:\t2") == std::string::npos) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_FALSE(is_gone(helper));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  const auto until = steady_clock::now() + seconds(10);
  while (!is_gone(helper) && steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(is_gone(helper));
}

TEST(HelperTest, TheHostsOwnChildrenAreLeftToIt) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(7);
  const Wasm wasm = test::wasm(kSumGuest);
  EXPECT_TRUE(make_compiler()->compile(*make_engine(), source_of(wasm), {}).ok());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "and none of ours";
}

TEST(HelperTest, AHostThatIgnoresItsChildrenGetsCodeAndCauses) {
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  const Wasm wasm = test::wasm(kSumGuest);
  const auto compiled = make_compiler()->compile(*make_engine(), source_of(wasm), {});
  EXPECT_TRUE(compiled.ok()) << compiled.status().message();
  expect_limit(compile_within({.cpu_s = 1, .cpu_s_per_mib = 0}, endless(), kOptimised), "(compile_cpu_s=1,");
  ::signal(SIGCHLD, before);
}

// A host that blocks or ignores signals does not make its helper immune to its limits.
TEST(HelperTest, BlockedSignalsAreNotInherited) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto ignored = ::signal(SIGXCPU, SIG_IGN);
  const auto compiled = compile_within({.cpu_s = 1, .cpu_s_per_mib = 0}, endless(), kOptimised);
  ::signal(SIGXCPU, ignored);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  expect_limit(compiled, "(compile_cpu_s=1,");
}

// --- confinement --------------------------------------------------------------------------------------

TEST(HelperTest, WhatMustBeRefusedIsRefused) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer calls the system as it likes";
  const test::ProcessResult result = test::run_process({SPORE_COMPILE_HELPER, "--self-test"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  for (const char* line :
       {"open a file to read: EPERM", "socket: killed", "run a program: killed", "make a process: killed",
        "raise a limit: EPERM", "socket on an older thread: killed"}) {
    EXPECT_NE(result.out.find(line), std::string::npos) << line;
  }
}

// Goal: a module is compiled under these conditions, not only the self-test run.
TEST(HelperTest, ItCompilesConfined) {
  const auto stop = std::make_unique<std::stop_source>();  // on the heap: g++ 12 thinks it uninitialised
  const Wasm wasm = padded(endless(), HelperOptions::kParallelBytesMin);
  HelperOptions options = patient();
  options.niceness = 15;
  options.threads = 3;
  std::jthread compiling([&] {
    static_cast<void>(make_compiler(options)->compile(*make_engine(), source_of(wasm), stop->get_token()));
  });
  const pid_t helper = wait_for_helper_of(::getpid());
  ASSERT_GT(helper, 0);
  const auto file = [&](const char* name) {
    return test::file_content(fmt::format("/proc/{}/{}", helper, name));
  };
  const auto until = steady_clock::now() + seconds(10);
  while (file("status").find("\nSeccomp_filters:\t2") == std::string::npos && steady_clock::now() < until) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  const std::string status = file("status");
  const std::string limits = file("limits");
  const std::string stat = file("stat");
  EXPECT_EQ(file("oom_score_adj"), "1000\n");
  stop->request_stop();
  EXPECT_NE(status.find("\nSeccomp:\t2"), std::string::npos) << status;
  EXPECT_NE(status.find("\nNoNewPrivs:\t1"), std::string::npos);
  if (!test::kSanitized) {
    EXPECT_NE(status.find("\nThreads:\t4\n"), std::string::npos) << "itself and three";
    EXPECT_NE(limits.find("Max address space         2147483648           2147483648"), std::string::npos)
        << limits;
  }
  if (!test::kSanitized) {
    EXPECT_NE(limits.find("Max open files            6                    6"), std::string::npos) << limits;
  }
  EXPECT_NE(limits.find("Max core file size        0                    0"), std::string::npos);
  EXPECT_NE(limits.find("Max file size             268435456            268435456"), std::string::npos);
  EXPECT_NE(stat.find(" 35 15 "), std::string::npos) << "priority and niceness: " << stat;
}

TEST(HelperTest, PeopleAreToldThatItIsNotForThem) {
  EXPECT_EQ(test::run_process({SPORE_COMPILE_HELPER}).exit_code, 2);
  const test::ProcessResult help = test::run_process({SPORE_COMPILE_HELPER, "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("not for people"), std::string::npos);
  const test::ProcessResult version = test::run_process({SPORE_COMPILE_HELPER, "--version"});
  EXPECT_EQ(version.out, fmt::format("spore-compile: protocol 1, engine {}\n", engine::engine_version()));
  EXPECT_EQ(test::run_process({SPORE_COMPILE_HELPER, "module.wasm"}).exit_code, 2);
}

// --- what the caller chooses --------------------------------------------------------------------------

TEST(HelperTest, FallingBackIsForHelpersThatAreMissingNotForModulesThatAreRefused) {
  test::TemporaryFolder folder;
  const std::string path = folder.write("helper", "#!/bin/sh\n");
  ::chmod(path.c_str(), 0755);
  const auto engine = make_engine();
  FallbackCompiler without(make_compiler(with_helper(path)), std::make_unique<InProcessCompiler>());
  const Wasm good = test::wasm(kSumGuest);
  EXPECT_TRUE(without.compile(*engine, source_of(good), {}).ok());
  FallbackCompiler with(make_compiler(), std::make_unique<InProcessCompiler>());
  const Wasm bomb = test::nested(6'000);
  EXPECT_EQ(with.compile(*engine, source_of(bomb), {}).code(), Code::kLimitExceeded);
}

TEST(HelperTest, OptionsOutOfRangeAreRefused) {
  HelperOptions options = with_helper();
  options.niceness = 20;
  EXPECT_EQ(HelperCompiler::create(options).code(), Code::kInvalidArgument);
  options = with_helper();
  options.threads = HelperOptions::kThreadsMax + 1;
  EXPECT_EQ(HelperCompiler::create(options).code(), Code::kInvalidArgument);
  options = with_helper();
  options.budget.memory_bytes_max = HelperOptions::kMemoryBytesMin - 1;
  EXPECT_EQ(HelperCompiler::create(options).code(), Code::kInvalidArgument);
}

TEST(HelperTest, ItIsFoundBesideTheProgram) {
  const auto compiler = HelperCompiler::create({});
  ASSERT_TRUE(compiler.ok()) << compiler.status().message();
  EXPECT_EQ(compiler.value()->helper().filename(), "spore-compile");
}

}  // namespace
}  // namespace spore::code
