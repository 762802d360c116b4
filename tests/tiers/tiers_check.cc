#include "tests/tiers/tiers_check.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "tests/differential/calls.h"
#include "tests/differential/shares.h"
#include "tests/differential/shrink.h"
#include "tests/differential/state.h"
#include "tests/differential/world.h"

namespace spore::tiers_test {

using differential::Call;
using differential::Generator;
using differential::Guest;
using differential::Outcome;
using differential::Share;
using differential::State;
using differential::StateReader;
using engine::Tier;
using engine::TrapKind;
using engine::ValType;
using host::Instance;

// A Runtime, and what its guests tell the host.
struct TiersCheck::World {
  std::vector<int32_t> logged;
  std::unique_ptr<runtime::Runtime> runtime;
};

namespace {

// Guests come to an end by themselves: this is for a machine that does something else.
constexpr uint64_t kDeadlineMs = 1000;
constexpr uint8_t kCompactShare = 64;  // of 256

// A module in both tiers, for as long as it lives.
class LoadedGuest {
 public:
  // kUnsupported: the baseline compiler cannot take it.  `runtime` outlives it.
  static Result<LoadedGuest> create(runtime::Runtime& runtime, const Guest& guest) {
    runtime::ModuleOptions options;
    if (guest.generator == Generator::kWasi) options.wasi = differential::wasi_config();
    LoadedGuest loaded(runtime);
    for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
      options.tier = tier;
      loaded.modules_.push_back(SPORE_TRY(runtime.load_module(engine::tier_name(tier), guest.wasm, options)));
    }
    return loaded;
  }
  LoadedGuest(LoadedGuest&&) = default;
  ~LoadedGuest() {
    for (const auto& module : modules_) {
      SPORE_ASSERT(runtime_->unload_module(module->name()).ok(), "the module is gone");
    }
  }

  Result<Instance> instantiate(Tier tier) const { return runtime_->instantiate(module(tier)); }
  const runtime::Module& module(Tier tier) const { return *modules_[tier == Tier::kBaseline ? 0 : 1]; }
  std::shared_ptr<const wasm::PreparedModule> prepared() const {
    return {modules_.front(), modules_.front()->prepared()};
  }

 private:
  explicit LoadedGuest(runtime::Runtime& runtime) : runtime_(&runtime) {}

  runtime::Runtime* runtime_;
  std::vector<std::shared_ptr<const runtime::Module>> modules_;
};

std::vector<engine::CompiledCode::Export> functions_worth_calling(const LoadedGuest& loaded,
                                                                  const Guest& guest) {
  auto functions = differential::functions_of(loaded.module(Tier::kBaseline).code());
  // The leaves of a steered module give a constant each.
  std::erase_if(functions, [&](const engine::CompiledCode::Export& function) {
    return guest.generator == Generator::kSteered && function.type.params.size() < 2 &&
           function.type.results.size() == 1;
  });
  return functions;
}

// Where tiers may differ: how deep a stack goes, how fuel is counted, what the clock and the machine say.
// The counter to which it belongs; null: they may not.
uint64_t* ending(const Outcome& outcome, Statistics& statistics) {
  if (outcome.interrupted()) return &statistics.ended_by_clock;
  switch (outcome.trap) {
    case TrapKind::kStackOverflow: return &statistics.ended_by_stack;
    case TrapKind::kOutOfFuel: return &statistics.ended_by_fuel;
    case TrapKind::kAllocationTooLarge: return &statistics.ended_by_memory;
    default: return nullptr;
  }
}

// One way through a plan.
class Trial {
 public:
  Trial(const LoadedGuest& guest, const Guest& made, Flaw flaw, std::vector<int32_t>& log,
        Statistics& statistics)
      : guest_(guest),
        may_fail_to_start_(made.generator == Generator::kAny),
        flaw_(flaw),
        log_(log),
        statistics_(statistics),
        reader_(guest.prepared(), made.counter_global) {}

  // What was different, if anything was.
  std::optional<std::string> run(const Plan& plan) {
    std::string text = begin();
    if (!text.empty()) return text;
    if (ways_.empty()) return std::nullopt;
    statistics_.modules++;
    const bool has_vectors = (guest_.module(Tier::kBaseline).facts().proposals & wasm::kSimd) != 0;
    statistics_.vector_modules += has_vectors ? 1 : 0;
    text = compare_states("at its start");
    for (const Call& call : plan.calls) {
      if (!text.empty()) break;
      if (ways_.front().instance.retired()) break;
      text = compare(call);
      if (ended_) break;
    }
    return text.empty() ? std::nullopt : std::optional(std::move(text));
  }

