// Functions that are source text.  tools/guests.sh has built the runtimes; the first freeze of one rewrites
// it.
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/udf/maker.h"
#include "tests/guest_file.h"
#include "tests/sanitizers.h"
#include "tests/udf_runtime.h"

namespace spore::udf {
namespace {

using host::WitArg;
using host::WitValue;

constexpr std::string_view kPython = R"(import re
import spore

seen = []

def words(text, least=1):
    return [word for word in re.findall(r"\w+", text) if len(word) >= least]

def share(text, of):
    if not text:
        raise ValueError("nothing there")
    seen.append(text)
    return len(seen) * len(text) / of

def swapped(data):
    assert isinstance(data, bytes)
    return data[::-1]

def price(base):
    amount = spore.document.get_f64("price.amount")
    tag = spore.document.get_string("tags[0]")
    return (base if amount is None else amount) * (0.5 if tag == "sale" else 1)

total = 0
def sum_step(x):
    global total
    total += x
def sum_finish():
    return total

def most_step(least, more):
    global total
    total = max([total, least] + more)
def most_finish():
    return total

def forever(x):
    while True:
        pass

def sleeps(x):
    import time
    time.sleep(60)

def quits(x):
    import os
    os._exit(3)

def wrong(x):
    return object()
)";

class ProgramFunctionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized_) GTEST_SKIP() << "takes too long under sanitizers";
    if (!std::filesystem::exists(SPORE_SOURCE_DIR "/build/guests/python.wasm")) {
      GTEST_SKIP() << "tools/guests.sh has not built python.wasm";
    }
    if (!std::filesystem::exists("/usr/bin/wasm-opt"))
      GTEST_SKIP() << "there is no wasm-opt: install binaryen";
  }
  Result<std::shared_ptr<const Function>> make(std::string_view name, std::string_view signature,
                                               std::string_view settings = "{}",
                                               std::string_view source = kPython,
                                               std::string_view language = "python") {
    Definition definition{
        .name = std::string(name), .language = std::string(language), .signature = std::string(signature)};
    EXPECT_TRUE(definition.apply_json(settings).ok());
    return functions_.maker->make(definition,
                                  {reinterpret_cast<const uint8_t*>(source.data()), source.size()});
  }
  static std::string call(const Function& function, const std::vector<WitArg>& args,
                          const Document* document = nullptr) {
    WitValue result;
    const Status status = function.call(args, result, {.document = document});
    return status.ok() ? host::to_json(*function.signature().result, result) : std::string(status.message());
  }

  static constexpr bool kSanitized_ = test::kSanitized;
  test::Functions functions_;
};

TEST_F(ProgramFunctionTest, PythonCallsAreClean) {
  const auto share = make("share", "func(text: string, of: f64) -> f64").value();
  const WitValue two = WitValue::f64(2);
  EXPECT_EQ(call(*share, {WitArg::string("abc"), two}), "1.5");
  EXPECT_EQ(call(*share, {WitArg::string("abc"), two}), "1.5");  // `seen` is empty again
  EXPECT_EQ(call(*share, {WitArg::string(""), two}), "share.py:11: ValueError: nothing there");
  EXPECT_EQ(call(*share, {WitArg::string(std::string_view("\n\"\0x", 4)), two}), "2.0");
  WitValue result;
  const std::vector<WitArg> args{WitArg::string(""), two};
  const Status status = share->call(args, result, {});
  EXPECT_NE(status.detail().find("Traceback"), std::string_view::npos) << status.detail();
  EXPECT_NE(status.detail().find("raise ValueError"), std::string_view::npos) << status.detail();
}

TEST_F(ProgramFunctionTest, TypesGoAsJson) {
  const auto words = make("words", "func(text: string, least: option<u32>) -> list<string>").value();
  EXPECT_EQ(call(*words, {WitArg::string("one of them")}), R"(["one","of","them"])");
  EXPECT_EQ(call(*words, {WitArg::string("one of them"), WitValue::some(WitValue::unsigned_integer(4))}),
            R"(["them"])");
  EXPECT_EQ(call(*make("swapped", "func(data: bytes) -> bytes").value(),
                 {WitArg::string(std::string("\xff\0\x01", 3))}),
            R"("AQD/")");
  EXPECT_EQ(call(*make("share", "func(text: string, of: f64) -> u8").value(),
                 {WitArg::string("abc"), WitValue::f64(2)}),
            "it gave 1.5, which is no u8 (expected a number in the range of u8 at byte 3)");
  EXPECT_NE(call(*make("wrong", "func(x: u8) -> u8").value(), {WitArg::number(1)}).find("no JSON"),
            std::string::npos);
}

TEST_F(ProgramFunctionTest, BatchesGoInOneRequest) {
  const auto share = make("share", "func(text: string, of: f64) -> f64").value();
  const WitValue two = WitValue::f64(2);
  const std::vector<WitArg> args{WitArg::string("a"),    two, WitArg::string(""), two,
                                 WitArg::string("abcd"), two};
  std::vector<Result<WitValue>> results;
  share->call_batch({args, 3}, results, {});
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].value().as_f64(), 0.5);
  EXPECT_EQ(results[1].status().message(), "share.py:11: ValueError: nothing there");
  EXPECT_EQ(results[2].value().as_f64(), 4);  // rows of a batch share an instance: `seen` has two
  // What ends the program in a batch ends the batch; each row is told by itself then.
  const auto quits = make("quits", "func(x: u8) -> u8").value();
  const std::vector<WitArg> two_rows{WitArg::number(1), WitArg::number(2)};
  quits->call_batch({two_rows, 2}, results, {});
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1].status().message(), "it ended with exit code 3");
}

