#include "apps/spore-compile/confine.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"

namespace spore::helper {
namespace {

#if defined(SPORE_ADDRESS_SANITIZER) || defined(SPORE_THREAD_SANITIZER)
// Sanitizers reserve terabytes and call the system as they like: only what would leave the process is
// refused.
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv)
constexpr uint32_t kArchitecture = AUDIT_ARCH_RISCV64;
#elif defined(__s390x__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_S390X;
#else
#error "the name that seccomp has for this processor"
#endif

// Compilers compute.  They need memory, locks, their own threads' ends, and random numbers for hash tables.
constexpr int kAllowed[] = {
    SYS_brk,
    SYS_mmap,
    SYS_munmap,
    SYS_mremap,
    SYS_mprotect,
    SYS_madvise,
    SYS_futex,
    SYS_write,
    SYS_close,
    SYS_fstat,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_sigaltstack,
    SYS_sched_yield,
    SYS_getpid,
    SYS_gettid,
    SYS_sched_getaffinity,
    SYS_getrandom,
    SYS_getrusage,
    SYS_clock_gettime,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_set_robust_list,
    SYS_membarrier,
    SYS_restart_syscall,
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef SYS_riscv_flush_icache
    SYS_riscv_flush_icache,
#endif
};

// Libraries look for settings in files and go on without them: an error, and no end of the process.
constexpr int kRefused[] = {
    SYS_openat, SYS_readlinkat, SYS_faccessat, SYS_newfstatat, SYS_getcwd,
#ifdef SYS_open
    SYS_open,   SYS_readlink,   SYS_access,    SYS_stat,
#endif
};

// A program that starts: the dynamic linker, the C library, reading standard input.  Not fcntl(), which can
// have the kernel send signals to others.
constexpr int kAllowedToPrograms[] = {
    SYS_execve,     SYS_read,       SYS_readv,      SYS_pread64,      SYS_writev,          SYS_lseek,
    SYS_uname,      SYS_sysinfo,    SYS_getuid,     SYS_geteuid,      SYS_getgid,          SYS_getegid,
    SYS_getppid,    SYS_times,      SYS_getrlimit,  SYS_clock_getres, SYS_set_tid_address, SYS_gettimeofday,
    SYS_getcwd,     SYS_readlinkat, SYS_newfstatat, SYS_statx,        SYS_faccessat,       SYS_faccessat2,
#ifdef SYS_arch_prctl
    SYS_arch_prctl,
#endif
#ifdef SYS_open
    SYS_readlink,   SYS_access,     SYS_stat,       SYS_lstat,
#endif
#ifdef SYS_time
    SYS_time,
#endif
};

// Flags of open() by which a file comes to be or to be written to.  O_TMPFILE has O_DIRECTORY in it, which is
// harmless alone, but not without one of these.
constexpr uint32_t kWriting = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;

// Where clone() has its flags.
#if defined(__s390x__)
constexpr unsigned kCloneFlags = 1;
#else
constexpr unsigned kCloneFlags = 0;
#endif

// A program for the kernel: for each call, what it does with it.
class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    jump_unless(kArchitecture, {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)}, true);
    load(offsetof(seccomp_data, nr));
  }

  void allow(int number) { answer(number, SECCOMP_RET_ALLOW); }
  void refuse(int number, int error) { answer(number, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)); }
  // Allowed if its argument is `value`, all 64 bits of it; else the error.
  void allow_if(int number, unsigned argument, uint64_t value, int error) {
    const uint32_t refusal = SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
    const uint32_t high = low_half(argument) ^ sizeof(uint32_t);
    jump_unless(static_cast<uint32_t>(number),
                {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_half(argument)),
                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(value), 0, 3),
                 BPF_STMT(BPF_LD | BPF_W | BPF_ABS, high),
                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(value >> 32), 0, 1),
                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, refusal)});
  }

  // Allowed if one of these bits is in the low half of its argument (or none is, if not `set`); else EPERM.
  void allow_by_bits(int number, unsigned argument, uint32_t bits, bool set) {
    jump_unless(
        static_cast<uint32_t>(number),
        {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_half(argument)),
         BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, static_cast<uint8_t>(set ? 0 : 1),
                  static_cast<uint8_t>(set ? 1 : 0)),
         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)});
  }

  // For all threads.  `otherwise`: of what was not named.
  Status install(uint32_t otherwise) {
    program_.push_back(BPF_STMT(BPF_RET | BPF_K, otherwise));
    const sock_fprog program{static_cast<unsigned short>(program_.size()), program_.data()};
    const long failed = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (failed == 0) return {};
    return Status::unavailable("the compile helper cannot give up system calls (seccomp): {}",
                               failed > 0 ? "a thread is in the way" : std::strerror(errno));
  }

 private:
  static uint32_t low_half(unsigned argument) {
    constexpr bool kLittle = std::endian::native == std::endian::little;
    const auto at = static_cast<uint32_t>(offsetof(seccomp_data, args) + sizeof(uint64_t) * argument);
    return at + (kLittle ? 0 : sizeof(uint32_t));
  }
  void load(uint32_t offset) { program_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
  void answer(int number, uint32_t what) {
    jump_unless(static_cast<uint32_t>(number), {BPF_STMT(BPF_RET | BPF_K, what)});
  }
  // `then` if what was loaded equals `value` (or does not, if `negated`).  It must not go on behind itself:
  // what is loaded is another thing then.
  void jump_unless(uint32_t value, const std::vector<sock_filter>& then, bool negated = false) {
    const auto over = static_cast<uint8_t>(then.size());
    program_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, static_cast<uint8_t>(negated ? over : 0),
                                static_cast<uint8_t>(negated ? 0 : over)));
    program_.insert(program_.end(), then.begin(), then.end());
  }

  std::vector<sock_filter> program_;
};

