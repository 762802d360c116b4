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
                                                    const memory::ResetOptions& options) {
  SPORE_ASSERT(blueprint->reset_mode() == wasm::ResetMode::kInPlace, "an image holds all of the state");
  const auto state =
      SPORE_TRY(engine::InstanceState::create(instance.store(), instance.handle(), *blueprint->prepared));
  std::shared_ptr<Image> image(new Image(std::move(blueprint)));
  image->values_ = SPORE_TRY(state.read());
  image->memories_.reset = options;
  for (const memory::Slot* slot : state.slots()) {
    image->memories_.images.push_back(
        SPORE_TRY(memory::PageImage::create(std::span<const std::byte>(slot->base(), slot->bytes()))));
  }
  if (instance.wasi() != nullptr) image->wasi_ = instance.wasi()->state();
  return std::shared_ptr<const Image>(std::move(image));
}

size_t Image::bytes() const {
  size_t bytes = 0;
  for (const auto& memory : memories_.images) bytes += memory->held_bytes();
  return bytes;
}

}  // namespace spore::cell
