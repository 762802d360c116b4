// Any bytes: decode_prepared() refuses them, or gives what encodes to the same bytes.

#include <algorithm>
#include <array>
#include <cstdint>

#include "spore/wasm/prepared_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr std::array<uint8_t, 256> kOriginal{};
  const std::span<const uint8_t> bytes(data, size);
  const auto prepared = spore::wasm::decode_prepared(bytes, kOriginal);
  if (prepared.ok()) {
    SPORE_ASSERT(std::ranges::equal(spore::wasm::encode_prepared(prepared.value()), bytes), "not the same");
  }
  return 0;
}
