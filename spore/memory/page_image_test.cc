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

// --- of a file -------------------------------------------------------------------------------------------

// A file without a name: these bytes at `offset`, pages of zeros among them as holes, and a page of other
// bytes on each side.
UniqueFd file_of(std::span<const std::byte> bytes, size_t offset) {
  std::string path = SPORE_BINARY_DIR "/image.XXXXXX";
  UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  ::unlink(path.c_str());
  const std::vector<std::byte> other = pattern(kPage, 77);
  const auto put = [&](std::span<const std::byte> page, size_t at) {
    EXPECT_EQ(::pwrite(fd.get(), page.data(), page.size(), static_cast<off_t>(at)),
              static_cast<ssize_t>(page.size()));
  };
  if (offset >= kPage) put(other, offset - kPage);
  put(other, offset + bytes.size());
  for (size_t at = 0; at < bytes.size(); at += kPage) {
    const std::span<const std::byte> page = bytes.subspan(at, kPage);
    if (std::ranges::any_of(page, [](std::byte byte) { return byte != std::byte{0}; }))
      put(page, offset + at);
  }
  return fd;
}

Result<std::shared_ptr<const PageImage>> mapped(std::span<const std::byte> bytes, size_t offset = 3 * kPage,
                                                size_t zeros = 0) {
  const UniqueFd fd = file_of(bytes, offset);
  return PageImage::map_file(
      {.fd = fd.get(), .offset = offset, .bytes = bytes.size() + zeros, .mapped_bytes = bytes.size()});
}

// Goal: an image of a file is as one made of its bytes, wherever it lies in there; and it holds nothing.
TEST(FileImageTest, ItHasTheBytesOfTheFile) {
  for (const size_t offset : {size_t{0}, kPage, 1000 * kPage}) {
    const std::vector<std::byte> bytes = with_zeros(112, {0, 3, 4, 50, 51, 52, 110, 111});
    const auto image = mapped(bytes, offset).value();
    expect_holds(image, bytes);
    EXPECT_EQ(image->held_bytes(), 0u);
    EXPECT_EQ(image->mapped_bytes(), 110 * kPage);
    for (size_t page = 0; page < 112; page++) {
      const bool zero = page == 0 || page == 3 || page == 4 || (page >= 50 && page <= 52) || page >= 110;
      EXPECT_EQ(image->page(page * kPage) == nullptr, zero) << page;
      EXPECT_FALSE(image->of_base(page * kPage));
    }
    EXPECT_EQ(image->parts().size(), 1u);
    EXPECT_TRUE(image->check().ok());
  }
}

TEST(FileImageTest, BehindTheFilesPartThereAreZeros) {
  std::vector<std::byte> bytes = pattern(16 * kPage);
  const auto image = mapped(bytes, kPage, 16 * kPage).value();
  EXPECT_EQ(image->mapped_bytes(), 16 * kPage);
  bytes.resize(32 * kPage);
  expect_holds(image, bytes);
}

TEST(FileImageTest, AFileOfHolesIsNotMapped) {
  for (const size_t pages : {size_t{0}, size_t{16}}) {
    const auto image = mapped(std::vector<std::byte>(pages * kPage), kPage, kPage).value();
    EXPECT_EQ(image->bytes(), (pages + 1) * kPage);
    EXPECT_EQ(image->mapped_bytes(), 0u);
    EXPECT_LT(image->fd(), 0);
    EXPECT_EQ(image->page(0), nullptr);
    EXPECT_TRUE(image->check().ok());
    EXPECT_FALSE(image->broken());
  }
  // Up to its end, some of it or all.
  const UniqueFd fd = file_of(pattern(kPage), 0);
  ASSERT_EQ(::ftruncate(fd.get(), kPage), 0);
  ASSERT_EQ(::ftruncate(fd.get(), 9 * kPage), 0);
  const auto of_pages_from = [&](uint64_t offset) {
    return PageImage::map_file(
               {.fd = fd.get(), .offset = offset, .bytes = 8 * kPage, .mapped_bytes = 8 * kPage})
        .value()
        ->mapped_bytes();
  };
  EXPECT_EQ(of_pages_from(0), kPage);
  EXPECT_EQ(of_pages_from(kPage), 0u);
}

