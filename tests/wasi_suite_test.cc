// The official WASI suite, preview 1: programs in AssemblyScript, C and Rust that end with 0 when all is as
// they expect it.  It is not part of this tree; SPORE_WASI_SUITE says where it lies.
//
// tests/wasi/suite-expected.txt names each program and what comes of it.  One that is not named, or named and
// not there, is as wrong as one that fails, and so is one that passes where a failure is expected.

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/process.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// What stands beside a program, in a .json of its name; without one, the defaults.
struct Config {
  Words args;
  Words directories;
  std::vector<std::pair<std::string, std::string>> env;
  int exit_code = 0;
  std::string out;  // empty: anything
  std::string err;
};

Config read_config(const fs::path& path) {
  Config config;
  if (!fs::exists(path)) return config;
  const nlohmann::json json = nlohmann::json::parse(file_content(path));
  for (const auto& [key, value] : json.items()) {
    if (key == "args") {
      config.args = value.get<Words>();
    } else if (key == "dirs") {
      config.directories = value.get<Words>();
    } else if (key == "env") {
      for (const auto& [name, text] : value.items()) config.env.emplace_back(name, text.get<std::string>());
    } else if (key == "exit_code") {
      config.exit_code = value.get<int>();
    } else if (key == "stdout") {
      config.out = value.get<std::string>();
    } else if (key == "stderr") {
      config.err = value.get<std::string>();
    } else {
      ADD_FAILURE() << path << ": what is '" << key << "'?";
    }
  }
  return config;
}

// A copy that may be written to, which the original may not: a program leaves nothing behind for the next.
void copy_writable(const fs::path& from, const fs::path& to) {
  fs::copy(from, to, fs::copy_options::recursive);
  for (const auto& entry : fs::recursive_directory_iterator(to)) {
    fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
  }
  fs::permissions(to, fs::perms::owner_write, fs::perm_options::add);
}

// Runs one program as the suite's own runner does; what went wrong, or nothing.
std::string run_program(const fs::path& program) {
  const Config config = read_config(fs::path(program).replace_extension(".json"));
  const TemporaryFolder folder;
  Words words{SPORE_CLI, "run", "--tier", "baseline", program.native()};
  for (const auto& [name, value] : config.env)
    words.insert(words.end(), {"--env", fmt::format("{}={}", name, value)});
  for (const std::string& directory : config.directories) {
    copy_writable(program.parent_path() / directory, folder.path() / directory);
    words.insert(words.end(),
                 {"--dir", fmt::format("{}::{}:rw", (folder.path() / directory).native(), directory)});
  }
  words.emplace_back("--");
  words.insert(words.end(), config.args.begin(), config.args.end());

  const ProcessResult result = run_process(words);
  if (result.exit_code != config.exit_code) {
    return fmt::format("exit code {}, not {}: {}{}", result.exit_code, config.exit_code, result.err,
                       result.out);
  }
  if (!config.out.empty() && result.out != config.out) return fmt::format("its output is '{}'", result.out);
  if (!config.err.empty() && result.err != config.err) return fmt::format("its errors are '{}'", result.err);
  return {};
}

// "FOLDER/NAME", the folder being the language.
std::set<std::string> programs_of(const fs::path& suite) {
  std::set<std::string> names;
  for (const auto& language : fs::directory_iterator(suite)) {
    const fs::path folder = language.path() / "testsuite" / "wasm32-wasip1";
    if (!fs::is_directory(folder)) continue;
    for (const auto& file : fs::directory_iterator(folder)) {
      if (file.path().extension() != ".wasm") continue;
      names.insert(fmt::format("{}/{}", language.path().filename().native(), file.path().stem().native()));
    }
  }
  return names;
}

fs::path program_path(const fs::path& suite, std::string_view name) {
  const size_t slash = name.find('/');
  return suite / name.substr(0, slash) / "testsuite" / "wasm32-wasip1" /
         fmt::format("{}.wasm", name.substr(slash + 1));
}

// For each program why it fails; nothing for those that pass.
using Expectations = std::map<std::string, std::string>;

Expectations parse_expectations(std::istream& lines, std::vector<std::string>& problems) {
  Expectations expectations;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string name;
    std::string verdict;
    std::string reason;
    words >> name >> verdict >> std::ws;
    std::getline(words, reason);
    const bool good = verdict == "pass" ? reason.empty() : verdict == "fail" && !reason.empty();
    if (!good) problems.push_back(fmt::format("'{}' is neither NAME pass nor NAME fail REASON", line));
    if (!expectations.emplace(name, reason).second)
      problems.push_back(fmt::format("{} is there twice", name));
  }
  return expectations;
}

struct Report {
  size_t passed = 0;
  size_t failed = 0;                  // as expected
  std::vector<std::string> problems;  // not as expected, in the order of names
};

