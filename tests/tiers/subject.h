#pragma once

// What is compared: one module in each tier.

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "spore/cell/blueprint.h"
#include "spore/code/optimiser.h"
#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/live_binding.h"
#include "spore/host/instance.h"
#include "spore/wasm/prepare.h"
#include "tests/differential/guest.h"
#include "tests/tiers/flaw.h"

namespace spore::tiers_test {

// An engine for each tier, and what their guests tell the host.
struct Engines {
  // Compact: code checks bounds itself, and is optimised for size, too.
  explicit Engines(bool compact);
  Engines(const Engines&) = delete;
  Engines& operator=(const Engines&) = delete;

  std::vector<int32_t> logged;
  std::shared_ptr<const engine::HostFunctions> functions;
  std::array<std::shared_ptr<const engine::Engine>, 4> by_tier;
  std::unique_ptr<const code::Optimiser> optimiser;
};

class Subject {
 public:
  // `flaw`: of the optimising compiler.  kUnsupported: the baseline compiler cannot take it.
  static Result<Subject> create(const Engines& engines, const differential::Guest& guest, Flaw flaw);

  const std::shared_ptr<const wasm::PreparedModule>& prepared() const { return prepared_; }
  // Null: that tier does not take it, which those that compile do.
  const std::shared_ptr<const engine::Binding>& binding(engine::Tier tier) const {
    return bindings_[static_cast<size_t>(tier)];
  }
  // Why one does not.
  const std::string& refusal(engine::Tier tier) const { return refusals_[static_cast<size_t>(tier)]; }

  // Of the best code of `live`; goes along with what that comes to be.  What cell::instantiate says.
  Result<host::Instance> instantiate(const std::shared_ptr<engine::LiveBinding>& live) const;

 private:
  Subject() = default;

  std::shared_ptr<const wasm::PreparedModule> prepared_;
  std::array<std::shared_ptr<const engine::Binding>, 4> bindings_;
  std::array<std::string, 4> refusals_;
  std::shared_ptr<const host::WasiConfig> wasi_;
};

}  // namespace spore::tiers_test
