// Which pages a slot keeps between calls, when it looks for them, and when it lets go of them.

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/memory/slot.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::fill;
using test::guards_differ;
using test::kPage;
using test::kShape;
using test::kWasmPage;
using test::new_slot;
using test::pattern;
using test::scanner;
using test::Start;
using test::write_pages;

struct Counts {
  uint64_t scans, drops, refilled, pages;
  auto operator<=>(const Counts&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Counts& counts) {
  return out << counts.scans << " scans, " << counts.drops << " drops, " << counts.refilled << " refilled, "
             << counts.pages << " pages";
}

Counts counts(const Slot& slot) {
  const ResetCounters& counters = slot.counters();
  return {counters.scans.value(), counters.drops.value(), counters.pages_refilled.value(),
          counters.pages.value()};
}

class WriteSetTest : public testing::TestWithParam<FaultCounterKind> {
 protected:
  void SetUp() override {
    if (scanner() == nullptr) GTEST_SKIP() << "no PAGEMAP_SCAN";
    if (GetParam() == FaultCounterKind::kMapped && !ThreadFaults::here().mark(GetParam()).mapped()) {
      GTEST_SKIP() << "perf events are denied here";
    }
  }
  // Opened, and reset once.
  void open(const SlotShape& shape, Start& start, size_t pages_max = ResetOptions().write_set_pages_max) {
    slot = new_slot(shape);
    ASSERT_TRUE(start.open(*slot, {.write_set_pages_max = pages_max, .fault_counter = GetParam()}).ok());
    ASSERT_TRUE(slot->reset().ok());
  }
  // A call that writes to some pages, and the reset after it.
  template <typename Call>
  Counts call(Call body) {
    const Counts before = counts(*slot);
    slot->begin();
    body();
    EXPECT_TRUE(slot->reset().ok());
    const Counts now = counts(*slot);
    return {now.scans - before.scans, now.drops - before.drops, now.refilled - before.refilled, now.pages};
  }

