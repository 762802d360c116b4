#include "spore/memory/page_image.h"

#include <fcntl.h>
#include <sys/mman.h>
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

PageImage::~PageImage() {
  if (view_ != nullptr) ::munmap(const_cast<std::byte*>(view_), mapped_bytes_);
}

void PageImage::make_parts(const std::vector<PageRun>& of_base) {
  size_t done = 0;
  const auto own_until = [&](size_t end) {
    if (end > done) parts_.push_back({.offset = done, .bytes = end - done, .fd = fd_.get()});
    done = std::max(done, end);
  };
  for (const PageRun& run : of_base) {
    own_until(run.offset);
    // The base may stand on another one itself.
    for (const Part& part : base_->parts_) {
      const size_t begin = std::max(part.offset, run.offset);
      const size_t end = std::min(part.offset + part.bytes, run.offset + run.bytes);
      if (begin < end) parts_.push_back({.offset = begin, .bytes = end - begin, .fd = part.fd});
    }
    done = run.offset + run.bytes;
  }
  own_until(mapped_bytes_);
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
  const int fd = image_->fd_.get();
  if (image_->mapped_bytes_ > 0) {
    SPORE_TRY(seal(fd));
    // Private, though nobody writes: older kernels (5.15 for one) refuse all shared mappings of a sealed
    // file.
    void* view = ::mmap(nullptr, image_->mapped_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (view == MAP_FAILED) return Status::from_errno(errno, "mapping an image");
    image_->view_ = static_cast<const std::byte*>(view);
  }
  return std::shared_ptr<const PageImage>(std::move(image_));
}

}  // namespace spore::memory
