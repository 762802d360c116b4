#include "tests/cells/workers.h"

#include <algorithm>

#include "spore/base/assert.h"

namespace spore::cells_test {

Workers::Workers() {
  for (size_t i = 0; i < kCount; i++) threads_[i] = std::jthread([this, i] { work(i); });
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
}

void Workers::work(size_t number) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stop_ || parts_[number] != nullptr; });
    if (stop_) return;
    const std::function<void()>& part = *parts_[number];
    lock.unlock();
    part();
    lock.lock();
    parts_[number] = nullptr;
  }
}

void Workers::run(std::span<const std::function<void()>> parts, const std::function<void()>& meanwhile) {
  SPORE_ASSERT(parts.size() <= kCount, "a thread for each part");
  {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < parts.size(); i++) parts_[i] = &parts[i];
  }
  changed_.notify_all();
  for (bool done = false; !done;) {
    meanwhile();
    std::this_thread::yield();
    const std::lock_guard lock(mutex_);
    done = std::ranges::all_of(parts_, [](const auto* part) { return part == nullptr; });
  }
}

}  // namespace spore::cells_test
