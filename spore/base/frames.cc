#include "spore/base/frames.h"

#include <lz4.h>
#include <lz4hc.h>
#include <zstd.h>

#include <algorithm>
#include <utility>

#include "spore/base/bytes.h"

namespace spore {
namespace {

constexpr int kLz4SlowFrom = 7;

bool is_slow_lz4(int level) { return level >= kLz4SlowFrom; }

const char* chars(std::span<const uint8_t> bytes) { return reinterpret_cast<const char*>(bytes.data()); }
char* writable(std::span<uint8_t> bytes) { return reinterpret_cast<char*>(bytes.data()); }

}  // namespace

std::string_view codec_name(Codec codec) {
  switch (codec) {
    case Codec::kRaw: return "raw";
    case Codec::kZstd: return "zstd";
    case Codec::kLz4: return "lz4";
  }
  return "?";
}

// --- encoding --------------------------------------------------------------------------------------------

void FrameEncoder::Free::operator()(ZSTD_CCtx_s* context) const noexcept { ZSTD_freeCCtx(context); }

FrameEncoder::FrameEncoder(Codec codec, int level) : codec_(codec), level_(level) {
  if (codec == Codec::kZstd) {
    buffer_.resize(ZSTD_compressBound(kFrameBytes));
  } else {
    buffer_.resize(static_cast<size_t>(LZ4_compressBound(kFrameBytes)));
    lz4_state_.resize(static_cast<size_t>(is_slow_lz4(level) ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
  }
}

Result<FrameEncoder> FrameEncoder::create(Codec codec, int level) {
  SPORE_ASSERT(codec != Codec::kRaw && level >= kCompressionLevelMin && level <= kCompressionLevelMax,
               "a codec and a level that there are");
  FrameEncoder encoder(codec, level);
  if (codec != Codec::kZstd) return encoder;
  encoder.zstd_.reset(ZSTD_createCCtx());
  if (encoder.zstd_ == nullptr) return Status::limit_exceeded("no memory is left to compress with");
  return encoder;
}

Result<std::span<const uint8_t>> FrameEncoder::encode(std::span<const uint8_t> frame, size_t bytes_max) {
  SPORE_ASSERT(!frame.empty() && frame.size() <= kFrameBytes, "a frame of another length");
  size_t bytes = 0;
  if (codec_ == Codec::kZstd) {
    bytes =
        ZSTD_compressCCtx(zstd_.get(), buffer_.data(), buffer_.size(), frame.data(), frame.size(), level_);
    // Its workspace is made at the first frame, and there is room for all that it makes.
    if (ZSTD_isError(bytes) != 0) return Status::limit_exceeded("compressing: {}", ZSTD_getErrorName(bytes));
  } else {
    const int raw_bytes = static_cast<int>(frame.size());
    const int room = static_cast<int>(buffer_.size());
    const int made = is_slow_lz4(level_)
                         ? LZ4_compress_HC_extStateHC(lz4_state_.data(), chars(frame), writable(buffer_),
                                                      raw_bytes, room, level_)
                         : LZ4_compress_fast_extState(lz4_state_.data(), chars(frame), writable(buffer_),
                                                      raw_bytes, room, kLz4SlowFrom - level_);
    SPORE_ASSERT(made > 0, "there is room for all that LZ4 makes");
    bytes = static_cast<size_t>(made);
  }
  if (bytes >= bytes_max) return std::span<const uint8_t>();
  return std::span<const uint8_t>(buffer_).first(bytes);
}

// --- decoding --------------------------------------------------------------------------------------------

void FrameDecoder::Free::operator()(ZSTD_DCtx_s* context) const noexcept { ZSTD_freeDCtx(context); }

Status FrameDecoder::decode(Codec codec, std::span<const uint8_t> stored, std::span<uint8_t> frame) {
  if (codec == Codec::kLz4) {
    const int made = LZ4_decompress_safe(chars(stored), writable(frame), static_cast<int>(stored.size()),
                                         static_cast<int>(frame.size()));
    if (made >= 0 && static_cast<size_t>(made) == frame.size()) return {};
    return made < 0 ? Status::corruption("these are no {} bytes of LZ4 for {}", stored.size(), frame.size())
                    : Status::corruption("a frame of {} bytes gives {}", frame.size(), made);
  }
  SPORE_ASSERT(codec == Codec::kZstd, "what is raw is not decoded");
  // One frame and nothing behind it, which says what it gives: zstd itself would take any number of them, and
  // skip what it does not know.
  const unsigned long long says = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (says == ZSTD_CONTENTSIZE_ERROR || says == ZSTD_CONTENTSIZE_UNKNOWN ||
      ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
    return Status::corruption("these {} bytes are not one frame of zstd that says its length", stored.size());
  }
  if (says != frame.size()) {
    return Status::corruption("a frame of {} bytes says that it gives {}", frame.size(), says);
  }
  if (zstd_ == nullptr) zstd_.reset(ZSTD_createDCtx());
  if (zstd_ == nullptr) return Status::limit_exceeded("no memory is left to decompress with");
  // In one pass into what is there: no window is allocated, whatever the frame asks for.
  const size_t made =
      ZSTD_decompressDCtx(zstd_.get(), frame.data(), frame.size(), stored.data(), stored.size());
  if (ZSTD_isError(made) != 0) return Status::corruption("a frame of zstd: {}", ZSTD_getErrorName(made));
  if (made != frame.size()) return Status::corruption("a frame of {} bytes gives {}", frame.size(), made);
  return {};
}

// --- where frames are --------------------------------------------------------------------------------------

Result<FrameTable> FrameTable::decode(std::span<const uint8_t> table, uint64_t stored_bytes,
                                      uint64_t raw_bytes) {
  SPORE_ASSERT(table.size() == table_bytes(raw_bytes), "a table of another length");
  FrameTable found;
  found.raw_bytes_ = raw_bytes;
  found.frames_.reserve(frame_count(raw_bytes));
  ByteReader reader(table);
  uint64_t at = table.size();
  bool compressed = false;
  for (uint64_t number = 0; number < frame_count(raw_bytes); number++) {
    const uint32_t entry = reader.u32();
    const uint32_t bytes = entry & ~kRawFrame;
    const bool raw = (entry & kRawFrame) != 0;
    const uint64_t made_of = std::min<uint64_t>(kFrameBytes, raw_bytes - number * kFrameBytes);
    if (bytes == 0 || (raw ? bytes != made_of : bytes >= made_of)) {
      return Status::corruption("frame {} of {} bytes is stored in {}{}", number, made_of, bytes,
                                raw ? ", raw" : "");
    }
    if (at > stored_bytes || bytes > stored_bytes - at) {
      return Status::corruption("frame {} ends at byte {} of {}", number, at + bytes, stored_bytes);
    }
    found.frames_.push_back({.offset = at, .bytes = bytes, .raw = raw});
    at += bytes;
    compressed = compressed || !raw;
  }
  if (at != stored_bytes) {
    return Status::corruption("the frames have {} bytes, with their table, of {}", at, stored_bytes);
  }
  if (!compressed) return Status::corruption("no frame is compressed");
  return found;
}

FrameTable::Frame FrameTable::operator[](uint64_t number) const {
  const Entry& entry = frames_[number];
  const uint64_t raw_offset = number * kFrameBytes;
  return {.offset = entry.offset,
          .bytes = entry.bytes,
          .raw_offset = raw_offset,
          .raw_bytes = static_cast<size_t>(std::min<uint64_t>(kFrameBytes, raw_bytes_ - raw_offset)),
          .raw = entry.raw};
}

uint64_t FrameTable::at(uint64_t offset) const {
  const auto after = std::ranges::upper_bound(frames_, offset, {}, &Entry::offset);
  SPORE_ASSERT(after != frames_.begin(), "a byte of the table is in no frame");
  return static_cast<uint64_t>(after - frames_.begin()) - 1;
}

}  // namespace spore
