#pragma once

#include <pthread.h>
#include <signal.h>

namespace spore {

// This thread takes no signal as long as it lives, and threads that begin meanwhile never do: signals are the
// host's, and not to be handled on threads of ours.  But SIGBUS, which an access to a file that was cut short
// brings about: while it is blocked the kernel ends a process for it (memory::BusGuard handles it).
class SignalBlock {
 public:
  SignalBlock() {
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalBlock() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;
  SignalBlock& operator=(const SignalBlock&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace spore
