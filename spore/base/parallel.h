#pragma once

// Work in steps that several threads share, for as long as it takes.

#include <cstdint>
#include <functional>

#include "spore/base/status.h"

namespace spore {

// How one thread does steps, by their numbers: it may hold what is that thread's own, such as a buffer.
using Step = std::function<Status(uint64_t number)>;

struct ParallelOptions {
  unsigned threads_max = 4;        // the caller's among them; 1: no other
  uint64_t steps_per_thread = 4;   // for fewer a further thread costs more than it saves
  std::function<void()> on_steps;  // called on the caller's thread, after its steps and at the end
};

// Does steps 0 to `count` - 1, each once, in about this order: on the caller's thread, and on others for
// which it makes a Step each.  No more threads than there are processors; where none is to be had the others
// do it all.  After a failure no further step begins; that failure is returned.  kLimitExceeded: no memory is
// left. The further threads take no signals, and have ended when this returns: a fork in another thread finds
// nothing of them but what the steps themselves hold.
Status run_steps(uint64_t count, const ParallelOptions& options, const std::function<Step()>& make_step);

}  // namespace spore
