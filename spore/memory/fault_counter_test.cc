#include "spore/memory/fault_counter.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::in_child;
using test::kPage;

// Pages that were never touched: the first access to each is a page fault.
class FreshPages {
 public:
  explicit FreshPages(size_t pages) : bytes_(pages * kPage) {
    base_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ::madvise(base_, bytes_, MADV_NOHUGEPAGE);
  }
  ~FreshPages() { ::munmap(base_, bytes_); }
  FreshPages(const FreshPages&) = delete;
  FreshPages& operator=(const FreshPages&) = delete;

  std::byte* next() { return base_ + kPage * used_++; }
  void fault() { *static_cast<volatile std::byte*>(next()) = std::byte{1}; }
  void fault(size_t times) {
    for (size_t i = 0; i < times; i++) fault();
  }

 private:
  size_t bytes_;
  std::byte* base_;
  size_t used_ = 0;
};

FaultMark mark(FaultCounterKind kind) { return ThreadFaults::here().mark(kind); }

bool mapped_counter_works() { return mark(FaultCounterKind::kMapped).mapped(); }

// True if a fault between two marks is seen, and a mark is the same once more if there was none.  Tries
// thrice: a fault of another cause, such as a page of code used for the first time, may come in between.
bool counts(FaultCounterKind kind, FreshPages& pages) {
  for (int i = 0; i < 3; i++) {
    const FaultMark before = mark(kind);
    const bool still = before.same(mark(kind));
    pages.fault();
    if (before.same(mark(kind))) return false;
    if (still) return true;
  }
  return false;
}

TEST(FaultCounterTest, KindsHaveNames) {
  EXPECT_EQ(fault_counter_name(FaultCounterKind::kAuto), "auto");
  EXPECT_EQ(fault_counter_name(FaultCounterKind::kMapped), "mapped");
  EXPECT_EQ(fault_counter_name(FaultCounterKind::kSystemCall), "system_call");
  EXPECT_EQ(fault_counter_name(FaultCounterKind::kNone), "none");
}

TEST(FaultCounterTest, WithoutACounterNoTwoMarksAreTheSame) {
  const FaultMark none = mark(FaultCounterKind::kNone);
  EXPECT_FALSE(none.same(none));
  EXPECT_FALSE(FaultMark().same(FaultMark()));
  EXPECT_FALSE(none.mapped());
}

// What is asked for is used: the ring where there is one, and else system calls.
TEST(FaultCounterTest, AutoIsTheMappedCounterWhereItWorks) {
  EXPECT_EQ(mark(FaultCounterKind::kAuto).counter, mark(FaultCounterKind::kMapped).counter);
  EXPECT_FALSE(mark(FaultCounterKind::kSystemCall).mapped());
  EXPECT_NE(mark(FaultCounterKind::kSystemCall).counter, mark(FaultCounterKind::kNone).counter);
}

// The two kinds that count.
class CountingTest : public testing::TestWithParam<FaultCounterKind> {
 protected:
  void SetUp() override {
    if (kind == FaultCounterKind::kMapped && !mapped_counter_works())
      GTEST_SKIP() << "perf events are denied here";
  }

  FaultCounterKind kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Kinds, CountingTest,
                         testing::Values(FaultCounterKind::kMapped, FaultCounterKind::kSystemCall),
                         [](const auto& kind) { return std::string(fault_counter_name(kind.param)); });

// Work that faults on nothing new: 1000 marks are the same.
TEST_P(CountingTest, WithoutAFaultTheMarkStays) {
  FreshPages pages(1);
  volatile std::byte* page = pages.next();
  *page = std::byte{1};
  int same = 0;
  for (int i = 0; i < 1000; i++) {
    const FaultMark before = mark(kind);
    *page = std::byte{2};
    same += before.same(mark(kind)) ? 1 : 0;
  }
  EXPECT_GE(same, 990);  // the kernel may take a page of ours for a moment
}

