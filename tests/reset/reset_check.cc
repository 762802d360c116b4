#include "tests/reset/reset_check.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tests/differential/calls.h"
#include "tests/differential/shares.h"
#include "tests/differential/shrink.h"
#include "tests/differential/state.h"
#include "tests/differential/world.h"

namespace spore::reset_test {

using differential::Call;
using differential::Generator;
using differential::Guest;
using differential::Outcome;
using differential::Share;
using differential::State;
using differential::StateReader;
using host::Instance;

namespace {

constexpr uint8_t kVariants = 5;
constexpr uint64_t kDeadlineMs = 20;

bool is_interrupted(const Status& status) {
  return status.code() == Code::kDeadlineExceeded || status.code() == Code::kCancelled;
}

// One way through a plan.
class Trial {
 public:
  Trial(CleanSource& source, const Guest& guest, bool may_skip_scans, std::vector<int32_t>& log,
        Statistics& statistics)
      : source_(source),
        may_fail_to_start_(guest.generator == Generator::kAny),
        may_skip_scans_(may_skip_scans),
        log_(log),
        statistics_(statistics) {}

  // What was different, if anything was.
  std::optional<std::string> run(const Plan& plan) {
    const Result<Instance> fresh = source_.fresh();
    const Status held = source_.acquire();
    if (is_interrupted(fresh.status()) || is_interrupted(held)) return std::nullopt;
    if (fresh.code() != held.code()) {
      return fmt::format("a new instance: {}; a clean one: {}", code_name(fresh.code()),
                         code_name(held.code()));
    }
    if (!fresh.ok()) {
      if (!may_fail_to_start_) return fmt::format("no instance: {}", fresh.status().message());
      statistics_.not_instances++;
      return std::nullopt;
    }
    source_.release();
    const cell::PoolCounts before = source_.counts();
    std::optional<std::string> text;
    for (const Round& round : plan) {
      text = run(round);
      if (text) break;
    }
    cell::PoolCounts counts = source_.counts();
    count(counts -= before);
    return text;
  }

 private:
  // None: no difference, or no way to tell.
  std::optional<std::string> run(const Round& round) {
    statistics_.rounds++;
    for (const Use& use : round.unseen) {
      std::optional<std::string> text = use.quick == 0 ? use_held(use) : use_quickly(use);
      if (text) return text;
    }
    if (round.clean_up) source_.clean_up();
    const Status acquired = source_.acquire();
    if (!acquired.ok()) return lost(acquired);
    std::optional<std::string> text = compare(round);
    source_.release();
    return text;
  }

  std::optional<std::string> use_held(const Use& use) {
    const Status acquired = source_.acquire();
    if (!acquired.ok()) return lost(acquired);
    for (const Call& call : use.calls) {
      if (source_.held().retired()) break;
      differential::run(call, source_.held(), log_);
    }
    source_.release();
    return std::nullopt;
  }

  // The last of so many calls gives what the first one of a new instance does.  But for what is logged: where
  // instances are made anew, their start functions log, too.
  std::optional<std::string> use_quickly(const Use& use) {
    for (const Call& call : use.calls) {
      if (!CleanSource::is_quick(call.type)) continue;
      Outcome found;
      for (uint32_t i = 0; i < use.quick && !found.interrupted(); i++) {
        const auto result = source_.call_quickly(call.function, call.args[0].i32, call.args[1].i32);
        found = differential::outcome_of(result.status(), {});
        if (result.ok())
          found.results.push_back(differential::bits_of(engine::ValType::kI32, {.i32 = result.value()}));
      }
      const Result<Instance> fresh = source_.fresh();
      if (!fresh.ok()) return lost(fresh.status());
      Outcome expected = differential::run(call, fresh.value(), log_);
      expected.logged.clear();
      if (found.interrupted() || expected.interrupted()) continue;
      if (found != expected) return unlike(call, found, expected) + " in a clean instance";
    }
    return std::nullopt;
  }

