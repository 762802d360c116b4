#include "spore/code/compiler.h"

namespace spore::code {

Result<Compiled> InProcessCompiler::compile(const engine::Engine& engine, const Source& source,
                                            const std::stop_token& stop) {
  if (stop.stop_requested()) return Status::cancelled("compiling was cancelled before it began");
  if (limits_) {
    const CompileFacts facts = SPORE_TRY(compile_facts(source.wasm));
    SPORE_TRY(check_compile_limits(facts, *limits_));
  }
  return Compiled{.code = SPORE_TRY(engine.compile(source.wasm, source.hash, source.preparer)), .native = {}};
}

}  // namespace spore::code
