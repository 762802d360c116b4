#include "spore/host/function.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/host/instance.h"
#include "tests/host_guest.h"

namespace spore::host {
namespace {

using engine::Tier;
using test::guest;
using test::host_guest;

// Both tiers: the same guest, the same answer.
class FunctionTest : public testing::TestWithParam<Tier> {
 protected:
  static Instance make(std::span<const uint8_t> module, const engine::Limits& limits = {}) {
    return host_guest(module, {.limits = limits, .engine = {.tier = GetParam()}});
  }
  static Instance make(std::string_view text, const engine::Limits& limits = {}) {
    return make(test::wasm(text), limits);
  }
  static Instance echo() { return make(guest("echo.wat")); }
  static Instance text(const engine::Limits& limits = {}) { return make(guest("text.wat"), limits); }
};
INSTANTIATE_TEST_SUITE_P(Tiers, FunctionTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(engine::tier_name(tier.param)); });

using TextTest = FunctionTest;
INSTANTIATE_TEST_SUITE_P(Tiers, TextTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(engine::tier_name(tier.param)); });

using DynamicTest = FunctionTest;
INSTANTIATE_TEST_SUITE_P(Tiers, DynamicTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(engine::tier_name(tier.param)); });

Signature signature(std::string_view text) { return Signature::parse(text).value(); }

// --- numbers ------------------------------------------------------------------------------------------

template <typename T>
void expect_echoed(const Instance& instance, std::string_view name, std::initializer_list<T> values) {
  const auto function = instance.function<T(T)>(name).value();
  for (const T value : values) EXPECT_EQ(function(value).value(), value);
}

TEST_P(FunctionTest, IntegersCrossWhole) {
  const Instance instance = echo();
  expect_echoed<int32_t>(instance, "i32", {0, -1, std::numeric_limits<int32_t>::min(), 2147483647});
  expect_echoed<uint32_t>(instance, "i32", {0, 1, 0x80000000, 0xFFFFFFFF});
  expect_echoed<int64_t>(instance, "i64", {0, -1, std::numeric_limits<int64_t>::min(), 1LL << 40});
  expect_echoed<uint64_t>(instance, "i64", {0, 1ULL << 63, std::numeric_limits<uint64_t>::max()});
}

// To the bit, signs of zeros and payloads of NaNs included: local.get is no arithmetic.
TEST_P(FunctionTest, FloatsCrossToTheBit) {
  const Instance instance = echo();
  const auto f32 = instance.function<float(float)>("f32").value();
  for (const uint32_t bits : {0u, 0x80000000u, 0x3F800000u, 0x7F800000u, 0x00000001u, 0x7FC00001u}) {
    EXPECT_EQ(std::bit_cast<uint32_t>(f32(std::bit_cast<float>(bits)).value()), bits);
  }
  const auto f64 = instance.function<double(double)>("f64").value();
  for (const uint64_t bits :
       {0ull, 1ull << 63, 0x3FF0000000000000ull, 0xFFF0000000000000ull, 1ull, 0x7FF8000000000001ull}) {
    EXPECT_EQ(std::bit_cast<uint64_t>(f64(std::bit_cast<double>(bits)).value()), bits);
  }
}

// A guest's bool is any i32 but 0; the host's is 0 or 1.
TEST_P(FunctionTest, BoolsCrossAsI32) {
  const Instance instance = echo();
  const auto give = instance.function<int32_t(bool)>("i32").value();
  EXPECT_EQ(give(true).value(), 1);
  EXPECT_EQ(give(false).value(), 0);
  const auto take = instance.function<bool(int32_t)>("i32").value();
  EXPECT_EQ(take(0).value(), false);
  for (const int32_t truth : {1, 2, -1, 256, std::numeric_limits<int32_t>::min()}) {
    EXPECT_EQ(take(truth).value(), true) << truth;
  }
}

TEST_P(FunctionTest, ArgumentsKeepTheirOrder) {
  const Instance instance = make(guest("numbers.wat"));
  const auto mix = instance.function<double(int32_t, int64_t, float, double)>("mix").value();
  EXPECT_EQ(mix(-1, 10, 100.5f, 1000.25).value(), 1109.75);
  const auto scale = instance.function<double(int32_t, double)>("scale").value();
  EXPECT_EQ(scale(-3, 0.5).value(), -1.5);
}

