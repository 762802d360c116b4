// The checks behind `spore doctor`, in the order in which they are printed: dirty pages, memory,
// native code, fences.  One function a check.  Figures in `cost` are those of docs/design.md, "Measured
// before design", those of hashes are from `openssl speed` with features
// masked by OPENSSL_ia32cap, all from one 2-core VM: take the ratios.
//
// Debian 12 compiles against headers of kernel 6.1; what is newer is declared here, under names of
// our own, so that newer headers do not clash.

#include "spore/runtime/machine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "spore/base/fd.h"
#include "spore/engine/signals.h"

namespace spore::runtime {
namespace {

using State = MachineCheck::State;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kKiB = uint64_t{1} << 10;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

// A slot: guard | 4 GiB | guard.  Its mappings: guard and what lies before the image, the open
// pages, and the rest up to the rear guard.
constexpr uint64_t kGuardBytes = 32 * kMiB;
constexpr uint64_t kSlotBytes = 4 * kGiB + 2 * kGuardBytes;
constexpr uint64_t kMappingsPerSlot = 3;
// User addresses on x86-64; the kernel goes above 2^47 only for those who ask by address.
constexpr uint64_t kAddressBytesMax = uint64_t{1} << 47;
// Left free under RLIMIT_AS while we search, so that other threads can still map.
constexpr uint64_t kAddressSlackBytes = 64 * kMiB;

// What one of each is taken to need (MachineCapacity::assumption has the words).
constexpr uint64_t kInstanceAwakeBytes = 10 * kKiB + 3 * 4 * kKiB + 2 * 4 * kKiB;
constexpr uint64_t kCommitPerInstanceBytes = 17 * 64 * kKiB;
constexpr uint64_t kCellAsleepLargeBytes = 8 * kKiB;
constexpr uint64_t kCellAsleepSmallBytes = 300;

constexpr uint64_t kMemoryCapBytes = 256 * kMiB;  // default limit of one linear memory
constexpr uint64_t kWasmStackBytes = 512 * kKiB;
constexpr uint64_t kDescriptorsWanted = 4096;
constexpr uint64_t kMappingsWanted = 65530;  // the kernel's default
constexpr uint64_t kSlotsWanted = 1000;

constexpr size_t kProcFileBytesMax = 64 * kKiB;

// ---------------------------------------------------------------------------------------------------
// Kernel interfaces newer than Debian 12's headers

// PAGEMAP_SCAN, linux/fs.h, since 6.7.
struct PageScan {
  uint64_t size, flags, start, end, walk_end, regions, regions_max, pages_max;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct PageRegion {
  uint64_t start, end, categories;
};
static_assert(sizeof(PageScan) == 96 && sizeof(PageRegion) == 24, "as the kernel has them");
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PageScan);
constexpr uint64_t kPageIsWritten = 1 << 1;
constexpr uint64_t kPageIsFile = 1 << 2;
constexpr uint64_t kPageIsPresent = 1 << 3;
constexpr uint64_t kPageIsSwapped = 1 << 4;

constexpr uint64_t kUffdWpUnpopulated = 1 << 13;  // UFFD_FEATURE_WP_UNPOPULATED, since 6.4
constexpr uint64_t kUffdWpAsync = 1 << 15;        // UFFD_FEATURE_WP_ASYNC, since 6.7

constexpr int kPrGetMdwe = 66;         // PR_GET_MDWE, since 6.3
constexpr int kPrGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE, since 6.4

// ---------------------------------------------------------------------------------------------------
// Small tools

size_t page_bytes() {
  static const long bytes = ::sysconf(_SC_PAGESIZE);
  return bytes > 0 ? static_cast<size_t>(bytes) : 4096;
}

// One mapping, unmapped on destruction; empty if the kernel said no, errno says why.
class Mapping {
 public:
  static Mapping anonymous(size_t bytes) {
    return {bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1};
  }
  // PROT_NONE is not accounted, even with vm.overcommit_memory=2, where MAP_NORESERVE is ignored.
  static Mapping reserve(size_t bytes) {
    return {bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1};
  }
  static Mapping of_fd(int fd, size_t bytes, int protection, int flags) {
    return {bytes, protection, flags, fd};
  }
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  ~Mapping() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
  }

  bool valid() const { return base_ != nullptr; }
  size_t bytes() const { return bytes_; }
  uint8_t* base() const { return static_cast<uint8_t*>(base_); }
  uint8_t* page(size_t index) const { return base() + index * page_bytes(); }
  // Volatile: a store that nobody reads is still a page fault.
  void touch(size_t index) const { *static_cast<volatile uint8_t*>(page(index)) = 1; }

