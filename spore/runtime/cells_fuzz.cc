// Any bytes, made into a module and a history of cells of it: they are what they would be if they had never
// slept.  The same check as tests/cells, driven by libFuzzer.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tests/cells/cells_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static spore::cells_test::CellsCheck check;  // its Runtimes are worth keeping
  const auto mismatch = check.check({data, size});
  SPORE_ASSERT(!mismatch.has_value(), mismatch->text);
  return 0;
}
