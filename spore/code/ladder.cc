#include "spore/code/ladder.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "spore/base/elapsed.h"
#include "spore/base/fork.h"
#include "spore/base/mutex.h"

namespace spore::code {

using engine::Engine;
using engine::LiveBinding;
using engine::Tier;
using engine::Use;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kLookOften{10};
constexpr std::chrono::milliseconds kLookSeldom{1000};
constexpr std::string_view kWarmUp = "warm-up";  // why a step was done

}  // namespace

StepDecision decide(const StepRule& rule, const Use& since_step, uint64_t ms_since_step) {
  if (since_step.calls >= rule.calls && ms_since_step >= rule.delay_ms) {
    return {true, fmt::format("{} calls in {} ms", since_step.calls, ms_since_step)};
  }
  if (since_step.ms > 0 && since_step.ms >= rule.guest_ms) {
    return {true, fmt::format("{} ms in the guest", since_step.ms)};
  }
  return {false, fmt::format("{} of {} calls, {} of {} ms in the guest", since_step.calls, rule.calls,
                             since_step.ms, rule.guest_ms)};
}

std::optional<double> gain_percent(const std::unordered_map<std::string, Use>& before,
                                   const std::unordered_map<std::string, Use>& after) {
  double took = 0;
  double takes = 0;
  for (const auto& [name, use] : before) {
    const auto other = after.find(name);
    if (other == after.end() || use.calls == 0 || other->second.calls == 0) continue;
    const auto calls = static_cast<double>(use.calls + other->second.calls);
    took += calls * static_cast<double>(use.ms) / static_cast<double>(use.calls);
    takes += calls * static_cast<double>(other->second.ms) / static_cast<double>(other->second.calls);
  }
  if (took <= 0) return std::nullopt;
  constexpr double kPercent = 100;
  return kPercent * (1 - takes / took);
}

namespace {

// Two kinds of code in turn, for the same calls.
struct Trial {
  std::array<std::shared_ptr<const engine::Binding>, 2> bindings;  // optimised, peak
  std::array<std::unordered_map<std::string, Use>, 2> uses;
  std::unordered_map<std::string, Use> at_turn;  // of the module, when this turn began
  size_t turn = 1;
  Clock::time_point turned = Clock::now();

  uint64_t ms(size_t of) const {
    uint64_t sum = 0;
    for (const auto& [name, use] : uses[of]) sum += use.ms;
    return sum;
  }
};

}  // namespace

struct Ladder::State final : ForkAware, std::enable_shared_from_this<State> {
  // One module.  Under the mutex.
  struct Place {
    Rung rung;
    Clock::time_point loaded = Clock::now();
    Clock::time_point stepped = Clock::now();
    Use used;  // at the last step
    Use seen;  // at the last look, and when it was another one
    Clock::time_point used_at = Clock::now();
    std::optional<Tier> making;
    std::string gave_up;                         // why it climbs no further
    std::map<Tier, std::string> refused;         // tiers that cannot take it, and why
    std::optional<engine::LazyStatistics> lazy;  // of the interpreter's code that it has left
    uint64_t dropped = 0;
    std::optional<Trial> trial;
    std::optional<double> peak_gain_percent;
    std::vector<ModuleSteps::Step> steps;
  };
  // What the thread waits by.  A forked child abandons it.
  struct Thread {
    std::condition_variable wake;
    bool stop = false;
    std::jthread thread;
  };

  State(std::shared_ptr<CodeMaker> the_maker, std::vector<std::shared_ptr<const Engine>> the_engines,
        LadderOptions the_options)
      : maker(std::move(the_maker)), engines(std::move(the_engines)), options(std::move(the_options)) {}

