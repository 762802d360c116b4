#include "bench/fresh.h"

#include <fmt/format.h>

#include "bench/by_hand.h"

#ifndef WASMTIME_FEATURE_POOLING_ALLOCATOR
#error "this is built with the headers of the cargo feature bench-peers (cmake/engine.cmake)"
#endif

namespace spore::bench {
namespace {

// Nobody advances the epoch: no call comes near.
constexpr uint64_t kNoDeadline = uint64_t{1} << 30;
constexpr uint32_t kPoolSlots = 100;

}  // namespace

CompiledByHand::CompiledByHand(const std::vector<uint8_t>& wasm, wasm_config_t* config)
    : engine(wasm_engine_new_with_config(config)) {
  wasmtime_module_t* raw = nullptr;
  if (wasmtime_module_new(engine.get(), wasm.data(), wasm.size(), &raw) != nullptr) fail("compile by hand");
  module.reset(raw);
}

int32_t call_unchecked(wasmtime_context_t* context, const wasmtime_func_t& function, int32_t arg) {
  wasmtime_val_raw_t value;
  value.i32 = arg;
  wasm_trap_t* trap = nullptr;
  if (wasmtime_func_call_unchecked(context, &function, &value, 1, &trap) != nullptr || trap != nullptr) {
    fail("unchecked call");
  }
  return value.i32;
}

std::string PoolingSettings::name() const {
  return fmt::format("keep_resident={},decommit_batch={},warm_slots={}", keep_resident_bytes, decommit_batch,
                     warm_slots);
}

std::vector<PoolingSettings> pooling_settings() {
  std::vector<PoolingSettings> settings;
  // Off; the 3 and the 64 lowest pages; sizes that end below, within and above what a call writes.
  for (const size_t keep : {0, 12'288, 65'536, 262'144, 1'048'576, 1'100'000, 1'400'000, 2'600'000}) {
    for (const size_t batch : {1, 8, 64}) settings.push_back({keep, batch, kPoolSlots});
    settings.push_back({keep, 1, 0});
  }
  return settings;
}

FreshInstances FreshInstances::on_demand(const std::vector<uint8_t>& wasm) {
  return {wasm, by_hand_config()};
}

FreshInstances FreshInstances::pooling(const std::vector<uint8_t>& wasm, const PoolingSettings& settings) {
  wasm_config_t* config = by_hand_config();
  const std::unique_ptr<wasmtime_pooling_allocation_config_t,
                        engine::DeleteWith<wasmtime_pooling_allocation_config_delete>>
      pool(wasmtime_pooling_allocation_config_new());
  wasmtime_pooling_allocation_config_total_memories_set(pool.get(), kPoolSlots);
  wasmtime_pooling_allocation_config_total_core_instances_set(pool.get(), kPoolSlots);
  wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool.get(),
                                                                     settings.keep_resident_bytes);
  wasmtime_pooling_allocation_config_decommit_batch_size_set(pool.get(), settings.decommit_batch);
  wasmtime_pooling_allocation_config_max_unused_warm_slots_set(pool.get(), settings.warm_slots);
  wasmtime_pooling_allocation_strategy_set(config, pool.get());
  return {wasm, config};
}

FreshInstances::FreshInstances(const std::vector<uint8_t>& wasm, wasm_config_t* config)
    : compiled_(wasm, config) {
  const engine::LinkerHandle linker(wasmtime_linker_new(compiled_.engine.get()));
  wasmtime_instance_pre_t* raw = nullptr;
  if (wasmtime_linker_instantiate_pre(linker.get(), compiled_.module.get(), &raw) != nullptr) {
    fail("instantiate_pre");
  }
  prepared_.reset(raw);
}

int32_t FreshInstances::call(std::string_view name, int32_t arg) const {
  const engine::StoreHandle store(wasmtime_store_new(compiled_.engine.get(), nullptr, nullptr));
  wasmtime_context_t* context = wasmtime_store_context(store.get());
  wasmtime_context_set_epoch_deadline(context, kNoDeadline);
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  if (wasmtime_instance_pre_instantiate(prepared_.get(), context, &instance, &trap) != nullptr) {
    fail("instance");
  }
  return call_unchecked(context, exported(context, instance, name).of.func, arg);
}

}  // namespace spore::bench
