// Files that are cut short while they are mapped.  What would end the tester runs in children.

#include "spore/memory/bus_guard.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "spore/base/signal_block.h"
#include "spore/memory/page_image.h"
#include "spore/memory/slot.h"
#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::in_child;
using test::kPage;
using test::kWasmPage;
using test::pattern;

constexpr SlotShape kShape{.capacity = 16 * kWasmPage, .guard = kWasmPage};
constexpr size_t kPages = 32;

// A file without a name that has these pages of data.
class File {
 public:
  explicit File(size_t pages = kPages, uint64_t seed = 1) : bytes_(pattern(pages * kPage, seed)) {
    std::string path = SPORE_BINARY_DIR "/file.XXXXXX";
    fd_ = UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
    ::unlink(path.c_str());
    EXPECT_EQ(::pwrite(fd_.get(), bytes_.data(), bytes_.size(), 0), static_cast<ssize_t>(bytes_.size()));
  }
  int fd() const { return fd_.get(); }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  void cut(size_t pages) const { ASSERT_EQ(::ftruncate(fd(), static_cast<off_t>(pages * kPage)), 0); }
  std::shared_ptr<const PageImage> image(size_t memory_bytes = 4 * kWasmPage) const {
    return PageImage::map_file({.fd = fd(), .bytes = memory_bytes, .mapped_bytes = bytes_.size()}).value();
  }

 private:
  std::vector<std::byte> bytes_;
  UniqueFd fd_;
};

std::unique_ptr<Slot> open_slot(const std::shared_ptr<const PageImage>& image) {
  std::unique_ptr<Slot> slot = test::new_slot(kShape);
  EXPECT_TRUE(slot->open(image->bytes(), image).ok());
  return slot;
}

std::byte read(const std::byte* at) { return *static_cast<const volatile std::byte*>(at); }

// --- what becomes of the memory --------------------------------------------------------------------------

TEST(BusGuardTest, AFileThatIsCutReadsAsZerosAndItsImageIsBroken) {
  const File file;
  const auto image = file.image();
  const auto slot = open_slot(image);
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().end(), slot->base()));
  EXPECT_FALSE(image->broken());
  file.cut(0);
  EXPECT_FALSE(image->broken());  // nobody has used it
  EXPECT_EQ(read(slot->base() + 5 * kPage), std::byte{0});
  EXPECT_TRUE(image->broken());
  EXPECT_TRUE(slot->broken());
  for (size_t page = 0; page < kPages; page++) EXPECT_EQ(read(slot->base() + page * kPage + 9), std::byte{0});
  // It can be written to, as before.
  slot->base()[3 * kPage] = std::byte{1};
  EXPECT_EQ(read(slot->base() + 3 * kPage), std::byte{1});
  EXPECT_EQ(test::guards_differ(*slot), "");
}

// The first access may be a write, a copy as Wasmtime makes it, or one by page().
TEST(BusGuardTest, WritesAndCopiesGoOnToo) {
  for (int way = 0; way < 4; way++) {
    const File file;
    const auto image = file.image();
    const auto slot = open_slot(image);
    file.cut(0);
    std::vector<std::byte> copy(kPages * kPage, std::byte{1});
    switch (way) {
      case 0: *static_cast<volatile std::byte*>(slot->base() + 7) = std::byte{5}; break;
      case 1: std::memcpy(copy.data(), slot->base(), copy.size()); break;
      case 2: std::memmove(slot->base() + 100, slot->base(), 4 * kPage); break;
      default: std::memcpy(copy.data(), image->page(0), copy.size()); break;
    }
    EXPECT_TRUE(image->broken()) << way;
    EXPECT_EQ(read(slot->base() + 7), way == 0 ? std::byte{5} : std::byte{0});
    EXPECT_EQ(copy, std::vector<std::byte>(copy.size(), way % 2 == 0 ? std::byte{1} : std::byte{0})) << way;
  }
}

