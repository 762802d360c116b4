#include "spore/snapshot/statistics.h"

namespace spore::snapshot {

void LoadStatistics::write_json(JsonWriter& json) const {
  json.field("load_ns", load_ns).field("decompress_ns", decompress_ns).field("validate_ns", validate_ns);
  json.field("map_ns", map_ns).field("initialise_ns", initialise_ns).field("stored_bytes", stored_bytes);
  json.field("raw_bytes", raw_bytes).field("ratio", ratio()).field("bytes_per_second", throughput());
  json.field("exports", exports)
      .field("prefetched_bytes", prefetched_bytes)
      .field("mapped", mapped)
      .field("from_cache", from_cache);
}

}  // namespace spore::snapshot
