#pragma once

// The code of a module while it gets better: what new instances are made of, and where running ones find what
// they are to go over to.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "spore/base/counter.h"
#include "spore/base/fork.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/engine/binding.h"

namespace spore::engine {

// One exported function that somebody calls in one store.  Counted by the store's thread, readable by all.
struct FunctionUse {
  std::string name;
  Counter calls;
  Counter ms;  // ticks of the clock that passed in it, with what it called: a sample, right in the mean
};

// How much a function, or all of a module, was called.
struct Use {
  uint64_t calls = 0;
  uint64_t ms = 0;
  Use& operator+=(const Use& other) {
    calls += other.calls;
    ms += other.ms;
    return *this;
  }
  Use operator-(const Use& before) const { return {.calls = calls - before.calls, .ms = ms - before.ms}; }
};
using UseByName = std::unordered_map<std::string, Use>;

// Thread-safe.  Lock order: mutex_ is taken alone.
class LiveBinding final : private ForkAware {
 public:
  explicit LiveBinding(std::shared_ptr<const Binding> first) : best_(std::move(first)) {}

  std::shared_ptr<const Binding> best() const SPORE_EXCLUDES(mutex_);
  // How often best() changed.
  const std::atomic<uint32_t>& step() const { return step_; }
  // From now on new instances are made of this, and others go over to it when they are called next.
  void improve(std::shared_ptr<const Binding> better) SPORE_EXCLUDES(mutex_);

  // What was called, in all instances that there are and were, by name.
  UseByName functions() const SPORE_EXCLUDES(mutex_);
  // The same as it was when best() changed last: what came since was called in that code.
  UseByName functions_at_step() const SPORE_EXCLUDES(mutex_);
  Use total() const SPORE_EXCLUDES(mutex_);

  // Instances that went over, with how long that took in all; such as could not, and why the last could not.
  struct HandOvers {
    uint64_t done = 0;
    uint64_t ns = 0;
    uint64_t ns_max = 0;
    uint64_t refused = 0;
    std::string last_refusal;
  };
  HandOvers hand_overs() const SPORE_EXCLUDES(mutex_);
  void count_hand_over(uint64_t ns) SPORE_EXCLUDES(mutex_);
  void count_refusal(std::string_view why) SPORE_EXCLUDES(mutex_);

  // For stores: each holds one while it is to be counted.
  class Uses {
   public:
    explicit Uses(std::shared_ptr<LiveBinding> of);
    ~Uses();
    Uses(const Uses&) = delete;
    Uses& operator=(const Uses&) = delete;

    // A place to count one function in, for as long as this lives.  For the store's thread.
    FunctionUse& of(std::string_view name);
    LiveBinding& live() const { return *live_; }

   private:
    friend class LiveBinding;
    // Grows at its head, by one thread, while others read it.
    struct Node {
      FunctionUse use;
      Node* next = nullptr;
    };
    template <typename Visit>
    void for_each(const Visit& visit) const;

    std::shared_ptr<LiveBinding> live_;
    std::atomic<Node*> head_{nullptr};
  };

 private:
  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  // Stores of threads that the child does not have stay counted as they were.
  void repair_in_child() override {}
  UseByName functions_locked() const SPORE_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::shared_ptr<const Binding> best_ SPORE_GUARDED_BY(mutex_);
  std::atomic<uint32_t> step_{0};
  std::unordered_set<const Uses*> uses_ SPORE_GUARDED_BY(mutex_);
  UseByName past_ SPORE_GUARDED_BY(mutex_);  // of stores that are gone
  UseByName at_step_ SPORE_GUARDED_BY(mutex_);
  Use past_total_ SPORE_GUARDED_BY(mutex_);
  HandOvers hand_overs_ SPORE_GUARDED_BY(mutex_);
  const ForkRegistration registration_{*this};
};

}  // namespace spore::engine
