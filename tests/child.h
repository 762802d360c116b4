#pragma once

// Child processes that run a piece of the test itself: for what would end the tester, or bind it.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

namespace spore::test {

// A child that no pthread_atfork handler hears of.
inline pid_t bare_clone() {
  return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

using MakeChild = pid_t (*)();

// What `body` finds wrong in a child, as text; "" if nothing.  Also says if the child died of a signal.
template <typename Body>
std::string in_child(Body body, MakeChild make_child = &::fork) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "no pipe";
  const pid_t child = make_child();
  if (child < 0) return "no child";
  if (child == 0) {
    const std::string wrong = body();
    ::_exit(::write(ends[1], wrong.data(), wrong.size()) == static_cast<ssize_t>(wrong.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string wrong;
  std::array<char, 4096> buffer;
  for (ssize_t n = 0; (n = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    wrong.append(buffer.data(), static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return "the child is lost";
  if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
  if (status != 0) return "exit code " + std::to_string(WEXITSTATUS(status));
  return wrong;
}

// True if an access of `body` to memory ends its process.
template <typename Body>
bool segfaults(Body body) {
  return in_child([&] {
           ::signal(SIGSEGV, SIG_DFL);  // not a sanitizer's
           body();
           return std::string();
         }) == "killed by signal " + std::to_string(SIGSEGV);
}

struct Refusal {
  int system_call = 0;
  int error = 0;
  // Only if all of these bits are set in the lower half of that argument.
  unsigned argument = 0;
  uint32_t bits = 0;
};

// From now on the system refuses it to this thread.  There is no way back: use it in children.
inline bool refuse(const Refusal& refusal) {
  std::array filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(refusal.system_call), 0, 4),
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                           static_cast<uint32_t>(offsetof(seccomp_data, args) + 8 * refusal.argument)),
      sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refusal.bits),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal.bits, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(refusal.error)),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{filter.size(), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace spore::test
