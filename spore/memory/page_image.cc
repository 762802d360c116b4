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

Result<std::shared_ptr<const PageImage>> PageImage::create(std::span<const std::byte> bytes) {
  SPORE_ASSERT(bytes.size() % kPageBytes == 0, "an image is made of whole pages");
  std::vector<PageRun> data;
  for (size_t offset = 0; offset < bytes.size(); offset += kPageBytes) {
    if (is_zero(bytes.data() + offset)) continue;
    if (data.empty() || data.back().offset + data.back().bytes != offset) data.push_back({offset, 0});
    data.back().bytes += kPageBytes;
  }
  PageImageBuilder builder = SPORE_TRY(PageImageBuilder::create(bytes.size(), data));
  for (const PageRun& run : data) SPORE_TRY(builder.write(run.offset, bytes.subspan(run.offset, run.bytes)));
  return std::move(builder).finish();
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the analyser loses the image within Result

PageImage::~PageImage() {
  if (view_ != nullptr) ::munmap(const_cast<std::byte*>(view_), mapped_bytes_);
}

Result<PageImageBuilder> PageImageBuilder::create(size_t bytes, const std::vector<PageRun>& data) {
  SPORE_ASSERT(bytes % kPageBytes == 0, "an image is made of whole pages");
  std::shared_ptr<PageImage> image(new PageImage);
  image->bytes_ = bytes;
  for (const PageRun& run : data) {
    SPORE_ASSERT(run.offset % kPageBytes == 0 && run.bytes % kPageBytes == 0 &&
                     run.offset >= image->mapped_bytes_ && run.offset <= bytes &&
                     run.bytes <= bytes - run.offset,
                 "pages in order, inside of the memory");
    image->held_bytes_ += run.bytes;
    image->zeros_.resize(run.offset / kPageBytes, true);
    image->mapped_bytes_ = run.offset + run.bytes;
    image->zeros_.resize(image->mapped_bytes_ / kPageBytes, false);
  }
  if (image->mapped_bytes_ > 0) {
    image->fd_ = SPORE_TRY(make_memfd("spore-image"));
    if (::ftruncate(image->fd_.get(), static_cast<off_t>(image->mapped_bytes_)) != 0) {
      return Status::from_errno(errno, "sizing an image");
    }
  }
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
