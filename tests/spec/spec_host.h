#pragma once

// What every script runs on: a Runtime, and the module "spectest" that scripts import from.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/spore.h"
#include "spore/wasm/prepare.h"

namespace spore::spec {

class SpecHost {
 public:
  // How the modules of scripts are loaded: as they are, or after wasm::prepare().
  enum class Mode : uint8_t { kPlain, kPrepared };
  static Result<SpecHost> create(Tier tier, Mode mode = Mode::kPlain);

  Tier tier() const { return tier_; }
  // The tiers that modules of scripts may be in: at the peak also the one below, for those that have no peak
  // form.  Instances of two tiers cannot be linked.
  std::vector<Tier> tiers() const;
  // What wasm::prepare(), in its mode, and Runtime::load_module say.
  Result<std::shared_ptr<const Module>> load(std::span<const uint8_t> wasm) const {
    return load(wasm, tier_);
  }
  Result<std::shared_ptr<const Module>> load(std::span<const uint8_t> wasm, Tier tier) const;
  // spectest in a store of its own: the first instance of a script, the company of all others of that tier.
  bool has_spectest(Tier tier) const { return spectests_[static_cast<size_t>(tier)] != nullptr; }
  Result<Instance> new_spectest(Tier tier) const {
    return runtime_->instantiate(*spectests_[static_cast<size_t>(tier)]);
  }
  Result<Instance> instantiate(const Module& module, Instance& spectest,
                               std::span<const Instance::Link> links) const;

  // Why load() refused a valid module; nothing if `refusal` says that it is not valid, or another thing.
  // "externref": proposals that this build leaves out.
  std::optional<std::string> proposals_left_out(std::span<const uint8_t> wasm, const Status& refusal) const;
  // "baseline compiler: ...", "interpreter: ...": what Winch or wasmi has not got.
  std::optional<std::string> compiler_lacks(std::span<const uint8_t> wasm, const Status& refusal) const;

 private:
  Status load_spectest(Tier tier);
  SpecHost(Tier tier, Mode mode, std::unique_ptr<Runtime> runtime)
      : tier_(tier), mode_(mode), runtime_(std::move(runtime)) {}

  Tier tier_;
  Mode mode_;
  std::unique_ptr<Runtime> runtime_;
  std::array<std::shared_ptr<const Module>, 4> spectests_;  // by tier
};

}  // namespace spore::spec
