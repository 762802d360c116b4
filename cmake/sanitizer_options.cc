// Options of the sanitizers, compiled into every program of a sanitizer build, so that a program started by
// hand behaves as under ctest.  Why each: docs/internals/sanitizers.md.

extern "C" {

const char* __asan_default_options() { return "detect_leaks=1:detect_stack_use_after_return=0"; }

const char* __ubsan_default_options() { return "print_stacktrace=1:halt_on_error=1"; }

const char* __tsan_default_options() { return "report_signal_unsafe=0:die_after_fork=0:halt_on_error=1"; }

// Rust code is not built for TSan: its atomics look like races.
const char* __tsan_default_suppressions() { return "called_from_lib:libspore_rust.so\n"; }

}  // extern "C"
