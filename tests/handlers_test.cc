// Handlers in Spore: a file, frozen by the command and called by it.  tools/guests.sh has built the runtimes.
// The data directory is kept, as that of a user is: the first run rewrites and compiles each runtime, which
// takes minutes for CPython.  It is one for all builds of this tree.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/handler_texts.h"
#include "tests/process.h"
#include "tests/sanitizers.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr const char* kHome = SPORE_SOURCE_DIR "/build/handlers";

class HandlersTest : public testing::Test {
 protected:
  explicit HandlersTest(std::string_view language, std::string_view ending)
      : runtime_(fs::path(SPORE_SOURCE_DIR "/build/guests") / (std::string(language) + ".wasm")),
        file_("shop" + std::string(ending)) {}
  void SetUp() override {
    if (!fs::exists(runtime_)) GTEST_SKIP() << "tools/guests.sh has not built " << runtime_;
    if (!fs::exists("/usr/bin/wasm-opt")) GTEST_SKIP() << "there is no wasm-opt: install binaryen";
  }

  ProcessResult spore(const Words& words, const std::string& input = "/dev/null") const {
    Words all{command_};
    all.insert(all.end(), words.begin(), words.end());
    return run_process(
        all, {.environment = {{"SPORE_HOME", kHome}}, .folder = folder_.path(), .input_path = input});
  }
  ProcessResult freeze(std::string_view source, const Words& more = {}) const {
    folder_.write(file_, source);
    Words words{"freeze", file_, "--runtime", runtime_.native(), "-o", "shop.spore"};
    words.insert(words.end(), more.begin(), more.end());
    return spore(words);
  }
  ProcessResult call(const std::string& request) const {
    return spore({"call", "shop.spore", "--request", request});
  }
  // Many requests to one process of the command, with their answers.
  ProcessResult call_all(const Words& requests, const Words& flags = {}) const {
    std::string input;
    for (const std::string& request : requests) input += framed(request);
    Words words{"call", "shop.spore"};
    words.insert(words.end(), flags.begin(), flags.end());
    return spore(words, folder_.write("requests", input));
  }

  TemporaryFolder folder_;
  std::string command_ = SPORE_CLI;
  fs::path runtime_;
  std::string file_;
};

class PythonHandlerTest : public HandlersTest {
 protected:
  PythonHandlerTest() : HandlersTest("python", ".py") {}
};
class RubyHandlerTest : public HandlersTest {
 protected:
  RubyHandlerTest() : HandlersTest("ruby", ".rb") {}
};
class JavaScriptHandlerTest : public HandlersTest {
 protected:
  JavaScriptHandlerTest() : HandlersTest("javascript", ".js") {}
};

// Goal: what a request changes is gone in the next one, also behind one that failed.  Method: a request of
// several lines, state of the module, of a builtin and of the environment, an error between.
TEST_F(PythonHandlerTest, EachRequestIsClean) {
  const ProcessResult frozen = freeze(R"(
import json, os, re
seen = []
def handle(request):
    if request == "fail":
        seen.append(request)
        return missing
    state = [len(seen), hasattr(json, "mark"), "MARK" in os.environ]
    seen.append(request)
    json.mark = os.environ["MARK"] = "here"
    return [state, re.sub("[aeiou]", "-", request), len(seen)]
)");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const ProcessResult result = call_all({"one\ntwo", "fail", "three"});
  EXPECT_TRUE(has(result.out, "[[0, false, false], \"-n-\\ntw-\", 1]"));
  EXPECT_TRUE(has(result.out, "[[0, false, false], \"thr--\", 1]"));
  EXPECT_TRUE(has(result.err, "shop.py:7: NameError: name 'missing' is not defined"));
}

