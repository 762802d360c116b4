#pragma once

// What was seen of a module while it was called.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/engine/engine.h"
#include "spore/engine/live_binding.h"

namespace spore::code {

// What was seen of a module before, in another process: it is brought to where it was at once.
struct Profile {
  static constexpr size_t kFunctionsMax = 20;
  static constexpr size_t kNameBytesMax = 256;
  static constexpr double kMeanUsMax = 1e16;  // no deadline is longer
  struct Function {
    std::string name;
    uint64_t calls = 0;
    double mean_us = 0;  // in the tier that it was in last; by ticks of the clock: a sample
    bool operator==(const Function&) const = default;
  };
  engine::Tier tier{};              // that it reached
  std::vector<Function> functions;  // hottest first, at most kFunctionsMax

  bool operator==(const Profile&) const = default;
};

// Whether one function is told before another: what took longer in all, then what was called more often.
bool hotter(const Profile::Function& a, const Profile::Function& b);
// Whether a name can be kept: not too long, and nothing in it that would have to be escaped.
bool can_be_named(std::string_view function);

// The tier of the code that new instances have.
engine::Tier tier_of(const engine::LiveBinding& code);

// What is seen of it by now.
Profile profile_of(const engine::LiveBinding& code);
// The same of what was called since `before`, as a file may keep it.  Nothing if it would tell its reader
// nothing: the module was not called since, or has the code in which modules begin, the interpreter's or
// baseline code that it did not climb to.
std::optional<Profile> profile_since(const engine::LiveBinding& code, const engine::UseByName& before);

}  // namespace spore::code
