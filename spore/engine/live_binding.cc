#include "spore/engine/live_binding.h"

#include <algorithm>
#include <utility>

namespace spore::engine {

template <typename Visit>
void LiveBinding::Uses::for_each(const Visit& visit) const {
  for (const Node* node = head_.load(std::memory_order_acquire); node != nullptr; node = node->next) {
    const Use use{.calls = node->use.calls.value(), .ms = node->use.ms.value()};
    if (use.calls > 0 || use.ms > 0) visit(node->use.name, use);
  }
}

std::shared_ptr<const Binding> LiveBinding::best() const {
  const MutexLock lock(mutex_);
  return best_;
}

void LiveBinding::improve(std::shared_ptr<const Binding> better) {
  {
    const MutexLock lock(mutex_);
    std::swap(best_, better);
    at_step_ = functions_locked();
  }
  step_.fetch_add(1, std::memory_order_release);
}  // the old one may go here, without the lock

UseByName LiveBinding::functions_locked() const {
  UseByName functions = past_;
  for (const Uses* uses : uses_) {
    uses->for_each([&](const std::string& name, const Use& use) { functions[name] += use; });
  }
  return functions;
}

UseByName LiveBinding::functions() const {
  const MutexLock lock(mutex_);
  return functions_locked();
}

UseByName LiveBinding::functions_at_step() const {
  const MutexLock lock(mutex_);
  return at_step_;
}

Use LiveBinding::total() const {
  const MutexLock lock(mutex_);
  Use total = past_total_;
  for (const Uses* uses : uses_) {
    uses->for_each([&](const std::string&, const Use& use) { total += use; });
  }
  return total;
}

LiveBinding::HandOvers LiveBinding::hand_overs() const {
  const MutexLock lock(mutex_);
  return hand_overs_;
}

void LiveBinding::count_hand_over(uint64_t ns) {
  const MutexLock lock(mutex_);
  hand_overs_.done++;
  hand_overs_.ns += ns;
  hand_overs_.ns_max = std::max(hand_overs_.ns_max, ns);
}

void LiveBinding::count_refusal(std::string_view why) {
  const MutexLock lock(mutex_);
  hand_overs_.refused++;
  hand_overs_.last_refusal = why;
}

// --- what a store holds --------------------------------------------------------------------------------

LiveBinding::Uses::Uses(std::shared_ptr<LiveBinding> of) : live_(std::move(of)) {
  const MutexLock lock(live_->mutex_);
  live_->uses_.insert(this);
}

LiveBinding::Uses::~Uses() {
  {
    const MutexLock lock(live_->mutex_);
    live_->uses_.erase(this);
    for_each([&](const std::string& name, const Use& use) SPORE_NO_THREAD_SAFETY_ANALYSIS {
      live_->past_[name] += use;
      live_->past_total_ += use;
    });
  }
  for (const Node* node = head_.load(std::memory_order_relaxed); node != nullptr;) {
    const std::unique_ptr<const Node> gone(node);
    node = node->next;
  }
}

FunctionUse& LiveBinding::Uses::of(std::string_view name) {
  auto node = std::make_unique<Node>();
  node->use.name = name;
  node->next = head_.load(std::memory_order_relaxed);
  head_.store(node.get(), std::memory_order_release);
  return node.release()->use;
}

}  // namespace spore::engine
