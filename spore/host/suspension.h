#pragma once

// How a program that Binaryen's asyncify rewrote is stopped at a read of its standard input, and goes on from
// there, perhaps in another instance.
//
// To stop it, the host function that would wait sets two globals and returns: each guest function on the
// stack then saves its locals to a place in guest memory and returns, too, and at last `_start` does
// (unwinding). To go on, `_start` is called again: each function takes its locals back and calls on, down to
// the same call of the same host function (rewinding), which sets the state to 0 and does what it was asked
// for.
//
// The place is borrowed, at the end of memory: what frames overwrite is kept aside while they are there, or
// is as the slot was opened with, and put back before the guest sees it.  Memory that it did not ask for
// would be seen by its allocator.  Frames that do not fit run into the end of memory: a trap, and nothing
// else overwritten.
//
// Of most programs only those functions are rewritten that were seen on the stack at a wait (watch()): all
// others stay as they were.  So before a program is stopped such that it can go on, the stack is looked at:
// one function that was not rewritten would not return, but go on in the middle.  Where it need not go on, as
// at the end of a request, the guest is ended at the next function that it enters.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/memory/slot.h"
#include "spore/wasm/prepare.h"

namespace spore::host {

class Instance;

// Functions of a module by their indices, ascending; null: all that may be on the stack at a wait.
using StackFunctions = std::shared_ptr<const std::vector<uint32_t>>;

// A program at its read: what has to be known of it beside its state.  Immutable.
struct Suspended {
  StackFunctions functions;  // that were rewritten
  std::string state_global;  // export names of the two globals
  std::string data_global;
  uint32_t frames_at = 0;       // address of {u32 current, u32 end}, then frames
  std::vector<std::byte> lent;  // what the guest has in the place of all these
};

// One run of `_start`, from its beginning to its first wait, or from one wait to the next.  Bound to the
// instance's thread.
class Suspension {
 public:
  enum class Phase : uint8_t {
    kRewinding,  // it is on its way back to its read
    kRunning,
    kUnwinding,  // it waits; freeze() takes it from here once `_start` returned
    kWaiting,    // it waits, and can only be made as new: its frames went over what is its own.  `_start`
                 // returns, or is ended
    kWatched,    // it waited, and was ended
  };

  // Ends a program that was not rewritten at its first wait, by a failure, and remembers its stack().
  static Suspension watch() { return Suspension(); }
  // Stops the program at its first wait such that it can go on.  kUnsupported: asyncify did not rewrite it,
  // or not in a way that is known here; it has not one memory, called "memory".
  static Result<Suspension> at_first_wait(const wasm::PreparedModule& prepared, StackFunctions functions);
  // What of Suspended follows from the module.  kUnsupported, as above.
  static Result<Suspended> names(const wasm::PreparedModule& prepared, StackFunctions functions);
  // Lets an instance that is at its read go on, to its next wait.
  static Suspension from(const Suspended& suspended) { return Suspension(&suspended, false); }
  // The same, and stops it there such that it can go on once more.
  static Suspension to_next_wait(const Suspended& suspended) { return Suspension(&suspended, true); }

  Phase phase() const { return phase_; }
  // The functions that it waited in, ascending: of watch(), and of a wait that was refused as not all of them
  // were rewritten.
  const std::vector<uint32_t>& stack() const { return stack_; }
  // It was too deep for all of it to be known.
  bool stack_unknown() const { return stack_unknown_; }

  // After `_start` came back in kUnwinding.  Leaves the instance at its read: the next call of `_start` goes
  // on from there.
  Result<Suspended> freeze(Instance& instance) const;

  // --- for WASI ---------------------------------------------------------------------------------------

  // At the beginning of each of its functions; `waits`: it may wait for input.
  Status enter(engine::Caller& caller, bool waits) {
    if (phase_ == Phase::kRunning) [[likely]]
      return {};
    return resume(caller, waits);
  }
  // There is no input yet.  Ok: the guest unwinds, and the host function returns at once, with whatever
  // number and without another look at memory.  kUnsupported, which ends the call by kHostError: a host
  // function is on the stack between, or a function that was not rewritten.  kCancelled: it was watched.
  Status wait(engine::Caller& caller);

 private:
  Suspension(const Suspended* suspended, bool freezes)
      : from_(suspended), freezes_(freezes), phase_(Phase::kRewinding) {
    made_.state_global = suspended->state_global;
    made_.data_global = suspended->data_global;
    made_.functions = suspended->functions;
  }
  explicit Suspension(Suspended names) : freezes_(true), made_(std::move(names)) {}
  Suspension() = default;

  Status resume(engine::Caller& caller, bool waits);
  Status look_at_stack(engine::Caller& caller);
  Status borrow(engine::Caller& caller);

  // The guest's own pages in the place that is borrowed while it unwinds; the others are as its slot was
  // opened with.  Pages that nobody wrote to are neither read nor written here: of a place of 1 MiB they are
  // most.
  struct Borrowed {
    const memory::Slot* slot = nullptr;
    uint64_t bytes = 0;
    std::vector<memory::PageRun> pages{};
    std::vector<std::byte> kept{};  // all of them
  };
  void put_back(std::span<std::byte> memory, uint64_t end) const;

  const Suspended* from_ = nullptr;  // null: it begins
  bool freezes_ = false;             // it is to be frozen at its next wait
  Suspended made_;                   // then: where its frames are at first, without what was there
  Borrowed borrowed_;
  std::vector<uint32_t> stack_;
  bool stack_unknown_ = false;
  Phase phase_ = Phase::kRunning;
};

}  // namespace spore::host