  // The next tier that can take it, no higher than `highest`.
  std::shared_ptr<const Engine> engine_above(const Place& place, Tier highest) const {
    const Tier now = tier_of(*place.rung.code);
    highest = std::min(highest, place.rung.tier_max);
    const auto found = std::ranges::find_if(engines, [&](const auto& engine) {
      const Tier tier = engine->options().tier;
      return tier > now && tier <= highest && !place.refused.contains(tier);
    });
    return found == engines.end() ? nullptr : *found;
  }
  std::shared_ptr<const Engine> engine_above(const Place& place) const {
    return engine_above(place, options.automatic_max);
  }
  bool can_climb(const Place& place) const {
    return !place.rung.fixed && place.gave_up.empty() && engine_above(place) != nullptr;
  }
  // It may be asked to climb, though it does not by itself.
  bool may_be_raised(const Place& place) const {
    return !place.rung.fixed && place.gave_up.empty() && options.keep_sources &&
           engine_above(place, Tier::kPeak) != nullptr;
  }
  void forget_source(Place& place) const {
    if (!can_climb(place) && !may_be_raised(place)) place.rung.source.wasm.reset();
  }
  bool go_on_trying(Place& place) SPORE_REQUIRES(mutex);
  void drop_unused(const LiveBinding* code) SPORE_EXCLUDES(mutex);
  std::vector<const LiveBinding*> unused() SPORE_REQUIRES(mutex);
  StepDecision decide(const Place& place) const;
  ModuleSteps steps_of(const Place& place) const;
  void cancel(const Rung& rung) SPORE_EXCLUDES(mutex);
  bool look() SPORE_EXCLUDES(mutex);
  void start_thread() SPORE_REQUIRES(mutex);
  void run(Thread& own) SPORE_EXCLUDES(mutex);
  void made(const LiveBinding* code, Tier tier, const std::string& why, Result<Made> made)
      SPORE_EXCLUDES(mutex);
  Status step(const LiveBinding* code, Tier tier, const std::string& why, const Made& made)
      SPORE_EXCLUDES(mutex);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex.unlock(); }
  void repair_in_child() override SPORE_NO_THREAD_SAFETY_ANALYSIS {
    [[maybe_unused]] const Thread* abandoned = thread.release();
    for (auto& [code, place] : places) place.making.reset();
  }

  const std::shared_ptr<CodeMaker> maker;
  const std::vector<std::shared_ptr<const Engine>> engines;
  const LadderOptions options;
  mutable Mutex mutex;
  std::map<const LiveBinding*, Place> places SPORE_GUARDED_BY(mutex);
  std::unique_ptr<Thread> thread SPORE_GUARDED_BY(mutex);
  const ForkRegistration registration{*this};
};

Ladder::Ladder(std::shared_ptr<CodeMaker> maker, std::vector<std::shared_ptr<const Engine>> engines,
               LadderOptions options)
    : state_(std::make_shared<State>(std::move(maker), std::move(engines), std::move(options))) {}

Ladder::~Ladder() {
  std::unique_ptr<State::Thread> thread;
  std::vector<Rung> rungs;
  {
    const MutexLock lock(state_->mutex);
    thread = std::move(state_->thread);
    if (thread != nullptr) {
      thread->stop = true;
      thread->wake.notify_all();
    }
    for (auto& [code, place] : state_->places) rungs.push_back(std::move(place.rung));
    state_->places.clear();
  }
  thread.reset();  // joins
  for (const Rung& rung : rungs) state_->cancel(rung);
}

void Ladder::add(Rung rung) {
  const MutexLock lock(state_->mutex);
  const LiveBinding* code = rung.code.get();
  State::Place& place = state_->places[code];
  place.steps.push_back(rung.first);
  place.rung = std::move(rung);
  state_->forget_source(place);
  if (state_->can_climb(place)) state_->start_thread();
}

void Ladder::expect(const LiveBinding& code, const Profile& profile) {
  const MutexLock lock(state_->mutex);
  const auto found = state_->places.find(&code);
  if (found == state_->places.end()) return;
  State::Place& place = found->second;
  if (place.rung.profile && place.rung.profile->tier >= profile.tier) return;
  place.rung.profile = profile;
  if (state_->can_climb(place)) state_->start_thread();
}

void Ladder::remove(const LiveBinding& code) {
  Rung rung;
  {
    const MutexLock lock(state_->mutex);
    const auto found = state_->places.find(&code);
    if (found == state_->places.end()) return;
    rung = std::move(found->second.rung);
    state_->places.erase(found);
  }
  state_->cancel(rung);
}

// Nobody needs what is being made for it.
void Ladder::State::cancel(const Rung& rung) {
  if (rung.source.wasm == nullptr) return;
  for (const auto& engine : engines) maker->cancel(*engine, rung.source.view());
}

// --- deciding ------------------------------------------------------------------------------------------

