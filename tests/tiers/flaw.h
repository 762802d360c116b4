#pragma once

// The test of the test: what a wrong compiler would give.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "tests/differential/calls.h"
#include "tests/differential/state.h"

namespace spore::tiers_test {

enum class Flaw : uint8_t {
  kNone,
  // What the optimised tier gives or leaves is not what it was:
  kNan,      // one bit of a NaN among the results
  kTrap,     // the kind of a trap
  kByte,     // a byte that a call wrote is not written
  kLength,   // a memory that a call grew did not grow
  kGlobal,   // a global that a call set is not set
  kElement,  // an element of a table that a call set is not set
  // Its compiler takes one instruction for another:
  kMin,       // f64.min is f64.max
  kNearest,   // f32.nearest is f32.trunc
  kShift,     // i64.shr_s is i64.shr_u
  kLess,      // i32.lt_s is i32.le_s
  kSaturate,  // i64.trunc_sat_f32_s is unsigned
  kVector,    // f64x2.pmin is f64x2.pmax
  // The hand-over:
  kState,  // begins anew
};

std::optional<Flaw> flaw_of(std::string_view name);  // "nan", "trap"...

// Whether a float is none, by its bits.
bool is_nan(engine::ValType type, const differential::Outcome::Bits& bits);

// Spoil what a call gave, and what it left where `before` was.  Nothing, if it was not of the kind.
void spoil(Flaw flaw, const engine::FuncType& type, differential::Outcome& outcome);
void spoil(Flaw flaw, const differential::State& before, differential::State& after);
// Spoils what a compiler is to take.
void spoil(Flaw flaw, std::span<uint8_t> wasm);

}  // namespace spore::tiers_test