 private:
  Mapping(size_t bytes, int protection, int flags, int fd) : bytes_(bytes) {
    void* base = ::mmap(nullptr, bytes, protection, flags, fd, 0);
    base_ = base == MAP_FAILED ? nullptr : base;
  }
  void* base_ = nullptr;
  size_t bytes_ = 0;
};

// "EPERM, Operation not permitted"
std::string error_text(int error) {
  const char* name = ::strerrorname_np(error);
  const char* words = ::strerrordesc_np(error);
  return fmt::format("{}, {}", name != nullptr ? name : "?", words != nullptr ? words : "?");
}

std::string printable(std::string_view text) {
  std::string out(text);
  std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<uint64_t> parse_number(std::string_view text) {
  text = trim(text);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

uint64_t saturating_product(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<uint64_t>::max() : product;
}

uint64_t difference_or_zero(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// "1.5 GiB"
std::string bytes_text(uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.95 && unit + 1 < kUnits.size(); unit++) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value == std::floor(value) ? 0 : 1, kUnits[unit]);
}

// "65,530"
std::string count_text(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

// Microseconds of one call: the best of a few short rounds, as it is the cost that is wanted, not what
// the neighbours do.  A round has several calls because reading the clock costs as much as some.
constexpr size_t kTimedCalls = 48;
template <typename Function>
double best_us(Function&& function) {
  constexpr size_t kCallsPerRound = 8;
  double best = std::numeric_limits<double>::max();
  for (size_t round = 0; round < kTimedCalls / kCallsPerRound; round++) {
    const auto start = Clock::now();
    for (size_t i = 0; i < kCallsPerRound; i++) function();
    const std::chrono::duration<double, std::micro> taken = Clock::now() - start;
    best = std::min(best, taken.count() / kCallsPerRound);
  }
  return best;
}

UniqueFd open_small(const std::filesystem::path& path) {
  // O_NONBLOCK: a fifo in the file's place must not hang us.
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

// The start of a small file of /proc or /sys.  Not read_file(): there, the kernel says size 0.
std::optional<std::string> read_text(const std::filesystem::path& path) {
  const UniqueFd fd = open_small(path);
  if (!fd.valid()) return {};
  std::string text(kProcFileBytesMax, '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t n = ::read(fd.get(), text.data() + have, text.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return {};
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  text.resize(have);
  return text;
}

std::optional<uint64_t> read_number(const std::filesystem::path& path) {
  const std::optional<std::string> text = read_text(path);
  if (!text) return {};
  return parse_number(*text);
}

template <typename Function>  // Function(std::string_view line), returns false to stop
void for_each_line(std::string_view text, Function&& function) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (!function(text.substr(0, end))) return;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// The rest of the first line that starts with `key` and a separator: "MemAvailable:   24105 kB".
std::optional<std::string> value_of(std::string_view text, std::string_view key) {
  std::optional<std::string> value;
  for_each_line(text, [&](std::string_view line) {
    if (!line.starts_with(key)) return true;
    line.remove_prefix(key.size());
    if (line.empty() || std::string_view(": \t").find(line[0]) == line.npos) return true;
    value = std::string(line.substr(std::min(line.find_first_not_of(": \t"), line.size())));
    return false;
  });
  return value;
}

// A line of /proc/meminfo, in bytes.
std::optional<uint64_t> meminfo_bytes(const ProbeOptions& options, std::string_view key) {
  const std::optional<std::string> value =
      value_of(read_text(options.proc_root / "meminfo").value_or(""), key);
  if (!value || !value->ends_with(" kB")) return {};
  const auto kib = parse_number(std::string_view(*value).substr(0, value->size() - 3));
  if (!kib) return {};
  return saturating_product(*kib, kKiB);
}

// The word in brackets: "always [madvise] never".
std::string chosen_word(std::string_view text) {
  const size_t open = text.find('[');
  const size_t close = text.find(']', open == text.npos ? 0 : open);
  if (open == text.npos || close == text.npos) return "unknown";
  return printable(text.substr(open + 1, close - open - 1));
}

MachineCheck good(std::string_view name, std::string found) {
  return {std::string(name), State::kGood, std::move(found), "", ""};
}
MachineCheck degraded(std::string_view name, std::string found, std::string cost, std::string remedy) {
  return {std::string(name), State::kDegraded, std::move(found), std::move(cost), std::move(remedy)};
}
MachineCheck missing(std::string_view name, std::string found, std::string cost, std::string remedy) {
  return {std::string(name), State::kMissing, std::move(found), std::move(cost), std::move(remedy)};
}

// ---------------------------------------------------------------------------------------------------
// Dirty pages

// Calls PAGEMAP_SCAN for pages of `area` that have all of `all` and one of `any` and none of `none`
// (0: do not care).  Returns the regions found, at most out.size(), or -1 and errno.
int scan_pages(int pagemap, const Mapping& area, uint64_t all, uint64_t any, uint64_t none,
               std::span<PageRegion> out) {
  PageScan scan{};
  scan.size = sizeof scan;
  scan.start = reinterpret_cast<uint64_t>(area.base());
  scan.end = scan.start + area.bytes();
  scan.regions = reinterpret_cast<uint64_t>(out.data());
  scan.regions_max = out.size();
  scan.category_inverted = none;
  scan.category_mask = all | none;
  scan.category_anyof_mask = any;
  scan.return_mask = all | any;
  return ::ioctl(pagemap, kPagemapScan, &scan);
}

bool is_page(const PageRegion& region, const Mapping& area, size_t index) {
  const auto start = reinterpret_cast<uint64_t>(area.page(index));
  return region.start == start && region.end == start + page_bytes();
}

// The scan that finds what a call wrote: private pages, in memory or swapped out.
MachineCheck check_page_scan(const ProbeOptions& options) {
  constexpr std::string_view kName = "page scan";
  const auto absent = [&](std::string_view what, int error) {
    return missing(kName, fmt::format("no: {}: {}", what, error_text(error)),
                   "Slots are reset with MADV_DONTNEED: 3.1 us a clean call instead of 1.1 us with 3 pages "
                   "written, 55 us instead of 6.8 us with 64; two threads of one process then reach 60 % "
                   "of their rate each, not 98 %. No fault counter can be used.",
                   "Kernel 6.7 or later with PAGEMAP_SCAN; /proc mounted; a seccomp filter that lets the "
                   "ioctl through.");
  };
  const UniqueFd pagemap = open_small(options.proc_root / "self" / "pagemap");
  if (!pagemap.valid()) return absent("opening pagemap", errno);
  const Mapping area = Mapping::anonymous(kMiB);
  if (!area.valid()) return absent("mapping 1 MiB", errno);
  // A huge page would make 512 neighbours dirty.  EINVAL where the kernel has none: just as well.
  ::madvise(area.base(), area.bytes(), MADV_NOHUGEPAGE);
  const size_t last = area.bytes() / page_bytes() - 1;
  area.touch(1);
  area.touch(last);
  std::array<PageRegion, 8> regions{};
  const auto scan = [&] {
    return scan_pages(pagemap.get(), area, 0, kPageIsPresent | kPageIsSwapped, kPageIsFile, regions);
  };
  const int found = scan();
  if (found < 0) return absent("PAGEMAP_SCAN", errno);
  if (found != 2 || !is_page(regions[0], area, 1) || !is_page(regions[1], area, last)) {
    return absent("PAGEMAP_SCAN does not find the pages written", EIO);
  }
  return good(kName, fmt::format("yes ({:.2f} us for 1 MiB)", best_us(scan)));
}

// A userfaultfd that lets writes to protected pages through and notes them, or an invalid one and
// errno.  The features are asked for by name: without WP_UNPOPULATED, pages not yet there stay
// unprotected without a word; without WP_ASYNC, a write would wait for a handler for ever.
UniqueFd open_write_tracking() {
  UniqueFd uffd(static_cast<int>(
      ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));  // flag since 5.11
  if (!uffd.valid()) return uffd;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kUffdWpUnpopulated | kUffdWpAsync;
  return ::ioctl(uffd.get(), UFFDIO_API, &api) == 0 ? std::move(uffd) : UniqueFd();
}

// Registers all of `area` and protects it.
bool arm(int uffd, const Mapping& area) {
  const uffdio_range range = {reinterpret_cast<uint64_t>(area.base()), area.bytes()};
  uffdio_register registration{};
  registration.range = range;
  registration.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(uffd, UFFDIO_REGISTER, &registration) != 0) return false;
  uffdio_writeprotect protection{};
  protection.range = range;
  protection.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  return ::ioctl(uffd, UFFDIO_WRITEPROTECT, &protection) == 0;
}

// What delta tracking needs, on memory made like a slot's: private pages of a memfd.
MachineCheck check_write_tracking(const ProbeOptions& options) {
  constexpr std::string_view kName = "write tracking";
  const auto absent = [&](std::string_view what, int error) {
    return missing(kName, fmt::format("no: {}: {}", what, error_text(error)),
                   "What a cell wrote since its last delta is found by comparing all its private pages with "
                   "a copy: 0.34 us a page instead of 0.7 us a page written, and twice the memory while "
                   "a cell migrates. Calls are not slower.",
                   "Kernel 6.7 or later; a seccomp filter that allows userfaultfd (Docker's default denies "
                   "it). Only UFFD_USER_MODE_ONLY is used: vm.unprivileged_userfaultfd may stay 0.");
  };
  const UniqueFd pagemap = open_small(options.proc_root / "self" / "pagemap");
  if (!pagemap.valid()) return absent("opening pagemap", errno);
  constexpr size_t kPages = 64;
  const size_t bytes = kPages * page_bytes();
  const UniqueFd image(::memfd_create("spore-doctor", MFD_CLOEXEC));
  const bool sized = image.valid() && ::ftruncate(image.get(), static_cast<off_t>(bytes)) == 0;
  const Mapping area = sized ? Mapping::of_fd(image.get(), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE)
                             : Mapping::anonymous(bytes);
  if (!area.valid()) return absent("mapping", errno);
  constexpr size_t kFirstResident = 8;  // before it: pages that nobody touched, which must arm too
  for (size_t page = kFirstResident; page < kPages; page++) area.touch(page);
  const UniqueFd uffd = open_write_tracking();
  if (!uffd.valid()) return absent("userfaultfd with asynchronous write protection", errno);
  if (!arm(uffd.get(), area)) return absent("write-protecting", errno);
  area.touch(5);
  area.touch(kFirstResident);
  std::array<PageRegion, 8> regions{};
  const int found = scan_pages(pagemap.get(), area, kPageIsWritten, 0, 0, regions);
  if (found < 0) return absent("PAGEMAP_SCAN", errno);
  if (found != 2 || !is_page(regions[0], area, 5) || !is_page(regions[1], area, kFirstResident)) {
    return absent("the scan does not find the pages written", EIO);
  }
  // A different page each time: only the first write to one is noted.
  static_assert(kFirstResident + 1 + kTimedCalls <= kPages);
  size_t next = kFirstResident + 1;
  const double fault_us = best_us([&] { area.touch(next++); });
  return good(kName, fmt::format("yes ({:.2f} us for the first write to a page)", fault_us));
}

UniqueFd open_fault_event() {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_PAGE_FAULTS;
  attributes.sample_period = 1;
  attributes.exclude_kernel = 1;  // what perf_event_paranoid=2 allows everybody
  attributes.exclude_hv = 1;
  return UniqueFd(
      static_cast<int>(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
}

// The counter that is read without a system call: the head of a mapped ring moves at each fault.
MachineCheck check_perf_faults(const ProbeOptions& options) {
  constexpr std::string_view kName = "mapped fault counter";
  const auto absent = [&](std::string_view what, int error) {
    const auto paranoid = read_text(options.proc_root / "sys" / "kernel" / "perf_event_paranoid");
    return missing(kName,
                   fmt::format("no: {}: {} (kernel.perf_event_paranoid {})", what, error_text(error),
                               paranoid ? printable(trim(*paranoid)) : "unknown"),
                   "Page faults are counted by getrusage: 0.22 us a clean call instead of 0.088 us.",
                   "sysctl kernel.perf_event_paranoid=2 or lower; a seccomp filter that allows "
                   "perf_event_open (Docker's default denies it); two pages of RLIMIT_MEMLOCK or of "
                   "kernel.perf_event_mlock_kb a thread.");
  };
  const UniqueFd event = open_fault_event();
  if (!event.valid()) return absent("perf_event_open", errno);
  // One page of header, one of ring.  Read-only: the kernel overwrites, nobody consumes.
  const Mapping ring = Mapping::of_fd(event.get(), 2 * page_bytes(), PROT_READ, MAP_SHARED);
  if (!ring.valid()) return absent("mapping its ring", errno);
  const Mapping area = Mapping::anonymous(16 * page_bytes());
  if (!area.valid()) return absent("mapping", errno);
  ::madvise(area.base(), area.bytes(), MADV_NOHUGEPAGE);
  const auto* header = reinterpret_cast<const perf_event_mmap_page*>(ring.base());
  const auto head = [&] { return __atomic_load_n(&header->data_head, __ATOMIC_ACQUIRE); };
  head();  // the fault that maps the header counts too
  const uint64_t before = head();
  area.touch(3);
  const uint64_t after = head();
  if (after == before) return absent("the ring did not move at a page fault", EIO);
  if (head() != after) return absent("the ring moved without a page fault", EIO);
  return good(kName, "yes (read without a system call)");
}

MachineCheck check_rusage_faults() {
  constexpr std::string_view kName = "getrusage faults";
  const Mapping area = Mapping::anonymous(16 * page_bytes());
  rusage before{};
  rusage after{};
  const bool answered = area.valid() && ::getrusage(RUSAGE_THREAD, &before) == 0;
  if (answered) area.touch(3);
  if (!answered || ::getrusage(RUSAGE_THREAD, &after) != 0 ||
      after.ru_minflt + after.ru_majflt == before.ru_minflt + before.ru_majflt) {
    return missing(kName, "no: a page fault of this thread is not counted",
                   "Without the mapped counter, the page scan runs at each reset: 1.1 us a clean call "
                   "instead of 0.22 us.",
                   "A seccomp filter that allows getrusage; a kernel that counts them.");
  }
  return good(kName, fmt::format("yes ({:.2f} us)", best_us([&] { ::getrusage(RUSAGE_THREAD, &after); })));
}

// ---------------------------------------------------------------------------------------------------
// Memory

MachineCheck check_sealed_memfd() {
  constexpr std::string_view kName = "sealed memfd";
  const auto absent = [&](std::string_view what, int error) {
    return missing(kName, fmt::format("no: {}: {}", what, error_text(error)),
                   "Images lie in files of the data directory, and compiled code cannot be taken from the "
                   "cache safely: ruby.wasm is compiled at each start, 1.4 s (baseline) and 13.6 s "
                   "(optimised) instead of 1.2 ms.",
                   "A seccomp filter that allows memfd_create and F_ADD_SEALS; sysctl vm.memfd_noexec=0 "
                   "or 1.");
  };
  const UniqueFd fd(::memfd_create("spore-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return absent("memfd_create", errno);
  const auto bytes = static_cast<off_t>(page_bytes());
  if (::ftruncate(fd.get(), bytes) != 0) return absent("ftruncate", errno);
  // Since 3.17.  F_SEAL_WRITE also refuses new shared writable mappings, which a mere mode cannot.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return absent("F_ADD_SEALS", errno);
  }
  const uint8_t byte = 1;
  const Mapping writable = Mapping::of_fd(fd.get(), page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED);
  if (::pwrite(fd.get(), &byte, 1, 0) >= 0 || ::ftruncate(fd.get(), 0) == 0 ||
      ::ftruncate(fd.get(), 2 * bytes) == 0 || writable.valid()) {
    return absent("the seals do not hold", EIO);
  }
  return good(kName, "yes");
}

// Largest multiple of `unit` up to `bytes_max` that can be reserved in one piece.
uint64_t largest_reservation(uint64_t unit, uint64_t bytes_max) {
  uint64_t low = 0;
  uint64_t high = bytes_max / unit;
  while (low < high) {
    const uint64_t middle = (low + high + 1) / 2;
    if (Mapping::reserve(middle * unit).valid()) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * unit;
}

// What RLIMIT_AS leaves, or all.
uint64_t address_limit_bytes(const ProbeOptions& options) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return kAddressBytesMax;
  }
  const std::string statm = read_text(options.proc_root / "self" / "statm").value_or("");
  const auto pages = parse_number(std::string_view(statm).substr(0, statm.find(' ')));
  const uint64_t used = saturating_product(pages.value_or(0), page_bytes());
  return std::min(kAddressBytesMax,
                  difference_or_zero(difference_or_zero(limit.rlim_cur, used), kAddressSlackBytes));
}

// Reserves hole after hole, each the largest left, until none takes a slot, and gives all back.
// The sizes are whole slots: what remains beside them, GiBs, is for threads that map meanwhile.
uint64_t reservable_bytes(uint64_t bytes_max) {
  constexpr size_t kHolesMax = 16;  // two big ones as a rule: below the program and above its heap
  std::vector<Mapping> held;
  uint64_t total = 0;
  while (held.size() < kHolesMax) {
    const uint64_t bytes = largest_reservation(kSlotBytes, bytes_max - total);
    if (bytes == 0) break;
    held.push_back(Mapping::reserve(bytes));
    if (!held.back().valid()) break;  // another thread was faster
    total += bytes;
  }
  return total > 0 ? total : largest_reservation(16 * kMiB, std::min(bytes_max, kSlotBytes));
}

MachineCheck check_address_space(const ProbeOptions& options, MachineReport& report) {
  constexpr std::string_view kName = "address space";
  const uint64_t limit = address_limit_bytes(options);
  report.address_space_bytes = reservable_bytes(limit);
  const uint64_t slots = report.address_space_bytes / kSlotBytes;
  std::string found = fmt::format("{} can be reserved: {} slots of 4 GiB and two guards",
                                  bytes_text(report.address_space_bytes), count_text(slots));
  if (slots >= kSlotsWanted) return good(kName, std::move(found));
  return degraded(kName, std::move(found),
                  "What does not fit gets small reservations, where compiled code checks each access to "
                  "memory and a growing memory may have to move (no measured figure).",
                  limit < kAddressBytesMax
                      ? "Raise RLIMIT_AS (ulimit -v unlimited; no LimitAS= in the service): reserved "
                        "addresses cost no memory."
                      : "Find out what takes the address space (/proc/PID/maps): sanitizers do.");
}

std::optional<uint64_t> count_lines(const std::filesystem::path& path) {
  const UniqueFd fd = open_small(path);
  if (!fd.valid()) return {};
  std::array<char, 16 * kKiB> buffer;
  uint64_t lines = 0;
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? std::nullopt : std::optional(lines);
    lines += static_cast<uint64_t>(std::count(buffer.data(), buffer.data() + n, '\n'));
  }
}

MachineCheck check_mappings(const ProbeOptions& options, MachineReport& report) {
  constexpr std::string_view kName = "mappings";
  report.mappings_max = read_number(options.proc_root / "sys" / "vm" / "max_map_count");
  report.mappings_used = count_lines(options.proc_root / "self" / "maps");
  constexpr std::string_view kRemedy = "sysctl vm.max_map_count=1048576 (in /etc/sysctl.d to keep it).";
  if (!report.mappings_max) {
    return degraded(kName, "vm.max_map_count cannot be read",
                    "Nothing is slower, but how many slots fit is only known when the kernel refuses "
                    "one.",
                    "Mount /proc.");
  }
  const uint64_t left = difference_or_zero(*report.mappings_max, report.mappings_used.value_or(0));
  std::string found =
      fmt::format("vm.max_map_count {}, {} in use: {} slots of {} mappings", count_text(*report.mappings_max),
                  report.mappings_used ? count_text(*report.mappings_used) : "unknown number",
                  count_text(left / kMappingsPerSlot), kMappingsPerSlot);
  if (*report.mappings_max >= kMappingsWanted && left / kMappingsPerSlot >= kSlotsWanted) {
    return good(kName, std::move(found));
  }
  return degraded(kName, std::move(found),
                  "At the limit no slot can be made and no memory grown: calls end with limit_exceeded until "
                  "instances are given back.",
                  std::string(kRemedy));
}

MachineCheck check_overcommit(const ProbeOptions& options, MachineReport& report) {
  constexpr std::string_view kName = "overcommit";
  const auto mode = read_number(options.proc_root / "sys" / "vm" / "overcommit_memory");
  if (!mode) {
    return degraded(kName, "vm.overcommit_memory cannot be read",
                    "Nothing is slower, but in mode 2 fewer instances fit than said below.", "Mount /proc.");
  }
  if (*mode != 2) return good(kName, fmt::format("vm.overcommit_memory {}", *mode));
  report.commit_bytes_left = difference_or_zero(meminfo_bytes(options, "CommitLimit").value_or(0),
                                                meminfo_bytes(options, "Committed_AS").value_or(0));
  return degraded(
      kName,
      fmt::format("vm.overcommit_memory 2: {} may still be committed", bytes_text(*report.commit_bytes_left)),
      "Every open page of a slot counts as used, written or not, shared or not: a Ruby instance "
      "counts 69 MB of which it writes 58 pages.",
      "sysctl vm.overcommit_memory=0, or a higher vm.overcommit_ratio.");
}

struct CgroupLimit {
  uint64_t limit_bytes;
  uint64_t room_bytes;  // below the limit, with file pages that can be dropped counted as free
  std::string place;
};

struct CgroupFiles {
  std::string_view version, limit, usage, reclaimable;
};
constexpr CgroupFiles kCgroup2 = {"v2", "memory.max", "memory.current", "inactive_file"};
constexpr CgroupFiles kCgroup1 = {"v1", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                  "total_inactive_file"};

// The tightest limit of `group` and of all groups above it.  The path in /proc/self/cgroup may not
// exist below the mount (a container without a cgroup namespace): then the mount's root is the group.
std::optional<CgroupLimit> tightest_limit(const std::filesystem::path& mount, std::filesystem::path group,
                                          const CgroupFiles& files) {
  constexpr uint64_t kNone = uint64_t{1} << 60;  // v1 says 2^63 less a page, v2 "max"
  std::optional<CgroupLimit> tightest;
  for (;; group = group.parent_path()) {
    const std::filesystem::path folder = mount / group;
    const auto limit = read_number(folder / files.limit);
    if (limit && *limit < kNone) {
      const auto reclaimable = value_of(read_text(folder / "memory.stat").value_or(""), files.reclaimable);
      const uint64_t usage = read_number(folder / files.usage).value_or(0);
      const uint64_t working_set =
          difference_or_zero(usage, parse_number(reclaimable.value_or("")).value_or(0));
      const uint64_t room = difference_or_zero(*limit, working_set);
      if (!tightest || room < tightest->room_bytes) {
        tightest = {*limit, room, fmt::format("{} /{}", files.version, printable(group.native()))};
      }
    }
    if (group.empty()) return tightest;
  }
}

// The limit of this process by cgroup v2 and v1, the tighter of both.  Mounts are looked for where
// everybody has them: /sys/fs/cgroup, or in the hybrid layout its unified/ and memory/.
std::optional<CgroupLimit> cgroup_limit(const ProbeOptions& options) {
  const std::string text = read_text(options.proc_root / "self" / "cgroup").value_or("");
  const std::filesystem::path root = options.sys_root / "fs" / "cgroup";
  std::optional<CgroupLimit> tightest;
  const auto consider = [&](const std::filesystem::path& mount, std::string_view group,
                            const CgroupFiles& files) {
    while (group.starts_with('/')) group.remove_prefix(1);
    while (group.ends_with('/')) group.remove_suffix(1);
    std::filesystem::path path(group);
    // ".." stands for a group outside of our namespace: then only the mount's root is ours to read.
    if (std::ranges::find(path, "..") != path.end()) path.clear();
    const auto limit = tightest_limit(mount, std::move(path), files);
    if (limit && (!tightest || limit->room_bytes < tightest->room_bytes)) tightest = limit;
  };
  for_each_line(text, [&](std::string_view line) {  // "4:memory:/system.slice/x", "0::/x"
    const size_t first = line.find(':');
    const size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) return true;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string_view group = line.substr(second + 1);
    if (controllers == ",,") {
      consider(root, group, kCgroup2);
      consider(root / "unified", group, kCgroup2);
    } else if (controllers.find(",memory,") != controllers.npos) {
      consider(root / "memory", group, kCgroup1);
    }
    return true;
  });
  return tightest;
}

MachineCheck check_memory(const ProbeOptions& options, MachineReport& report) {
  constexpr std::string_view kName = "memory";
  report.memory_bytes_available = meminfo_bytes(options, "MemAvailable");
  const auto total = meminfo_bytes(options, "MemTotal");
  if (!report.memory_bytes_available || !total) {
    return degraded(kName, "/proc/meminfo cannot be read",
                    "Nothing is slower, but pools are not sized by memory: their own limits hold.",
                    "Mount /proc.");
  }
  std::string found =
      fmt::format("{} available of {}", bytes_text(*report.memory_bytes_available), bytes_text(*total));
  if (*report.memory_bytes_available >= 2 * kMemoryCapBytes) return good(kName, std::move(found));
  return degraded(kName, std::move(found),
                  "Less than two memories at their default cap of 256 MiB: a guest that uses what it may "
                  "brings the machine to its limit.",
                  "A lower memory limit per guest, or more memory.");
}

MachineCheck check_cgroup(const ProbeOptions& options, MachineReport& report) {
  constexpr std::string_view kName = "cgroup memory limit";
  std::error_code error;
  if (::access((options.proc_root / "self" / "cgroup").c_str(), R_OK) != 0 ||
      !std::filesystem::is_directory(options.sys_root / "fs" / "cgroup", error)) {
    return degraded(kName, "unknown: no /proc/self/cgroup or no /sys/fs/cgroup",
                    "Nothing is slower, but if there is a limit, less fits than said below, and the kernel "
                    "kills the process that reaches it.",
                    "Mount /proc and /sys/fs/cgroup (read-only will do).");
  }
  const std::optional<CgroupLimit> limit = cgroup_limit(options);
  if (!limit) return good(kName, "none");
  report.memory_bytes_available =
      std::min(report.memory_bytes_available.value_or(limit->room_bytes), limit->room_bytes);
  std::string found = fmt::format("{}, {} left ({})", bytes_text(limit->limit_bytes),
                                  bytes_text(limit->room_bytes), limit->place);
  if (limit->room_bytes >= 2 * kMemoryCapBytes) return good(kName, std::move(found));
  return degraded(kName, std::move(found),
                  "Less than two memories at their default cap of 256 MiB: a guest that uses what it may "
                  "has the kernel kill the process. A compile can take more (4.5 GB seen).",
                  "Raise the limit (MemoryMax=, docker --memory), or lower the memory limit per guest.");
}

MachineCheck check_swap(const ProbeOptions& options) {
  constexpr std::string_view kName = "swap";
  const auto total = meminfo_bytes(options, "SwapTotal");
  if (total && *total == 0) return good(kName, "none");
  return degraded(kName, total ? bytes_text(*total) : "unknown",
                  "Resets stay right (the scan sees swapped pages), but an idle instance's first call may "
                  "wait for the disk, and guests' data is written there in the clear.",
                  "memory.swap.max=0 (MemorySwapMax=0) for this service, or encrypted swap.");
}

// Slots ask for small pages with MADV_NOHUGEPAGE; what counts is that the kernel agrees.  One that
// is built without huge pages does not know the advice (EINVAL).
MachineCheck check_huge_pages(const ProbeOptions& options) {
  constexpr std::string_view kName = "huge pages";
  const auto text = read_text(options.sys_root / "kernel" / "mm" / "transparent_hugepage" / "enabled");
  const std::string mode = chosen_word(text.value_or(""));
  const Mapping area = Mapping::anonymous(page_bytes());
  const bool declined = area.valid() && ::madvise(area.base(), area.bytes(), MADV_NOHUGEPAGE) == 0;
  const int error = declined ? 0 : errno;
  if (declined) return good(kName, fmt::format("mode {}; slots can decline them", mode));
  if (error == EINVAL) return good(kName, "the kernel has none");
  if (mode == "never") return good(kName, "mode never");
  return degraded(kName, fmt::format("mode {}; MADV_NOHUGEPAGE: {}", mode, error_text(error)),
                  "khugepaged makes pages writable without a fault, so fault counters prove nothing: the "
                  "page scan runs at each reset, 1.1 us a clean call instead of 0.088 us.",
                  "echo never > /sys/kernel/mm/transparent_hugepage/enabled, or a seccomp filter that "
                  "allows madvise.");
}

// KSM merges only what was offered: by madvise, which Spore never does, or for a whole process by
// PR_SET_MEMORY_MERGE (systemd: MemoryKSM=).  A kernel that does not know the question (EINVAL)
// has no such switch.
MachineCheck check_ksm(const ProbeOptions& options) {
  constexpr std::string_view kName = "ksm";
  const auto run = read_number(options.sys_root / "kernel" / "mm" / "ksm" / "run");
  const std::string_view state = !run ? "not known to be on" : *run == 1 ? "on" : "off";
  const int merged = ::prctl(kPrGetMemoryMerge, 0, 0, 0, 0);
  const int error = merged < 0 ? errno : 0;
  if (run && *run != 1) return good(kName, "off");
  if (merged == 0 || error == EINVAL) {
    return good(kName, fmt::format("{}, and not for this process", state));
  }
  return degraded(kName,
                  merged < 0 ? fmt::format("{}; whether for this process: {}", state, error_text(error))
                             : fmt::format("{}, and for this process", state),
                  "Tenants can tell which pages others hold: a write to a merged page takes 2.5 us, to an "
                  "own one 0.027 us.",
                  "MemoryKSM=no in the service, or echo 2 > /sys/kernel/mm/ksm/run.");
}

// ---------------------------------------------------------------------------------------------------
// Native code

// Whether a written page may become executable: what a compiler does, and what loading from the
// cache does with a sealed memfd.  0 or errno.  Refused by PR_SET_MDWE, SELinux (execmem), PaX.
int try_executable() {
  const Mapping written = Mapping::anonymous(page_bytes());
  if (!written.valid()) return errno;
  written.touch(0);
  if (::mprotect(written.base(), written.bytes(), PROT_READ | PROT_EXEC) != 0) return errno;
  const UniqueFd fd(::memfd_create("spore-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(page_bytes())) != 0) {
    return 0;  // the check of memfds has said so
  }
  const Mapping loaded = Mapping::of_fd(fd.get(), page_bytes(), PROT_READ, MAP_PRIVATE);
  if (!loaded.valid()) return errno;
  return ::mprotect(loaded.base(), loaded.bytes(), PROT_READ | PROT_EXEC) == 0 ? 0 : errno;
}

MachineCheck check_executable() {
  constexpr std::string_view kName = "native code";
  const int error = try_executable();
  if (error == 0) return good(kName, "yes (pages can be made executable)");
  const int mdwe = ::prctl(kPrGetMdwe, 0, 0, 0, 0);
  return missing(
      kName, fmt::format("no: mprotect: {}{}", error_text(error), mdwe > 0 ? " (PR_SET_MDWE is set)" : ""),
      "No guest runs: code can be neither compiled nor loaded.",
      "MemoryDenyWriteExecute=no in the service; SELinux: allow execmem.");
}

#if defined(__x86_64__)
// By CPUID; a feature of AVX also needs an operating system that saves its registers, which
// __builtin_cpu_supports looks at.  "lzcnt", "aes" and "sha" are not known to it in every compiler.
bool processor_has(std::string_view feature) {
  if (feature == "ssse3") return __builtin_cpu_supports("ssse3");
  if (feature == "sse4.1") return __builtin_cpu_supports("sse4.1");
  if (feature == "sse4.2") return __builtin_cpu_supports("sse4.2");
  if (feature == "popcnt") return __builtin_cpu_supports("popcnt");
  if (feature == "avx") return __builtin_cpu_supports("avx");
  if (feature == "avx2") return __builtin_cpu_supports("avx2");
  if (feature == "bmi") return __builtin_cpu_supports("bmi");
  if (feature == "bmi2") return __builtin_cpu_supports("bmi2");
  if (feature == "fma") return __builtin_cpu_supports("fma");
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (feature == "lzcnt") return __get_cpuid(0x80000001, &a, &b, &c, &d) != 0 && (c >> 5 & 1) != 0;
  if (feature == "aes") return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 25 & 1) != 0;
  if (feature == "pclmul") return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 1 & 1) != 0;
  if (feature == "sha") return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
  return false;
}
#endif

struct CpuNeed {
  std::string_view name;
  std::vector<std::string_view> features;
  std::string_view cost;
};

MachineCheck check_cpu(const ProbeOptions& options, const CpuNeed& need) {
  bool (*has)(std::string_view) = options.cpu_has;
#if defined(__x86_64__)
  if (has == nullptr) has = processor_has;
#endif
  if (has == nullptr) {
    return degraded(need.name, "not an x86-64 processor: not looked at",
                    "Spore is measured on x86-64; elsewhere no baseline code is made.", "");
  }
  std::vector<std::string_view> absent;
  for (const std::string_view feature : need.features) {
    if (!has(feature)) absent.push_back(feature);
  }
  if (absent.empty()) {
    return good(need.name, fmt::format("yes ({})", fmt::join(need.features, ", ")));
  }
  return degraded(need.name, fmt::format("without {}", fmt::join(absent, ", ")), std::string(need.cost),
                  "In a virtual machine: a CPU model that passes them on (QEMU: -cpu host).");
}

MachineCheck check_cpu_baseline(const ProbeOptions& options) {
  return check_cpu(options,
                   {"cpu for baseline",
                    {"avx", "avx2"},
                    "Winch refuses modules with SIMD: they wait for optimised code, 13.6 s for ruby.wasm "
                    "instead of 1.4 s."});
}

// Cranelift itself needs no more than SSE2; the rest it detects and uses.
MachineCheck check_cpu_optimised(const ProbeOptions& options) {
  return check_cpu(
      options, {"cpu for optimised",
                {"ssse3", "sse4.1", "sse4.2", "popcnt", "lzcnt", "bmi", "bmi2", "fma"},
                "Code is right but slower: several instructions or a call for each of them, as for rounding, "
                "counting bits, shuffles (no measured figure)."});
}

MachineCheck check_cpu_hashes(const ProbeOptions& options) {
  return check_cpu(options,
                   {"cpu for hashes",
                    {"sha", "aes", "pclmul"},
                    "OpenSSL falls back: without sha, SHA-256 of pages runs at 0.54 GB/s instead of 1.78; "
                    "without aes and pclmul, the MAC of cached code at 0.28 GB/s instead of 4.2."});
}

// ---------------------------------------------------------------------------------------------------
// Fences and limits

// Since 5.6.  Tried on "/": "." must open and ".." must not.
MachineCheck check_openat2() {
  constexpr std::string_view kName = "openat2";
  const auto absent = [&](std::string_view what, int error) {
    return missing(kName, fmt::format("no: {}: {}", what, error_text(error)),
                   "Guests can be given no directories: following a path by hand loses races against "
                   "symbolic links.",
                   "Kernel 5.6 or later; a seccomp filter that allows openat2.");
  };
  const UniqueFd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return absent("opening /", errno);
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH;
  const auto open = [&](const char* path) {
    return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root.get(), path, &how, sizeof how)));
  };
  if (!open(".").valid()) return absent("RESOLVE_BENEATH", errno);
  if (open("..").valid()) return absent("RESOLVE_BENEATH lets '..' out", EIO);
  return good(kName, "yes (RESOLVE_BENEATH)");
}

