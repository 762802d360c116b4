#pragma once

// What the guests of the tests are given: limits, host functions, files.

#include <cstdint>
#include <memory>
#include <vector>

#include "spore/engine/limits.h"
#include "spore/host/functions.h"
#include "spore/host/wasi.h"

namespace spore::differential {

// No generator makes a module that needs more to begin with.
engine::Limits limits(uint64_t deadline_ms);

// What generated modules import: "log" writes to `logged`, which outlives them all, "fill" into their memory.
host::HostFunctions host_functions(std::vector<int32_t>& logged);

// For the guest that uses WASI: a clock and random numbers that are the same each time, and two files.
std::shared_ptr<const host::WasiConfig> wasi_config();

}  // namespace spore::differential
