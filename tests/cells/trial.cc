#include "tests/cells/trial.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "spore/base/hash.h"
#include "spore/cell/image.h"
#include "spore/snapshot/delta_file.h"
#include "tests/cells/host_side.h"
#include "tests/snapshot_file.h"

namespace spore::cells_test {

using cell::CellState;
using cell::CellUse;
using cell::Delta;
using differential::Call;
using differential::Outcome;
using differential::StateReader;
using engine::ValType;
using host::Instance;

namespace {

constexpr size_t kModelsMax = 10;
constexpr size_t kChainsMax = 2;
constexpr uint64_t kShortDeadlineMs = 1;

bool is_interrupted(const Status& status) {
  return status.code() == Code::kDeadlineExceeded || status.code() == Code::kCancelled;
}

// For files, as long as it lives.
struct Folder {
  Folder() : path(test::new_folder()) {}
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path path;
};

// Of what this thread calls now.
class Answering {
 public:
  explicit Answering(Answers answers) { HostSide::here().answers = answers; }
  ~Answering() { HostSide::here().answers = Answers::kUsual; }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
};

std::optional<host::Value> to_value(ValType type, const engine::RawValue& raw) {
  switch (type) {
    case ValType::kI32: return host::Value::i32(raw.i32);
    case ValType::kI64: return host::Value::i64(raw.i64);
    case ValType::kF32: return host::Value::f32(raw.f32);
    case ValType::kF64: return host::Value::f64(raw.f64);
    default: return std::nullopt;
  }
}

Outcome::Bits bits_of(const host::Value& value) {
  engine::RawValue raw{};
  switch (value.type()) {
    case host::ValueType::kI32:
      raw.i32 = value.as_i32().value();
      return differential::bits_of(ValType::kI32, raw);
    case host::ValueType::kI64:
      raw.i64 = value.as_i64().value();
      return differential::bits_of(ValType::kI64, raw);
    case host::ValueType::kF32:
      raw.f32 = value.as_f32().value();
      return differential::bits_of(ValType::kF32, raw);
    default: raw.f64 = value.as_f64().value(); return differential::bits_of(ValType::kF64, raw);
  }
}

bool are_numbers(const engine::FuncType& type) {
  const auto is_number = [](ValType of) { return of <= ValType::kF64; };
  return std::ranges::all_of(type.params, is_number) && std::ranges::all_of(type.results, is_number);
}

std::string take_output(const Instance& instance) {
  host::Wasi* const wasi = instance.wasi();
  return wasi == nullptr ? "" : wasi->take_output() + wasi->take_error();
}

std::string unlike(const Call& call, const Outcome& found, const Outcome& expected) {
  return fmt::format("{}: {}; {} is expected", text(call), text(found), text(expected));
}

}  // namespace

// --- the whole of it -----------------------------------------------------------------------------------

std::optional<std::string> Trial::run(const Plan& plan) {
  options_ = plan.options;
  domain_ = options_.domain ? Stage::kDomain : std::string_view();
  begin();
  for (size_t i = 0; i < plan.steps.size() && !is_over(); i++) {
    take(plan.steps[i]);
    for (const auto& model : models_) {
      if (!is_over()) observe(*model);
    }
    if (!found_.empty()) found_ += fmt::format(", at step {} ({})", i + 1, step_name(plan.steps[i].kind));
  }
  if (!is_over()) end();
  return found_.empty() ? std::nullopt : std::optional(found_);
}

void Trial::differs(std::string text) {
  if (found_.empty()) found_ = std::move(text);
}

void Trial::leave() {
  over_ = true;
  statistics_.histories_left++;
}

void Trial::lost(std::string_view what, const Status& status) {
  if (is_interrupted(status)) return leave();
  differs(fmt::format("{}: {}: {}", what, code_name(status.code()), status.message()));
}

void Trial::begin() {
  const Status fresh = stage_.twin().status().copy();
  Result<Place> made = stage_.make_place(0, options_);
  if (!stage_.in_place()) {
    if (made.code() != Code::kUnsupported) return differs("cells of a module whose state cannot be held");
    statistics_.not_in_place++;
    over_ = true;
    return;
  }
  if (is_interrupted(fresh) || is_interrupted(made.status())) {
    statistics_.not_instances++;
    over_ = true;
    return;
  }
  if (fresh.code() != made.code()) {
    return differs(
        fmt::format("a new instance: {}; a kind: {}", code_name(fresh.code()), code_name(made.code())));
  }
  if (!fresh.ok()) {
    if (!may_fail_to_start_) return lost("a new instance", fresh);
    statistics_.not_instances++;
    over_ = true;
    return;
  }
  statistics_.histories++;
  places_[0].emplace(std::move(made).value());
  for (uint32_t i = 0; i < options_.cells && !is_over(); i++) create(0);
}

void Trial::take(const Step& step) {
  statistics_.steps++;
  Model& model = *models_[step.cell % models_.size()];
  switch (step.kind) {
    case StepKind::kCall:
      for (const Call& one : step.calls) {
        if (!is_over()) call(model, one, step);
      }
      return;
    case StepKind::kUse: return use(model, step);
    case StepKind::kHindered: return call_hindered(step);
    case StepKind::kSleep: return sleep(model, step);
    case StepKind::kWake: {
      const Status woken = place_of(model).cells->wake(id(model));
      if (!woken.ok()) return lost("wake", woken);
      observe(model);
      return look(model, step.look);
    }
    case StepKind::kLook: return look(model, step.look);
    case StepKind::kCreate: return create(model.place());
    case StepKind::kRemove: return remove(model);
    case StepKind::kFork: return fork(model, step);
    case StepKind::kCarry: return carry(model, step);
    // Always of the same few, so that chains get long.
    case StepKind::kLink: return link(*models_[step.cell % std::min(kChainsMax, models_.size())]);
    case StepKind::kUnchain: return unchain(*models_[step.cell % std::min(kChainsMax, models_.size())], step);
    case StepKind::kRebase: return rebase(model, step);
    case StepKind::kCleanUp: return place_of(model).cells->clean_up();
    case StepKind::kClimb: return climb(step);
    case StepKind::kTogether: return together(step);
  }
}

// All are looked at; then no instance is left to them, and what was said of them last is still what they are.
void Trial::end() {
  constexpr std::array kLooks{Look::kCommit, Look::kCopy};
  for (size_t i = 0; i < models_.size() && !is_over(); i++) look(*models_[i], kLooks[i % kLooks.size()]);
  for (size_t number = 0; number < Stage::kPlaces && !is_over(); number++) {
    if (!places_[number]) continue;
    cell::Cells& cells = *places_[number]->cells;
    cells.close();
    for (const auto& model : models_) {
      if (model->place() != number || is_over()) continue;
      observe(*model);
      if (cells.use(id(*model)).code() != Code::kUnavailable) differs("a cell can be used after close()");
      // With commit=on_sleep this takes the cell, which is not to be had any more.
      if (options_.commit == cell::Commit::kEveryCall) look_at_copy(*model);
    }
    if (is_over()) return;
    const cell::CellsStatistics statistics = cells.statistics();
    const auto there = static_cast<uint64_t>(std::ranges::count(models_, number, &Model::place));
    if (statistics.cells != there) {
      differs(fmt::format("there are {} cells, {} are expected", statistics.cells, there));
    }
    if (statistics.awake != 0) differs(fmt::format("{} cells are awake after close()", statistics.awake));
    if (const uint32_t in_use = stage_.instances_in_use(number); in_use != 0) {
      differs(fmt::format("{} instances did not come back", in_use));
    }
    if (statistics.counts.files_lost != 0) differs("open files were lost");
    statistics_.woken += statistics.counts.woken;
    statistics_.rolled_back += statistics.counts.rolled_back;
    statistics_.calls_lost += statistics.counts.calls_lost;
  }
}

Place* Trial::place(size_t number) {
  if (!places_[number]) {
    Result<Place> made = stage_.make_place(number, options_);
    if (!made.ok()) {
      lost("another place", made.status());
      return nullptr;
    }
    places_[number].emplace(std::move(made).value());
  }
  return &*places_[number];
}

bool Trial::is_full() const { return models_.size() >= kModelsMax; }

// The lowest that is free: those of cells that were removed come again.
std::string Trial::new_name() const {
  for (size_t i = 0;; i++) {
    std::string name = fmt::format("cell {}", i);
    if (std::ranges::find(models_, name, &Model::name) == models_.end()) return name;
  }
}

// --- calls ---------------------------------------------------------------------------------------------

void Trial::call(Model& model, const Call& call, const Step& step) {
  const Answer answer = perform(model, call, step.how, step.answers);
  if (!is_over()) settle(model, call, answer, step.answers);
  if (is_over() || answer.outcome.code == Code::kOk) return;
  // Whatever it was, an instance in which a call failed is not kept.
  const auto described = place_of(model).cells->describe(id(model));
  if (described.ok() && described->awake) return differs("a cell is awake after a call that failed");
}

// Of a cell that told the host something, if there is one: it will do so again.
void Trial::call_hindered(const Step& step) {
  for (size_t i = 0; i < models_.size(); i++) {
    Model& model = *models_[(step.cell + i) % models_.size()];
    const Call* const told = model.last_that_told();
    if (told == nullptr) continue;
    const Call again = *told;  // it may not be there any more afterwards
    return call(model, again, step);
  }
  call(*models_[step.cell % models_.size()], step.calls.front(), step);
}

Trial::Answer Trial::perform(Model& model, const Call& call, How how, Answers answers) {
  cell::Cells::UseOptions options;
  if (answers == Answers::kLate || answers == Answers::kTooLate) options.deadline_ms = kShortDeadlineMs;
  const Answering answering(answers);
  // Where cells are put to sleep meanwhile and by others, only in a use it is known what was committed before
  // the call.
  if (!options_.lasts() && options_.housekeeping) how = How::kUse;
  if (how == How::kTyped && answers == Answers::kUsual &&
      call.type == engine::FuncType{{ValType::kI32, ValType::kI32}, {ValType::kI32}}) {
    return perform_typed(model, call);
  }
  if (how != How::kUse && are_numbers(call.type)) return perform_with_values(model, call, options);
  Result<CellUse> use = place_of(model).cells->use(id(model), options);
  if (!use.ok()) return {differential::outcome_of(use.status(), {}), std::string(use.status().message())};
  observe(model);
  return perform_in(use.value(), call);
}

Instance* Trial::twin_of(Model& model) {
  const Result<Instance*> twin = model.twin(stage_);
  if (twin.ok()) return twin.value();
  lost("its twin", twin.status());
  return nullptr;
}

// With its end.
Trial::Answer Trial::perform_in(CellUse& use, const Call& call) {
  Answer answer{.outcome = differential::run(call, use.instance(), HostSide::here().logged)};
  if (answer.outcome.code != Code::kOk) return answer;
  const Status kept = use.commit();
  if (kept.ok()) return answer;
  return {differential::outcome_of(kept, HostSide::here().logged), std::string(kept.message())};
}

Trial::Answer Trial::perform_with_values(Model& model, const Call& call,
                                         const cell::Cells::UseOptions& options) {
  std::vector<host::Value> args;
  for (size_t i = 0; i < call.args.size(); i++) args.push_back(*to_value(call.type.params[i], call.args[i]));
  std::vector<int32_t>& log = HostSide::here().logged;
  log.clear();
  const auto results = place_of(model).cells->call(id(model), call.function, args, options);
  Answer answer{differential::outcome_of(results.status(), log), std::string(results.status().message())};
  if (!results.ok()) return answer;
  for (const host::Value& value : results.value()) answer.outcome.results.push_back(bits_of(value));
  return answer;
}

Trial::Answer Trial::perform_typed(Model& model, const Call& call) {
  Place& place = place_of(model);
  auto found = place.typed.find(call.function);
  if (found == place.typed.end()) {
    auto made = cell::CellFunction<Place::Typed>::create(place.cells, place.kind, call.function);
    if (!made.ok())
      return {differential::outcome_of(made.status(), {}), std::string(made.status().message())};
    found = place.typed.emplace(call.function, std::move(made).value()).first;
  }
  std::vector<int32_t>& log = HostSide::here().logged;
  log.clear();
  const auto result = found->second(model.name(), call.args[0].i32, call.args[1].i32);
  Answer answer{differential::outcome_of(result.status(), log), std::string(result.status().message())};
  if (result.ok()) answer.outcome.results.push_back(bits_of(host::Value::i32(result.value())));
  return answer;
}

void Trial::settle(Model& model, const Call& call, const Answer& answer, Answers answers) {
  const Outcome& found = answer.outcome;
  const bool too_long = options_.small_deltas && found.code == Code::kLimitExceeded &&
                        answer.message.find("cell_delta_bytes_max") != std::string::npos;
  const bool unanswered = answers == Answers::kNever && found.code == Code::kHostError;
  if (too_long || unanswered || found.interrupted()) {
    (too_long ? statistics_.too_long : unanswered ? statistics_.unanswered : statistics_.stopped)++;
    model.roll_back();
    return;
  }
  if ((answers == Answers::kNever || answers == Answers::kTooLate) && !found.logged.empty()) {
    return differs(fmt::format("{} went on after the host did not answer: {}", text(call), text(found)));
  }
  Instance* const twin = twin_of(model);
  if (twin == nullptr) return;
  const bool is_seen = statistics_.calls++ % 4 == 0;
  if (is_seen) stage_.reader().read(*twin, before_);
  const Outcome expected = differential::run(call, *twin, HostSide::here().logged);
  if (expected.interrupted() || may_differ(model, found, expected)) return leave();
  if (!same(model, found, expected)) {
    return differs(unlike(call, found, expected) +
                   (answer.message.empty() ? "" : " (" + answer.message + ")"));
  }
  if (is_seen) {
    stage_.reader().read(*twin, expected_);
    const StateReader::Changes changes = stage_.reader().changes(before_, expected_);
    statistics_.calls_seen++;
    statistics_.changed_memory += changes.memory ? 1 : 0;
    statistics_.changed_length += changes.length ? 1 : 0;
    statistics_.changed_global += changes.global ? 1 : 0;
    statistics_.changed_table += changes.table ? 1 : 0;
  }
  count(expected);
  if (expected.code != Code::kOk) {
    model.forget_twin();
    model.roll_back();
    return;
  }
  model.add({call, expected});
  if (options_.lasts()) model.commit(model.sequence() + 1);
}

void Trial::count(const Outcome& outcome) {
  statistics_.returned += outcome.code == Code::kOk ? 1 : 0;
  statistics_.trapped += outcome.code == Code::kTrap ? 1 : 0;
}

// Of two instructions that would trap, the peak may have the one first or the other.
bool Trial::same(const Model& model, const Outcome& found, const Outcome& expected) const {
  if (found == expected) return true;
  return model.place() == 0 && stage_.tier() == engine::Tier::kPeak && found.code == Code::kTrap &&
         expected.code == Code::kTrap && found.logged == expected.logged;
}

// How deep a stack goes is a tier's own affair, and what the machine has.
bool Trial::may_differ(const Model& model, const Outcome& found, const Outcome& expected) const {
  if (!stage_.mixed(model.place())) return false;
  const auto is_such = [](const Outcome& outcome) {
    return outcome.trap == engine::TrapKind::kStackOverflow ||
           outcome.trap == engine::TrapKind::kAllocationTooLarge;
  };
  return is_such(found) || is_such(expected);
}

// Several calls that are one to the cell.  What a trap leaves is the cell's too, if it is committed; what a
// guest leaves that was stopped in the middle is not, and cannot be.
void Trial::use(Model& model, const Step& step) {
  Result<CellUse> made = place_of(model).cells->use(id(model));
  if (!made.ok()) return lost("use", made.status());
  std::optional<CellUse> use(std::move(made).value());
  observe(model);
  Instance* const twin = twin_of(model);
  if (twin == nullptr) return;
  take_output(use->instance());
  take_output(*twin);
  std::vector<Done> done;
  for (const Call& call : step.calls) {
    if (use->instance().retired() || is_over()) break;
    const Outcome found = differential::run(call, use->instance(), HostSide::here().logged);
    if (found.interrupted()) {
      statistics_.stopped++;
      if (use->commit().code() != Code::kUnavailable) differs("a call that was stopped is committed");
      use.reset();
      model.forget_twin();
      model.roll_back();
      return;
    }
    const Outcome expected = differential::run(call, *twin, HostSide::here().logged);
    if (expected.interrupted() || may_differ(model, found, expected)) return leave();
    if (!same(model, found, expected)) return differs(unlike(call, found, expected));
    statistics_.calls++;
    count(expected);
    done.push_back({call, expected});
  }
  if (is_over()) return;
  compare(model, use->instance(), *twin, "in a use");
  if (take_output(use->instance()) != take_output(*twin)) differs("other output");
  const bool retired = use->instance().retired();
  bool kept = false;
  if (step.commit) {
    const Status committed = use->commit();
    kept = committed.ok();
    if (kept == retired || (retired && committed.code() != Code::kUnavailable)) {
      const bool too_long = options_.small_deltas && committed.code() == Code::kLimitExceeded;
      if (!too_long) differs(fmt::format("a use is committed: {}", committed.message()));
      statistics_.too_long++;
    }
  }
  use.reset();
  if (kept) {
    for (Done& one : done) model.add(std::move(one));
    if (options_.lasts()) model.commit(model.sequence() + 1);
    return;
  }
  model.forget_twin();
  model.roll_back();
}

// --- several threads -----------------------------------------------------------------------------------

struct Trial::Part {
  cell::Cells* cells;
  Model* model;
  cell::CellId id;
  std::vector<const Call*> calls{};
  uint32_t bits = 0;

