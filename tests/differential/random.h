#pragma once

#include <cstdint>
#include <vector>

namespace spore::differential {

// SplitMix64: the same numbers from a seed on every machine, which std::uniform_int_distribution does not
// promise.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // 0 to end - 1.
  uint64_t below(uint64_t end) { return bits() % end; }
  // `from` to `to`, both included.
  uint64_t between(uint64_t from, uint64_t to) { return from + below(to - from + 1); }
  bool chance(uint64_t of, uint64_t all) { return below(all) < of; }

 private:
  uint64_t state_;
};

}  // namespace spore::differential
