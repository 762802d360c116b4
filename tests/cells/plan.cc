#include "tests/cells/plan.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

namespace spore::cells_test {

using differential::draw_calls;
using differential::Random;

namespace {

constexpr uint64_t kCellsMax = 4;  // at the start
constexpr uint64_t kCallsMax = 3;  // of a step
constexpr uint64_t kCallsTogetherMax = 9;

struct Share {
  StepKind kind;
  uint64_t weight;
};
constexpr std::array kShares{
    Share{StepKind::kCall, 40},  Share{StepKind::kUse, 8},     Share{StepKind::kHindered, 4},
    Share{StepKind::kSleep, 9},  Share{StepKind::kWake, 4},    Share{StepKind::kLook, 3},
    Share{StepKind::kCreate, 2}, Share{StepKind::kRemove, 3},  Share{StepKind::kFork, 6},
    Share{StepKind::kCarry, 5},  Share{StepKind::kLink, 8},    Share{StepKind::kUnchain, 5},
    Share{StepKind::kRebase, 2}, Share{StepKind::kCleanUp, 3},
};
constexpr uint64_t kClimbShare = 5;
constexpr uint64_t kTogetherShare = 8;

StepKind draw_kind(bool climbs, bool together, Random& random) {
  uint64_t all = (climbs ? kClimbShare : 0) + (together ? kTogetherShare : 0);
  for (const Share& share : kShares) all += share.weight;
  uint64_t at = random.below(all);
  for (const Share& share : kShares) {
    if (at < share.weight) return share.kind;
    at -= share.weight;
  }
  return climbs && at < kClimbShare ? StepKind::kClimb : StepKind::kTogether;
}

Options draw_options(Random& random) {
  Options options;
  if (random.chance(1, 3)) options.commit = cell::Commit::kOnSleep;
  constexpr std::array<uint64_t, 4> kIdle{0, 0, 1, 60'000};
  options.idle_sleep_ms = kIdle[random.below(kIdle.size())];
  constexpr std::array<uint32_t, 4> kAwake{1, 2, 64, 64};
  options.awake_max = kAwake[random.below(kAwake.size())];
  options.few_bytes_awake = random.chance(1, 4);
  options.small_deltas = random.chance(1, 8) && options.lasts();
  options.housekeeping = random.chance(1, 8);
  options.domain = random.chance(1, 4);
  options.cells = static_cast<uint32_t>(random.between(1, kCellsMax));
  return options;
}

Look draw_look(const Options& options, Random& random) {
  switch (random.below(4)) {
    case 0: return Look::kCopy;
    // What was not committed would be lost.
    case 1: return options.lasts() ? Look::kDrop : Look::kCommit;
    default: return Look::kCommit;
  }
}

Step draw_step(const std::vector<engine::CompiledCode::Export>& functions, const Options& options,
               StepKind kind, Random& random) {
  Step step{.kind = kind};
  step.cell = static_cast<uint32_t>(random.bits());
  step.other = static_cast<uint32_t>(random.bits());
  step.how = static_cast<How>(random.below(3));
  step.look = draw_look(options, random);
  switch (kind) {
    case StepKind::kCall: step.calls = draw_calls(functions, random.between(1, kCallsMax), random); break;
    case StepKind::kUse:
      step.calls = draw_calls(functions, random.below(kCallsMax + 1), random);
      step.commit = random.chance(2, 3);
      break;
    case StepKind::kHindered:
      step.calls = draw_calls(functions, 1, random);
      step.answers = static_cast<Answers>(random.between(1, 3));
      break;
    // A cell that sleeps and wakes and that nobody looked at in between.
    case StepKind::kSleep:
    case StepKind::kWake:
      if (random.chance(1, 4)) step.look = Look::kNot;
      break;
    case StepKind::kTogether:
      step.calls = draw_calls(functions, random.between(2, kCallsTogetherMax), random);
      break;
    default: break;
  }
  return step;
}

}  // namespace

Plan make_plan(const std::vector<engine::CompiledCode::Export>& functions, bool climbs, Random& random) {
  Plan plan;
  plan.options = draw_options(random);
  const bool together = random.chance(1, 4);
  plan.steps.resize(random.between(kStepsMin, kStepsMax));
  for (Step& step : plan.steps) {
    step = draw_step(functions, plan.options, draw_kind(climbs, together, random), random);
  }
  return plan;
}

std::vector<Plan> smaller_plans(const Plan& plan) {
  std::vector<Plan> plans;
  const size_t all = plan.steps.size();
  // Pieces of half of the steps, of a quarter, and so on down to one step each.
  for (size_t length = std::max<size_t>(1, all / 2); all > 0; length /= 2) {
    for (size_t end = all; end > 0; end -= std::min(end, length)) {
      const size_t begin = end - std::min(end, length);
      Plan& smaller = plans.emplace_back(plan);
      smaller.steps.erase(smaller.steps.begin() + static_cast<std::ptrdiff_t>(begin),
                          smaller.steps.begin() + static_cast<std::ptrdiff_t>(end));
    }
    if (length == 1) break;
  }
  for (size_t i = 0; i < all; i++) {
    const size_t calls = plan.steps[i].calls.size();
    if (calls < 2) continue;  // else the step goes as a whole
    for (size_t k = 0; k < calls; k++) {
      std::vector<differential::Call>& fewer = plans.emplace_back(plan).steps[i].calls;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(k));
    }
  }
  if (plan.options.cells > 1) plans.emplace_back(plan).options.cells--;
  return plans;
}

std::string_view step_name(StepKind kind) {
  switch (kind) {
    case StepKind::kCall: return "call";
    case StepKind::kUse: return "use";
    case StepKind::kHindered: return "call, hindered";
    case StepKind::kSleep: return "sleep";
    case StepKind::kWake: return "wake";
    case StepKind::kLook: return "look";
    case StepKind::kCreate: return "create";
    case StepKind::kRemove: return "remove";
    case StepKind::kFork: return "fork";
    case StepKind::kCarry: return "carry";
    case StepKind::kLink: return "link";
    case StepKind::kUnchain: return "unchain";
    case StepKind::kRebase: return "rebase";
    case StepKind::kCleanUp: return "clean up";
    case StepKind::kClimb: return "climb";
    case StepKind::kTogether: return "together";
  }
  return "?";
}

namespace {

std::string_view how_text(How how) {
  switch (how) {
    case How::kUse: return "use";
    case How::kValues: return "values";
    case How::kTyped: return "typed";
  }
  return "?";
}

std::string_view look_text(Look look) {
  switch (look) {
    case Look::kNot: return "no look";
    case Look::kCommit: return "a look";
    case Look::kDrop: return "a look, dropped";
    case Look::kCopy: return "a look at a copy";
  }
  return "?";
}

std::string text(const Step& step) {
  std::string all = fmt::format("  {}, cell {:#x}, {:#x}", step_name(step.kind), step.cell, step.other);
  if (!step.calls.empty()) all += ": " + differential::text(step.calls);
  switch (step.kind) {
    case StepKind::kCall: all += fmt::format(" ({})", how_text(step.how)); break;
    case StepKind::kUse: all += step.commit ? " (committed)" : " (dropped)"; break;
    case StepKind::kHindered:
      all += fmt::format(" (the host answers: {})", answers_name(step.answers));
      break;
    case StepKind::kTogether: break;
    default: all += fmt::format(" ({})", look_text(step.look)); break;
  }
  return all + "\n";
}

}  // namespace

std::string text(const Plan& plan) {
  const Options& options = plan.options;
  std::string all = fmt::format(
      "  {} cells, commit={}, idle_sleep_ms={}, awake_max={}{}{}{}{}\n", options.cells,
      cell::commit_name(options.commit), options.idle_sleep_ms, options.awake_max,
      options.few_bytes_awake ? ", few bytes awake" : "", options.small_deltas ? ", small deltas" : "",
      options.housekeeping ? ", housekeeping" : "", options.domain ? ", in a domain" : "");
  for (const Step& step : plan.steps) all += text(step);
  return all;
}

}  // namespace spore::cells_test
