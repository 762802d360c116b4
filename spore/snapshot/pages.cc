// Pages are copied out of the file, in the pass in which they are hashed, into memory that nobody can change:
// the file may come from an attacker, and change while it is read.  So every byte that is used was copied
// first, and hashed in the copy.  Copying goes piece by piece, on several threads: a piece is still in the
// processor's cache when it is written to where it stays.  What is compressed is read as a whole, and each
// frame decompressed to where it stays.
//
// Or they are mapped, and not copied: of a file in the mapped form that is this user's, when all hashes of
// PAGES were compared in it, now or earlier, and it is the same file as then.  Whoever can write to it can do
// all that this process can; that he does so by accident, and changes pages under instances, is why files are
// renamed into place and never written again.  One that is cut short is told by PageImage::broken().
#include "spore/snapshot/pages.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <utility>

#include "spore/base/parallel.h"
#include "spore/snapshot/errors.h"

namespace spore::snapshot {
namespace {

// A run of pages with data: where it stands in PAGES, and where it belongs.
struct Target {
  uint64_t at;
  uint64_t pages;
  size_t memory;
  uint64_t page;

  uint64_t end() const { return at + pages; }
};

Status bad_index(std::string_view what) {
  return with_facts(Status::corruption("section PAGEINDEX: {}", what),
                    {.kind = ErrorKind::kValidation, .section = "PAGEINDEX"});
}

// What of a memory is the base's.
Result<memory::PageImageBuilder::Base> base_of(const MemoryIndex& memory, const Contents& base,
                                               size_t number) {
  if (number >= base.image.memories.size()) return bad_index("more memories than the base has");
  memory::PageImageBuilder::Base below{.image = base.image.memories[number],
                                       .pages = memory.runs_of(Run::Kind::kBase)};
  if (!below.pages.empty() &&
      below.pages.back().offset + below.pages.back().bytes > below.image->mapped_bytes()) {
    return bad_index("pages of the base that it does not have");
  }
  return below;
}

// Without the holes that the file has in the mapped form.  A hole reads as zeros, and nobody fills one
// without changing the file's hashes; where the file system knows of none, all is data.
std::vector<Target> without_holes(const SnapshotFile& file, const std::vector<Target>& targets) {
  const uint64_t begin = file.superblock().find(Section::kPages)->offset;
  std::vector<Target> found;
  for (const Target& target : targets) {
    const uint64_t end = begin + target.end() * memory::kPageBytes;
    for (uint64_t at = begin + target.at * memory::kPageBytes; at < end;) {
      const off_t data = ::lseek(file.fd(), static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // a hole, up to the end of the file
      if (data >= 0 && static_cast<uint64_t>(data) >= end) break;
      const off_t hole = data < 0 ? -1 : ::lseek(file.fd(), data, SEEK_HOLE);
      // Whole pages, whatever blocks the file system has.  A hole that is there now and was not before is no
      // end: somebody is writing to the file.
      uint64_t from = at;
      uint64_t to = end;
      if (hole > data) {
        from = std::max<uint64_t>(at, static_cast<uint64_t>(data) / memory::kPageBytes * memory::kPageBytes);
        to = std::min<uint64_t>(end, (static_cast<uint64_t>(hole) + memory::kPageBytes - 1) /
                                         memory::kPageBytes * memory::kPageBytes);
      }
      const uint64_t skipped = (from - begin) / memory::kPageBytes - target.at;
      found.push_back({.at = target.at + skipped,
                       .pages = (to - from) / memory::kPageBytes,
                       .memory = target.memory,
                       .page = target.page + skipped});
      at = to;
    }
  }
  return found;
}

class PageReader {
 public:
  PageReader(const SnapshotFile& file, const PageIndex& index, bool compare)
      : file_(file), index_(index), compare_(compare), extent_(file.superblock().find(Section::kPages)) {}

  Status run(const Contents* base) {
    for (size_t i = 0; i < index_.size(); i++) add_targets(i);
    if (file_.superblock().mapped && extent_ != nullptr) targets_ = without_holes(file_, targets_);
    SPORE_TRY(make_builders(base));
    if (extent_ == nullptr) return {};
    return extent_->codec == Codec::kRaw ? copy() : decompress();
  }

  Result<std::vector<std::shared_ptr<const memory::PageImage>>> finish() && {
    std::vector<std::shared_ptr<const memory::PageImage>> memories;
    for (memory::PageImageBuilder& builder : builders_) {
      auto image = std::move(builder).finish();
      if (!image.ok()) return explained(std::move(image).status(), "PAGES");
      memories.push_back(std::move(image).value());
    }
    return memories;
  }

 private:
  void add_targets(size_t number) {
    uint64_t page = 0;
    for (const Run& run : index_[number].runs) {
      if (run.kind == Run::Kind::kRaw) {
        targets_.push_back({.at = run.at, .pages = run.pages, .memory = number, .page = page});
      }
      page += run.pages;
    }
  }

  Status make_builders(const Contents* base) {
    auto target = targets_.begin();
    for (size_t i = 0; i < index_.size(); i++) {
      memory::PageImageBuilder::Base below;
      if (base != nullptr) below = SPORE_TRY(base_of(index_[i], *base, i));
      std::vector<memory::PageRun> data;
      for (; target != targets_.end() && target->memory == i; ++target) {
        data.push_back(
            {.offset = target->page * memory::kPageBytes, .bytes = target->pages * memory::kPageBytes});
      }
      auto builder =
          memory::PageImageBuilder::create(index_[i].pages() * memory::kPageBytes, data, std::move(below));
      if (!builder.ok()) return explained(std::move(builder).status(), "PAGES");
      builders_.push_back(std::move(builder).value());
    }
    return {};
  }

  Status copy() {
    const ProgressMeter& meter = file_.meter();
    return run_steps(piece_count(extent_->bytes), meter.steps(kPiecesPerThread), [&]() -> Step {
      auto buffer = std::make_shared<std::vector<uint8_t>>(std::min<uint64_t>(kPieceBytes, extent_->bytes));
      return [this, buffer](uint64_t number) -> Status { return copy_piece(number, *buffer); };
    });
  }

  Status copy_piece(uint64_t number, std::span<uint8_t> buffer) const {
    const uint64_t offset = number * kPieceBytes;
    const std::span<uint8_t> bytes = buffer.first(std::min<uint64_t>(kPieceBytes, extent_->bytes - offset));
    const size_t next = first_target(offset);
    const bool zeros =
        next == targets_.size() || targets_[next].at * memory::kPageBytes >= offset + bytes.size();
    if (zeros) {
      if (compare_) SPORE_TRY(file_.take_zeros(*extent_, number, bytes.size()));
    } else {
      SPORE_TRY(file_.read_piece(*extent_, number, bytes, compare_));
      SPORE_TRY(place(offset, bytes));
    }
    file_.meter().add(bytes.size());
    return {};
  }

  Status decompress() {
    const std::vector<uint8_t> stored = SPORE_TRY(file_.read_stored(*extent_, true));
    const FrameTable table = SPORE_TRY(SnapshotFile::frame_table(*extent_, stored));
    const ProgressMeter& meter = file_.meter();
    return run_steps(table.count(), meter.steps(kFramesPerThread), [&]() -> Step {
      auto decoder = std::make_shared<FrameDecoder>();
      auto buffer = std::make_shared<std::vector<uint8_t>>(kFrameBytes);
      return [&, decoder, buffer](uint64_t number) -> Status {
        const FrameTable::Frame frame = table[number];
        const std::span<uint8_t> bytes = std::span(*buffer).first(frame.raw_bytes);
        SPORE_TRY(file_.decode_frame(*extent_, stored, table, number, *decoder, bytes));
        SPORE_TRY(place(frame.raw_offset, bytes));
        file_.meter().add(bytes.size());
        return {};
      };
    });
  }

  // The place of the first target that does not end before a page of PAGES, which has this offset.
  size_t first_target(uint64_t offset) const {
    const uint64_t at = offset / memory::kPageBytes;
    const auto found = std::ranges::upper_bound(targets_, at, {}, &Target::end);
    return static_cast<size_t>(found - targets_.begin());
  }

  // Whole pages of PAGES to where they belong.  What is in no run are zeros.
  Status place(uint64_t offset, std::span<const uint8_t> bytes) const {
    const Timed timed(file_.times().map_ns);
    uint64_t at = offset / memory::kPageBytes;
    for (size_t i = first_target(offset); !bytes.empty(); i++) {
      const uint64_t next = i < targets_.size() ? std::max(targets_[i].at, at) : UINT64_MAX;
      const uint64_t gap = std::min<uint64_t>(next - at, bytes.size() / memory::kPageBytes);
      SPORE_TRY(check_zeros(at, bytes.first(gap * memory::kPageBytes)));
      bytes = bytes.subspan(gap * memory::kPageBytes);
      at += gap;
      if (bytes.empty()) break;
      const Target& target = targets_[i];
      const uint64_t pages = std::min<uint64_t>(target.end() - at, bytes.size() / memory::kPageBytes);
      const uint64_t page = target.page + (at - target.at);
      const Status status = builders_[target.memory].write(
          page * memory::kPageBytes, std::as_bytes(bytes.first(pages * memory::kPageBytes)));
      if (!status.ok()) return explained(status.copy(), "PAGES");
      bytes = bytes.subspan(pages * memory::kPageBytes);
      at += pages;
    }
    return {};
  }

  static Status check_zeros(uint64_t at, std::span<const uint8_t> bytes) {
    for (size_t offset = 0; offset < bytes.size(); offset += memory::kPageBytes) {
      if (is_zero_page(reinterpret_cast<const std::byte*>(bytes.data() + offset))) continue;
      const uint64_t place = at * memory::kPageBytes + offset;
      return with_facts(
          Status::corruption("section PAGES: at byte {}: a page of no memory is not zeros", place),
          {.kind = ErrorKind::kFormat, .section = "PAGES", .offset = place, .expected = "zeros"});
    }
    return {};
  }

  const SnapshotFile& file_;
  const PageIndex& index_;
  const bool compare_;
  const Extent* const extent_;   // null: there are no pages
  std::vector<Target> targets_;  // by `at`, and so by memory
  std::vector<memory::PageImageBuilder> builders_;
};

// Compares the hashes of PAGES, and keeps nothing of them.
Status verify_pages(const SnapshotFile& file, const Extent& extent) {
  const ProgressMeter& meter = file.meter();
  return run_steps(piece_count(extent.bytes), meter.steps(kPiecesPerThread), [&]() -> Step {
    auto buffer = std::make_shared<std::vector<uint8_t>>(std::min<uint64_t>(kPieceBytes, extent.bytes));
    return [&, buffer](uint64_t number) -> Status {
      const std::span<uint8_t> bytes =
          std::span(*buffer).first(std::min<uint64_t>(kPieceBytes, extent.bytes - number * kPieceBytes));
      file.meter().add(bytes.size());
      return file.read_piece(extent, number, bytes, true);
    };
  });
}

// A derived image has few pages of its own: these are copied.
bool may_map(const SnapshotFile& file, bool compare) {
  const bool verified = file.is_known() || compare;
  return file.options().mapping && file.superblock().mapped && file.superblock().kind == Kind::kBase &&
         file.is_ours() && file.identity().has_value() && verified;
}

// The memories of a base, as its file has them.  kUnavailable: this process cannot map files.
Result<ReadPages> map_pages(const SnapshotFile& file, const PageIndex& index) {
  const Timed timed(file.times().map_ns);
  const Extent* extent = file.superblock().find(Section::kPages);
  ReadPages pages;
  pages.mapped = true;
  uint64_t begin = extent == nullptr ? 0 : extent->offset;
  for (const MemoryIndex& memory : index) {
    const memory::PageImage::FilePart part{
        .fd = file.fd(),
        .offset = begin,
        .bytes = memory.pages() * memory::kPageBytes,
        .mapped_bytes = memory.pages(Run::Kind::kRaw) * memory::kPageBytes};
    pages.memories.push_back(SPORE_TRY(memory::PageImage::map_file(part)));
    begin += part.mapped_bytes;
  }
  return pages;
}

}  // namespace

Result<ReadPages> read_pages(const SnapshotFile& file, const PageIndex& index, const Contents* base,
                             bool compare) {
  if (may_map(file, compare)) {
    Result<ReadPages> mapped = map_pages(file, index);
    if (!mapped.ok() && mapped.code() != Code::kUnavailable) {
      return explained(std::move(mapped).status(), "PAGES");
    }
    const Extent* extent = file.superblock().find(Section::kPages);
    if (mapped.ok() && compare && extent != nullptr) SPORE_TRY(verify_pages(file, *extent));
    if (mapped.ok()) return mapped;
  }
  PageReader reader(file, index, compare);
  SPORE_TRY(reader.run(base));
  ReadPages pages;
  pages.memories = SPORE_TRY(std::move(reader).finish());
  return pages;
}

}  // namespace spore::snapshot