TEST_F(PythonHandlerTest, AnErrorHasItsLineAndAnExitCode) {
  ASSERT_EQ(freeze("def handle(request):\n    return 1 / int(request)\n").exit_code, 0);
  const ProcessResult failed = call("0");
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_EQ(last_line(failed.err), "shop.py:2: ZeroDivisionError: division by zero");
  const ProcessResult unloadable = freeze("import json\nload()\n");
  EXPECT_EQ(unloadable.exit_code, 1);
  EXPECT_TRUE(has(unloadable.err, "shop.py:2: NameError: name 'load' is not defined"));
  EXPECT_TRUE(has(unloadable.err, "File \"shop.py\", line 2, in <module>"));
}

TEST_F(PythonHandlerTest, PackagesAreThereInRequests) {
  fs::create_directories(folder_.path() / "packages/shout");
  folder_.write("packages/shout/__init__.py", "from .loud import loud\n");
  folder_.write("packages/shout/loud.py", "def loud(text):\n    return text.upper() + '!'\n");
  folder_.write("packages/late.py", "WHEN = 'in a request'\n");
  const ProcessResult frozen = freeze(R"(
import shout
def handle(request):
    import late
    try:
        open("/site-packages/new", "w")
    except OSError as error:
        return f"{shout.loud(request)} {late.WHEN} {error.strerror}"
)",
                                      {"--site-packages", "packages"});
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_EQ(call("hey").out, "HEY! in a request Read-only file system");
  // From another folder.
  fs::create_directory(folder_.path() / "other");
  const ProcessResult other =
      run_process({SPORE_CLI, "call", "../shop.spore", "--request", "hey"},
                  {.environment = {{"SPORE_HOME", kHome}}, .folder = folder_.path() / "other"});
  EXPECT_EQ(other.out, "HEY! in a request Read-only file system") << other.err;
}

// Goal: a second at most, once its runtime was rewritten and compiled.  Method: the command as it is
// installed; processor time, as this machine may have other things to do; the best of some.
TEST_F(PythonHandlerTest, FreezingTakesASecondAtMost) {
  const fs::path installed = SPORE_SOURCE_DIR "/build/prefix/bin/spore";
  if (kSanitized || !fs::exists(installed)) GTEST_SKIP() << "it is measured of " << installed;
  command_ = installed;
  const auto children_s = [] {
    rusage usage{};
    ::getrusage(RUSAGE_CHILDREN, &usage);
    constexpr double kUsInS = 1e6;
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / kUsInS;
  };
  const char* source = "import json, re\ndef handle(request):\n    return request\n";
  ASSERT_EQ(freeze(source).exit_code, 0);  // the first time may take minutes
  double best = 1e9;
  for (int i = 0; i < 5; i++) {
    const double before = children_s();
    ASSERT_EQ(freeze(source).exit_code, 0);
    best = std::min(best, children_s() - before);
  }
  EXPECT_LE(best, 1.0);
}

TEST_F(PythonHandlerTest, RandomIsOtherInEachRequest) {
  ASSERT_EQ(freeze("import random\ndef handle(request):\n    return random.random()\n").exit_code, 0);
  const ProcessResult result = call_all({"", ""});
  const std::string first = result.out.substr(0, result.out.size() / 2);
  EXPECT_GT(result.out.size(), 20U);
  EXPECT_FALSE(has(result.out.substr(first.size()), first.substr(6, 8)));
}

// --- on a runner that was started before ------------------------------------------------------------------