  static std::string unlike(const Call& call, const Outcome& found, const Outcome& expected) {
    return fmt::format("{}: {}; {} is expected", text(call), text(found), text(expected));
  }

  std::optional<std::string> lost(const Status& status) {
    if (!is_interrupted(status)) return fmt::format("acquire: {}", status.message());
    statistics_.rounds_left++;
    return std::nullopt;
  }

  std::optional<std::string> compare(const Round& round) {
    const Result<Instance> made = source_.fresh();
    if (!made.ok()) return lost(made.status());
    const Instance& fresh = made.value();
    const Instance& clean = source_.held();
    std::string text = difference(clean, fresh);
    if (!text.empty()) return text + " before any call";
    for (const Call& call : round.compared) {
      const Outcome expected = differential::run(call, fresh, log_);
      const Outcome found = differential::run(call, clean, log_);
      if (expected.interrupted() || found.interrupted()) {
        statistics_.rounds_left++;
        return std::nullopt;
      }
      if (found != expected) return unlike(call, found, expected);
      count(expected, fresh);
      if (fresh.retired()) break;
    }
    text = difference(clean, fresh);
    return text.empty() ? std::nullopt : std::optional(text + " after the calls");
  }

  // Leaves the state of `fresh` in expected_.
  std::string difference(const Instance& clean, const Instance& fresh) {
    source_.reader().read(clean, found_);
    source_.reader().read(fresh, expected_);
    std::string text = source_.reader().difference(found_, expected_);
    if (text.empty() && clean.wasi() != nullptr) {
      const std::string output = clean.wasi()->take_output() + clean.wasi()->take_error();
      if (output != fresh.wasi()->take_output() + fresh.wasi()->take_error()) text = "other output";
    }
    return text;
  }

  // What the pool did.
  void count(const cell::PoolCounts& counts) {
    statistics_.modules++;
    if (!source_.in_place()) return;
    statistics_.in_place++;
    statistics_.acquired += counts.acquired;
    statistics_.resets += counts.resets_in_place + counts.resets_anew;
    statistics_.resets_in_place += counts.resets_in_place;
    statistics_.reused += counts.hits() - std::min(counts.hits(), counts.resets_anew);
    if (!may_skip_scans_) return;
    const uint64_t memories = counts.resets_in_place * source_.memories();
    statistics_.memories_reset += memories;
    statistics_.memories_not_scanned += memories - std::min(memories, counts.scans);
  }

  void count(const Outcome& outcome, const Instance& fresh) {
    std::swap(before_, expected_);
    source_.reader().read(fresh, expected_);
    const StateReader::Changes changes = source_.reader().changes(before_, expected_);
    statistics_.calls++;
    statistics_.returned += outcome.code == Code::kOk ? 1 : 0;
    statistics_.changed_memory += changes.memory ? 1 : 0;
    statistics_.changed_length += changes.length ? 1 : 0;
    statistics_.changed_global += changes.global ? 1 : 0;
    statistics_.changed_table += changes.table ? 1 : 0;
  }

