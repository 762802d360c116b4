// A file of the code cache, version 1.  Byte for byte: docs/formats/code-cache.md.
//
//   | FileHeader | made_by | payload |
//
// Integers are little-endian.  The tag is a tree of two levels: each piece of the payload has a tag of its
// own, and the file's tag is that of header, made_by and the tags of all pieces.  So threads can share the
// work, and a piece is authenticated while it is in the cache of the processor.
//
// All tags are GMACs under a key that only this file has: HMAC-SHA256 of the user's key over the file's salt,
// which is drawn anew for each file.  Under it the nonce (kPiece, n) is used for piece n, (kRoot, 0) for the
// root: each for one message, as base/mac.h asks for.  Whoever changes a piece must forge its tag or have the
// root's input change; who changes header, made_by, order or number of pieces must forge the root (the header
// has the length, the nonce the place); who changes the salt must know a tag under a key that he has never
// seen used.
#include "spore/code/cache_file.h"

#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <type_traits>

#include "spore/base/mutex.h"
#include "spore/base/signal_block.h"
#include "spore/base/thread_annotations.h"
#include "spore/code/temporary_file.h"

namespace spore::code {
namespace {

// Not text (0x89), damaged by any newline conversion: as PNG does.
constexpr std::array<uint8_t, 8> kMagic{0x89, 'S', 'P', 'N', '\r', '\n', 0x1A, '\n'};
constexpr uint32_t kMadeByBytesMax = 1024;
// Fits into the second level of cache, with room for the file that it comes from.
constexpr size_t kPieceBytes = 256 * 1024;
// Below this a second thread costs more than it saves.
constexpr size_t kThreadPieces = 16;

enum Purpose : uint32_t { kRoot = 0, kPiece = 1 };

constexpr uint32_t kFacts = 0;  // in place of a tier

struct FileHeader {
  std::array<uint8_t, 8> magic;
  uint32_t version;
  uint32_t made_by_bytes;
  uint64_t payload_bytes;
  uint64_t compile_ns;
  uint64_t stored_s;
  uint32_t tier;
  uint32_t preparer;
  std::array<uint8_t, 32> key;
  std::array<uint8_t, 32> module_hash;
  std::array<uint8_t, 32> salt;
  std::array<uint8_t, 16> tag;
};
static_assert(sizeof(FileHeader) == 160);
static_assert(offsetof(FileHeader, tag) + sizeof(FileHeader::tag) == sizeof(FileHeader));
static_assert(sizeof(FileHeader) + kMadeByBytesMax == kCacheHeaderBytesMax);
static_assert(std::has_unique_object_representations_v<FileHeader>, "padding would leak memory");
static_assert(std::endian::native == std::endian::little);

uint64_t pieces_of(uint64_t payload_bytes) { return (payload_bytes + kPieceBytes - 1) / kPieceBytes; }

MacTag piece_tag(Mac& mac, uint64_t number, std::span<const uint8_t> bytes) {
  mac.begin({.purpose = kPiece, .number = number});
  mac.update(bytes);
  return mac.finish();
}

MacTag root_tag(Mac& mac, std::span<const uint8_t> header, std::span<const MacTag> pieces) {
  const size_t tag_at = offsetof(FileHeader, tag);
  mac.begin({.purpose = kRoot, .number = 0});
  mac.update(header.first(tag_at));
  mac.update(header.subspan(sizeof(FileHeader)));  // made_by
  for (const MacTag& piece : pieces) mac.update(piece.bytes);
  return mac.finish();
}

}  // namespace

uint64_t CacheHeader::file_bytes() const { return sizeof(FileHeader) + made_by.size() + payload_bytes; }

std::string_view CacheHeader::kind() const {
  if (tier) return engine::tier_name(*tier);
  return made_by.starts_with(kRewrittenPrefix) ? "rewritten" : "facts";
}

std::vector<uint8_t> encode_cache_header(const CacheHeader& header) {
  SPORE_ASSERT(header.made_by.size() <= kMadeByBytesMax, "the description of an engine is too long");
  const FileHeader fixed{.magic = kMagic,
                         .version = kCacheFileVersion,
                         .made_by_bytes = static_cast<uint32_t>(header.made_by.size()),
                         .payload_bytes = header.payload_bytes,
                         .compile_ns = header.compile_ns,
                         .stored_s = header.stored_s,
                         .tier = header.tier ? static_cast<uint32_t>(*header.tier) : kFacts,
                         .preparer = header.preparer,
                         .key = header.key.bytes,
                         .module_hash = header.module_hash.bytes,
                         .salt = header.salt,
                         .tag = header.tag.bytes};
  std::vector<uint8_t> bytes(sizeof fixed + header.made_by.size());
  std::memcpy(bytes.data(), &fixed, sizeof fixed);
  std::ranges::copy(header.made_by, std::span(bytes).subspan(sizeof fixed).begin());
  return bytes;
}

Result<CacheHeader> decode_cache_header(std::span<const uint8_t> bytes, uint64_t file_bytes) {
  FileHeader fixed{};
  const size_t have = std::min<uint64_t>(bytes.size(), file_bytes);
  if (have < sizeof fixed) {
    return cache_error(CacheFault::kTruncated,
                       fmt::format("{} bytes, a header has {}", file_bytes, sizeof fixed));
  }
  std::memcpy(&fixed, bytes.data(), sizeof fixed);
  if (fixed.magic != kMagic) return cache_error(CacheFault::kFormat, "wrong magic at offset 0");
  if (fixed.version != kCacheFileVersion) {
    return cache_error(CacheFault::kVersion,
                       fmt::format("format version {}, this build has {}", fixed.version, kCacheFileVersion));
  }
  const uint64_t behind = file_bytes - sizeof fixed;
  if (fixed.made_by_bytes > kMadeByBytesMax || fixed.made_by_bytes > have - sizeof fixed ||
      fixed.payload_bytes != behind - fixed.made_by_bytes) {
    return cache_error(CacheFault::kTruncated,
                       fmt::format("the lengths in its header do not fit its {} bytes", file_bytes));
  }
  if (fixed.payload_bytes > kCachePayloadBytesMax) {
    return cache_error(CacheFault::kFormat, fmt::format("{} bytes of code, at most {} are believed",
                                                        fixed.payload_bytes, kCachePayloadBytesMax));
  }
  std::optional<engine::Tier> tier;
  if (fixed.tier != kFacts) {
    tier = static_cast<engine::Tier>(fixed.tier);
    if (fixed.tier != static_cast<uint32_t>(*tier) || *tier < engine::Tier::kBaseline ||
        *tier > engine::Tier::kPeak) {
      return cache_error(CacheFault::kFormat, fmt::format("there is no tier {}", fixed.tier));
    }
  }
  const std::span<const uint8_t> made_by = bytes.subspan(sizeof fixed, fixed.made_by_bytes);
  return CacheHeader{.key = {fixed.key},
                     .module_hash = {fixed.module_hash},
                     .tier = tier,
                     .preparer = fixed.preparer,
                     .compile_ns = fixed.compile_ns,
                     .stored_s = fixed.stored_s,
                     .payload_bytes = fixed.payload_bytes,
                     .salt = fixed.salt,
                     .tag = {fixed.tag},
                     .made_by = std::string(made_by.begin(), made_by.end())};
}

Status write_cache_file(int fd, CacheHeader header, const CachePayload& payload, const MacKey& key) {
  if (::getrandom(header.salt.data(), header.salt.size(), 0) != static_cast<ssize_t>(header.salt.size())) {
    return cache_write_error(errno, "draw a salt");
  }
  if (payload.fd >= 0) {
    header.payload_bytes = SPORE_TRY(file_size(payload.fd));
  } else {
    header.payload_bytes = payload.bytes.size();
  }
  if (header.payload_bytes > kCachePayloadBytesMax) {
    return cache_error(CacheFault::kTooLarge, fmt::format("{} bytes of code, a cached file has at most {}",
                                                          header.payload_bytes, kCachePayloadBytesMax));
  }
  Mac mac(key.derive(header.salt));
  const uint64_t payload_at = header.file_bytes() - header.payload_bytes;
  std::vector<MacTag> tags;
  std::vector<uint8_t> buffer(payload.fd >= 0 ? std::min<uint64_t>(kPieceBytes, header.payload_bytes) : 0);
  for (uint64_t at = 0; at < header.payload_bytes; at += kPieceBytes) {
    const size_t size = std::min<uint64_t>(kPieceBytes, header.payload_bytes - at);
    std::span<const uint8_t> piece;
    if (payload.fd >= 0) {
      SPORE_TRY(read_at(payload.fd, std::span(buffer).first(size), at));
      piece = std::span(buffer).first(size);
    } else {
      piece = payload.bytes.subspan(at, size);
    }
    tags.push_back(piece_tag(mac, tags.size(), piece));
    SPORE_TRY(write_at(fd, piece, payload_at + at));
  }
  header.tag = root_tag(mac, encode_cache_header(header), tags);
  return write_at(fd, encode_cache_header(header), 0);
}

namespace {

// The pieces of one file, for whoever of some threads comes next.
class Pieces {
 public:
  Pieces(int from, int to, const CacheHeader& header, const MacKey& file_key)
      : from_(from),
        to_(to),
        payload_bytes_(header.payload_bytes),
        file_key_(file_key),
        payload_at_(header.file_bytes() - header.payload_bytes),
        tags_(pieces_of(header.payload_bytes)) {}

