#include "spore/memory/slot.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "spore/base/fd.h"

namespace spore::memory {
namespace {

// Pages are looked at in one of so many resets, and leave the write set after so many looks: 64 resets in
// all.
constexpr uint64_t kLookEvery = 8;
constexpr uint8_t kQuietLooks = 8;
// Fewer are not worth a look: refilling them costs less.
constexpr size_t kLookPagesMin = 9;

// EAGAIN: what madvise() makes of ENOMEM.
Status no_room(int error, const char* what) {
  if (error == ENOMEM || error == EAGAIN) {
    return Status::limit_exceeded(
        "{}: no address space, or no room for another mapping, is left (vm.max_map_count, RLIMIT_AS; "
        "compact memories need less)",
        what);
  }
  return Status::from_errno(error, what);
}

Status protect(std::byte* base, size_t bytes, int protection) {
  if (bytes == 0 || ::mprotect(base, bytes, protection) == 0) return {};
  return no_room(errno, "mprotect");
}

// EINVAL: this kernel has no huge pages.
Status forbid_huge_pages(std::byte* base, size_t bytes) {
  if (bytes == 0 || ::madvise(base, bytes, MADV_NOHUGEPAGE) == 0 || errno == EINVAL) return {};
  return no_room(errno, "madvise");
}

Status drop_pages(std::byte* base, size_t bytes) {
  constexpr int kDontNeedLocked = 24;  // MADV_DONTNEED_LOCKED, since 5.18: what mlockall() locked, too
  if (bytes == 0 || ::madvise(base, bytes, MADV_DONTNEED) == 0) return {};
  if (errno == EINVAL && ::madvise(base, bytes, kDontNeedLocked) == 0) return {};
  return no_room(errno, "madvise");
}

Status map_nothing(std::byte* base, size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (::mmap(base, bytes, PROT_NONE, kFlags, -1, 0) == MAP_FAILED) return no_room(errno, "mmap");
  return forbid_huge_pages(base, bytes);
}

}  // namespace

Result<std::unique_ptr<Slot>> Slot::create(const SlotShape& shape,
                                           std::shared_ptr<const PageScanner> scanner) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const size_t bytes = shape.capacity + 2 * shape.guard;
  void* mapping = ::mmap(nullptr, bytes, PROT_NONE, kFlags, -1, 0);
  if (mapping == MAP_FAILED) return no_room(errno, "reserving address space for a memory");
  std::unique_ptr<Slot> slot(new Slot(shape, static_cast<std::byte*>(mapping), std::move(scanner)));
  SPORE_TRY(forbid_huge_pages(slot->mapping_, bytes));
  return slot;
}

Slot::Slot(const SlotShape& shape, std::byte* mapping, std::shared_ptr<const PageScanner> scanner)
    : shape_(shape), mapping_(mapping), base_(mapping + shape.guard), scanner_(std::move(scanner)) {}

Slot::~Slot() {
  stop_tracking();
  watched_.clear();
  ::munmap(mapping_, shape_.capacity + 2 * shape_.guard);
}

Status Slot::lend(size_t bytes) {
  SPORE_ASSERT(bytes_ == 0 && image_ == nullptr && bytes % kPageBytes == 0,
               "a slot is lent before it is opened");
  if (bytes > shape_.capacity) {
    return Status::limit_exceeded("a memory of {} bytes in a slot of {}", bytes, shape_.capacity);
  }
  constexpr size_t kPieceBytes = 2 * 1024 * 1024;
  const UniqueFd piece(::memfd_create("spore-lent", MFD_CLOEXEC));
  if (!piece.valid()) return Status::from_errno(errno, "memfd_create");
  if (::ftruncate(piece.get(), kPieceBytes) != 0) return Status::from_errno(errno, "ftruncate");
  used_bytes_ = bytes;
  for (size_t offset = 0; offset < bytes; offset += kPieceBytes) {
    if (::mmap(base_ + offset, std::min(kPieceBytes, bytes - offset), PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_FIXED | MAP_POPULATE, piece.get(), 0) == MAP_FAILED) {
      return no_room(errno, "mapping what is lent");
    }
  }
  lent_ = true;
  return {};
}

