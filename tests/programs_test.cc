// Real programs as guests: C, C++, Rust and Go (tests/programs/README.md), SQLite and CPython.  Where there
// is a native twin of the same source, both must say the same, exit alike and leave the same files.

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr int kDeadline = 124;
constexpr int kTrapped = 134;

fs::path built(std::string_view name) { return fs::path(SPORE_SOURCE_DIR "/build/guests") / name; }

Words operator+(Words left, const Words& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

std::string lines(const Words& all) {
  std::string text;
  for (const std::string& line : all) text += line + "\n";
  return text;
}

// Path below `folder` to content; folders have none.
std::map<std::string, std::string> tree(const fs::path& folder) {
  std::map<std::string, std::string> result;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    result[entry.path().lexically_relative(folder).native()] =
        entry.is_regular_file() ? file_content(entry.path()) : "";
  }
  return result;
}

// Runs one program on one tier.  It is compiled once a test.
class ProgramsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(built(""))) GTEST_SKIP() << "there are no guests: run tools/guests.sh";
    fs::create_directory(data());
  }

  void compile(const std::string& name, const std::string& tier) {
    name_ = name;
    module_ = {built(name + ".wasm").native(), "--tier", tier};
    compiled_ = tier != "interpreter";
    if (!compiled_) return;
    const ProcessResult result = run_process(Words{SPORE_CLI, "compile"} + module_ + Words{"-o", code()});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }

  // `flags` are spore's, `words` the program's.
  ProcessResult guest(const Words& flags, const Words& words, const ProcessOptions& options = {}) const {
    Words all = Words{SPORE_CLI, "run"} + module_;
    if (compiled_) all = all + Words{"--code", code()};
    all = all + flags;
    if (!words.empty()) all = all + Words{"--"} + words;
    return run_process(all, options);
  }
  ProcessResult twin(const Words& words, const ProcessOptions& options = {}) const {
    return run_process(Words{built("native/" + name_).native()} + words, options);
  }
  // The answer of a function of a library, which prints nothing else.
  std::string answer(const std::string& function, const Words& words, const Words& flags = {}) const {
    const ProcessResult result = guest(Words{"--invoke", function} + flags, words);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }

  static void expect_same(const ProcessResult& guest, const ProcessResult& twin) {
    EXPECT_EQ(guest.out, twin.out);
    EXPECT_EQ(guest.err, twin.err);
    EXPECT_EQ(guest.exit_code, twin.exit_code);
  }
  static void expect_success(const ProcessResult& result, std::string_view out) {
    EXPECT_EQ(result.out, out);
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.exit_code, 0);
  }

  // A folder that is given to guests as /data.
  fs::path data() const { return folder_.path() / "data"; }
  std::string data(std::string_view name) const { return (data() / name).native(); }
  Words read_write() const { return {"--dir", data().native() + "::/data:rw"}; }
  Words read_only() const { return {"--dir", data().native() + "::/data"}; }

  TemporaryFolder folder_;

 private:
  std::string code() const { return (folder_.path() / "code").native(); }

  std::string name_;
  Words module_;  // what names it to spore
  bool compiled_ = false;
};

// --- commands -----------------------------------------------------------------------------------------

// Language and tier.
class Languages : public ProgramsTest,
                  public testing::WithParamInterface<std::tuple<std::string, std::string>> {
 protected:
  std::string language() const { return std::get<0>(GetParam()); }
  std::string tier() const { return std::get<1>(GetParam()); }
};

const auto kEveryLanguage = testing::Values("c", "cpp", "rust", "go");
const auto kLanguages =
    testing::Combine(kEveryLanguage, testing::Values("interpreter", "baseline", "optimised"));
std::string language_and_tier(const testing::TestParamInfo<Languages::ParamType>& info) {
  return std::get<0>(info.param) + "_" + std::get<1>(info.param);
}

class Commands : public Languages {
 protected:
  void SetUp() override {
    Languages::SetUp();
    if (!IsSkipped()) compile(language() + "_command", tier());
  }
};
INSTANTIATE_TEST_SUITE_P(Programs, Commands, kLanguages, language_and_tier);

// What the tier has no part in.
class ConfinedCommands : public Commands {};
INSTANTIATE_TEST_SUITE_P(Programs, ConfinedCommands,
                         testing::Combine(kEveryLanguage, testing::Values("baseline")), language_and_tier);

