#include "spore/cell/image.h"

#include <span>
#include <utility>

namespace spore::cell {

Result<std::shared_ptr<const Image>> Image::create(std::shared_ptr<const Blueprint> blueprint,
                                                   const memory::ResetOptions& options) {
  SPORE_ASSERT(blueprint->reset_mode() == wasm::ResetMode::kInPlace, "an image holds all of the state");
  host::Instance instance = SPORE_TRY(instantiate(*blueprint, blueprint->limits));
  return capture(std::move(blueprint), instance, options);
}

Result<std::shared_ptr<const Image>> Image::capture(std::shared_ptr<const Blueprint> blueprint,
                                                    host::Instance& instance,
                                                    const memory::ResetOptions& options, const Image* base) {
  SPORE_ASSERT(blueprint->reset_mode() == wasm::ResetMode::kInPlace, "an image holds all of the state");
  const auto state =
      SPORE_TRY(engine::InstanceState::create(instance.store(), instance.handle(), *blueprint->prepared));
  std::shared_ptr<Image> image(new Image(std::move(blueprint)));
  image->values_ = SPORE_TRY(state.read());
  image->memories_.reset = options;
  for (const memory::Slot* slot : state.slots()) {
    std::shared_ptr<const memory::PageImage> below;
    if (base != nullptr) below = base->memories_.images.at(image->memories_.images.size());
    image->memories_.images.push_back(SPORE_TRY(memory::PageImage::create(
        std::span<const std::byte>(slot->base(), slot->bytes()), std::move(below))));
  }
  if (instance.wasi() != nullptr) image->wasi_ = instance.wasi()->state();
  return std::shared_ptr<const Image>(std::move(image));
}

Status check_memories(std::span<const std::shared_ptr<const memory::PageImage>> memories,
                      const wasm::PreparedModule& prepared) {
  if (memories.size() != prepared.memories.size()) {
    return Status::invalid_argument("{} memories, the module has {}", memories.size(),
                                    prepared.memories.size());
  }
  for (size_t i = 0; i < memories.size(); i++) {
    const wasm::PreparedModule::Memory& memory = prepared.memories[i];
    const size_t bytes = memories[i]->bytes();
    const uint64_t pages = memory.page_bytes == 0 ? 0 : bytes / memory.page_bytes;
    if (pages * memory.page_bytes != bytes || pages < memory.pages_min ||
        pages > memory.pages_max.value_or(UINT64_MAX)) {
      return Status::invalid_argument("memory {} of {} bytes, the module's has {} to {} pages of {}",
                                      memory.index, bytes, memory.pages_min,
                                      memory.pages_max.value_or(UINT64_MAX), memory.page_bytes);
    }
  }
  return {};
}

Result<Image::Parts> Image::parts() const {
  Parts parts{.memories = memories_.images, .values = values_, .wasi = {}};
  if (blueprint_->wasi != nullptr) {
    host::Wasi wasi(blueprint_->wasi);
    wasi.set_state(wasi_);
    parts.wasi = SPORE_TRY(wasi.save());
  }
  return parts;
}

Result<Image::Restored> Image::restore(std::shared_ptr<const Blueprint> blueprint, Parts parts,
                                       const memory::ResetOptions& options) {
  SPORE_ASSERT(blueprint->reset_mode() == wasm::ResetMode::kInPlace, "an image holds all of the state");
  SPORE_TRY(engine::check_values(parts.values, *blueprint->prepared));
  SPORE_TRY(check_memories(parts.memories, *blueprint->prepared));
  for (const auto& memory : parts.memories) {
    if (memory->bytes() > blueprint->limits.memory_bytes_max) {
      return Status::limit_exceeded("an image with a memory of {} bytes (memory_bytes_max={})",
                                    memory->bytes(), blueprint->limits.memory_bytes_max);
    }
  }
  if (parts.wasi.has_value() != (blueprint->wasi != nullptr)) {
    return Status::invalid_argument("an image {} WASI, and a world {} it", parts.wasi ? "with" : "without",
                                    parts.wasi ? "without" : "with");
  }
  Restored restored;
  std::shared_ptr<Image> image(new Image(std::move(blueprint)));
  if (parts.wasi) {
    host::Wasi wasi(image->blueprint_->wasi);
    restored.lost = SPORE_TRY(wasi.restore(*parts.wasi, image->blueprint_->limits.open_files_max));
    image->wasi_ = wasi.state();
  }
  image->memories_ = {.images = std::move(parts.memories), .reset = options};
  image->values_ = std::move(parts.values);
  restored.image = std::move(image);
  return restored;
}

size_t Image::bytes() const {
  size_t bytes = 0;
  for (const auto& memory : memories_.images) bytes += memory->held_bytes();
  return bytes;
}

}  // namespace spore::cell
