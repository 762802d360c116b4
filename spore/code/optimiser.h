#pragma once

// Modules made smaller, or faster, by Binaryen's `wasm-opt`, in a process that can do little else.  What its
// flags do, and what that gained: docs/decisions/0014-code-size.md.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/status.h"
#include "spore/code/wasm_opt.h"
#include "spore/wasm/inspect.h"
#include "spore/wasm/prepare.h"

namespace spore::code {

// Grows whenever the same module is optimised differently: part of the name of the result in the cache.
inline constexpr uint32_t kOptimiserVersion = 4;

enum class OptimisePreset : uint8_t {
  kDefault,     // small and fast
  kAggressive,  // as small as can be
  kMinimal,     // only read and written by wasm-opt
};
std::string_view preset_name(OptimisePreset preset);  // "default", "aggressive", "minimal"
// kInvalidArgument: it names none.
Result<OptimisePreset> parse_preset(std::string_view name);

struct OptimiseOptions {
  OptimisePreset preset = OptimisePreset::kDefault;
  bool dce = true;   // remove functions that nobody calls, and code that nothing reaches
  bool fold = true;  // of the same functions and pieces of code keep one
  // Functions with one caller are inlined up to this size, about a byte a unit; 0: none.  Nothing: what the
  // preset says, 128 or 64.  Not with kMinimal.
  std::optional<uint32_t> max_inline;

  static constexpr uint32_t kMaxInlineMax = 1'000'000;
};

// What one run of wasm-opt came to.
struct OptimiseStep {
  std::string_view name;  // "read and write", "remove unused", "fold", "inline", "optimise", "optimise again"
  uint32_t functions = 0;  // that the module defines
  uint64_t wasm_bytes = 0;
  uint64_t code_bytes = 0;  // of them, bodies of functions
  uint64_t ns = 0;
};

struct Optimised {
  std::vector<uint8_t> wasm;
  std::vector<OptimiseStep> steps;  // in their order; the last one is of `wasm`
};

struct Peak {
  std::shared_ptr<const std::vector<uint8_t>> wasm;
  bool from_cache = false;
  uint64_t ns = 0;  // that this took
};

// Thread-safe.  A forked child may go on with its copy.
class Optimiser {
 public:
  // After each step, with what it made.  What fails here ends it.
  using OnStep = std::function<Status(const OptimiseStep& step, std::span<const uint8_t> wasm)>;

  // Starts nothing yet.  kUnavailable: there is no helper.  kInvalidArgument: an option is out of range.
  static Result<std::unique_ptr<Optimiser>> create(WasmOptOptions options);

  // `wasm`, optimised in steps, each measured.  It exports the same, by the same types, and imports nothing
  // more; names and DWARF go, other custom sections stay.  Each result is validated.  The same bytes for the
  // same bytes.
  //
  // - What wasm::inspect says, and what `on_step` does.
  // - kInvalidArgument: of the options, as it says.
  // - kUnsupported: it uses a proposal that wasm-opt is not given; or wasm-opt refuses it, in its last line.
  // - kLimitExceeded: one of the limits, named; also time, memory and length of the result.
  // - kCancelled: heeded at once; wasm-opt is killed.
  // - kUnavailable: wasm-opt or the helper is not there, of another version, cannot be confined, or was
  //   killed by somebody.
  // - kInternal: wasm-opt crashed, or what it made is no such module.
  // - kIo: no descriptors or no memory for what goes between.
  Result<Optimised> optimise(std::span<const uint8_t> wasm, const OptimiseOptions& how,
                             const std::stop_token& stop = {}, const OnStep& on_step = {}) const;

  // A prepared module for the tier above the optimising compiler.  `wasm`: the prepared form, of which
  // `prepared` tells.  What comes out holds the same state under the same names (wasm::check_peak); that is
  // looked at before it is kept in the cache.  Whether it is any faster, nobody looked.
  // As optimise(); and kUnsupported: its state is not the same, in what way the message says.
  Result<Peak> peak(std::span<const uint8_t> wasm, const wasm::PreparedModule& prepared,
                    const std::stop_token& stop = {}) const;

  const WasmOptOptions& options() const { return wasm_opt_->options(); }

 private:
  explicit Optimiser(std::unique_ptr<WasmOpt> wasm_opt) : wasm_opt_(std::move(wasm_opt)) {}
  Status check_bytes(std::span<const uint8_t> wasm) const;

  const std::unique_ptr<WasmOpt> wasm_opt_;
};

}  // namespace spore::code