// What is left of the file can be used, until what is not left is; then the memory is broken as a whole.
TEST(BusGuardTest, WhatIsLeftOfTheFileIsAsItWas) {
  const File file;
  const auto image = file.image();
  const auto slot = open_slot(image);
  file.cut(10);
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().begin() + 10 * kPage, slot->base()));
  EXPECT_TRUE(std::equal(file.bytes().begin(), file.bytes().begin() + 10 * kPage, image->page(0)));
  EXPECT_FALSE(image->broken());
  EXPECT_EQ(read(slot->base() + 10 * kPage), std::byte{0});
  EXPECT_TRUE(image->broken());
}

// Pages that are zeros beyond what is mapped need no file; and images of other files, or of none, are whole.
TEST(BusGuardTest, OthersAreNotBroken) {
  const File file;
  const File other(kPages, 2);
  const auto image = file.image();
  const auto whole = other.image();
  const auto slot = open_slot(image);
  const auto whole_slot = open_slot(whole);
  test::Start start(pattern(20 * kPage), 4 * kWasmPage);
  const auto memfd_slot = test::new_slot(kShape);
  ASSERT_TRUE(start.open(*memfd_slot).ok());
  file.cut(0);
  EXPECT_EQ(read(slot->base() + kPages * kPage), std::byte{0});
  EXPECT_FALSE(image->broken());
  EXPECT_EQ(read(slot->base()), std::byte{0});
  EXPECT_TRUE(image->broken());
  EXPECT_TRUE(std::equal(other.bytes().begin(), other.bytes().end(), whole_slot->base()));
  EXPECT_FALSE(whole->broken());
  EXPECT_FALSE(start.image()->broken());
  EXPECT_EQ(start.differs(*memfd_slot), "");
  EXPECT_FALSE(memfd_slot->broken());
}

// Goal: what is broken is never taken for clean, by anybody.
TEST(BusGuardTest, ABrokenSlotIsNotResetAndAnotherOneIsNotOpened) {
  const File file;
  const auto image = file.image();
  const auto slot = open_slot(image);
  const auto second = open_slot(image);
  for (const auto& each : {slot.get(), second.get()}) {
    each->begin();
    test::write_pages(*each, 3, 2);
    ASSERT_TRUE(each->reset().ok());
  }
  // It refills pages from the file; that alone finds it broken.
  file.cut(0);
  slot->begin();
  test::write_pages(*slot, 3, 2);
  EXPECT_EQ(slot->reset().status().code(), Code::kCorruption);
  EXPECT_EQ(second->reset().status().code(), Code::kCorruption);
  const auto third = test::new_slot(kShape);
  EXPECT_EQ(third->open(image->bytes(), image).code(), Code::kCorruption);

  // Cleared, they serve again.
  test::Start start(pattern(20 * kPage), 4 * kWasmPage);
  for (const auto& each : {slot.get(), second.get(), third.get()}) {
    ASSERT_TRUE(each->clear().ok());
    EXPECT_EQ(test::guards_differ(*each), "");
    ASSERT_TRUE(start.open(*each).ok());
    EXPECT_EQ(start.differs(*each), "");
    each->begin();
    test::write_pages(*each, 3, 5);
    ASSERT_TRUE(each->reset().ok());
    EXPECT_EQ(start.differs(*each), "");
    EXPECT_FALSE(each->broken());
  }
}

// An image that stands on a broken one is broken; its own pages are not touched by that.
TEST(BusGuardTest, WhatStandsOnABrokenImageIsBroken) {
  const File file;
  const auto base = file.image();
  std::vector<std::byte> bytes = file.bytes();
  bytes.resize(base->bytes());
  for (size_t i = 12 * kPage; i < 14 * kPage; i++) bytes[i] = std::byte{0x77};
  const auto image = PageImage::create(bytes, base).value();
  const auto above = PageImage::create(bytes, image).value();
  const auto slot = open_slot(above);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), slot->base()));
  file.cut(0);
  EXPECT_EQ(read(slot->base() + 13 * kPage), std::byte{0x77});
  EXPECT_FALSE(above->broken());
  EXPECT_EQ(read(slot->base() + 20 * kPage), std::byte{0});
  EXPECT_TRUE(base->broken());
  EXPECT_TRUE(image->broken());
  EXPECT_TRUE(above->broken());
  EXPECT_EQ(read(slot->base() + 13 * kPage), std::byte{0x77});
}

