#include "spore/udf/function.h"

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/host/canonical.h"
#include "spore/udf/maker.h"
#include "spore/udf/registry.h"
#include "tests/guest_file.h"
#include "tests/udf_runtime.h"

namespace spore::udf {
namespace {

using host::WitArg;
using host::WitValue;

class UdfTest : public testing::Test {
 protected:
  Result<std::shared_ptr<const Function>> make(std::string_view name, std::string_view signature,
                                               std::string_view settings = "{}") {
    Definition definition{.name = std::string(name), .signature = std::string(signature)};
    EXPECT_TRUE(definition.apply_json(settings).ok()) << settings;
    return functions_.maker->make(definition, guest_);
  }
  std::shared_ptr<const Function> function(std::string_view name, std::string_view signature,
                                           std::string_view settings = "{}") {
    auto made = make(name, signature, settings);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return std::move(made).value();
  }
  // What a call gives as JSON, or its error.
  static std::string call(const Function& function, const std::vector<WitArg>& args,
                          const Document* document = nullptr) {
    WitValue result;
    const Status status = function.call(args, result, {.document = document});
    return status.ok() ? host::to_json(*function.signature().result, result) : std::string(status.message());
  }
  static WitArg s32(int32_t value) { return WitArg::number(static_cast<uint64_t>(int64_t{value})); }

