#include "spore/memory/fault_counter.h"

#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <memory>

#include "spore/base/fd.h"

namespace spore::memory {
namespace {

constexpr size_t kHeaderBytes = 4096;
constexpr size_t kRingBytes = 4096;  // 512 faults

// Numbers of threads.  In a forked child it goes on from where the parent's was.
std::atomic<uint64_t> threads{0};

uint64_t next_thread() { return threads.fetch_add(1, std::memory_order_relaxed) + 1; }

}  // namespace

std::string_view fault_counter_name(FaultCounterKind kind) {
  switch (kind) {
    case FaultCounterKind::kAuto: return "auto";
    case FaultCounterKind::kMapped: return "mapped";
    case FaultCounterKind::kSystemCall: return "system_call";
    case FaultCounterKind::kNone: return "none";
  }
  return "?";
}

constinit thread_local ThreadFaults* ThreadFaults::mine_ = nullptr;

// Deletes it when the thread ends.  What still asks after that, a destructor of another thread_local, is
// given one that is never deleted.
struct ThreadFaultsOwner {
  ~ThreadFaultsOwner() {
    ThreadFaults::mine_ = nullptr;
    delete faults;
    ended = true;
  }
  ThreadFaults* faults = nullptr;
  static constinit thread_local bool ended;
};
constinit thread_local bool ThreadFaultsOwner::ended = false;

ThreadFaults* ThreadFaults::make() {
  auto* made = new ThreadFaults;
  if (!ThreadFaultsOwner::ended) {
    static thread_local ThreadFaultsOwner owner;
    delete owner.faults;  // of the process that this one was forked from
    owner.faults = made;
  }
  mine_ = made;
  return made;
}

ThreadFaults::ThreadFaults() : generation_(process_generation()), thread_(next_thread()) {}

ThreadFaults::~ThreadFaults() {
  // In a forked child the ring is not there, and its address may be somebody else's by now.
  if (generation_ != process_generation()) ring_ = nullptr;
  close_event();
}

bool ThreadFaults::open_event() {
  tried_ = true;
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_PAGE_FAULTS;
  attributes.sample_period = 1;
  attributes.exclude_kernel = 1;  // what perf_event_paranoid=2 allows everybody
  attributes.exclude_hv = 1;
  // The mapping keeps the event; no descriptor is kept, which a thread could lack, and a child close and
  // reuse.
  const UniqueFd event(
      static_cast<int>(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event.valid()) return false;
  // Read-only: the kernel overwrites the oldest record, nobody consumes.
  void* ring = ::mmap(nullptr, kHeaderBytes + kRingBytes, PROT_READ, MAP_SHARED, event.get(), 0);
  if (ring == MAP_FAILED) return false;
  ring_ = static_cast<perf_event_mmap_page*>(ring);
  head_ = reinterpret_cast<const uint64_t*>(reinterpret_cast<const std::byte*>(ring) +
                                            offsetof(perf_event_mmap_page, data_head));
  // The first read faults, and the first read of the records: neither is to count later.
  const volatile auto* records = reinterpret_cast<const volatile std::byte*>(ring) + kHeaderBytes;
  static_cast<void>(*records);
  static_cast<void>(__atomic_load_n(head_, __ATOMIC_ACQUIRE));
  seen_ = __atomic_load_n(head_, __ATOMIC_ACQUIRE);
  return true;
}

void ThreadFaults::close_event() {
  if (ring_ != nullptr) ::munmap(ring_, kHeaderBytes + kRingBytes);
  ring_ = nullptr;
  head_ = nullptr;
}

// There were faults.  Goes on only with an event of which it is known that it will tell of the next.
[[gnu::cold]] void ThreadFaults::advance(uint64_t head) {
  mapped_faults_++;
  if (ends_in_samples(head)) {
    seen_ = head;
    return;
  }
  close_event();
  open_event();
}

// The last two records, or the only one, are samples, 8 bytes each: their headers.  An event that is
// throttled has written a THROTTLE of 32 bytes last, or last but for the sample that was one too many; the
// last 8 bytes of that are the event's number, which is far from looking like a header.
bool ThreadFaults::ends_in_samples(uint64_t head) const {
  static_assert(sizeof(perf_event_header) == 8, "never across the end of the ring");
  const auto* records = reinterpret_cast<const std::byte*>(ring_) + kHeaderBytes;
  for (const uint64_t back : {8, 16}) {
    if (back > head) break;  // there is but one
    perf_event_header record;
    std::memcpy(&record, records + (head - back) % kRingBytes, sizeof record);
    if (record.type != PERF_RECORD_SAMPLE || record.size != sizeof record) return false;
  }
  return true;
}

FaultMark ThreadFaults::system_call_mark() const {
  rusage usage;
  if (::getrusage(RUSAGE_THREAD, &usage) != 0) return {};
  return {2 * thread_, static_cast<uint64_t>(usage.ru_minflt) + static_cast<uint64_t>(usage.ru_majflt)};
}

}  // namespace spore::memory
