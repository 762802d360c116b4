#pragma once

// One guest's text made of another's.

#include <stdexcept>
#include <string>
#include <string_view>

namespace spore::test {

// `what` is in it.
inline std::string replaced(std::string text, std::string_view what, std::string_view by) {
  const size_t at = text.find(what);
  if (at == std::string::npos) throw std::invalid_argument("the text has no such part");
  return text.replace(at, what.size(), by);
}

}  // namespace spore::test
