#include "spore/wasm/peak.h"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"

// What is made of prepared modules by hand, as wasm-opt might make it.  What it does make: the tests of
// code::Optimiser.
namespace spore::wasm {
namespace {

using Bytes = std::vector<uint8_t>;
using test::wasm;

constexpr size_t kBytesMax = 1 << 20;

// What is prepared here: state of each kind, functions in a table that code writes to, segments.
constexpr std::string_view kModule = R"((module
  (import "host" "log" (func $log (param i32)))
  (import "host" "base" (global $base i32))
  (memory (export "memory") 1 3)
  (table $t 4 funcref)
  (global $count (mut i32) (i32.const 7))
  (global $limit i32 (i32.const 9))
  (func $a (export "a") (param i32) (result i32) (local.get 0))
  (func $b (export "b") (param i32) (result i32) (i32.add (local.get 0) (global.get $count)))
  (func $run (export "run")
    (table.set $t (i32.const 3) (table.get $t (i32.const 0)))
    (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 3))
    (data.drop $passive)
    (call $log (i32.const 1)))
  (elem (table $t) (i32.const 1) func $a $b)
  (elem $later func $b)
  (data $passive "abc")
  (data (i32.const 16) "lifted")))";

class PeakTest : public testing::Test {
 protected:
  // Of that module, or of `text`.
  static PreparedModule prepared(std::string_view text = kModule) {
    return prepare(wasm(text), kBytesMax).value();
  }
  static Status check(std::string_view peak, const PreparedModule& prepared) {
    return check_peak(wasm(peak), prepared.wasm, prepared, kBytesMax);
  }
  static void expect_refused(std::string_view before, std::string_view after, std::string_view why) {
    const Status status = check(after, prepared(before));
    EXPECT_EQ(status.code(), Code::kUnsupported) << status.message();
    EXPECT_NE(status.message().find(why), std::string_view::npos) << status.message();
  }
};

TEST_F(PeakTest, ThePreparedFormIsAsGoodAsItself) {
  const PreparedModule module = prepared();
  const Status status = check_peak(module.wasm, module.wasm, module, kBytesMax);
  EXPECT_TRUE(status.ok()) << status.message();
}

// Other indices, other bodies, fewer imports, a constant more: what optimising may do.
TEST_F(PeakTest, IndicesAndBodiesMayChange) {
  const PreparedModule module = prepared(R"((module
    (import "host" "log" (func $log (param i32)))
    (import "host" "base" (global $base i32))
    (memory 1) (table $t 2 funcref)
    (global $x (mut i32) (i32.const 1)) (global $y (mut i64) (i64.const 2)) (global $z (mut i32) (global.get $base))
    (func $a) (func $b)
    (elem (table $t) (i32.const 0) func $a $b)
    (func (export "run") (table.set $t (i32.const 0) (table.get $t (i32.const 1))) (call $log (i32.const 1)))))");
  const Status status = check(R"((module
    (import "host" "base" (global $base i32))
    (memory (export "spore:m0") 1) (table $t (export "spore:t0") 2 funcref)
    (global $constant i32 (i32.const 5))
    (global $y (export "spore:g2") (mut i64) (i64.const 2)) (global $x (export "spore:g1") (mut i32) (i32.const 1))
    (global $z (export "spore:g3") (mut i32) (global.get $base))
    (func $run (export "run") (export "spore:f3"))
    (func $b (export "spore:f2")) (func $a (export "spore:f1"))
    (elem (table $t) (i32.const 0) func $a $b)))",
                              module);
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST_F(PeakTest, HiddenStateIsRefused) {
  constexpr std::string_view kBefore =
      "(module (memory 1) (table 1 funcref) (global (mut i32) (i32.const 1)))";
  constexpr std::string_view kSame =
      R"((module (memory (export "spore:m0") 1) (table (export "spore:t0") 1 funcref)
         (global (export "spore:g0") (mut i32) (i32.const 1)))";
  const auto with = [&](std::string_view field) { return fmt::format("{} {})", kSame, field); };
  EXPECT_TRUE(check(with(""), prepared(kBefore)).ok());
  EXPECT_TRUE(check(with("(global i32 (i32.const 1))"), prepared(kBefore)).ok());
  expect_refused(kBefore, with("(global (mut i32) (i32.const 0))"), "mutable global 1");
  expect_refused(kBefore, with("(table 1 funcref)"), "it uses reference-types");
  expect_refused(kBefore, with("(memory 1)"), "it uses multi-memory");
  expect_refused("(module)", "(module (memory 1))", "memory 0");
  expect_refused("(module)", "(module (table 1 funcref))", "table 0");
  // Under another name it is no better.
  expect_refused(kBefore, with(R"((global (export "more") (mut i32) (i32.const 0)))"), "exports 'more', too");
}

