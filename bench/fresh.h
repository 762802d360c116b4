#pragma once

// Peers of the clean call that keep to Wasmtime's C API: engine and module by hand, and with them a new store
// and instance for each call.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <wasmtime.h>

#include "spore/engine/handles.h"

namespace spore::bench {

// A module compiled by an engine of its own.
struct CompiledByHand {
  // Takes `config`.
  CompiledByHand(const std::vector<uint8_t>& wasm, wasm_config_t* config);

  std::unique_ptr<wasm_engine_t, engine::DeleteWith<wasm_engine_delete>> engine;
  std::unique_ptr<wasmtime_module_t, engine::DeleteWith<wasmtime_module_delete>> module;
};

// The unchecked call of an (i32) -> i32.
int32_t call_unchecked(wasmtime_context_t* context, const wasmtime_func_t& function, int32_t arg);

// What the C API can set of the pooling allocator and that bears on the cost of a call.  Wasmtime's Rust API
// has one switch more, off by default: PoolingAllocationConfig::pagemap_scan.
struct PoolingSettings {
  size_t keep_resident_bytes = 0;  // so many of the lowest bytes are written over, the others' pages dropped
  size_t decommit_batch = 1;       // so many memories are dropped at a time
  uint32_t warm_slots = 100;       // so many free slots keep the image of their module mapped

  std::string name() const;
};

// All that are tried, to take the best.
std::vector<PoolingSettings> pooling_settings();

// A new store and instance for each call; all that can be done before is.  Safe to use from many threads.
class FreshInstances {
 public:
  static FreshInstances on_demand(const std::vector<uint8_t>& wasm);
  static FreshInstances pooling(const std::vector<uint8_t>& wasm, const PoolingSettings& settings);

  int32_t call(std::string_view name, int32_t arg) const;

 private:
  FreshInstances(const std::vector<uint8_t>& wasm, wasm_config_t* config);

  CompiledByHand compiled_;
  engine::InstancePreHandle prepared_;
};

}  // namespace spore::bench
