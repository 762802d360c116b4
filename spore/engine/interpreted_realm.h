#pragma once

// Instances that are interpreted: the tier that has nothing to compile.  Internal to engine/.

#include <string>

#include "spore/engine/interpreted_code.h"
#include "spore/engine/realm.h"
#include "spore/memory/slot.h"

namespace spore::engine {

// Memories are slots as everywhere.  wasmi fills those that it is given with zeros: they get their pages
// after that.  It cannot be told that one became shorter, nor begin with one that is in use: nothing goes
// over to this tier.
class InterpretedRealm final : public Realm {
 public:
  explicit InterpretedRealm(Store& store);
  ~InterpretedRealm() override;

  Result<Instance> instantiate(const Binding& binding, const MemoryPlan* plan) override;
  Result<Instance> instantiate(const CompiledCode& code, std::span<const Import> imports,
                               const MemoryPlan& plan) override;
  std::optional<Item> find(const Instance& instance, std::string_view name) override;
  std::array<uint64_t, 2> callable(const Instance& instance, std::string_view name) override;
  bool call(const std::array<uint64_t, 2>& function, RawValue* values, size_t count,
            Status& failure) override;
  Store::GlobalValue global(const Item& item) override;
  bool set_global(const Item& item, const Store::GlobalValue& value) override;
  GuestMemory memory(const Item& item) override;
  GuestMemory caller_memory(void* caller) override;
  bool shrink(const Item& memory) override;
  bool can_shrink() const override { return false; }
  bool grow_memory(const Item& memory, uint64_t delta) override;
  uint64_t table_size(const Item& table) override;
  bool read_table(const Item& table, std::span<void*> elements) override;
  bool write_table(const Item& table, std::span<void* const> elements) override;
  bool grow_table(const Item& table, uint64_t delta) override;
  void* element(const Item& function) override;
  void set_fuel(uint64_t fuel) override;
  uint64_t fuel() override;
  void interrupt() override;
  Result<std::vector<uint32_t>> stack_functions() override;
  Status translate(const Instance& instance, uint32_t function) override;

 private:
  struct Callbacks;
  // A memory whose slot is lent to wasmi for its zeros.
  struct Lent {
    memory::Slot* slot;
    size_t bytes;
    size_t index;  // among those of its module
  };
  Status make_store(const InterpretedCode& code);
  Status failure_of(const InterpretedFailure& failure);
  Status instantiation_failure(const InterpretedFailure& failure);

  Store& store_;
  std::shared_ptr<const InterpretedCode> code_;  // whose engine the store is of
  std::vector<std::shared_ptr<const InterpretedCode>> linked_;
  InterpretedStore* handle_ = nullptr;
  const MemoryPlan* plan_ = nullptr;  // while an instance is made
  std::vector<Lent> lent_;
  size_t memories_ = 0;
  uint64_t first_fuel_ = 0;  // of the store that is not made yet
  Status refusal_;           // why no instance could be made, if a callback knows
};

}  // namespace spore::engine
