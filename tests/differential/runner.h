#pragma once

// A differential test as a program: case after case, until one is found that is wrong.
//
//   --first N --count N [--out DIR] [--until-mismatch]
//   FILE...                    the bytes of a case each
//   --write FILE --first N     the bytes of case N
//
// At the first mismatch it says how to get there, and writes the case and its module to DIR.  Without one it
// holds that enough was tried.  With --until-mismatch a mismatch is what is expected.
//
// Exit: 0 as expected, 1 too little was tried, or no mismatch where one is expected; 2 misused; 3 a mismatch.

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "apps/spore/args.h"
#include "spore/base/status.h"
#include "tests/differential/check.h"

namespace spore::differential {

inline constexpr int kMisusedExit = 2;

struct RunnerOptions {
  uint64_t first = 0;
  uint64_t count = 0;
  std::filesystem::path out;
  std::filesystem::path write;
  bool until_mismatch = false;
  std::vector<std::filesystem::path> files;
};

// The flags above, and a test's own.
std::vector<cli::Flag> runner_flags(std::initializer_list<cli::Flag> own);
// kInvalidArgument.
Result<RunnerOptions> runner_options(cli::Args& args);

// The exit code.  `name`: of the files that are written, before the number of the case.
int run_cases(Check& check, const RunnerOptions& options, std::string_view name);

}  // namespace spore::differential
