#include "spore/cell/shelf.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace spore::cell {
namespace {

// A piece lies in the smallest class that holds it, and wastes at most a fifth, or 15 bytes.
TEST(ShelfTest, ClassesWasteLittle) {
  size_t before = 0;
  for (size_t bytes = 1; bytes <= Shelf::kPieceBytesMax; bytes++) {
    const size_t of_class = Shelf::class_bytes(bytes);
    EXPECT_GE(of_class, bytes);
    EXPECT_GE(of_class, before);
    EXPECT_EQ(of_class % 8, 0U);
    if (bytes > 256) {
      EXPECT_LE(of_class - bytes, of_class / 5) << bytes;
    } else {
      EXPECT_LE(of_class - bytes, 15U);
    }
    before = of_class;
  }
  EXPECT_EQ(Shelf::class_bytes(Shelf::kPieceBytesMax), Shelf::kPieceBytesMax);
  EXPECT_EQ(Shelf::class_bytes(Shelf::kPieceBytesMax + 1), Shelf::kPieceBytesMax + 1);
}

struct Held {
  void* piece;
  size_t bytes;
  uint8_t fill;
};

bool is_filled(const Held& held) {
  const auto* bytes = static_cast<const uint8_t*>(held.piece);
  for (size_t i = 0; i < held.bytes; i++) {
    if (bytes[i] != held.fill) return false;
  }
  return true;
}

// Pieces of all sizes come and go in random order: none overlaps another, and none is lost.
TEST(ShelfTest, PiecesDoNotOverlap) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  Shelf shelf;
  std::vector<Held> held;
  for (int i = 0; i < 50'000; i++) {
    if (held.size() < 100 || random() % 100 < 51) {
      const size_t bytes = random() % (random() % 8 == 0 ? 20'000 : 300);
      Held taken{shelf.take(bytes), bytes, static_cast<uint8_t>(random())};
      ASSERT_NE(taken.piece, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(taken.piece) % 8, 0U);
      std::memset(taken.piece, taken.fill, bytes);
      held.push_back(taken);
    } else {
      std::swap(held[random() % held.size()], held.back());
      EXPECT_TRUE(is_filled(held.back()));
      shelf.give_back(held.back().piece, held.back().bytes);
      held.pop_back();
    }
  }
  EXPECT_EQ(shelf.statistics().pieces, held.size());
  for (const Held& one : held) {
    EXPECT_TRUE(is_filled(one));
    shelf.give_back(one.piece, one.bytes);
  }
  EXPECT_EQ(shelf.statistics().pieces, 0U);
  EXPECT_EQ(shelf.statistics().bytes, 0U);
  EXPECT_EQ(shelf.statistics().class_bytes, 0U);
  EXPECT_LE(shelf.statistics().slab_bytes, 36U * 65'536);  // one a class
}

// A slab that is empty is used again, by another class, too.
TEST(ShelfTest, EmptySlabsAreUsedAgain) {
  Shelf shelf;
  std::vector<void*> small;
  for (int i = 0; i < 10'000; i++) small.push_back(shelf.take(64));
  const uint64_t full = shelf.statistics().slab_bytes;
  EXPECT_GE(full, 10'000U * 64);
  EXPECT_LE(full, 11U * 64 * 1024);
  for (void* piece : small) shelf.give_back(piece, 64);
  EXPECT_EQ(shelf.statistics().slab_bytes, 65'536U);
  void* large = shelf.take(5000);
  EXPECT_EQ(shelf.statistics().slab_bytes, 2 * 65'536U);
  const auto in_slab = [](void* piece) { return reinterpret_cast<uintptr_t>(piece) / 65'536; };
  EXPECT_TRUE(std::ranges::any_of(small, [&](void* piece) { return in_slab(piece) == in_slab(large); }));
  shelf.give_back(large, 5000);
}

}  // namespace
}  // namespace spore::cell
