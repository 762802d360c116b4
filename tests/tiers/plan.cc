#include "tests/tiers/plan.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>

#include <fmt/format.h>

namespace spore::tiers_test {

using differential::Call;
using differential::Random;
using engine::RawValue;
using engine::ValType;

namespace {

constexpr uint64_t kCallsMin = 4;
constexpr uint64_t kCallsMax = 12;

// Where a conversion to an integer begins to overflow, where a number has no fraction any more, where it
// rounds to even; the ends of the range; what is no number, with and without a payload.
template <typename Float, typename Bits>
Float draw_edge(Random& random) {
  using Limits = std::numeric_limits<Float>;
  constexpr Float kWhole = 1 / Limits::epsilon();
  const Float edges[] = {0,
                         Float{0.5},
                         Float{1.5},
                         Float{2.5},
                         1,
                         kWhole,
                         kWhole / 2 + Float{0.5},
                         Float{2147483647.0},
                         Float{2147483648.0},
                         Float{4294967296.0},
                         Float{9223372036854775808.0},
                         Float{18446744073709551616.0},
                         Limits::min(),
                         Limits::denorm_min(),
                         Limits::max(),
                         Limits::infinity()};
  constexpr Bits kSign = Bits{1} << (sizeof(Bits) * 8 - 1);
  constexpr Bits kFraction = (Bits{1} << (Limits::digits - 1)) - 1;
  Bits bits = std::bit_cast<Bits>(edges[random.below(std::size(edges))]);
  // A payload makes a NaN of infinity, quiet or not; zero leaves it as it is.
  if (random.chance(1, 3)) bits = std::bit_cast<Bits>(Limits::infinity()) | (random.bits() & kFraction);
  if (random.chance(1, 2)) bits |= kSign;
  return std::bit_cast<Float>(bits);
}

template <typename Float, typename Bits>
void draw_edges(std::span<Bits> lanes, Random& random) {
  for (Bits& lane : lanes) lane = std::bit_cast<Bits>(draw_edge<Float, Bits>(random));
}

void draw_edges(ValType type, RawValue& value, Random& random) {
  std::array<uint32_t, 4> singles{};
  std::array<uint64_t, 2> doubles{};
  switch (type) {
    case ValType::kF32:
      draw_edges<float, uint32_t>(std::span(singles).first(1), random);
      std::memcpy(&value, singles.data(), sizeof(uint32_t));
      break;
    case ValType::kF64:
      draw_edges<double, uint64_t>(std::span(doubles).first(1), random);
      std::memcpy(&value, doubles.data(), sizeof(uint64_t));
      break;
    case ValType::kV128:
      if (random.chance(1, 2)) {
        draw_edges<float, uint32_t>(singles, random);
        std::memcpy(&value, singles.data(), sizeof(singles));
      } else {
        draw_edges<double, uint64_t>(doubles, random);
        std::memcpy(&value, doubles.data(), sizeof(doubles));
      }
      break;
    default: break;
  }
}

}  // namespace

Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, Random& random) {
  Plan plan;
  plan.calls = differential::draw_calls(functions, random.between(kCallsMin, kCallsMax), random);
  plan.hand_over_at = random.between(1, plan.calls.size() - 1);
  for (Call& call : plan.calls) {
    for (size_t i = 0; i < call.args.size(); i++) {
      if (random.chance(2, 3)) draw_edges(call.type.params[i], call.args[i], random);
    }
  }
  return plan;
}

std::vector<Plan> smaller_plans(const Plan& plan) {
  std::vector<Plan> plans;
  for (size_t i = 0; i < plan.calls.size(); i++) {
    Plan& smaller = plans.emplace_back(plan);
    smaller.calls.erase(smaller.calls.begin() + static_cast<std::ptrdiff_t>(i));
    if (i < plan.hand_over_at) smaller.hand_over_at--;
  }
  return plans;
}

std::string text(const Plan& plan) {
  const auto middle =
      plan.calls.begin() + static_cast<std::ptrdiff_t>(std::min(plan.hand_over_at, plan.calls.size()));
  return fmt::format("  called: {}\n  then, after the hand-over: {}\n",
                     differential::text(std::vector<Call>(plan.calls.begin(), middle)),
                     differential::text(std::vector<Call>(middle, plan.calls.end())));
}

}  // namespace spore::tiers_test
