// The command line, as a user has it: the real program, its streams and its exit code.

#include <signal.h>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"
#include "tests/json_check.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string guest_path(std::string_view name) {
  return std::string(SPORE_SOURCE_DIR "/tests/guests/").append(name);
}

class CliTest : public testing::Test {
 protected:
  ProcessOptions options() const { return {.environment = {{"HOME", home()}}}; }
  std::string home() const { return folder_.path().native(); }
  std::string path(std::string_view name) const { return (folder_.path() / name).native(); }

  ProcessResult spore(Words words) const { return spore(std::move(words), options()); }
  static ProcessResult spore(Words words, const ProcessOptions& options) {
    words.insert(words.begin(), SPORE_CLI);
    return run_process(words, options);
  }

  // What a command that succeeds prints; nothing on standard error.
  std::string output(Words words) const { return output(std::move(words), options()); }
  static std::string output(Words words, const ProcessOptions& options) {
    const ProcessResult result = spore(std::move(words), options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }

  // A command that fails: nothing on standard output, one message.
  void expect_failure(Words words, int exit_code, std::string_view message) const {
    const ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, fmt::format("spore: {}\n", message));
  }

  TemporaryFolder folder_;
};

constexpr int kFailed = 1;
constexpr int kMisused = 2;
constexpr int kDeadline = 124;
constexpr int kInterrupted = 130;
constexpr int kTrapped = 134;

// --- help and version ---------------------------------------------------------------------------------

TEST_F(CliTest, HelpListsEveryCommandWithItsExitCodes) {
  const std::string help = output({"--help"});
  EXPECT_EQ(help, output({"help"}));
  for (const char* command :
       {"run", "inspect", "compile", "optimize", "doctor", "options", "completion", "version"}) {
    EXPECT_TRUE(has(help, fmt::format("\n  {} ", command)));
  }
  EXPECT_TRUE(has(help, "0 done, 1 failed, 2 misused"));
}

TEST_F(CliTest, EveryCommandHasHelpOfItsOwn) {
  for (const char* command :
       {"run", "inspect", "compile", "optimize", "doctor", "options", "completion", "version"}) {
    const std::string help = output({command, "--help"});
    EXPECT_TRUE(help.starts_with(fmt::format("Usage: spore {} ", command))) << help;
    for (const char* flag : {"--json", "--home DIR", "--help"}) EXPECT_TRUE(has(help, flag));
  }
  EXPECT_TRUE(has(output({"run", "--help"}), "--deadline-ms VALUE"));
  EXPECT_EQ(output({"version", "--help"}).find("--deadline-ms"), std::string::npos);
}

TEST_F(CliTest, NothingAtAllIsMisuse) {
  const ProcessResult nothing = spore(Words{});
  EXPECT_EQ(nothing.exit_code, kMisused);
  EXPECT_EQ(nothing.out, "");
  EXPECT_EQ(nothing.err, output({"--help"}));
}

TEST_F(CliTest, VersionNamesSporeAndTheEngine) {
  const std::string version = output({"version"});
  EXPECT_TRUE(version.starts_with("spore ")) << version;
  EXPECT_TRUE(has(version, fmt::format(" (wasmtime {})\n", engine::engine_version())));
  EXPECT_EQ(output({"--version"}), version);
  const std::string json = output({"version", "--json"});
  EXPECT_TRUE(is_json(json));
  EXPECT_TRUE(has(json, fmt::format("\"wasmtime\": \"{}\"", engine::engine_version())));
}

// --- misuse -------------------------------------------------------------------------------------------

TEST_F(CliTest, UnknownCommandsAreMisuse) {
  expect_failure({"frobnicate"}, kMisused, "there is no command 'frobnicate' (see 'spore --help')");
  expect_failure({"--frobnicate"}, kMisused, "there is no command '--frobnicate' (see 'spore --help')");
  expect_failure({""}, kMisused, "there is no command '' (see 'spore --help')");
}

