#pragma once

// A descriptor that shows this process, and must not show its parent.

#include <atomic>
#include <cstdint>

#include "spore/base/status.h"

namespace spore {

// A descriptor that each process opens for itself, when it first needs it: what a forked child inherits still
// is of its parent (/proc/self/pagemap, a userfaultfd).  Thread-safe.
class ProcessFd {
 public:
  using Open = Result<int> (*)();  // the number becomes ours
  explicit ProcessFd(Open open) : open_(open) {}
  ~ProcessFd();
  ProcessFd(const ProcessFd&) = delete;
  ProcessFd& operator=(const ProcessFd&) = delete;

  // What `open` says.
  Result<int> get() const;

 private:
  Open open_;
  // The process's generation and a descriptor, in one word, so that they change together.
  mutable std::atomic<uint64_t> opened_{0};
};

}  // namespace spore