MachineCheck check_seccomp() {
  constexpr std::string_view kName = "seccomp";
  const uint32_t action = SECCOMP_RET_ERRNO;
  // SECCOMP_GET_ACTION_AVAIL, since 4.14, asks and changes nothing.
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0) {
    return good(kName, "yes (filters)");
  }
  return missing(kName, fmt::format("no: {}", error_text(errno)),
                 "A worker process that a guest broke out into could use every system call: one fence less "
                 "behind the sandbox. Nothing is slower.",
                 "A kernel with CONFIG_SECCOMP_FILTER; an outer filter that allows seccomp.");
}

MachineCheck check_landlock() {
  constexpr std::string_view kName = "landlock";
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0,
                                 LANDLOCK_CREATE_RULESET_VERSION);  // since 5.13, makes nothing
  if (version > 0) return good(kName, fmt::format("yes (ABI {})", version));
  const int error = errno;
  return missing(
      kName, fmt::format("no: {}", error_text(error)),
      "Programs are not asyncified, so not frozen. A worker process that a guest broke out into could "
      "open any file of its user: seccomp alone is behind the sandbox. Nothing is slower.",
      error == EOPNOTSUPP ? "Boot with landlock in the lsm= list."
                          : "A kernel with CONFIG_SECURITY_LANDLOCK (5.13); an outer seccomp "
                            "filter that allows it.");
}