TEST_F(CliTest, UnknownFlagsAreMisuse) {
  const auto expect_misuse = [&](Words words, std::string_view message) {
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, kMisused);
    EXPECT_EQ(result.out, "");
    const std::string_view hint = words[0] == "run" ? "; what stands behind '--' is no flag" : "";
    EXPECT_EQ(result.err,
              fmt::format("spore {0}: {1} (see 'spore {0} --help'{2})\n", words[0], message, hint));
  };
  expect_misuse({"run", "x.wasm", "--frobnicate"}, "unknown flag '--frobnicate'");
  expect_misuse({"version", "--deadline-ms", "5"}, "unknown flag '--deadline-ms'");
  expect_misuse({"inspect", "x.wasm", "--invoke", "f"}, "unknown flag '--invoke'");
  expect_misuse({"run", "-x"}, "unknown flag '-x'");
  expect_misuse({"run", "x.wasm", "--invoke"}, "the flag '--invoke' needs a value: --invoke NAME");
  expect_misuse({"version", "--json=yes"}, "the flag '--json' takes no value");
}

TEST_F(CliTest, MissingAndSuperfluousWordsAreMisuse) {
  expect_failure({"run"}, kMisused, "FILE is missing");
  expect_failure({"inspect"}, kMisused, "FILE is missing");
  expect_failure({"compile", guest_path("numbers.wat")}, kMisused, "-o OUT is missing");
  expect_failure({"inspect", "a.wasm", "b.wasm"}, kMisused, "unexpected 'b.wasm'");
  expect_failure({"version", "now"}, kMisused, "unexpected 'now'");
  expect_failure({"completion"}, kMisused, "bash, zsh or fish is missing");
}

// --- run: programs ------------------------------------------------------------------------------------

// Writes its environment, then exits with the code that its one argument's length says.
constexpr std::string_view kProgram = R"((module
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 12)))
    (i32.store (i32.const 8) (i32.const 1024))
    (drop (call $environ (i32.const 512) (i32.const 1024)))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
    (drop (call $args (i32.const 0) (i32.const 4)))
    (call $exit (i32.load (i32.const 4)))))
)";

TEST_F(CliTest, AProgramsExitCodeIsOurs) {
  const std::string file = folder_.write("p.wat", kProgram);
  EXPECT_EQ(spore({"run", file}).exit_code, 6);  // "p.wat" and its zero byte
  EXPECT_EQ(spore({"run", file, "ab"}).exit_code, 9);
  EXPECT_EQ(spore({"run", file, "--arg", "-c", "--", "-d"}).exit_code, 12);
  const ProcessResult large = spore({"run", file, std::string(300, 'x')});
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_EQ(large.err, "spore: the program exited with code 307, which no process can have\n");
}

TEST_F(CliTest, AProgramSeesTheVariablesThatItIsGiven) {
  const std::string file = folder_.write("p.wat", kProgram);
  EXPECT_EQ(spore({"run", file}).out, "");
  EXPECT_EQ(spore({"run", file, "--env", "A=1", "--env", "B="}).out, std::string("A=1\0B=\0", 7));
  const ProcessOptions options{.environment = {{"MINE", "yes"}}};
  EXPECT_EQ(run_process({SPORE_CLI, "run", file, "--env", "MINE"}, options).out,
            std::string("MINE=yes\0", 9));
  expect_failure({"run", file, "--env", "OTHERS"}, kMisused, "--env OTHERS: there is no such variable here");
  expect_failure({"run", file, "--env", "=1"}, kMisused, "the variable '=1' is not NAME=VALUE");
}