TEST_F(PythonHandlerTest, HandlersStandOnOneRunner) {
  folder_.write("shout.py", "def loud(text):\n    return text.upper() + '!'\n");
  fs::create_directory(folder_.path() / "packages");
  fs::rename(folder_.path() / "shout.py", folder_.path() / "packages/shout.py");
  const ProcessResult base = spore({"freeze", "--runner", "python", "--runtime", runtime_.native(),
                                    "--site-packages", "packages", "-o", "python.spore"});
  ASSERT_EQ(base.exit_code, 0) << base.err;
  const auto from = [&](const std::string& source, const Words& more = {}) {
    folder_.write(file_, source);
    Words words{"freeze", "--from", "python.spore", file_, "-o", "shop.spore"};
    words.insert(words.end(), more.begin(), more.end());
    return spore(words);
  };
  const ProcessResult frozen = from(
      "import shout\nseen = []\ndef handle(request):\n    seen.append(1)\n    return [shout.loud(request), "
      "len(seen)]\n");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_LT(fs::file_size(folder_.path() / "shop.spore"), fs::file_size(folder_.path() / "python.spore") / 5);
  for (int i = 0; i < 2; i++) EXPECT_EQ(call("hey").out, "[\"HEY!\", 1]");
  EXPECT_EQ(call("\xff").exit_code, 1);
  const ProcessResult inspected = spore({"inspect", "shop.spore"});
  EXPECT_TRUE(has(inspected.out, "derived from"));
  EXPECT_TRUE(has(spore({"inspect", "shop.spore", "--json"}).out, R"("kind": "derived")"));

  // A handler that cannot be loaded says so as ever.
  const ProcessResult unloadable = from("import json\nload()\n");
  EXPECT_EQ(unloadable.exit_code, 1);
  EXPECT_TRUE(has(unloadable.err, "shop.py:2: NameError: name 'load' is not defined"));
  // What was given when the runner was started cannot be given again.
  for (const Words& words :
       {Words{"--env", "A=b"}, Words{"--dir", "packages"}, Words{"--site-packages", "packages"}})
    EXPECT_EQ(from("def handle(r): pass\n", words).exit_code, 2) << words[0];
  EXPECT_EQ(spore({"freeze", "--from", "shop.spore", file_, "-o", "x.spore"}).exit_code, 2);
  EXPECT_EQ(spore({"freeze", "--runner", "perl", "-o", "x.spore"}).exit_code, 2);

  // The base was moved; another one is not it.
  fs::rename(folder_.path() / "python.spore", folder_.path() / "moved.spore");
  const ProcessResult lost = call("hey");
  EXPECT_EQ(lost.exit_code, 1);
  EXPECT_TRUE(has(lost.err, "--base FILE"));
  EXPECT_EQ(spore({"call", "shop.spore", "--base", "moved.spore", "--request", "hey"}).out, "[\"HEY!\", 1]");
  ASSERT_EQ(
      spore({"freeze", "--runner", "python", "--runtime", runtime_.native(), "-o", "python.spore"}).exit_code,
      0);
  EXPECT_TRUE(has(call("hey").err, "is not that image"));
}

// What is no runner does not take a handler, and what is derived does not go over what it needs.
TEST_F(JavaScriptHandlerTest, OnlyARunnerIsGoneOnFrom) {
  ASSERT_EQ(freeze("export const handle = (request) => request;\n").exit_code, 0);
  folder_.write("other.js", "export const handle = () => Math.random();\n");
  const ProcessResult answered = spore({"freeze", "--from", "shop.spore", "other.js", "-o", "other.spore"});
  EXPECT_EQ(answered.exit_code, 2);
  EXPECT_TRUE(has(answered.err, "shop.spore answered other.js instead of loading it")) << answered.err;
  EXPECT_FALSE(fs::exists(folder_.path() / "other.spore"));
  ASSERT_EQ(
      spore({"freeze", "--runner", "javascript", "--runtime", runtime_.native(), "-o", "js.spore"}).exit_code,
      0);
  EXPECT_EQ(spore({"freeze", "--from", "js.spore", "other.js", "-o", "js.spore"}).exit_code, 2);
  // By another name of the folder that it is written to, too.
  fs::create_directories(folder_.path() / "real/deep");
  fs::create_directory_symlink("real/deep", folder_.path() / "link");
  ASSERT_EQ(spore({"freeze", "--from", "js.spore", "other.js", "-o", "link/other.spore"}).exit_code, 0);
  EXPECT_EQ(spore({"call", "link/other.spore", "--request", ""}).exit_code, 0);
}

