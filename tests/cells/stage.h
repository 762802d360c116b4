#pragma once

// One module of the test, loaded, and where its cells live.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/cell/cells.h"
#include "spore/runtime/runtime.h"
#include "tests/cells/plan.h"
#include "tests/cells/workers.h"
#include "tests/differential/guest.h"
#include "tests/differential/state.h"

namespace spore::cells_test {

// The Runtimes of one variant, which outlive what is made of them.
struct World {
  std::unique_ptr<runtime::Runtime> here;  // of baseline code, or such that its modules climb
  runtime::Runtime* elsewhere = nullptr;   // of baseline or optimised code
  Workers* workers = nullptr;
  bool climbs = false;
  engine::Tier tier_max = engine::Tier::kBaseline;  // that a module climbs to

  bool elsewhere_is_optimised() const { return elsewhere->options().tier == engine::Tier::kOptimised; }
};

// A Cells, and the kind of one module there.  A second Cells is for copies of cells that are looked at.
struct Place {
  std::shared_ptr<cell::Cells> cells;
  std::shared_ptr<cell::CellKind> kind;
  std::shared_ptr<cell::Cells> copies;
  std::shared_ptr<cell::CellKind> kind_of_copies;

  using Typed = int32_t(int32_t, int32_t);
  std::map<std::string, cell::CellFunction<Typed>, std::less<>> typed;
};

class Stage {
 public:
  static constexpr size_t kPlaces = 2;
  static constexpr std::string_view kDomain = "tenant";  // with Options::domain

  // What load_module says.  One at a time of each world.
  static Result<std::unique_ptr<Stage>> create(World& world, const differential::Guest& guest);
  ~Stage();
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const World& world() const { return world_; }
  bool in_place() const { return module_->prepared()->reset() == wasm::ResetMode::kInPlace; }
  const std::vector<engine::CompiledCode::Export>& functions() const { return functions_; }
  const differential::StateReader& reader() const { return reader_; }

  // The module in the Runtime of a place.
  Result<const runtime::Module*> module(size_t place);
  // What loading and Cells::kind() say.
  Result<Place> make_place(size_t place, const Options& options);
  // Of its instances, how many somebody has.
  uint32_t instances_in_use(size_t place) const;

  // An instance that knows neither pool nor image, of baseline code.
  Result<host::Instance> twin();
  // Whether the code of that place may be of another tier than a twin's.
  bool mixed(size_t place) const { return place == 0 ? world_.climbs : world_.elsewhere_is_optimised(); }
  engine::Tier tier() const { return module_->tier(); }
  // What Runtime::warm_up says.
  Status climb(engine::Tier tier) { return world_.here->warm_up(*module_, tier); }

 private:
  Stage(World& world, const differential::Guest& guest, std::shared_ptr<const runtime::Module> module);
  static Result<std::shared_ptr<const runtime::Module>> load(runtime::Runtime& runtime,
                                                             const differential::Guest& guest);
  runtime::Runtime& runtime(size_t place) const { return place == 0 ? *world_.here : *world_.elsewhere; }

  World& world_;
  const differential::Guest& guest_;
  std::shared_ptr<const runtime::Module> module_;
  std::shared_ptr<const runtime::Module> module_elsewhere_;  // null until it is needed
  std::vector<engine::CompiledCode::Export> functions_;
  differential::StateReader reader_;
};

}  // namespace spore::cells_test