MachineCheck check_descriptors() {
  constexpr std::string_view kName = "descriptors";
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return degraded(kName, fmt::format("unknown: {}", error_text(errno)),
                    "How many connections and images fit is not known.", "");
  }
  const auto text = [](rlim_t value) {
    return value == RLIM_INFINITY ? std::string("unlimited") : count_text(value);
  };
  std::string found = fmt::format("RLIMIT_NOFILE {}, up to {}", text(limit.rlim_cur), text(limit.rlim_max));
  if (limit.rlim_cur >= kDescriptorsWanted) return good(kName, std::move(found));
  return degraded(kName, std::move(found),
                  "Each connection, image, piece of cached code and thread with a mapped fault counter "
                  "holds one: at the limit the next one is refused.",
                  "ulimit -n 65536, or LimitNOFILE=65536 in the service.");
}

// What a guest's recursion runs into on threads that Spore did not make: it must be the limit that
// Wasmtime checks (a trap), never the end of the thread's stack (a SIGSEGV of the host).
MachineCheck check_stack() {
  constexpr std::string_view kName = "stack";
  rlimit limit{};
  size_t thread_bytes = 8 * kMiB;
  pthread_attr_t attributes;
  if (::pthread_getattr_default_np(&attributes) == 0) {
    ::pthread_attr_getstacksize(&attributes, &thread_bytes);
    ::pthread_attr_destroy(&attributes);
  }
  uint64_t bytes = thread_bytes;
  if (::getrlimit(RLIMIT_STACK, &limit) == 0) bytes = std::min<uint64_t>(bytes, limit.rlim_cur);
  std::string found = fmt::format("{} a thread", bytes_text(bytes));
  if (bytes >= kWasmStackBytes + engine::kHostStackBytes) return good(kName, std::move(found));
  const uint64_t left = difference_or_zero(bytes, engine::kHostStackBytes);
  return degraded(
      kName, std::move(found),
      left == 0 ? fmt::format("No guest runs on such threads: host frames need {} beside the guest's.",
                              bytes_text(engine::kHostStackBytes))
                : fmt::format("Calls are refused on such threads unless wasm_stack_bytes is {} or less.",
                              bytes_text(left)),
      "ulimit -s 8192, or LimitSTACK=8M in the service.");
}