TEST_P(Commands, SayWhatTheirTwinsSay) {
  std::string text;
  for (int i = 0; i < 3000; i++) text += "line " + std::to_string(i * i) + " of the input\n";
  ProcessOptions options{.environment = {{"GREETING", "hello there"}, {"EMPTY", ""}},
                         .input_path = folder_.write("input", text + "no end")};
  const Words environment{"--env", "GREETING=hello there", "--env", "EMPTY="};
  for (const Words& words : {
           Words{"args"},
           Words{"args", "one", "two words", "", "--dir", "-5", "grüße"},
           Words{"env", "GREETING", "EMPTY", "MISSING"},
           Words{"lines"},
           Words{"machine"},
           Words{"fail", "7", "seven", "it", "is"},
           Words{"fail", "0", "all is well"},
           Words{"fail", "125"},
           Words{"unknown"},
           Words{},
       }) {
    SCOPED_TRACE(testing::PrintToString(words));
    expect_same(guest(environment, words, options), twin(words, options));
  }
  options.input_path = folder_.write("nothing", "");
  expect_same(guest({}, {"lines"}, options), twin({"lines"}, options));
}

TEST_P(Commands, UseFilesAsTheirTwinsDo) {
  const fs::path native = folder_.path() / "native";
  fs::create_directory(native);
  const ProcessResult expected = twin({"files", native.native()});
  EXPECT_EQ(expected.exit_code, 0) << expected.err;
  expect_same(guest(read_write(), {"files", "/data"}), expected);
  EXPECT_EQ(tree(data()), tree(native));
  expect_same(guest(read_only(), {"cat", "/data/kept.txt"}), twin({"cat", native / "kept.txt"}));

  // The same by a relative path: a program's working directory is the root.
  fs::remove(data("kept.txt"));
  expect_same(guest({"--dir", data().native() + "::/:rw"}, {"files", "."}), expected);
  EXPECT_EQ(tree(data()), tree(native));
}

TEST_P(ConfinedCommands, SeeNothingThatTheyWereNotGiven) {
  expect_success(guest({}, {"env"}), "");
  expect_success(guest({"--env", "Z=1", "--env", "A=2"}, {"env"}), "A=2\nZ=1\n");

  folder_.write("secret.txt", "secret");
  fs::create_symlink("../secret.txt", data("link"));
  fs::create_symlink(folder_.path() / "secret.txt", data("absolute"));
  for (const std::string path : {"/data/../secret.txt", "/data/link", "/data/absolute", "/etc/passwd",
                                 "../secret.txt", "/data/missing", "/", ""}) {
    SCOPED_TRACE(path);
    const ProcessResult result = guest(read_write(), {"cat", path});
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "cat: cannot read " + path + "\n");
    EXPECT_EQ(result.exit_code, 1);
  }
  EXPECT_NE(guest({}, {"cat", "/data/link"}).exit_code, 0);  // no directory at all
}

