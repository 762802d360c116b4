#pragma once

// File descriptors and whole files.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "spore/base/status.h"

namespace spore {

// An open file descriptor, closed on destruction.  Move-only; -1 when empty.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// The whole of a regular file.  kNotFound, kIo; kInvalidArgument: not a regular file;
// kLimitExceeded: larger than `bytes_max`.
Result<std::vector<uint8_t>> read_file(const std::filesystem::path& path, size_t bytes_max);

// Writes beside `path`, syncs and renames into place: readers see the old file or the new, whole.
Status write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace spore