// ---------------------------------------------------------------------------------------------------
// How much fits

// Lowers `capacity` to what `available` has room for.
void limit_by(MachineCapacity& capacity, std::optional<uint64_t> available, uint64_t each,
              std::string_view limit) {
  if (!available || *available / each >= capacity.count) return;
  capacity.count = *available / each;
  capacity.limited_by = limit;
}

void fill_capacities(MachineReport& report) {
  constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();
  const auto& memory = report.memory_bytes_available;
  std::optional<uint64_t> mappings;
  if (report.mappings_max) {
    mappings = difference_or_zero(*report.mappings_max, report.mappings_used.value_or(0));
  }

  report.slots_4gib = {kUnlimited, "", "4 GiB, a guard of 32 MiB on both sides, 3 mappings"};
  limit_by(report.slots_4gib, report.address_space_bytes, kSlotBytes, "address space");
  limit_by(report.slots_4gib, mappings, kMappingsPerSlot, "vm.max_map_count");

  report.instances_awake = {report.slots_4gib.count, report.slots_4gib.limited_by,
                            "a small library's slot, 10 KiB, 3 pages written, 2 of page tables; 1.1 MB of "
                            "commit in mode 2"};
  limit_by(report.instances_awake, memory, kInstanceAwakeBytes, "memory");
  limit_by(report.instances_awake, report.commit_bytes_left, kCommitPerInstanceBytes,
           "vm.overcommit_memory=2");

  report.cells_asleep_large = {kUnlimited, "", "8 KiB in memory, as what one Ruby request changes"};
  limit_by(report.cells_asleep_large, memory, kCellAsleepLargeBytes, "memory");
  report.cells_asleep_small = {kUnlimited, "", "300 B in memory, as a counter"};
  limit_by(report.cells_asleep_small, memory, kCellAsleepSmallBytes, "memory");
  for (MachineCapacity* capacity : {&report.cells_asleep_large, &report.cells_asleep_small}) {
    if (capacity->count == kUnlimited) *capacity = {0, "unknown memory", capacity->assumption};
  }
}

