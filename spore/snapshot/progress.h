#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "spore/base/parallel.h"

namespace spore::snapshot {

// How far it has come, of how much: bytes as they are in memory.  Called on the thread of the caller, which
// is in the middle of it: it must not take long.
using Progress = std::function<void(uint64_t done, uint64_t all)>;

// So many steps of reading make a further thread worth it.
inline constexpr uint64_t kPiecesPerThread = 4;
inline constexpr uint64_t kFramesPerThread = 16;

// Counts on all threads, and tells on the caller's.  For snapshot/ itself.
class ProgressMeter {
 public:
  // `progress` outlives it; it may be empty.
  ProgressMeter(const Progress& progress, bool parallel, uint64_t all)
      : progress_(progress), parallel_(parallel), all_(all) {}

  void add(uint64_t bytes) { done_.fetch_add(bytes, std::memory_order_relaxed); }  // a number, and no more
  void tell() const {
    if (progress_) progress_(done_.load(std::memory_order_relaxed), all_);
  }
  // How steps are done that add to it.
  ParallelOptions steps(uint64_t steps_per_thread) const {
    ParallelOptions options{.steps_per_thread = steps_per_thread, .on_steps = {}};
    if (!parallel_) options.threads_max = 1;
    if (progress_) options.on_steps = [this] { tell(); };
    return options;
  }

 private:
  const Progress& progress_;
  const bool parallel_;
  const uint64_t all_;
  std::atomic<uint64_t> done_{0};
};

}  // namespace spore::snapshot
