// What the kernel does to pages by itself, or when somebody turns a setting of the machine: huge pages,
// merged pages, swap.  None of it may keep a reset from putting back what a guest wrote.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/memory/slot.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::guards_differ;
using test::kPage;
using test::kWasmPage;
using test::new_slot;
using test::page_out;
using test::pattern;
using test::scanner;
using test::Start;
using test::SystemSettings;
using test::write_pages;

constexpr size_t kHugePage = size_t{2} << 20;
constexpr int kCollapse = 25;  // MADV_COLLAPSE, since 6.1

// Waits, not for long, for something that the kernel does in its own time.
bool soon(const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(800);
  while (std::chrono::steady_clock::now() < end) {
    if (done()) return true;
    ::usleep(2000);
  }
  return done();
}

size_t private_pages(const std::byte* base, size_t bytes) {
  std::vector<PageRun> runs;
  EXPECT_TRUE(scanner()->private_pages(base, bytes, 0, runs).ok());
  size_t pages = 0;
  for (const PageRun& run : runs) pages += run.bytes / kPage;
  return pages;
}

// Memory like a slot's, but for the advice against huge pages: it shows that the attack works.
class Bait {
 public:
  Bait() {
    mapping_ = static_cast<std::byte*>(::mmap(nullptr, 3 * kHugePage, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const auto at = reinterpret_cast<uintptr_t>(mapping_);
    base_ = mapping_ + (kHugePage - at % kHugePage);
  }
  ~Bait() { ::munmap(mapping_, 3 * kHugePage); }
  Bait(const Bait&) = delete;
  Bait& operator=(const Bait&) = delete;

  std::byte* base() const { return base_; }
  void touch() const { static_cast<volatile std::byte*>(base_)[0] = std::byte{1}; }
  size_t pages() const { return private_pages(base_, kHugePage); }

 private:
  std::byte* mapping_ = nullptr;
  std::byte* base_ = nullptr;
};

class SlotKernelTest : public testing::TestWithParam<FaultCounterKind> {
 protected:
  void SetUp() override {
    if (scanner() == nullptr) GTEST_SKIP() << "no PAGEMAP_SCAN";
    open(1000);
  }
  void open(size_t pages_max) {
    slot = new_slot({.capacity = 6 * kHugePage, .guard = kWasmPage});
    const ResetOptions options{.write_set_pages_max = pages_max, .fault_counter = GetParam()};
    ASSERT_TRUE(start.open(*slot, options).ok());
    ASSERT_TRUE(slot->reset().ok());
  }
  // A page in every huge page of the slot.
  static constexpr size_t kStride = 300;
  void call(size_t page) {
    slot->begin();
    write_pages(*slot, page, 6, kStride);
  }
  void expect_reset(size_t round) {
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << round;
  }

  Start start{pattern(700 * kPage), 4 * kHugePage};
  std::unique_ptr<Slot> slot;
};
INSTANTIATE_TEST_SUITE_P(Kinds, SlotKernelTest,
                         testing::Values(FaultCounterKind::kAuto, FaultCounterKind::kSystemCall,
                                         FaultCounterKind::kNone),
                         [](const auto& kind) { return std::string(fault_counter_name(kind.param)); });

// --- huge pages ---------------------------------------------------------------------------------------

// Clause 4: somebody asks for the slot's pages to be collapsed, in a call and between two.  It would make
// pages private and writable that no one wrote to.
TEST_P(SlotKernelTest, PagesCannotBeCollapsedByRequest) {
  const Bait bait;
  bait.touch();
  if (::madvise(bait.base(), kHugePage, kCollapse) != 0) {
    GTEST_SKIP() << "this kernel collapses nothing: " << std::strerror(errno);
  }
  EXPECT_EQ(bait.pages(), kHugePage / kPage);
  for (size_t round = 0; round < 20; round++) {
    call(round);
    std::jthread([&] {
      for (size_t at = 0; at < slot->capacity(); at += kHugePage) {
        std::byte* const page = slot->base() + at;
        EXPECT_NE(::madvise(page + (kHugePage - reinterpret_cast<uintptr_t>(page) % kHugePage), kHugePage,
                            kCollapse),
                  0);
      }
    }).join();
    write_pages(*slot, 100 + round, 6, kStride);
    expect_reset(round);
  }
  EXPECT_EQ(private_pages(slot->base(), slot->bytes()), slot->private_bytes() / kPage);
  EXPECT_LE(slot->private_bytes() / kPage, 240u);
}

// Where huge pages of all sizes are given to everybody, a first write makes one page private, in what is
// opened from the image, zeros, and what grew.
TEST_P(SlotKernelTest, AFirstWriteMakesOnePagePrivateWhereHugePagesAreForAll) {
  SystemSettings settings;
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  if (!settings.set(folder + "enabled", "always")) GTEST_SKIP() << "huge pages cannot be set here";
  for (const char* size : {"16", "32", "64", "128", "256", "512", "1024", "2048"}) {
    settings.set(folder + "hugepages-" + size + "kB/enabled", "always");  // those that there are
  }
  settings.set(folder + "shmem_enabled", "force");
  const Bait bait;
  bait.touch();
  if (bait.pages() == 1) GTEST_SKIP() << "the kernel gives no huge page all the same";
  open(1000);
  size_t written = 0;
  for (size_t round = 0; round < 10; round++) {
    call(2 * round + 1);
    written += 6;
    EXPECT_EQ(private_pages(slot->base(), slot->bytes()), written);
    expect_reset(round);
  }
  ASSERT_TRUE(slot->grow(6 * kHugePage).ok());
  write_pages(*slot, 5 * kHugePage / kPage + 7, 1);
  EXPECT_EQ(private_pages(slot->base(), slot->bytes()), written + 1);
  expect_reset(10);
}

// The kernel's own thread collapses whatever it may, as fast as it can, while calls and resets go on; until
// it has collapsed something on both sides of the slot.  On a busy machine it does not come to that.
using SlotKernelOnceTest = SlotKernelTest;
INSTANTIATE_TEST_SUITE_P(Kinds, SlotKernelOnceTest, testing::Values(FaultCounterKind::kAuto));

TEST_P(SlotKernelOnceTest, PagesAreNotCollapsedInTheBackground) {
  SystemSettings settings;
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  const Bait below;
  open(1000);
  const Bait above;
  for (const Bait* bait : {&below, &above}) {
    bait->touch();
    ASSERT_EQ(::madvise(bait->base(), kHugePage, MADV_HUGEPAGE), 0);
  }
  const bool set = settings.set(folder + "khugepaged/max_ptes_none", "511") &&
                   settings.set(folder + "khugepaged/pages_to_scan", "1000000") &&
                   settings.set(folder + "enabled", "always") &&
                   settings.set(folder + "khugepaged/alloc_sleep_millisecs", "1") &&
                   settings.set(folder + "khugepaged/scan_sleep_millisecs", "1");
  if (!set) GTEST_SKIP() << "huge pages cannot be set here";
  size_t round = 0;
  const bool collapsed = soon([&] {
    call(round++ % 250);
    expect_reset(round);
    return below.pages() > 1 && above.pages() > 1;
  });
  EXPECT_EQ(private_pages(slot->base(), slot->bytes()), slot->private_bytes() / kPage);
  if (!collapsed) GTEST_SKIP() << "the kernel collapses nothing in that time";
}

// --- merged pages -------------------------------------------------------------------------------------

size_t merged(const std::string& what) {
  std::ifstream file("/proc/self/ksm_stat");
  std::string name;
  for (size_t count = 0; file >> name;) {
    if (!(file >> count)) file.clear();  // "ksm_merge_any: no"
    if (name == what) return count;
  }
  return 0;
}

// Goal: a page that a guest made all zeros, over an image or not, is found though the kernel has put the
// shared zero page there in the middle of the call.  Likewise pages that it made equal, which the kernel then
// shares.
TEST_P(SlotKernelTest, PagesMergedByTheKernelAreReset) {
  SystemSettings settings;
  const std::string folder = "/sys/kernel/mm/ksm/";
  const bool set = settings.set(folder + "use_zero_pages", "1") &&
                   settings.set(folder + "pages_to_scan", "10000") &&
                   settings.set(folder + "sleep_millisecs", "1") && settings.set(folder + "run", "1");
  if (!set) GTEST_SKIP() << "merging of pages cannot be set here";
  if (::madvise(slot->base(), slot->bytes(), MADV_MERGEABLE) != 0)
    GTEST_SKIP() << "the kernel merges nothing";
  for (size_t round = 0; round < 3; round++) {
    slot->begin();
    const size_t page = 10 + 20 * round;
    std::memset(slot->base() + page * kPage, 0, 3 * kPage);            // over the image
    std::memset(slot->base() + (page + 10) * kPage, 0xab, 3 * kPage);  // equal ones
    std::memset(slot->base() + (page + 800) * kPage, 0xee, kPage);     // over zeros, and zeros again
    std::memset(slot->base() + (page + 800) * kPage, 0, kPage);
    if (!soon([] { return merged("ksm_zero_pages") >= 3 && merged("ksm_merging_pages") >= 3; })) {
      GTEST_SKIP() << "the kernel merges nothing in that time";
    }
    expect_reset(round);
    // In the write set, which holds zeros and equal pages, others may be merged now, and are written again.
    slot->begin();
    write_pages(*slot, page, 3);
    write_pages(*slot, page + 800, 1);
    expect_reset(round);
  }
  ASSERT_EQ(::madvise(slot->base(), slot->bytes(), MADV_UNMERGEABLE), 0);
  EXPECT_EQ(start.differs(*slot), "");
}

// --- pages that are swapped out -----------------------------------------------------------------------

// In the middle of a call, so that a written page is not in memory when it is to be found; between two, so
// that the write set is not; with room for all pages, and with so little that they are dropped.
TEST_P(SlotKernelTest, SwappedPagesAreReset) {
  const test::SwapFile swap;
  if (!swap.problem().empty()) GTEST_SKIP() << swap.problem();
  for (const size_t pages_max : {size_t{8}, size_t{1000}}) {
    open(pages_max);
    for (size_t round = 0; round < 5; round++) {
      call(10 * round);
      if (!page_out(slot->base(), slot->bytes(), 6)) GTEST_SKIP() << "the kernel does not page out";
      if (round % 2 == 0)
        static_cast<void>(static_cast<volatile std::byte*>(slot->base())[10 * round * kPage]);
      expect_reset(round);
      static_cast<void>(::madvise(slot->base(), slot->bytes(), MADV_PAGEOUT));
      call(10 * round);
      expect_reset(round);
      for (int look = 0; look < 70 && round == 4; look++) ASSERT_TRUE(slot->reset().ok());
      static_cast<void>(::madvise(slot->base(), slot->bytes(), MADV_PAGEOUT));
      slot->trim();
      EXPECT_EQ(start.differs(*slot), "") << "after a trim";
    }
  }
}

// What is swapped out is as much gone as all else when a slot is cleared.
TEST_P(SlotKernelTest, SwappedPagesAreCleared) {
  const test::SwapFile swap;
  if (!swap.problem().empty()) GTEST_SKIP() << swap.problem();
  ASSERT_TRUE(slot->grow(5 * kHugePage).ok());
  write_pages(*slot, 0, 8, kStride);
  if (!page_out(slot->base(), slot->bytes(), 8)) GTEST_SKIP() << "the kernel does not page out";
  ASSERT_TRUE(slot->clear().ok());
  EXPECT_EQ(guards_differ(*slot), "");
  Start zeros({}, 6 * kHugePage);
  ASSERT_TRUE(zeros.open(*slot).ok());
  EXPECT_EQ(zeros.differs(*slot), "");
}

// --- other advice -------------------------------------------------------------------------------------

// Advice that says how pages will be used, and tools that write-protect them to see which are: in the middle
// of a call and between two.
TEST_P(SlotKernelTest, AdviceOnUseDisturbsNoReset) {
  const UniqueFd marks(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
  const auto disturb = [&] {
    for (const int advice :
         {MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_RANDOM, MADV_SEQUENTIAL, MADV_NORMAL}) {
      EXPECT_EQ(::madvise(slot->base(), slot->bytes(), advice), 0) << advice;
    }
    for (const char* what : {"1", "4"}) static_cast<void>(!::write(marks.get(), what, 1));
  };
  for (size_t round = 0; round < 50; round++) {
    call(round % 20);
    disturb();
    write_pages(*slot, round, 3, kStride);
    expect_reset(round);
    disturb();
  }
}

}  // namespace
}  // namespace spore::memory