TEST_P(ConfinedCommands, CannotWriteWhatTheyMayOnlyRead) {
  folder_.write("data/kept.txt", "before");
  expect_success(guest(read_only(), {"cat", "/data/kept.txt"}), "before");
  const ProcessResult result = guest(read_only(), {"files", "/data"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err, "");
  EXPECT_EQ(tree(data()), (std::map<std::string, std::string>{{"kept.txt", "before"}}));
}

TEST_P(ConfinedCommands, CrashAsTheirTwinsDo) {
  const ProcessResult result = guest({}, {"crash"});
  EXPECT_EQ(result.exit_code, twin({"crash"}).exit_code);  // 134, SIGABRT, but for Go's panic
  EXPECT_EQ(result.exit_code, language() == "go" ? 2 : kTrapped);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(has(result.err, language() == "go" ? "panic: on purpose" : "the guest trapped: unreachable"));
}

// --- reactors -----------------------------------------------------------------------------------------

class Reactors : public Languages {
 protected:
  void SetUp() override {
    Languages::SetUp();
    if (!IsSkipped()) compile(language() + "_reactor", tier());
  }
};
INSTANTIATE_TEST_SUITE_P(Programs, Reactors, kLanguages, language_and_tier);

TEST_P(Reactors, AreInitialisedAndAnswer) {
  EXPECT_EQ(answer("initialised", {}), "85344\n");
  EXPECT_EQ(answer("add", {"40", "2"}), "42\n");
  EXPECT_EQ(answer("add", {"2147483647", "1"}), "-2147483648\n");
  EXPECT_EQ(answer("primes", {"1000"}), "168\n");
  EXPECT_EQ(answer("primes", {"3000000"}), "216816\n");  // more memory than they begin with

  const Words signature{"--signature", "(string) -> string"};
  EXPECT_EQ(answer("greet", {"Wörld"}, signature), "Hello, Wörld!\n");
  EXPECT_EQ(answer("greet", {""}, signature), "Hello, !\n");
  const std::string name(100'000, 'x');
  EXPECT_EQ(answer("greet", {name}, signature), "Hello, " + name + "!\n");

  folder_.write("data/input.txt", "12345");
  EXPECT_EQ(answer("file_bytes", {}, read_only()), "5\n");
  EXPECT_EQ(answer("file_bytes", {}), "-1\n");
}

// --- SQLite -------------------------------------------------------------------------------------------

class Sqlite : public ProgramsTest {
 protected:
  void SetUp() override {
    ProgramsTest::SetUp();
    if (!IsSkipped()) compile("sqlite", "baseline");
  }
  // SQL on /data/<name>, by either build.
  ProcessResult by_guest(const std::string& name, const Words& sql) const {
    return guest(read_write(), Words{"/data/" + name} + sql);
  }
  ProcessResult by_twin(const std::string& name, const Words& sql) const {
    return twin(Words{data(name)} + sql);
  }
};

const Words kFill{
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, note BLOB);"
    "CREATE INDEX item_by_name ON item (name);",
    "BEGIN;"
    "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 5000)"
    "  INSERT INTO item SELECT n, printf('item %05d', n * 7919 % 5000), n * 0.25, zeroblob(n % 50) FROM "
    "number;"
    "COMMIT;",
    "UPDATE item SET note = NULL WHERE id % 10 = 0; DELETE FROM item WHERE id % 100 = 1;"};
const Words kAsk{
    "SELECT count(*), sum(price), total(length(note)), count(note) FROM item",
    "SELECT id, name, price, hex(note) FROM item WHERE name BETWEEN 'item 00010' AND 'item 00015' ORDER BY "
    "name",
    "SELECT substr(name, 1, 8) AS part, count(*), avg(price) FROM item GROUP BY part ORDER BY 3 DESC LIMIT 5",
    "SELECT json_group_array(id) FROM (SELECT id FROM item ORDER BY name DESC LIMIT 4)",
    "PRAGMA integrity_check"};

TEST_F(Sqlite, WhatIsWrittenIsReadByOthers) {
  const ProcessResult filled = by_twin("twin.db", kFill + kAsk);
  EXPECT_EQ(filled.exit_code, 0) << filled.err;
  EXPECT_TRUE(has(filled.out, "4950|"));
  EXPECT_TRUE(has(filled.out, "\nok\n"));
  for (const std::string tier : {"baseline", "optimised"}) {
    SCOPED_TRACE(tier);
    compile("sqlite", tier);
    const std::string name = tier + ".db";
    expect_same(by_guest(name, kFill + kAsk), filled);
    expect_same(by_guest(name, kAsk), filled);  // in another process
    expect_same(by_twin(name, kAsk), filled);
    expect_same(by_guest("twin.db", kAsk), filled);
    EXPECT_EQ(file_content(data(name)).size(), file_content(data("twin.db")).size());
    EXPECT_EQ(by_twin(name, {"DELETE FROM item WHERE id > 1000"}).exit_code, 0);
    expect_success(by_guest(name, {"SELECT count(*) FROM item"}), "990\n");
  }
  EXPECT_EQ(tree(data()).size(), 3U);  // no journal and no lock is left
}

TEST_F(Sqlite, JournalsWork) {
  for (const std::string mode : {"delete", "truncate", "persist", "memory", "off"}) {
    SCOPED_TRACE(mode);
    const Words use{"PRAGMA journal_mode = " + mode, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3)",
                    "BEGIN; UPDATE t SET a = a * 10; COMMIT; SELECT sum(a) FROM t"};
    expect_same(by_guest(mode + "_guest.db", use), by_twin(mode + "_twin.db", use));
    EXPECT_EQ(fs::exists(data(mode + "_guest.db-journal")), fs::exists(data(mode + "_twin.db-journal")));
    expect_success(by_guest(mode + "_guest.db", {"SELECT sum(a) FROM t"}), "60\n");
    expect_success(by_twin(mode + "_guest.db", {"SELECT sum(a) FROM t", "PRAGMA integrity_check"}),
                   "60\nok\n");
  }
  // A write-ahead log needs shared memory, which WASI has not, or the database for itself.
  const Words wal{"PRAGMA journal_mode = wal"};
  expect_success(by_guest("wal.db", wal), "delete\n");
  expect_success(by_guest("wal.db", Words{"PRAGMA locking_mode = exclusive"} + wal +
                                        Words{"CREATE TABLE t (a); INSERT INTO t VALUES (7)"}),
                 "exclusive\nwal\n");
  expect_success(by_twin("wal.db", {"SELECT a FROM t", "PRAGMA journal_mode = delete"}), "7\ndelete\n");
}