TEST_F(CliTest, AProgramAsJson) {
  const std::string file = folder_.write("p.wat", kProgram);
  const ProcessResult result = spore({"run", file, "--env", "A=1", "--json"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_NE(result.out.find("\"exit_code\": 6,\n  \"output\": \"A=1\\u0000\",\n  \"error\": \"\""),
            std::string::npos)
      << result.out;
}

TEST_F(CliTest, DirectoriesOfProgramsMustBeThere) {
  const std::string file = folder_.write("p.wat", kProgram);
  expect_failure({"run", file, "--dir", "/no/such"}, kFailed,
                 "directory '/no/such': No such file or directory");
  expect_failure({"run", file, "--dir", file + "::/d:rw"}, kFailed,
                 fmt::format("directory '{}': Not a directory", file));
  EXPECT_EQ(spore({"run", file, "--dir", folder_.path().native() + "::/d:rw"}).exit_code, 6);
}

// --- run ----------------------------------------------------------------------------------------------

TEST_F(CliTest, RunCallsAFunctionAndPrintsWhatItGives) {
  const std::string file = guest_path("numbers.wat");
  EXPECT_EQ(output({"run", file, "--invoke", "add", "1", "2"}), "3\n");
  EXPECT_EQ(output({"run", file, "--invoke", "fac", "20"}), "2432902008176640000\n");
  EXPECT_EQ(output({"run", file, "--invoke", "scale", "3", "0.5"}), "1.5\n");
  EXPECT_EQ(output({"run", file, "--invoke", "swap", "1", "2"}), "2\n1\n");
  EXPECT_EQ(output({"run", file, "--invoke", "nothing"}), "");
}

TEST_F(CliTest, RunTakesBinaryModulesToo) {
  const std::vector<uint8_t> wasm = guest("numbers.wat");
  const std::string file = folder_.write("n.wasm", {reinterpret_cast<const char*>(wasm.data()), wasm.size()});
  EXPECT_EQ(output({"run", file, "--invoke", "add", "1", "2"}), "3\n");
  fs::rename(file, path("no-extension"));
  EXPECT_EQ(output({"run", path("no-extension"), "--invoke", "add", "1", "2"}), "3\n");
}

TEST_F(CliTest, FlagsMayStandAnywhereAndNumbersMayBeNegative) {
  const std::string file = guest_path("numbers.wat");
  EXPECT_EQ(output({"run", "--invoke", "add", file, "-1", "-0x10"}), "-17\n");
  EXPECT_EQ(output({"run", file, "1", "--invoke=add", "2", "--tier=baseline"}), "3\n");
  EXPECT_EQ(output({"run", "--invoke", "scale", file, "-2", "-.5"}), "1\n");
  EXPECT_EQ(output({"run", "--invoke", "scale", file, "--", "-2", "-inf"}), "inf\n");
  EXPECT_EQ(output({"run", file, "--invoke", "fac", "--invoke", "add", "1", "2"}),
            "3\n");  // the last one counts
}

TEST_F(CliTest, RunPassesText) {
  const std::string file = guest_path("text.wat");
  const Words call{"run", file, "--invoke", "upper", "--signature", "(string) -> string"};
  const auto upper = [&](std::string_view text) {
    Words words = call;
    words.insert(words.end(), {"--", std::string(text)});
    return output(words);
  };
  EXPECT_EQ(upper("gr\u00fcezi w\u00e4lt"), "GR\u00fcEZI W\u00e4LT\n");
  EXPECT_EQ(upper(""), "\n");
  EXPECT_EQ(upper("--json"), "--JSON\n");
  EXPECT_EQ(output({"run", file, "--invoke", "upper", "--signature", "(bytes) -> bytes", "61ff"}), "41ff\n");
  EXPECT_EQ(output({"run", file, "--invoke", "length", "--signature", "(string) -> i32", "abc"}), "3\n");
}

TEST_F(CliTest, RunCallsStartWhereThereIsOneAndGuestsLogToStandardError) {
  const ProcessResult result = spore({"run", guest_path("program.wat")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "spore: info: guest: started\n");
}

TEST_F(CliTest, RunOfALibrarySaysWhatThereIsToCall) {
  expect_failure({"run", folder_.write("l.wat", R"((module (memory (export "memory") 1)
                    (func (export "f") (param i32 f64) (result i64) (i64.const 0)) (func (export "g"))))")},
                 kMisused,
                 "this is a library, say what to call with --invoke NAME: f (i32, f64) -> i64, g () -> ()");
  expect_failure({"run", folder_.write("e.wat", "(module)")}, kMisused,
                 "this is a library, say what to call with --invoke NAME: no functions");
}

TEST_F(CliTest, ResultsAsJsonCarryTheirTypes) {
  const std::string json =
      output({"run", guest_path("numbers.wat"), "--json", "--invoke", "swap", "1", "-5"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(json.starts_with(R"({
  "results": [
    {
      "type": "i64",
      "value": "-5"
    },
    {
      "type": "i32",
      "value": "1"
    }
  ],
  "call_us": )"))
      << json;
  EXPECT_TRUE(
      has(output({"run", guest_path("numbers.wat"), "--json", "--invoke", "nothing"}), "\"results\": []"));
  EXPECT_TRUE(has(output({"run", guest_path("text.wat"), "--json", "--invoke", "upper", "--signature",
                          "(string) -> string", "a\"\n"}),
                  R"("value": "A\"\n")"));
}

// Ctrl-C while the guest runs: the call ends, not the process, which tells what happened.
TEST_F(CliTest, AnInterruptEndsTheCall) {
  Process process({SPORE_CLI, "run", guest_path("program.wat"), "--invoke", "wait", "--deadline-ms", "none"},
                  options());
  ASSERT_TRUE(process.wait_for_error_text("guest: started"));
  process.send(SIGINT);
  const ProcessResult result = process.wait();
  EXPECT_EQ(result.exit_code, kInterrupted);
  EXPECT_TRUE(has(result.err, "spore: the call was cancelled\n"));
}

// --- inspect ------------------------------------------------------------------------------------------

TEST_F(CliTest, InspectTellsWhatAModuleIs) {
  const std::vector<uint8_t> module = guest("numbers.wat");
  const std::string text = output({"inspect", guest_path("numbers.wat")});
  EXPECT_TRUE(has(text, fmt::format("module         {}\n", sha256(module).hex())));
  EXPECT_TRUE(has(text, fmt::format("size           {} bytes: ", module.size())));
  EXPECT_TRUE(has(text, "functions      9, of them 0 imported\n"));
  EXPECT_TRUE(has(text, "globals        2, of them 1 mutable\n"));
  EXPECT_TRUE(has(text, "start          no\n"));
  EXPECT_TRUE(has(text, "proposals      mutable-globals, multi-value, simd\n"));
  EXPECT_TRUE(has(text, "runs on        baseline, optimised\n"));
  EXPECT_TRUE(has(text, "export         add func(i32, i32) -> i32\n"));
  EXPECT_TRUE(has(text, "export         answer global i64\n"));
}

TEST_F(CliTest, InspectAsJson) {
  const std::string json = output({"inspect", guest_path("missing_imports.wat"), "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, R"(    {
      "module": "env",
      "name": "memory",
      "type": "memory 1.. pages of 64 KiB"
    },)"));
  EXPECT_TRUE(has(json, "\"runs_on_baseline\": true"));
  EXPECT_TRUE(has(json, "\"functions_imported\": 4"));
}

// Telling what it is needs no engine: also of what no tier runs.
TEST_F(CliTest, InspectTellsWhatDoesNotRun) {
  const std::string file =
      folder_.write("gc.wat", "(module (type (struct)) (func (export \"f\") (param externref)))");
  EXPECT_TRUE(has(output({"inspect", file}), "runs on        nothing: "));
  EXPECT_TRUE(has(output({"inspect", file}), ": gc, externref\n"));
  const std::string tail = folder_.write("t.wat", "(module (func $f (return_call $f)))");
  EXPECT_TRUE(has(output({"inspect", tail}), "runs on        optimised\n"));
}

TEST_F(CliTest, InspectTellsHowAModuleIsReset) {
  const std::string own = folder_.write("own.wat", "(module (memory 1) (global (mut i32) (i32.const 0)))");
  EXPECT_TRUE(has(output({"inspect", own}), "reset          in_place\n"));
  EXPECT_TRUE(has(output({"inspect", own, "--json"}), "\"reset\": \"in_place\""));
  const std::string shared =
      folder_.write("m.wat", R"((module (import "a" "m" (memory 1)) (import "a" "t" (table 1 funcref))))");
  EXPECT_TRUE(has(output({"inspect", shared}),
                  "reset          reinstantiate\nreset reason   imports a memory\n"
                  "reset reason   imports a table\n"));
  const std::string json = output({"inspect", shared, "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, "\"reset_reasons\": [\n    \"imports a memory\",\n    \"imports a table\"\n  ]"))
      << json;
  // What cannot be prepared is told, too.
  const std::string gc = folder_.write("gc.wat", "(module (type (struct)))");
  EXPECT_TRUE(has(output({"inspect", gc}), "reset          refused\nreset reason   the module uses "));
  const std::string named = folder_.write("n.wat", R"((module (func (export "spore:x\1b"))))");
  EXPECT_TRUE(has(output({"inspect", named}), "reset          refused\n"));
  EXPECT_EQ(output({"inspect", named}).find('\x1b'), std::string::npos);
}

// Names may hold what moves the cursor of a terminal or forges lines.
TEST_F(CliTest, InspectPrintsNamesSafely) {
  const std::string file =
      folder_.write("n.wat", R"wat((module (func (export "a\1b[2J\nexport         b func()"))))wat");
  const std::string text = output({"inspect", file});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find("\nexport         b"), std::string::npos);
  EXPECT_TRUE(is_json(output({"inspect", file, "--json"})));
}

// --- compile ------------------------------------------------------------------------------------------

TEST_F(CliTest, CompiledCodeRunsInsteadOfCompiling) {
  const std::string file = guest_path("numbers.wat");
  for (const char* name : {"baseline", "optimised"}) {
    const std::string tier = name;
    const std::string code = path(tier + ".code");
    const std::string text = output({"compile", file, "-o", code, "--tier", tier});
    EXPECT_TRUE(text.starts_with(fmt::format("{}: {} bytes of wasm, {} bytes of {} code, ", code,
                                             guest("numbers.wat").size(), fs::file_size(code), tier)))
        << text;
    EXPECT_EQ(output({"run", file, "--code", code, "--tier", tier, "--invoke", "add", "1", "2"}), "3\n");
  }
}

TEST_F(CliTest, CompileAsJson) {
  const std::string json = output({"compile", guest_path("numbers.wat"), "-o", path("c"), "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, fmt::format("\"code_file_bytes\": {}", fs::file_size(path("c")))));
  EXPECT_TRUE(has(json, "\"tier\": \"optimised\""));
}

TEST_F(CliTest, CodeOfAnotherTierIsRefused) {
  const std::string file = guest_path("numbers.wat");
  output({"compile", file, "-o", path("c"), "--tier", "optimised"});
  const ProcessResult result =
      spore({"run", file, "--code", path("c"), "--tier", "baseline", "--invoke", "add", "1", "2"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(has(result.err, file));
  EXPECT_TRUE(has(result.err, "optimised"));
  EXPECT_TRUE(has(result.err, "baseline"));
  EXPECT_TRUE(has(result.err, ": compile it again\n"));
}

TEST_F(CliTest, CodeOfAnotherModuleIsRefused) {
  output({"compile", guest_path("numbers.wat"), "-o", path("c")});
  const std::string file = guest_path("echo.wat");
  expect_failure({"run", file, "--code", path("c"), "--invoke", "nothing"}, kMisused,
                 fmt::format("{}: the saved code was made from another module ({:.12}, this is {:.12})", file,
                             sha256(guest("numbers.wat")).hex(), sha256(guest("echo.wat")).hex()));
}

TEST_F(CliTest, DamagedCodeIsRefused) {
  const std::string file = guest_path("numbers.wat");
  output({"compile", file, "-o", path("c")});
  const std::string code = file_content(path("c"));
  const auto expect_refused = [&](std::string_view content, std::string_view message) {
    expect_failure({"run", file, "--code", folder_.write("d", content), "--invoke", "add", "1", "2"}, kFailed,
                   fmt::format("{}: {}", file, message));
  };
  std::string changed = code;
  changed[changed.size() / 2] ^= 1;
  expect_refused(changed, "saved code: the checksum does not match, the file is damaged");
  expect_refused(
      code.substr(0, code.size() / 2),
      fmt::format("saved code: the lengths in its header do not fit its {} bytes", code.size() / 2));
  expect_refused(code.substr(0, 20), "saved code: 20 bytes, a header has 88");
  expect_refused(file_content(file), "not saved code: wrong magic at offset 0");
  expect_failure({"run", file, "--code", path("missing"), "--invoke", "add", "1", "2"}, kFailed,
                 fmt::format("open '{}': No such file or directory", path("missing")));
  EXPECT_EQ(output({"run", file, "--code", folder_.write("d", code), "--invoke", "add", "1", "2"}), "3\n");
}

TEST_F(CliTest, ACompileThatFailsWritesNothing) {
  const std::string broken = folder_.write("b.wat", "(module (func (result i32)))");
  EXPECT_EQ(spore({"compile", broken, "-o", path("c")}).exit_code, kFailed);
  EXPECT_FALSE(fs::exists(path("c")));
  const ProcessResult no_folder = spore({"compile", guest_path("numbers.wat"), "-o", path("no/c")});
  EXPECT_EQ(no_folder.exit_code, kFailed);
  EXPECT_TRUE(has(no_folder.err, path("no/c")));
  EXPECT_TRUE(has(no_folder.err, "No such file or directory"));
}

// --- doctor -------------------------------------------------------------------------------------------

TEST_F(CliTest, DoctorLooksAtTheMachine) {
  const std::string text = output({"doctor"});
  EXPECT_TRUE(text.starts_with("kernel  Linux ")) << text;
  EXPECT_TRUE(has(text, "native code"));
  const std::string json = output({"doctor", "--json"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, "\"kernel\": \"Linux "));
}

// --- options ------------------------------------------------------------------------------------------

std::string option_line(std::string_view text, std::string_view name) {
  size_t at = text.starts_with(fmt::format("{} ", name)) ? 0 : text.find(fmt::format("\n{} ", name));
  if (at == std::string_view::npos) return "no such option";
  if (at != 0) at++;
  const std::string_view line = text.substr(at, text.find('\n', at) - at);
  const size_t equals = line.find("= ") + 2;
  return std::string(line.substr(equals, line.find(' ', equals) - equals));
}

TEST_F(CliTest, AFlagGoesOverTheEnvironmentOverTheFile) {
  const Words command{"options", "--home", home()};
  const auto deadline = [&](const Words& flags, const ProcessOptions& environment) {
    Words words = command;
    words.insert(words.end(), flags.begin(), flags.end());
    return option_line(output(words, environment), "deadline_ms");
  };
  const ProcessOptions with{.environment = {{"SPORE_DEADLINE_MS", "222"}}};
  EXPECT_EQ(deadline({}, {}), "10000");
  folder_.write("spore.conf", "deadline_ms = 111  # a comment\n");
  EXPECT_EQ(deadline({}, {}), "111");
  EXPECT_EQ(deadline({}, with), "222");
  EXPECT_EQ(deadline({"--deadline-ms", "333"}, with), "333");
  EXPECT_EQ(deadline({"--deadline-ms", "333", "--deadline-ms=444"}, with), "444");
}

// The file decides, not only what is printed: an endless loop ends by it.
TEST_F(CliTest, TheFilesDeadlineEndsACall) {
  folder_.write("spore.conf", "deadline_ms = 40\n");
  const ProcessResult result =
      spore({"run", guest_path("misbehave.wat"), "--invoke", "endless", "--home", home()}, {});
  EXPECT_EQ(result.exit_code, kDeadline);
  EXPECT_TRUE(has(result.err, "(deadline_ms=40)"));
}

TEST_F(CliTest, TheHomeIsFoundInItsOrder) {
  for (const char* name : {"flag", "spore", "xdg/spore", "user/.local/share/spore"}) {
    fs::create_directories(path(name));
  }
  folder_.write("flag/spore.conf", "deadline_ms = 1\n");
  folder_.write("spore/spore.conf", "deadline_ms = 2\n");
  folder_.write("xdg/spore/spore.conf", "deadline_ms = 3\n");
  folder_.write("user/.local/share/spore/spore.conf", "deadline_ms = 4\n");
  ProcessOptions all{
      .environment = {{"HOME", path("user")}, {"XDG_DATA_HOME", path("xdg")}, {"SPORE_HOME", path("spore")}}};
  EXPECT_EQ(option_line(output({"options", "--home", path("flag")}, all), "deadline_ms"), "1");
  for (const char* expected : {"2", "3", "4"}) {
    EXPECT_EQ(option_line(output({"options"}, all), "deadline_ms"), expected);
    all.environment.pop_back();
  }
}

// What `spore options` prints is a file that means the same.
TEST_F(CliTest, OptionsPrintAFileThatCanBeReadBack) {
  const std::string printed =
      output({"options", "--memory-bytes-max", "1MiB", "--tier", "baseline", "--fuel-max", "7"});
  folder_.write("spore.conf", printed);
  EXPECT_EQ(output({"options", "--home", home()}), printed);
  EXPECT_EQ(option_line(printed, "memory_bytes_max"), "1048576");
}

TEST_F(CliTest, OptionsAsJson) {
  const std::string json = output({"options", "--json", "--tier", "baseline"});
  EXPECT_TRUE(is_json(json)) << json;
  EXPECT_TRUE(has(json, "\"tier\": \"baseline\""));
}

TEST_F(CliTest, WrongOptionsAreToldWithWhereTheyStand) {
  expect_failure({"options", "--tier", "fast"}, kMisused,
                 "tier: 'fast' is none of auto, interpreter, baseline, optimised, peak");
  expect_failure({"options", "--memory-bytes-max", "1KB"}, kMisused,
                 "memory_bytes_max: '1KB' is not a size (1000, 64KiB, 256MiB, 4GiB)");
  ProcessOptions wrong = options();
  wrong.environment.emplace_back("SPORE_DEADLINE_MS", "soon");
  const ProcessResult environment = spore({"options"}, wrong);
  EXPECT_EQ(environment.exit_code, kMisused);
  EXPECT_EQ(environment.err, "spore: SPORE_DEADLINE_MS: 'soon' is not a whole number\n");
  const std::string file = folder_.write("spore.conf", "\n\ndeadline = 5\n");
  expect_failure({"options", "--home", home()}, kMisused,
                 fmt::format("{}:3: there is no option 'deadline' (did you mean 'deadline_ms'?)", file));
}

// --- completion ---------------------------------------------------------------------------------------

TEST_F(CliTest, TheBashScriptIsBash) {
  const std::string script = folder_.write("completion.bash", output({"completion", "bash"}));
  const ProcessResult check = run_process({"bash", "-n", script});
  EXPECT_EQ(check.exit_code, 0) << check.err;
}

TEST_F(CliTest, TheBashScriptCompletes) {
  const std::string script = folder_.write("completion.bash", output({"completion", "bash"}));
  fs::create_directory(path("work"));
  folder_.write("work/module.wasm", "");
  folder_.write("work/other.txt", "");
  // Sets what bash sets when Tab is pressed behind the last word, and prints the answers sorted.
  const auto complete = [&](const std::string& words) {
    const std::string program = fmt::format(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _spore; "
        "printf '%s\\n' \"${{COMPREPLY[@]}}\" | sort | tr '\\n' ' '",
        script, words);
    const ProcessResult result =
        run_process({"bash", "--norc", "-c", program}, {.folder = folder_.path() / "work"});
    EXPECT_EQ(result.err, "");
    return result.out;
  };
  EXPECT_EQ(complete("spore ver"), "version ");
  EXPECT_EQ(complete("spore co"), "code compile completion ");
  EXPECT_EQ(complete("spore ''"),
            "build call cell code compile completion doctor freeze function inspect new optimize options run "
            "snapshot test version ");
  EXPECT_EQ(complete("spore run --invok"), "--invoke ");
  EXPECT_EQ(complete("spore run x.wasm --deadl"), "--deadline-ms ");
  EXPECT_EQ(complete("spore version --"), "--help --home --json ");
  EXPECT_EQ(complete("spore run mod"), "module.wasm ");
  EXPECT_EQ(complete("spore run ''"), "module.wasm other.txt ");
  EXPECT_EQ(complete("spore inspect --invok"), " ");  // no flag of this command
  EXPECT_EQ(complete("spore function a"), "add ");
  EXPECT_EQ(complete("spore function ''"), "add bench call disable enable list remove ");
  EXPECT_EQ(complete("spore function --pu"), "--pure ");
  EXPECT_EQ(complete("spore function add mod"), "module.wasm ");
}

TEST_F(CliTest, OtherShellsHaveTheirScripts) {
  EXPECT_TRUE(output({"completion", "zsh"}).starts_with("autoload -U +X bashcompinit"));
  const std::string fish = output({"completion", "fish"});
  EXPECT_TRUE(has(fish, "complete -c spore -n __fish_use_subcommand -a run -d "));
  EXPECT_TRUE(has(fish, "complete -c spore -n '__fish_seen_subcommand_from run' -l deadline-ms -r\n"));
  EXPECT_TRUE(has(fish, "complete -c spore -n '__fish_seen_subcommand_from compile' -s o -r\n"));
  EXPECT_TRUE(
      has(fish, "complete -c spore -n '__fish_seen_subcommand_from code' -a 'list verify prune clear'\n"));
  expect_failure({"completion", "tcsh"}, kMisused, "there is no completion for 'tcsh' (bash, zsh, fish)");
}

// --- errors as JSON -----------------------------------------------------------------------------------

TEST_F(CliTest, ErrorsAsJsonGoToStandardOutputAndTextToTheOther) {
  const ProcessResult result = spore({"run", guest_path("numbers.wat"), "--json", "--invoke", "add", "1"});
  EXPECT_EQ(result.exit_code, kMisused);
  EXPECT_EQ(result.err, "spore: 1 argument given, the function takes 2: (i32, i32) -> i32\n");
  EXPECT_EQ(result.out, R"({
  "error": {
    "code": "invalid_argument",
    "message": "1 argument given, the function takes 2: (i32, i32) -> i32"
  }
}
)");
}

TEST_F(CliTest, ATrapAsJsonHasItsBacktrace) {
  const ProcessResult result = spore({"run", guest_path("misbehave.wat"), "--json"});
  EXPECT_EQ(result.exit_code, kTrapped);
  EXPECT_TRUE(is_json(result.out)) << result.out;
  EXPECT_TRUE(has(result.out, R"("code": "trap")"));
  EXPECT_TRUE(has(result.out, R"("message": "the guest trapped: unreachable in 'boom'")"));
  EXPECT_TRUE(has(result.out, R"("trap": "unreachable")"));
  EXPECT_TRUE(has(result.out, R"("function": "boom")"));
}

TEST_F(CliTest, EveryKindOfErrorIsJson) {
  struct Case {
    Words words;
    int exit_code;
    std::string_view code;
  };
  const std::string misbehave = guest_path("misbehave.wat");
  const std::vector<Case> cases{
      {{"run", "missing.wasm"}, kFailed, "not_found"},
      {{"run", misbehave, "--invoke", "missing"}, kFailed, "not_found"},
      {{"run", misbehave, "--invoke", "endless", "--deadline-ms", "30"}, kDeadline, "deadline_exceeded"},
      {{"run", misbehave, "--invoke", "endless", "--fuel-max", "1000"}, kFailed, "limit_exceeded"},
      {{"run", misbehave, "--invoke", "deep", "1"}, kTrapped, "trap"},
      {{"inspect", folder_.write("e.wasm", "")}, kFailed, "invalid_module"},
      {{"inspect", folder_.write("c.wasm", std::string_view("\0asm\x0d\0\1\0", 8))}, kFailed, "unsupported"},
      {{"inspect", misbehave, "--module-bytes-max", "10"}, kFailed, "limit_exceeded"},
      {{"options", "--tier", "x"}, kMisused, "invalid_argument"},
      {{"completion", "tcsh"}, kMisused, "invalid_argument"},
  };
  for (const Case& each : cases) {
    Words words = each.words;
    words.emplace_back("--json");
    const ProcessResult result = spore(words);
    EXPECT_EQ(result.exit_code, each.exit_code) << result.err;
    EXPECT_TRUE(is_json(result.out)) << result.out;
    EXPECT_TRUE(has(result.out, fmt::format("\"code\": \"{}\"", each.code)));
    EXPECT_TRUE(result.err.starts_with("spore: ")) << result.err;
  }
}

// --- standard output ----------------------------------------------------------------------------------

// A full disk must not look like success, whether the text is shorter or longer than a buffer.
TEST_F(CliTest, AFullDiskIsAFailure) {
  std::string many = "(module";
  for (int i = 0; i < 2000; i++) many += fmt::format(" (func (export \"function_{}\"))", i);
  const std::string file = folder_.write("many.wat", many + ")");
  for (const Words& words : {Words{"version"}, Words{"inspect", file}}) {
    ProcessOptions full = options();
    full.output_path = "/dev/full";
    const ProcessResult result = spore(words, full);
    EXPECT_EQ(result.exit_code, kFailed);
    EXPECT_EQ(result.err, "spore: writing to standard output: No space left on device\n");
  }
}

TEST_F(CliTest, RunningNeedsNoDataDirectory) {  // env -i, as in a container
  EXPECT_EQ(output({"run", guest_path("numbers.wat"), "--invoke", "add", "1", "2"}, {}), "3\n");
}

TEST_F(CliTest, CompletionKeepsNamesWithSpacesWhole) {
  const std::string script = folder_.write("completion.bash", output({"completion", "bash"}));
  folder_.write("a b.wasm", "");
  EXPECT_EQ(run_process({"bash", "--norc", "-c",
                         "source '" + script +
                             "'; COMP_WORDS=(spore run a); COMP_CWORD=2; _spore; echo ${#COMPREPLY[@]}"},
                        {.folder = folder_.path()})
                .out,
            "1\n");
}

TEST_F(CliTest, MisuseAsJsonIsJson) {
  EXPECT_TRUE(is_json(spore({"run", "x.wasm", "--frobnicate", "--json"}).out));
}

TEST_F(CliTest, TheModulesSizeLimitIsNamed) {
  for (const char* command : {"run", "inspect"}) {
    EXPECT_TRUE(has(spore({command, guest_path("numbers.wat"), "--module-bytes-max", "100"}).err,
                    "--module-bytes-max"));
  }
}

TEST_F(CliTest, WhatTheOtherTierTakesIsSaid) {
  const std::string file = folder_.write("t.wat", "(module (func $f (export \"f\") (return_call $f)))");
  EXPECT_TRUE(has(spore({"run", file, "--tier", "baseline", "--invoke", "f"}).err, "tier=optimised"));
}

TEST_F(CliTest, TextErrorsAreReadable) {
  EXPECT_TRUE(has(spore({"run", folder_.write("b.wat", "(module\n  (func")}).err, "b.wat:2:8: expected"));
}

}  // namespace
}  // namespace spore::test
