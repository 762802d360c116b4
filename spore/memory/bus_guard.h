#pragma once

// Memory that is mapped from files, and what becomes of it when such a file is cut short.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "spore/base/status.h"

namespace spore::memory {

namespace internal {
struct WatchedRange;
}  // namespace internal

// A file that is mapped can be truncated by others, or its disk can fail.  The next access to what is not
// there any more is a SIGBUS: in a guest's code, in a copy that Wasmtime makes for it, or in ours.  It must
// not end the process.  So ranges that are mapped from files are watched: a trap handler maps zeros in the
// place of the whole range, says in the range's flag that it is broken, and lets the access go on.
//
// Nobody may believe such zeros: whoever used the memory asks the flag before he uses what came of it.  The
// flag is set before the zeros can be seen, so to ask once, afterwards, is enough.  (A system call that is
// given such memory fails with EFAULT instead, with no signal and no flag.)
//
// The range goes as a whole, though one page would do, as each page is a mapping of its own: a guest that
// reads every other page of a large memory would use up the 65,530 that a process may have, and then end it.
//
// The trap handler.  It is installed with the first range and stays.  What is not an access to a watched
// range it passes on to the one that was there before (ASan has one), with that one's mask and flags, or does
// what the system would have done.  Wasmtime's are for other signals on Linux.  Whoever installs one for
// SIGBUS later must pass on what is not his.  It is on the alternate stack if the thread has one, as Wasmtime
// gives to each that runs guests: the guest's own may be all but used up.  It needs SIGBUS not to be blocked
// (SignalBlock leaves it): the kernel ends a process that faults while it is.
//
// Why a handler can run at any moment, on any thread, without a lock:
//   - The ranges stand in a list that only gets longer, in entries that are used again.  Each has a version,
//     odd while it changes; the handler takes what it reads for true only between two equal even ones.  All
//     is atomic, and in one order (seq_cst: this is rare).
//   - The entry that it finds does not go away meanwhile, nor does the flag, nor the mapping: the thread
//     that faulted is in the middle of an access, so the owner of the range, a slot or an image, is in use,
//     and goes only when it is not.  That thread cannot be changing an entry: this touches no such memory.
//   - So no address can be given to somebody else between the fault and the mapping of zeros, either.  If two
//     threads fault in one range, it is replaced twice: what one of them wrote in between is zeros again, in
//     a memory that is broken in any case.
//   - It calls mmap() past the library, so past a sanitizer's interceptor, and keeps errno.
// After a fork the child has the same ranges at the same addresses, and flags of its own.  An entry that
// another thread was changing stays odd in the child; it is passed over, and never used again.
class BusGuard {
 public:
  // A watched range.  Move-only; empty at first.
  class Range {
   public:
    Range() = default;
    Range(Range&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    Range& operator=(Range&& other) noexcept {
      std::swap(entry_, other.entry_);
      return *this;
    }
    ~Range() { end(); }
    // Before the memory is unmapped.  Nobody uses it any more.
    void end();

   private:
    friend class BusGuard;
    explicit Range(internal::WatchedRange* entry) : entry_(entry) {}

    internal::WatchedRange* entry_ = nullptr;
  };

  struct Memory {
    const std::byte* base = nullptr;
    size_t bytes = 0;    // whole pages
    int protection = 0;  // PROT_*, of the zeros
  };
  // From now on `broken` tells whether the file lacked some of the memory when it was used.  Both outlive the
  // Range.  kUnavailable: the system refuses a trap handler.
  static Result<Range> watch(const Memory& memory, std::atomic<bool>& broken);
  // Ranges now, and how many the list has room for: the most that there were at once, and some.
  static size_t watched();
  static size_t room();
};

}  // namespace spore::memory
