#include "spore/runtime/machine.h"
#include "tests/sanitizers.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace spore::runtime {
namespace {

using State = MachineCheck::State;
namespace fs = std::filesystem;

// Sanitizers map terabytes, and more as they go.

// A /proc and a /sys of our own.  /proc/self is the real one unless a test writes below it.
class FakeMachine {
 public:
  FakeMachine() {
    std::string folder = (fs::temp_directory_path() / "machine_test.XXXXXX").native();
    root_ = ::mkdtemp(folder.data());
    write("proc/sys/vm/max_map_count", "65530\n");
    write("proc/sys/vm/overcommit_memory", "0\n");
    write("proc/sys/kernel/perf_event_paranoid", "2\n");
    write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable:    4194304 kB\nSwapTotal: 0 kB\n");
    write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Abacus 3000\n");
    for (const char* file : {"pagemap", "maps", "statm"}) {
      fs::create_directories(root_ / "proc/self");
      fs::create_symlink(fs::path("/proc/self") / file, root_ / "proc/self" / file);
    }
    write("proc/self/cgroup", "0::/\n");
    fs::create_directories(root_ / "sys/fs/cgroup");
    write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    write("sys/kernel/mm/ksm/run", "0\n");
  }
  ~FakeMachine() { fs::remove_all(root_); }

