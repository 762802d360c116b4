#include "spore/code/code_cache_statistics.h"

namespace spore::code {
namespace {

struct Field {
  std::string_view name;
  uint64_t CodeCacheCounts::* value;
};
constexpr std::array kFields{
    Field{"hits", &CodeCacheCounts::hits},
    Field{"misses", &CodeCacheCounts::misses},
    Field{"bytes_read", &CodeCacheCounts::bytes_read},
    Field{"load_ns", &CodeCacheCounts::load_ns},
    Field{"compile_saved_ns", &CodeCacheCounts::compile_saved_ns},
    Field{"stored", &CodeCacheCounts::stored},
    Field{"bytes_stored", &CodeCacheCounts::bytes_stored},
    Field{"evicted", &CodeCacheCounts::evicted},
    Field{"bytes_evicted", &CodeCacheCounts::bytes_evicted},
    Field{"removed", &CodeCacheCounts::removed},
    Field{"waits", &CodeCacheCounts::waits},
    Field{"wait_ns", &CodeCacheCounts::wait_ns},
};
static_assert(sizeof(CodeCacheCounts) == kFields.size() * sizeof(uint64_t),
              "a count that is not in the list");

constexpr std::array<std::string_view, 3> kStateNames{"on", "read_only", "off"};

}  // namespace

std::string_view code_cache_state_name(CodeCacheState state) {
  return kStateNames[static_cast<size_t>(state)];
}

void CodeCacheCounts::write_json(JsonWriter& json) const {
  for (const Field& field : kFields) json.field(field.name, this->*field.value);
}

void CodeCacheStatistics::write_json(JsonWriter& json) const {
  json.field("state", code_cache_state_name(state))
      .field("reason", reason)
      .field("directory", directory)
      .field("bytes_max", bytes_max)
      .field("eviction", eviction)
      .field("files", files)
      .field("bytes", bytes);
  counts.write_json(json);
  json.begin_object("faults");
  for (size_t i = 0; i < faults.size(); i++)
    json.field(cache_fault_name(static_cast<CacheFault>(i)), faults[i]);
  json.end_object();
}

void CodeCacheStatistics::write_metrics(MetricsWriter& metrics) const {
  metrics.gauge("spore_code_cache_on", "1: on; 0.5: nothing can be stored; 0: off.")
      .sample(state == CodeCacheState::kOn         ? 1.0
              : state == CodeCacheState::kReadOnly ? 0.5
                                                   : 0.0);
  metrics.counter("spore_code_cache_hits_total", "Modules whose code was loaded.").sample(counts.hits);
  metrics.counter("spore_code_cache_misses_total", "Modules whose code was not there, or refused.")
      .sample(counts.misses);
  metrics.counter("spore_code_cache_read_bytes_total", "Bytes of code that was loaded.")
      .sample(counts.bytes_read);
  metrics.counter("spore_code_cache_load_seconds_total", "Time of loading it.")
      .sample(seconds_of_ns(counts.load_ns));
  metrics.counter("spore_code_cache_compile_saved_seconds_total", "Time that compiling it had taken.")
      .sample(seconds_of_ns(counts.compile_saved_ns));
  metrics.counter("spore_code_cache_stored_total", "Files written.").sample(counts.stored);
  metrics.counter("spore_code_cache_stored_bytes_total", "Bytes of these.").sample(counts.bytes_stored);
  metrics.counter("spore_code_cache_evicted_total", "Files removed to make room, or as too old.")
      .sample(counts.evicted);
  metrics.counter("spore_code_cache_evicted_bytes_total", "Bytes of these.").sample(counts.bytes_evicted);
  metrics.counter("spore_code_cache_removed_total", "Files removed as they were refused.")
      .sample(counts.removed);
  metrics.counter("spore_code_cache_waits_total", "Waits for another process that compiled the same.")
      .sample(counts.waits);
  metrics.counter("spore_code_cache_wait_seconds_total", "Time of these.")
      .sample(seconds_of_ns(counts.wait_ns));
  metrics.counter("spore_code_cache_faults_total", "What went wrong, by cause.");
  for (size_t i = 0; i < faults.size(); i++) {
    metrics.sample({{"cause", cache_fault_name(static_cast<CacheFault>(i))}}, faults[i]);
  }
  metrics.gauge("spore_code_cache_files", "Files in the directory, of all processes.").sample(files);
  metrics.gauge("spore_code_cache_bytes", "Bytes of these.").sample(bytes);
}

}  // namespace spore::code
