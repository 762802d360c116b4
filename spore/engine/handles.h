#pragma once

// Ownership of Wasmtime's C objects.  Internal to engine/: no other module sees wasmtime.h.

#include <memory>
#include <string>
#include <string_view>

#include <wasmtime.h>

#include "spore/base/status.h"
#include "spore/engine/types.h"

namespace spore::engine {

template <auto kDelete>
struct DeleteWith {
  void operator()(auto* object) const noexcept { kDelete(object); }
};
using ConfigHandle = std::unique_ptr<wasm_config_t, DeleteWith<wasm_config_delete>>;
using ErrorHandle = std::unique_ptr<wasmtime_error_t, DeleteWith<wasmtime_error_delete>>;
using TrapHandle = std::unique_ptr<wasm_trap_t, DeleteWith<wasm_trap_delete>>;
using StoreHandle = std::unique_ptr<wasmtime_store_t, DeleteWith<wasmtime_store_delete>>;
using LinkerHandle = std::unique_ptr<wasmtime_linker_t, DeleteWith<wasmtime_linker_delete>>;
using InstancePreHandle = std::unique_ptr<wasmtime_instance_pre_t, DeleteWith<wasmtime_instance_pre_delete>>;
using GlobalTypeHandle = std::unique_ptr<wasm_globaltype_t, DeleteWith<wasm_globaltype_delete>>;
using FuncTypeHandle = std::unique_ptr<wasm_functype_t, DeleteWith<wasm_functype_delete>>;

// A vector that the C API filled, freed with its own function.
template <typename T, auto kDelete>
struct VectorOf {
  VectorOf() : value{} {}
  ~VectorOf() { kDelete(&value); }
  VectorOf(const VectorOf&) = delete;
  VectorOf& operator=(const VectorOf&) = delete;
  T value;
};
using ByteVector = VectorOf<wasm_byte_vec_t, wasm_byte_vec_delete>;
using ImportTypes = VectorOf<wasm_importtype_vec_t, wasm_importtype_vec_delete>;
using ExportTypes = VectorOf<wasm_exporttype_vec_t, wasm_exporttype_vec_delete>;
using Frames = VectorOf<wasm_frame_vec_t, wasm_frame_vec_delete>;

// To the last byte: a name may end in NUL.
inline std::string_view view(const wasm_name_t& name) { return {name.data, name.size}; }

// Of any type, references too.
ValType to_val_type(const wasm_valtype_t* type);

// The error's message on one line: "WebAssembly failed to compile: unknown type".
std::string error_message(const wasmtime_error_t& error);

}  // namespace spore::engine
