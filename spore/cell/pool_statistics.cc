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

void PoolStatistics::write_metrics(MetricsWriter& metrics) const {
  const auto family = [&](std::string_view name, std::string_view help, bool counter, const auto& value) {
    counter ? metrics.counter(name, help) : metrics.gauge(name, help);
    for (const Entry& entry : entries) {
      metrics.sample({{"module", entry.module}, {"domain", entry.domain}}, value(entry));
    }
  };
  const auto count = [&](std::string_view name, std::string_view help, uint64_t PoolCounts::* field) {
    family(name, help, true, [&](const Entry& entry) { return entry.counts.*field; });
  };

  count("spore_pool_acquired_total", "Instances handed out.", &PoolCounts::acquired);
  family("spore_pool_hits_total", "Instances handed out that were there already.", true,
         [](const Entry& entry) { return entry.counts.hits(); });
  count("spore_pool_created_total", "Instances made.", &PoolCounts::created);
  count("spore_pool_failed_total", "Instances that could not be made.", &PoolCounts::failed);
  metrics.counter("spore_pool_removed_total", "Instances removed, by reason.");
  for (const Entry& entry : entries) {
    const auto reason = [&](std::string_view name, uint64_t value) {
      metrics.sample({{"module", entry.module}, {"domain", entry.domain}, {"reason", name}}, value);
    };
    reason("evicted", entry.counts.evicted);
    reason("expired", entry.counts.expired);
    reason("retired", entry.counts.retired);
    reason("cleared", entry.counts.cleared);
  }
  metrics.counter("spore_pool_resets_total", "Instances made clean, by how.");
  for (const Entry& entry : entries) {
    const auto mode = [&](std::string_view name, uint64_t value) {
      metrics.sample({{"module", entry.module}, {"domain", entry.domain}, {"mode", name}}, value);
    };
    mode("in_place", entry.counts.resets_in_place);
    mode("anew", entry.counts.resets_anew);
  }
  count("spore_pool_reset_scans_total", "Resets that looked for written pages.", &PoolCounts::scans);
  count("spore_pool_reset_pages_total", "Pages put back by resets.", &PoolCounts::pages_refilled);
  count("spore_pool_resets_timed_total", "Resets that were timed, one in 64.", &PoolCounts::resets_timed);
  family("spore_pool_reset_seconds_total", "Time of the resets that were timed.", true,
         [](const Entry& entry) { return seconds_of_ns(entry.counts.reset_ns); });
  count("spore_pool_waits_total", "Waits for an instance to come free.", &PoolCounts::waits);
  family("spore_pool_wait_seconds_total", "Time of those waits.", true,
         [](const Entry& entry) { return seconds_of_ns(entry.counts.wait_ns); });
  count("spore_pool_timeouts_total", "Waits in vain.", &PoolCounts::timeouts);
  family("spore_pool_instances", "Instances, in use or idle.", false,
         [](const Entry& entry) { return entry.live; });
  family("spore_pool_idle", "Instances that nobody uses.", false,
         [](const Entry& entry) { return entry.idle; });
  family("spore_pool_private_bytes", "Memory that is the instances' own.", false,
         [](const Entry& entry) { return entry.private_bytes; });
  family("spore_pool_image_bytes", "Memory that the instances share.", false,
         [](const Entry& entry) { return entry.image_bytes; });
  metrics.gauge("spore_pool_waiting", "Threads that wait for an instance.").sample(waiting);
  metrics.gauge("spore_pool_queued", "Submitted calls that did not begin.").sample(queued);
}

}  // namespace spore::cell