TEST_F(PeakTest, WhatIsMissingOrOfAnotherTypeIsRefused) {
  constexpr std::string_view kBefore = R"((module (memory 1 2) (func (export "f") (param i32))))";
  expect_refused(kBefore, R"((module (memory (export "spore:m0") 1 2)))", "does not export 'f' any more");
  expect_refused(kBefore, R"((module (memory 1 2) (func (export "f") (param i32))))",
                 "does not export 'spore:m0' any more");
  expect_refused(kBefore, R"((module (memory (export "spore:m0") 1 2) (func (export "f") (param i64))))",
                 "'f' is of another type");
  expect_refused(kBefore, R"((module (memory (export "spore:m0") 1) (func (export "f") (param i32))))",
                 "'spore:m0' is of another type");
  expect_refused("(module (global (mut i32) (i32.const 1)))",
                 R"((module (global (export "spore:g0") (mut i32) (i32.const 2))))",
                 "'spore:g0' begins with another value");
  expect_refused("(module (global (mut i32) (i32.const 1)))",
                 R"((module (global (export "spore:g0") i32 (i32.const 1))))", "another type");
  expect_refused(R"((module (import "a" "g" (global (mut i32))) (export "g" (global 0))))",
                 R"((module (global (export "g") (mut i32) (i32.const 0))))", "comes from elsewhere");
}

// By spore:fN an entry of a table is told to another instance: what Binaryen found to be the same would come
// back as one of the two.
TEST_F(PeakTest, MergedFunctionsAreRefused) {
  constexpr std::string_view kBefore = R"((module (table $t 2 funcref) (func $a) (func $b)
    (elem (table $t) (i32.const 0) func $a $b)
    (func (table.set $t (i32.const 0) (table.get $t (i32.const 1))))))";
  expect_refused(kBefore, R"((module (table $t (export "spore:t0") 2 funcref)
                               (func $a (export "spore:f0") (export "spore:f1"))
                               (elem (table $t) (i32.const 0) func $a $a)))",
                 "'spore:f0' and 'spore:f1' are one in it");
  expect_refused(R"((module (func $a (export "a") (export "b"))))",
                 R"((module (func (export "a")) (func (export "b"))))", "'a' and 'b' are two in it");
  expect_refused(kBefore, R"((module (table $t (export "spore:t0") 2 funcref)
                               (func $a (export "spore:f0")) (func $b (export "spore:f1"))
                               (elem (table $t) (i32.const 0) func $b $a)))",
                 "element segment 0");
}

