// What a delta says is what was there: encoded, taken apart, folded, told from another one; and whatever else
// its bytes are, they are refused.

#include "spore/cell/delta.h"

#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "spore/cell/clean_instance.h"
#include "spore/cell/pool.h"
#include "tests/blueprint.h"

namespace spore::cell {
namespace {

using Kind = Delta::Part::Kind;

bool operator_equal(const Delta& a, const Delta& b) { return encode_delta(a) == encode_delta(b); }

Delta everything() {
  Delta delta;
  delta.memories.resize(2);
  delta.memories[0].bytes = 3 * 65'536;
  delta.memories[0].runs = {{0, {1}}, {5, {2, 3}}, {131'071, {4}}};
  delta.memories[1].runs = {{uint64_t{1} << 33, std::vector<uint8_t>(300, 7)}};
  engine::RawValue value{};
  value.i64 = -5;
  delta.values.globals = {{0, {engine::ValType::kI64, value}}, {130, {engine::ValType::kF32, {}}}};
  delta.values.tables = {{1, 400, {{0, 7}, {399, engine::StateValues::kNullFunction}}}};
  delta.wasi = {Kind::kSet, {9, 8, 7}};
  delta.caller = {Kind::kSet, {}};
  return delta;
}

TEST(DeltaTest, IsReadAsItWasWritten) {
  const std::vector<uint8_t> bytes = encode_delta(everything());
  const Delta read = decode_delta(bytes).value();
  EXPECT_EQ(read.memories, everything().memories);
  EXPECT_EQ(read.values.globals.size(), 2U);
  EXPECT_EQ(read.values.globals[1].number, 130U);
  EXPECT_EQ(read.values.globals[0].value.value.i64, -5);
  EXPECT_EQ(read.values.tables[0].elements, 400U);
  EXPECT_EQ(read.values.tables[0].changed[1].number, 399U);
  EXPECT_EQ(read.values.tables[0].changed[1].function, engine::StateValues::kNullFunction);
  EXPECT_EQ(read.wasi, everything().wasi);
  EXPECT_EQ(read.caller, everything().caller);
  EXPECT_EQ(encode_delta(read), bytes);
  EXPECT_EQ(pages_in(read), 3U);
  EXPECT_EQ(encode_delta({}).size(), 3U);
}

// A delta has no bytes to spare: none can be cut off, and none added.
TEST(DeltaTest, WhatIsCutShortOrTooLongIsRefused) {
  std::vector<uint8_t> bytes = encode_delta(everything());
  for (size_t length = 0; length < bytes.size(); length++) {
    EXPECT_EQ(decode_delta(std::span(bytes).first(length)).code(), Code::kCorruption) << length;
  }
  bytes.push_back(0);
  EXPECT_EQ(decode_delta(bytes).code(), Code::kCorruption);
}

// Flipped bits are refused, or say something else that is written as it was read.
TEST(DeltaTest, FlippedBitsAreRefusedOrMeanWhatTheySay) {
  const std::vector<uint8_t> bytes = encode_delta(everything());
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    std::vector<uint8_t> flipped = bytes;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ (1U << bit % 8));
    const Result<Delta> read = decode_delta(flipped);
    if (!read.ok()) continue;
    const Result<Delta> again = decode_delta(encode_delta(read.value()));
    ASSERT_TRUE(again.ok()) << bit << again.status().message();
    EXPECT_TRUE(operator_equal(read.value(), again.value())) << bit;
  }
}

TEST(DeltaTest, BytesThatMeanNothingAreRefused) {
  const auto code = [](std::vector<uint8_t> bytes) { return decode_delta(bytes).code(); };
  EXPECT_EQ(code({1, 0, 0}), Code::kOk);
  EXPECT_EQ(code({0, 0, 0}), Code::kCorruption);
  EXPECT_EQ(code({2, 0, 0}), Code::kUnsupported);
  EXPECT_EQ(code({1, 128, 0}), Code::kCorruption);                     // a part that is not known
  EXPECT_EQ(code({1, 8 + 32, 0, 0}), Code::kCorruption);               // WASI twice
  EXPECT_EQ(code({1, 16 + 64, 0, 0}), Code::kCorruption);              // the caller's part twice
  EXPECT_EQ(code({1, 0, 101}), Code::kCorruption);                     // too many memories
  EXPECT_EQ(code({1, 0, 1, 1, 0, 9, 1, 0, 9, 0}), Code::kCorruption);  // two runs that touch
  EXPECT_EQ(code({1, 0, 1, 1, 0, 9, 1, 1, 9, 0}), Code::kOk);
  EXPECT_EQ(code({1, 0, 1, 5, 0, 9}), Code::kCorruption);           // more bytes than there are
  EXPECT_EQ(code({1, 2, 0, 0}), Code::kCorruption);                 // no globals
  EXPECT_EQ(code({1, 2, 0, 1, 0, 5, 0}), Code::kCorruption);        // no such type
  EXPECT_EQ(code({1, 4, 0, 1, 0, 1, 1, 1, 0}), Code::kCorruption);  // an element beyond its table
  std::vector<uint8_t> large{1, 0, 1, 1};
  large.insert(large.end(), 9, 0xFF);
  large.insert(large.end(), {1, 0, 0});
  EXPECT_EQ(code(large), Code::kCorruption);  // an offset beyond all memories
  std::vector<uint8_t> number{1, 0};
  number.insert(number.end(), 9, 0xFF);
  number.push_back(2);
  EXPECT_EQ(code(number), Code::kCorruption);  // more than 64 bits
}

// --- of instances, against plain copies of their memory ------------------------------------------------

constexpr const char* kGuest = R"((module (memory (export "memory") 2 4) (global (mut i32) (i32.const 0))
  (data (i32.const 4000) "some bytes of the image, across a page: 0123456789 0123456789 0123456789 0123456789 012")
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))))";

