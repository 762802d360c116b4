#include "spore/code/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace spore::code {
namespace {

constexpr auto kWaitPidfd = static_cast<idtype_t>(3);  // P_PIDFD, since Linux 5.4
constexpr int kFirstDescriptor = 3;
// Copies are made above what they become in the child: a dup2() there must not hit one that comes later.
constexpr int kAboveAll = 64;

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  // Descriptor `as` of the child.
  Status give(int fd, int as) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, kAboveAll));
    if (!copy.valid()) return Status::from_errno(errno, "a descriptor for a child");
    posix_spawn_file_actions_adddup2(&actions_, copy.get(), as);
    copies_.push_back(std::move(copy));
    return {};
  }
  void close_from(int fd) { posix_spawn_file_actions_addclosefrom_np(&actions_, fd); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
  std::vector<UniqueFd> copies_;
};

// No handler, nothing ignored, nothing blocked, and a group of its own: Ctrl-C is for the host.
class Attributes {
 public:
  Attributes() {
    posix_spawnattr_init(&attributes_);
    sigset_t signals;
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) result.push_back(word.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Result<Child> Child::start(const Options& options) {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return Status::from_errno(errno, "open '/dev/null'");
  FileActions actions;
  const auto or_null = [&](int fd) { return fd < 0 ? null.get() : fd; };
  SPORE_TRY(actions.give(or_null(options.input), STDIN_FILENO));
  SPORE_TRY(actions.give(or_null(options.output), STDOUT_FILENO));
  SPORE_TRY(actions.give(or_null(options.error_output), STDERR_FILENO));
  int next = kFirstDescriptor;
  for (const int fd : options.descriptors) SPORE_TRY(actions.give(fd, next++));
  actions.close_from(next);

  const Attributes attributes;
  std::vector<std::string> words{options.program.native()};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = options.environment;
  std::vector<char*> argv = pointers(words);
  std::vector<char*> envp = pointers(environment);
  pid_t pid = -1;
  // glibc makes the child with CLONE_VM and CLONE_VFORK, all signals blocked: nothing of this process is
  // copied, no fork handler is called, and the error of execve() comes back.
  const int error = ::posix_spawn(&pid, argv[0], actions.get(), attributes.get(), argv.data(), envp.data());
  if (error != 0) return Status::unavailable("'{}' cannot be started: {}", argv[0], std::strerror(error));
  // The number cannot have gone to another process: the child is not waited for yet.  (Where the host ignores
  // SIGCHLD it could, if the child is dead and all numbers were used since.)
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid() && errno != ESRCH) {
    const Status status = Status::from_errno(errno, "pidfd_open");
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return status.copy();
  }
  return Child(pid, std::move(pidfd));
}

Child::~Child() {
  if (pid_ >= 0) static_cast<void>(end({}));
}

ChildEnd Child::end(std::chrono::milliseconds grace) {
  ChildEnd how;
  const pid_t pid = std::exchange(pid_, -1);
  if (pid < 0 || !pidfd_.valid()) return how;
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, static_cast<int>(grace.count())) <= 0) {
    ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
    while (::poll(&ended, 1, -1) < 0 && errno == EINTR) {
    }
  }
  siginfo_t info{};
  // Not waitpid(): where the host has waited for it already, its number may be another's.
  if (::waitid(kWaitPidfd, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0) return how;
  how.known = info.si_pid == pid;
  (info.si_code == CLD_EXITED ? how.exit_code : how.signal) = info.si_status;
  return how;
}

}  // namespace spore::code
