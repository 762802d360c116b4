#include "spore/memory/page_image.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/memory/slot.h"
#include "tests/child.h"
#include "tests/sanitizers.h"
#include "tests/slot_check.h"

namespace spore::memory {
namespace {

using test::in_child;
using test::kPage;
using test::pattern;

// Pages of data but for those of the given numbers, which are zeros.
std::vector<std::byte> with_zeros(size_t pages, const std::vector<size_t>& zeros) {
  std::vector<std::byte> bytes = pattern(pages * kPage);
  for (const size_t page : zeros) {
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(page * kPage), kPage, std::byte{0});
  }
  return bytes;
}

std::shared_ptr<const PageImage> image_of(std::span<const std::byte> bytes) {
  return PageImage::create(bytes).value();
}

// Every byte can be read in two ways, through page() and from the file; pages of zeros are known as such.
TEST(PageImageTest, ItHoldsTheBytesItWasMadeOf) {
  const std::vector<std::byte> bytes = with_zeros(9, {0, 3, 4, 7, 8});
  const auto image = image_of(bytes);
  EXPECT_EQ(image->bytes(), 9 * kPage);
  EXPECT_EQ(image->mapped_bytes(), 7 * kPage);
  EXPECT_EQ(image->held_bytes(), 4 * kPage);
  for (size_t page = 0; page < 10; page++) {
    const bool zero = page == 0 || page == 3 || page == 4 || page >= 7;
    const std::byte* held = image->page(page * kPage);
    ASSERT_EQ(held == nullptr, zero) << page;
    EXPECT_TRUE(zero || std::equal(held, held + kPage, &bytes[page * kPage])) << page;
  }
  std::vector<std::byte> read(7 * kPage);
  ASSERT_EQ(::pread(image->fd(), read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
  EXPECT_TRUE(std::equal(read.begin(), read.end(), bytes.begin()));
}

// A page of zeros is one of 4096: a single byte, wherever it is, makes it another.
TEST(PageImageTest, OneByteMakesAPageOfData) {
  for (const size_t at : {size_t{0}, size_t{1}, size_t{7}, kPage / 2, kPage - 2, kPage - 1}) {
    std::vector<std::byte> bytes(2 * kPage);
    bytes[kPage + at] = std::byte{1};
    const auto image = image_of(bytes);
    EXPECT_EQ(image->page(0), nullptr);
    ASSERT_NE(image->page(kPage), nullptr) << at;
    EXPECT_EQ(image->page(kPage)[at], std::byte{1}) << at;
  }
}

TEST(PageImageTest, NothingButZerosHoldsNoMemory) {
  for (const size_t pages : {size_t{0}, size_t{1}, size_t{100}}) {
    const auto image = image_of(std::vector<std::byte>(pages * kPage));
    EXPECT_EQ(image->bytes(), pages * kPage);
    EXPECT_EQ(image->mapped_bytes(), 0u);
    EXPECT_EQ(image->held_bytes(), 0u);
    EXPECT_LT(image->fd(), 0);
    EXPECT_EQ(image->page(0), nullptr);
  }
}

TEST(PageImageTest, PagesOfZerosAreHoles) {
  const auto image = image_of(with_zeros(100, {10, 11, 12, 90}));
  struct stat file{};
  ASSERT_EQ(::fstat(image->fd(), &file), 0);
  EXPECT_EQ(file.st_size, static_cast<off_t>(100 * kPage));
  EXPECT_EQ(static_cast<size_t>(file.st_blocks) * 512, image->held_bytes());
  EXPECT_EQ(::lseek(image->fd(), 0, SEEK_HOLE), static_cast<off_t>(10 * kPage));
  EXPECT_EQ(::lseek(image->fd(), static_cast<off_t>(10 * kPage), SEEK_DATA), static_cast<off_t>(13 * kPage));
}

// All the ways there are to change a file, by its descriptor or by another one of it, are refused.
TEST(PageImageTest, NobodyCanChangeIt) {
  const std::vector<std::byte> bytes = pattern(4 * kPage);
  const auto image = image_of(bytes);
  const UniqueFd again(::open(("/proc/self/fd/" + std::to_string(image->fd())).c_str(), O_RDWR | O_CLOEXEC));
  for (const int fd : {image->fd(), again.get()}) {
    EXPECT_LT(::pwrite(fd, "x", 1, 0), 0);
    EXPECT_LT(::write(fd, "x", 1), 0);
    EXPECT_LT(::pwrite(fd, "x", 1, 4 * kPage), 0);
    EXPECT_NE(::ftruncate(fd, 0), 0);
    EXPECT_NE(::ftruncate(fd, 8 * kPage), 0);
    EXPECT_NE(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage), 0);
    EXPECT_NE(::fallocate(fd, 0, 0, 8 * kPage), 0);
    EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    void* const shared = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) {
      EXPECT_NE(::mprotect(shared, kPage, PROT_READ | PROT_WRITE), 0);
      ::munmap(shared, kPage);
    }
  }
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), image->page(0)));
}

