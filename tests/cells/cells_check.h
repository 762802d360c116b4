#pragma once

// Are cells what they would be if they never slept?  Modules are made from bytes, and cells of them called,
// put to sleep, woken, forked, carried to other places and rolled back, in any order.  Beside each stands a
// twin, an instance to which only the calls happen that succeeded.  Each call must give what it gives there,
// and all state must be equal, again and again.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/cells/plan.h"
#include "tests/cells/stage.h"
#include "tests/cells/workers.h"
#include "tests/differential/check.h"
#include "tests/differential/guest.h"

namespace spore::cells_test {

// What was tried.
struct Statistics {
  uint64_t cases = 0;
  uint64_t not_made = 0;        // the generator made no module
  uint64_t not_instances = 0;   // its start function or a segment traps, on both
  uint64_t not_in_place = 0;    // not all of its state can be held: none of its cells can be made
  uint64_t histories = 0;       // the rest
  uint64_t histories_left = 0;  // before their end: where tiers may differ, or a twin took too long
  uint64_t steps = 0;
  // Calls that were compared, of one in four of which it is known what they changed.
  uint64_t calls = 0;
  uint64_t returned = 0;
  uint64_t trapped = 0;
  uint64_t calls_seen = 0;
  uint64_t changed_memory = 0;
  uint64_t changed_length = 0;
  uint64_t changed_global = 0;
  uint64_t changed_table = 0;
  // Calls that were not: the twin never heard of them.
  uint64_t stopped = 0;     // by a deadline
  uint64_t unanswered = 0;  // by the host
  uint64_t too_long = 0;    // the delta
  // Of cells.
  uint64_t woken = 0;
  uint64_t rolled_back = 0;
  uint64_t calls_lost = 0;
  uint64_t looks = 0;
  uint64_t states = 0;               // that were taken
  uint64_t states_with_changes = 0;  // against the image
  uint64_t forked = 0;
  uint64_t carried = 0;
  uint64_t links = 0;
  uint64_t links_with_changes = 0;
  uint64_t unchained = 0;  // from two links or more
  uint64_t in_files = 0;   // from links that were written and read
  uint64_t rebased = 0;
  uint64_t other_wasi = 0;            // of these two, where WASI is not as in the image
  uint64_t together = 0;              // steps of several threads
  std::array<uint64_t, 4> climbed{};  // by the tier that was come to

  std::string text() const;
  // What was tried too little of, a line each; empty: enough of everything.
  std::string shortfalls() const;
};

// Bound to its thread.
class CellsCheck final : public differential::Check {
 public:
  CellsCheck();
  ~CellsCheck() override;
  CellsCheck(const CellsCheck&) = delete;
  CellsCheck& operator=(const CellsCheck&) = delete;

  std::optional<differential::Mismatch> check(std::span<const uint8_t> bytes) override;
  std::string statistics_text() const override { return statistics_.text(); }
  std::string shortfalls() const override { return statistics_.shortfalls(); }

  // One plan for a module at hand: what was different, if anything was.
  std::optional<std::string> run(const differential::Guest& guest, const Plan& plan);
  const Statistics& statistics() const { return statistics_; }

 private:
  World& world(const differential::Guest& guest);

  Statistics statistics_;
  std::vector<std::unique_ptr<runtime::Runtime>> elsewhere_;  // of baseline and of optimised code
  std::vector<std::unique_ptr<World>> worlds_;
  Workers workers_;
};

}  // namespace spore::cells_test
