#pragma once

// The baseline of benchmarks: Wasmtime as its C API is used by hand.

#include <array>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include <wasmtime.h>

#include "bench/harness.h"

namespace spore::bench {

// The same engine configuration as Spore's.
inline wasm_config_t* by_hand_config() {
  wasm_config_t* config = wasm_config_new();
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_cranelift_nan_canonicalization_set(config, true);
  wasmtime_config_native_unwind_info_set(config, false);
  wasmtime_config_parallel_compilation_set(config, false);
  return config;
}

inline wasmtime_extern_t exported(wasmtime_context_t* context, const wasmtime_instance_t& instance,
                                  std::string_view name) {
  wasmtime_extern_t found;
  if (!wasmtime_instance_export_get(context, &instance, name.data(), name.size(), &found)) fail(name);
  return found;
}

// One instance of a module without imports, and no deadline.
class ByHand {
 public:
  explicit ByHand(const std::vector<uint8_t>& wasm) {
    engine_ = wasm_engine_new_with_config(by_hand_config());
    if (wasmtime_module_new(engine_, wasm.data(), wasm.size(), &module_) != nullptr) fail("compile");
    store_ = wasmtime_store_new(engine_, nullptr, nullptr);
    context_ = wasmtime_store_context(store_);
    instance_ = instantiate(context_);
  }
  ~ByHand() {
    wasmtime_store_delete(store_);
    wasmtime_module_delete(module_);
    wasm_engine_delete(engine_);
  }
  ByHand(const ByHand&) = delete;
  ByHand& operator=(const ByHand&) = delete;

  wasmtime_context_t* context() const { return context_; }

  wasmtime_extern_t item(std::string_view name) const { return exported(context_, instance_, name); }

  // The checked call, for up to four arguments and one result.
  int32_t call(const wasmtime_func_t& function, std::initializer_list<int32_t> args, bool result) const {
    std::array<wasmtime_val_t, 4> values;
    size_t count = 0;
    for (const int32_t arg : args) {
      values[count].kind = WASMTIME_I32;
      values[count++].of.i32 = arg;
    }
    wasmtime_val_t out;
    wasm_trap_t* trap = nullptr;
    wasmtime_error_t* error =
        wasmtime_func_call(context_, &function, values.data(), count, &out, result ? 1 : 0, &trap);
    if (error != nullptr || trap != nullptr) fail("checked call");
    return result ? out.of.i32 : 0;
  }

  // A new store and instance, one checked call without arguments, and the end of both.
  int32_t call_in_new_instance(std::string_view name) const {
    wasmtime_store_t* store = wasmtime_store_new(engine_, nullptr, nullptr);
    wasmtime_context_t* context = wasmtime_store_context(store);
    const wasmtime_instance_t instance = instantiate(context);
    const wasmtime_extern_t function = exported(context, instance, name);
    wasmtime_val_t out;
    wasm_trap_t* trap = nullptr;
    if (wasmtime_func_call(context, &function.of.func, nullptr, 0, &out, 1, &trap) != nullptr ||
        trap != nullptr) {
      fail("call in a new instance");
    }
    wasmtime_store_delete(store);
    return out.of.i32;
  }

 private:
  wasmtime_instance_t instantiate(wasmtime_context_t* context) const {
    wasmtime_context_set_epoch_deadline(context, 1);
    wasmtime_instance_t instance;
    wasm_trap_t* trap = nullptr;
    if (wasmtime_instance_new(context, module_, nullptr, 0, &instance, &trap) != nullptr) fail("instance");
    return instance;
  }

  wasm_engine_t* engine_ = nullptr;
  wasmtime_module_t* module_ = nullptr;
  wasmtime_store_t* store_ = nullptr;
  wasmtime_context_t* context_ = nullptr;
  wasmtime_instance_t instance_{};
};

}  // namespace spore::bench
