#include "spore/host/wasi_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace spore::host::wasi {
namespace {

// A rename somewhere on the machine while `..` was resolved: the kernel cannot tell and says EAGAIN.  It may
// happen some times in a row, to a guest that provokes it without end.
constexpr int kRetriesMax = 100;

uint64_t nanoseconds(const timespec& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

Errno check(int result) { return result == 0 ? Errno::kSuccess : to_errno(errno); }

FileType entry_type(uint8_t type) { return to_file_type(DTTOIF(type)); }

// The path itself: not a file below it, but something to hold a name with.
Errno open_node(int directory, const char* path, LookupFlags lookup, UniqueFd& opened) {
  const int nofollow = (lookup & kSymlinkFollow) != 0 ? 0 : O_NOFOLLOW;
  return open_beneath(directory, path, O_PATH | nofollow, 0, opened);
}

// The directories of two paths.
Errno resolve_both(int from_directory, Path& from, Parent& source, int to_directory, Path& to,
                   Parent& target) {
  const Errno error = source.resolve(from_directory, from);
  return error != Errno::kSuccess ? error : target.resolve(to_directory, to);
}

}  // namespace

Errno to_errno(int error) {
  switch (error) {
    case 0: return Errno::kSuccess;
    case E2BIG: return Errno::k2Big;
    case EACCES: return Errno::kAcces;
    case EAGAIN: return Errno::kAgain;
    case EBADF: return Errno::kBadF;
    case EBUSY: return Errno::kBusy;
    case EDQUOT: return Errno::kDQuot;
    case EEXIST: return Errno::kExist;
    case EFAULT: return Errno::kFault;
    case EFBIG: return Errno::kFBig;
    case EILSEQ: return Errno::kIlSeq;
    case EINTR: return Errno::kIntr;
    case EINVAL: return Errno::kInval;
    case EISDIR: return Errno::kIsDir;
    case ELOOP: return Errno::kLoop;
    case EMFILE: return Errno::kMFile;
    case EMLINK: return Errno::kMLink;
    case ENAMETOOLONG: return Errno::kNameTooLong;
    case ENFILE: return Errno::kNFile;
    case ENODEV: return Errno::kNoDev;
    case ENOENT: return Errno::kNoEnt;
    case ENOLCK: return Errno::kNoLck;
    case ENOMEM: return Errno::kNoMem;
    case ENOSPC: return Errno::kNoSpc;
    case ENOSYS: return Errno::kNoSys;
    case ENOTDIR: return Errno::kNotDir;
    case ENOTEMPTY: return Errno::kNotEmpty;
    case ENOTTY: return Errno::kNoTty;
    case ENXIO: return Errno::kNxIo;
    case EOPNOTSUPP: return Errno::kNotSup;
    case EOVERFLOW: return Errno::kOverflow;
    case EPERM: return Errno::kPerm;
    case EPIPE: return Errno::kPipe;
    case EROFS: return Errno::kRoFs;
    case ESPIPE: return Errno::kSPipe;
    case ESTALE: return Errno::kStale;
    case ETIMEDOUT: return Errno::kTimedOut;
    case ETXTBSY: return Errno::kTxtBsy;
    case EXDEV: return Errno::kXDev;
    default: return Errno::kIo;
  }
}

FileType to_file_type(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return FileType::kRegularFile;
    case S_IFDIR: return FileType::kDirectory;
    case S_IFLNK: return FileType::kSymbolicLink;
    case S_IFCHR: return FileType::kCharacterDevice;
    case S_IFBLK: return FileType::kBlockDevice;
    default: return FileType::kUnknown;  // a fifo has no number; nor can it be told what kind a socket is of
  }
}

Filestat to_filestat(const struct stat& stat) {
  return {.device = stat.st_dev,
          .inode = stat.st_ino,
          .type = static_cast<uint8_t>(to_file_type(stat.st_mode)),
          .links = stat.st_nlink,
          .size = static_cast<uint64_t>(stat.st_size),
          .access_ns = nanoseconds(stat.st_atim),
          .modify_ns = nanoseconds(stat.st_mtim),
          .change_ns = nanoseconds(stat.st_ctim)};
}

uint64_t host_clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return nanoseconds(now);
}

