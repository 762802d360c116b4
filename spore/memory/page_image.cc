#include "spore/memory/page_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "spore/base/memfd.h"

namespace spore::memory {
namespace {

bool is_zero(const std::byte* page) {
  // Each byte equal to the next, and the first is zero.
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

void add_page(std::vector<PageRun>& runs, size_t offset) {
  if (runs.empty() || runs.back().offset + runs.back().bytes != offset) runs.push_back({offset, 0});
  runs.back().bytes += kPageBytes;
}

// The longest runs of pages that are as in the base.
std::vector<PageRun> alike(std::span<const std::byte> bytes, const PageImage& base) {
  std::vector<PageRun> runs;
  const size_t end = std::min(bytes.size(), base.mapped_bytes());
  for (size_t offset = 0; offset < end; offset += kPageBytes) {
    const std::byte* here = bytes.data() + offset;
    const std::byte* there = base.page(offset);
    if (there == nullptr ? is_zero(here) : std::memcmp(here, there, kPageBytes) == 0) add_page(runs, offset);
  }
  const auto longer = [](const PageRun& a, const PageRun& b) { return a.bytes > b.bytes; };
  std::ranges::sort(runs, longer);
  if (runs.size() > PageImage::kBaseRunsMax) runs.resize(PageImage::kBaseRunsMax);
  std::erase_if(runs,
                [](const PageRun& run) { return run.bytes < PageImage::kBaseRunPagesMin * kPageBytes; });
  std::ranges::sort(runs, {}, &PageRun::offset);
  return runs;
}

Status write_at(int fd, const std::byte* bytes, size_t count, size_t offset) {
  while (count > 0) {
    const ssize_t written = ::pwrite(fd, bytes, count, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Status::from_errno(errno, "writing an image");
    bytes += written;
    offset += static_cast<size_t>(written);
    count -= static_cast<size_t>(written);
  }
  return {};
}

// The pages of [begin, end) of a file that have data, relative to `begin`.  Where the file system does not
// tell, all have.
std::vector<PageRun> data_pages(int fd, uint64_t begin, uint64_t end) {
  std::vector<PageRun> runs;
  uint64_t done = begin;  // a page may have two pieces of data
  for (uint64_t at = begin; at < end;) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    const uint64_t from = data < 0 ? at : static_cast<uint64_t>(data);
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    const uint64_t to = hole <= data ? end : static_cast<uint64_t>(hole);
    const uint64_t first = std::max(from / kPageBytes * kPageBytes, done);
    done = std::min((to + kPageBytes - 1) / kPageBytes * kPageBytes, end);
    if (first < done) append_run(runs, first - begin, done - first);
    at = to;
  }
  return runs;
}

// Of a file that has all of that part.
Result<struct stat> stat_of(const PageImage::FilePart& part) {
  struct stat file{};
  if (::fstat(part.fd, &file) != 0) return Status::from_errno(errno, "stat of an image");
  if (!S_ISREG(file.st_mode)) return Status::invalid_argument("an image is mapped from a regular file");
  const auto bytes = static_cast<uint64_t>(file.st_size);
  if (part.offset <= bytes && part.mapped_bytes <= bytes - part.offset) return file;
  return Status::corruption("{} bytes at {} of an image's file, which ends at {}", part.mapped_bytes,
                            part.offset, bytes);
}

}  // namespace

Result<std::shared_ptr<const PageImage>> PageImage::create(std::span<const std::byte> bytes,
                                                           std::shared_ptr<const PageImage> base) {
  SPORE_ASSERT(bytes.size() % kPageBytes == 0, "an image is made of whole pages");
  PageImageBuilder::Base shared;
  if (base != nullptr) {
    shared.pages = alike(bytes, *base);
    shared.image = std::move(base);
  }
  std::vector<PageRun> data;
  auto next = shared.pages.begin();
  for (size_t offset = 0; offset < bytes.size(); offset += kPageBytes) {
    if (next != shared.pages.end() && next->offset == offset) {
      offset += next->bytes - kPageBytes;
      ++next;
      continue;
    }
    if (!is_zero(bytes.data() + offset)) add_page(data, offset);
  }
  PageImageBuilder builder = SPORE_TRY(PageImageBuilder::create(bytes.size(), data, std::move(shared)));
  for (const PageRun& run : data) SPORE_TRY(builder.write(run.offset, bytes.subspan(run.offset, run.bytes)));
  return std::move(builder).finish();
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the analyser loses the image within Result

Result<std::shared_ptr<const PageImage>> PageImage::map_file(const FilePart& part) {
  if (part.offset % kPageBytes != 0 || part.bytes % kPageBytes != 0 || part.mapped_bytes % kPageBytes != 0 ||
      part.mapped_bytes > part.bytes) {
    return Status::invalid_argument("{} bytes at {} of a file as a memory of {}: not whole pages of it",
                                    part.mapped_bytes, part.offset, part.bytes);
  }
  SPORE_TRY(stat_of(part));
  std::shared_ptr<PageImage> image(new PageImage);
  image->bytes_ = part.bytes;
  const std::vector<PageRun> data = data_pages(part.fd, part.offset, part.offset + part.mapped_bytes);
  // Again: a file that was cut meanwhile would have had holes.
  const struct stat file = SPORE_TRY(stat_of(part));
  if (data.empty()) return std::shared_ptr<const PageImage>(std::move(image));
  image->mapped_bytes_ = data.back().offset + data.back().bytes;
  image->kinds_.resize(image->mapped_bytes_ / kPageBytes);
  for (const PageRun& run : data) {
    std::fill_n(&image->kinds_[run.offset / kPageBytes], run.bytes / kPageBytes, Kind::kOwn);
  }
  image->fd_ = UniqueFd(::fcntl(part.fd, F_DUPFD_CLOEXEC, 0));
  if (!image->fd_.valid()) return Status::from_errno(errno, "keeping the file of an image open");
  image->file_offset_ = part.offset;
  image->of_file_ = true;
  image->file_bytes_ = file.st_size;
  image->file_time_ = file.st_mtim;
  SPORE_TRY(image->map_view());
  image->watched_ = SPORE_TRY(BusGuard::watch(
      {.base = image->view_, .bytes = image->mapped_bytes_, .protection = PROT_READ}, image->broken_));
  image->make_parts({});
  return std::shared_ptr<const PageImage>(std::move(image));
}

// Private, though nobody writes: older kernels (5.15 for one) refuse all shared mappings of a sealed file.
Status PageImage::map_view() {
  void* view =
      ::mmap(nullptr, mapped_bytes_, PROT_READ, MAP_PRIVATE, fd_.get(), static_cast<off_t>(file_offset_));
  if (view == MAP_FAILED) return Status::from_errno(errno, "mapping an image");
  view_ = static_cast<const std::byte*>(view);
  return {};
}

Status PageImage::check() const {
  if (base_ != nullptr) SPORE_TRY(base_->check());
  if (!of_file_) return {};
  if (broken_) return Status::corruption("the file of an image was cut short, or cannot be read");
  struct stat file{};
  if (::fstat(fd_.get(), &file) != 0) return Status::from_errno(errno, "stat of an image");
  const bool same = file.st_size == file_bytes_ && file.st_mtim.tv_sec == file_time_.tv_sec &&
                    file.st_mtim.tv_nsec == file_time_.tv_nsec;
  if (same) return {};
  return Status::corruption("the file of an image was written to since it was mapped");
}

PageImage::~PageImage() {
  watched_.end();
  if (view_ != nullptr) ::munmap(const_cast<std::byte*>(view_), mapped_bytes_);
}

void PageImage::make_parts(const std::vector<PageRun>& of_base) {
  size_t done = 0;
  const auto own_until = [&](size_t end) {
    if (end > done) {
      parts_.push_back({.offset = done,
                        .bytes = end - done,
                        .fd = fd_.get(),
                        .file_offset = file_offset_ + done,
                        .broken = of_file_ ? &broken_ : nullptr});
    }
    done = std::max(done, end);
  };
  for (const PageRun& run : of_base) {
    own_until(run.offset);
    // The base may stand on another one itself.
    for (const Part& part : base_->parts_) {
      const size_t begin = std::max(part.offset, run.offset);
      const size_t end = std::min(part.offset + part.bytes, run.offset + run.bytes);
      if (begin >= end) continue;
      Part piece = part;
      piece.offset = begin;
      piece.bytes = end - begin;
      piece.file_offset += begin - part.offset;
      parts_.push_back(piece);
    }
    done = run.offset + run.bytes;
  }
  own_until(mapped_bytes_);
}

void PageImage::prefetch(std::span<const PageRun> runs) const {
  if (!of_file_ || view_ == nullptr) return;
  for (const PageRun& run : runs) {
    if (run.offset >= mapped_bytes_) break;
    const size_t bytes = std::min(run.bytes, mapped_bytes_ - run.offset);
    ::madvise(const_cast<std::byte*>(view_ + run.offset), bytes, MADV_WILLNEED);  // a hint
  }
}

Result<PageImageBuilder> PageImageBuilder::create(size_t bytes, const std::vector<PageRun>& data, Base base) {
  SPORE_ASSERT(bytes % kPageBytes == 0, "an image is made of whole pages");
  std::shared_ptr<PageImage> image(new PageImage);
  image->bytes_ = bytes;
  const auto place = [&](const std::vector<PageRun>& runs, PageImage::Kind kind) {
    size_t before = 0;
    for (const PageRun& run : runs) {
      SPORE_ASSERT(run.offset % kPageBytes == 0 && run.bytes % kPageBytes == 0 && run.offset >= before &&
                       run.offset <= bytes && run.bytes <= bytes - run.offset,
                   "pages in order, inside of the memory");
      before = run.offset + run.bytes;
      if (before > image->kinds_.size() * kPageBytes) image->kinds_.resize(before / kPageBytes);
      for (size_t offset = run.offset; offset < before; offset += kPageBytes) {
        PageImage::Kind& there = image->kinds_[offset / kPageBytes];
        SPORE_ASSERT(there == PageImage::Kind::kZeros, "a page is in one list");
        there = kind;
      }
    }
  };
  place(data, PageImage::Kind::kOwn);
  for (const PageRun& run : data) image->held_bytes_ += run.bytes;
  if (base.image != nullptr) {
    place(base.pages, PageImage::Kind::kBase);
    const size_t end = base.pages.empty() ? 0 : base.pages.back().offset + base.pages.back().bytes;
    SPORE_ASSERT(end <= base.image->mapped_bytes_, "a base has the pages that are its");
    image->base_ = std::move(base.image);
  }
  image->mapped_bytes_ = image->kinds_.size() * kPageBytes;
  if (image->mapped_bytes_ > 0) {
    image->fd_ = SPORE_TRY(make_memfd("spore-image"));
    if (::ftruncate(image->fd_.get(), static_cast<off_t>(image->mapped_bytes_)) != 0) {
      return Status::from_errno(errno, "sizing an image");
    }
  }
  image->make_parts(base.pages);
  return PageImageBuilder(std::move(image));
}

Status PageImageBuilder::write(size_t offset, std::span<const std::byte> bytes) const {
  SPORE_ASSERT(offset <= image_->mapped_bytes_ && bytes.size() <= image_->mapped_bytes_ - offset,
               "outside of the data");
  return write_at(image_->fd_.get(), bytes.data(), bytes.size(), offset);
}

Result<std::shared_ptr<const PageImage>> PageImageBuilder::finish() && {
  if (image_->mapped_bytes_ > 0) {
    SPORE_TRY(seal(image_->fd_.get()));
    SPORE_TRY(image_->map_view());
  }
  return std::shared_ptr<const PageImage>(std::move(image_));
}

}  // namespace spore::memory