StepDecision Ladder::State::decide(const Place& place) const {
  const LiveBinding& code = *place.rung.code;
  if (place.rung.profile && place.rung.profile->tier > tier_of(code)) {
    return {true, fmt::format("it was {} before", engine::tier_name(place.rung.profile->tier))};
  }
  const Use total = code.total();
  const Use since{.calls = total.calls - place.used.calls, .ms = total.ms - place.used.ms};
  return code::decide(options.rules[static_cast<size_t>(tier_of(code))], since, ms_since(place.stepped));
}

bool Ladder::look() { return state_->look(); }

bool Ladder::State::look() {
  struct Due {
    const LiveBinding* code;
    std::shared_ptr<const Engine> engine;
    OwnedSource source;
    std::string why;
  };
  std::vector<Due> due;
  std::vector<const LiveBinding*> to_drop;
  bool changed = false;
  {
    const MutexLock lock(mutex);
    to_drop = unused();
    for (auto& [code, place] : places) {
      if (place.trial) {
        changed |= go_on_trying(place);
        continue;
      }
      if (place.making || !can_climb(place)) continue;
      StepDecision decision = decide(place);
      if (!decision.due) continue;
      std::shared_ptr<const Engine> engine = engine_above(place);
      place.making = engine->options().tier;
      due.push_back({code, std::move(engine), place.rung.source, std::move(decision.why)});
    }
  }
  for (Due& one : due) {
    const Tier tier = one.engine->options().tier;
    const Status status = maker->make_soon(
        std::move(one.engine), one.source,
        [self = weak_from_this(), code = one.code, tier, why = one.why](Result<Made> answer) {
          if (const std::shared_ptr<State> state = self.lock())
            state->made(code, tier, why, std::move(answer));
        });
    if (status.ok()) continue;
    const MutexLock lock(mutex);  // the queue is full: it is looked at again
    const auto found = places.find(one.code);
    if (found != places.end()) found->second.making.reset();
  }
  for (const LiveBinding* code : to_drop) drop_unused(code);
  return changed || !due.empty() || !to_drop.empty();
}

// True if it came to an end.
bool Ladder::State::go_on_trying(Place& place) {
  Trial& trial = *place.trial;
  if (ms_since(trial.turned) < options.trial_turn_ms) return false;
  LiveBinding& live = *place.rung.code;
  const std::unordered_map<std::string, Use> now = live.functions();
  for (const auto& [name, use] : now) {
    const auto before = trial.at_turn.find(name);
    const Use had = before == trial.at_turn.end() ? Use() : before->second;
    trial.uses[trial.turn][name] += {.calls = use.calls - had.calls, .ms = use.ms - had.ms};
  }
  const bool over = std::min(trial.ms(0), trial.ms(1)) >= options.trial_guest_ms;
  if (!over) {
    trial.turn = 1 - trial.turn;
    live.improve(trial.bindings[trial.turn]);
    trial.at_turn = live.functions();
    trial.turned = Clock::now();
    return false;
  }
  place.peak_gain_percent = gain_percent(trial.uses[0], trial.uses[1]);
  const double gain = place.peak_gain_percent.value_or(0);
  const bool kept = gain >= options.peak_gain_percent;
  live.improve(trial.bindings[kept ? 1 : 0]);
  if (!kept) {
    place.gave_up =
        fmt::format("peak: calls took {:.1f} % less (peak_gain_percent={})", gain, options.peak_gain_percent);
  }
  place.trial.reset();
  place.stepped = Clock::now();
  place.used = live.total();
  forget_source(place);
  return true;
}

// Those whose translated functions nobody has called for long.
std::vector<const LiveBinding*> Ladder::State::unused() {
  std::vector<const LiveBinding*> found;
  for (auto& [code, place] : places) {
    if (options.drop_after_ms == 0 || tier_of(*code) != Tier::kInterpreter) continue;
    const Use total = code->total();
    if (total.calls != place.seen.calls || total.ms != place.seen.ms) {
      place.seen = total;
      place.used_at = Clock::now();
    }
    if (place.making || place.rung.source.wasm == nullptr ||
        ms_since(place.used_at) < options.drop_after_ms) {
      continue;
    }
    const auto lazy = code->best()->code()->lazy();
    if (lazy && lazy->translated > 0) found.push_back(code);
  }
  return found;
}

