// Two passes over each section, both in steps that several threads share.  The first compresses it, frame by
// frame, and keeps what became smaller: only then is it known where everything stands, and whether the
// section is worth it.  The second puts what is stored together, piece by piece of what is hashed at a time.
// So a section that stays raw is never held twice, and of one that is compressed the compressed bytes alone.
#include "spore/snapshot/stored.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "spore/base/bytes.h"
#include "spore/base/fd.h"
#include "spore/base/parallel.h"
#include "spore/memory/page_image.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/format.h"
#include "spore/snapshot/progress.h"

namespace spore::snapshot {

void BytesSection::read(uint64_t offset, std::span<uint8_t> to) const {
  const std::span<const uint8_t> from = bytes_.subspan(offset, to.size());
  std::ranges::copy(from, to.begin());
}

namespace {

// `auto` leaves raw what does not become smaller by this.
constexpr uint64_t kShrinkPercent = 115;

// A section as it is to be stored.
class StoredSection {
 public:
  explicit StoredSection(NewSection section) : new_(std::move(section)) {}

  Section section() const { return new_.section; }
  uint64_t raw_bytes() const { return new_.raw->bytes(); }
  bool is_sparse() const { return new_.sparse; }
  bool was_encoded() const { return encoded_; }
  Status check() const { return new_.raw->check(); }
  Codec codec() const { return codec_; }
  uint64_t bytes() const { return codec_ == Codec::kRaw ? raw_bytes() : stored_bytes_; }

  Status encode(Codec codec, const WriteOptions& options, ProgressMeter& meter) {
    encoded_ = true;
    frames_.resize(frame_count(raw_bytes()));
    constexpr uint64_t kEncodedPerThread = 4;  // they take longer than reading them
    const bool wants_much = options.compression == Compression::kAuto;
    const auto make_step = [&]() -> Step {
      auto encoder = std::make_shared<Result<FrameEncoder>>(FrameEncoder::create(codec, options.level));
      auto buffer = std::make_shared<std::vector<uint8_t>>(kFrameBytes);
      return [this, wants_much, &meter, encoder, buffer](uint64_t number) -> Status {
        if (!encoder->ok()) return encoder->status().copy();
        SPORE_TRY(encode_frame(encoder->value(), number, wants_much, *buffer));
        meter.add(frame_bytes(number));
        return {};
      };
    };
    SPORE_TRY(run_steps(frames_.size(), meter.steps(kEncodedPerThread), make_step));
    decide(codec);
    return {};
  }

  // Bytes of what is stored.  Thread-safe.
  void read(uint64_t offset, std::span<uint8_t> to) const {
    if (codec_ == Codec::kRaw) return new_.raw->read(offset, to);
    if (offset < table_.size()) {
      const size_t bytes = std::min<uint64_t>(to.size(), table_.size() - offset);
      std::memcpy(to.data(), table_.data() + offset, bytes);
      to = to.subspan(bytes);
      offset += bytes;
    }
    if (to.empty()) return;
    for (uint64_t number = layout_->at(offset); !to.empty(); number++) {
      const FrameTable::Frame frame = (*layout_)[number];
      const uint64_t from = offset - frame.offset;
      const std::span<uint8_t> part = to.first(std::min<uint64_t>(to.size(), frame.bytes - from));
      if (frame.raw) {
        new_.raw->read(frame.raw_offset + from, part);
      } else {
        std::memcpy(part.data(), frames_[number].data() + from, part.size());
      }
      to = to.subspan(part.size());
      offset += part.size();
    }
  }

 private:
  size_t frame_bytes(uint64_t number) const {
    return std::min<uint64_t>(kFrameBytes, raw_bytes() - number * kFrameBytes);
  }

  Status encode_frame(FrameEncoder& encoder, uint64_t number, bool wants_much, std::span<uint8_t> buffer) {
    const std::span<uint8_t> frame = buffer.first(frame_bytes(number));
    new_.raw->read(number * kFrameBytes, frame);
    const uint64_t less_than = wants_much ? frame.size() * 100 / kShrinkPercent + 1 : frame.size();
    const std::span<const uint8_t> stored = SPORE_TRY(encoder.encode(frame, less_than));
    frames_[number].assign(stored.begin(), stored.end());
    return {};
  }

  // Whether the frames are worth it.
  void decide(Codec codec) {
    ByteWriter table;
    uint64_t bytes = FrameTable::table_bytes(raw_bytes());
    for (uint64_t number = 0; number < frames_.size(); number++) {
      const std::vector<uint8_t>& frame = frames_[number];
      const auto length = static_cast<uint32_t>(frame.empty() ? frame_bytes(number) : frame.size());
      table.u32(frame.empty() ? length | kRawFrame : length);
      bytes += length;
    }
    const bool some = std::ranges::any_of(frames_, [](const auto& frame) { return !frame.empty(); });
    if (!some || bytes >= raw_bytes()) {
      frames_.clear();
      return;
    }
    codec_ = codec;
    stored_bytes_ = bytes;
    table_ = table.take();
    layout_ = FrameTable::decode(table_, bytes, raw_bytes()).value();
  }

