#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"
#include "spore/engine/engine.h"

namespace spore::test {

// tests/guests/<name>, as wasm.
inline std::vector<uint8_t> guest(std::string_view name) {
  const std::string path = std::string(SPORE_SOURCE_DIR "/tests/guests/").append(name);
  const std::vector<uint8_t> text = read_file(path, 1 << 20).value();
  return engine::text_to_wasm({reinterpret_cast<const char*>(text.data()), text.size()}).value();
}

inline std::vector<uint8_t> wasm(std::string_view text) { return engine::text_to_wasm(text).value(); }

}  // namespace spore::test
