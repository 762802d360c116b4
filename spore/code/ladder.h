#pragma once

// Moves modules up: when their instances are called enough, better code is made in the background, and they
// go over to it.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "spore/base/log.h"
#include "spore/base/status.h"
#include "spore/code/code_maker.h"
#include "spore/code/profile.h"
#include "spore/code/source.h"
#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/live_binding.h"

namespace spore::code {

// When a module deserves the next tier: after so many calls, but not sooner than so many milliseconds after
// its last step; or after so many milliseconds in the guest.
struct StepRule {
  uint64_t calls = 0;
  uint64_t delay_ms = 0;
  uint64_t guest_ms = 0;
};

// Whether it does, by what was used since the last step; and why, or what there was.
struct StepDecision {
  bool due = false;
  std::string why;
};
StepDecision decide(const StepRule& rule, const engine::Use& since_step, uint64_t ms_since_step);

// By how many percent the same calls take less in the second; nothing: there were none in both.
std::optional<double> gain_percent(const std::unordered_map<std::string, engine::Use>& before,
                                   const std::unordered_map<std::string, engine::Use>& after);

struct LadderOptions {
  // No module climbs further by itself.
  engine::Tier automatic_max = engine::Tier::kOptimised;
  // Code of the peak tier is tried beside the optimised one, in turn, until each was called for so many
  // milliseconds; it is kept if calls of it took less by so many percent.
  uint64_t trial_guest_ms = 2'000;
  uint64_t trial_turn_ms = 100;
  uint32_t peak_gain_percent = 5;
  // What modules are made of is kept where they could be raised further.
  bool keep_sources = false;
  // Translated functions of an interpreted module that nobody has called for so long are dropped; 0: never.
  uint64_t drop_after_ms = 600'000;
  // By the tier that is left.
  std::array<StepRule, 3> rules{StepRule{.calls = 100, .delay_ms = 10, .guest_ms = 10},
                                StepRule{.calls = 1'000, .delay_ms = 100, .guest_ms = 100},
                                StepRule{.calls = 10'000, .delay_ms = 1'000, .guest_ms = 1'000}};
  Log log;
};

// One module on the ladder, as it stands.
struct ModuleSteps {
  struct Step {
    engine::Tier tier{};
    std::string why;
    Origin origin{};
    uint64_t make_ns = 0;
    uint64_t at_ms = 0;  // since it was loaded
  };
  using Function = Profile::Function;
  std::string module;
  engine::Tier tier{};
  bool fixed = false;     // it stays where it is
  bool climbing = false;  // code of the next tier is being made
  std::string next;       // what is missing to the next step, or why there is none
  std::vector<Step> steps;
  std::vector<Function> functions;  // hottest first
  engine::LiveBinding::HandOvers hand_overs;
  // What was translated of it while it was, or is, interpreted; and how much was dropped again.
  std::optional<engine::LazyStatistics> lazy;
  uint64_t functions_dropped = 0;
  std::vector<std::string> refused;  // tiers that cannot take it, with the cause
  // By how many percent calls were quicker in the peak tier, if that was tried.
  std::optional<double> peak_gain_percent;
  bool at_top = false;  // it climbs no further by itself

  Profile profile() const { return {.tier = tier, .functions = functions}; }

  void write_json(JsonWriter& json) const;
  // For people, some lines.
  std::string text() const;
};

// What a ladder needs to know of a module.
struct Rung {
  std::string name;
  OwnedSource source;
  std::shared_ptr<engine::LiveBinding> code;
  std::shared_ptr<const engine::HostFunctions> functions;
  bool fixed = false;
  engine::Tier tier_max = engine::Tier::kPeak;  // it climbs no further, whoever asks
  ModuleSteps::Step first;                      // how it came by the code that it has
  std::optional<Profile> profile;               // nothing is known of it
};

// Thread-safe.  Its thread looks at the modules that can climb each 10 ms while they are called, and up to 1
// s apart while they are not.  In a forked child it begins again with the next module that is added.
class Ladder {
 public:
  // `engines`: of each tier that there is, in order.
  Ladder(std::shared_ptr<CodeMaker> maker, std::vector<std::shared_ptr<const engine::Engine>> engines,
         LadderOptions options);
  ~Ladder();
  Ladder(const Ladder&) = delete;
  Ladder& operator=(const Ladder&) = delete;

  void add(Rung rung);
  // What is being made for it is not needed any more.
  void remove(const engine::LiveBinding& code);

  // What was seen of it elsewhere became known only now: it is brought there at once, if that is further up.
  void expect(const engine::LiveBinding& code, const Profile& profile);

  // Brings it to a tier now, on this thread; nothing if it is there or beyond.  kNotFound: it was never
  // added; what CodeMaker::make says.
  Status raise(const engine::LiveBinding& code, engine::Tier tier);

  std::vector<ModuleSteps> modules() const;
  // kNotFound.
  Result<ModuleSteps> module(const engine::LiveBinding& code) const;

  // Looks at all of them once, as the thread does.  True if something changed.
  bool look();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace spore::code
