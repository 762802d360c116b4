#include "spore/base/keyed_hash.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace spore {
namespace {

constexpr std::array<uint64_t, 2> kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

// The same text gives the same, any other text of all lengths around the words of the hash another.
TEST(KeyedHashTest, TellsTextsApart) {
  const KeyedHash hash(kKey);
  std::set<uint64_t> seen;
  std::string text;
  for (int i = 0; i < 40; i++) {
    EXPECT_EQ(hash(text), hash(std::string(text)));
    EXPECT_TRUE(seen.insert(hash(text)).second) << i;
    std::string other = text;
    for (char& byte : other) {
      byte ^= 1;
      EXPECT_TRUE(seen.insert(hash(other)).second) << i;
      byte ^= 1;
    }
    text += static_cast<char>('a' + i % 26);
  }
  EXPECT_NE(hash(std::string(1, '\0')), hash(std::string(2, '\0')));
}

// Two tables have two keys.
TEST(KeyedHashTest, AnotherKeyGivesAnotherHash) {
  EXPECT_NE(KeyedHash(kKey)("name"), KeyedHash({kKey[0] + 1, kKey[1]})("name"));
  EXPECT_NE(KeyedHash(kKey)("name"), KeyedHash({kKey[0], kKey[1] + 1})("name"));
  EXPECT_NE(KeyedHash()("name"), KeyedHash()("name"));
}

// Against the words of its authors: no bit of the sum stays as it is.
TEST(KeyedHashTest, EachBitOfTheTextReachesEachBitOfTheHash) {
  const KeyedHash hash(kKey);
  std::string text = "eight by8 and more";
  uint64_t changed = 0;
  for (size_t bit = 0; bit < text.size() * 8; bit++) {
    std::string other = text;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    changed |= hash(text) ^ hash(other);
  }
  EXPECT_EQ(changed, ~uint64_t{0});
}

}  // namespace
}  // namespace spore
