#pragma once

// How guests reach host functions.  Internal to engine/.

#include "spore/engine/binding.h"
#include "spore/engine/handles.h"

namespace spore::engine {

// Wasmtime's form of a type.
FuncTypeHandle make_func_type(const FuncType& type);

// Called by Wasmtime on Rust frames: nothing may unwind out of it.  `env` is a HostFunction.
wasm_trap_t* on_host_call(void* env, wasmtime_caller_t* caller, wasmtime_val_raw_t* values,
                          size_t count) noexcept;

// "env.log" among `functions`; null if there is none.
const HostFunction* find_host_function(const HostFunctions& functions, std::string_view module,
                                       std::string_view name);

}  // namespace spore::engine
