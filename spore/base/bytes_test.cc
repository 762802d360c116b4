#include "spore/base/bytes.h"

#include <gtest/gtest.h>

namespace spore {
namespace {

TEST(BytesTest, WhatIsWrittenIsRead) {
  const std::vector<uint8_t> bytes = ByteWriter().u8(1).u16(0x203).u32(0x4050607).u64(8).text("nine").take();
  EXPECT_EQ(bytes.size(), 1u + 2 + 4 + 8 + 4 + 4);
  EXPECT_EQ(bytes[1], 3);  // low byte first
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u8(), 1);
  EXPECT_EQ(reader.u16(), 0x203);
  EXPECT_EQ(reader.u32(), 0x4050607u);
  EXPECT_EQ(reader.u64(), 8u);
  EXPECT_EQ(reader.text(4), "nine");
  reader.finish();
  EXPECT_TRUE(reader.ok());
}

TEST(BytesTest, TheFirstFailureStaysAndSaysWhere) {
  const std::vector<uint8_t> bytes = ByteWriter().u16(1).take();
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u16(), 1);
  EXPECT_EQ(reader.u32(), 0u);
  reader.fail("something later");
  EXPECT_EQ(std::move(reader).status().message(), "at byte 2: the bytes end too early");
}

TEST(BytesTest, TextsAndCountsAreHeldToTheirLimits) {
  const std::vector<uint8_t> text = ByteWriter().text("12345").take();
  EXPECT_EQ(ByteReader(text).text(5), "12345");
  ByteReader shorter(text);
  EXPECT_EQ(shorter.text(4), "");
  EXPECT_FALSE(shorter.ok());
  const std::span<const uint8_t> part = std::span(text).first(8);
  ByteReader torn(part);
  EXPECT_EQ(torn.text(5), "");
  EXPECT_FALSE(torn.ok());

  const std::vector<uint8_t> counted = ByteWriter().u32(2).u64(0).take();
  EXPECT_EQ(ByteReader(counted).count(2, 4), 2u);
  ByteReader many(counted);
  EXPECT_EQ(many.count(1, 4), 0u);
  EXPECT_FALSE(many.ok());
  ByteReader large(counted);
  EXPECT_EQ(large.count(2, 5), 0u);  // 10 bytes, and there are 8
  EXPECT_FALSE(large.ok());
}

TEST(BytesTest, WhatIsLeftOverIsAFailure) {
  const std::vector<uint8_t> bytes(3);
  ByteReader reader(bytes);
  reader.u16();
  reader.finish();
  EXPECT_EQ(std::move(reader).status().message(), "at byte 2: bytes are left over");
}

}  // namespace
}  // namespace spore
