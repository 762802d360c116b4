// Attacks on what slot.h says a reset may rely on: writes that the thread's counter of faults does not show,
// other threads, forks, and faults that are too many.  What the kernel may do to pages by itself is in
// slot_kernel_test.cc.

#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fork.h"
#include "spore/memory/slot.h"
#include "tests/child.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::in_child;
using test::kPage;
using test::kShape;
using test::kWasmPage;
using test::new_slot;
using test::pattern;
using test::scanner;
using test::Start;
using test::write_pages;

// A thread that is there already: to start one is a page fault of the starter's.
class Helper {
 public:
  void run(const std::function<void()>& work) {
    work_ = &work;
    turn_.store(1);
    while (turn_ != 0) std::this_thread::yield();
  }
  ~Helper() { turn_ = 2; }

 private:
  std::atomic<int> turn_ = 0;  // 1: to work, 2: to end
  const std::function<void()>* work_ = nullptr;
  std::jthread thread_{[this] {
    for (;;) {
      while (turn_ == 0) std::this_thread::yield();
      if (turn_ == 2) return;
      (*work_)();
      turn_.store(0);
    }
  }};
};

// One read through io_uring at a time, without a library.
class IoUring {
 public:
  IoUring() {
    fd_ = UniqueFd(static_cast<int>(::syscall(SYS_io_uring_setup, 4, &params_)));
    if (!fd_.valid()) return;
    submission_ = map(params_.sq_off.array + params_.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
    completion_ = map(params_.cq_off.cqes + params_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    entries_ = map(params_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  }
  bool works() const { return submission_ != nullptr && completion_ != nullptr && entries_ != nullptr; }

  // On a thread of the kernel's if `aside`, else within the system call.
  bool read(int fd, std::byte* to, size_t bytes, bool aside) {
    io_uring_sqe entry{};
    entry.opcode = IORING_OP_READ;
    entry.flags = aside ? IOSQE_ASYNC : 0;
    entry.fd = fd;
    entry.addr = reinterpret_cast<uint64_t>(to);
    entry.len = static_cast<uint32_t>(bytes);
    std::memcpy(entries_, &entry, sizeof entry);
    reinterpret_cast<uint32_t*>(submission_ + params_.sq_off.array)[0] = 0;
    uint32_t* const tail = at(submission_, params_.sq_off.tail);
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    while (::syscall(SYS_io_uring_enter, fd_.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) < 0) {
      if (errno != EINTR) return false;
    }
    uint32_t* const head = at(completion_, params_.cq_off.head);
    io_uring_cqe result;
    std::memcpy(&result,
                completion_ + params_.cq_off.cqes + (*head & (params_.cq_entries - 1)) * sizeof result,
                sizeof result);
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result.res == static_cast<int>(bytes);
  }

 private:
  static uint32_t* at(std::byte* ring, uint32_t offset) { return reinterpret_cast<uint32_t*>(ring + offset); }
  std::byte* map(size_t bytes, uint64_t what) const {
    void* const ring = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(),
                              static_cast<off_t>(what));
    return ring == MAP_FAILED ? nullptr : static_cast<std::byte*>(ring);
  }

  io_uring_params params_{};
  UniqueFd fd_;
  std::byte* submission_ = nullptr;  // unmapped with the process
  std::byte* completion_ = nullptr;
  std::byte* entries_ = nullptr;
};

std::vector<FaultCounterKind> kinds() {
  return {FaultCounterKind::kAuto, FaultCounterKind::kMapped, FaultCounterKind::kSystemCall,
          FaultCounterKind::kNone};
}

class SlotAttackTest : public testing::TestWithParam<FaultCounterKind> {
 protected:
  void SetUp() override {
    if (scanner() == nullptr) GTEST_SKIP() << "no PAGEMAP_SCAN";
    renew();
  }
  void renew() {
    slot = opened();
    // What the tests' own code needs is there from now on: its pages, and those of the slot for reading.
    for (int i = 0; i < 3; i++) {
      slot->begin();
      write_pages(*slot, 0, 1);
      ASSERT_TRUE(slot->reset().ok());
      ASSERT_EQ(start.differs(*slot), "");
    }
  }
  std::unique_ptr<Slot> opened(size_t pages_max = 1000) const {
    auto made = new_slot();
    EXPECT_TRUE(start.open(*made, {.write_set_pages_max = pages_max, .fault_counter = GetParam()}).ok());
    EXPECT_TRUE(made->reset().ok());
    return made;
  }
  // The mark that a skipped scan is compared with is one of a ring.
  bool mapped() const {
    return GetParam() <= FaultCounterKind::kMapped && ThreadFaults::here().mark(GetParam()).mapped();
  }
  // `write` changes the page it is given, that no call has written to, from behind.  With touched() it is
  // always reset.
  void expect_reset(const std::function<bool(std::byte*)>& write) {
    for (size_t page = 1; page < 60; page++) {
      slot->begin();
      slot->touched();
      ASSERT_TRUE(write(slot->base() + page * kPage + 5));
      ASSERT_NE(start.differs(*slot), "");
      ASSERT_TRUE(slot->reset().ok());
      ASSERT_EQ(start.differs(*slot), "") << page;
    }
  }
  // In how many of 60 calls such a page is left as it was written if nobody says touched().  Then it is said.
  int left_without_touched(const std::function<bool(std::byte*)>& write) {
    int left = 0;
    for (size_t page = 60; page < 120; page++) {
      slot->begin();
      EXPECT_TRUE(write(slot->base() + page * kPage + 5));
      EXPECT_TRUE(slot->reset().ok());
      left += start.differs(*slot) != "" ? 1 : 0;
      slot->touched();
      EXPECT_TRUE(slot->reset().ok());
      EXPECT_EQ(start.differs(*slot), "");
    }
    return left;
  }

  Start start{pattern(100 * kPage + 9), 8 * kWasmPage};
  std::unique_ptr<Slot> slot;
};
INSTANTIATE_TEST_SUITE_P(Kinds, SlotAttackTest, testing::ValuesIn(kinds()),
                         [](const auto& kind) { return std::string(fault_counter_name(kind.param)); });

// --- writes that are not this thread's own ------------------------------------------------------------

// Clause 2: another thread.  Its faults are its own, so touched() is what makes the reset see them.
TEST_P(SlotAttackTest, AWriteByAnotherThreadIsReset) {
  Helper helper;
  const auto write = [&](std::byte* to) {
    helper.run([&] { std::memset(to, 0xee, 9); });
    return true;
  };
  expect_reset(write);
  const int left = left_without_touched(write);
  if (GetParam() == FaultCounterKind::kNone) {
    EXPECT_EQ(left, 0);
  } else {
    EXPECT_GE(left, 1) << "this needs no touched() any more";
  }
}

// Clause 2: read(2) into a page that nobody wrote to.  The fault is taken in the kernel.
TEST_P(SlotAttackTest, AWriteByASystemCallIsReset) {
  const UniqueFd file(::memfd_create("bytes", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "abcdefghi", 9), 9);
  const auto write = [&](std::byte* to) { return ::pread(file.get(), to, 9, 0) == 9; };
  expect_reset(write);
  const int left = left_without_touched(write);
  if (mapped()) {
    EXPECT_GE(left, 1) << "this needs no touched() any more";
  } else {
    EXPECT_EQ(left, 0);
  }
}

// A page that a system call reaches from the one before it.
TEST_P(SlotAttackTest, AWriteByASystemCallAcrossPagesIsReset) {
  const UniqueFd file(::memfd_create("bytes", MFD_CLOEXEC));
  const std::vector<std::byte> bytes = pattern(3 * kPage, 7);
  ASSERT_EQ(::write(file.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  for (size_t page = 1; page < 60; page += 2) {
    slot->begin();
    write_pages(*slot, page, 1);
    slot->touched();
    const iovec parts[2] = {{slot->base() + page * kPage + 100, 2 * kPage},
                            {slot->base() + (page + 60) * kPage - 1, 2}};
    ASSERT_EQ(::preadv(file.get(), parts, 2, 0), static_cast<ssize_t>(2 * kPage + 2));
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

TEST_P(SlotAttackTest, AWriteByProcessVmWritevIsReset) {
  const auto write = [&](std::byte* to) {
    char bytes[] = "abcdefghi";
    const iovec local{bytes, 9};
    const iovec remote{to, 9};
    return ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0) == 9;
  };
  expect_reset(write);
  const int left = left_without_touched(write);
  if (mapped()) {
    EXPECT_GE(left, 1) << "this needs no touched() any more";
  } else {
    EXPECT_EQ(left, 0);
  }
}

// By another process, as a debugger would: no thread of ours has any part in it.
TEST_P(SlotAttackTest, AWriteByAnotherProcessIsReset) {
  const auto write = [&](std::byte* to) {
    return in_child([to] {
             char bytes[] = "abcdefghi";
             const iovec local{bytes, 9};
             const iovec remote{to, 9};
             return ::process_vm_writev(::getppid(), &local, 1, &remote, 1, 0) == 9 ? ""
                                                                                    : std::strerror(errno);
           }) == "";
  };
  if (!write(slot->base())) GTEST_SKIP() << "processes may not write to others here";
  slot->touched();
  ASSERT_TRUE(slot->reset().ok());
  expect_reset(write);
}

// /proc/self/mem, which minds no protection.
TEST_P(SlotAttackTest, AWriteByTheMemoryFileIsReset) {
  const UniqueFd memory(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
  if (!memory.valid()) GTEST_SKIP() << "no /proc/self/mem";
  expect_reset([&](std::byte* to) {
    return ::pwrite(memory.get(), "abcdefghi", 9, static_cast<off_t>(reinterpret_cast<uintptr_t>(to))) == 9;
  });
}

// Clause 2: io_uring, within the submitting call and on a thread of the kernel's.
TEST_P(SlotAttackTest, AWriteByIoUringIsReset) {
  IoUring ring;
  if (!ring.works()) GTEST_SKIP() << "io_uring is denied here: " << std::strerror(errno);
  const UniqueFd file(::memfd_create("bytes", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "abcdefghi", 9), 9);
  for (const bool aside : {false, true}) {
    renew();
    const auto write = [&](std::byte* to) { return ring.read(file.get(), to, 9, aside); };
    expect_reset(write);
    const int left = left_without_touched(write);
    if (mapped()) {
      EXPECT_GE(left, 1) << "this needs no touched() any more";
    } else if (GetParam() == FaultCounterKind::kNone) {
      EXPECT_EQ(left, 0);
    }
  }
}

// A page that is made private and writable, but not changed, before the guest writes to it without a fault:
// MADV_POPULATE_WRITE, and mlock(), by another thread.
TEST_P(SlotAttackTest, APageMadeWritableByAnotherThreadIsReset) {
  Helper helper;
  const auto make_writable = [](bool lock, std::byte* page) {
    constexpr int kPopulateWrite = 23;
    const int failed = lock ? ::syscall(SYS_mlock, page, kPage) : ::madvise(page, kPage, kPopulateWrite);
    if (lock) ::syscall(SYS_munlock, page, kPage);
    return failed == 0;
  };
  for (const bool lock : {false, true}) {
    renew();
    const auto write = [&](std::byte* to) {
      std::byte* const page = to - reinterpret_cast<uintptr_t>(to) % kPage;
      bool made = false;
      helper.run([&] { made = make_writable(lock, page); });
      std::memset(to, 0xee, 9);
      return made;
    };
    if (!write(slot->base())) GTEST_SKIP() << "the kernel does not: " << std::strerror(errno);
    slot->touched();
    ASSERT_TRUE(slot->reset().ok());
    expect_reset(write);
    if (GetParam() != FaultCounterKind::kNone) {
      EXPECT_GE(left_without_touched(write), 1) << "this needs no touched() any more";
    }
  }
}

// touched() holds until a reset, through any number of begin(); and a reset that scanned needs it no more.
TEST_P(SlotAttackTest, TouchedHoldsUntilTheReset) {
  Helper helper;
  for (size_t page = 1; page < 50; page++) {
    slot->touched();
    helper.run([&] { std::memset(slot->base() + page * kPage, 0xee, 9); });
    slot->begin();
    slot->begin();
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

// --- the guest's own writes ---------------------------------------------------------------------------

// Clause 1: a write that begins in a page of the write set and ends in one that is not, by memset and memcpy,
// and byte by byte.
TEST_P(SlotAttackTest, AWriteAcrossAPagesEdgeIsReset) {
  const std::vector<std::byte> bytes = pattern(2 * kPage, 5);
  for (size_t page = 1; page < 100; page++) {
    slot->begin();
    std::byte* const edge = slot->base() + (page + 1) * kPage;
    std::memset(slot->base() + page * kPage, 0xee, 8);
    switch (page % 4) {
      case 0: std::memset(edge - 1, 0xee, 2); break;
      case 1: std::memcpy(edge - 100, bytes.data(), 200); break;
      case 2: std::memcpy(edge - 3, bytes.data(), 8); break;  // one word
      default: std::memmove(edge - kPage + 1, edge - kPage, kPage); break;
    }
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

// Clause 3: pages that grew, were written and closed are private and writable when they are opened again, so
// that writing to them is no fault.
TEST_P(SlotAttackTest, WhatGrewOnceIsResetThoughItIsWrittenWithoutAFault) {
  for (int call = 0; call < 50; call++) {
    slot->begin();
    ASSERT_TRUE(slot->grow(kShape.capacity).ok());
    Start grown(pattern(100 * kPage + 9), kShape.capacity);
    ASSERT_EQ(grown.differs(*slot), "") << call;
    std::memset(slot->base() + start.bytes(), 0xee, 40 * kPage);
    ASSERT_TRUE(slot->reset().value());
    ASSERT_EQ(start.differs(*slot), "") << call;
  }
}

// More runs of pages than any buffer holds: 33, and 12,000.
TEST_P(SlotAttackTest, AnyNumberOfRunsIsReset) {
  for (const size_t runs : {size_t{33}, size_t{64}, size_t{65}, size_t{12'000}}) {
    const size_t bytes = (2 * runs * kPage / kWasmPage + 1) * kWasmPage;
    Start large(pattern(runs * kPage), bytes);
    for (const size_t pages_max : {size_t{128}, size_t{20'000}}) {
      const auto used = new_slot({.capacity = bytes, .guard = kWasmPage});
      ASSERT_TRUE(large.open(*used, {.write_set_pages_max = pages_max, .fault_counter = GetParam()}).ok());
      for (size_t call = 0; call < 2; call++) {
        write_pages(*used, call, runs, 2);
        ASSERT_TRUE(used->reset().ok());
        ASSERT_EQ(large.differs(*used), "") << runs << " " << pages_max;
        used->begin();
      }
    }
  }
}

// --- faults that are too many, and not the slot's -----------------------------------------------------

// 30,000 faults elsewhere in the same call, more than any ring holds, and one on the slot: before, between or
// after them.
TEST_P(SlotAttackTest, AFaultAmongThousandsIsSeen) {
  const size_t bytes = 1000 * kPage;
  void* const elsewhere = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(elsewhere, MAP_FAILED);
  ASSERT_EQ(::madvise(elsewhere, bytes, MADV_NOHUGEPAGE), 0);
  size_t page = 1;
  for (const size_t faults : {size_t{1}, size_t{511}, size_t{512}, size_t{513}, size_t{30'000}}) {
    for (const size_t at : {size_t{0}, faults / 2, faults}) {
      slot->begin();
      for (size_t fault = 0; fault <= faults; fault++) {
        if (fault == at) write_pages(*slot, page++, 1);
        if (fault % 1000 == 0) ::madvise(elsewhere, bytes, MADV_DONTNEED);
        static_cast<volatile std::byte*>(elsewhere)[fault % 1000 * kPage] = std::byte{1};
      }
      ASSERT_TRUE(slot->reset().ok());
      ASSERT_EQ(start.differs(*slot), "") << faults << " " << at;
    }
  }
  ::munmap(elsewhere, bytes);
}

// The kernel is told to take one sample a second; on a thread of its own, whose counter is opened after that.
TEST_P(SlotAttackTest, AFaultIsSeenWhereTheKernelLimitsSamples) {
  test::SystemSettings settings;
  if (!settings.set("/proc/sys/kernel/perf_event_max_sample_rate", "1")) {
    GTEST_SKIP() << "perf_event_max_sample_rate cannot be set here";
  }
  std::jthread([this] {
    for (int round = 0; round < 20; round++) {
      const auto fresh = opened();
      for (size_t page = 0; page < 128; page++) {
        fresh->begin();
        write_pages(*fresh, page, 1);
        ASSERT_TRUE(fresh->reset().ok());
        ASSERT_EQ(start.differs(*fresh), "") << round << " " << page;
      }
    }
  });
}

// Two slots of one thread in turns: the faults of one must not be taken for the other's, nor be forgotten
// when the other's reset has looked at the counter.
TEST_P(SlotAttackTest, SlotsOfOneThreadDoNotHideEachOthersFaults) {
  const auto other = opened();
  for (size_t page = 1; page < 100; page++) {
    slot->begin();
    write_pages(*slot, page, 1);
    other->begin();
    write_pages(*other, page + 1, 1);
    ASSERT_TRUE(other->reset().ok());
    other->begin();
    ASSERT_TRUE(other->reset().ok());
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << page;
    ASSERT_EQ(start.differs(*other), "") << page;
  }
}

// --- other threads ------------------------------------------------------------------------------------

// Clause 5: a call on one thread and its reset on another.  begin() is called by the one that calls, or
// touched().
TEST_P(SlotAttackTest, AResetOnAnotherThreadThanTheCallSeesItsFaults) {
  Helper helper;
  for (size_t page = 1; page < 120; page++) {
    const std::function<void()> begin = [&] { slot->begin(); };
    const std::function<void()> write = [&] { write_pages(*slot, page, 1); };
    const std::function<void()> reset = [&] { ASSERT_TRUE(slot->reset().ok()); };
    const auto here = [](const std::function<void()>& work) { work(); };
    const auto there = [&](const std::function<void()>& work) { helper.run(work); };
    switch (page % 6) {
      case 0: here(begin), here(write), there(reset); break;
      case 1: there(begin), there(write), here(reset); break;
      case 2: here(write), there(reset); break;
      case 3: slot->touched(), there(write), here(reset); break;
      case 4: there(begin), there(write), there(reset); break;
      default: here(begin), there(begin), there(write), here(reset); break;
    }
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

// Several calls before one reset, each of which begins, on this thread or on another: what the first ones
// wrote is not forgotten when the later ones begin.
TEST_P(SlotAttackTest, CallsBeforeTheLastOneAreReset) {
  Helper helper;
  const std::function<void()> nothing = [&] { slot->begin(); };
  for (size_t page = 1; page < 80; page++) {
    const std::function<void()> call = [&] {
      slot->begin();
      write_pages(*slot, page, 1);
    };
    const bool first_here = page % 2 == 0;
    const bool last_here = page / 2 % 2 == 0;
    first_here ? call() : helper.run(call);
    last_here ? nothing() : helper.run(nothing);
    if (page / 4 % 2 == 0) {
      ASSERT_TRUE(slot->reset().ok());
    } else {
      helper.run([&] { ASSERT_TRUE(slot->reset().ok()); });
    }
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

// A slot goes from thread to thread, each of which ends before the next one begins, and takes its stack and
// its thread-local memory.
TEST_P(SlotAttackTest, ThreadsThatComeAndGoAreNotTakenForEachOther) {
  for (size_t page = 1; page < 100; page++) {
    std::jthread([&] {
      slot->begin();
      write_pages(*slot, page, 1);
    }).join();
    std::jthread([&] { ASSERT_TRUE(slot->reset().ok()); }).join();
    ASSERT_EQ(start.differs(*slot), "") << page;
  }
}

// --- forks --------------------------------------------------------------------------------------------

// Clause 5: parent and child each go on with the slot as it was, in a call or between two, and each resets
// what it wrote itself.  Children of both kinds, and theirs.
TEST_P(SlotAttackTest, ParentAndChildEachResetTheirOwn) {
  const auto calls = [this](size_t first) -> std::string {
    for (size_t page = first; page < first + 20; page++) {
      if (page % 2 == 0) slot->begin();
      write_pages(*slot, page, 1);
      if (!slot->reset().ok()) return "it cannot be reset";
      if (start.differs(*slot) != "") return start.differs(*slot);
    }
    return "";
  };
  for (const test::MakeChild make_child : {test::MakeChild{&::fork}, test::MakeChild{&test::bare_clone}}) {
    if (make_child != &::fork && !process_generation_sees_bare_clones()) continue;
    for (const bool in_call : {false, true}) {
      slot = opened();
      EXPECT_EQ(calls(0), "");
      if (in_call) {
        slot->begin();
        write_pages(*slot, 100, 3);
      }
      const auto child = [&]() -> std::string {
        if (in_call && !slot->reset().ok()) return "it cannot be reset";
        if (start.differs(*slot) != "") return "from the parent: " + start.differs(*slot);
        return calls(10);
      };
      EXPECT_EQ(in_child([&] { return in_child(child, make_child) + child(); }, make_child), "") << in_call;
      if (in_call) {
        EXPECT_NE(start.differs(*slot), "");
        ASSERT_TRUE(slot->reset().ok());
      }
      EXPECT_EQ(start.differs(*slot), "");
      EXPECT_EQ(calls(40), "") << in_call;
    }
  }
}

// A fork makes the parent's private pages read-only for a moment: their next write is a fault, and harmless.
// Forks by another thread, all the time.
TEST_P(SlotAttackTest, ForksByAnotherThreadDisturbNoReset) {
  std::atomic<bool> stop = false;
  std::jthread forks([&] {
    while (!stop) EXPECT_EQ(in_child([] { return std::string(); }), "");
  });
  for (size_t call = 0; call < 300; call++) {
    slot->begin();
    write_pages(*slot, call * 7 % 120, 5);
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_EQ(start.differs(*slot), "") << call;
  }
  stop = true;
}

// In a child that may not open events any more, and one that may scan no more.
TEST_P(SlotAttackTest, AChildWithLessRightsResetsAllTheSame) {
  const auto calls = [this](const test::Refusal& refusal) {
    return in_child([&]() -> std::string {
      if (!test::refuse(refusal)) return "no filter";
      for (size_t page = 1; page < 100; page++) {
        slot->begin();
        write_pages(*slot, page, 1);
        if (!slot->reset().ok()) return "it cannot be reset";
        if (start.differs(*slot) != "") return start.differs(*slot);
      }
      return "";
    });
  };
  EXPECT_EQ(calls({SYS_perf_event_open, EACCES}), "");
  EXPECT_EQ(calls({SYS_openat, EACCES}), "");  // of /proc/self/pagemap
  EXPECT_EQ(calls({SYS_getrusage, EPERM}), "");
}

}  // namespace
}  // namespace spore::memory
