#include "spore/base/fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "spore/base/fork.h"

namespace spore {

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<RegularFile> open_regular(const std::filesystem::path& path, uint64_t bytes_max) {
  // O_NONBLOCK: a fifo in the file's place must not hang us before we see what it is.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return Status::from_errno(errno, fmt::format("open '{}'", path.native()));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return Status::from_errno(errno, fmt::format("stat '{}'", path.native()));
  }
  if (!S_ISREG(info.st_mode)) {
    return Status::invalid_argument("'{}' is not a regular file", path.native());
  }
  if (static_cast<uint64_t>(info.st_size) > bytes_max) {
    return Status::limit_exceeded("'{}' has {} bytes, the limit is {}", path.native(), info.st_size,
                                  bytes_max);
  }
  return RegularFile{.fd = std::move(fd), .bytes = static_cast<uint64_t>(info.st_size)};
}

Status read_at(int fd, std::span<uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::from_errno(errno, "read");
    if (n == 0) {
      return Status::corruption("the file ends at byte {}, {} bytes are missing", offset, bytes.size());
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

FileView::~FileView() {
  if (!bytes_.empty()) ::munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
}

Result<FileView> view_file(const std::filesystem::path& path, size_t bytes_max) {
  const RegularFile file = SPORE_TRY(open_regular(path, bytes_max));
  if (file.bytes == 0) return FileView();
  void* at = ::mmap(nullptr, file.bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file.fd.get(), 0);
  if (at == MAP_FAILED) return Status::from_errno(errno, fmt::format("map '{}'", path.native()));
  return FileView({static_cast<const uint8_t*>(at), file.bytes});
}

Result<std::vector<uint8_t>> read_file(const std::filesystem::path& path, size_t bytes_max) {
  const RegularFile file = SPORE_TRY(open_regular(path, bytes_max));
  // Read to the end whatever the size says: it is 0 for files of /proc, and a file may grow meanwhile.
  // A page at least: files of /proc/sys give all to the first read() and nothing to the next.
  std::vector<uint8_t> bytes(std::max<size_t>(file.bytes, 4095) + 1);
  size_t have = 0;
  for (;;) {
    const ssize_t n = ::read(file.fd.get(), bytes.data() + have, bytes.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::from_errno(errno, fmt::format("read '{}'", path.native()));
    have += static_cast<size_t>(n);
    if (have > bytes_max) {
      return Status::limit_exceeded("'{}' has more than {} bytes", path.native(), bytes_max);
    }
    if (n == 0) break;
    if (have == bytes.size()) bytes.resize(bytes.size() * 2);
  }
  bytes.resize(have);
  return bytes;
}

namespace {

// A new file beside `path`.  Not mkostemp(): it makes files 0600, and to find out the umask one has to change
// it, for the whole process.
Result<UniqueFd> create_beside(const std::filesystem::path& path, mode_t mode, std::string& name) {
  constexpr int kTriesMax = 100;
  for (int i = 0; i < kTriesMax; i++) {
    uint64_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random) break;
    name = fmt::format("{}.{:016x}.tmp", path.native(), random);
    const int fd = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EEXIST) break;
  }
  return Status::from_errno(errno, fmt::format("create '{}'", path.native()));
}

Status sync(int fd, const std::filesystem::path& path) {
  if (::fsync(fd) == 0) return {};
  return Status::from_errno(errno, fmt::format("fsync '{}'", path.native()));
}

// That a name is there, too.
Status sync_folder_of(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // One that can be written to, but not listed: its entries cannot be synced.
  if (!fd.valid() && errno == EACCES) return {};
  if (!fd.valid()) return Status::from_errno(errno, fmt::format("open '{}'", folder.native()));
  return sync(fd.get(), folder);
}

}  // namespace

NewFile::NewFile(std::filesystem::path path, std::string temporary, UniqueFd fd)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      fd_(std::move(fd)),
      process_(process_generation()) {}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      process_(other.process_) {}

NewFile::~NewFile() {
  if (!temporary_.empty() && process_ == process_generation()) ::unlink(temporary_.c_str());
}

Result<NewFile> NewFile::create(const std::filesystem::path& path, mode_t mode) {
  std::string temporary;
  UniqueFd fd = SPORE_TRY(create_beside(path, mode, temporary));
  return NewFile(path, std::move(temporary), std::move(fd));
}

Status NewFile::write_at(std::span<const uint8_t> bytes, uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Status::from_errno(errno, fmt::format("write '{}'", path_.native()));
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Status NewFile::commit() {
  SPORE_TRY(sync(fd_.get(), path_));
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return Status::from_errno(errno, fmt::format("rename to '{}'", path_.native()));
  }
  temporary_.clear();
  return sync_folder_of(path_);
}

Status write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  NewFile file = SPORE_TRY(NewFile::create(path));
  SPORE_TRY(file.write_at(bytes, 0));
  return file.commit();
}

}  // namespace spore
