#include "spore/memory/dirty_tracker.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <list>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fork.h"
#include "spore/memory/slot.h"
#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {

std::ostream& operator<<(std::ostream& out, const PageRun& run) {
  return out << run.offset / kPageBytes << "+" << run.bytes / kPageBytes;
}

namespace {

using test::in_child;
using test::kPage;
using test::kWasmPage;
using test::pattern;
using test::scanner;
using test::Start;

constexpr int kDontNeedLocked = 24;

// Null where the system has none.
std::shared_ptr<const WriteProtector> protector() {
  static const std::shared_ptr<const WriteProtector> made = []() -> decltype(made) {
    auto result = WriteProtector::create();
    if (!result.ok()) return nullptr;
    return std::move(result).value();
  }();
  return made;
}

// The ways to track: by write protection, by comparing what a scan finds, by comparing all.
enum class Way : uint8_t { kProtect, kCompareFound, kCompareAll };

std::string name_of(Way way) {
  constexpr std::array kNames{"Protect", "CompareFound", "CompareAll"};
  return kNames[static_cast<size_t>(way)];
}

TrackingOptions options_of(Way way) {
  if (way == Way::kProtect) return {.kind = TrackingKind::kWriteProtect, .protector = protector()};
  return {.kind = TrackingKind::kCompare, .scanner = way == Way::kCompareFound ? scanner() : nullptr};
}

// Why it cannot be used here; "" if it can.
std::string problem_of(Way way) {
  if (way == Way::kProtect && protector() == nullptr) return "no write protection by userfaultfd";
  if (way == Way::kCompareFound && scanner() == nullptr) return "no PAGEMAP_SCAN";
  return "";
}

std::vector<PageRun> runs_of(const std::set<size_t>& pages) {
  std::vector<PageRun> runs;
  for (const size_t page : pages) append_run(runs, page * kPage, kPage);
  return runs;
}

// A private mapping: of an image, then of zeros, as in a slot.
class Memory {
 public:
  explicit Memory(size_t pages, std::shared_ptr<const PageImage> image = nullptr)
      : bytes_(pages * kPage), image_(std::move(image)) {
    base_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (image_ != nullptr) {
      EXPECT_EQ(::mmap(base_, image_->mapped_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                       image_->fd(), 0),
                base_);
    }
    ::madvise(base_, bytes_, MADV_NOHUGEPAGE);
  }
  ~Memory() { ::munmap(base_, bytes_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  const std::shared_ptr<const PageImage>& image() const { return image_; }
  // Changes a byte, as a guest does.
  void write(size_t page, size_t at = 7) const {
    volatile auto* byte = reinterpret_cast<volatile unsigned char*>(base_ + page * kPage + at);
    *byte = *byte ^ 0x55;
  }
  void read(size_t page) const {
    const volatile std::byte* byte = base_ + page * kPage;
    static_cast<void>(*byte);
  }
  void drop(size_t page, size_t pages = 1) const {
    ASSERT_EQ(::madvise(base_ + page * kPage, pages * kPage, MADV_DONTNEED), 0);
  }

 private:
  size_t bytes_;
  std::byte* base_;
  std::shared_ptr<const PageImage> image_;
};

std::shared_ptr<const PageImage> image_of(size_t pages) {
  std::vector<std::byte> bytes = pattern(pages * kPage);
  std::fill_n(bytes.begin() + 2 * kPage, kPage, std::byte{0});  // a hole
  return PageImage::create(bytes).value();
}

class DirtyTrackerTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    if (const std::string problem = problem_of(GetParam()); !problem.empty()) GTEST_SKIP() << problem;
  }
  static Status start(DirtyTracker& tracker, const Memory& memory) {
    return tracker.start(memory.base(), memory.bytes(), memory.image());
  }
  static std::vector<PageRun> take(DirtyTracker& tracker) {
    Result<std::vector<PageRun>> runs = tracker.take();
    EXPECT_TRUE(runs.ok()) << runs.status().message();
    return runs.ok() ? std::move(runs).value() : std::vector<PageRun>{{1, 1}};
  }

