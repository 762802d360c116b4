#pragma once

// What guests tell the host, and what the host does to them: of each thread its own, as cells are called by
// several at once.

#include <cstdint>
#include <string_view>
#include <vector>

#include "spore/host/functions.h"

namespace spore::cells_test {

// How host functions answer.
enum class Answers : uint8_t {
  kUsual,
  kLate,     // not before the deadline of the call; then as usual
  kTooLate,  // not before the deadline, and with it
  kNever,    // with an error
};
std::string_view answers_name(Answers answers);

struct HostSide {
  std::vector<int32_t> logged;
  Answers answers = Answers::kUsual;

  static HostSide& here();
};

// What generated modules import: see differential/world.h.
host::HostFunctions host_functions();

}  // namespace spore::cells_test