Report run_suite(const fs::path& suite, std::istream& expected) {
  Report report;
  const Expectations expectations = parse_expectations(expected, report.problems);
  const std::set<std::string> there = programs_of(suite);
  for (const std::string& name : there) {
    if (!expectations.contains(name)) report.problems.push_back(name + " is in the suite and not expected");
  }
  std::vector<std::string> names;
  for (const auto& [name, reason] : expectations) {
    if (there.contains(name)) {
      names.push_back(name);
    } else {
      report.problems.push_back(name + " is expected and not in the suite");
    }
  }

  std::vector<std::string> failures(names.size());
  std::atomic<size_t> next = 0;
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < std::clamp(std::thread::hardware_concurrency(), 1u, 8u); i++) {
    workers.emplace_back([&] {
      for (size_t at = next++; at < names.size(); at = next++) {
        failures[at] = run_program(program_path(suite, names[at]));
      }
    });
  }
  for (std::thread& worker : workers) worker.join();

  for (size_t i = 0; i < names.size(); i++) {
    const std::string& reason = expectations.at(names[i]);
    (failures[i].empty() ? report.passed : report.failed)++;
    if (failures[i].empty() == reason.empty()) continue;
    report.problems.push_back(reason.empty()
                                  ? fmt::format("{} fails: {}", names[i], failures[i])
                                  : fmt::format("{} passes, and should not: {}", names[i], reason));
  }
  return report;
}

TEST(WasiSuiteTest, OfficialProgramsDoAsExpected) {
  const char* suite = std::getenv("SPORE_WASI_SUITE");
  if (suite == nullptr || *suite == '\0') GTEST_SKIP() << "suite not present: set SPORE_WASI_SUITE";
  std::ifstream expected(SPORE_SOURCE_DIR "/tests/wasi/suite-expected.txt");
  ASSERT_TRUE(expected.is_open());
  const Report report = run_suite(suite, expected);
  for (const std::string& problem : report.problems) ADD_FAILURE() << problem;
  EXPECT_GE(report.passed, 65u);
  fmt::print("{} of {} programs pass, {} fail as expected or not\n", report.passed,
             report.passed + report.failed, report.failed);
}

// --- does it notice what is wrong? --------------------------------------------------------------------

// A suite of two programs: one exits with 0, the other with 3.
class WasiSuiteRunnerTest : public testing::Test {
 protected:
  WasiSuiteRunnerTest() {
    fs::create_directories(suite() / "wat" / "testsuite" / "wasm32-wasip1");
    add("good", "");
    add("bad", "(call $exit (i32.const 3))");
  }
  fs::path suite() const { return folder_.path() / "suite"; }
  fs::path file(std::string_view name) const {
    return suite() / "wat" / "testsuite" / "wasm32-wasip1" / name;
  }

  // Binary: the suite has no text.  'spore run' tells text by its name, so the bytes are put together here.
  void add(std::string_view name, std::string_view body) const {
    std::string bytes("\0asm\1\0\0\0", 8);
    bytes += std::string("\1\x08\2\x60\0\0\x60\1\x7f\0", 10);                   // types: (), (i32)
    bytes += "\2\x24\1\x16wasi_snapshot_preview1\x09proc_exit";                 // import 0
    bytes += std::string("\0\1", 2);                                            //   of type 1
    bytes += std::string("\3\2\1\0", 4);                                        // function 1 of type 0
    bytes += std::string("\7\x0a\1\6_start\0\1", 12);                           // export
    bytes += body.empty() ? std::string("\x0a\4\1\2\0\x0b", 6)                  // code: nothing
                          : std::string("\x0a\x08\1\6\0\x41\3\x10\0\x0b", 10);  // code: proc_exit(3)
    std::ofstream(file(fmt::format("{}.wasm", name)), std::ios::binary) << bytes;
  }
  void configure(std::string_view name, std::string_view json) const {
    std::ofstream(file(fmt::format("{}.json", name))) << json;
  }
  std::vector<std::string> problems(const std::string& expected) const {
    std::istringstream lines(expected);
    return run_suite(suite(), lines).problems;
  }

  TemporaryFolder folder_;
};

TEST_F(WasiSuiteRunnerTest, ExpectedPassesAndFailuresAreFine) {
  EXPECT_EQ(problems("# comment\n\nwat/good pass\nwat/bad fail it exits with 3\n"),
            std::vector<std::string>{});
  configure("bad", R"({"exit_code": 3})");
  EXPECT_EQ(problems("wat/good pass\nwat/bad pass\n"), std::vector<std::string>{});
}

TEST_F(WasiSuiteRunnerTest, UnexpectedFailuresAndPassesAreProblems) {
  EXPECT_EQ(problems("wat/good pass\nwat/bad pass\n"),
            std::vector<std::string>{"wat/bad fails: exit code 3, not 0: "});
  EXPECT_EQ(problems("wat/good fail for fun\nwat/bad fail it exits with 3\n"),
            std::vector<std::string>{"wat/good passes, and should not: for fun"});
}

TEST_F(WasiSuiteRunnerTest, OutputCounts) {
  configure("good", R"({"stdout": "hello"})");
  EXPECT_EQ(problems("wat/good pass\nwat/bad fail it exits with 3\n"),
            std::vector<std::string>{"wat/good fails: its output is ''"});
}

TEST_F(WasiSuiteRunnerTest, MissingAndAdditionalProgramsAreProblems) {
  EXPECT_EQ(problems("wat/good pass\nwat/other pass\n"),
            (std::vector<std::string>{"wat/bad is in the suite and not expected",
                                      "wat/other is expected and not in the suite"}));
}

TEST_F(WasiSuiteRunnerTest, ExpectationsWithoutAReasonAreProblems) {
  EXPECT_EQ(problems("wat/good pass\nwat/bad fail\n").front(),
            "'wat/bad fail' is neither NAME pass nor NAME fail REASON");
  EXPECT_EQ(problems("wat/good pass\nwat/bad fail x\nwat/good pass\n"),
            std::vector<std::string>{"wat/good is there twice"});
}

}  // namespace
}  // namespace spore::test
