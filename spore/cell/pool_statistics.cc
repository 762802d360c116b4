#include "spore/cell/pool_statistics.h"

#include <array>
#include <string_view>

namespace spore::cell {
namespace {

struct Field {
  std::string_view name;
  uint64_t PoolCounts::* value;
};
constexpr std::array kFields{
    Field{"acquired", &PoolCounts::acquired},
    Field{"misses", &PoolCounts::misses},
    Field{"created", &PoolCounts::created},
    Field{"failed", &PoolCounts::failed},
    Field{"evicted", &PoolCounts::evicted},
    Field{"expired", &PoolCounts::expired},
    Field{"retired", &PoolCounts::retired},
    Field{"cleared", &PoolCounts::cleared},
    Field{"resets_in_place", &PoolCounts::resets_in_place},
    Field{"resets_anew", &PoolCounts::resets_anew},
    Field{"scans", &PoolCounts::scans},
    Field{"pages_refilled", &PoolCounts::pages_refilled},
    Field{"resets_timed", &PoolCounts::resets_timed},
    Field{"reset_ns", &PoolCounts::reset_ns},
    Field{"waits", &PoolCounts::waits},
    Field{"wait_ns", &PoolCounts::wait_ns},
    Field{"timeouts", &PoolCounts::timeouts},
};
static_assert(sizeof(PoolCounts) == kFields.size() * sizeof(uint64_t), "a count that is not in the list");

double ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

double PoolCounts::hit_rate() const { return ratio(hits(), acquired); }
double PoolCounts::pages_per_reset() const { return ratio(pages_refilled, resets_in_place); }
double PoolCounts::ns_per_reset() const { return ratio(reset_ns, resets_timed); }

PoolCounts& PoolCounts::operator+=(const PoolCounts& other) {
  for (const Field& field : kFields) this->*field.value += other.*field.value;
  return *this;
}

PoolCounts& PoolCounts::operator-=(const PoolCounts& other) {
  for (const Field& field : kFields) this->*field.value -= other.*field.value;
  return *this;
}

void PoolCounts::write_json(JsonWriter& json) const {
  for (const Field& field : kFields) json.field(field.name, this->*field.value);
  json.field("hits", hits())
      .field("hit_rate", hit_rate())
      .field("pages_per_reset", pages_per_reset())
      .field("ns_per_reset", ns_per_reset());
}

void PoolStatistics::write_json(JsonWriter& json) const {
  json.field("live", live)
      .field("idle", idle)
      .field("waiting", waiting)
      .field("queued", queued)
      .field("private_bytes", private_bytes)
      .field("image_bytes", image_bytes);
  counts.write_json(json);
  json.begin_array("entries");
  for (const Entry& entry : entries) {
    json.begin_object()
        .field("module", entry.module)
        .field("domain", entry.domain)
        .field("in_place", entry.in_place)
        .field("live", entry.live)
        .field("idle", entry.idle)
        .field("private_bytes", entry.private_bytes)
        .field("image_bytes", entry.image_bytes);
    entry.counts.write_json(json);
    json.begin_array("instances");
    for (const Entry::Instance& instance : entry.instances) {
      json.begin_object()
          .field("uses", instance.uses)
          .field("idle", instance.idle)
          .field("idle_ms", instance.idle_ms)
          .end_object();
    }
    json.end_array().end_object();
  }
  json.end_array();
}

}  // namespace spore::cell
