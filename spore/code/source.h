#pragma once

// What compilers are given.

#include <cstdint>
#include <span>

#include "spore/base/hash.h"

namespace spore::code {

// A valid module, rewritten or not.  A view.
struct Source {
  std::span<const uint8_t> wasm;
  Digest hash;            // of the module as it was
  uint32_t preparer = 0;  // the version of the preparer that made `wasm` of it; 0: it is the module itself
};

}  // namespace spore::code