TEST_P(FunctionTest, NothingCrossesToo) {
  const Instance instance = make(guest("numbers.wat"));
  const auto nothing = instance.function<void()>("nothing").value();
  EXPECT_TRUE(nothing().ok());
  const auto bump = instance.function<int32_t()>("bump").value();
  EXPECT_EQ(bump().value(), 1);
  EXPECT_EQ(bump().value(), 2);  // the guest's state stays from call to call
}

TEST_P(FunctionTest, SixteenArgumentsAreTheMost) {
  const Instance instance = make(R"((module
    (func (export "last") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.sub (local.get 15) (local.get 0)))))");
  const auto last =
      instance.function<int32_t(int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t,
                                int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t)>(
          "last");
  EXPECT_EQ(last.value()(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16).value(), 15);
}

TEST_P(FunctionTest, AnotherTypeIsRefusedWithBoth) {
  const Instance instance = make(guest("numbers.wat"));
  const auto expect_both = [](const auto& function, std::string_view asked) {
    EXPECT_EQ(function.code(), Code::kInvalidArgument);
    EXPECT_EQ(function.status().message(),
              fmt::format("the function 'add' is of type (i32, i32) -> i32, asked for is {}", asked));
  };
  expect_both(instance.function<int32_t(int32_t)>("add"), "(i32) -> i32");
  expect_both(instance.function<int32_t(int32_t, int32_t, int32_t)>("add"), "(i32, i32, i32) -> i32");
  expect_both(instance.function<int32_t(int32_t, int64_t)>("add"), "(i32, i64) -> i32");
  expect_both(instance.function<int64_t(int32_t, int32_t)>("add"), "(i32, i32) -> i64");
  expect_both(instance.function<void(int32_t, int32_t)>("add"), "(i32, i32) -> ()");
  expect_both(instance.function<float(double, float)>("add"), "(f64, f32) -> f32");
  EXPECT_TRUE((instance.function<uint32_t(bool, int32_t)>("add").ok()));
}

TEST_P(FunctionTest, AMissingFunctionIsToldWithThoseThereAre) {
  const Instance instance =
      make("(module (func (export \"a\")) (func (export \"b\")) (memory (export \"m\") 1))");
  for (const std::string_view name : {"c", "", "A", "m"}) {
    const auto function = instance.function<void()>(name);
    EXPECT_EQ(function.code(), Code::kNotFound);
    EXPECT_EQ(function.status().message(),
              fmt::format("no exported function '{}' (there are: 'a', 'b')", name));
  }
  EXPECT_EQ(make("(module)").function<void()>("c").status().message(),
            "no exported function 'c' (there are: none)");
}

// A module with thousands of exports must not make a message of thousands.
TEST_P(FunctionTest, TheListOfFunctionsIsCut) {
  std::string module = "(module";
  for (int i = 0; i < 1000; i++) module += fmt::format(" (func (export \"function_{}\"))", i);
  const auto function = make(module + ")").function<void()>("missing");
  const std::string_view message = function.status().message();
  EXPECT_LT(message.size(), 500u);
  EXPECT_TRUE(message.ends_with(", ...)")) << message;
}

TEST_P(FunctionTest, SurvivesTheMoveOfItsInstance) {
  Instance instance = echo();
  const auto function = instance.function<int32_t(int32_t)>("i32").value();
  const Instance moved = std::move(instance);
  EXPECT_EQ(function(5).value(), 5);
}

// After a trap the same instance can be called again.
TEST_P(FunctionTest, ATrapIsAnErrorAndTheNextCallWorks) {
  const Instance instance = make(R"((module
    (func $divide (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))))");
  const auto divide = instance.function<int32_t(int32_t, int32_t)>("divide").value();
  const auto trapped = divide(1, 0);
  EXPECT_EQ(trapped.code(), Code::kTrap);
  EXPECT_TRUE(trapped.status().message().starts_with("the guest trapped: integer divide by zero"));
  EXPECT_FALSE(instance.retired());
  EXPECT_EQ(divide(6, 3).value(), 2);
}

// --- text ---------------------------------------------------------------------------------------------

