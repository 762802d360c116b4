#pragma once

#include <cstdint>

#include "spore/base/json.h"
#include "spore/base/metrics.h"

namespace spore::cell {

// What happened, in numbers that only grow.
struct CellCounts {
  uint64_t created = 0;
  uint64_t forked = 0;  // of these, made of another cell
  uint64_t removed = 0;
  uint64_t calls = 0;  // that were committed
  uint64_t rolled_back = 0;
  uint64_t calls_lost = 0;  // committed by nobody yet when another one failed: with commit=on_sleep
  uint64_t woken = 0;
  uint64_t slept = 0;
  uint64_t files_lost = 0;  // that cells had open, and that were gone when they woke
  uint64_t waits = 0;
  uint64_t timeouts = 0;
  uint64_t refused = 0;  // for queue_max

  CellCounts& operator+=(const CellCounts& other);
};

struct CellsStatistics {
  CellCounts counts;
  uint64_t cells = 0;
  uint64_t awake = 0;         // instances that cells have
  uint64_t record_bytes = 0;  // of all cells: names, deltas, and what belongs to them
  uint64_t class_bytes = 0;   // with what size classes are larger
  uint64_t slab_bytes = 0;    // with what no cell has
  uint64_t index_bytes = 0;

  void write_json(JsonWriter& json) const;
  // The families "spore_cell...".
  void write_metrics(MetricsWriter& metrics) const;
};

}  // namespace spore::cell