  void write(const fs::path& name, std::string_view text) const {
    remove(name);
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  void remove(const fs::path& name) const { fs::remove_all(root_ / name); }
  fs::path path(const fs::path& name) const { return root_ / name; }
  ProbeOptions options() const {
    return {.proc_root = root_ / "proc", .sys_root = root_ / "sys", .cpu_has = [](std::string_view) {
              return true;
            }};
  }
  MachineReport probe() const { return probe_machine(options()); }

 private:
  fs::path root_;
};

MachineCheck check(const MachineReport& report, std::string_view name) {
  const MachineCheck* found = report.find(name);
  if (found == nullptr) ADD_FAILURE() << "no check '" << name << "'";
  return found == nullptr ? MachineCheck{} : *found;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// Every check keeps the contract of MachineCheck; returns what is wrong, or nothing.
std::string first_broken_promise(const MachineReport& report) {
  if (report.checks.size() < 20) return "checks are missing";
  for (const MachineCheck& check : report.checks) {
    if (check.name.empty() || check.name.size() > 20) return "name: " + check.name;
    if (check.found.empty()) return "nothing found: " + check.name;
    if (check.cost.empty() != (check.state == State::kGood)) return "cost: " + check.name;
    if (check.state == State::kGood && !check.remedy.empty()) return "remedy: " + check.name;
    for (const std::string& text : {check.found, check.cost, check.remedy}) {
      if (std::ranges::any_of(text, [](char c) { return c < ' ' || c > '~'; })) {
        return "not printable: " + check.name;
      }
    }
  }
  return {};
}

std::string json_of(const MachineReport& report) {
  JsonWriter json;
  write_json(report, json);
  return json.take();
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// What cannot be taken back (limits, filters) happens in a child: `prepare` runs there, then the
// probe, then `holds`.  The child prints its report if that is false.
enum class Child { kHolds, kFails, kUnprepared };

Child probe_in_child(const std::function<bool()>& prepare,
                     const std::function<bool(const MachineReport&)>& holds,
                     const ProbeOptions& options = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!prepare()) ::_exit(static_cast<int>(Child::kUnprepared));
    const MachineReport report = probe_machine(options);
    const std::string broken = first_broken_promise(report);
    const bool good = broken.empty() && holds(report);
    if (!good) std::fprintf(stderr, "%s\n%s", broken.c_str(), to_text(report).c_str());
    ::_exit(static_cast<int>(good ? Child::kHolds : Child::kFails));
  }
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return Child::kUnprepared;
  return WIFEXITED(status) ? static_cast<Child>(WEXITSTATUS(status)) : Child::kFails;
}

// Skips where this kernel or sandbox does not let the test prepare its child.
#define EXPECT_HOLDS_IN_CHILD(...)                                             \
  do {                                                                         \
    const Child child = probe_in_child(__VA_ARGS__);                           \
    if (child == Child::kUnprepared) GTEST_SKIP() << "cannot prepare a child"; \
    EXPECT_EQ(child, Child::kHolds);                                           \
  } while (false)

// From here on each of `calls` answers `error`.
bool deny(const std::vector<int>& calls, int error) {
  std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const int call : calls) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Whatever this machine has: the report is complete, and the numbers agree with each other.
TEST(MachineTest, ThisMachineGivesACompleteReport) {
  const MachineReport report = probe_machine();
  EXPECT_EQ(first_broken_promise(report), "");
  EXPECT_TRUE(report.kernel.starts_with("Linux ")) << report.kernel;
  EXPECT_GE(report.cpus, 1u);
  ASSERT_TRUE(report.mappings_max.has_value());
  ASSERT_TRUE(report.mappings_used.has_value());
  EXPECT_LE(report.slots_4gib.count, (*report.mappings_max - *report.mappings_used) / 3);
  EXPECT_LE(report.slots_4gib.count, report.address_space_bytes >> 32);
  EXPECT_LE(report.instances_awake.count, report.slots_4gib.count);
  EXPECT_LT(report.cells_asleep_large.count, report.cells_asleep_small.count);
  EXPECT_EQ(report.find("no such check"), nullptr);
}

// The budget is 200 ms.  Time of this thread, not of the clock: others may use the processor.
TEST(MachineTest, ProbingTakesLittleTime) {
  const auto cpu_ms = [] {
    timespec now{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
  };
  const double start = cpu_ms();
  probe_machine();
  EXPECT_LT(cpu_ms() - start, 200);
}

// Descriptors, mappings, limits and process-wide switches are as before.
TEST(MachineTest, ProbingLeavesNothingBehind) {
  const auto state = [] {
    std::ifstream maps(test::kSanitized ? "/dev/null" : "/proc/self/maps");
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    return std::vector<uint64_t>{
        static_cast<uint64_t>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n')),
        entries("/proc/self/fd"),
        files.rlim_cur,
        static_cast<uint64_t>(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)),
        static_cast<uint64_t>(::prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)),
        static_cast<uint64_t>(::prctl(68 /* PR_GET_MEMORY_MERGE */, 0, 0, 0, 0))};
  };
  probe_machine();  // the allocator has its memory now
  const auto before = state();
  probe_machine();
  EXPECT_EQ(state(), before);
}

// The found side of each check that reads files; the tests below break one file each.
TEST(MachineTest, AnOrdinaryMachineHasNoComplaintsAboutItsFiles) {
  const FakeMachine machine;
  const MachineReport report = machine.probe();
  EXPECT_EQ(first_broken_promise(report), "");
  EXPECT_EQ(report.cpu, "Abacus 3000");
  for (const char* name : {"mappings", "memory", "cgroup memory limit", "overcommit", "swap", "huge pages",
                           "ksm", "cpu for baseline", "cpu for hashes"}) {
    EXPECT_EQ(check(report, name).state, State::kGood) << name << ": " << check(report, name).found;
  }
  EXPECT_EQ(report.memory_bytes_available, uint64_t{4} << 30);
  EXPECT_EQ(report.cells_asleep_large.count, (uint64_t{4} << 30) / 8192);
  EXPECT_EQ(report.cells_asleep_large.limited_by, "memory");
  EXPECT_FALSE(report.commit_bytes_left.has_value());
}

// No /proc, no /sys (a bare chroot): unknown is said, nothing fails.
TEST(MachineTest, WithoutProcAndSysTheReportSaysUnknown) {
  const MachineReport report =
      probe_machine({.proc_root = "/nonexistent/proc", .sys_root = "/nonexistent/sys"});
  EXPECT_EQ(first_broken_promise(report), "");
  EXPECT_EQ(check(report, "page scan").state, State::kMissing);
  EXPECT_TRUE(contains(check(report, "page scan").found, "ENOENT"));
  EXPECT_TRUE(contains(check(report, "page scan").cost, "3.1 us"));
  EXPECT_EQ(check(report, "write tracking").state, State::kMissing);
  EXPECT_EQ(check(report, "mappings").state, State::kDegraded);
  EXPECT_EQ(check(report, "memory").state, State::kDegraded);
  EXPECT_EQ(check(report, "overcommit").state, State::kDegraded);
  EXPECT_EQ(check(report, "cgroup memory limit").state, State::kDegraded);
  EXPECT_EQ(check(report, "swap").state, State::kDegraded);
  EXPECT_EQ(report.cpu, "unknown");
  EXPECT_FALSE(report.mappings_max.has_value());
  EXPECT_FALSE(report.memory_bytes_available.has_value());
  EXPECT_EQ(report.cells_asleep_large.count, 0u);
  EXPECT_EQ(report.cells_asleep_large.limited_by, "unknown memory");
  EXPECT_EQ(report.worst(), State::kMissing);
  EXPECT_TRUE(contains(json_of(report), "\"mappings_max\": null"));
}

// The limit below the kernel's default, and one above it.
TEST(MachineTest, AMapCountBelowTheDefaultIsDegradedAndLimitsTheSlots) {
  const FakeMachine machine;
  machine.remove("proc/self/maps");
  machine.write("proc/self/maps", "a\nb\nc\nd\n");
  machine.write("proc/sys/vm/max_map_count", "65529\n");
  MachineReport report = machine.probe();
  EXPECT_EQ(check(report, "mappings").state, State::kDegraded);
  EXPECT_TRUE(contains(check(report, "mappings").remedy, "vm.max_map_count"));
  EXPECT_EQ(report.mappings_used, 4u);

  machine.write("proc/sys/vm/max_map_count", "1000\n");
  report = machine.probe();
  EXPECT_EQ(report.slots_4gib.count, 332u);  // (1000 - 4) / 3
  EXPECT_EQ(report.slots_4gib.limited_by, "vm.max_map_count");

  machine.write("proc/sys/vm/max_map_count", "3\n");  // fewer than are in use
  EXPECT_EQ(machine.probe().slots_4gib.count, 0u);

  machine.write("proc/sys/vm/max_map_count", "10000000\n");
  report = machine.probe();
  EXPECT_EQ(check(report, "mappings").state, State::kGood);
  EXPECT_EQ(report.slots_4gib.limited_by, "address space");
}

TEST(MachineTest, StrictOvercommitCountsWhatMayStillBeCommitted) {
  const FakeMachine machine;
  machine.write("proc/sys/vm/overcommit_memory", "2\n");
  machine.write("proc/meminfo",
                "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 0 kB\n"
                "CommitLimit:  4194304 kB\nCommitted_AS:  4183424 kB\n");  // 10 * 17 * 64 KiB left
  MachineReport report = machine.probe();
  EXPECT_EQ(check(report, "overcommit").state, State::kDegraded);
  EXPECT_EQ(report.commit_bytes_left, 10u * 17 * 65536);
  EXPECT_EQ(report.instances_awake.count, 10u);
  EXPECT_EQ(report.instances_awake.limited_by, "vm.overcommit_memory=2");

  machine.write("proc/sys/vm/overcommit_memory", "1\n");
  report = machine.probe();
  EXPECT_EQ(check(report, "overcommit").state, State::kGood);
  EXPECT_NE(report.instances_awake.limited_by, "vm.overcommit_memory=2");
}

// The limit of the group above counts, and pages of files that can be dropped count as free.
TEST(MachineTest, ACgroup2LimitOfAParentLimitsTheMemory) {
  const FakeMachine machine;
  machine.write("proc/self/cgroup", "0::/outer/inner\n");
  machine.write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
  machine.write("sys/fs/cgroup/outer/memory.max", "1073741824\n");
  machine.write("sys/fs/cgroup/outer/memory.current", "943718400\n");                     // 900 MiB
  machine.write("sys/fs/cgroup/outer/memory.stat", "anon 1\ninactive_file 734003200\n");  // 700 MiB
  MachineReport report = machine.probe();
  EXPECT_EQ(report.memory_bytes_available, uint64_t{824} << 20);
  EXPECT_EQ(check(report, "cgroup memory limit").state, State::kGood);
  EXPECT_TRUE(contains(check(report, "cgroup memory limit").found, "v2 /outer"))
      << check(report, "cgroup memory limit").found;

  machine.remove("sys/fs/cgroup/outer/memory.stat");
  report = machine.probe();
  EXPECT_EQ(report.memory_bytes_available, uint64_t{124} << 20);
  EXPECT_EQ(check(report, "cgroup memory limit").state, State::kDegraded);
  EXPECT_EQ(report.cells_asleep_large.count, (uint64_t{124} << 20) / 8192);

  machine.write("sys/fs/cgroup/outer/memory.current", "2147483648\n");  // above its limit
  EXPECT_EQ(machine.probe().memory_bytes_available, 0u);
}

TEST(MachineTest, ACgroup1LimitIsReadThroughAnyMountOfIt) {
  const FakeMachine machine;
  machine.write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/docker/x\n");
  machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(check(machine.probe(), "cgroup memory limit").found, "none");
  // In a container the group is the mount's root, whatever /proc says its path is.
  machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "73741824\n");
  const MachineReport report = machine.probe();
  EXPECT_EQ(report.memory_bytes_available, 1000000000u);
  EXPECT_TRUE(contains(check(report, "cgroup memory limit").found, "v1 /"));
}

