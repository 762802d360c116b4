// Handlers: the runners natively, with the same text that runs in guests; the checks of files and packages.

#include "spore/handler/handler.h"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/handler_texts.h"
#include "tests/process.h"

namespace spore::handler {
namespace {

namespace fs = std::filesystem;
using test::framed;
using test::has;
using test::last_line;
using test::ProcessResult;
using test::TemporaryFolder;
using Texts = std::vector<std::string>;

// The messages in a program's output; what is left over is the last one, as it is.
Texts unframed(std::string_view output) {
  Texts all;
  uint32_t length = 0;
  while (output.size() >= sizeof length) {
    std::memcpy(&length, output.data(), sizeof length);
    if (output.size() - sizeof length < length) break;
    all.emplace_back(output.substr(sizeof length, length));
    output.remove_prefix(sizeof length + length);
  }
  if (!output.empty()) all.emplace_back(output);
  return all;
}

// What a handler of that source does with requests in one process, which is not made as new in between.
class RunnerTest : public testing::Test {
 protected:
  ProcessResult run(const std::string& name, std::string_view source, const Texts& requests) {
    const std::string file = folder_.write(name, source);
    Handler handler = read_handler(file, {}).value();
    std::string input = framed(handler.setup);
    for (const std::string& request : requests) input += framed(request);
    Texts words = handler.world.args;
    words[0] = program_;
    return test::run_process(words, {.input_path = folder_.write("input", input)});
  }

