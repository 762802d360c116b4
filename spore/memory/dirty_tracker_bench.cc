// What it costs to know which pages of a memory of 16 MiB changed: to begin, to ask, and what each write
// pays, beside the same writes untracked.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "spore/memory/dirty_tracker.h"
#include "spore/memory/slot.h"

namespace spore::memory {
namespace {

constexpr size_t kPages = 4096;
constexpr size_t kBytes = kPages * kPageBytes;
constexpr SlotShape kShape{.capacity = kBytes, .guard = 64 * 1024};

TrackingOptions options_of(TrackingKind kind) {
  static const auto kProtector = [] {
    auto made = WriteProtector::create();
    return std::shared_ptr<const WriteProtector>(made.ok() ? std::move(made).value() : nullptr);
  }();
  static const auto kScanner = [] {
    auto made = PageScanner::create();
    return std::shared_ptr<const PageScanner>(made.ok() ? std::move(made).value() : nullptr);
  }();
  return {.kind = kind, .protector = kProtector, .scanner = kScanner};
}

// A memory that begins with an image of 16 MiB, some pages of which are private.
struct Memory {
  explicit Memory(size_t private_pages) {
    static const auto kImage = PageImage::create(std::vector<std::byte>(kBytes, std::byte{1})).value();
    slot = Slot::create(kShape, nullptr).value();
    SPORE_ASSERT(slot->open(kBytes, kImage).ok(), "opened");
    write(private_pages);
  }
  // One byte in each of so many pages, all over the memory.
  void write(size_t pages) {
    value = static_cast<std::byte>(static_cast<uint8_t>(value) + 1);
    for (size_t i = 0; i < pages; i++) {
      volatile std::byte* const at = slot->base() + i * (kPages / pages) * kPageBytes;
      *at = value;
    }
  }
  bool track(TrackingKind kind) const {
    return slot->track(std::make_unique<DirtyTracker>(options_of(kind))).ok();
  }
  std::unique_ptr<Slot> slot;
  std::byte value{};
};

// To begin and to end.  range(0): private pages.
void BM_BeginAndEndTracking(benchmark::State& state, TrackingKind kind) {
  Memory memory(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    if (!memory.track(kind)) return state.SkipWithError("not here");
    memory.slot->stop_tracking();
  }
}

// A point, after so many of the private pages were written: range(0).
void BM_TakeDirtyPages(benchmark::State& state, TrackingKind kind) {
  Memory memory(kPages / 4);
  if (!memory.track(kind)) return state.SkipWithError("not here");
  const auto pages = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    memory.write(pages);
    state.ResumeTiming();
    benchmark::DoNotOptimize(memory.slot->tracker()->take());
  }
}

// So many writes, and the point after them: range(0).  Untracked: the writes alone.
void BM_WriteAndTake(benchmark::State& state, TrackingKind kind) {
  Memory memory(kPages / 4);
  const auto pages = static_cast<size_t>(state.range(0));
  const bool tracked = kind != TrackingKind::kAuto;
  if (tracked && !memory.track(kind)) return state.SkipWithError("not here");
  for (auto _ : state) {
    memory.write(pages);
    if (tracked) benchmark::DoNotOptimize(memory.slot->tracker()->take());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// The first use of 1024 pages of the image, one in four: to write to each, or to read it.
void BM_FirstUse(benchmark::State& state, bool tracked, bool write) {
  constexpr size_t kUsed = kPages / 4;
  for (auto _ : state) {
    state.PauseTiming();
    auto memory = std::make_unique<Memory>(0);
    if (tracked && !memory->track(TrackingKind::kWriteProtect)) return state.SkipWithError("not here");
    state.ResumeTiming();
    if (write) {
      memory->write(kUsed);
    } else {
      const volatile std::byte* const base = memory->slot->base();
      for (size_t i = 0; i < kUsed; i++) static_cast<void>(base[4 * i * kPageBytes]);
    }
    state.PauseTiming();
    memory = nullptr;
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * int64_t{kUsed});
}

BENCHMARK_CAPTURE(BM_BeginAndEndTracking, protect, TrackingKind::kWriteProtect)->Arg(0)->Arg(128)->Arg(4096);
BENCHMARK_CAPTURE(BM_BeginAndEndTracking, compare, TrackingKind::kCompare)->Arg(0)->Arg(128)->Arg(4096);
BENCHMARK_CAPTURE(BM_TakeDirtyPages, protect, TrackingKind::kWriteProtect)->Arg(0)->Arg(16)->Arg(1024);
BENCHMARK_CAPTURE(BM_TakeDirtyPages, compare, TrackingKind::kCompare)->Arg(0)->Arg(16)->Arg(1024);
BENCHMARK_CAPTURE(BM_WriteAndTake, untracked, TrackingKind::kAuto)->Arg(16)->Arg(1024);
BENCHMARK_CAPTURE(BM_WriteAndTake, protect, TrackingKind::kWriteProtect)->Arg(16)->Arg(1024);
BENCHMARK_CAPTURE(BM_WriteAndTake, compare, TrackingKind::kCompare)->Arg(16)->Arg(1024);
BENCHMARK_CAPTURE(BM_FirstUse, write_untracked, false, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FirstUse, write_protect, true, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FirstUse, read_untracked, false, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FirstUse, read_protect, true, false)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace spore::memory
