#include "tests/tiers/tiers_check.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "spore/engine/interpreter.h"
#include "tests/differential/calls.h"
#include "tests/differential/shares.h"
#include "tests/differential/shrink.h"
#include "tests/differential/state.h"
#include "tests/tiers/plan.h"

namespace spore::tiers_test {

using differential::Call;
using differential::Generator;
using differential::Guest;
using differential::Outcome;
using differential::Share;
using differential::State;
using differential::StateReader;
using engine::LiveBinding;
using engine::Tier;
using engine::TrapKind;
using engine::ValType;
using host::Instance;

namespace {

constexpr uint8_t kCompactShare = 64;  // of 256

std::vector<engine::CompiledCode::Export> functions_worth_calling(const Subject& subject,
                                                                  const Guest& guest) {
  auto functions = differential::functions_of(*subject.binding(Tier::kBaseline)->code());
  // The leaves of a steered module give a constant each.
  std::erase_if(functions, [&](const engine::CompiledCode::Export& function) {
    return guest.generator == Generator::kSteered && function.type.params.size() < 2 &&
           function.type.results.size() == 1;
  });
  return functions;
}

// Of one module in four each call comes back from the interpreter after every few instructions: whatever can
// be resumed there is.
uint64_t slice_of(const Guest& guest) {
  constexpr uint64_t kUsual = 100'000;
  return guest.variant % 4 == 1 ? 1 + guest.calls_seed % 50 : kUsual;
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

// One way to run a module: an instance of the code that is best at the time, and functions of it, each looked
// up once.
class Way {
 public:
  Way(std::string_view name, const Subject& subject, Tier tier)
      : name_(name),
        live_(std::make_shared<LiveBinding>(subject.binding(tier))),
        instance_(subject.instantiate(live_)) {}

  std::string_view name() const { return name_; }
  const Status& start() const { return instance_.status(); }
  const Instance& instance() const { return instance_.value(); }
  Tier tier() const { return instance().code().engine().options().tier; }

  Outcome call(const Call& call, std::vector<int32_t>& log) {
    auto found = functions_.find(call.function);
    if (found == functions_.end()) {
      found = functions_.emplace(call.function, instance().raw_function(call.function).value()).first;
    }
    return differential::run(call, found->second, log);
  }

  // With the next call.
  void hand_over(const std::shared_ptr<const engine::Binding>& binding) { live_->improve(binding); }

  // Why it was not done.
  std::string refusal() const { return live_->hand_overs().last_refusal; }

  // As it was read last.
  State& state() { return state_; }
  const State& state() const { return state_; }

 private:
  std::string_view name_;
  std::shared_ptr<LiveBinding> live_;
  Result<Instance> instance_;
  std::map<std::string, engine::RawFunction> functions_;
  State state_;
};

// One way through a plan.
class Trial {
 public:
  Trial(const Subject& subject, const Guest& guest, Flaw flaw, std::vector<int32_t>& log,
        Statistics& statistics)
      : subject_(subject),
        may_fail_to_start_(guest.generator == Generator::kAny),
        flaw_(flaw),
        log_(log),
        statistics_(statistics),
        reader_(subject.prepared(), guest.counter_global) {}

  // What was different, if anything was.
  std::optional<std::string> run(const Plan& plan) {
    std::string text = begin();
    if (text.empty() && !over_) text = call_all(plan);
    return text.empty() ? std::nullopt : std::optional(std::move(text));
  }

 private:
  // The first is what the others are compared with; the second has the flaw.
  static constexpr size_t kFlawed = 1;
  static constexpr size_t kHandedOver = 2;

  // What was different.  Over, if there is nothing to be called.
  std::string begin() {
    std::vector<Outcome> starts;
    const auto add = [&](std::string_view name, Tier tier) {
      log_.clear();
      ways_.push_back(std::make_unique<Way>(name, subject_, tier));
      starts.push_back(differential::outcome_of(ways_.back()->start(), log_));
    };
    add("baseline", Tier::kBaseline);
    add("optimised", Tier::kOptimised);
    const bool interpreted = subject_.binding(Tier::kInterpreter) != nullptr;
    add("handed over", interpreted ? Tier::kInterpreter : Tier::kBaseline);
    if (interpreted) add("interpreter", Tier::kInterpreter);
    if (subject_.binding(Tier::kPeak) != nullptr) add("peak", Tier::kPeak);
    if (ends(starts)) return {};
    std::string text = difference("its start", starts);
    if (!text.empty()) return text;
    if (starts.front().code != Code::kOk) {
      if (!may_fail_to_start_) return fmt::format("no instance: {}", differential::text(starts.front()));
      statistics_.not_instances++;
      over_ = true;
      return {};
    }
    statistics_.modules++;
    const bool has_vectors = (subject_.prepared()->facts.proposals & wasm::kSimd) != 0;
    statistics_.vector_modules += has_vectors ? 1 : 0;
    statistics_.interpreted += subject_.binding(Tier::kInterpreter) == nullptr ? 0 : 1;
    statistics_.peak += subject_.binding(Tier::kPeak) == nullptr ? 0 : 1;
    read_states();
    return difference_of_states("at its start");
  }

  std::string call_all(const Plan& plan) {
    for (size_t i = 0; i < plan.calls.size() && !ways_.front()->instance().retired(); i++) {
      // From there on a tier with each call, as long as there is one.
      const Tier now = ways_[kHandedOver]->tier();
      const Tier next = i < plan.hand_over_at || stays_ ? now : next_tier(now);
      if (next != now) hand_over(next);
      std::string text = compare(plan.calls[i]);
      if (text.empty() && !over_ && next != now) text = count_hand_over(next);
      if (!text.empty() || over_) return text;
    }
    return {};
  }

  // The same: there is none above.
  Tier next_tier(Tier now) const {
    for (auto tier = static_cast<int>(now) + 1; tier <= static_cast<int>(Tier::kPeak); tier++) {
      if (subject_.binding(static_cast<Tier>(tier)) != nullptr) return static_cast<Tier>(tier);
    }
    return now;
  }

  void hand_over(Tier tier) {
    std::unique_ptr<Way>& way = ways_[kHandedOver];
    if (flaw_ == Flaw::kState) {
      way = std::make_unique<Way>(way->name(), subject_, tier);
    } else {
      way->hand_over(subject_.binding(tier));
    }
  }

  // Where it may be refused is written down here once more: a hand-over that is never done is none.
  std::string count_hand_over(Tier tier) {
    const Way& way = *ways_[kHandedOver];
    if (way.tier() == tier) {
      statistics_.handed_over[static_cast<size_t>(tier)]++;
      return {};
    }
    statistics_.not_handed_over++;
    stays_ = true;
    const wasm::PreparedModule& prepared = *subject_.prepared();
    if (prepared.reset() != wasm::ResetMode::kInPlace || !prepared.not_lifted.empty()) return {};
    const std::string refusal = way.refusal();
    if (refusal.find("passes references") != std::string::npos) return {};
    if (refusal.find("is not among those of its module") != std::string::npos) return {};
    return fmt::format("not handed over: {}", refusal);
  }

  // Counts what is no difference.
  bool ends(std::span<const Outcome> outcomes) {
    for (const Outcome& outcome : outcomes) {
      uint64_t* const counter = ending(outcome, statistics_);
      if (counter == nullptr) continue;
      ++*counter;
      over_ = true;
      return true;
    }
    return false;
  }

  // What a call gives in each way, and what it leaves.
  std::string compare(const Call& call) {
    std::vector<Outcome> outcomes;
    for (const auto& way : ways_) outcomes.push_back(way->call(call, log_));
    if (ends(outcomes)) return {};
    spoil(flaw_, call.type, outcomes[kFlawed]);
    const std::string what = differential::text(call);
    std::string text = difference(what, outcomes);
    if (!text.empty()) return text;
    std::swap(before_, ways_.front()->state());
    read_states();
    spoil(flaw_, before_, ways_[kFlawed]->state());
    text = difference_of_states("after " + what);
    if (text.empty()) count(call, outcomes.front());
    return text;
  }

  std::string difference(std::string_view what, std::span<const Outcome> outcomes) const {
    for (size_t i = 1; i < outcomes.size(); i++) {
      if (outcomes[i] == outcomes[0] || is_another_trap(*ways_[i], outcomes[i], outcomes[0])) continue;
      return fmt::format("{}: {}: {}; {} is expected", ways_[i]->name(), what,
                         differential::text(outcomes[i]), differential::text(outcomes[0]));
    }
    return {};
  }

  // Of two instructions that would trap, Binaryen may put the one first or the other.
  static bool is_another_trap(const Way& way, const Outcome& outcome, const Outcome& expected) {
    return outcome.code == Code::kTrap && expected.code == Code::kTrap && outcome.logged == expected.logged &&
           way.start().ok() && way.tier() == Tier::kPeak;
  }

  void read_states() {
    for (const auto& way : ways_) reader_.read(way->instance(), way->state());
  }

  std::string difference_of_states(std::string_view when) const {
    const std::string expected_output = take_output(*ways_.front());
    for (size_t i = 1; i < ways_.size(); i++) {
      std::string text = reader_.difference(ways_[i]->state(), ways_.front()->state());
      if (text.empty() && take_output(*ways_[i]) != expected_output) text = "other output";
      if (!text.empty()) return fmt::format("{}: {} {}", ways_[i]->name(), text, when);
    }
    return {};
  }

  static std::string take_output(const Way& way) {
    host::Wasi* const wasi = way.instance().wasi();
    return wasi == nullptr ? "" : wasi->take_output() + wasi->take_error();
  }

  void count(const Call& call, const Outcome& outcome) {
    const State& after = ways_.front()->state();
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

  const Subject& subject_;
  bool may_fail_to_start_;
  Flaw flaw_;
  std::vector<int32_t>& log_;
  Statistics& statistics_;
  StateReader reader_;
  std::vector<std::unique_ptr<Way>> ways_;
  State before_;        // of the first, before the call
  bool over_ = false;   // there is nothing more to compare
  bool stays_ = false;  // its hand-over was refused
};

std::vector<Share> shares(const Statistics& s) {
  const uint64_t made = s.cases - s.not_made;
  return {{"modules that both tiers take", made - s.not_taken, made, 60},
          {"modules that are compared", s.modules, s.cases, 60},
          {"modules with vectors", s.vector_modules, s.modules, 30},
          {"modules that are interpreted", s.interpreted, s.modules, 70},
          {"modules with a peak form", s.peak, s.modules, 20},
          {"modules handed over to baseline code", s.handed_over[1], s.modules, 45},
          {"modules handed over to optimised code", s.handed_over[2], s.modules, 40},
          {"modules handed over to peak code", s.handed_over[3], s.modules, 10},
          {"modules to their last call", s.modules - std::min(s.modules, s.ended()), s.modules, 80},
          {"calls that returned", s.returned, s.calls, 30},
          {"calls that trapped", s.trapped, s.calls, 5},
          {"calls that changed memory", s.changed_memory, s.calls, 10},
          {"calls that changed a length", s.changed_length, s.calls, 10},
          {"calls that changed a global", s.changed_global, s.calls, 10},
          {"calls that changed a table", s.changed_table, s.calls, 6},  // of most modules none grows
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

Engines& TiersCheck::engines(const Guest& guest) {
  const bool compact = guest.variant < kCompactShare;
  std::unique_ptr<Engines>& engines = engines_[compact ? 1 : 0];
  if (engines == nullptr) engines = std::make_unique<Engines>(compact);
  return *engines;
}

std::optional<differential::Mismatch> TiersCheck::check(std::span<const uint8_t> bytes) {
  const std::optional<Guest> guest = differential::make_guest(bytes, {.numbers = true, .all_tiers = true});
  if (guest) return check(*guest);
  statistics_.cases++;
  statistics_.not_made++;
  return std::nullopt;
}

std::optional<differential::Mismatch> TiersCheck::check(const Guest& guest) {
  statistics_.cases++;
  Engines& engines = this->engines(guest);
  spore_interpreted_set_slice(slice_of(guest));
  const Result<Subject> made = Subject::create(engines, guest, flaw_);
  if (made.code() == Code::kUnsupported) {
    statistics_.not_taken++;
    return std::nullopt;
  }
  const Subject& subject = made.value();
  differential::Random random(guest.calls_seed);
  Plan plan = make_plan(functions_worth_calling(subject, guest), random);
  const auto try_plan = [&](const Plan& tried, Statistics& statistics) {
    return Trial(subject, guest, flaw_, engines.logged, statistics).run(tried);
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
