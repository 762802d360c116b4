#pragma once

// What a fork does to us: a number by which a child knows that it is one, and objects that a fork must find
// whole.

#include <atomic>
#include <cstdint>

namespace spore {

namespace internal {
extern std::atomic<std::atomic<uint64_t>*> generation;  // where the number stands
uint64_t renew_generation();
}  // namespace internal

// A number, never 0, that is another one in every forked child: what was marked with it before a fork is not
// taken for the child's own.  Two loads.  Thread-safe; safe in a signal handler and in a child of any kind.
//
// How: the number stands in a page that the kernel hands to every child as zeros (MADV_WIPEONFORK,
// Linux 4.14), also to one made by a bare clone() that runs no pthread_atfork handlers, and to its children
// in turn.  0 says "a child, and nobody has asked yet".  Then it is set anew, to one more than a counter that
// lies in ordinary memory and was copied.  The counter is raised before a number can be read from the page,
// and numbers are only read there: so in the copy it is at least as large as every number that any memory of
// this process remembers, and the new number is larger than all of them.  (The copy is a consistent cut
// though other threads go on: the kernel write-protects each page as it copies it, and a thread that faults
// on one waits until the fork is done.)  Of two threads that ask at once both raise the counter, one writes
// the page, and both answer what stands there.
//
// Compare it with what this memory remembers, not between processes: siblings may have the same number, and
// so may a child of a bare clone() and its own child if it never asked before it made that.  A child that
// shares its parent's memory (vfork, CLONE_VM) is no copy and shares the number.
//
// Where the kernel refuses (an older one, an emulator) only the pthread_atfork handlers are left: fork() is
// seen, a bare clone() is not.
inline uint64_t process_generation() {
  const uint64_t number =
      internal::generation.load(std::memory_order_acquire)->load(std::memory_order_relaxed);
  return number != 0 ? number : internal::renew_generation();
}

// False where the kernel refused: process_generation() stays the same in a child of a bare clone().
bool process_generation_sees_bare_clones();

// What is locked before fork() and unlocked after it, so that the child does not inherit it in the middle of
// a change, nor locked by a thread that it does not have.
class ForkAware {
 public:
  virtual void lock_for_fork() = 0;
  // In the parent, and in the child after repair_in_child().
  virtual void unlock_after_fork() = 0;
  // In the child, while locked.  Only the forking thread exists.  Only what is safe there: no allocation, no
  // new thread.
  virtual void repair_in_child() = 0;

 protected:
  ~ForkAware() = default;
};

// An object's place in the list of those that fork() locks.  Make it the object's last member: it enters the
// list when all else is there, and leaves it first.
//
// Order of locks: the list's, then the objects' in order of registration.  So none is taken under the lock of
// an object that registered later, no object is made or destroyed under any, and nobody forks there.  fork()
// only: a bare clone() or _Fork() runs no handlers, and its child has these objects as they happened to be.
// The list is global, as pthread_atfork takes no argument; its handlers stay for the life of the process.
class ForkRegistration {
 public:
  explicit ForkRegistration(ForkAware& object);
  ~ForkRegistration();
  ForkRegistration(const ForkRegistration&) = delete;
  ForkRegistration& operator=(const ForkRegistration&) = delete;

 private:
  friend struct ForkHandlers;

  ForkAware& object_;
  ForkRegistration* previous_ = nullptr;
  ForkRegistration* next_ = nullptr;
};

}  // namespace spore
