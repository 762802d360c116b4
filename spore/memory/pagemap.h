#pragma once

// What the kernel says of the pages of a range: PAGEMAP_SCAN (Linux 6.7), for those who ask it.

#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "spore/base/status.h"

namespace spore::memory::pagemap {

// linux/fs.h has these since 6.7, Debian 12's headers do not.
struct ScanRequest {
  uint64_t size, flags, start, end, walk_end, regions, regions_max, pages_max;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  uint64_t start, end, categories;
};
static_assert(sizeof(ScanRequest) == 96 && sizeof(ScanRegion) == 24, "as the kernel has them");
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanRequest);

// Flags.
inline constexpr uint64_t kProtectMatching = 1 << 0;
inline constexpr uint64_t kMustBeProtectable = 1 << 1;
// Categories.
inline constexpr uint64_t kIsProtectable = 1 << 0;
inline constexpr uint64_t kIsWritten = 1 << 1;
inline constexpr uint64_t kIsFile = 1 << 2;
inline constexpr uint64_t kIsPresent = 1 << 3;
inline constexpr uint64_t kIsSwapped = 1 << 4;
inline constexpr uint64_t kIsZeroPage = 1 << 5;

// This process's page map, as ProcessFd opens it.
Result<int> open();

// All that match in [base, base + bytes), in order: found(offset, bytes, categories).  kIo.
template <typename Found>
Status scan(int fd, const std::byte* base, size_t bytes, ScanRequest request, Found found) {
  std::array<ScanRegion, 64> regions;
  request.size = sizeof request;
  request.start = reinterpret_cast<uint64_t>(base);
  request.end = request.start + bytes;
  request.regions = reinterpret_cast<uint64_t>(regions.data());
  request.regions_max = regions.size();
  const uint64_t begin = request.start;
  // One call reports as many regions as there is room for, and says how far it came.
  while (request.start < request.end) {
    const int count = ::ioctl(fd, kPagemapScan, &request);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, "PAGEMAP_SCAN");
    for (int i = 0; i < count; i++) {
      const ScanRegion& region = regions[static_cast<size_t>(i)];
      found(static_cast<size_t>(region.start - begin), static_cast<size_t>(region.end - region.start),
            region.categories);
    }
    if (request.walk_end <= request.start) return Status::internal("PAGEMAP_SCAN does not advance");
    request.start = request.walk_end;
  }
  return {};
}

}  // namespace spore::memory::pagemap