// A group outside of our namespace: the path must not lead out of the mount.
TEST(MachineTest, ACgroupPathCannotLeadOutOfTheMount) {
  const FakeMachine machine;
  machine.write("proc/self/cgroup", "0::/../../elsewhere\n");
  machine.write("sys/elsewhere/memory.max", "1\n");
  EXPECT_EQ(check(machine.probe(), "cgroup memory limit").found, "none");
}

TEST(MachineTest, LittleMemoryIsDegradedAtTwoDefaultCaps) {
  const FakeMachine machine;
  machine.write("proc/meminfo", "MemTotal: 1 kB\nMemAvailable: 524288 kB\nSwapTotal: 0 kB\n");
  EXPECT_EQ(check(machine.probe(), "memory").state, State::kGood);
  machine.write("proc/meminfo", "MemTotal: 1 kB\nMemAvailable: 524287 kB\nSwapTotal: 0 kB\n");
  EXPECT_EQ(check(machine.probe(), "memory").state, State::kDegraded);
}

TEST(MachineTest, SwapIsDegraded) {
  const FakeMachine machine;
  machine.write("proc/meminfo", "MemTotal: 8 kB\nMemAvailable: 8 kB\nSwapTotal:  2097152 kB\n");
  const MachineCheck swap = check(machine.probe(), "swap");
  EXPECT_EQ(swap.state, State::kDegraded);
  EXPECT_EQ(swap.found, "2 GiB");
}

