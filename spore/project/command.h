#pragma once

// Programs of others, that build a project.  What they are given is as trusted as whoever called us.

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/status.h"

namespace spore::project {

struct Command {
  std::vector<std::string> words;  // the first is looked for as a shell does
  std::filesystem::path folder;    // to run in
  // Added to the environment, or instead of what is there.
  std::vector<std::pair<std::string, std::string>> environment;
};

struct CommandEnd {
  int exit_code = 0;   // 128 and the signal's number if it was killed, as shells say
  std::string output;  // both streams, as they came; the last kOutputBytesMax bytes
};
inline constexpr size_t kOutputBytesMax = size_t{1} << 20;

// Waits for its end.  Its input is empty.  kNotFound: no such program; kIo.
Result<CommandEnd> run(const Command& command);
// As above; kUnavailable: it failed.  The message names it, the detail is what it wrote.
Result<std::string> run_well(const Command& command);

// By PATH; empty: there is none.
std::filesystem::path find_program(std::string_view name);

}  // namespace spore::project
