// Any bytes, made into a module and calls of it: an instance that was used and made clean cannot be told from
// a new one.  The same check as tests/reset, driven by libFuzzer.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tests/reset/reset_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static spore::reset_test::ResetCheck check(
      spore::engine::Tier::kBaseline);  // its Runtimes are worth keeping
  const auto mismatch = check.check({data, size});
  SPORE_ASSERT(!mismatch.has_value(), mismatch->text);
  return 0;
}
