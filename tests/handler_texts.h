#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/says.h"

namespace spore::test {

// A request as a handler's runner reads it: its length, little-endian, before it.
inline std::string framed(std::string_view text) {
  const auto length = static_cast<uint32_t>(text.size());
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + std::string(text);
}

inline std::string last_line(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

}  // namespace spore::test
