#include "spore/host/functions.h"

#include <algorithm>

namespace spore::host {

HostFunctions& HostFunctions::define_raw(engine::HostFunction function) {
  const auto same = std::ranges::find_if(functions_, [&](const engine::HostFunction& other) {
    return other.module == function.module && other.name == function.name;
  });
  if (same != functions_.end()) {
    *same = std::move(function);
  } else {
    functions_.push_back(std::move(function));
  }
  return *this;
}

}  // namespace spore::host