// What a slot writes stays its own; the file and other slots have what they had.
TEST(FileImageTest, NoSlotWritesToTheFile) {
  const std::vector<std::byte> bytes = with_zeros(112, {5, 6});
  const UniqueFd fd = file_of(bytes, kPage);
  const auto image =
      PageImage::map_file(
          {.fd = fd.get(), .offset = kPage, .bytes = bytes.size(), .mapped_bytes = bytes.size()})
          .value();
  const auto one = test::new_slot();
  const auto two = test::new_slot();
  ASSERT_TRUE(one->open(bytes.size(), image).ok());
  ASSERT_TRUE(two->open(bytes.size(), image).ok());
  test::fill(*one);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), two->base()));
  std::vector<std::byte> read(bytes.size());
  ASSERT_EQ(::pread(fd.get(), read.data(), read.size(), kPage), static_cast<ssize_t>(read.size()));
  EXPECT_EQ(read, bytes);
  ASSERT_TRUE(one->reset().ok());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), one->base()));
}

// It finds which pages a slot wrote, as of any image: few are kept, and refilled from the file.
TEST(FileImageTest, ItsSlotsKeepAWriteSet) {
  if (test::scanner() == nullptr) GTEST_SKIP() << "no PAGEMAP_SCAN";
  const std::vector<std::byte> bytes = pattern(112 * kPage);
  const auto slot = test::new_slot();
  ASSERT_TRUE(slot->open(bytes.size(), mapped(bytes).value()).ok());
  for (int i = 0; i < 10; i++) {
    slot->begin();
    test::write_pages(*slot, 7, 3, 11);
    ASSERT_TRUE(slot->reset().ok());
    EXPECT_EQ(slot->counters().pages.value(), 3u);
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), slot->base()));
  }
  EXPECT_EQ(slot->counters().drops.value(), 0u);
}

// Goal: it is a base as any image is, of images in memory and, through those, of others.
TEST(FileImageTest, OthersMayStandOnIt) {
  constexpr size_t kPages = 256;
  const std::vector<std::byte> first = with_zeros(kPages, {0, 50, 51, 52, 200, 255});
  const auto base = mapped(first, 5 * kPage).value();
  const auto same = PageImage::create(first, base).value();
  expect_holds(same, first);
  EXPECT_EQ(same->held_bytes(), 0u);
  std::vector<std::byte> bytes = first;
  for (const size_t page : {0, 1, 51, 120, 254, 255}) change(bytes, page);
  std::shared_ptr<const PageImage> image = PageImage::create(bytes, base).value();
  expect_holds(image, bytes);
  EXPECT_EQ(image->held_bytes(), 6 * kPage);
  for (const size_t page : {1, 60, 120, 121}) change(bytes, page);
  image = PageImage::create(bytes, image).value();
  expect_holds(image, bytes);
  EXPECT_TRUE(image->check().ok());
}

// The descriptor that it was mapped by may be closed, and the file's name removed.
TEST(FileImageTest, ItKeepsADescriptorOfItsOwn) {
  const std::vector<std::byte> bytes = pattern(16 * kPage);
  auto image = mapped(bytes).value();
  const int fd = image->fd();
  const std::byte* const page = image->page(0);
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  expect_holds(image, bytes);
  image = nullptr;
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
  EXPECT_FALSE(test::accessible(page));
}

// One byte too many, and each number that is not of whole pages.
TEST(FileImageTest, WhatTheFileDoesNotHaveIsRefused) {
  const UniqueFd fd = file_of(pattern(8 * kPage), 0);  // and a page behind
  ASSERT_EQ(::ftruncate(fd.get(), 8 * kPage), 0);
  const auto code = [&](uint64_t offset, size_t bytes, size_t mapped_bytes) {
    return PageImage::map_file(
               {.fd = fd.get(), .offset = offset, .bytes = bytes, .mapped_bytes = mapped_bytes})
        .status()
        .code();
  };
  EXPECT_EQ(code(0, 8 * kPage, 8 * kPage), Code::kOk);
  EXPECT_EQ(code(7 * kPage, 8 * kPage, kPage), Code::kOk);
  EXPECT_EQ(code(8 * kPage, 8 * kPage, 0), Code::kOk);
  EXPECT_EQ(code(0, 9 * kPage, 9 * kPage), Code::kCorruption);
  EXPECT_EQ(code(kPage, 8 * kPage, 8 * kPage), Code::kCorruption);
  EXPECT_EQ(code(9 * kPage, 8 * kPage, 0), Code::kCorruption);
  EXPECT_EQ(code(uint64_t{0} - kPage, 8 * kPage, 8 * kPage), Code::kCorruption);
  EXPECT_EQ(code(uint64_t{1} << 63, 8 * kPage, kPage), Code::kCorruption);
  EXPECT_EQ(code(0, SIZE_MAX / kPage * kPage, SIZE_MAX / kPage * kPage), Code::kCorruption);
  EXPECT_EQ(code(1, 8 * kPage, kPage), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 8 * kPage + 1, kPage), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 8 * kPage, kPage - 1), Code::kInvalidArgument);
  EXPECT_EQ(code(0, 4 * kPage, 5 * kPage), Code::kInvalidArgument);
  // A page of which the file has all but one byte.
  ASSERT_EQ(::ftruncate(fd.get(), 8 * kPage - 1), 0);
  EXPECT_EQ(code(0, 8 * kPage, 8 * kPage), Code::kCorruption);
  EXPECT_EQ(code(0, 8 * kPage, 7 * kPage), Code::kOk);
}