// Or what the host is held to, if that is less: nobody but root can raise it.
Status set_limits(__rlimit_resource resource, uint64_t soft, uint64_t hard, const char* name) {
  rlimit limits{};
  if (::getrlimit(resource, &limits) == 0) {
    limits.rlim_max = std::min<rlim_t>(hard, limits.rlim_max);
    limits.rlim_cur = std::min<rlim_t>(soft, limits.rlim_max);
    if (::setrlimit(resource, &limits) == 0) return {};
  }
  return Status::unavailable("the compile helper cannot limit its {}: {}", name, std::strerror(errno));
}

Status limit(__rlimit_resource resource, uint64_t max, const char* name) {
  return set_limits(resource, max, max, name);
}

// The soft limit tells (SIGXCPU), the hard one ends.
Status limit_cpu(uint64_t seconds) { return set_limits(RLIMIT_CPU, seconds, seconds + 1, "processor time"); }

// When the system has no memory left, this process is to go, and not its host.  Where there is no /proc, the
// system chooses as it likes.
void go_first() {
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  constexpr std::string_view kFirst = "1000";
  static_cast<void>(!::write(file, kFirst.data(), kFirst.size()));
  ::close(file);
}

Status control(int option, unsigned long value, const char* name) {
  if (::prctl(option, value, 0, 0, 0) == 0) return {};
  return Status::unavailable("the compile helper cannot set {}: {}", name, std::strerror(errno));
}

Status filter_calls() {
  Filter filter;
  for (const int number : kAllowed) filter.allow(number);
  if (kSanitized) filter.allow(SYS_pipe2);  // UBSan tells by a pipe whether memory can be read
  for (const int number : kRefused) filter.refuse(number, EPERM);
  filter.refuse(SYS_clone3, ENOSYS);                  // libraries then try clone(), which ends it
  filter.allow_if(SYS_prctl, 0, PR_SET_NAME, EPERM);  // threads name themselves
  filter.allow_if(SYS_tgkill, 0, static_cast<uint64_t>(::getpid()), EPERM);  // abort()
  filter.allow_if(SYS_prlimit64, 0, 0, EPERM);                               // its own
  filter.allow_if(SYS_seccomp, 0, SECCOMP_SET_MODE_FILTER, EPERM);
  return filter.install(kSanitized ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_KILL_PROCESS);
}

Status filter_calls_of_program() {
  Filter filter;
  for (const int number : kAllowed) filter.allow(number);
  for (const int number : kAllowedToPrograms) filter.allow(number);
  constexpr unsigned kOpenatFlags = 2;
  filter.allow_by_bits(SYS_openat, kOpenatFlags, kWriting, false);
#ifdef SYS_open
  filter.allow_by_bits(SYS_open, 1, kWriting, false);
#endif
  filter.refuse(SYS_clone3, ENOSYS);  // libraries then try clone(), whose flags can be looked at
  filter.allow_by_bits(SYS_clone, kCloneFlags, CLONE_THREAD, true);
  filter.allow_if(SYS_tgkill, 0, static_cast<uint64_t>(::getpid()), EPERM);  // abort()
  filter.allow_if(SYS_prlimit64, 2, 0, EPERM);                               // asking only
  return filter.install(SECCOMP_RET_ERRNO | EPERM);
}

// --- files ---------------------------------------------------------------------------------------------

