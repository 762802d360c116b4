#pragma once

// One way through a history.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/cell/cells.h"
#include "tests/cells/cells_check.h"
#include "tests/cells/model.h"
#include "tests/cells/plan.h"
#include "tests/cells/stage.h"
#include "tests/differential/calls.h"
#include "tests/differential/state.h"

namespace spore::cells_test {

class Trial {
 public:
  // `may_fail_to_start`: nobody promised that an instance can be made.
  Trial(Stage& stage, bool may_fail_to_start, Statistics& statistics)
      : stage_(stage), may_fail_to_start_(may_fail_to_start), statistics_(statistics) {}

  // What was different, if anything was.
  std::optional<std::string> run(const Plan& plan);

 private:
  // What came of a call of a cell.
  struct Answer {
    differential::Outcome outcome;
    std::string message{};  // of a failure
  };
  // What one thread does, and what it saw.
  struct Part;

  // The first difference counts, and ends it.
  void differs(std::string text);
  bool is_over() const { return over_ || !found_.empty(); }
  // What a status says is a difference, but where time ran out.
  void lost(std::string_view what, const Status& status);
  void leave();

  void begin();
  void take(const Step& step);
  void end();

  // Calls.
  void call(Model& model, const differential::Call& call, const Step& step);
  void call_hindered(const Step& step);
  void use(Model& model, const Step& step);
  void together(const Step& step);
  void run_part(Part& part) const;
  Answer perform(Model& model, const differential::Call& call, How how, Answers answers);
  static Answer perform_in(cell::CellUse& use, const differential::Call& call);
  Answer perform_with_values(Model& model, const differential::Call& call,
                             const cell::Cells::UseOptions& options);
  Answer perform_typed(Model& model, const differential::Call& call);
  // Does the same to the twin, if the call was done, and holds the one against the other.
  void settle(Model& model, const differential::Call& call, const Answer& answer, Answers answers);
  bool same(const Model& model, const differential::Outcome& found,
            const differential::Outcome& expected) const;
  bool may_differ(const Model& model, const differential::Outcome& found,
                  const differential::Outcome& expected) const;
  void count(const differential::Outcome& outcome);
  // Null: there is none, and this is over.
  host::Instance* twin_of(Model& model);

  // States.
  void look(Model& model, Look look);
  void look_inside(Model& model, bool commit);
  void look_at_copy(Model& model);
  // `what`: "of a copy".
  void compare(const Model& model, const host::Instance& found, host::Instance& twin, std::string_view what);
  // Whether it is as often committed, and as much of it is, as it must be.
  void observe(Model& model);
  void note(Model& model, uint64_t sequence);
  std::optional<cell::CellState> state(Model& model);

  // Others.
  void sleep(Model& model, const Step& step);
  void fork(Model& model, const Step& step);
  void remove(Model& model);
  void carry(Model& model, const Step& step);
  void link(Model& model);
  void unchain(Model& model, const Step& step);
  Result<std::vector<cell::Delta>> through_files(const Model& model, std::vector<cell::Delta> links) const;
  void rebase(Model& model, const Step& step);
  void climb(const Step& step);
  void create(size_t place);
  // A new cell with this delta.
  void restore(Model made, const std::vector<uint8_t>& delta, Look look);

  // Null: there is none, and this is over.
  Place* place(size_t number);
  Place& place_of(const Model& model) { return *places_[model.place()]; }
  cell::CellId id(const Model& model) const { return {model.name(), domain_}; }
  bool is_full() const;
  std::string new_name() const;

  Stage& stage_;
  bool may_fail_to_start_;
  Statistics& statistics_;
  Options options_;
  std::string domain_;
  std::array<std::optional<Place>, Stage::kPlaces> places_;
  std::vector<std::unique_ptr<Model>> models_;
  bool over_ = false;
  std::string found_;
  // Kept for their memory.
  differential::State state_;
  differential::State expected_;
  differential::State before_;
};

}  // namespace spore::cells_test
