#pragma once

// Was enough tried?  A test that compares instances to which nothing happened proves nothing.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace spore::differential {

struct Share {
  std::string_view name;
  uint64_t part;
  uint64_t all;
  double percent_min;

  double percent() const {
    return all == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(all);
  }
};

// A line each.
std::string text(std::span<const Share> shares);
// Those of which there is too little, a line each; empty: enough of everything.
std::string shortfalls(std::span<const Share> shares);

}  // namespace spore::differential
