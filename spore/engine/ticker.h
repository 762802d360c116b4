#pragma once

// The clock that deadlines are measured by: one thread, one tick a millisecond while guests run.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"

struct wasm_engine_t;

namespace spore::engine {

// Counts milliseconds and raises the epoch of every engine each time, which makes running guests call
// touch() at their next function entry or loop head.  Thread-safe.
//
// When no guest has called touch() for kIdleTicks the thread parks: an idle host pays nothing.  Why no guest
// can run for ever while it is parked:
//   1. every store asks to be called back at the next epoch (a delta of one tick), so whoever runs guest
//      code after epoch e + 1 has begun calls touch() at its first check;
//   2. before it waits, the thread sets `parked_`, looks at `touched_` once more, and raises the epochs;
//   3. touch() writes `touched_`, then reads `parked_`; all four are sequentially consistent, so either
//      the thread sees the touch and does not park, or the toucher sees `parked_` and wakes it.
// Ticks stand still while it is parked, and jump to the real time when it wakes: a call that sat in a host
// function meanwhile finds its deadline passed.  So that a new call does not find the same, begin() wakes it
// first.  begin() may miss that it parked in this very moment; then the jump is as short.
//
// fork(): the child has no thread.  The ticker is left parked there, epochs raised, and the first guest that
// runs starts a new thread.  In a child that a bare clone() made, which runs no fork handlers, it may look
// as if it ticked: no guest must run there.
class Ticker final : private ForkAware {
 public:
  static constexpr uint64_t kIdleTicks = 200;

  Ticker() = default;
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  // The engine's epoch is raised from now on.  The engine must be removed before it is deleted.
  void add(wasm_engine_t* engine) SPORE_EXCLUDES(mutex_);
  void remove(wasm_engine_t* engine) SPORE_EXCLUDES(mutex_);

  // Milliseconds counted so far; stands still while parked.
  uint64_t now() const { return ticks_.load(std::memory_order_relaxed); }

  // The time at which a call begins.  As cheap as now() while it runs.
  uint64_t begin() {
    if (parked_.load(std::memory_order_relaxed)) [[unlikely]]
      static_cast<void>(wake());
    return now();
  }

  // From a running guest, or a host function that it waits for: "I am running".  Wakes or starts the thread
  // if need be; kUnavailable if the system refuses a thread.
  Status touch();

  bool parked() const { return parked_.load(); }

 private:
  // What belongs to one thread.  After a fork the child abandons it: a condition variable whose waiter
  // is gone cannot be destroyed, a thread that does not exist cannot be joined.
  struct Worker {
    std::condition_variable wake;
    bool stop = false;  // under mutex_
    std::jthread thread;
  };

  Status wake() SPORE_EXCLUDES(mutex_);
  // Allocates nothing: a fork may come at any moment, and not every allocator's locks survive it.
  void run(Worker& worker) SPORE_EXCLUDES(mutex_);
  // Brings ticks_ up to the real time.  Not by one for each wait: a thread that was not scheduled for a
  // while must not lengthen deadlines.
  void catch_up() SPORE_REQUIRES(mutex_);
  void raise_epochs() SPORE_REQUIRES(mutex_);

  void lock_for_fork() override SPORE_ACQUIRE(mutex_) { mutex_.lock(); }
  void unlock_after_fork() override SPORE_RELEASE(mutex_) { mutex_.unlock(); }
  void repair_in_child() override SPORE_REQUIRES(mutex_);

  std::atomic<uint64_t> ticks_{0};
  std::atomic<uint64_t> touched_{0};  // ticks_ at the last touch()
  std::atomic<bool> parked_{true};
  Mutex mutex_;
  std::vector<wasm_engine_t*> engines_ SPORE_GUARDED_BY(mutex_);
  std::unique_ptr<Worker> worker_ SPORE_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point counted_to_ SPORE_GUARDED_BY(mutex_) =
      std::chrono::steady_clock::now();
  const ForkRegistration registration_{*this};
};

}  // namespace spore::engine
