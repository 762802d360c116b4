#include "spore/cell/pool_options.h"

#include <array>

#include "spore/base/utf8.h"

namespace spore::cell {
namespace {

struct Preset {
  std::string_view name;
  uint32_t per_module;
  uint32_t in_all;
  uint64_t idle_seconds;
  uint32_t warm_up;
};
constexpr std::array kPresets{
    Preset{"default", 10, 100, 60, 0},
    Preset{"embedded", 2, 10, 30, 0},
    Preset{"server", 50, 1000, 300, 4},
    Preset{"interactive", 5, 50, 120, 2},
};

}  // namespace

Result<PoolOptions> pool_preset(std::string_view name) {
  std::string names;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) {
      PoolOptions options;
      options.preset = preset.name;
      options.instances_per_module_max = preset.per_module;
      options.instances_max = preset.in_all;
      options.idle_expiry_ms = preset.idle_seconds * 1000;
      options.warm_up = preset.warm_up;
      return options;
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", preset.name);
  }
  return Status::invalid_argument("'{}' is no preset of pools (there are: {})", printable(name), names);
}

Status check(const PoolOptions& options) {
  if (options.instances_per_module_max == 0) {
    return Status::invalid_argument("instances_per_module_max is 0, at least 1 is needed");
  }
  if (options.instances_per_module_max > options.instances_max) {
    return Status::invalid_argument("instances_per_module_max={} is more than instances_max={}",
                                    options.instances_per_module_max, options.instances_max);
  }
  if (options.warm_up > options.instances_per_module_max) {
    return Status::invalid_argument("warm_up={} is more than instances_per_module_max={}", options.warm_up,
                                    options.instances_per_module_max);
  }
  if (options.idle_expiry_ms == 0) {
    return Status::invalid_argument("idle_expiry_ms is 0: no instance would stay");
  }
  return {};
}

}  // namespace spore::cell
