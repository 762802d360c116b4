#pragma once

// Threads that stay: what a thread remembers of itself, such as its page faults, is to be of use to the next
// that it does.

#include <array>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

namespace spore::cells_test {

class Workers {
 public:
  static constexpr size_t kCount = 3;

  Workers();
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // At most kCount parts, each by a thread of its own; `meanwhile` on this one, again and again, until all
  // are done.
  void run(std::span<const std::function<void()>> parts, const std::function<void()>& meanwhile);

 private:
  void work(size_t number);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<const std::function<void()>*, kCount> parts_{};  // null: nothing to do
  bool stop_ = false;
  std::array<std::jthread, kCount> threads_;  // the last: they use the others
};

}  // namespace spore::cells_test
