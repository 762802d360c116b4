#include "spore/engine/memories.h"

#include <algorithm>
#include <bit>

namespace spore::engine {
namespace {

constexpr uint64_t kPageBytes = 64 * 1024;
constexpr uint64_t kMemory32BytesMax = uint64_t{4} << 30;
// A memory with 64-bit addresses that declares no maximum must end somewhere.
constexpr uint64_t kReservationMax = uint64_t{64} << 30;

struct Making {
  Store* store = nullptr;
  const MemoryPlan* plan = nullptr;
  size_t next = 0;
};
// The callback gets nothing that would say for which store it is called; it comes on the same thread.
constinit thread_local Making making;

wasmtime_error_t* to_wasmtime(const Status& status) {
  return status.ok() ? nullptr : wasmtime_error_new(std::string(status.message()).c_str());
}

uint8_t* get_memory(void* env, size_t* bytes, size_t* capacity) noexcept {
  const auto* slot = static_cast<const memory::Slot*>(env);
  *bytes = slot->bytes();
  *capacity = slot->capacity();
  return reinterpret_cast<uint8_t*>(slot->base());
}

wasmtime_error_t* grow_memory(void* env, size_t bytes) noexcept {
  return to_wasmtime(static_cast<memory::Slot*>(env)->grow(bytes));
}

wasmtime_error_t* new_memory(void* /*env*/, const wasm_memorytype_t* type, size_t minimum, size_t maximum,
                             size_t reserved, size_t guard, wasmtime_linear_memory_t* made) noexcept {
  SPORE_ASSERT(making.store != nullptr, "a memory is made while a store instantiates");
  const memory::SlotShape shape =
      shape_for(*making.store, minimum, maximum, wasmtime_memorytype_is64(type), reserved, guard);
  const size_t index = making.next++;
  const Result<memory::Slot*> slot = making.plan == nullptr
                                         ? making.store->slot_again(shape, index)
                                         : making.store->add_slot(shape, minimum, *making.plan, index);
  if (!slot.ok()) return to_wasmtime(slot.status());
  *made = {.env = slot.value(), .get_memory = get_memory, .grow_memory = grow_memory, .finalizer = nullptr};
  return nullptr;
}

}  // namespace

memory::SlotShape shape_for(const Store& store, uint64_t minimum, uint64_t maximum, bool is_64,
                            uint64_t reserved, uint64_t guard) {
  const uint64_t address_max = is_64 ? UINT64_MAX : kMemory32BytesMax;
  const uint64_t growth_max = std::min({maximum, store.limits().memory_bytes_max, address_max});
  const uint64_t wanted = std::max(minimum, std::min(growth_max, kReservationMax));
  return {.capacity = std::max({reserved, std::bit_ceil(wanted), kPageBytes}), .guard = guard};
}

void set_memory_creator(wasm_config_t* config, bool compact) {
  // With copy-on-write images of its own, Wasmtime aborts on memories of ours.
  wasmtime_config_memory_init_cow_set(config, false);
  // Slots never move.  But Winch takes a memory that may not, and reserves nothing, for one that is empty.
  wasmtime_config_memory_may_move_set(config, compact);
  wasmtime_config_memory_reservation_set(config, compact ? 0 : kWideReservation);
  wasmtime_config_memory_reservation_for_growth_set(config, 0);
  wasmtime_config_memory_guard_size_set(config, compact ? kCompactGuard : kWideGuard);
  wasmtime_memory_creator_t creator{.env = nullptr, .new_memory = new_memory, .finalizer = nullptr};
  wasmtime_config_host_memory_creator_set(config, &creator);
}

MakingMemories::MakingMemories(Store& store, const MemoryPlan* plan) {
  making = {.store = &store, .plan = plan, .next = 0};
}

// A start function may instantiate further instances, on this thread, but only after all memories of its own
// are there.
MakingMemories::~MakingMemories() { making = {}; }

}  // namespace spore::engine
