#include "spore/base/scratch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <functional>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

// Counts what a thread takes from the heap.  The sanitizers have operators of their own, and check that both
// ends of a block are theirs.
#if defined(SPORE_ADDRESS_SANITIZER) || defined(SPORE_THREAD_SANITIZER)
#define SPORE_COUNTS_HEAP 0
#else
#define SPORE_COUNTS_HEAP 1
namespace {
constinit thread_local uint64_t heap_uses = 0;
}
void* operator new(size_t bytes) {
  heap_uses++;
  if (void* const block = std::malloc(bytes)) return block;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  heap_uses++;
  const auto boundary = static_cast<size_t>(alignment);
  if (void* const block = std::aligned_alloc(boundary, (bytes + boundary - 1) / boundary * boundary)) {
    return block;
  }
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept {
  heap_uses++;
  std::free(block);
}
void operator delete(void* block, size_t) noexcept { operator delete(block); }
void operator delete(void* block, std::align_val_t) noexcept { operator delete(block); }
void operator delete(void* block, size_t, std::align_val_t) noexcept { operator delete(block); }
#endif

namespace spore {
namespace {

constexpr size_t kKib = 1024;

// Each test starts without free blocks, and checks that its threads have left nothing behind.
class ScratchTest : public testing::Test {
 protected:
  void SetUp() override {
    set_scratch_capacity(kScratchCapacityDefault);
    reset_scratch_statistics();
  }
  void TearDown() override {
    EXPECT_EQ(scratch_statistics().bytes_held, 0u);
    EXPECT_EQ(scratch_statistics().bytes_in_use, 0u);
  }

  // The test's own thread takes nothing: it does not end with the test.
  static void on_new_thread(const std::function<void()>& body) { std::jthread thread(body); }
};

std::vector<ScratchBuffer> take(size_t count, size_t bytes) {
  std::vector<ScratchBuffer> buffers;
  for (size_t i = 0; i < count; i++) buffers.emplace_back(bytes);
  return buffers;
}

TEST_F(ScratchTest, ABufferHasTheSizeThatWasAskedForOfABlockOfTheNextPowerOfTwo) {
  on_new_thread([] {
    for (size_t block = kScratchBytesMin; block <= kScratchBytesMax; block *= 2) {
      const size_t least = block == kScratchBytesMin ? 1 : block / 2 + 1;
      for (const size_t bytes : {least, block - 1, block}) {
        const ScratchBuffer buffer(bytes);
        EXPECT_EQ(buffer.size(), bytes);
        EXPECT_EQ(buffer.bytes().data(), buffer.data());
        EXPECT_EQ(buffer.bytes().size(), bytes);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0u);
        EXPECT_EQ(scratch_statistics().bytes_in_use, block) << bytes;
        std::ranges::fill(buffer.bytes(), std::byte{0xAA});  // AddressSanitizer: all of it is there
      }
    }
    EXPECT_EQ(scratch_statistics().allocated, 11u);
    EXPECT_EQ(scratch_statistics().reused, 22u);
    EXPECT_EQ(scratch_statistics().bytes_held, 2 * kScratchBytesMax - kScratchBytesMin);
  });
}

TEST_F(ScratchTest, NoBytesTakeNoBlock) {
  const ScratchBuffer none;
  const ScratchBuffer zero(0);
  EXPECT_EQ(none.data(), nullptr);
  EXPECT_EQ(zero.data(), nullptr);
  EXPECT_EQ(zero.size(), 0u);
  EXPECT_EQ(scratch_statistics().allocated, 0u);
}

#if SPORE_COUNTS_HEAP
// Goal: no heap on the path of a call.  All sizes, some of each at once as calls are nested, after one round.
TEST_F(ScratchTest, AThreadThatHasWarmedUpLeavesTheHeapAlone) {
  on_new_thread([] {
    const auto round = [] {
      for (size_t bytes = 1; bytes <= kScratchBytesMax; bytes = bytes * 3 / 2 + 1) {
        const ScratchBuffer first(bytes);
        const ScratchBuffer second(bytes);
        ScratchBuffer third(bytes);
        const ScratchBuffer moved = std::move(third);
      }
    };
    uint64_t before = heap_uses;
    round();
    EXPECT_GE(heap_uses - before, 33u);  // the counter counts
    const uint64_t allocated = scratch_statistics().allocated;
    EXPECT_EQ(allocated, 33u);
    before = heap_uses;
    for (int i = 0; i < 100; i++) round();
    EXPECT_EQ(heap_uses - before, 0u);
    EXPECT_EQ(scratch_statistics().allocated, allocated);
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 0u);
  });
}
#endif

TEST_F(ScratchTest, WhatIsTooLargeForABlockComesFromTheHeapEachTime) {
  on_new_thread([] {
    for (int i = 0; i < 3; i++) {
      const ScratchBuffer buffer(kScratchBytesMax + 1);
      EXPECT_EQ(buffer.size(), kScratchBytesMax + 1);
      EXPECT_EQ(scratch_statistics().bytes_in_use, kScratchBytesMax + 1);
      std::ranges::fill(buffer.bytes(), std::byte{0xAA});
    }
    const ScratchStatistics statistics = scratch_statistics();
    EXPECT_EQ(statistics.oversize, 3u);
    EXPECT_EQ(statistics.allocated + statistics.reused + statistics.returned_over_capacity, 0u);
    EXPECT_EQ(statistics.bytes_held, 0u);
  });
}

TEST_F(ScratchTest, ABufferThatWasMovedFromIsEmptyAndOneThatIsAssignedToGivesItsBlockBack) {
  on_new_thread([] {
    ScratchBuffer first(100);
    std::byte* const data = first.data();
    ScratchBuffer second = std::move(first);
    EXPECT_EQ(first.data(), nullptr);  // NOLINT(bugprone-use-after-move): it is what is tested
    EXPECT_EQ(first.size(), 0u);
    EXPECT_EQ(second.data(), data);
    EXPECT_EQ(second.size(), 100u);
    second = ScratchBuffer(1000);
    EXPECT_EQ(second.size(), 1000u);
    EXPECT_EQ(scratch_statistics().bytes_held, 128u);
    EXPECT_EQ(scratch_statistics().bytes_in_use, 1024u);
    EXPECT_EQ(ScratchBuffer(128).data(), data);  // and there it is again
  });
}

TEST_F(ScratchTest, WhatIsGivenBackBeyondTheCapacityGoesToTheHeap) {
  set_scratch_capacity(128 * kKib + 64);
  on_new_thread([] {
    take(3, kScratchBytesMax).clear();
    EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib);
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
    take(2, kScratchBytesMax).clear();  // these find room again
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
    EXPECT_EQ(scratch_statistics().reused, 2u);
    take(2, kScratchBytesMin).clear();  // of these one does
    EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib + 64);
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 2u);
  });
}

