#pragma once

// Programs, run as a shell would: arguments, environment, standard streams and exit code.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/fd.h"

namespace spore::test {

// A folder of this test's own, gone when it ends.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "spore_test.XXXXXX").native();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Writes a file and gives its path.
  std::string write(std::string_view name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::ofstream(file, std::ios::binary) << content;
    return file.native();
  }

 private:
  std::filesystem::path path_;
};

inline std::string file_content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

struct ProcessOptions {
  // The whole environment, but for PATH and what the sanitizers read: the tester's own must not count.
  std::vector<std::pair<std::string, std::string>> environment;
  std::filesystem::path folder;          // to run in; empty: this one
  std::filesystem::path output_path;     // standard output goes there instead
  std::string input_path = "/dev/null";  // standard input
};

struct ProcessResult {
  int exit_code = -1;  // 128 and the signal's number if it was killed, as shells say
  std::string out;
  std::string err;
};

// A running child.  posix_spawn and not fork: the tests have threads.
class Process {
 public:
  explicit Process(const std::vector<std::string>& words, const ProcessOptions& options = {}) {
    std::array<std::array<int, 2>, 2> pipes{};
    for (auto& ends : pipes) {
      if (::pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
    }
    streams_[0].fd = UniqueFd(pipes[0][0]);
    streams_[1].fd = UniqueFd(pipes[1][0]);
    const UniqueFd out(pipes[0][1]);
    const UniqueFd err(pipes[1][1]);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, options.input_path.c_str(), O_RDONLY, 0);
    if (options.output_path.empty()) {
      posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    } else {
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options.output_path.c_str(),
                                       O_WRONLY | O_CREAT | O_TRUNC, 0644);
    }
    posix_spawn_file_actions_adddup2(&actions, err.get(), STDERR_FILENO);
    if (!options.folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, options.folder.c_str());

    std::vector<std::string> environment;
    for (const char* name : {"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"}) {
      if (const char* value = std::getenv(name)) environment.push_back(std::string(name) + "=" + value);
    }
    for (const auto& [name, value] : options.environment) environment.push_back(name + "=" + value);
    std::vector<char*> argv = pointers(words);
    std::vector<char*> envp = pointers(environment);
    const int failed = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), envp.data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
      streams_[1].text = "cannot start " + words[0];
      pid_ = -1;
    }
  }
  ~Process() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait());
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits until `text` was seen on standard error, or output; false if that ended without it.
  bool wait_for_error_text(std::string_view text) { return wait_for(streams_[1], text); }
  bool wait_for_output_text(std::string_view text) { return wait_for(streams_[0], text); }

  void send(int signal) const { ::kill(pid_, signal); }

  // Until it ends.
  ProcessResult wait() {
    while (streams_[0].fd.valid() || streams_[1].fd.valid()) read_some();
    ProcessResult result{.out = streams_[0].text, .err = streams_[1].text};
    int status = 0;
    if (pid_ < 0) return result;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
  }

 private:
  struct Stream {
    UniqueFd fd;
    std::string text;
  };

  bool wait_for(const Stream& stream, std::string_view text) {
    while (stream.text.find(text) == std::string::npos) {
      if (!stream.fd.valid()) return false;
      read_some();
    }
    return true;
  }

  static std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> result;
    for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
    result.push_back(nullptr);
    return result;
  }

  // Waits for either stream, so that neither pipe fills up; poll() passes over descriptors of -1.
  void read_some() {
    std::array<pollfd, 2> waiting{};
    for (size_t i = 0; i < 2; i++) waiting[i] = {streams_[i].fd.get(), POLLIN, 0};
    if (::poll(waiting.data(), waiting.size(), -1) < 0) return;
    for (size_t i = 0; i < 2; i++) {
      if (waiting[i].revents == 0) continue;
      std::array<char, 65536> buffer;
      const ssize_t n = ::read(waiting[i].fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n > 0) {
        streams_[i].text.append(buffer.data(), static_cast<size_t>(n));
      } else {
        const UniqueFd ended = std::move(streams_[i].fd);
      }
    }
  }

  pid_t pid_ = -1;
  std::array<Stream, 2> streams_;
};

inline ProcessResult run_process(const std::vector<std::string>& words, const ProcessOptions& options = {}) {
  return Process(words, options).wait();
}

}  // namespace spore::test
