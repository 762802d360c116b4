#include "bench/count_syscalls.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/harness.h"

namespace spore::bench {
namespace {

// What stands at the begin and the end of the counted part: nobody else in this program calls it.
constexpr uint64_t kMark = SYS_getppid;

[[noreturn]] void run_child(const std::function<std::function<void(uint64_t)>()>& make, uint64_t calls) {
  const std::function<void(uint64_t)> run = make();
  run(calls / 10 + 1);
  if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(0);
  ::raise(SIGSTOP);
  ::syscall(kMark);
  run(calls);
  ::syscall(kMark);
  ::_exit(0);
}

// The system call that the child stopped at the entry of; empty at any other stop.
std::optional<uint64_t> syscall_entered(pid_t child, int status) {
  if (WSTOPSIG(status) != (SIGTRAP | 0x80)) return std::nullopt;
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) <= 0) fail("PTRACE_GET_SYSCALL_INFO");
  if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return std::nullopt;
  return info.entry.nr;
}

}  // namespace

std::optional<double> syscalls_per_call(const std::function<std::function<void(uint64_t)>()>& make,
                                        uint64_t calls) {
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) run_child(make, calls);

  int status = 0;
  if (::waitpid(child, &status, 0) != child) fail("waitpid");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
  if (!WIFSTOPPED(status)) fail("the child whose system calls are counted");
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);

  int marks = 0;
  uint64_t count = 0;
  int pass_on = 0;  // a signal that is the child's own affair
  while (::ptrace(PTRACE_SYSCALL, child, nullptr, pass_on) == 0 && ::waitpid(child, &status, 0) == child &&
         WIFSTOPPED(status)) {
    const std::optional<uint64_t> entered = syscall_entered(child, status);
    if (entered == kMark) {
      marks++;
    } else if (entered && marks == 1) {
      count++;
    }
    const int signal = WSTOPSIG(status);
    pass_on = signal == (SIGTRAP | 0x80) || signal == SIGTRAP ? 0 : signal;
  }
  if (marks != 2 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("counting system calls");
  return static_cast<double>(count) / static_cast<double>(calls);
}

}  // namespace spore::bench
