// Compares instances that were reset with new ones, module after module.
//
//   reset_runner [--tier baseline|optimised] [--mapped-faults] and what differential/runner.h says
//
// With --mapped-faults only where page faults are counted without a system call; else it exits with 77.

#include <cstdio>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "apps/spore/args.h"
#include "spore/memory/fault_counter.h"
#include "tests/differential/runner.h"
#include "tests/reset/reset_check.h"

namespace spore::reset_test {
namespace {

using engine::Tier;

constexpr int kSkippedExit = 77;

struct Options {
  Tier tier = Tier::kBaseline;
  bool mapped_faults = false;
  differential::RunnerOptions runner;
};

Result<Options> parse_options(std::span<const std::string_view> words) {
  cli::Args args = SPORE_TRY(cli::Args::parse(
      words, differential::runner_flags(
                 {{"--tier", "TIER", "interpreter, baseline or optimised"},
                  {"--mapped-faults", "", "only where page faults are counted without a system call"}})));
  const std::string_view name = args.value_of("--tier").value_or("baseline");
  const std::optional<Tier> tier = engine::tier_of_name(name);
  if (!tier || tier == Tier::kPeak) {
    return Status::invalid_argument("--tier is '{}', expected interpreter, baseline or optimised", name);
  }
  Options options;
  options.tier = *tier;
  options.mapped_faults = args.has("--mapped-faults");
  options.runner = SPORE_TRY(differential::runner_options(args));
  return options;
}

int run_program(std::span<const std::string_view> words) {
  const Result<Options> options = parse_options(words);
  if (!options.ok()) {
    fmt::print(stderr, "reset_runner: {}\n", options.status().message());
    return differential::kMisusedExit;
  }
  using memory::ThreadFaults;
  if (options->mapped_faults && !ThreadFaults::here().mark(memory::FaultCounterKind::kMapped).mapped()) {
    fmt::print("skipped: this system lets no process map a counter of page faults\n");
    return kSkippedExit;
  }
  ResetCheck check(options->tier);
  return differential::run_cases(check, options->runner,
                                 fmt::format("reset-{}", engine::tier_name(options->tier)));
}

}  // namespace
}  // namespace spore::reset_test

int main(int argc, char** argv) {
  return spore::reset_test::run_program(std::vector<std::string_view>(argv + 1, argv + argc));
}
