// Any bytes: inspect() gives facts or an error, and what it says of a valid module is consistent.

#include <cstdint>

#include "spore/wasm/inspect.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kBytesMax = 1 << 20;
  const auto facts = spore::wasm::inspect({data, size}, kBytesMax);
  if (!facts.ok()) {
    SPORE_ASSERT(!facts.status().message().empty(), "an error without words");
    SPORE_ASSERT(facts.status().message().find('\n') == std::string_view::npos, "an error of two lines");
    return 0;
  }
  SPORE_ASSERT(facts->functions >= facts->functions_imported, "more imports than functions");
  SPORE_ASSERT(facts->memories == facts->memory_types.size(), "a memory was not told");
  SPORE_ASSERT(facts->code_bytes + facts->data_bytes + facts->custom_bytes <= size, "more than there is");
  return 0;
}
