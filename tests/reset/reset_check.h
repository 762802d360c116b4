#pragma once

// Can an instance that was used and made clean be told from a new one?  Modules are made from bytes,
// instances of them used, and then compared with new ones: all of their state, then what further calls give
// on both, then all state again.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/runtime/runtime.h"
#include "tests/differential/check.h"
#include "tests/differential/guest.h"
#include "tests/reset/clean_source.h"
#include "tests/reset/plan.h"

namespace spore::reset_test {

// What was tried.
struct Statistics {
  bool interpreted = false;  // all of it
  uint64_t cases = 0;
  uint64_t not_made = 0;       // the generator made no module
  uint64_t not_instances = 0;  // its start function or a segment traps, on both
  uint64_t modules = 0;        // the rest
  uint64_t in_place = 0;
  // Of modules in place.
  uint64_t acquired = 0;  // instances
  uint64_t reused = 0;    // of these, the ones that were used before, and reset
  uint64_t resets = 0;
  uint64_t resets_in_place = 0;       // the others: a table grew
  uint64_t memories_reset = 0;        // where a scan may be skipped
  uint64_t memories_not_scanned = 0;  // and was
  uint64_t rounds = 0;
  uint64_t rounds_left = 0;  // before their end: a call ran into its deadline
  // Calls that were compared.
  uint64_t calls = 0;
  uint64_t returned = 0;
  uint64_t changed_memory = 0;
  uint64_t changed_length = 0;
  uint64_t changed_global = 0;
  uint64_t changed_table = 0;

  std::string text() const;
  // What was tried too little of, a line each; empty: enough of everything.
  std::string shortfalls() const;
};

// Bound to its thread.
class ResetCheck final : public differential::Check {
 public:
  explicit ResetCheck(engine::Tier tier);
  ~ResetCheck() override;
  ResetCheck(const ResetCheck&) = delete;
  ResetCheck& operator=(const ResetCheck&) = delete;

  std::optional<differential::Mismatch> check(std::span<const uint8_t> bytes) override;
  std::string statistics_text() const override { return statistics_.text(); }
  std::string shortfalls() const override { return statistics_.shortfalls(); }

 private:
  struct World;
  World& world(const differential::Guest& guest);
  CleanSource make_source(const differential::Guest& guest);
  std::optional<std::string> try_plan(const differential::Guest& guest, CleanSource& source, const Plan& plan,
                                      Statistics& statistics);

  engine::Tier tier_;
  Statistics statistics_;
  std::vector<std::unique_ptr<World>> worlds_;
};

}  // namespace spore::reset_test
