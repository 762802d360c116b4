// Any bytes: compile_facts() counts or gives an error, and no count is more than its bytes can hold.

#include <cstdint>

#include "spore/code/compile_limits.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto facts = spore::code::compile_facts({data, size});
  if (!facts.ok()) {
    SPORE_ASSERT(!facts.status().message().empty(), "an error without words");
    SPORE_ASSERT(facts.status().message().find('\n') == std::string_view::npos, "an error of two lines");
    return 0;
  }
  const auto& found = facts.value();
  SPORE_ASSERT(found.code_bytes <= size, "more code than bytes");
  SPORE_ASSERT(found.body_bytes.count <= found.code_bytes, "a body is larger than all");
  SPORE_ASSERT(found.functions <= size && found.nesting.count <= size, "more than there are bytes for");
  SPORE_ASSERT(found.initialisers <= size, "more than there are bytes for");
  SPORE_ASSERT(found.br_table_targets.count <= found.br_table_targets_total, "one has more than all");
  SPORE_ASSERT(found.br_table_targets_total <= size, "more than there are bytes for");
  SPORE_ASSERT(found.values.count <= found.values_total, "one has more than all");
  const spore::Status status = spore::code::check_compile_limits(found, {});
  SPORE_ASSERT(status.ok() || status.code() == spore::Code::kLimitExceeded, "another error");
  return 0;
}
