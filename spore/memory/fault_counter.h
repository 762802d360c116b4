#pragma once

// Did this thread take a page fault since?  If not, its guest wrote to no page that was not its own already,
// and a slot need not be scanned.

#include <atomic>
#include <cstdint>
#include <string_view>

#include "spore/base/fork.h"

struct perf_event_mmap_page;

namespace spore::memory {

enum class FaultCounterKind : uint8_t {
  kAuto,        // mapped where the system allows it, else by system call
  kMapped,      // a perf event whose ring this process reads: no system call
  kSystemCall,  // getrusage(RUSAGE_THREAD)
  kNone,        // nothing is known: always scan
};
std::string_view fault_counter_name(FaultCounterKind kind);  // "auto", "mapped", "system_call", "none"

// The state of a thread's counter at one moment.  Two marks are the same only if they are of one counter of
// one thread, in one process since its fork, and that thread took no page fault between them:
//   by system call: none at all
//   mapped: none in its own code; faults taken inside the kernel, as by read(2) into a new page, do not show
struct FaultMark {
  uint64_t counter = 0;  // 0: the same as none, not even as itself
  uint64_t faults = 0;

  bool same(const FaultMark& other) const {
    return counter == other.counter && faults == other.faults && counter != 0;
  }
  // It cost no system call.
  bool mapped() const { return counter % 2 == 1; }
};

// The counters of one thread.  Bound to it.
//
// kMapped.  A software event with period 1 writes one record a fault into a ring that is mapped here; the
// ring's `data_head` moves with each.  x86 and arm64 raise the event before they handle the fault, so it has
// moved when the write happens.  What could keep it from moving, and what is done about it:
//   - the event is throttled.  The kernel says so by a THROTTLE record, which moves the head.  Unless the
//   newest
//     records are plain samples, the event is closed and opened anew: a new one is not throttled.  If that is
//     refused, faults are counted by system call from then on.  (Kernels do not throttle software events of
//     period 1; this does not rely on it.)
//   - the process forked.  The ring is not copied into the child (VM_DONTCOPY), whose counters are made anew:
//     process_generation() differs there, also after a fork that runs no handlers.
//   - the event was opened by another thread: counters are thread-local, and a mark names its thread by a
//     number that is never given twice.
// kSystemCall.  getrusage counts in the thread itself, faults in the kernel included.
class ThreadFaults {
 public:
  // The calling thread's.  Made at the first use.
  static ThreadFaults& here() {
    ThreadFaults* mine = mine_;
    if (mine == nullptr || mine->generation_ != process_generation()) [[unlikely]]
      mine = make();
    return *mine;
  }

  // kAuto, and kMapped where the system denies it, count by system call.
  FaultMark mark(FaultCounterKind kind) {
    if (kind <= FaultCounterKind::kMapped) {
      if (ring_ != nullptr) [[likely]]
        return mapped_mark();
      if (!tried_ && open_event()) return mapped_mark();
    }
    return kind == FaultCounterKind::kNone ? FaultMark{} : system_call_mark();
  }

  // A number for the calling thread that no other thread of this process ever has; not 0.
  uint64_t thread() const { return thread_; }
  // It is one of this thread's.
  bool made(const FaultMark& mark) const { return mark.counter / 2 == thread_; }

  ThreadFaults(const ThreadFaults&) = delete;
  ThreadFaults& operator=(const ThreadFaults&) = delete;

 private:
  friend struct ThreadFaultsOwner;
  ThreadFaults();
  ~ThreadFaults();
  static ThreadFaults* make();

  FaultMark mapped_mark() {
    // Acquire: what the kernel wrote into the ring before it moved the head is there.
    const uint64_t head = __atomic_load_n(head_, __ATOMIC_ACQUIRE);
    if (head != seen_) [[unlikely]]
      advance(head);
    return {2 * thread_ + 1, mapped_faults_};
  }
  FaultMark system_call_mark() const;

  bool open_event();
  void close_event();
  void advance(uint64_t head);
  bool ends_in_samples(uint64_t head) const;

  // Not thread_local objects with destructors: the access would go through a function each time.
  static constinit thread_local ThreadFaults* mine_;

  uint64_t generation_;
  uint64_t thread_;                 // that no other thread of this process ever has; not 0
  const uint64_t* head_ = nullptr;  // the ring's
  uint64_t seen_ = 0;
  uint64_t mapped_faults_ = 0;  // looks that found the head moved; never goes back
  perf_event_mmap_page* ring_ = nullptr;
  bool tried_ = false;
};

}  // namespace spore::memory
