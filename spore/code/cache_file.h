#pragma once

// One file of the code cache.  Byte for byte: docs/formats/code-cache.md.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/mac.h"
#include "spore/base/status.h"
#include "spore/code/cache_fault.h"
#include "spore/engine/engine.h"

namespace spore::code {

inline constexpr uint32_t kCacheFileVersion = 1;
inline constexpr uint64_t kCachePayloadBytesMax = uint64_t{4} << 30;

// What a cached file says about itself.
struct CacheHeader {
  Digest key;  // its name
  Digest module_hash;
  std::optional<engine::Tier> tier = engine::Tier::kOptimised;  // nothing: no code
  uint32_t preparer = 0;
  uint64_t compile_ns = 0;  // what it cost to make
  uint64_t stored_s = 0;    // when, in seconds since 1970
  uint64_t payload_bytes = 0;
  std::array<uint8_t, 32> salt{};
  MacTag tag;
  std::string made_by;  // the engine, for people

  uint64_t file_bytes() const;  // all of it
  // What it holds: "baseline", "optimised" (code), "rewritten" (a module), "facts" (of one).
  std::string_view kind() const;
};
// How `made_by` of rewritten modules begins.
inline constexpr std::string_view kRewrittenPrefix = "rewritten by ";

// The header and `made_by`, as they stand in the file.
std::vector<uint8_t> encode_cache_header(const CacheHeader& header);
// The longest that they can be: who reads so much from the beginning of a file has all of them.
inline constexpr size_t kCacheHeaderBytesMax = 1184;
// From the first bytes of a file of `file_bytes`.  Nothing in it is to be believed before the MAC was
// compared. Faults: kFormat, kVersion, kTruncated.
Result<CacheHeader> decode_cache_header(std::span<const uint8_t> bytes, uint64_t file_bytes);

// Native code on its way into a file: bytes, or a file that holds nothing else.
struct CachePayload {
  std::span<const uint8_t> bytes;
  int fd = -1;
};
// Writes header, made_by and payload into an empty file; payload_bytes, salt and tag are found out.
// Not synced.  Faults: kFull, kDirectory, kWrite; kRead: of the payload; kTooLarge: kCachePayloadBytesMax.
Status write_cache_file(int fd, CacheHeader header, const CachePayload& payload, const MacKey& key);

// Computes the MAC of all of the file that `header` was decoded from and compares it.  If `to` is not -1 the
// payload is written there meanwhile, each piece from the very bytes that went into the MAC.  Up to
// `threads`, this one included, share a large file.  Faults: kMac, kRead; kMemory: `to` cannot be written.
Status check_cache_file(int from, const CacheHeader& header, const MacKey& key, int to, unsigned threads);

}  // namespace spore::code
