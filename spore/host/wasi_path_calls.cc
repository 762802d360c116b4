// path_*: what is reached by name.
#include <cerrno>

#include "spore/host/wasi_call.h"

namespace spore::host {
namespace {

// `path` below `base`, without what stands for the directory itself: a guest that opens "." again and again
// does not make it longer.  `..` stays, as what comes before it may be a symlink.
Errno join(std::string_view base, std::string_view path, std::string& joined) {
  const bool plain = base.empty() && path.find('/') == std::string_view::npos && path != ".";
  if (plain) {  // the usual case
    joined = path;
    return Errno::kSuccess;
  }
  joined = base;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (!joined.empty()) joined += '/';
    joined += part;
  }
  if (joined.size() >= wasi::Path::kBytesMax) return Errno::kNameTooLong;
  if (joined.empty()) joined = ".";
  return Errno::kSuccess;
}

struct PathCalls : WasiCall {
  using WasiCall::WasiCall;

  Errno path_open(uint32_t fd, uint32_t lookup, uint32_t path_at, uint32_t path_length, uint32_t open_flags,
                  uint64_t base, uint64_t inheriting, uint32_t fd_flags, uint32_t result) {
    if ((lookup & ~wasi::kLookupFlagsAll) != 0 || (open_flags & ~uint32_t{wasi::kOpenFlagsAll}) != 0 ||
        (fd_flags & ~uint32_t{wasi::kFdFlagsAll}) != 0) {
      return Errno::kInval;
    }
    const bool creates = (open_flags & wasi::kOpenCreate) != 0;
    const bool truncates = (open_flags & wasi::kOpenTruncate) != 0;
    const bool is_directory = (open_flags & wasi::kOpenDirectory) != 0;
    const Rights needed = wasi::kPathOpen | (creates ? wasi::kPathCreateFile : 0) |
                          (truncates ? wasi::kPathFilestatSetSize : 0);
    Descriptor* directory = nullptr;
    Errno error = get_directory(fd, needed, directory);
    if (error != Errno::kSuccess) return error;
    Out<uint32_t> opened_fd;
    if (!out(result, opened_fd)) return Errno::kFault;
    wasi::Path path;
    error = get_path(path_at, path_length, path);
    if (error != Errno::kSuccess) return error;
    // Rights that make no sense for what is opened are dropped; others must have been given to pass on.
    const Rights sensible = is_directory ? wasi::kDirectoryRights : wasi::kFileRights;
    if ((base & sensible & ~directory->rights_inheriting) != 0) return Errno::kNotCapable;
    if (is_directory && (base & wasi::kFdWrite) != 0) return Errno::kIsDir;
    const bool write = !is_directory && (base & wasi::kWritingRights) != 0;
    wasi::OpenRequest request{.lookup = lookup,
                              .open = static_cast<wasi::OpenFlags>(open_flags),
                              .read = !write || (base & (wasi::kFdRead | wasi::kFdReaddir)) != 0,
                              .write = write};
    const bool changeable_there = changeable(*directory);
    if (!changeable_there && (write || truncates)) return Errno::kRoFs;
    // What is there can be opened.
    if (!changeable_there) request.open &= ~(wasi::kOpenCreate | wasi::kOpenExclusive);

    Descriptor made;
    uint32_t number = 0;
    error = new_descriptor(number);
    if (error != Errno::kSuccess) return error;
    if ((request.open & wasi::kOpenCreate) != 0 && !charge_node()) return Errno::kCanceled;
    error = join(directory->path, {path.text(), path.size()}, made.path);
    if (error != Errno::kSuccess) return error;
    error = wasi::open_file(host_fd(*directory), path, request, made.file);
    if (error == Errno::kNoEnt && creates && !changeable_there) return Errno::kRoFs;
    if (error != Errno::kSuccess) return error;
    const bool exclusive = creates && (open_flags & wasi::kOpenExclusive) != 0;
    if (exclusive && !changeable_there) return Errno::kExist;

    made.kind = DescriptorKind::kOpened;
    if (is_directory) made.type = FileType::kDirectory;
    made.directory = directory->directory;
    made.flags = static_cast<FdFlags>(fd_flags);
    made.readable = !is_directory && request.read;
    made.writable = !is_directory && request.write;
    made.rights_base = base & directory->rights_inheriting;  // less what makes no sense: settle()
    if (is_directory) made.rights_base &= wasi::kDirectoryRights;
    made.rights_inheriting = inheriting & directory->rights_inheriting;
    if (number == state.descriptors.size()) state.descriptors.emplace_back();
    state.descriptors[number] = std::move(made);  // `directory` may be dead from here on
    opened_fd.set(number);
    return Errno::kSuccess;
  }

