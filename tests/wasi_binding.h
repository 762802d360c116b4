#pragma once

#include <memory>
#include <string_view>

#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "spore/host/functions.h"
#include "spore/host/wasi.h"

namespace spore::test {

// A module in the text format, on an engine of its own, with all of WASI to import.
inline std::shared_ptr<const engine::Binding> wasi_binding(std::string_view text) {
  const auto engine =
      engine::Engine::create(engine::EngineOptions{}, std::make_shared<engine::Ticker>()).value();
  const auto code = engine->compile(engine::text_to_wasm(text).value()).value();
  host::HostFunctions host;
  host::define_wasi(host);
  return engine::Binding::create(code, host.freeze()).value();
}

}  // namespace spore::test