class DeltaOfInstanceTest : public testing::Test {
 protected:
  std::unique_ptr<CleanInstance> make() { return CleanInstance::create(blueprint_, image_).value(); }
  static std::vector<std::byte> memory_of(CleanInstance& instance) {
    const memory::Slot& slot = *instance.state().slots()[0];
    return {slot.base(), slot.base() + slot.bytes()};
  }
  static Delta delta_of(CleanInstance& instance) {
    std::vector<uint8_t> bytes;
    EXPECT_TRUE(encode_state(instance, nullptr, 1 << 24, bytes).ok());
    return decode_delta(bytes).value();
  }
  // Random writes: single bytes, words, ranges, pages; some of them what was there already.
  static void scribble(CleanInstance& instance, std::mt19937& random) {
    const memory::Slot& slot = *instance.state().slots()[0];
    for (int i = 0; i < 20; i++) {
      const size_t length =
          std::min<size_t>(slot.bytes(), size_t{1} << random() % (random() % 4 == 0 ? 15 : 5));
      const size_t at = random() % 3 == 0 ? 3990 + random() % 200 : random() % (slot.bytes() - length + 1);
      const auto value = static_cast<int>(random() % 3 == 0 ? 0 : random() % 256);
      std::memset(slot.base() + at, value, std::min(length, slot.bytes() - at));
    }
    if (random() % 4 == 0) {
      EXPECT_TRUE(instance.instance().function<int32_t()>("grow").value()().ok());
    }
  }

  test::Modules modules_;
  std::shared_ptr<const Blueprint> blueprint_ = modules_.load("guest", kGuest);
  std::shared_ptr<const Image> image_ = Image::create(blueprint_, {}).value();
};

TEST_F(DeltaOfInstanceTest, WhatWasEncodedIsThereAgain) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto used = make();
  const auto woken = make();
  for (int round = 0; round < 200; round++) {
    used->begin(nullptr);
    for (int i = 0; i < 3; i++) {
      scribble(*used, random);
      std::vector<uint8_t> bytes;
      ASSERT_TRUE(encode_state(*used, nullptr, 1 << 24, bytes).ok());
      ASSERT_TRUE(check_delta(decode_delta(bytes).value(), *image_).ok());
      woken->begin(nullptr);
      ASSERT_TRUE(apply_state(*woken, bytes).ok());
      ASSERT_EQ(memory_of(*used), memory_of(*woken));
      std::vector<uint8_t> again;
      ASSERT_TRUE(encode_state(*woken, nullptr, 1 << 24, again).ok());
      EXPECT_EQ(bytes, again);
      ASSERT_TRUE(woken->reset().ok());
    }
    ASSERT_TRUE(used->reset().ok());
    EXPECT_EQ(delta_of(*used).memories, std::vector<Delta::Memory>());
  }
}