  test::Functions functions_;
  std::vector<uint8_t> guest_ = test::guest("udf.wat");
};

TEST_F(UdfTest, CallsAndTellsWhatItIs) {
  const auto add = function("add", "func(a: s32, b: s32) -> s32");
  EXPECT_EQ(call(*add, {s32(40), s32(2)}), "42");
  EXPECT_EQ(call(*add, {s32(INT32_MIN), s32(-1)}), "2147483647");
  EXPECT_EQ(call(*add, {s32(1)}), "add takes 2 arguments, not 1: func(a: s32, b: s32) -> s32");
  EXPECT_EQ(call(*add, {s32(1), WitArg::number(1ULL << 40U)}),
            "argument 2 ('b'): 1099511627776 is outside of s32");
  JsonWriter json;
  json.begin_object();
  add->write_json(json);
  json.end_object();
  const std::string told = json.take();
  EXPECT_NE(told.find(R"("type": "func(a: s32, b: s32) -> s32")"), std::string::npos) << told;
  EXPECT_NE(told.find(R"("calls": 3)"), std::string::npos) << told;
}

TEST_F(UdfTest, EachCallFindsACleanInstance) {
  const auto calls = function("calls", "func() -> u32");
  EXPECT_EQ(call(*calls, {}), "1");
  EXPECT_EQ(call(*calls, {}), "1");
  const auto each = calls->begin({}, Isolation::kCall);
  const auto all = calls->begin({}, Isolation::kStatement);
  WitValue result;
  for (uint64_t i = 1; i <= 3; i++) {
    ASSERT_TRUE(each->call({}, result).ok());
    EXPECT_EQ(result.bits, 1U);
    ASSERT_TRUE(all->call({}, result).ok());
    EXPECT_EQ(result.bits, i);
  }
}

TEST_F(UdfTest, NumbersTakeTheShortWay) {
  const auto add = function("add", "func(a: s32, b: s32) -> s32");
  for (const Isolation isolation : {Isolation::kCall, Isolation::kStatement}) {
    const auto session = add->begin({}, isolation);
    ASSERT_TRUE(session->numbers());
    for (int32_t i = 0; i < 1000; i++) {
      std::array<engine::RawValue, 2> values{
          host::WitFunction::lower_number(wasm::WitKind::kS32, static_cast<uint64_t>(int64_t{i})),
          host::WitFunction::lower_number(wasm::WitKind::kS32, static_cast<uint64_t>(int64_t{-2 * i}))};
      ASSERT_TRUE(session->call_numbers(values.data(), values.size()));
      EXPECT_EQ(
          static_cast<int64_t>(host::WitFunction::lift_number(*add->signature().result, values[0]).value()),
          -i);
    }
  }
  EXPECT_EQ(add->statistics().calls.load(), 2000U);
  const auto calls = function("calls", "func() -> u32")->begin({});
  engine::RawValue one{.i64 = 0};
  ASSERT_TRUE(calls->call_numbers(&one, 0));
  EXPECT_EQ(one.i32, 1);
  EXPECT_GT(add->cost_ns(), 0);
}

TEST_F(UdfTest, AFailureWithinAStatementEndsItsInstance) {
  const auto trapping = function("trap_on_zero", "func(a: u32) -> u32", R"({"isolation":"statement"})");
  const auto session = trapping->begin({});
  for (int i = 0; i < 3; i++) {
    engine::RawValue value{.i64 = 4};
    ASSERT_TRUE(session->call_numbers(&value, 1));
    EXPECT_EQ(value.i32, 25);
    value.i64 = 0;
    ASSERT_FALSE(session->call_numbers(&value, 1));
    const Status status = session->take_failure();
    EXPECT_EQ(status.code(), Code::kTrap);
    EXPECT_NE(status.message().find("divide by zero"), std::string_view::npos) << status.message();
  }
}

TEST_F(UdfTest, WhatAGuestGivesIsChecked) {
  EXPECT_EQ(call(*function("not_utf8", "func(a: string) -> string"), {WitArg::string("a")}).find("UTF-8") !=
                std::string::npos,
            true);
  const std::string outside = call(*function("outside", "func(a: string) -> string"), {WitArg::string("a")});
  EXPECT_NE(outside.find("not inside the memory"), std::string::npos) << outside;
  EXPECT_NE(call(*function("large", "func(a: u32) -> string"), {s32(65 << 20)}).find("copy_bytes_max"),
            std::string::npos);
  // Each item takes 64 bytes here, and one there.
  EXPECT_NE(call(*function("large", "func(a: u32) -> list<bool>"), {s32(2 << 20)}).find("copy_bytes_max"),
            std::string::npos);
  EXPECT_NE(call(*function("unaligned", "func(a: u32) -> list<u32>"), {s32(0)}).find("aligned"),
            std::string::npos);
  const auto cases = function("case", "enum color { red, green } case: func(a: u32) -> color");
  EXPECT_EQ(call(*cases, {s32(1)}), R"("green")");
  EXPECT_NE(call(*cases, {s32(2)}).find("no case 2"), std::string::npos);
  const auto characters = function("case", "func(a: u32) -> char");
  EXPECT_EQ(call(*characters, {s32('x')}), R"("x")");
  EXPECT_NE(call(*characters, {s32(0xd800)}).find("no character"), std::string::npos);
  EXPECT_EQ(call(*function("case", "func(a: u32) -> bool"), {s32(256)}), "true");
  EXPECT_EQ(call(*function("case", "func(a: u32) -> s8"), {s32(255)}), "-1");
}

TEST_F(UdfTest, TextOfEveryKindCrosses) {
  const auto same = function("same", "func(a: string) -> string");
  std::string long_text(10 << 20, 'x');
  long_text += "\U0001F600";
  for (const std::string& text :
       {std::string(), std::string("a\0b", 3), std::string("Grüße \U0001F600"), long_text}) {
    WitValue result;
    const WitArg arg = WitArg::string(text);
    const Status status = same->call({&arg, 1}, result, {});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(result.text, text);
  }
  EXPECT_NE(call(*same, {WitArg::string("\xff")}).find("not UTF-8"), std::string::npos);
  EXPECT_EQ(call(*function("same", "func(a: bytes) -> bytes"), {WitArg::string("\xff\x01")}), R"("/wE=")");
}

TEST_F(UdfTest, AWrongSignatureIsRefusedWithBothTypes) {
  const auto refused = [&](std::string_view name, std::string_view signature) {
    const auto made = make(name, signature);
    EXPECT_FALSE(made.ok()) << signature;
    return std::string(made.ok() ? "" : made.status().message());
  };
  EXPECT_EQ(refused("add", "func(a: s32, b: f64) -> s32"),
            "add: the export 'add' is of type (i32, i32) -> i32, but func(a: s32, b: f64) -> s32 crosses as "
            "(i32, f64) -> i32");
  EXPECT_NE(refused("nothing", "func()").find("exports no 'nothing'"), std::string::npos);
  EXPECT_NE(refused("add", "func(a: s32").find("the signature"), std::string::npos);
  EXPECT_NE(refused("add", "func(a: strin) -> s32").find("strin"), std::string::npos);
  EXPECT_NE(refused("add", "").find("does not say"), std::string::npos);
  EXPECT_NE(refused("add", "async func(a: s32, b: s32) -> s32").find("async"), std::string::npos);
  EXPECT_NE(refused("9lives", "func()").find("no name"), std::string::npos);
}

TEST_F(UdfTest, OptionsMayBeLeftOutAndAListTakesTheRest) {
  const auto options = function("case", "func(a: u32) -> u32");
  EXPECT_EQ(options->arity().text(), "1");
  // Two parts, so three core values in all: a, and whether there is a b, and b.
  const std::string text = R"((module (func (export "pick") (param i32 i32 i32) (result i32)
      (select (local.get 2) (local.get 0) (local.get 1)))))";
  Definition definition{.name = "pick", .signature = "func(a: u32, b: option<u32>) -> u32"};
  const auto pick = functions_.maker->make(definition, test::wasm(text)).value();
  EXPECT_EQ(pick->arity().text(), "1 to 2");
  EXPECT_EQ(call(*pick, {s32(5)}), "5");
  const WitValue some = WitValue::some(WitValue::unsigned_integer(7));
  EXPECT_EQ(call(*pick, {s32(5), some}), "7");
  const auto same = function("same", "func(rest: list<u8>) -> list<u8>");
  EXPECT_EQ(same->arity().text(), "1");
  const auto words = function("same", "func(words: list<s32>) -> list<s32>", "{\"variadic\":true}");
  EXPECT_EQ(words->arity().text(), "0 or more");
  EXPECT_EQ(call(*words, {}), "[]");
  EXPECT_EQ(call(*words, {s32(1), s32(-2), s32(3)}), "[1,-2,3]");
}

