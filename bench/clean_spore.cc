#include "bench/clean_spore.h"

#include "bench/clean_guest.h"

namespace spore::bench {
namespace {

RuntimeOptions options_of(memory::FaultCounterKind counter, uint32_t instances_max) {
  RuntimeOptions options;
  options.pool.instances_per_module_max = instances_max;
  options.pool.instances_max = instances_max;
  options.pool.reset.fault_counter = counter;
  options.tier = engine::Tier::kOptimised;  // as the peers
  return options;
}

}  // namespace

SporeGuest::SporeGuest(const std::vector<uint8_t>& wasm, memory::FaultCounterKind counter,
                       uint32_t instances_max)
    : runtime_(Runtime::create(options_of(counter, instances_max)).value()),
      module_(runtime_->load_module("guest", wasm).value()) {}

std::function<void(uint64_t)> SporeGuest::calls(std::string_view function) const {
  return repeat_clean(
      [runtime = runtime_, call = runtime_->clean_function<int32_t(int32_t)>(*module_, function).value()](
          int32_t arg) { return call(arg).value(); });
}

void SporeGuest::fill(int32_t bytes) const {
  const auto call = runtime_->clean_function<void(int32_t)>(*module_, "fill").value();
  if (!call(bytes).ok()) fail("fill");
}

void SporeGuest::make_idle(uint32_t instances) const {
  std::vector<Lease> leases;
  for (uint32_t i = 0; i < instances; i++) {
    leases.push_back(runtime_->acquire(*module_).value());
    const auto call = leases.back()->function<int32_t(int32_t)>("write3").value();
    if (call(0).value() != 0) fail("an instance was not clean");
  }
}

}  // namespace spore::bench
