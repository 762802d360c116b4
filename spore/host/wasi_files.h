#pragma once

// Files of the host, reached by guests: every name is resolved by the kernel, below one directory.
//
// openat2() with RESOLVE_BENEATH (kernel 5.6) refuses `..`, absolute paths and symlinks that lead out, also
// when somebody renames directories meanwhile; RESOLVE_NO_MAGICLINKS refuses what /proc calls a symlink.
// No path is taken apart here but for its last component, which the system calls that make, remove and rename
// things never follow.
//
// Functions give an Errno for the guest and their result by reference.  They are thread-safe.

#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"
#include "spore/host/wasi_abi.h"

namespace spore::host::wasi {

// What the specification calls the error that the system calls errno.
Errno to_errno(int error);
FileType to_file_type(mode_t mode);
Filestat to_filestat(const struct stat& stat);
uint64_t host_clock_ns(clockid_t clock);

// An open file or directory.  Immutable: its position and flags are the guest's own business, so that any
// number of guests, and copies of their states, share one.
struct OpenFile {
  UniqueFd fd;
};

// A guest's path, ended by a zero byte for the kernel.
class Path {
 public:
  static constexpr size_t kBytesMax = 4096;  // PATH_MAX, the zero byte included

  // kInval: a zero byte inside; kNameTooLong.
  Errno set(std::string_view text);
  const char* text() const { return bytes_.data(); }
  size_t size() const { return size_; }

 private:
  friend class Parent;
  std::array<char, kBytesMax> bytes_;  // not initialised: most paths are short
  size_t size_ = 0;
};

// The directory that a path's last component is in.
class Parent {
 public:
  // Takes `path` apart.  kPerm: it leads out of `directory`; kInval: it ends in `.` or `..`.
  Errno resolve(int directory, Path& path);

  int fd() const { return opened_.valid() ? opened_.get() : directory_; }
  const char* name() const { return name_; }  // with the slashes at its end
  bool ends_in_slash() const { return ends_in_slash_; }

 private:
  int directory_ = -1;
  UniqueFd opened_;
  const char* name_ = "";
  bool ends_in_slash_ = false;
};

// open(2) below `directory`.
Errno open_beneath(int directory, const char* path, int flags, mode_t mode, UniqueFd& opened);

struct OpenRequest {
  LookupFlags lookup = 0;
  OpenFlags open = 0;
  bool read = true;
  bool write = false;
};
// Does not block, not even at a fifo.  What was opened without kOpenDirectory must not be used before
// usable_type() was asked, which is half as dear as the opening.
Errno open_file(int directory, const Path& path, const OpenRequest& request,
                std::shared_ptr<const OpenFile>& opened);
// kRegularFile or kDirectory, and all else in `stat`; kUnknown: what no guest may use.  `device` is that of
// the directory that the host gave: on another one there may be /proc, whose regular files are this process's
// memory and secrets.
FileType usable_type(const OpenFile& file, dev_t device, struct stat& stat);
// /proc, /sys and others that are no files.
bool is_kernel_interface(int fd);

Errno stat_path(int directory, const Path& path, LookupFlags lookup, struct stat& stat);
Errno set_times(int file, std::span<const timespec, 2> times);
Errno set_path_times(int directory, const Path& path, LookupFlags lookup, std::span<const timespec, 2> times);
Errno make_directory(int directory, Path& path);
Errno remove_directory(int directory, Path& path);
Errno unlink_file(int directory, Path& path);
Errno link(int from_directory, Path& from, int to_directory, Path& to);
Errno rename(int from_directory, Path& from, int to_directory, Path& to);
// `target` is not followed here; an absolute one is refused (kPerm).
Errno make_symlink(const Path& target, int directory, Path& path);
// kPerm: the target is absolute, and so tells about the host.
Errno read_symlink(int directory, Path& path, std::string& target);

// At a position; `append` instead writes at the end.  `done` may be less than asked for.
Errno read_at(int file, std::span<const iovec> buffers, uint64_t position, size_t& done);
Errno write_at(int file, std::span<const iovec> buffers, uint64_t position, FdFlags flags, size_t& done);

// The entries of a directory, from any cookie on.  Bound to a thread.
class DirectoryReader {
 public:
  struct Entry {
    uint64_t next;  // the cookie of the entry after this one
    uint64_t inode;
    FileType type;
    std::string_view name;  // valid until the next call
  };
  // `end` when there are no more.  `cookie` is 0 for the first, later an Entry's `next`.
  Errno read(int directory, uint64_t cookie, Entry& entry, bool& end);

 private:
  bool find_buffered(uint64_t cookie);
  Errno fill(int directory, uint64_t cookie);

  UniqueFd stream_;  // opened anew, since the kernel keeps a position with each
  uint64_t inode_ = 0;
  std::vector<std::byte> buffer_;  // entries as the kernel gave them, in one piece
  size_t filled_ = 0;
  uint64_t first_cookie_ = 0;  // of the first entry of the buffer
  size_t next_ = 0;            // where in the buffer the next entry is ...
  uint64_t next_cookie_ = 0;   // ... and its cookie
};

}  // namespace spore::host::wasi
