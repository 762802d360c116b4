#pragma once

// Memory for very many small things that stay for long: what sleeping cells are.
//
// Pieces lie in size classes, each in slabs of 64 KiB of its own, so that a piece costs what its class is
// larger than it and nothing else; of the slabs of a class that are empty one is kept, the others are given
// back to the system.
//
//   region of 1 MiB:  | slab | slab | ... 16 of them, each at a multiple of 64 KiB |
//   slab:             | Slab: class, what is free | piece | piece | ...

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace spore::cell {

// Thread-compatible: each of several shards has its own.
class Shelf {
 public:
  // The largest piece that lies in a slab; larger ones are the heap's.
  static constexpr size_t kPieceBytesMax = 8192;

  Shelf() = default;
  ~Shelf();
  Shelf(const Shelf&) = delete;
  Shelf& operator=(const Shelf&) = delete;

  // Aligned to 8 bytes.  Null: no memory is left.
  void* take(size_t bytes);
  // `bytes`: as it was taken.
  void give_back(void* piece, size_t bytes);

  // The size class that a piece of so many bytes lies in.
  static size_t class_bytes(size_t bytes);

  struct Statistics {
    uint64_t pieces = 0;
    uint64_t bytes = 0;        // that were asked for
    uint64_t class_bytes = 0;  // with what their classes are larger
    uint64_t slab_bytes = 0;   // of slabs in use
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  static constexpr size_t kSlabBytes = size_t{64} * 1024;
  static constexpr size_t kRegionBytes = size_t{1024} * 1024;
  static constexpr size_t kClasses = 40;

  struct Piece {
    Piece* next;
  };
  // The head of a slab.
  struct Slab {
    uint32_t of_class;
    uint32_t used;       // pieces that are out
    uint32_t untouched;  // offset of what was never given out
    Piece* free;
    Slab* next;      // of those of its class that have room
    Slab* previous;  // likewise
  };
  static_assert(sizeof(Slab) % 8 == 0);

  static size_t class_of(size_t bytes);
  static size_t bytes_of(size_t of_class);
  Slab* new_slab(size_t of_class);
  void link(Slab* slab);
  void unlink(Slab* slab);

  std::array<Slab*, kClasses> with_room_{};
  std::vector<std::byte*> regions_;
  std::vector<std::byte*> free_slabs_;  // whose memory was given back
  Statistics statistics_;
};

}  // namespace spore::cell
