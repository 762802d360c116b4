#pragma once

// What is known of a prepared module, as bytes: for whoever has its code already and need not prepare it
// again. Byte for byte: docs/formats/prepared.md.

#include <cstdint>
#include <span>
#include <vector>

#include "spore/base/status.h"
#include "spore/wasm/prepare.h"

namespace spore::wasm {

inline constexpr uint32_t kPreparedFileVersion = 2;

// All of it but `wasm` and the bytes of its data, which stand in the original.
std::vector<uint8_t> encode_prepared(const PreparedModule& prepared);

// `original`: the module that it was made of.  kCorruption: says what and where.  kUnsupported: another
// version. Its word is taken for what is in it, and what is wrong in it undoes the isolation of instances:
// for bytes that were authenticated.
Result<PreparedModule> decode_prepared(std::span<const uint8_t> bytes, std::span<const uint8_t> original);

}  // namespace spore::wasm
