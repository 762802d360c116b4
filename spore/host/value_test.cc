#include "spore/host/value.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace spore::host {
namespace {

using engine::FuncType;
using engine::ValType;
using std::string_view_literals::operator""sv;

constexpr std::array kTypes{ValueType::kI32,  ValueType::kI64,    ValueType::kF32,  ValueType::kF64,
                            ValueType::kBool, ValueType::kString, ValueType::kBytes};

Value::Bytes bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// One value of each type, in their order.
std::vector<Value> one_of_each() {
  return {Value::i32(1),        Value::i64(2),           Value::f32(3),         Value::f64(4),
          Value::boolean(true), Value::string("string"), Value::bytes({{}, {}})};
}

int32_t i32(std::string_view text) { return Value::parse(ValueType::kI32, text).value().as_i32().value(); }
int64_t i64(std::string_view text) { return Value::parse(ValueType::kI64, text).value().as_i64().value(); }
float f32(std::string_view text) { return Value::parse(ValueType::kF32, text).value().as_f32().value(); }
double f64(std::string_view text) { return Value::parse(ValueType::kF64, text).value().as_f64().value(); }

void expect_refused(ValueType type, std::string_view text, std::string_view expected) {
  const Result<Value> value = Value::parse(type, text);
  EXPECT_EQ(value.code(), Code::kInvalidArgument) << text;
  EXPECT_EQ(value.status().message(), fmt::format("'{}' is not {}", text, expected));
}
constexpr std::string_view kNoI32 = "an i32 (a whole number of 32 bits)";
constexpr std::string_view kNoI64 = "an i64 (a whole number of 64 bits)";
constexpr std::string_view kNoF32 = "an f32 (a number)";
constexpr std::string_view kNoF64 = "an f64 (a number)";
constexpr std::string_view kNoBytes = "bytes (pairs of hex digits)";

// --- types and getters --------------------------------------------------------------------------------

TEST(ValueTest, TypesHaveNamesBothWays) {
  const std::array names{"i32", "i64", "f32", "f64", "bool", "string", "bytes"};
  for (size_t i = 0; i < kTypes.size(); i++) {
    EXPECT_EQ(value_type_name(kTypes[i]), names[i]);
    EXPECT_EQ(value_type_named(names[i]), kTypes[i]);
  }
  for (const std::string_view other : {"", "I32", "i32 ", "v128", "u32", "str"}) {
    EXPECT_EQ(value_type_named(other), std::nullopt) << other;
  }
}

TEST(ValueTest, GettersGiveWhatItIs) {
  const std::vector<Value> values = one_of_each();
  for (size_t i = 0; i < kTypes.size(); i++) EXPECT_EQ(values[i].type(), kTypes[i]);
  EXPECT_EQ(values[0].as_i32().value(), 1);
  EXPECT_EQ(values[1].as_i64().value(), 2);
  EXPECT_EQ(values[2].as_f32().value(), 3);
  EXPECT_EQ(values[3].as_f64().value(), 4);
  EXPECT_EQ(values[4].as_bool().value(), true);
  EXPECT_EQ(values[5].as_string().value(), "string");
  EXPECT_EQ(values[6].as_bytes().value().size(), 2u);
}

// Every getter on every other type, also where a cast would lose nothing.
TEST(ValueTest, GettersNeverCast) {
  const std::vector<Value> values = one_of_each();
  for (size_t i = 0; i < values.size(); i++) {
    const Value& value = values[i];
    const std::array<Status, 7> statuses{
        value.as_i32().status().copy(),   value.as_i64().status().copy(),  value.as_f32().status().copy(),
        value.as_f64().status().copy(),   value.as_bool().status().copy(), value.as_string().status().copy(),
        value.as_bytes().status().copy(),
    };
    for (size_t wanted = 0; wanted < statuses.size(); wanted++) {
      if (wanted == i) {
        EXPECT_TRUE(statuses[wanted].ok());
        continue;
      }
      EXPECT_EQ(statuses[wanted].code(), Code::kInvalidArgument);
      EXPECT_EQ(statuses[wanted].message(),
                fmt::format("the value is of type {}, not {}", value_type_name(kTypes[i]),
                            value_type_name(kTypes[wanted])));
    }
  }
}

TEST(ValueTest, EqualMeansTypeAndValue) {
  EXPECT_EQ(Value::i32(1), Value::i32(1));
  EXPECT_NE(Value::i32(1), Value::i32(2));
  EXPECT_NE(Value::i32(1), Value::i64(1));
  EXPECT_NE(Value::i32(1), Value::boolean(true));
  EXPECT_NE(Value::string("ab"), Value::bytes(bytes_of("ab")));
}

// --- text ---------------------------------------------------------------------------------------------

TEST(ValueTest, TextIsWhatAPersonWouldWrite) {
  EXPECT_EQ(Value::i32(-5).text(), "-5");
  EXPECT_EQ(Value::i64(std::numeric_limits<int64_t>::min()).text(), "-9223372036854775808");
  EXPECT_EQ(Value::f32(0.1f).text(), "0.1");
  EXPECT_EQ(Value::f64(2.5).text(), "2.5");
  EXPECT_EQ(Value::f64(5).text(), "5");
  EXPECT_EQ(Value::f64(std::numeric_limits<double>::infinity()).text(), "inf");
  EXPECT_EQ(Value::f32(std::nanf("")).text(), "nan");
  EXPECT_EQ(Value::boolean(false).text(), "false");
  EXPECT_EQ(Value::string("grüezi\n").text(), "grüezi\n");
  EXPECT_EQ(Value::bytes(bytes_of("\0\x7f\xff"sv)).text(), "007fff");
}

// What is printed can be pasted into the next command: parse(text()) is the same value.
TEST(ValueTest, TextIsReadBackAsItWas) {
  const std::vector<Value> values{
      Value::i32(std::numeric_limits<int32_t>::min()),
      Value::i32(std::numeric_limits<int32_t>::max()),
      Value::i64(std::numeric_limits<int64_t>::min()),
      Value::i64(std::numeric_limits<int64_t>::max()),
      Value::f32(std::numeric_limits<float>::max()),
      Value::f32(std::numeric_limits<float>::denorm_min()),
      Value::f32(-std::numeric_limits<float>::infinity()),
      Value::f64(std::numeric_limits<double>::max()),
      Value::f64(std::numeric_limits<double>::denorm_min()),
      Value::f64(1.0 / 3),
      Value::f64(std::numeric_limits<double>::infinity()),
      Value::boolean(true),
      Value::boolean(false),
      Value::string(""),
      Value::string("a \"b\" \u20ac"),
      Value::bytes({}),
      Value::bytes(bytes_of("\0\1\xfe\xff"sv)),
  };
  for (const Value& value : values) {
    EXPECT_EQ(Value::parse(value.type(), value.text()).value(), value) << value.text();
  }
  EXPECT_TRUE(std::isnan(f64(Value::f64(-std::nan("")).text())));
  EXPECT_TRUE(std::signbit(f64(Value::f64(-0.0).text())));
}

// --- parse --------------------------------------------------------------------------------------------

TEST(ValueParseTest, IntegersEndWhereTheirBitsEnd) {
  EXPECT_EQ(i32("-2147483648"), std::numeric_limits<int32_t>::min());
  expect_refused(ValueType::kI32, "-2147483649", kNoI32);
  EXPECT_EQ(i32("2147483647"), std::numeric_limits<int32_t>::max());
  EXPECT_EQ(i32("4294967295"), -1);  // as an unsigned number of 32 bits
  expect_refused(ValueType::kI32, "4294967296", kNoI32);

  EXPECT_EQ(i64("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  expect_refused(ValueType::kI64, "-9223372036854775809", kNoI64);
  EXPECT_EQ(i64("9223372036854775807"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(i64("18446744073709551615"), -1);
  expect_refused(ValueType::kI64, "18446744073709551616", kNoI64);
  expect_refused(ValueType::kI64, "99999999999999999999999", kNoI64);
}

TEST(ValueParseTest, IntegersMayBeHexAndSigned) {
  EXPECT_EQ(i32("0x1f"), 31);
  EXPECT_EQ(i32("0X1F"), 31);
  EXPECT_EQ(i32("-0x1f"), -31);
  EXPECT_EQ(i32("+7"), 7);
  EXPECT_EQ(i32("-0"), 0);
  EXPECT_EQ(i32("007"), 7);  // not octal
  EXPECT_EQ(i32("0xffffffff"), -1);
  EXPECT_EQ(i32("-0x80000000"), std::numeric_limits<int32_t>::min());
  expect_refused(ValueType::kI32, "-0x80000001", kNoI32);
  expect_refused(ValueType::kI32, "0x100000000", kNoI32);
  EXPECT_EQ(i64("0xffffffffffffffff"), -1);
  EXPECT_EQ(i64("-0x8000000000000000"), std::numeric_limits<int64_t>::min());
  expect_refused(ValueType::kI64, "0x10000000000000000", kNoI64);
}

TEST(ValueParseTest, WhatIsNoWholeNumberIsNoInteger) {
  for (const std::string_view text :
       {"",    "-",   "+",   "0x",  "-0x",  "x",   "1.0", "1e3", " 1",   "1 ",   "1,000",
        "--5", "+-5", "-+5", "++5", "0x-5", "0xg", "12a", "nan", "true", "\xFF", "½"}) {
    expect_refused(ValueType::kI32, text, kNoI32);
    expect_refused(ValueType::kI64, text, kNoI64);
  }
}

TEST(ValueParseTest, FloatsOfEveryForm) {
  EXPECT_EQ(f64("1e9"), 1e9);
  EXPECT_EQ(f64("-2.5"), -2.5);
  EXPECT_EQ(f64("+2.5"), 2.5);
  EXPECT_EQ(f64(".5"), 0.5);
  EXPECT_EQ(f64("5."), 5.0);
  EXPECT_EQ(f64("1E-3"), 1e-3);
  EXPECT_TRUE(std::signbit(f64("-0")));
  EXPECT_EQ(f64("inf"), std::numeric_limits<double>::infinity());
  EXPECT_EQ(f64("-inf"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(f64("Infinity"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(f64("nan")));
  EXPECT_TRUE(std::isnan(f32("-NaN")));
  EXPECT_EQ(f32("0.1"), 0.1f);
  EXPECT_EQ(f32("3.4028235e38"), std::numeric_limits<float>::max());
}

TEST(ValueParseTest, FloatsOutOfRangeAreRefusedNotRounded) {
  expect_refused(ValueType::kF32, "3.5e38", kNoF32);
  expect_refused(ValueType::kF64, "1e309", kNoF64);
  EXPECT_EQ(f64("3.5e38"), 3.5e38);
}

TEST(ValueParseTest, WhatIsNoNumberIsNoFloat) {
  for (const std::string_view text : {"", "-", "+", ".", "e5", "1e", "1,5", " 1", "1 ", "0x10", "++5", "+-5",
                                      "-+5", "--5", "1.2.3", "in", "\xFF"}) {
    expect_refused(ValueType::kF32, text, kNoF32);
    expect_refused(ValueType::kF64, text, kNoF64);
  }
}

TEST(ValueParseTest, BoolsAreTwoWords) {
  EXPECT_EQ(Value::parse(ValueType::kBool, "true").value(), Value::boolean(true));
  EXPECT_EQ(Value::parse(ValueType::kBool, "false").value(), Value::boolean(false));
  for (const std::string_view text : {"", "1", "0", "True", "yes", "true "}) {
    expect_refused(ValueType::kBool, text, "a bool (true or false)");
  }
}

TEST(ValueParseTest, StringsAreUtf8) {
  EXPECT_EQ(Value::parse(ValueType::kString, "").value(), Value::string(""));
  EXPECT_EQ(Value::parse(ValueType::kString, " a\0b "sv).value(), Value::string(std::string(" a\0b "sv)));
  const Result<Value> bad = Value::parse(ValueType::kString, "a\xFF");
  EXPECT_EQ(bad.code(), Code::kInvalidArgument);
  EXPECT_EQ(bad.status().message(), "a string must be UTF-8; pass it as bytes");
}

TEST(ValueParseTest, BytesArePairsOfHexDigits) {
  EXPECT_EQ(Value::parse(ValueType::kBytes, "").value(), Value::bytes({}));
  EXPECT_EQ(Value::parse(ValueType::kBytes, "00fFa0").value(), Value::bytes(bytes_of("\0\xff\xa0"sv)));
  for (const std::string_view text : {"0", "000", "0g", "g0", "0x00", "00 ", "-0"}) {
    expect_refused(ValueType::kBytes, text, kNoBytes);
  }
}

// --- Signature ----------------------------------------------------------------------------------------

TEST(SignatureTest, ReadsWhatItWrites) {
  for (const std::string_view text : {"() -> ()", "(i32) -> i32", "(string, f64) -> bool", "(bytes) -> bytes",
                                      "(i32, i64, f32, f64, bool) -> ()", "() -> (i64, i32)"}) {
    const Signature signature = Signature::parse(text).value();
    EXPECT_EQ(signature.text(), text);
    EXPECT_EQ(Signature::parse(signature.text()).value(), signature);
  }
}

TEST(SignatureTest, SpacesAndBracketsMayDiffer) {
  EXPECT_EQ(Signature::parse("()").value().text(), "() -> ()");
  EXPECT_EQ(Signature::parse("(i32)").value().text(), "(i32) -> ()");
  EXPECT_EQ(Signature::parse("  ( i32 ,i64)->f64 ").value().text(), "(i32, i64) -> f64");
  EXPECT_EQ(Signature::parse("() -> (i32)").value().text(), "() -> i32");
}

TEST(SignatureTest, WhatIsNoSignatureIsRefused) {
  for (const std::string_view text :
       {"", "i32", "(i32", "i32) -> i32", "(i32) i32", "(i32) = i32", "(i32) - > i32"}) {
    const auto signature = Signature::parse(text);
    EXPECT_EQ(signature.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(signature.status().message(),
              fmt::format("'{}' is no signature; write it like '(string, f64) -> bool'", text));
  }
}

TEST(SignatureTest, UnknownTypesAreNamed) {
  const auto expect_no_type = [](std::string_view text, std::string_view name) {
    const auto signature = Signature::parse(text);
    EXPECT_EQ(signature.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(signature.status().message(),
              fmt::format("'{}' is no type (i32, i64, f32, f64, bool, string, bytes)", name));
  };
  expect_no_type("(str) -> i32", "str");
  expect_no_type("(i32) -> u32", "u32");
  expect_no_type("(i32, , i32) -> i32", "");
  expect_no_type("(i32 i32) -> i32", "i32 i32");
  expect_no_type("((i32)) -> i32", "(i32");
  EXPECT_EQ(Signature::parse("(i32,) -> i32").status().message(), "a type is missing after the last comma");
}

TEST(SignatureTest, TextIsTheOnlyResult) {
  EXPECT_TRUE(Signature::parse("() -> string").ok());
  for (const std::string_view text :
       {"() -> (string, i32)", "() -> (i32, bytes)", "() -> (string, string)"}) {
    const auto signature = Signature::parse(text);
    EXPECT_EQ(signature.code(), Code::kUnsupported);
    EXPECT_EQ(signature.status().message(),
              fmt::format("'{}': a string or bytes must be the only result", text));
  }
}

TEST(SignatureTest, CoreTypesFollowTheCanonicalAbi) {
  const auto core = [](std::string_view text) { return Signature::parse(text).value().core_type().text(); };
  EXPECT_EQ(core("()"), "() -> ()");
  EXPECT_EQ(core("(i32, i64, f32, f64, bool) -> bool"), "(i32, i64, f32, f64, i32) -> i32");
  EXPECT_EQ(core("(string) -> string"), "(i32, i32) -> i32");
  EXPECT_EQ(core("(f64, bytes, i64) -> bytes"), "(f64, i32, i32, i64) -> i32");
  EXPECT_EQ(core("() -> (i64, bool)"), "() -> (i64, i32)");
}

TEST(SignatureTest, OfACoreTypeHasItsNumbers) {
  const FuncType numbers{{ValType::kI32, ValType::kI64, ValType::kF32, ValType::kF64}, {ValType::kF64}};
  const Signature signature = Signature::of(numbers).value();
  EXPECT_EQ(signature.text(), "(i32, i64, f32, f64) -> f64");
  EXPECT_EQ(signature.core_type(), numbers);
  EXPECT_EQ(Signature::of({}).value(), Signature{});
}

TEST(SignatureTest, VectorsAndReferencesDoNotCross) {
  for (const ValType type : {ValType::kV128, ValType::kFuncRef, ValType::kOtherRef}) {
    const std::string message = fmt::format("values of type {} cannot cross here", val_type_name(type));
    const auto param = Signature::of({{ValType::kI32, type}, {}});
    EXPECT_EQ(param.code(), Code::kUnsupported);
    EXPECT_EQ(param.status().message(), message);
    EXPECT_EQ(Signature::of({{}, {type}}).status().message(), message);
  }
}

}  // namespace
}  // namespace spore::host
