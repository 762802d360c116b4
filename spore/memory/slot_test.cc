// Slots as their users see them: open, grow, reset, clear, limits, the write set.  What attacks the argument
// of slot.h is in slot_attack_test.cc.

#include "spore/memory/slot.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::fill;
using test::guards_differ;
using test::in_child;
using test::kPage;
using test::kShape;
using test::kWasmPage;
using test::new_slot;
using test::pattern;
using test::scanner;
using test::Start;
using test::write_pages;

// --- open, grow, reset, clear -------------------------------------------------------------------------

std::vector<Start> all_starts() {
  std::vector<Start> starts;
  starts.emplace_back(std::vector<std::byte>(), 0);                   // no memory at all
  starts.emplace_back(std::vector<std::byte>(), 2 * kWasmPage);       // no image
  starts.emplace_back(std::vector<std::byte>(3 * kPage), kWasmPage);  // an image of zeros
  starts.emplace_back(pattern(1), kWasmPage);                         // data that ends in a page
  starts.emplace_back(pattern(kPage), kWasmPage);                     // one page
  starts.emplace_back(pattern(3 * kPage + 7), 4 * kWasmPage);         // more, unaligned
  starts.emplace_back(pattern(2 * kWasmPage), 2 * kWasmPage);         // nothing but image
  starts.emplace_back(pattern(15 * kWasmPage), 16 * kWasmPage);       // up to the capacity
  std::vector<std::byte> gaps = pattern(9 * kPage);
  for (const size_t page : {0, 3, 4, 8}) std::fill_n(&gaps[page * kPage], kPage, std::byte{0});
  starts.emplace_back(std::move(gaps), kWasmPage);  // zeros inside and at the end
  return starts;
}

// Every byte and the length are as they were given, and there is no access to anything around.
TEST(SlotTest, ItOpensWithItsImageAndZeros) {
  for (Start& start : all_starts()) {
    const auto slot = new_slot();
    EXPECT_EQ(guards_differ(*slot), "");
    ASSERT_TRUE(start.open(*slot).ok());
    EXPECT_EQ(start.differs(*slot), "") << start.bytes();
    EXPECT_EQ(guards_differ(*slot), "") << start.bytes();
  }
}

// All of it is overwritten, and comes back; with a write set that takes it all and with one that does not.
TEST(SlotTest, ResetBringsEveryByteBack) {
  for (const size_t pages_max : {size_t{0}, size_t{1}, size_t{128}, size_t{1} << 20}) {
    for (Start& start : all_starts()) {
      const auto slot = new_slot();
      ASSERT_TRUE(start.open(*slot, {.write_set_pages_max = pages_max}).ok());
      for (int call = 0; call < 3; call++) {
        fill(*slot);
        EXPECT_FALSE(slot->reset().value());
        EXPECT_EQ(start.differs(*slot), "") << start.bytes() << " " << pages_max;
        slot->begin();
      }
      EXPECT_EQ(guards_differ(*slot), "");
    }
  }
}

