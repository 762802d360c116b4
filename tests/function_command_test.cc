// spore function, spore new, build, test: the real program, with its data directory, and the compilers of
// projects.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/json_check.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kFailed = 1;
constexpr int kMisused = 2;
constexpr int kDeadline = 124;
constexpr int kTrapped = 134;

// Numbers, text (what comes in goes out), an aggregate, a list of bytes as a table's rows.
constexpr std::string_view kModule = R"((module (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (global $sum (mut i64) (i64.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "spin") (result i32) (loop $again (br $again)) (i32.const 1))
  (func (export "echo") (param i32 i32) (result i32)
    (i32.store (i32.const 512) (local.get 0))
    (i32.store (i32.const 516) (local.get 1))
    (i32.const 512))
  (func (export "total-step") (param i64) (global.set $sum (i64.add (global.get $sum) (local.get 0))))
  (func (export "total-finish") (result i64) (global.get $sum))))";

class FunctionCommandTest : public testing::Test {
 protected:
  void SetUp() override { folder_.write("all.wat", kModule); }
  ProcessResult spore(Words words) const {
    words.insert(words.begin(), SPORE_CLI);
    return run_process(words, {.environment = environment(), .folder = folder_.path()});
  }
  virtual std::vector<std::pair<std::string, std::string>> environment() const {
    return {{"SPORE_HOME", (folder_.path() / "home").native()}};
  }
  std::string out(Words words) const {
    const ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  void fails(Words words, int exit_code, std::string_view says) const {
    const ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    EXPECT_TRUE(has(result.err, says));
  }
  void add(const std::string& name, const std::string& signature, const Words& more = {}) const {
    Words words{"function", "add", name, "all.wat", "--signature", signature};
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_TRUE(has(out(words), name + ": "));
  }
  std::string call(const std::string& name, const Words& args) const {
    Words words{"function", "call", name};
    words.insert(words.end(), args.begin(), args.end());
    return out(words);
  }

  TemporaryFolder folder_;
};

// --- spore function -------------------------------------------------------------------------------------

TEST_F(FunctionCommandTest, AFunctionIsThereForLaterProcesses) {
  add("add", "func(a: s32, b: s32) -> s32", {"--pure", "--description", "adds", "--set-version", "2"});
  EXPECT_EQ(call("add", {"2", "-3"}), "-1\n");
  const std::string json = out({"function", "call", "add", "2", "3", "--json"});
  EXPECT_TRUE(is_json(json));
  EXPECT_TRUE(has(json, "\"result\": 5,"));
  EXPECT_TRUE(has(json, "\"call_us\": "));
  const std::string list = out({"function", "list"});
  for (const char* word : {"add ", " 2 ", "pure scalar", "func(a: s32, b: s32) -> s32", "# adds"}) {
    EXPECT_TRUE(has(list, word));
  }
  const std::string as_json = out({"function", "list", "a?d", "--json"});
  EXPECT_TRUE(is_json(as_json));
  EXPECT_TRUE(has(as_json, "\"description\": \"adds\""));
  EXPECT_EQ(out({"function", "list", "b*"}), "");
  out({"function", "disable", "add"});
  fails({"function", "call", "add", "2", "3"}, kFailed, "disabled");
  EXPECT_TRUE(has(out({"function", "list"}), "disabled pure scalar"));
  out({"function", "enable", "add"});
  EXPECT_EQ(call("add", {"2", "3"}), "5\n");
  out({"function", "remove", "add"});
  fails({"function", "call", "add", "2", "3"}, kFailed, "no function 'add'");
}

TEST_F(FunctionCommandTest, ArgumentsAreWordsByTheirTypes) {
  add("half", "func(x: f64) -> f64");
  EXPECT_EQ(call("half", {"5"}), "2.5\n");
  EXPECT_EQ(call("half", {"-1e3"}), "-500.0\n");
  EXPECT_EQ(call("half", {"inf"}), "Infinity\n");
  EXPECT_EQ(call("half", {"nan"}), "NaN\n");
  add("echo", "func(text: string) -> string");
  for (const std::string& text : {std::string("hello"), std::string(), std::string("a \"b\" \\"),
                                  std::string("é🙂"), std::string("null"), std::string("17")}) {
    EXPECT_EQ(call("echo", {text}), text + "\n");
  }
  const auto add_echo = [&](const std::string& name, const std::string& type) {
    add(name, "func(a: " + type + ") -> " + type, {"--options", R"({"export": "echo"})"});
  };
  add_echo("raw", "list<u8>");
  EXPECT_EQ(call("raw", {"AAH/"}), "AAH/\n");
  add_echo("numbers", "list<s32>");
  EXPECT_EQ(call("numbers", {"[1, -2, 3]"}), "[1,-2,3]\n");
  add("both", "func(a: option<s32>) -> tuple<s32, s32>", {"--options", R"({"export": "echo"})"});
  EXPECT_EQ(call("both", {"7"}), "[1,7]\n");
  EXPECT_EQ(call("both", {"null"}), "[0,0]\n");
  EXPECT_EQ(call("both", {}), "[0,0]\n");
}

TEST_F(FunctionCommandTest, AggregatesTakeRowsAndTablesGiveThem) {
  add("total", "func(x: s64) -> s64", {"--kind", "aggregate"});
  EXPECT_EQ(call("total", {"1", "2", "3"}), "6\n");
  EXPECT_EQ(call("total", {}), "0\n");
  add("rows", "func(a: list<s32>) -> list<s32>", {"--kind", "table", "--options", R"({"export": "echo"})"});
  EXPECT_EQ(call("rows", {"[4, 5]"}), "4\n5\n");
}

TEST_F(FunctionCommandTest, MistakesAreTold) {
  add("add", "func(a: s32, b: s32) -> s32");
  add("divide", "func(a: s32, b: s32) -> s32");
  add("spin", "func() -> s32");
  fails({"function", "add", "add", "all.wat", "--signature", "func(a: s32, b: s32) -> s32"}, kFailed,
        "--replace");
  out({"function", "add", "add", "all.wat", "--signature", "func(a: u32, b: u32) -> u32", "--replace"});
  EXPECT_TRUE(has(out({"function", "list", "add"}), "u32"));
  fails({"function", "add", "half", "all.wat", "--signature", "func(a: s32) -> f64"}, kMisused,
        "(f64) -> f64");
  fails({"function", "add", "none", "all.wat", "--signature", "func(a: s32)"}, kFailed, "exports no 'none'");
  fails({"function", "add", "half", "all.wat"}, kMisused, "give its signature");
  fails({"function", "add", "half", "all.wat", "--signature", "func(a: strnig)"}, kMisused, "strnig");
  fails({"function", "add", "2nd", "all.wat", "--signature", "func(a: s32)"}, kMisused, "2nd");
  fails({"function", "add", "x", "all.txt"}, kMisused, ".wasm, .wat, .py");
  fails({"function", "add", "x", "none.wasm"}, kFailed, "none.wasm");
  fails({"function", "add", "x", "all.wat", "--kind", "tabel"}, kMisused, "table");
  fails({"function", "add", "x", "all.wat", "--options", "{\"pur\": true}"}, kMisused, "'pur'");
  fails({"function", "call", "ad", "1", "2"}, kFailed, "'add'");
  fails({"function", "call", "add", "1"}, kMisused, "takes 2 arguments, 1 given");
  fails({"function", "call", "add", "1", "x"}, kMisused, "argument 2 (b): 'x' is no u32");
  fails({"function", "call", "add", "1", "2", "--document", "[]"}, kMisused, "--document");
  fails({"function", "call", "divide", "1", "0"}, kTrapped, "divide by zero");
  fails({"function", "call", "spin", "--deadline-ms", "30"}, kDeadline, "deadline_ms=30");
  fails({"function", "remove", "none"}, kFailed, "none");
  fails({"function", "dance"}, kMisused, "'dance'");
  fails({"function"}, kMisused, "add, list");
  const ProcessResult json = spore({"function", "call", "add", "1", "--json"});
  EXPECT_TRUE(is_json(json.out)) << json.out;
  EXPECT_TRUE(has(json.out, "invalid_argument"));
  // Of all that failed nothing is left.
  const std::string list = out({"function", "list"});
  EXPECT_EQ(std::ranges::count(list, '\n'), 3) << list;
}

TEST_F(FunctionCommandTest, BenchMeasuresEachWay) {
  add("add", "func(a: s32, b: s32) -> s32", {"--pure"});
  const std::string json = out({"function", "bench", "add", "2", "3", "--calls", "2000", "--json"});
  EXPECT_TRUE(is_json(json));
  for (const char* way : {"clean instance for each call", "one for a statement", "core values",
                          "batch of 1\"", "batch of 10000", "result kept", "\"ns_per_call\": "}) {
    EXPECT_TRUE(has(json, way));
  }
  EXPECT_TRUE(
      has(out({"function", "bench", "add", "2", "3", "--calls", "100"}), "ns per call, of 100 calls"));
  fails({"function", "bench", "add", "2", "3", "--calls", "0"}, kMisused, "--calls");
  fails({"function", "bench", "add", "2"}, kMisused, "takes 2");
  add("divide", "func(a: s32, b: s32) -> s32");
  fails({"function", "bench", "divide", "1", "0"}, kTrapped, "divide by zero");
}

// --- projects -------------------------------------------------------------------------------------------

// Their compilers read the tester's settings (cargo's registry, Go's cache), and what one project compiled is
// there for the next.
class ProjectCommandTest : public FunctionCommandTest {
 protected:
  std::vector<std::pair<std::string, std::string>> environment() const override {
    auto all = FunctionCommandTest::environment();
    for (const char* name : {"HOME", "CARGO_HOME", "RUSTUP_HOME", "GOPROXY", "GOCACHE", "GOMODCACHE"}) {
      if (const char* value = std::getenv(name)) all.emplace_back(name, value);
    }
    all.emplace_back("CARGO_TARGET_DIR", SPORE_SOURCE_DIR "/build/guests/work/rust-project");
    all.emplace_back("GOTOOLCHAIN", "local");
    return all;
  }
  void a_new_project_works(const std::string& language) const {
    EXPECT_TRUE(has(out({"new", language, "my_rank"}), "spore build my_rank"));
    const ProcessResult built = spore({"build", "my_rank"});
    ASSERT_EQ(built.exit_code, 0) << built.err;
    EXPECT_TRUE(has(built.out, "my-rank.wasm: "));
    EXPECT_TRUE(has(built.out, "my-rank: func(text: string, boost: f64) -> f64"));
    EXPECT_EQ(out({"test", "my_rank"}), "3 passed, 0 failed\n");
    // Registered without a signature: the module tells.
    out({"function", "add", "my_rank", "my_rank/my-rank.wasm"});
    EXPECT_EQ(call("my_rank", {"Spore", "2"}), "10.0\n");
  }
};

// Goal: what is wrong in a project is told: in its code, its signatures, its tests.
TEST_F(ProjectCommandTest, AProjectInC) {
  a_new_project_works("c");
  const fs::path project = folder_.path() / "my_rank";
  std::ofstream(project / "tests.jsonl", std::ios::app)
      << R"({"function": "my-rank", "args": ["ab", 1], "result": 3})" << "\n"
      << R"({"function": "my-rank", "args": ["ab"], "error": "takes 2"})" << "\n";
  const ProcessResult failed = spore({"test", "my_rank"});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_EQ(failed.out, "tests.jsonl:4: my-rank [\"ab\", 1]: got 2.0, expected 3\n4 passed, 1 failed\n");
  const ProcessResult json = spore({"test", "my_rank", "--json"});
  EXPECT_EQ(json.exit_code, kFailed);
  EXPECT_TRUE(is_json(json.out)) << json.out;
  EXPECT_TRUE(has(json.out, "\"line\": 4"));

  const std::string module = file_content(project / "my-rank.wasm");
  std::ofstream(project / "function.wit") << "my-rank: func(text: string, boost: f32) -> f64;\n";
  fails({"build", "my_rank"}, kFailed,
        "which is func(i32, i32, f32) -> f64, but exported as func(i32, i32, f64) -> f64");
  std::ofstream(project / "function.wit") << "my-rank: func(text: strnig) -> f64;\n";
  fails({"build", "my_rank"}, kMisused, "strnig");
  fs::remove(project / "function.wit");
  fails({"build", "my_rank"}, kFailed, "function.wit is missing");
  std::ofstream(project / "function.c", std::ios::app) << "int f(void) { return x; }\n";
  fails({"build", "my_rank"}, kFailed, "undeclared identifier 'x'");
  EXPECT_EQ(file_content(project / "my-rank.wasm"), module);  // the last one that was good
  EXPECT_FALSE(fs::exists(project / ".my-rank.new.wasm"));

  fs::remove(project / "my-rank.wasm");
  fails({"test", "my_rank"}, kFailed, "'spore build' makes it");
  fails({"build", "home"}, kFailed, "home");
  fails({"new", "c", "my_rank"}, kFailed, "my_rank is there already");
  fails({"new", "c", "Rank"}, kMisused, "'Rank'");
  fails({"new", "basic", "rank"}, kMisused, "assemblyscript");
}

TEST_F(ProjectCommandTest, AMissingToolIsNamedWithWhatInstallsIt) {
  for (const auto& [language, words] : std::vector<std::pair<std::string, std::string>>{
           {"c",
            "apt-get install --no-install-recommends clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32"},
           {"assemblyscript", "apt-get install --no-install-recommends nodejs npm"},
           {"go", "https://go.dev/dl"}}) {
    out({"new", language, "p-" + language});
    const ProcessResult result = run_process({"env", "PATH=" + folder_.path().native(), SPORE_CLI, "build",
                                              (folder_.path() / ("p-" + language)).native()});
    EXPECT_EQ(result.exit_code, kFailed);
    EXPECT_TRUE(has(result.err, words));
  }
}

TEST_F(ProjectCommandTest, AProjectInRust) { a_new_project_works("rust"); }

TEST_F(ProjectCommandTest, AProjectInGo) {
  if (run_process({"sh", "-c", "go version | grep -qE 'go1\\.(2[4-9]|[3-9][0-9])'"},
                  {.environment = environment()})
          .exit_code != 0) {
    GTEST_SKIP() << "there is no Go of 1.24 or newer in PATH";
  }
  a_new_project_works("go");
}

}  // namespace
}  // namespace spore::test