  // On each thread: takes pieces until none is left.
  void work() {
    Mac mac(file_key_);
    std::vector<uint8_t> buffer(std::min<uint64_t>(kPieceBytes, payload_bytes_));
    // Relaxed: it gives out numbers, and nothing else is read by them; joining orders the tags.
    for (size_t number = 0; (number = next_.fetch_add(1, std::memory_order_relaxed)) < tags_.size();) {
      const uint64_t at = number * uint64_t{kPieceBytes};
      const std::span<uint8_t> piece =
          std::span(buffer).first(std::min<uint64_t>(kPieceBytes, payload_bytes_ - at));
      const Status read = read_at(from_, piece, payload_at_ + at);
      if (!read.ok()) return fail(read);
      tags_[number] = piece_tag(mac, number, piece);
      const Status written = to_ < 0 ? Status() : write_at(to_, piece, at);
      if (!written.ok()) return fail(cache_error(CacheFault::kMemory, std::string(written.message())));
    }
  }

  std::span<const MacTag> tags() const { return tags_; }
  Status take_status() {
    const MutexLock lock(mutex_);
    return std::move(status_);
  }

 private:
  void fail(const Status& status) {
    next_.store(tags_.size(), std::memory_order_relaxed);  // the others need not go on
    const MutexLock lock(mutex_);
    if (status_.ok()) status_ = status.copy();
  }

