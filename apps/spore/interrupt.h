#pragma once

// Ctrl-C ends a call, not the process.

#include <signal.h>

#include <atomic>

#include "spore/engine/store.h"

namespace spore::cli {

// While it lives, SIGINT ends the call that is told of watch().  One at a time.
class InterruptWatch {
 public:
  InterruptWatch() {
    struct sigaction action{};
    action.sa_handler = [](int /*signal*/) { asked.store(true); };
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptWatch() {
    sigaction(SIGINT, &before_, nullptr);
    asked.store(false);
  }
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  static engine::Store::Watch watch() {
    return {.wants_end = [](void* /*data*/) noexcept { return asked.load(); }};
  }

 private:
  static inline std::atomic<bool> asked{false};
  struct sigaction before_{};
};

}  // namespace spore::cli