void describe_machine(const ProbeOptions& options, MachineReport& report) {
  utsname name{};
  report.kernel = "unknown";
  if (::uname(&name) == 0) {
    report.kernel = printable(fmt::format("{} {} {}", name.sysname, name.release, name.machine));
  }
  const auto model = value_of(read_text(options.proc_root / "cpuinfo").value_or(""), "model name");
  report.cpu = model ? printable(trim(*model)) : "unknown";
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (::sched_getaffinity(0, sizeof cpus, &cpus) == 0) {
    report.cpus = static_cast<unsigned>(CPU_COUNT(&cpus));
  }
}

// ---------------------------------------------------------------------------------------------------
// Text

constexpr size_t kColumns = 110;

// Appends `text` in lines of at most kColumns, the first after `head`, the others indented by `indent`.
void wrap(std::string& out, std::string_view head, size_t indent, std::string_view text) {
  std::string line(head);
  line.resize(std::max(line.size(), indent), ' ');
  bool empty = true;
  const auto flush = [&] {
    out += line.substr(0, line.find_last_not_of(' ') + 1);
    out += '\n';
    line.assign(indent, ' ');
    empty = true;
  };
  while (!(text = trim(text)).empty()) {
    std::string_view word = text.substr(0, text.find(' '));
    const size_t room = kColumns - line.size();
    if (word.size() + (empty ? 0 : 1) > room && !empty) {
      flush();
      continue;
    }
    word = word.substr(0, room);  // only a word longer than a line is cut
    if (!empty) line += ' ';
    line += word;
    empty = false;
    text.remove_prefix(word.size());
  }
  flush();
}