// Each of 10,000 faults, looked at one by one: writes, and reads.
TEST_P(CountingTest, EverySingleFaultChangesTheMark) {
  FreshPages pages(10'000);
  for (int i = 0; i < 10'000; i++) {
    const FaultMark before = mark(kind);
    if (i % 2 == 0) {
      pages.fault();
    } else {
      static_cast<void>(*static_cast<volatile std::byte*>(pages.next()));
    }
    ASSERT_FALSE(before.same(mark(kind))) << i;
  }
}

// A write to a page that was read before is a second fault.
TEST_P(CountingTest, TheFirstWriteToAPageThatWasReadChangesTheMark) {
  FreshPages pages(100);
  for (int i = 0; i < 100; i++) {
    volatile std::byte* page = pages.next();
    static_cast<void>(*page);
    const FaultMark before = mark(kind);
    *page = std::byte{1};
    ASSERT_FALSE(before.same(mark(kind))) << i;
  }
}

// A fault that waits for a disk is counted in another number than all others.
TEST_P(CountingTest, AFaultThatReadsAFileChangesTheMark) {
  constexpr size_t kPages = 50;
  const std::vector<std::byte> bytes = test::pattern(kPages * kPage);
  std::string path = SPORE_BINARY_DIR "/faults.XXXXXX";
  const UniqueFd file(::mkostemp(path.data(), O_CLOEXEC));
  ::unlink(path.c_str());
  ASSERT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  ASSERT_EQ(::fsync(file.get()), 0);
  ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);  // out of the cache
  void* const mapped = ::mmap(nullptr, bytes.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  ASSERT_EQ(::madvise(mapped, bytes.size(), MADV_RANDOM), 0);  // one page at a time
  const auto disk_faults = [] {
    rusage usage{};
    ::getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_majflt;
  };
  const auto faults_before = disk_faults();
  for (size_t page = 0; page < kPages; page++) {
    const FaultMark before = mark(kind);
    static_cast<volatile std::byte*>(mapped)[page * kPage] = std::byte{1};
    ASSERT_FALSE(before.same(mark(kind))) << page;
  }
  ::munmap(mapped, bytes.size());
  if (disk_faults() == faults_before) GTEST_SKIP() << "the file stayed in memory";
}

// The ring has room for 512 records.  After any number of faults between two looks the mark is another one,
// and goes on telling of single ones.
TEST_P(CountingTest, AnyNumberOfFaultsBetweenTwoLooksIsSeen) {
  FreshPages pages(8000);
  for (const size_t faults : {1, 2, 511, 512, 513, 1024, 1025, 3000}) {
    const FaultMark before = mark(kind);
    pages.fault(faults);
    EXPECT_FALSE(before.same(mark(kind))) << faults;
    for (int i = 0; i < 10; i++) EXPECT_TRUE(counts(kind, pages)) << faults;
  }
}

// 100,000 faults as fast as they come, on pages that are given back and taken anew; then single ones.
TEST_P(CountingTest, FaultsAreSeenAfterAFlood) {
  FreshPages pages(100);
  FreshPages flooded(1000);
  std::byte* base = flooded.next();
  const FaultMark before = mark(kind);
  for (int round = 0; round < 100; round++) {
    for (size_t page = 0; page < 1000; page++)
      static_cast<volatile std::byte*>(base)[page * kPage] = std::byte{1};
    ASSERT_EQ(::madvise(base, 1000 * kPage, MADV_DONTNEED), 0);
  }
  EXPECT_FALSE(before.same(mark(kind)));
  for (int i = 0; i < 20; i++) EXPECT_TRUE(counts(kind, pages));
}

// The kernel is told to take few samples a second, and far more faults come: whatever it does about that,
// each single fault must be seen.
TEST_P(CountingTest, NoFaultIsMissedWhereTheKernelLimitsSamples) {
  test::SystemSettings settings;
  if (!settings.set("/proc/sys/kernel/perf_event_max_sample_rate", "1")) {
    GTEST_SKIP() << "perf_event_max_sample_rate cannot be set here";
  }
  // Events take over the rate when they are opened: on a thread of its own.
  std::jthread([this] {
    FreshPages pages(20'100);
    for (int i = 0; i < 20'000; i++) {
      const FaultMark before = mark(kind);
      pages.fault();
      ASSERT_FALSE(before.same(mark(kind))) << i;
    }
  });
}

// Marks of different threads are never the same, also of those that came after others had ended.
TEST_P(CountingTest, EachThreadHasMarksOfItsOwn) {
  std::set<uint64_t> counters{mark(kind).counter};
  for (int round = 0; round < 4; round++) {
    std::array<uint64_t, 8> seen{};
    {
      std::vector<std::jthread> threads;
      for (uint64_t& mine : seen) {
        threads.emplace_back([this, &mine] {
          mine = mark(kind).counter;
          EXPECT_EQ(mine, mark(kind).counter);
        });
      }
    }
    counters.insert(seen.begin(), seen.end());
  }
  EXPECT_EQ(counters.size(), 33u);
}

// A fault is seen by the thread that took it and by no other.
TEST_P(CountingTest, AnotherThreadsFaultIsNotMine) {
  FreshPages pages(1100);
  int same = 0;
  std::atomic<int> turn = 0;  // even: this thread's
  std::jthread other([&] {
    for (int i = 0; i < 100; i++) {
      while (turn % 2 == 0) std::this_thread::yield();
      pages.fault(10);
      turn++;
    }
  });
  for (int i = 0; i < 100; i++) {
    const FaultMark before = mark(kind);
    turn++;
    while (turn % 2 == 1) std::this_thread::yield();
    same += before.same(mark(kind)) ? 1 : 0;
  }
  EXPECT_GE(same, 90);
}

// Eight threads fault at the same time, in one address space.
TEST_P(CountingTest, ThreadsThatFaultAtOnceMissNothing) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; i++) {
    threads.emplace_back([this] {
      FreshPages pages(2000);
      for (int fault = 0; fault < 2000; fault++) {
        const FaultMark before = mark(kind);
        pages.fault();
        ASSERT_FALSE(before.same(mark(kind))) << fault;
      }
    });
  }
}

