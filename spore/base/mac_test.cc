#include "spore/base/mac.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "spore/base/hash.h"

namespace spore {
namespace {

MacKey counting_key() {
  std::array<uint8_t, MacKey::kBytes> bytes;
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  return MacKey(bytes);
}

// As bytes it is 01 02 03 ... 0c.
constexpr Mac::Nonce kNonce{.purpose = 0x04030201, .number = 0x0c0b0a0908070605};

std::vector<uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

std::vector<uint8_t> large_message() {
  std::vector<uint8_t> bytes(100'000);
  for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i * 7 + 3);
  return bytes;
}

MacTag tag_of(std::span<const uint8_t> bytes, const Mac::Nonce& nonce = kNonce,
              const MacKey& key = counting_key()) {
  Mac mac(key);
  mac.begin(nonce);
  mac.update(bytes);
  return mac.finish();
}

std::string hex(const MacTag& tag) {
  std::string text;
  for (const uint8_t byte : tag.bytes) text += fmt::format("{:02x}", byte);
  return text;
}

// Method: `openssl mac -cipher AES-256-GCM -macopt hexkey:0001..1f -macopt hexiv:0102..0c -in FILE GMAC`.
TEST(MacTest, TagsAreThoseOfGmac) {
  EXPECT_EQ(hex(tag_of({})), "2de03dae663071831859ef8b9da935f6");
  EXPECT_EQ(hex(tag_of(bytes_of("spore"))), "02c93a0130c0fcd477bd4b4eaca22726");
  EXPECT_EQ(hex(tag_of(large_message())), "eacc9af49c62b7d1c55049d0c4060e8b");
  EXPECT_EQ(hex(tag_of(bytes_of("spore"), {})), "df7471011c4912b2c9123ff479c924ed");
}

// Method: hmac.new(bytes(range(32)), b"a salt", sha256) in Python.
TEST(MacTest, KeysAreDerivedByHmac) {
  const MacKey derived = counting_key().derive(bytes_of("a salt"));
  Digest digest;
  std::ranges::copy(derived.bytes(), digest.bytes.begin());
  EXPECT_EQ(digest.hex(), "2ecebc5e6b949ff922e184609a7777a1b67dec1b3a740e05867aa0d2b8e96263");
}

TEST(MacTest, HowAMessageIsCutMakesNoDifference) {
  const std::vector<uint8_t> bytes = large_message();
  const MacTag whole = tag_of(bytes);
  for (const size_t step : {size_t{1}, size_t{15}, size_t{16}, size_t{17}, size_t{4096}, size_t{99'999}}) {
    Mac mac(counting_key());
    mac.begin(kNonce);
    for (size_t at = 0; at < bytes.size(); at += step) {
      mac.update(std::span(bytes).subspan(at, std::min(step, bytes.size() - at)));
    }
    EXPECT_EQ(mac.finish(), whole) << step;
  }
}

TEST(MacTest, OneMacTakesOneMessageAfterTheOther) {
  Mac mac(counting_key());
  for (int i = 0; i < 3; i++) {
    mac.begin(kNonce);
    mac.update(bytes_of("spore"));
    EXPECT_EQ(hex(mac.finish()), "02c93a0130c0fcd477bd4b4eaca22726");
  }
}

TEST(MacTest, EveryFlippedBitChangesTheTag) {
  std::vector<uint8_t> bytes = large_message();
  bytes.resize(300);
  const MacTag good = tag_of(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    EXPECT_NE(tag_of(bytes), good) << bit;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  }
}

TEST(MacTest, KeyNonceAndLengthCount) {
  const std::vector<uint8_t> bytes = bytes_of("spore");
  const MacTag good = tag_of(bytes);
  EXPECT_NE(tag_of(bytes, {.purpose = kNonce.purpose + 1, .number = kNonce.number}), good);
  EXPECT_NE(tag_of(bytes, {.purpose = kNonce.purpose, .number = kNonce.number + 1}), good);
  EXPECT_NE(tag_of(bytes, kNonce, counting_key().derive({})), good);
  // The polynomial alone would not see zeros that are added to fill the last block.
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_NE(tag_of(longer), good);
}

TEST(MacTest, TagsAreComparedToTheLastByte) {
  const MacTag good = tag_of({});
  for (size_t i = 0; i < good.bytes.size(); i++) {
    MacTag other = good;
    other.bytes[i] ^= 0x80;
    EXPECT_FALSE(other == good) << i;
  }
  EXPECT_TRUE(MacTag(good) == good);
}

}  // namespace
}  // namespace spore