TEST_P(TextTest, TextGoesInAndComesOut) {
  const Instance instance = text();
  const auto upper = instance.function<std::string(std::string_view)>("upper").value();
  EXPECT_EQ(upper("").value(), "");
  EXPECT_EQ(upper("a").value(), "A");
  EXPECT_EQ(upper(std::string(64, 'x')).value(), std::string(64, 'X'));
  EXPECT_EQ(upper("gr\u00fcezi \U0001F600").value(), "GR\u00fcEZI \U0001F600");
  EXPECT_EQ(upper(std::string_view("a\0b", 3)).value(), std::string("A\0B", 3));
  const auto length = instance.function<int32_t(std::string_view)>("length").value();
  EXPECT_EQ(length("gr\u00fcezi").value(), 7);
}

TEST_P(TextTest, StdStringIsTextToo) {
  const Instance instance = text();
  const auto upper = instance.function<std::string(std::string)>("upper").value();
  EXPECT_EQ(upper(std::string("abc")).value(), "ABC");
}

// The guest's heap has room for one of these: the second call works only if the first one's text was freed.
TEST_P(TextTest, AMebibyteGoesThroughAndIsFreed) {
  const Instance instance = text();
  const auto upper = instance.function<std::string(std::string_view)>("upper").value();
  const std::string large(1 << 20, 'y');
  const std::string expected(1 << 20, 'Y');
  for (int i = 0; i < 3; i++) EXPECT_EQ(upper(large).value(), expected);
}

// What fits into the guest's memory behind its heap's begin, and one byte more.
TEST_P(TextTest, TheGuestsMemoryIsTheLimit) {
  constexpr size_t kRoom = 17 * 65536 - 4096;
  {
    const Instance instance = text();
    const auto length = instance.function<int32_t(std::string_view)>("length").value();
    EXPECT_EQ(length(std::string(kRoom, 'x')).value(), static_cast<int32_t>(kRoom));
  }
  const Instance instance = text();
  const auto above =
      instance.function<int32_t(std::string_view)>("length").value()(std::string(kRoom + 1, 'x'));
  EXPECT_EQ(above.code(), Code::kTrap);
  EXPECT_EQ(above.status().message(), fmt::format("the guest gave an invalid result: {} bytes at guest "
                                                  "address 0x1000 are not inside the memory of {} bytes",
                                                  kRoom + 1, 17 * 65536));
  EXPECT_FALSE(instance.retired());
}

TEST_P(TextTest, NumbersAndTextsMix) {
  const Instance instance = make(R"((module
    (memory (export "memory") 1)
    (global $heap (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $heap)
      (global.set $heap (i32.add (global.get $heap) (local.get 3))))
    ;; The first byte of the first text, the last of the second, and the numbers: 'a' 'z' 1 2.
    (func (export "mix") (param $one i64) (param $a i32) (param $as i32) (param $two f64) (param $b i32) (param $bs i32)
        (result i32)
      (i32.add
        (i32.add (i32.mul (i32.load8_u (local.get $a)) (i32.const 1000000))
                 (i32.mul (i32.load8_u (i32.sub (i32.add (local.get $b) (local.get $bs)) (i32.const 1)))
                          (i32.const 1000)))
        (i32.add (i32.mul (i32.wrap_i64 (local.get $one)) (i32.const 10)) (i32.trunc_f64_s (local.get $two)))))))");
  const auto mix =
      instance.function<int32_t(int64_t, std::string_view, double, std::string_view)>("mix").value();
  EXPECT_EQ(mix(1, "abc", 2.0, "xyz").value(), 97'122'012);
}

// Four answers that a hostile guest could give; each time the instance is as good as before.
TEST_P(TextTest, ResultsOutsideTheMemoryAreRefused) {
  const Instance instance = text();
  const auto ask = [&](std::string_view name) {
    return instance.function<std::string(std::string_view)>(name).value()("x");
  };
  const auto outside = ask("outside");
  EXPECT_EQ(outside.code(), Code::kTrap);
  EXPECT_EQ(outside.status().message(),
            "the guest gave an invalid result: 64 bytes at guest address 0xfffffff0 are not inside the "
            "memory of 1114112 bytes");
  const auto pair = ask("pair_outside");
  EXPECT_EQ(pair.code(), Code::kTrap);
  EXPECT_EQ(pair.status().message(),
            "the guest gave an invalid result: 8 bytes at guest address 0xfffffffc are not inside the memory "
            "of 1114112 bytes");
  const auto not_utf8 = ask("not_utf8");
  EXPECT_EQ(not_utf8.code(), Code::kTrap);
  EXPECT_EQ(not_utf8.status().message(), "the guest gave an invalid result: a string that is not UTF-8");
  EXPECT_EQ(ask("upper").value(), "X");
}

