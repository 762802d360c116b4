#pragma once

// Which pages were written since a moment, told by write protection that nobody has to handle.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "spore/base/process_fd.h"
#include "spore/base/status.h"
#include "spore/memory/page_scan.h"

namespace spore::memory {

// Asks the kernel to write-protect pages and to take the protection off by itself at the first write of each
// (a userfaultfd in asynchronous mode, Linux 6.7): one page fault of some 0.7 us, no signal, no handler.
// Which pages have lost it, PAGEMAP_SCAN tells.  Writes by the kernel, as of read(2), count as the guest's
// own. Needs no privilege: it handles no faults, so it asks for those of user mode only.
//
// Thread-safe.  Works in forked children, too, where nothing is armed at first: the kernel arms nobody's
// copy.
class WriteProtector {
 public:
  // kUnavailable: this kernel, or a filter, does not let us.
  static Result<std::unique_ptr<WriteProtector>> create();
  WriteProtector(const WriteProtector&) = delete;
  WriteProtector& operator=(const WriteProtector&) = delete;

  // From now on written() tells what is written to these pages, private mappings all of them; what is armed
  // already is armed anew.  Makes the tables of pages that were never used: 2 MiB of them for 1 GiB.  kIo: no
  // memory, or another userfaultfd has some of them; then none is armed.
  Status arm(const std::byte* base, size_t bytes) const;
  // No page of the range is armed any more, nor looks as if it were.
  void disarm(const std::byte* base, size_t bytes) const;
  // Some page of the range is armed.  kIo.
  Result<bool> is_armed(const std::byte* base, size_t bytes) const;

  enum class Again : bool { kNo, kYes };
  // The pages of an armed range that were written since they were armed, in order, appended to `runs`.
  // kYes: each is armed again at the moment when it is looked at, so that a write, also one by another thread
  // meanwhile, is told of now or the next time.
  // Told of, though nobody wrote to it: what was dropped (MADV_DONTNEED) and read since.  Not told of: what
  // was dropped and not used since, though it has other bytes now.
  // kIo: some of the range is not armed, as it was mapped anew.  With kYes some pages may be armed again that
  // `runs` does not have then: all must be taken as written.
  Status written(const std::byte* base, size_t bytes, Again again, std::vector<PageRun>& runs) const;

 private:
  WriteProtector();
  Status check() const;

  ProcessFd userfault_;
  ProcessFd pagemap_;
};

}  // namespace spore::memory