  // What is made takes room on the disk, though no byte is written: a block.  False when the call is to end.
  bool charge_node() {
    constexpr uint64_t kNodeBytes = 4'096;
    Status charged = caller.charge_io(kNodeBytes);
    if (charged.ok()) return true;
    end(std::move(charged));
    return false;
  }

  // What most functions of paths begin with.
  Errno begin_path(uint32_t fd, Rights rights, bool changes, uint32_t path_at, uint32_t path_length,
                   Descriptor*& directory, wasi::Path& path) const {
    const Errno error =
        changes ? get_changeable(fd, rights, directory) : get_directory(fd, rights, directory);
    return error != Errno::kSuccess ? error : get_path(path_at, path_length, path);
  }

  Errno path_filestat_get(uint32_t fd, uint32_t lookup, uint32_t path_at, uint32_t path_length,
                          uint32_t result) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    if ((lookup & ~wasi::kLookupFlagsAll) != 0) return Errno::kInval;
    Errno error = begin_path(fd, wasi::kPathFilestatGet, false, path_at, path_length, directory, path);
    if (error != Errno::kSuccess) return error;
    Out<wasi::Filestat> filestat;
    if (!out(result, filestat)) return Errno::kFault;
    struct stat stat{};
    error = wasi::stat_path(host_fd(*directory), path, lookup, stat);
    if (error == Errno::kSuccess) filestat.set(wasi::to_filestat(stat));
    return error;
  }