// The pair, and the text, as the last bytes of the memory and one byte further.
TEST_P(TextTest, ResultsMayEndWhereTheMemoryEnds) {
  const Instance instance = make(R"((module
    (memory (export "memory") 1)
    (data (i32.const 16) "\fc\ff\00\00\04\00\00\00" "\fc\ff\00\00\05\00\00\00")
    (data (i32.const 65528) "\10\00\00\00\01\00\00\00")
    (func (export "at_the_end") (result i32) (i32.const 16))
    (func (export "beyond") (result i32) (i32.const 24))
    (func (export "pair_at_the_end") (result i32) (i32.const 65528))
    (func (export "pair_beyond") (result i32) (i32.const 65529))))");
  const auto ask = [&](std::string_view name) { return instance.function<std::string()>(name).value()(); };
  EXPECT_EQ(ask("at_the_end").value(), std::string("\1\0\0\0", 4));
  EXPECT_EQ(ask("beyond").code(), Code::kTrap);
  EXPECT_FALSE(ask("pair_at_the_end").ok());  // that text is one byte, 0xfc: not UTF-8
  EXPECT_EQ(ask("pair_at_the_end").status().message(),
            "the guest gave an invalid result: a string that is not UTF-8");
  EXPECT_EQ(ask("pair_beyond").status().message(),
            "the guest gave an invalid result: 8 bytes at guest address 0xfff9 are not inside the memory of "
            "65536 bytes");
}

TEST_P(TextTest, CopiesAreWithinTheirLimitBothWays) {
  const Instance instance = text({.copy_bytes_max = 64});
  const auto upper = instance.function<std::string(std::string_view)>("upper").value();
  EXPECT_EQ(upper(std::string(31, 'x')).value().size(), 31u);
  EXPECT_EQ(upper(std::string(32, 'x')).value().size(), 32u) << "32 in and 32 out";
  const auto both = upper(std::string(33, 'x'));
  EXPECT_EQ(both.code(), Code::kLimitExceeded);
  EXPECT_EQ(both.status().message(), "33 bytes more than 33 in one call (copy_bytes_max=64)");
  const auto above = upper(std::string(65, 'x'));
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(), "an argument of 65 bytes (copy_bytes_max=64)");
  EXPECT_EQ(upper("next").value(), "NEXT");

  // "outside" claims 64 bytes: one more than this instance lets out.
  const Instance tight = text({.copy_bytes_max = 63});
  const auto outside = tight.function<std::string(std::string_view)>("outside").value()("");
  EXPECT_EQ(outside.code(), Code::kLimitExceeded);
  EXPECT_EQ(outside.status().message(), "a result of 64 bytes (copy_bytes_max=63)");
}

TEST_P(TextTest, GuestsThatCannotPassTextAreToldWhy) {
  constexpr std::string_view kTakes = R"((func (export "take") (param i32 i32)))";
  const auto take = [&](std::string_view rest) {
    return make(fmt::format("(module {} {})", kTakes, rest))
        .function<void(std::string_view)>("take")
        .status()
        .copy();
  };
  const Status no_memory = take("");
  EXPECT_EQ(no_memory.code(), Code::kInvalidArgument);
  EXPECT_EQ(no_memory.message(), "'take' passes text, but the guest exports no memory 'memory'");
  EXPECT_FALSE(take("(memory (export \"mem\") 1)").ok());

  const Status no_realloc = take("(memory (export \"memory\") 1)");
  EXPECT_EQ(no_realloc.code(), Code::kNotFound);
  EXPECT_EQ(no_realloc.message(),
            "text is passed by the canonical ABI: no exported function 'cabi_realloc' "
            "(there are: 'take')");

  const Status wrong_realloc = take(
      "(memory (export \"memory\") 1) (func (export \"cabi_realloc\") (param i32) (result i32) (i32.const "
      "0))");
  EXPECT_EQ(wrong_realloc.code(), Code::kInvalidArgument);
  EXPECT_EQ(wrong_realloc.message(),
            "text is passed by the canonical ABI: the guest's 'cabi_realloc' is of type (i32) -> i32, the "
            "canonical ABI wants (i32, i32, i32, i32) -> i32");
}

