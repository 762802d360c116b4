#pragma once

// Spore's own side of the clean-call benchmark: its public interface and nothing else.

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "spore/spore.h"

namespace spore::bench {

// A Runtime with a module of clean_guest() in its pool.
class SporeGuest {
 public:
  SporeGuest(const std::vector<uint8_t>& wasm, memory::FaultCounterKind counter, uint32_t instances_max = 10);

  // Calls of an (i32) -> i32, each in a clean instance.  Safe to use from many threads; keeps the Runtime.
  std::function<void(uint64_t)> calls(std::string_view function) const;
  // One call that writes `bytes` bytes.
  void fill(int32_t bytes) const;
  // So many instances, each of which was used once, lie in the pool.
  void make_idle(uint32_t instances) const;

 private:
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<const Module> module_;
};

}  // namespace spore::bench
