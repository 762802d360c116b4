// Any bytes: decode_code_file() refuses them, or gives what encodes to the same bytes.

#include <algorithm>
#include <cstdint>

#include "spore/engine/code_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  const auto file = spore::engine::decode_code_file(bytes);
  if (file.ok()) {
    SPORE_ASSERT(std::ranges::equal(spore::engine::encode_code_file(file.value()), bytes), "not the same");
  }
  return 0;
}