  DirtyTracker tracker{options_of(GetParam())};
};
INSTANTIATE_TEST_SUITE_P(Ways, DirtyTrackerTest,
                         testing::Values(Way::kProtect, Way::kCompareFound, Way::kCompareAll),
                         [](const auto& way) { return name_of(way.param); });

// --- exactness -------------------------------------------------------------------------------------------

// Of pages of an image, of its holes and of zeros; used before the point or not, private before it or not.
// The first and the last byte of a page tell of it and not of its neighbour.
TEST_P(DirtyTrackerTest, ExactlyThePagesWrittenSinceThePointAreDirty) {
  const Memory memory(24, image_of(16));
  for (const size_t page : {0, 1, 9, 17}) memory.write(page);
  for (const size_t page : {3, 4, 18, 19}) memory.read(page);
  ASSERT_TRUE(start(tracker, memory).ok());
  EXPECT_TRUE(tracker.is_tracking());
  EXPECT_EQ(tracker.kind(),
            GetParam() == Way::kProtect ? TrackingKind::kWriteProtect : TrackingKind::kCompare);
  EXPECT_EQ(tracker.bytes(), memory.bytes());
  EXPECT_EQ(tracker.dirty_count().value(), 0u);
  for (size_t page = 0; page < 24; page++) memory.read(page);
  EXPECT_EQ(tracker.dirty_runs().value(), std::vector<PageRun>());

  memory.write(0, 0);           // was private
  memory.write(2, kPage - 1);   // a hole
  memory.write(4, kPage - 1);   // was read
  memory.write(5, 0);           // was never used
  memory.write(15, kPage - 1);  // the image's last
  memory.write(16, 0);          // the first of zeros
  memory.write(19);
  memory.write(23, kPage - 1);
  const std::vector<PageRun> expected = runs_of({0, 2, 4, 5, 15, 16, 19, 23});
  EXPECT_EQ(tracker.dirty_runs().value(), expected);
  EXPECT_EQ(tracker.dirty_count().value(), 8u);
  for (size_t page = 0; page < 24; page++) {
    const bool dirty = std::set<size_t>{0, 2, 4, 5, 15, 16, 19, 23}.contains(page);
    EXPECT_EQ(tracker.is_dirty(page).value(), dirty) << page;
  }
  EXPECT_EQ(take(tracker), expected);
}

// Each point begins anew, and asking does not begin one.
TEST_P(DirtyTrackerTest, APointForgetsWhatWasBefore) {
  const Memory memory(16, image_of(8));
  ASSERT_TRUE(start(tracker, memory).ok());
  EXPECT_EQ(tracker.sequence(), 1u);
  for (size_t round = 0; round < 5; round++) {
    memory.write(round);
    memory.write(15);
    const std::vector<PageRun> expected = runs_of({round, 15});
    EXPECT_EQ(tracker.dirty_runs().value(), expected);
    EXPECT_EQ(tracker.dirty_runs().value(), expected);
    EXPECT_EQ(tracker.sequence(), round + 1);
    EXPECT_EQ(take(tracker), expected);
    EXPECT_EQ(tracker.sequence(), round + 2);
    EXPECT_EQ(take(tracker), std::vector<PageRun>());
    ASSERT_TRUE(tracker.clear().ok());
    memory.write(9);
    ASSERT_TRUE(tracker.clear().ok());
    EXPECT_EQ(take(tracker), std::vector<PageRun>());
    tracker.stop();
    ASSERT_TRUE(start(tracker, memory).ok());
    for (size_t i = 0; i <= round; i++) ASSERT_TRUE(tracker.clear().ok());
  }
}

// Far more runs than one call of the kernel has room for.
TEST_P(DirtyTrackerTest, ThousandsOfRunsAreAllFound) {
  for (const size_t runs : {size_t{63}, size_t{64}, size_t{65}, size_t{128}, size_t{5'000}}) {
    const Memory memory(2 * runs);
    ASSERT_TRUE(start(tracker, memory).ok());
    std::set<size_t> pages;
    for (size_t i = 0; i < runs; i++) {
      memory.write(2 * i + 1);
      pages.insert(2 * i + 1);
    }
    EXPECT_EQ(take(tracker), runs_of(pages)) << runs;
    EXPECT_EQ(take(tracker), std::vector<PageRun>()) << runs;
    tracker.stop();
  }
}

// What the system itself writes for a guest's calls is as dirty as what the guest writes; so is what another
// thread writes.
TEST_P(DirtyTrackerTest, WritesByTheKernelAndByOtherThreadsAreFound) {
  const Memory memory(64, image_of(32));
  for (const size_t page : {1, 40}) memory.write(page);
  ASSERT_TRUE(start(tracker, memory).ok());
  for (int round = 0; round < 3; round++) {
    const UniqueFd random(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    // Across the end of page 1; of pages that were private, of the image, of zeros.
    ASSERT_EQ(::read(random.get(), memory.base() + 2 * kPage - 100, 200), 200);
    ASSERT_EQ(::read(random.get(), memory.base() + 20 * kPage, 100), 100);
    ASSERT_EQ(::read(random.get(), memory.base() + 40 * kPage, 100), 100);
    ASSERT_EQ(::read(random.get(), memory.base() + 50 * kPage, 100), 100);
    const std::vector<std::byte> bytes = pattern(kPage, static_cast<uint64_t>(round) + 5);
    const iovec local{const_cast<std::byte*>(bytes.data()), kPage};
    const iovec remote{memory.base() + 60 * kPage, kPage};
    ASSERT_EQ(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0), static_cast<ssize_t>(kPage));
    std::jthread([&] { memory.write(30); }).join();
    EXPECT_EQ(take(tracker), runs_of({1, 2, 20, 30, 40, 50, 60})) << round;
  }
}

TEST_P(DirtyTrackerTest, LockedPagesAreTracked) {
  const Memory memory(16, image_of(8));
  memory.write(1);
  if (::mlock(memory.base(), memory.bytes()) != 0) GTEST_SKIP() << "mlock: " << std::strerror(errno);
  ASSERT_TRUE(start(tracker, memory).ok());
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
  for (const size_t page : {1, 3, 12}) memory.write(page);
  EXPECT_EQ(take(tracker), runs_of({1, 3, 12}));
  // To drop such pages takes a call of its own; it is marked like the other.
  ASSERT_EQ(::madvise(memory.base() + 3 * kPage, kPage, kDontNeedLocked), 0);
  tracker.mark_range(3 * kPage, kPage);
  EXPECT_EQ(take(tracker), runs_of({3}));
  ASSERT_EQ(::munlock(memory.base(), memory.bytes()), 0);
  memory.write(4);
  EXPECT_EQ(take(tracker), runs_of({4}));
}

// Goal: pages that are swapped out are told apart by whether they were written, in memory or not.
TEST_P(DirtyTrackerTest, SwappedPagesAreTracked) {
  const test::SwapFile swap;
  if (!swap.problem().empty()) GTEST_SKIP() << swap.problem();
  const Memory memory(16, image_of(8));
  for (const size_t page : {1, 2, 12, 13}) memory.write(page);
  ASSERT_TRUE(start(tracker, memory).ok());
  memory.write(2);
  memory.write(13);
  if (!test::page_out(memory.base(), memory.bytes(), 4)) GTEST_SKIP() << "the kernel does not page out";
  EXPECT_EQ(tracker.dirty_runs().value(), runs_of({2, 13}));
  EXPECT_EQ(take(tracker), runs_of({2, 13}));
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
  memory.write(12);
  memory.read(1);
  EXPECT_EQ(take(tracker), runs_of({12}));
}

// --- what has to be said ---------------------------------------------------------------------------------

// Goal: a page that goes back to what the image has is dirty, if whoever dropped it says so, though its write
// lies before the point, and though the kernel forgets a write after it.
TEST_P(DirtyTrackerTest, DroppedPagesThatAreMarkedAreDirty) {
  const Memory memory(24, image_of(16));
  ASSERT_TRUE(start(tracker, memory).ok());
  for (const size_t page : {1, 5, 20}) memory.write(page);
  EXPECT_EQ(take(tracker), runs_of({1, 5, 20}));
  memory.write(5);
  for (const size_t page : {1, 5, 20}) {
    memory.drop(page);
    tracker.mark_range(page * kPage, kPage);
  }
  EXPECT_EQ(take(tracker), runs_of({1, 5, 20}));
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
  for (const size_t page : {1, 5, 20}) memory.write(page);
  EXPECT_EQ(take(tracker), runs_of({1, 5, 20}));
}

// A mark is of whole pages, and does not care what lies beyond the memory.
TEST_P(DirtyTrackerTest, MarksReachAsFarAsTheyTouchPages) {
  const Memory memory(200);
  ASSERT_TRUE(start(tracker, memory).ok());
  tracker.mark_range(5 * kPage, 0);
  tracker.mark_range(200 * kPage, kPage);
  tracker.mark_range(300 * kPage, kPage);
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
  tracker.mark_range(3 * kPage + 10, 1);
  tracker.mark_range(6 * kPage - 1, 2);
  tracker.mark_range(60 * kPage, 70 * kPage);
  tracker.mark_range(199 * kPage, SIZE_MAX);
  const std::vector<PageRun> expected{
      {3 * kPage, kPage}, {5 * kPage, 2 * kPage}, {60 * kPage, 70 * kPage}, {199 * kPage, kPage}};
  EXPECT_TRUE(tracker.is_dirty(129).value());
  EXPECT_FALSE(tracker.is_dirty(130).value());
  EXPECT_EQ(tracker.dirty_count().value(), 74u);
  EXPECT_EQ(take(tracker), expected);
}

// What could not be stored comes again, with what changed since, until it was stored.
TEST_P(DirtyTrackerTest, RunsThatAreGivenBackAreDirtyAgain) {
  const Memory memory(16);
  ASSERT_TRUE(start(tracker, memory).ok());
  memory.write(3);
  memory.write(4);
  for (size_t round = 0; round < 3; round++) {
    const std::vector<PageRun> taken = take(tracker);
    memory.write(10 + round);
    tracker.give_back(taken);
  }
  EXPECT_EQ(take(tracker), runs_of({3, 4, 10, 11, 12}));
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
}

TEST_P(DirtyTrackerTest, WhatIsNotTrackedIsAnErrorAndNotClean) {
  const Memory memory(16);
  const auto expect_nothing = [&] {
    EXPECT_FALSE(tracker.is_tracking());
    EXPECT_EQ(tracker.kind(), TrackingKind::kAuto);
    EXPECT_EQ(tracker.take().status().code(), Code::kUnavailable);
    EXPECT_EQ(tracker.clear().code(), Code::kUnavailable);
    EXPECT_EQ(tracker.dirty_runs().status().code(), Code::kUnavailable);
    EXPECT_EQ(tracker.dirty_count().status().code(), Code::kUnavailable);
    EXPECT_EQ(tracker.is_dirty(3).status().code(), Code::kUnavailable);
    tracker.mark_range(0, kPage);
    tracker.grow(32 * kPage);
    tracker.give_back(runs_of({1}));
  };
  expect_nothing();
  ASSERT_TRUE(start(tracker, memory).ok());
  memory.write(3);
  EXPECT_TRUE(tracker.is_dirty(3).value());
  tracker.stop();
  tracker.stop();
  expect_nothing();
  ASSERT_TRUE(start(tracker, memory).ok());
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
}

TEST_P(DirtyTrackerTest, AMemoryOfNoPagesHasNoneDirty) {
  const Memory memory(1);
  ASSERT_TRUE(tracker.start(memory.base(), 0, nullptr).ok());
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
  memory.write(0);
  tracker.grow(kPage);
  EXPECT_EQ(take(tracker), runs_of({0}));
  EXPECT_EQ(take(tracker), std::vector<PageRun>());
}

// --- several ---------------------------------------------------------------------------------------------

TEST_P(DirtyTrackerTest, TwoMemoriesAreTrackedApart) {
  const auto image = image_of(8);
  const Memory one(16, image);
  const Memory two(16, image);
  DirtyTracker other(options_of(GetParam()));
  ASSERT_TRUE(start(tracker, one).ok());
  one.write(1);
  ASSERT_TRUE(start(other, two).ok());
  one.write(2);
  two.write(3);
  EXPECT_EQ(take(tracker), runs_of({1, 2}));
  two.write(12);
  EXPECT_EQ(take(other), runs_of({3, 12}));
  tracker.stop();
  two.write(3);
  one.write(5);
  EXPECT_EQ(take(other), runs_of({3}));
}

// Goal: no part of a memory is watched twice, where each would take away what the other waits for.
TEST(DirtyTrackerKernelTest, MemoryThatIsTrackedCannotBeTrackedAgain) {
  if (protector() == nullptr) GTEST_SKIP() << "no write protection by userfaultfd";
  const Memory memory(16);
  DirtyTracker tracker(options_of(Way::kProtect));
  ASSERT_TRUE(tracker.start(memory.base() + 4 * kPage, 4 * kPage, nullptr).ok());
  const std::shared_ptr<const WriteProtector> of_its_own = WriteProtector::create().value();
  for (const auto& used : {protector(), of_its_own}) {
    for (const TrackingKind kind : {TrackingKind::kAuto, TrackingKind::kWriteProtect}) {
      DirtyTracker other({.kind = kind, .protector = used});
      for (const size_t first : {size_t{0}, size_t{5}, size_t{7}}) {
        const Status status = other.start(memory.base() + first * kPage, 8 * kPage, nullptr);
        EXPECT_EQ(status.code(), Code::kAlreadyExists) << status.message();
        EXPECT_FALSE(other.is_tracking());
      }
      ASSERT_TRUE(other.start(memory.base() + 8 * kPage, 8 * kPage, nullptr).ok());
      memory.write(9);
      EXPECT_EQ(other.take().value(), runs_of({1}));
    }
  }
  memory.write(5);
  EXPECT_EQ(tracker.take().value(), runs_of({1}));
}

// --- children --------------------------------------------------------------------------------------------

// Goal: a child is never told that nothing changed.  Method: a page is written before the fork and not taken,
// one after it.  By write protection all is dirty first, then the child is told exactly; so is the parent,
// whom it does not disturb, not even by stopping.
TEST_P(DirtyTrackerTest, AChildIsTrackedFromItsFirstLookOn) {
  const Memory memory(16, image_of(8));
  for (const test::MakeChild make_child : {test::MakeChild{&::fork}, test::MakeChild{&test::bare_clone}}) {
    if (make_child != &::fork && !process_generation_sees_bare_clones()) continue;
    ASSERT_TRUE(start(tracker, memory).ok());
    memory.write(1);
    EXPECT_EQ(in_child(
                  [&] {
                    memory.write(2);
                    memory.write(12);
                    const std::vector<PageRun> first = GetParam() == Way::kProtect
                                                           ? std::vector<PageRun>{{0, 16 * kPage}}
                                                           : runs_of({1, 2, 12});
                    if (!tracker.is_dirty(12).value()) return std::string("a written page is clean");
                    if (tracker.dirty_runs().value() != first)
                      return std::string("dirty: other pages at first");
                    if (take(tracker) != first) return std::string("other pages at first");
                    memory.write(3);
                    memory.read(4);
                    std::string grandchild = in_child(
                        [&] {
                          memory.write(5);
                          if (!tracker.is_dirty(5).value() || !tracker.is_dirty(3).value()) {
                            return std::string("a written page is clean in the grandchild");
                          }
                          tracker.stop();
                          return std::string();
                        },
                        make_child);
                    if (take(tracker) != runs_of({3})) return std::string("other pages then");
                    tracker.stop();
                    return grandchild;
                  },
                  make_child),
              "");
    memory.write(6);
    EXPECT_EQ(take(tracker), runs_of({1, 6}));
    EXPECT_EQ(in_child(
                  [&] {
                    tracker.stop();  // without a look
                    return std::string();
                  },
                  make_child),
              "");
    memory.write(7);
    EXPECT_EQ(take(tracker), runs_of({7}));
    tracker.stop();
  }
}

// After a fork the parent's pages are shared with the child until one of them writes: that the kernel then
// copies them is a write still.
TEST_P(DirtyTrackerTest, TheParentGoesOnWhileAChildLives) {
  const Memory memory(16, image_of(8));
  for (const size_t page : {1, 2, 12}) memory.write(page);
  ASSERT_TRUE(start(tracker, memory).ok());
  memory.write(2);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::byte byte{};
    ::close(ends[1]);
    static_cast<void>(::read(ends[0], &byte, 1));
    ::_exit(0);
  }
  memory.write(12);
  memory.write(3);
  EXPECT_EQ(take(tracker), runs_of({2, 3, 12}));
  memory.write(1);
  EXPECT_EQ(take(tracker), runs_of({1}));
  ::close(ends[0]);
  ::close(ends[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  memory.write(12);
  EXPECT_EQ(take(tracker), runs_of({12}));
}

// --- failures --------------------------------------------------------------------------------------------

// Goal: what is mapped anew inside of a tracked memory is no longer watched; then all is dirty, and it is
// watched again.  (Compared, it is found as any change.)
TEST_P(DirtyTrackerTest, PagesThatWereMappedAnewAreDirty) {
  const Memory memory(16, image_of(8));
  ASSERT_TRUE(start(tracker, memory).ok());
  memory.write(1);
  ASSERT_EQ(take(tracker), runs_of({1}));
  ASSERT_NE(::mmap(memory.base() + 5 * kPage, kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  memory.write(5);
  const std::vector<PageRun> all{{0, 16 * kPage}};
  const std::vector<PageRun> expected = GetParam() == Way::kProtect ? all : runs_of({5});
  EXPECT_EQ(tracker.dirty_runs().value(), expected);
  EXPECT_EQ(take(tracker), expected);
  memory.write(6);
  memory.write(5);
  EXPECT_EQ(take(tracker), runs_of({5, 6}));

  ASSERT_NE(::mmap(memory.base() + 9 * kPage, kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            MAP_FAILED);
  memory.write(9);
  EXPECT_EQ(take(tracker), GetParam() == Way::kProtect ? all : runs_of({9}));
}

// Goal: where the kernel stops telling, there is an error, and what was dirty is dirty afterwards.  Method: a
// child forbids itself the request that scans.
TEST(DirtyTrackerKernelTest, AScanThatFailsLosesNothing) {
  if (protector() == nullptr) GTEST_SKIP() << "no write protection by userfaultfd";
  const Memory memory(16);
  EXPECT_EQ(in_child([&] {
              DirtyTracker tracker(options_of(Way::kProtect));
              if (!tracker.start(memory.base(), memory.bytes(), nullptr).ok()) return std::string("start");
              memory.write(3);
              constexpr unsigned kPagemapScan = 0xc0606610;
              if (!test::refuse({SYS_ioctl, EPERM, 1, kPagemapScan})) return std::string("no filter");
              // All is dirty, and armed anew.
              const Result<std::vector<PageRun>> runs = tracker.take();
              if (!runs.ok()) return std::string(runs.status().message());
              if (runs.value() != std::vector<PageRun>{{0, 16 * kPage}}) return std::string("other pages");
              // And if that is refused, too, an error.
              if (!test::refuse({SYS_ioctl, EPERM, 1, 0xaa00})) return std::string("no filter");
              for (int i = 0; i < 2; i++) {
                const Status status = tracker.take().status();
                if (status.code() != Code::kIo) return std::string("not an error");
                if (!tracker.is_dirty(7).value()) return std::string("a page is clean");
              }
              if (tracker.sequence() != 2) return std::string("a point began");
              return std::string();
            }),
            "");
}

// Kernels before 6.7, and strict filters.  Both halves are needed.
TEST(DirtyTrackerKernelTest, WhereTheKernelRefusesThereIsNoWriteProtectorAndPagesAreCompared) {
  constexpr unsigned kPagemapScan = 0xc0606610;
  for (const test::Refusal& refusal :
       {test::Refusal{SYS_userfaultfd, EPERM}, test::Refusal{SYS_ioctl, EINVAL, 1, 0xc018aa3f},
        test::Refusal{SYS_ioctl, ENOTTY, 1, kPagemapScan}}) {
    const Memory memory(16, image_of(8));
    EXPECT_EQ(in_child([&] {
                if (!test::refuse(refusal)) return std::string("no filter");
                const auto made = WriteProtector::create();
                if (made.ok()) return std::string("it was made");
                if (made.status().code() != Code::kUnavailable) return std::string(made.status().message());
                DirtyTracker wanted({.kind = TrackingKind::kWriteProtect});
                const Status status = wanted.start(memory.base(), memory.bytes(), memory.image());
                if (status.code() != Code::kUnavailable) return std::string(status.message());
                DirtyTracker tracker({});
                if (!tracker.start(memory.base(), memory.bytes(), memory.image()).ok())
                  return std::string("start");
                if (tracker.kind() != TrackingKind::kCompare) return std::string("not compared");
                memory.write(3);
                return std::string(tracker.take().value() == runs_of({3}) ? "" : "other pages");
              }),
              "");
  }
}

// A protector that was made before the kernel began to refuse: then pages are compared, unless the other is
// insisted on.
TEST(DirtyTrackerKernelTest, WhatCannotBeArmedIsComparedIfThatWillDo) {
  if (protector() == nullptr) GTEST_SKIP() << "no write protection by userfaultfd";
  const Memory memory(16, image_of(8));
  EXPECT_EQ(in_child([&] {
              if (!test::refuse({SYS_userfaultfd, EPERM})) return std::string("no filter");
              DirtyTracker wanted(options_of(Way::kProtect));
              if (wanted.start(memory.base(), memory.bytes(), memory.image()).code() != Code::kIo) {
                return std::string("it is armed");
              }
              DirtyTracker tracker({.protector = protector(), .scanner = scanner()});
              if (!tracker.start(memory.base(), memory.bytes(), memory.image()).ok())
                return std::string("start");
              if (tracker.kind() != TrackingKind::kCompare) return std::string("not compared");
              memory.write(3);
              return std::string(tracker.take().value() == runs_of({3}) ? "" : "other pages");
            }),
            "");
}

TEST(DirtyTrackerKernelTest, TheBetterWayIsTakenWhereThereIsOne) {
  if (protector() == nullptr) GTEST_SKIP() << "no write protection by userfaultfd";
  const Memory memory(16);
  DirtyTracker tracker({.protector = protector(), .scanner = scanner()});
  ASSERT_TRUE(tracker.start(memory.base(), memory.bytes(), nullptr).ok());
  EXPECT_EQ(tracking_kind_name(tracker.kind()), "write_protect");
}

// When it ends, no page looks swapped, and writing costs no fault.
TEST(DirtyTrackerKernelTest, AMemoryThatIsNoLongerTrackedIsAsBefore) {
  if (protector() == nullptr || scanner() == nullptr) GTEST_SKIP() << "no write protection, or no scan";
  const Memory memory(16, image_of(8));
  memory.write(3);
  const auto private_pages = [&] {
    std::vector<PageRun> runs;
    EXPECT_TRUE(scanner()->private_pages(memory.base(), memory.bytes(), 8 * kPage, runs).ok());
    return runs;
  };
  {
    DirtyTracker tracker(options_of(Way::kProtect));
    ASSERT_TRUE(tracker.start(memory.base(), memory.bytes(), memory.image()).ok());
    EXPECT_NE(private_pages(), runs_of({3}));  // else Slot::track() says something that is not so
    EXPECT_TRUE(protector()->is_armed(memory.base(), memory.bytes()).value());
  }
  EXPECT_EQ(private_pages(), runs_of({3}));
  EXPECT_FALSE(protector()->is_armed(memory.base(), memory.bytes()).value());
  const FaultMark before = ThreadFaults::here().mark(FaultCounterKind::kSystemCall);
  memory.write(3);
  EXPECT_TRUE(before.same(ThreadFaults::here().mark(FaultCounterKind::kSystemCall)));
}

// Copies are of private pages only, and go with them.
TEST_P(DirtyTrackerTest, ComparingHoldsACopyOfEachPrivatePage) {
  const Memory memory(24, image_of(16));
  for (const size_t page : {0, 1, 20}) memory.write(page);
  ASSERT_TRUE(start(tracker, memory).ok());
  const size_t each = GetParam() == Way::kProtect ? 0 : kPage;
  EXPECT_EQ(tracker.held_bytes(), 3 * each);
  memory.write(5);
  memory.write(21);
  EXPECT_EQ(tracker.dirty_count().value(), 2u);
  EXPECT_EQ(tracker.held_bytes(), 3 * each);
  ASSERT_TRUE(tracker.clear().ok());
  EXPECT_EQ(tracker.held_bytes(), 5 * each);
  memory.write(5);  // as the image has it, again
  memory.drop(20);
  tracker.mark_range(20 * kPage, kPage);
  EXPECT_EQ(take(tracker), runs_of({5, 20}));
  EXPECT_EQ(tracker.held_bytes(), 3 * each);
  tracker.stop();
  EXPECT_EQ(tracker.held_bytes(), 0u);
}

// --- in a slot -------------------------------------------------------------------------------------------

constexpr SlotShape kShape{.capacity = 16 * kWasmPage, .guard = kWasmPage};

class TrackedSlotTest : public DirtyTrackerTest {
 protected:
  // Opened, and reset once.
  void open() {
    slot = test::new_slot(kShape);
    ASSERT_TRUE(begin.open(*slot).ok());
    ASSERT_TRUE(slot->reset().ok());
  }
  void track() {
    const Status status = slot->track(std::make_unique<DirtyTracker>(options_of(GetParam())));
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(slot->tracker()->is_tracking());
  }
  std::vector<PageRun> taken() const { return slot->tracker()->take().value(); }
  void write(size_t page) const { test::write_pages(*slot, page, 1); }

  Start begin{pattern(20 * kPage), 4 * kWasmPage};
  std::unique_ptr<Slot> slot;
};
INSTANTIATE_TEST_SUITE_P(Ways, TrackedSlotTest,
                         testing::Values(Way::kProtect, Way::kCompareFound, Way::kCompareAll),
                         [](const auto& way) { return name_of(way.param); });

TEST_P(TrackedSlotTest, CallsOfOneInstanceAreTracked) {
  open();
  EXPECT_EQ(slot->tracker(), nullptr);
  track();
  for (size_t call = 0; call < 10; call++) {
    slot->begin();
    write(call);
    write(40 + 2 * call);
    EXPECT_EQ(taken(), runs_of({call, 40 + 2 * call}));
  }
}

// What grew is dirty, page by page or at once, whether it was there before a reset or not.
TEST_P(TrackedSlotTest, WhatGrewIsDirtyOnceAndIsTrackedThen) {
  open();
  ASSERT_TRUE(slot->grow(5 * kWasmPage).ok());
  test::fill(*slot);
  ASSERT_TRUE(slot->reset().ok());
  track();
  write(1);
  ASSERT_TRUE(slot->grow(5 * kWasmPage).ok());
  write(70);
  ASSERT_TRUE(slot->grow(7 * kWasmPage).ok());
  ASSERT_TRUE(slot->grow(7 * kWasmPage).ok());
  const std::vector<PageRun> expected{{kPage, kPage}, {4 * kWasmPage, 3 * kWasmPage}};
  EXPECT_EQ(slot->tracker()->dirty_runs().value(), expected);
  EXPECT_EQ(taken(), expected);
  EXPECT_EQ(taken(), std::vector<PageRun>());
  for (const size_t page : {2, 64, 80, 111}) write(page);
  EXPECT_EQ(taken(), runs_of({2, 64, 80, 111}));
  // A growth that is refused changes nothing.
  EXPECT_FALSE(slot->grow(17 * kWasmPage).ok());
  EXPECT_EQ(taken(), std::vector<PageRun>());
}

// Goal: pages that a trim gives back are told to the tracker.  Method: a write set that calls have stopped
// writing to; with the tracker on, one of its pages gets other bytes, is taken, and then dropped by the trim.
TEST_P(TrackedSlotTest, PagesThatATrimDropsAreDirty) {
  if (scanner() == nullptr) GTEST_SKIP() << "no write set without a scanner";
  open();
  slot->begin();
  for (size_t page = 0; page < 12; page++) write(page);
  for (int i = 0; i < 100; i++) {
    ASSERT_TRUE(slot->reset().ok());
    slot->begin();
  }
  ASSERT_TRUE(slot->can_trim());
  track();
  write(3);
  EXPECT_EQ(taken(), runs_of({3}));
  slot->trim();
  const std::vector<PageRun> runs = taken();
  EXPECT_TRUE(std::ranges::count(runs, PageRun{0, 12 * kPage}) == 1) << testing::PrintToString(runs);
  EXPECT_EQ(begin.differs(*slot), "");
}

// Goal: a reset is as good as ever, whatever was tracked; and the tracker does not say that nothing changed.
TEST_P(TrackedSlotTest, AResetEndsTrackingAndResetsAll) {
  open();
  track();
  for (int round = 0; round < 5; round++) {
    slot->begin();
    write(1);
    write(30);
    if (round % 2 == 0) static_cast<void>(taken());
    write(2);
    write(31);
    if (round > 2) {
      ASSERT_TRUE(slot->grow(6 * kWasmPage).ok());
    }
    ASSERT_TRUE(slot->reset().ok());
    EXPECT_EQ(begin.differs(*slot), "");
    EXPECT_EQ(test::guards_differ(*slot), "");
    EXPECT_EQ(slot->tracker()->take().status().code(), Code::kUnavailable);
    EXPECT_FALSE(slot->tracker()->is_tracking());
    EXPECT_LE(slot->private_bytes(), 5 * kPage);
    // Without a tracker it goes on as a slot that never had one.
    slot->begin();
    write(7);
    ASSERT_TRUE(slot->reset().ok());
    EXPECT_EQ(begin.differs(*slot), "");
    track();
    EXPECT_EQ(taken(), std::vector<PageRun>());
  }
}

TEST_P(TrackedSlotTest, AClearedSlotHasNoTracker) {
  open();
  track();
  write(1);
  ASSERT_TRUE(slot->clear().ok());
  EXPECT_EQ(slot->tracker(), nullptr);
  ASSERT_TRUE(begin.open(*slot).ok());
  EXPECT_EQ(begin.differs(*slot), "");
  track();
  write(2);
  EXPECT_EQ(taken(), runs_of({2}));
  slot = nullptr;  // while it is tracked
  open();
  track();
  write(3);
  EXPECT_EQ(taken(), runs_of({3}));
}

TEST_P(TrackedSlotTest, AChildResetsASlotThatItsParentTracks) {
  open();
  track();
  write(1);
  EXPECT_EQ(in_child([&] {
              slot->begin();
              write(2);
              if (!slot->reset().ok()) return std::string("reset");
              return begin.differs(*slot);
            }),
            "");
  write(3);
  EXPECT_EQ(taken(), runs_of({1, 3}));
}

// --- all at once -----------------------------------------------------------------------------------------

// Goal: whatever happens between two points, no change is missed, and by write protection nothing else is
// told of.  Method: random writes of all kinds, drops, growths, marks and points; the same memory is tracked
// in all three ways.  From what each tells a copy is kept, which must be the memory at each point.
TEST(DirtyTrackerPropertyTest, ACopyThatIsKeptByRunsIsTheMemory) {
  const auto seed = static_cast<uint64_t>(::time(nullptr));
  SCOPED_TRACE("seed " + std::to_string(seed));
  uint64_t state = seed;
  const auto random = [&](size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % below;
  };
  constexpr size_t kPagesMax = 160;
  for (int round = 0; round < 20; round++) {
    const size_t image_pages = 3 + random(60);
    const Memory memory(kPagesMax, image_of(image_pages));
    size_t pages = image_pages + random(20);
    for (size_t i = random(30); i > 0; i--) memory.write(random(pages));

    struct Copy {
      explicit Copy(Way copy_way) : way(copy_way), tracker(options_of(copy_way)) {}
      Way way;
      DirtyTracker tracker;
      std::vector<std::byte> bytes;
    };
    std::list<Copy> copies;
    for (const Way way : {Way::kProtect, Way::kCompareFound, Way::kCompareAll}) {
      if (!problem_of(way).empty()) continue;
      copies.emplace_back(way);
      ASSERT_TRUE(copies.back().tracker.start(memory.base(), pages * kPage, memory.image()).ok());
      copies.back().bytes.assign(memory.base(), memory.base() + pages * kPage);
    }
    std::set<size_t> written;
    // Dropped and not written since: the kernel may tell of them when they are read, for their own sake or
    // with a neighbour.
    std::set<size_t> dropped;
    const auto mark = [&](size_t page) {
      written.insert(page);
      for (Copy& copy : copies) copy.tracker.mark_range(page * kPage, kPage);
    };
    const auto write = [&](size_t page) {
      written.insert(page);
      dropped.erase(page);
    };
    const UniqueFd file(::open("/dev/urandom", O_RDONLY | O_CLOEXEC));
    for (int step = 0; step < 300; step++) {
      const size_t page = random(pages);
      switch (random(12)) {
        case 0:
        case 1:
        case 2:
          memory.write(page, random(kPage));
          write(page);
          break;
        case 3: {  // by the kernel, of several pages
          const size_t at = random(pages * kPage);
          const size_t bytes = std::min(random(3 * kPage) + 1, pages * kPage - at);
          ASSERT_EQ(::read(file.get(), memory.base() + at, bytes), static_cast<ssize_t>(bytes));
          for (size_t i = at / kPage; i <= (at + bytes - 1) / kPage; i++) write(i);
          break;
        }
        case 4:
        case 5: memory.read(page); break;
        case 6: {
          const size_t count = std::min(random(4) + 1, pages - page);
          memory.drop(page, count);
          for (size_t i = page; i < page + count; i++) mark(i);
          for (size_t i = page; i < page + count; i++) dropped.insert(i);
          break;
        }
        case 7: mark(page); break;
        case 8: {
          if (random(4) != 0) break;
          const size_t more = std::min(random(8), kPagesMax - pages);
          for (size_t i = pages; i < pages + more; i++) written.insert(i);
          pages += more;
          for (Copy& copy : copies) copy.tracker.grow(pages * kPage);
          break;
        }
        case 9:  // what is looked at does not change
          for (Copy& copy : copies) ASSERT_TRUE(copy.tracker.dirty_count().ok());
          break;
        case 10: {  // a point that is not stored
          if (random(4) != 0) break;
          for (Copy& copy : copies) copy.tracker.give_back(copy.tracker.take().value());
          break;
        }
        default: {
          for (Copy& copy : copies) {
            const std::vector<PageRun> runs = copy.tracker.take().value();
            copy.bytes.resize(pages * kPage);
            for (const PageRun& run : runs)
              std::memcpy(&copy.bytes[run.offset], memory.base() + run.offset, run.bytes);
            ASSERT_EQ(std::memcmp(copy.bytes.data(), memory.base(), pages * kPage), 0)
                << "way " << static_cast<int>(copy.way) << ", step " << step;
            std::set<size_t> told;
            for (const PageRun& run : runs) {
              for (size_t i = 0; i < run.bytes; i += kPage) told.insert((run.offset + i) / kPage);
            }
            std::set<size_t> may_be_told = written;
            if (copy.way == Way::kProtect) {
              ASSERT_TRUE(std::ranges::includes(told, written)) << "step " << step;
              may_be_told.insert(dropped.begin(), dropped.end());
            }
            ASSERT_TRUE(std::ranges::includes(may_be_told, told))
                << "way " << static_cast<int>(copy.way) << ", step " << step;
          }
          written.clear();
        }
      }
    }
  }
}

}  // namespace
}  // namespace spore::memory
