#include "spore/base/utf8.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace spore {
namespace {

// RFC 3629, the other way round: what a code point encodes to.
std::string encode(uint32_t point) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xC0 | point >> 6), byte(0x80 | (point & 0x3F))};
  if (point < 0x10000) {
    return {byte(0xE0 | point >> 12), byte(0x80 | (point >> 6 & 0x3F)), byte(0x80 | (point & 0x3F))};
  }
  return {byte(0xF0 | point >> 18), byte(0x80 | (point >> 12 & 0x3F)), byte(0x80 | (point >> 6 & 0x3F)),
          byte(0x80 | (point & 0x3F))};
}

bool is_surrogate(uint32_t point) { return point >= 0xD800 && point <= 0xDFFF; }

uint32_t number_of(std::string_view bytes) {
  uint32_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

// The well-formed sequences of up to three bytes, by encoding every code point: the reference knows no
// rule about overlong forms or surrogates, it only knows what is never produced.
class Reference {
 public:
  Reference() : two_(1 << 16), three_(1 << 24) {
    for (uint32_t point = 0; point < 0x10000; point++) {
      if (is_surrogate(point)) continue;
      const std::string bytes = encode(point);
      if (bytes.size() == 2) two_[number_of(bytes)] = true;
      if (bytes.size() == 3) three_[number_of(bytes)] = true;
    }
  }

  static bool one(uint32_t a) { return a < 0x80; }
  bool two(uint32_t a, uint32_t b) const { return two_[a << 8 | b]; }
  bool three(uint32_t a, uint32_t b, uint32_t c) const { return three_[a << 16 | b << 8 | c]; }

 private:
  std::vector<bool> two_;
  std::vector<bool> three_;
};

TEST(Utf8Test, EmptyIsUtf8) { EXPECT_TRUE(is_utf8("")); }

// All 256 + 65,536 + 16,777,216 sequences, against what encoding every code point produces.
TEST(Utf8Test, EverySequenceOfUpToThreeBytesIsJudgedAsTheEncoderSays) {
  const Reference reference;
  uint64_t wrong = 0;
  std::array<char, 3> text{};
  for (uint32_t a = 0; a < 256; a++) {
    text[0] = static_cast<char>(a);
    wrong += is_utf8({text.data(), 1}) != Reference::one(a);
    wrong += utf8_sequence_length({text.data(), 1}) != (Reference::one(a) ? 1 : 0);
    for (uint32_t b = 0; b < 256; b++) {
      text[1] = static_cast<char>(b);
      const size_t length_of_two = Reference::one(a) ? 1 : reference.two(a, b) ? 2 : 0;
      wrong += utf8_sequence_length({text.data(), 2}) != length_of_two;
      wrong += is_utf8({text.data(), 2}) != (reference.two(a, b) || (Reference::one(a) && Reference::one(b)));
      for (uint32_t c = 0; c < 256; c++) {
        text[2] = static_cast<char>(c);
        const bool rest = reference.two(b, c) || (Reference::one(b) && Reference::one(c));
        const bool good = reference.three(a, b, c) || (reference.two(a, b) && Reference::one(c)) ||
                          (Reference::one(a) && rest);
        wrong += is_utf8({text.data(), 3}) != good;
        const size_t length = length_of_two != 0 ? length_of_two : reference.three(a, b, c) ? 3 : 0;
        wrong += utf8_sequence_length({text.data(), 3}) != length;
      }
    }
  }
  EXPECT_EQ(wrong, 0u);
}

TEST(Utf8Test, EveryCodePointOfFourBytesIsTaken) {
  uint64_t wrong = 0;
  for (uint32_t point = 0x10000; point <= 0x10FFFF; point++) {
    const std::string bytes = encode(point);
    wrong += !is_utf8(bytes) || utf8_sequence_length(bytes) != 4;
  }
  EXPECT_EQ(wrong, 0u);
}

// One below and one above each bound of the four-byte form.
TEST(Utf8Test, FourBytesEndAtTheirBounds) {
  EXPECT_FALSE(is_utf8("\xF0\x8F\xBF\xBF"));  // overlong U+FFFF
  EXPECT_TRUE(is_utf8("\xF0\x90\x80\x80"));   // U+10000
  EXPECT_TRUE(is_utf8("\xF4\x8F\xBF\xBF"));   // U+10FFFF
  EXPECT_FALSE(is_utf8("\xF4\x90\x80\x80"));  // U+110000
  EXPECT_FALSE(is_utf8("\xF5\x80\x80\x80"));
  EXPECT_FALSE(is_utf8("\xF8\x88\x80\x80\x80"));  // five bytes, as once upon a time
}

TEST(Utf8Test, SurrogatesAndOverlongFormsAreRefused) {
  EXPECT_TRUE(is_utf8("\xED\x9F\xBF"));               // U+D7FF
  EXPECT_FALSE(is_utf8("\xED\xA0\x80"));              // U+D800
  EXPECT_FALSE(is_utf8("\xED\xBF\xBF"));              // U+DFFF
  EXPECT_TRUE(is_utf8("\xEE\x80\x80"));               // U+E000
  EXPECT_FALSE(is_utf8("\xED\xA0\xBD\xED\xB8\x80"));  // a pair of them (CESU-8)
  EXPECT_FALSE(is_utf8("\xC0\x80"));                  // NUL, as Java writes it
  EXPECT_FALSE(is_utf8("\xC1\xBF"));
  EXPECT_FALSE(is_utf8("\xE0\x9F\xBF"));
}

// Each sequence cut at each length, at the end of a text and before another character.
TEST(Utf8Test, TruncatedSequencesAreRefused) {
  for (const uint32_t point : {0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    const std::string whole = encode(point);
    for (size_t length = 1; length < whole.size(); length++) {
      const std::string cut = whole.substr(0, length);
      EXPECT_FALSE(is_utf8(cut));
      EXPECT_FALSE(is_utf8("ascii " + cut));
      EXPECT_FALSE(is_utf8(cut + "x"));
      EXPECT_FALSE(is_utf8(cut + whole));
      EXPECT_EQ(utf8_sequence_length(cut), 0u);
    }
  }
}

// ASCII is skipped eight bytes at a time: a bad byte must be found at every place of every length, and a
// good character accepted there.
TEST(Utf8Test, ABadByteIsFoundWhereverItStands) {
  for (size_t length = 1; length <= 40; length++) {
    EXPECT_TRUE(is_utf8(std::string(length, 'a')));
    for (size_t at = 0; at < length; at++) {
      std::string text(length, 'a');
      text[at] = '\xFF';
      EXPECT_FALSE(is_utf8(text)) << at << " of " << length;
      text.replace(at, 1, "\xC3\xBC");
      EXPECT_TRUE(is_utf8(text)) << at << " of " << length;
    }
  }
}

TEST(Utf8Test, NulIsACharacter) {
  EXPECT_TRUE(is_utf8(std::string_view("\0", 1)));
  EXPECT_FALSE(is_utf8(std::string_view("\0\x80", 2)));
}

// --- printable ----------------------------------------------------------------------------------------

TEST(PrintableTest, TextIsKept) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable(" plain ~ text"), " plain ~ text");
  EXPECT_EQ(printable("gr\u00fcezi \u20ac \U0001F600"), "gr\u00fcezi \u20ac \U0001F600");
}

