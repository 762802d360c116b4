#pragma once

// The test of the tests: a build with -DSPORE_BREAK_CELL=kRun (or another) keeps the state of cells wrongly
// in that one way, and the differential test must notice.  Nothing of it is left in any other build.

#include <cstdint>

namespace spore {

enum class BreakCell : uint8_t {
  kNothing,
  // What a cell is asleep lacks:
  kRun,        // the last run of a memory
  kLength,     // that a memory grew
  kGlobal,     // one global
  kElement,    // one element of a table
  kWasi,       // the state of WASI
  kSameBytes,  // everything, if it has as many bytes as before
  // Others:
  kUncommitted,  // what was not committed yet is forgotten when an instance is needed
  kRollBack,     // a use that failed is committed
  kFork,         // a fork takes the state instead of a copy
  kStale,        // a fork, or a state that is taken, lacks what was not committed yet
  kFold,         // of two deltas the earlier one counts
  kRevert,       // a link forgets what is as in the image again
};

#ifdef SPORE_BREAK_CELL
inline constexpr BreakCell kBreakCell = BreakCell::SPORE_BREAK_CELL;
#else
inline constexpr BreakCell kBreakCell = BreakCell::kNothing;
#endif

}  // namespace spore
