// poll_oneoff: waiting for clocks and streams.
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "spore/host/wasi_call.h"

namespace spore::host {
namespace {

constexpr size_t kSubscriptionsMax = 1'024;
constexpr uint64_t kNanosecondsPerMs = 1'000'000;

struct PollCalls : WasiCall {
  using WasiCall::WasiCall;

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
    system_writes = false;
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
      // Somebody who waits for input waits for the next request: however long, by whatever clock.
      if (wait.input != nullptr && suspended()) return Errno::kCanceled;
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
        end -= end % config().options().clock_resolution_ns;  // a time that the clock will show
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
    const Stream& stream = stream_of(*found);
    if (stream.sink == nullptr || stream.sink->wait(0)) return true;
    wait.output = stream.sink.get();
    return false;
  }

  bool input_ready(Wait& wait, wasi::Event& event) const {
    if (input() == nullptr) {
      const uint64_t size = input_bytes().size();
      event.bytes = size - std::min(size, state.input_position);
      return true;
    }
    if (input()->wait(0)) return true;
    wait.input = input();
    return false;
  }

  // A while, at most until something is due.  False when the guest's call is to end.
  bool wait_once(const Wait& wait) {
    if (Status running = caller.check_running(); !running.ok()) {
      end(std::move(running));
      return false;
    }
    if (config().options().clock.has_value() && wait.by_clock) {
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
};

}  // namespace

void define_wasi_poll(HostFunctions& host) { SPORE_WASI_WAITING_FUNCTION(PollCalls, poll_oneoff); }

}  // namespace spore::host
