#pragma once

// What is done with the cells of one module: a history.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "spore/cell/cells_options.h"
#include "tests/cells/host_side.h"
#include "tests/differential/calls.h"
#include "tests/differential/random.h"

namespace spore::cells_test {

// Of the cells of a history.  A cell lives in one of two places, each of which is a Cells in a Runtime of its
// own.
struct Options {
  cell::Commit commit = cell::Commit::kEveryCall;
  uint64_t idle_sleep_ms = 0;
  uint32_t awake_max = 64;
  bool few_bytes_awake = false;  // clean_up() puts most of them to sleep
  bool small_deltas = false;     // some calls change too much
  bool housekeeping = false;
  bool domain = false;  // they are of one that has a name
  uint32_t cells = 1;   // at the start, of the first place

  // Each call that is done is committed.
  bool lasts() const { return commit == cell::Commit::kEveryCall || idle_sleep_ms == 0; }
};

enum class StepKind : uint8_t {
  kCall,      // each of its calls, by itself
  kUse,       // all of its calls in one use
  kHindered,  // a call, with a host that answers otherwise
  kSleep,
  kWake,
  kLook,
  kCreate,
  kRemove,
  kFork,
  kCarry,    // its state, into a new cell of the other place
  kLink,     // its state, as one more link of its chain
  kUnchain,  // a new cell of that chain
  kRebase,   // a new cell of what an image with its delta differs by from the first image
  kCleanUp,
  kClimb,     // its place's module gets better code
  kTogether,  // its calls, shared out to several cells, a thread each
};

// How a call is made.
enum class How : uint8_t {
  kUse,     // by CellUse
  kValues,  // by Cells::call
  kTyped,   // by CellFunction, if it is of such a type
};

// How the state of a cell is looked at.
enum class Look : uint8_t {
  kNot,
  kCommit,  // in the cell, which is committed
  kDrop,    // in the cell, which is then as before
  kCopy,    // in a cell of another Cells that begins as it is
};

struct Step {
  StepKind kind = StepKind::kLook;
  uint32_t cell = 0;   // of those that there are, counted round
  uint32_t other = 0;  // whatever else is to be chosen: its bits
  How how = How::kUse;
  Look look = Look::kNot;
  Answers answers = Answers::kUsual;
  bool commit = true;  // of a use
  std::vector<differential::Call> calls{};
};

struct Plan {
  Options options;
  std::vector<Step> steps;
};

// With small_deltas: what a cell may differ by from its image.
inline constexpr uint64_t kSmallDeltaBytes = 2'000;

inline constexpr uint64_t kStepsMin = 20;
inline constexpr uint64_t kStepsMax = 60;

// `functions` is not empty.  `climbs`: the module may get better code.
Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, bool climbs,
               differential::Random& random);

// All plans that are `plan` without some steps or one call, or that begin with fewer cells.  The largest
// things first.
std::vector<Plan> smaller_plans(const Plan& plan);

std::string_view step_name(StepKind kind);
std::string text(const Plan& plan);

}  // namespace spore::cells_test
