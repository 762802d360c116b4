#include "tests/cells/stage.h"

#include <utility>

#include "tests/differential/calls.h"
#include "tests/differential/world.h"

namespace spore::cells_test {

using differential::Generator;
using differential::Guest;

namespace {

constexpr std::string_view kName = "guest";
// Of a twin: what a cell has done, it will do.
constexpr uint64_t kTwinDeadlineMs = 10'000;

cell::CellsOptions cells_options(const Options& options) {
  cell::CellsOptions made;
  made.commit = options.commit;
  made.idle_sleep_ms = options.idle_sleep_ms;
  made.awake_max = options.awake_max;
  if (options.few_bytes_awake) made.awake_bytes_max = uint64_t{64} << 10;
  if (options.small_deltas) made.delta_bytes_max = kSmallDeltaBytes;
  made.housekeeping = options.housekeeping;
  made.available_bytes_min = 0;  // what else this machine does is not to be seen
  return made;
}

}  // namespace

Result<std::unique_ptr<Stage>> Stage::create(World& world, const Guest& guest) {
  return std::unique_ptr<Stage>(new Stage(world, guest, SPORE_TRY(load(*world.here, guest))));
}

Stage::Stage(World& world, const Guest& guest, std::shared_ptr<const runtime::Module> module)
    : world_(world),
      guest_(guest),
      module_(std::move(module)),
      functions_(differential::functions_of(*module_->code())),
      reader_({module_, module_->prepared()}, guest.counter_global) {}

Stage::~Stage() {
  SPORE_ASSERT(world_.here->unload_module(kName).ok(), "the module is gone");
  if (module_elsewhere_ == nullptr) return;
  SPORE_ASSERT(world_.elsewhere->unload_module(kName).ok(), "the module is gone");
}

Result<std::shared_ptr<const runtime::Module>> Stage::load(runtime::Runtime& runtime, const Guest& guest) {
  runtime::ModuleOptions options;
  if (guest.generator == Generator::kWasi) options.wasi = differential::wasi_config();
  return runtime.load_module(kName, guest.wasm, options);
}

Result<const runtime::Module*> Stage::module(size_t place) {
  if (place == 0) return module_.get();
  if (module_elsewhere_ == nullptr) module_elsewhere_ = SPORE_TRY(load(*world_.elsewhere, guest_));
  return module_elsewhere_.get();
}

Result<Place> Stage::make_place(size_t place, const Options& options) {
  const runtime::Module* const module = SPORE_TRY(this->module(place));
  const auto entry =
      SPORE_TRY(runtime(place).pool_entry(*module, options.domain ? kDomain : std::string_view()));
  Place made;
  made.cells = SPORE_TRY(cell::Cells::create(cells_options(options)));
  made.kind = SPORE_TRY(made.cells->kind(entry));
  cell::CellsOptions copies;
  copies.idle_sleep_ms = 0;
  copies.housekeeping = false;
  made.copies = SPORE_TRY(cell::Cells::create(copies));
  made.kind_of_copies = SPORE_TRY(made.copies->kind(entry));
  return made;
}

uint32_t Stage::instances_in_use(size_t place) const {
  uint32_t in_use = 0;
  for (const auto& entry : runtime(place).pool().statistics().entries) {
    if (entry.module == kName) in_use += entry.live - entry.idle;
  }
  return in_use;
}

Result<host::Instance> Stage::twin() {
  const size_t place = world_.climbs ? 1 : 0;
  const runtime::Module* const module = SPORE_TRY(this->module(place));
  runtime::InstanceOptions options;
  options.limits = differential::limits(kTwinDeadlineMs);
  return runtime(place).instantiate(*module, std::move(options));
}

}  // namespace spore::cells_test
