#include "spore/code/profile.h"

#include <algorithm>

#include "spore/base/utf8.h"

namespace spore::code {

using engine::LiveBinding;
using engine::Tier;
using engine::Use;
using engine::UseByName;

namespace {

Use use_in(const UseByName& functions, const std::string& name) {
  const auto found = functions.find(name);
  return found == functions.end() ? Use{} : found->second;
}

double mean_us(const Use& use) {
  constexpr double kUsInMs = 1000;
  const auto calls = static_cast<double>(std::max<uint64_t>(use.calls, 1));  // one may be running
  return std::min(kUsInMs * static_cast<double>(use.ms) / calls, Profile::kMeanUsMax);
}

Profile seen(const LiveBinding& code, const UseByName& before) {
  Profile profile{.tier = tier_of(code), .functions = {}};
  const UseByName at_step = code.functions_at_step();
  for (const auto& [name, use] : code.functions()) {
    const Use since = use - use_in(before, name);
    if (since.calls == 0 && since.ms == 0) continue;
    // `before` was later, or the step was.
    const Use in_tier = use - use_in(at_step, name);
    const Use& measured = in_tier.calls > 0 && in_tier.calls < since.calls ? in_tier : since;
    profile.functions.push_back({.name = name, .calls = since.calls, .mean_us = mean_us(measured)});
  }
  std::ranges::sort(profile.functions, hotter);
  return profile;
}

}  // namespace

bool hotter(const Profile::Function& a, const Profile::Function& b) {
  const double in_a = a.mean_us * static_cast<double>(a.calls);
  const double in_b = b.mean_us * static_cast<double>(b.calls);
  if (in_a != in_b) return in_a > in_b;
  return a.calls != b.calls ? a.calls > b.calls : a.name < b.name;
}

bool can_be_named(std::string_view function) {
  return function.size() <= Profile::kNameBytesMax && printable(function, Profile::kNameBytesMax) == function;
}

Tier tier_of(const LiveBinding& code) { return code.best()->code()->engine().options().tier; }

Profile profile_of(const LiveBinding& code) {
  Profile profile = seen(code, {});
  if (profile.functions.size() > Profile::kFunctionsMax) profile.functions.resize(Profile::kFunctionsMax);
  return profile;
}

std::optional<Profile> profile_since(const LiveBinding& code, const UseByName& before) {
  Profile profile = seen(code, before);
  const bool climbed = code.step().load(std::memory_order_relaxed) > 0;
  if (profile.tier == Tier::kInterpreter || (profile.tier == Tier::kBaseline && !climbed)) return {};
  std::erase_if(profile.functions, [](const Profile::Function& function) { return function.calls == 0; });
  if (profile.functions.empty()) return {};
  std::erase_if(profile.functions,
                [](const Profile::Function& function) { return !can_be_named(function.name); });
  if (profile.functions.size() > Profile::kFunctionsMax) profile.functions.resize(Profile::kFunctionsMax);
  return profile;
}

}  // namespace spore::code