TEST_P(TextTest, AWrongPostReturnIsRefused) {
  const Instance instance = make(R"((module (memory (export "memory") 1)
    (func (export "give") (result i32) (i32.const 0)) (func (export "cabi_post_give"))))");
  const auto give = instance.function<std::string()>("give");
  EXPECT_EQ(give.code(), Code::kInvalidArgument);
  EXPECT_EQ(give.status().message(),
            "the guest's 'cabi_post_give' is of type () -> (), the canonical ABI wants (i32) -> ()");
}

// A guest that only gives text needs no allocator; one without cabi_post_ keeps its text.
TEST_P(TextTest, GivingTextNeedsNoAllocator) {
  const Instance instance = make(R"((module (memory (export "memory") 1)
    (data (i32.const 8) "\10\00\00\00\05\00\00\00hello") (func (export "give") (result i32) (i32.const 8))))");
  const auto give = instance.function<std::string()>("give").value();
  EXPECT_EQ(give().value(), "hello");
  EXPECT_EQ(give().value(), "hello");
}

TEST_P(TextTest, TextToANumberFunctionNamesBothCoreTypes) {
  const Instance instance = make(guest("numbers.wat"));
  EXPECT_EQ((instance.function<std::string(std::string_view)>("fac").status().message()),
            "the function 'fac' is of type (i64) -> i64, asked for is (i32, i32) -> i32");
}

// --- types known at run time --------------------------------------------------------------------------

TEST_P(DynamicTest, TakesAndGivesValues) {
  const Instance instance = echo();
  const auto turn = instance.dynamic_function("turn").value();
  EXPECT_EQ(turn.signature().text(), "(i32, i64, f32, f64) -> (f64, f32, i64, i32)");
  const std::vector<Value> args{Value::i32(-1), Value::i64(1LL << 40), Value::f32(0.5f), Value::f64(-0.25)};
  EXPECT_EQ(turn(args).value(), (std::vector<Value>{args[3], args[2], args[1], args[0]}));
  EXPECT_EQ(instance.dynamic_function("nothing").value()({}).value(), std::vector<Value>{});
}

TEST_P(DynamicTest, BoolsAreAskedForBySignature) {
  const Instance instance = make(guest("numbers.wat"));
  const auto plain = instance.dynamic_function("is_even").value();
  EXPECT_EQ(plain(std::vector{Value::i32(4)}).value(), std::vector{Value::i32(1)});
  const auto named = instance.dynamic_function("is_even", signature("(i32) -> bool")).value();
  EXPECT_EQ(named(std::vector{Value::i32(4)}).value(), std::vector{Value::boolean(true)});
  EXPECT_EQ(named(std::vector{Value::i32(5)}).value(), std::vector{Value::boolean(false)});
  const auto from_bool = instance.dynamic_function("is_even", signature("(bool) -> bool")).value();
  EXPECT_EQ(from_bool(std::vector{Value::boolean(true)}).value(), std::vector{Value::boolean(false)});
}

TEST_P(DynamicTest, StringsAndBytesCross) {
  const Instance instance = text();
  const auto upper = instance.dynamic_function("upper", signature("(string) -> string")).value();
  EXPECT_EQ(upper(std::vector{Value::string("abc")}).value(), std::vector{Value::string("ABC")});
  EXPECT_EQ(upper(std::vector{Value::string("")}).value(), std::vector{Value::string("")});
  const auto raw = instance.dynamic_function("upper", signature("(bytes) -> bytes")).value();
  const Value in = Value::parse(ValueType::kBytes, "61ff00").value();
  EXPECT_EQ(raw(std::vector{in}).value()[0].text(), "41ff00");
}

TEST_P(DynamicTest, StringsThatAreNoUtf8CanBeHadAsBytes) {
  const Instance instance = text();
  const auto as_string = instance.dynamic_function("not_utf8", signature("(string) -> string")).value();
  const auto refused = as_string(std::vector{Value::string("")});
  EXPECT_EQ(refused.code(), Code::kTrap);
  EXPECT_EQ(refused.status().message(),
            "the guest gave an invalid result: a string that is not UTF-8 (ask for bytes instead)");
  const auto as_bytes = instance.dynamic_function("not_utf8", signature("(string) -> bytes")).value();
  EXPECT_EQ(as_bytes(std::vector{Value::string("")}).value()[0].text(), "ff");
}

