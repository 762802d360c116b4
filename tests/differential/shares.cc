#include "tests/differential/shares.h"

#include <fmt/format.h>

namespace spore::differential {

std::string text(std::span<const Share> shares) {
  std::string all;
  for (const Share& share : shares) {
    all += fmt::format("{:40} {:8} of {:8} {:6.1f} %, at least {} %\n", share.name, share.part, share.all,
                       share.percent(), share.percent_min);
  }
  return all;
}

std::string shortfalls(std::span<const Share> shares) {
  std::string all;
  for (const Share& share : shares) {
    if (share.percent() < share.percent_min) all += fmt::format("too few {}\n", share.name);
  }
  return all;
}

}  // namespace spore::differential
