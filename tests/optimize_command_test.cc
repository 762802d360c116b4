// spore optimize: the real program, with the real wasm-opt and with others in its place.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/status.h"
#include "tests/json_check.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kFailed = 1;
constexpr int kMisused = 2;

// A function that nobody calls, two that are the same, one with one caller.
constexpr std::string_view kModule = R"((module
  (memory (export "memory") 1)
  (func $unused (param i32) (result i32) (i32.mul (local.get 0) (i32.load (local.get 0))))
  (func $one (param i32) (result i32)
    (loop $again (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 4)) (i32.const 31)))))
    (i32.load (local.get 0)))
  (func $two (param i32) (result i32)
    (loop $again (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 4)) (i32.const 31)))))
    (i32.load (local.get 0)))
  (func $three (param i32) (result i32)
    (loop $again (br_if $again (local.tee 0 (i32.and (i32.add (local.get 0) (i32.const 8)) (i32.const 31)))))
    (i32.add (local.get 0) (i32.const 5)))
  (func (export "f") (param i32) (result i32)
    (i32.add (i32.add (call $one (local.get 0)) (call $two (i32.const 4)))
      (i32.add (i32.add (call $one (i32.const 8)) (call $two (i32.const 12))) (call $three (local.get 0)))))))";

class OptimizeCommandTest : public testing::Test {
 protected:
  ProcessResult spore(Words words) const {
    words.insert(words.begin(), SPORE_CLI);
    words.insert(words.end(), {"--home", (folder_.path() / "home").native()});
    return run_process(words);
  }
  std::string output(const Words& words) const {
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  // One line on standard error, and nothing was written.
  void expect_failure(const Words& words, int exit_code, std::string_view message) const {
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(has(result.err, message));
    EXPECT_FALSE(fs::exists(in("m.opt.wasm")));
  }
  std::string in(std::string_view name) const { return (folder_.path() / name).native(); }
  // In wasm-opt's place, a program that behaves so.
  std::string stub(const std::string& behaviour) const {
    const fs::path path = folder_.path() / behaviour;
    fs::copy_file(SPORE_WASM_OPT_STUB, path, fs::copy_options::skip_existing);
    return path.native();
  }

  TemporaryFolder folder_;
  const std::string file_ = folder_.write("m.wat", kModule);
};

TEST_F(OptimizeCommandTest, ATableTellsWhatEachStepSaved) {
  const std::string text = output({"optimize", file_});
  for (const char* line :
       {"step            functions ", "\nbefore                  5 ", "\nread and write          5 ",
        "\nremove unused           4 ", "\nfold                    3 ", "\ninline                  2 ",
        "\noptimise                2 "}) {
    EXPECT_TRUE(has(text, line));
  }
  EXPECT_TRUE(has(text, fmt::format("\n{}: 2 functions (-60.0 %), ", in("m.opt.wasm"))));
  EXPECT_TRUE(has(text, " bytes of optimised code (-"));
  EXPECT_EQ(output({"run", in("m.opt.wasm"), "--invoke", "f", "8"}),
            output({"run", file_, "--invoke", "f", "8"}));
  const std::string inspected = output({"inspect", in("m.opt.wasm")});
  EXPECT_TRUE(has(inspected, "functions      2, of them 0 imported"));
  EXPECT_TRUE(has(inspected, "reset          in_place"));
}

TEST_F(OptimizeCommandTest, WithoutNativeCodeNothingIsCompiled) {
  const std::string text = output(
      {"optimize", file_, "--no-native", "-o", in("x.wasm"), "--compile-helper", SPORE_COMPILE_HELPER});
  EXPECT_TRUE(has(text, "           -"));
  EXPECT_EQ(text.find("optimised code"), std::string::npos);
  EXPECT_TRUE(fs::exists(in("x.wasm")));
  EXPECT_FALSE(fs::exists(in("m.opt.wasm")));
  const std::string json = output({"optimize", file_, "--no-native", "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, "\"native_bytes\": null"));
  EXPECT_TRUE(has(json, "\"native_bytes_saved\": null"));
}

TEST_F(OptimizeCommandTest, JsonTellsTheSame) {
  const std::string json =
      output({"optimize", file_, "--preset", "aggressive", "--max-inline", "7", "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  for (const char* part :
       {"\"preset\": \"aggressive\"", "\"dce\": true", "\"fold\": true", "\"max_inline\": 7", "\"before\": {",
        "\"after\": {", "\"step\": \"optimise again\"",
        "\"wasm_bytes_saved\": ", "\"native_bytes_saved\": ", "\"functions\": 5", "\"ms\": "}) {
    EXPECT_TRUE(has(json, part));
  }
}

TEST_F(OptimizeCommandTest, FlagsLeaveStepsOut) {
  const auto expect_steps = [&](Words flags, const Words& absent, int functions) {
    flags.insert(flags.begin(), {"optimize", file_, "--no-native"});
    const std::string text = output(flags);
    for (const std::string& step : absent) EXPECT_EQ(text.find("\n" + step), std::string::npos) << text;
    EXPECT_TRUE(has(text, fmt::format(": {} functions (", functions)));
  };
  expect_steps({"--no-dce"}, {"remove unused"}, 3);
  expect_steps({"--no-fold"}, {"fold"}, 3);
  expect_steps({"--max-inline", "0"}, {"inline"}, 3);
  expect_steps({"--preset", "minimal"}, {"remove unused", "fold", "inline", "optimise"}, 5);
  expect_steps({"--preset", "default", "--max-inline", "1000000"}, {}, 2);
}

TEST_F(OptimizeCommandTest, MisuseIsSaid) {
  expect_failure({"optimize"}, kMisused, "FILE is missing");
  expect_failure({"optimize", file_, "more"}, kMisused, "unexpected 'more'");
  expect_failure({"optimize", file_, "--preset", "tiny"}, kMisused,
                 "there is no preset 'tiny' (default, aggressive, minimal)");
  for (const std::string number : {"-1", "1x", "", "1000001", "4294967296"}) {
    expect_failure({"optimize", file_, "--max-inline", number}, kMisused,
                   fmt::format("--max-inline '{}' is not a number from 0 to 1000000", number));
  }
  expect_failure({"optimize", file_, "--preset", "minimal", "--max-inline", "1"}, kMisused, "minimal");
}

TEST_F(OptimizeCommandTest, TheInputIsNotWrittenOver) {
  const std::string wasm = in("n.wasm");
  output({"optimize", file_, "--no-native", "-o", wasm});
  const std::string before = file_content(wasm);
  fs::create_symlink(wasm, in("link"));
  fs::create_hard_link(wasm, in("other.wasm"));
  for (const std::string& out : {wasm, in("link"), in("other.wasm")}) {
    expect_failure({"optimize", wasm, "-o", out}, kMisused, "would be written over");
  }
  EXPECT_EQ(file_content(wasm), before);
  // What it wrote before, it may.
  EXPECT_EQ(spore({"optimize", wasm, "--no-native"}).exit_code, 0);
  EXPECT_EQ(spore({"optimize", wasm, "--no-native"}).exit_code, 0);
  EXPECT_TRUE(fs::exists(in("n.opt.wasm")));
}

TEST_F(OptimizeCommandTest, WhatIsNoModuleFails) {
  expect_failure({"optimize", in("none.wasm")}, kFailed, "No such file or directory");
  expect_failure({"optimize", folder_.write("text.wasm", "text")}, kFailed, "text.wasm: not WebAssembly");
  expect_failure({"optimize", folder_.write("empty.wasm", "")}, kFailed, "empty");
  expect_failure({"optimize", folder_.write("bad.wat", "(module (oops))")}, kFailed, "bad.wat:1:10");
  expect_failure({"optimize", folder_.write("wide.wat", "(module (memory i64 1))")}, kFailed, "memory64");
  // What 108 does not know, it says.
  const std::string tables = folder_.write(
      "tables.wat",
      "(module (table 1 funcref) (func (table.copy (i32.const 0) (i32.const 0) (i32.const 0))))");
  expect_failure({"optimize", tables}, kFailed, "wasm-opt cannot optimise this module (exit code 1)");
  expect_failure({"optimize", file_, "-o", in("no/such/folder.wasm")}, kFailed, "No such file or directory");
  const ProcessResult json = spore({"optimize", tables, "--json"});
  EXPECT_EQ(json.exit_code, kFailed);
  EXPECT_TRUE(is_json(json.out)) << json.out;
  EXPECT_TRUE(has(json.out, "\"code\": \"unsupported\""));
}

TEST_F(OptimizeCommandTest, ABadWasmOptIsToldOf) {
  const auto expect = [&](const std::string& program, std::string_view message) {
    expect_failure({"optimize", file_, "--no-native", "--rewrite-wasm-opt", program}, kFailed, message);
  };
  expect("/nowhere/wasm-opt", "change it with --rewrite-wasm-opt");
  expect(stub("old_version"), "is version 107, and version 108 is needed");
  expect(stub("crash"), "wasm-opt crashed on this module");
  expect(stub("garbage"), "what wasm-opt made of it is of no use: not WebAssembly");
  expect(stub("other_exports"), "does not export 'f' any more as func(i32) -> i32");
  expect(stub("fails"), "its last line: Fatal: ");
  expect_failure({"optimize", file_, "--rewrite-wasm-opt", stub("endless"), "--rewrite-cpu-s", "1"}, kFailed,
                 "optimising takes more than 1 s of processor time (rewrite_cpu_s=1)");
}

// --- real programs ----------------------------------------------------------------------------------------

// Optimised, they say what they said before.  By the baseline tier, which is quicker to make.
class OptimizedGuests : public OptimizeCommandTest,
                        public testing::WithParamInterface<std::pair<const char*, const char*>> {
 protected:
  void SetUp() override {
    if (!fs::exists(guest("c_command"))) GTEST_SKIP() << "there are no guests: run tools/guests.sh";
  }
  static std::string guest(std::string_view name) {
    return fmt::format("{}/build/guests/{}.wasm", SPORE_SOURCE_DIR, name);
  }
  std::string optimised(const std::string& file) const {
    const std::string out = in(fs::path(file).filename().native());  // programs print their name
    const ProcessResult result =
        spore({"optimize", file, "--preset", GetParam().second, "--no-native", "-o", out});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    // Read and written alone, what Go made becomes larger.
    const bool minimal = GetParam().second == std::string_view("minimal");
    EXPECT_TRUE(minimal || fs::file_size(out) < fs::file_size(file));
    return out;
  }
  void expect_same(const std::string& one, const std::string& other, const Words& words) const {
    SCOPED_TRACE(testing::PrintToString(words));
    const auto run = [&](const std::string& file) {
      Words all{SPORE_CLI, "run", file, "--tier", "baseline"};
      all.insert(all.end(), words.begin(), words.end());
      all.insert(all.end(), {"--home", (folder_.path() / "home").native()});
      return run_process(all, {.input_path = file_});
    };
    const ProcessResult expected = run(one);
    const ProcessResult result = run(other);
    EXPECT_EQ(result.out, expected.out);
    EXPECT_EQ(result.exit_code, expected.exit_code);
  }
};
INSTANTIATE_TEST_SUITE_P(Guests, OptimizedGuests,
                         testing::Values(std::pair{"c", "default"}, std::pair{"c", "aggressive"},
                                         std::pair{"cpp", "default"}, std::pair{"rust", "default"},
                                         std::pair{"rust", "aggressive"}, std::pair{"go", "minimal"}),
                         [](const auto& each) {
                           return std::string(each.param.first) + "_" + each.param.second;
                         });

TEST_P(OptimizedGuests, AnswerAsBefore) {
  const std::string program = guest(fmt::format("{}_command", GetParam().first));
  const std::string optimised_program = optimised(program);
  for (const Words& words :
       {Words{"args", "one", "two words", ""}, Words{"lines"}, Words{"fail", "7", "seven"},
        Words{"env", "MISSING"}, Words{"unknown"}, Words{"crash"}}) {
    expect_same(program, optimised_program, words);
  }
  const std::string library = guest(fmt::format("{}_reactor", GetParam().first));
  const std::string optimised_library = optimised(library);
  for (const Words& words : {Words{"--invoke", "initialised"}, Words{"--invoke", "add", "2147483647", "1"},
                             Words{"--invoke", "primes", "100000"},
                             Words{"--invoke", "greet", "--signature", "(string) -> string", "grüße"}}) {
    const auto run = [&](const std::string& file) {
      Words all{"run", file, "--tier", "baseline"};
      all.insert(all.end(), words.begin(), words.end());
      return spore(all);
    };
    const ProcessResult expected = run(library);
    EXPECT_EQ(expected.exit_code, 0) << expected.err;
    EXPECT_EQ(run(optimised_library).out, expected.out);
  }
}

}  // namespace
}  // namespace spore::test
