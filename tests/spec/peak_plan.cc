#include "tests/spec/peak_plan.h"

#include <utility>

#include <fmt/format.h>

#include "spore/wasm/inspect.h"

namespace spore::spec {
namespace {

constexpr std::string_view kLinked = "linked to one that has no peak form";

bool becomes_instance(const Directive& directive) {
  switch (directive.kind) {
    case Kind::kModule:
    case Kind::kModuleDefinition:
    case Kind::kAssertTrapModule:
    case Kind::kAssertUnlinkable: return true;
    default: return false;
  }
}

}  // namespace

void PeakCounts::add(const PeakCounts& other) {
  at_peak += other.at_peak;
  for (const auto& [reason, count] : other.below) below[reason] += count;
}

std::string PeakCounts::text() const {
  std::string text = fmt::format("{:>7} modules at the peak\n", at_peak);
  for (const auto& [reason, count] : below) text += fmt::format("{:>7} below: {}\n", count, reason);
  return text;
}

PeakPlan::PeakPlan(const Script& script, const Try& try_at_peak) {
  for (const Directive& directive : script.directives()) {
    if (becomes_instance(directive)) add(directive, script.wasm(directive), try_at_peak);
  }
  follow_links(script);
  spread();
  for (const auto& [place, planned] : modules_) {
    const std::string& below = planned.attempt.below;
    if (below.empty()) {
      counts_.at_peak++;
    } else {
      counts_.below[below]++;
    }
  }
}

bool PeakPlan::is_below(const Directive& directive) const {
  const auto planned = modules_.find(directive.wasm_offset);
  return planned != modules_.end() && !planned->second.attempt.below.empty();
}

void PeakPlan::add(const Directive& directive, std::span<const uint8_t> wasm, const Try& try_at_peak) {
  if (modules_.contains(directive.wasm_offset)) return;
  std::optional<Attempt> attempt = try_at_peak(wasm);
  if (!attempt) return;
  Planned planned{.attempt = *std::move(attempt), .imports = {}, .linked = {}};
  const wasm::ModuleFacts facts = wasm::inspect(wasm, wasm.size()).value();
  for (const wasm::ModuleFacts::Import& import : facts.imports) planned.imports.push_back(import.module);
  modules_.emplace(directive.wasm_offset, std::move(planned));
}

void PeakPlan::link(Place place, const PlaceOf& registered) {
  const auto planned = modules_.find(place);
  if (planned == modules_.end()) return;
  for (const std::string& name : planned->second.imports) {
    const auto found = registered.find(name);
    if (found == registered.end() || !modules_.contains(found->second)) continue;
    planned->second.linked.push_back(found->second);
    modules_[found->second].linked.push_back(place);
  }
}

// As the script names and offers its instances.
void PeakPlan::follow_links(const Script& script) {
  PlaceOf definitions;
  PlaceOf instances;
  PlaceOf registered;
  const auto copy = [](const PlaceOf& from, const std::string& name, PlaceOf& to, const std::string& as) {
    if (const auto found = from.find(name); found != from.end()) to[as] = found->second;
  };
  for (const Directive& directive : script.directives()) {
    switch (directive.kind) {
      case Kind::kModule:
        definitions[""] = definitions[directive.name] = directive.wasm_offset;
        instances[""] = instances[directive.name] = directive.wasm_offset;
        link(directive.wasm_offset, registered);
        break;
      case Kind::kModuleDefinition:
        definitions[""] = definitions[directive.name] = directive.wasm_offset;
        break;
      case Kind::kModuleInstance:
        copy(definitions, directive.field, instances, "");
        copy(definitions, directive.field, instances, directive.name);
        if (instances.contains("")) link(instances[""], registered);
        break;
      case Kind::kAssertTrapModule:
      case Kind::kAssertUnlinkable: link(directive.wasm_offset, registered); break;
      case Kind::kRegister: copy(instances, directive.name, registered, directive.field); break;
      default: break;
    }
  }
}

// Until nothing changes: whoever is linked to one below is below.
void PeakPlan::spread() {
  std::vector<Place> below;
  for (const auto& [place, planned] : modules_) {
    if (!planned.attempt.below.empty()) below.push_back(place);
  }
  while (!below.empty()) {
    const std::vector<Place> linked = modules_[below.back()].linked;
    below.pop_back();
    for (const Place place : linked) {
      if (!modules_[place].attempt.below.empty()) continue;
      modules_[place].attempt.below = kLinked;
      below.push_back(place);
    }
  }
}

}  // namespace spore::spec
