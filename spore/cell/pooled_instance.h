#pragma once

// What a pool keeps of one instance.  Internal to cell/.

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "spore/base/counter.h"
#include "spore/cell/clean_instance.h"

namespace spore::cell {

class PoolEntry;

// Whoever took it out of its place owns it; what others may read meanwhile is atomic.
struct PooledInstance {
  // A function that was found in this instance.
  struct Held {
    virtual ~Held() = default;
  };
  template <typename F>
  struct HeldFunction : Held {
    explicit HeldFunction(F found) : function(std::move(found)) {}
    F function;
  };

  PooledInstance(std::shared_ptr<PoolEntry> the_entry, std::unique_ptr<CleanInstance> made)
      : entry(std::move(the_entry)), clean(std::move(made)) {}

  std::shared_ptr<PoolEntry> entry;
  std::unique_ptr<CleanInstance> clean;
  std::vector<std::unique_ptr<Held>> functions;  // by the entry's numbers; go before the instance
  Counter uses;
  Counter resets_timed;
  Counter reset_ns;
  std::atomic<uint64_t> last_use_ms{0};  // of CLOCK_MONOTONIC_COARSE
  std::atomic<bool> unwanted{false};     // to be removed when it comes back
};

}  // namespace spore::cell
