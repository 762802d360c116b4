#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace spore {

// A SHA-256: how modules, code and pages are named.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  // 64 lower-case hex digits.
  std::string hex() const;
  auto operator<=>(const Digest&) const = default;
};

Digest sha256(std::span<const uint8_t> bytes);
// Of the parts, one after the other.
Digest sha256(std::initializer_list<std::span<const uint8_t>> parts);

}  // namespace spore
