#include "tests/cells/model.h"

#include <algorithm>
#include <utility>

#include "tests/cells/host_side.h"

namespace spore::cells_test {

using differential::Outcome;

Model Model::copy(std::string name, size_t place, size_t calls, uint64_t sequence) const {
  Model made(std::move(name), place);
  made.done_.assign(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(calls));
  made.commit(sequence);
  return made;
}

Result<host::Instance*> Model::twin(Stage& stage) {
  if (twin_) return &*twin_;
  host::Instance made = SPORE_TRY(stage.twin());
  for (const Done& done : done_) {
    const Outcome outcome = differential::run(done.call, made, HostSide::here().logged);
    if (outcome.interrupted()) return Status::deadline_exceeded("a twin took too long");
    if (outcome == done.outcome) continue;
    return Status::internal("a twin, made once more: {}: {}; {} is expected", differential::text(done.call),
                            differential::text(outcome), differential::text(done.outcome));
  }
  twin_.emplace(std::move(made));
  return &*twin_;
}

const differential::Call* Model::last_that_told() const {
  const auto found = std::ranges::find_if(done_.rbegin(), done_.rend(),
                                          [](const Done& done) { return !done.outcome.logged.empty(); });
  return found == done_.rend() ? nullptr : &found->call;
}

size_t Model::roll_back() {
  const size_t lost = done_.size() - committed_;
  if (lost == 0) return 0;
  done_.resize(committed_);
  twin_.reset();
  return lost;
}

}  // namespace spore::cells_test