TEST_F(PythonHandlerTest, EntropyIsToldOfAndRefused) {
  folder_.write(file_, "import os\nkey = os.urandom(24)\ndef handle(request):\n    return 1\n");
  const Words runner{"freeze", "--runner", "python", "--runtime", runtime_.native(), "-o", "python.spore"};
  ASSERT_EQ(spore(runner).exit_code, 0);
  Words from{"freeze", "--from", "python.spore", file_, "-o", "shop.spore", "--entropy", "report"};
  const ProcessResult reported = spore(from);
  ASSERT_EQ(reported.exit_code, 0) << reported.err;
  const std::string before = spore({"inspect", "python.spore", "--json"}).out;
  const auto drawn = [](std::string_view json) {
    const size_t at = json.find("\"entropy_bytes\": ");
    return std::strtoull(json.data() + at + std::string_view("\"entropy_bytes\": ").size(), nullptr, 10);
  };
  const unsigned long long all = drawn(spore({"inspect", "shop.spore", "--json"}).out);
  EXPECT_EQ(all, drawn(before) + 24);
  EXPECT_TRUE(has(reported.err, fmt::format("{} random bytes were drawn before it was frozen", all)));
  from.back() = "trap";
  const ProcessResult refused = spore(from);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(has(refused.err, "draws 24 random bytes"));
  from.back() = "some";
  EXPECT_EQ(spore(from).exit_code, 2);
}

// --- Ruby -----------------------------------------------------------------------------------------------

TEST_F(RubyHandlerTest, EachRequestIsClean) {
  const ProcessResult frozen = freeze(R"(
require "json"
$seen = []
class String
  def shout = upcase + "!"
end
def handle(request)
  return missing if request == "fail"
  state = [$seen.size, "x".respond_to?(:mark), ENV["MARK"]]
  $seen << request
  String.class_eval { def mark = 1 }
  ENV["MARK"] = "here"
  [state, request.gsub(/[aeiou]/, "-"), request.shout, $seen.size]
end
)");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const ProcessResult result = call_all({"one\ntwo", "fail", "three"});
  EXPECT_TRUE(has(result.out, framed("[[0,false,null],\"-n-\\ntw-\",\"ONE\\nTWO!\",1]"))) << result.err;
  EXPECT_TRUE(has(result.out, framed("[[0,false,null],\"thr--\",\"THREE!\",1]")));
  EXPECT_TRUE(has(result.err, "shop.rb:8: NameError: undefined local variable or method 'missing'"));
}

TEST_F(RubyHandlerTest, AnErrorHasItsLineAndAnExitCode) {
  const ProcessResult frozen = freeze("def handle(request)\n  1 / request.to_i\nend\n");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const ProcessResult failed = call("0");
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_EQ(last_line(failed.err), "shop.rb:2: ZeroDivisionError: divided by 0");
  const ProcessResult unloadable = freeze("require 'json'\nload_it()\n");
  EXPECT_EQ(unloadable.exit_code, 1);
  EXPECT_TRUE(has(unloadable.err, "shop.rb:2: NoMethodError: undefined method 'load_it'"));
}

TEST_F(RubyHandlerTest, RandomIsOtherInEachRequest) {
  ASSERT_EQ(freeze("def handle(request) = rand\n").exit_code, 0);
  const std::string first = call("").out;
  EXPECT_GT(first.size(), 10U);
  EXPECT_NE(first, call("").out);
}

TEST_F(RubyHandlerTest, HandlersStandOnOneRunner) {
  ASSERT_EQ(
      spore({"freeze", "--runner", "ruby", "--runtime", runtime_.native(), "-o", "ruby.spore"}).exit_code, 0);
  folder_.write(file_, "def handle(request) = request.reverse\n");
  const ProcessResult frozen = spore({"freeze", "--from", "ruby.spore", file_, "-o", "shop.spore"});
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_EQ(call("abc").out, "cba");
}

TEST_F(RubyHandlerTest, AProjectIsFrozenAndCalled) {
  ASSERT_EQ(spore({"new", "ruby", "greet"}).exit_code, 0);
  const ProcessResult frozen =
      spore({"freeze", "greet/handler.rb", "--runtime", runtime_.native(), "-o", "shop.spore"});
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_EQ(call("{\"name\": \"moon\"}").out, "{\"greeting\":\"Hello, moon!\"}");
}

