#pragma once

// The test of the test: what a wrong compiler would give.

#include <cstdint>
#include <optional>
#include <string_view>

#include "tests/differential/calls.h"
#include "tests/differential/state.h"

namespace spore::tiers_test {

enum class Flaw : uint8_t {
  kNone,
  // Of the optimised tier.
  kNan,      // one bit of a NaN among the results is another
  kTrap,     // another kind of trap
  kByte,     // a byte that a call wrote is not written
  kLength,   // a memory that a call grew did not grow
  kGlobal,   // a global that a call set is not set
  kElement,  // an element of a table that a call set is not set
  kState,    // of the hand-over: all state is as at the start
};

std::optional<Flaw> flaw_of(std::string_view name);  // "nan", "trap"...

// Whether a float is none, by its bits.
bool is_nan(engine::ValType type, const differential::Outcome::Bits& bits);

// Spoils what a call gave, or what it left where `before` was.  Nothing, if it was not of the kind.
void spoil(Flaw flaw, const engine::FuncType& type, differential::Outcome& outcome);
void spoil(Flaw flaw, const differential::State& before, differential::State& after);

}  // namespace spore::tiers_test
