#pragma once

// How guests come by their linear memories: ours, in slots.  Internal to engine/.

#include <span>

#include "spore/engine/handles.h"
#include "spore/engine/store.h"

namespace spore::engine {

// 4 GiB of address space for each memory, and no bounds checks in code; or as much as the memory may grow to,
// and checks.
inline constexpr uint64_t kWideReservation = uint64_t{4} << 30;
inline constexpr uint64_t kWideGuard = uint64_t{32} << 20;
inline constexpr uint64_t kCompactGuard = uint64_t{64} << 10;

// Has every memory of the engine come from the store that is instantiating.
void set_memory_creator(wasm_config_t* config, bool compact);

// The slot for a memory of the store: it may grow from `minimum` to `maximum`, as far as the store's limits
// let it.  An access may reach `reserved` and `guard` far without a check.
memory::SlotShape shape_for(const Store& store, uint64_t minimum, uint64_t maximum, bool is_64,
                            uint64_t reserved, uint64_t guard);

// For the time of one instantiation: whose memories are being made, on this thread, and what they begin with.
class MakingMemories {
 public:
  // A null plan: those that the store has already, as they stand.
  MakingMemories(Store& store, const MemoryPlan* plan);
  ~MakingMemories();
  MakingMemories(const MakingMemories&) = delete;
  MakingMemories& operator=(const MakingMemories&) = delete;
};

}  // namespace spore::engine
