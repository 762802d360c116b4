#pragma once

// The bytes that a linear memory begins with, in a form that any number of slots map.

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/memory/bus_guard.h"
#include "spore/memory/page_scan.h"

namespace spore::memory {

// Immutable and thread-safe: a memfd that is sealed against every change.  Zeros at the end are not kept,
// pages of zeros are holes.
//
// Or a part of a file on disk, of which nothing is copied: the system reads pages as they are used, keeps
// them while there is room, and shares them with all that map the file.  Nobody can seal such a file: it must
// be one that is renamed into place and never written again, as ours are.  If it is cut short all the same,
// or cannot be read, that does not end the process (BusGuard): broken() says so, and then nothing that came
// of the image's pages since, or of a slot's that was opened with it, may be believed.  Other writes to the
// file bring no signal: a page that nobody has written to shows them, and a file that is cut within a page
// has zeros there.  check() finds those.
//
// It may stand on another image: then what both have alike is mapped from that one's file, and held once.
class PageImage {
 public:
  // Of `bytes`, whose length is a multiple of kPageBytes, on `base` if it is not null.  kIo: no memory, or no
  // descriptor, left.
  static Result<std::shared_ptr<const PageImage>> create(std::span<const std::byte> bytes,
                                                         std::shared_ptr<const PageImage> base = nullptr);
  // The pages of a memory in a file: that at p is at `offset` + p.  Holes are zeros.
  struct FilePart {
    int fd = -1;              // opened for reading; map_file() keeps one of its own
    uint64_t offset = 0;      // these are multiples of kPageBytes
    size_t bytes = 0;         // of the memory
    size_t mapped_bytes = 0;  // what is in the file; from here on there are zeros
  };
  // kInvalidArgument: not a regular file, or not whole pages; kCorruption: the file ends before; kIo: it
  // cannot be mapped, or no descriptor is left; kUnavailable: no guard against files that are cut short.
  // Moves the descriptor's position, to look for holes.
  static Result<std::shared_ptr<const PageImage>> map_file(const FilePart& part);
  ~PageImage();
  PageImage(const PageImage&) = delete;
  PageImage& operator=(const PageImage&) = delete;

  // The length of the memory.
  size_t bytes() const { return bytes_; }
  // The length of what is mapped; from here on there are zeros.
  size_t mapped_bytes() const { return mapped_bytes_; }
  // Bytes of memory that it holds, without those of the image that it stands on.  None if it is of a file:
  // what the system keeps of that it can give up.
  size_t held_bytes() const { return held_bytes_; }
  // A file was cut short, or could not be read, when a page of it was used: its own file, or that of an image
  // that it stands on.  Once broken, always broken.  Ask after the use.
  bool broken() const { return broken_ || (base_ != nullptr && base_->broken()); }
  // Some of it is of a file that can be cut short.
  bool of_file() const { return of_file_ || (base_ != nullptr && base_->of_file()); }
  // kCorruption: it is broken, or a file of it, or of what it stands on, was written to since it was mapped,
  // as far as its length and the time of its last change tell.  kIo.  One system call for each such file.
  Status check() const;
  // Pages of a file that will be used soon: the system begins to read them now, all at once.  Nothing to do
  // for what is in memory.  Ascending, inside of the memory.
  void prefetch(std::span<const PageRun> runs) const;
  // The file of its own pages; not valid if it has none.
  int fd() const { return fd_.get(); }
  const std::shared_ptr<const PageImage>& base() const { return base_; }

  // What is to be mapped, in order and without gaps.
  struct Part {
    size_t offset;  // in memory
    size_t bytes;
    int fd;
    uint64_t file_offset;
    std::atomic<bool>* broken;  // for BusGuard, where it is mapped; null: nobody can cut the file
  };
  const std::vector<Part>& parts() const { return parts_; }
  // Each part is a mapping in each slot, and the kernel allows some 65,000 of them: so many pieces of a base
  // are shared, the largest; small ones between changed pages are copied.
  static constexpr size_t kBaseRunsMax = 32;
  static constexpr size_t kBaseRunPagesMin = 8;

  // The page at `offset`, a multiple of kPageBytes; null if it is all zeros.
  const std::byte* page(size_t offset) const {
    const size_t number = offset / kPageBytes;
    if (offset >= mapped_bytes_ || kinds_[number] == Kind::kZeros) return nullptr;
    return kinds_[number] == Kind::kOwn ? view_ + offset : base_->page(offset);
  }
  // It is the base's, and not held here.
  bool of_base(size_t offset) const {
    return offset < mapped_bytes_ && kinds_[offset / kPageBytes] == Kind::kBase;
  }

 private:
  friend class PageImageBuilder;
  enum class Kind : uint8_t { kZeros, kOwn, kBase };
  PageImage() = default;
  Status map_view();
  void make_parts(const std::vector<PageRun>& of_base);

  size_t bytes_ = 0;
  size_t mapped_bytes_ = 0;
  size_t held_bytes_ = 0;
  std::vector<Kind> kinds_;  // of each mapped page
  std::vector<Part> parts_;
  UniqueFd fd_;
  uint64_t file_offset_ = 0;         // of the first page, in fd_
  bool of_file_ = false;             // on disk, not a memfd of ours
  off_t file_bytes_ = 0;             // of that, when it was mapped,
  timespec file_time_{};             // and the time of its last change
  const std::byte* view_ = nullptr;  // of fd_
  std::atomic<bool> broken_{false};
  BusGuard::Range watched_;  // the view, if it is of a file
  std::shared_ptr<const PageImage> base_;
};

// Makes an image of pages that come from elsewhere, a file, in any order and by any number of threads.
// Move-only.  A page that is said to be data and is all zeros stays one: nobody looks.
class PageImageBuilder {
 public:
  // Pages that are as those of another image.
  struct Base {
    std::shared_ptr<const PageImage> image;
    std::vector<PageRun> pages;
  };
  // Of a memory of `bytes`, a multiple of kPageBytes; `data`: the pages that are neither zeros nor the
  // base's. Both lists are ascending, have no page in common, and lie inside of the memory, the base's inside
  // of what the base maps.  kIo: no memory, or no descriptor, left.
  static Result<PageImageBuilder> create(size_t bytes, const std::vector<PageRun>& data, Base base = {});

  // At `offset` of the memory, in its data.  Thread-safe.  kIo: no memory left.
  Status write(size_t offset, std::span<const std::byte> bytes) const;
  // When all of the data was written.  kIo.
  Result<std::shared_ptr<const PageImage>> finish() &&;

 private:
  explicit PageImageBuilder(std::shared_ptr<PageImage> image) : image_(std::move(image)) {}

  std::shared_ptr<PageImage> image_;
};

}  // namespace spore::memory
