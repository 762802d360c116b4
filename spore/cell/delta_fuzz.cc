// Bytes that say they are a delta: refused, or read as what is written again and read as the same, and folded
// with itself to what it is.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "spore/cell/delta.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spore;
  const Result<cell::Delta> read = cell::decode_delta({data, size});
  if (!read.ok()) return 0;
  const std::vector<uint8_t> written = cell::encode_delta(read.value());
  const Result<cell::Delta> again = cell::decode_delta(written);
  if (!again.ok() || cell::encode_delta(again.value()) != written) std::abort();
  const Result<cell::Delta> folded = cell::fold(read.value(), read.value());
  if (!folded.ok() || cell::encode_delta(folded.value()) != written) std::abort();
  return 0;
}