Status Slot::open(size_t bytes, std::shared_ptr<const PageImage> image, const ResetOptions& options) {
  SPORE_ASSERT(bytes_ == 0 && image_ == nullptr && bytes % kPageBytes == 0, "a slot is opened once");
  if (bytes > shape_.capacity) {
    return Status::limit_exceeded("a memory of {} bytes in a slot of {}", bytes, shape_.capacity);
  }
  if (image != nullptr) SPORE_TRY(image->check());
  if (std::exchange(lent_, false) && used_bytes_ > 0) SPORE_TRY(map_nothing(base_, used_bytes_));
  image_ = std::move(image);
  SPORE_ASSERT(image_bytes() <= bytes, "an image longer than its memory");
  used_bytes_ = bytes;
  if (image_bytes() > 0) {
    constexpr int kFlags = MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED;
    for (const PageImage::Part& part : image_->parts()) {
      std::byte* const at = base_ + part.offset;
      if (::mmap(at, part.bytes, PROT_READ | PROT_WRITE, kFlags, part.fd,
                 static_cast<off_t>(part.file_offset)) == MAP_FAILED) {
        return no_room(errno, "mapping an image");
      }
      if (part.broken == nullptr) continue;
      const BusGuard::Memory memory{.base = at, .bytes = part.bytes, .protection = PROT_READ | PROT_WRITE};
      watched_.push_back(SPORE_TRY(BusGuard::watch(memory, *part.broken)));
    }
    SPORE_TRY(forbid_huge_pages(base_, image_bytes()));
  }
  SPORE_TRY(protect(base_ + image_bytes(), bytes - image_bytes(), PROT_READ | PROT_WRITE));
  bytes_ = start_bytes_ = bytes;
  refused_growth_ = false;
  options_ = options;
  keep_pages_ = scanner_ != nullptr && options.write_set_pages_max > 0;
  must_scan_ = true;
  return {};
}

Status Slot::clear() {
  stop_tracking();
  tracker_ = nullptr;
  watched_.clear();
  if (used_bytes_ > 0) SPORE_TRY(map_nothing(base_, used_bytes_));
  bytes_ = start_bytes_ = used_bytes_ = 0;
  image_ = nullptr;
  must_scan_ = true;
  begun_ = must_clear_ = lent_ = false;
  mark_ = {};
  refills_.clear();
  pages_.clear();
  counters_ = {};
  return {};
}

Status Slot::grow(size_t bytes) {
  if (bytes > shape_.capacity) {
    return Status::limit_exceeded("a memory of {} bytes in a slot of {}", bytes, shape_.capacity);
  }
  SPORE_ASSERT(bytes >= bytes_ && bytes % kPageBytes == 0, "a memory grows by whole pages");
  if (bytes > start_bytes_ && bytes - start_bytes_ > options_.growth_bytes_max) {
    refused_growth_ = true;
    return Status::limit_exceeded("a memory grows from {} bytes to {} (growth_bytes_max={})", start_bytes_,
                                  bytes, options_.growth_bytes_max);
  }
  used_bytes_ = std::max(used_bytes_, bytes);
  Status opened = protect(base_ + bytes_, bytes - bytes_, PROT_READ | PROT_WRITE);
  if (!opened.ok()) {
    // Of several mappings, as a child has after a fork, the first may be open by now.
    must_clear_ = !protect(base_ + bytes_, bytes - bytes_, PROT_NONE).ok();
    return opened;
  }
  bytes_ = bytes;
  must_scan_ = true;  // clause 3
  if (tracker_ != nullptr) [[unlikely]]
    tracker_->grow(bytes);
  return {};
}

Status Slot::track(std::unique_ptr<DirtyTracker> tracker) {
  SPORE_ASSERT(bytes_ > 0 && !must_clear_, "a memory is tracked while it is open");
  stop_tracking();
  tracker_ = std::move(tracker);
  return tracker_->start(base_, bytes_, image_);
}

