#include "spore/engine/signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include "spore/engine/handles.h"

namespace spore::engine {
namespace {

constexpr std::array<int, 3> kTrapSignals{SIGSEGV, SIGILL, SIGFPE};

using Handler = void (*)(int, siginfo_t*, void*);

Handler present_handler(int signal) {
  struct sigaction action{};
  sigaction(signal, nullptr, &action);
  return action.sa_sigaction;
}

// Signal handlers belong to the process, and so does what is known of them.
std::once_flag remembered;
std::array<std::atomic<Handler>, kTrapSignals.size()> handlers;  // that are known to pass traps on

void remember_present_handlers() {
  for (size_t i = 0; i < kTrapSignals.size(); i++) handlers[i].store(present_handler(kTrapSignals[i]));
}

// Three functions (i32, i32) -> i32, one trap for each signal:
// (div_s would not do: compilers check its operands first, and trap by SIGILL.)
//   a: (i32.load (local.get 0))   b: unreachable   c: (i32.div_u (local.get 0) (local.get 1))
constexpr std::array<uint8_t, 66> kTrapModule{
    0x00, 0x61, 0x73, 0x6D, 0x01, 0x00, 0x00, 0x00, 0x01, 0x07, 0x01, 0x60, 0x02, 0x7F, 0x7F, 0x01, 0x7F,
    0x03, 0x04, 0x03, 0x00, 0x00, 0x00, 0x05, 0x03, 0x01, 0x00, 0x01, 0x07, 0x0D, 0x03, 0x01, 0x61, 0x00,
    0x00, 0x01, 0x62, 0x00, 0x01, 0x01, 0x63, 0x00, 0x02, 0x0A, 0x15, 0x03, 0x07, 0x00, 0x20, 0x00, 0x28,
    0x02, 0x00, 0x0B, 0x03, 0x00, 0x00, 0x0B, 0x07, 0x00, 0x20, 0x00, 0x20, 0x01, 0x6E, 0x0B,
};

Status expect_trap(wasmtime_context_t* context, const wasmtime_instance_t& instance, const char* name,
                   wasmtime_trap_code_t expected) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(context, &instance, name, 1, &item)) {
    return Status::internal("the trap self-test has no function '{}'", name);
  }
  std::array<wasmtime_val_raw_t, 2> values{};
  values[0].i32 = expected == WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS ? -1 : 1;
  wasm_trap_t* raw = nullptr;
  const ErrorHandle error(
      wasmtime_func_call_unchecked(context, &item.of.func, values.data(), values.size(), &raw));
  const TrapHandle trap(raw);
  wasmtime_trap_code_t code = 0;
  if (trap == nullptr || !wasmtime_trap_code(trap.get(), &code) || code != expected) {
    return Status::internal("the trap self-test '{}' did not end in its trap", name);
  }
  return {};
}

// On an engine of its own, without epochs: no ticker is needed, also in a child.
Status trap_once_per_signal() {
  ConfigHandle config(wasm_config_new());
  wasmtime_config_parallel_compilation_set(config.get(), false);
  wasmtime_config_native_unwind_info_set(config.get(), false);
  const std::unique_ptr<wasm_engine_t, DeleteWith<wasm_engine_delete>> engine(
      wasm_engine_new_with_config(config.release()));
  wasmtime_module_t* raw_module = nullptr;
  const ErrorHandle compile_error(
      wasmtime_module_new(engine.get(), kTrapModule.data(), kTrapModule.size(), &raw_module));
  if (compile_error != nullptr) {
    return Status::unavailable("native code cannot be made here: {}", error_message(*compile_error));
  }
  const std::unique_ptr<wasmtime_module_t, DeleteWith<wasmtime_module_delete>> module(raw_module);
  const StoreHandle store(wasmtime_store_new(engine.get(), nullptr, nullptr));
  wasmtime_context_t* context = wasmtime_store_context(store.get());
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  const ErrorHandle error(wasmtime_instance_new(context, module.get(), nullptr, 0, &instance, &trap));
  if (error != nullptr || trap != nullptr) return Status::internal("the trap self-test does not start");
  SPORE_TRY(expect_trap(context, instance, "a", WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS));
  SPORE_TRY(expect_trap(context, instance, "b", WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED));
  return expect_trap(context, instance, "c", WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO);
}

constexpr int kChildPassed = 42;  // no exit status that a handler would choose
constexpr auto kChildTimeMax = std::chrono::seconds(5);

// In a child, where a foreign handler may do what it likes: die, jump, or trap again for ever.
bool child_traps() {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) _exit(trap_once_per_signal().ok() ? kChildPassed : 1);
  const auto end = std::chrono::steady_clock::now() + kChildTimeMax;
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) && WEXITSTATUS(status) == kChildPassed;
    if (ended < 0 && errno != EINTR) return false;
    if (std::chrono::steady_clock::now() > end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Once per thread: costs a file read on the main thread, whose stack the kernel lays out.
Status first_check() {
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  for (const int signal : kTrapSignals) {
    if (sigismember(&blocked, signal) == 1) {
      return Status::unavailable(
          "this thread blocks {}, by which guests trap: unblock it with "
          "pthread_sigmask before calling",
          strsignal(signal));
    }
  }
  pthread_attr_t attributes;
  void* low = nullptr;
  size_t bytes = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
    return Status::unavailable("this thread's stack cannot be found out (pthread_getattr_np failed)");
  }
  pthread_attr_getstack(&attributes, &low, &bytes);
  pthread_attr_destroy(&attributes);
  thread_stack = {reinterpret_cast<uintptr_t>(low), bytes};
  return {};
}

}  // namespace

void remember_trap_handlers() { std::call_once(remembered, remember_present_handlers); }

bool trap_handlers_replaced() {
  for (size_t i = 0; i < kTrapSignals.size(); i++) {
    if (present_handler(kTrapSignals[i]) != handlers[i].load()) return true;
  }
  return false;
}

Status self_test_traps() {
  if (!trap_handlers_replaced()) return trap_once_per_signal();
  if (child_traps()) {
    remember_present_handlers();  // no child for these again
    return {};
  }
  return Status::unavailable(
      "a signal handler that was installed after Spore's (SIGSEGV, SIGILL or SIGFPE) does not pass "
      "traps on: native code would crash this process.  Install it before the Runtime is made, or "
      "chain to the previous handler");
}

constinit thread_local ThreadStack thread_stack;

Status check_thread(size_t wasm_stack_bytes) {
  if (thread_stack.bytes == 0) SPORE_TRY(first_check());
  if (thread_fits(wasm_stack_bytes)) return {};
  const uintptr_t left = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - thread_stack.low;
  if (left >= thread_stack.bytes) {
    return Status::unavailable(
        "this is not the thread's own stack (a coroutine's, or a signal's): how much is left cannot be "
        "known, so no guest runs here");
  }
  return Status::unavailable(
      "this thread has {} bytes of stack left, a call needs {} (wasm_stack_bytes={} and {} for the "
      "host): call from a thread with a larger stack, or lower wasm_stack_bytes",
      left, wasm_stack_bytes + kHostStackBytes, wasm_stack_bytes, kHostStackBytes);
}

}  // namespace spore::engine
