#pragma once

// What every script runs on: a Runtime, and the module "spectest" that scripts import from.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "spore/spore.h"
#include "spore/wasm/prepare.h"

namespace spore::spec {

class SpecHost {
 public:
  // How the modules of scripts are loaded: as they are, or after wasm::prepare().
  enum class Mode : uint8_t { kPlain, kPrepared };
  static Result<SpecHost> create(Tier tier, Mode mode = Mode::kPlain);

  Tier tier() const { return tier_; }
  // What wasm::prepare(), in its mode, and Runtime::load_module say.
  Result<std::shared_ptr<const Module>> load(std::span<const uint8_t> wasm) const;
  // spectest in a store of its own: the first instance of a script, the company of all others.
  Result<Instance> new_spectest() const { return runtime_->instantiate(*spectest_); }
  Result<Instance> instantiate(const Module& module, Instance& spectest,
                               std::span<const Instance::Link> links) const;

  // Why load() refused a valid module; nothing if `refusal` says that it is not valid, or another thing.
  // "externref": proposals that this build leaves out.
  std::optional<std::string> proposals_left_out(std::span<const uint8_t> wasm, const Status& refusal) const;
  // "baseline compiler: ...": what Winch has not got.
  std::optional<std::string> compiler_lacks(std::span<const uint8_t> wasm, const Status& refusal) const;

 private:
  SpecHost(Tier tier, Mode mode, std::unique_ptr<Runtime> runtime)
      : tier_(tier), mode_(mode), runtime_(std::move(runtime)) {}

  Tier tier_;
  Mode mode_;
  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<const Module> spectest_;
};

}  // namespace spore::spec
