#pragma once

#include <algorithm>
#include <string_view>

namespace spore::spec {

// The part of `text` before `separator`, or all of it; both are taken off the front.
inline std::string_view take_part(std::string_view& text, char separator) {
  const std::string_view part = text.substr(0, text.find(separator));
  text.remove_prefix(std::min(text.size(), part.size() + 1));
  return part;
}

// Takes `prefix` off the front of `text`, if it is there.
inline bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace spore::spec
