#pragma once

#include <atomic>
#include <cstdint>

namespace spore {

// A number that one thread at a time adds to and any thread may read.  An addition is a plain load and store:
// no locked instruction, which would cost as much as the things that are counted on the path of a call.
class Counter {
 public:
  Counter() = default;
  Counter(const Counter& other) : value_(other.value()) {}
  Counter& operator=(const Counter& other) {
    value_.store(other.value(), std::memory_order_relaxed);
    return *this;
  }

  void add(uint64_t count = 1) { value_.store(value() + count, std::memory_order_relaxed); }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

}  // namespace spore
