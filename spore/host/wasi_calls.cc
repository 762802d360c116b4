// The functions of wasi_snapshot_preview1.
//
// Each begins with what it is given: descriptor, rights, pointers; then it acts; then it writes its results.
// Guest memory stays where it is meanwhile, as no guest runs.  An error of the guest's is a number that it
// gets back; a Status ends its call: a limit, the deadline, an exit.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <thread>

#include "spore/host/wasi.h"
#include "spore/host/wasi_files.h"

namespace spore::host {

using engine::GuestMemory;
using engine::GuestPtr;
using wasi::ClockId;
using wasi::Errno;
using wasi::FdFlags;
using wasi::FileType;
using wasi::Rights;

static_assert(std::endian::native == std::endian::little, "guests' integers are copied as they are");

namespace {

constexpr size_t kIovecsMax = IOV_MAX;
constexpr size_t kSubscriptionsMax = 1'024;
// What one system call may move: the deadline is looked at in between.
constexpr uint64_t kTransferBytesMax = uint64_t{16} << 20;
// How long a wait lasts at most before it looks whether the call was cancelled.
constexpr uint64_t kWaitSliceMs = 5;
constexpr uint64_t kNanosecondsPerMs = 1'000'000;
constexpr size_t kEntriesPerCheck = 1'024;

uint64_t read_clock(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// The next of the numbers that a seed and a counter stand for (SplitMix64).
uint64_t seeded_random(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

// `path` below `base`, without what stands for the directory itself: a guest that opens "." again and again
// does not make it longer.  `..` stays, as what comes before it may be a symlink.
Errno join(std::string_view base, std::string_view path, std::string& joined) {
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

timespec to_timespec(uint64_t ns) {
  return {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
}

// What utimensat(2) is given for the times of WASI.
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

bool is_stream(DescriptorKind kind) {
  return kind == DescriptorKind::kInput || kind == DescriptorKind::kOutput || kind == DescriptorKind::kError;
}

}  // namespace

// One call of one function.
struct WasiCall {
  WasiCall(Caller& the_caller, Wasi& the_wasi)
      : caller(the_caller), wasi(the_wasi), state(the_wasi.state_), memory(the_caller.memory()) {}

  Caller& caller;
  Wasi& wasi;
  WasiState& state;
  GuestMemory memory;
  Status ended;  // not ok: the guest's call ends with it

  Errno end(Status status) {
    ended = std::move(status);
    return Errno::kCanceled;  // nobody sees it
  }

  // --- guest memory -----------------------------------------------------------------------------------

  bool find(uint32_t address, uint64_t length, std::span<std::byte>& bytes) const {
    Result<std::span<std::byte>> found = memory.span(GuestPtr{address}, length);
    if (!found.ok()) return false;
    bytes = found.value();
    return true;
  }

  // Room for one result.
  template <typename T>
  struct Out {
    std::span<std::byte> bytes;
    void set(const T& value) const { std::memcpy(bytes.data(), &value, sizeof value); }
  };
  template <typename T>
  bool out(uint32_t address, Out<T>& place) const {
    return find(address, sizeof(T), place.bytes);
  }

  Errno get_path(uint32_t address, uint32_t length, wasi::Path& path) const {
    std::span<std::byte> bytes;
    if (!find(address, length, bytes)) return Errno::kFault;
    return path.set({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  // The buffers of a read or write, each inside of memory; empty ones are left out.  They may overlap.
  struct Buffers {
    std::array<iovec, kIovecsMax> all;  // not initialised
    size_t count = 0;
    uint64_t bytes = 0;

    std::span<iovec> list() { return std::span(all).first(count); }
  };
  Errno get_buffers(uint32_t address, uint32_t count, Buffers& buffers) const {
    if (count > kIovecsMax) return Errno::kInval;
    std::span<std::byte> raw;
    if (!find(address, uint64_t{count} * sizeof(wasi::Iovec), raw)) return Errno::kFault;
    for (uint32_t i = 0; i < count; i++) {
      wasi::Iovec one{};
      std::memcpy(&one, raw.data() + i * sizeof one, sizeof one);
      std::span<std::byte> bytes;
      if (!find(one.address, one.length, bytes)) return Errno::kFault;
      if (bytes.empty()) continue;
      buffers.all[buffers.count++] = {bytes.data(), bytes.size()};
      buffers.bytes += bytes.size();
    }
    // The number of bytes done must fit into 32 bits.
    return buffers.bytes <= UINT32_MAX ? Errno::kSuccess : Errno::kInval;
  }

  // --- descriptors ------------------------------------------------------------------------------------

  Descriptor* descriptor(uint32_t fd) const {
    if (fd >= state.descriptors.size()) return nullptr;
    Descriptor& found = state.descriptors[fd];
    if (found.kind == DescriptorKind::kClosed || found.kind == DescriptorKind::kLost) return nullptr;
    if (found.kind == DescriptorKind::kOpened && found.type == FileType::kUnknown && !settle(found)) {
      return nullptr;
    }
    return &found;
  }

  // Finds out what was opened, at its first use.  False for what no guest may use: it is lost.
  [[gnu::noinline]] bool settle(Descriptor& opened) const {
    opened.type = wasi::usable_type(*opened.file, wasi.config_->directory_device(opened.directory));
    switch (opened.type) {
      case FileType::kRegularFile: opened.rights_base &= wasi::kFileRights; return true;
      case FileType::kDirectory:
        opened.rights_base &= wasi::kDirectoryRights;
        opened.readable = opened.writable = false;
        return true;
      default:
        opened.kind = DescriptorKind::kLost;
        opened.file = nullptr;
        return false;
    }
  }

  int host_fd(const Descriptor& descriptor) const {
    return descriptor.file != nullptr ? descriptor.file->fd.get()
                                      : wasi.config_->directory(descriptor.directory);
  }
  bool changeable(const Descriptor& descriptor) const { return wasi.config_->writable(descriptor.directory); }

  Errno get(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    return (found->rights_base & rights) == rights ? Errno::kSuccess : Errno::kNotCapable;
  }
  // A regular file, with the rights.
  Errno get_file(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type == FileType::kDirectory) return Errno::kIsDir;
    if (is_stream(found->kind)) return Errno::kSPipe;
    return get(fd, rights, found);
  }
  Errno get_directory(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type != FileType::kDirectory) return Errno::kNotDir;
    return get(fd, rights, found);
  }
  // A directory in which things may be changed.
  Errno get_changeable(uint32_t fd, Rights rights, Descriptor*& found) const {
    const Errno error = get_directory(fd, rights, found);
    if (error != Errno::kSuccess) return error;
    return changeable(*found) ? Errno::kSuccess : Errno::kRoFs;
  }

  // The lowest number that is free.
  Errno new_descriptor(uint32_t& fd) const {
    // A directory that is being read takes two descriptors of the host's.
    auto open = static_cast<size_t>(
        std::ranges::count_if(wasi.readers_, [](const auto& reader) { return reader != nullptr; }));
    size_t lowest = state.descriptors.size();
    for (size_t i = 0; i < state.descriptors.size(); i++) {
      if (state.descriptors[i].kind != DescriptorKind::kClosed) {
        open++;
      } else if (lowest == state.descriptors.size()) {
        lowest = i;
      }
    }
    if (open >= caller.store().limits().open_files_max) return Errno::kMFile;
    fd = static_cast<uint32_t>(lowest);
    return Errno::kSuccess;
  }

  void drop_reader(uint32_t fd) const {
    if (fd < wasi.readers_.size()) wasi.readers_[fd] = nullptr;
  }

  void forget(uint32_t fd) const {
    drop_reader(fd);
    state.descriptors[fd] = Descriptor();
    while (!state.descriptors.empty() && state.descriptors.back().kind == DescriptorKind::kClosed) {
      state.descriptors.pop_back();
    }
  }

  // --- arguments and environment ----------------------------------------------------------------------

  Errno texts_sizes(const std::vector<std::string>& texts, uint32_t count_at, uint32_t bytes_at) const {
    Out<uint32_t> count;
    Out<uint32_t> bytes;
    if (!out(count_at, count) || !out(bytes_at, bytes)) return Errno::kFault;
    uint64_t sum = 0;
    for (const std::string& text : texts) sum += text.size() + 1;
    if (sum > UINT32_MAX || texts.size() > UINT32_MAX) return Errno::kOverflow;
    count.set(static_cast<uint32_t>(texts.size()));
    bytes.set(static_cast<uint32_t>(sum));
    return Errno::kSuccess;
  }

  Errno texts_get(const std::vector<std::string>& texts, uint32_t pointers_at, uint32_t bytes_at) const {
    std::span<std::byte> pointers;
    if (!find(pointers_at, texts.size() * sizeof(uint32_t), pointers)) return Errno::kFault;
    uint64_t address = bytes_at;
    for (size_t i = 0; i < texts.size(); i++) {
      const size_t length = texts[i].size() + 1;
      std::span<std::byte> bytes;
      if (address > UINT32_MAX || !find(static_cast<uint32_t>(address), length, bytes)) return Errno::kFault;
      std::memcpy(bytes.data(), texts[i].c_str(), length);
      const auto pointer = static_cast<uint32_t>(address);
      std::memcpy(pointers.data() + i * sizeof pointer, &pointer, sizeof pointer);
      address += length;
    }
    return Errno::kSuccess;
  }

  Errno args_get(uint32_t pointers, uint32_t bytes) { return texts_get(state.args, pointers, bytes); }
  Errno args_sizes_get(uint32_t count, uint32_t bytes) { return texts_sizes(state.args, count, bytes); }
  Errno environ_get(uint32_t pointers, uint32_t bytes) { return texts_get(state.env, pointers, bytes); }
  Errno environ_sizes_get(uint32_t count, uint32_t bytes) { return texts_sizes(state.env, count, bytes); }

  // --- clocks and random numbers ----------------------------------------------------------------------

  // Of a clock of its own.  It stops at the end of time.
  void pass_time(uint64_t ns) const { state.clock_ns += std::min(ns, UINT64_MAX - state.clock_ns); }

  // The clocks of processor time show the guest's monotonic clock: the host's would tell of its neighbours.
  uint64_t guest_time(ClockId id) const {
    const WasiOptions& options = wasi.config_->options();
    uint64_t now = 0;
    if (options.clock.has_value()) {
      const uint64_t start = id == ClockId::kRealtime ? options.clock->start_ns : 0;
      now = start + std::min(state.clock_ns, UINT64_MAX - start);
    } else if (id == ClockId::kRealtime) {
      now = read_clock(CLOCK_REALTIME);
    } else {
      // Begins at one second when it is first looked at: 0 would be taken for "unset" by some.
      constexpr uint64_t kFirst = 1'000'000'000;
      const uint64_t host = read_clock(CLOCK_MONOTONIC);
      if (state.clock_ns == 0) state.clock_ns = host - std::min(host - 1, kFirst);
      now = host - state.clock_ns;
    }
    return now - now % options.clock_resolution_ns;
  }

  Errno clock_res_get(uint32_t id, uint32_t result) {
    Out<uint64_t> resolution;
    if (id > static_cast<uint32_t>(ClockId::kThreadCpu)) return Errno::kInval;
    if (!out(result, resolution)) return Errno::kFault;
    resolution.set(wasi.config_->options().clock_resolution_ns);
    return Errno::kSuccess;
  }

  Errno clock_time_get(uint32_t id, uint64_t /*precision*/, uint32_t result) {
    Out<uint64_t> time;
    if (id > static_cast<uint32_t>(ClockId::kThreadCpu)) return Errno::kInval;
    if (!out(result, time)) return Errno::kFault;
    time.set(guest_time(ClockId{id}));
    if (const auto& clock = wasi.config_->options().clock) pass_time(clock->step_ns);
    return Errno::kSuccess;
  }

  Errno random_get(uint32_t address, uint32_t length) {
    std::span<std::byte> bytes;
    if (!find(address, length, bytes)) return Errno::kFault;
    if (Status charged = caller.charge_io(length); !charged.ok()) return end(std::move(charged));
    while (!bytes.empty()) {
      const std::span<std::byte> part = bytes.first(std::min(bytes.size(), kTransferBytesMax));
      const Errno error = fill_random(part);
      if (error != Errno::kSuccess) return error;
      bytes = bytes.subspan(part.size());
      if (bytes.empty()) break;
      if (Status running = caller.check_running(); !running.ok()) return end(std::move(running));
    }
    return Errno::kSuccess;
  }

  Errno fill_random(std::span<std::byte> bytes) const {
    if (const auto& seed = wasi.config_->options().random_seed) {
      for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
        const uint64_t number = seeded_random(*seed, state.random_counter++);
        std::memcpy(bytes.data() + at, &number, std::min(sizeof number, bytes.size() - at));
      }
      return Errno::kSuccess;
    }
    while (!bytes.empty()) {
      const ssize_t n = ::getrandom(bytes.data(), bytes.size(), 0);
      if (n < 0 && errno != EINTR) return Errno::kIo;
      if (n > 0) bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return Errno::kSuccess;
  }

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
    if (!wasi.config_->limits_files()) [[likely]]
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
    const std::string_view input = wasi.input_bytes_;
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
    if (wasi.input_ == nullptr) return read_input_bytes(buffers, moved);
    Input& input = *wasi.input_;
    for (size_t i = 0; i < buffers.size();) {
      const std::span into(static_cast<std::byte*>(buffers[i].iov_base), buffers[i].iov_len);
      const Input::Read read = input.read(into);
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
          if (!wait_for(input)) return Errno::kCanceled;
          break;
      }
    }
    return Errno::kSuccess;
  }

  Errno capture(Wasi::Stream& stream, std::span<const iovec> buffers, size_t& moved) {
    const uint64_t limit = wasi.config_->options().output_bytes_max;
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

  Errno write_stream(Wasi::Stream& stream, std::span<const iovec> buffers, FdFlags flags, size_t& moved) {
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

  Wasi::Stream& stream_of(const Descriptor& descriptor) const {
    return descriptor.kind == DescriptorKind::kOutput ? wasi.output_ : wasi.error_;
  }

  // A descriptor that bytes can be read from, or written to.
  Errno get_readable(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type == FileType::kDirectory) return Errno::kIsDir;
    return found->readable ? get(fd, rights, found) : Errno::kBadF;
  }
  Errno get_writable(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type == FileType::kDirectory) return Errno::kIsDir;
    return found->writable ? get(fd, rights, found) : Errno::kBadF;
  }

  Errno fd_read(uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result) {
    Descriptor* file = nullptr;
    Errno error = get_readable(fd, wasi::kFdRead, file);
    if (error != Errno::kSuccess) return error;
    Out<uint32_t> bytes_read;
    if (!out(result, bytes_read)) return Errno::kFault;
    Buffers buffers;
    error = get_buffers(iovecs, count, buffers);
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
    Errno error = get_readable(fd, wasi::kFdRead | wasi::kFdSeek, file);
    if (error != Errno::kSuccess) return error;
    if (is_stream(file->kind)) return Errno::kSPipe;
    Out<uint32_t> bytes_read;
    if (!out(result, bytes_read)) return Errno::kFault;
    Buffers buffers;
    error = get_buffers(iovecs, count, buffers);
    if (error != Errno::kSuccess) return error;
    if (offset > static_cast<uint64_t>(INT64_MAX) - buffers.bytes) return Errno::kInval;
    uint64_t done = 0;
    error = read_file(*file, buffers, offset, done);
    if (error == Errno::kSuccess) bytes_read.set(static_cast<uint32_t>(done));
    return error;
  }

  Errno fd_write(uint32_t fd, uint32_t iovecs, uint32_t count, uint32_t result) {
    Descriptor* file = nullptr;
    Errno error = get_writable(fd, wasi::kFdWrite, file);
    if (error != Errno::kSuccess) return error;
    Out<uint32_t> bytes_written;
    if (!out(result, bytes_written)) return Errno::kFault;
    Buffers buffers;
    error = get_buffers(iovecs, count, buffers);
    if (error != Errno::kSuccess) return error;
    uint64_t done = 0;
    if (is_stream(file->kind)) {
      Wasi::Stream& stream = stream_of(*file);
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
    Errno error = get_writable(fd, wasi::kFdWrite | wasi::kFdSeek, file);
    if (error != Errno::kSuccess) return error;
    if (is_stream(file->kind)) return Errno::kSPipe;
    Out<uint32_t> bytes_written;
    if (!out(result, bytes_written)) return Errno::kFault;
    Buffers buffers;
    error = get_buffers(iovecs, count, buffers);
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
      case DescriptorKind::kInput: return wasi.input_ == nullptr ? FileType::kUnknown : wasi.input_->type();
      case DescriptorKind::kOutput:
      case DescriptorKind::kError: {
        const Wasi::Stream& stream = stream_of(descriptor);
        return stream.sink == nullptr ? FileType::kUnknown : stream.sink->type();
      }
      default: return descriptor.type;
    }
  }

  Errno fd_fdstat_get(uint32_t fd, uint32_t result) {
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
    name = wasi.config_->options().directories[found->directory].guest;
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
    if (wasi.readers_.size() <= fd) wasi.readers_.resize(fd + 1);
    std::unique_ptr<wasi::DirectoryReader>& reader = wasi.readers_[fd];
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

  // --- paths ------------------------------------------------------------------------------------------

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
    error = wasi::open_file(host_fd(*directory), path, request, made.file, made.type);
    if (error == Errno::kNoEnt && creates && !changeable_there) return Errno::kRoFs;
    if (error != Errno::kSuccess) return error;
    const bool exclusive = creates && (open_flags & wasi::kOpenExclusive) != 0;
    if (exclusive && !changeable_there) return Errno::kExist;

    made.kind = DescriptorKind::kOpened;
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

  // --- waiting ----------------------------------------------------------------------------------------

  struct Wait {
    std::vector<wasi::Subscription> subscriptions;
    std::vector<uint64_t> clock_ends;  // for those of clocks: when, by the guest's clock
    std::vector<wasi::Event> events;
    uint64_t nearest_ns = UINT64_MAX;  // until the next clock event
    bool by_clock = false;
    Input* input = nullptr;  // that somebody waits for
    Output* output = nullptr;
  };

  Errno poll_oneoff(uint32_t in, uint32_t events_at, uint32_t count, uint32_t result) {
    if (count == 0 || count > kSubscriptionsMax) return Errno::kInval;
    Wait wait;
    std::span<std::byte> raw;
    std::span<std::byte> room;
    Out<uint32_t> event_count;
    if (!find(in, uint64_t{count} * sizeof(wasi::Subscription), raw) ||
        !find(events_at, uint64_t{count} * sizeof(wasi::Event), room) || !out(result, event_count)) {
      return Errno::kFault;
    }
    wait.subscriptions.resize(count);
    std::memcpy(wait.subscriptions.data(), raw.data(), raw.size());
    begin_wait(wait);
    while (true) {
      collect_events(wait);
      if (!wait.events.empty()) break;
      if (!wait_once(wait)) return Errno::kCanceled;
    }
    std::memcpy(room.data(), wait.events.data(), wait.events.size() * sizeof(wasi::Event));
    event_count.set(static_cast<uint32_t>(wait.events.size()));
    return Errno::kSuccess;
  }

  // Relative times count from here.
  void begin_wait(Wait& wait) const {
    for (const wasi::Subscription& one : wait.subscriptions) {
      uint64_t end = UINT64_MAX;
      if (one.tag == static_cast<uint8_t>(wasi::EventType::kClock) &&
          one.id <= static_cast<uint32_t>(ClockId::kThreadCpu)) {
        const uint64_t now = guest_time(ClockId{one.id});
        const bool absolute = (one.clock_flags & wasi::kClockAbsolute) != 0;
        end = absolute ? one.timeout_ns : now + std::min(one.timeout_ns, UINT64_MAX - now);
        end -= end % wasi.config_->options().clock_resolution_ns;  // a time that the clock will show
      }
      wait.clock_ends.push_back(end);
    }
  }

  void collect_events(Wait& wait) const {
    wait.nearest_ns = UINT64_MAX;
    wait.by_clock = false;
    wait.input = nullptr;
    wait.output = nullptr;
    for (size_t i = 0; i < wait.subscriptions.size(); i++) {
      const wasi::Subscription& one = wait.subscriptions[i];
      wasi::Event event{.user_data = one.user_data, .error = 0, .type = one.tag};
      bool ready = true;
      if (one.tag == static_cast<uint8_t>(wasi::EventType::kClock)) {
        ready = clock_ready(one, wait.clock_ends[i], wait, event);
      } else if (one.tag == static_cast<uint8_t>(wasi::EventType::kReadable) ||
                 one.tag == static_cast<uint8_t>(wasi::EventType::kWritable)) {
        ready = fd_ready(one, wait, event);
      } else {
        event.error = static_cast<uint16_t>(Errno::kInval);
      }
      if (ready) wait.events.push_back(event);
    }
  }

  bool clock_ready(const wasi::Subscription& one, uint64_t end, Wait& wait, wasi::Event& event) const {
    if (one.id > static_cast<uint32_t>(ClockId::kThreadCpu) ||
        (one.clock_flags & ~wasi::kClockAbsolute) != 0) {
      event.error = static_cast<uint16_t>(Errno::kInval);
      return true;
    }
    const uint64_t now = guest_time(ClockId{one.id});
    if (now >= end) return true;
    wait.by_clock = true;
    wait.nearest_ns = std::min(wait.nearest_ns, end - now);
    return false;
  }

  bool fd_ready(const wasi::Subscription& one, Wait& wait, wasi::Event& event) const {
    const bool reads = one.tag == static_cast<uint8_t>(wasi::EventType::kReadable);
    Descriptor* found = nullptr;
    Errno error = get(one.id, wasi::kPollFdReadwrite, found);
    if (error == Errno::kNotCapable && found->type == FileType::kDirectory) error = Errno::kBadF;
    if (error == Errno::kSuccess && !(reads ? found->readable : found->writable)) error = Errno::kBadF;
    event.error = static_cast<uint16_t>(error);
    if (error != Errno::kSuccess) return true;
    event.bytes = 1;  // "some": more is not known of most
    if (found->kind == DescriptorKind::kOpened) {
      struct stat stat{};
      if (reads && ::fstat(host_fd(*found), &stat) == 0) {
        const auto size = static_cast<uint64_t>(stat.st_size);
        event.bytes = size - std::min(size, found->position);
      }
      return true;
    }
    if (reads) return input_ready(wait, event);
    const Wasi::Stream& stream = stream_of(*found);
    if (stream.sink == nullptr || stream.sink->wait(0)) return true;
    wait.output = stream.sink.get();
    return false;
  }

  bool input_ready(Wait& wait, wasi::Event& event) const {
    if (wasi.input_ == nullptr) {
      const uint64_t size = wasi.input_bytes_.size();
      event.bytes = size - std::min(size, state.input_position);
      return true;
    }
    if (wasi.input_->wait(0)) return true;
    wait.input = wasi.input_.get();
    return false;
  }

  // A while, at most until something is due.  False when the guest's call is to end.
  bool wait_once(const Wait& wait) {
    if (Status running = caller.check_running(); !running.ok()) {
      end(std::move(running));
      return false;
    }
    if (wasi.config_->options().clock.has_value() && wait.by_clock) {
      pass_time(wait.nearest_ns);  // at once
      return true;
    }
    // At least a millisecond for those that count in them: else the last part of one would be spun away.
    const uint64_t slice_ns =
        std::min(wait.nearest_ns, std::min(kWaitSliceMs, caller.time_left_ms()) * kNanosecondsPerMs);
    const uint64_t slice_ms = std::max<uint64_t>(slice_ns / kNanosecondsPerMs, 1);
    if (wait.input != nullptr) {
      wait.input->wait(slice_ms);
    } else if (wait.output != nullptr) {
      wait.output->wait(slice_ms);
    } else {
      std::this_thread::sleep_for(std::chrono::nanoseconds(slice_ns));
    }
    return true;
  }

  // --- the rest ---------------------------------------------------------------------------------------

  Status proc_exit(uint32_t code) const {
    state.exit_code = code;
    auto info = std::make_shared<ExitInfo>();
    info->code = code;
    return Status::exited("the guest exited with code {}", code).with_attachment(std::move(info));
  }

  Errno sched_yield() {
    ::sched_yield();
    return Errno::kSuccess;
  }
  Errno proc_raise(uint32_t /*signal*/) { return Errno::kNoSys; }

  Errno no_socket(uint32_t fd) const { return descriptor(fd) == nullptr ? Errno::kBadF : Errno::kNotSock; }
  Errno sock_accept(uint32_t fd, uint32_t /*flags*/, uint32_t /*result*/) { return no_socket(fd); }
  Errno sock_recv(uint32_t fd, uint32_t /*iovecs*/, uint32_t /*count*/, uint32_t /*flags*/,
                  uint32_t /*bytes*/, uint32_t /*flags_out*/) {
    return no_socket(fd);
  }
  Errno sock_send(uint32_t fd, uint32_t /*iovecs*/, uint32_t /*count*/, uint32_t /*flags*/,
                  uint32_t /*result*/) {
    return no_socket(fd);
  }
  Errno sock_shutdown(uint32_t fd, uint32_t /*how*/) { return no_socket(fd); }
};

namespace {

Result<Wasi*> wasi_of(const Caller& caller) {
  auto* wasi = static_cast<Wasi*>(caller.system());
  if (wasi == nullptr) return Status::host_error("this instance was made without WASI");
  return wasi;
}

template <auto kFunction>
struct Bridge;
template <typename... Args, Errno (WasiCall::*kFunction)(Args...)>
struct Bridge<kFunction> {
  static void define(HostFunctions& host, const char* name) {
    host.define(wasi::kModule, name, [](Caller& caller, Args... args) -> Result<uint32_t> {
      Wasi* const wasi = SPORE_TRY(wasi_of(caller));
      WasiCall call(caller, *wasi);
      const Errno error = (call.*kFunction)(args...);
      if (!call.ended.ok()) [[unlikely]]
        return std::move(call.ended);
      return static_cast<uint32_t>(error);
    });
  }
};

}  // namespace

void define_wasi(HostFunctions& host) {
#define SPORE_WASI_FUNCTION(name) Bridge<&WasiCall::name>::define(host, #name)
  SPORE_WASI_FUNCTION(args_get);
  SPORE_WASI_FUNCTION(args_sizes_get);
  SPORE_WASI_FUNCTION(environ_get);
  SPORE_WASI_FUNCTION(environ_sizes_get);
  SPORE_WASI_FUNCTION(clock_res_get);
  SPORE_WASI_FUNCTION(clock_time_get);
  SPORE_WASI_FUNCTION(fd_advise);
  SPORE_WASI_FUNCTION(fd_allocate);
  SPORE_WASI_FUNCTION(fd_close);
  SPORE_WASI_FUNCTION(fd_datasync);
  SPORE_WASI_FUNCTION(fd_fdstat_get);
  SPORE_WASI_FUNCTION(fd_fdstat_set_flags);
  SPORE_WASI_FUNCTION(fd_fdstat_set_rights);
  SPORE_WASI_FUNCTION(fd_filestat_get);
  SPORE_WASI_FUNCTION(fd_filestat_set_size);
  SPORE_WASI_FUNCTION(fd_filestat_set_times);
  SPORE_WASI_FUNCTION(fd_pread);
  SPORE_WASI_FUNCTION(fd_prestat_get);
  SPORE_WASI_FUNCTION(fd_prestat_dir_name);
  SPORE_WASI_FUNCTION(fd_pwrite);
  SPORE_WASI_FUNCTION(fd_read);
  SPORE_WASI_FUNCTION(fd_readdir);
  SPORE_WASI_FUNCTION(fd_renumber);
  SPORE_WASI_FUNCTION(fd_seek);
  SPORE_WASI_FUNCTION(fd_sync);
  SPORE_WASI_FUNCTION(fd_tell);
  SPORE_WASI_FUNCTION(fd_write);
  SPORE_WASI_FUNCTION(path_create_directory);
  SPORE_WASI_FUNCTION(path_filestat_get);
  SPORE_WASI_FUNCTION(path_filestat_set_times);
  SPORE_WASI_FUNCTION(path_link);
  SPORE_WASI_FUNCTION(path_open);
  SPORE_WASI_FUNCTION(path_readlink);
  SPORE_WASI_FUNCTION(path_remove_directory);
  SPORE_WASI_FUNCTION(path_rename);
  SPORE_WASI_FUNCTION(path_symlink);
  SPORE_WASI_FUNCTION(path_unlink_file);
  SPORE_WASI_FUNCTION(poll_oneoff);
  SPORE_WASI_FUNCTION(proc_raise);
  SPORE_WASI_FUNCTION(random_get);
  SPORE_WASI_FUNCTION(sched_yield);
  SPORE_WASI_FUNCTION(sock_accept);
  SPORE_WASI_FUNCTION(sock_recv);
  SPORE_WASI_FUNCTION(sock_send);
  SPORE_WASI_FUNCTION(sock_shutdown);
#undef SPORE_WASI_FUNCTION
  host.define(wasi::kModule, "proc_exit", [](Caller& caller, uint32_t code) -> Status {
    Wasi* const wasi = SPORE_TRY(wasi_of(caller));
    return WasiCall(caller, *wasi).proc_exit(code);
  });
}

}  // namespace spore::host
