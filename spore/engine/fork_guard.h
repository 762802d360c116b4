#pragma once

// What keeps a fork from finding the engine's own locks held.  Internal to engine/.

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "spore/base/fork.h"

namespace spore::engine {

// Wasmtime keeps the types of all code of an engine under a lock of its own, which a forked child would
// inherit held, for ever, if another thread was making, loading or freeing code, or binding it.  Whoever does
// that is counted here; a fork waits for it, and whoever comes meanwhile for the fork.  (So a fork waits for
// a compile in this process that has begun: hosts that fork often have the helper compile.)  It is the first
// of a thread's locks, or a fork and the thread could wait for each other: nothing of that is done under a
// lock of ours.
class ForkGuard final : private ForkAware {
 public:
  // For the time of a scope.
  class Busy {
   public:
    explicit Busy(ForkGuard& guard) : guard_(guard) {
      const std::scoped_lock lock(guard_.mutex_);
      guard_.busy_++;
    }
    ~Busy() {
      const std::scoped_lock lock(guard_.mutex_);
      if (--guard_.busy_ == 0) guard_.idle_.notify_all();
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    ForkGuard& guard_;
  };

 private:
  // No shared_mutex: glibc's tells by the thread's number what is unlocked, and a child's is another.
  void lock_for_fork() override {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return busy_ == 0; });
    [[maybe_unused]] const std::mutex* held = lock.release();
  }
  void unlock_after_fork() override { mutex_.unlock(); }
  void repair_in_child() override {}

  std::mutex mutex_;
  std::condition_variable
      idle_;  // only a thread that forks waits, so no child has it with waiters that are gone
  uint32_t busy_ = 0;
  const ForkRegistration registration_{*this};
};

}  // namespace spore::engine