  int from_;
  int to_;
  uint64_t payload_bytes_;
  const MacKey& file_key_;
  uint64_t payload_at_;
  std::vector<MacTag> tags_;  // each written by one thread
  std::atomic<size_t> next_{0};
  Mutex mutex_;
  Status status_ SPORE_GUARDED_BY(mutex_);  // the first failure
};

// A second thread that helps, as long as this lives.
std::jthread helper(Pieces& pieces) {
  const SignalBlock block;
  try {
    return std::jthread([&pieces] {
      try {
        pieces.work();
      } catch (const std::bad_alloc&) {
        return;  // no buffer, so it took no piece: the others do it all
      }
    });
  } catch (const std::system_error&) {
    return {};  // no thread to be had: the same
  }
}

}  // namespace

Status check_cache_file(int from, const CacheHeader& header, const MacKey& key, int to, unsigned threads) {
  const MacKey file_key = key.derive(header.salt);
  Pieces pieces(from, to, header, file_key);
  {
    std::vector<std::jthread> helpers;
    const size_t wanted = std::min<size_t>(threads, 1 + pieces.tags().size() / kThreadPieces);
    for (size_t i = 1; i < wanted; i++) helpers.push_back(helper(pieces));
    pieces.work();
  }
  SPORE_TRY(pieces.take_status());
  Mac mac(file_key);
  if (!(root_tag(mac, encode_cache_header(header), pieces.tags()) == header.tag)) {
    return cache_error(CacheFault::kMac, "its MAC does not match: damaged, or written under another key");
  }
  return {};
}

}  // namespace spore::code
