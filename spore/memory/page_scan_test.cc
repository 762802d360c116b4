#include "spore/memory/page_scan.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fork.h"
#include "spore/memory/page_image.h"
#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::in_child;
using test::kPage;
using test::pattern;

// A private mapping of some pages: of an image, then of nothing.
class Mapping {
 public:
  explicit Mapping(size_t pages, const PageImage* image = nullptr) : bytes_(pages * kPage) {
    base_ = static_cast<std::byte*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ::madvise(base_, bytes_, MADV_NOHUGEPAGE);
    if (image != nullptr) {
      ::mmap(base_, image->mapped_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, image->fd(), 0);
    }
  }
  ~Mapping() { ::munmap(base_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  volatile std::byte* page(size_t number) const { return base_ + number * kPage; }
  void write(size_t number) const { *page(number) = std::byte{1}; }
  void read(size_t number) const { static_cast<void>(*page(number)); }

 private:
  size_t bytes_;
  std::byte* base_;
};

PageRun run(size_t first, size_t pages) { return {first * kPage, pages * kPage}; }

class PageScannerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = PageScanner::create();
    if (!made.ok()) GTEST_SKIP() << made.status().message();
    scanner = std::move(made).value();
  }
  std::vector<PageRun> scan(const Mapping& mapping, size_t zeros_from) const {
    std::vector<PageRun> runs;
    const Status status = scanner->private_pages(mapping.base(), mapping.bytes(), zeros_from, runs);
    EXPECT_TRUE(status.ok()) << status.message();
    return runs;
  }

  std::unique_ptr<PageScanner> scanner;
};

// Of a mapping of zeros: pages that were never used or only read are not private, those written are.
TEST_F(PageScannerTest, WrittenPagesOfZerosAreFoundAndReadOnesAreNot) {
  const Mapping mapping(16);
  EXPECT_TRUE(scan(mapping, 0).empty());
  for (size_t page = 0; page < 16; page++) mapping.read(page);
  EXPECT_TRUE(scan(mapping, 0).empty());
  for (const size_t page : {0, 3, 4, 15}) mapping.write(page);
  EXPECT_EQ(scan(mapping, 0), (std::vector{run(0, 1), run(3, 2), run(15, 1)}));
}

// Of a mapped image likewise; its holes are pages of the file, too.
TEST_F(PageScannerTest, WrittenPagesOfAnImageAreFoundAndReadOnesAreNot) {
  std::vector<std::byte> bytes = pattern(8 * kPage);
  std::fill_n(bytes.begin() + 2 * kPage, 2 * kPage, std::byte{0});
  const auto image = PageImage::create(bytes).value();
  const Mapping mapping(16, image.get());
  for (size_t page = 0; page < 16; page++) mapping.read(page);
  EXPECT_TRUE(scan(mapping, 8 * kPage).empty());
  for (const size_t page : {1, 2, 7, 8}) mapping.write(page);
  EXPECT_EQ(scan(mapping, 8 * kPage), (std::vector{run(1, 2), run(7, 2)}));
}

// The shared zero page counts below the given place and not from there on, also if one run of such pages goes
// across it.
TEST_F(PageScannerTest, TheZeroPageCountsBelowThePlaceThatIsGiven) {
  const Mapping mapping(16);
  for (size_t page = 0; page < 16; page++) mapping.read(page);
  mapping.write(1);
  EXPECT_EQ(scan(mapping, 16 * kPage), (std::vector{run(0, 16)}));
  EXPECT_EQ(scan(mapping, 5 * kPage), (std::vector{run(0, 5)}));
  EXPECT_EQ(scan(mapping, 0), (std::vector{run(1, 1)}));
}

