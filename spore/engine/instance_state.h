#pragma once

// All that an instance of a prepared module holds: read out, and put back.

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/engine/types.h"
#include "spore/memory/slot.h"
#include "spore/wasm/prepare.h"

namespace spore::engine {

// What an instance holds beside its memories, as values that mean the same in each instance of its module.
struct StateValues {
  static constexpr uint32_t kNullFunction = std::numeric_limits<uint32_t>::max();

  // Of PreparedModule::globals, then of its drop flags, data first.
  std::vector<Store::GlobalValue> globals;
  // Of the tables that code writes to: each element a function, by its number in the original module.
  std::vector<std::vector<uint32_t>> tables;
  uint64_t fuel = 0;
};

// Ok if an instance of this module can hold these, whose reset mode is in_place.  kInvalidArgument: says
// which it cannot.
Status check_values(const StateValues& values, const wasm::PreparedModule& prepared);

// The state of one instance whose reset mode is in_place, found by name once.  Bound to the thread of its
// store, which outlives it.
class InstanceState {
 public:
  // kInternal: the instance is not one of this prepared module.
  static Result<InstanceState> create(Store& store, const InstanceHandle& instance,
                                      const wasm::PreparedModule& prepared);
  ~InstanceState();
  InstanceState(InstanceState&&) noexcept;

  // kUnsupported: a table holds a function that has no number.
  Result<StateValues> read() const;

  // How what it holds beside its memories differs from what keep() was told, each list in order.
  struct Changes {
    struct Global {
      uint32_t number = 0;
      Store::GlobalValue value{};
    };
    struct Element {
      uint32_t number = 0;
      uint32_t function = StateValues::kNullFunction;
    };
    struct Table {
      uint32_t number = 0;    // of those that code writes to
      uint64_t elements = 0;  // its length now
      std::vector<Element> changed;
    };
    std::vector<Global> globals;
    std::vector<Table> tables;
  };
  // kUnsupported, as above.
  Status changes(Changes& into) const;
  // To an instance that holds what keep() was told: it holds these then, and values with them that
  // check_values() takes.  kLimitExceeded: a table cannot grow so far.
  Status apply(const Changes& changes) const;
  // Makes a memory longer.  kLimitExceeded: Limits::memory_bytes_max, or what its slot says.
  Status grow_memory(size_t number, uint64_t bytes) const;

  // From now on restore() makes the instance hold these, and in its memories what their slots were opened
  // with. Tables grow here, if need be, and nowhere else.
  Status keep(const StateValues& values);

  // The steady case allocates nothing and asks the system for nothing.  After a failure the instance is to be
  // thrown away: kUnavailable: a table grew, and none can shrink; else what Slot::reset says.
  Status restore();
  // The same without the memories.
  Status restore_values();

  // The slots of its memories, in order.
  const std::vector<memory::Slot*>& slots() const;

 private:
  struct Parts;
  explicit InstanceState(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace spore::engine
