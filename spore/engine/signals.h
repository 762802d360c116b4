#pragma once

// Traps of native code arrive as SIGSEGV, SIGILL and SIGFPE, and Wasmtime's handlers turn them into
// errors.  A handler that the host installs over them gets them first, and a guest's division by zero
// becomes the host's crash.  These functions find that out before a guest can.

#include <cstddef>
#include <cstdint>

#include "spore/base/status.h"

namespace spore::engine {

// Called when an engine was made: from then on, the present handlers are known to be Wasmtime's.  Only
// the first call of a process has an effect, as only the first engine installs handlers.
void remember_trap_handlers();

// True if somebody has replaced a handler since, by one that self_test_traps() has not tried.
bool trap_handlers_replaced();

// Traps once per signal (out of bounds, unreachable, division by zero) and expects the error.  If a
// handler was replaced this is tried in a forked child, where a handler that does not pass traps on can
// only kill the child.  kUnavailable: native code must not run in this process.
Status self_test_traps();

// Real stack that must be left under the wasm stack: host functions run there, and Wasmtime itself.
inline constexpr size_t kHostStackBytes = 256 * 1024;

// What is known of the calling thread; all 0 until asked.
struct ThreadStack {
  uintptr_t low = 0;
  uintptr_t bytes = 0;
};
// Initial-exec: one instruction to reach also in a plugin that is loaded later (glibc keeps room for it).
extern constinit thread_local ThreadStack thread_stack __attribute__((tls_model("initial-exec")));

// The calling thread may run guests of this stack limit: enough real stack is left below this frame.
// False also before a thread's first check_thread().
inline bool thread_fits(size_t wasm_stack_bytes) {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const uintptr_t left = here - thread_stack.low;  // below the stack it wraps around, and is too large
  return left >= wasm_stack_bytes + kHostStackBytes && left < thread_stack.bytes;
}

// The same with the reason why not.  kUnavailable: too little stack, not the thread's own stack, or one of
// the three signals is blocked (the kernel kills a process that traps while it is).
Status check_thread(size_t wasm_stack_bytes);

}  // namespace spore::engine