// The same code, with nothing translated: instances in pools are made anew of it, others keep what they have.
void Ladder::State::drop_unused(const LiveBinding* code) {
  OwnedSource source;
  std::shared_ptr<const engine::HostFunctions> functions;
  std::shared_ptr<const engine::Binding> before;
  std::optional<engine::LazyStatistics> lazy;
  {
    const MutexLock lock(mutex);
    const auto found = places.find(code);
    if (found == places.end()) return;
    source = found->second.rung.source;
    functions = found->second.rung.functions;
    before = code->best();
    lazy = before->code()->lazy();
  }
  if (source.wasm == nullptr || !lazy) return;  // it has climbed since
  Result<Made> made = maker->make_anew(before->code()->engine(), source.view());
  if (!made.ok()) return;
  Result<std::shared_ptr<const engine::Binding>> binding =
      engine::Binding::create(std::move(made.value().code), std::move(functions));
  if (!binding.ok()) return;
  const MutexLock lock(mutex);
  const auto found = places.find(code);
  if (found == places.end() || found->second.rung.code->best() != before) return;
  found->second.dropped += lazy->translated;
  found->second.used_at = Clock::now();
  found->second.rung.code->improve(std::move(binding).value());
}

namespace {

// Whether a tier that failed so would fail again; otherwise it is tried again after as much use.
bool is_for_good(const Status& status) {
  switch (status.code()) {
    case Code::kUnsupported:
    case Code::kInvalidModule:
    case Code::kLimitExceeded:
    case Code::kInternal: return true;
    default: return false;
  }
}

}  // namespace

void Ladder::State::made(const LiveBinding* code, Tier tier, const std::string& why, Result<Made> made) {
  Status status = made.ok() ? step(code, tier, why, made.value()) : std::move(made).status();
  if (status.ok() || status.code() == Code::kNotFound) return;
  std::string name;
  {
    const MutexLock lock(mutex);
    const auto found = places.find(code);
    if (found == places.end()) return;
    Place& place = found->second;
    place.making.reset();
    place.stepped = Clock::now();
    if (status.code() == Code::kCancelled) return;  // somebody else's: it is tried again
    place.used = place.rung.code->total();
    if (is_for_good(status)) {  // what this tier cannot take, the next may
      place.refused.emplace(tier, status.message());
      if (engine_above(place) == nullptr) {
        place.gave_up = fmt::format("{}: {}", engine::tier_name(tier), status.message());
      }
      forget_source(place);
    }
    name = place.rung.name;
  }
  options.log.write(LogLevel::kWarning, "{}: no {} code: {}", name, engine::tier_name(tier),
                    status.message());
}

// kNotFound: it is not on the ladder any more.
Status Ladder::State::step(const LiveBinding* code, Tier tier, const std::string& why, const Made& made) {
  std::shared_ptr<LiveBinding> live;
  std::shared_ptr<const engine::HostFunctions> functions;
  {
    const MutexLock lock(mutex);
    const auto found = places.find(code);
    if (found == places.end()) return Status::not_found("not on the ladder");
    live = found->second.rung.code;
    functions = found->second.rung.functions;
  }
  std::shared_ptr<const engine::Binding> binding =
      SPORE_TRY(engine::Binding::create(made.code, std::move(functions)));
  std::string name;
  {
    const MutexLock lock(mutex);
    const auto found = places.find(code);
    if (found == places.end()) return Status::not_found("not on the ladder");
    Place& place = found->second;
    place.making.reset();
    if (tier_of(*live) >= tier) return {};  // another was sooner
    if (const auto lazy = live->best()->code()->lazy()) place.lazy = lazy;
    if (tier == Tier::kPeak && why != kWarmUp) {
      place.trial.emplace();
      place.trial->bindings = {live->best(), binding};
      place.trial->at_turn = live->functions();
    }
    live->improve(std::move(binding));
    place.stepped = Clock::now();
    place.used = live->total();
    place.steps.push_back({.tier = tier,
                           .why = why,
                           .origin = made.origin,
                           .make_ns = made.ns,
                           .at_ms = ms_since(place.loaded)});
    forget_source(place);
    name = place.rung.name;
  }
  options.log.write(LogLevel::kDebug, "{}: {} code from {} in {} ms, after {}", name, engine::tier_name(tier),
                    origin_name(made.origin), made.ns / 1'000'000, why);
  return {};
}

