#pragma once

// The test of the tests: a build with -DSPORE_BREAK_RESET=kPage (or another) resets instances wrongly in that
// one way, and the differential test must notice.  Nothing of it is left in any other build.

#include <cstdint>

namespace spore {

enum class BreakReset : uint8_t {
  kNothing,
  kPage,         // one written page is not put back
  kGlobal,       // one global is not
  kTable,        // one element of a table is not
  kLength,       // a memory that grew stays long
  kDropFlag,     // a segment that was dropped stays so
  kWasi,         // the state of WASI stays
  kKernelWrite,  // pages that the kernel wrote are not looked for
};

#ifdef SPORE_BREAK_RESET
inline constexpr BreakReset kBreakReset = BreakReset::SPORE_BREAK_RESET;
#else
inline constexpr BreakReset kBreakReset = BreakReset::kNothing;
#endif

}  // namespace spore
