// Any text as spore.conf: refused with a line number, or taken; never a crash.

#include <cstdint>
#include <string_view>

#include "spore/runtime/options.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  spore::runtime::RuntimeOptions options;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const spore::Status status = spore::runtime::apply_options_text(options, text, "f");
  SPORE_ASSERT(status.ok() || status.message().starts_with("f:"), "an error without its line");
  return 0;
}