void append_capacity(std::string& out, std::string_view what, const MachineCapacity& capacity) {
  wrap(out, fmt::format("  {:<20}{:>14}  ", what, count_text(capacity.count)), 38,
       fmt::format("limited by {}; each: {}", capacity.limited_by, capacity.assumption));
}

void write_capacity(JsonWriter& json, std::string_view name, const MachineCapacity& capacity) {
  json.begin_object(name)
      .field("count", capacity.count)
      .field("limited_by", capacity.limited_by)
      .field("assumption", capacity.assumption)
      .end_object();
}

void write_optional(JsonWriter& json, std::string_view name, std::optional<uint64_t> value) {
  if (value) {
    json.field(name, *value);
  } else {
    json.null_field(name);
  }
}

}  // namespace

std::string_view state_name(MachineCheck::State state) {
  switch (state) {
    case State::kGood: return "good";
    case State::kDegraded: return "degraded";
    case State::kMissing: return "missing";
  }
  return "unknown";
}

MachineCheck::State MachineReport::worst() const {
  State worst = State::kGood;
  for (const MachineCheck& check : checks) worst = std::max(worst, check.state);
  return worst;
}

const MachineCheck* MachineReport::find(std::string_view name) const {
  const auto found = std::ranges::find(checks, name, &MachineCheck::name);
  return found == checks.end() ? nullptr : &*found;
}

