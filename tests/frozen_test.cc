// Real programs, frozen at their first read: C, Rust and Go, and CPython where its rewriting is kept already.
// By the command line and by the API, in this process and from a file.

#include <time.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/engine.h"
#include "spore/handler/handler.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/reader.h"
#include "tests/asyncify.h"
#include "tests/process.h"
#include "tests/sanitizers.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using program::Framing;
using Words = std::vector<std::string>;

// What was rewritten and compiled once is kept for the next run: Go takes minutes.
constexpr const char* kHome = SPORE_SOURCE_DIR "/build/handlers";

fs::path built(std::string_view name) { return fs::path(SPORE_SOURCE_DIR "/build/guests") / name; }

// Bytes of this process' memory of some kinds, what is shared among processes in equal parts.
size_t memory_bytes(const std::set<std::string_view>& kinds) {
  std::ifstream file("/proc/self/smaps_rollup");
  size_t bytes = 0;
  for (std::string word; file >> word;) {
    size_t kib = 0;
    if (kinds.contains(word) && file >> kib) bytes += kib * 1024;
  }
  return bytes;
}

class FrozenTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(built(""))) GTEST_SKIP() << "there are no guests: run tools/guests.sh";
    if (::access(kWasmOpt, X_OK) != 0) GTEST_SKIP() << "there is no wasm-opt: install binaryen";
    runtime::RuntimeOptions options;
    options.tier = engine::Tier::kBaseline;
    options.code_cache = code::code_cache_options(kHome);
    options.compile.helper = SPORE_COMPILE_HELPER;
    runtime_ = runtime::Runtime::create(std::move(options)).value();
  }

  struct Loaded {
    std::shared_ptr<const program::Program> program;
    program::Source source;
  };
  Loaded freeze(const std::string& name, const Words& args, Framing framing,
                const std::vector<host::WasiDirectory>& directories = {}) {
    const std::vector<uint8_t> bytes = read_file(built(name + ".wasm"), size_t{1} << 27).value();
    host::WasiOptions world{.args = {name}, .directories = directories};
    world.args.insert(world.args.end(), args.begin(), args.end());
    static int number = 0;
    runtime::FrozenProgram frozen = runtime_
                                        ->freeze_program(fmt::format("{} {}", name, number++), bytes,
                                                         {.wasi = host::WasiConfig::create(world).value()},
                                                         {.framing = framing}, {.rewrite_all = rewrite_all_})
                                        .value();
    return {std::move(frozen.program), std::move(frozen.source)};
  }
  ProcessResult spore(Words words, const ProcessOptions& options = {}) const {
    words.insert(words.begin(), SPORE_CLI);
    words.insert(words.end(), {"--home", kHome, "--tier", "baseline"});
    return run_process(words, options);
  }
  std::string path(std::string_view name) const { return (folder_.path() / name).native(); }

  TemporaryFolder folder_;
  bool rewrite_all_ = false;
  std::unique_ptr<runtime::Runtime> runtime_;
};

TEST_F(FrozenTest, LinesInThreeLanguages) {
  for (const std::string name : {"c_command", "rust_command", "go_command"}) {
    SCOPED_TRACE(name);
    const Loaded loaded = freeze(name, {"lines"}, Framing::kLines);
    for (int i = 0; i < 20; i++) {
      // Each is the first one that the program sees.
      const program::Answer answer = loaded.program->request(fmt::format("line {}", i)).value();
      EXPECT_EQ(answer.output, fmt::format("1: LINE {}\n", i));
      EXPECT_EQ(answer.exit_code, std::nullopt);
    }
  }
}

// The other way: all functions that can come to a wait are rewritten.
TEST_F(FrozenTest, AProgramThatWasRewrittenAsAWhole) {
  rewrite_all_ = true;
  for (const std::string name : {"c_command", "rust_command"}) {
    SCOPED_TRACE(name);
    const Loaded loaded = freeze(name, {"lines"}, Framing::kLines);
    for (int i = 0; i < 3; i++) EXPECT_EQ(loaded.program->request("line")->output, "1: LINE\n");
  }
}

TEST_F(FrozenTest, AllOfStandardInputInThreeLanguages) {
  for (const std::string name : {"c_command", "rust_command", "go_command"}) {
    SCOPED_TRACE(name);
    const Loaded loaded = freeze(name, {"lines"}, Framing::kEndOfInput);
    for (int i = 0; i < 3; i++) {
      const program::Answer answer = loaded.program->request("one\ntwo\n").value();
      EXPECT_EQ(answer.output, "1: ONE\n2: TWO\n");
      EXPECT_EQ(answer.error, "lines: 2, bytes: 8\n");
      EXPECT_EQ(answer.exit_code, 0u);
    }
  }
}