// Far more runs than one call of the kernel has room for: all are reported, in order.
TEST_F(PageScannerTest, TenThousandRunsAreAllFound) {
  for (const size_t runs : {size_t{63}, size_t{64}, size_t{65}, size_t{128}, size_t{10'000}}) {
    const Mapping mapping(2 * runs);
    std::vector<PageRun> expected;
    for (size_t i = 0; i < runs; i++) {
      mapping.write(2 * i + 1);
      expected.push_back(run(2 * i + 1, 1));
    }
    EXPECT_EQ(scan(mapping, 0), expected) << runs;
  }
}

// Access does not matter: a page that was written and closed is still there.
TEST_F(PageScannerTest, ClosedPagesAreFound) {
  const Mapping mapping(4);
  mapping.write(2);
  ASSERT_EQ(::mprotect(mapping.base(), mapping.bytes(), PROT_NONE), 0);
  EXPECT_EQ(scan(mapping, 0), (std::vector{run(2, 1)}));
}

// What was in the vector stays; nothing to scan adds nothing.
TEST_F(PageScannerTest, RunsAreAppended) {
  const Mapping mapping(4);
  mapping.write(0);
  std::vector<PageRun> runs{run(100, 1)};
  ASSERT_TRUE(scanner->private_pages(mapping.base(), mapping.bytes(), 0, runs).ok());
  EXPECT_EQ(runs, (std::vector{run(100, 1), run(0, 1)}));
  ASSERT_TRUE(scanner->private_pages(mapping.base(), 0, 0, runs).ok());
  EXPECT_EQ(runs.size(), 2u);
}

// A page that is written, swapped out and neither read nor written since is still private.
TEST_F(PageScannerTest, SwappedPagesAreFound) {
  const test::SwapFile swap;
  if (!swap.problem().empty()) GTEST_SKIP() << swap.problem();
  const auto image = PageImage::create(pattern(8 * kPage)).value();
  const Mapping mapping(16, image.get());
  for (const size_t page : {1, 2, 12}) mapping.write(page);
  if (!test::page_out(mapping.base(), mapping.bytes(), 3)) GTEST_SKIP() << "the kernel does not page out";
  EXPECT_EQ(scan(mapping, 8 * kPage), (std::vector{run(1, 2), run(12, 1)}));
  mapping.read(1);  // one in memory again, its neighbour maybe not
  EXPECT_EQ(scan(mapping, 8 * kPage), (std::vector{run(1, 2), run(12, 1)}));
}

// Children of both kinds, and theirs, each find what they wrote, and not what others did since.  The scanner
// is the one that was made, and used, before.
TEST_F(PageScannerTest, AChildFindsItsOwnPages) {
  const Mapping mapping(8);
  mapping.write(0);
  EXPECT_EQ(scan(mapping, 0), (std::vector{run(0, 1)}));
  for (const test::MakeChild make_child : {test::MakeChild{&::fork}, test::MakeChild{&test::bare_clone}}) {
    if (make_child != &::fork && !process_generation_sees_bare_clones()) continue;
    const auto wrong = [&](const std::vector<PageRun>& expected) {
      return scan(mapping, 0) == expected ? "" : std::to_string(::getpid()) + " sees another's pages";
    };
    EXPECT_EQ(in_child(
                  [&] {
                    mapping.write(2);
                    const std::string grandchild = in_child(
                        [&] {
                          mapping.write(4);
                          return wrong({run(0, 1), run(2, 1), run(4, 1)});
                        },
                        make_child);
                    return grandchild + wrong({run(0, 1), run(2, 1)});
                  },
                  make_child),
              "");
    EXPECT_EQ(scan(mapping, 0), (std::vector{run(0, 1)}));
  }
}

// The first scans in a child come from several threads at once: each opens, one wins, all see the same.
TEST_F(PageScannerTest, ThreadsOfAChildMayScanAtOnce) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan does not follow threads that a forked child starts";
  const Mapping mapping(8);
  for (int round = 0; round < 20; round++) {
    EXPECT_EQ(in_child([&] {
                mapping.write(3);
                std::atomic<int> ready = 0;
                std::atomic<int> right = 0;
                {
                  std::vector<std::jthread> threads;
                  for (int i = 0; i < 4; i++) {
                    threads.emplace_back([&] {
                      ready++;
                      while (ready < 4) {
                      }
                      right += scan(mapping, 0) == std::vector{run(3, 1)} ? 1 : 0;
                    });
                  }
                }
                return std::string(right == 4 ? "" : "a thread saw something else");
              }),
              "");
  }
}

// A child that cannot open its own page map must not use its parent's.
TEST_F(PageScannerTest, AChildThatMayOpenNothingGetsAnError) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "UBSan opens descriptors of its own";
  const Mapping mapping(8);
  EXPECT_EQ(in_child([&] {
              mapping.write(0);
              const rlimit none{0, 0};
              if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return std::string("setrlimit");
              std::vector<PageRun> runs;
              const Status status = scanner->private_pages(mapping.base(), mapping.bytes(), 0, runs);
              return std::string(status.message());
            }),
            "open '/proc/self/pagemap': Too many open files");
}

// Kernels before 6.7 and strict filters do not know the request.
TEST_F(PageScannerTest, WhereTheKernelRefusesThereIsNoScanner) {
  EXPECT_EQ(in_child([] {
              constexpr unsigned kPagemapScan = 0xc0606610;
              if (!test::refuse({SYS_ioctl, ENOTTY, 1, kPagemapScan})) return std::string("no filter");
              const Code code = PageScanner::create().code();
              return std::string(code == Code::kUnavailable ? "" : code_name(code));
            }),
            "");
}

}  // namespace
}  // namespace spore::memory