TEST_F(Sqlite, ARollbackIsSeenAndAnErrorIsTold) {
  for (const Words& sql : {
           Words{"CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2); "
                 "ROLLBACK;"
                 "SELECT count(*) FROM t"},
           Words{"BEGIN; INSERT INTO t VALUES (3)", "INSERT INTO t VALUES (1)"},  // ends with it open
           Words{"SELECT count(*) FROM t"},
           Words{"SELECT no_such_function(1)"},
       }) {
    SCOPED_TRACE(sql[0]);
    expect_same(by_guest("guest.db", sql), by_twin("twin.db", sql));
  }

  const ProcessOptions script{
      .input_path =
          folder_.write("script.sql", "SELECT count(*)\nFROM t;\nSELECT 1 +;\nSELECT 'not reached';\n")};
  expect_same(guest(read_write(), {"/data/guest.db"}, script), twin({data("twin.db")}, script));
}

// The locks of SQLite on WASI are directories: nobody takes away that of a guest that was stopped.
TEST_F(Sqlite, WhatAStoppedGuestBeganIsRolledBack) {
  EXPECT_EQ(by_twin("shop.db", kFill).exit_code, 0);
  const ProcessResult before = by_twin("shop.db", kAsk);
  const ProcessResult stopped =
      guest(read_write() + Words{"--deadline-ms", "2000"},
            {"/data/shop.db",
             "PRAGMA cache_size = 5; BEGIN; UPDATE item SET price = 0, note = zeroblob(99);"
             "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
             "  INSERT INTO item SELECT i, 'x', 0, 0 FROM n WHERE i < 0"});
  EXPECT_EQ(stopped.exit_code, kDeadline);
  fs::copy(data("shop.db"), data("copy.db"));
  fs::copy(data("shop.db-journal"), data("copy.db-journal"));

  EXPECT_EQ(by_guest("shop.db", kAsk).err, "error 5: database is locked\n");
  fs::remove(data("shop.db.lock"));
  expect_same(by_guest("shop.db", kAsk), before);
  expect_same(by_twin("copy.db", kAsk), before);
}

TEST_F(Sqlite, AReadOnlyDirectoryHoldsAnImmutableDatabase) {
  EXPECT_EQ(by_twin("shop.db", kFill).exit_code, 0);
  const std::string before = file_content(data("shop.db"));
  const std::string name = "file:/data/shop.db?immutable=1";
  expect_same(guest(read_only(), Words{name} + kAsk), by_twin("shop.db", kAsk));
  const ProcessResult write = guest(read_only(), {name, "DELETE FROM item"});
  EXPECT_EQ(write.exit_code, 1);
  EXPECT_TRUE(has(write.err, "readonly"));
  EXPECT_EQ(file_content(data("shop.db")), before);
}

// --- CPython ------------------------------------------------------------------------------------------

// Its module is large, 26 MB: one test runs it on the optimising tier, too.
class Cpython : public ProgramsTest {
 protected:
  void SetUp() override {
    ProgramsTest::SetUp();
    if (!IsSkipped()) compile("python", "baseline");
  }
  ProcessResult script(const std::string& text, const Words& flags = {}, const Words& words = {}) const {
    return guest(flags, Words{"-c", text} + words);
  }
};

const std::string kScript = R"py(
import collections, decimal, hashlib, json, re, sys
words = re.findall(r"\w+", "the cat and the dog and the bird")
print(json.dumps(dict(sorted(collections.Counter(words).items()))))
print(json.loads('{"b": [1, 2.5, null, true], "a": "\\u00e9"}'), sys.argv)
print(sorted({"x": 1, "c": 2}.items()), decimal.Decimal(1) / 7, 2**100)
print(hashlib.sha256(b"spore").hexdigest(), sum(i * i for i in range(100000)))
)py";
const std::string kScriptSays = R"({"and": 2, "bird": 1, "cat": 1, "dog": 1, "the": 3}
{'b': [1, 2.5, None, True], 'a': 'é'} ['-c', 'one', 'two words']
[('c', 2), ('x', 1)] 0.1428571428571428571428571429 1267650600228229401496703205376
b14d9a6a5a3d346af4bdecd97b81358ec64bcc7b1827ee23bf83a830a152cc9a 333328333350000
)";

