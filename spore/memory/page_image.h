#pragma once

// The bytes that a linear memory begins with, in a form that any number of slots map.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/memory/page_scan.h"

namespace spore::memory {

// Immutable and thread-safe: a memfd that is sealed against every change.  Zeros at the end are not kept,
// pages of zeros are holes.
class PageImage {
 public:
  // Of `bytes`, whose length is a multiple of kPageBytes.  kIo: no memory, or no descriptor, left.
  static Result<std::shared_ptr<const PageImage>> create(std::span<const std::byte> bytes);
  ~PageImage();
  PageImage(const PageImage&) = delete;
  PageImage& operator=(const PageImage&) = delete;

  // The length of the memory.
  size_t bytes() const { return bytes_; }
  // The length of what is mapped; from here on there are zeros.
  size_t mapped_bytes() const { return mapped_bytes_; }
  // Bytes of memory that it holds.
  size_t held_bytes() const { return held_bytes_; }
  int fd() const { return fd_.get(); }

  // The page at `offset`, a multiple of kPageBytes; null if it is all zeros.
  const std::byte* page(size_t offset) const {
    return offset < mapped_bytes_ && !zeros_[offset / kPageBytes] ? view_ + offset : nullptr;
  }

 private:
  friend class PageImageBuilder;
  PageImage() = default;

  size_t bytes_ = 0;
  size_t mapped_bytes_ = 0;
  size_t held_bytes_ = 0;
  std::vector<bool> zeros_;  // of each mapped page
  UniqueFd fd_;
  const std::byte* view_ = nullptr;
};

// Makes an image of pages that come from elsewhere, a file, in any order and by any number of threads.
// Move-only.  A page that is said to be data and is all zeros stays one: nobody looks.
class PageImageBuilder {
 public:
  // Of a memory of `bytes`, a multiple of kPageBytes; `data`: the pages that are not zeros, ascending, inside
  // of it.  kIo: no memory, or no descriptor, left.
  static Result<PageImageBuilder> create(size_t bytes, const std::vector<PageRun>& data);

  // At `offset` of the memory, in its data.  Thread-safe.  kIo: no memory left.
  Status write(size_t offset, std::span<const std::byte> bytes) const;
  // When all of the data was written.  kIo.
  Result<std::shared_ptr<const PageImage>> finish() &&;

 private:
  explicit PageImageBuilder(std::shared_ptr<PageImage> image) : image_(std::move(image)) {}

  std::shared_ptr<PageImage> image_;
};

}  // namespace spore::memory
