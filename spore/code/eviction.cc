#include "spore/code/eviction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

#include "spore/base/utf8.h"

namespace spore::code {
namespace {

constexpr double kHalfLifeS = 7.0 * 24 * 3600;

constexpr std::array<std::string_view, 4> kNames{"lru", "lfu", "ttl", "adaptive"};

// Clocks of machines that share a directory differ: what was used in the future was used now.
double decay(double since_s, double now_s) { return std::exp2(-std::max(0.0, now_s - since_s) / kHalfLifeS); }

// What goes first has the least.
std::pair<double, double> worth(const EvictionCandidate& candidate, Eviction policy, double now_s) {
  const Usage& usage = candidate.usage;
  switch (policy) {
    case Eviction::kLru: return {usage.last_s, 0};
    case Eviction::kLfu: return {static_cast<double>(usage.uses), usage.last_s};
    case Eviction::kTtl: return {usage.stored_s, usage.last_s};
    case Eviction::kAdaptive: break;
  }
  const auto bytes = static_cast<double>(std::max<uint64_t>(1, candidate.bytes));
  // It was needed once: when it was stored.
  const double uses = (1 + usage.weight) * decay(usage.last_s, now_s);
  return {static_cast<double>(candidate.compile_ns) / bytes * uses, usage.last_s};
}

}  // namespace

std::string_view eviction_name(Eviction policy) { return kNames[static_cast<size_t>(policy)]; }

Result<Eviction> parse_eviction(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name);
  if (found == kNames.end()) {
    return Status::invalid_argument("'{}' is no way to evict (there are: lru, lfu, ttl, adaptive)",
                                    printable(name));
  }
  return static_cast<Eviction>(found - kNames.begin());
}

void add_use(Usage& usage, double now_s) {
  usage.uses++;
  usage.weight = usage.weight * decay(usage.last_s, now_s) + 1;
  usage.last_s = now_s;
}

std::vector<size_t> eviction_order(std::span<const EvictionCandidate> candidates, Eviction policy,
                                   double now_s) {
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // By place at last: of equals, the order is the same each time.
  std::ranges::sort(order, {}, [&](size_t place) {
    const auto [first, second] = worth(candidates[place], policy, now_s);
    return std::tuple(first, second, place);
  });
  return order;
}

}  // namespace spore::code
