#pragma once

// Does a module do the same in each tier?  Modules are made from bytes, and the same calls are made of each
// in every way that there is to run it, in one tier or handed over from one to the next: what they give, or
// why they give nothing, and all state that they leave must be equal, bit for bit.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "tests/differential/check.h"
#include "tests/differential/guest.h"
#include "tests/tiers/flaw.h"
#include "tests/tiers/subject.h"

namespace spore::tiers_test {

// What was tried.
struct Statistics {
  uint64_t cases = 0;
  uint64_t not_made = 0;       // the generator made no module
  uint64_t not_taken = 0;      // the baseline compiler lacks something
  uint64_t not_instances = 0;  // its start function or a segment traps, in all tiers
  uint64_t modules = 0;        // the rest
  uint64_t vector_modules = 0;
  uint64_t interpreted = 0;               // that the interpreter takes
  uint64_t peak = 0;                      // that have a form for the peak
  std::array<uint64_t, 4> handed_over{};  // by the tier that they came to
  uint64_t not_handed_over = 0;  // not all of its state can be told, or it has references from outside
  // Ended before their last call, where tiers may differ.
  uint64_t ended_by_stack = 0;
  uint64_t ended_by_clock = 0;
  uint64_t ended_by_memory = 0;
  uint64_t ended_by_fuel = 0;
  // Calls that were compared.
  uint64_t calls = 0;
  uint64_t returned = 0;
  uint64_t trapped = 0;
  uint64_t changed_memory = 0;
  uint64_t changed_length = 0;
  uint64_t changed_global = 0;
  uint64_t changed_table = 0;
  // What they gave, or left in a global.
  uint64_t gave_float = 0;
  uint64_t gave_nan = 0;
  uint64_t gave_vector = 0;

  uint64_t ended() const { return ended_by_stack + ended_by_clock + ended_by_memory + ended_by_fuel; }
  std::string text() const;
  // What was tried too little of, a line each; empty: enough of everything.
  std::string shortfalls() const;
};

// Bound to its thread.
class TiersCheck final : public differential::Check {
 public:
  // `flaw`: what is wrong with one of the tiers.
  explicit TiersCheck(Flaw flaw = Flaw::kNone);
  TiersCheck(const TiersCheck&) = delete;
  TiersCheck& operator=(const TiersCheck&) = delete;

  std::optional<differential::Mismatch> check(std::span<const uint8_t> bytes) override;
  // The same of a module at hand.
  std::optional<differential::Mismatch> check(const differential::Guest& guest);

  std::string statistics_text() const override { return statistics_.text(); }
  std::string shortfalls() const override { return statistics_.shortfalls(); }
  const Statistics& statistics() const { return statistics_; }

 private:
  Engines& engines(const differential::Guest& guest);

  Flaw flaw_;
  Statistics statistics_;
  std::array<std::unique_ptr<Engines>, 2> engines_;  // the second compact
};

}  // namespace spore::tiers_test