  NewSection new_;
  bool encoded_ = false;
  Codec codec_ = Codec::kRaw;
  uint64_t stored_bytes_ = 0;
  std::vector<uint8_t> table_;
  std::optional<FrameTable> layout_;
  std::vector<std::vector<uint8_t>> frames_;  // empty: stored raw
};

Codec codec_of(Compression compression) {
  switch (compression) {
    case Compression::kNone: return Codec::kRaw;
    case Compression::kLz4: return Codec::kLz4;
    case Compression::kAuto:
    case Compression::kZstd: break;
  }
  return Codec::kZstd;
}

// All but the pages of zeros, which a new file has already.
Status write_sparse(const NewFile& file, std::span<const uint8_t> bytes, uint64_t offset) {
  const auto is_hole = [&](size_t at) {
    return bytes.size() - at >= memory::kPageBytes &&
           is_zero_page(reinterpret_cast<const std::byte*>(bytes.data() + at));
  };
  size_t begin = 0;
  for (size_t at = 0; at <= bytes.size(); at += memory::kPageBytes) {
    if (at < bytes.size() && !is_hole(at)) continue;
    if (at > begin) SPORE_TRY(file.write_at(bytes.subspan(begin, at - begin), offset + begin));
    begin = at + memory::kPageBytes;
  }
  return {};
}

class FileWriter {
 public:
  FileWriter(NewFile& file, Superblock superblock) : file_(file), superblock_(std::move(superblock)) {
    hashes_.reserve(hash_count(superblock_));
  }

  // `meter`: of a section that was compressed, or was to be, nothing is added to it.
  Status section(const StoredSection& section, const Extent& extent, ProgressMeter& meter) {
    const size_t first = hashes_.size();
    const uint64_t pieces = piece_count(extent.bytes);
    hashes_.resize(first + pieces);
    return run_steps(pieces, meter.steps(kPiecesPerThread), [&]() -> Step {
      auto buffer = std::make_shared<std::vector<uint8_t>>(std::min<uint64_t>(kPieceBytes, extent.bytes));
      return [this, &section, &extent, &meter, first, buffer](uint64_t number) -> Status {
        const uint64_t at = number * kPieceBytes;
        const std::span<uint8_t> piece =
            std::span(*buffer).first(std::min<uint64_t>(kPieceBytes, extent.bytes - at));
        section.read(at, piece);
        hashes_[first + number] = sha256(piece);
        if (!section.was_encoded()) meter.add(piece.size());
        return section.is_sparse() ? write_sparse(file_, piece, extent.offset + at)
                                   : file_.write_at(piece, extent.offset + at);
      };
    });
  }

  // HASHES and, last, the superblock.
  Result<Superblock> finish() && {
    const std::vector<uint8_t> hashes = encode_hashes(superblock_, hashes_);
    const Extent& extent = superblock_.sections.back();
    SPORE_ASSERT(hashes.size() == extent.bytes, "a hash for each piece");
    SPORE_TRY(file_.write_at(hashes, extent.offset));
    superblock_.id = compute_id(encode_superblock(superblock_), hashes);
    SPORE_TRY(file_.write_at(encode_superblock(superblock_), 0));
    return std::move(superblock_);
  }

 private:
  NewFile& file_;
  Superblock superblock_;
  std::vector<Digest> hashes_;  // of pieces
};

}  // namespace

Result<Superblock> write_sections(const std::filesystem::path& path, Superblock head,
                                  std::vector<NewSection> sections, const WriteOptions& options) {
  if (options.level < kCompressionLevelMin || options.level > kCompressionLevelMax) {
    return with_facts(Status::invalid_argument("there is no level {} of compression", options.level),
                      {.kind = ErrorKind::kConfiguration,
                       .expected = fmt::format("{} to {}", kCompressionLevelMin, kCompressionLevelMax),
                       .found = fmt::format("{}", options.level)});
  }
  uint64_t all = 0;
  std::vector<StoredSection> stored;
  for (NewSection& section : sections) {
    all += section.raw->bytes();
    stored.emplace_back(std::move(section));
  }
  ProgressMeter meter(options.progress, options.parallel, all);
  const Codec codec = codec_of(options.compression);
  for (StoredSection& section : stored) {
    if (codec != Codec::kRaw && !section.is_sparse()) {
      SPORE_TRY(explained(section.encode(codec, options, meter), section_name(section.section())));
    }
    head.sections.push_back({.section = section.section(),
                             .codec = section.codec(),
                             .bytes = section.bytes(),
                             .raw_bytes = section.raw_bytes()});
  }
  head.sections.push_back({.section = Section::kHashes});
  lay_out(head);

  Result<NewFile> file = NewFile::create(path, NewFile::kForOwner);
  if (!file.ok()) return explained(std::move(file).status());
  FileWriter writer(file.value(), head);
  for (size_t i = 0; i < stored.size(); i++) {
    SPORE_TRY(
        explained(writer.section(stored[i], head.sections[i], meter), section_name(stored[i].section())));
  }
  for (const StoredSection& section : stored) {
    SPORE_TRY(explained(section.check(), section_name(section.section())));
  }
  Result<Superblock> written = std::move(writer).finish();
  if (!written.ok()) return explained(std::move(written).status());
  SPORE_TRY(explained(file->commit()));
  return written;
}

}  // namespace spore::snapshot
