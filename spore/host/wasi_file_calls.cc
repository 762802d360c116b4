// fd_*: reading, writing, and what is known of a descriptor.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "spore/host/wasi_call.h"

namespace spore::host {
namespace {

// What one system call may move: the deadline is looked at in between.
constexpr uint64_t kTransferBytesMax = uint64_t{16} << 20;
constexpr size_t kEntriesPerCheck = 1'024;

timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

struct FileCalls : WasiCall {
  using WasiCall::WasiCall;

  // --- reading and writing ----------------------------------------------------------------------------

  // Moves bytes by `move(buffers, position, done)` until all is done, or less than was asked for.
  template <typename Move>
  Errno transfer(Buffers& buffers, uint64_t position, bool writes, uint64_t& done, Move move) {
    done = 0;
    std::span<iovec> rest = buffers.list();
    while (!rest.empty()) {
      // All at once if that is little; else one by one, and in pieces.
      iovec piece = rest.front();
      piece.iov_len = std::min<size_t>(piece.iov_len, kTransferBytesMax);
      const bool whole = done == 0 && buffers.bytes <= kTransferBytesMax;
      const std::span<const iovec> now = whole ? std::span<const iovec>(rest) : std::span(&piece, 1);
      const uint64_t bytes = whole ? buffers.bytes : piece.iov_len;
      if (writes) {
        if (Status charged = caller.charge_io(bytes); !charged.ok()) return end(std::move(charged));
      }
      size_t moved = 0;
      const Errno error = move(now, position + done, moved);
      if (error != Errno::kSuccess) return done > 0 && ended.ok() ? Errno::kSuccess : error;
      done += moved;
      if (!writes) {
        if (Status charged = caller.charge_io(moved); !charged.ok()) return end(std::move(charged));
      }
      if (whole || moved < bytes) break;
      rest.front().iov_base = static_cast<std::byte*>(piece.iov_base) + moved;
      rest.front().iov_len -= moved;
      if (rest.front().iov_len == 0) rest = rest.subspan(1);
      if (Status running = caller.check_running(); !running.ok()) return end(std::move(running));
    }
    return Errno::kSuccess;
  }

  Errno read_file(const Descriptor& file, Buffers& buffers, uint64_t position, uint64_t& done) {
    const int fd = host_fd(file);
    return transfer(buffers, position, false, done,
                    [&](std::span<const iovec> now, uint64_t at, size_t& moved) {
                      return wasi::read_at(fd, now, at, moved);
                    });
  }
  Errno write_file(const Descriptor& file, Buffers& buffers, uint64_t position, FdFlags flags,
                   uint64_t& done) {
    const int fd = host_fd(file);
    return transfer(buffers, position, true, done,
                    [&](std::span<const iovec> now, uint64_t at, size_t& moved) {
                      return without_sigxfsz([&] { return wasi::write_at(fd, now, at, flags, moved); });
                    });
  }

