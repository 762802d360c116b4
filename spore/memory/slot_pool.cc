#include "spore/memory/slot_pool.h"

#include <utility>

namespace spore::memory {

std::shared_ptr<SlotPool> SlotPool::create(size_t kept_max) {
  return std::shared_ptr<SlotPool>(new SlotPool(kept_max));
}

SlotPool::SlotPool(size_t kept_max) : kept_max_(kept_max), registration_(*this) {
  Result<std::unique_ptr<PageScanner>> scanner = PageScanner::create();
  if (scanner.ok()) scanner_ = std::move(scanner).value();
}

void SlotPool::GiveBack::operator()(Slot* slot) const noexcept {
  pool->give_back(std::unique_ptr<Slot>(slot));
}

Result<SlotPool::Handle> SlotPool::take(const SlotShape& shape) {
  {
    const MutexLock lock(mutex_);
    const auto found = free_.find(shape);
    if (found != free_.end() && !found->second.empty()) {
      Handle slot(found->second.back().release(), GiveBack{shared_from_this()});
      found->second.pop_back();
      statistics_.reused++;
      statistics_.kept--;
      return slot;
    }
  }
  std::unique_ptr<Slot> slot = SPORE_TRY(Slot::create(shape, scanner_));
  const MutexLock lock(mutex_);
  statistics_.reserved++;
  return Handle(slot.release(), GiveBack{shared_from_this()});
}

void SlotPool::give_back(std::unique_ptr<Slot> slot) noexcept {
  if (!slot->clear().ok()) return;  // unmapped instead
  const MutexLock lock(mutex_);
  if (statistics_.kept >= kept_max_) return;
  free_[slot->shape()].push_back(std::move(slot));
  statistics_.kept++;
}

SlotPoolStatistics SlotPool::statistics() const {
  const MutexLock lock(mutex_);
  return statistics_;
}

}  // namespace spore::memory