TEST_F(UdfTest, DocumentsAreAskedForFields) {
  const auto amount = function("amount", "func() -> f64");
  EXPECT_TRUE(amount->reads_document());
  const JsonDocument document(R"({"price": {"amount": 12.5, "x": [1, {"y": "z"}]}, "name": "böll\n"})",
                              "id 1", 0.75);
  EXPECT_EQ(call(*amount, {}, &document), "12.5");
  EXPECT_EQ(call(*amount, {}), "-1.0");
  EXPECT_EQ(call(*function("name_of", "func() -> string"), {}, &document), R"("böll\n")");
  EXPECT_EQ(call(*function("scored", "func() -> f64"), {}, &document), "0.75");
  EXPECT_EQ(document.field("price.x[1].y").as_string(), "z");
  EXPECT_EQ(document.field("price.x[0]").as_f64(), 1.0);
  EXPECT_EQ(document.field("price.x[2]").kind, FieldValue::Kind::kAbsent);
  EXPECT_EQ(document.field("price.x").as_string(), R"([1, {"y": "z"}])");
  EXPECT_EQ(document.field_names(), (std::vector<std::string>{"price", "name"}));
  for (const std::string_view bad : {"", ".a", "a.", "a..b", "a[", "a[]", "a[x]", "a[1]b", "[-1]"}) {
    EXPECT_FALSE(FieldPath::parse(bad).ok()) << bad;
  }
}

