#pragma once

// Counts what this program asks of malloc and its kin: C++ and Rust (whose standard allocator is malloc)
// alike.

#include <cstdint>

namespace spore::bench {

// Since the start of the calling thread.
uint64_t allocations_of_this_thread();

}  // namespace spore::bench