// KSM leaks only what a process offers to it; being on is not enough.
TEST(MachineTest, KsmIsDegradedOnlyWhenThisProcessIsMerged) {
  const FakeMachine machine;
  machine.write("sys/kernel/mm/ksm/run", "1\n");
  EXPECT_EQ(check(machine.probe(), "ksm").found, "on, and not for this process");
  machine.write("sys/kernel/mm/ksm/run", "2\n");  // unmerged
  EXPECT_EQ(check(machine.probe(), "ksm").found, "off");
  machine.remove("sys/kernel/mm/ksm/run");
  EXPECT_EQ(check(machine.probe(), "ksm").state, State::kGood);

  machine.write("sys/kernel/mm/ksm/run", "1\n");
  EXPECT_HOLDS_IN_CHILD(
      [] { return ::prctl(67 /* PR_SET_MEMORY_MERGE */, 1, 0, 0, 0) == 0; },
      [](const MachineReport& report) { return check(report, "ksm").state == State::kDegraded; },
      machine.options());
}

TEST(MachineTest, HugePagesAreFineWhereSlotsCanDeclineThem) {
  const FakeMachine machine;
  machine.remove("sys/kernel/mm/transparent_hugepage/enabled");
  EXPECT_EQ(check(machine.probe(), "huge pages").state, State::kGood);
  EXPECT_HOLDS_IN_CHILD(
      [] { return deny({SYS_madvise}, EINVAL); },  // as a kernel without huge pages
      [](const MachineReport& report) { return check(report, "huge pages").found == "the kernel has none"; },
      machine.options());

  machine.write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
  const auto says = [](State state) {
    return [state](const MachineReport& report) { return check(report, "huge pages").state == state; };
  };
  EXPECT_HOLDS_IN_CHILD([] { return deny({SYS_madvise}, EPERM); }, says(State::kDegraded), machine.options());
  machine.write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  EXPECT_HOLDS_IN_CHILD([] { return deny({SYS_madvise}, EPERM); }, says(State::kGood), machine.options());
}

TEST(MachineTest, AProcessorWithoutAvx2IsDegradedForTheBaselineTierOnly) {
  const FakeMachine machine;
  ProbeOptions options = machine.options();
  options.cpu_has = [](std::string_view feature) { return feature != "avx2"; };
  const MachineReport report = probe_machine(options);
  EXPECT_EQ(check(report, "cpu for baseline").state, State::kDegraded);
  EXPECT_EQ(check(report, "cpu for baseline").found, "without avx2");
  EXPECT_EQ(check(report, "cpu for optimised").state, State::kGood);
  EXPECT_EQ(check(report, "cpu for hashes").state, State::kGood);
}

