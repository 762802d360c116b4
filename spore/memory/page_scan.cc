#include "spore/memory/page_scan.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "spore/base/fork.h"

namespace spore::memory {
namespace {

// linux/fs.h has these since 6.7, Debian 12's headers do not.
struct ScanRequest {
  uint64_t size, flags, start, end, walk_end, regions, regions_max, pages_max;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  uint64_t start, end, categories;
};
static_assert(sizeof(ScanRequest) == 96 && sizeof(ScanRegion) == 24, "as the kernel has them");
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanRequest);
constexpr uint64_t kIsFile = 1 << 2;
constexpr uint64_t kIsPresent = 1 << 3;
constexpr uint64_t kIsSwapped = 1 << 4;
constexpr uint64_t kIsZeroPage = 1 << 5;

constexpr uint64_t pack(uint64_t generation, int fd) { return generation << 32 | static_cast<uint32_t>(fd); }

void append(std::vector<PageRun>& runs, size_t offset, size_t bytes) {
  if (!runs.empty() && runs.back().offset + runs.back().bytes == offset) {
    runs.back().bytes += bytes;
  } else {
    runs.push_back({offset, bytes});
  }
}

}  // namespace

Result<std::unique_ptr<PageScanner>> PageScanner::create() {
  if (::sysconf(_SC_PAGESIZE) != kPageBytes) {
    return Status::unavailable("pages of {} bytes; this build knows {}", ::sysconf(_SC_PAGESIZE), kPageBytes);
  }
  std::unique_ptr<PageScanner> scanner(new PageScanner);
  // Of a page of our own stack, which is private.
  alignas(kPageBytes) volatile std::byte page[kPageBytes];
  page[0] = std::byte{1};
  std::vector<PageRun> runs;
  const Status scanned = scanner->private_pages(const_cast<const std::byte*>(page), kPageBytes, 0, runs);
  if (!scanned.ok()) return Status::unavailable("{}", scanned.message());
  if (runs.size() != 1) return Status::unavailable("PAGEMAP_SCAN does not find a page that was written");
  return scanner;
}

PageScanner::~PageScanner() {
  const uint64_t opened = opened_.load();
  if (opened != 0) ::close(static_cast<int>(opened & UINT32_MAX));
}

Result<int> PageScanner::pagemap() const {
  uint64_t opened = opened_.load(std::memory_order_acquire);
  const uint64_t generation = process_generation();
  if (opened >> 32 == generation) [[likely]]
    return static_cast<int>(opened & UINT32_MAX);
  const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open '/proc/self/pagemap'");
  if (opened_.compare_exchange_strong(opened, pack(generation, fd))) {
    if (opened != 0) ::close(static_cast<int>(opened & UINT32_MAX));
    return fd;
  }
  ::close(fd);  // another thread was quicker
  return static_cast<int>(opened & UINT32_MAX);
}

Status PageScanner::private_pages(const std::byte* base, size_t bytes, size_t zeros_from,
                                  std::vector<PageRun>& runs) const {
  const int fd = SPORE_TRY(pagemap());
  std::array<ScanRegion, 64> regions;
  ScanRequest scan{};
  scan.size = sizeof scan;
  scan.start = reinterpret_cast<uint64_t>(base);
  scan.end = scan.start + bytes;
  scan.regions = reinterpret_cast<uint64_t>(regions.data());
  scan.regions_max = regions.size();
  scan.category_inverted = kIsFile;
  scan.category_mask = kIsFile;
  scan.category_anyof_mask = kIsPresent | kIsSwapped;
  scan.return_mask = kIsPresent | kIsSwapped | kIsZeroPage;
  const uint64_t begin = scan.start;
  // One call reports as many regions as there is room for, and says how far it came.
  while (scan.start < scan.end) {
    const int found = ::ioctl(fd, kPagemapScan, &scan);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) return Status::from_errno(errno, "PAGEMAP_SCAN");
    for (int i = 0; i < found; i++) {
      const ScanRegion& region = regions[static_cast<size_t>(i)];
      size_t offset = region.start - begin;
      const size_t end = region.end - begin;
      if ((region.categories & kIsZeroPage) != 0) {
        // Of this region only what lies over the image counts.
        if (offset < zeros_from) append(runs, offset, std::min(end, zeros_from) - offset);
      } else {
        append(runs, offset, end - offset);
      }
    }
    if (scan.walk_end <= scan.start) return Status::internal("PAGEMAP_SCAN does not advance");
    scan.start = scan.walk_end;
  }
  return {};
}

}  // namespace spore::memory
