#include "spore/cell/shelf.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "spore/base/assert.h"

namespace spore::cell {
namespace {

// Steps of 16 bytes up to 256, then four to each doubling: a piece wastes at most a fifth.
constexpr size_t kStep = 16;
constexpr size_t kSmallMax = 256;
constexpr size_t kSmallClasses = kSmallMax / kStep;
constexpr size_t kPerDoubling = 4;

}  // namespace

size_t Shelf::bytes_of(size_t of_class) {
  if (of_class < kSmallClasses) return (of_class + 1) * kStep;
  const size_t above = of_class - kSmallClasses;
  const size_t base = kSmallMax << (above / kPerDoubling);
  return base + base / kPerDoubling * (above % kPerDoubling + 1);
}

size_t Shelf::class_of(size_t bytes) {
  if (bytes <= kSmallMax) return bytes == 0 ? 0 : (bytes - 1) / kStep;
  size_t of_class = kSmallClasses;
  while (bytes_of(of_class) < bytes) of_class++;
  return of_class;
}

size_t Shelf::class_bytes(size_t bytes) { return bytes > kPieceBytesMax ? bytes : bytes_of(class_of(bytes)); }

Shelf::~Shelf() {
  SPORE_ASSERT(statistics_.pieces == 0, "a shelf goes when nothing is on it");
  for (std::byte* region : regions_) ::munmap(region, kRegionBytes);
}

void Shelf::link(Slab* slab) {
  Slab*& first = with_room_[slab->of_class];
  slab->previous = nullptr;
  slab->next = first;
  if (first != nullptr) first->previous = slab;
  first = slab;
}

void Shelf::unlink(Slab* slab) {
  if (slab->next != nullptr) slab->next->previous = slab->previous;
  (slab->previous != nullptr ? slab->previous->next : with_room_[slab->of_class]) = slab->next;
}

Shelf::Slab* Shelf::new_slab(size_t of_class) {
  if (free_slabs_.empty()) {
    // A region at a multiple of a slab's length, of which pages are resident once they are used.
    void* mapped = ::mmap(nullptr, kRegionBytes + kSlabBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    auto* const begin = static_cast<std::byte*>(mapped);
    const size_t skipped = (kSlabBytes - reinterpret_cast<uintptr_t>(mapped) % kSlabBytes) % kSlabBytes;
    std::byte* const region = begin + skipped;
    if (skipped > 0) ::munmap(begin, skipped);
    if (skipped < kSlabBytes) ::munmap(region + kRegionBytes, kSlabBytes - skipped);
    regions_.push_back(region);
    for (size_t at = kRegionBytes; at > 0; at -= kSlabBytes) free_slabs_.push_back(region + at - kSlabBytes);
  }
  auto* slab = reinterpret_cast<Slab*>(free_slabs_.back());
  free_slabs_.pop_back();
  *slab = {.of_class = static_cast<uint32_t>(of_class),
           .used = 0,
           .untouched = sizeof(Slab),
           .free = nullptr,
           .next = nullptr,
           .previous = nullptr};
  statistics_.slab_bytes += kSlabBytes;
  link(slab);
  return slab;
}

void* Shelf::take(size_t bytes) {
  void* taken = nullptr;
  if (bytes > kPieceBytesMax) {
    taken = std::malloc(bytes);
    if (taken == nullptr) return nullptr;
  } else {
    const size_t of_class = class_of(bytes);
    const size_t piece_bytes = bytes_of(of_class);
    Slab* slab = with_room_[of_class];
    if (slab == nullptr) slab = new_slab(of_class);
    if (slab == nullptr) return nullptr;
    if (slab->free != nullptr) {
      taken = slab->free;
      slab->free = slab->free->next;
    } else {
      taken = reinterpret_cast<std::byte*>(slab) + slab->untouched;
      slab->untouched += static_cast<uint32_t>(piece_bytes);
    }
    slab->used++;
    if (slab->free == nullptr && slab->untouched + piece_bytes > kSlabBytes) unlink(slab);
  }
  statistics_.pieces++;
  statistics_.bytes += bytes;
  statistics_.class_bytes += class_bytes(bytes);
  return taken;
}

void Shelf::give_back(void* piece, size_t bytes) {
  statistics_.pieces--;
  statistics_.bytes -= bytes;
  statistics_.class_bytes -= class_bytes(bytes);
  if (bytes > kPieceBytesMax) return std::free(piece);
  const size_t in_slab = reinterpret_cast<uintptr_t>(piece) % kSlabBytes;
  auto* slab = reinterpret_cast<Slab*>(static_cast<std::byte*>(piece) - in_slab);
  SPORE_ASSERT(slab->of_class == class_of(bytes) && slab->used > 0, "a piece is given back as it was taken");
  const bool was_full = slab->free == nullptr && slab->untouched + bytes_of(slab->of_class) > kSlabBytes;
  auto* free = static_cast<Piece*>(piece);
  free->next = slab->free;
  slab->free = free;
  slab->used--;
  if (was_full) link(slab);
  // The last one with room stays, so that one piece that comes and goes does not cost a system call each
  // time.
  if (slab->used > 0 || (slab->next == nullptr && slab->previous == nullptr)) return;
  unlink(slab);
  statistics_.slab_bytes -= kSlabBytes;
  auto* memory = reinterpret_cast<std::byte*>(slab);
  ::madvise(memory, kSlabBytes, MADV_DONTNEED);
  free_slabs_.push_back(memory);
}

}  // namespace spore::cell
