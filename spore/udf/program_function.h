#pragma once

// Functions of programs: JSON of the arguments in, JSON out.  Internal to udf/.

#include <memory>
#include <string>

#include "spore/program/program.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/function.h"

namespace spore::udf {

class ProgramFunction final : public Function {
 public:
  // `calls`: its runner knows calls, not only requests (handler::FunctionSource).
  static std::shared_ptr<const Function> create(Parts parts, runtime::Runtime& runtime,
                                                std::shared_ptr<const program::Program> program, bool calls) {
    return std::shared_ptr<const Function>(
        new ProgramFunction(std::move(parts), runtime, std::move(program), calls));
  }

 private:
  friend class ProgramSession;
  friend class ProgramGroup;
  ProgramFunction(Parts parts, runtime::Runtime& runtime, std::shared_ptr<const program::Program> program,
                  bool calls)
      : Function(std::move(parts)), runtime_(runtime), program_(std::move(program)), calls_(calls) {}

  std::unique_ptr<Session> make_session(const Watch& watch, Isolation isolation) const override;
  Result<std::unique_ptr<Group>> make_group(const Watch& watch) const override;
  program::RequestOptions request_options(const Watch& watch) const {
    return {.deadline_ms = definition().deadline_ms,
            .output_bytes_max = definition().copy_bytes_max,
            .watch = watch};
  }

  runtime::Runtime& runtime_;
  std::shared_ptr<const program::Program> program_;
  const bool calls_;
};

}  // namespace spore::udf