// A library that answers requests, by --init as the command line has it, and as it is.
TEST_F(RubyHandlerTest, ItIsFrozenAfterItsInitialiser) {
  const Words common{"freeze", runtime_.native(), "--stdin", "length", "-o", "ruby.spore"};
  Words by_init = common;
  by_init.insert(by_init.end(), {"--init", "wizer.initialize", "--entropy", "report"});
  const ProcessResult frozen = spore(by_init);
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_TRUE(has(frozen.err, "random bytes were drawn before it was frozen"));
  Words trapped = common;
  trapped.insert(trapped.end(), {"--entropy", "trap"});
  const ProcessResult refused = spore(trapped);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(has(refused.err, "random bytes, which would be the same"));
}

// --- JavaScript -----------------------------------------------------------------------------------------

TEST_F(JavaScriptHandlerTest, EachRequestIsClean) {
  const ProcessResult frozen = freeze(R"(
let seen = 0;
export function handle(request) {
  if (request === "fail") return seen.x.y;
  const state = [seen++, Array.prototype.mark === undefined];
  Array.prototype.mark = 1;
  return [state, request.replace(/[aeiou]/g, "-"), seen];
}
)");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const ProcessResult result = call_all({"one\ntwo", "fail", "three"});
  EXPECT_TRUE(has(result.out, framed("[[0,true],\"-n-\\ntw-\",1]")));
  EXPECT_TRUE(has(result.out, framed("[[0,true],\"thr--\",1]")));
  EXPECT_TRUE(has(result.err, "shop.js:4: TypeError: cannot read property 'y' of undefined"));
}

TEST_F(JavaScriptHandlerTest, AnErrorHasItsLineAndAnExitCode) {
  ASSERT_EQ(freeze("export function handle(request) {\n  return JSON.parse(request);\n}\n").exit_code, 0);
  const ProcessResult failed = call("{");
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(last_line(failed.err).starts_with("shop.js:2: SyntaxError: ")) << failed.err;
  const ProcessResult unloadable = freeze("\nload();\n");
  EXPECT_EQ(unloadable.exit_code, 1);
  EXPECT_TRUE(has(unloadable.err, "shop.js:2: ReferenceError: load is not defined"));
}

TEST_F(JavaScriptHandlerTest, RandomIsOtherInEachRequest) {
  ASSERT_EQ(freeze("export const handle = () => Math.random();").exit_code, 0);
  const std::string first = call("").out;
  EXPECT_GT(first.size(), 10U);
  EXPECT_NE(first, call("").out);
}

// An endless recursion or loop is an error of that request.
TEST_F(JavaScriptHandlerTest, TheNextRequestIsCleanAfterOneThatRanAway) {
  const ProcessResult frozen = freeze(R"(
export function handle(request) {
  const deeper = (n) => deeper(n + 1) + 1;
  if (request === "deep") return deeper(0);
  while (request === "loop") {}
  return "done";
}
)");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const ProcessResult result = call_all({"deep", "x", "loop", "x"}, {"--deadline-ms", "1000"});
  const size_t at = result.out.find(framed("done"));
  ASSERT_NE(at, std::string::npos) << result.err;
  EXPECT_NE(result.out.find(framed("done"), at + 1), std::string::npos);
  EXPECT_TRUE(has(result.err, "deadline"));
}

// A new project, by the words of its README.
TEST_F(JavaScriptHandlerTest, AProjectIsFrozenAndCalled) {
  ASSERT_EQ(spore({"new", "javascript", "greet"}).exit_code, 0);
  const ProcessResult frozen =
      spore({"freeze", "greet/handler.js", "--runtime", runtime_.native(), "-o", "shop.spore"});
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  EXPECT_EQ(call("{\"name\": \"moon\"}").out, "{\"greeting\":\"Hello, moon!\"}");
  // Many requests, as people have them.
  const ProcessResult result = spore({"call", "shop.spore", "--stdin", "lines"},
                                     folder_.write("lines", "{\"name\": \"sun\"}\n{}\n{\n"));
  EXPECT_EQ(result.out, "{\"greeting\":\"Hello, sun!\"}\n{\"greeting\":\"Hello, world!\"}\n\n");
  EXPECT_EQ(result.exit_code, 1);  // of the last one
}

