#pragma once

#include <cstdint>
#include <span>

namespace spore::wasm {

// Whether a block, loop or if of the module takes parameters, as compilers of languages make none.  False,
// too, of bytes that are no module.
bool blocks_take_parameters(std::span<const uint8_t> wasm);

}  // namespace spore::wasm
