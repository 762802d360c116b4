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

// A file's bytes where the system has them already: no copy, as read_file() makes.  Move-only.
class FileView {
 public:
  FileView() = default;
  FileView(FileView&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  FileView& operator=(FileView&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~FileView();

  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  friend Result<FileView> view_file(const std::filesystem::path& path, size_t bytes_max);
  explicit FileView(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  std::span<const uint8_t> bytes_;
};

// What read_file() says.  Whoever cuts the file short meanwhile ends this process (SIGBUS), and whoever
// writes to it may change the bytes: for programs that read a file of their own user, and not for long.
Result<FileView> view_file(const std::filesystem::path& path, size_t bytes_max);

// Writes beside `path`, syncs and renames into place: readers see the old file or the new, whole.
Status write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace spore
