#pragma once

// One engine's side of a store: the instances, and all that they hold.  Internal to engine/.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/binding.h"
#include "spore/engine/guest_memory.h"
#include "spore/engine/store.h"
#include "spore/engine/types.h"

namespace spore::engine {

// Bound to the thread of its store, which outlives it.  What it hands out is good as long as it lives.
class Realm {
 public:
  using Instance = std::array<uint64_t, 2>;
  // What an instance exports.
  struct Item {
    ExternKind kind = ExternKind::kOther;
    std::array<uint64_t, 3> words{};
  };
  // What an instance imports: a function of the host, or what another one exports.
  struct Import {
    const HostFunction* function = nullptr;
    Item item;
  };

  static std::unique_ptr<Realm> create(Store& store, const Engine& engine);
  virtual ~Realm() = default;
  Realm(const Realm&) = delete;
  Realm& operator=(const Realm&) = delete;

  // With memories as `plan` says; null: over those that the store has, as they stand.  A start function that
  // was not lifted runs.
  virtual Result<Instance> instantiate(const Binding& binding, const MemoryPlan* plan) = 0;
  virtual Result<Instance> instantiate(const CompiledCode& code, std::span<const Import> imports,
                                       const MemoryPlan& plan) = 0;
  virtual std::optional<Item> find(const Instance& instance, std::string_view name) = 0;

  // A function that was found, as call() takes it.
  virtual std::array<uint64_t, 2> callable(const Instance& instance, std::string_view name) = 0;
  // False: `failure` says why.
  virtual bool call(const std::array<uint64_t, 2>& function, RawValue* values, size_t count,
                    Status& failure) = 0;

  // Of one that holds a reference, the type alone.
  virtual Store::GlobalValue global(const Item& item) = 0;
  // False: it is of another type, or immutable.
  virtual bool set_global(const Item& item, const Store::GlobalValue& value) = 0;
  virtual GuestMemory memory(const Item& item) = 0;
  // "memory" of the instance whose function called the host function that is running.
  virtual GuestMemory caller_memory(void* caller) = 0;
  // Its slot became shorter: the instance learns it.  False: it cannot.
  virtual bool shrink(const Item& memory) = 0;
  virtual bool can_shrink() const = 0;
  // By so many pages of its own size.  False: it cannot, or a limit says no.
  virtual bool grow_memory(const Item& memory, uint64_t delta) = 0;

  // Elements of tables of functions, each a name for the function that is the same in all of this realm.
  virtual uint64_t table_size(const Item& table) = 0;
  virtual bool read_table(const Item& table, std::span<void*> elements) = 0;
  virtual bool write_table(const Item& table, std::span<void* const> elements) = 0;
  virtual bool grow_table(const Item& table, uint64_t delta) = 0;
  virtual void* element(const Item& function) = 0;

  virtual void set_fuel(uint64_t fuel) = 0;
  virtual uint64_t fuel() = 0;
  // From a host function: the guest comes to Store::may_go_on() before it goes on for long.
  virtual void interrupt() = 0;
  virtual Result<std::vector<uint32_t>> stack_functions() = 0;
  // Has a function translated before it is called, where that is done one by one.
  virtual Status translate(const Instance& instance, uint32_t function) = 0;

 protected:
  Realm() = default;
};

}  // namespace spore::engine
