#include "spore/base/fork.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/mutex.h"
#include "tests/sanitizers.h"

namespace spore {
namespace {

// A child that no pthread_atfork handler hears of.
pid_t bare_clone() {
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

using MakeChild = pid_t (*)();

// What `body` answers in a child; 0, which no test expects, if there is no answer.
template <typename Body>
uint64_t in_child(MakeChild make_child, Body body) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return 0;
  const pid_t child = make_child();
  if (child == 0) {
    const uint64_t answer = body();
    _exit(write(ends[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
  }
  close(ends[1]);
  uint64_t answer = 0;
  if (read(ends[0], &answer, sizeof answer) != sizeof answer) answer = 0;
  close(ends[0]);
  int status = 1;
  if (waitpid(child, &status, 0) != child || status != 0) return 0;
  return answer;
}

TEST(ProcessGenerationTest, AllThreadsOfAProcessReadTheSameNumber) {
  const uint64_t number = process_generation();
  EXPECT_NE(number, 0u);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([number] { EXPECT_EQ(process_generation(), number); });
  }
}

TEST(ProcessGenerationTest, AForkedChildReadsALargerNumberAndTheParentTheOldOne) {
  const uint64_t number = process_generation();
  EXPECT_GT(in_child(&fork, &process_generation), number);
  EXPECT_EQ(process_generation(), number);
}

// Only the kernel can tell of these.
class BareCloneTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!process_generation_sees_bare_clones()) GTEST_SKIP() << "the kernel wipes no page on fork";
  }
};

TEST_F(BareCloneTest, ItsChildReadsALargerNumberAndTheParentTheOldOne) {
  const uint64_t number = process_generation();
  EXPECT_GT(in_child(&bare_clone, &process_generation), number);
  EXPECT_EQ(process_generation(), number);
}

// All ways to make a child and a grandchild; the child asks before it makes the grandchild, or does not.
TEST_F(BareCloneTest, AGrandchildReadsANumberThatItsMemoryDoesNotRemember) {
  const uint64_t number = process_generation();
  for (const MakeChild make_child : {MakeChild{&fork}, MakeChild{&bare_clone}}) {
    for (const MakeChild make_grandchild : {MakeChild{&fork}, MakeChild{&bare_clone}}) {
      for (const bool child_asks : {false, true}) {
        const bool differs = in_child(make_child, [=] {
          const uint64_t childs = child_asks ? process_generation() : number;
          return in_child(make_grandchild, [=] { return uint64_t{process_generation() > childs}; });
        });
        EXPECT_TRUE(differs) << (make_child == &fork) << (make_grandchild == &fork) << child_asks;
      }
    }
  }
}

// Nobody has asked in the child of a bare clone until its threads do, all at once.
TEST_F(BareCloneTest, ThreadsOfAChildThatAskAtOnceReadOneNumber) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan does not follow threads that a forked child starts";
  const uint64_t number = process_generation();
  for (int round = 0; round < 20; round++) {
    const bool one_number = in_child(&bare_clone, [number] {
      std::array<uint64_t, 4> read{};
      std::atomic<size_t> ready = 0;
      {
        std::vector<std::jthread> threads;
        for (uint64_t& mine : read) {
          threads.emplace_back([&] {
            ready++;
            while (ready < read.size()) {
            }
            mine = process_generation();
          });
        }
      }
      for (const uint64_t each : read) {
        if (each != read[0] || each != process_generation() || each <= number) return uint64_t{0};
      }
      return uint64_t{1};
    });
    ASSERT_TRUE(one_number) << round;
  }
}