MachineReport probe_machine(const ProbeOptions& options) {
  MachineReport report;
  describe_machine(options, report);
  std::vector<MachineCheck>& checks = report.checks;
  checks.push_back(check_page_scan(options));
  checks.push_back(check_perf_faults(options));
  checks.push_back(check_rusage_faults());
  checks.push_back(check_write_tracking(options));

  checks.push_back(check_address_space(options, report));
  checks.push_back(check_mappings(options, report));
  checks.push_back(check_memory(options, report));
  checks.push_back(check_cgroup(options, report));  // after memory: takes the lower of both
  checks.push_back(check_overcommit(options, report));
  checks.push_back(check_sealed_memfd());
  checks.push_back(check_swap(options));
  checks.push_back(check_huge_pages(options));
  checks.push_back(check_ksm(options));

  checks.push_back(check_executable());
  checks.push_back(check_cpu_baseline(options));
  checks.push_back(check_cpu_optimised(options));
  checks.push_back(check_cpu_hashes(options));

  checks.push_back(check_openat2());
  checks.push_back(check_seccomp());
  checks.push_back(check_landlock());
  checks.push_back(check_descriptors());
  checks.push_back(check_stack());
  fill_capacities(report);
  return report;
}

void write_json(const MachineReport& report, JsonWriter& json) {
  json.begin_object()
      .field("kernel", report.kernel)
      .field("cpu", report.cpu)
      .field("cpus", report.cpus)
      .field("worst", state_name(report.worst()))
      .field("address_space_bytes", report.address_space_bytes);
  write_optional(json, "memory_bytes_available", report.memory_bytes_available);
  write_optional(json, "commit_bytes_left", report.commit_bytes_left);
  write_optional(json, "mappings_max", report.mappings_max);
  write_optional(json, "mappings_used", report.mappings_used);
  json.begin_object("fits");
  write_capacity(json, "slots_4gib", report.slots_4gib);
  write_capacity(json, "instances_awake", report.instances_awake);
  write_capacity(json, "cells_asleep_large", report.cells_asleep_large);
  write_capacity(json, "cells_asleep_small", report.cells_asleep_small);
  json.end_object().begin_array("checks");
  for (const MachineCheck& check : report.checks) {
    json.begin_object()
        .field("name", check.name)
        .field("state", state_name(check.state))
        .field("found", check.found)
        .field("cost", check.cost)
        .field("remedy", check.remedy)
        .end_object();
  }
  json.end_array().end_object();
}

std::string to_text(const MachineReport& report) {
  std::string out;
  wrap(out, "kernel  ", 8, report.kernel);
  wrap(out, "cpu     ", 8, fmt::format("{}, {} usable", report.cpu, report.cpus));
  out += '\n';
  for (const MachineCheck& check : report.checks) {
    wrap(out, fmt::format("  {:<10}{:<22}", state_name(check.state), check.name), 34, check.found);
    if (!check.cost.empty()) wrap(out, "            cost:   ", 20, check.cost);
    if (!check.remedy.empty()) wrap(out, "            remedy: ", 20, check.remedy);
  }
  const auto count = [&](State state) {
    return std::ranges::count(report.checks, state, &MachineCheck::state);
  };
  out += fmt::format("\n{} good, {} degraded, {} missing\n", count(State::kGood), count(State::kDegraded),
                     count(State::kMissing));
  out += "\nfits beside what this process has\n";
  append_capacity(out, "slots of 4 GiB", report.slots_4gib);
  append_capacity(out, "instances awake", report.instances_awake);
  append_capacity(out, "cells asleep, large", report.cells_asleep_large);
  append_capacity(out, "cells asleep, small", report.cells_asleep_small);
  return out;
}

}  // namespace spore::runtime