// What is mapped privately can be written, and the image does not see it: neither in page() nor in a second
// mapping that was there before.
TEST(PageImageTest, AWriteToAPrivateMappingIsNotSeenByOthers) {
  const std::vector<std::byte> bytes = pattern(2 * kPage);
  const auto image = image_of(bytes);
  std::array<std::byte*, 2> mapped{};
  for (std::byte*& mapping : mapped) {
    void* const at = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, image->fd(), 0);
    ASSERT_NE(at, MAP_FAILED);
    mapping = static_cast<std::byte*>(at);
  }
  std::fill_n(mapped[0], 2 * kPage, std::byte{0});
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), mapped[1]));
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), image->page(0)));
  for (std::byte* mapping : mapped) ::munmap(mapping, 2 * kPage);
}

// --- on another image ------------------------------------------------------------------------------------

void change(std::vector<std::byte>& bytes, size_t page) {
  bytes[page * kPage + page % kPage] ^= std::byte{0x80};
}

// Every byte is right in page() and in what a slot shows, also after it was written and reset; the parts have
// no gaps.
void expect_holds(const std::shared_ptr<const PageImage>& image, std::span<const std::byte> bytes) {
  ASSERT_EQ(image->bytes(), bytes.size());
  static constexpr std::array<std::byte, kPage> kZeros{};
  for (size_t offset = 0; offset < bytes.size(); offset += kPage) {
    const std::byte* held = image->page(offset);
    const std::byte* expected = bytes.data() + offset;
    ASSERT_TRUE(std::equal(expected, expected + kPage, held == nullptr ? kZeros.data() : held)) << offset;
  }
  size_t end = 0;
  for (const PageImage::Part& part : image->parts()) {
    EXPECT_EQ(part.offset, end);
    EXPECT_GT(part.bytes, 0u);
    end = part.offset + part.bytes;
  }
  EXPECT_EQ(end, image->mapped_bytes());

  std::shared_ptr<const PageScanner> scanner = PageScanner::create().value();
  const auto slot =
      Slot::create({.capacity = 16 * test::kWasmPage, .guard = test::kWasmPage}, scanner).value();
  ASSERT_TRUE(slot->open(bytes.size(), image).ok());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), slot->base()));
  for (const size_t step : {size_t{1}, size_t{17}, size_t{100}}) {
    slot->begin();
    for (size_t page = 0; page * kPage < bytes.size(); page += step)
      slot->base()[page * kPage + 5] ^= std::byte{1};
    ASSERT_TRUE(slot->reset().ok());
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), slot->base())) << step;
  }
}

// Goal: what stands on another image is as one made of its bytes alone, and holds only what it has changed.
TEST(PageImageTest, OnAnotherItHoldsWhatDiffers) {
  constexpr size_t kPages = 256;
  const std::vector<std::byte> first = with_zeros(kPages, {0, 50, 51, 52, 200, 255});
  const auto base = image_of(first);
  const auto same = PageImage::create(first, base).value();
  expect_holds(same, first);
  EXPECT_EQ(same->held_bytes(), 0u);

  std::vector<std::byte> bytes = first;
  for (const size_t page : {0, 1, 51, 120, 254, 255}) change(bytes, page);
  std::fill_n(bytes.begin() + 90 * kPage, 2 * kPage, std::byte{0});  // zeros where there was data
  const auto image = PageImage::create(bytes, base).value();
  expect_holds(image, bytes);
  EXPECT_EQ(image->held_bytes(), 6 * kPage);
  EXPECT_FALSE(image->of_base(51 * kPage));
  EXPECT_TRUE(image->of_base(53 * kPage));
  expect_holds(base, first);

  // One more on top of that.
  std::vector<std::byte> more = bytes;
  for (const size_t page : {1, 60, 120, 121}) change(more, page);
  const auto top = PageImage::create(more, image).value();
  expect_holds(top, more);
  EXPECT_EQ(top->held_bytes(), 5 * kPage);  // page 0 alone is not worth a mapping
}

TEST(PageImageTest, OnAnotherItMayBeLongerOrShorter) {
  const std::vector<std::byte> long_bytes = pattern(256 * kPage);
  const std::span<const std::byte> short_bytes = std::span(long_bytes).first(64 * kPage);
  expect_holds(PageImage::create(long_bytes, image_of(short_bytes)).value(), long_bytes);
  expect_holds(PageImage::create(short_bytes, image_of(long_bytes)).value(), short_bytes);
  const auto zeros = std::vector<std::byte>(64 * kPage);
  expect_holds(PageImage::create(zeros, image_of(long_bytes)).value(), zeros);
  expect_holds(PageImage::create(short_bytes, image_of(zeros)).value(), short_bytes);
}

