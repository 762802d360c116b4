// Any bytes as a module: loaded on both tiers, started, and each exported function called, under small
// limits.  Whatever the guest does, the process goes on.

#include <cstdint>
#include <vector>

#include "spore/runtime/runtime.h"

namespace spore::runtime {
namespace {

RuntimeOptions small_options() {
  RuntimeOptions options;
  options.limits = {
      .deadline_ms = 50, .memory_bytes_max = 4 * engine::kMebibyte, .table_elements_max = 10'000};
  options.module_bytes_max = 64 * 1024;
  return options;
}

void call_exports(const host::Instance& instance) {
  for (const engine::CompiledCode::Export& exported : instance.code().exports()) {
    if (exported.kind != engine::ExternKind::kFunction) continue;
    const auto function = instance.raw_function(exported.name).value();
    std::vector<engine::RawValue> values(exported.type.params.size() + exported.type.results.size() + 1);
    for (engine::RawValue& value : values) value.v128 = {};
    const Status status = function.call_unchecked(values.data(), values.size());
    if (instance.retired()) return;
    SPORE_ASSERT(status.ok() || engine::trap_info(status) != nullptr, status.message());
  }
}

void run(Runtime& runtime, engine::Tier tier, std::span<const uint8_t> bytes) {
  const auto module = runtime.load_module("m", bytes, {.tier = tier});
  if (!module.ok()) return;
  const auto instance = runtime.instantiate(*module.value());
  if (instance.ok()) call_exports(instance.value());
  SPORE_ASSERT(runtime.unload_module("m").ok(), "the module was loaded");
}

}  // namespace
}  // namespace spore::runtime

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using spore::runtime::Runtime;
  static Runtime& runtime = *Runtime::create(spore::runtime::small_options()).value().release();
  spore::runtime::run(runtime, spore::engine::Tier::kBaseline, {data, size});
  spore::runtime::run(runtime, spore::engine::Tier::kOptimised, {data, size});
  return 0;
}