TEST_F(PeakTest, OtherSegmentsAreRefused) {
  constexpr std::string_view kBefore = R"((module (memory 1) (data $d "abc")
    (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))))";
  constexpr std::string_view kMemory = R"((module (memory (export "spore:m0") 1))";
  const auto with = [&](std::string_view field) { return fmt::format("{} {})", kMemory, field); };
  EXPECT_TRUE(check(with(R"((data "abc"))"), prepared(kBefore)).ok());
  expect_refused(kBefore, with(""), "0 data segments instead of 1");
  expect_refused(kBefore, with(R"((data "abc") (data ""))"), "2 data segments instead of 1");
  expect_refused(kBefore, with(R"((data "abd"))"), "data segment 0 is another one");
  expect_refused(kBefore, with(R"((data (i32.const 0) "abc"))"), "data segment 0 is another one");

  constexpr std::string_view kElements = R"((module (table $t 2 funcref) (func $a (export "a"))
    (elem (table $t) (i32.const 0) func $a)))";
  constexpr std::string_view kTable =
      R"((module (table $t (export "spore:t0") 2 funcref) (func $a (export "a"))
    (func $b (param i32)))";
  const auto table = [&](std::string_view field) { return fmt::format("{} {})", kTable, field); };
  EXPECT_TRUE(check(table("(elem (table $t) (i32.const 0) func $a)"), prepared(kElements)).ok());
  expect_refused(kElements, table(""), "0 element segments instead of 1");
  expect_refused(kElements, table("(elem (table $t) (i32.const 1) func $a)"), "element segment 0");
  expect_refused(kElements, table("(elem (table $t) (i32.const 0) func $b)"), "element segment 0");
  expect_refused(kElements, table("(elem (table $t) (i32.const 0) func $a $a)"), "element segment 0");
}

// A reset puts back what can change, by what the prepared form does; nothing else may come to change.
TEST_F(PeakTest, WhatWasConstantMustStaySo) {
  constexpr std::string_view kBefore = R"((module (memory 1) (table $t 1 funcref) (func $f)
    (elem (table $t) (i32.const 0) func $f)
    (data $d "abc") (func (export "run") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))
      (if (ref.is_null (table.get $t (i32.const 0))) (then)))))";
  const auto with = [&](std::string_view code) {
    return fmt::format(
        R"((module (memory (export "spore:m0") 1) (table $t (export "spore:t0") 1 funcref) (func $f)
      (elem (table $t) (i32.const 0) func $f) (data $d "abc") (func (export "run") {})))",
        code);
  };
  const Status same = check(with(""), prepared(kBefore));
  EXPECT_TRUE(same.ok()) << same.message();
  expect_refused(kBefore, with("(data.drop $d)"), "drops segments");
  expect_refused(kBefore, with("(drop (memory.grow (i32.const 1)))"), "grows memories");
  expect_refused(kBefore, with("(table.set $t (i32.const 0) (ref.null func))"), "changes a table");
  expect_refused(kBefore, with("(drop (table.grow $t (ref.null func) (i32.const 1)))"), "changes a table");
  expect_refused(kBefore, with("(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))"),
                 "changes a table");
}

TEST_F(PeakTest, AStartFunctionOrAnotherImportIsRefused) {
  expect_refused("(module (func $f) (start $f))", R"((module (func $f (export "spore:start")) (start $f)))",
                 "start function");
  expect_refused(R"((module (import "a" "f" (func))))", R"((module (import "a" "g" (func))))",
                 "imports 'a.g', too");
  expect_refused(R"((module (import "a" "f" (func))))", R"((module (import "a" "f" (func (param i32)))))",
                 "imports 'a.f', too");
  EXPECT_TRUE(check("(module)", prepared(R"((module (import "a" "f" (func))))")).ok());
}

TEST_F(PeakTest, WhatIsNoModuleIsRefused) {
  const PreparedModule module = prepared();
  const auto code = [&](const Bytes& peak, const Bytes& before) {
    return check_peak(peak, before, module, kBytesMax).code();
  };
  EXPECT_EQ(code({1, 2, 3}, module.wasm), Code::kUnsupported);
  EXPECT_EQ(code({}, module.wasm), Code::kUnsupported);
  EXPECT_EQ(code(module.wasm, wasm(kModule)), Code::kInvalidArgument);
  EXPECT_EQ(code(module.wasm, {1, 2, 3}), Code::kInvalidModule);
  // Cut short, nothing worse happens.  Between two sections it may be a module, without its names even that
  // one.
  for (size_t i = 0; i < module.wasm.size(); i++) {
    const Bytes cut(module.wasm.begin(), module.wasm.begin() + static_cast<ptrdiff_t>(i));
    if (inspect(cut, kBytesMax).ok()) continue;
    EXPECT_EQ(code(cut, module.wasm), Code::kUnsupported) << i;
  }
}

}  // namespace
}  // namespace spore::wasm
