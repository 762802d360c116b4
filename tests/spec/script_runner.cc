#include "tests/spec/script_runner.h"

#include <algorithm>
#include <array>
#include <regex>
#include <utility>

namespace spore::spec {
namespace {

Outcome failed(const Status& status, std::string_view what) {
  return Outcome::failed(fmt::format("{}: {}: {}", what, code_name(status.code()), status.message()));
}

// What a directive comes to that needs something that came to `outcome`.
Outcome because_of(const Outcome& outcome) {
  if (outcome.kind != Outcome::Kind::kFailed) return outcome;
  return Outcome::failed("needs what failed before: " + outcome.reason);
}

// Where the suite's words for a trap are neither the beginning of ours nor the other way round.
struct TrapWords {
  std::string_view suite;
  TrapKind kind;
};
constexpr std::array kTrapWords{
    // "undefined element": call_indirect beyond the end of the table.
    TrapWords{"undefined", TrapKind::kTableOutOfBounds},
};

bool is_trap(TrapKind kind, std::string_view suite_words) {
  const std::string_view ours = engine::trap_kind_message(kind);
  if (suite_words.starts_with(ours) || ours.starts_with(suite_words)) return true;
  return std::ranges::any_of(kTrapWords, [&](const TrapWords& words) {
    return words.kind == kind && suite_words.starts_with(words.suite);
  });
}

Outcome assert_trapped(const Status& status, std::string_view suite_words) {
  if (status.ok()) return Outcome::failed(fmt::format("no trap, expected: {}", suite_words));
  const engine::TrapInfo* info = trap_info(status);
  if (status.code() == Code::kTrap && info != nullptr && is_trap(info->kind, suite_words)) return {};
  return failed(status, fmt::format("not the trap '{}'", suite_words));
}

Outcome assert_exhausted(const Status& status) {
  if (status.ok()) return Outcome::failed("the stack did not overflow");
  const engine::TrapInfo* info = trap_info(status);
  if (status.code() == Code::kTrap && info != nullptr && info->kind == TrapKind::kStackOverflow) return {};
  return failed(status, "not a stack overflow");
}

Outcome assert_results(const std::vector<TypedValue>& values, const std::vector<std::string>& patterns) {
  if (values.size() != patterns.size()) {
    return Outcome::failed(fmt::format("{} results, expected {}", values.size(), patterns.size()));
  }
  for (size_t i = 0; i < values.size(); i++) {
    if (matches(values[i], patterns[i])) continue;
    return Outcome::failed(
        fmt::format("result {} is {}, expected {}", i, value_text(values[i]), patterns[i]));
  }
  return {};
}

// Causes are counted: numbers that differ from module to module are left out.  "memory64" is none.
std::string without_numbers(const std::string& message) {
  const std::regex number(R"(\b(0x[0-9a-f]+|[0-9]+))");
  return std::regex_replace(message, number, "N");
}

// At the peak, if it has such a form, else below.
Result<std::shared_ptr<const Module>> load_where_possible(const SpecHost& host,
                                                          std::span<const uint8_t> wasm) {
  Result<std::shared_ptr<const Module>> module = host.load(wasm);
  const bool formless = host.tier() == Tier::kPeak && module.code() == Code::kUnsupported;
  return formless ? host.load(wasm, Tier::kOptimised) : std::move(module);
}

PeakPlan plan_peak(const SpecHost& host, const Script& script) {
  return PeakPlan(script, [&](std::span<const uint8_t> wasm) -> std::optional<PeakPlan::Attempt> {
    Result<std::shared_ptr<const Module>> module = host.load(wasm, Tier::kPeak);
    if (module.ok() && host.has_spectest(Tier::kPeak))
      return PeakPlan::Attempt{std::move(module).value(), ""};
    if (module.ok()) return PeakPlan::Attempt{nullptr, "spectest has no peak form"};
    const bool lacks_form =
        module.code() == Code::kUnsupported && !host.proposals_left_out(wasm, module.status());
    if (!lacks_form) return std::nullopt;
    return PeakPlan::Attempt{nullptr, without_numbers(std::string(module.status().message()))};
  });
}

bool makes_instance(Kind kind) { return kind == Kind::kModule || kind == Kind::kModuleInstance; }
bool makes_definition(Kind kind) { return kind == Kind::kModule || kind == Kind::kModuleDefinition; }

}  // namespace

ScriptRunner::ScriptRunner(const SpecHost& host, const Script& script, SkipList& skips, std::string file)
    : host_(host), script_(script), skips_(skips), file_(std::move(file)) {
  if (host_.tier() == Tier::kPeak) plan_ = plan_peak(host_, script_);
  for (const Tier tier : host_.tiers()) {
    if (!host_.has_spectest(tier)) continue;
    instances_.push_back(host_.new_spectest(tier).value());
    spectests_[tier] = &instances_.back();
  }
  current_.outcome = Outcome::failed("the script has made no instance yet");
}

Outcome ScriptRunner::run(const Directive& directive) {
  Outcome outcome = skips_.apply(file_, directive.line, execute(directive));
  if (!outcome.ok()) remember_missing(directive, outcome);
  return outcome;
}

// A module that fails is not as if it had not been there: the one before it must not answer in its place.
void ScriptRunner::remember_missing(const Directive& directive, const Outcome& outcome) {
  const Outcome later = because_of(outcome);
  if (makes_definition(directive.kind)) definitions_[""] = definitions_[directive.name] = {nullptr, later};
  if (makes_instance(directive.kind)) {
    current_ = {nullptr, later};
    if (!directive.name.empty()) named_[directive.name] = current_;
  }
  if (directive.kind == Kind::kRegister) registered_[directive.field] = {nullptr, later};
}

Outcome ScriptRunner::execute(const Directive& directive) {
  switch (directive.kind) {
    case Kind::kModule: {
      const Outcome defined = define(directive);
      return defined.ok() ? instantiate(directive, definition("")) : defined;
    }
    case Kind::kModuleDefinition: return define(directive);
    case Kind::kModuleInstance: return instantiate(directive, definition(directive.field));
    case Kind::kRegister: return offer(directive);
    case Kind::kInvoke: {
      const Made<Answer> answer = call(directive);
      if (!answer.ok() || answer.value.status.ok()) return answer.outcome;
      return failed(answer.value.status, "the call failed");
    }
    case Kind::kAssertReturnInvoke: return assert_return(directive);
    case Kind::kAssertReturnGet: return assert_global(directive);
    case Kind::kAssertTrapInvoke: {
      const Made<Answer> answer = call(directive);
      return answer.ok() ? assert_trapped(answer.value.status, directive.message) : answer.outcome;
    }
    case Kind::kAssertTrapModule: {
      const Made<Answer> answer = link(load(directive));
      return answer.ok() ? assert_trapped(answer.value.status, directive.message) : answer.outcome;
    }
    case Kind::kAssertExhaustion: {
      const Made<Answer> answer = call(directive);
      return answer.ok() ? assert_exhausted(answer.value.status) : answer.outcome;
    }
    case Kind::kAssertInvalid:
    case Kind::kAssertMalformed: return assert_refused(directive);
    case Kind::kAssertMalformedText: return Outcome::text_only();
    case Kind::kAssertUnlinkable: return assert_unlinkable(directive);
    case Kind::kSkip: return Outcome::skipped("extractor: " + directive.message);
  }
  SPORE_ASSERT(false, "all kinds are above");
  return {};
}

// --- modules and instances ------------------------------------------------------------------------------

ScriptRunner::MadeModule ScriptRunner::load(const Directive& directive) const {
  const std::span<const uint8_t> wasm = script_.wasm(directive);
  Result<std::shared_ptr<const Module>> module =
      host_.load(wasm, plan_.is_below(directive) ? Tier::kOptimised : host_.tier());
  if (module.ok()) return {std::move(module).value(), {}};
  for (const auto& reason :
       {host_.proposals_left_out(wasm, module.status()), host_.compiler_lacks(wasm, module.status())}) {
    if (reason) return {nullptr, Outcome::skipped(*reason)};
  }
  return {nullptr, failed(module.status(), "the module was refused")};
}

Outcome ScriptRunner::define(const Directive& directive) {
  const MadeModule module = load(directive);
  if (module.ok()) definitions_[""] = definitions_[directive.name] = module;
  return module.outcome;
}

ScriptRunner::MadeModule ScriptRunner::definition(const std::string& name) const {
  const auto found = definitions_.find(name);
  if (found == definitions_.end()) return {nullptr, Outcome::failed(fmt::format("no definition '{}'", name))};
  return found->second;
}

ScriptRunner::MadeInstance ScriptRunner::instance(const std::string& name) const {
  if (name.empty()) return current_;
  const auto found = named_.find(name);
  if (found == named_.end()) return {nullptr, Outcome::failed(fmt::format("no instance '{}'", name))};
  return found->second;
}

ScriptRunner::Made<ScriptRunner::Answer> ScriptRunner::link(const MadeModule& module) {
  if (!module.ok()) return {{}, module.outcome};
  Instance& spectest = *spectests_.at(module.value->tier());
  std::vector<Instance::Link> links;
  for (const auto& [name, offered] : registered_) {
    if (offered.ok() && &offered.value->store() == &spectest.store()) links.push_back({name, offered.value});
  }
  links.push_back({"spectest", &spectest});
  for (const auto& import : module.value->code()->imports()) {
    const auto from = registered_.find(import.module);
    if (from != registered_.end() && !from->second.ok()) return {{}, from->second.outcome};
  }
  Made<Answer> made;
  Result<Instance> linked = host_.instantiate(*module.value, spectest, links);
  if (linked.ok()) {
    instances_.push_back(std::move(linked).value());
    made.value.instance = &instances_.back();
  } else {
    made.value.status = std::move(linked).status();
  }
  return made;
}

Outcome ScriptRunner::instantiate(const Directive& directive, const MadeModule& module) {
  const Made<Answer> answer = link(module);
  if (!answer.ok()) return answer.outcome;
  if (!answer.value.status.ok()) return failed(answer.value.status, "not instantiated");
  current_ = {answer.value.instance, {}};
  if (!directive.name.empty()) named_[directive.name] = current_;
  return {};
}

Outcome ScriptRunner::offer(const Directive& directive) {
  const MadeInstance offered = instance(directive.name);
  if (offered.ok()) registered_[directive.field] = offered;
  return offered.outcome;
}

// The compiler is asked last: what it lacks would show that the module is valid after all.
Outcome ScriptRunner::assert_refused(const Directive& directive) const {
  const std::span<const uint8_t> wasm = script_.wasm(directive);
  const Result<std::shared_ptr<const Module>> module = load_where_possible(host_, wasm);
  if (module.ok()) return Outcome::failed(fmt::format("loaded, expected: {}", directive.message));
  if (module.code() == Code::kInvalidModule) return {};
  if (const auto reason = host_.proposals_left_out(wasm, module.status())) return Outcome::skipped(*reason);
  return failed(module.status(), fmt::format("not refused as invalid ('{}')", directive.message));
}

Outcome ScriptRunner::assert_unlinkable(const Directive& directive) {
  const Made<Answer> answer = link(load(directive));
  if (!answer.ok()) return answer.outcome;
  if (answer.value.status.ok())
    return Outcome::failed(fmt::format("linked, expected: {}", directive.message));
  if (answer.value.status.code() == Code::kInvalidArgument) return {};
  return failed(answer.value.status, fmt::format("not a linking error ('{}')", directive.message));
}

// --- calls ----------------------------------------------------------------------------------------------

ScriptRunner::Made<ScriptRunner::Answer> ScriptRunner::call(const Directive& directive) const {
  const MadeInstance callee = instance(directive.name);
  if (!callee.ok()) return {{}, callee.outcome};
  const Result<engine::RawFunction> function = callee.value->raw_function(directive.field);
  if (!function.ok()) return {{}, failed(function.status(), "no such function")};
  const engine::FuncType& type = function.value().type();

  std::vector<engine::ValType> argument_types;
  std::vector<engine::RawValue> values;
  for (const std::string& argument : directive.arguments) {
    const std::optional<TypedValue> value = parse_value(argument);
    if (!value) return {{}, Outcome::failed(fmt::format("no host of ours can give {}", argument))};
    argument_types.push_back(value->type);
    values.push_back(value->raw);
  }
  if (argument_types != type.params) {
    return {{}, Outcome::failed(fmt::format("'{}' is {}", directive.field, type.text()))};
  }
  values.resize(std::max<size_t>({type.params.size(), type.results.size(), 1}));

  Answer answer{.status = function.value().call_unchecked(values.data(), values.size())};
  for (size_t i = 0; answer.status.ok() && i < type.results.size(); i++) {
    answer.results.push_back({type.results[i], values[i]});
  }
  return {std::move(answer), {}};
}

Outcome ScriptRunner::assert_return(const Directive& directive) {
  const Made<Answer> answer = call(directive);
  if (!answer.ok()) return answer.outcome;
  if (!answer.value.status.ok()) return failed(answer.value.status, "the call failed");
  return assert_results(answer.value.results, directive.results);
}

Outcome ScriptRunner::assert_global(const Directive& directive) {
  const MadeInstance owner = instance(directive.name);
  if (!owner.ok()) return owner.outcome;
  const auto global = owner.value->global(directive.field);
  if (!global.ok()) return failed(global.status(), "no such global");
  return assert_results({{global.value().type, global.value().value}}, directive.results);
}

}  // namespace spore::spec
