#pragma once

// Which code a module begins with, where nobody asked for any.

#include <cstdint>
#include <optional>
#include <string>

#include "spore/engine/engine.h"

namespace spore::code {

// How long the one call of a program took, or the initialiser of a library, when it ran before.
struct EarlierRun {
  engine::Tier tier{};
  uint64_t ms = 0;
};

struct StartFacts {
  uint64_t code_bytes = 0;
  bool may_interpret = false;  // the module, by what it uses, in this Runtime
  bool has_baseline = false;   // compiled already, or: a compiler that can take it
  bool baseline_possible = true;
  bool has_optimised = false;
  // Its one call, or its initialiser, is what everybody waits for, and cannot be moved to better code.
  bool one_call = false;
  std::optional<EarlierRun> earlier;
};

struct StartChoice {
  engine::Tier tier{};
  std::string why;
};

// The code by which the first answer comes soonest: what has to be made until it begins, and how much slower
// it is then.  How the figures were measured: docs/decisions/0013-interpreter.md.
StartChoice choose_start(const StartFacts& facts);

// What a call that took so long in one tier takes in another.
uint64_t scaled_ms(uint64_t ms, engine::Tier from, engine::Tier to);

}  // namespace spore::code