// Goal: what a document gave is not looked at when it is gone.  Method: the guest's allocator asks for
// another field while room is made for the first.
TEST_F(UdfTest, AGuestMayAskAgainWhileItIsAnswered) {
  guest_ = test::wasm(R"((module
    (import "spore:document/fields" "get-string" (func $get (param i32 i32 i32)))
    (memory (export "memory") 16)
    (global $heap (mut i32) (i32.const 8192))
    (global $inside (mut i32) (i32.const 0))
    (data (i32.const 16) "ab")
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (if (i32.eqz (global.get $inside)) (then
        (global.set $inside (i32.const 1))
        (call $get (i32.const 17) (i32.const 1) (i32.const 600))
        (global.set $inside (i32.const 0))))
      (local.set $at (global.get $heap))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "name") (result i32)
      (call $get (i32.const 16) (i32.const 1) (i32.const 512))
      (i32.const 516))
    (func (export "long") (result f64)
      (call $get (i32.const 16) (i32.const 4097) (i32.const 512))
      (f64.const 0))))");
  const std::string a(1000, 'a');
  const std::string json = fmt::format(R"({{"a": "{}", "b": "{}"}})", a, std::string(100'000, 'b'));
  const JsonDocument document(json);
  EXPECT_EQ(call(*function("name", "func() -> string"), {}, &document), '"' + a + '"');
  EXPECT_EQ(
      call(*function("long", "func() -> f64"), {}, &document),
      "host function spore:document/fields.get-string: the name of a field of 4097 bytes (at most 4096)");
}

// Goal: a string is UTF-8, also where the document is not.
TEST_F(UdfTest, AFieldThatIsNotUtf8IsNoString) {
  const JsonDocument document("{\"a\": [\"\xff\"], \"b\": [\"x\"]}");
  EXPECT_FALSE(document.field("a").as_string().has_value());
  EXPECT_EQ(document.field("a").as_bytes(), "[\"\xff\"]");
  EXPECT_EQ(document.field("b").as_string(), "[\"x\"]");
}

// Goal: a hostile result takes no more memory here than copy_bytes_max.  Method: records whose values take 64
// times as much here as there.
TEST_F(UdfTest, WhatAResultTakesHereCounts) {
  std::string many = "u8";
  for (int i = 1; i < 100; i++) many += ", u8";
  const auto rows = function("large", fmt::format("func(a: u32) -> list<tuple<{}>>", many),
                             R"({"copy_bytes_max":10000000})");
  // 100 + 101 * sizeof(WitValue) bytes each.
  EXPECT_EQ(call(*rows, {s32(1000)}).find("copy_bytes_max"), std::string::npos);
  EXPECT_NE(call(*rows, {s32(2000)}).find("copy_bytes_max=10000000"), std::string::npos);
}

TEST_F(UdfTest, AResultIsWrittenOver) {
  WitValue result = WitValue::list({WitValue::integer(1), WitValue::string("x")});
  const auto nothing = function("case", "func(a: u32) -> result");
  const WitArg arg = s32(1);
  ASSERT_TRUE(nothing->call({&arg, 1}, result, {}).ok());
  EXPECT_EQ(host::to_json(*nothing->signature().result, result), R"({"err":null})");
}

TEST_F(UdfTest, BatchesGoInOneCrossingAndRowsFailAlone) {
  const auto add = function("add", "func(a: s32, b: s32) -> s32");
  std::vector<WitArg> args;
  for (int i = 1; i <= 1000; i++) args.insert(args.end(), {s32(i), s32(-2 * i)});
  std::vector<Result<WitValue>> results;
  add->call_batch({args, 1000}, results, {});
  ASSERT_EQ(results.size(), 1000U);
  for (int i = 1; i <= 1000; i++) EXPECT_EQ(results[static_cast<size_t>(i - 1)].value().as_s64(), -i);
  // As a whole it fails, as the export for batches traps at two zeros; one by one it does not.
  args[20] = args[21] = s32(0);
  add->call_batch({args, 1000}, results, {});
  ASSERT_EQ(results.size(), 1000U);
  EXPECT_EQ(results[10].value().as_s64(), 0);
  const auto trapping = function("trap_on_zero", "func(a: u32) -> u32");
  const std::vector<WitArg> three{s32(5), s32(0), s32(10)};
  trapping->call_batch({three, 3}, results, {});
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].value().bits, 20U);
  EXPECT_EQ(results[1].status().code(), Code::kTrap);
  EXPECT_EQ(results[2].value().bits, 10U);
  trapping->call_batch({}, results, {});
  EXPECT_TRUE(results.empty());
}

