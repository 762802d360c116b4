#include "spore/host/wit_value.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace spore::host {
namespace {

wasm::WitTypeRef type(std::string_view text) {
  return wasm::parse_wit_function("func() -> " + std::string(text), "f").value().signature.result;
}

// Read and told again.
std::string round(std::string_view of, std::string_view json) {
  const auto its_type = type(of);
  const auto value = from_json(*its_type, json);
  return value.ok() ? to_json(*its_type, value.value()) : std::string(value.status().message());
}

TEST(WitValueTest, JsonIsReadByItsType) {
  EXPECT_EQ(round("bool", " true "), "true");
  EXPECT_EQ(round("s8", "-128"), "-128");
  EXPECT_EQ(round("s8", "-129"), "expected a number in the range of s8 at byte 4");
  EXPECT_EQ(round("u64", "18446744073709551615"), "18446744073709551615");
  EXPECT_EQ(round("u64", "18446744073709551616"), "expected a number in the range of u64 at byte 20");
  EXPECT_EQ(round("u32", "3.0"), "3");
  EXPECT_EQ(round("u32", "1e3"), "1000");
  EXPECT_EQ(round("u32", "-1.0"), "expected a number in the range of u32 at byte 4");
  EXPECT_EQ(round("s64", "1.5"), "expected a number in the range of s64 at byte 3");
  EXPECT_EQ(round("f64", "1"), "1.0");
  EXPECT_EQ(round("f64", "-0.0"), "-0.0");
  EXPECT_EQ(round("f64", "1e400"), "Infinity");
  EXPECT_EQ(round("f64", "NaN"), "NaN");
  EXPECT_EQ(round("f32", "0.1"), "0.1");
  EXPECT_EQ(round("char", R"("\ud83d\ude00")"), "\"\U0001F600\"");
  EXPECT_EQ(round("char", R"("ab")"), "expected a string of one character at byte 4");
  EXPECT_EQ(round("string", R"("a\u0000\n\/")"), R"("a\u0000\n/")");
  EXPECT_EQ(round("string", R"("\ud800")"), "half a character at byte 7");
  EXPECT_EQ(round("string", "\"\xff\""), "a string that is not UTF-8 at byte 3");
  EXPECT_EQ(round("list<u8>", R"("AAEC")"), R"("AAEC")");
  EXPECT_EQ(round("list<u8>", R"("AA=C")"), "expected bytes in base64 at byte 6");
  EXPECT_EQ(round("list<s32>", "[1, 2,3]"), "[1,2,3]");
  EXPECT_EQ(round("list<s32>", "[1,]"), "expected a number at byte 3");
  EXPECT_EQ(round("option<s32>", "null"), "null");
  EXPECT_EQ(round("option<option<s32>>", "[null]"), "[null]");
  EXPECT_EQ(round("option<option<s32>>", "[5]"), "[5]");
  EXPECT_EQ(round("result<s32, string>", R"({"err":"x"})"), R"({"err":"x"})");
  EXPECT_EQ(round("result", R"({"ok":null})"), R"({"ok":null})");
  EXPECT_EQ(round("result<s32>", R"({"no":1})"), R"(expected {"ok": ...} or {"err": ...} at byte 6)");
  EXPECT_EQ(round("tuple<u8, bool>", "[1,true]"), "[1,true]");
  EXPECT_EQ(round("tuple<u8, bool>", "[1]"), "expected 2 elements at byte 3");
  EXPECT_EQ(round("u8", "1 2"), "something follows the JSON at byte 2");
}

TEST(WitValueTest, RecordsAreObjects) {
  const auto record = wasm::parse_wit_function("record p { a: u8, b: option<string> } f: func() -> p", "f")
                          .value()
                          .signature.result;
  const auto read = [&](std::string_view json) {
    const auto value = from_json(*record, json);
    return value.ok() ? to_json(*record, value.value()) : std::string(value.status().message());
  };
  EXPECT_EQ(read(R"({"b":"x","a":1})"), R"({"a":1,"b":"x"})");
  EXPECT_EQ(read(R"({"a":1})"), R"({"a":1,"b":null})");
  EXPECT_EQ(read(R"({"b":null})"), "the field 'a' is missing at byte 10");
  EXPECT_EQ(read(R"({"a":1,"a":2})"), "the field 'a', which p does not have once at byte 11");
  EXPECT_EQ(read(R"({"a":1,"c":2})"), "the field 'c', which p does not have once at byte 11");
}

// Goal: short JSON makes no large values without end.  Method: each "{}" stands for a record of two.
TEST(WitValueTest, ValuesWithinAreCounted) {
  const auto records =
      wasm::parse_wit_function("record p { a: option<u8>, b: option<u8> } f: func() -> list<p>", "f")
          .value()
          .signature.result;
  size_t left = 9;
  EXPECT_TRUE(from_json(*records, "[{},{},{}]", left).ok());
  EXPECT_EQ(left, 0U);
  left = 8;
  const auto refused = from_json(*records, "[{},{},{}]", left);
  EXPECT_EQ(refused.code(), Code::kLimitExceeded);
  EXPECT_EQ(refused.status().message(), "more values than there may be at byte 8");
}

TEST(WitValueTest, ValuesAreCheckedAgainstTypes) {
  const auto wrong = [](std::string_view of, const WitValue& value) {
    return std::string(check_value(*type(of), value).message());
  };
  EXPECT_EQ(wrong("u8", WitValue::integer(256)), "256 is outside of u8");
  EXPECT_EQ(wrong("s8", WitValue::integer(-129)), "-129 is outside of s8");
  EXPECT_EQ(wrong("bool", WitValue::integer(2)), "2 is no bool");
  EXPECT_EQ(wrong("char", WitValue::character(0xd800)), "0xd800 is no character");
  EXPECT_EQ(wrong("string", WitValue::string("\xff")), "a string that is not UTF-8");
  EXPECT_EQ(wrong("list<u8>", WitValue::string("\xff")), "");
  EXPECT_EQ(wrong("list<s8>", WitValue::list({WitValue::integer(1), WitValue::integer(200)})),
            "[1]: 200 is outside of s8");
  EXPECT_EQ(wrong("tuple<u8, u8>", WitValue::list({WitValue::integer(1)})),
            "a value with 1 parts, which no tuple<u8, u8> has");
  EXPECT_EQ(wrong("option<u8>", {.bits = 1}), "a value with 0 parts, which no option<u8> has");
  EXPECT_EQ(wrong("result<u8, string>", WitValue::error(WitValue::string("x"))), "");
  EXPECT_EQ(wrong("result<u8>", WitValue::error(WitValue::string("x"))),
            "a value with 1 parts, which no result<u8> has");
}

}  // namespace
}  // namespace spore::host
