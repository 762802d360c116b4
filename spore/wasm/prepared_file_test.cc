// What is known of a prepared module goes into bytes and comes back; other bytes are refused.

#include "spore/wasm/prepared_file.h"

#include <gtest/gtest.h>

#include "tests/guest_file.h"

namespace spore::wasm {
namespace {

constexpr const char* kGuest = R"((module
  (import "env" "f" (func $f (param i32)))
  (memory (export "memory") 1 7)
  (memory 2)
  (table $t 3 20 funcref)
  (global $g (mut i64) (i64.const -5))
  (global $v (mut f64) (f64.const 1.5))
  (data (i32.const 8) "hello")
  (data (i32.const 100) "")
  (data $passive "passive")
  (elem $e func $f)
  (start $s)
  (func $s (table.set $t (i32.const 0) (ref.func $f)) (data.drop $passive) (elem.drop $e))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (@custom "note" "text")
))";

PreparedModule prepared(std::span<const uint8_t> wasm) { return prepare(wasm, 1 << 20).value(); }

TEST(PreparedFileTest, AllOfItComesBack) {
  const std::vector<uint8_t> wasm = test::wasm(kGuest);
  const PreparedModule before = prepared(wasm);
  const std::vector<uint8_t> bytes = encode_prepared(before);
  const PreparedModule after = decode_prepared(bytes, wasm).value();
  EXPECT_TRUE(after.wasm.empty());
  EXPECT_EQ(encode_prepared(after), bytes);
  EXPECT_EQ(after.facts.hash, before.facts.hash);
  EXPECT_EQ(after.facts.imports.size(), 1u);
  EXPECT_EQ(after.facts.exports.size(), before.facts.exports.size());
  EXPECT_TRUE(after.facts.has_start);
  ASSERT_EQ(after.memories.size(), 2u);
  EXPECT_EQ(after.memories[0].pages_max, 7u);
  EXPECT_EQ(after.memories[1].pages_max, std::nullopt);
  ASSERT_EQ(after.globals.size(), 2u);
  EXPECT_EQ(after.globals[0].initial, before.globals[0].initial);
  EXPECT_EQ(after.data_flags, before.data_flags);
  EXPECT_EQ(after.element_flags, before.element_flags);
  EXPECT_EQ(after.table_functions, before.table_functions);
  EXPECT_TRUE(after.tables[0].written);
  ASSERT_EQ(after.lifted.size(), before.lifted.size());
  ASSERT_GE(after.lifted.size(), 1u);
  for (size_t i = 0; i < after.lifted.size(); i++) {
    EXPECT_EQ(after.lifted[i].offset, before.lifted[i].offset);
    EXPECT_EQ(after.lifted[i].bytes, before.lifted[i].bytes);
  }
  EXPECT_EQ(after.reset(), before.reset());
  EXPECT_TRUE(after.has_memory_grow);
}

TEST(PreparedFileTest, ReasonsComeBack) {
  const std::vector<uint8_t> wasm = test::wasm(R"((module
    (import "env" "m" (memory 1)) (data (i32.const 0) "x")))");
  const PreparedModule before = prepared(wasm);
  ASSERT_FALSE(before.reset_reasons.empty());
  const PreparedModule after = decode_prepared(encode_prepared(before), wasm).value();
  EXPECT_EQ(after.reset_reasons, before.reset_reasons);
  EXPECT_EQ(after.not_lifted, before.not_lifted);
}

TEST(PreparedFileTest, EveryTruncationIsRefused) {
  const std::vector<uint8_t> wasm = test::wasm(kGuest);
  const std::vector<uint8_t> bytes = encode_prepared(prepared(wasm));
  for (size_t length = 0; length < bytes.size(); length++) {
    const auto result = decode_prepared(std::span(bytes).first(length), wasm);
    EXPECT_FALSE(result.ok()) << length;
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(decode_prepared(longer, wasm).code(), Code::kCorruption);
}

TEST(PreparedFileTest, DataThatIsNotInTheModuleIsRefused) {
  const std::vector<uint8_t> wasm = test::wasm(kGuest);
  const std::vector<uint8_t> bytes = encode_prepared(prepared(wasm));
  EXPECT_EQ(decode_prepared(bytes, {}).code(), Code::kCorruption);
}

TEST(PreparedFileTest, OtherVersionsAreNotRead) {
  const std::vector<uint8_t> wasm = test::wasm(kGuest);
  for (const size_t at : {4, 8}) {
    std::vector<uint8_t> bytes = encode_prepared(prepared(wasm));
    bytes[at]++;
    EXPECT_EQ(decode_prepared(bytes, wasm).code(), Code::kUnsupported) << at;
  }
  std::vector<uint8_t> bytes = encode_prepared(prepared(wasm));
  bytes[0]++;
  EXPECT_EQ(decode_prepared(bytes, wasm).code(), Code::kCorruption);
}

}  // namespace
}  // namespace spore::wasm
