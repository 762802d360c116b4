// Compares cells with instances that never slept, history after history.
//
//   cells_runner and what differential/runner.h says

#include <cstdio>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "apps/spore/args.h"
#include "tests/cells/cells_check.h"
#include "tests/differential/runner.h"

namespace spore::cells_test {
namespace {

Result<differential::RunnerOptions> parse_options(std::span<const std::string_view> words) {
  cli::Args args = SPORE_TRY(cli::Args::parse(words, differential::runner_flags({})));
  return differential::runner_options(args);
}

int run_program(std::span<const std::string_view> words) {
  const Result<differential::RunnerOptions> options = parse_options(words);
  if (!options.ok()) {
    fmt::print(stderr, "cells_runner: {}\n", options.status().message());
    return differential::kMisusedExit;
  }
  CellsCheck check;
  return differential::run_cases(check, options.value(), "cells");
}

}  // namespace
}  // namespace spore::cells_test

int main(int argc, char** argv) {
  return spore::cells_test::run_program(std::vector<std::string_view>(argv + 1, argv + argc));
}
