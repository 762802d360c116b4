#include "spore/snapshot/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/hash.h"
#include "spore/base/parallel.h"
#include "spore/snapshot/errors.h"

namespace spore::snapshot {
namespace {

std::string bytes_text(uint64_t bytes) { return fmt::format("{} bytes", bytes); }

Status too_long(uint64_t bytes, std::string_view how, uint64_t bytes_max) {
  return with_facts(
      Status::limit_exceeded("{} bytes{}, at most {} are read (file_bytes_max)", bytes, how, bytes_max),
      {.kind = ErrorKind::kConfiguration,
       .expected = fmt::format("at most {}", bytes_text(bytes_max)),
       .found = bytes_text(bytes)});
}

}  // namespace

SnapshotFile::SnapshotFile(int fd, const ReadOptions& options, Superblock superblock,
                           std::vector<uint8_t> hashes)
    : fd_(fd),
      options_(options),
      superblock_(std::move(superblock)),
      hashes_(std::move(hashes)),
      meter_(options.progress, options.parallel, superblock_.raw_bytes()) {}

Result<std::unique_ptr<SnapshotFile>> SnapshotFile::open(int fd, const ReadOptions& options) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return explained(Status::from_errno(errno, "stat"));
  if (!S_ISREG(info.st_mode)) {
    return with_facts(Status::invalid_argument("this is not a regular file"), {.kind = ErrorKind::kIo});
  }
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes > options.file_bytes_max) return too_long(bytes, "", options.file_bytes_max);
  const FileIdentity identity = SPORE_TRY(FileIdentity::of(fd));
  std::vector<uint8_t> head(std::min<uint64_t>(bytes, kSuperblockBytes));
  SPORE_TRY(explained(read_at(fd, head, 0), "superblock"));
  Superblock superblock = SPORE_TRY(decode_superblock(head, bytes));
  const uint64_t raw_bytes = kSuperblockBytes + superblock.raw_bytes();
  if (raw_bytes > options.file_bytes_max) return too_long(raw_bytes, " decompressed", options.file_bytes_max);
  std::vector<uint8_t> hashes(superblock.sections.back().bytes);
  SPORE_TRY(explained(read_at(fd, hashes, superblock.sections.back().offset), "HASHES"));
  const Digest id = compute_id(head, hashes);
  if (id != superblock.id) {
    return with_facts(Status::corruption("superblock and section HASHES are {}, the id says {}", id.hex(),
                                         superblock.id.hex()),
                      {.kind = ErrorKind::kCorruption,
                       .section = "superblock",
                       .expected = superblock.id.hex(),
                       .found = id.hex()});
  }
  std::unique_ptr<SnapshotFile> file(new SnapshotFile(fd, options, std::move(superblock), std::move(hashes)));
  if (identity.is_settled()) file->identity_ = identity;
  constexpr mode_t kOthersWrite = S_IWGRP | S_IWOTH;
  file->ours_ = (info.st_uid == ::geteuid() || info.st_uid == 0) && (info.st_mode & kOthersWrite) == 0;
  file->known_ = file->identity_ && options.verified && options.verified(id, identity);
  SPORE_TRY(file->check_hashes());
  SPORE_TRY(file->check_gap());
  return file;
}

// That the hash of each section is that of its pieces' hashes.
Status SnapshotFile::check_hashes() const {
  if (superblock_.version == 1) return {};
  const std::span<const uint8_t> all(hashes_);
  constexpr size_t kDigest = sizeof(Digest::bytes);
  for (size_t i = 0; i + 1 < superblock_.sections.size(); i++) {
    const Extent& extent = superblock_.sections[i];
    const auto pieces =
        all.subspan(first_hash(superblock_, extent) * kDigest, piece_count(extent.bytes) * kDigest);
    const Digest right = sha256(pieces);
    if (std::ranges::equal(right.bytes, all.subspan(i * kDigest, kDigest))) continue;
    const std::string section(section_name(extent.section));
    return with_facts(
        Status::corruption("section HASHES: the hash of section {} is not that of its pieces'", section),
        {.kind = ErrorKind::kFormat, .section = "HASHES", .offset = i * kDigest, .expected = right.hex()});
  }
  return {};
}

// Before PAGES.
Status SnapshotFile::check_gap() const {
  const Extent* pages = superblock_.find(Section::kPages);
  if (pages == nullptr || !is_aligned(superblock_, *pages)) return {};
  const uint64_t begin = (pages - 1)->end();  // MANIFEST comes before it
  std::vector<uint8_t> gap(pages->offset - begin);
  SPORE_TRY(explained(read_at(fd_, gap, begin), "PAGES"));
  if (std::ranges::all_of(gap, [](uint8_t byte) { return byte == 0; })) return {};
  return with_facts(Status::corruption("at byte {}: what lies before section PAGES is not 0", begin),
                    {.kind = ErrorKind::kFormat, .offset = begin, .expected = "zeros"});
}

Status SnapshotFile::check_unchanged() const {
  const Result<FileIdentity> now = FileIdentity::of(fd_);
  if (now.ok() && identity_ && now.value() == *identity_) return {};
  return with_facts(Status::corruption("the file was written to while it was read"),
                    {.kind = ErrorKind::kCorruption});
}