// As in a container with a strict filter.  EPERM is Docker's answer, ENOSYS an old kernel's.
TEST(MachineTest, DeniedSystemCallsAreMissingNotFatal) {
  const auto all_missing = [](const MachineReport& report) {
    bool all = true;
    for (const char* name : {"page scan", "mapped fault counter", "getrusage faults", "write tracking",
                             "sealed memfd", "openat2", "landlock", "seccomp"}) {
      all = all && check(report, name).state == State::kMissing;
    }
    return all;
  };
  for (const int error : {EPERM, ENOSYS}) {
    EXPECT_HOLDS_IN_CHILD(
        [error] {
          return deny({SYS_perf_event_open, SYS_userfaultfd, SYS_memfd_create, SYS_openat2,
                       SYS_landlock_create_ruleset, SYS_getrusage, SYS_ioctl, SYS_seccomp},
                      error);
        },
        all_missing);
  }
}

// The harshest filter that still lets the probe speak: even questions about limits are refused.
TEST(MachineTest, DeniedQuestionsAboutLimitsAreUnknownNotFatal) {
  EXPECT_HOLDS_IN_CHILD(
      [] {
        return deny({SYS_prlimit64, SYS_prctl, SYS_uname, SYS_sched_getaffinity, SYS_openat, SYS_mprotect},
                    EPERM);
      },
      [](const MachineReport& report) {
        return report.kernel == "unknown" && report.cpus == 0 &&
               check(report, "native code").state == State::kMissing &&
               check(report, "descriptors").state == State::kDegraded;
      });
}

TEST(MachineTest, MemoryThatMayNotBecomeExecutableMeansThatNoGuestRuns) {
  EXPECT_HOLDS_IN_CHILD([] { return ::prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) == 0; },
                        [](const MachineReport& report) {
                          const MachineCheck native = check(report, "native code");
                          return native.state == State::kMissing && contains(native.found, "PR_SET_MDWE") &&
                                 contains(native.cost, "No guest runs");
                        });
}

// RLIMIT_AS with room for two slots, not three; then with none.
TEST(MachineTest, AnAddressSpaceLimitLimitsTheSlots) {
  if (test::kSanitized) GTEST_SKIP() << "the sanitizer's own memory is above the limit";
  const auto limit_to = [](uint64_t bytes) {
    const rlimit limit = {bytes, bytes};
    return ::setrlimit(RLIMIT_AS, &limit) == 0;
  };
  EXPECT_HOLDS_IN_CHILD([&] { return limit_to(uint64_t{9} << 30); },
                        [](const MachineReport& report) {
                          return report.slots_4gib.count == 2 &&
                                 report.slots_4gib.limited_by == "address space" &&
                                 check(report, "address space").state == State::kDegraded;
                        });
  EXPECT_HOLDS_IN_CHILD([&] { return limit_to(uint64_t{2} << 30); },
                        [](const MachineReport& report) {
                          return report.slots_4gib.count == 0 &&
                                 report.address_space_bytes > uint64_t{1} << 30 &&
                                 report.address_space_bytes < uint64_t{2} << 30;
                        });
}

TEST(MachineTest, WithoutDescriptorsTheReportSaysUnknown) {
  if (test::kAddressSanitizer) GTEST_SKIP() << "UBSan opens a pipe to look at an object's type";
  EXPECT_HOLDS_IN_CHILD(
      [] {
        const rlimit none = {0, 0};
        return ::setrlimit(RLIMIT_NOFILE, &none) == 0;
      },
      [](const MachineReport& report) {
        return check(report, "descriptors").state == State::kDegraded &&
               contains(check(report, "page scan").found, "EMFILE") &&
               check(report, "native code").state == State::kGood;
      });
}

// 512 KiB of guest and 256 KiB of host; a page less is refused by check_thread().
TEST(MachineTest, AStackTooSmallForTheDefaultWasmStackIsDegraded) {
  constexpr int kNeeded = 768 * 1024;
  for (const auto& [bytes, state] :
       {std::pair(kNeeded, State::kGood), std::pair(kNeeded - 4096, State::kDegraded)}) {
    EXPECT_HOLDS_IN_CHILD(
        [stack_bytes = static_cast<rlim_t>(bytes)] {
          const rlimit limit = {stack_bytes, stack_bytes};
          return ::setrlimit(RLIMIT_STACK, &limit) == 0;
        },
        [wanted = state](const MachineReport& report) { return check(report, "stack").state == wanted; });
  }
}