// What moves a cursor, ends a line or rings a bell, the second set of them (U+0080 to U+009F) included, and
// the neighbours of each range.
TEST(PrintableTest, ControlCharactersAreWrittenOut) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(printable("\0\x01\n\r\t\x1b[2J\x1f\x20"sv), "\\x00\\x01\\x0a\\x0d\\x09\\x1b[2J\\x1f ");
  EXPECT_EQ(printable("~\x7f"), "~\\x7f");
  EXPECT_EQ(printable("\u0080\u009b2J\u009f"), "\\xc2\\x80\\xc2\\x9b2J\\xc2\\x9f");
  EXPECT_EQ(printable("\u00a0"), "\u00a0");
}

TEST(PrintableTest, WhatIsNoUtf8IsWrittenOut) {
  EXPECT_EQ(printable("a\xFFz"), "a\\xffz");
  EXPECT_EQ(printable("\xE2\x82"), "\\xe2\\x82");
  EXPECT_EQ(printable("\xC2"), "\\xc2");
  EXPECT_EQ(printable("\xC2\n"), "\\xc2\\x0a");
}

// At the limit all of it, above it the beginning; never half a character.
TEST(PrintableTest, LongTextIsCut) {
  EXPECT_EQ(printable("12345", 6), "12345");
  EXPECT_EQ(printable("12345", 5), "12345");
  EXPECT_EQ(printable("123456", 5), "12345...");
  EXPECT_EQ(printable(std::string(100, 'x')), std::string(100, 'x'));
  EXPECT_EQ(printable(std::string(101, 'x')), std::string(100, 'x') + "...");
  for (size_t bytes_max = 0; bytes_max < 12; bytes_max++) {
    EXPECT_TRUE(is_utf8(printable("\u20ac\u20ac\u20ac\u20ac", bytes_max))) << bytes_max;
  }
}

// Any two bytes: valid UTF-8 comes out, without a control character.
TEST(PrintableTest, WhatComesOutIsSafe) {
  for (int a = 0; a < 256; a++) {
    for (int b = 0; b < 256; b++) {
      const std::string text = printable(std::string{static_cast<char>(a), static_cast<char>(b)});
      ASSERT_TRUE(is_utf8(text)) << a << ' ' << b;
      for (size_t i = 0; i < text.size(); i++) {
        const auto byte = static_cast<uint8_t>(text[i]);
        ASSERT_TRUE(byte >= 0x20 && byte != 0x7F) << a << ' ' << b;
        ASSERT_FALSE(byte == 0xC2 && static_cast<uint8_t>(text[i + 1]) < 0xA0) << a << ' ' << b;
      }
    }
  }
}

}  // namespace
}  // namespace spore
