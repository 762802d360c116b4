// Any bytes, made into a module and calls of it: it does the same in each tier.  The same check as
// tests/tiers, driven by libFuzzer.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tests/tiers/tiers_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static spore::tiers_test::TiersCheck check;  // its Runtimes are worth keeping
  const auto mismatch = check.check({data, size});
  SPORE_ASSERT(!mismatch.has_value(), mismatch->text);
  return 0;
}
