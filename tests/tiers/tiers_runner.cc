// Runs the same calls of generated modules in each tier, and compares.
//
//   tiers_runner [--flaw NAME] and what differential/runner.h says
//
// With --flaw one tier is wrong in that way (flaw.h).

#include <cstdio>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "apps/spore/args.h"
#include "tests/differential/runner.h"
#include "tests/tiers/tiers_check.h"

namespace spore::tiers_test {
namespace {

struct Options {
  Flaw flaw = Flaw::kNone;
  differential::RunnerOptions runner;
};

Result<Options> parse_options(std::span<const std::string_view> words) {
  cli::Args args = SPORE_TRY(cli::Args::parse(
      words, differential::runner_flags({{"--flaw", "NAME", "what is wrong with one of the tiers"}})));
  const std::string_view name = args.value_of("--flaw").value_or("none");
  const std::optional<Flaw> flaw = flaw_of(name);
  if (!flaw) return Status::invalid_argument("there is no flaw '{}'", name);
  Options options{.flaw = *flaw, .runner = {}};
  options.runner = SPORE_TRY(differential::runner_options(args));
  return options;
}

int run_program(std::span<const std::string_view> words) {
  const Result<Options> options = parse_options(words);
  if (!options.ok()) {
    fmt::print(stderr, "tiers_runner: {}\n", options.status().message());
    return differential::kMisusedExit;
  }
  TiersCheck check(options->flaw);
  return differential::run_cases(check, options->runner, "tiers");
}

}  // namespace
}  // namespace spore::tiers_test

int main(int argc, char** argv) {
  return spore::tiers_test::run_program(std::vector<std::string_view>(argv + 1, argv + argc));
}