void Slot::stop_tracking() {
  if (tracker_ == nullptr || !tracker_->is_tracking()) return;
  tracker_->stop();
  must_scan_ = true;
}

Result<bool> Slot::reset() {
  if (must_clear_) [[unlikely]]
    return Status::limit_exceeded("a memory that could not grow could not be closed again");
  if (tracker_ != nullptr) [[unlikely]]
    stop_tracking();
  counters_.resets.add();
  refused_growth_ = false;
  const bool grown = bytes_ != start_bytes_;
  if (!keep_pages_) [[unlikely]] {
    SPORE_TRY(drop());
  } else {
    ThreadFaults& faults = ThreadFaults::here();
    FaultMark now = faults.mark(options_.fault_counter);
    if (must_scan_ || !mark_.same(now)) [[unlikely]] {
      SPORE_TRY(rescan());
      now = faults.mark(options_.fault_counter);  // the scan's own faults, of its tables
    }
    mark_ = now;
    must_scan_ = begun_ = false;
    if (pages_.size() >= kLookPagesMin && counters_.resets.value() % kLookEvery == 0) look_at_pages();
    refill();
  }
  if (!watched_.empty()) [[unlikely]]
    SPORE_TRY(check_broken());
  if (!grown || kBreakReset == BreakReset::kLength) [[likely]]
    return false;
  SPORE_TRY(shrink());
  return true;
}

void Slot::written(std::vector<PageRun>& runs) {
  runs.clear();
  const auto all = [&] {
    runs.clear();
    if (bytes_ > 0) runs.push_back({0, bytes_});
  };
  if (scanner_ == nullptr) return all();
  ThreadFaults& faults = ThreadFaults::here();
  const FaultMark now = keep_pages_ ? faults.mark(options_.fault_counter) : FaultMark{};
  if (must_scan_ || !mark_.same(now)) {
    counters_.scans.add();
    if (!scanner_->private_pages(base_, bytes_, image_bytes(), runs).ok()) return all();
    // A new write set, if reset() would take it: what is beyond the start is no part of one.
    size_t pages = 0;
    for (const PageRun& run : runs) pages += run.bytes / kPageBytes;
    if (!keep_pages_ || grown() || pages > options_.write_set_pages_max) return;
    take_pages(runs);
    mark_ = faults.mark(options_.fault_counter);  // the scan's own faults, of its tables
    must_scan_ = false;
    return;
  }
  for (const Page& page : pages_) {
    const size_t offset = size_t{page.number} * kPageBytes;
    if (runs.empty() || runs.back().offset + runs.back().bytes != offset) runs.push_back({offset, 0});
    runs.back().bytes += kPageBytes;
  }
}

Status Slot::used(std::vector<PageRun>& runs) const {
  if (scanner_ == nullptr) return Status::unavailable("this system does not tell which pages were used");
  return scanner_->used_pages(base_, bytes_, runs);
}

Status Slot::rescan() {
  counters_.scans.add();
  runs_.clear();
  // What earlier growths left resident counts when there is another: else a guest that grows to ever smaller
  // sizes would have it pile up.
  const size_t bytes = bytes_ > start_bytes_ ? used_bytes_ : bytes_;
  // It may fail though it worked at the start: in a child that sees no /proc, or behind a new filter.
  if (!scanner_->private_pages(base_, bytes, image_bytes(), runs_).ok()) return drop();
  size_t pages = 0;
  for (const PageRun& run : runs_) pages += run.bytes / kPageBytes;
  if (pages > options_.write_set_pages_max) return drop();
  if (bytes_ > start_bytes_) SPORE_TRY(zero_grown(runs_));
  take_pages(runs_);
  return {};
}

Status Slot::check_broken() const {
  if (!broken()) return {};
  return Status::corruption("the file of a memory's image was cut short, or cannot be read");
}

// The one way in which pages of a slot go back to what they were.
Status Slot::decommit(size_t offset, size_t bytes) {
  if (tracker_ != nullptr) [[unlikely]]
    tracker_->mark_range(offset, bytes);
  return drop_pages(base_ + offset, bytes);
}