TEST_F(UdfTest, GroupsKeepTheirStateToThemselves) {
  const auto total = function("total", "func(x: f64) -> f64", R"({"kind":"aggregate"})");
  auto a = total->begin_group({}).value();
  auto b = total->begin_group({}).value();
  for (int i = 1; i <= 10; i++) {
    const WitValue one = WitValue::f64(i);
    const WitValue two = WitValue::f64(10 * i);
    const WitArg first(one);
    const WitArg second(two);
    ASSERT_TRUE(a->step({&first, 1}).ok());
    ASSERT_TRUE(b->step({&second, 1}).ok());
  }
  WitValue result;
  ASSERT_TRUE(a->finish(result).ok());
  EXPECT_EQ(result.as_f64(), 55);
  ASSERT_TRUE(b->finish(result).ok());
  EXPECT_EQ(result.as_f64(), 550);
  EXPECT_FALSE(function("add", "func(a: s32, b: s32) -> s32")->begin_group({}).ok());
  auto c = total->begin_group({}).value();
  EXPECT_EQ(c->step({}).message(), "total takes 1 argument, not 0: func(x: f64) -> f64");
}

TEST_F(UdfTest, LimitsAreTheFunctionsOwn) {
  const auto loop = function("loop", "func(a: u32) -> u32", R"({"deadline_ms":30})");
  EXPECT_NE(call(*loop, {s32(1)}).find("deadline_ms=30"), std::string::npos);
  const auto fill = function("fill", "func(a: u32) -> u32", R"({"memory_bytes_max":1048576})");
  EXPECT_EQ(call(*fill, {s32(1)}), "2");
  const auto copies = function("same", "func(a: string) -> string", R"({"copy_bytes_max":1000})");
  EXPECT_NE(call(*copies, {WitArg::string(std::string(1001, 'x'))}).find("copy_bytes_max=1000"),
            std::string::npos);
}

TEST_F(UdfTest, AWatchEndsACall) {
  const auto loop = function("loop", "func(a: u32) -> u32");
  static std::atomic<int> asked{0};
  const Watch watch{
      .wants_end = [](void* data) noexcept { return asked.fetch_add(1) >= *static_cast<int*>(data); },
      .data = nullptr};
  int patience = 20;
  Watch mine = watch;
  mine.data = &patience;
  for (const Isolation isolation : {Isolation::kCall, Isolation::kStatement}) {
    asked = 0;
    const auto session = loop->begin(mine, isolation);
    WitValue result;
    const WitArg arg = s32(1);
    const Status status = session->call({&arg, 1}, result);
    EXPECT_EQ(status.code(), Code::kCancelled) << status.message();
    EXPECT_EQ(asked.load(), patience + 1);
  }
}

TEST_F(UdfTest, ResultsOfPureCallsAreKept) {
  const auto calls = function("same", "func(a: string) -> string", R"({"pure":true,"memo":true})");
  EXPECT_EQ(call(*calls, {WitArg::string("a")}), R"("a")");
  EXPECT_EQ(call(*calls, {WitArg::string("a")}), R"("a")");
  EXPECT_EQ(call(*calls, {WitArg::string("b")}), R"("b")");
  EXPECT_EQ(calls->statistics().memo_hits.load(), 1U);
  EXPECT_EQ(functions_.maker->memo()->statistics().entries, 2U);
  EXPECT_FALSE(make("same", "func(a: string) -> string", R"({"memo":true})").ok());
  // Of one document nothing is told for another.
  const auto amount = function("amount", "func() -> f64", R"({"pure":true,"memo":true})");
  const JsonDocument one(R"({"price": {"amount": 1}})");
  const JsonDocument two(R"({"price": {"amount": 2}})");
  EXPECT_EQ(call(*amount, {}, &one), "1.0");
  EXPECT_EQ(call(*amount, {}, &two), "2.0");
  EXPECT_EQ(call(*amount, {}), "-1.0");
}

