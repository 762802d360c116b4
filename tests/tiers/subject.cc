#include "tests/tiers/subject.h"

#include <utility>

#include "spore/engine/ticker.h"
#include "spore/host/wasi.h"
#include "tests/differential/world.h"

namespace spore::tiers_test {

using engine::Binding;
using engine::Engine;
using engine::Tier;

namespace {

// Guests come to an end by themselves: this is for a machine that does something else.
constexpr uint64_t kDeadlineMs = 1000;

}  // namespace

Engines::Engines(bool compact) {
  host::HostFunctions host = differential::host_functions(logged);
  host::define_wasi(host);
  functions = host.freeze();
  const auto ticker = std::make_shared<engine::Ticker>();
  const auto slots = memory::SlotPool::create(Engine::kSlotsKept);
  engine::EngineOptions options{
      .tier = Tier::kBaseline, .compact_memories = compact, .compact_code = compact};
  baseline = Engine::create(options, ticker, slots).value();
  options.tier = Tier::kOptimised;
  optimised = Engine::create(options, ticker, slots).value();
}

Result<Subject> Subject::create(const Engines& engines, const differential::Guest& guest, Flaw flaw) {
  Subject subject;
  wasm::PreparedModule prepared = SPORE_TRY(wasm::prepare(guest.wasm, guest.wasm.size()));
  SPORE_TRY(wasm::check_proposals(prepared.facts, wasm::kProposalsBaseline));
  const auto bind = [&](const Engine& engine) -> Result<std::shared_ptr<const Binding>> {
    auto code = SPORE_TRY(engine.compile(prepared.wasm, prepared.facts.hash, wasm::kPreparerVersion));
    return Binding::create(std::move(code), engines.functions);
  };
  subject.baseline_ = SPORE_TRY(bind(*engines.baseline));
  spoil(flaw, prepared.wasm);
  subject.optimised_ = SPORE_TRY(bind(*engines.optimised));
  if (host::needs_wasi(*subject.baseline_->code())) subject.wasi_ = differential::wasi_config();
  subject.prepared_ = std::make_shared<const wasm::PreparedModule>(std::move(prepared));
  return subject;
}

Result<host::Instance> Subject::instantiate(const std::shared_ptr<engine::LiveBinding>& live) const {
  const cell::Blueprint blueprint{
      .name = "guest", .code = live, .prepared = prepared_, .limits = {}, .wasi = wasi_};
  return cell::instantiate(blueprint, differential::limits(kDeadlineMs));
}

}  // namespace spore::tiers_test