// As if nothing had ever been written.  One call for all: with what is rare there is no saving in more.
Status Slot::drop() {
  counters_.drops.add();
  pages_.clear();
  make_refills();
  return decommit(0, used_bytes_);
}

// What grew is zeroed and stays resident for the next growth, but is not of the write set: it will be closed.
Status Slot::zero_grown(const std::vector<PageRun>& runs) {
  for (const PageRun& run : runs) {
    const size_t begin = std::max(run.offset, start_bytes_);
    const size_t end = std::min(run.offset + run.bytes, bytes_);
    if (begin < end) std::memset(base_ + begin, 0, end - begin);
  }
  return {};
}

Status Slot::shrink() {
  SPORE_TRY(protect(base_ + start_bytes_, bytes_ - start_bytes_, PROT_NONE));
  bytes_ = start_bytes_;
  must_scan_ = false;
  return {};
}

// The new write set.  A page that was in it keeps what is known of it.
void Slot::take_pages(const std::vector<PageRun>& runs) {
  std::vector<Page> taken;
  auto old = pages_.begin();
  for (const PageRun& run : runs) {
    const size_t end = std::min(run.offset + run.bytes, start_bytes_);
    for (size_t offset = run.offset; offset < end; offset += kPageBytes) {
      const auto number = static_cast<uint32_t>(offset / kPageBytes);
      while (old != pages_.end() && old->number < number) ++old;
      const bool known = old != pages_.end() && old->number == number;
      taken.push_back({number, known ? old->quiet : uint8_t{0}});
    }
  }
  pages_ = std::move(taken);
  make_refills();
}

void Slot::make_refills() {
  refills_.clear();
  for (const Page& page : pages_) {
    const size_t offset = size_t{page.number} * kPageBytes;
    const std::byte* from = image_ == nullptr ? nullptr : image_->page(offset);
    if (!refills_.empty()) {
      Refill& last = refills_.back();
      const bool follows =
          last.to + last.bytes == base_ + offset &&
          (from == nullptr ? last.from == nullptr : last.from != nullptr && last.from + last.bytes == from);
      if (follows) {
        last.bytes += kPageBytes;
        continue;
      }
    }
    refills_.push_back({base_ + offset, from, kPageBytes});
  }
  counters_.pages.set(pages_.size());
  count_quiet();
}

void Slot::count_quiet() {
  counters_.quiet_pages.set(static_cast<uint64_t>(std::ranges::count(pages_, kQuietLooks, &Page::quiet)));
}

void Slot::look_at_pages() {
  static constexpr std::byte kZeros[kPageBytes] = {};
  for (Page& page : pages_) {
    const size_t offset = size_t{page.number} * kPageBytes;
    const std::byte* clean = image_ == nullptr ? nullptr : image_->page(offset);
    const bool quiet = std::memcmp(base_ + offset, clean == nullptr ? kZeros : clean, kPageBytes) == 0;
    page.quiet = quiet ? static_cast<uint8_t>(std::min(page.quiet + 1, int{kQuietLooks})) : uint8_t{0};
  }
  count_quiet();
}

inline void Slot::refill() {
  for (const Refill& refill : refills_) {
    size_t bytes = refill.bytes;
    if (kBreakReset == BreakReset::kPage && &refill == &refills_.back()) bytes -= kPageBytes;
    if (refill.from == nullptr) {
      std::memset(refill.to, 0, bytes);
    } else {
      std::memcpy(refill.to, refill.from, bytes);
    }
  }
  counters_.pages_refilled.add(pages_.size());
}

void Slot::trim() {
  const auto leaves = [](const Page& page) { return page.quiet >= kQuietLooks; };
  if (std::ranges::none_of(pages_, leaves)) return;
  // A page that cannot be dropped stays.
  const auto dropped = [&](const Page& page) {
    return leaves(page) && decommit(size_t{page.number} * kPageBytes, kPageBytes).ok();
  };
  std::erase_if(pages_, dropped);
  make_refills();
}

}  // namespace spore::memory
