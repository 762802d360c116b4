#pragma once

// Which modules of a script are run at the peak.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/spore.h"
#include "tests/spec/script.h"

namespace spore::spec {

// How many modules were at the peak, and how many in the tier below, for which reason.
struct PeakCounts {
  size_t at_peak = 0;
  std::map<std::string, size_t> below;

  void add(const PeakCounts& other);
  std::string text() const;  // a line each
};

// A module that has no peak form is run in the optimised tier, as a Runtime would.  Instances of two tiers
// cannot be linked, so what is linked to such a module is there, too.
class PeakPlan {
 public:
  // What asking for a module in the peak tier came to.
  struct Attempt {
    std::shared_ptr<const Module> module;  // kept, so that its code is not made twice
    std::string below;                     // why there is none; empty: there is
  };
  // Nothing: it was refused for another reason, and will be again.
  using Try = std::function<std::optional<Attempt>(std::span<const uint8_t> wasm)>;

  PeakPlan() = default;  // of all other tiers
  PeakPlan(const Script& script, const Try& try_at_peak);

  // To be loaded in the optimised tier.
  bool is_below(const Directive& directive) const;
  const PeakCounts& counts() const { return counts_; }

 private:
  // By the place of its bytes in the script.
  using Place = size_t;
  struct Planned {
    Attempt attempt;
    std::vector<std::string> imports;  // from modules of these names
    std::vector<Place> linked;         // to these, both ways
  };
  void add(const Directive& directive, std::span<const uint8_t> wasm, const Try& try_at_peak);
  void follow_links(const Script& script);
  using PlaceOf = std::map<std::string, Place>;  // by name; under "" the latest
  void link(Place place, const PlaceOf& registered);
  void spread();

  std::map<Place, Planned> modules_;
  PeakCounts counts_;
};

}  // namespace spore::spec
