#pragma once

// What compilers are given, and by what name the result is known.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "spore/base/hash.h"
#include "spore/engine/engine.h"
#include "spore/wasm/prepare.h"

namespace spore::code {

// A valid module, rewritten or not.  A view.
struct Source {
  std::span<const uint8_t> wasm;
  Digest hash;              // of the module as it was
  uint32_t preparer = 0;    // the version of the preparer that made `wasm` of it; 0: it is the module itself
  bool to_prepare = false;  // that preparer has not seen `wasm` yet: whoever compiles it prepares it first
  // What is known of it as it is prepared, for the peak tier; null: it has none.
  const wasm::PreparedModule* facts = nullptr;
};

// The same for those who need it later.
struct OwnedSource {
  std::shared_ptr<const std::vector<uint8_t>> wasm;
  Digest hash;
  uint32_t preparer = 0;
  bool to_prepare = false;
  std::shared_ptr<const wasm::PreparedModule> facts = nullptr;

  Source view() const {
    return {
        .wasm = *wasm, .hash = hash, .preparer = preparer, .to_prepare = to_prepare, .facts = facts.get()};
  }
};

}  // namespace spore::code
