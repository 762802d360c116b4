#pragma once

// The header around saved code.  Byte for byte: docs/formats/code.md.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"

namespace spore::engine {

inline constexpr uint32_t kCodeFileVersion = 1;

// What saved code says about itself.
struct CodeFile {
  Digest module_hash;
  std::string made_by;  // engine version and configuration; must match to the letter
  std::span<const uint8_t> payload;
};

std::vector<uint8_t> encode_code_file(const CodeFile& file);

// Views into `bytes`.  kCorruption: says what and where; kUnsupported: a newer version.
// The checksum finds accidents, not malice.
Result<CodeFile> decode_code_file(std::span<const uint8_t> bytes);

}  // namespace spore::engine
