#include "spore/base/scratch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <new>

#include <sanitizer/asan_interface.h>  // its macros are empty in other builds

#include "spore/base/fork.h"

namespace spore {
namespace {

constexpr size_t kClasses = std::bit_width(kScratchBytesMax / kScratchBytesMin);
constexpr std::align_val_t kAlignment{64};

size_t class_of(size_t bytes) {
  if (bytes <= kScratchBytesMin) return 0;
  return static_cast<size_t>(std::bit_width(bytes - 1) - std::bit_width(kScratchBytesMin - 1));
}
size_t bytes_of_class(size_t index) { return kScratchBytesMin << index; }

std::byte* from_heap(size_t bytes) { return static_cast<std::byte*>(::operator new(bytes, kAlignment)); }
void to_heap(std::byte* block, size_t bytes) { ::operator delete(block, bytes, kAlignment); }

enum Event : size_t {
  kAllocated,
  kReused,
  kOversize,
  kReturnedOverCapacity,
  kResettable,                // those before it
  kBytesInUse = kResettable,  // below 0, as if signed, on a thread that gives back what others took
  kEvents,
};

class Counts {
 public:
  // By one thread only: no locked instruction on the path.
  void add(Event event, uint64_t n) {
    std::atomic<uint64_t>& count = counts_[event];
    count.store(count.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void add_shared(Event event, uint64_t n) { counts_[event].fetch_add(n, std::memory_order_relaxed); }
  uint64_t get(Event event) const { return counts_[event].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kEvents> counts_{};
};

// What the threads share is constant-initialized and never destroyed: they use it before main() and after.
// This has a cache line of its own: it is read on the path and hardly ever written.
struct alignas(64) Capacity {
  std::atomic<size_t> bytes{kScratchCapacityDefault};
  std::atomic<size_t> shares{0};  // the sum of all threads'
};
constinit Capacity capacity;
constinit Counts counts_without_lists;
constinit std::array<std::atomic<uint64_t>, kResettable> counts_at_reset{};

// The free blocks of one thread, and what it counts.  Blocks are not linked through themselves: they stay
// poisoned as a whole, and who writes to one that he gave back breaks no list.
class alignas(64) Lists {
 public:
  // A thread's own, all empty: those of a thread that ended, or new ones.
  static Lists* claim();
  // All that there ever were, by next().
  static const Lists* first() { return first_.load(std::memory_order_acquire); }
  const Lists* next() const { return next_; }

  // A block, or null if there is none.
  std::byte* pop(size_t index);
  // False if the list or the capacity is full.
  bool push(size_t index, std::byte* block);
  // The thread ends.
  void release();
  // In a forked child: only `kept`, if any, still has its thread.
  static void lose_all_but(const Lists* kept);

  uint64_t bytes_held() const { return held_.load(std::memory_order_relaxed); }

  Counts counts;

 private:
  struct List {
    size_t count = 0;
    std::array<std::byte*, kScratchBlocksPerListMax> blocks;
  };

  bool may_hold(size_t bytes);
  // Gives blocks to the heap, the largest first, while all threads together keep more than `bytes_all`.
  void give_up(size_t bytes_all);
  void set_held(uint64_t bytes) { held_.store(bytes, std::memory_order_relaxed); }

  // Lists are neither unlinked nor deleted, so whoever starts, ends or looks needs no lock.  There are as
  // many as there were threads at once, of 6 KiB each.
  static constinit std::atomic<Lists*> first_;
  Lists* next_ = nullptr;
  std::atomic<bool> claimed_{true};

  std::array<List, kClasses> lists_;
  std::atomic<uint64_t> held_{0};  // written by the thread, read by others
  uint64_t share_ = 0;             // of the capacity; held_ is not above it
};

constinit std::atomic<Lists*> Lists::first_{nullptr};

Lists* Lists::claim() {
  for (Lists* lists = first_.load(); lists != nullptr; lists = lists->next_) {
    bool claimed = lists->claimed_.load(std::memory_order_relaxed);
    if (!claimed && lists->claimed_.compare_exchange_strong(claimed, true)) return lists;
  }
  auto* const lists = new Lists;
  lists->next_ = first_.load();
  while (!first_.compare_exchange_weak(lists->next_, lists)) {
  }
  return lists;
}

std::byte* Lists::pop(size_t index) {
  List& list = lists_[index];
  if (list.count == 0) return nullptr;
  std::byte* const block = list.blocks[--list.count];
  set_held(bytes_held() - bytes_of_class(index));
  ASAN_UNPOISON_MEMORY_REGION(block, bytes_of_class(index));
  return block;
}

bool Lists::push(size_t index, std::byte* block) {
  List& list = lists_[index];
  if (list.count == list.blocks.size() || !may_hold(bytes_of_class(index))) return false;
  ASAN_POISON_MEMORY_REGION(block, bytes_of_class(index));
  list.blocks[list.count++] = block;
  set_held(bytes_held() + bytes_of_class(index));
  return true;
}

// A thread keeps its share of the capacity when it takes blocks from its lists: what all threads share is
// written only when one of them holds more than ever before.
bool Lists::may_hold(size_t bytes) {
  const size_t all = capacity.bytes.load(std::memory_order_relaxed);
  size_t shares = capacity.shares.load(std::memory_order_relaxed);
  if (shares > all) [[unlikely]] {  // it was lowered
    give_up(all);
    shares = capacity.shares.load(std::memory_order_relaxed);
  }
  const size_t held = bytes_held() + bytes;
  if (held <= share_) return true;
  const size_t more = held - share_;
  do {
    if (shares > all || more > all - shares) return false;
  } while (!capacity.shares.compare_exchange_weak(shares, shares + more, std::memory_order_relaxed));
  share_ = held;
  return true;
}

void Lists::give_up(size_t bytes_all) {
  capacity.shares -= share_ - bytes_held();
  share_ = bytes_held();
  for (size_t index = kClasses; index-- > 0;) {
    const size_t bytes = bytes_of_class(index);
    while (capacity.shares > bytes_all && lists_[index].count > 0) {
      to_heap(pop(index), bytes);
      capacity.shares -= bytes;
      share_ -= bytes;
    }
  }
}

void Lists::release() {
  give_up(0);
  claimed_.store(false);
}

// The other threads' lists may be in the middle of a change.  They stay claimed, so that nobody uses them,
// and what they counted still counts.
void Lists::lose_all_but(const Lists* kept) {
  for (Lists* lists = first_.load(); lists != nullptr; lists = lists->next_) {
    if (lists == kept) continue;
    lists->set_held(0);
    lists->share_ = 0;
  }
  capacity.shares.store(kept != nullptr ? kept->share_ : 0);
}

// Initial-exec: one instruction to reach also in a plugin that is loaded later (glibc keeps room for it).
constinit thread_local Lists* own_lists __attribute__((tls_model("initial-exec"))) = nullptr;
constinit thread_local bool thread_ends __attribute__((tls_model("initial-exec"))) = false;

// Gives the calling thread lists, until it ends.  Null when it does end: a destructor of another thread-local
// object takes a buffer.
Lists* claim_own_lists() {
  struct AtThreadEnd {
    ~AtThreadEnd() {
      thread_ends = true;
      std::exchange(own_lists, nullptr)->release();
    }
  };
  if (thread_ends) return nullptr;
  own_lists = Lists::claim();
  static thread_local const AtThreadEnd at_thread_end;
  return own_lists;
}

// Nothing to lock: a fork in the middle of anything above leaves lists that are lost anyway.
class Forked final : private ForkAware {
  void lock_for_fork() override {}
  void unlock_after_fork() override {}
  void repair_in_child() override { Lists::lose_all_but(own_lists); }

  const ForkRegistration registration_{*this};
};
[[maybe_unused]] const Forked* const forked = new Forked;  // not destroyed: a fork may come at exit

void count(Lists* lists, Event event, uint64_t n = 1) {
  if (lists != nullptr) [[likely]] {
    lists->counts.add(event, n);
  } else {
    counts_without_lists.add_shared(event, n);
  }
}

uint64_t sum(Event event) {
  uint64_t sum = counts_without_lists.get(event);
  for (const Lists* lists = Lists::first(); lists != nullptr; lists = lists->next()) {
    sum += lists->counts.get(event);
  }
  return sum;
}

}  // namespace

ScratchBuffer::ScratchBuffer(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  Lists* const lists = own_lists != nullptr ? own_lists : claim_own_lists();
  if (bytes > kScratchBytesMax) {
    data_ = from_heap(bytes);
    count(lists, kOversize);
    count(lists, kBytesInUse, bytes);
    return;
  }
  const size_t index = class_of(bytes);
  if (lists != nullptr) data_ = lists->pop(index);
  if (data_ != nullptr) {
    count(lists, kReused);
  } else {
    data_ = from_heap(bytes_of_class(index));
    count(lists, kAllocated);
  }
  count(lists, kBytesInUse, bytes_of_class(index));
}

void ScratchBuffer::give_back() noexcept {
  Lists* const lists = own_lists;
  if (size_ > kScratchBytesMax) {
    count(lists, kBytesInUse, -size_);
    to_heap(data_, size_);
    return;
  }
  const size_t index = class_of(size_);
  count(lists, kBytesInUse, -bytes_of_class(index));
  if (lists != nullptr && lists->push(index, data_)) return;
  count(lists, kReturnedOverCapacity);
  to_heap(data_, bytes_of_class(index));
}

ScratchStatistics scratch_statistics() {
  const auto since_reset = [](Event event) {
    const uint64_t at_reset = counts_at_reset[event].load();  // before the sum, which only grows
    return sum(event) - at_reset;
  };
  ScratchStatistics statistics;
  statistics.allocated = since_reset(kAllocated);
  statistics.reused = since_reset(kReused);
  statistics.oversize = since_reset(kOversize);
  statistics.returned_over_capacity = since_reset(kReturnedOverCapacity);
  for (const Lists* lists = Lists::first(); lists != nullptr; lists = lists->next()) {
    statistics.bytes_held += lists->bytes_held();
  }
  // Below 0 if a buffer was seen where it was given back and not where it was taken, a moment ago.
  statistics.bytes_in_use =
      static_cast<uint64_t>(std::max(int64_t{0}, static_cast<int64_t>(sum(kBytesInUse))));
  return statistics;
}

void reset_scratch_statistics() {
  for (size_t i = 0; i < kResettable; i++) counts_at_reset[i].store(sum(static_cast<Event>(i)));
}

void set_scratch_capacity(size_t bytes) { capacity.bytes.store(bytes); }

}  // namespace spore
