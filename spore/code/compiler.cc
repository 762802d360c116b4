#include "spore/code/compiler.h"

namespace spore::code {

Result<Compiled> InProcessCompiler::compile(const engine::Engine& engine, const Source& source,
                                            const std::stop_token& stop) {
  if (stop.stop_requested()) return Status::cancelled("compiling was cancelled before it began");
  return Compiled{.code = SPORE_TRY(engine.compile(source.wasm, source.hash, source.preparer)), .native = {}};
}

}  // namespace spore::code
