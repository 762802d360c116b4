#pragma once

// Slots by shape, cleared, for whoever needs one next: reserving 4 GiB of address space anew each time would
// cost more than clearing what was used of it.

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/memory/slot.h"

namespace spore::memory {

struct SlotPoolStatistics {
  uint64_t reserved = 0;  // slots made
  uint64_t reused = 0;    // taken again
  uint64_t kept = 0;      // cleared and waiting, now
};

// Thread-safe.  Slots may outlive their user's interest in it: each keeps it alive.
class SlotPool : public std::enable_shared_from_this<SlotPool> {
 public:
  // `kept_max` cleared slots are kept, of all shapes together.
  static std::shared_ptr<SlotPool> create(size_t kept_max);

  struct GiveBack {
    void operator()(Slot* slot) const noexcept;
    std::shared_ptr<SlotPool> pool;
  };
  using Handle = std::unique_ptr<Slot, GiveBack>;
  // Not opened yet.  What Slot::create says.
  Result<Handle> take(const SlotShape& shape) SPORE_EXCLUDES(mutex_);

  // Null where this system does not let pages be scanned: slots then drop all pages at each reset.
  const std::shared_ptr<const PageScanner>& scanner() const { return scanner_; }
  SlotPoolStatistics statistics() const SPORE_EXCLUDES(mutex_);

 private:
  explicit SlotPool(size_t kept_max);
  void give_back(std::unique_ptr<Slot> slot) noexcept SPORE_EXCLUDES(mutex_);

  size_t kept_max_;
  std::shared_ptr<const PageScanner> scanner_;
  mutable Mutex mutex_;
  std::map<SlotShape, std::vector<std::unique_ptr<Slot>>> free_ SPORE_GUARDED_BY(mutex_);
  SlotPoolStatistics statistics_ SPORE_GUARDED_BY(mutex_);
};

}  // namespace spore::memory
