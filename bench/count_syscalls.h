#pragma once

// Counts system calls, by the kernel's word.

#include <cstdint>
#include <functional>
#include <optional>

namespace spore::bench {

// System calls of the calling thread for each of `calls` operations of what `make` gives.  A child process
// makes it, warms it up and runs it under ptrace(2).  To be called while this process has one thread.
// Empty where ptrace is denied.
std::optional<double> syscalls_per_call(const std::function<std::function<void(uint64_t)>()>& make,
                                        uint64_t calls = 10'000);

}  // namespace spore::bench
