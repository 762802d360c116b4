#include "spore/engine/live_binding.h"

#include <algorithm>
#include <utility>

namespace spore::engine {

std::shared_ptr<const Binding> LiveBinding::best() const {
  const MutexLock lock(mutex_);
  return best_;
}

void LiveBinding::improve(std::shared_ptr<const Binding> better) {
  {
    const MutexLock lock(mutex_);
    std::swap(best_, better);
  }
  step_.fetch_add(1, std::memory_order_release);
}  // the old one may go here, without the lock

std::unordered_map<std::string, Use> LiveBinding::functions() const {
  const MutexLock lock(mutex_);
  std::unordered_map<std::string, Use> functions = past_;
  for (const Uses* uses : uses_) uses->add_to(functions);
  return functions;
}

Use LiveBinding::total() const {
  Use total;
  for (const auto& [name, use] : functions()) total += use;
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
    add_to(live_->past_);
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

void LiveBinding::Uses::add_to(std::unordered_map<std::string, Use>& functions) const {
  for (const Node* node = head_.load(std::memory_order_acquire); node != nullptr; node = node->next) {
    if (node->use.calls.value() == 0) continue;
    functions[node->use.name] += {.calls = node->use.calls.value(), .ms = node->use.ms.value()};
  }
}

}  // namespace spore::engine
