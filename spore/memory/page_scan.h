#pragma once

// Which pages of a private mapping were written: those that are its own.

#include <cstddef>
#include <memory>
#include <vector>

#include "spore/base/process_fd.h"
#include "spore/base/status.h"

namespace spore::memory {

inline constexpr size_t kPageBytes = 4096;  // create() refuses other machines

struct PageRun {
  size_t offset = 0;  // both multiples of kPageBytes
  size_t bytes = 0;
  bool operator==(const PageRun&) const = default;
};

// Adds to ascending runs what lies behind them: to the last one if that ends there.
void append_run(std::vector<PageRun>& runs, size_t offset, size_t bytes);

// Asks the kernel (PAGEMAP_SCAN, Linux 6.7).  Thread-safe.  Works in forked children, too: what is open there
// still shows the parent's memory, so it is opened anew.
class PageScanner {
 public:
  // kUnavailable: this kernel, or a filter, does not let us.
  static Result<std::unique_ptr<PageScanner>> create();
  PageScanner(const PageScanner&) = delete;
  PageScanner& operator=(const PageScanner&) = delete;

  // The pages of [base, base + bytes) that are private to this process, in order, appended to `runs`: in
  // memory or swapped out, and not of the mapped file.  From `zeros_from` on, where nothing but zeros is
  // mapped, the shared zero page is left out, too.  Not below: there KSM may have put it in the place of a
  // page that was zeroed over an image.
  Status private_pages(const std::byte* base, size_t bytes, size_t zeros_from,
                       std::vector<PageRun>& runs) const;
  // Those of any kind that this process has used there: what it read of a mapped file, with up to 15 pages
  // around each that the kernel maps along, and what is private.
  Status used_pages(const std::byte* base, size_t bytes, std::vector<PageRun>& runs) const;

 private:
  PageScanner();

  ProcessFd pagemap_;
};

}  // namespace spore::memory
