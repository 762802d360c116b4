#include "tests/differential/world.h"

#include <algorithm>
#include <utility>

#include "tests/differential/guest.h"

namespace spore::differential {

engine::Limits limits(uint64_t deadline_ms) {
  engine::Limits limits;
  limits.deadline_ms = deadline_ms;
  limits.memory_bytes_max = uint64_t{kMemoryPagesMax} << 16;
  limits.memories_max = 2;
  limits.tables_max = 4;
  limits.table_elements_max = 200;
  return limits;
}

host::HostFunctions host_functions(std::vector<int32_t>& logged) {
  host::HostFunctions host;
  host.define("host", "log", [&logged](int32_t value) { logged.push_back(value); });
  // Fills what lies inside of the memory.
  host.define("host", "fill", [](engine::Caller& caller, uint32_t at, uint32_t length, uint32_t value) {
    engine::GuestMemory memory = caller.memory();
    if (memory.size() == 0) return;
    const uint64_t from = at % memory.size();
    const auto bytes = memory.span({from}, std::min<uint64_t>(length, memory.size() - from)).value();
    std::ranges::fill(bytes, static_cast<std::byte>(value));
  });
  return host;
}

std::shared_ptr<const host::WasiConfig> wasi_config() {
  host::WasiOptions options;
  options.args = {"program", "first", "second"};
  options.env = {"NAME=value"};
  options.clock = host::WasiClock{};
  options.random_seed = 1;
  options.directories = {{.host = SPORE_SOURCE_DIR "/tests/differential/files", .guest = "/files"}};
  return host::WasiConfig::create(std::move(options)).value();
}

}  // namespace spore::differential
