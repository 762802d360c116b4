#include "spore/project/command.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "spore/base/fd.h"

namespace spore::project {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::string> all;
  for (const auto& [name, value] : more) all.push_back(fmt::format("{}={}", name, value));
  for (char** entry = environ; *entry != nullptr; entry++) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    const bool replaced = std::ranges::any_of(more, [&](const auto& pair) { return pair.first == name; });
    if (!replaced) all.emplace_back(text);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

class SpawnActions {
 public:
  SpawnActions() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

Result<std::string> read_all(int fd) {
  std::string all;
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Status::from_errno(errno, "reading what a program writes");
    if (count == 0) break;
    all.append(buffer.data(), static_cast<size_t>(count));
    if (all.size() > 2 * kOutputBytesMax) all.erase(0, all.size() - kOutputBytesMax);
  }
  if (all.size() > kOutputBytesMax) all.erase(0, all.size() - kOutputBytesMax);
  return all;
}

}  // namespace

fs::path find_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    const fs::path file = fs::path(folder) / name;
    std::error_code ignored;  // then it is not there
    if (fs::is_regular_file(file, ignored) && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

Result<CommandEnd> run(const Command& command) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Status::from_errno(errno, "pipe");
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  SpawnActions actions;
  posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(actions.get(), writing.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(actions.get(), writing.get(), STDERR_FILENO);
  if (!command.folder.empty()) posix_spawn_file_actions_addchdir_np(actions.get(), command.folder.c_str());
  std::vector<std::string> words = command.words;
  std::vector<std::string> environment = environment_with(command.environment);
  pid_t pid = -1;
  const int failed = ::posix_spawnp(&pid, words[0].c_str(), actions.get(), nullptr, pointers(words).data(),
                                    pointers(environment).data());
  if (failed != 0) return Status::from_errno(failed, words[0]);
  writing = UniqueFd();
  Result<std::string> output = read_all(reading.get());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!output.ok()) return std::move(output).status();
  constexpr int kSignalled = 128;
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
  return CommandEnd{.exit_code = exit_code, .output = std::move(output).value()};
}

Result<std::string> run_well(const Command& command) {
  CommandEnd end = SPORE_TRY(run(command));
  if (end.exit_code == 0) return std::move(end.output);
  std::string line;
  for (const std::string& word : command.words) line += fmt::format("{}{}", line.empty() ? "" : " ", word);
  return Status::unavailable("'{}' ended with {}", line, end.exit_code).with_detail(std::move(end.output));
}

}  // namespace spore::project