// Files of /proc and /sys are the kernel's, but in a container they may be anybody's.
TEST(MachineTest, NonsenseInFilesIsUnknownNotFatal) {
  const FakeMachine machine;
  const std::string junk(1 << 20, '\x9b');
  for (const char* name :
       {"proc/sys/vm/overcommit_memory", "proc/cpuinfo", "proc/meminfo", "proc/self/cgroup",
        "sys/kernel/mm/ksm/run", "sys/kernel/mm/transparent_hugepage/enabled"}) {
    machine.write(name, junk);
  }
  machine.write("proc/sys/vm/max_map_count", "99999999999999999999999\n");
  machine.write("proc/meminfo", "MemTotal: 18446744073709551615 kB\nMemAvailable: -1 kB\n");
  machine.remove("proc/sys/kernel/perf_event_paranoid");
  ASSERT_EQ(::mkfifo(machine.path("proc/sys/kernel/perf_event_paranoid").c_str(), 0600), 0);
  MachineReport report = machine.probe();
  EXPECT_EQ(first_broken_promise(report), "");
  EXPECT_FALSE(report.mappings_max.has_value());

  machine.write("proc/cpuinfo", "model name : \x1b[31mred\n");
  report = machine.probe();
  EXPECT_EQ(report.cpu, "?[31mred");
}

// No line of the table is wider than 110 columns, with everything missing and with a word that no
// line can hold; and nothing of the texts is lost.
TEST(MachineTest, TextIsAtMost110ColumnsWide) {
  MachineReport report = probe_machine({.proc_root = "/nonexistent/proc", .sys_root = "/nonexistent/sys"});
  report.cpu = std::string(500, 'x');
  report.checks[0].found = std::string(300, '~');
  const std::string text = to_text(report);
  EXPECT_TRUE(text.ends_with('\n'));
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = text.find('\n', start);
    ASSERT_NE(end, text.npos);
    EXPECT_LE(end - start, 110u) << text.substr(start, end - start);
    start = end + 1;
  }
  EXPECT_EQ(std::ranges::count(text, '~'), 300);
}

// States, costs and remedies stand below their check.
TEST(MachineTest, TextShowsCostAndRemedyBelowTheCheck) {
  MachineReport report;
  report.checks = {{"page scan", State::kGood, "yes", "", ""},
                   {"swap", State::kDegraded, "2 GiB", "Slower.", "Turn it off."}};
  const std::string text = to_text(report);
  EXPECT_TRUE(contains(text,
                       "  good      page scan             yes\n"
                       "  degraded  swap                  2 GiB\n"
                       "            cost:   Slower.\n"
                       "            remedy: Turn it off.\n"
                       "\n1 good, 1 degraded, 0 missing\n"))
      << text;
}

TEST(MachineTest, JsonHoldsNumbersAndChecks) {
  MachineReport report;
  report.kernel = "Linux 1.0";
  report.mappings_max = 65530;
  report.slots_4gib = {21826, "vm.max_map_count", "3 mappings"};
  report.checks = {{"swap", State::kDegraded, "2 GiB", "Slower.", "Turn \"it\" off."}};
  const std::string json = json_of(report);
  EXPECT_TRUE(contains(json, "\"worst\": \"degraded\"")) << json;
  EXPECT_TRUE(contains(json, "\"mappings_max\": 65530")) << json;
  EXPECT_TRUE(contains(json, "\"mappings_used\": null")) << json;
  EXPECT_TRUE(contains(json, "\"count\": 21826")) << json;
  EXPECT_TRUE(contains(json, "\"remedy\": \"Turn \\\"it\\\" off.\"")) << json;
}

TEST(MachineTest, TheWorstStateIsTheReportsState) {
  MachineReport report;
  EXPECT_EQ(report.worst(), State::kGood);
  report.checks = {{"a", State::kGood, "", "", ""},
                   {"b", State::kMissing, "", "", ""},
                   {"c", State::kDegraded, "", "", ""}};
  EXPECT_EQ(report.worst(), State::kMissing);
  EXPECT_EQ(state_name(State::kMissing), "missing");
}

}  // namespace
}  // namespace spore::runtime
