#include "spore/code/start.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace spore::code {

using engine::Tier;

namespace {

// By tier.  Nanoseconds until a byte of code is ready, on one thread, and how many times as long as optimised
// code it takes to run: of CPython, Ruby and QuickJS, which differ by a third.
struct Cost {
  double ready_ns;
  double slowdown;
};
constexpr std::array<Cost, 4> kCosts{Cost{2, 14}, Cost{90, 2}, Cost{800, 1}, Cost{8000, 1}};

// Of what was never run: the initialisers of language runtimes take some nanoseconds for each byte of their
// code.
constexpr double kRunNsPerByte = 5;
constexpr double kNsInMs = 1e6;

const Cost& cost_of(Tier tier) { return kCosts[static_cast<size_t>(tier)]; }

}  // namespace

uint64_t scaled_ms(uint64_t ms, Tier from, Tier to) {
  return static_cast<uint64_t>(static_cast<double>(ms) * cost_of(to).slowdown / cost_of(from).slowdown);
}

StartChoice choose_start(const StartFacts& facts) {
  if (facts.has_optimised) return {Tier::kOptimised, "it is there"};
  const auto bytes = static_cast<double>(facts.code_bytes);
  // Of one call that is short and of no concern, what has to be made is all that counts.
  double run_ms = 0;
  if (facts.one_call) {
    run_ms = facts.earlier ? static_cast<double>(facts.earlier->ms) / cost_of(facts.earlier->tier).slowdown
                           : bytes * kRunNsPerByte / kNsInMs;
  }
  struct Way {
    Tier tier;
    bool possible;
    bool there;
  };
  const std::array ways{Way{Tier::kInterpreter, facts.may_interpret, false},
                        Way{Tier::kBaseline, facts.baseline_possible, facts.has_baseline},
                        Way{Tier::kOptimised, true, false}};
  StartChoice best{Tier::kOptimised, ""};
  double best_ms = -1;
  for (const Way& way : ways) {
    if (!way.possible) continue;
    const Cost& cost = cost_of(way.tier);
    const double ready = way.there ? 0 : bytes * cost.ready_ns / kNsInMs;
    const double ms = ready + run_ms * cost.slowdown;
    if (best_ms >= 0 && ms >= best_ms) continue;
    best_ms = ms;
    best = {way.tier, facts.one_call
                          ? fmt::format("{:.0f} ms until it runs, then {:.0f} ms {}", ready,
                                        run_ms * cost.slowdown, facts.earlier ? "as before" : "by its size")
                          : "there soonest"};
  }
  return best;
}

}  // namespace spore::code