TEST_F(Cpython, ComputesWithItsLibrary) {
  expect_success(script(kScript, {}, {"one", "two words"}), kScriptSays);
  compile("python", "optimised");
  expect_success(script(kScript, {}, {"one", "two words"}), kScriptSays);
}

TEST_F(Cpython, AnExceptionIsToldOnStandardError) {
  const ProcessResult result = script("def f(n):\n  print('before')\n  return 1 // n\nf(0)");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "before\n");
  EXPECT_EQ(
      result.err,
      lines({"Traceback (most recent call last):", "  File \"<string>\", line 4, in <module>",
             "  File \"<string>\", line 3, in f", "ZeroDivisionError: integer division or modulo by zero"}));
  const ProcessResult exits = script("import sys; print('to err', file=sys.stderr); sys.exit(3)");
  EXPECT_EQ(exits.exit_code, 3);
  EXPECT_EQ(exits.out, "");
  EXPECT_EQ(exits.err, "to err\n");
}

TEST_F(Cpython, LimitsAreErrorsOfPython) {
  const ProcessResult deep = script("def f(n): return f(n + 1)\nf(0)");
  EXPECT_EQ(deep.exit_code, 1);
  EXPECT_TRUE(has(deep.err, "RecursionError: maximum recursion depth exceeded"));
  const ProcessResult nested = script("x = []\nfor i in range(100000): x = [x]\nrepr(x)");
  EXPECT_EQ(nested.exit_code, 1);
  EXPECT_TRUE(has(nested.err, "RecursionError: maximum recursion depth exceeded"));
  const ProcessResult large = script("bytearray(10**8)", {"--memory-bytes-max", "64MiB"});
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_TRUE(has(large.err, "MemoryError"));
  EXPECT_EQ(script("while True: pass", {"--deadline-ms", "2000"}).exit_code, kDeadline);
}

TEST_F(Cpython, UsesADirectory) {
  folder_.write("data/in.txt", "first\nsecond\n");
  folder_.write("data/tool.py",
                "import os, sys, helper\nprint(helper.text(), sys.argv, os.environ['NAME'])\n");
  folder_.write("data/helper.py", "def text(): return open('/data/in.txt').read().split()\n");
  expect_success(guest(read_only() + Words{"--env", "NAME=value"}, {"/data/tool.py", "a"}),
                 "['first', 'second'] ['/data/tool.py', 'a'] value\n");
  EXPECT_TRUE(has(script("open('/data/out.txt', 'w')", read_only()).err, "Error: [Errno "));
  EXPECT_FALSE(fs::exists(data("out.txt")));

  expect_success(script("import os, pathlib\n"
                        "folder = pathlib.Path('/data/made/deep')\n"
                        "folder.mkdir(parents=True)\n"
                        "(folder / 'out.txt').write_text('written')\n"
                        "os.rename(folder / 'out.txt', '/data/out.txt')\n"
                        "print(sorted(os.listdir('/data')), os.stat('/data/out.txt').st_size)",
                        read_write() + Words{"--env", "PYTHONDONTWRITEBYTECODE=1"}),
                 "['helper.py', 'in.txt', 'made', 'out.txt', 'tool.py'] 7\n");
  EXPECT_EQ(file_content(data("out.txt")), "written");
  EXPECT_TRUE(has(script("open('/etc/passwd')", read_write()).err, "FileNotFoundError"));
}

TEST_F(Cpython, AScriptComesFromStandardInput) {
  const ProcessOptions input{.input_path =
                                 folder_.write("script.py", "import sys\nprint(sys.argv, 6 * 7)\n")};
  expect_success(guest({}, {"-", "a", "b"}, input), "['-', 'a', 'b'] 42\n");
  expect_success(guest({}, {}, input), "[''] 42\n");
  const ProcessOptions text{.input_path = folder_.write("text", "3\n4\n")};
  expect_success(guest({}, {"-c", "print(int(input()) * int(input()))"}, text), "12\n");
}

}  // namespace
}  // namespace spore::test
