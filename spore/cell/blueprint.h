#pragma once

// How instances of one module are made.

#include <memory>
#include <string>

#include "spore/base/status.h"
#include "spore/engine/limits.h"
#include "spore/engine/live_binding.h"
#include "spore/host/instance.h"
#include "spore/host/wasi.h"
#include "spore/wasm/prepare.h"

namespace spore::cell {

// Immutable, shared.
struct Blueprint {
  std::string name;  // the module's, for messages
  std::shared_ptr<engine::LiveBinding> code;
  // Null: the module is instantiated as it is, and only ever anew.
  std::shared_ptr<const wasm::PreparedModule> prepared;
  engine::Limits limits;
  // Its world, unless another is given; null: it needs none.
  std::shared_ptr<const host::WasiConfig> wasi;

  wasm::ResetMode reset_mode() const {
    return prepared == nullptr ? wasm::ResetMode::kReinstantiate : prepared->reset();
  }
  // Whether instances can go over to better code with their state; engine::Store::hand_over.
  bool can_hand_over() const {
    return reset_mode() == wasm::ResetMode::kInPlace && prepared->not_lifted.empty();
  }
};

// What instantiation leaves to the host of a prepared module, in the order of an unprepared one: its data,
// its start function, then `_initialize`.  All of it is one call to the limits.
Status complete(host::Instance& instance, const wasm::PreparedModule* prepared);

// A new instance, complete, that goes along with its code.  `wasi` null: a world as the blueprint has it.
Result<host::Instance> instantiate(const Blueprint& blueprint, const engine::Limits& limits,
                                   void* user_data = nullptr, std::unique_ptr<host::Wasi> wasi = nullptr);

}  // namespace spore::cell
