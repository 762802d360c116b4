#include "spore/code/temporary_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

namespace spore::code {
namespace {

constexpr std::string_view kSuffix = ".tmp";
constexpr int kTriesMax = 100;

// True if the file of this descriptor still has a name.
bool has_name(int fd) {
  struct stat info{};
  return ::fstat(fd, &info) == 0 && info.st_nlink > 0;
}

Status sync(int fd, const std::string& name) {
  if (::fsync(fd) == 0) return {};
  return cache_write_error(errno, fmt::format("fsync '{}'", name));
}

}  // namespace

Result<TemporaryFile> TemporaryFile::create(int directory, std::string_view name) {
  for (int i = 0; i < kTriesMax; i++) {
    uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) break;
    std::string temporary = fmt::format("{}.{:016x}{}", name, random, kSuffix);
    UniqueFd fd(
        ::openat(directory, temporary.c_str(), O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.valid() && errno == EEXIST) continue;
    if (!fd.valid()) break;
    // Between the two somebody may have taken it for a dead one's: then it is locked or gone, and we try
    // again.
    const bool locked = ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK) {
      const int error = errno;
      ::unlinkat(directory, temporary.c_str(), 0);
      return cache_write_error(error, fmt::format("flock '{}'", temporary));
    }
    if (locked && has_name(fd.get())) {
      return TemporaryFile(directory, std::string(name), std::move(temporary), std::move(fd));
    }
  }
  return cache_write_error(errno, fmt::format("create '{}'", name));
}

TemporaryFile::TemporaryFile(int directory, std::string name, std::string temporary, UniqueFd fd)
    : directory_(directory), name_(std::move(name)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : directory_(other.directory_),
      name_(std::move(other.name_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)) {}

TemporaryFile::~TemporaryFile() {
  if (!temporary_.empty()) ::unlinkat(directory_, temporary_.c_str(), 0);
  // By hand: a forked child may have the descriptor, too, and would keep the lock.
  if (fd_.valid()) ::flock(fd_.get(), LOCK_UN);
}

Status TemporaryFile::replace() {
  SPORE_TRY(sync(fd_.get(), name_));
  if (::renameat(directory_, temporary_.c_str(), directory_, name_.c_str()) != 0) {
    return cache_write_error(errno, fmt::format("rename to '{}'", name_));
  }
  temporary_.clear();
  return sync(directory_, name_);
}

Status TemporaryFile::publish() {
  SPORE_TRY(sync(fd_.get(), name_));
  if (::linkat(directory_, temporary_.c_str(), directory_, name_.c_str(), 0) != 0) {
    if (errno == EEXIST) return Status::already_exists("'{}' is there already", name_);
    return cache_write_error(errno, fmt::format("link '{}'", name_));
  }
  if (::unlinkat(directory_, temporary_.c_str(), 0) == 0) temporary_.clear();
  return sync(directory_, name_);
}

void remove_stale_temporaries(int directory, std::string_view prefix) {
  const Result<std::vector<std::string>> names = names_in(directory);
  if (!names.ok()) return;  // so nothing can be removed
  for (const std::string& name : names.value()) {
    if (!name.starts_with(prefix) || !name.ends_with(kSuffix)) continue;
    const UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info{};
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;  // somebody writes it
    // Its writer may have put it into place since we read the names.
    if (is_named(directory, name, fd.get())) ::unlinkat(directory, name.c_str(), 0);
    ::flock(fd.get(), LOCK_UN);
  }
}

Result<std::vector<std::string>> names_in(int directory) {
  // A description of its own: the position in the directory belongs to it, and threads share `directory`.
  const int fd = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open the directory");
  struct Close {
    void operator()(DIR* stream) const noexcept { ::closedir(stream); }
  };
  const std::unique_ptr<DIR, Close> stream(::fdopendir(fd));
  if (stream == nullptr) {
    const int error = errno;
    ::close(fd);
    return Status::from_errno(error, "read the directory");
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return Status::from_errno(errno, "read the directory");
  return names;
}

bool is_named(int directory, const std::string& name, int fd) {
  struct stat there{};
  struct stat here{};
  return ::fstat(fd, &here) == 0 && ::fstatat(directory, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

Result<uint64_t> file_size(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    return cache_error(CacheFault::kRead, fmt::format("stat: {}", std::generic_category().message(errno)));
  }
  return static_cast<uint64_t>(info.st_size);
}

Status write_at(int fd, std::span<const uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cache_write_error(n == 0 ? ENOSPC : errno, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status read_at(int fd, std::span<uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return cache_error(CacheFault::kRead, fmt::format("read: {}", std::generic_category().message(errno)));
    if (n == 0)
      return cache_error(CacheFault::kRead,
                         fmt::format("the file ends at {}, {} bytes are missing", offset, bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

}  // namespace spore::code
