// Foreign signal handlers and small stacks.  Each case runs in a child: handlers belong to the process.

#include "spore/engine/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "tests/sanitizers.h"

namespace spore::engine {
namespace {

// Exit status of `body` in a child; -1 if it died of a signal.
int in_child(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::shared_ptr<const Engine> make_engine() { return Engine::create({}, std::make_shared<Ticker>()).value(); }

void install(int signal, void (*handler)(int, siginfo_t*, void*), struct sigaction* before) {
  struct sigaction action{};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(signal, &action, before);
}

struct sigaction chained_to;
void chain(int signal, siginfo_t* info, void* context) { chained_to.sa_sigaction(signal, info, context); }
void swallow(int /*signal*/, siginfo_t* /*info*/, void* /*context*/) { _exit(3); }
void ignore(int /*signal*/, siginfo_t* /*info*/, void* /*context*/) {}  // traps again for ever

TEST(SignalsTest, WithNoForeignHandlerTheSelfTestPasses) {
  EXPECT_EQ(in_child([] {
              const auto engine = make_engine();
              return !trap_handlers_replaced() && self_test_traps().ok();
            }),
            0);
}

// Only the first engine of a process installs handlers, and ctest gives each test its process.
TEST(SignalsTest, AHandlerInstalledBeforeTheEngineDoesNotMatter) {
  if (testing::UnitTest::GetInstance()->test_to_run_count() > 1) GTEST_SKIP() << "only when run alone";
  EXPECT_EQ(in_child([] {
              install(SIGSEGV, swallow, nullptr);
              const auto engine = make_engine();
              return self_test_traps().ok();
            }),
            0);
}

TEST(SignalsTest, AHandlerThatChainsIsAccepted) {
  if (test::kSanitized) GTEST_SKIP() << "the sanitizer's sigaction stands between";
  EXPECT_EQ(in_child([] {
              const auto engine = make_engine();
              install(SIGILL, chain, &chained_to);
              return trap_handlers_replaced() && self_test_traps().ok() && !trap_handlers_replaced();
            }),
            0);
}

class ForeignHandlerTest : public testing::TestWithParam<int> {};

TEST_P(ForeignHandlerTest, OneThatSwallowsTrapsIsFoundOutBeforeAGuestTraps) {
  EXPECT_EQ(in_child([] {
              const auto engine = make_engine();
              install(GetParam(), swallow, nullptr);
              const Status status = self_test_traps();
              return status.code() == Code::kUnavailable &&
                     status.message().find("does not pass traps on") != std::string_view::npos;
            }),
            0);
}
INSTANTIATE_TEST_SUITE_P(EachSignal, ForeignHandlerTest, testing::Values(SIGSEGV, SIGILL, SIGFPE));

TEST(SignalsTest, AHandlerThatReturnsIsFoundOutToo) {
  EXPECT_EQ(in_child([] {
              const auto engine = make_engine();
              install(SIGFPE, ignore, nullptr);
              return self_test_traps().code() == Code::kUnavailable;
            }),
            0);
}

Status check_on_thread(size_t stack_bytes, size_t wasm_stack_bytes) {
  struct Job {
    size_t wasm_stack_bytes;
    Status status;
  } job{wasm_stack_bytes, {}};
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  const int error = pthread_create(
      &thread, &attributes,
      [](void* argument) -> void* {
        auto& work = *static_cast<Job*>(argument);
        work.status = check_thread(work.wasm_stack_bytes);
        return nullptr;
      },
      &job);
  pthread_attr_destroy(&attributes);
  EXPECT_EQ(error, 0);
  pthread_join(thread, nullptr);
  return std::move(job.status);
}

TEST(CheckThreadTest, AStackThatIsTooSmallIsRefusedAndALargeOneTaken) {
  if (test::kThreadSanitizer) GTEST_SKIP() << "TSan gives threads a larger stack than they ask for";
  constexpr size_t kWasmStack = 512 * 1024;
  const Status small = check_on_thread(kWasmStack, kWasmStack);
  EXPECT_EQ(small.code(), Code::kUnavailable);
  EXPECT_NE(small.message().find("wasm_stack_bytes=524288"), std::string_view::npos) << small.message();
  EXPECT_TRUE(check_on_thread(kWasmStack + 2 * kHostStackBytes, kWasmStack).ok());
}

TEST(CheckThreadTest, ABlockedTrapSignalIsNamed) {
  std::jthread([] {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGFPE);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    const Status status = check_thread(kWasmStackBytesMin);
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_NE(status.message().find("Floating point exception"), std::string_view::npos) << status.message();
    // Unblocking is the cure.
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    EXPECT_TRUE(check_thread(kWasmStackBytesMin).ok());
  });
}

}  // namespace
}  // namespace spore::engine