Status Ladder::raise(const LiveBinding& code, Tier tier) {
  while (tier_of(code) < tier) {
    OwnedSource source;
    std::shared_ptr<const Engine> engine;
    {
      const MutexLock lock(state_->mutex);
      const auto found = state_->places.find(&code);
      if (found == state_->places.end()) return Status::not_found("the module is not loaded any more");
      const State::Place& place = found->second;
      if (place.rung.fixed) {
        return Status::invalid_argument("the module was loaded for the {} tier alone",
                                        engine::tier_name(tier_of(code)));
      }
      if (!place.gave_up.empty()) return Status::unsupported("{}", place.gave_up);
      if (tier > place.rung.tier_max) {
        return Status::unsupported("the module may climb to the {} tier at most",
                                   engine::tier_name(place.rung.tier_max));
      }
      if (tier_of(code) >= tier || place.trial) break;  // it has just got there
      source = place.rung.source;
      engine = state_->engine_above(place, tier);
      if (engine == nullptr) {
        const auto refused = place.refused.find(tier);
        if (refused != place.refused.end()) return Status::unsupported("{}", refused->second);
        return Status::unsupported("there is no {} tier here", engine::tier_name(tier));
      }
      if (source.wasm == nullptr) {
        return Status::unavailable(
            "the module is not kept that {} code would be made of (peak=manual keeps it)",
            engine::tier_name(tier));
      }
    }
    const Tier next = engine->options().tier;
    Result<Made> made = state_->maker->make(*engine, source.view());
    if (!made.ok() && is_for_good(made.status()) && next < tier) {
      const MutexLock lock(state_->mutex);
      const auto found = state_->places.find(&code);
      if (found != state_->places.end()) found->second.refused.emplace(next, made.status().message());
      continue;
    }
    const Made ready = SPORE_TRY(std::move(made));
    SPORE_TRY(state_->step(&code, next, std::string(kWarmUp), ready));
  }
  return {};
}

// --- the thread ----------------------------------------------------------------------------------------

void Ladder::State::start_thread() {
  if (thread != nullptr) {
    thread->wake.notify_all();
    return;
  }
  thread = std::make_unique<Thread>();
  try {
    thread->thread = std::jthread([this, own = thread.get()] { run(*own); });
  } catch (const std::system_error& error) {
    thread.reset();
    options.log.write(LogLevel::kWarning, "no thread to watch what is called: {}", error.what());
  }
}

// Waits by a condition variable, which the analysis cannot follow.
void Ladder::State::run(Thread& own) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  ::pthread_setname_np(::pthread_self(), "spore-ladder");
  std::chrono::milliseconds wait = kLookOften;
  Use before;
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mutex.native());
      if (own.stop) return;
      const bool any = std::ranges::any_of(
          places, [&](const auto& one) { return can_climb(one.second) || one.second.trial; });
      if (any) {
        own.wake.wait_for(lock, wait);
      } else {
        own.wake.wait(lock);
      }
      if (own.stop) return;
    }
    look();
    Use now;
    {
      const MutexLock lock(mutex);
      for (const auto& [code, place] : places) {
        if (can_climb(place) || place.trial) now += code->total();
      }
    }
    const bool quiet = now.calls == before.calls && now.ms == before.ms;
    wait = quiet ? std::min(wait * 2, kLookSeldom) : kLookOften;
    before = now;
  }
}

// --- what it has done ----------------------------------------------------------------------------------

ModuleSteps Ladder::State::steps_of(const Place& place) const {
  const LiveBinding& code = *place.rung.code;
  ModuleSteps steps{.module = place.rung.name,
                    .tier = tier_of(code),
                    .fixed = place.rung.fixed,
                    .climbing = place.making.has_value(),
                    .next = {},
                    .steps = place.steps,
                    .functions = profile_of(code).functions,
                    .hand_overs = code.hand_overs(),
                    .lazy = place.lazy,
                    .functions_dropped = place.dropped,
                    .refused = {},
                    .peak_gain_percent = place.peak_gain_percent,
                    .at_top = !can_climb(place)};
  if (const auto lazy = code.best()->code()->lazy()) steps.lazy = lazy;
  for (const auto& [tier, why] : place.refused) {
    steps.refused.push_back(fmt::format("{}: {}", engine::tier_name(tier), why));
  }
  const std::shared_ptr<const Engine> above = engine_above(place);
  if (steps.fixed) {
    steps.next = "none: its tier was asked for";
  } else if (!place.gave_up.empty()) {
    steps.next = "none: " + place.gave_up;
  } else if (above == nullptr) {
    steps.next = "none: there is no tier above";
  } else if (place.trial) {
    steps.next = fmt::format("peak code is tried beside optimised code, {} and {} of {} ms in the guest",
                             place.trial->ms(1), place.trial->ms(0), options.trial_guest_ms);
  } else if (steps.climbing) {
    steps.next = fmt::format("{} code is being made", engine::tier_name(*place.making));
  } else {
    steps.next = fmt::format("{} after {}", engine::tier_name(above->options().tier), decide(place).why);
  }
  return steps;
}