// --- misuse ---------------------------------------------------------------------------------------------

// --- cells -----------------------------------------------------------------------------------------------

// Goal: what one Python keeps in variables is there in the next process, and in a fork of it; another cell of
// the same image knows nothing of it.
TEST_F(PythonHandlerTest, ACellRemembersWhatItsRequestsDid) {
  const ProcessResult frozen = freeze(R"(
import json
seen = []
def handle(request):
    if request == "fail":
        seen.append("lost")
        raise ValueError("on purpose")
    seen.append(request)
    return seen
)");
  ASSERT_EQ(frozen.exit_code, 0) << frozen.err;
  const auto cell = [&](Words words) {
    words.insert(words.begin(), {"cell"});
    return spore(words);
  };
  const std::string name = fmt::format("test-{}-", ::getpid());
  const std::string alice = name + "alice";
  const std::string bob = name + "bob";
  ASSERT_EQ(cell({"create", alice, "shop.spore"}).exit_code, 0);
  EXPECT_EQ(cell({"call", alice, "one"}).out, R"(["one"])");
  EXPECT_EQ(cell({"call", alice, "two"}).out, R"(["one", "two"])");
  const ProcessResult failed = cell({"call", alice, "fail"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_TRUE(has(failed.err, "ValueError: on purpose"));
  ASSERT_EQ(cell({"fork", alice, bob}).exit_code, 0);
  EXPECT_EQ(cell({"call", bob, "bob's"}).out, R"(["one", "two", "bob's"])");
  EXPECT_EQ(cell({"call", alice, "three"}).out, R"(["one", "two", "three"])");
  ASSERT_EQ(cell({"snapshot", alice, "-o", "alice.spore"}).exit_code, 0);
  const std::string again = name + "again";
  const ProcessResult restored = cell({"restore", again, "alice.spore"});
  ASSERT_EQ(restored.exit_code, 0) << restored.err;
  EXPECT_EQ(cell({"call", again, "four"}).out, R"(["one", "two", "three", "four"])");
  // That image itself answers from there, each time.
  for (int i = 0; i < 2; i++) {
    const ProcessResult called = spore({"call", "alice.spore", "--request", "x"});
    EXPECT_EQ(called.out, R"(["one", "two", "three", "x"])") << called.err;
  }
  for (const std::string& made : {alice, bob, again}) EXPECT_EQ(cell({"delete", made}).exit_code, 0);
}

TEST_F(PythonHandlerTest, MisuseIsTold) {
  folder_.write("a.py", "");
  const ProcessResult without = spore({"freeze", "a.py", "--home", "none", "-o", "a.spore"});
  EXPECT_EQ(without.exit_code, 1);
  EXPECT_TRUE(has(without.err, "there is no none/runtimes/python.wasm, which runs python handlers"));
  for (const Words& words :
       {Words{"--stdin", "lines"}, Words{"--init", "x"}, Words{"--arg", "x"}, Words{"x"}}) {
    Words all{"freeze", "a.py", "-o", "a.spore"};
    all.insert(all.end(), words.begin(), words.end());
    EXPECT_EQ(spore(all).exit_code, 2) << words[0];
  }
  folder_.write("a.wat", "(module)");
  EXPECT_EQ(spore({"freeze", "a.wat", "--runtime", "x", "-o", "a.spore"}).exit_code, 2);
  EXPECT_EQ(spore({"new", "perl", "greet"}).exit_code, 2);
  EXPECT_EQ(spore({"new", "python", "greet"}).exit_code, 0);
  const ProcessResult again = spore({"new", "python", "greet"});
  EXPECT_EQ(again.exit_code, 1);
  EXPECT_TRUE(has(again.err, "greet is there already"));
}

}  // namespace
}  // namespace spore::test
