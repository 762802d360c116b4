#pragma once

// Traps of native code arrive as SIGSEGV, SIGILL and SIGFPE, and Wasmtime's handlers turn them into
// errors.  A handler that the host installs over them gets them first, and a guest's division by zero
// becomes the host's crash.  These functions find that out before a guest can.

#include <cstddef>

#include "spore/base/status.h"

namespace spore::engine {

// Called when an engine was made: from then on, the present handlers are known to be Wasmtime's.  Only
// the first call of a process has an effect, as only the first engine installs handlers.
void remember_trap_handlers();

// True if somebody has replaced a handler since.  It may still pass our traps on.
bool trap_handlers_replaced();

// Traps once per signal (out of bounds, unreachable, division by zero) and expects the error.  If a
// handler was replaced this is tried in a forked child, where a handler that does not pass traps on can
// only kill the child.  kUnavailable: native code must not run in this process.
Status self_test_traps();

// The calling thread may run guests of this stack limit: enough real stack is left below this frame, and
// the three signals are not blocked (the kernel kills a process that traps while they are).  Cheap after
// a thread's first call.  kUnavailable says what to change.
Status check_thread(size_t wasm_stack_bytes);

}  // namespace spore::engine