 private:
  // One way to run a module.
  struct Way {
    std::string_view name;
    Instance instance;
    State state;
  };

  // Makes the instances of all ways; none, if there is nothing to compare.  What was different.
  std::string begin() {
    add("baseline", Tier::kBaseline);
    add("optimised", Tier::kOptimised);
    const Outcome& expected = starts_.front();
    if (ends(starts_)) return {};
    for (const Outcome& found : starts_) {
      if (found != expected) return unlike("instantiation", found, expected);
    }
    if (expected.code != Code::kOk) {
      if (!may_fail_to_start_) return fmt::format("no instance: {}", text(expected));
      statistics_.not_instances++;
    }
    return {};
  }

  void add(std::string_view name, Tier tier) {
    log_.clear();
    Result<Instance> instance = guest_.instantiate(tier);
    starts_.push_back(differential::outcome_of(instance.status(), log_));
    if (instance.ok()) ways_.push_back({.name = name, .instance = std::move(instance).value(), .state = {}});
  }

  // Counts what is no difference.
  bool ends(std::span<const Outcome> outcomes) {
    for (const Outcome& outcome : outcomes) {
      uint64_t* const counter = ending(outcome, statistics_);
      if (counter == nullptr) continue;
      ++*counter;
      ended_ = true;
      ways_.clear();
      return true;
    }
    return false;
  }

  static std::string unlike(std::string_view what, const Outcome& found, const Outcome& expected) {
    return fmt::format("{}: {}; {} is expected", what, text(found), text(expected));
  }

  // What a call gives in each way, and what it leaves.
  std::string compare(const Call& call) {
    std::vector<Outcome> outcomes;
    for (Way& way : ways_) outcomes.push_back(differential::run(call, way.instance, log_));
    if (ends(outcomes)) return {};
    spoil(flaw_, call.type, outcomes.back());
    for (size_t i = 1; i < outcomes.size(); i++) {
      if (outcomes[i] == outcomes[0]) continue;
      return fmt::format("{}: {}", ways_[i].name, unlike(text(call), outcomes[i], outcomes[0]));
    }
    std::swap(before_, ways_.front().state);
    std::string text = compare_states(fmt::format("after {}", differential::text(call)));
    count(call, outcomes.front());
    return text;
  }

  std::string compare_states(std::string_view when) {
    const State& expected = ways_.front().state;
    for (Way& way : ways_) reader_.read(way.instance, way.state);
    if (!before_.memories.empty() || !before_.globals.empty()) spoil(flaw_, before_, ways_.back().state);
    for (const Way& way : ways_) {
      std::string text = reader_.difference(way.state, expected);
      if (text.empty()) text = output_difference(way);
      if (!text.empty()) return fmt::format("{}: {} {}", way.name, text, when);
    }
    return {};
  }

  // The first way comes first: what it wrote is what is expected.
  std::string output_difference(const Way& way) {
    if (way.instance.wasi() == nullptr) return {};
    std::string output = way.instance.wasi()->take_output() + way.instance.wasi()->take_error();
    if (&way == ways_.data())
      output_ = std::move(output);
    else if (output != output_)
      return "other output";
    return {};
  }

  void count(const Call& call, const Outcome& outcome) {
    const State& after = ways_.front().state;
    const StateReader::Changes changes = reader_.changes(before_, after);
    statistics_.calls++;
    statistics_.returned += outcome.code == Code::kOk ? 1 : 0;
    statistics_.trapped += outcome.code == Code::kTrap ? 1 : 0;
    statistics_.changed_memory += changes.memory ? 1 : 0;
    statistics_.changed_length += changes.length ? 1 : 0;
    statistics_.changed_global += changes.global ? 1 : 0;
    statistics_.changed_table += changes.table ? 1 : 0;
    Gave gave;
    for (size_t i = 0; i < outcome.results.size(); i++) gave.add(call.type.results[i], outcome.results[i]);
    for (size_t i = 0; i < after.globals.size(); i++) {
      if (after.globals[i] != before_.globals[i]) gave.add(after.globals[i].type, after.globals[i].bits);
    }
    statistics_.gave_float += gave.number ? 1 : 0;
    statistics_.gave_nan += gave.nan ? 1 : 0;
    statistics_.gave_vector += gave.vector ? 1 : 0;
  }

