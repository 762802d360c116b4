#include "tests/cells/host_side.h"

#include <chrono>
#include <thread>

#include "tests/differential/world.h"

namespace spore::cells_test {

std::string_view answers_name(Answers answers) {
  switch (answers) {
    case Answers::kUsual: return "usual";
    case Answers::kLate: return "late";
    case Answers::kTooLate: return "too late";
    case Answers::kNever: return "never";
  }
  return "?";
}

HostSide& HostSide::here() {
  thread_local HostSide side;
  return side;
}

host::HostFunctions host_functions() {
  static std::vector<int32_t> unused;  // "log" is another one here
  host::HostFunctions host = differential::host_functions(unused);
  host.define("host", "log", [](engine::Caller& caller, int32_t value) -> Status {
    HostSide& side = HostSide::here();
    side.logged.push_back(value);
    if (side.answers == Answers::kUsual) return {};
    if (side.answers == Answers::kNever) return Status::host_error("the host does not answer");
    while (caller.time_left_ms() > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    return side.answers == Answers::kTooLate ? caller.check_running() : Status();
  });
  return host;
}

}  // namespace spore::cells_test
