#pragma once

// Who compiles: this process, or another one that bad input can hurt.

#include <memory>
#include <optional>
#include <stop_token>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/code/compile_limits.h"
#include "spore/code/source.h"
#include "spore/engine/engine.h"

namespace spore::code {

struct Compiled {
  std::shared_ptr<const engine::CompiledCode> code;
  // The file that the code was mapped from, sealed, if there is one: for the cache.
  UniqueFd native;
};

// Thread-safe.
class Compiler {
 public:
  virtual ~Compiler() = default;

  // What Engine::compile says.  kCancelled: `stop` was asked for, where that can be heeded.
  virtual Result<Compiled> compile(const engine::Engine& engine, const Source& source,
                                   const std::stop_token& stop) = 0;
};

// On the thread that asks.  Cannot be stopped: the compiler has no place for it.
class InProcessCompiler final : public Compiler {
 public:
  // No limits: what a module makes the compiler take is nobody's concern.
  InProcessCompiler() = default;
  explicit InProcessCompiler(const CompileLimits& limits) : limits_(limits) {}

  // Also kLimitExceeded: what check_compile_limits says.
  Result<Compiled> compile(const engine::Engine& engine, const Source& source,
                           const std::stop_token& stop) override;

 private:
  std::optional<CompileLimits> limits_;
};

}  // namespace spore::code
