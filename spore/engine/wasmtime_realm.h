#pragma once

// Instances in Wasmtime's code: the tiers that compile.  Internal to engine/.

#include "spore/engine/handles.h"
#include "spore/engine/realm.h"

namespace spore::engine {

class WasmtimeRealm final : public Realm {
 public:
  WasmtimeRealm(Store& store, const Engine& engine);
  ~WasmtimeRealm() override;

  // For calls, which come here without a virtual function: lives as long as this.
  wasmtime_context_t* context() const { return context_; }
  // Why a call failed, or an instantiation.
  Status failure_of(wasmtime_error_t* error, wasm_trap_t* trap);

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
  bool can_shrink() const override { return true; }
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
  Status error_status(wasmtime_error_t* error);
  std::vector<Frame> told(const Frames& frames) const;
  static wasmtime_error_t* on_epoch(wasmtime_context_t* context, void* data, uint64_t* delta,
                                    uint8_t* kind) noexcept;

  Store& store_;
  std::shared_ptr<const Engine> engine_;
  StoreHandle handle_;
  wasmtime_context_t* context_;
};

}  // namespace spore::engine