  // Of each call, and how often the cell had been committed when it began.
  struct Taken {
    Answer answer;
    uint64_t sequence;
  };
  std::vector<Taken> taken{};
  std::string trouble{};
};

void Trial::run_part(Part& part) const {
  for (const Call* call : part.calls) {
    {
      Result<CellUse> use = part.cells->use(part.id);
      if (!use.ok()) {
        part.trouble = fmt::format("use: {}", use.status().message());
        return;
      }
      const uint64_t sequence = part.cells->describe(part.id).value().sequence;
      part.taken.push_back({perform_in(use.value(), *call), sequence});
    }
    const uint32_t next = part.bits % 4;
    part.bits /= 4;
    if (next > 1) continue;
    const Status status = next == 0 ? part.cells->sleep(part.id) : part.cells->wake(part.id);
    if (!status.ok()) part.trouble = fmt::format("sleep or wake: {}", status.message());
  }
}

void Trial::together(const Step& step) {
  statistics_.together++;
  std::vector<Part> parts;
  for (size_t i = 0; i < std::min(Workers::kCount, models_.size()); i++) {
    Model& model = *models_[(step.cell + i) % models_.size()];
    parts.push_back({.cells = place_of(model).cells.get(), .model = &model, .id = id(model)});
    parts.back().bits = step.other >> (8 * i);
  }
  for (size_t i = 0; i < step.calls.size(); i++) parts[i % parts.size()].calls.push_back(&step.calls[i]);
  std::vector<std::function<void()>> work;
  for (Part& part : parts) work.emplace_back([this, &part] { run_part(part); });
  // Meanwhile others look at them, and put them to sleep.
  stage_.world().workers->run(work, [&] {
    for (const auto& place : places_) {
      if (!place) continue;
      place->cells->clean_up();
      static_cast<void>(place->cells->list(domain_, "", kModelsMax));
      static_cast<void>(place->cells->statistics());
    }
  });
  for (const Part& part : parts) {
    if (!part.trouble.empty()) return differs(part.trouble + " in another thread");
    for (size_t i = 0; i < part.taken.size() && !is_over(); i++) {
      note(*part.model, part.taken[i].sequence);
      if (!is_over()) settle(*part.model, *part.calls[i], part.taken[i].answer, Answers::kUsual);
    }
    if (!found_.empty()) return differs(found_ += " in another thread");
    if (is_over()) return;
    observe(*part.model);
  }
}

// --- states --------------------------------------------------------------------------------------------

void Trial::look(Model& model, Look look) {
  switch (look) {
    case Look::kNot: return;
    case Look::kCommit: return look_inside(model, true);
    case Look::kDrop: return look_inside(model, false);
    case Look::kCopy: return look_at_copy(model);
  }
}

void Trial::look_inside(Model& model, bool commit) {
  if (is_over()) return;
  Instance* const twin = twin_of(model);
  if (twin == nullptr) return;
  Result<CellUse> use = place_of(model).cells->use(id(model));
  if (!use.ok()) return lost("use", use.status());
  observe(model);
  compare(model, use->instance(), *twin, "in the cell");
  if (!commit) {
    {
      const CellUse dropped = std::move(use).value();
    }
    model.roll_back();
    return;
  }
  const Status kept = use->commit();
  if (!kept.ok()) return lost("nothing is committed", kept);
  if (options_.lasts()) model.commit(model.sequence() + 1);
}

void Trial::look_at_copy(Model& model) {
  constexpr std::string_view kCopy = "copy";
  if (is_over()) return;
  Instance* const twin = twin_of(model);
  if (twin == nullptr) return;
  const std::optional<CellState> state = this->state(model);
  if (!state) return;
  Place& place = place_of(model);
  const Status made = place.copies->create(place.kind_of_copies, kCopy, {.delta = state->delta});
  if (!made.ok()) return lost("a copy is created", made);
  {
    const Result<CellUse> use = place.copies->use({kCopy, domain_});
    if (!use.ok()) return lost("a copy is used", use.status());
    compare(model, use->instance(), *twin, "in a copy");
  }
  const Status removed = place.copies->remove({kCopy, domain_});
  if (!removed.ok()) lost("a copy is removed", removed);
}

void Trial::compare(const Model& model, const Instance& found, Instance& twin, std::string_view what) {
  statistics_.looks++;
  stage_.reader().read(found, state_);
  stage_.reader().read(twin, expected_);
  const std::string text = stage_.reader().difference(state_, expected_);
  if (!text.empty()) differs(fmt::format("{} {}, after {} calls", text, what, model.calls()));
}

// With commit=on_sleep cells are put to sleep, and committed, by others: for room.
void Trial::note(Model& model, uint64_t sequence) {
  if (sequence == model.sequence()) return;
  if (!options_.lasts()) return model.commit(sequence);
  differs(
      fmt::format("'{}' was committed {} times, {} are expected", model.name(), sequence, model.sequence()));
}

void Trial::observe(Model& model) {
  const auto described = place_of(model).cells->describe(id(model));
  if (!described.ok()) return lost("describe", described.status());
  note(model, described->sequence);
  if (!described->awake && !model.is_committed()) differs("a cell sleeps and forgot what was done");
  if (options_.small_deltas && described->delta_bytes > kSmallDeltaBytes) {
    differs(fmt::format("a delta of {} bytes", described->delta_bytes));
  }
}

std::optional<CellState> Trial::state(Model& model) {
  Result<CellState> state = place_of(model).cells->state(id(model));
  if (!state.ok()) {
    lost("its state", state.status());
    return std::nullopt;
  }
  observe(model);
  if (!model.is_committed()) differs("not all of a cell is in its state");
  if (state->sequence != model.sequence() && !is_over()) {
    differs(fmt::format("a state after {} commits, {} are expected", state->sequence, model.sequence()));
  }
  statistics_.states++;
  statistics_.states_with_changes += state->delta.empty() ? 0 : 1;
  return std::move(state).value();
}

// --- sleep, forks and others ---------------------------------------------------------------------------

void Trial::sleep(Model& model, const Step& step) {
  const Status slept = place_of(model).cells->sleep(id(model));
  if (!slept.ok()) return lost("sleep", slept);
  observe(model);
  const auto described = place_of(model).cells->describe(id(model));
  if (described.ok() && described->awake) return differs("a cell is awake after sleep()");
  look(model, step.look);
}

void Trial::create(size_t place) {
  if (is_full()) return;
  models_.push_back(std::make_unique<Model>(new_name(), place));
  const Status made = places_[place]->cells->create(places_[place]->kind, models_.back()->name());
  if (!made.ok()) lost("create", made);
}

void Trial::remove(Model& model) {
  cell::Cells& cells = *place_of(model).cells;
  const size_t place = model.place();
  const Status removed = cells.remove(id(model));
  if (!removed.ok()) return lost("remove", removed);
  if (cells.describe(id(model)).code() != Code::kNotFound || cells.use(id(model)).code() != Code::kNotFound) {
    return differs("a cell that was removed is there");
  }
  std::erase_if(models_, [&](const auto& one) { return one.get() == &model; });
  if (models_.empty()) create(place);
}

void Trial::fork(Model& model, const Step& step) {
  cell::Cells& cells = *place_of(model).cells;
  if (is_full()) {
    const Status forked = cells.fork(id(model), model.name());
    if (forked.code() != Code::kAlreadyExists) differs("a fork in the place of what there is");
    return;
  }
  const std::string name = new_name();
  const Status forked = cells.fork(id(model), name);
  if (!forked.ok()) return lost("fork", forked);
  observe(model);
  if (!model.is_committed()) return differs("a fork of what was not committed");
  models_.push_back(std::make_unique<Model>(model.copy(name, model.place())));
  Model& made = *models_.back();
  statistics_.forked++;
  // What is done to the one is not done to the other, whichever comes first.
  if (step.other % 2 == 0) look(model, step.look);
  look(made, step.look);
  if (step.other % 2 != 0) look(model, step.look);
}

void Trial::restore(Model made, const std::vector<uint8_t>& delta, Look look) {
  Place* const place = this->place(made.place());
  if (place == nullptr) return;
  const Status created =
      place->cells->create(place->kind, made.name(), {.delta = delta, .sequence = made.sequence()});
  if (options_.small_deltas && delta.size() > kSmallDeltaBytes) {
    if (created.code() != Code::kLimitExceeded) differs("a cell with a delta that is too long");
    return;
  }
  if (!created.ok()) return lost("a cell is restored", created);
  models_.push_back(std::make_unique<Model>(std::move(made)));
  this->look(*models_.back(), look);
}

void Trial::carry(Model& model, const Step& step) {
  if (is_full()) return;
  const std::optional<CellState> state = this->state(model);
  if (!state || is_over()) return;
  if (state->kind != place_of(model).kind) return differs("a state of another kind");
  statistics_.carried++;
  restore(model.copy(new_name(), 1 - model.place()), state->delta, step.look);
}

void Trial::link(Model& model) {
  const std::optional<CellState> state = this->state(model);
  if (!state || is_over()) return;
  Result<Delta> now = state->delta.empty() ? Result<Delta>(Delta()) : cell::decode_delta(state->delta);
  if (!now.ok()) return lost("a state is decoded", now.status());
  Model::Chain& chain = model.chain();
  const Delta link = chain.links.empty()
                         ? now.value()
                         : cell::difference(chain.end, now.value(), *place_of(model).kind->image());
  std::vector<uint8_t> bytes = cell::encode_delta(link);
  const Result<Delta> again = cell::decode_delta(bytes);
  if (!again.ok()) return lost("a link is decoded", again.status());
  if (cell::encode_delta(again.value()) != bytes) return differs("a delta has two forms");
  statistics_.links++;
  statistics_.links_with_changes += bytes == cell::encode_delta(Delta()) ? 0 : 1;
  chain.links.push_back(std::move(bytes));
  chain.end = std::move(now).value();
  chain.calls = model.calls();
  chain.sequence = model.sequence();
}

namespace {

// From the first one on, or from the last one back.
Result<Delta> fold_all(std::vector<Delta> deltas, bool from_first) {
  if (from_first) {
    Delta all = std::move(deltas.front());
    for (size_t i = 1; i < deltas.size(); i++) all = SPORE_TRY(cell::fold(std::move(all), deltas[i]));
    return all;
  }
  Delta all = std::move(deltas.back());
  for (size_t i = deltas.size() - 1; i > 0; i--) {
    all = SPORE_TRY(cell::fold(std::move(deltas[i - 1]), all));
  }
  return all;
}

}  // namespace

// As it was when its last link was made.
void Trial::unchain(Model& model, const Step& step) {
  if (is_full()) return;
  if (model.chain().links.empty()) link(model);
  if (is_over()) return;
  const Model::Chain& chain = model.chain();
  std::vector<Delta> links;
  for (const std::vector<uint8_t>& bytes : chain.links) {
    Result<Delta> decoded = cell::decode_delta(bytes);
    if (!decoded.ok()) return lost("a link is decoded", decoded.status());
    links.push_back(std::move(decoded).value());
  }
  const bool in_files = step.other / 8 % 2 == 0;
  if (in_files) {
    Result<std::vector<Delta>> read = through_files(model, std::move(links));
    if (!read.ok()) return lost("links in files", read.status());
    links = std::move(read).value();
    statistics_.in_files++;
  }
  const Result<Delta> all = fold_all(std::move(links), step.other % 2 == 0);
  if (!all.ok()) return lost("links are folded", all.status());
  statistics_.unchained += chain.links.size() > 1 ? 1 : 0;
  statistics_.other_wasi += all->wasi.kind == Delta::Part::Kind::kSet ? 1 : 0;
  const size_t place = step.other / 2 % 4 == 0 ? 1 - model.place() : model.place();
  restore(model.copy_of_chain(new_name(), place), cell::encode_delta(all.value()), step.look);
}

// Writes each to a file and reads it back.  Of those that are more than a chain may have the first are
// folded.
Result<std::vector<Delta>> Trial::through_files(const Model& model, std::vector<Delta> links) const {
  while (links.size() > snapshot::kChainLinksMax) {
    Delta first = SPORE_TRY(cell::fold(std::move(links[0]), links[1]));
    links[1] = std::move(first);
    links.erase(links.begin());
  }
  const Folder folder;
  const Digest base = sha256(std::vector<uint8_t>{1});
  std::vector<snapshot::DeltaFile> files;
  for (size_t i = 0; i < links.size(); i++) {
    constexpr std::array kCompressions{snapshot::Compression::kAuto, snapshot::Compression::kLz4,
                                       snapshot::Compression::kNone};
    snapshot::DeltaFile file{.cell = model.name(),
                             .domain = domain_,
                             .sequence = i + 1,
                             .parent = files.empty() ? base : files.back().id,
                             .base = base,
                             .module = sha256(std::vector<uint8_t>{2}),
                             .dirty_pages = cell::pages_in(links[i]),
                             .delta = cell::encode_delta(links[i])};
    const std::filesystem::path path = folder.path / "delta";
    const snapshot::WriteOptions options{.compression = kCompressions[i % kCompressions.size()],
                                         .progress = {}};
    const snapshot::DeltaFile written = SPORE_TRY(snapshot::write_delta(std::move(file), path, options));
    files.push_back(SPORE_TRY(snapshot::read_delta(path)));
    if (files.back().id != written.id) return Status::internal("a file has two names");
  }
  SPORE_TRY(snapshot::check_chain(base, files));
  std::vector<Delta> read;
  for (const snapshot::DeltaFile& file : files) read.push_back(SPORE_TRY(cell::decode_delta(file.delta)));
  return read;
}

// A cell as an image of its own, and how that differs from the first image.
void Trial::rebase(Model& model, const Step& step) {
  if (is_full()) return;
  const std::optional<CellState> state = this->state(model);
  if (!state || is_over()) return;
  const cell::Image& image = *place_of(model).kind->image();
  const auto make = [&]() -> Result<Delta> {
    const Delta delta = state->delta.empty() ? Delta() : SPORE_TRY(cell::decode_delta(state->delta));
    const cell::Image::Parts first = SPORE_TRY(image.parts());
    cell::Image::Parts parts = SPORE_TRY(cell::apply_delta(first, delta));
    const auto restored =
        SPORE_TRY(cell::Image::restore(image.shared_blueprint(), std::move(parts), image.memories().reset));
    if (!restored.lost.empty()) return Status::internal("files were lost");
    return cell::difference(first, SPORE_TRY(restored.image->parts()));
  };
  const Result<Delta> delta = make();
  if (!delta.ok()) return lost("another image", delta.status());
  statistics_.rebased++;
  statistics_.other_wasi += delta->wasi.kind == Delta::Part::Kind::kSet ? 1 : 0;
  restore(model.copy(new_name(), model.place()), cell::encode_delta(delta.value()), step.look);
}

void Trial::climb(const Step& step) {
  const engine::Tier now = stage_.tier();
  const auto next = static_cast<engine::Tier>(std::min(static_cast<uint32_t>(stage_.world().tier_max),
                                                       static_cast<uint32_t>(now) + 1 + step.other % 2));
  if (next <= now) return;
  const Status climbed = stage_.climb(next);
  if (!climbed.ok() && climbed.code() != Code::kUnsupported) return lost("warm_up", climbed);
  if (stage_.tier() > now) statistics_.climbed[static_cast<size_t>(stage_.tier())]++;
}

}  // namespace spore::cells_test
