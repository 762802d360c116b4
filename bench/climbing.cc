#include "bench/climbing.h"

#include <filesystem>

#include <fmt/format.h>

#include "spore/base/fd.h"
#include "spore/spore.h"

namespace spore::bench {
namespace {

using Clock = std::chrono::steady_clock;
using engine::Tier;

}  // namespace

double ns_of(const std::function<void()>& what) {
  const auto begin = Clock::now();
  what();
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

std::vector<uint8_t> built_guest(std::string_view name) {
  const std::filesystem::path file = std::filesystem::path(SPORE_SOURCE_DIR) / "build/guests" / name;
  constexpr size_t kBytesMax = size_t{64} << 20;
  Result<std::vector<uint8_t>> bytes = read_file(file, kBytesMax);
  if (!bytes.ok()) fail(fmt::format("{}: tools/guests.sh builds it", bytes.status().message()));
  return std::move(bytes).value();
}

Calls call_while_it_climbs(std::optional<Tier> stays, std::chrono::milliseconds duration) {
  RuntimeOptions options;
  options.tier = stays;
  const std::unique_ptr<Runtime> runtime = Runtime::create(std::move(options)).value();
  const auto module = runtime->load_module("go", built_guest("go_reactor.wasm")).value();
  const Instance instance = runtime->instantiate(*module).value();
  const auto primes = instance.function<int32_t(int32_t)>("primes").value();
  constexpr int32_t kBelow = 2000;
  constexpr int32_t kPrimes = 303;
  constexpr std::chrono::seconds kAfter{2};
  constexpr std::chrono::seconds kPatience{120};
  Calls calls;
  const auto begin = Clock::now();
  auto moved = begin;
  const auto enough = [&] {
    const auto now = Clock::now();
    if (now - begin > kPatience) return true;
    if (now - begin < duration) return false;
    if (stays) return true;
    return !calls.reached.empty() && calls.reached.back().tier == Tier::kOptimised && now - moved >= kAfter;
  };
  while (!enough()) {
    calls.ns.push_back(ns_of([&] {
      if (primes(kBelow).value() != kPrimes) fail("a wrong answer");
    }));
    const Tier tier = instance.code().engine().options().tier;
    if (!calls.reached.empty() && calls.reached.back().tier == tier) continue;
    moved = Clock::now();
    const double after_ms = std::chrono::duration<double, std::milli>(moved - begin).count();
    calls.reached.push_back({tier, after_ms, calls.ns.size()});
  }
  return calls;
}

void report_promotion(Report& report, const Calls& stays, const Calls& climbs) {
  constexpr double kNsInUs = 1e3;
  if (climbs.reached.back().tier != Tier::kOptimised) fail("it was not promoted");
  report.add({figure_of("call_without_promotion", stays.ns), figure_of("call_with_promotion", climbs.ns)});
  report.top("slowest_call_us", report.figure("call_with_promotion").worst_ns / kNsInUs);
  report.top("slowest_call_without_us", report.figure("call_without_promotion").worst_ns / kNsInUs);
}

}  // namespace spore::bench
