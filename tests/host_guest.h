#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "spore/host/functions.h"
#include "spore/host/instance.h"
#include "tests/guest_file.h"

namespace spore::test {

struct HostGuestOptions {
  host::HostFunctions host;
  engine::Limits limits;
  engine::EngineOptions engine;
  void* user_data = nullptr;
};

// An instance of `module` on an engine of its own, without a Runtime.
inline Result<host::Instance> try_host_guest(std::span<const uint8_t> module,
                                             const HostGuestOptions& options = {}) {
  const auto engine = SPORE_TRY(engine::Engine::create(options.engine, std::make_shared<engine::Ticker>()));
  const auto code = SPORE_TRY(engine->compile(module));
  auto binding = SPORE_TRY(engine::Binding::create(code, options.host.freeze()));
  return host::Instance::create(std::move(binding), options.limits, options.user_data);
}

inline host::Instance host_guest(std::span<const uint8_t> module, const HostGuestOptions& options = {}) {
  return try_host_guest(module, options).value();
}
inline host::Instance host_guest(std::string_view text, const HostGuestOptions& options = {}) {
  return host_guest(wasm(text), options);
}

}  // namespace spore::test
