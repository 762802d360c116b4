#pragma once

// What the functions of wasi_snapshot_preview1 share.  Internal to host/: wasi_calls.cc, wasi_file_calls.cc,
// wasi_path_calls.cc, wasi_poll_calls.cc.
//
// Each function begins with what it is given: descriptor, rights, pointers; then it acts; then it writes its
// results.  Guest memory stays where it is meanwhile, as no guest runs.  An error of the guest's is a number
// that it gets back; a Status ends its call: a limit, the deadline, an exit.

#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// How long a wait lasts at most before it looks whether the call was cancelled.
inline constexpr uint64_t kWaitSliceMs = 5;

inline bool is_stream(DescriptorKind kind) {
  return kind == DescriptorKind::kInput || kind == DescriptorKind::kOutput || kind == DescriptorKind::kError;
}

struct WasiCall {
  WasiCall(Caller& the_caller, Wasi& the_wasi) : caller(the_caller), state(the_wasi.state_), wasi_(the_wasi) {
    wasi_.used_ = true;
  }

  Caller& caller;
  WasiState& state;
  Status ended;  // not ok: the guest's call ends with it
  // Guest memory may be given to the system, or to host code that is not ours, to be written to.  Where it is
  // certainly not, making the instance as new costs less: memory::Slot, clause 2.
  bool system_writes = true;

  Errno end(Status status) {
    ended = std::move(status);
    return Errno::kCanceled;  // nobody sees it
  }

  // --- guest memory -----------------------------------------------------------------------------------

  bool find(uint32_t address, uint64_t length, std::span<std::byte>& bytes) const {
    // Once a call, and not for those that need none.
    if (!memory_) memory_ = system_writes ? caller.memory() : caller.memory_of_this_thread();
    Result<std::span<std::byte>> found = memory_->span(GuestPtr{address}, length);
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
    std::array<iovec, IOV_MAX> all;  // not initialised
    size_t count = 0;
    uint64_t bytes = 0;

    std::span<iovec> list() { return std::span(all).first(count); }
  };
  Errno get_buffers(uint32_t address, uint32_t count, Buffers& buffers) const {
    if (count > IOV_MAX) return Errno::kInval;
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
    struct stat stat{};
    opened.type = wasi::usable_type(*opened.file, config().directory_device(opened.directory), stat);
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
    return descriptor.file != nullptr ? descriptor.file->fd.get() : config().directory(descriptor.directory);
  }
  bool changeable(const Descriptor& descriptor) const { return config().writable(descriptor.directory); }

  static Errno check_rights(const Descriptor& descriptor, Rights rights) {
    return (descriptor.rights_base & rights) == rights ? Errno::kSuccess : Errno::kNotCapable;
  }

