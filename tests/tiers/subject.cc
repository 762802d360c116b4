#include "tests/tiers/subject.h"

#include <functional>
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
  for (size_t tier = 0; tier < by_tier.size(); tier++) {
    by_tier[tier] =
        Engine::create(
            {.tier = static_cast<Tier>(tier), .compact_memories = compact, .compact_code = compact}, ticker,
            slots)
            .value();
  }
  code::WasmOptOptions options;
  options.helper = SPORE_COMPILE_HELPER;
  options.threads = 1;
  options.niceness = 0;
  optimiser = code::Optimiser::create(options).value();
}

namespace {

using Bind = std::function<Result<std::shared_ptr<const Binding>>(Tier, std::span<const uint8_t>)>;

// kUnsupported is an answer; anything else that wasm-opt or what looks at its work says is a failure of the
// test.
Result<std::shared_ptr<const Binding>> peak(const Engines& engines, const wasm::PreparedModule& prepared,
                                            const Bind& bind) {
  const Result<code::Peak> made = engines.optimiser->peak(prepared.wasm, prepared);
  if (!made.ok()) {
    SPORE_ASSERT(made.code() == Code::kUnsupported, "wasm-opt takes it or refuses it");
    return made.status().copy();
  }
  return bind(Tier::kPeak, *made->wasm);
}

}  // namespace

Result<Subject> Subject::create(const Engines& engines, const differential::Guest& guest, Flaw flaw) {
  Subject subject;
  wasm::PreparedModule prepared = SPORE_TRY(wasm::prepare(guest.wasm, guest.wasm.size()));
  SPORE_TRY(wasm::check_proposals(prepared.facts, wasm::kProposalsBaseline));
  const auto bind = [&](Tier tier, std::span<const uint8_t> wasm) -> Result<std::shared_ptr<const Binding>> {
    const Engine& engine = *engines.by_tier[static_cast<size_t>(tier)];
    auto code = SPORE_TRY(engine.compile(wasm, prepared.facts.hash, wasm::kPreparerVersion));
    return Binding::create(std::move(code), engines.functions);
  };
  const auto set = [&](Tier tier, Result<std::shared_ptr<const Binding>> made) {
    const auto place = static_cast<size_t>(tier);
    if (made.ok()) {
      subject.bindings_[place] = std::move(made).value();
    } else {
      subject.refusals_[place] = made.status().message();
    }
  };
  subject.bindings_[static_cast<size_t>(Tier::kBaseline)] = SPORE_TRY(bind(Tier::kBaseline, prepared.wasm));
  if (wasm::check_proposals(prepared.facts, wasm::kProposalsInterpreter).ok()) {
    set(Tier::kInterpreter, bind(Tier::kInterpreter, prepared.wasm));
  }
  set(Tier::kPeak, peak(engines, prepared, bind));
  spoil(flaw, prepared.wasm);
  subject.bindings_[static_cast<size_t>(Tier::kOptimised)] = SPORE_TRY(bind(Tier::kOptimised, prepared.wasm));
  if (host::needs_wasi(*subject.binding(Tier::kBaseline)->code()))
    subject.wasi_ = differential::wasi_config();
  subject.prepared_ = std::make_shared<const wasm::PreparedModule>(std::move(prepared));
  return subject;
}

Result<host::Instance> Subject::instantiate(const std::shared_ptr<engine::LiveBinding>& live) const {
  const cell::Blueprint blueprint{
      .name = "guest", .code = live, .prepared = prepared_, .limits = {}, .wasi = wasi_};
  return cell::instantiate(blueprint, differential::limits(kDeadlineMs));
}

}  // namespace spore::tiers_test
