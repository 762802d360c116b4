#include "spore/base/frames.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/bytes.h"

namespace spore {
namespace {

std::vector<uint8_t> random_bytes(size_t bytes, uint32_t seed) {
  std::vector<uint8_t> result(bytes);
  for (uint8_t& byte : result) {
    seed = seed * 1'664'525 + 1'013'904'223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return result;
}
// What can be compressed, and better by who looks longer: words in any order.
std::vector<uint8_t> dull_bytes(size_t bytes) {
  const std::vector<uint8_t> words = random_bytes(4096, 7);
  std::vector<uint8_t> result;
  for (size_t i = 0; result.size() < bytes; i++) {
    const size_t at = i * i * 7919 % 4001;
    result.insert(result.end(), words.begin() + static_cast<ptrdiff_t>(at),
                  words.begin() + static_cast<ptrdiff_t>(at + 5 + i % 11));
    if (i % 20 == 0) result.insert(result.end(), 40, 0);
  }
  result.resize(bytes);
  return result;
}

std::vector<uint8_t> encoded(Codec codec, int level, std::span<const uint8_t> frame) {
  FrameEncoder encoder = FrameEncoder::create(codec, level).value();
  const auto bytes = encoder.encode(frame, frame.size()).value();
  return {bytes.begin(), bytes.end()};
}

class FramesTest : public testing::TestWithParam<Codec> {};
INSTANTIATE_TEST_SUITE_P(Codecs, FramesTest, testing::Values(Codec::kZstd, Codec::kLz4),
                         [](const auto& it) { return std::string(codec_name(it.param)); });

TEST_P(FramesTest, AFrameComesBackAtEachLevel) {
  size_t first = 0;
  for (int level = kCompressionLevelMin; level <= kCompressionLevelMax; level++) {
    for (const size_t bytes : {size_t{500}, size_t{1000}, kFrameBytes - 1, kFrameBytes}) {
      const std::vector<uint8_t> frame = dull_bytes(bytes);
      const std::vector<uint8_t> stored = encoded(GetParam(), level, frame);
      ASSERT_FALSE(stored.empty()) << level << ", " << bytes;
      ASSERT_LT(stored.size(), bytes);
      std::vector<uint8_t> again(bytes);
      FrameDecoder decoder;
      ASSERT_TRUE(decoder.decode(GetParam(), stored, again).ok());
      EXPECT_EQ(again, frame);
      EXPECT_EQ(encoded(GetParam(), level, frame), stored) << "the same bytes become the same";
      if (bytes != kFrameBytes) {
        continue;
      }
      if (level == kCompressionLevelMin) first = stored.size();
      if (level == kCompressionLevelMax) {
        EXPECT_LT(stored.size(), first);
      }
    }
  }
}

TEST_P(FramesTest, WhatDoesNotShrinkEnoughIsNotCompressed) {
  EXPECT_TRUE(encoded(GetParam(), kCompressionLevel, random_bytes(kFrameBytes, 1)).empty());
  EXPECT_TRUE(encoded(GetParam(), kCompressionLevel, random_bytes(1, 1)).empty());
  const std::vector<uint8_t> frame = dull_bytes(kFrameBytes);
  FrameEncoder encoder = FrameEncoder::create(GetParam(), kCompressionLevel).value();
  const size_t bytes = encoder.encode(frame, frame.size())->size();
  EXPECT_EQ(encoder.encode(frame, bytes + 1)->size(), bytes);
  EXPECT_TRUE(encoder.encode(frame, bytes)->empty());
}

// Goal: a frame gives exactly its length, or nothing is believed of it.
TEST_P(FramesTest, AFrameOfAnotherLengthIsRefused) {
  const std::vector<uint8_t> frame = dull_bytes(10'000);
  const std::vector<uint8_t> stored = encoded(GetParam(), kCompressionLevel, frame);
  FrameDecoder decoder;
  for (const size_t bytes : {size_t{1}, size_t{9'999}, size_t{10'001}, kFrameBytes}) {
    std::vector<uint8_t> into(bytes + 64, 0xAB);
    EXPECT_EQ(decoder.decode(GetParam(), stored, std::span(into).first(bytes)).code(), Code::kCorruption)
        << bytes;
    EXPECT_TRUE(std::ranges::all_of(std::span(into).last(64), [](uint8_t byte) { return byte == 0xAB; }));
  }
  for (size_t bytes = 0; bytes < stored.size(); bytes++) {
    std::vector<uint8_t> into(frame.size());
    EXPECT_EQ(decoder.decode(GetParam(), std::span(stored).first(bytes), into).code(), Code::kCorruption)
        << bytes;
  }
  std::vector<uint8_t> longer = stored;
  longer.push_back(0);
  std::vector<uint8_t> into(frame.size());
  EXPECT_EQ(decoder.decode(GetParam(), longer, into).code(), Code::kCorruption);
  EXPECT_TRUE(decoder.decode(GetParam(), stored, into).ok()) << "a decoder is as good after a failure";
  EXPECT_EQ(into, frame);
}

TEST_P(FramesTest, EveryFlippedBitGivesBytesOrAnError) {
  const std::vector<uint8_t> frame = dull_bytes(3'000);
  std::vector<uint8_t> stored = encoded(GetParam(), kCompressionLevel, frame);
  FrameDecoder decoder;
  size_t refused = 0;
  for (size_t bit = 0; bit < stored.size() * 8; bit++) {
    stored[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    std::vector<uint8_t> into(frame.size());
    const Status status = decoder.decode(GetParam(), stored, into);
    EXPECT_TRUE(status.ok() || status.code() == Code::kCorruption) << status.message();
    refused += status.ok() ? 0 : 1;
    stored[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
  EXPECT_GT(refused, 0u);
}

// zstd itself would take two frames for one, and pass over a skippable one.
TEST(FramesZstdTest, OnlyOneFrameThatSaysItsLengthIsTaken) {
  const std::vector<uint8_t> frame = dull_bytes(2'000);
  const auto half = std::span(frame).first(1'000);
  FrameDecoder decoder;
  std::vector<uint8_t> into(frame.size());

  std::vector<uint8_t> two = encoded(Codec::kZstd, 6, half);
  const std::vector<uint8_t> second = encoded(Codec::kZstd, 6, std::span(frame).last(1'000));
  two.insert(two.end(), second.begin(), second.end());
  ASSERT_EQ(ZSTD_decompress(into.data(), into.size(), two.data(), two.size()), into.size());
  EXPECT_EQ(decoder.decode(Codec::kZstd, two, into).code(), Code::kCorruption);

  std::vector<uint8_t> skipped{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
  const std::vector<uint8_t> whole = encoded(Codec::kZstd, 6, frame);
  skipped.insert(skipped.end(), whole.begin(), whole.end());
  ASSERT_EQ(ZSTD_decompress(into.data(), into.size(), skipped.data(), skipped.size()), into.size());
  EXPECT_EQ(decoder.decode(Codec::kZstd, skipped, into).code(), Code::kCorruption);

  std::vector<uint8_t> silent(ZSTD_compressBound(frame.size()));
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  silent.resize(ZSTD_compress2(context, silent.data(), silent.size(), frame.data(), frame.size()));
  ZSTD_freeCCtx(context);
  ASSERT_EQ(ZSTD_decompress(into.data(), into.size(), silent.data(), silent.size()), into.size());
  EXPECT_EQ(decoder.decode(Codec::kZstd, silent, into).code(), Code::kCorruption);
}

// --- the table -------------------------------------------------------------------------------------------

std::vector<uint8_t> table_of(const std::vector<uint32_t>& entries) {
  ByteWriter writer;
  for (const uint32_t entry : entries) writer.u32(entry);
  return writer.take();
}

TEST(FrameTableTest, ItSaysWhereFramesAre) {
  const uint64_t raw = 2 * kFrameBytes + 100;
  const FrameTable table =
      FrameTable::decode(table_of({500, kFrameBytes | kRawFrame, 99}), 12 + 500 + kFrameBytes + 99, raw)
          .value();
  ASSERT_EQ(table.count(), 3u);
  EXPECT_EQ(table[0].offset, 12u);
  EXPECT_EQ(table[0].bytes, 500u);
  EXPECT_EQ(table[0].raw_bytes, kFrameBytes);
  EXPECT_FALSE(table[0].raw);
  EXPECT_EQ(table[1].offset, 512u);
  EXPECT_TRUE(table[1].raw);
  EXPECT_EQ(table[2].offset, 512u + kFrameBytes);
  EXPECT_EQ(table[2].raw_offset, 2 * kFrameBytes);
  EXPECT_EQ(table[2].raw_bytes, 100u);
  EXPECT_EQ(table.at(12), 0u);
  EXPECT_EQ(table.at(511), 0u);
  EXPECT_EQ(table.at(512), 1u);
  EXPECT_EQ(table.at(512 + kFrameBytes + 98), 2u);
}

TEST(FrameTableTest, WhatCannotBeIsRefused) {
  const auto code = [](const std::vector<uint32_t>& entries, uint64_t stored, uint64_t raw) {
    return FrameTable::decode(table_of(entries), stored, raw).code();
  };
  constexpr uint64_t kRaw = kFrameBytes + 100;
  EXPECT_EQ(code({500, 99}, 8 + 599, kRaw), Code::kOk);
  EXPECT_EQ(code({500, 100 | kRawFrame}, 8 + 600, kRaw), Code::kOk);
  EXPECT_EQ(code({kFrameBytes - 1, 99}, 8 + kFrameBytes - 1 + 99, kRaw), Code::kOk);
  EXPECT_EQ(code({500, 100}, 8 + 600, kRaw), Code::kCorruption);             // it became no smaller
  EXPECT_EQ(code({500, 99 | kRawFrame}, 8 + 599, kRaw), Code::kCorruption);  // raw, and of another length
  EXPECT_EQ(code({500, 101 | kRawFrame}, 8 + 601, kRaw), Code::kCorruption);
  EXPECT_EQ(code({0, 99}, 8 + 99, kRaw), Code::kCorruption);
  EXPECT_EQ(code({500, 99}, 8 + 598, kRaw), Code::kCorruption);
  EXPECT_EQ(code({500, 99}, 8 + 600, kRaw), Code::kCorruption);
  EXPECT_EQ(code({500, 99}, 7, kRaw), Code::kCorruption);
  EXPECT_EQ(code({~kRawFrame, 99}, 8 + 599, kRaw), Code::kCorruption);
  EXPECT_EQ(code({kFrameBytes | kRawFrame, 100 | kRawFrame}, 8 + kRaw, kRaw), Code::kCorruption);
  EXPECT_EQ(code({}, 0, 0), Code::kCorruption);
}

}  // namespace
}  // namespace spore