// Each version of Landlock can refuse more: these are bits 0 to N-1 of LANDLOCK_ACCESS_FS_*, all it knows.
uint64_t rights_of_version(long version) {
  constexpr unsigned kFirst = 13;     // of version 1
  constexpr unsigned kRefer = 14;     // 2
  constexpr unsigned kTruncate = 15;  // 3 and 4
  constexpr unsigned kDevices = 16;   // from 5 on
  constexpr long kWithTruncate = 3;
  constexpr long kWithDevices = 5;
  const unsigned known = version >= kWithDevices    ? kDevices
                         : version >= kWithTruncate ? kTruncate
                         : version == 2             ? kRefer
                                                    : kFirst;
  return (uint64_t{1} << known) - 1;
}

Status no_landlock(const char* what) {
  return Status::unavailable("it cannot hide files (Landlock: {}: {})", what, std::strerror(errno));
}

// What is not there need not be shown.
Status show(int rules, const std::filesystem::path& path) {
  const UniqueFd place(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!place.valid()) return {};
  landlock_path_beneath_attr rule{};
  rule.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
  rule.parent_fd = place.get();
  if (::syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0) return {};
  return no_landlock("a rule");
}

}  // namespace

Status hide_files(const char* program) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return no_landlock("its version");
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = rights_of_version(version);
  const UniqueFd rules(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0)));
  if (!rules.valid()) return no_landlock("a set of rules");
  // Its libraries may lie beside it: PREFIX/bin and PREFIX/lib.
  const std::filesystem::path own = std::filesystem::path(program).parent_path().parent_path() / "lib";
  for (const std::filesystem::path& path :
       {std::filesystem::path(program), own, std::filesystem::path("/lib"), std::filesystem::path("/lib64"),
        std::filesystem::path("/usr/lib"), std::filesystem::path("/usr/lib64"),
        std::filesystem::path("/usr/local/lib"), std::filesystem::path("/etc/ld.so.cache")}) {
    SPORE_TRY(show(rules.get(), path));
  }
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0) return {};
  return no_landlock("the rules");
}

Status stand_alone(int descriptor_max) {
  go_first();  // while it may: what cannot be dumped cannot open this
  // If that thread was gone before: whoever wrote to its pipe next is told by SIGPIPE.
  SPORE_TRY(control(PR_SET_PDEATHSIG, SIGKILL, "its end with its parent's"));
  SPORE_TRY(control(PR_SET_NO_NEW_PRIVS, 1, "no new privileges"));
  SPORE_TRY(control(PR_SET_DUMPABLE, 0, "no dumps"));
  if (::syscall(SYS_close_range, static_cast<unsigned>(descriptor_max) + 1, ~0u, 0) == 0) return {};
  return Status::unavailable("the compile helper cannot close descriptors: {}", std::strerror(errno));
}

Status confine(const Confinement& confinement) {
  constexpr uint64_t kDescriptors = 6;  // those that are open
  if (!kSanitized) SPORE_TRY(limit(RLIMIT_AS, confinement.memory_bytes_max, "memory"));
  SPORE_TRY(limit_cpu(confinement.cpu_s_max));
  SPORE_TRY(limit(RLIMIT_FSIZE, confinement.file_bytes_max, "files"));
  SPORE_TRY(limit(RLIMIT_CORE, 0, "core dumps"));
  if (!kSanitized) SPORE_TRY(limit(RLIMIT_NOFILE, kDescriptors, "descriptors"));
  SPORE_TRY(limit(RLIMIT_NPROC, 0, "processes"));
  return filter_calls();
}

Status confine_program(const Confinement& confinement) {
  constexpr uint64_t kDescriptors = 16;
  // A sanitizer's own memory is more than that; the program gets what it likes then.
  if (!kSanitized) SPORE_TRY(limit(RLIMIT_AS, confinement.memory_bytes_max, "memory"));
  SPORE_TRY(limit_cpu(confinement.cpu_s_max));
  SPORE_TRY(limit(RLIMIT_FSIZE, confinement.file_bytes_max, "files"));
  SPORE_TRY(limit(RLIMIT_CORE, 0, "core dumps"));
  SPORE_TRY(limit(RLIMIT_NOFILE, kDescriptors, "descriptors"));
  return filter_calls_of_program();
}

Status confine_more(uint64_t cpu_s_max) {
  SPORE_TRY(limit_cpu(cpu_s_max));
  Filter filter;
  filter.refuse(SYS_seccomp, EPERM);
  filter.allow_if(SYS_prlimit64, 2, 0, EPERM);  // asking only
  return filter.install(SECCOMP_RET_ALLOW);
}

}  // namespace spore::helper
