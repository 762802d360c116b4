#pragma once

// What a cell must be: what was done to it, and an instance to which the same was done and that never slept.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "spore/cell/delta.h"
#include "spore/host/instance.h"
#include "tests/cells/stage.h"
#include "tests/differential/calls.h"

namespace spore::cells_test {

// A call, and what came of it.
struct Done {
  differential::Call call;
  differential::Outcome outcome;
};

class Model {
 public:
  Model(std::string name, size_t place) : name_(std::move(name)), place_(place) {}

  // Another cell that begins as this one is, or as it was when its chain got its last link.
  Model copy(std::string name, size_t place) const {
    return copy(std::move(name), place, done_.size(), sequence_);
  }
  Model copy_of_chain(std::string name, size_t place) const {
    return copy(std::move(name), place, chain_.calls, chain_.sequence);
  }

  const std::string& name() const { return name_; }
  size_t place() const { return place_; }
  size_t calls() const { return done_.size(); }
  bool is_committed() const { return committed_ == done_.size(); }
  uint64_t sequence() const { return sequence_; }
  // The last one that told the host something; null: none did.
  const differential::Call* last_that_told() const;

  // Has a twin that is as the cell.  A guest is deterministic: so it is made by doing all of it again.
  // kInternal: something came out otherwise this time; what Stage::twin() says.
  Result<host::Instance*> twin(Stage& stage);
  // What was done to the twin last is not done to the cell.
  void forget_twin() { twin_.reset(); }

  // Of what was done to the twin, too.
  void add(Done done) { done_.push_back(std::move(done)); }
  // All that was done is the cell's now, by so many commits in all.
  void commit(uint64_t sequence) {
    committed_ = done_.size();
    sequence_ = sequence;
  }
  // What was not committed never happened.  How many calls that was.
  size_t roll_back();

  // Its states, each by how it differs from the one before, the first from the image.
  struct Chain {
    std::vector<std::vector<uint8_t>> links;  // encoded
    cell::Delta end;                          // the last state, on the image
    size_t calls = 0;                         // that were done until then
    uint64_t sequence = 0;
  };
  Chain& chain() { return chain_; }

 private:
  Model copy(std::string name, size_t place, size_t calls, uint64_t sequence) const;

  std::string name_;
  size_t place_;
  std::vector<Done> done_;
  size_t committed_ = 0;  // of them
  uint64_t sequence_ = 0;
  std::optional<host::Instance> twin_;  // after all that was done; nothing: to be made
  Chain chain_;
};

}  // namespace spore::cells_test
