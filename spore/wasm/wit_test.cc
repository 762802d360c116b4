#include "spore/wasm/wit.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/wasm/inspect.h"

namespace spore::wasm {
namespace {

std::string told(std::string_view text, std::string_view name = "f") {
  const auto function = parse_wit_function(text, name);
  return function.ok() ? function->name + ": " + function->signature.text()
                       : std::string(function.status().message());
}

TEST(WitTest, TextsOfThreeKindsAreRead) {
  EXPECT_EQ(told("func(text: string, boost: f64) -> f64", "rank"),
            "rank: func(text: string, boost: f64) -> f64");
  EXPECT_EQ(told("func()"), "f: func()");
  EXPECT_EQ(told("func(a: bytes) -> list<u8>"), "f: func(a: list<u8>) -> list<u8>");
  EXPECT_EQ(
      told("record p { lat: f64, lon: f64 }\nenum c { red, green }\nf: func(a: p, b: c) -> list<option<p>>"),
      "f: func(a: p {lat: f64, lon: f64}, b: c {red, green}) -> list<option<p {lat: f64, lon: f64}>>");
  EXPECT_EQ(told("a: func(); b: func(x: u8) -> result<_, string>;", "b"),
            "b: func(x: u8) -> result<_, string>");
  EXPECT_EQ(
      told("package x:y;\nworld w { import spore:document/fields; export f: func(t: tuple<s8, char>); }"),
      "f: func(t: tuple<s8, char>)");
}

TEST(WitTest, WhatIsWrongIsToldWithItsPlace) {
  EXPECT_EQ(told("func(a: strin)"), "the signature: name `strin` does not exist (line 1, column 9)");
  EXPECT_EQ(told("f: func(a: u8,\n  b: string) -> -> u8"),
            "the signature: expected a type, found `->` (line 2, column 17)");
  EXPECT_EQ(told("a: func(); b: func();", "c"), "the text declares no function 'c' (it has: a, b)");
  EXPECT_EQ(told("resource r { m: func(); }"), "the function '[method]r.m': it belongs to a resource");
  EXPECT_EQ(told("f: async func();"), "the function 'f': it is async");
  EXPECT_EQ(told("flags x { a } f: func(v: x);"),
            "the function 'f': type 'x' is a flags, which cannot cross");
  EXPECT_EQ(told("variant x { a, b(u8) } f: func(v: x);"),
            "the function 'f': type 'x' is a variant, which cannot cross");
}

TEST(WitTest, LimitsHoldAheadOfTheParser) {
  std::string deep = "func(a: ";
  for (int i = 0; i < 70; i++) deep += "list<";
  deep += "u8" + std::string(70, '>') + ")";
  EXPECT_EQ(told(deep), "the signature: types inside each other more than 64 times");
  EXPECT_EQ(told("func(" + std::string(70'000, ' ') + ")"),
            "the signature: a text of 70006 bytes, at most 65536 are read");
  // Each names the one before twice.
  std::string many = "record r0 { a: u8 }\n";
  for (int i = 1; i < 30; i++) many += fmt::format("record r{} {{ a: r{}, b: r{} }}\n", i, i - 1, i - 1);
  EXPECT_EQ(told(many + "f: func(v: r29);"), "the function 'f': its types have more than 4096 parts");
}

// Goal: a short text is not told at length.  Method: its types have many labels, and are named often.
TEST(WitTest, WhatIsToldHasALimit) {
  std::string text = "enum e { c0";
  for (int i = 1; i < 3000; i++) text += fmt::format(", c{}", i);
  text += " } type t = tuple<e";
  for (int i = 1; i < 1000; i++) text += ",e";
  text += ">;";
  EXPECT_EQ(told(text + "f: func(v: t);"),
            "the function 'f': its types take more than 262144 bytes, each told where it is named");
  std::string all = text;
  for (int i = 0; i < 100; i++) all += fmt::format("fn{}: func(v: e);", i);
  EXPECT_EQ(told(all), "the signature: types that take more than 1048576 bytes, each told where it is named");
  EXPECT_EQ(told(text + "f: func(v: tuple<e, e>);").substr(0, 22), "f: func(v: tuple<e {c0");
}

TEST(WitTest, ModulesTellOfThemselves) {
  const std::vector<uint8_t> empty{0, 'a', 's', 'm', 1, 0, 0, 0};
  EXPECT_TRUE(wit_of_module(empty).value().empty());
  const auto with = with_wit(empty, "rank: func(text: string) -> f64;").value();
  const auto functions = wit_of_module(with).value();
  ASSERT_EQ(functions.size(), 1U);
  EXPECT_EQ(functions[0].name, "rank");
  EXPECT_EQ(functions[0].signature.text(), "func(text: string) -> f64");
  // Another one takes its place.
  const auto other = with_wit(with, "b: func();").value();
  EXPECT_EQ(wit_of_module(other).value()[0].name, "b");
  EXPECT_TRUE(inspect(other, 1000).ok());
  EXPECT_EQ(with_wit(empty, "rank: func(").code(), Code::kInvalidArgument);
  EXPECT_EQ(with_wit({}, "f: func();").code(), Code::kInvalidModule);
}

}  // namespace
}  // namespace spore::wasm