// A child's counters are new, and count; the parent's go on.
TEST_P(CountingTest, AChildHasMarksOfItsOwn) {
  FreshPages pages(100);
  const FaultMark parents = mark(kind);
  for (const test::MakeChild make_child : {test::MakeChild{&::fork}, test::MakeChild{&test::bare_clone}}) {
    if (make_child != &::fork && !process_generation_sees_bare_clones()) continue;
    const auto child = [&] {
      if (parents.same(mark(kind))) return std::string("the parent's mark is the child's");
      if (parents.counter == mark(kind).counter) return std::string("the parent's number is the child's");
      if (mark(kind).mapped() != parents.mapped()) return std::string("another kind");
      return std::string(counts(kind, pages) ? "" : "a fault is not seen");
    };
    EXPECT_EQ(in_child([&] { return child() + in_child(child, make_child); }, make_child), "");
    EXPECT_EQ(mark(kind).counter, parents.counter);
    EXPECT_TRUE(counts(kind, pages));
  }
}

// A child closes what it does not know, as daemons do, and opens files of its own.  The counter, made anew
// there, must not close one of those in the belief that it is the event's.
TEST_P(CountingTest, AChildThatClosedAllDescriptorsKeepsThoseItOpenedSince) {
  static_cast<void>(mark(kind));
  FreshPages pages(10);
  EXPECT_EQ(in_child([&]() -> std::string {
              constexpr int kFds = 100;
              for (int fd = 3; fd < 1000; fd++) ::close(fd);
              for (int fd = 3; fd < 3 + kFds; fd++) {
                if (::open("/dev/null", O_RDONLY) != fd) ::_exit(1);
              }
              if (!counts(kind, pages)) ::_exit(2);
              for (int fd = 3; fd < 3 + kFds; fd++) {
                struct stat file{};
                if (::fstat(fd, &file) != 0 || !S_ISCHR(file.st_mode)) ::_exit(fd);
              }
              ::_exit(0);  // to answer there is no pipe left
            }),
            "");
}

// What a thread had is given back: as many descriptors and mappings as before, after 50 threads.
TEST_P(CountingTest, ThreadsLeaveNothingBehind) {
  const auto count = [] {
    ptrdiff_t things = 0;
    for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) things++;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      things += line.find("[perf_event]") != std::string::npos ? 1 : 0;
    }
    return things;
  };
  const auto use = [this] {
    for (int i = 0; i < 50; i++) std::jthread([this] { static_cast<void>(mark(kind)); });
  };
  use();
  const ptrdiff_t before = count();
  use();
  EXPECT_EQ(count(), before);
}

// Asks when its thread's other things are gone already.
struct AsksAtTheEnd {
  ~AsksAtTheEnd() {
    if (pages != nullptr) *answer = counts(kind, *pages);
  }
  FreshPages* pages = nullptr;
  FaultCounterKind kind{};
  bool* answer = nullptr;
};
thread_local AsksAtTheEnd asks_at_the_end;

TEST_P(CountingTest, ADestructorAtTheEndOfAThreadMayStillAsk) {
  if (test::kAddressSanitizer)
    GTEST_SKIP() << "what is made so late is never deleted, which the sanitizer calls a leak";
  FreshPages pages(10);
  bool seen = false;
  std::jthread([&] {
    asks_at_the_end.pages = &pages;  // made first, so destroyed last
    asks_at_the_end.kind = kind;
    asks_at_the_end.answer = &seen;
    static_cast<void>(mark(kind));
  }).join();
  EXPECT_TRUE(seen);
}

// In a child in which perf events are denied, both kinds are counted by system call.
TEST(FaultCounterTest, WhereEventsAreDeniedFaultsAreCountedBySystemCall) {
  FreshPages pages(100);
  for (const FaultCounterKind kind : {FaultCounterKind::kAuto, FaultCounterKind::kMapped}) {
    EXPECT_EQ(in_child([&] {
                if (!test::refuse({SYS_perf_event_open, EACCES})) return std::string("no filter");
                if (mark(kind).mapped()) return std::string("it says it is mapped");
                return std::string(counts(kind, pages) ? "" : "a fault is not seen");
              }),
              "");
  }
}

