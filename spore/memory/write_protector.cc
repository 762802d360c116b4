#include "spore/memory/write_protector.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "spore/memory/pagemap.h"

namespace spore::memory {
namespace {

// linux/userfaultfd.h has these since 5.11, 6.4 and 6.7.
constexpr int kUserModeOnly = 1;
// Without it pages that were never used are not protected, and nobody says so.
constexpr uint64_t kProtectUnused = uint64_t{1} << 13;
constexpr uint64_t kAsynchronous = uint64_t{1} << 15;

uffdio_range range_of(const std::byte* base, size_t bytes) {
  return {.start = reinterpret_cast<uint64_t>(base), .len = bytes};
}

Result<int> open_userfault() {
  const auto fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  if (fd < 0) return Status::from_errno(errno, "userfaultfd");
  uffdio_api api{.api = UFFD_API, .features = kProtectUnused | kAsynchronous, .ioctls = 0};
  if (::ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  const int error = errno;
  ::close(fd);
  return Status::from_errno(error, "asynchronous write protection of a userfaultfd");
}

}  // namespace

WriteProtector::WriteProtector() : userfault_(&open_userfault), pagemap_(&pagemap::open) {}

Result<std::unique_ptr<WriteProtector>> WriteProtector::create() {
  if (::sysconf(_SC_PAGESIZE) != kPageBytes) {
    return Status::unavailable("pages of {} bytes; this build knows {}", ::sysconf(_SC_PAGESIZE), kPageBytes);
  }
  std::unique_ptr<WriteProtector> protector(new WriteProtector);
  const Status checked = protector->check();
  if (!checked.ok()) return Status::unavailable("{}", checked.message());
  return protector;
}

// That it does what its users rely on: on pages that were used before and that were not, read and written.
Status WriteProtector::check() const {
  constexpr size_t kPages = 4;
  constexpr size_t kBytes = kPages * kPageBytes;
  struct Mapping {
    void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ~Mapping() {
      if (at != MAP_FAILED) ::munmap(at, kBytes);
    }
  };
  const Mapping mapping;
  if (mapping.at == MAP_FAILED) return Status::from_errno(errno, "mmap");
  auto* const base = static_cast<std::byte*>(mapping.at);
  const auto write = [&](size_t page) {
    volatile std::byte* const at = base + page * kPageBytes;
    *at = std::byte{1};
  };
  const auto read = [&](size_t page) {
    const volatile std::byte* const at = base + page * kPageBytes;
    static_cast<void>(*at);
  };
  const auto expect = [&](const std::vector<PageRun>& expected) -> Status {
    std::vector<PageRun> runs;
    SPORE_TRY(written(base, kBytes, Again::kYes, runs));
    if (runs != expected) return Status::unavailable("PAGEMAP_SCAN does not tell what was written");
    return {};
  };
  write(0);
  write(1);
  SPORE_TRY(arm(base, kBytes));
  write(0);
  read(1);
  write(2);
  read(3);
  SPORE_TRY(expect({{0, kPageBytes}, {2 * kPageBytes, kPageBytes}}));
  write(2);
  write(3);
  SPORE_TRY(expect({{2 * kPageBytes, 2 * kPageBytes}}));
  SPORE_TRY(expect({}));
  disarm(base, kBytes);
  return {};
}

Status WriteProtector::arm(const std::byte* base, size_t bytes) const {
  if (bytes == 0) return {};
  const int fd = SPORE_TRY(userfault_.get());
  uffdio_register registered{.range = range_of(base, bytes), .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  if (::ioctl(fd, UFFDIO_REGISTER, &registered) != 0) {
    return Status::from_errno(errno, "watching a memory for writes");
  }
  uffdio_writeprotect protect{.range = registered.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  if (::ioctl(fd, UFFDIO_WRITEPROTECT, &protect) != 0) {
    const int error = errno;
    disarm(base, bytes);
    return Status::from_errno(error, "write-protecting a memory");
  }
  return {};
}

void WriteProtector::disarm(const std::byte* base, size_t bytes) const {
  if (bytes == 0) return;
  const Result<int> fd = userfault_.get();
  if (!fd.ok()) return;  // a child's, which has armed nothing
  uffdio_range range = range_of(base, bytes);
  // If it fails, pages stay protected until they are written, which harms nobody.
  static_cast<void>(::ioctl(fd.value(), UFFDIO_UNREGISTER, &range));
}

Result<bool> WriteProtector::is_armed(const std::byte* base, size_t bytes) const {
  const int fd = SPORE_TRY(pagemap_.get());
  const pagemap::ScanRequest request{.category_mask = pagemap::kIsProtectable,
                                     .return_mask = pagemap::kIsProtectable};
  bool found = false;
  SPORE_TRY(pagemap::scan(fd, base, bytes, request, [&](size_t, size_t, uint64_t) { found = true; }));
  return found;
}

Status WriteProtector::written(const std::byte* base, size_t bytes, Again again,
                               std::vector<PageRun>& runs) const {
  const int fd = SPORE_TRY(pagemap_.get());
  // Of what is not armed the kernel would tell nothing, or that it was written: the second flag makes it an
  // error.  Two categories are returned, though one would do: for one alone kernels have a short cut, which
  // for years took swapped pages that had been written for protected ones.
  const pagemap::ScanRequest request{
      .flags = pagemap::kMustBeProtectable | (again == Again::kYes ? pagemap::kProtectMatching : 0),
      .category_mask = pagemap::kIsWritten,
      .return_mask = pagemap::kIsWritten | pagemap::kIsPresent};
  return pagemap::scan(fd, base, bytes, request, [&](size_t offset, size_t found_bytes, uint64_t) {
    append_run(runs, offset, found_bytes);
  });
}

}  // namespace spore::memory
