#include "spore/base/json_reader.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

TEST(JsonReaderTest, IsToldWhatIsToCome) {
  JsonReader json(R"( {"a": [1, -2.5e3, "x"], "b": {"c": null}, "d": true} )");
  bool first = true;
  std::string key;
  ASSERT_TRUE(json.begin_object());
  ASSERT_TRUE(json.next_key(first, key));
  EXPECT_EQ(key, "a");
  bool inner = true;
  ASSERT_TRUE(json.begin_array());
  ASSERT_TRUE(json.next_element(inner));
  EXPECT_EQ(json.number(), 1);
  ASSERT_TRUE(json.next_element(inner));
  EXPECT_EQ(json.number_text(), "-2.5e3");
  ASSERT_TRUE(json.next_element(inner));
  std::string text;
  EXPECT_TRUE(json.string(text));
  EXPECT_FALSE(json.next_element(inner));
  ASSERT_TRUE(json.next_key(first, key));
  EXPECT_EQ(json.raw(), R"({"c": null})");
  ASSERT_TRUE(json.next_key(first, key));
  EXPECT_EQ(json.boolean(), true);
  EXPECT_FALSE(json.next_key(first, key));
  EXPECT_TRUE(json.finish().ok());
}

TEST(JsonReaderTest, WhatIsNoJsonIsNotSkipped) {
  for (const char* bad : {"", "{", "[1", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "\"x", "[1 2]", "{\"a\":1,}",
                          "tru", "]", "[}"}) {
    JsonReader json(bad);
    EXPECT_FALSE(json.skip() && json.finish().ok()) << bad;
  }
  for (const char* good :
       {"[]", "{}", "[[],{}]", "{\"a\":[{\"b\":\"\\\"\"}]}", " 1 ", "\"\"", "[NaN,-Infinity]"}) {
    JsonReader json(good);
    EXPECT_TRUE(json.skip() && json.finish().ok()) << good;
  }
  // Nothing recurses: a million brackets are as good as one.
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  JsonReader json(deep);
  EXPECT_TRUE(json.skip() && json.finish().ok());
}

TEST(JsonReaderTest, TheFirstFailureCounts) {
  JsonReader json("[1, x]");
  bool first = true;
  ASSERT_TRUE(json.begin_array() && json.next_element(first) && json.number() == 1 &&
              json.next_element(first));
  EXPECT_EQ(json.number(), std::nullopt);
  EXPECT_FALSE(json.next_element(first));
  EXPECT_EQ(json.finish().message(), "expected a number at byte 4");
}

}  // namespace
}  // namespace spore