TEST_F(FrozenTest, AFileHoldsTheProgram) {
  const Loaded loaded = freeze("c_command", {"lines"}, Framing::kLines);
  const std::string file = path("c.spore");
  ASSERT_TRUE(loaded.program->save(file, loaded.source).ok());
  const snapshot::Contents contents = snapshot::read(file).value();
  const auto module = runtime_->load_image("again", contents).value();
  const auto again = runtime_->restore(*module, contents).value();
  EXPECT_EQ(again->framing(), Framing::kLines);
  for (int i = 0; i < 3; i++) EXPECT_EQ(again->request("line")->output, "1: LINE\n");
  EXPECT_EQ(runtime_->restore_library(*module, contents).code(), Code::kInvalidArgument);
  // The image of one module is none of another.
  const Loaded other = freeze("rust_command", {"lines"}, Framing::kLines);
  const auto rust = runtime_->module(other.program->pool_entry().module()).value();
  EXPECT_EQ(runtime_->restore(*rust, contents).code(), Code::kInvalidArgument);
}

// Reads its requests in one function until one begins with `j`: from then on in another.
constexpr const char* kJumping = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "env" "tell" (func $tell))
  (memory (export "memory") 1)
  (global $elsewhere (mut i32) (i32.const 0))
  (func $read (result i32)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 100))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.load (i32.const 8)))
  ;; Would it go on while others return, it would write, and not end.
  (func $read_elsewhere (result i32) (local $n i32)
    (local.set $n (call $read))
    (i32.store8 (i32.const 1024) (i32.const 33))
    (call $tell)
    (loop $for_ever (br_if $for_ever (i32.eqz (local.get $n))))
    (local.get $n))
  (func (export "_start") (local $n i32)
    (loop $next
      (if (global.get $elsewhere)
        (then (local.set $n (call $read_elsewhere)))
        (else (local.set $n (call $read))))
      (i32.store (i32.const 4) (local.get $n))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (global.set $elsewhere (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 0x6a)))
      (br_if $next (local.get $n))))))";

// Goal: a program whose next read is in a function that was not rewritten has answered, at once, and is clean
// for the next request; to be frozen there it must be rewritten as a whole, and says so.
TEST_F(FrozenTest, ItsNextReadMayBeElsewhere) {
  const std::vector<uint8_t> wasm = engine::text_to_wasm(kJumping).value();
  int told = 0;
  runtime::ModuleOptions options;
  options.host.define("env", "tell", [&told](host::Caller& /*caller*/) -> Status {
    told++;
    return {};
  });
  const auto program =
      runtime_->freeze_program("jumping", wasm, options, {}, {.may_start_again = true}).value().program;
  for (int i = 0; i < 3; i++) {
    EXPECT_EQ(program->request("jump", {.deadline_ms = 5000})->output, "jump\n");
    EXPECT_EQ(program->request("stay")->output, "stay\n");
  }
  EXPECT_EQ(told, 0);
  const auto extended = program->extend("stay").value().program;
  EXPECT_EQ(extended->request("more")->output, "more\n");
  const Status refused = program->extend("jump").status();
  EXPECT_EQ(refused.code(), Code::kHostError);
  EXPECT_NE(refused.message().find("--rewrite all"), std::string::npos) << refused.message();
  const auto whole =
      runtime_->freeze_program("whole", wasm, options, {}, {.rewrite_all = true}).value().program;
  EXPECT_EQ(whole->extend("jump").value().program->request("more")->output, "!ore\n");
  EXPECT_EQ(told, 1);
}

