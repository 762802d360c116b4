// Any bytes: decode_cache_header() refuses them, or gives what encodes to the same bytes; and no MAC fits
// them.

#include <algorithm>
#include <cstdint>

#include "spore/base/memfd.h"
#include "spore/code/cache_file.h"
#include "spore/code/temporary_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  const std::span<const uint8_t> begin = bytes.first(std::min(size, spore::code::kCacheHeaderBytesMax));
  const auto header = spore::code::decode_cache_header(begin, size);
  if (!header.ok()) return 0;
  const auto encoded = spore::code::encode_cache_header(header.value());
  SPORE_ASSERT(std::ranges::equal(encoded, bytes.first(encoded.size())), "not the same");
  SPORE_ASSERT(header->file_bytes() == size, "a length that is not the file's");
  const auto file = spore::make_memfd("fuzz");
  const auto copy = spore::make_memfd("fuzz");
  if (!file.ok() || !copy.ok() || !spore::code::write_at(file.value().get(), bytes, 0).ok()) return 0;
  const spore::MacKey key(std::array<uint8_t, spore::MacKey::kBytes>{});
  const spore::Status status =
      spore::code::check_cache_file(file.value().get(), header.value(), key, copy.value().get(), 1);
  SPORE_ASSERT(
      spore::code::cache_fault(status, spore::code::CacheFault::kRead) == spore::code::CacheFault::kMac,
      "forged");
  return 0;
}
