#include "spore/memory/page_scan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "spore/memory/pagemap.h"

namespace spore::memory {

Result<int> pagemap::open() {
  const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::from_errno(errno, "open '/proc/self/pagemap'");
  return fd;
}

void append_run(std::vector<PageRun>& runs, size_t offset, size_t bytes) {
  if (!runs.empty() && runs.back().offset + runs.back().bytes == offset) {
    runs.back().bytes += bytes;
  } else {
    runs.push_back({offset, bytes});
  }
}

PageScanner::PageScanner() : pagemap_(&pagemap::open) {}

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

Status PageScanner::private_pages(const std::byte* base, size_t bytes, size_t zeros_from,
                                  std::vector<PageRun>& runs) const {
  const int fd = SPORE_TRY(pagemap_.get());
  const pagemap::ScanRequest request{
      .category_inverted = pagemap::kIsFile,
      .category_mask = pagemap::kIsFile,
      .category_anyof_mask = pagemap::kIsPresent | pagemap::kIsSwapped,
      .return_mask = pagemap::kIsPresent | pagemap::kIsSwapped | pagemap::kIsZeroPage};
  const auto found = [&](size_t offset, size_t found_bytes, uint64_t categories) {
    if ((categories & pagemap::kIsZeroPage) == 0) return append_run(runs, offset, found_bytes);
    // Of this region only what lies over the image counts.
    if (offset < zeros_from) append_run(runs, offset, std::min(offset + found_bytes, zeros_from) - offset);
  };
  return pagemap::scan(fd, base, bytes, request, found);
}

Status PageScanner::used_pages(const std::byte* base, size_t bytes, std::vector<PageRun>& runs) const {
  const int fd = SPORE_TRY(pagemap_.get());
  const pagemap::ScanRequest request{.category_inverted = 0,
                                     .category_mask = 0,
                                     .category_anyof_mask = pagemap::kIsPresent | pagemap::kIsSwapped,
                                     .return_mask = pagemap::kIsPresent | pagemap::kIsSwapped};
  return pagemap::scan(fd, base, bytes, request,
                       [&](size_t offset, size_t found_bytes, uint64_t /*categories*/) {
                         append_run(runs, offset, found_bytes);
                       });
}

}  // namespace spore::memory
