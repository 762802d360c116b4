#pragma once

// Bytes in frames: cut into pieces of 64 KiB, each compressed alone, so that several threads make and take
// them, and whoever takes them knows what each gives before he has given it room.
//
//   | u32 length of each frame as it is stored; bit 31: it is raw | frames |
//
// Byte for byte: docs/formats/snapshot.md, "Codecs".

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace spore {

enum class Codec : uint8_t { kRaw, kZstd, kLz4 };
std::string_view codec_name(Codec codec);  // "raw", "zstd", "lz4"

inline constexpr size_t kFrameBytes = 65536;
constexpr uint64_t frame_count(uint64_t raw_bytes) { return (raw_bytes + kFrameBytes - 1) / kFrameBytes; }

// From quick to small.  Of LZ4, 7 to 9 are its slow mode ("HC").
inline constexpr int kCompressionLevelMin = 1;
inline constexpr int kCompressionLevelMax = 9;
inline constexpr int kCompressionLevel = 6;

// Compresses frames, one after the other.  Move-only, not thread-safe: a thread, an encoder.
class FrameEncoder {
 public:
  // Of zstd or LZ4.  kLimitExceeded: no memory is left.
  static Result<FrameEncoder> create(Codec codec, int level);

  // What `frame`, of 1 to kFrameBytes bytes, becomes, until the next one; nothing if that is no less than
  // `bytes_max`.  With the same library the same bytes become the same.  kLimitExceeded: no memory is left.
  Result<std::span<const uint8_t>> encode(std::span<const uint8_t> frame, size_t bytes_max);

 private:
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const noexcept;
  };
  FrameEncoder(Codec codec, int level);

  Codec codec_;
  int level_;
  std::unique_ptr<ZSTD_CCtx_s, Free> zstd_;
  std::vector<uint8_t> lz4_state_;
  std::vector<uint8_t> buffer_;
};

// Gives what an encoder was given, or says that these bytes are none of its.  Move-only, not thread-safe.
class FrameDecoder {
 public:
  // Fills `frame`.  Of zstd or LZ4.  kCorruption: these are no such bytes, or give more or fewer;
  // kLimitExceeded: no memory is left.
  Status decode(Codec codec, std::span<const uint8_t> stored, std::span<uint8_t> frame);

 private:
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const noexcept;
  };
  std::unique_ptr<ZSTD_DCtx_s, Free> zstd_;
};

// Where each frame is, in what is stored and in what it was made of.
class FrameTable {
 public:
  struct Frame {
    uint64_t offset;  // in what is stored
    size_t bytes;
    uint64_t raw_offset;
    size_t raw_bytes;
    bool raw;
  };

  static uint64_t table_bytes(uint64_t raw_bytes) { return frame_count(raw_bytes) * sizeof(uint32_t); }
  // `table`: the first table_bytes() of `stored_bytes` that stand for `raw_bytes`.  kCorruption: they do not;
  // no frame is compressed; a compressed one is no smaller than it was.
  static Result<FrameTable> decode(std::span<const uint8_t> table, uint64_t stored_bytes, uint64_t raw_bytes);

  uint64_t count() const { return frames_.size(); }
  Frame operator[](uint64_t number) const;
  // The frame in which a byte of what is stored lies, which is not in the table.
  uint64_t at(uint64_t offset) const;

 private:
  struct Entry {
    uint64_t offset;
    uint32_t bytes;
    bool raw;
  };
  std::vector<Entry> frames_;
  uint64_t raw_bytes_ = 0;
};
// An entry of the table.
constexpr uint32_t kRawFrame = uint32_t{1} << 31;

}  // namespace spore
