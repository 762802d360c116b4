#pragma once

// What `code` and `tiers` share: guests that are built, and one that is called while its code gets better.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "bench/harness.h"
#include "spore/engine/engine.h"

namespace spore::bench {

double ns_of(const std::function<void()>& what);

// Of build/guests; fails if it is not there.
std::vector<uint8_t> built_guest(std::string_view name);

struct Calls {
  struct Reached {
    engine::Tier tier;
    double after_ms;
    size_t calls;  // until then
  };
  std::vector<double> ns;
  std::vector<Reached> reached;
};

// Calls an instance of go_reactor.wasm for so long, and, unless it is to stay in that tier, until it is
// optimised and a while in the new code; for two minutes at most.
Calls call_while_it_climbs(std::optional<engine::Tier> stays, std::chrono::milliseconds duration);

// call_without_promotion, call_with_promotion, and the slowest of each.  Fails if `climbs` did not.
void report_promotion(Report& report, const Calls& stays, const Calls& climbs);

}  // namespace spore::bench
