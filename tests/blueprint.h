#pragma once

// Modules for tests of pools, without a Runtime.

#include <time.h>

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "spore/cell/blueprint.h"
#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "spore/host/functions.h"
#include "spore/host/wasi.h"
#include "spore/wasm/prepare.h"
#include "tests/guest_file.h"

namespace spore::test {

// One for each `engine`; modules of one test share it.
class Modules {
 public:
  explicit Modules(const engine::EngineOptions& options = {})
      : engine_(engine::Engine::create(options, std::make_shared<engine::Ticker>()).value()) {}

  struct More {
    engine::Limits limits;
    std::shared_ptr<const host::WasiConfig> wasi;
    bool prepare = true;
  };
  std::shared_ptr<const cell::Blueprint> load(std::string name, std::string_view text,
                                              const host::HostFunctions& host, const More& more) const {
    const std::vector<uint8_t> bytes = wasm(text);
    wasm::PreparedModule prepared = wasm::prepare(bytes, 1 << 20).value();
    const auto code = engine_->compile(more.prepare ? prepared.wasm : bytes).value();
    cell::Blueprint made{
        .name = std::move(name),
        .code = std::make_shared<engine::LiveBinding>(engine::Binding::create(code, host.freeze()).value()),
        .prepared = nullptr,
        .limits = more.limits,
        .wasi = more.wasi};
    if (more.prepare) made.prepared = std::make_shared<const wasm::PreparedModule>(std::move(prepared));
    return std::make_shared<const cell::Blueprint>(std::move(made));
  }
  std::shared_ptr<const cell::Blueprint> load(std::string name, std::string_view text) const {
    return load(std::move(name), text, {}, {});
  }

  std::shared_ptr<const engine::CompiledCode> compile(std::string_view text) const {
    return engine_->compile(wasm(text)).value();
  }

 private:
  std::shared_ptr<const engine::Engine> engine_;
};

// Until the clock by which pools tell the age of instances has moved on by so much.
inline void pass_ms(int64_t ms) {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
  };
  for (const int64_t begin = now(); now() - begin <= ms;) std::this_thread::yield();
}

}  // namespace spore::test
