#include "spore/memory/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "spore/base/assert.h"
#include "spore/memory/page_scan.h"

namespace spore::memory {

// An entry of the list.
struct internal::WatchedRange {
  std::atomic<bool> taken{false};
  std::atomic<uint64_t> version{0};  // odd: the rest is being changed
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<int> protection{0};
  std::atomic<std::atomic<bool>*> broken{nullptr};
  WatchedRange* following = nullptr;  // in its chunk
};

namespace {

using internal::WatchedRange;

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
                  std::atomic<bool>::is_always_lock_free && std::atomic<void*>::is_always_lock_free,
              "read by a trap handler");

struct Chunk {
  Chunk() {
    for (size_t i = 0; i + 1 < entries.size(); i++) entries[i].following = &entries[i + 1];
  }
  std::array<WatchedRange, 64> entries;
  Chunk* next = nullptr;
};

// Never freed: a handler may be anywhere in it.
constinit std::atomic<Chunk*> chunks{nullptr};
// An entry that may be free: a guess that mostly spares a search.
constinit std::atomic<WatchedRange*> free_guess{nullptr};
constinit std::atomic<size_t> watched_ranges{0};
// What was there before ours.  Known before ours is installed.
constinit std::atomic<const struct sigaction*> previous{nullptr};

// --- the list --------------------------------------------------------------------------------------------

bool take(WatchedRange& entry) {
  bool free = false;
  return !entry.taken.load() && entry.taken.compare_exchange_strong(free, true);
}

WatchedRange* find_free() {
  WatchedRange* const guess = free_guess;
  if (guess != nullptr && take(*guess)) return guess;
  for (Chunk* chunk = chunks; chunk != nullptr; chunk = chunk->next) {
    for (WatchedRange& entry : chunk->entries) {
      if (take(entry)) return &entry;
    }
  }
  auto* const chunk = new Chunk;
  take(chunk->entries[0]);
  chunk->next = chunks;
  while (!chunks.compare_exchange_weak(chunk->next, chunk)) {
  }
  return chunk->entries.data();
}

// Of whoever took it.
void set(WatchedRange& entry, const BusGuard::Memory& memory, std::atomic<bool>* broken) {
  const auto begin = reinterpret_cast<uintptr_t>(memory.base);
  entry.version++;
  entry.begin = begin;
  entry.end = begin + memory.bytes;
  entry.protection = memory.protection;
  entry.broken = broken;
  entry.version++;
}

// --- the trap handler ------------------------------------------------------------------------------------

// It tells of an access, which comes again if nothing is done about it.
bool is_fault(const siginfo_t& info) { return info.si_code > 0 && info.si_code != BUS_MCEERR_AO; }

// True if zeros are there now.
bool replace(WatchedRange& entry, uintptr_t address) {
  // One that another thread changes again and again is another one's: so is one that stays odd.
  constexpr int kTriesMax = 100;
  for (int tries = 0; tries < kTriesMax; tries++) {
    const uint64_t version = entry.version;
    const uintptr_t begin = entry.begin;
    const uintptr_t end = entry.end;
    const int protection = entry.protection;
    std::atomic<bool>* const broken = entry.broken;
    if (version % 2 != 0 || entry.version != version) continue;
    if (address < begin || address >= end) return false;
    *broken = true;
    constexpr long kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return ::syscall(SYS_mmap, begin, end - begin, protection, kFlags, -1, 0) == static_cast<long>(begin);
  }
  return false;
}

bool replace(uintptr_t address) {
  for (Chunk* chunk = chunks; chunk != nullptr; chunk = chunk->next) {
    for (WatchedRange& entry : chunk->entries) {
      if (replace(entry, address)) return true;
    }
  }
  return false;
}

void pass_on(int signal, siginfo_t* info, void* context) {
  const struct sigaction& before = *previous.load();
  struct sigaction none{};
  none.sa_handler = SIG_DFL;
  if ((before.sa_flags & SA_RESETHAND) != 0)
    ::sigaction(signal, &none, nullptr);  // else it were called for ever
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  // The system ends a process that faults, also one that ignores the signal; one that was sent it ignores.
  const bool fault = is_fault(*info);
  if (!fault && before.sa_handler == SIG_IGN) return;
  ::sigaction(signal, &none, nullptr);
  if (!fault) ::raise(signal);  // delivered when this returns; a fault comes by itself
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool replaced =
      is_fault(*info) && info->si_code != BUS_ADRALN && replace(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = error;
  if (!replaced) pass_on(signal, info, context);
}

// Signal handlers belong to the process, and so does what was there before.
Status install() {
  static const int error = [] {
    static struct sigaction before{};
    if (::sigaction(SIGBUS, nullptr, &before) != 0) return errno;
    previous = &before;
    struct sigaction ours{};
    ours.sa_sigaction = &on_bus_error;
    ours.sa_mask = before.sa_mask;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | (before.sa_flags & (SA_NODEFER | SA_RESTART));
    return ::sigaction(SIGBUS, &ours, nullptr) == 0 ? 0 : errno;
  }();
  if (error == 0) return {};
  return Status::unavailable("no handler for SIGBUS can be installed: error {}", error);
}

}  // namespace

Result<BusGuard::Range> BusGuard::watch(const Memory& memory, std::atomic<bool>& broken) {
  SPORE_ASSERT(reinterpret_cast<uintptr_t>(memory.base) % kPageBytes == 0 && memory.bytes % kPageBytes == 0,
               "whole pages are watched");
  SPORE_TRY(install());
  WatchedRange* const entry = find_free();
  free_guess = entry->following;
  set(*entry, memory, &broken);
  watched_ranges++;
  return Range(entry);
}

void BusGuard::Range::end() {
  if (entry_ == nullptr) return;
  set(*entry_, {}, nullptr);
  entry_->taken = false;
  free_guess = std::exchange(entry_, nullptr);
  watched_ranges--;
}

size_t BusGuard::watched() { return watched_ranges; }

size_t BusGuard::room() {
  size_t entries = 0;
  for (const Chunk* chunk = chunks; chunk != nullptr; chunk = chunk->next) entries += chunk->entries.size();
  return entries;
}

}  // namespace spore::memory