// A tracked memory that is mapped anew by the handler is dirty as a whole.
TEST(BusGuardTest, ABrokenMemoryIsDirty) {
  for (const TrackingKind kind : {TrackingKind::kWriteProtect, TrackingKind::kCompare}) {
    const File file;
    const auto slot = open_slot(file.image());
    TrackingOptions options{.kind = kind, .scanner = test::scanner()};
    if (kind == TrackingKind::kWriteProtect) {
      auto made = WriteProtector::create();
      if (!made.ok()) continue;
      options.protector = std::move(made).value();
    }
    ASSERT_TRUE(slot->track(std::make_unique<DirtyTracker>(options)).ok());
    test::write_pages(*slot, 2, 1);
    EXPECT_EQ(slot->tracker()->take().value(), std::vector<PageRun>({{2 * kPage, kPage}}));
    file.cut(0);
    EXPECT_EQ(read(slot->base()), std::byte{0});
    EXPECT_TRUE(slot->tracker()->is_dirty(2).value());
    EXPECT_TRUE(slot->broken());
  }
}

// System calls fail instead: no zeros reach anybody.
TEST(BusGuardTest, TheKernelIsGivenNoZeros) {
  const File file;
  const auto image = file.image();
  const auto slot = open_slot(image);
  file.cut(0);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  EXPECT_EQ(::write(ends[1], slot->base() + kPage, 100), -1);
  EXPECT_EQ(errno, EFAULT);
  EXPECT_FALSE(image->broken());
  ::close(ends[0]);
  ::close(ends[1]);
}

// --- threads ---------------------------------------------------------------------------------------------