// A chain of differences, folded, is the last state.
TEST_F(DeltaOfInstanceTest, LinksFoldToTheLastState) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto used = make();
  const auto woken = make();
  for (int round = 0; round < 50; round++) {
    used->begin(nullptr);
    Delta before = delta_of(*used);
    Delta folded = before;
    for (int i = 0; i < 5; i++) {
      scribble(*used, random);
      const Delta now = delta_of(*used);
      const Delta link = difference(before, now, *image_);
      folded = fold(std::move(folded), link).value();
      EXPECT_TRUE(operator_equal(difference(now, now, *image_), {}));
      // It may say of some bytes that they are as in the image; the state is the same.
      woken->begin(nullptr);
      ASSERT_TRUE(apply_state(*woken, encode_delta(folded)).ok());
      ASSERT_EQ(memory_of(*used), memory_of(*woken));
      EXPECT_TRUE(operator_equal(delta_of(*woken), now));
      ASSERT_TRUE(woken->reset().ok());
      before = now;
    }
    ASSERT_TRUE(used->reset().ok());
  }
}

TEST_F(DeltaOfInstanceTest, OfTwoImages) {
  std::mt19937 random(1);
  const auto used = make();
  used->begin(nullptr);
  scribble(*used, random);
  const auto first = Image::capture(blueprint_, used->instance(), {}).value();
  scribble(*used, random);
  EXPECT_TRUE(used->instance().function<int32_t()>("grow").value()().ok());
  const auto second = Image::capture(blueprint_, used->instance(), {}).value();
  for (const auto& [from, to] :
       {std::pair(first, second), std::pair(second, first), std::pair(image_, second)}) {
    const Delta delta = difference(from->parts().value(), to->parts().value()).value();
    const Image::Parts made = apply_delta(from->parts().value(), delta).value();
    const memory::PageImage& right = *to->memories().images[0];
    ASSERT_EQ(made.memories[0]->bytes(), right.bytes());
    for (size_t offset = 0; offset < right.bytes(); offset += memory::kPageBytes) {
      const std::byte* a = made.memories[0]->page(offset);
      const std::byte* b = right.page(offset);
      const std::vector<std::byte> zeros(memory::kPageBytes);
      EXPECT_EQ(std::memcmp(a == nullptr ? zeros.data() : a, b == nullptr ? zeros.data() : b, zeros.size()),
                0);
    }
  }
}

TEST_F(DeltaOfInstanceTest, ALimitIsKept) {
  const auto used = make();
  used->begin(nullptr);
  std::memset(used->state().slots()[0]->base(), 0xAB, 100);
  std::vector<uint8_t> bytes{42};
  ASSERT_TRUE(encode_state(*used, nullptr, 1'000, bytes).ok());
  const size_t length = bytes.size() - 1;
  EXPECT_EQ(encode_state(*used, nullptr, length - 1, bytes).code(), Code::kLimitExceeded);
  EXPECT_EQ(bytes.size(), length + 1);  // and nothing was left behind
  EXPECT_TRUE(encode_state(*used, nullptr, length, bytes).ok());
}

// What does not fit is refused while it is applied, too.
TEST_F(DeltaOfInstanceTest, ApplyingStaysInside) {
  const auto used = make();
  used->begin(nullptr);
  Delta delta;
  delta.memories.resize(1);
  delta.memories[0].runs = {{2 * 65'536 - 1, {1, 2}}};
  EXPECT_EQ(apply_state(*used, encode_delta(delta)).code(), Code::kCorruption);
  delta.memories[0].runs = {{uint64_t{1} << 61, {1}}};
  EXPECT_EQ(apply_state(*used, encode_delta(delta)).code(), Code::kCorruption);
  delta.memories.resize(2);
  delta.memories[0].runs.clear();
  delta.memories[1].runs = {{0, {1}}};
  EXPECT_EQ(apply_state(*used, encode_delta(delta)).code(), Code::kCorruption);
}

}  // namespace
}  // namespace spore::cell
