#pragma once

#include <cstdint>

#include "spore/base/json.h"

namespace spore::snapshot {

// What reading a file took.  Times of parts are summed over threads: together they may be more than the
// whole.
struct LoadStatistics {
  uint64_t load_ns = 0;        // the whole
  uint64_t decompress_ns = 0;  // frames into bytes
  uint64_t validate_ns = 0;    // comparing hashes, holding the parts against the module, proving it
  uint64_t map_ns = 0;         // pages into memory: mapped from the file, or copied
  uint64_t initialise_ns = 0;  // the other sections into values; the module
  uint64_t stored_bytes = 0;   // of all sections in the file
  uint64_t raw_bytes = 0;      // of the same, decompressed
  uint64_t exports = 0;
  uint64_t prefetched_bytes = 0;  // of pages that the system was asked for ahead
  bool mapped = false;            // the pages are the file's own
  bool from_cache = false;        // nothing was read (SnapshotManager)

  // How many times smaller it is in the file.
  double ratio() const {
    return stored_bytes == 0 ? 1 : static_cast<double>(raw_bytes) / static_cast<double>(stored_bytes);
  }
  // Raw bytes in a second.
  double throughput() const {
    constexpr double kNsInSecond = 1e9;
    return load_ns == 0 ? 0 : static_cast<double>(raw_bytes) * kNsInSecond / static_cast<double>(load_ns);
  }
  // An object's fields.
  void write_json(JsonWriter& json) const;
};

}  // namespace spore::snapshot
