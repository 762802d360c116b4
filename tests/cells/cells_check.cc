#include "tests/cells/cells_check.h"

#include <utility>

#include <fmt/format.h>

#include "tests/cells/trial.h"
#include "tests/differential/shares.h"
#include "tests/differential/shrink.h"
#include "tests/differential/world.h"

namespace spore::cells_test {

using differential::Generator;
using differential::Guest;
using differential::Share;
using engine::Tier;

namespace {

constexpr uint8_t kVariants = 8;
constexpr uint8_t kClimbs = 6;      // from here on
constexpr uint8_t kClimbsHigh = 7;  // to the peak
constexpr uint64_t kDeadlineMs = 20;

uint8_t variant_of(const Guest& guest) { return guest.variant % kVariants; }

std::optional<Guest> make_guest(std::span<const uint8_t> bytes) {
  const std::optional<Guest> guest = differential::make_guest(bytes, {});
  if (!guest || variant_of(*guest) < kClimbs) return guest;
  // The interpreter takes no table that grows, and Binaryen less.
  if (variant_of(*guest) == kClimbs) return differential::make_guest(bytes, {.tier = Tier::kInterpreter});
  return differential::make_guest(bytes, {.all_tiers = true});
}

// --- statistics ----------------------------------------------------------------------------------------

std::vector<Share> shares(const Statistics& s) {
  return {{"cases that are histories", s.histories, s.cases, 80},
          {"histories to their end", s.histories - std::min(s.histories, s.histories_left), s.histories, 90},
          {"steps with several threads", s.together, s.steps, 1},
          {"calls that returned", s.returned, s.calls, 30},
          {"calls that trapped", s.trapped, s.calls, 5},
          {"calls that changed memory", s.changed_memory, s.calls_seen, 10},
          {"calls that changed a length", s.changed_length, s.calls_seen, 5},
          {"calls that changed a global", s.changed_global, s.calls_seen, 10},
          {"calls that changed a table", s.changed_table, s.calls_seen, 5},
          {"calls that a deadline stopped", s.stopped, s.calls, 0.2},
          {"calls that the host did not answer", s.unanswered, s.calls, 0.1},
          {"calls whose delta was too long", s.too_long, s.calls, 0.1},
          {"calls that came to be lost", s.calls_lost, s.calls, 1},
          {"steps that woke a cell", s.woken, s.steps, 30},
          {"states that differ from the image", s.states_with_changes, s.states, 30},
          {"links that differ from the one before", s.links_with_changes, s.links, 20},
          {"cells that were forked", s.forked, s.steps, 2},
          {"cells that were carried elsewhere", s.carried, s.steps, 1},
          {"cells of two links or more", s.unchained, s.steps, 0.4},
          {"cells of links in files", s.in_files, s.steps, 0.5},
          {"cells of another image", s.rebased, s.steps, 0.5},
          {"of these two, with a state of WASI", s.other_wasi, s.unchained + s.rebased, 1},
          {"histories that came to optimised code", s.climbed[2], s.histories, 3},
          {"histories that came to peak code", s.climbed[3], s.histories, 0.5}};
}

}  // namespace

std::string Statistics::text() const {
  return fmt::format(
      "{} cases: {} made no module, {} no instance, {} cannot be cells\n"
      "{} histories, {} steps, {} calls, {} looks at all state\n{}",
      cases, not_made, not_instances, not_in_place, histories, steps, calls, looks,
      differential::text(shares(*this)));
}

std::string Statistics::shortfalls() const { return differential::shortfalls(shares(*this)); }

// --- the check -----------------------------------------------------------------------------------------

namespace {

cell::PoolOptions pool_options(uint8_t variant) {
  using memory::FaultCounterKind;
  cell::PoolOptions options;
  options.housekeeping = false;
  options.retire_on_trap = variant != 1;
  options.wait_timeout_ms = 1;  // others give theirs back when they are asked
  switch (variant) {
    case 1: options.reset = {.fault_counter = FaultCounterKind::kSystemCall}; break;
    case 2: options.reset = {.write_set_pages_max = 3}; break;
    case 3: options.reset = {.fault_counter = FaultCounterKind::kNone}; break;
    case 4: options.reset = {.write_set_pages_max = 0}; break;
    // Three threads have one each, and two that are being put to sleep are somebody's for a moment.
    case 5: options.instances_per_module_max = 6; break;
    default: break;
  }
  return options;
}

std::unique_ptr<runtime::Runtime> make_runtime(uint8_t variant, std::optional<Tier> tier) {
  runtime::RuntimeOptions options;
  options.tier = tier;
  options.pool = pool_options(variant);
  options.compact_memories = variant == 2;
  options.limits = differential::limits(kDeadlineMs);
  options.host = host_functions();
  if (!tier) {
    options.interpret_bytes_min = 0;
    options.compile.helper = SPORE_COMPILE_HELPER;
    if (variant == kClimbsHigh) options.peak = runtime::Peak::kManual;
  }
  return runtime::Runtime::create(std::move(options)).value();
}

}  // namespace

CellsCheck::CellsCheck() : elsewhere_(2), worlds_(kVariants) {}
CellsCheck::~CellsCheck() = default;

World& CellsCheck::world(const Guest& guest) {
  const uint8_t variant = variant_of(guest);
  std::unique_ptr<World>& world = worlds_[variant];
  if (world) return *world;
  world = std::make_unique<World>();
  world->climbs = variant >= kClimbs;
  world->tier_max = variant == kClimbsHigh ? Tier::kPeak : Tier::kOptimised;
  world->here = make_runtime(variant, world->climbs ? std::nullopt : std::optional(Tier::kBaseline));
  // Twins of modules that climb are there, too.
  const bool optimised = !world->climbs && variant % 2 == 1;
  std::unique_ptr<runtime::Runtime>& elsewhere = elsewhere_[optimised ? 1 : 0];
  if (!elsewhere) elsewhere = make_runtime(0, optimised ? Tier::kOptimised : Tier::kBaseline);
  world->elsewhere = elsewhere.get();
  world->workers = &workers_;
  return *world;
}

std::optional<std::string> CellsCheck::run(const Guest& guest, const Plan& plan) {
  const auto stage = Stage::create(world(guest), guest).value();
  return Trial(*stage, guest.generator == Generator::kAny, statistics_).run(plan);
}

std::optional<differential::Mismatch> CellsCheck::check(std::span<const uint8_t> bytes) {
  statistics_.cases++;
  const std::optional<Guest> guest = make_guest(bytes);
  if (!guest) {
    statistics_.not_made++;
    return std::nullopt;
  }
  World& world = this->world(*guest);
  const bool may_fail_to_start = guest->generator == Generator::kAny;
  std::optional<differential::Failure<Plan>> failure;
  {
    const auto stage = Stage::create(world, *guest).value();
    differential::Random random(guest->calls_seed);
    Plan plan = make_plan(stage->functions(), world.climbs, random);
    std::optional<std::string> text = Trial(*stage, may_fail_to_start, statistics_).run(plan);
    if (text) failure = {.text = std::move(*text), .plan = std::move(plan)};
  }
  if (!failure) return std::nullopt;
  Statistics unused;
  differential::shrink(*failure, [&](const Plan& plan) {
    const auto stage = Stage::create(world, *guest).value();
    return Trial(*stage, may_fail_to_start, unused).run(plan);
  });
  return differential::Mismatch{
      .text = fmt::format("{}\n  variant {}, {}\n{}", failure->text, variant_of(*guest),
                          differential::generator_name(guest->generator), cells_test::text(failure->plan)),
      .wasm = guest->wasm};
}

}  // namespace spore::cells_test
