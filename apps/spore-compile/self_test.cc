#include "apps/spore-compile/self_test.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "apps/spore-compile/confine.h"

namespace spore::helper {
namespace {

constexpr size_t kMib = 1024 * 1024;
constexpr size_t kMemoryMax = 1024 * kMib;
constexpr int kNotConfined = 120;
constexpr int kDone = 121;
constexpr int kDescriptorMax = 5;

// What a child tries; 0 or the error.
using Try = int (*)();

int error_of(long result) { return result < 0 ? errno : 0; }

bool maps(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  std::memset(memory, 1, std::min(bytes, kMib));
  return ::munmap(memory, bytes) == 0;
}

struct Attempt {
  const char* name;
  const char* expected;
  Try attempt;
};

int set_limit() {
  const rlimit more{1000, 1000};
  return error_of(::setrlimit(RLIMIT_CPU, &more));
}

int new_process() { return error_of(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }

int run_program() {
  char name[] = "/bin/true";
  char* words[] = {name, nullptr};
  return error_of(::execve(name, words, nullptr));
}

const Attempt kAttempts[] = {
    {"memory", "works", [] { return maps(kMib) ? 0 : ENOMEM; }},
    {"memory beyond the limit", "ENOMEM", [] { return maps(kMemoryMax) ? 0 : ENOMEM; }},
    {"open a file to read", "EPERM", [] { return error_of(::open("/etc/passwd", O_RDONLY)); }},
    {"open a file to write", "EPERM", [] { return error_of(::open("/tmp/x", O_WRONLY | O_CREAT, 0600)); }},
    {"openat2", "killed", [] { return error_of(::syscall(SYS_openat2, AT_FDCWD, "/", nullptr, 0)); }},
    {"unlink", "killed", [] { return error_of(::unlink("/tmp/nothing-of-this-name")); }},
    {"socket", "killed", [] { return error_of(::socket(AF_INET, SOCK_STREAM, 0)); }},
    {"socketpair", "killed",
     [] {
       int ends[2];
       return error_of(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
     }},
    {"run a program", "killed", run_program},
    {"make a process", "killed", new_process},
    {"clone3", "ENOSYS", [] { return error_of(::syscall(SYS_clone3, nullptr, 0)); }},
    {"signal the parent", "killed", [] { return error_of(::kill(::getppid(), 0)); }},
    {"signal a thread of another process", "EPERM", [] { return error_of(::syscall(SYS_tgkill, 1, 1, 0)); }},
    {"memfd_create", "killed", [] { return error_of(::memfd_create("x", 0)); }},
    {"io_uring", "killed", [] { return error_of(::syscall(SYS_io_uring_setup, 1, nullptr)); }},
    {"read another process", "killed",
     [] { return error_of(::syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0)); }},
    {"become dumpable", "EPERM", [] { return error_of(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }},
    {"raise a limit", "EPERM", set_limit},
    {"take another filter", "EPERM", [] { return error_of(::syscall(SYS_seccomp, 1, 0, nullptr)); }},
};

// What a program would try that this process becomes.
const Attempt kAttemptsOfProgram[] = {
    {"memory", "works", [] { return maps(kMib) ? 0 : ENOMEM; }},
    {"memory beyond the limit", "ENOMEM", [] { return maps(kMemoryMax) ? 0 : ENOMEM; }},
    {"a shared library", "works", [] { return error_of(::open("/etc/ld.so.cache", O_RDONLY)); }},
    {"open a file to read", "EACCES", [] { return error_of(::open("/etc/passwd", O_RDONLY)); }},
    {"open a file to write", "EPERM", [] { return error_of(::open("/tmp/x", O_WRONLY | O_CREAT, 0600)); }},
    {"unlink", "EPERM", [] { return error_of(::unlink("/tmp/nothing-of-this-name")); }},
    {"socket", "EPERM", [] { return error_of(::socket(AF_INET, SOCK_STREAM, 0)); }},
    {"run a program", "EACCES", run_program},
    {"make a process", "EPERM", new_process},
    {"clone3", "ENOSYS", [] { return error_of(::syscall(SYS_clone3, nullptr, 0)); }},
    {"signal the parent", "EPERM", [] { return error_of(::kill(::getppid(), 0)); }},
    {"have the parent signalled", "EPERM", [] { return error_of(::fcntl(0, F_SETOWN, ::getppid())); }},
    {"read another process", "EPERM",
     [] { return error_of(::syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0)); }},
    {"raise a limit", "EPERM", set_limit},
    {"take another filter", "EPERM", [] { return error_of(::syscall(SYS_seccomp, 1, 0, nullptr)); }},
};

std::string outcome(int status) {
  if (WIFSIGNALED(status)) {
    return WTERMSIG(status) == SIGSYS ? "killed" : fmt::format("signal {}", WTERMSIG(status));
  }
  switch (WEXITSTATUS(status)) {
    case 0: return "works";
    case EPERM: return "EPERM";
    case EACCES: return "EACCES";
    case ENOMEM: return "ENOMEM";
    case ENOSYS: return "ENOSYS";
    case kNotConfined: return "not confined";
    default: return fmt::format("exit code {}", WEXITSTATUS(status));
  }
}

constexpr Confinement kConfinement{.memory_bytes_max = kMemoryMax, .cpu_s_max = 10, .file_bytes_max = kMib};

bool is_ok(const Status& status) {
  if (!status.ok()) std::fputs(fmt::format("{}\n", status.message()).c_str(), stderr);
  return status.ok();
}

bool confined() {
  return is_ok([] {
    SPORE_TRY(stand_alone(kDescriptorMax));
    SPORE_TRY(confine(kConfinement));
    return confine_more(5);
  }());
}

bool confined_as_program() {
  return is_ok([] {
    SPORE_TRY(stand_alone(kDescriptorMax));
    SPORE_TRY(hide_files("/nowhere/bin/program"));
    return confine_program(kConfinement);
  }());
}

// `body` gives the child's exit code.
template <typename Body>
std::string in_child(Body body) {
  const pid_t child = ::fork();
  if (child < 0) return "no child";
  if (child == 0) ::_exit(body());
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return "lost";
  return outcome(status);
}

bool tell(const char* name, const std::string& found, const char* expected) {
  const bool right = found == expected;
  std::fputs(fmt::format("{}: {}{}\n", name, found, right ? "" : fmt::format(", not {}", expected)).c_str(),
             stdout);
  return right;
}

// A thread that was there before is held, too.
int socket_on_an_older_thread() {
  std::atomic<bool> go{false};
  std::thread older([&] {
    while (!go) std::this_thread::yield();
    static_cast<void>(::socket(AF_INET, SOCK_STREAM, 0));
  });
  const bool is = confined();
  go = true;
  older.join();
  return is ? kDone : kNotConfined;
}

}  // namespace

int self_test() {
  bool right = true;
  for (const Attempt& attempt : kAttempts) {
    const std::string found = in_child([&] { return confined() ? attempt.attempt() : kNotConfined; });
    right = tell(attempt.name, found, attempt.expected) && right;
  }
  for (const Attempt& attempt : kAttemptsOfProgram) {
    const std::string found =
        in_child([&] { return confined_as_program() ? attempt.attempt() : kNotConfined; });
    right = tell(fmt::format("of a program: {}", attempt.name).c_str(), found, attempt.expected) && right;
  }
  right = tell("socket on an older thread", in_child(socket_on_an_older_thread), "killed") && right;
  return right ? 0 : 1;
}

}  // namespace spore::helper