TEST_F(ProgramFunctionTest, DocumentsAndGroups) {
  const auto price = make("price", "func(base: f64) -> f64").value();
  EXPECT_TRUE(price->reads_document());
  const JsonDocument document(R"({"price":{"amount":8},"tags":["sale"]})");
  EXPECT_EQ(call(*price, {WitValue::f64(5)}, &document), "4.0");
  EXPECT_EQ(call(*price, {WitValue::f64(5)}), "5.0");
  const auto sum = make("sum", "func(x: s64) -> s64", R"({"kind":"aggregate"})").value();
  auto group = sum->begin_group({}).value();
  auto other = sum->begin_group({}).value();
  for (int64_t i = 1; i <= 5; i++) {
    const WitArg arg = WitArg::number(static_cast<uint64_t>(i));
    ASSERT_TRUE(group->step({&arg, 1}).ok());
  }
  WitValue result;
  ASSERT_TRUE(group->finish(result).ok());
  EXPECT_EQ(result.as_s64(), 15);
  ASSERT_TRUE(other->finish(result).ok());
  EXPECT_EQ(result.as_s64(), 0);
  // More arguments than there are parameters.
  const auto most =
      make("most", "func(least: s64, more: list<s64>) -> s64", R"({"kind":"aggregate","variadic":true})")
          .value();
  auto third = most->begin_group({}).value();
  const std::vector<WitArg> args{WitArg::number(1), WitArg::number(2), WitArg::number(7), WitArg::number(3)};
  ASSERT_TRUE(third->step(args).ok());
  ASSERT_TRUE(third->step(std::span(args).first(1)).ok());
  EXPECT_EQ(third->step({}).code(), Code::kInvalidArgument);
  ASSERT_TRUE(third->finish(result).ok());
  EXPECT_EQ(result.as_s64(), 7);
}

TEST_F(ProgramFunctionTest, WhatIsWrongIsToldWhenItIsMade) {
  const auto refused = [&](std::string_view name, std::string_view signature,
                           std::string_view source = kPython) {
    const auto made = make(name, signature, "{}", source);
    EXPECT_FALSE(made.ok()) << name;
    return std::string(made.ok() ? "" : made.status().message());
  };
  EXPECT_NE(refused("nothing", "func() -> u8").find("it defines no function nothing"), std::string::npos);
  EXPECT_NE(
      refused("share", "func(text: string) -> f64").find("share takes 2 arguments, its signature has 1"),
      std::string::npos);
  EXPECT_EQ(refused("f", "func() -> u8", "def f():\n    return (\n"),
            "f: f.py:2: SyntaxError: '(' was never closed");
  EXPECT_EQ(refused("f", "func() -> u8", "import numpy\n"),
            "f: f.py:1: ModuleNotFoundError: No module named 'numpy'");
  EXPECT_NE(refused("f", "").find("needs a signature"), std::string::npos);
}

TEST_F(ProgramFunctionTest, EndlessLoopsEnd) {
  const auto forever = make("forever", "func(x: u8) -> u8", R"({"deadline_ms":100})").value();
  EXPECT_NE(call(*forever, {WitArg::number(1)}).find("deadline_ms=100"), std::string::npos);
  const auto again = make("forever", "func(x: u8) -> u8").value();
  int patience = 20;
  const Watch watch{.wants_end = [](void* data) noexcept { return --*static_cast<int*>(data) < 0; },
                    .data = &patience};
  WitValue result;
  const WitArg arg = WitArg::number(1);
  EXPECT_EQ(again->begin(watch)->call({&arg, 1}, result).code(), Code::kCancelled);
  // Also one that waits.
  patience = 20;
  const auto sleeps = make("sleeps", "func(x: u8) -> u8").value();
  EXPECT_EQ(sleeps->begin(watch)->call({&arg, 1}, result).code(), Code::kCancelled);
}

// A program that writes back what it reads: the array of its arguments.
constexpr std::string_view kEcho = R"((module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $next
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 4096))
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)) (then unreachable))
      (if (i32.eqz (i32.load (i32.const 4))) (then return))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
      (br $next)))))";

TEST_F(ProgramFunctionTest, AnyProgramThatReadsLinesIsAFunction) {
  const auto wasm = test::wasm(kEcho);
  Definition definition{
      .name = "both", .language = "program", .signature = "func(a: string, b: u8) -> tuple<string, u8>"};
  const auto both = functions_.maker->make(definition, wasm);
  ASSERT_TRUE(both.ok()) << both.status().message();
  const size_t modules = functions_.runtime->list_modules().size();
  EXPECT_EQ(call(*both.value(), {WitArg::string("é\n"), WitArg::number(7)}), R"(["é\n",7])");
  {
    definition.name = "other";
    const auto other = functions_.maker->make(definition, wasm);
    ASSERT_TRUE(other.ok()) << other.status().message();
    EXPECT_EQ(functions_.runtime->list_modules().size(), modules + 1);
  }
  EXPECT_EQ(functions_.runtime->list_modules().size(), modules);
}

TEST_F(ProgramFunctionTest, OtherLanguagesHandleJson) {
  const auto script = make("longer", "func(a: string, b: string) -> string", "{}",
                           "export function handle(request) {\n"
                           "  const [a, b] = JSON.parse(request);\n"
                           "  if (a === b) throw new Error(`both are ${a}`);\n"
                           "  return JSON.stringify(a.length > b.length ? a : b);\n}\n",
                           "javascript");
  ASSERT_TRUE(script.ok()) << script.status().message();
  EXPECT_EQ(call(*script.value(), {WitArg::string("aaa"), WitArg::string("bb")}), R"("aaa")");
  EXPECT_EQ(call(*script.value(), {WitArg::string("a"), WitArg::string("a")}),
            "longer.js:3: Error: both are a");
}

}  // namespace
}  // namespace spore::udf
