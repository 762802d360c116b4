#include "spore/cell/clean_instance.h"

#include <utility>

namespace spore::cell {

Result<std::unique_ptr<CleanInstance>> CleanInstance::create(std::shared_ptr<const Blueprint> blueprint,
                                                             std::shared_ptr<const Image> image) {
  std::unique_ptr<CleanInstance> made(new CleanInstance);
  made->blueprint_ = std::move(blueprint);
  made->image_ = std::move(image);
  made->steps_ = &made->blueprint_->code->step();
  SPORE_TRY(made->make());
  return made;
}

// A few loads and stores: the slots' own counters may not be read while others use them.
inline void CleanInstance::count() {
  uint64_t scans = scans_before_;
  uint64_t pages = pages_before_;
  size_t bytes = 0;
  uint64_t quiet = 0;
  if (state_) {
    for (const memory::Slot* slot : state_->slots()) {
      scans += slot->counters().scans.value();
      pages += slot->counters().pages_refilled.value();
      bytes += slot->private_bytes();
      quiet += slot->counters().quiet_pages.value();
    }
  }
  counters_.scans.set(scans);
  counters_.pages_refilled.set(pages);
  counters_.bytes.set(bytes);
  counters_.quiet_pages.set(quiet);
}

Status CleanInstance::make() {
  scans_before_ = counters_.scans.value();
  pages_before_ = counters_.pages_refilled.value();
  state_.reset();
  make_anew_ = false;
  instance_.reset();  // gives its slots back before new ones are taken
  if (image_ == nullptr) {
    instance_.emplace(SPORE_TRY(instantiate(*blueprint_, blueprint_->limits)));
    fuel_ = instance_->fuel_left();
  } else {
    std::unique_ptr<host::Wasi> wasi;
    if (blueprint_->wasi != nullptr) wasi = std::make_unique<host::Wasi>(blueprint_->wasi);
    step_ = steps_->load(std::memory_order_acquire);
    instance_.emplace(SPORE_TRY(host::Instance::create(blueprint_->code->best(), blueprint_->limits, nullptr,
                                                       std::move(wasi), image_->memories())));
    instance_->store().count_in(blueprint_->code);
    SPORE_TRY(hold_state());
    // Instantiation wrote what was not lifted, and tables: a reset puts all of it where the image has it.
    SPORE_TRY(state_->restore());
    if (instance_->wasi() != nullptr) instance_->wasi()->become(image_->wasi());
    fuel_ = image_->values().fuel;
  }
  instance_->store().take_back(fuel_);
  count();
  return {};
}

Status CleanInstance::hold_state() {
  state_.emplace(SPORE_TRY(
      engine::InstanceState::create(instance_->store(), instance_->handle(), *blueprint_->prepared)));
  return state_->keep(image_->values());
}

// It is clean: what goes over is the state of the image.
[[gnu::cold]] void CleanInstance::follow() {
  step_ = steps_->load(std::memory_order_acquire);
  if (!state_) return;  // it is made anew for each use, of the best code that there is
  const std::shared_ptr<const engine::CompiledCode> best = blueprint_->code->best()->code();
  if (best->interpreted() != nullptr && best != instance_->store().code(instance_->handle())) {
    make_anew_ = true;  // nothing goes over to the interpreter
    return;
  }
  if (!instance_->store().catch_up(*blueprint_->prepared)) return;
  const Status status = hold_state();
  SPORE_ASSERT(status.ok(), "an instance holds in other code what it held before");
}

Result<CleanInstance::Outcome> CleanInstance::reset() {
  // What somebody linked to it may still be used by him: he keeps that store, and this gets another.
  if (state_ && !make_anew_ && instance_->store().alone()) [[likely]] {
    const Status status = state_->restore();
    if (status.ok()) [[likely]] {
      host::Wasi* wasi = instance_->wasi();
      if (wasi != nullptr) wasi->become(image_->wasi());
      instance_->store().take_back(fuel_);
      counters_.resets_in_place.add();
      count();
      return Outcome::kInPlace;
    }
    if (status.code() != Code::kUnavailable) return status.copy();
  }
  SPORE_TRY(make());
  counters_.resets_anew.add();
  return Outcome::kReinstantiated;
}

void CleanInstance::trim() {
  if (!state_) return;
  for (memory::Slot* slot : state_->slots()) slot->trim();
  count();
}

}  // namespace spore::cell
