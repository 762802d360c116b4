#include "spore/engine/code_file.h"

#include <gtest/gtest.h>

namespace spore::engine {
namespace {

std::vector<uint8_t> sample() {
  static const std::vector<uint8_t> payload{1, 2, 3, 4, 5};
  CodeFile file;
  file.module_hash.bytes.fill(7);
  file.made_by = "wasmtime 0; test";
  file.payload = payload;
  return encode_code_file(file);
}

TEST(CodeFileTest, WhatWasEncodedIsDecoded) {
  const std::vector<uint8_t> bytes = sample();
  const CodeFile file = decode_code_file(bytes).value();
  EXPECT_EQ(file.made_by, "wasmtime 0; test");
  EXPECT_EQ(file.module_hash.bytes[31], 7);
  EXPECT_EQ(std::vector<uint8_t>(file.payload.begin(), file.payload.end()),
            (std::vector<uint8_t>{1, 2, 3, 4, 5}));
}

TEST(CodeFileTest, EveryFlippedBitIsRefused) {
  const std::vector<uint8_t> good = sample();
  for (size_t bit = 0; bit < good.size() * 8; bit++) {
    std::vector<uint8_t> bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    EXPECT_FALSE(decode_code_file(bad).ok()) << "bit " << bit;
  }
}

TEST(CodeFileTest, EveryTruncationIsRefused) {
  const std::vector<uint8_t> good = sample();
  for (size_t length = 0; length < good.size(); length++) {
    EXPECT_EQ(decode_code_file(std::span(good).first(length)).code(), Code::kCorruption) << length;
  }
}

TEST(CodeFileTest, ANewerVersionIsNamedWithTheOneThatIsRead) {
  std::vector<uint8_t> bytes = sample();
  bytes[8] = 2;
  const auto file = decode_code_file(bytes);
  EXPECT_EQ(file.code(), Code::kUnsupported);
  EXPECT_EQ(file.status().message(), "saved code: format version 2, this build reads up to 1");
}

TEST(CodeFileTest, TrailingBytesAreRefused) {
  std::vector<uint8_t> bytes = sample();
  bytes.push_back(0);
  EXPECT_EQ(decode_code_file(bytes).code(), Code::kCorruption);
}

}  // namespace
}  // namespace spore::engine