TEST_F(ScratchTest, TheCapacityIsOfAllThreadsTogetherAndIsFreeAgainWhenAThreadEnds) {
  set_scratch_capacity(128 * kKib);
  on_new_thread([] {
    take(1, kScratchBytesMax).clear();
    on_new_thread([] {
      take(2, kScratchBytesMax).clear();
      EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib);
      EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
    });
    EXPECT_EQ(scratch_statistics().bytes_held, 64 * kKib);
    take(2, kScratchBytesMax).clear();
    EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib);
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
  });
}

TEST_F(ScratchTest, ALowerCapacityHoldsFromTheNextBufferOnAndAHigherOneAtOnce) {
  on_new_thread([] {
    take(4, kScratchBytesMax).clear();
    take(4, kScratchBytesMin).clear();
    set_scratch_capacity(64 * kKib + 256);
    take(1, kScratchBytesMin).clear();
    EXPECT_EQ(scratch_statistics().bytes_held, 64 * kKib + 256);  // large ones went first
    set_scratch_capacity(0);
    take(1, kScratchBytesMin).clear();
    EXPECT_EQ(scratch_statistics().bytes_held, 0u);
    set_scratch_capacity(kScratchBytesMin);
    take(1, kScratchBytesMin).clear();
    EXPECT_EQ(scratch_statistics().bytes_held, kScratchBytesMin);
  });
}

TEST_F(ScratchTest, AThreadKeepsSoManyBlocksOfASizeAndNoMore) {
  on_new_thread([] {
    take(kScratchBlocksPerListMax, 64).clear();
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 0u);
    EXPECT_EQ(scratch_statistics().bytes_held, kScratchBlocksPerListMax * 64);
    take(kScratchBlocksPerListMax + 1, 64).clear();
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
    EXPECT_EQ(scratch_statistics().bytes_held, kScratchBlocksPerListMax * 64);
    take(1, 128).clear();  // the limit is each size's
    EXPECT_EQ(scratch_statistics().returned_over_capacity, 1u);
  });
}

TEST_F(ScratchTest, AThreadKeepsWhatItGivesBackForOthersIfItTakesBuffersItself) {
  on_new_thread([] {
    std::vector<ScratchBuffer> buffers = take(10, 1000);
    on_new_thread([&] {
      buffers.erase(buffers.begin(), buffers.begin() + 4);
      EXPECT_EQ(scratch_statistics().bytes_held, 0u);
      EXPECT_EQ(scratch_statistics().returned_over_capacity, 4u);
      EXPECT_EQ(scratch_statistics().bytes_in_use, 6 * kKib);
      const ScratchBuffer own(1);
      std::byte* const last = buffers.back().data();
      buffers.clear();
      EXPECT_EQ(scratch_statistics().bytes_held, 6 * kKib);
      EXPECT_EQ(scratch_statistics().returned_over_capacity, 4u);
      EXPECT_EQ(take(6, 1000).front().data(), last);
    });
    EXPECT_EQ(scratch_statistics().bytes_held, 0u);
    EXPECT_EQ(scratch_statistics().bytes_in_use, 0u);
  });
}