std::vector<ModuleSteps> Ladder::modules() const {
  std::vector<ModuleSteps> modules;
  {
    const MutexLock lock(state_->mutex);
    for (const auto& [code, place] : state_->places) modules.push_back(state_->steps_of(place));
  }
  std::ranges::sort(modules, {}, &ModuleSteps::module);
  return modules;
}

Result<ModuleSteps> Ladder::module(const LiveBinding& code) const {
  const MutexLock lock(state_->mutex);
  const auto found = state_->places.find(&code);
  if (found == state_->places.end()) return Status::not_found("the module is not loaded any more");
  return state_->steps_of(found->second);
}

void ModuleSteps::write_json(JsonWriter& json) const {
  json.field("module", module)
      .field("tier", engine::tier_name(tier))
      .field("fixed", fixed)
      .field("climbing", climbing)
      .field("next", next);
  json.begin_array("steps");
  for (const Step& step : steps) {
    json.begin_object()
        .field("tier", engine::tier_name(step.tier))
        .field("why", step.why)
        .field("origin", origin_name(step.origin))
        .field("make_ns", step.make_ns)
        .field("at_ms", step.at_ms)
        .end_object();
  }
  json.end_array().begin_array("functions");
  for (const Function& function : functions) {
    json.begin_object()
        .field("name", function.name)
        .field("calls", function.calls)
        .field("mean_us", function.mean_us)
        .end_object();
  }
  json.end_array().begin_array("refused");
  for (const std::string& why : refused) json.element(why);
  json.end_array();
  if (lazy) {
    json.begin_object("lazy")
        .field("functions", lazy->functions)
        .field("translated", lazy->translated)
        .field("never_needed", lazy->functions - lazy->translated)
        .field("dropped", functions_dropped)
        .field("calls", lazy->calls)
        .field("hit_rate", lazy->hit_rate())
        .end_object();
  }
  if (peak_gain_percent) json.field("peak_gain_percent", *peak_gain_percent);
  json.begin_object("hand_overs")
      .field("done", hand_overs.done)
      .field("ns", hand_overs.ns)
      .field("ns_max", hand_overs.ns_max)
      .field("refused", hand_overs.refused)
      .field("last_refusal", hand_overs.last_refusal)
      .end_object();
}

std::string ModuleSteps::text() const {
  constexpr double kNsInMs = 1e6;
  constexpr double kNsInUs = 1e3;
  std::string text;
  for (const Step& step : steps) {
    text += fmt::format("{:>8} ms  {}: code from {} in {:.1f} ms ({})\n", step.at_ms,
                        engine::tier_name(step.tier), origin_name(step.origin),
                        static_cast<double>(step.make_ns) / kNsInMs, step.why);
  }
  for (const std::string& why : refused) text += fmt::format("not {}\n", why);
  text += fmt::format("next step: {}\n", next);
  if (lazy) {
    constexpr double kPercent = 100;
    text += fmt::format(
        "interpreted: {} of {} functions were needed, {:.1f} % of {} calls found all that they needed",
        lazy->translated, lazy->functions, kPercent * lazy->hit_rate(), lazy->calls);
    text += functions_dropped == 0 ? "\n" : fmt::format("; {} dropped as unused\n", functions_dropped);
  }
  if (hand_overs.done > 0) {
    text += fmt::format("handed over: {} instances, {:.1f} us each, {:.1f} us at most\n", hand_overs.done,
                        static_cast<double>(hand_overs.ns) / kNsInUs / static_cast<double>(hand_overs.done),
                        static_cast<double>(hand_overs.ns_max) / kNsInUs);
  }
  if (hand_overs.refused > 0) {
    text += fmt::format("not handed over: {} times, the last as {}\n", hand_overs.refused,
                        hand_overs.last_refusal);
  }
  for (const Function& function : functions) {
    text +=
        fmt::format("{:>10} calls, {:.1f} us each: {}\n", function.calls, function.mean_us, function.name);
  }
  return text;
}

}  // namespace spore::code