  std::unique_ptr<Slot> slot;
};
INSTANTIATE_TEST_SUITE_P(Kinds, WriteSetTest,
                         testing::Values(FaultCounterKind::kMapped, FaultCounterKind::kSystemCall,
                                         FaultCounterKind::kNone),
                         [](const auto& kind) { return std::string(fault_counter_name(kind.param)); });

TEST_P(WriteSetTest, WrittenPagesJoinAndAreRefilledFromThenOn) {
  Start start(pattern(20 * kPage), 16 * kWasmPage);
  open(kShape, start);
  EXPECT_EQ(counts(*slot).pages, 0u);
  EXPECT_EQ(call([&] { write_pages(*slot, 3, 2); }), (Counts{1, 0, 2, 2}));
  EXPECT_EQ(start.differs(*slot), "");
  EXPECT_EQ(call([&] { write_pages(*slot, 4, 1, 0); }).pages, 2u);
  EXPECT_EQ(call([&] { write_pages(*slot, 18, 4); }), (Counts{1, 0, 6, 6}));  // across the image's end
  EXPECT_EQ(start.differs(*slot), "");
  EXPECT_EQ(call([] {}).refilled, 6u);
  EXPECT_EQ(slot->private_bytes(), 6 * kPage);
  for (int i = 0; i < 10; i++) {
    EXPECT_EQ(call([&] { write_pages(*slot, 3, 1 + static_cast<size_t>(i) % 2); }).pages, 6u);
    EXPECT_EQ(start.differs(*slot), "");
  }
}

// Reading is not writing.
TEST_P(WriteSetTest, PagesThatAreReadDoNotJoin) {
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  open(kShape, start);
  EXPECT_EQ(call([&] {
              for (size_t page = 0; page < 64; page++)
                static_cast<void>(static_cast<volatile std::byte*>(slot->base())[page * kPage]);
            }).pages,
            0u);
}

// 128 written pages are kept, 129 are all dropped; then it starts over.  Likewise with other limits.
TEST_P(WriteSetTest, OnePageAboveTheLimitDropsAll) {
  for (const size_t limit : {size_t{1}, size_t{2}, size_t{128}, size_t{500}}) {
    Start start(pattern(300 * kPage), 64 * kWasmPage);
    open({.capacity = 64 * kWasmPage, .guard = kWasmPage}, start, limit);
    EXPECT_EQ(call([&] { write_pages(*slot, 0, limit - 1); }).pages, limit - 1);
    EXPECT_EQ(call([&] { write_pages(*slot, 0, limit); }), (Counts{1, 0, limit, limit}));
    EXPECT_EQ(start.differs(*slot), "");
    EXPECT_EQ(call([&] { write_pages(*slot, 0, limit + 1); }), (Counts{1, 1, 0, 0}));
    EXPECT_EQ(start.differs(*slot), "");
    EXPECT_EQ(call([&] { write_pages(*slot, 7, limit); }), (Counts{1, 0, limit, limit}));
    EXPECT_EQ(start.differs(*slot), "");
    // One page more, though each call by itself writes few.
    EXPECT_EQ(call([&] { write_pages(*slot, 600, 1); }), (Counts{1, 1, 0, 0}));
    EXPECT_EQ(start.differs(*slot), "");
  }
}

TEST_P(WriteSetTest, ALimitOfZeroAlwaysDrops) {
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  open(kShape, start, 0);
  for (size_t i = 0; i < 5; i++) {
    EXPECT_EQ(call([&] { write_pages(*slot, i, 2); }), (Counts{0, 1, 0, 0}));
    EXPECT_EQ(start.differs(*slot), "");
  }
}

// The same where the system has no scanner.
TEST_P(WriteSetTest, WithoutAScannerEachResetDrops) {
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  slot = Slot::create(kShape, nullptr).value();
  ASSERT_TRUE(start.open(*slot, {.fault_counter = GetParam()}).ok());
  for (size_t i = 0; i < 5; i++) {
    EXPECT_EQ(call([&] { write_pages(*slot, 18 + i, 2); }), (Counts{0, 1, 0, 0}));
    EXPECT_EQ(start.differs(*slot), "");
    ASSERT_TRUE(slot->grow(8 * kWasmPage).ok());
    EXPECT_EQ(call([&] { fill(*slot); }), (Counts{0, 1, 0, 0}));
    EXPECT_EQ(start.differs(*slot), "");
  }
}

// Goal: one huge call does not make later ones slow.  Method: 80 MB are written once; then small calls have
// no drop, a write set of their own size, and as few scans as ever.
TEST_P(WriteSetTest, OneHugeCallLeavesSmallOnesAsTheyWere) {
  constexpr size_t kBytes = size_t{96} << 20;
  Start start(pattern(20 * kPage), kBytes);
  open({.capacity = kBytes, .guard = kWasmPage}, start);
  const auto small = [&] { return call([&] { write_pages(*slot, 10, 3); }); };
  for (int i = 0; i < 3; i++) EXPECT_EQ(small().pages, 3u);
  EXPECT_EQ(call([&] { std::memset(slot->base() + kPage + 1, 0xee, 80'000'000); }), (Counts{1, 1, 0, 0}));
  EXPECT_EQ(start.differs(*slot), "");
  uint64_t scans = 0;
  for (int i = 0; i < 50; i++) {
    const Counts counted = small();
    EXPECT_EQ(counted.drops, 0u);
    EXPECT_EQ(counted.pages, 3u);
    scans += counted.scans;
  }
  EXPECT_EQ(start.differs(*slot), "");
  EXPECT_LE(scans, GetParam() == FaultCounterKind::kNone ? 50u : 5u);
}

// Calls that write only where earlier ones did take no fault, and so no scan; but where nothing counts
// faults, each reset scans.
TEST_P(WriteSetTest, AScanIsSkippedIfThereWasNoFault) {
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  open(kShape, start);
  const auto usual = [&] { return call([&] { write_pages(*slot, 15, 10); }).scans; };
  for (int i = 0; i < 3; i++) usual();
  uint64_t scans = 0;
  for (int i = 0; i < 100; i++) scans += usual();
  EXPECT_EQ(start.differs(*slot), "");
  if (GetParam() == FaultCounterKind::kNone) {
    EXPECT_EQ(scans, 100u);
  } else {
    EXPECT_LE(scans, 5u);  // the system may take a page of ours for a moment
  }
  EXPECT_EQ(call([&] { write_pages(*slot, 2, 1); }).scans, 1u);
  EXPECT_EQ(call([&] { slot->touched(); }).scans, 1u);
}

// Faults between two calls, of the host, are none of the guest's: begin() leaves them out where that is for
// free.
TEST_P(WriteSetTest, FaultsBeforeACallBeginsCostNoScanIfTheCounterIsMapped) {
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  open(kShape, start);
  write_pages(*slot, 3, 1);
  ASSERT_TRUE(slot->reset().ok());
  const size_t bytes = 200 * kPage;
  void* const fresh = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(fresh, MAP_FAILED);
  ::madvise(fresh, bytes, MADV_NOHUGEPAGE);
  uint64_t scans = 0;
  for (size_t i = 0; i < 100; i++) {
    static_cast<volatile std::byte*>(fresh)[i * kPage] = std::byte{1};
    scans += call([&] { write_pages(*slot, 3, 1); }).scans;
  }
  ::munmap(fresh, bytes);
  EXPECT_EQ(start.differs(*slot), "");
  if (GetParam() == FaultCounterKind::kMapped) {
    EXPECT_LE(scans, 5u);
  } else {
    EXPECT_EQ(scans, 100u);
  }
}

// Goal: what calls stop writing to leaves the write set.  Method: 20 pages are written, then only 10 of them;
// in 64 resets the others have been found quiet 8 times, and trim() gives them back, and no others.
TEST_P(WriteSetTest, QuietPagesAreTrimmed) {
  Start start(pattern(30 * kPage), 4 * kWasmPage);
  open(kShape, start);
  EXPECT_EQ(call([&] { write_pages(*slot, 20, 20); }).pages, 20u);
  const auto half = [&] { return call([&] { write_pages(*slot, 20, 10, 2); }).pages; };
  for (int i = 0; i < 50; i++) half();
  slot->trim();
  EXPECT_EQ(counts(*slot).pages, 20u);  // too early
  for (int i = 0; i < 24; i++) half();
  EXPECT_EQ(counts(*slot).pages, 20u);  // nothing leaves but by trim()
  slot->trim();
  EXPECT_EQ(counts(*slot).pages, 10u);
  EXPECT_EQ(start.differs(*slot), "");
  std::vector<PageRun> own;
  ASSERT_TRUE(scanner()->private_pages(slot->base(), slot->bytes(), 0, own).ok());
  EXPECT_EQ(own.size(), 10u);  // they are not only forgotten
  // What left joins again when it is written.
  EXPECT_EQ(call([&] { write_pages(*slot, 20, 20); }).pages, 20u);
  EXPECT_EQ(start.differs(*slot), "");
  for (int i = 0; i < 80; i++) half();
  slot->trim();
  EXPECT_EQ(half(), 10u);
  EXPECT_EQ(start.differs(*slot), "");
}

// A page that is written with what it had anyway is quiet; one that is written in one call of eight or of
// nine is found so at some looks and not at others, and stays.
TEST_P(WriteSetTest, APageThatIsWrittenNowAndThenStays) {
  Start start(pattern(30 * kPage), 4 * kWasmPage);
  open(kShape, start);
  EXPECT_EQ(call([&] { write_pages(*slot, 0, 20); }).pages, 20u);
  for (int i = 0; i < 200; i++) {
    call([&] {
      if (i % 9 == 0) write_pages(*slot, 0, 20);
    });
    slot->trim();
  }
  EXPECT_EQ(counts(*slot).pages, 20u);
  EXPECT_EQ(start.differs(*slot), "");
}

// Few pages cost less to refill than to look at.
TEST_P(WriteSetTest, AFewPagesAreNeverTrimmed) {
  Start start(pattern(30 * kPage), 4 * kWasmPage);
  open(kShape, start);
  EXPECT_EQ(call([&] { write_pages(*slot, 0, 8); }).pages, 8u);
  for (int i = 0; i < 100; i++) call([] {});
  slot->trim();
  EXPECT_EQ(counts(*slot).pages, 8u);
}

// Goal: a guest cannot make its slot hold more than the limit by growing.  Method: it grows to ever smaller
// sizes and writes, each time, pages that no later growth comes near to.
TEST_P(WriteSetTest, GrowthLeavesNoMorePagesBehindThanTheLimit) {
  constexpr size_t kLimit = 32;
  constexpr size_t kBytes = size_t{6} << 20;
  Start start(pattern(kPage), kWasmPage);
  open({.capacity = kBytes, .guard = kWasmPage}, start, kLimit);
  for (size_t bytes = kBytes; bytes > start.bytes(); bytes -= 2 * kWasmPage) {
    ASSERT_TRUE(slot->grow(bytes).ok());
    Start grown(pattern(kPage), bytes);
    ASSERT_EQ(grown.differs(*slot), "");
    write_pages(*slot, bytes / kPage - 30, 30);
    ASSERT_TRUE(slot->reset().value());
    ASSERT_EQ(start.differs(*slot), "");
    std::vector<PageRun> own;
    ASSERT_TRUE(scanner()->private_pages(slot->base(), kBytes, 0, own).ok());
    size_t pages = 0;
    for (const PageRun& run : own) pages += run.bytes / kPage;
    ASSERT_LE(pages, kLimit) << bytes;
    slot->begin();
  }
}

// --- everything at once -------------------------------------------------------------------------------

// Random lives of two slots that one thread uses in turns: writes of all lengths, growth, trims, moves to
// another thread, other memories.  After each reset every byte is compared, by a system call, so that scans
// stay skipped.
TEST_P(WriteSetTest, RandomLivesLeaveNoTrace) {
  const auto seed = static_cast<uint64_t>(std::time(nullptr));
  SCOPED_TRACE("seed " + std::to_string(seed));
  uint64_t state = seed;
  const auto random = [&state](size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % below;
  };
  std::vector<Start> starts;
  starts.emplace_back(std::vector<std::byte>(), 4 * kWasmPage);
  starts.emplace_back(pattern(13 * kPage + 100), 2 * kWasmPage);
  std::vector<std::byte> gaps = pattern(30 * kPage);
  std::fill_n(&gaps[5 * kPage], 9 * kPage, std::byte{0});
  starts.emplace_back(std::move(gaps), 3 * kWasmPage);

  struct Used {
    std::unique_ptr<Slot> slot;
    Start* start = nullptr;
  };
  std::array<Used, 2> slots;
  for (Used& used : slots) used.slot = new_slot({.capacity = 8 * kWasmPage, .guard = kWasmPage});
  for (int call = 0; call < 1500; call++) {
    auto& [used, start] = slots[random(2)];
    if (start == nullptr || random(100) == 0) {
      ASSERT_TRUE(used->clear().ok());
      start = &starts[random(starts.size())];
      const ResetOptions options{.write_set_pages_max = random(40), .fault_counter = GetParam()};
      ASSERT_TRUE(start->open(*used, options).ok());
    } else if (random(3) != 0) {
      used->begin();
    }
    for (size_t writes = random(6); writes > 0; writes--) {
      if (random(10) == 0) {
        ASSERT_TRUE(used->grow(std::min(used->capacity(), used->bytes() + kWasmPage)).ok());
      }
      const size_t at = random(used->bytes());
      std::memset(used->base() + at, static_cast<int>(random(256)),
                  std::min(random(3 * kPage), used->bytes() - at));
    }
    if (random(20) == 0) {
      std::jthread([&slot = *used] { EXPECT_TRUE(slot.reset().ok()); });
    } else {
      ASSERT_TRUE(used->reset().ok());
    }
    ASSERT_EQ(start->differs(*used), "") << call;
    if (random(10) == 0) used->trim();
    ASSERT_EQ(start->differs(*used), "") << "after a trim, " << call;
    ASSERT_EQ(call % 100 == 0 ? guards_differ(*used) : "", "") << call;
  }
}

}  // namespace
}  // namespace spore::memory