// Several threads read one slot, and the image itself, while the file is cut.  Each sees the file's bytes or
// zeros, and who has seen zeros finds the image broken.
TEST(BusGuardTest, ThreadsThatReadOneSlotGoOn) {
  for (int round = 0; round < 20; round++) {
    const File file;
    const auto image = file.image();
    const auto slot = open_slot(image);
    std::atomic<int> ready = 0;
    std::atomic<int> wrong = 0;
    std::atomic<int> saw_zeros = 0;
    {
      std::vector<std::jthread> threads;
      for (size_t i = 0; i < 4; i++) {
        threads.emplace_back([&, i] {
          const std::byte* const base = i % 2 == 0 ? slot->base() : image->page(0);
          ready++;
          for (int times = 0; times < 2000; times++) {
            for (size_t page = i; page < kPages; page += 3) {
              const size_t at = page * kPage + i;
              const std::byte seen = read(base + at);
              if (seen == std::byte{0}) {
                saw_zeros++;
                if (!image->broken()) wrong++;
                return;
              }
              if (seen != file.bytes()[at]) wrong++;
            }
          }
        });
      }
      while (ready < 4) {
      }
      file.cut(0);
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(image->broken(), saw_zeros > 0);
  }
}

// Goal: a fault finds its range while others come and go.  Method: two threads open and clear slots, and make
// and drop images, as fast as they can; two break one after the other, and see zeros each time.
TEST(BusGuardTest, RangesComeAndGoWhileAnotherIsReplaced) {
  const size_t before = BusGuard::watched();
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> others;
    for (uint64_t i = 0; i < 2; i++) {
      others.emplace_back([&, i] {
        const File file(kPages, 10 + i);
        const auto image = file.image();
        while (!done) {
          const auto slot = open_slot(image);
          const auto second = file.image();
          if (read(slot->base() + 3) != file.bytes()[3] || read(second->page(0) + 3) != file.bytes()[3])
            wrong++;
        }
        if (image->broken()) wrong++;
      });
    }
    std::vector<std::jthread> breaking;
    for (uint64_t i = 0; i < 2; i++) {
      breaking.emplace_back([&, i] {
        for (uint64_t round = 0; round < 200; round++) {
          const File file(4, 100 * i + round);
          const auto image = file.image();
          const auto slot = open_slot(image);
          if (read(slot->base()) != file.bytes()[0]) wrong++;
          file.cut(0);
          if (read(slot->base() + kPage) != std::byte{0} || !image->broken()) wrong++;
        }
      });
    }
    breaking.clear();
    done = true;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(BusGuard::watched(), before);
}

// Far more ranges than one piece of the list has; each is found, and all are gone with their owners.
TEST(BusGuardTest, ThousandsOfRangesAreWatched) {
  const size_t before = BusGuard::watched();
  {
    const File file(4);
    std::vector<std::shared_ptr<const PageImage>> images;
    for (int i = 0; i < 3000; i++) images.push_back(file.image(kWasmPage));
    EXPECT_EQ(BusGuard::watched(), before + 3000);
    for (size_t i = 0; i < images.size(); i += 2) images[i] = nullptr;
    EXPECT_EQ(BusGuard::watched(), before + 1500);
    for (size_t i = 0; i < images.size(); i += 2) images[i] = file.image(kWasmPage);
    file.cut(0);
    for (const auto& image : images) {
      EXPECT_FALSE(image->broken());
      EXPECT_EQ(read(image->page(2 * kPage)), std::byte{0});
      EXPECT_TRUE(image->broken());
    }
  }
  EXPECT_EQ(BusGuard::watched(), before);
}

// The list does not get longer if there are never more at once.
TEST(BusGuardTest, EntriesAreUsedAgain) {
  const File file(4);
  const auto image = file.image(kWasmPage);
  const auto slot = test::new_slot(kShape);
  ASSERT_TRUE(slot->open(image->bytes(), image).ok());
  const size_t room = BusGuard::room();
  for (int i = 0; i < 5000; i++) {
    ASSERT_TRUE(slot->clear().ok());
    ASSERT_TRUE(slot->open(image->bytes(), image).ok());
  }
  EXPECT_EQ(BusGuard::room(), room);
}

// A slot of an image that is no file's has none.
TEST(BusGuardTest, SlotsOfImagesInMemoryAreNotWatched) {
  const size_t before = BusGuard::watched();
  test::Start start(pattern(20 * kPage), 4 * kWasmPage);
  const auto slot = test::new_slot(kShape);
  ASSERT_TRUE(start.open(*slot).ok());
  EXPECT_EQ(BusGuard::watched(), before);
  const File file;
  const auto image = file.image();
  EXPECT_EQ(BusGuard::watched(), before + 1);
  const auto of_file = open_slot(image);
  EXPECT_EQ(BusGuard::watched(), before + 2);
  ASSERT_TRUE(of_file->clear().ok());
  EXPECT_EQ(BusGuard::watched(), before + 1);
}

// Threads of ours block all signals that they can.
TEST(BusGuardTest, AThreadThatTakesNoSignalsGoesOnToo) {
  const File file;
  const auto image = file.image();
  file.cut(0);
  std::jthread([&] {
    const SignalBlock block;
    EXPECT_EQ(read(image->page(0)), std::byte{0});
  }).join();
  EXPECT_TRUE(image->broken());
}

// On the alternate stack, where the thread has one: its own may be all but used up.
TEST(BusGuardTest, TheHandlerRunsOnTheAlternateStack) {
  if (test::kSanitized) GTEST_SKIP() << "sanitizers look at stacks in their own way";
  const File file;
  const auto image = file.image();
  file.cut(0);
  std::jthread([&] {
    std::vector<std::byte> memory(256 * 1024, std::byte{0x5a});
    stack_t stack{};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    ASSERT_EQ(::sigaltstack(&stack, nullptr), 0);
    EXPECT_EQ(read(image->page(0)), std::byte{0});
    const auto used = std::ranges::count_if(memory, [](std::byte byte) { return byte != std::byte{0x5a}; });
    EXPECT_GT(used, 100);
    EXPECT_LT(used, 32 * 1024);
    stack.ss_flags = SS_DISABLE;
    ::sigaltstack(&stack, nullptr);
  }).join();
}

TEST(BusGuardTest, ErrnoIsKept) {
  const File file;
  const auto image = file.image();
  file.cut(0);
  errno = EXDEV;
  static_cast<void>(read(image->page(0)));
  EXPECT_EQ(errno, EXDEV);
}

// --- children --------------------------------------------------------------------------------------------

TEST(BusGuardTest, AChildHasItsOwnFlags) {
  for (const test::MakeChild make_child : {test::MakeChild{&::fork}, test::MakeChild{&test::bare_clone}}) {
    const File file;
    const auto image = file.image();
    const auto slot = open_slot(image);
    file.cut(0);
    EXPECT_EQ(in_child(
                  [&] {
                    if (image->broken()) return std::string("broken before the use");
                    if (read(slot->base()) != std::byte{0}) return std::string("not zeros");
                    return std::string(image->broken() ? "" : "not broken");
                  },
                  make_child),
              "");
    EXPECT_FALSE(image->broken());
    EXPECT_EQ(read(slot->base()), std::byte{0});
    EXPECT_TRUE(image->broken());
  }
}

// --- signals that are not ours ---------------------------------------------------------------------------

// Memory of a file that is gone, watched by nobody.
const std::byte* unwatched(const File& file) {
  file.cut(kPages);
  void* const at = ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  file.cut(0);
  return static_cast<const std::byte*>(at);
}

// In a process that has not installed the handler yet: `prepare` says what is there before.
template <typename Prepare, typename Body>
void after(Prepare prepare, Body body) {
  prepare();
  const File file;
  const auto image = file.image();
  const File cut;
  const std::byte* const other = unwatched(cut);
  file.cut(0);
  if (read(image->page(0)) != std::byte{0} || !image->broken()) ::_exit(90);
  body(other);
  ::_exit(91);
}

void exits_with_43(int /*signal*/) { ::_exit(43); }
void exits_with_44(int signal, siginfo_t* info, void* context) {
  ::_exit(signal == SIGBUS && info->si_addr != nullptr && context != nullptr ? 44 : 92);
}
std::atomic<int> calls = 0;
void returns(int /*signal*/) { calls++; }

void install(void (*handler)(int), int flags = 0) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  ::sigaction(SIGBUS, &action, nullptr);
}