TEST(FileImageTest, WhatIsNoFileIsRefused) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const UniqueFd folder(::open(SPORE_BINARY_DIR, O_RDONLY | O_CLOEXEC));
  const UniqueFd device(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  for (const int fd : {ends[0], folder.get(), device.get()}) {
    const Status status = PageImage::map_file({.fd = fd, .bytes = kPage}).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.message();
  }
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(PageImage::map_file({.fd = -1, .bytes = kPage}).status().code(), Code::kIo);
  // One that may not be read.
  const UniqueFd fd = file_of(pattern(kPage), 0);
  const UniqueFd to_write(
      ::open(("/proc/self/fd/" + std::to_string(fd.get())).c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(to_write.valid());
  EXPECT_EQ(
      PageImage::map_file({.fd = to_write.get(), .bytes = kPage, .mapped_bytes = kPage}).status().code(),
      Code::kIo);
}

TEST(FileImageTest, WithoutADescriptorThereIsAnError) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "UBSan opens descriptors of its own";
  const UniqueFd fd = file_of(pattern(kPage), 0);
  EXPECT_EQ(in_child([&] {
              const int next = ::dup(fd.get());
              ::close(next);
              const rlimit all_used{static_cast<rlim_t>(next), static_cast<rlim_t>(next)};
              if (::setrlimit(RLIMIT_NOFILE, &all_used) != 0) return std::string("setrlimit");
              const auto image = PageImage::map_file({.fd = fd.get(), .bytes = kPage, .mapped_bytes = kPage});
              return std::string(image.status().message());
            }),
            "keeping the file of an image open: Too many open files");
}

// Goal: changes that bring no signal are found by a look at the file.  Method: its time of change is set to
// long ago, so that each later one differs.
TEST(FileImageTest, AFileThatWasWrittenToIsFound) {
  const std::vector<std::byte> bytes = pattern(8 * kPage);
  const std::array<timespec, 2> long_ago{timespec{1, 5}, timespec{1, 5}};
  const auto cut_within_a_page = [](int fd) { return ::ftruncate(fd, 8 * kPage - 100); };
  const auto cut_and_grown = [](int fd) { return ::ftruncate(fd, 0) + ::ftruncate(fd, 9 * kPage); };
  const auto written = [](int fd) { return ::pwrite(fd, "x", 1, 5) == 1 ? 0 : -1; };
  const auto longer = [](int fd) { return ::ftruncate(fd, 10 * kPage); };
  const auto punched = [](int fd) {
    return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage);
  };
  for (int (*const change_file)(int) : {+cut_within_a_page, +cut_and_grown, +written, +longer, +punched}) {
    const UniqueFd fd = file_of(bytes, 0);
    ASSERT_EQ(::futimens(fd.get(), long_ago.data()), 0);
    const auto image =
        PageImage::map_file({.fd = fd.get(), .bytes = 8 * kPage, .mapped_bytes = 8 * kPage}).value();
    std::vector<std::byte> above_bytes = bytes;
    change(above_bytes, 3);
    const auto above = PageImage::create(above_bytes, image).value();
    // What is not a change of the bytes is none.
    ASSERT_EQ(::fchmod(fd.get(), 0400), 0);
    EXPECT_TRUE(image->check().ok());
    EXPECT_TRUE(above->check().ok());
    ASSERT_EQ(change_file(fd.get()), 0);
    EXPECT_FALSE(image->broken());
    EXPECT_EQ(image->check().code(), Code::kCorruption);
    EXPECT_EQ(above->check().code(), Code::kCorruption);
    const auto slot = test::new_slot();
    EXPECT_EQ(slot->open(16 * kPage, image).code(), Code::kCorruption);
  }
}

// --- failures --------------------------------------------------------------------------------------------

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