// A thread-local object that outlives the lists of its thread, as it was made before them.
struct Late {
  ~Late() {
    buffer = ScratchBuffer(1000);
    EXPECT_EQ(scratch_statistics().bytes_in_use, kKib);
  }
  ScratchBuffer buffer;
};

TEST_F(ScratchTest, BuffersMayBeTakenAndGivenBackWhileAThreadEnds) {
  on_new_thread([] {
    static thread_local Late late;
    late.buffer = ScratchBuffer(100);
    take(1, 1000).clear();
  });
  EXPECT_EQ(scratch_statistics().allocated, 3u);  // the block of the ended lists was not used
  EXPECT_EQ(scratch_statistics().returned_over_capacity, 2u);
}

TEST_F(ScratchTest, CountersAreResetAndBytesAreNot) {
  on_new_thread([] {
    const ScratchBuffer buffer(64);
    take(2, 64).clear();
    take(1, kScratchBytesMax + 1).clear();
    reset_scratch_statistics();
    ScratchStatistics statistics = scratch_statistics();
    EXPECT_EQ(statistics.allocated + statistics.reused + statistics.oversize, 0u);
    EXPECT_EQ(statistics.bytes_held, 128u);
    EXPECT_EQ(statistics.bytes_in_use, 64u);
    take(3, 64).clear();
    statistics = scratch_statistics();
    EXPECT_EQ(statistics.allocated, 1u);
    EXPECT_EQ(statistics.reused, 2u);
  });
}

// Threads come, take, hand buffers to each other and go, while one looks.  Every sum must be right in the end
// and plausible before; TSan sees the rest.
TEST_F(ScratchTest, ManyThreadsHandBuffersToEachOther) {
  constexpr size_t kThreads = 4;
  constexpr size_t kRounds = 200;
  constexpr size_t kBuffers = 8;
  set_scratch_capacity(100 * kKib);
  std::atomic<bool> stop = false;
  std::jthread looker([&] {
    while (!stop) {
      ASSERT_LE(scratch_statistics().bytes_in_use, kThreads * kBuffers * kScratchBytesMax);
    }
  });
  std::array<std::vector<ScratchBuffer>, kThreads> hands;
  for (int generation = 0; generation < 3; generation++) {
    std::barrier round_done(kThreads);
    std::vector<std::jthread> threads;
    for (size_t mine = 0; mine < kThreads; mine++) {
      threads.emplace_back([&, mine] {
        for (size_t round = 0; round < kRounds; round++) {
          hands[mine] = take(kBuffers, size_t{1} << (round % 17));
          for (const ScratchBuffer& buffer : hands[mine]) {
            std::ranges::fill(buffer.bytes(), static_cast<std::byte>(mine));
          }
          round_done.arrive_and_wait();
          std::vector<ScratchBuffer>& others = hands[(mine + round) % kThreads];
          for (const ScratchBuffer& buffer : others) {
            ASSERT_TRUE(std::ranges::all_of(buffer.bytes(), [&](std::byte byte) {
              return byte == static_cast<std::byte>((mine + round) % kThreads);
            }));
          }
          others.clear();
          round_done.arrive_and_wait();
        }
      });
    }
  }
  stop = true;
  looker.join();
  const ScratchStatistics statistics = scratch_statistics();
  EXPECT_EQ(statistics.allocated + statistics.reused, 3 * kThreads * kRounds * kBuffers);
  EXPECT_GT(statistics.reused, 0u);
  EXPECT_GT(statistics.returned_over_capacity, 0u);
}

// The child has one thread: it goes on with that one's blocks, and the share that the others had of the
// capacity is free.
TEST_F(ScratchTest, AForkedChildKeepsTheBlocksOfTheThreadThatForked) {
  set_scratch_capacity(128 * kKib);
  on_new_thread([] {
    take(1, kScratchBytesMax).clear();
    std::barrier both(2);
    std::jthread other([&] {
      take(1, kScratchBytesMax).clear();
      both.arrive_and_wait();
      both.arrive_and_wait();
    });
    both.arrive_and_wait();
    EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      if (scratch_statistics().bytes_held != 64 * kKib) _exit(1);
      take(3, kScratchBytesMax).clear();
      const ScratchStatistics statistics = scratch_statistics();
      if (statistics.bytes_held != 128 * kKib || statistics.bytes_in_use != 0) _exit(2);
      _exit(statistics.reused == 1 && statistics.returned_over_capacity == 1 ? 0 : 3);
    }
    int status = 1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(scratch_statistics().bytes_held, 128 * kKib);
    both.arrive_and_wait();
  });
}

#if defined(SPORE_ADDRESS_SANITIZER)
// Free blocks are still ours: only their poison tells of a use.
TEST_F(ScratchTest, AddressSanitizerFindsTheUseOfABufferThatWasGivenBack) {
  const auto use = [](size_t offset) {
    std::byte* const data = ScratchBuffer(1000).data();
    data[offset] = std::byte{1};
  };
  EXPECT_DEATH(use(0), "use-after-poison");
  EXPECT_DEATH(use(999), "use-after-poison");
}
#endif

}  // namespace
}  // namespace spore