// Goal: what waits elsewhere and would go on in a loop there is ended at once, not at the next tick of the
// clock of deadlines, by the code of each tier.  Method: processor time, which a loop would take.
TEST_F(FrozenTest, WhatWaitsElsewhereIsEndedAtOnce) {
  if (kSanitized) GTEST_SKIP() << "time is measured";
  for (const engine::Tier tier : {engine::Tier::kBaseline, engine::Tier::kOptimised}) {
    runtime::ModuleOptions options;
    options.tier = tier;
    options.host.define("env", "tell", [](host::Caller& /*caller*/) -> Status { return {}; });
    std::string text = kJumping;
    text.replace(text.find("(br_if $for_ever (i32.eqz (local.get $n)))"), 42, "(br $for_ever)");
    text.erase(text.find("(call $tell)"), 12);
    const auto program =
        runtime_
            ->freeze_program(fmt::format("jumping {}", engine::tier_name(tier)),
                             engine::text_to_wasm(text).value(), options, {}, {.may_start_again = true})
            .value()
            .program;
    constexpr int kRequests = 200;
    constexpr double kTickMs = 1;
    const auto cpu_ms = [] {
      timespec time{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
      return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
    };
    const double before = cpu_ms();
    for (int i = 0; i < kRequests; i++) ASSERT_EQ(program->request("jump")->output, "jump\n");
    EXPECT_LT((cpu_ms() - before) / kRequests, kTickMs / 2) << engine::tier_name(tier);
  }
}

// A stack that is too deep to be told has all functions rewritten, remembered or not.
TEST_F(FrozenTest, ADeepWaitHasAllFunctionsRewritten) {
  const std::vector<uint8_t> wasm = engine::text_to_wasm(R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $deep (param $depth i32)
    (if (local.get $depth) (then (call $deep (i32.sub (local.get $depth) (i32.const 1))) (return)))
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 100))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func (export "_start") (local $n i32)
    (drop (call $args (i32.const 0) (i32.const 4)))
    (local.set $n (i32.load (i32.const 0)))
    (loop $next (call $deep (i32.mul (local.get $n) (i32.const 50))) (br $next))))
)")
                                        .value();
  for (const Words& args : {Words{"one"}, Words{"one", "two"}, Words{"one", "two", "three"}}) {
    const auto program = runtime_
                             ->freeze_program(fmt::format("deep {}", args.size()), wasm,
                                              {.wasi = host::WasiConfig::create({.args = args}).value()}, {})
                             .value()
                             .program;
    for (int i = 0; i < 2; i++) EXPECT_EQ(program->request("x")->output, "x\n") << args.size();
  }
}

// Frozen again where it waited with other arguments: what is remembered of a module is not believed.
TEST_F(FrozenTest, ItMayWaitElsewhereWithOtherArguments) {
  const auto echo = [](std::string_view name, int letter) {
    return fmt::format(R"(
  (func ${} (loop $next
    (i32.store (i32.const 0) (i32.const 1025)) (i32.store (i32.const 4) (i32.const 100))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store8 (i32.const 1024) (i32.const {}))
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (br $next))))",
                       name, letter);
  };
  const std::vector<uint8_t> wasm = engine::text_to_wasm(R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (memory (export "memory") 1))" + echo("a", 'A') + echo("b", 'B') +
                                                         R"(
  (func (export "_start")
    (drop (call $args (i32.const 0) (i32.const 4)))
    (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1)) (then (call $a)) (else (call $b)))))"
                                                         ")")
                                        .value();
  for (const Words& args : {Words{"one"}, Words{"one", "two"}, Words{"one"}}) {
    const auto program = runtime_
                             ->freeze_program(fmt::format("guest {} {}", args.size(), ::getpid()), wasm,
                                              {.wasi = host::WasiConfig::create({.args = args}).value()}, {})
                             .value()
                             .program;
    EXPECT_EQ(program->request("x")->output, args.size() > 1 ? "Ax\n" : "Bx\n");
    ASSERT_TRUE(runtime_->unload_module(fmt::format("guest {} {}", args.size(), ::getpid())).ok());
  }
}

