#include "spore/base/json.h"

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "spore/base/utf8.h"
#include "tests/json_check.h"

namespace spore {
namespace {

using std::string_view_literals::operator""sv;
using test::is_json;

template <typename T>
std::string element(const T& value) {
  JsonWriter json;
  json.begin_array().element(value).end_array();
  std::string text = json.take();
  EXPECT_TRUE(is_json(text)) << text;
  EXPECT_TRUE(text.starts_with("[\n  ") && text.ends_with("\n]\n")) << text;
  return text.substr(4, text.size() - 7);
}

// The checker that these tests stand on must itself refuse what is not JSON.
TEST(JsonCheckTest, TakesJsonAndNothingElse) {
  for (const std::string_view good :
       {"{}", "[]", "0", "-1.5e+3", "\"\\u00fc\\n\"", " [1, {\"a\": null}]\n"}) {
    EXPECT_TRUE(is_json(good)) << good;
  }
  for (const std::string_view bad :
       {"", "{", "[1,]", "{1: 2}", "{\"a\" 1}", "01", "1.", "+1", "nan", "\"\n\"", "\"\\x\"", "\"\\u12g4\"",
        "\"a", "[1 2]", "{} {}", "\"\xFF\"", "tru", "{\"a\": 1,}"}) {
    EXPECT_FALSE(is_json(bad)) << bad;
  }
}

TEST(JsonTest, EmptyDocuments) {
  EXPECT_EQ(JsonWriter().begin_object().end_object().take(), "{}\n");
  EXPECT_EQ(JsonWriter().begin_array().end_array().take(), "[]\n");
}

TEST(JsonTest, NestingIndentsAndSeparates) {
  JsonWriter json;
  json.begin_object()
      .field("name", "rank")
      .begin_array("args")
      .element(1)
      .element(true)
      .begin_object()
      .field("a", 2)
      .end_object()
      .begin_array()
      .element("x")
      .end_array()
      .end_array()
      .begin_object("empty")
      .end_object()
      .null_field("nothing")
      .end_object();
  const std::string text = json.take();
  EXPECT_EQ(text, R"({
  "name": "rank",
  "args": [
    1,
    true,
    {
      "a": 2
    },
    [
      "x"
    ]
  ],
  "empty": {},
  "nothing": null
}
)");
  EXPECT_TRUE(is_json(text));
}

TEST(JsonTest, DeepNestingIsBalanced) {
  JsonWriter json;
  for (int i = 0; i < 50; i++) json.begin_array();
  for (int i = 0; i < 50; i++) json.end_array();
  EXPECT_TRUE(is_json(json.take()));
}

TEST(JsonTest, IntegersAreExactAtTheirEnds) {
  EXPECT_EQ(element(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(element(std::numeric_limits<int64_t>::max()), "9223372036854775807");
  EXPECT_EQ(element(std::numeric_limits<uint64_t>::max()), "18446744073709551615");
  EXPECT_EQ(element(uint8_t{200}), "200");
  EXPECT_EQ(element(false), "false");
}

// As short as possible, and the same number when read again.
TEST(JsonTest, DoublesComeBackAsTheyWere) {
  EXPECT_EQ(element(0.1), "0.1");
  EXPECT_EQ(element(-0.0), "-0");
  for (const double value : {1e300, 5e-324, 1.0 / 3, 123456789.125, std::numeric_limits<double>::max()}) {
    EXPECT_EQ(std::strtod(element(value).c_str(), nullptr), value);
  }
}

TEST(JsonTest, WhatIsNoNumberBecomesNull) {
  EXPECT_EQ(element(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(element(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(element(-std::numeric_limits<float>::infinity()), "null");
}

TEST(JsonTest, QuotesAndControlCharactersAreEscaped) {
  EXPECT_EQ(json_quote(""), R"("")");
  EXPECT_EQ(json_quote(R"(a"b\c/d)"), R"("a\"b\\c/d")");
  EXPECT_EQ(json_quote("\n\t"), R"("\n\t")");
  EXPECT_EQ(json_quote("\0\x01\r\x1f\x7f"sv), R"("\u0000\u0001\u000d\u001f\u007f")");
  EXPECT_EQ(json_quote(" ~"), R"(" ~")");  // the neighbours of what is escaped
}

TEST(JsonTest, KeysAreEscapedToo) {
  EXPECT_EQ(JsonWriter().begin_object().field("a\"\n\xFF", 1).end_object().take(),
            "{\n  \"a\\\"\\n\\ufffd\": 1\n}\n");
}

TEST(JsonTest, GoodUtf8IsKept) {
  for (const std::string_view text : {"grüezi", "\u20ac", "\U0001F600", "\uFFFD"}) {
    EXPECT_EQ(json_quote(text), "\"" + std::string(text) + "\"");
  }
}

// One replacement a bad byte; what follows is read as if nothing had been.
TEST(JsonTest, BadUtf8IsReplaced) {
  EXPECT_EQ(json_quote("a\xFFz"), R"("a\ufffdz")");
  EXPECT_EQ(json_quote("\xC3"), R"("\ufffd")");
  EXPECT_EQ(json_quote("\xC3\""), R"("\ufffd\"")");  // must not swallow the quote
  EXPECT_EQ(json_quote("\xE2\x82"), R"("\ufffd\ufffd")");
  EXPECT_EQ(json_quote("\xED\xA0\x80"), R"("\ufffd\ufffd\ufffd")");
  EXPECT_EQ(json_quote("\x80ü"), R"("\ufffdü")");
}

// Guests choose names and messages: whatever they write, the document stays JSON.
TEST(JsonTest, AnyBytesGiveJson) {
  for (int a = 0; a < 256; a++) {
    for (int b = 0; b < 256; b++) {
      const std::string text{static_cast<char>(a), static_cast<char>(b)};
      ASSERT_TRUE(is_json(json_quote(text))) << a << ' ' << b;
    }
  }
  constexpr uint32_t kSeed = 20240611;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 2000; round++) {
    std::string text(random() % 40, '\0');
    for (char& c : text) c = static_cast<char>(random());
    ASSERT_TRUE(is_json(json_quote(text))) << "seed " << kSeed << " round " << round;
  }
}

TEST(JsonDeathTest, NestingMistakesAbort) {
  EXPECT_DEATH(JsonWriter().begin_object().end_array(), "JSON brackets do not match");
  EXPECT_DEATH(JsonWriter().begin_array().end_object(), "JSON brackets do not match");
  EXPECT_DEATH(JsonWriter().end_object(), "JSON brackets do not match");
  EXPECT_DEATH(JsonWriter().begin_array().field("a", 1), "a JSON key outside an object");
  EXPECT_DEATH(JsonWriter().field("a", 1), "a JSON key outside an object");
  EXPECT_DEATH(JsonWriter().begin_object().take(), "a JSON object or array was not ended");
}

TEST(JsonDeathTest, AValueWithoutAKeyInAnObjectAborts) {
  EXPECT_DEATH(JsonWriter().begin_object().element(1), "without a key");
  EXPECT_DEATH(JsonWriter().begin_object().begin_array(), "without a key");
  EXPECT_DEATH(JsonWriter().begin_array().end_array().begin_array(), "second document");
}

}  // namespace
}  // namespace spore
