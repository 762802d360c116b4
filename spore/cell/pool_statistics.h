#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "spore/base/json.h"
#include "spore/base/metrics.h"

namespace spore::cell {

// What happened, in numbers that only grow.
struct PoolCounts {
  uint64_t acquired = 0;  // instances handed out
  uint64_t misses = 0;    // of those, made for it
  uint64_t created = 0;   // made, also ahead
  uint64_t failed = 0;    // could not be made
  uint64_t evicted = 0;   // removed to make room for another
  uint64_t expired = 0;   // removed as nobody used them
  uint64_t retired = 0;   // removed after a trap, a deadline, an error, or invocations_max
  uint64_t cleared = 0;   // removed by clear(), forget(), close() or discard()
  uint64_t resets_in_place = 0;
  uint64_t resets_anew = 0;  // a new instance in the place of the used one
  uint64_t scans = 0;        // resets that looked for written pages
  uint64_t pages_refilled = 0;
  uint64_t resets_timed = 0;  // one in 64
  uint64_t reset_ns = 0;      // of those
  uint64_t waits = 0;         // for an instance to come free
  uint64_t wait_ns = 0;
  uint64_t timeouts = 0;  // waits in vain

  uint64_t hits() const { return acquired - misses; }
  double hit_rate() const;
  // Means; 0 of nothing.
  double pages_per_reset() const;
  double ns_per_reset() const;

  PoolCounts& operator+=(const PoolCounts& other);
  PoolCounts& operator-=(const PoolCounts& other);
  void write_json(JsonWriter& json) const;
};

struct PoolStatistics {
  struct Entry {
    std::string module;
    std::string domain;
    bool in_place = false;  // else each clean instance is a new one
    uint32_t live = 0;
    uint32_t idle = 0;
    uint64_t private_bytes = 0;  // of its instances
    uint64_t image_bytes = 0;    // that they share
    PoolCounts counts;
    struct Instance {
      uint64_t uses = 0;
      uint64_t idle_ms = 0;  // since it was last given back
      bool idle = false;
    };
    std::vector<Instance> instances;
  };

  PoolCounts counts;  // of all entries, those that are gone included
  uint32_t live = 0;
  uint32_t idle = 0;
  uint32_t waiting = 0;  // threads
  uint32_t queued = 0;   // calls that were submitted and did not begin
  uint64_t private_bytes = 0;
  uint64_t image_bytes = 0;
  std::vector<Entry> entries;

  void write_json(JsonWriter& json) const;
  // The families of "spore_pool_...", by module and domain.
  void write_metrics(MetricsWriter& metrics) const;
};

}  // namespace spore::cell
