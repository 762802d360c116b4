#pragma once

// What every script runs on: a Runtime, and the module "spectest" that scripts import from.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "spore/spore.h"

namespace spore::spec {

class SpecHost {
 public:
  static Result<SpecHost> create(Tier tier);

  Tier tier() const { return tier_; }
  // What Runtime::load_module says.
  Result<std::shared_ptr<const Module>> load(std::span<const uint8_t> wasm) const;
  // spectest in a store of its own: the first instance of a script, the company of all others.
  Result<Instance> new_spectest() const { return runtime_->instantiate(*spectest_); }
  Result<Instance> instantiate(const Module& module, Instance& spectest,
                               std::span<const Instance::Link> links) const {
    return runtime_->instantiate_linked(module, spectest, links);
  }

  // Why load() refused a valid module; nothing if `refusal` says that it is not valid, or another thing.
  // "externref": proposals that this build leaves out.
  std::optional<std::string> proposals_left_out(std::span<const uint8_t> wasm, const Status& refusal) const;
  // "baseline compiler: ...": what Winch has not got.
  std::optional<std::string> compiler_lacks(std::span<const uint8_t> wasm, const Status& refusal) const;

 private:
  SpecHost(Tier tier, std::unique_ptr<Runtime> runtime) : tier_(tier), runtime_(std::move(runtime)) {}

  Tier tier_;
  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<const Module> spectest_;
};

}  // namespace spore::spec