  // RLIMIT_FSIZE has the kernel send SIGXFSZ to a thread that makes a file too long, beside EFBIG: a guest
  // would end its host.  Where there is such a limit the signal is held back and taken away.
  template <typename Act>
  Errno without_sigxfsz(Act act) const {
    if (!config().limits_files()) [[likely]]
      return act();
    sigset_t signal;
    sigset_t before;
    sigemptyset(&signal);
    sigaddset(&signal, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signal, &before);
    const Errno error = act();
    const timespec at_once{};
    if (error == Errno::kFBig) sigtimedwait(&signal, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return error;
  }

  // Until the stream is ready: false when the guest's call is to end.
  template <typename Stream>
  bool wait_for(Stream& stream) {
    do {
      if (Status running = caller.check_running(); !running.ok()) {
        end(std::move(running));
        return false;
      }
    } while (!stream.wait(std::min(kWaitSliceMs, caller.time_left_ms())));
    return true;
  }

  Errno read_input_bytes(std::span<const iovec> buffers, size_t& moved) const {
    const std::string_view input = input_bytes();
    for (const iovec& buffer : buffers) {
      const size_t at = std::min<size_t>(state.input_position, input.size());
      const size_t n = std::min(buffer.iov_len, input.size() - at);
      std::memcpy(buffer.iov_base, input.data() + at, n);
      state.input_position += n;
      moved += n;
      if (n < buffer.iov_len) break;
    }
    return Errno::kSuccess;
  }

  Errno read_input(std::span<const iovec> buffers, FdFlags flags, size_t& moved) {
    if (input() == nullptr) return read_input_bytes(buffers, moved);
    Input& from = *input();
    for (size_t i = 0; i < buffers.size();) {
      const std::span into(static_cast<std::byte*>(buffers[i].iov_base), buffers[i].iov_len);
      const Input::Read read = from.read(into);
      switch (read.outcome) {
        case Input::Outcome::kEnd: return Errno::kSuccess;
        case Input::Outcome::kFailed: return moved > 0 ? Errno::kSuccess : Errno::kIo;
        case Input::Outcome::kData:
          SPORE_ASSERT(read.bytes > 0 && read.bytes <= into.size(),
                       "an Input gave more than there is room for");
          moved += read.bytes;
          if (read.bytes < into.size()) return Errno::kSuccess;
          i++;
          break;
        case Input::Outcome::kWait:
          if (moved > 0) return Errno::kSuccess;
          if ((flags & wasi::kNonblock) != 0) return Errno::kAgain;
          if (suspended() || !wait_for(from)) return Errno::kCanceled;
          break;
      }
    }
    return Errno::kSuccess;
  }

  Errno capture(Stream& stream, std::span<const iovec> buffers, size_t& moved) {
    const uint64_t limit = output_bytes_max();
    for (const iovec& buffer : buffers) {
      if (buffer.iov_len > limit - std::min<uint64_t>(limit, stream.captured.size())) {
        return end(
            Status::limit_exceeded("the guest wrote more than is kept of its output "
                                   "(output_bytes_max={})",
                                   limit));
      }
      stream.captured.append(static_cast<const char*>(buffer.iov_base), buffer.iov_len);
      moved += buffer.iov_len;
    }
    return Errno::kSuccess;
  }

  Errno write_stream(Stream& stream, std::span<const iovec> buffers, FdFlags flags, size_t& moved) {
    if (stream.sink == nullptr) return capture(stream, buffers, moved);
    for (const iovec& buffer : buffers) {
      std::span<const std::byte> rest(static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len);
      while (!rest.empty()) {
        size_t taken = 0;
        const Errno error = stream.sink->write(rest, taken);
        if (error != Errno::kSuccess) return moved > 0 ? Errno::kSuccess : error;
        rest = rest.subspan(taken);
        moved += taken;
        if (taken > 0) continue;
        if ((flags & wasi::kNonblock) != 0) return moved > 0 ? Errno::kSuccess : Errno::kAgain;
        if (!wait_for(*stream.sink)) return Errno::kCanceled;
      }
    }
    return Errno::kSuccess;
  }

  enum class Direction : uint8_t { kRead, kWrite };

  // What reads and writes begin with: a descriptor that was opened for that, room for the count, the buffers.
  Errno begin_transfer(Direction direction, uint32_t fd, Rights rights, uint32_t iovecs, uint32_t count,
                       uint32_t result, Descriptor*& file, Buffers& buffers,
                       Out<uint32_t>& bytes_done) const {
    file = descriptor(fd);
    if (file == nullptr) return Errno::kBadF;
    if (file->type == FileType::kDirectory) return Errno::kIsDir;
    if (!(direction == Direction::kRead ? file->readable : file->writable)) return Errno::kBadF;
    if (const Errno error = check_rights(*file, rights); error != Errno::kSuccess) return error;
    // Only files have positions to be given.
    if ((rights & wasi::kFdSeek) != 0 && is_stream(file->kind)) return Errno::kSPipe;
    if (!out(result, bytes_done)) return Errno::kFault;
    return get_buffers(iovecs, count, buffers);
  }

  Errno fd_read(uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result) {
    Descriptor* file = nullptr;
    Buffers buffers;
    Out<uint32_t> bytes_read;
    const Descriptor* const from = descriptor(fd);
    const bool is_input = from != nullptr && from->kind == DescriptorKind::kInput;
    system_writes = !is_input || (input() != nullptr && !input()->copies());
    Errno error =
        begin_transfer(Direction::kRead, fd, wasi::kFdRead, iovecs, count, result, file, buffers, bytes_read);
    if (error != Errno::kSuccess) return error;
    uint64_t done = 0;
    if (file->kind == DescriptorKind::kInput) {
      // It waits for the first bytes, and no more once it has some.
      error = transfer(buffers, 0, false, done, [&](std::span<const iovec> now, uint64_t at, size_t& moved) {
        return read_input(now, at > 0 ? file->flags | wasi::kNonblock : file->flags, moved);
      });
    } else {
      error = read_file(*file, buffers, file->position, done);
      file->position += done;
    }
    if (error == Errno::kSuccess) bytes_read.set(static_cast<uint32_t>(done));
    return error;
  }

  Errno fd_pread(uint32_t fd, uint32_t iovecs, uint32_t count, uint64_t offset, uint32_t result) {
    Descriptor* file = nullptr;
    Buffers buffers;
    Out<uint32_t> bytes_read;
    Errno error = begin_transfer(Direction::kRead, fd, wasi::kFdRead | wasi::kFdSeek, iovecs, count, result,
                                 file, buffers, bytes_read);
    if (error != Errno::kSuccess) return error;
    if (offset > static_cast<uint64_t>(INT64_MAX) - buffers.bytes) return Errno::kInval;
    uint64_t done = 0;
    error = read_file(*file, buffers, offset, done);
    if (error == Errno::kSuccess) bytes_read.set(static_cast<uint32_t>(done));
    return error;
  }

  Errno fd_write(uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result) {
    system_writes = false;
    Descriptor* file = nullptr;
    Buffers buffers;
    Out<uint32_t> bytes_written;
    Errno error = begin_transfer(Direction::kWrite, fd, wasi::kFdWrite, iovecs, count, result, file, buffers,
                                 bytes_written);
    if (error != Errno::kSuccess) return error;
    uint64_t done = 0;
    if (is_stream(file->kind)) {
      Stream& stream = stream_of(*file);
      error = transfer(buffers, 0, true, done, [&](std::span<const iovec> now, uint64_t, size_t& moved) {
        return write_stream(stream, now, file->flags, moved);
      });
    } else {
      error = write_file(*file, buffers, file->position, file->flags, done);
      if (error == Errno::kSuccess) move_after_write(*file, done);
    }
    if (error == Errno::kSuccess) bytes_written.set(static_cast<uint32_t>(done));
    return error;
  }

  void move_after_write(Descriptor& file, uint64_t done) const {
    file.position += done;
    if ((file.flags & wasi::kAppend) == 0 || done == 0) return;
    struct stat stat{};
    if (::fstat(host_fd(file), &stat) == 0) file.position = static_cast<uint64_t>(stat.st_size);
  }

  Errno fd_pwrite(uint32_t fd, uint32_t iovecs, uint32_t count, uint64_t offset, uint32_t result) {
    Descriptor* file = nullptr;
    Buffers buffers;
    Out<uint32_t> bytes_written;
    Errno error = begin_transfer(Direction::kWrite, fd, wasi::kFdWrite | wasi::kFdSeek, iovecs, count, result,
                                 file, buffers, bytes_written);
    if (error != Errno::kSuccess) return error;
    if (offset > static_cast<uint64_t>(INT64_MAX) - buffers.bytes) return Errno::kInval;
    uint64_t done = 0;
    error = write_file(*file, buffers, offset, file->flags & ~wasi::kAppend, done);
    if (error == Errno::kSuccess) bytes_written.set(static_cast<uint32_t>(done));
    return error;
  }

  Errno fd_seek(uint32_t fd, int64_t offset, uint32_t whence, uint32_t result) {
    Descriptor* file = nullptr;
    // Asking where one is takes no more than the right to tell.
    const bool tells = offset == 0 && whence == static_cast<uint32_t>(wasi::Whence::kCurrent);
    const Errno error = get_file(fd, tells ? wasi::kFdTell : wasi::kFdSeek, file);
    if (error != Errno::kSuccess) return error;
    Out<uint64_t> position;
    if (!out(result, position)) return Errno::kFault;
    uint64_t base = 0;
    switch (whence) {
      case static_cast<uint32_t>(wasi::Whence::kSet): break;
      case static_cast<uint32_t>(wasi::Whence::kCurrent): base = file->position; break;
      case static_cast<uint32_t>(wasi::Whence::kEnd): {
        struct stat stat{};
        if (::fstat(host_fd(*file), &stat) != 0) return wasi::to_errno(errno);
        base = static_cast<uint64_t>(stat.st_size);
        break;
      }
      default: return Errno::kInval;
    }
    int64_t target = 0;
    if (__builtin_add_overflow(static_cast<int64_t>(base), offset, &target) || target < 0)
      return Errno::kInval;
    file->position = static_cast<uint64_t>(target);
    position.set(file->position);
    return Errno::kSuccess;
  }

  Errno fd_tell(uint32_t fd, uint32_t result) {
    Descriptor* file = nullptr;
    const Errno error = get_file(fd, wasi::kFdTell, file);
    if (error != Errno::kSuccess) return error;
    Out<uint64_t> position;
    if (!out(result, position)) return Errno::kFault;
    position.set(file->position);
    return Errno::kSuccess;
  }

  // --- what is known of a descriptor ------------------------------------------------------------------

  FileType type_of(const Descriptor& descriptor) const {
    switch (descriptor.kind) {
      case DescriptorKind::kInput: return input() == nullptr ? FileType::kUnknown : input()->type();
      case DescriptorKind::kOutput:
      case DescriptorKind::kError: {
        const Stream& stream = stream_of(descriptor);
        return stream.sink == nullptr ? FileType::kUnknown : stream.sink->type();
      }
      default: return descriptor.type;
    }
  }

  Errno fd_fdstat_get(uint32_t fd, uint32_t result) {
    system_writes = false;
    Descriptor* found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    Out<wasi::Fdstat> stat;
    if (!out(result, stat)) return Errno::kFault;
    stat.set({.type = static_cast<uint8_t>(type_of(*found)),
              .flags = found->flags,
              .rights_base = found->rights_base,
              .rights_inheriting = found->rights_inheriting});
    return Errno::kSuccess;
  }

  Errno fd_fdstat_set_flags(uint32_t fd, uint32_t flags) {
    Descriptor* found = nullptr;
    const Errno error = get(fd, wasi::kFdFdstatSetFlags, found);
    if (error != Errno::kSuccess) return error;
    if ((flags & ~uint32_t{wasi::kFdFlagsAll}) != 0) return Errno::kInval;
    found->flags = static_cast<FdFlags>(flags);
    return Errno::kSuccess;
  }

  Errno fd_fdstat_set_rights(uint32_t fd, uint64_t base, uint64_t inheriting) {
    Descriptor* found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if ((base & ~found->rights_base) != 0 || (inheriting & ~found->rights_inheriting) != 0) {
      return Errno::kNotCapable;
    }
    found->rights_base = base;
    found->rights_inheriting = inheriting;
    return Errno::kSuccess;
  }

  Errno fd_filestat_get(uint32_t fd, uint32_t result) {
    Descriptor* found = nullptr;
    const Errno error = get(fd, wasi::kFdFilestatGet, found);
    if (error != Errno::kSuccess) return error;
    Out<wasi::Filestat> filestat;
    if (!out(result, filestat)) return Errno::kFault;
    if (is_stream(found->kind)) {
      filestat.set({.type = static_cast<uint8_t>(type_of(*found))});
      return Errno::kSuccess;
    }
    struct stat stat{};
    if (::fstat(host_fd(*found), &stat) != 0) return wasi::to_errno(errno);
    filestat.set(wasi::to_filestat(stat));
    return Errno::kSuccess;
  }

  Errno fd_filestat_set_size(uint32_t fd, uint64_t size) {
    Descriptor* file = nullptr;
    const Errno error = get_file(fd, wasi::kFdFilestatSetSize, file);
    if (error != Errno::kSuccess) return error;
    if (!file->writable || size > static_cast<uint64_t>(INT64_MAX)) return Errno::kInval;
    const int host = host_fd(*file);
    return without_sigxfsz([&] {
      return ::ftruncate(host, static_cast<off_t>(size)) == 0 ? Errno::kSuccess : wasi::to_errno(errno);
    });
  }

  Errno fd_filestat_set_times(uint32_t fd, uint64_t access_ns, uint64_t modify_ns, uint32_t flags) {
    Descriptor* found = nullptr;
    Errno error = get(fd, wasi::kFdFilestatSetTimes, found);
    if (error != Errno::kSuccess) return error;
    std::array<timespec, 2> times{};
    error = to_times(access_ns, modify_ns, flags, times);
    if (error != Errno::kSuccess) return error;
    if (is_stream(found->kind)) return Errno::kInval;
    if (!changeable(*found)) return Errno::kRoFs;
    return wasi::set_times(host_fd(*found), times);
  }

  Errno fd_advise(uint32_t fd, uint64_t offset, uint64_t length, uint32_t advice) {
    Descriptor* found = nullptr;
    const Errno error = get(fd, wasi::kFdAdvise, found);
    if (found != nullptr && is_stream(found->kind)) return Errno::kSPipe;
    if (error != Errno::kSuccess) return error;
    static constexpr std::array kAdvice{POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                                        POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,   POSIX_FADV_NOREUSE};
    if (advice >= kAdvice.size() || offset > static_cast<uint64_t>(INT64_MAX) ||
        length > static_cast<uint64_t>(INT64_MAX)) {
      return Errno::kInval;
    }
    if (found->type == FileType::kDirectory) return Errno::kSuccess;  // the kernel would take it, too
    // Dropping the pages of a file that is only read would be felt by all others who read it.
    if (kAdvice[advice] == POSIX_FADV_DONTNEED && !found->writable) return Errno::kSuccess;
    return wasi::to_errno(::posix_fadvise(host_fd(*found), static_cast<off_t>(offset),
                                          static_cast<off_t>(length), kAdvice[advice]));
  }
  Errno fd_allocate(uint32_t fd, uint64_t offset, uint64_t length) {
    Descriptor* file = nullptr;
    const Errno error = get_file(fd, wasi::kFdAllocate, file);
    if (error != Errno::kSuccess) return error;
    if (!file->writable) return Errno::kBadF;
    constexpr auto kMax = static_cast<uint64_t>(INT64_MAX);
    if (length == 0 || offset > kMax || length > kMax) return Errno::kInval;
    if (length > kMax - offset) return Errno::kFBig;
    // It takes room on the disk, as writing does.
    if (Status charged = caller.charge_io(length); !charged.ok()) return end(std::move(charged));
    const int host = host_fd(*file);
    return without_sigxfsz([&] {
      const int failed = ::fallocate(host, 0, static_cast<off_t>(offset), static_cast<off_t>(length));
      return failed == 0 ? Errno::kSuccess : wasi::to_errno(errno);
    });
  }

  Errno fd_sync(uint32_t fd) { return synchronise(fd, wasi::kFdSync, &::fsync); }
  Errno fd_datasync(uint32_t fd) { return synchronise(fd, wasi::kFdDatasync, &::fdatasync); }
  Errno synchronise(uint32_t fd, Rights rights, int (*how)(int)) const {
    Descriptor* found = nullptr;
    const Errno error = get(fd, rights, found);
    if (error != Errno::kSuccess) return error;
    if (is_stream(found->kind)) return Errno::kSuccess;
    return how(host_fd(*found)) == 0 ? Errno::kSuccess : wasi::to_errno(errno);
  }

  Errno fd_close(uint32_t fd) {
    if (fd >= state.descriptors.size()) return Errno::kBadF;
    if (state.descriptors[fd].kind == DescriptorKind::kClosed) return Errno::kBadF;
    forget(fd);
    return Errno::kSuccess;
  }

  Errno fd_renumber(uint32_t from, uint32_t to) {
    if (descriptor(from) == nullptr || to >= state.descriptors.size() ||
        state.descriptors[to].kind == DescriptorKind::kClosed) {
      return Errno::kBadF;
    }
    if (from == to) return Errno::kSuccess;
    drop_reader(to);
    state.descriptors[to] = std::move(state.descriptors[from]);
    forget(from);
    return Errno::kSuccess;
  }

  Errno get_preopen(uint32_t fd, std::string_view& name) const {
    const Descriptor* found = descriptor(fd);
    if (found == nullptr || found->kind != DescriptorKind::kPreopen) return Errno::kBadF;
    name = config().options().directories[found->directory].guest;
    return Errno::kSuccess;
  }

  Errno fd_prestat_get(uint32_t fd, uint32_t result) {
    std::string_view name;
    const Errno error = get_preopen(fd, name);
    if (error != Errno::kSuccess) return error;
    Out<wasi::Prestat> prestat;
    if (!out(result, prestat)) return Errno::kFault;
    prestat.set({.name_length = static_cast<uint32_t>(name.size())});
    return Errno::kSuccess;
  }

  Errno fd_prestat_dir_name(uint32_t fd, uint32_t address, uint32_t length) {
    std::string_view name;
    const Errno error = get_preopen(fd, name);
    if (error != Errno::kSuccess) return error;
    if (length < name.size()) return Errno::kNameTooLong;
    std::span<std::byte> bytes;
    if (!find(address, name.size(), bytes)) return Errno::kFault;
    std::memcpy(bytes.data(), name.data(), name.size());
    return Errno::kSuccess;
  }

  Errno fd_readdir(uint32_t fd, uint32_t address, uint32_t length, uint64_t cookie, uint32_t result) {
    Descriptor* directory = nullptr;
    Errno error = get_directory(fd, wasi::kFdReaddir, directory);
    if (error != Errno::kSuccess) return error;
    Out<uint32_t> bytes_used;
    std::span<std::byte> room;
    if (!out(result, bytes_used) || !find(address, length, room)) return Errno::kFault;
    if (readers().size() <= fd) readers().resize(fd + 1);
    std::unique_ptr<wasi::DirectoryReader>& reader = readers()[fd];
    if (reader == nullptr) reader = std::make_unique<wasi::DirectoryReader>();
    size_t used = 0;
    size_t entries = 0;
    // The last entry is cut where the room ends: the guest sees from a full buffer that there is more.
    const auto append = [&](const void* from, size_t size) {
      const size_t n = std::min(size, room.size() - used);
      std::memcpy(room.data() + used, from, n);
      used += n;
    };
    while (used < room.size()) {
      wasi::DirectoryReader::Entry entry{};
      bool at_end = false;
      error = reader->read(host_fd(*directory), cookie, entry, at_end);
      if (error != Errno::kSuccess) return error;
      if (at_end) {
        reader = nullptr;  // it holds a descriptor of the host's
        break;
      }
      const wasi::Dirent dirent{.next = entry.next,
                                .inode = entry.inode,
                                .name_length = static_cast<uint32_t>(entry.name.size()),
                                .type = static_cast<uint8_t>(entry.type)};
      append(&dirent, sizeof dirent);
      append(entry.name.data(), entry.name.size());
      cookie = entry.next;
      if (++entries % kEntriesPerCheck != 0) continue;
      if (Status running = caller.check_running(); !running.ok()) return end(std::move(running));
    }
    if (Status charged = caller.charge_io(used); !charged.ok()) return end(std::move(charged));
    bytes_used.set(static_cast<uint32_t>(used));
    return Errno::kSuccess;
  }
};

}  // namespace

Errno to_times(uint64_t access_ns, uint64_t modify_ns, uint32_t flags, std::array<timespec, 2>& times) {
  const auto both = [&](uint32_t a, uint32_t b) { return (flags & a) != 0 && (flags & b) != 0; };
  if ((flags & ~uint32_t{wasi::kTimeFlagsAll}) != 0 || both(wasi::kSetAccess, wasi::kSetAccessNow) ||
      both(wasi::kSetModified, wasi::kSetModifiedNow)) {
    return Errno::kInval;
  }
  times = {timespec{0, UTIME_OMIT}, timespec{0, UTIME_OMIT}};
  if ((flags & wasi::kSetAccess) != 0) times[0] = to_timespec(access_ns);
  if ((flags & wasi::kSetAccessNow) != 0) times[0].tv_nsec = UTIME_NOW;
  if ((flags & wasi::kSetModified) != 0) times[1] = to_timespec(modify_ns);
  if ((flags & wasi::kSetModifiedNow) != 0) times[1].tv_nsec = UTIME_NOW;
  return Errno::kSuccess;
}

void define_wasi_files(HostFunctions& host) {
  SPORE_WASI_FUNCTION(FileCalls, fd_advise);
  SPORE_WASI_FUNCTION(FileCalls, fd_allocate);
  SPORE_WASI_FUNCTION(FileCalls, fd_close);
  SPORE_WASI_FUNCTION(FileCalls, fd_datasync);
  SPORE_WASI_FUNCTION(FileCalls, fd_fdstat_get);
  SPORE_WASI_FUNCTION(FileCalls, fd_fdstat_set_flags);
  SPORE_WASI_FUNCTION(FileCalls, fd_fdstat_set_rights);
  SPORE_WASI_FUNCTION(FileCalls, fd_filestat_get);
  SPORE_WASI_FUNCTION(FileCalls, fd_filestat_set_size);
  SPORE_WASI_FUNCTION(FileCalls, fd_filestat_set_times);
  SPORE_WASI_FUNCTION(FileCalls, fd_pread);
  SPORE_WASI_FUNCTION(FileCalls, fd_prestat_get);
  SPORE_WASI_FUNCTION(FileCalls, fd_prestat_dir_name);
  SPORE_WASI_FUNCTION(FileCalls, fd_pwrite);
  SPORE_WASI_WAITING_FUNCTION(FileCalls, fd_read);
  SPORE_WASI_FUNCTION(FileCalls, fd_readdir);
  SPORE_WASI_FUNCTION(FileCalls, fd_renumber);
  SPORE_WASI_FUNCTION(FileCalls, fd_seek);
  SPORE_WASI_FUNCTION(FileCalls, fd_sync);
  SPORE_WASI_FUNCTION(FileCalls, fd_tell);
  SPORE_WASI_FUNCTION(FileCalls, fd_write);
}

}  // namespace spore::host