  Errno get(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    return found == nullptr ? Errno::kBadF : check_rights(*found, rights);
  }
  // A regular file, with the rights.
  Errno get_file(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type == FileType::kDirectory) return Errno::kIsDir;
    if (is_stream(found->kind)) return Errno::kSPipe;
    return check_rights(*found, rights);
  }
  Errno get_directory(uint32_t fd, Rights rights, Descriptor*& found) const {
    found = descriptor(fd);
    if (found == nullptr) return Errno::kBadF;
    if (found->type != FileType::kDirectory) return Errno::kNotDir;
    return check_rights(*found, rights);
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
        std::ranges::count_if(readers(), [](const auto& reader) { return reader != nullptr; }));
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
    if (fd < readers().size()) readers()[fd] = nullptr;
  }

  void forget(uint32_t fd) const {
    drop_reader(fd);
    state.descriptors[fd] = Descriptor();
    while (!state.descriptors.empty() && state.descriptors.back().kind == DescriptorKind::kClosed) {
      state.descriptors.pop_back();
    }
  }

  // --- the world --------------------------------------------------------------------------------------

  using Stream = Wasi::Stream;
  const WasiConfig& config() const { return *wasi_.config_; }
  uint64_t output_bytes_max() const { return wasi_.output_bytes_max_; }
  // For a read that would wait: true if the suspension took care of it, and the function is to return at
  // once, with whatever number, and without another look at guest memory.
  bool suspended() {
    if (wasi_.suspension_ == nullptr) return false;
    Status status = wasi_.suspension_->wait(caller);
    if (!status.ok()) end(std::move(status));
    return true;
  }
  Input* input() const { return wasi_.input_.get(); }  // null: input_bytes()
  std::string_view input_bytes() const { return wasi_.input_bytes_; }
  Stream& stream_of(const Descriptor& descriptor) const {
    return descriptor.kind == DescriptorKind::kOutput ? wasi_.output_ : wasi_.error_;
  }
  std::vector<std::unique_ptr<wasi::DirectoryReader>>& readers() const { return wasi_.readers_; }
  // False: the guest may have none.
  bool draw_entropy(uint64_t bytes) const {
    if (wasi_.entropy_ == Wasi::Entropy::kNone) return false;
    wasi_.entropy_bytes_ += bytes;
    return true;
  }

  // --- time -------------------------------------------------------------------------------------------

  // Of a clock of its own.  It stops at the end of time.
  void pass_time(uint64_t ns) const { state.clock_ns += std::min(ns, UINT64_MAX - state.clock_ns); }

  // The clocks of processor time show the guest's monotonic clock: the host's would tell of its neighbours.
  uint64_t guest_time(ClockId id) const {
    const WasiOptions& options = config().options();
    uint64_t now = 0;
    if (options.clock.has_value()) {
      const uint64_t start = id == ClockId::kRealtime ? options.clock->start_ns : 0;
      now = start + std::min(state.clock_ns, UINT64_MAX - start);
    } else if (id == ClockId::kRealtime) {
      now = wasi::host_clock_ns(CLOCK_REALTIME);
    } else {
      // Begins at one second when it is first looked at: 0 would be taken for "unset" by some.
      constexpr uint64_t kFirst = 1'000'000'000;
      const uint64_t host = wasi::host_clock_ns(CLOCK_MONOTONIC);
      if (state.clock_ns == 0) state.clock_ns = host - std::min(host - 1, kFirst);
      now = host - state.clock_ns;
    }
    return now - now % options.clock_resolution_ns;
  }

 private:
  Wasi& wasi_;
  mutable std::optional<GuestMemory> memory_;
};

// What utimensat(2) is given for the times of WASI; kInval: flags that contradict each other.
Errno to_times(uint64_t access_ns, uint64_t modify_ns, uint32_t flags, std::array<timespec, 2>& times);

inline Result<Wasi*> wasi_of(const Caller& caller) {
  auto* wasi = static_cast<Wasi*>(caller.system());
  if (wasi == nullptr) return Status::host_error("this instance was made without WASI");
  return wasi;
}

// Makes a host function of a member function of a group of calls.  `kWaits`: it may wait for input.
template <auto kFunction, bool kWaits = false>
struct WasiBridge;
template <typename Calls, typename... Args, Errno (Calls::*kFunction)(Args...), bool kWaits>
struct WasiBridge<kFunction, kWaits> {
  static void define(HostFunctions& host, const char* name) {
    host.define(wasi::kModule, name, [](Caller& caller, Args... args) -> Result<uint32_t> {
      Wasi* const wasi = SPORE_TRY(wasi_of(caller));
      if (Suspension* const suspension = wasi->suspension(); suspension != nullptr) [[unlikely]]
        SPORE_TRY(suspension->enter(caller, kWaits));
      Calls call(caller, *wasi);
      const Errno error = (call.*kFunction)(args...);
      if (!call.ended.ok()) [[unlikely]]
        return std::move(call.ended);
      return static_cast<uint32_t>(error);
    });
  }
};
#define SPORE_WASI_FUNCTION(calls, name) WasiBridge<&calls::name>::define(host, #name)
#define SPORE_WASI_WAITING_FUNCTION(calls, name) WasiBridge<&calls::name, true>::define(host, #name)

void define_wasi_files(HostFunctions& host);
void define_wasi_paths(HostFunctions& host);
void define_wasi_poll(HostFunctions& host);

}  // namespace spore::host