TEST_F(UdfTest, ManyThreadsCallAtOnce) {
  const auto same = function("same", "func(a: string) -> string");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; i++) {
        const std::string text = std::to_string(t * 1000 + i);
        if (call(*same, {WitArg::string(text)}) != "\"" + text + "\"") wrong++;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

class RegistryTest : public UdfTest {
 protected:
  Result<std::shared_ptr<const Function>> add(Registry& registry, std::string_view name,
                                              std::string_view signature, Replace replace = Replace::kNo) {
    return registry.add({.name = std::string(name), .signature = std::string(signature)}, guest_, replace);
  }
  test::TemporaryFolder folder_;
};

TEST_F(RegistryTest, NamesAreKeptInADirectory) {
  {
    const auto registry = Registry::open(*functions_.maker, folder_.path()).value();
    ASSERT_TRUE(add(*registry, "add", "func(a: s32, b: s32) -> s32").ok());
    ASSERT_TRUE(add(*registry, "half", "func(a: f64) -> f64").ok());
    EXPECT_EQ(add(*registry, "half", "func(a: f64) -> f64").code(), Code::kAlreadyExists);
    EXPECT_FALSE(add(*registry, "wrong", "func(a: f64) -> f64").ok());
    ASSERT_TRUE(registry->enable("half", false).ok());
    EXPECT_EQ(registry->find("half").code(), Code::kUnavailable);
  }
  const auto registry = Registry::open(*functions_.maker, folder_.path()).value();
  EXPECT_EQ(functions_.runtime->list_modules().size(), 0U);  // each is made when it is asked for
  EXPECT_EQ(registry->list().size(), 2U);
  EXPECT_EQ(registry->list("a?d").size(), 1U);
  EXPECT_EQ(registry->list("*x*").size(), 0U);
  EXPECT_EQ(call(*registry->find("add").value(), {s32(1), s32(2)}), "3");
  EXPECT_EQ(registry->find("half").code(), Code::kUnavailable);
  EXPECT_EQ(registry->find("ad").status().message(), "there is no function 'ad' (there is 'add')");
  ASSERT_TRUE(registry->remove("half").ok());
  EXPECT_EQ(registry->remove("half").code(), Code::kNotFound);
  EXPECT_EQ(Registry::open(*functions_.maker, folder_.path()).value()->list().size(), 1U);
}

TEST_F(RegistryTest, CallsInFlightGoOnWithWhatWasReplaced) {
  Registry registry(*functions_.maker);
  ASSERT_TRUE(add(registry, "case", "func(a: u32) -> u32").ok());
  const auto session = registry.find("case").value()->begin({}, Isolation::kStatement);
  ASSERT_TRUE(add(registry, "case", "func(a: u32) -> s8", Replace::kYes).ok());
  WitValue result;
  const WitArg arg = s32(255);
  ASSERT_TRUE(session->call({&arg, 1}, result).ok());
  EXPECT_EQ(result.bits, 255U);
  EXPECT_EQ(call(*registry.find("case").value(), {arg}), "-1");
  ASSERT_TRUE(registry.remove("case").ok());
  ASSERT_TRUE(session->call({&arg, 1}, result).ok());
}

TEST_F(RegistryTest, DamagedFilesAreToldAndNothingElseIsLost) {
  {
    const auto registry = Registry::open(*functions_.maker, folder_.path()).value();
    ASSERT_TRUE(add(*registry, "add", "func(a: s32, b: s32) -> s32").ok());
    ASSERT_TRUE(registry
                    ->add({.name = "one", .signature = "func() -> u32"},
                          test::wasm(R"((module (func (export "one") (result i32) (i32.const 1))))"))
                    .ok());
  }
  const auto file = folder_.path() / "sources" / sha256(guest_).hex();
  ASSERT_TRUE(write_file(file, std::vector<uint8_t>{1, 2, 3}).ok());
  const auto registry = Registry::open(*functions_.maker, folder_.path()).value();
  std::vector<Registry::Broken> broken;
  EXPECT_EQ(registry->list("*", &broken).size(), 1U);
  ASSERT_EQ(broken.size(), 1U);
  EXPECT_EQ(broken[0].name, "add");
  EXPECT_EQ(broken[0].why, "add: its source is not as it was kept");
  EXPECT_EQ(registry->find("add").code(), Code::kCorruption);
  EXPECT_TRUE(registry->find("one").ok());
  ASSERT_TRUE(add(*registry, "add", "func(a: s32, b: s32) -> s32", Replace::kYes).ok());
  EXPECT_TRUE(Registry::open(*functions_.maker, folder_.path()).value()->find("add").ok());
  folder_.write("functions.json", "{\"format\": 2, \"functions\": []}");
  EXPECT_EQ(Registry::open(*functions_.maker, folder_.path()).code(), Code::kUnsupported);
  folder_.write("functions.json", "{\"format\": 1, \"functions\": [");
  EXPECT_EQ(Registry::open(*functions_.maker, folder_.path()).code(), Code::kCorruption);
}

}  // namespace
}  // namespace spore::udf