// Goal: an access outside ends the process, as a trap in Wasmtime's handler would.  Method: children that
// try.
TEST(SlotTest, AccessOutsideFaults) {
  const auto slot = new_slot();
  Start start(pattern(kPage), 2 * kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  volatile std::byte* base = slot->base();
  const auto reads = [&](ptrdiff_t at) { return test::segfaults([&] { static_cast<void>(base[at]); }); };
  const auto writes = [&](ptrdiff_t at) { return test::segfaults([&] { base[at] = std::byte{1}; }); };
  const auto end = static_cast<ptrdiff_t>(slot->bytes());
  const auto capacity = static_cast<ptrdiff_t>(slot->capacity());
  const auto guard = static_cast<ptrdiff_t>(kShape.guard);
  for (const ptrdiff_t inside : {ptrdiff_t{0}, end - 1})
    EXPECT_FALSE(reads(inside) || writes(inside)) << inside;
  for (const ptrdiff_t outside : {-guard, ptrdiff_t{-1}, end, capacity - 1, capacity, capacity + guard - 1}) {
    EXPECT_TRUE(reads(outside)) << outside;
    EXPECT_TRUE(writes(outside)) << outside;
  }
}

// One page at a time up to the capacity, what is new being zeros; not a page further.
TEST(SlotTest, ItGrowsByZerosUpToItsCapacity) {
  const auto slot = new_slot();
  Start start(pattern(kPage), kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  for (size_t bytes = 2 * kWasmPage; bytes <= kShape.capacity; bytes += kWasmPage) {
    ASSERT_TRUE(slot->grow(bytes).ok());
    EXPECT_EQ(slot->bytes(), bytes);
    Start grown(pattern(kPage), bytes);
    ASSERT_EQ(grown.differs(*slot), "");
    ASSERT_EQ(guards_differ(*slot), "");
  }
  EXPECT_EQ(slot->grow(kShape.capacity + kWasmPage).code(), Code::kLimitExceeded);
  EXPECT_EQ(slot->bytes(), kShape.capacity);
  EXPECT_TRUE(slot->reset().value());
  EXPECT_EQ(start.differs(*slot), "");
  EXPECT_EQ(guards_differ(*slot), "");
}

TEST(SlotTest, AMemoryLargerThanTheSlotIsRefused) {
  const auto slot = new_slot();
  EXPECT_EQ(slot->open(kShape.capacity + kWasmPage, nullptr).code(), Code::kLimitExceeded);
  ASSERT_TRUE(slot->clear().ok());
  EXPECT_TRUE(slot->open(kShape.capacity, nullptr).ok());
}

// Grown, written, reset, and grown again, to other sizes each time: what is opened again is zeros, and what
// is closed has no access.  With few pages, which stay resident, and with many, which are dropped.
TEST(SlotTest, WhatGrewIsZerosWhenItGrowsAgain) {
  for (const size_t pages_max : {size_t{0}, size_t{16}, size_t{128}, size_t{4096}}) {
    const auto slot = new_slot();
    Start start(pattern(5 * kPage), 2 * kWasmPage);
    ASSERT_TRUE(start.open(*slot, {.write_set_pages_max = pages_max}).ok());
    bool many = false;
    for (const size_t wasm_pages : {3, 16, 2, 4, 5, 3, 16, 10}) {
      ASSERT_TRUE(slot->grow(wasm_pages * kWasmPage).ok());
      Start grown(pattern(5 * kPage), wasm_pages * kWasmPage);
      ASSERT_EQ(grown.differs(*slot), "") << wasm_pages << " " << pages_max;
      many = !many;
      write_pages(*slot, many ? 0 : 20, many ? wasm_pages * 16 : 5);
      write_pages(*slot, wasm_pages * 16 - 1, 1);
      EXPECT_EQ(slot->reset().value(), wasm_pages != 2);
      ASSERT_EQ(start.differs(*slot), "") << wasm_pages << " " << pages_max;
      ASSERT_EQ(guards_differ(*slot), "") << wasm_pages << " " << pages_max;
      slot->begin();
    }
  }
}

// Growing in several steps is one growth to reset(); so is growing by nothing no growth.
TEST(SlotTest, ResetSaysIfTheMemoryGotShorter) {
  const auto slot = new_slot();
  Start start({}, kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  ASSERT_TRUE(slot->grow(kWasmPage).ok());
  EXPECT_FALSE(slot->reset().value());
  ASSERT_TRUE(slot->grow(2 * kWasmPage).ok());
  ASSERT_TRUE(slot->grow(5 * kWasmPage).ok());
  EXPECT_TRUE(slot->reset().value());
  EXPECT_FALSE(slot->reset().value());
  EXPECT_EQ(start.differs(*slot), "");
}

// A memory that begins with nothing: all that there is grew.
TEST(SlotTest, AMemoryOfNothingGrowsAndIsNothingAgain) {
  const auto slot = new_slot();
  Start start({}, 0);
  ASSERT_TRUE(start.open(*slot).ok());
  for (int call = 0; call < 3; call++) {
    EXPECT_FALSE(slot->reset().value());
    ASSERT_TRUE(slot->grow(3 * kWasmPage).ok());
    Start grown({}, 3 * kWasmPage);
    EXPECT_EQ(grown.differs(*slot), "");
    fill(*slot);
    EXPECT_TRUE(slot->reset().value());
    EXPECT_EQ(guards_differ(*slot), "");
  }
}

// Goal: nothing of one user's memory reaches the next.  Method: all of a slot is filled, where the image was
// and where it grew; then it is cleared, there is no access to any of it, and opened as zeros to its full
// length.
TEST(SlotTest, AClearedSlotHoldsNothingOfItsPast) {
  for (Start& start : all_starts()) {
    const auto slot = new_slot();
    for (const bool reset_first : {false, true}) {
      ASSERT_TRUE(start.open(*slot).ok());
      ASSERT_TRUE(slot->grow(kShape.capacity).ok());
      fill(*slot);
      if (reset_first) {
        ASSERT_TRUE(slot->reset().ok());
      }
      ASSERT_TRUE(slot->clear().ok());
      EXPECT_EQ(slot->bytes(), 0u);
      EXPECT_EQ(slot->private_bytes(), 0u);
      EXPECT_EQ(slot->counters().resets.value(), 0u);
      EXPECT_EQ(guards_differ(*slot), "");
      Start zeros({}, kShape.capacity);
      ASSERT_TRUE(zeros.open(*slot).ok());
      EXPECT_EQ(zeros.differs(*slot), "");
      fill(*slot);
      ASSERT_TRUE(slot->reset().ok());
      EXPECT_EQ(zeros.differs(*slot), "");
      ASSERT_TRUE(slot->clear().ok());
    }
  }
}

// All pairs of beginnings, in one slot, one after the other.
TEST(SlotTest, ItOpensAnewWithAnotherImage) {
  const auto slot = new_slot();
  for (Start& first : all_starts()) {
    for (Start& second : all_starts()) {
      for (Start* start : {&first, &second}) {
        ASSERT_TRUE(start->open(*slot).ok());
        ASSERT_EQ(start->differs(*slot), "");
        fill(*slot);
        ASSERT_TRUE(slot->reset().ok());
        ASSERT_EQ(start->differs(*slot), "");
        fill(*slot);
        ASSERT_TRUE(slot->clear().ok());
      }
    }
  }
  EXPECT_EQ(guards_differ(*slot), "");
}

// The slot keeps the image alive, and lets go of it.
TEST(SlotTest, ASlotHoldsItsImageUntilItIsCleared) {
  const auto slot = new_slot();
  auto image = PageImage::create(pattern(kPage)).value();
  const std::weak_ptr<const PageImage> watch = image;
  ASSERT_TRUE(slot->open(kWasmPage, std::move(image)).ok());
  EXPECT_FALSE(watch.expired());
  ASSERT_TRUE(slot->clear().ok());
  EXPECT_TRUE(watch.expired());
}

// Images are shared: what one slot does to its memory, and how it is reset, is nothing to another.
TEST(SlotTest, SlotsOfOneImageDoNotSeeEachOther) {
  Start start(pattern(8 * kPage), kWasmPage);
  const auto one = new_slot();
  const auto two = new_slot();
  ASSERT_TRUE(start.open(*one).ok());
  ASSERT_TRUE(start.open(*two).ok());
  for (int call = 0; call < 20; call++) {
    fill(*one);
    EXPECT_EQ(start.differs(*two), "");
    write_pages(*two, static_cast<size_t>(call) % 8, 1);
    ASSERT_TRUE(one->reset().ok());
    EXPECT_EQ(start.differs(*one), "");
    EXPECT_NE(start.differs(*two), "");
    ASSERT_TRUE(two->reset().ok());
    EXPECT_EQ(start.differs(*two), "");
  }
}

// The largest slot there is without bounds checks: pages at both ends and in the middle.  Its bytes are too
// many to compare; the scanner says which pages are its own, and those are compared.
TEST(SlotTest, FourGibibytesAreResetAtBothEnds) {
  if (scanner() == nullptr) GTEST_SKIP() << "no PAGEMAP_SCAN";
  constexpr size_t kBytes = size_t{4} << 30;
  const auto slot = new_slot({.capacity = kBytes, .guard = size_t{32} << 20});
  const std::vector<std::byte> data = pattern(4 * kPage);
  ASSERT_TRUE(slot->open(kBytes, PageImage::create(data).value()).ok());
  for (int call = 0; call < 10; call++) {
    for (const size_t page : {size_t{0}, size_t{3}, size_t{4}, kBytes / kPage / 2, kBytes / kPage - 1}) {
      std::memset(slot->base() + page * kPage, 0xee, kPage);
    }
    ASSERT_TRUE(slot->reset().ok());
    std::vector<PageRun> own;
    ASSERT_TRUE(scanner()->private_pages(slot->base(), kBytes, 0, own).ok());
    EXPECT_EQ(own.size(), 4u);
    EXPECT_EQ(slot->private_bytes(), 5 * kPage);
    for (const PageRun& run : own) {
      std::vector<std::byte> expected = run.offset < data.size() ? data : std::vector<std::byte>();
      expected.erase(expected.begin(),
                     expected.begin() + static_cast<ptrdiff_t>(expected.empty() ? 0 : run.offset));
      expected.resize(run.bytes);
      std::vector<std::byte> now(run.bytes);
      ASSERT_TRUE(test::copy_from(slot->base() + run.offset, now));
      EXPECT_EQ(now, expected) << run.offset;
    }
  }
  EXPECT_EQ(guards_differ(*slot), "");
}

// --- where the system has no more ---------------------------------------------------------------------

// In a child with little address space left a slot is refused, and one that fits is not.
TEST(SlotTest, WithoutAddressSpaceThereIsAnError) {
  EXPECT_EQ(in_child([] {
              size_t pages = 0;
              std::ifstream("/proc/self/statm") >> pages;
              const rlimit limit{pages * kPage + (size_t{1} << 30), RLIM_INFINITY};
              if (::setrlimit(RLIMIT_AS, &limit) != 0) return std::string("setrlimit");
              const auto large = Slot::create({.capacity = size_t{4} << 30, .guard = kWasmPage}, scanner());
              if (large.code() != Code::kLimitExceeded) return std::string("4 GiB fit into one");
              if (large.status().message().find("RLIMIT_AS") == std::string_view::npos) {
                return std::string(large.status().message());
              }
              return std::string(Slot::create(kShape, scanner()).status().message());
            }),
            "");
}

// Uses up the mappings that a process may have, and gives some back.
class Mappings {
 public:
  // False if there can be too many of them for a test.
  static bool few() {
    size_t count_max = SIZE_MAX;
    std::ifstream("/proc/sys/vm/max_map_count") >> count_max;
    return count_max < 300'000;
  }
  Mappings() {
    std::ifstream("/proc/sys/vm/max_map_count") >> pages_;
    base_ = static_cast<std::byte*>(
        ::mmap(nullptr, pages_ * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    // Each second page in another way than its neighbours, which takes two; then the last page, which takes
    // one.
    while (::mprotect(base_ + (1 + 2 * split_) * kPage, kPage, PROT_READ) == 0) split_++;
    static_cast<void>(::mprotect(base_ + (pages_ - 1) * kPage, kPage, PROT_READ));
  }
  // Room for two more mappings.
  bool give_back() { return ::mprotect(base_ + (1 + 2 * --split_) * kPage, kPage, PROT_NONE) == 0; }

 private:
  std::byte* base_ = nullptr;
  size_t pages_ = 0;
  size_t split_ = 0;
};

// Goal: wherever the limit of mappings is met, there is a Status; a slot that failed is closed or still as it
// was, and once there is room, it is of use again.  Method: a life of a slot in a child at that limit, once
// more with each mapping that is given back, until it lasts to its end.
TEST(SlotTest, AtTheLimitOfMappingsThereAreErrorsAndNoHoles) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "the sanitizer maps memory of its own";
  if (!Mappings::few()) GTEST_SKIP() << "vm.max_map_count is too high to be reached";
  EXPECT_EQ(in_child([] {
              Start start(pattern(3 * kPage), 2 * kWasmPage);
              Start grown(pattern(3 * kPage), 4 * kWasmPage);
              std::vector<std::byte> bytes;  // what the test itself needs is there already
              if (const auto slot = new_slot(); !start.open(*slot).ok())
                return std::string("it does not even open");
              Mappings mappings;
              int failures = 0;
              for (int given_back = 0; given_back < 20; given_back++) {
                const auto where = [&](const char* what) {
                  return what + (" " + std::to_string(given_back));
                };
                const auto limited = [&](const Status& status) {
                  if (!status.ok()) failures++;
                  return status.ok() || status.code() == Code::kLimitExceeded;
                };
                bool whole_life = false;
                if (auto made = Slot::create(kShape, scanner()); made.ok()) {
                  Slot& slot = *made.value();
                  const Status opened = start.open(slot);
                  if (!limited(opened)) return where("open: ") + std::string(opened.message());
                  if (opened.ok()) {
                    fill(slot);
                    const Status grew = slot.grow(4 * kWasmPage);
                    if (!limited(grew)) return where("grow: ") + std::string(grew.message());
                    if (slot.bytes() != (grew.ok() ? 4 : 2) * kWasmPage) return where("a wrong length");
                    if (guards_differ(slot) != "") return where("grown, and open: ") + guards_differ(slot);
                    fill(slot);
                    const auto reset = slot.reset();
                    if (!limited(reset.ok() ? Status() : reset.status().copy())) return where("reset");
                    if (reset.ok() && start.differs(slot) != "")
                      return where("reset: ") + start.differs(slot);
                    if (reset.ok() && guards_differ(slot) != "")
                      return where("reset: ") + guards_differ(slot);
                    whole_life = grew.ok() && reset.ok();
                  }
                  const Status cleared = slot.clear();
                  if (!limited(cleared)) return where("clear: ") + std::string(cleared.message());
                  if (cleared.ok() && guards_differ(slot) != "") return where("cleared, and open");
                  whole_life = whole_life && cleared.ok();
                } else if (!limited(std::move(made).status())) {
                  return where("create");
                }
                if (whole_life) return std::string(failures >= 2 ? "" : "the limit was not met");
                if (!mappings.give_back()) return where("nothing can be given back");
              }
              return std::string("it never succeeds");
            }),
            "");
}

// Goal: a growth that fails must not leave a part of itself open.  Method: in a child, what grew before the
// fork and what lies behind it stay two mappings, and the image before them another; at the limit the first
// can be opened, and the second not be split.
TEST(SlotTest, AGrowthThatFailsHalfwayOpensNothing) {
  if (!Mappings::few()) GTEST_SKIP() << "vm.max_map_count is too high to be reached";
  const auto slot = new_slot();
  Start start(pattern(kWasmPage), kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  ASSERT_TRUE(slot->grow(2 * kWasmPage).ok());
  fill(*slot);
  EXPECT_EQ(in_child([&] {
              if (!slot->reset().ok()) return std::string("reset");
              if (!guards_differ(*slot).empty()) return guards_differ(*slot);
              const Mappings all;
              if (slot->grow(3 * kWasmPage).code() != Code::kLimitExceeded) return std::string("it grew");
              if (slot->bytes() != kWasmPage) return std::string("a wrong length");
              return guards_differ(*slot);
            }),
            "");
}

// If it cannot be closed either, the slot is good for nothing until it is cleared.  A child in which no
// access can be changed any more.
TEST(SlotTest, AGrowthThatCannotBeTakenBackEndsInClear) {
  const auto slot = new_slot();
  Start start({}, kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  EXPECT_EQ(in_child([&] {
              if (!test::refuse({SYS_mprotect, ENOMEM})) return std::string("no filter");
              if (slot->grow(2 * kWasmPage).code() != Code::kLimitExceeded) return std::string("it grew");
              if (slot->reset().ok()) return std::string("it is reset");
              if (!slot->clear().ok()) return std::string("it is not cleared");
              return std::string(slot->open(0, nullptr).ok() && slot->reset().ok() ? "" : "it is of no use");
            }),
            "");
}

// --- where the system takes back what it allowed ------------------------------------------------------

// Scans that worked when the slot was made and are refused later, by a filter: pages are dropped.
TEST(SlotTest, AScanThatIsRefusedLaterIsADrop) {
  const auto slot = new_slot();
  Start start(pattern(20 * kPage), 4 * kWasmPage);
  ASSERT_TRUE(start.open(*slot).ok());
  write_pages(*slot, 18, 4);
  ASSERT_TRUE(slot->reset().ok());
  EXPECT_EQ(in_child([&] {
              constexpr unsigned kPagemapScan = 0xc0606610;
              if (!test::refuse({SYS_ioctl, EPERM, 1, kPagemapScan})) return std::string("no filter");
              for (size_t i = 0; i < 5; i++) {
                write_pages(*slot, i, 20);
                if (!slot->reset().ok()) return std::string("it cannot be reset");
                if (start.differs(*slot) != "") return start.differs(*slot);
              }
              return std::string(slot->counters().drops.value() >= 5 ? "" : "no drops");
            }),
            "");
}

// A process that locks all its memory, before a slot is opened: the kernel then makes every page private at
// once, and refuses to drop any by the usual request.
TEST(SlotTest, WhereAllMemoryIsLockedItIsResetAndGrows) {
  constexpr int kAll = MCL_CURRENT | MCL_FUTURE;
  if (test::kSanitized)
    GTEST_SKIP() << "sanitizers let nobody lock memory: all of their own would be locked, too";
  if (const std::string problem =
          in_child([] { return ::mlockall(kAll) == 0 ? "" : "it may not be locked"; });
      !problem.empty()) {
    GTEST_SKIP() << problem;
  }
  EXPECT_EQ(in_child([&] {
              const auto slot = new_slot();
              if (::mlockall(kAll) != 0) return std::string("mlockall");
              for (const size_t pages_max : {size_t{4}, size_t{4096}}) {
                Start start(pattern(20 * kPage), 4 * kWasmPage);
                if (!start.open(*slot, {.write_set_pages_max = pages_max}).ok()) return std::string("open");
                for (size_t call = 0; call < 10; call++) {
                  write_pages(*slot, 10 + call, 15);
                  if (call % 3 == 1 && !slot->grow(8 * kWasmPage).ok()) return std::string("grow");
                  fill(*slot);
                  const auto reset = slot->reset();
                  if (!reset.ok()) return std::string(reset.status().message());
                  if (start.differs(*slot) != "") return start.differs(*slot);
                  slot->begin();
                }
                if (guards_differ(*slot) != "") return guards_differ(*slot);
                if (!slot->clear().ok()) return std::string("clear");
              }
              return std::string();
            }),
            "");
}

}  // namespace
}  // namespace spore::memory