// Each Python handler starts as if it were the first: globals, modules, the environment, descriptors.
TEST_F(FrozenTest, CPythonForgetsWhatARequestDid) {
  if (!fs::exists(built("python.wasm"))) GTEST_SKIP() << "there is no CPython: run tools/guests.sh";
  constexpr const char* kLoop = R"(
import sys, json, re, datetime, os
count = 0
def handle(request):
    global count
    count += 1
    if "run" in request:
        exec(request["run"], globals())
    return {"count": count, "text": re.sub("a+", "b", request.get("text", "")), "env": os.environ.get("SEEN"),
            "len": len("four"), "year": datetime.date(2024, 2, 29).year, "out": sys.stdout.fileno()}
for line in sys.stdin:
    print(json.dumps(handle(json.loads(line))), flush=True)
)";
  const std::shared_ptr<const program::Program> program =
      freeze("python", {"-S", "-c", kLoop}, Framing::kLines).program;
  const std::string clean = R"({"count": 1, "text": "cbt", "env": null, "len": 4, "year": 2024, "out": 1})"
                            "\n";
  const auto is_clean = [&] { return program->request(R"({"text": "caaat"})")->output == clean; };
  EXPECT_TRUE(is_clean());
  const auto run = [&](std::string_view deed, const program::RequestOptions& options = {}) {
    return program->request(fmt::format(R"({{"run": "{}"}})", deed), options);
  };
  for (const std::string_view deed :
       {"count = 100", "os.environ['SEEN'] = 'yes'", "import builtins; builtins.len = lambda x: 5",
        "json.dumps = lambda x: 'broken'", "os.close(0)", "datetime.date = None", "x = bytearray(30_000_000)",
        "sys.stdout.write('half a line')"}) {
    EXPECT_NE(run(deed).code(), Code::kInternal) << deed;
    EXPECT_TRUE(is_clean()) << deed;
  }
  EXPECT_EQ(run("count = 100")->output.substr(0, 13), R"({"count": 100)");
  const program::Answer failed = run("1 / 0").value();
  EXPECT_EQ(failed.exit_code, 1u);
  EXPECT_NE(failed.error.find("ZeroDivisionError"), std::string::npos) << failed.error;
  EXPECT_TRUE(is_clean());
  EXPECT_EQ(run("raise SystemExit(7)")->exit_code, 7u);
  EXPECT_TRUE(is_clean());
  EXPECT_EQ(run("while True: pass", {.deadline_ms = 50}).code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(is_clean());
  EXPECT_EQ(run("x = bytearray(100_000_000)").code(), Code::kLimitExceeded);
  EXPECT_TRUE(is_clean());

  // Nor does anything pile up.
  if (kSanitized) return;  // which keep what was freed, and take long
  const auto own_bytes = [] { return memory_bytes({"Pss_Anon:", "Pss_Shmem:"}); };
  const size_t before = own_bytes();
  ASSERT_GT(before, 0U);
  for (int i = 0; i < 10'000; i++) ASSERT_TRUE(is_clean()) << i;
  EXPECT_LE(own_bytes(), before + (size_t{1} << 20));
}

// Goal: a hundred handlers on one started Python cost little more than one.  Method: each in a program of its
// own, with an instance that has answered; the memory of the process, beside that with one of them, less what
// the images hold of their own and what the instances wrote.
TEST_F(FrozenTest, AHundredHandlersShareOnePython) {
  if (!fs::exists(built("python.wasm"))) GTEST_SKIP() << "there is no CPython: run tools/guests.sh";
  const handler::Handler waiting = handler::runner_of(*handler::find_language("python").value(), {}).value();
  const std::vector<uint8_t> bytes = read_file(built("python.wasm"), size_t{1} << 27).value();
  const auto runner =
      runtime_
          ->freeze_program("python", bytes, {.wasi = host::WasiConfig::create(waiting.world).value()},
                           {.framing = handler::kFraming})
          .value()
          .program;
  std::vector<std::shared_ptr<const program::Program>> handlers;
  const auto add = [&] {
    const std::string source = fmt::format(
        "import json\ndef handle(request):\n    return [{}, json.loads(request)]\n", handlers.size());
    const std::string file = folder_.write(fmt::format("handler{}.py", handlers.size()), source);
    const std::string setup = handler::read_handler(file, {}).value().setup;
    handlers.push_back(runner->extend(setup).value().program);
  };
  const auto all_answer = [&] {
    for (size_t i = 0; i < handlers.size(); i++)
      EXPECT_EQ(handlers[i]->request("7")->output, fmt::format("[{}, 7]", i));
  };
  add();
  all_answer();
  const size_t one = memory_bytes({"Pss:"});
  while (handlers.size() < 100) add();
  all_answer();
  const size_t hundred = memory_bytes({"Pss:"});
  size_t changed = 0;
  for (const auto& handler : handlers) changed += handler->image().bytes();
  const size_t written = runtime_->pool().statistics().private_bytes;
  RecordProperty("pss_one", std::to_string(one));
  RecordProperty("pss_hundred", std::to_string(hundred));
  fmt::print(
      "PSS with one handler {} MB, with a hundred {} MB; their images hold {} MB, their instances {} MB\n",
      one >> 20, hundred >> 20, changed >> 20, written >> 20);
  EXPECT_LE(changed, handlers.size() * (runner->image().bytes() / 4));
  if (kSanitized) return;  // which have memory of their own
  EXPECT_LE(hundred, 2 * one + changed + written);
}

TEST_F(FrozenTest, ProgramsThatDoNotReadSayWhy) {
  const auto refused = [&](const Words& words) {
    Words all{"freeze", built("c_command.wasm").native(), "-o", path("none.spore"), "--"};
    all.insert(all.end(), words.begin(), words.end());
    return spore(all);
  };
  const ProcessResult failed = refused({"fail", "7", "out", "of", "luck"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_NE(failed.err.find("ended with exit code 7 before it read its standard input"), std::string::npos)
      << failed.err;
  EXPECT_NE(failed.err.find("out of luck"), std::string::npos) << failed.err;
  EXPECT_NE(refused({"crash"}).err.find("before it read its standard input"), std::string::npos);
  EXPECT_FALSE(fs::exists(path("none.spore")));
}

TEST_F(FrozenTest, TheCommandLineFreezesAndCalls) {
  const std::string image = path("c.spore");
  const std::string c = built("c_command.wasm").native();
  ASSERT_EQ(spore({"freeze", c, "lines", "-o", image}).exit_code, 0);
  EXPECT_EQ(spore({"call", image, "--request", "one"}).out, "1: ONE\n");
  const ProcessResult many = spore({"call", image}, {.input_path = folder_.write("in", "one\ntwo\nthree")});
  EXPECT_EQ(many.out, "1: ONE\n1: TWO\n1: THREE\n");
  EXPECT_EQ(many.exit_code, 0);
  EXPECT_NE(spore({"call", image, "--request", "x", "--json"}).out.find(R"("output": "1: X\n")"),
            std::string::npos);
  EXPECT_EQ(spore({"call", image, "function"}).exit_code, 2);

  ASSERT_EQ(spore({"freeze", c, "lines", "--stdin", "eof", "-o", image}).exit_code, 0);
  EXPECT_EQ(spore({"call", image}, {.input_path = folder_.write("in", "one\ntwo\n")}).out,
            "1: ONE\n2: TWO\n");
  EXPECT_EQ(spore({"freeze", c, "--stdin", "words", "-o", image}).exit_code, 2);

  const std::string reactor = built("c_reactor.wasm").native();
  ASSERT_EQ(spore({"freeze", reactor, "--init", "initialised", "-o", image}).exit_code,
            2);  // it gives something
  EXPECT_NE(spore({"freeze", reactor, "-o", image}).err.find("wizer.initialize"), std::string::npos);
  ASSERT_EQ(spore({"freeze", reactor, "--init", "_initialize", "-o", image}).exit_code, 0);
  EXPECT_EQ(spore({"call", image, "add", "2", "3"}).out, "5\n");
  EXPECT_EQ(spore({"call", image, "--request", "x"}).exit_code, 2);
}

// Its image says what was seen, and a request that fails is told; the answers are as before.
TEST_F(FrozenTest, AnImageIsTrainedBeforeItIsWritten) {
  const std::string image = path("trained.spore");
  const std::string c = built("c_command.wasm").native();
  const auto freeze = [&](const std::string& requests, const Words& more = {}) {
    Words words{"freeze", c, "lines", "-o", image, "--train", requests};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--home", kHome});
    words.insert(words.begin(), SPORE_CLI);
    return run_process(words);
  };
  ASSERT_EQ(freeze(folder_.write("requests", "one\ntwo\nthree\n")).exit_code, 0);
  const std::optional<code::Profile> profile = snapshot::describe(image).value().profile;
  ASSERT_TRUE(profile.has_value());
  EXPECT_EQ(profile->tier, engine::Tier::kOptimised);
  ASSERT_EQ(profile->functions.size(), 1u);
  EXPECT_EQ(profile->functions[0].name, "_start");
  EXPECT_EQ(profile->functions[0].calls, 6u);
  for (const char* profiles : {"on", "off"}) {
    EXPECT_EQ(spore({"call", image, "--request", "one", "--profiles", profiles}).out, "1: ONE\n");
  }
  ASSERT_EQ(spore({"freeze", c, "lines", "-o", image}).exit_code, 0);
  EXPECT_FALSE(snapshot::describe(image).value().profile.has_value());
  // A tier that was asked for is not left, and not waited for.
  const ProcessResult fixed = freeze(path("requests"), {"--tier", "baseline"});
  EXPECT_EQ(fixed.exit_code, 0);
  EXPECT_NE(fixed.err.find("its code is baseline, not optimised (none: its tier was asked for)"),
            std::string::npos)
      << fixed.err;
  EXPECT_FALSE(snapshot::describe(image).value().profile.has_value());

  fs::remove(image);
  EXPECT_NE(freeze(folder_.write("empty", "")).err.find("there is no request in it"), std::string::npos);
  EXPECT_EQ(freeze(path("missing")).exit_code, 1);
  EXPECT_NE(freeze(path("requests"), {"--stdin", "length"}).err.find("in the middle of a request"),
            std::string::npos);
  EXPECT_EQ(freeze(path("requests"), {"--init", "main"}).exit_code, 2);
  EXPECT_EQ(spore({"freeze", "--runner", "python", "-o", image, "--train", path("requests")}).exit_code, 2);
  EXPECT_FALSE(fs::exists(image));
}

}  // namespace
}  // namespace spore::test
