#pragma once

// Functions of programs: JSON of the arguments in, JSON out.  Internal to udf/.

#include <memory>
#include <string>
#include <string_view>

#include "spore/program/program.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/function.h"

namespace spore::udf {

// Of what a program says in the end: of a traceback, what went wrong and where.  Empty if there is none.
std::string_view last_line(std::string_view text);

class ProgramFunction final : public Function {
 public:
  struct Frozen {
    std::shared_ptr<const program::Program> program;
    bool calls = false;  // its runner knows calls, not only requests (handler::FunctionSource)
    std::string module;  // to be unloaded with it; empty: others stand on it, too
  };
  static std::shared_ptr<const Function> create(Parts parts, runtime::Runtime& runtime, Frozen frozen) {
    return std::shared_ptr<const Function>(new ProgramFunction(std::move(parts), runtime, std::move(frozen)));
  }
  ~ProgramFunction() override {
    if (!frozen_.module.empty()) static_cast<void>(runtime_.unload_module(frozen_.module));
  }
  ProgramFunction(const ProgramFunction&) = delete;
  ProgramFunction& operator=(const ProgramFunction&) = delete;

 private:
  friend class ProgramSession;
  friend class ProgramGroup;
  ProgramFunction(Parts parts, runtime::Runtime& runtime, Frozen frozen)
      : Function(std::move(parts)), runtime_(runtime), frozen_(std::move(frozen)) {}
  const program::Program& program() const { return *frozen_.program; }

  std::unique_ptr<Session> make_session(const Watch& watch, Isolation isolation) const override;
  Result<std::unique_ptr<Group>> make_group(const Watch& watch) const override;
  // In a result: what a value takes counts as what a library's takes does.
  size_t values_max() const {
    return definition().copy_bytes_max.value_or(runtime_.options().limits.copy_bytes_max) /
           sizeof(host::WitValue);
  }
  program::RequestOptions request_options(const Watch& watch) const {
    return {.deadline_ms = definition().deadline_ms,
            .output_bytes_max = definition().copy_bytes_max,
            .watch = watch};
  }

  runtime::Runtime& runtime_;
  const Frozen frozen_;
};

}  // namespace spore::udf