  TemporaryFolder folder_;
  std::string program_;
};

class PythonRunnerTest : public RunnerTest {
 protected:
  PythonRunnerTest() { program_ = "python3"; }
  ProcessResult run(std::string_view source, const Texts& requests) {
    return RunnerTest::run("shop.py", source, requests);
  }
};

class JavaScriptRunnerTest : public RunnerTest {
 protected:
  JavaScriptRunnerTest() { program_ = SPORE_SOURCE_DIR "/build/guests/native/javascript"; }
  void SetUp() override {
    if (!fs::exists(program_)) GTEST_SKIP() << "tools/guests.sh has not built " << program_;
  }
  ProcessResult run(std::string_view source, const Texts& requests) {
    return RunnerTest::run("shop.js", source, requests);
  }
};

// --- Python ---------------------------------------------------------------------------------------------

TEST_F(PythonRunnerTest, AnswersTextBytesAndWhatJsonCanTell) {
  const ProcessResult result = run(R"(
def handle(request):
    return {"text": request * 2, "bytes": b"\xff\x00", "json": {"é": [1, None]}, "none": None}[request]
)",
                                   {"text", "bytes", "json", "none"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(unframed(result.out),
            (Texts{"texttext", std::string("\xff\0", 2), "{\"é\": [1, null]}", "null"}));
}

// Any text: of several lines, empty, beyond ASCII, longer than a pipe or a buffer.
TEST_F(PythonRunnerTest, AnyTextGoesThrough) {
  const Texts texts{
      "", "\n", "one\ntwo\r\n", "\xF0\x9F\x8D\x84", std::string(1, '\0'), std::string(3 << 20, 'x')};
  const ProcessResult result = run("def handle(request):\n    return request\n", texts);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(unframed(result.out), texts);
}

TEST_F(PythonRunnerTest, WhatItPrintsIsNoAnswer) {
  const ProcessResult result = run(R"(
import sys
print("loading")
def handle(request):
    print("half", end="")
    sys.stdout.write(" a line")
    return "answer"
)",
                                   {"x"});
  EXPECT_EQ(unframed(result.out), Texts{"answer"});
  EXPECT_EQ(result.err, "loading\nhalf a line");
}

// Goal: who reads an error knows where.  The last line has the user's file, line and the error; the traceback
// shows the user's lines, and none of the runner's.
TEST_F(PythonRunnerTest, AnErrorNamesFileAndLine) {
  const ProcessResult result = run(R"(
def inner(request):
    return [][len(request)]

def handle(request):
    return inner(request)
)",
                                   {"x", "y"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(last_line(result.err), "shop.py:3: IndexError: list index out of range");
  EXPECT_TRUE(has(result.err, "File \"shop.py\", line 6, in handle\n    return inner(request)\n"));
  EXPECT_FALSE(has(result.err, "<string>"));
}

TEST_F(PythonRunnerTest, EachErrorHasItsLine) {
  struct Case {
    const char* source;
    const char* last;
  };
  const Case cases[] = {
      {"x = 1\ndef handle(request:\n", "shop.py:2: SyntaxError: '(' was never closed"},
      {"\nimport nothing_of_that_name\n",
       "shop.py:2: ModuleNotFoundError: No module named 'nothing_of_that_name'"},
      {"x = 1\n", "shop.py: AttributeError: it defines no function handle(request)"},
      {"\ndef handle(request):\n    return {1}\n",
       "shop.py:2: TypeError: Object of type set is not JSON serializable"},
      {"def handle(request):\n    raise ValueError('two\\nlines')\n", "shop.py:2: ValueError: two"},
      {"def handle(request):\n    raise SystemExit(0)\n", "shop.py:2: SystemExit: 0"},
      {"def handle(request):\n    return input()\n", "shop.py:2: RuntimeError: input(): lost sys.stdin"},
      {"import json\n\ndef handle(request):\n    return json.loads(request)\n",
       "shop.py:4: json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"},
  };
  for (const Case& each : cases) {
    const ProcessResult result = run(each.source, {"x"});
    EXPECT_EQ(result.exit_code, 1) << each.source;
    EXPECT_EQ(last_line(result.err), each.last);
  }
}

TEST_F(PythonRunnerTest, ARequestThatIsNoTextIsAnError) {
  const ProcessResult result = run("def handle(request):\n    return 'x'\n", {"\xff"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(last_line(result.err), "shop.py:1: UnicodeDecodeError"));
}

// Method: what two processes draw of which the state was the same before the request.
TEST_F(PythonRunnerTest, RandomIsSeededAnewForEachRequest) {
  const std::string source =
      "import random\nrandom.seed(1)\ndef handle(request):\n    return random.random()\n";
  const std::string first = run(source, {"x"}).out;
  EXPECT_EQ(unframed(first).size(), 1U);
  EXPECT_NE(first, run(source, {"x"}).out);
}

TEST_F(PythonRunnerTest, ItIsAModuleOfTheNameHandler) {
  const ProcessResult result = run(R"(
import pickle, sys
class Thing: pass
def handle(request):
    thing = pickle.loads(pickle.dumps(Thing()))
    return f"{__name__} {type(thing) is Thing} {sys.modules['handler'].__file__} {sys.argv}"
)",
                                   {"x"});
  EXPECT_EQ(unframed(result.out), Texts{"handler True shop.py ['shop.py']"});
}

TEST_F(PythonRunnerTest, InputThatEndsInAMessageIsAnError) {
  Handler handler = read_handler(folder_.write("shop.py", "def handle(request): pass"), {}).value();
  Texts words = handler.world.args;
  words[0] = program_;
  const std::string input = framed(handler.setup) + framed("cut").substr(0, 6);
  const ProcessResult result = test::run_process(words, {.input_path = folder_.write("input", input)});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(result.err, "EOFError"));
}

// --- JavaScript -----------------------------------------------------------------------------------------

TEST_F(JavaScriptRunnerTest, AnswersTextBytesAndWhatJsonCanTell) {
  const ProcessResult result = run(R"(
export async function handle(request) {
  await null;
  return { text: request + request, bytes: new Uint8Array([255, 0]), json: { "é": [1, null] } }[request];
}
)",
                                   {"text", "bytes", "json", "nothing"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(unframed(result.out), (Texts{"texttext", std::string("\xff\0", 2), "{\"é\":[1,null]}", "null"}));
}

TEST_F(JavaScriptRunnerTest, AnyTextGoesThrough) {
  const Texts texts{
      "", "\n", "one\ntwo\r\n", "\xF0\x9F\x8D\x84", std::string(1, '\0'), std::string(3 << 20, 'x')};
  const ProcessResult result = run("export const handle = (request) => request;", texts);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(unframed(result.out), texts);
}

TEST_F(JavaScriptRunnerTest, EachErrorHasItsLine) {
  struct Case {
    const char* source;
    const char* last;
  };
  const Case cases[] = {
      {"let x = 1;\nexport function handle(r) { return 1+ }\n",
       "shop.js:2: SyntaxError: unexpected token in expression: '}'"},
      {"\nthrow new TypeError('early');\n", "shop.js:2: TypeError: early"},
      {"let x = 1;\n", "shop.js: Error: it exports no function handle(request)"},
      {"import { x } from 'y';\n", "shop.js: ReferenceError: could not load module 'y'"},
      {"export function handle(r) {\n  return r.x.y;\n}\n",
       "shop.js:2: TypeError: cannot read property 'y' of undefined"},
      {"export async function handle(r) {\n  await null;\n  throw new Error('two\\nlines');\n}\n",
       "shop.js:3: Error: two"},
      {"export function handle(r) { throw 3; }\n", "shop.js: 3"},
      {"export function handle(r) { return 1n; }\n",
       "shop.js: TypeError: BigInt are forbidden in JSON.stringify"},
      {"export function handle(r) { return new Promise(() => {}); }\n",
       "shop.js: a promise was never settled: there are no timers and no input here"},
  };
  for (const Case& each : cases) {
    const ProcessResult result = run(each.source, {"x"});
    EXPECT_EQ(result.exit_code, 1) << each.source;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(last_line(result.err), each.last);
  }
}

TEST_F(JavaScriptRunnerTest, WhatItLogsIsNoAnswer) {
  const ProcessResult result =
      run("console.log('loading', 1);\nexport const handle = () => { console.error('x'); return 'answer'; };",
          {"x"});
  EXPECT_EQ(unframed(result.out), Texts{"answer"});
  EXPECT_EQ(result.err, "loading 1\nx\n");
}

// --- files ----------------------------------------------------------------------------------------------

TEST(HandlerTest, TheEndingTellsTheLanguage) {
  EXPECT_EQ(language_of("a/b.py")->name, "python");
  EXPECT_EQ(language_of("b.js")->name, "javascript");
  for (const char* file : {"b.pl", "b.wasm", "py", ".py", "b.py.wat"})
    EXPECT_EQ(language_of(file), nullptr) << file;
  EXPECT_EQ(language_of("c.rb")->name, "ruby");
  const auto perl = find_language("perl");
  EXPECT_EQ(perl.code(), Code::kInvalidArgument);
  EXPECT_TRUE(has(perl.status().message(), "python, ruby, javascript"));
}

TEST(HandlerTest, FilesThatAreNoHandlersAreRefused) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_handler(folder.path() / "none.py", {}).code(), Code::kNotFound);
  EXPECT_EQ(read_handler(folder.write("a.pl", ""), {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(read_handler(folder.write("latin.py", "# \xE9\n"), {}).code(), Code::kInvalidArgument);
  EXPECT_EQ(read_handler(folder.write("long.py", std::string(kSourceBytesMax + 1, '#')), {}).code(),
            Code::kLimitExceeded);
  EXPECT_TRUE(read_handler(folder.write("long.py", std::string(kSourceBytesMax, '#')), {}).ok());
  const fs::path packages = folder.path() / "packages";
  fs::create_directory(packages);
  EXPECT_EQ(read_handler(folder.write("a.js", ""), {.site_packages = packages}).code(),
            Code::kInvalidArgument);
}

TEST(HandlerTest, PackagesWithNativeCodeAreRefusedByName) {
  const TemporaryFolder folder;
  const std::string file = folder.write("a.py", "");
  fs::create_directories(folder.path() / "packages/numpy/core");
  folder.write("packages/numpy/__init__.py", "");
  const fs::path packages = folder.path() / "packages";
  const Handler handler = read_handler(file, {.site_packages = packages}).value();
  ASSERT_EQ(handler.world.directories.size(), 1U);
  EXPECT_EQ(handler.world.directories[0].guest, "/site-packages");
  EXPECT_FALSE(handler.world.directories[0].writable);
  EXPECT_TRUE(has(handler.setup, "\"/site-packages\""));

  const std::string native = folder.write("packages/numpy/core/_x.cpython-312-x86_64-linux-gnu.so", "");
  const auto refused = read_handler(file, {.site_packages = packages});
  EXPECT_EQ(refused.code(), Code::kUnsupported);
  EXPECT_TRUE(has(refused.status().message(), "'numpy' has native code"));
  EXPECT_TRUE(has(refused.status().message(), "_x.cpython-312-x86_64-linux-gnu.so"));
  fs::remove(native);
  folder.write("packages/six-1.0-py3-none-any.whl", "");
  EXPECT_EQ(check_packages(packages).code(), Code::kUnsupported);
  EXPECT_EQ(check_packages(folder.path() / "none").code(), Code::kNotFound);
  EXPECT_EQ(check_packages(file).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spore::handler
