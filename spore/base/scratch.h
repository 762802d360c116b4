#pragma once

// Memory for what lives as long as a call: its arguments, its results.  Each thread keeps what it gave back
// and takes it again: no lock, and once a thread has warmed up no heap.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace spore {

// Blocks have 64, 128, 256 ... 65536 bytes.  More comes from the heap each time.
inline constexpr size_t kScratchBytesMin = 64;
inline constexpr size_t kScratchBytesMax = size_t{64} * 1024;
// So many free blocks of each size a thread keeps: calls are nested, they are not many at once.
inline constexpr size_t kScratchBlocksPerListMax = 64;
inline constexpr size_t kScratchCapacityDefault = size_t{64} * 1024 * 1024;

// At least `bytes` bytes, on a cache line's boundary, given back on destruction.  Move-only; one that was
// moved from, or made of 0 bytes, is empty.  Constness is the handle's, not the bytes'.
//
// The bytes are NOT zeroed: they are what the last user left there, and that may have been another tenant.
// So whoever takes a buffer writes what he reads later, and gives nobody, a guest least of all, a byte that
// he did not write.  AddressSanitizer finds who uses a buffer that was given back.
//
// A block belongs to nobody: it may be given back on another thread than it was taken on, and then it is that
// thread's.  A thread that has not taken any itself keeps none, so that one which only consumes what
// others produce does not pile it up: there the blocks go to the heap.
class ScratchBuffer {
 public:
  ScratchBuffer() = default;
  explicit ScratchBuffer(size_t bytes);
  ScratchBuffer(ScratchBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  ScratchBuffer& operator=(ScratchBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~ScratchBuffer() {
    if (data_ != nullptr) give_back();
  }

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {data_, size_}; }

 private:
  void give_back() noexcept;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// All threads together, as of about now: what passes from one to another meanwhile may count twice or not.
struct ScratchStatistics {
  // Since the start or the last reset, in buffers.
  uint64_t allocated = 0;  // taken from the heap: the thread had no free block of that size
  uint64_t reused = 0;     // taken from the thread's own
  uint64_t oversize = 0;   // too large for a block
  // Blocks given back that went to the heap: the capacity or the list was full, or the thread keeps none.
  uint64_t returned_over_capacity = 0;
  // At present.
  uint64_t bytes_held = 0;    // in free blocks
  uint64_t bytes_in_use = 0;  // in living buffers, by the size of their blocks
};

// Thread-safe.  They look at every thread: not for the path of a call.
ScratchStatistics scratch_statistics();
void reset_scratch_statistics();  // of those that count since

// So much all threads together keep; what is given back beyond it goes to the heap.  A thread's share is the
// most that it ever kept, until it ends.  After the capacity was lowered each thread gives up what is too
// much when it next gives a buffer back; one that is idle does not.
//
// After fork() the child keeps the blocks of the forking thread; those of the others are lost there with
// their threads, and buffers that they used stay in use.
void set_scratch_capacity(size_t bytes);

}  // namespace spore
