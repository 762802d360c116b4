#pragma once

// The address range that one linear memory lives in, and how it is made as new.
//
//   | guard | capacity                                      | guard |
//             0 .......... image ....... bytes() ...........
//             | mapped from | zeros,      | no access
//             | the image   | read-write  |
//
// No access is everything from bytes() on and both guards: what code compiled without bounds checks reaches
// there traps.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "spore/base/break_reset.h"
#include "spore/base/counter.h"
#include "spore/base/status.h"
#include "spore/memory/bus_guard.h"
#include "spore/memory/dirty_tracker.h"
#include "spore/memory/fault_counter.h"
#include "spore/memory/page_image.h"
#include "spore/memory/page_scan.h"

namespace spore::memory {

struct SlotShape {
  size_t capacity = 0;  // both multiples of 64 KiB
  size_t guard = 0;     // on each side
  auto operator<=>(const SlotShape&) const = default;
};

struct ResetOptions {
  // Pages that stay private and resident after a call wrote them, to be refilled; if there are more, all are
  // dropped.  0: always drop.
  size_t write_set_pages_max = 128;
  FaultCounterKind fault_counter = FaultCounterKind::kAuto;
  // What it may grow by until it is reset.
  size_t growth_bytes_max = std::numeric_limits<size_t>::max();
};

// What resets did.  Written by the slot's user, readable by all.
struct ResetCounters {
  Counter resets;
  Counter scans;
  Counter drops;           // of all pages, by MADV_DONTNEED
  Counter pages_refilled;  // in all
  Counter pages;           // in the write set now
  Counter quiet_pages;     // of those, what trim() would give back
};

// Bound to one thread at a time.  Moves between threads under its owner's lock.
//
// What reset() relies on.  A page of the slot is *clean* while it is mapped from the image or, beyond it, to
// zeros; its first write makes it *private*.  The private pages are found by a scan and kept as the write
// set, which each reset refills.  A scan is skipped if none can have joined since begin() or the last reset:
//   1. The guest, Wasmtime's own copies and fills, and host code on this thread write in user mode: the first
//      write to a clean page is a page fault of this thread, which its counter shows (ThreadFaults).
//   2. Whoever lets something else write calls touched() first, and has it end before reset(): a host
//   function
//      that passes the memory to a system call, to another thread or to io_uring.  Everything that hands out
//      the memory's bytes to host functions does (engine::Caller::memory).
//   3. Pages that are closed by a shrinking reset and opened by a later growth may be private already, and
//      writable without a fault: after a growth there is a scan.
//   4. By itself the kernel makes no clean page private, but where it collapses small pages into a huge one:
//      slots are MADV_NOHUGEPAGE, which also refuses MADV_COLLAPSE.  What it is asked for is of clause 2:
//      MADV_POPULATE_WRITE, and mlock() or mlockall(), which make all pages of a slot private and writable.
//      A process that locks its memory does it before the first slot is opened, or calls touched().
//   5. The mark is of the thread that called begin() or, since then, reset(), and whoever calls the guest on
//      another one calls begin() there first.  After a fork, or on another thread than the mark's, marks
//      differ: a scan.
// Swapped pages are still private; the scan finds them, and refilling brings them in.
class Slot {
 public:
  // Reserved, with no access to any of it.  kLimitExceeded: the address space or the map count is used up.
  // Without a scanner every reset drops all pages.
  static Result<std::unique_ptr<Slot>> create(const SlotShape& shape,
                                              std::shared_ptr<const PageScanner> scanner);
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  // Before open(): the first `bytes` can be written to at little cost, for those who write zeros to what they
  // are given.  All of them are one small piece of memory, again and again.  After a failure it must be
  // cleared.
  Status lend(size_t bytes);
  // Becomes a memory of `bytes` that begins with `image`, which is no longer, or with zeros if it is null.
  // Only on a slot that is new or cleared.  What PageImage::check() says.  After a failure it must be
  // cleared.
  Status open(size_t bytes, std::shared_ptr<const PageImage> image, const ResetOptions& options = {});
  // Nothing of what was in it is left; no access.  After a failure it must not be used again.
  Status clear();

  std::byte* base() const { return base_; }
  size_t bytes() const { return bytes_; }
  size_t capacity() const { return shape_.capacity; }
  size_t guard() const { return shape_.guard; }
  const SlotShape& shape() const { return shape_; }

  // kLimitExceeded: beyond the capacity or growth_bytes_max, or the system has no more.
  Status grow(size_t bytes);
  // Since it was opened or reset.
  bool grown() const { return bytes_ != start_bytes_; }
  // A growth was refused for growth_bytes_max since it was opened or reset.
  bool refused_growth() const { return refused_growth_; }

