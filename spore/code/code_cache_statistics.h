#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "spore/base/json.h"
#include "spore/base/metrics.h"
#include "spore/code/cache_fault.h"

namespace spore::code {

// What happened in this process, in numbers that only grow.
struct CodeCacheCounts {
  uint64_t hits = 0;
  uint64_t misses = 0;            // refused files included
  uint64_t bytes_read = 0;        // of hits
  uint64_t load_ns = 0;           // of hits
  uint64_t compile_saved_ns = 0;  // what compiling the hits had taken
  uint64_t stored = 0;
  uint64_t bytes_stored = 0;
  uint64_t evicted = 0;  // files removed as they were too many, or too old
  uint64_t bytes_evicted = 0;
  uint64_t removed = 0;  // files removed as they were refused
  uint64_t waits = 0;    // for another process that compiles the same
  uint64_t wait_ns = 0;

  void write_json(JsonWriter& json) const;
};

enum class CodeCacheState : uint8_t { kOn, kReadOnly, kOff };
std::string_view code_cache_state_name(CodeCacheState state);  // "on", "read_only", "off"

struct CodeCacheStatistics {
  CodeCacheState state = CodeCacheState::kOff;
  std::string reason;  // why it is not on
  std::string directory;
  uint64_t bytes_max = 0;  // 0: no limit
  std::string_view eviction;
  // In the directory now, of all processes.
  uint64_t files = 0;
  uint64_t bytes = 0;
  CodeCacheCounts counts;
  std::array<uint64_t, kCacheFaults> faults{};

  uint64_t faults_of(CacheFault fault) const { return faults[static_cast<size_t>(fault)]; }
  void write_json(JsonWriter& json) const;
  // The families of "spore_code_cache_...".
  void write_metrics(MetricsWriter& metrics) const;
};

}  // namespace spore::code
