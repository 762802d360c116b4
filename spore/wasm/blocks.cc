#include "spore/wasm/blocks.h"

#include <cstddef>

// rust/src/blocks.rs
extern "C" bool spore_blocks_take_parameters(const uint8_t* wasm, size_t len);

namespace spore::wasm {

bool blocks_take_parameters(std::span<const uint8_t> wasm) {
  return spore_blocks_take_parameters(wasm.data(), wasm.size());
}

}  // namespace spore::wasm
