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
  std::shared_ptr<PageImage> image(new PageImage);
  image->bytes_ = bytes.size();
  for (size_t offset = 0; offset < bytes.size(); offset += kPageBytes) {
    image->zeros_.push_back(is_zero(bytes.data() + offset));
    if (!image->zeros_.back()) image->mapped_bytes_ = offset + kPageBytes;
  }
  image->zeros_.resize(image->mapped_bytes_ / kPageBytes);
  if (image->mapped_bytes_ == 0) return std::shared_ptr<const PageImage>(std::move(image));

  image->fd_ = SPORE_TRY(make_memfd("spore-image"));
  const int fd = image->fd_.get();
  if (::ftruncate(fd, static_cast<off_t>(image->mapped_bytes_)) != 0) {
    return Status::from_errno(errno, "sizing an image");
  }
  for (size_t offset = 0; offset < image->mapped_bytes_;) {
    size_t end = offset;
    while (end < image->mapped_bytes_ && !image->zeros_[end / kPageBytes]) end += kPageBytes;
    SPORE_TRY(write_at(fd, bytes.data() + offset, end - offset, offset));
    image->held_bytes_ += end - offset;
    offset = std::max(end, offset + kPageBytes);
  }
  SPORE_TRY(seal(fd));
  // Private, though nobody writes: older kernels (5.15 for one) refuse all shared mappings of a sealed file.
  void* view = ::mmap(nullptr, image->mapped_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  if (view == MAP_FAILED) return Status::from_errno(errno, "mapping an image");
  image->view_ = static_cast<const std::byte*>(view);
  return std::shared_ptr<const PageImage>(std::move(image));
}

PageImage::~PageImage() {
  if (view_ != nullptr) ::munmap(const_cast<std::byte*>(view_), mapped_bytes_);
}

}  // namespace spore::memory