// The same program once more where madvise() refuses MADV_WIPEONFORK: with the number in ordinary memory
// the handlers must still tell a forked child, and nobody must believe that a bare clone is seen.
TEST(ProcessGenerationTest, WhereTheKernelRefusesForkIsStillSeen) {
  static constexpr const char* kInside = "SPORE_FORK_TEST_WITHOUT_WIPING";
  if (std::getenv(kInside) != nullptr) {
    ASSERT_FALSE(process_generation_sees_bare_clones());
    const uint64_t number = process_generation();
    EXPECT_NE(number, 0u);
    EXPECT_EQ(in_child(&bare_clone, &process_generation), number);
    EXPECT_GT(in_child(&fork, &process_generation), number);
    EXPECT_GT(in_child(&fork, [] { return in_child(&fork, &process_generation); }), number + 1);
    EXPECT_EQ(process_generation(), number);
    return;
  }
  std::array filter{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
      // The advice; its lower half, on little-endian machines.
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_WIPEONFORK, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{filter.size(), filter.data()};
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    setenv(kInside, "1", 1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(1);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(2);
    execl("/proc/self/exe", "fork_test", "--gtest_filter=*.WhereTheKernelRefusesForkIsStillSeen", nullptr);
    _exit(3);
  }
  int status = 1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// Writes down what is asked of it, by whom all share one line.
class Recorder final : public ForkAware {
 public:
  Recorder(char name, std::string& line) : name_(name), line_(line) {}

  void lock_for_fork() override { note('+'); }
  void unlock_after_fork() override { note('-'); }
  void repair_in_child() override { note('*'); }

 private:
  void note(char what) {
    line_ += what;
    line_ += name_;
  }

  char name_;
  std::string& line_;
  const ForkRegistration registration_{*this};
};

class ForkAwareTest : public testing::Test {
 protected:
  // Forks, and says if the child has written `child` and this process `parent`.
  void expect_after_fork(std::string_view parent, std::string_view child) {
    line.clear();
    EXPECT_TRUE(in_child(&fork, [&] { return uint64_t{line == child}; })) << child;
    EXPECT_EQ(line, parent);
  }

  std::string line = std::string(100, ' ');  // does not grow in the child
};

TEST_F(ForkAwareTest, ObjectsAreLockedInTheOrderOfRegistrationRepairedInTheChildAndUnlocked) {
  const Recorder a('a', line);
  const Recorder b('b', line);
  const Recorder c('c', line);
  expect_after_fork("+a+b+c-a-b-c", "+a+b+c*a*b*c-a-b-c");
}

TEST_F(ForkAwareTest, AnObjectThatIsGoneIsNotAsked) {
  expect_after_fork("", "");
  auto a = std::make_unique<Recorder>('a', line);
  auto b = std::make_unique<Recorder>('b', line);
  auto c = std::make_unique<Recorder>('c', line);
  b.reset();  // between two
  expect_after_fork("+a+c-a-c", "+a+c*a*c-a-c");
  c.reset();  // the last
  const Recorder d('d', line);
  expect_after_fork("+a+d-a-d", "+a+d*a*d-a-d");
  a.reset();  // the first
  expect_after_fork("+d-d", "+d*d-d");
}

TEST_F(ForkAwareTest, AGrandchildGoesThroughItTwice) {
  const Recorder a('a', line);
  line.clear();
  EXPECT_TRUE(
      in_child(&fork, [&] { return in_child(&fork, [&] { return uint64_t{line == "+a*a-a+a*a-a"}; }); }));
}

// Numbers that are equal whenever the lock is free, and rarely while it is not.
class Numbers final : public ForkAware {
 public:
  void change() SPORE_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    for (volatile uint64_t& number : numbers_) number = number + 1;
  }
  bool equal() SPORE_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const uint64_t first = numbers_[0];
    return std::ranges::all_of(numbers_, [first](uint64_t number) { return number == first; });
  }

 private:
  void lock_for_fork() override SPORE_ACQUIRE(mutex_) { mutex_.lock(); }
  void unlock_after_fork() override SPORE_RELEASE(mutex_) { mutex_.unlock(); }
  void repair_in_child() override {}

  Mutex mutex_;
  std::array<volatile uint64_t, 1000> numbers_ SPORE_GUARDED_BY(mutex_){};
  const ForkRegistration registration_{*this};
};

// Threads change an object all the time, others come and go, while children are forked: each must find the
// object unlocked and whole, and read a number of its own.
TEST(ForkUnderLoadTest, ChildrenFindEveryObjectWholeAndUnlocked) {
  Numbers numbers;
  std::atomic<bool> stop = false;
  std::jthread changes([&] {
    while (!stop) numbers.change();
  });
  // One such thread: of two, objects would come back at the addresses of others in another order, and TSan,
  // to which a std::mutex never ends, would see their locks taken in both.
  std::jthread comes_and_goes([&] {
    while (!stop) {
      numbers.change();
      Numbers passing;
      passing.change();
    }
  });
  const uint64_t generation = process_generation();
  for (int round = 0; round < 100; round++) {
    const bool whole = in_child(&fork, [&] {
      const bool equal = numbers.equal();
      numbers.change();
      const Numbers another;  // the list is unlocked, too
      return uint64_t{equal && process_generation() > generation};
    });
    EXPECT_TRUE(whole) << round;
  }
  stop = true;
}

}  // namespace
}  // namespace spore