class ForeignBusErrorDeathTest : public testing::Test {
 protected:
  // Each child starts the program anew, and has no handler of ours yet.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ForeignBusErrorDeathTest, TheHandlerThatWasThereBeforeGetsIt) {
  EXPECT_EXIT(after([] { install(&exits_with_43); }, [](const std::byte* other) { read(other); }),
              testing::ExitedWithCode(43), "");
  EXPECT_EXIT(after(
                  [] {
                    struct sigaction action{};
                    action.sa_sigaction = &exits_with_44;
                    action.sa_flags = SA_SIGINFO;
                    ::sigaction(SIGBUS, &action, nullptr);
                  },
                  [](const std::byte* other) { read(other); }),
              testing::ExitedWithCode(44), "");
}

// Without one the system ends the process, if it ignores the signal, too.
TEST_F(ForeignBusErrorDeathTest, WithoutAHandlerTheProcessEnds) {
  EXPECT_EXIT(after([] { install(SIG_DFL); }, [](const std::byte* other) { read(other); }),
              testing::KilledBySignal(SIGBUS), "");
  EXPECT_EXIT(after([] { install(SIG_IGN); }, [](const std::byte* other) { read(other); }),
              testing::KilledBySignal(SIGBUS), "");
}

// A handler that wants to be called once is: the access that comes again ends the process.
TEST_F(ForeignBusErrorDeathTest, AHandlerForOneSignalIsCalledOnce) {
  EXPECT_EXIT(after([] { install(&returns, static_cast<int>(SA_RESETHAND)); },
                    [](const std::byte* other) { read(other); }),
              testing::KilledBySignal(SIGBUS), "");
}

