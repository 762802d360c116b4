// The functions of wasi_snapshot_preview1: those of the process as a whole, and the list of all.
#include <sched.h>
#include <sys/random.h>

#include <cerrno>

#include "spore/host/wasi_call.h"

namespace spore::host {
namespace {

constexpr uint64_t kRandomBytesAtOnce = uint64_t{16} << 20;  // the deadline is looked at in between

// The next of the numbers that a seed and a counter stand for (SplitMix64).
uint64_t seeded_random(uint64_t seed, uint64_t counter) {
  uint64_t z = seed + (counter + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

struct ProcessCalls : WasiCall {
  using WasiCall::WasiCall;

  // --- arguments and environment ----------------------------------------------------------------------

  Errno texts_sizes(const std::vector<std::string>& texts, uint32_t count_at, uint32_t bytes_at) {
    system_writes = false;
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

  Errno texts_get(const std::vector<std::string>& texts, uint32_t pointers_at, uint32_t bytes_at) {
    system_writes = false;
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

  Errno clock_res_get(uint32_t id, uint32_t result) {
    Out<uint64_t> resolution;
    if (id > static_cast<uint32_t>(ClockId::kThreadCpu)) return Errno::kInval;
    if (!out(result, resolution)) return Errno::kFault;
    resolution.set(config().options().clock_resolution_ns);
    return Errno::kSuccess;
  }

  Errno clock_time_get(uint32_t id, uint64_t /*precision*/, uint32_t result) {
    system_writes = false;
    Out<uint64_t> time;
    if (id > static_cast<uint32_t>(ClockId::kThreadCpu)) return Errno::kInval;
    if (!out(result, time)) return Errno::kFault;
    time.set(guest_time(ClockId{id}));
    if (const auto& clock = config().options().clock) pass_time(clock->step_ns);
    return Errno::kSuccess;
  }

  Errno random_get(uint32_t address, uint32_t length) {
    std::span<std::byte> bytes;
    // A seed is filled in by this thread, after the kernel: then a reset knows of it without a scan.
    constexpr size_t kSeedBytes = 256;
    system_writes = length > kSeedBytes;
    if (!find(address, length, bytes)) return Errno::kFault;
    if (Status charged = caller.charge_io(length); !charged.ok()) return end(std::move(charged));
    if (!draw_entropy(length)) {
      return end(Status::unsupported(
          "the guest draws {} random bytes, which would be the same in all that starts from its image",
          length));
    }
    if (!system_writes) {
      std::array<std::byte, kSeedBytes> seed;
      const Errno error = fill_random(std::span(seed).first(length));
      if (error == Errno::kSuccess) std::copy_n(seed.begin(), length, bytes.begin());
      return error;
    }
    while (!bytes.empty()) {
      const std::span<std::byte> part = bytes.first(std::min(bytes.size(), kRandomBytesAtOnce));
      const Errno error = fill_random(part);
      if (error != Errno::kSuccess) return error;
      bytes = bytes.subspan(part.size());
      if (bytes.empty()) break;
      if (Status running = caller.check_running(); !running.ok()) return end(std::move(running));
    }
    return Errno::kSuccess;
  }

  Errno fill_random(std::span<std::byte> bytes) const {
    if (const auto& seed = config().options().random_seed) {
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

}  // namespace

void define_wasi(HostFunctions& host) {
  SPORE_WASI_FUNCTION(ProcessCalls, args_get);
  SPORE_WASI_FUNCTION(ProcessCalls, args_sizes_get);
  SPORE_WASI_FUNCTION(ProcessCalls, environ_get);
  SPORE_WASI_FUNCTION(ProcessCalls, environ_sizes_get);
  SPORE_WASI_FUNCTION(ProcessCalls, clock_res_get);
  SPORE_WASI_FUNCTION(ProcessCalls, clock_time_get);
  SPORE_WASI_FUNCTION(ProcessCalls, proc_raise);
  SPORE_WASI_FUNCTION(ProcessCalls, random_get);
  SPORE_WASI_FUNCTION(ProcessCalls, sched_yield);
  SPORE_WASI_FUNCTION(ProcessCalls, sock_accept);
  SPORE_WASI_FUNCTION(ProcessCalls, sock_recv);
  SPORE_WASI_FUNCTION(ProcessCalls, sock_send);
  SPORE_WASI_FUNCTION(ProcessCalls, sock_shutdown);
  host.define(wasi::kModule, "proc_exit", [](Caller& caller, uint32_t code) -> Status {
    Wasi* const wasi = SPORE_TRY(wasi_of(caller));
    return ProcessCalls(caller, *wasi).proc_exit(code);
  });
  define_wasi_files(host);
  define_wasi_paths(host);
  define_wasi_poll(host);
}

}  // namespace spore::host
