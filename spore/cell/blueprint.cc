#include "spore/cell/blueprint.h"

#include <cstring>
#include <utility>

namespace spore::cell {
namespace {

Status write_lifted(host::Instance& instance, const wasm::PreparedModule& prepared) {
  for (const wasm::PreparedModule::Memory& memory : prepared.memories) {
    engine::GuestMemory bytes = SPORE_TRY(instance.memory(memory.export_name()));
    for (const wasm::PreparedModule::Data& data : prepared.lifted) {
      if (data.memory != memory.index || data.bytes.empty()) continue;
      const std::span<std::byte> target = SPORE_TRY(bytes.span({data.offset}, data.bytes.size()));
      std::memcpy(target.data(), data.bytes.data(), data.bytes.size());
    }
  }
  return {};
}

}  // namespace

Status complete(host::Instance& instance, const wasm::PreparedModule* prepared) {
  const engine::Store::Group group(instance.store());
  if (prepared != nullptr) {
    SPORE_TRY(write_lifted(instance, *prepared));
    if (prepared->facts.has_start) {
      const host::Function<void()> start = SPORE_TRY(instance.function<void()>(wasm::kStartExport));
      SPORE_TRY(start());
    }
  }
  return instance.initialize();
}

Result<host::Instance> instantiate(const Blueprint& blueprint, const engine::Limits& limits, void* user_data,
                                   std::unique_ptr<host::Wasi> wasi) {
  if (wasi == nullptr && blueprint.wasi != nullptr) wasi = std::make_unique<host::Wasi>(blueprint.wasi);
  Result<host::Instance> instance =
      host::Instance::create(blueprint.code->best(), limits, user_data, std::move(wasi));
  if (!instance.ok()) return instance;
  SPORE_TRY(complete(instance.value(), blueprint.prepared.get()));
  engine::Store& store = instance.value().store();
  store.count_in(blueprint.code);
  if (blueprint.can_hand_over()) store.go_along(blueprint.prepared);
  return instance;
}

}  // namespace spore::cell
