#pragma once

// Which pages of a live memory changed between two points in time: what a backup, or a migration, must send.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/memory/page_image.h"
#include "spore/memory/page_scan.h"
#include "spore/memory/write_protector.h"

namespace spore::memory {

enum class TrackingKind : uint8_t {
  kAuto,          // by write protection where the system allows it, else by comparing
  kWriteProtect,  // the first write of each page is a fault that the kernel notes
  kCompare,       // with copies of what was there
};
std::string_view tracking_kind_name(TrackingKind kind);  // "auto", "write_protect", "compare"

struct TrackingOptions {
  TrackingKind kind = TrackingKind::kAuto;
  // What this system has of them; null: it has none.
  std::shared_ptr<const WriteProtector> protector;
  std::shared_ptr<const PageScanner> scanner;  // spares comparing a look at pages that nobody wrote to
};

// A set of pages by number.
class PageSet {
 public:
  size_t pages() const { return pages_; }
  void resize(size_t pages);  // larger
  void add(size_t first, size_t pages);
  void clear();
  bool has(size_t page) const { return (words_[page / 64] >> page % 64 & 1) != 0; }
  size_t count() const;
  std::vector<PageRun> runs() const;

 private:
  std::vector<uint64_t> words_;
  size_t pages_ = 0;
};

// Bound to the thread that uses the memory.  A *point* is a moment from which on changes are noted: start()
// is the first one, each take() or clear() another.  A page is *dirty* if it may have changed since the last
// point.  More pages may be dirty than have changed; none that has changed is missing, if those who change
// memory in ways that neither kind sees say so:
//   - Dropped pages, which go back to what the image has (MADV_DONTNEED).  With a page the kernel forgets
//     that it was written, so whoever drops pages of a tracked memory marks them.  Slot::decommit() does, and
//     nothing else in a slot drops pages.
//   - Pages that somebody pinned before the point and writes to after it, without a fault: direct I/O,
//     buffers registered with io_uring.  Such writes end before a point, or are marked after it.
//   - Memory that grew: grow().
// What the guest writes, host functions, and the kernel for them (read(2) into guest memory), needs no mark.
//
// The bytes of taken runs are read before anybody writes to the memory again.  (By write protection alone it
// may be later: what is written meanwhile is dirty anew.  Compared with a copy, a page that went there and
// back would not be.)
//
// By write protection a tracked memory costs a fault for each page that is written between two points, and
// pages of the image that nobody has used yet are read in one by one.  By comparing it costs a copy of each
// private page, and each point a look at all of those.
//
// After a fork the child's copy of the memory is another one.  By write protection all of it is dirty there,
// and then is watched anew; comparing goes on, with the copies as they were.  The parent's is not disturbed.
class DirtyTracker {
 public:
  explicit DirtyTracker(TrackingOptions options);
  ~DirtyTracker() { stop(); }
  DirtyTracker(const DirtyTracker&) = delete;
  DirtyTracker& operator=(const DirtyTracker&) = delete;

  // The first point, of [base, base + bytes), whole pages that can be written to, mapped privately from
  // `image` and beyond it to zeros.  kUnavailable: kWriteProtect is asked for, and the system does not have
  // it.  kAlreadyExists: somebody tracks some of the range by write protection.  kIo: no memory is left.
  Status start(std::byte* base, size_t bytes, std::shared_ptr<const PageImage> image);
  // The memory is as if it had never been tracked.  To be called before it is unmapped.
  void stop();
  bool is_tracking() const { return base_ != nullptr; }
  // How; kAuto if it does not.
  TrackingKind kind() const { return is_tracking() ? kind_ : TrackingKind::kAuto; }
  size_t bytes() const { return dirty_.pages() * kPageBytes; }
  // Points since start(), which is one.
  uint64_t sequence() const { return sequence_; }
  // Memory of copies: up to that of the tracked memory, if it compares.
  size_t held_bytes() const { return copies_.size() * kPageBytes; }

  // The memory has `bytes` now.  What is new is dirty.
  void grow(size_t bytes);
  // Dirty are the pages that [offset, offset + bytes) touches; what is beyond the memory is nobody's.
  void mark_range(size_t offset, size_t bytes);

  // Since the last point.  kUnavailable: nothing is tracked; else what take() says.
  Result<bool> is_dirty(size_t page);
  Result<size_t> dirty_count();
  Result<std::vector<PageRun>> dirty_runs();

  // The dirty pages, in order, and the next point begins.  kUnavailable: nothing is tracked (a reset of the
  // slot ended it).  kIo: the kernel does not tell; then no point begins, and all that was dirty still is.
  Result<std::vector<PageRun>> take();
  // Pages that were taken and could not be stored are dirty again.  No effect if nothing is tracked.
  void give_back(std::span<const PageRun> runs);
  // The next point begins, and what was dirty is forgotten.  What take() says.
  Status clear();

 private:
  using PageCopy = std::array<std::byte, kPageBytes>;

  Status begin();
  Status arm_first();
  // All that is dirty is in dirty_ then.
  Status look(WriteProtector::Again again);
  Status look_at_protection(WriteProtector::Again again);
  void compare(WriteProtector::Again again);
  void compare_page(size_t page, WriteProtector::Again again);
  const std::byte* was(size_t page) const;

  TrackingOptions options_;
  TrackingKind kind_ = TrackingKind::kAuto;
  std::byte* base_ = nullptr;
  std::shared_ptr<const PageImage> image_;
  uint64_t sequence_ = 0;
  PageSet dirty_;  // found, or marked, since the point
  std::vector<PageRun> runs_;
  size_t armed_bytes_ = 0;  // from here on pages are dirty, and armed at the next look
  // What was at the point in pages that were not as the image has them, or zeros.
  std::map<size_t, std::unique_ptr<PageCopy>> copies_;
};

}  // namespace spore::memory