  // This thread will use it from now on.  Nobody wrote to it since it was opened or reset, but through an
  // earlier begin(): of several, the first counts.
  void begin() {
    ThreadFaults& faults = ThreadFaults::here();
    if (begun_) [[unlikely]] {
      if (!faults.made(mark_)) must_scan_ = true;
      return;
    }
    begun_ = true;
    if (mark_.mapped()) {
      mark_ = faults.mark(options_.fault_counter);
    } else if (!faults.made(mark_)) {
      mark_ = {};  // another thread's: its faults tell nothing of this one's
    }
  }
  // Somebody may write to it in a way that this thread's counter does not show.
  void touched() {
    if constexpr (kBreakReset != BreakReset::kKernelWrite) must_scan_ = true;
  }

  // The pages that may differ from what it was opened with, in order: found as reset() finds them, which then
  // need not look again.  All pages, where this system does not tell.
  void written(std::vector<PageRun>& runs);

  // The file of its image was cut short, and some of the memory's bytes are zeros for that: what a call made
  // of them must not be believed.  Ask after the call.
  bool broken() const { return image_ != nullptr && image_->broken(); }

  // The pages that were used since it was opened, in order, read or written; kUnavailable: this system does
  // not tell.
  Status used(std::vector<PageRun>& runs) const;

  // As it was opened: bytes and length.  True if it is shorter now.  kCorruption: it is broken.  After a
  // failure it must be cleared.
  Result<bool> reset();

  // From now on `tracker`, which tracks nothing yet, notes which pages change.  Growths and dropped pages are
  // told to it here.  It ends before a reset begins, and with the slot's clearing: what a tracker knows is of
  // the memory that a reset takes away, and in memory that is armed a scan for private pages takes those that
  // were never used for swapped ones (written() tells of them, too).  So the slot owns it and ends it itself:
  // whoever still asks it is told that nothing is tracked, never that nothing is dirty.
  // What DirtyTracker::start() says.
  Status track(std::unique_ptr<DirtyTracker> tracker);
  void stop_tracking();
  // Null if there was none since the slot was cleared.
  DirtyTracker* tracker() const { return tracker_.get(); }

  // Off the path of calls: gives back pages of the write set that calls have stopped writing to.
  void trim();
  bool can_trim() const { return counters_.quiet_pages.value() > 0; }

  const ResetCounters& counters() const { return counters_; }
  // Bytes of memory that are this slot's own; the image's are everybody's.
  size_t private_bytes() const { return counters_.pages.value() * kPageBytes; }
  // What it was opened with; null: zeros.
  const PageImage* image() const { return image_.get(); }

 private:
  // A page of the write set.
  struct Page {
    uint32_t number;
    uint8_t quiet;  // looks, one in kLookEvery resets, that found it as the image has it
  };
  // What refills a part of the write set: whole pages, from the image, or zeros.
  struct Refill {
    std::byte* to;
    const std::byte* from;  // null: zeros
    size_t bytes;
  };

  Slot(const SlotShape& shape, std::byte* mapping, std::shared_ptr<const PageScanner> scanner);

  Status rescan();
  Status drop();
  Status decommit(size_t offset, size_t bytes);
  Status check_broken() const;
  Status shrink();
  Status zero_grown(const std::vector<PageRun>& runs);
  void take_pages(const std::vector<PageRun>& runs);
  void make_refills();
  void look_at_pages();
  void count_quiet();
  void refill();
  size_t image_bytes() const { return image_ == nullptr ? 0 : image_->mapped_bytes(); }

  SlotShape shape_;
  std::byte* mapping_;  // the front guard
  std::byte* base_;
  size_t bytes_ = 0;
  size_t start_bytes_ = 0;  // as opened
  size_t used_bytes_ = 0;   // the most it was since it was cleared
  bool must_scan_ = true;
  bool refused_growth_ = false;
  bool begun_ = false;       // since it was opened or reset
  bool must_clear_ = false;  // something beyond bytes_ may be open
  bool lent_ = false;        // it was lent, and not opened since
  bool keep_pages_ = false;  // there is a scanner, and room for a write set
  FaultMark mark_;
  ResetOptions options_;
  std::vector<Refill> refills_;
  ResetCounters counters_;
  std::vector<Page> pages_;
  std::vector<PageRun> runs_;  // the scan's, kept for its capacity
  std::shared_ptr<const PageImage> image_;
  std::shared_ptr<const PageScanner> scanner_;
  std::unique_ptr<DirtyTracker> tracker_;
  std::vector<BusGuard::Range> watched_;  // of the image, what is mapped from files on disk
};

}  // namespace spore::memory
