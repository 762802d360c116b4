#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "spore/base/status.h"
#include "spore/memory/slot.h"

namespace spore::cell {

// Runs what it is given, soon, on a thread of the host's.  May be called by any thread.
using Executor = std::function<void(std::function<void()> work)>;

// How many instances a pool keeps and for how long.  0 for a maximum of domains, bytes or invocations is "no
// limit".
struct PoolOptions {
  std::string_view preset = "default";     // what the limits below began with
  uint32_t instances_per_module_max = 10;  // of one module in one trust domain
  uint32_t instances_max = 100;            // in all, those in use included
  uint32_t instances_per_domain_max = 0;
  uint64_t bytes_per_domain_max = 0;  // of memory that is its instances' own; looked at when one is made
  uint64_t idle_expiry_ms = 60'000;   // an instance that was not used for so long goes
  uint32_t warm_up = 0;               // instances made when a module is first used in a domain
  uint64_t wait_timeout_ms = 50;      // for an instance to come free
  uint64_t invocations_max = 0;       // then an instance is retired
  bool retire_on_trap = true;         // else it is reset, like after any call
  uint32_t queue_max = 1'000;         // calls that were submitted and did not begin
  memory::ResetOptions reset;
  // Makes room and gives memory back in a thread of the pool's own; else the host calls clean_up().
  bool housekeeping = true;
  Executor executor;  // of submit()
};

// "default", "embedded", "server", "interactive".  kInvalidArgument names them.
Result<PoolOptions> pool_preset(std::string_view name);

// kInvalidArgument: 0 instances, or more of a part than of the whole.
Status check(const PoolOptions& options);

}  // namespace spore::cell