// --- paths --------------------------------------------------------------------------------------------

Errno Path::set(std::string_view text) {
  if (text.size() >= kBytesMax) return Errno::kNameTooLong;
  if (text.find('\0') != std::string_view::npos) return Errno::kInval;
  std::ranges::copy(text, bytes_.begin());
  bytes_[text.size()] = '\0';
  size_ = text.size();
  return Errno::kSuccess;
}

Errno Parent::resolve(int directory, Path& path) {
  directory_ = directory;
  const std::string_view text(path.text(), path.size());
  if (text.empty()) return Errno::kNoEnt;
  if (text[0] == '/') return Errno::kPerm;
  const size_t end = text.find_last_not_of('/') + 1;  // not 0: the first is no slash
  ends_in_slash_ = end < text.size();
  const size_t slash = text.rfind('/', end - 1);
  const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
  const std::string_view last = text.substr(begin, end - begin);
  if (last == "." || last == "..") {
    // Never given to the calls below, which would act on the directory above.
    UniqueFd node;
    const Errno error = open_node(directory, path.text(), kSymlinkFollow, node);
    return error != Errno::kSuccess ? error : Errno::kInval;
  }
  name_ = path.text() + begin;
  if (begin == 0) return Errno::kSuccess;
  path.bytes_[slash] = '\0';
  return open_beneath(directory, path.text(), O_PATH | O_DIRECTORY, 0, opened_);
}

Errno open_beneath(int directory, const char* path, int flags, mode_t mode, UniqueFd& opened) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  for (int retry = 0; retry < kRetriesMax; retry++) {
    fd = ::syscall(SYS_openat2, directory, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  if (fd < 0) return errno == EXDEV ? Errno::kPerm : to_errno(errno);  // EXDEV: it leads out
  opened = UniqueFd(static_cast<int>(fd));
  return Errno::kSuccess;
}

Errno open_file(int directory, const Path& path, const OpenRequest& request,
                std::shared_ptr<const OpenFile>& opened) {
  const bool is_directory = (request.open & kOpenDirectory) != 0;
  // Nonblocking: a fifo must not hold us here.
  int flags = O_NONBLOCK | O_NOCTTY;
  if (is_directory) {
    flags |= O_DIRECTORY;
  } else if (request.write) {
    flags |= request.read ? O_RDWR : O_WRONLY;
  }
  if ((request.open & kOpenCreate) != 0) flags |= O_CREAT;
  if ((request.open & kOpenExclusive) != 0) flags |= O_EXCL;
  if ((request.open & kOpenTruncate) != 0) flags |= O_TRUNC;
  if ((request.lookup & kSymlinkFollow) == 0) flags |= O_NOFOLLOW;
  const mode_t mode = (flags & O_CREAT) != 0 ? 0666 : 0;
  auto file = std::make_shared<OpenFile>();
  const Errno error = open_beneath(directory, path.text(), flags, mode, file->fd);
  if (error != Errno::kSuccess) return error;
  opened = std::move(file);
  return Errno::kSuccess;
}

FileType usable_type(const OpenFile& file, dev_t device, struct stat& stat) {
  if (::fstat(file.fd.get(), &stat) != 0) return FileType::kUnknown;
  if (!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode)) return FileType::kUnknown;
  if (stat.st_dev != device && is_kernel_interface(file.fd.get())) return FileType::kUnknown;
  return to_file_type(stat.st_mode);
}

bool is_kernel_interface(int fd) {
  // CONFIGFS_MAGIC stands in no header for programs.
  constexpr std::array<long, 12> kMagics{PROC_SUPER_MAGIC,   SYSFS_MAGIC,      DEBUGFS_MAGIC,
                                         TRACEFS_MAGIC,      SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC,
                                         BPF_FS_MAGIC,       EFIVARFS_MAGIC,   CGROUP2_SUPER_MAGIC,
                                         DEVPTS_SUPER_MAGIC, NSFS_MAGIC,       0x62656570};
  struct statfs facts{};
  if (::fstatfs(fd, &facts) != 0) return true;  // what it is cannot be told: no
  return std::ranges::find(kMagics, static_cast<long>(facts.f_type)) != kMagics.end();
}

