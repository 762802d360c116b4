#pragma once

// A child process that is given descriptors, and is certain to be gone when its owner is done.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"

namespace spore::code {

// How a child ended.
struct ChildEnd {
  bool known = false;  // false: the host ignores SIGCHLD, or took it with a wait of its own
  int signal = 0;      // that killed it; 0: none
  int exit_code = 0;
};

// Bound to a thread.  The destructor kills it and waits.
class Child {
 public:
  struct Options {
    std::filesystem::path program;
    std::vector<std::string> arguments;    // behind the program's name
    std::vector<std::string> environment;  // all of it: "NAME=value"
    int input = -1;                        // becomes descriptor 0; -1, here and below: /dev/null
    int output = -1;                       // 1
    int error_output = -1;                 // 2
    std::vector<int> descriptors;          // become 3, 4, ...; there are no others
  };

  // kUnavailable: says why not.  kIo: no descriptor left.
  static Result<Child> start(const Options& options);
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}
  Child& operator=(Child&&) = delete;
  ~Child();

  // Readable for poll() once it has ended.
  int pidfd() const { return pidfd_.get(); }

  // Kills it, if it has not ended within `grace`, and waits.  Then nothing of it is left: no memory mapped.
  ChildEnd end(std::chrono::milliseconds grace);

 private:
  Child(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_;  // -1: it has ended and was waited for
  UniqueFd pidfd_;
};

}  // namespace spore::code
