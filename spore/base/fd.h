#pragma once

// File descriptors and whole files.

#include <sys/types.h>

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

struct RegularFile {
  UniqueFd fd;
  uint64_t bytes = 0;  // when it was opened
};
// For reading.  What read_file() says.
Result<RegularFile> open_regular(const std::filesystem::path& path, uint64_t bytes_max);

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

// Fills `bytes` from `offset`.  kIo; kCorruption: the file ends before.
Status read_at(int fd, std::span<uint8_t> bytes, uint64_t offset);

// What read_file() says.  Whoever cuts the file short meanwhile ends this process (SIGBUS), and whoever
// writes to it may change the bytes: for programs that read a file of their own user, and not for long.
Result<FileView> view_file(const std::filesystem::path& path, size_t bytes_max);

// A new file beside `path`, which takes its place whole or not at all.  Removed on destruction unless it did.
// Move-only.
class NewFile {
 public:
  static constexpr mode_t kForAll = 0666;
  static constexpr mode_t kForOwner = 0600;
  // Its permissions are `mode` less the umask.  kNotFound: no such folder; kIo.
  static Result<NewFile> create(const std::filesystem::path& path, mode_t mode = kForAll);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  int fd() const { return fd_.get(); }
  // `bytes` at `offset`.  kIo.
  Status write_at(std::span<const uint8_t> bytes, uint64_t offset) const;
  // Syncs it and gives it its name: readers see what was there before, or this, also after a crash.  kIo.
  Status commit();

 private:
  NewFile(std::filesystem::path path, std::string temporary, UniqueFd fd);

  std::filesystem::path path_;
  std::string temporary_;  // empty: it has its name
  UniqueFd fd_;
  uint64_t process_;  // that made it: a forked child's copy removes nothing
};

// A NewFile of these bytes.
Status write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace spore