Errno stat_path(int directory, const Path& path, LookupFlags lookup, struct stat& stat) {
  UniqueFd node;
  const Errno error = open_node(directory, path.text(), lookup, node);
  if (error != Errno::kSuccess) return error;
  return check(::fstat(node.get(), &stat));
}

Errno set_times(int file, std::span<const timespec, 2> times) {
  return check(::futimens(file, times.data()));
}

Errno set_path_times(int directory, const Path& path, LookupFlags lookup,
                     std::span<const timespec, 2> times) {
  UniqueFd node;
  const Errno error = open_node(directory, path.text(), lookup, node);
  if (error != Errno::kSuccess) return error;
  // AT_EMPTY_PATH: kernel 5.8.
  return check(::utimensat(node.get(), "", times.data(), AT_EMPTY_PATH));
}

// --- making, removing, renaming: the last component is a name, and never followed ---------------------

Errno make_directory(int directory, Path& path) {
  Parent parent;
  const Errno error = parent.resolve(directory, path);
  if (error == Errno::kInval) return Errno::kExist;  // `.` or `..`
  if (error != Errno::kSuccess) return error;
  return check(::mkdirat(parent.fd(), parent.name(), 0777));
}

Errno remove_directory(int directory, Path& path) {
  Parent parent;
  const Errno error = parent.resolve(directory, path);
  if (error != Errno::kSuccess) return error;
  return check(::unlinkat(parent.fd(), parent.name(), AT_REMOVEDIR));
}

Errno unlink_file(int directory, Path& path) {
  Parent parent;
  const Errno error = parent.resolve(directory, path);
  if (error == Errno::kInval) return Errno::kIsDir;
  if (error != Errno::kSuccess) return error;
  return check(::unlinkat(parent.fd(), parent.name(), 0));
}

Errno link(int from_directory, Path& from, int to_directory, Path& to) {
  Parent source;
  Parent target;
  Errno error = resolve_both(from_directory, from, source, to_directory, to, target);
  if (error != Errno::kSuccess) return error;
  // With a slash at its end the kernel would follow a symlink, out of the directory too.  What such a path
  // names is a directory or nothing, and directories have no links.
  if (source.ends_in_slash()) {
    UniqueFd node;
    error = open_node(source.fd(), source.name(), kSymlinkFollow, node);
    return error != Errno::kSuccess ? error : Errno::kPerm;
  }
  return check(::linkat(source.fd(), source.name(), target.fd(), target.name(), 0));
}

Errno rename(int from_directory, Path& from, int to_directory, Path& to) {
  Parent source;
  Parent target;
  const Errno error = resolve_both(from_directory, from, source, to_directory, to, target);
  if (error != Errno::kSuccess) return error;
  return check(::renameat(source.fd(), source.name(), target.fd(), target.name()));
}

Errno make_symlink(const Path& target, int directory, Path& path) {
  if (target.size() == 0) return Errno::kNoEnt;
  if (target.text()[0] == '/') return Errno::kPerm;
  Parent parent;
  const Errno error = parent.resolve(directory, path);
  if (error != Errno::kSuccess) return error;
  return check(::symlinkat(target.text(), parent.fd(), parent.name()));
}

Errno read_symlink(int directory, Path& path, std::string& target) {
  UniqueFd node;
  const Errno error = open_node(directory, path.text(), 0, node);
  if (error != Errno::kSuccess) return error;
  target.resize(Path::kBytesMax);
  // Of the open link itself, by an empty path: kernel 2.6.39.  ENOENT: it is no link.
  const ssize_t length = ::readlinkat(node.get(), "", target.data(), target.size());
  if (length < 0) return errno == ENOENT ? Errno::kInval : to_errno(errno);
  target.resize(static_cast<size_t>(length));
  return target.starts_with('/') ? Errno::kPerm : Errno::kSuccess;
}

// --- reading and writing ------------------------------------------------------------------------------

