#include "apps/spore-compile/run_program.h"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "apps/spore-compile/confine.h"
#include "spore/code/helper_protocol.h"

namespace spore::helper {
namespace {

constexpr size_t kWordsBeforeProgram = 5;
constexpr const char* kCores = "BINARYEN_CORES";

Result<uint64_t> number(std::string_view word) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error == std::errc() && end == word.data() + word.size()) return value;
  return Status::invalid_argument(
      "--run takes CPU_S MEMORY_BYTES FILE_BYTES NICENESS landlock|no-landlock "
      "PROGRAM [ARGUMENT...], and '{}' is no number",
      word);
}

Status lower_priority(int niceness) {
  if (::getpriority(PRIO_PROCESS, 0) >= niceness || ::setpriority(PRIO_PROCESS, 0, niceness) == 0) return {};
  return Status::unavailable("it cannot lower its priority: {}", std::strerror(errno));
}

// Whether who started this has gone before it could be tied to this one's end: then nobody has the other end
// of standard error any more.
bool is_alone() {
  pollfd error{.fd = STDERR_FILENO, .events = 0, .revents = 0};
  return ::poll(&error, 1, 0) > 0 && (error.revents & POLLERR) != 0;
}

// Returns only if that fails.
Status run(std::span<char*> words) {
  if (words.size() <= kWordsBeforeProgram) return Status::invalid_argument("--run lacks words");
  std::array<uint64_t, kWordsBeforeProgram - 1> numbers{};
  for (size_t i = 0; i < numbers.size(); i++) numbers[i] = SPORE_TRY(number(words[i]));
  const std::string_view landlock = words[kWordsBeforeProgram - 1];
  if (landlock != "landlock" && landlock != "no-landlock") {
    return Status::invalid_argument("--run: 'landlock' or 'no-landlock', not '{}'", landlock);
  }
  const char* program = words[kWordsBeforeProgram];

  const char* cores = std::getenv(kCores);
  std::string setting = fmt::format("{}={}", kCores, cores == nullptr ? "1" : cores);
  const std::array<char*, 2> environment{setting.data(), nullptr};
  std::vector<char*> arguments(words.begin() + kWordsBeforeProgram, words.end());
  arguments.push_back(nullptr);

  SPORE_TRY(stand_alone(STDERR_FILENO));
  if (is_alone()) return Status::cancelled("nobody waits for it");
  SPORE_TRY(lower_priority(static_cast<int>(numbers[3])));
  if (landlock == "landlock") SPORE_TRY(hide_files(program));
  SPORE_TRY(confine_program(
      {.memory_bytes_max = numbers[1], .cpu_s_max = numbers[0], .file_bytes_max = numbers[2]}));
  ::execve(program, arguments.data(), environment.data());
  return Status::unavailable("'{}' cannot be started: {}", program, std::strerror(errno));
}

}  // namespace

void run_program(std::span<char*> words) {
  const Status status = run(words);
  std::fputs(fmt::format("{}{}\n", code::kNotRunPrefix, status.message()).c_str(), stderr);
  ::_exit(code::kNotRun);  // confined: nothing of what a process does at its end may fail
}

}  // namespace spore::helper
