#include "spore/engine/guest_memory.h"

#include <array>
#include <limits>

#include <gtest/gtest.h>

namespace spore::engine {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();

// Every pair of addresses and lengths around the end, and such as would wrap around when added.
TEST(GuestMemoryTest, OnlyWhatLiesInsideAsAWholeIsASpan) {
  std::array<std::byte, 100> bytes{};
  const GuestMemory memory(bytes);
  const std::array<uint64_t, 10> edges{0, 1, 50, 99, 100, 101, kMax / 2, kMax - 100, kMax - 1, kMax};
  for (const uint64_t address : edges) {
    for (const uint64_t length : edges) {
      const bool inside = address <= 100 && length <= 100 && address + length <= 100;
      const auto span = memory.span({address}, length);
      EXPECT_EQ(span.ok(), inside) << address << " + " << length;
      if (span.ok()) {
        EXPECT_EQ(span.value().data(), bytes.data() + address);
        EXPECT_EQ(span.value().size(), length);
      }
    }
  }
}

TEST(GuestMemoryTest, AnErrorNamesAddressLengthAndSize) {
  std::array<std::byte, 16> bytes{};
  const auto span = GuestMemory(bytes).span({12}, 5);
  EXPECT_EQ(span.code(), Code::kInvalidArgument);
  EXPECT_EQ(span.status().message(), "5 bytes at guest address 0xc are not inside the memory of 16 bytes");
}

TEST(GuestMemoryTest, AnEmptyMemoryHasOnlyTheEmptySpanAtZero) {
  const GuestMemory memory;
  EXPECT_TRUE(memory.span({0}, 0).ok());
  EXPECT_FALSE(memory.span({0}, 1).ok());
  EXPECT_FALSE(memory.span({1}, 0).ok());
}

}  // namespace
}  // namespace spore::engine
