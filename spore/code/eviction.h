#pragma once

// Which cached files go first.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore::code {

enum class Eviction : uint8_t {
  kLru,  // the one that was not used for longest
  kLfu,  // the one that was used least often; of equals as lru
  kTtl,  // the oldest; and whatever was stored more than ttl_s ago, if there is room or not
  // The one that saves least: compile time for each byte that it takes up, times how often it was used, where
  // a use counts half as much each week.  That is greedy-dual-size-frequency; but there a number that all
  // share rises with each eviction, and here time takes its place, as processes share nothing but files.
  kAdaptive,
};
std::string_view eviction_name(Eviction policy);
// kInvalidArgument names them.
Result<Eviction> parse_eviction(std::string_view name);

// Uses of one file.  Seconds since 1970.
struct Usage {
  uint64_t uses = 0;
  double weight = 0;    // uses, each halved for every week that it was ago when the last one was counted
  double last_s = 0;    // the last use, or when it was stored
  double stored_s = 0;  // when
};
void add_use(Usage& usage, double now_s);

struct EvictionCandidate {
  Usage usage;
  uint64_t bytes = 0;
  uint64_t compile_ns = 0;
};
// Places in `candidates`, the first to go first.
std::vector<size_t> eviction_order(std::span<const EvictionCandidate> candidates, Eviction policy,
                                   double now_s);

}  // namespace spore::code