  Errno path_filestat_set_times(uint32_t fd, uint32_t lookup, uint32_t path_at, uint32_t path_length,
                                uint64_t access_ns, uint64_t modify_ns, uint32_t flags) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    if ((lookup & ~wasi::kLookupFlagsAll) != 0) return Errno::kInval;
    Errno error = begin_path(fd, wasi::kPathFilestatSetTimes, true, path_at, path_length, directory, path);
    if (error != Errno::kSuccess) return error;
    std::array<timespec, 2> times{};
    error = to_times(access_ns, modify_ns, flags, times);
    if (error != Errno::kSuccess) return error;
    return wasi::set_path_times(host_fd(*directory), path, lookup, times);
  }

  Errno path_create_directory(uint32_t fd, uint32_t path_at, uint32_t path_length) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    const Errno error =
        begin_path(fd, wasi::kPathCreateDirectory, true, path_at, path_length, directory, path);
    if (error != Errno::kSuccess) return error;
    return charge_node() ? wasi::make_directory(host_fd(*directory), path) : Errno::kCanceled;
  }

  Errno path_remove_directory(uint32_t fd, uint32_t path_at, uint32_t path_length) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    const Errno error =
        begin_path(fd, wasi::kPathRemoveDirectory, true, path_at, path_length, directory, path);
    return error != Errno::kSuccess ? error : wasi::remove_directory(host_fd(*directory), path);
  }

  Errno path_unlink_file(uint32_t fd, uint32_t path_at, uint32_t path_length) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    const Errno error = begin_path(fd, wasi::kPathUnlinkFile, true, path_at, path_length, directory, path);
    return error != Errno::kSuccess ? error : wasi::unlink_file(host_fd(*directory), path);
  }

  // Source and target must both be writable: a link in a writable directory would let a guest write to the
  // file of a read-only one.
  Errno path_link(uint32_t from_fd, uint32_t lookup, uint32_t from_at, uint32_t from_length, uint32_t to_fd,
                  uint32_t to_at, uint32_t to_length) {
    Descriptor* from_directory = nullptr;
    Descriptor* to_directory = nullptr;
    wasi::Path from;
    wasi::Path to;
    Errno error =
        begin_path(from_fd, wasi::kPathLinkSource, true, from_at, from_length, from_directory, from);
    if (error != Errno::kSuccess) return error;
    error = begin_path(to_fd, wasi::kPathLinkTarget, true, to_at, to_length, to_directory, to);
    if (error != Errno::kSuccess) return error;
    if (lookup != 0) return Errno::kInval;  // where a symlink led could not be checked
    if (!charge_node()) return Errno::kCanceled;
    return wasi::link(host_fd(*from_directory), from, host_fd(*to_directory), to);
  }

  Errno path_rename(uint32_t from_fd, uint32_t from_at, uint32_t from_length, uint32_t to_fd, uint32_t to_at,
                    uint32_t to_length) {
    Descriptor* from_directory = nullptr;
    Descriptor* to_directory = nullptr;
    wasi::Path from;
    wasi::Path to;
    Errno error =
        begin_path(from_fd, wasi::kPathRenameSource, true, from_at, from_length, from_directory, from);
    if (error != Errno::kSuccess) return error;
    error = begin_path(to_fd, wasi::kPathRenameTarget, true, to_at, to_length, to_directory, to);
    if (error != Errno::kSuccess) return error;
    return wasi::rename(host_fd(*from_directory), from, host_fd(*to_directory), to);
  }

  Errno path_symlink(uint32_t target_at, uint32_t target_length, uint32_t fd, uint32_t path_at,
                     uint32_t path_length) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    wasi::Path target;
    Errno error = begin_path(fd, wasi::kPathSymlink, true, path_at, path_length, directory, path);
    if (error != Errno::kSuccess) return error;
    error = get_path(target_at, target_length, target);
    if (error != Errno::kSuccess) return error;
    if (!charge_node()) return Errno::kCanceled;
    return wasi::make_symlink(target, host_fd(*directory), path);
  }

  Errno path_readlink(uint32_t fd, uint32_t path_at, uint32_t path_length, uint32_t address, uint32_t length,
                      uint32_t result) {
    Descriptor* directory = nullptr;
    wasi::Path path;
    Errno error = begin_path(fd, wasi::kPathReadlink, false, path_at, path_length, directory, path);
    if (error != Errno::kSuccess) return error;
    Out<uint32_t> bytes_used;
    std::span<std::byte> room;
    if (!out(result, bytes_used) || !find(address, length, room)) return Errno::kFault;
    std::string target;
    error = wasi::read_symlink(host_fd(*directory), path, target);
    if (error != Errno::kSuccess) return error;
    const size_t used = std::min(room.size(), target.size());
    std::memcpy(room.data(), target.data(), used);
    bytes_used.set(static_cast<uint32_t>(used));
    return Errno::kSuccess;
  }
};

}  // namespace

void define_wasi_paths(HostFunctions& host) {
  SPORE_WASI_FUNCTION(PathCalls, path_create_directory);
  SPORE_WASI_FUNCTION(PathCalls, path_filestat_get);
  SPORE_WASI_FUNCTION(PathCalls, path_filestat_set_times);
  SPORE_WASI_FUNCTION(PathCalls, path_link);
  SPORE_WASI_FUNCTION(PathCalls, path_open);
  SPORE_WASI_FUNCTION(PathCalls, path_readlink);
  SPORE_WASI_FUNCTION(PathCalls, path_remove_directory);
  SPORE_WASI_FUNCTION(PathCalls, path_rename);
  SPORE_WASI_FUNCTION(PathCalls, path_symlink);
  SPORE_WASI_FUNCTION(PathCalls, path_unlink_file);
}

}  // namespace spore::host