// Likewise where the event is allowed and its ring is not: locked memory is limited.
TEST(FaultCounterTest, WhereTheRingIsDeniedFaultsAreCountedBySystemCall) {
  FreshPages pages(100);
  EXPECT_EQ(in_child([&] {
              if (!test::refuse({SYS_mmap, EPERM, 3, MAP_SHARED})) return std::string("no filter");
              if (mark(FaultCounterKind::kMapped).mapped()) return std::string("it says it is mapped");
              return std::string(counts(FaultCounterKind::kMapped, pages) ? "" : "a fault is not seen");
            }),
            "");
}

// More faults between two looks than the ring holds: the event goes on, though none could be opened in its
// place, and nothing is missed.
TEST(FaultCounterTest, ARingThatWrapsGoesOn) {
  if (!mapped_counter_works()) GTEST_SKIP() << "perf events are denied here";
  FreshPages pages(3000);
  EXPECT_EQ(in_child([&] {
              if (!mark(FaultCounterKind::kMapped).mapped()) return std::string("not mapped at first");
              if (!test::refuse({SYS_perf_event_open, EMFILE})) return std::string("no filter");
              if (!mark(FaultCounterKind::kMapped).mapped()) return std::string("not mapped with the filter");
              FaultMark before = mark(FaultCounterKind::kMapped);
              for (int i = 0; i < 1000; i++) {
                pages.fault(i == 10 ? 1000 : 1);
                const FaultMark now = mark(FaultCounterKind::kMapped);
                if (before.same(now)) return "fault " + std::to_string(i) + " is not seen";
                before = now;
              }
              return std::string(before.mapped() ? "" : "it is not mapped any more");
            }),
            "");
}

// In a child that may make no system call but read, write and exit, or die.
TEST(FaultCounterTest, AMappedMarkTakesNoSystemCall) {
  if (!mapped_counter_works()) GTEST_SKIP() << "perf events are denied here";
  FreshPages pages(100);
  const pid_t child = ::fork();
  if (child == 0) {
    static_cast<void>(mark(FaultCounterKind::kMapped));
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) ::_exit(1);
    long missed = 0;
    for (int i = 0; i < 100; i++) {
      const FaultMark before = mark(FaultCounterKind::kMapped);
      pages.fault();
      missed += before.same(mark(FaultCounterKind::kMapped)) ? 1 : 0;
    }
    ::syscall(SYS_exit, missed);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Why whoever lets the kernel write calls Slot::touched(): a page that read(2) writes first is no fault of
// the mapped counter's, though it is one of the other's.
TEST(FaultCounterTest, OnlySystemCallsShowFaultsInsideTheKernel) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "the sanitizer faults in shadow memory between two looks";
  FreshPages pages(100);
  const UniqueFd zeros(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  int seen = 0;
  int same = 0;
  for (int i = 0; i < 20; i++) {
    const FaultMark mapped = mark(FaultCounterKind::kMapped);
    const FaultMark called = mark(FaultCounterKind::kSystemCall);
    ASSERT_EQ(::read(zeros.get(), pages.next(), 8), 8);
    seen += called.same(mark(FaultCounterKind::kSystemCall)) ? 0 : 1;
    same += mapped.same(mark(FaultCounterKind::kMapped)) ? 1 : 0;
  }
  EXPECT_EQ(seen, 20);
  EXPECT_GE(same, mapped_counter_works() ? 18 : 0);
}

// prctl(PR_TASK_PERF_EVENTS_DISABLE) stops all events that a thread opened.  No code of the process may do
// that to one of ours: nothing tells us.
TEST(FaultCounterTest, AThreadMustNotDisableItsEvents) {
  if (!mapped_counter_works()) GTEST_SKIP() << "perf events are denied here";
  EXPECT_EQ(in_child([] {
              FreshPages pages(100);
              if (!counts(FaultCounterKind::kMapped, pages)) return std::string("a fault is not seen");
              if (::prctl(PR_TASK_PERF_EVENTS_DISABLE) != 0) return std::string("prctl");
              if (counts(FaultCounterKind::kMapped, pages)) return std::string("faults are seen");
              if (::prctl(PR_TASK_PERF_EVENTS_ENABLE) != 0) return std::string("prctl");
              return std::string(counts(FaultCounterKind::kMapped, pages) ? "" : "a fault is not seen");
            }),
            "");
}

}  // namespace
}  // namespace spore::memory