// --- pieces ----------------------------------------------------------------------------------------------

Status SnapshotFile::compare_piece(const Extent& extent, uint64_t number, const Digest& found,
                                   size_t bytes) const {
  constexpr size_t kDigest = sizeof(Digest::bytes);
  const auto right =
      std::span(hashes_).subspan((first_hash(superblock_, extent) + number) * kDigest, kDigest);
  if (std::ranges::equal(found.bytes, right)) return {};
  const std::string section(section_name(extent.section));
  const uint64_t offset = extent.offset + number * kPieceBytes;
  Digest expected;
  std::ranges::copy(right, expected.bytes.begin());
  return with_facts(Status::corruption("section {}: bytes {} to {} are not as written: another hash", section,
                                       offset, offset + bytes),
                    {.kind = ErrorKind::kCorruption,
                     .section = section,
                     .offset = number * kPieceBytes,
                     .expected = expected.hex(),
                     .found = found.hex()});
}

Status SnapshotFile::read_piece(const Extent& extent, uint64_t number, std::span<uint8_t> bytes,
                                bool compare) const {
  const Status status = read_at(fd_, bytes, extent.offset + number * kPieceBytes);
  if (!status.ok()) return explained(status.copy(), section_name(extent.section));
  if (!compare) return {};
  const Timed timed(times_.validate_ns);
  return compare_piece(extent, number, sha256(bytes), bytes.size());
}

Status SnapshotFile::take_zeros(const Extent& extent, uint64_t number, size_t bytes) const {
  static const std::vector<uint8_t> kZeros(kPieceBytes);
  static const Digest kWhole = sha256(kZeros);
  return compare_piece(extent, number, bytes == kPieceBytes ? kWhole : sha256(std::span(kZeros).first(bytes)),
                       bytes);
}

Result<std::vector<uint8_t>> SnapshotFile::read_stored(const Extent& extent, bool compare) const {
  std::vector<uint8_t> bytes(extent.bytes);
  const std::span<uint8_t> all(bytes);
  const bool raw = extent.codec == Codec::kRaw;
  SPORE_TRY(run_steps(piece_count(extent.bytes), meter_.steps(kPiecesPerThread), [&]() -> Step {
    return [&, all](uint64_t number) -> Status {
      const uint64_t at = number * kPieceBytes;
      const std::span<uint8_t> piece = all.subspan(at, std::min<uint64_t>(kPieceBytes, all.size() - at));
      if (raw) meter_.add(piece.size());
      return read_piece(extent, number, piece, compare);
    };
  }));
  return bytes;
}

Result<std::vector<uint8_t>> SnapshotFile::read(Section section, bool compare) const {
  const Extent* extent = superblock_.find(section);
  if (extent == nullptr) return std::vector<uint8_t>();
  if (extent->codec == Codec::kRaw) return read_stored(*extent, compare);
  const std::vector<uint8_t> stored = SPORE_TRY(read_stored(*extent, true));
  const FrameTable table = SPORE_TRY(frame_table(*extent, stored));
  std::vector<uint8_t> bytes(extent->raw_bytes);
  const std::span<uint8_t> all(bytes);
  SPORE_TRY(run_steps(table.count(), meter_.steps(kFramesPerThread), [&]() -> Step {
    auto decoder = std::make_shared<FrameDecoder>();
    return [&, all, decoder](uint64_t number) -> Status {
      const FrameTable::Frame frame = table[number];
      meter_.add(frame.raw_bytes);
      return decode_frame(*extent, stored, table, number, *decoder,
                          all.subspan(frame.raw_offset, frame.raw_bytes));
    };
  }));
  return bytes;
}

// --- frames ----------------------------------------------------------------------------------------------

namespace {

Status of_frames(Status status, const Extent& extent, std::optional<uint64_t> offset) {
  if (status.ok()) return status;
  const std::string section(section_name(extent.section));
  const bool no_memory = status.code() == Code::kLimitExceeded;
  return with_facts(std::move(status).with_context(fmt::format("section {}", section)),
                    {.kind = no_memory ? ErrorKind::kConfiguration : ErrorKind::kCompression,
                     .section = section,
                     .offset = offset});
}

}  // namespace

Result<FrameTable> SnapshotFile::frame_table(const Extent& extent, std::span<const uint8_t> stored) {
  Result<FrameTable> table = FrameTable::decode(stored.first(FrameTable::table_bytes(extent.raw_bytes)),
                                                stored.size(), extent.raw_bytes);
  if (!table.ok()) return of_frames(std::move(table).status(), extent, {});
  return table;
}

Status SnapshotFile::decode_frame(const Extent& extent, std::span<const uint8_t> stored,
                                  const FrameTable& table, uint64_t number, FrameDecoder& decoder,
                                  std::span<uint8_t> to) const {
  const Timed timed(times_.decompress_ns);
  const FrameTable::Frame frame = table[number];
  const std::span<const uint8_t> from = stored.subspan(frame.offset, frame.bytes);
  if (frame.raw) {
    std::ranges::copy(from, to.begin());
    return {};
  }
  return of_frames(decoder.decode(extent.codec, from, to).with_context(fmt::format("frame {}", number)),
                   extent, frame.offset);
}

}  // namespace spore::snapshot
