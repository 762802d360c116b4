#pragma once

// How instances of one module are made.

#include <memory>
#include <string>

#include "spore/base/status.h"
#include "spore/engine/binding.h"
#include "spore/engine/limits.h"
#include "spore/host/instance.h"
#include "spore/host/wasi.h"
#include "spore/wasm/prepare.h"

namespace spore::cell {

// Immutable, shared.
struct Blueprint {
  std::string name;  // the module's, for messages
  std::shared_ptr<const engine::Binding> binding;
  // Null: the module is instantiated as it is, and only ever anew.
  std::shared_ptr<const wasm::PreparedModule> prepared;
  engine::Limits limits;
  // Its world, unless another is given; null: it needs none.
  std::shared_ptr<const host::WasiConfig> wasi;

  wasm::ResetMode reset_mode() const {
    return prepared == nullptr ? wasm::ResetMode::kReinstantiate : prepared->reset();
  }
};

// What instantiation leaves to the host of a prepared module, in the order of an unprepared one: its data,
// its start function, then `_initialize`.  All of it is one call to the limits.
Status complete(host::Instance& instance, const wasm::PreparedModule* prepared);

// A new instance, complete.  `wasi` null: a world as the blueprint has it.
Result<host::Instance> instantiate(const Blueprint& blueprint, const engine::Limits& limits,
                                   void* user_data = nullptr, std::unique_ptr<host::Wasi> wasi = nullptr);

}  // namespace spore::cell