// Mappings are scarce: where changes are everywhere, what lies between them is copied.
TEST(PageImageTest, OnAnotherItHasFewParts) {
  const std::vector<std::byte> first = pattern(256 * kPage);
  const auto base = image_of(first);
  for (size_t step = 1; step < 40; step++) {
    std::vector<std::byte> bytes = first;
    for (size_t page = 0; page < 256; page += step) change(bytes, page);
    const auto image = PageImage::create(bytes, base).value();
    expect_holds(image, bytes);
    EXPECT_LE(image->parts().size(), 2 * PageImage::kBaseRunsMax + 1);
    const size_t changed = (256 + step - 1) / step;
    EXPECT_GE(image->held_bytes(), changed * kPage);
    // Of the last run, what is too short to be mapped.
    if (step > PageImage::kBaseRunPagesMin) {
      EXPECT_LT(image->held_bytes(), (changed + PageImage::kBaseRunPagesMin) * kPage) << step;
    }
  }
}

TEST(PageImageTest, ItsBaseLivesAsLongAsIt) {
  const std::vector<std::byte> bytes = pattern(32 * kPage);
  std::shared_ptr<const PageImage> image = PageImage::create(bytes, image_of(bytes)).value();
  expect_holds(image, bytes);
  const int fd = image->base()->fd();
  EXPECT_GE(::fcntl(fd, F_GETFD), 0);
  image.reset();
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
}

// In parts, out of order, and across the pages of a run: the same image as of the bytes at once.
TEST(PageImageTest, ItCanBeBuiltInAnyOrder) {
  const std::vector<std::byte> bytes = with_zeros(9, {0, 3, 4, 7, 8});
  PageImageBuilder builder =
      PageImageBuilder::create(9 * kPage, {{kPage, 2 * kPage}, {5 * kPage, 2 * kPage}}).value();
  const std::span<const std::byte> all(bytes);
  ASSERT_TRUE(builder.write(6 * kPage, all.subspan(6 * kPage, kPage)).ok());
  ASSERT_TRUE(builder.write(kPage, all.subspan(kPage, kPage + 100)).ok());
  ASSERT_TRUE(builder.write(5 * kPage, all.subspan(5 * kPage, kPage)).ok());
  ASSERT_TRUE(builder.write(2 * kPage + 100, all.subspan(2 * kPage + 100, kPage - 100)).ok());
  const auto built = std::move(builder).finish().value();
  const auto at_once = image_of(bytes);
  EXPECT_EQ(built->bytes(), at_once->bytes());
  EXPECT_EQ(built->mapped_bytes(), at_once->mapped_bytes());
  EXPECT_EQ(built->held_bytes(), at_once->held_bytes());
  for (size_t page = 0; page < 9; page++) {
    const std::byte* held = built->page(page * kPage);
    ASSERT_EQ(held == nullptr, at_once->page(page * kPage) == nullptr) << page;
    EXPECT_TRUE(held == nullptr || std::equal(held, held + kPage, &bytes[page * kPage])) << page;
  }
  EXPECT_LT(::pwrite(built->fd(), "x", 1, 0), 0);
}

TEST(PageImageTest, ABuiltImageOfZerosHoldsNothing) {
  PageImageBuilder builder = PageImageBuilder::create(100 * kPage, {}).value();
  const auto image = std::move(builder).finish().value();
  EXPECT_EQ(image->bytes(), 100 * kPage);
  EXPECT_EQ(image->held_bytes(), 0u);
  EXPECT_LT(image->fd(), 0);
}

TEST(PageImageTest, ItsMemoryIsGoneWithIt) {
  auto image = image_of(pattern(2 * kPage));
  const int fd = image->fd();
  const std::byte* page = image->page(0);
  EXPECT_GE(::fcntl(fd, F_GETFD), 0);
  EXPECT_TRUE(test::accessible(page));
  image.reset();
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
  EXPECT_FALSE(test::accessible(page));
}

// Kernels before 6.7 refuse shared mappings of a file that is sealed against writes; so does a filter in a
// child.
TEST(PageImageTest, ItIsMadeWhereSealedFilesCannotBeMappedShared) {
  EXPECT_EQ(in_child([] {
              if (!test::refuse({SYS_mmap, EPERM, 3, MAP_SHARED})) return std::string("no filter");
              const std::vector<std::byte> bytes = pattern(2 * kPage);
              const auto image = PageImage::create(bytes);
              if (!image.ok()) return std::string(image.status().message());
              const bool right = std::equal(bytes.begin(), bytes.end(), image.value()->page(0));
              return std::string(right ? "" : "other bytes");
            }),
            "");
}

// A child that may open nothing more, and one whose files must stay small.
TEST(PageImageTest, WithoutDescriptorsOrRoomThereIsAnError) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "UBSan opens descriptors of its own";
  EXPECT_EQ(in_child([] {
              const rlimit none{0, 0};
              if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return std::string("setrlimit");
              return std::string(PageImage::create(pattern(kPage)).status().message());
            }),
            "memfd_create: Too many open files");
  EXPECT_EQ(in_child([] {
              const rlimit small{kPage, kPage};
              ::signal(SIGXFSZ, SIG_IGN);
              if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return std::string("setrlimit");
              if (!PageImage::create(pattern(kPage)).ok()) return std::string("one page does not fit");
              return std::string(PageImage::create(pattern(2 * kPage)).status().message());
            }),
            "sizing an image: File too large");
}

}  // namespace
}  // namespace spore::memory
