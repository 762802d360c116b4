#include "spore/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "spore/base/mutex.h"
#include "spore/base/signal_block.h"

namespace spore {
namespace {

class Steps {
 public:
  Steps(uint64_t count, const ParallelOptions& options, const std::function<Step()>& make_step)
      : count_(count), options_(options), make_step_(make_step) {}

  Status run() {
    {
      std::vector<std::jthread> helpers;
      const uint64_t most = std::min(options_.threads_max, std::max(1U, std::thread::hardware_concurrency()));
      const uint64_t wanted =
          std::min<uint64_t>(most, 1 + count_ / std::max<uint64_t>(1, options_.steps_per_thread));
      for (uint64_t i = 1; i < wanted; i++) helpers.push_back(helper());
      work(options_.on_steps);
    }
    if (options_.on_steps) options_.on_steps();
    const MutexLock lock(mutex_);
    return std::move(status_);
  }

 private:
  // On each thread: takes steps until none is left.
  void work(const std::function<void()>& after_step) {
    try {
      const Step step = make_step_();
      // Relaxed: it gives out numbers, and nothing else is read by them; joining orders what was done.
      for (uint64_t number = 0; (number = next_.fetch_add(1, std::memory_order_relaxed)) < count_;) {
        const Status status = step(number);
        if (!status.ok()) return fail(status);
        if (after_step) after_step();
      }
    } catch (const std::bad_alloc&) {
      fail(Status::limit_exceeded("no memory is left"));
    }
  }

  void fail(const Status& status) {
    next_.store(count_, std::memory_order_relaxed);  // the others need not go on
    const MutexLock lock(mutex_);
    if (status_.ok()) status_ = status.copy();
  }

  std::jthread helper() {
    const SignalBlock block;
    try {
      return std::jthread([this] { work({}); });
    } catch (const std::system_error&) {
      return {};
    }
  }

  const uint64_t count_;
  const ParallelOptions& options_;
  const std::function<Step()>& make_step_;
  std::atomic<uint64_t> next_{0};
  Mutex mutex_;
  Status status_ SPORE_GUARDED_BY(mutex_);  // the first failure
};

}  // namespace

Status run_steps(uint64_t count, const ParallelOptions& options, const std::function<Step()>& make_step) {
  return Steps(count, options, make_step).run();
}

}  // namespace spore