TEST_P(DynamicTest, AWrongCountIsTold) {
  const Instance instance = make(guest("numbers.wat"));
  const auto add = instance.dynamic_function("add").value();
  const auto expect_count = [&](size_t count, std::string_view message) {
    const auto result = add(std::vector(count, Value::i32(1)));
    EXPECT_EQ(result.code(), Code::kInvalidArgument);
    EXPECT_EQ(result.status().message(), message);
  };
  expect_count(0, "0 arguments given, the function takes 2: (i32, i32) -> i32");
  expect_count(1, "1 argument given, the function takes 2: (i32, i32) -> i32");
  expect_count(3, "3 arguments given, the function takes 2: (i32, i32) -> i32");
  EXPECT_EQ(add(std::vector(2, Value::i32(1))).value(), std::vector{Value::i32(2)});
}

TEST_P(DynamicTest, AWrongTypeIsToldWithItsPlace) {
  const Instance instance = make(guest("numbers.wat"));
  const auto add = instance.dynamic_function("add").value();
  const auto second = add(std::vector{Value::i32(1), Value::i64(1)});
  EXPECT_EQ(second.code(), Code::kInvalidArgument);
  EXPECT_EQ(second.status().message(), "argument 2 is of type i64, the function takes (i32, i32) -> i32");
  EXPECT_EQ(add(std::vector{Value::boolean(true), Value::i32(1)}).status().message(),
            "argument 1 is of type bool, the function takes (i32, i32) -> i32");
}

TEST_P(DynamicTest, ASignatureMustFitTheCoreFunction) {
  const Instance instance = make(guest("numbers.wat"));
  const auto wrong = instance.dynamic_function("add", signature("(string, i32) -> i32"));
  EXPECT_EQ(wrong.code(), Code::kInvalidArgument);
  EXPECT_EQ(wrong.status().message(),
            "the function 'add' is of type (i32, i32) -> i32, asked for is (i32, i32, i32) -> i32");
}

TEST_P(DynamicTest, VectorsDoNotCross) {
  const auto vector = echo().dynamic_function("vector");
  EXPECT_EQ(vector.code(), Code::kUnsupported);
  EXPECT_EQ(vector.status().message(),
            "the function 'vector' of type (v128) -> v128: values of type v128 cannot cross here");
}

// 64 values cross, 65 do not; the rest of such a module can be used.
TEST_P(DynamicTest, ThereIsAMostOfValues) {
  std::string module = "(module (func (export \"few\"))";
  for (const int count : {64, 65}) {
    module += fmt::format(" (func (export \"takes_{}\") (param", count);
    for (int i = 0; i < count; i++) module += " i32";
    module += fmt::format(") (result i32) (local.get {}))", count - 1);
  }
  const Instance instance = make(module + ")");
  const auto takes_64 = instance.dynamic_function("takes_64").value();
  std::vector<Value> args(64, Value::i32(0));
  args.back() = Value::i32(7);
  EXPECT_EQ(takes_64(args).value(), std::vector{Value::i32(7)});
  const auto takes_65 = instance.dynamic_function("takes_65");
  EXPECT_EQ(takes_65.code(), Code::kUnsupported);
  EXPECT_EQ(takes_65.status().message(), "'takes_65' takes or gives 65 values, at most 64 cross here");
  EXPECT_TRUE(instance.dynamic_function("few").value()({}).ok());
}

TEST_P(TextTest, AMemoryMayBeginEmpty) {
  const Instance instance = make(R"((module (memory (export "memory") 0)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (drop (memory.grow (i32.const 1))) (i32.const 0))
    (func (export "length") (param i32 i32) (result i32) (local.get 1))))");
  EXPECT_EQ(instance.function<int32_t(std::string_view)>("length").value()("hello").value(), 5);
}

TEST_P(TextTest, CopiesOfOneCallAddUp) {
  const Instance instance = make(R"((module (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
    (func (export "two") (param i32 i32 i32 i32))))",
                                 {.copy_bytes_max = 100});
  const auto two = instance.function<void(std::string_view, std::string_view)>("two").value();
  EXPECT_TRUE(two(std::string(60, 'x'), std::string(40, 'x')).ok());
  EXPECT_EQ(two(std::string(60, 'x'), std::string(41, 'x')).code(), Code::kLimitExceeded);
}

}  // namespace
}  // namespace spore::host