Errno read_at(int file, std::span<const iovec> buffers, uint64_t position, size_t& done) {
  ssize_t n = 0;
  do {
    n = buffers.size() == 1  // as a rule; and quicker
            ? ::pread(file, buffers[0].iov_base, buffers[0].iov_len, static_cast<off_t>(position))
            : ::preadv(file, buffers.data(), static_cast<int>(buffers.size()), static_cast<off_t>(position));
  } while (n < 0 && errno == EINTR);
  if (n < 0) return to_errno(errno);
  done = static_cast<size_t>(n);
  return Errno::kSuccess;
}

Errno write_at(int file, std::span<const iovec> buffers, uint64_t position, FdFlags flags, size_t& done) {
  // Flags of each write, not of the descriptor: that is shared.
  int how = 0;
  if ((flags & kAppend) != 0) how |= RWF_APPEND;
  if ((flags & kDsync) != 0) how |= RWF_DSYNC;
  if ((flags & kSync) != 0) how |= RWF_SYNC;
  ssize_t n = 0;
  const auto offset = static_cast<off_t>(position);
  do {
    n = buffers.size() == 1 && how == 0
            ? ::pwrite(file, buffers[0].iov_base, buffers[0].iov_len, offset)
            : ::pwritev2(file, buffers.data(), static_cast<int>(buffers.size()), offset, how);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return to_errno(errno);
  done = static_cast<size_t>(n);
  return Errno::kSuccess;
}

// --- directories --------------------------------------------------------------------------------------

Errno DirectoryReader::read(int directory, uint64_t cookie, Entry& entry, bool& end) {
  end = false;
  // A start from the beginning shows what there is now.  Any other place is, as a rule, where the last call
  // stopped, or an entry that did not fit into the guest's buffer then.
  if (cookie == 0 || !find_buffered(cookie) || next_ == filled_) {
    const Errno error = fill(directory, cookie);
    if (error != Errno::kSuccess) return error;
  }
  if (next_ == filled_) {
    end = true;
    return Errno::kSuccess;
  }
  // The kernel aligns entries to 8 bytes, and so does the allocator.
  const auto* raw = reinterpret_cast<const dirent64*>(buffer_.data() + next_);
  next_ += raw->d_reclen;
  next_cookie_ = static_cast<uint64_t>(raw->d_off);
  entry = {.next = next_cookie_, .inode = raw->d_ino, .type = entry_type(raw->d_type), .name = raw->d_name};
  if (entry.name == "..") entry.inode = inode_;  // what lies above is nobody's business
  return Errno::kSuccess;
}

bool DirectoryReader::find_buffered(uint64_t cookie) {
  if (filled_ == 0) return false;
  if (cookie == next_cookie_) return true;
  next_ = 0;
  next_cookie_ = first_cookie_;
  while (next_cookie_ != cookie && next_ < filled_) {
    const auto* raw = reinterpret_cast<const dirent64*>(buffer_.data() + next_);
    next_ += raw->d_reclen;
    next_cookie_ = static_cast<uint64_t>(raw->d_off);
  }
  return next_cookie_ == cookie;
}

Errno DirectoryReader::fill(int directory, uint64_t cookie) {
  constexpr size_t kBufferBytes = 16384;
  if (cookie > static_cast<uint64_t>(INT64_MAX)) return Errno::kInval;
  if (!stream_.valid()) {
    const Errno error = open_beneath(directory, ".", O_RDONLY | O_DIRECTORY, 0, stream_);
    if (error != Errno::kSuccess) return error;
    struct stat stat{};
    if (!stream_.valid() || ::fstat(stream_.get(), &stat) != 0) return to_errno(errno);
    inode_ = stat.st_ino;
    buffer_.resize(kBufferBytes);
  }
  // In sequence the kernel's own position goes on, which on some file systems knows more than the cookie.
  const bool in_sequence = filled_ != 0 && next_ == filled_ && cookie == next_cookie_ && cookie != 0;
  filled_ = next_ = 0;
  if (!in_sequence && ::lseek(stream_.get(), static_cast<off_t>(cookie), SEEK_SET) < 0) {
    return to_errno(errno);
  }
  const long n = ::syscall(SYS_getdents64, stream_.get(), buffer_.data(), buffer_.size());
  if (n < 0) return to_errno(errno);
  filled_ = static_cast<size_t>(n);
  first_cookie_ = next_cookie_ = cookie;
  return Errno::kSuccess;
}

}  // namespace spore::host::wasi