  struct Gave {
    bool number = false;
    bool nan = false;
    bool vector = false;
    void add(ValType type, const Outcome::Bits& bits) {
      number |= type == ValType::kF32 || type == ValType::kF64;
      nan |= is_nan(type, bits);
      vector |= type == ValType::kV128;
    }
  };

  const LoadedGuest& guest_;
  bool may_fail_to_start_;
  Flaw flaw_;
  std::vector<int32_t>& log_;
  Statistics& statistics_;
  StateReader reader_;
  std::vector<Outcome> starts_;
  std::vector<Way> ways_;  // the first is what the others are compared with; the last has the flaw
  State before_;           // of the first, before the call
  std::string output_;     // of the first
  bool ended_ = false;
};

std::vector<Share> shares(const Statistics& s) {
  const uint64_t made = s.cases - s.not_made;
  return {{"modules that both tiers take", made - s.not_taken, made, 60},
          {"modules that are compared", s.modules, s.cases, 60},
          {"modules with vectors", s.vector_modules, s.modules, 30},
          {"modules to their last call", s.modules - std::min(s.modules, s.ended()), s.modules, 80},
          {"calls that returned", s.returned, s.calls, 30},
          {"calls that trapped", s.trapped, s.calls, 5},
          {"calls that changed memory", s.changed_memory, s.calls, 10},
          {"calls that changed a length", s.changed_length, s.calls, 10},
          {"calls that changed a global", s.changed_global, s.calls, 10},
          {"calls that changed a table", s.changed_table, s.calls, 10},
          {"calls that gave a float", s.gave_float, s.calls, 10},
          {"calls that gave a NaN", s.gave_nan, s.calls, 3},
          {"calls that gave a vector", s.gave_vector, s.calls, 5}};
}

}  // namespace

std::string Statistics::text() const {
  return fmt::format(
      "{} cases: {} made no module, {} no instance, {} are not taken by the baseline compiler\n"
      "{} ended where tiers may differ: {} by the stack, {} by fuel, {} by memory, {} by the clock\n{}",
      cases, not_made, not_instances, not_taken, ended(), ended_by_stack, ended_by_fuel, ended_by_memory,
      ended_by_clock, differential::text(shares(*this)));
}

std::string Statistics::shortfalls() const { return differential::shortfalls(shares(*this)); }

TiersCheck::TiersCheck(Flaw flaw) : flaw_(flaw) {}
TiersCheck::~TiersCheck() = default;

TiersCheck::World& TiersCheck::world(const Guest& guest) {
  const bool compact = guest.variant < kCompactShare;
  std::unique_ptr<World>& world = worlds_[compact ? 1 : 0];
  if (world) return *world;
  world = std::make_unique<World>();
  runtime::RuntimeOptions options;
  options.compact_memories = compact;
  options.limits = differential::limits(kDeadlineMs);
  options.host = differential::host_functions(world->logged);
  world->runtime = runtime::Runtime::create(std::move(options)).value();
  return *world;
}

std::optional<differential::Mismatch> TiersCheck::check(std::span<const uint8_t> bytes) {
  const std::optional<Guest> guest = differential::make_guest(bytes, {.numbers = true});
  if (guest) return check(*guest);
  statistics_.cases++;
  statistics_.not_made++;
  return std::nullopt;
}

std::optional<differential::Mismatch> TiersCheck::check(const Guest& guest) {
  statistics_.cases++;
  World& world = this->world(guest);
  const Result<LoadedGuest> loaded = LoadedGuest::create(*world.runtime, guest);
  if (loaded.code() == Code::kUnsupported) {
    statistics_.not_taken++;
    return std::nullopt;
  }
  const auto functions = functions_worth_calling(loaded.value(), guest);
  differential::Random random(guest.calls_seed);
  Plan plan = make_plan(functions, random);
  const auto try_plan = [&](const Plan& tried, Statistics& statistics) {
    return Trial(loaded.value(), guest, flaw_, world.logged, statistics).run(tried);
  };
  std::optional<std::string> text = try_plan(plan, statistics_);
  if (!text) return std::nullopt;

  differential::Failure<Plan> failure{.text = std::move(*text), .plan = std::move(plan)};
  Statistics unused;
  differential::shrink(failure, [&](const Plan& smaller) { return try_plan(smaller, unused); });
  return differential::Mismatch{.text = failure.text + "\n" + tiers_test::text(failure.plan),
                                .wasm = guest.wasm};
}

}  // namespace spore::tiers_test
