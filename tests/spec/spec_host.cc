#include "tests/spec/spec_host.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/wasm/inspect.h"

namespace spore::spec {
namespace {

// https://github.com/WebAssembly/spec/blob/main/interpreter/host/spectest.ml
constexpr std::string_view kSpectest = R"(
  (module
    (import "host" "print" (func $print))
    (import "host" "print_i32" (func $print_i32 (param i32)))
    (import "host" "print_i64" (func $print_i64 (param i64)))
    (import "host" "print_f32" (func $print_f32 (param f32)))
    (import "host" "print_f64" (func $print_f64 (param f64)))
    (import "host" "print_i32_f32" (func $print_i32_f32 (param i32 f32)))
    (import "host" "print_f64_f64" (func $print_f64_f64 (param f64 f64)))
    (export "print" (func $print))
    (export "print_i32" (func $print_i32))
    (export "print_i64" (func $print_i64))
    (export "print_f32" (func $print_f32))
    (export "print_f64" (func $print_f64))
    (export "print_i32_f32" (func $print_i32_f32))
    (export "print_f64_f64" (func $print_f64_f64))
    (global (export "global_i32") i32 (i32.const 666))
    (global (export "global_i64") i64 (i64.const 666))
    (global (export "global_f32") f32 (f32.const 666.6))
    (global (export "global_f64") f64 (f64.const 666.6))
    (table (export "table") 10 20 funcref)
    {}
    (memory (export "memory") 1 2)))";
constexpr std::string_view kTable64 = R"((table (export "table64") i64 10 20 funcref))";

// What they print is of no interest, that they can be called is.
HostFunctions print_functions() {
  HostFunctions host;
  host.define("host", "print", [] {});
  host.define("host", "print_i32", [](int32_t) {});
  host.define("host", "print_i64", [](int64_t) {});
  host.define("host", "print_f32", [](float) {});
  host.define("host", "print_f64", [](double) {});
  host.define("host", "print_i32_f32", [](int32_t, float) {});
  host.define("host", "print_f64_f64", [](double, double) {});
  return host;
}

// Large enough for what the suite asks for; what it expects to be refused is beyond any limit.  Memories and
// tables are counted for all instances of a script together.
Limits suite_limits() {
  Limits limits;
  limits.deadline_ms = 20'000;
  limits.memory_bytes_max = 16'384 * engine::kMebibyte;
  limits.memories_max = 1000;
  limits.table_elements_max = 20'000'000;
  limits.tables_max = 1000;
  return limits;
}

uint32_t proposals_of(Tier tier) {
  switch (tier) {
    case Tier::kInterpreter: return wasm::kProposalsInterpreter;
    case Tier::kBaseline: return wasm::kProposalsBaseline;
    case Tier::kOptimised:
    case Tier::kPeak: return wasm::kProposalsOptimised;
  }
  return 0;
}

// "...: failed to compile: the reason (try tier=optimised)" -> "the reason".
std::string_view innermost_cause(std::string_view message) {
  message = message.substr(0, message.rfind(" ("));
  const size_t colon = message.rfind(": ");
  return colon == std::string_view::npos ? message : message.substr(colon + 2);
}

}  // namespace

Result<SpecHost> SpecHost::create(Tier tier, Mode mode) {
  RuntimeOptions options;
  options.tier = tier;
  options.limits = suite_limits();
  options.host = print_functions();
  SpecHost host(tier, mode, SPORE_TRY(Runtime::create(std::move(options))));
  for (const Tier each : host.tiers()) SPORE_TRY(host.load_spectest(each));
  return host;
}

std::vector<Tier> SpecHost::tiers() const {
  if (tier_ == Tier::kPeak) return {Tier::kPeak, Tier::kOptimised};
  return {tier_};
}

// Binaryen may not know 64-bit tables: at the peak nobody imports one, then.
Status SpecHost::load_spectest(Tier tier) {
  for (const std::string_view table : {kTable64, std::string_view()}) {
    std::string text(kSpectest);
    text.replace(text.find("{}"), 2, table);
    const std::vector<uint8_t> wasm = SPORE_TRY(engine::text_to_wasm(text));
    Result<std::shared_ptr<const Module>> spectest = load(wasm, tier);
    if (spectest.ok()) {
      spectests_[static_cast<size_t>(tier)] = std::move(spectest).value();
      return {};
    }
    if (tier != Tier::kPeak || spectest.code() != Code::kUnsupported) return std::move(spectest).status();
  }
  return {};  // nothing is at the peak
}

Result<std::shared_ptr<const Module>> SpecHost::load(std::span<const uint8_t> wasm, Tier tier) const {
  // Names are the Runtime's, instances need none: the next module takes the same.
  constexpr std::string_view kName = "module";
  std::shared_ptr<const Module> module =
      SPORE_TRY(runtime_->load_module(kName, wasm, {.tier = tier, .prepare = mode_ == Mode::kPrepared}));
  SPORE_TRY(runtime_->unload_module(kName));
  return module;
}

Result<Instance> SpecHost::instantiate(const Module& module, Instance& spectest,
                                       std::span<const Instance::Link> links) const {
  return runtime_->instantiate_linked(module, spectest, links);
}

std::optional<std::string> SpecHost::proposals_left_out(std::span<const uint8_t> wasm,
                                                        const Status& refusal) const {
  if (refusal.code() != Code::kUnsupported) return std::nullopt;
  // The Status has the names in its message alone.
  const wasm::ModuleFacts facts = wasm::inspect(wasm, runtime_->options().module_bytes_max).value();
  const uint32_t beyond = facts.proposals & ~proposals_of(tier_);
  if (beyond == 0) return std::nullopt;
  return wasm::proposal_names(beyond);
}

std::optional<std::string> SpecHost::compiler_lacks(std::span<const uint8_t> wasm,
                                                    const Status& refusal) const {
  const bool may_lack = tier_ == Tier::kBaseline || tier_ == Tier::kInterpreter;
  if (!may_lack || refusal.code() != Code::kUnsupported) return std::nullopt;
  if (proposals_left_out(wasm, refusal)) return std::nullopt;
  return fmt::format("{}: {}", tier_ == Tier::kBaseline ? "baseline compiler" : "interpreter",
                     innermost_cause(refusal.message()));
}

}  // namespace spore::spec
