#pragma once

// Compiling in a process of its own, which bad input can hurt.  What that process may do, and what this does
// not protect from: docs/decisions/0009-compile-helper.md.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "spore/code/compile_limits.h"
#include "spore/code/compiler.h"
#include "spore/code/helper_protocol.h"

namespace spore::code {

// In messages the limits are called as the options are: compile_cpu_s, compile_memory_bytes_max.
struct HelperOptions {
  // The program.  Empty: `spore-compile` beside this process's own program, then in ../libexec/spore from
  // there, then where it was installed.
  std::filesystem::path helper;
  CompileLimits limits;
  CompileBudget budget;
  std::chrono::milliseconds wall_max = std::chrono::minutes(10);
  // Threads inside one compile, of modules from kParallelBytesMin on.  0: one for each processor, up to
  // kThreadsDefaultMax.  Each takes 64 MiB of address space for its allocations.
  uint32_t threads = 0;
  uint32_t niceness = 10;  // 0 to 19

  static constexpr uint64_t kParallelBytesMin = 1024 * 1024;
  static constexpr uint32_t kThreadsDefaultMax = 8;
  static constexpr uint32_t kThreadsMax = 64;
  static constexpr uint32_t kNicenessMax = 19;
  static constexpr uint64_t kMemoryBytesMin = 64 * 1024 * 1024;
};

// One process a compile.  This process gets no larger by what a module makes the compiler do: it holds the
// module, which it was given, and maps the code that comes out.
//
// Safe in a process with threads, with children of its own, whatever it does with SIGCHLD, and with
// descriptors that it forgot to mark: the helper inherits its three and no other, no handler, no blocked
// signal and none of the environment but LD_LIBRARY_PATH.  It dies with the thread that waits for it.
class HelperCompiler final : public Compiler {
 public:
  // kUnavailable: there is no such program, or it may not be executed.  kInvalidArgument: a niceness or
  // number of threads out of range.
  static Result<std::unique_ptr<HelperCompiler>> create(HelperOptions options);

  // Beside what Engine::compile says:
  // kLimitExceeded: one of the limits, named; also time, memory and length of the code.
  // kCancelled: heeded at once; the helper is killed.
  // kUnavailable: the helper cannot be started or confine itself, is of another version, is something else,
  // or was
  //   killed by somebody.
  // kInternal: the compiler crashed; says how.
  // kIo: no descriptors or no memory for what goes between.
  Result<Compiled> compile(const engine::Engine& engine, const Source& source,
                           const std::stop_token& stop) override;

  const std::filesystem::path& helper() const { return options_.helper; }
  const HelperOptions& options() const { return options_; }

 private:
  HelperCompiler(HelperOptions options, std::string library_path)
      : options_(std::move(options)), library_path_(std::move(library_path)) {}

  const HelperOptions options_;
  const std::string
      library_path_;  // LD_LIBRARY_PATH as it was at the start: others may change it at any time
};

// Asks `first`, and `second` when that says kUnavailable: for those who would rather compile hostile bytes in
// their own process than not at all.  Nothing else uses it.
class FallbackCompiler final : public Compiler {
 public:
  FallbackCompiler(std::unique_ptr<Compiler> first, std::unique_ptr<Compiler> second)
      : first_(std::move(first)), second_(std::move(second)) {}

  // What the one says that was asked last.
  Result<Compiled> compile(const engine::Engine& engine, const Source& source,
                           const std::stop_token& stop) override;

 private:
  const std::unique_ptr<Compiler> first_;
  const std::unique_ptr<Compiler> second_;
};

}  // namespace spore::code
