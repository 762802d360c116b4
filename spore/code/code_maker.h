#pragma once

// Code of modules, each made once: found in this process or in the cache, or compiled, now or in the
// background.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/json.h"
#include "spore/base/log.h"
#include "spore/base/metrics.h"
#include "spore/base/status.h"
#include "spore/code/code_cache.h"
#include "spore/code/compiler.h"
#include "spore/code/optimiser.h"
#include "spore/code/source.h"
#include "spore/engine/engine.h"

namespace spore::code {

// Where code came from.
enum class Origin : uint8_t { kMemory, kCache, kCompiler };
std::string_view origin_name(Origin origin);  // "this process", "the cache", "the compiler"

struct Made {
  std::shared_ptr<const engine::CompiledCode> code;
  Origin origin = Origin::kCompiler;
  uint64_t ns = 0;  // that it took
};

struct CodeMakerOptions {
  std::shared_ptr<Compiler> compiler;
  std::shared_ptr<const Optimiser> optimiser;  // for the peak tier; null: there is none
  std::shared_ptr<CodeCache> cache;            // null: none
  size_t queue_max = 64;                       // that wait to be made in the background
  int nice = 10;                               // of the background thread
  Log log;
};

struct CodeMakerStatistics {
  uint64_t compiled = 0;
  uint64_t compile_ns = 0;
  uint64_t failed = 0;
  uint64_t found_in_memory = 0;
  uint64_t found_in_cache = 0;
  uint64_t joined = 0;     // requests that waited for another's
  uint64_t cancelled = 0;  // in the background
  uint64_t queued_max = 0;
  // What is being made, or waits for it, first things first.
  struct Flight {
    Digest module;
    engine::Tier tier{};
    bool running = false;
    bool background = false;
    uint64_t ms = 0;  // since it was asked for
  };
  std::vector<Flight> flights;
  std::optional<CodeCacheStatistics> cache;

  void write_json(JsonWriter& json) const;
  void write_metrics(MetricsWriter& metrics) const;
};

// Thread-safe.  Its background thread begins with the first thing to do there.  A compile in this process
// that has begun cannot be stopped: then the thread outlives this object, with all that it needs, to the
// compile's end.
//
// fork(): a child makes code as before; what other threads of the parent were making is not made there.
class CodeMaker {
 public:
  explicit CodeMaker(CodeMakerOptions options);
  ~CodeMaker();
  CodeMaker(const CodeMaker&) = delete;
  CodeMaker& operator=(const CodeMaker&) = delete;

  // What is there without compiling; null: nothing.
  std::shared_ptr<const engine::CompiledCode> find(const engine::Engine& engine, const Source& source);

  // On this thread, unless another is at it: then that one's.  What Compiler::compile says.
  Result<Made> make(const engine::Engine& engine, const Source& source, const std::stop_token& stop = {});

  // The same as if it was nowhere: of the interpreter, whose code fills with what it translates.
  Result<Made> make_anew(const engine::Engine& engine, const Source& source);

  // In the background.  `done` is called once, by any thread, with no lock held; kCancelled after cancel().
  // kLimitExceeded: queue_max wait already; then there is no call.
  using Done = std::function<void(Result<Made>)>;
  Status make_soon(std::shared_ptr<const engine::Engine> engine, const OwnedSource& source, Done done);
  // That nobody wants it any more: what waits never begins, what runs ends early if it can.
  void cancel(const engine::Engine& engine, const Source& source);

  CodeMakerStatistics statistics() const;

 private:
  struct Flight;
  struct State;
  static Result<Made> fly(State& state, Flight& flight, const Source& source, bool background);
  static void run(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace spore::code