  CleanSource& source_;
  bool may_fail_to_start_;
  bool may_skip_scans_;
  std::vector<int32_t>& log_;
  Statistics& statistics_;
  State found_;
  State expected_;
  State before_;
};

}  // namespace

// --- statistics -----------------------------------------------------------------------------------------

namespace {

std::vector<Share> shares(const Statistics& s) {
  return {{"modules that are instantiated", s.modules, s.cases, 80},
          {"modules in place", s.in_place, s.modules, 50},
          {"instances that were used before", s.reused, s.acquired, 50},
          {"resets that were in place", s.resets_in_place, s.resets,
           s.interpreted ? 60.0 : 70.0},  // no memory that grew is reset in place there
          {"memories reset without a scan", s.memories_not_scanned, s.memories_reset, 3},
          {"rounds to their end", s.rounds - s.rounds_left, s.rounds, 80},
          {"calls that returned", s.returned, s.calls, 30},
          {"calls that changed memory", s.changed_memory, s.calls, 10},
          {"calls that changed a length", s.changed_length, s.calls, 10},
          {"calls that changed a global", s.changed_global, s.calls, 10},
          {"calls that changed a table", s.changed_table, s.calls,
           s.interpreted ? 6.0 : 10.0}};  // none that grows one begins there
}

}  // namespace

std::string Statistics::text() const {
  return fmt::format("{} cases: {} made no module, {} no instance\n{}", cases, not_made, not_instances,
                     differential::text(shares(*this)));
}

std::string Statistics::shortfalls() const { return differential::shortfalls(shares(*this)); }

// --- the check ------------------------------------------------------------------------------------------

// A Runtime, in one of the ways in which resets differ.
struct ResetCheck::World {
  std::vector<int32_t> logged;
  bool may_skip_scans = true;
  std::unique_ptr<runtime::Runtime> runtime;
};

namespace {

cell::PoolOptions pool_options(uint8_t variant) {
  using memory::FaultCounterKind;
  cell::PoolOptions options;
  options.housekeeping = false;  // no thread of its own: each run is the same
  options.retire_on_trap = variant == 1;
  switch (variant) {
    case 1: options.reset = {.fault_counter = FaultCounterKind::kSystemCall}; break;
    case 2: options.reset = {.write_set_pages_max = 3}; break;
    case 3: options.reset = {.fault_counter = FaultCounterKind::kNone}; break;
    case 4: options.reset = {.write_set_pages_max = 0}; break;
    default: break;
  }
  return options;
}

}  // namespace

ResetCheck::ResetCheck(engine::Tier tier) : tier_(tier), worlds_(kVariants) {
  statistics_.interpreted = tier == engine::Tier::kInterpreter;
}
ResetCheck::~ResetCheck() = default;

ResetCheck::World& ResetCheck::world(const Guest& guest) {
  const uint8_t variant = guest.variant % kVariants;
  std::unique_ptr<World>& world = worlds_[variant];
  if (world) return *world;
  world = std::make_unique<World>();
  world->may_skip_scans = variant < 3;

  runtime::RuntimeOptions options;
  options.tier = tier_;
  options.pool = pool_options(variant);
  options.compact_memories = variant == 2;
  options.limits = differential::limits(kDeadlineMs);
  options.host = differential::host_functions(world->logged);
  world->runtime = runtime::Runtime::create(std::move(options)).value();
  return *world;
}

std::optional<differential::Mismatch> ResetCheck::check(std::span<const uint8_t> bytes) {
  statistics_.cases++;
  const std::optional<Guest> guest = differential::make_guest(bytes, {.tier = tier_});
  if (!guest) {
    statistics_.not_made++;
    return std::nullopt;
  }
  std::optional<differential::Failure<Plan>> failure;
  {
    CleanSource source = make_source(*guest);
    differential::Random random(guest->calls_seed);
    Plan plan = make_plan(source.functions(), random);
    std::optional<std::string> text = try_plan(*guest, source, plan, statistics_);
    if (text) failure = {.text = std::move(*text), .plan = std::move(plan)};
  }
  if (!failure) return std::nullopt;
  // Each plan is tried on instances that nothing was done with.
  Statistics unused;
  differential::shrink(*failure, [&](const Plan& plan) {
    CleanSource source = make_source(*guest);
    return try_plan(*guest, source, plan, unused);
  });
  return differential::Mismatch{.text = failure->text + "\n" + text(failure->plan), .wasm = guest->wasm};
}

CleanSource ResetCheck::make_source(const Guest& guest) {
  return CleanSource::create(*world(guest).runtime, guest).value();
}

std::optional<std::string> ResetCheck::try_plan(const Guest& guest, CleanSource& source, const Plan& plan,
                                                Statistics& statistics) {
  World& world = this->world(guest);
  return Trial(source, guest, world.may_skip_scans, world.logged, statistics).run(plan);
}

}  // namespace spore::reset_test
