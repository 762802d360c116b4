#include "spore/base/hash.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

Digest hash_of(std::string_view text) {
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// The examples of FIPS 180-4 and NIST's vectors: empty, one block, two blocks, many.
TEST(HashTest, KnownVectors) {
  EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hash_of("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq").hex(),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hash_of(std::string(1'000'000, 'a')).hex(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// However a text is cut into parts, its hash is that of the whole.
TEST(HashTest, PartsAreHashedOneAfterTheOther) {
  const std::string text(200, 'a');
  const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  for (size_t cut = 0; cut <= text.size(); cut++) {
    EXPECT_EQ(sha256({bytes.first(cut), bytes.subspan(cut)}), hash_of(text)) << cut;
  }
  EXPECT_EQ(sha256({bytes.first(50), {}, bytes.subspan(50, 14), bytes.subspan(64)}), hash_of(text));
  EXPECT_NE(sha256({bytes.first(50)}), hash_of(text));
}

TEST(HashTest, ZeroBytesCount) {
  using std::string_view_literals::operator""sv;
  EXPECT_NE(hash_of(""), hash_of("\0"sv));
  EXPECT_EQ(hash_of("\0"sv).hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

// Every byte value, with its leading zero.
TEST(HashTest, HexHasTwoLowerCaseDigitsAByte) {
  Digest digest;
  for (size_t start = 0; start < 256; start += digest.bytes.size()) {
    std::string expected;
    for (size_t i = 0; i < digest.bytes.size(); i++) {
      digest.bytes[i] = static_cast<uint8_t>(start + i);
      expected += "0123456789abcdef"[(start + i) / 16];
      expected += "0123456789abcdef"[(start + i) % 16];
    }
    EXPECT_EQ(digest.hex(), expected);
  }
}

TEST(HashTest, DigestsCompareAsTheirHexDoes) {
  std::vector<Digest> digests{hash_of("a"), hash_of("b"), hash_of("c"), hash_of("d"), Digest{}};
  std::ranges::sort(digests);
  EXPECT_EQ(digests.front(), Digest{});
  EXPECT_TRUE(std::ranges::is_sorted(digests, {}, &Digest::hex));
  EXPECT_EQ(hash_of("a"), hash_of("a"));
}

}  // namespace
}  // namespace spore
