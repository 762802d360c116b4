#pragma once

#include <cstddef>
#include <cstdint>

#include "spore/base/status.h"

namespace spore::cell {

// When what a call did becomes the cell's state.  What comes after that is lost if a call fails, and is what
// a fork or a snapshot does not see.
enum class Commit : uint8_t {
  kEveryCall,  // a call that fails leaves the cell as it was before it
  kOnSleep,    // a call that fails leaves it as it was when it slept last: cheaper where much is changed
};
std::string_view commit_name(Commit commit);  // "every_call", "on_sleep"

struct CellsOptions {
  uint64_t cells_max = 10'000'000;
  // Awake between two calls, of all kinds; a kind has at most half of the instances that the pool gives it.
  uint32_t awake_max = 64;
  uint64_t awake_bytes_max = uint64_t{1} << 30;  // of memory that is their own
  // A cell that was not called for so long sleeps.  0: at the end of its call.
  uint64_t idle_sleep_ms = 1'000;
  // All idle cells sleep while the system has less memory to give than that.  0: never for that.
  uint64_t available_bytes_min = uint64_t{256} << 20;
  uint32_t queue_max = 100;            // calls that wait for one cell
  uint64_t queue_timeout_ms = 10'000;  // how long one waits
  uint64_t delta_bytes_max = uint64_t{64} << 20;
  Commit commit = Commit::kEveryCall;
  // Sleep is by itself, in a thread of its own; else the host calls clean_up().
  bool housekeeping = true;
};

// kInvalidArgument: a maximum of 0 where something is needed.
Status check(const CellsOptions& options);

}  // namespace spore::cell