// Signals that somebody sent are no accesses.
TEST_F(ForeignBusErrorDeathTest, SignalsThatAreSentAreTreatedAsBefore) {
  for (const auto send : {+[] { ::kill(::getpid(), SIGBUS); }, +[] { ::raise(SIGBUS); }}) {
    const auto body = [&](const std::byte* /*other*/) { send(); };
    EXPECT_EXIT(after([] { install(SIG_DFL); }, body), testing::KilledBySignal(SIGBUS), "");
    EXPECT_EXIT(after([] { install(&exits_with_43); }, body), testing::ExitedWithCode(43), "");
    EXPECT_EXIT(after([] { install(SIG_IGN); }, body), testing::ExitedWithCode(91), "");
    EXPECT_EXIT(after([] { install(&returns); },
                      [&](const std::byte* /*other*/) {
                        send();
                        send();
                        ::_exit(calls == 2 ? 45 : 93);
                      }),
                testing::ExitedWithCode(45), "");
  }
}

// Of three pages of one file the middle one is watched.
TEST_F(ForeignBusErrorDeathTest, ARangeEndsWhereItEnds) {
  for (const size_t page : {0, 2}) {
    EXPECT_EXIT(after([] { install(&exits_with_43); },
                      [&](const std::byte* /*other*/) {
                        const File file;
                        auto* const base = static_cast<std::byte*>(
                            ::mmap(nullptr, 3 * kPage, PROT_READ, MAP_PRIVATE, file.fd(), 0));
                        std::atomic<bool> broken = false;
                        const auto range = BusGuard::watch(
                            {.base = base + kPage, .bytes = kPage, .protection = PROT_READ}, broken);
                        file.cut(0);
                        if (read(base + kPage) != std::byte{0} || !broken) ::_exit(95);
                        read(base + 2 * kPage - 1);
                        read(base + page * kPage + (page == 0 ? kPage - 1 : 0));
                      }),
                testing::ExitedWithCode(43), "");
  }
}

// If no zeros can be mapped there is no way on: it is as if nobody had watched.
TEST_F(ForeignBusErrorDeathTest, WhatCannotBeReplacedIsPassedOn) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer maps memory of its own, which is refused here";
  EXPECT_EXIT(after([] { install([](int /*signal*/) { ::_exit(errno == EXDEV ? 46 : 96); }); },
                    [](const std::byte* /*other*/) {
                      const File file;
                      const auto image = file.image();
                      file.cut(0);
                      if (!test::refuse({SYS_mmap, ENOMEM, 3, MAP_FIXED | MAP_ANONYMOUS})) ::_exit(97);
                      errno = EXDEV;
                      read(image->page(0));
                    }),
              testing::ExitedWithCode(46), "");
}

// What was watched once, and is mapped by somebody else now, is not ours any more.
TEST_F(ForeignBusErrorDeathTest, AnAddressIsWatchedNoLongerThanItsOwnerLives) {
  EXPECT_EXIT(after([] { install(&exits_with_43); },
                    [](const std::byte* /*other*/) {
                      const File file;
                      auto image = file.image();
                      auto* const at = const_cast<std::byte*>(image->page(0));
                      image = nullptr;
                      if (::mmap(at, kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, file.fd(), 0) != at)
                        ::_exit(94);
                      file.cut(0);
                      read(at);
                    }),
              testing::ExitedWithCode(43), "");
}

}  // namespace
}  // namespace spore::memory
