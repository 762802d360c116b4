#pragma once

// A module as the interpreter has it.  Internal to engine/.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "spore/base/fork.h"
#include "spore/base/status.h"
#include "spore/engine/interpreter.h"

namespace spore::engine {

// Shared by the stores that run it, on any threads.  Functions are translated when they are first called, and
// stay so as long as this lives.
//
// fork(): the interpreter has locks of its own, spinning ones, which it holds for some instructions at a time
// while it is called.  A child would inherit one that another thread held in that moment, for ever.  So it is
// counted who is inside; a module that somebody was inside of at the fork is lost to the child, with all of
// its stores: they say so.  Whoever holds no lock of it cannot be told from who does, and there is no waiting
// for them: calls may last.
class InterpretedCode final : private ForkAware {
 public:
  // kInvalidModule; kUnsupported: the interpreter lacks something that it needs.
  static Result<std::shared_ptr<const InterpretedCode>> create(std::span<const uint8_t> wasm,
                                                               size_t stack_bytes);
  ~InterpretedCode();
  InterpretedCode(const InterpretedCode&) = delete;
  InterpretedCode& operator=(const InterpretedCode&) = delete;

  const InterpretedModule* handle() const { return module_; }

  // For the time of anything that is asked of the interpreter.  Not usable: it was lost by a fork.
  class Inside {
   public:
    explicit Inside(const InterpretedCode& code) : code_(code), usable_(code.enter()) {}
    ~Inside() {
      if (usable_) code_.leave();
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    explicit operator bool() const { return usable_; }

   private:
    const InterpretedCode& code_;
    bool usable_;
  };
  static Status lost();
  bool is_lost() const;

 private:
  explicit InterpretedCode(InterpretedModule* module) : module_(module) {}
  bool enter() const;
  void leave() const;

  void lock_for_fork() override { mutex_.lock(); }
  void unlock_after_fork() override { mutex_.unlock(); }
  void repair_in_child() override { lost_ = lost_ || inside_ > 0; }

  InterpretedModule* module_;
  mutable std::mutex mutex_;  // held for a few instructions
  mutable uint32_t inside_ = 0;
  bool lost_ = false;
  const ForkRegistration registration_{*this};
};

// What went wrong, if it was not a trap: the interpreter's words.
Status interpreter_error(const InterpretedFailure& failure);

}  // namespace spore::engine
