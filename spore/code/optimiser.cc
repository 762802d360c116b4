#include "spore/code/optimiser.h"

#include <algorithm>
#include <array>
#include <span>

#include "spore/base/elapsed.h"
#include "spore/base/hash.h"
#include "spore/base/utf8.h"
#include "spore/wasm/peak.h"

namespace spore::code {
namespace {

using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

void append(Words& words, std::span<const char* const> more) {
  words.insert(words.end(), more.begin(), more.end());
}
void append(Words& words, std::initializer_list<const char*> more) {
  append(words, std::span(more.begin(), more.size()));
}

// --- what wasm-opt is asked for ---------------------------------------------------------------------------
//
// Each pass by name: -O2, -O3 and -Oz come with `memory-packing`, and version 108 cannot leave out a pass of
// theirs.  It splits data at its zeros and drops what it finds to be zeros.  These modules will be prepared,
// and what is prepared has its segments known by number: each has a flag that says whether code dropped it
// (`spore:dN`), and its bytes are told to be written into fresh memories.  Of passive ones it makes several,
// and adds a global of its own for what dropping meant.  What it would save, an image saves anyway: its pages
// of zeros take no space.
//
// Nothing is inlined, and no argument dropped, by a pass that optimises as it goes along (`-optimizing`):
// that one folds and removes what the caller may have asked to leave.

// As -O3 and -Oz do it, in their order.  Between those stand passes that not all have.
constexpr std::array kBranches{
    "--remove-unused-names",   "--remove-unused-brs", "--remove-unused-names",
    "--optimize-instructions", "--pick-load-signs",
};
constexpr std::array kLocals{
    "--code-pushing",
    "--simplify-locals-nostructure",
    "--vacuum",
    "--reorder-locals",
    "--remove-unused-brs",
    "--merge-locals",
    "--coalesce-locals",
    "--local-cse",
    "--simplify-locals",
    "--vacuum",
    "--reorder-locals",
    "--coalesce-locals",
    "--reorder-locals",
    "--vacuum",
};
constexpr std::array kBlocks{
    "--merge-blocks",
    "--remove-unused-brs",
    "--remove-unused-names",
    "--merge-blocks",
};
constexpr std::array kInstructions{
    "--optimize-instructions",
    "--rse",
    "--vacuum",
};

constexpr uint32_t kInlineDefault = 128;
constexpr uint32_t kInlineAggressive = 64;
// Smaller than a call of them: these are inlined wherever they are called.  With 128, code becomes three
// times as long.
constexpr uint32_t kInlineAlways = 2;

struct Plan {
  std::string_view name;
  Words passes;
};

void add_levels(Words& words, OptimisePreset preset) {
  if (preset == OptimisePreset::kAggressive) {
    append(words, {"--optimize-level=2", "--shrink-level=2"});
  } else {
    append(words, {"--optimize-level=3", "--shrink-level=0"});
  }
}

// What a run ends with, and the next one does not see: it reads other code than it would write.
void add_stack_ir(Words& words) { append(words, {"--generate-stack-ir", "--optimize-stack-ir"}); }

Words removal() {
  Words words{"--remove-unused-module-elements", "--dce", "--vacuum"};
  add_stack_ir(words);
  return words;
}

Words folding(OptimisePreset preset) {
  Words words;
  add_levels(words, preset);
  append(words, {"--duplicate-function-elimination", "--code-folding", "--merge-blocks",
                 "--remove-unused-brs", "--remove-unused-names"});
  add_stack_ir(words);
  return words;
}

// Of Binaryen's three limits, one-caller is the one that makes code smaller: the function itself goes.
// Flexible, of functions without loops and calls, only counts for -O3, and at 128 made SQLite 8 % larger.
Words inlining(uint32_t max) {
  Words words{"--optimize-level=2",
              fmt::format("--always-inline-max-function-size={}", std::min(max, kInlineAlways)),
              "--flexible-inline-max-function-size=0",
              fmt::format("--one-caller-inline-max-function-size={}", max), "--inlining"};
  add_stack_ir(words);
  return words;
}

Words optimisation(const OptimiseOptions& how) {
  Words words;
  add_levels(words, how.preset);
  if (how.fold) append(words, {"--duplicate-function-elimination"});
  append(words, {"--once-reduction", "--dae", "--simplify-globals"});
  if (how.dce) append(words, {"--dce"});
  append(words, {"--ssa-nomerge"});
  append(words, kBranches);
  append(words, {"--precompute-propagate"});
  append(words, kLocals);
  if (how.fold) append(words, {"--code-folding"});
  append(words, kBlocks);
  append(words, {"--precompute-propagate"});
  append(words, kInstructions);
  if (how.fold) append(words, {"--duplicate-function-elimination"});
  if (how.fold && how.preset == OptimisePreset::kAggressive) append(words, {"--merge-similar-functions"});
  if (how.dce) append(words, {"--remove-unused-module-elements"});
  append(words, {"--directize"});
  add_stack_ir(words);
  return words;
}

std::vector<Plan> plans_for(const OptimiseOptions& how) {
  // DWARF tells offsets in code that change.
  std::vector<Plan> plans{{"read and write", {"--strip-dwarf"}}};
  if (how.preset == OptimisePreset::kMinimal) return plans;
  const bool aggressive = how.preset == OptimisePreset::kAggressive;
  const uint32_t max_inline = how.max_inline.value_or(aggressive ? kInlineAggressive : kInlineDefault);
  if (how.dce) plans.push_back({"remove unused", removal()});
  if (how.fold) plans.push_back({"fold", folding(how.preset)});
  if (max_inline > 0) plans.push_back({"inline", inlining(max_inline)});
  plans.push_back({"optimise", optimisation(how)});
  if (aggressive) plans.push_back({"optimise again", optimisation(how)});
  return plans;
}

// -O3 of version 108, with little inlining, and without `memory-packing` (above),
// `duplicate-function-elimination` and `duplicate-import-elimination`: of two functions that are the same, a
// table must be able to tell which one it holds.  Nor with `dae`, which made more modules slower than faster.
// Inlining is by little, also of functions with one caller, of which -O3 inlines all: what makes a large
// function larger makes Cranelift spill more, and SQLite's interpreter took up to twice as long.
//
// Without `remove-unused-module-elements`: an import that nobody provides is told in every tier.
//
// And without `precompute`, nor what runs it inside (the passes that end in `-optimizing`): it computes what
// is constant on this machine, where 0/0 has another sign than in the other tiers.
Words peak_passes() {
  Words words;
  add_levels(words, OptimisePreset::kDefault);
  append(words, {"--always-inline-max-function-size=10", "--flexible-inline-max-function-size=20",
                 "--one-caller-inline-max-function-size=20", "--strip-dwarf", "--once-reduction",
                 "--ssa-nomerge", "--dce"});
  append(words, kBranches);
  append(words, kLocals);
  append(words, {"--code-folding"});
  append(words, kBlocks);
  append(words, kInstructions);
  append(words, {"--inlining", "--simplify-globals", "--optimize-instructions", "--simplify-locals",
                 "--vacuum", "--reorder-locals", "--coalesce-locals", "--merge-blocks", "--remove-unused-brs",
                 "--remove-unused-names", "--vacuum", "--directize"});
  add_stack_ir(words);
  return words;
}

std::string peak_made_by() {
  return fmt::format("wasm-opt {}; optimiser {}; peak", kBinaryenVersion, kOptimiserVersion);
}

Digest peak_key(const Digest& prepared) {
  const std::string text = fmt::format("spore peak module\n{}\n", peak_made_by());
  return sha256({{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, prepared.bytes});
}

// --- what is asked and given ------------------------------------------------------------------------------

Status check_options(const OptimiseOptions& how) {
  if (!how.max_inline) return {};
  if (how.preset == OptimisePreset::kMinimal) {
    return Status::invalid_argument("the preset 'minimal' inlines nothing: it takes no size up to which");
  }
  if (*how.max_inline > OptimiseOptions::kMaxInlineMax) {
    return Status::invalid_argument("functions of size {} are to be inlined, allowed is up to {}",
                                    *how.max_inline, OptimiseOptions::kMaxInlineMax);
  }
  return {};
}

Status check_readable(const wasm::ModuleFacts& facts) {
  const uint32_t others = facts.proposals & ~kProposalsWasmOpt;
  if (others == 0) return {};
  return Status::unsupported("it uses {}, which wasm-opt {} is not given: it knows none or an early draft",
                             wasm::proposal_names(others), kBinaryenVersion);
}

using Exports = std::vector<std::pair<std::string_view, std::string_view>>;

Exports exports_of(const wasm::ModuleFacts& facts) {
  Exports exports;
  for (const wasm::ModuleFacts::Export& entry : facts.exports) exports.emplace_back(entry.name, entry.type);
  std::ranges::sort(exports);
  return exports;
}

// Empty: none.
std::string export_that_differs(const wasm::ModuleFacts& made, const wasm::ModuleFacts& original) {
  const Exports before = exports_of(original);
  const Exports after = exports_of(made);
  const auto missing_of = [](const Exports& these, const Exports& those) {
    return std::ranges::find_if(these,
                                [&](const auto& entry) { return !std::ranges::binary_search(those, entry); });
  };
  if (const auto lost = missing_of(before, after); lost != before.end()) {
    return fmt::format("it does not export '{}' any more as {}", printable(lost->first), lost->second);
  }
  if (const auto added = missing_of(after, before); added != after.end()) {
    return fmt::format("it exports '{}', too, as {}", printable(added->first), added->second);
  }
  return {};
}

Result<wasm::ModuleFacts> check_result(std::span<const uint8_t> wasm, const wasm::ModuleFacts& original,
                                       uint64_t bytes_max) {
  const auto wrong = [](std::string_view how) {
    return Status::internal("what wasm-opt made of it is of no use: {}", how);
  };
  Result<wasm::ModuleFacts> facts = wasm::inspect(wasm, bytes_max);
  if (!facts.ok()) return wrong(facts.status().message());
  if (const std::string other = export_that_differs(facts.value(), original); !other.empty()) {
    return wrong(other);
  }
  if (const std::string added = what_was_added(facts.value(), original); !added.empty()) return wrong(added);
  return facts;
}

Words arguments_for(const wasm::ModuleFacts& facts, std::span<const std::string> passes) {
  Words words = wasm_opt_features(facts.proposals);
  words.insert(words.end(), passes.begin(), passes.end());
  append(words, {"-", "-o", "-"});
  return words;
}

constexpr std::array kPresets{
    std::pair{OptimisePreset::kDefault, std::string_view("default")},
    std::pair{OptimisePreset::kAggressive, std::string_view("aggressive")},
    std::pair{OptimisePreset::kMinimal, std::string_view("minimal")},
};

}  // namespace

std::string_view preset_name(OptimisePreset preset) {
  return std::ranges::find(kPresets, preset, [](const auto& named) { return named.first; })->second;
}

Result<OptimisePreset> parse_preset(std::string_view name) {
  for (const auto& [preset, preset_name] : kPresets) {
    if (name == preset_name) return preset;
  }
  return Status::invalid_argument("there is no preset '{}' (default, aggressive, minimal)", printable(name));
}

// --- the optimiser ----------------------------------------------------------------------------------------

Result<std::unique_ptr<Optimiser>> Optimiser::create(WasmOptOptions options) {
  constexpr WasmOptTask kTask{.doing = "optimising", .verb = "optimise", .done = "optimised"};
  std::unique_ptr<WasmOpt> wasm_opt = SPORE_TRY(WasmOpt::create(std::move(options), kTask));
  return std::unique_ptr<Optimiser>(new Optimiser(std::move(wasm_opt)));
}

Status Optimiser::check_bytes(std::span<const uint8_t> wasm) const {
  if (wasm.size() <= options().module_bytes_max) return {};
  return Status::limit_exceeded(
      "the module has {} bytes, at most {} are optimised (rewrite_module_bytes_max={})", wasm.size(),
      options().module_bytes_max, options().module_bytes_max);
}

Result<Optimised> Optimiser::optimise(std::span<const uint8_t> wasm, const OptimiseOptions& how,
                                      const std::stop_token& stop, const OnStep& on_step) const {
  SPORE_TRY(check_options(how));
  SPORE_TRY(check_bytes(wasm));
  const wasm::ModuleFacts original = SPORE_TRY(wasm::inspect(wasm, options().module_bytes_max));
  SPORE_TRY(check_readable(original));
  SPORE_TRY(wasm_opt_->check_version(stop));
  Optimised optimised;
  for (const Plan& plan : plans_for(how)) {
    const Clock::time_point begin = Clock::now();
    const std::span<const uint8_t> from =
        optimised.steps.empty() ? wasm : std::span<const uint8_t>(optimised.wasm);
    std::vector<uint8_t> made =
        SPORE_TRY(wasm_opt_->run(arguments_for(original, plan.passes), from, stop, [] {}));
    const wasm::ModuleFacts facts = SPORE_TRY(check_result(made, original, options().output_bytes_max));
    optimised.wasm = std::move(made);
    optimised.steps.push_back({.name = plan.name,
                               .functions = facts.functions - facts.functions_imported,
                               .wasm_bytes = facts.module_bytes,
                               .code_bytes = facts.code_bytes,
                               .ns = ns_since(begin)});
    if (on_step) SPORE_TRY(on_step(optimised.steps.back(), optimised.wasm));
  }
  return optimised;
}

Result<Peak> Optimiser::peak(std::span<const uint8_t> wasm, const wasm::PreparedModule& prepared,
                             const std::stop_token& stop) const {
  const Clock::time_point begin = Clock::now();
  SPORE_TRY(check_bytes(wasm));
  const std::string made_by = peak_made_by();
  const Digest key = peak_key(sha256(wasm));
  const auto load = [&]() -> std::optional<Peak> {
    if (options().cache == nullptr) return std::nullopt;
    std::optional<std::vector<uint8_t>> kept = options().cache->load_module(key, made_by);
    if (!kept) return std::nullopt;
    return Peak{.wasm = std::make_shared<const std::vector<uint8_t>>(*std::move(kept)),
                .from_cache = true,
                .ns = ns_since(begin)};
  };
  if (std::optional<Peak> kept = load()) return *std::move(kept);
  std::optional<Flight> flight;  // other threads of this process wait for it, too
  if (options().cache != nullptr) {
    flight.emplace(options().cache->flight(key, options().wall_max, [&] { return stop.stop_requested(); }));
    if (stop.stop_requested()) return Status::cancelled("optimising was cancelled");
    if (std::optional<Peak> kept = load()) return *std::move(kept);
  }
  const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(wasm, options().module_bytes_max));
  SPORE_TRY(check_readable(facts));
  SPORE_TRY(wasm_opt_->check_version(stop));
  Words passes = peak_passes();
  if (has_names(facts)) passes.insert(passes.begin(), "-g");
  std::vector<uint8_t> made = SPORE_TRY(wasm_opt_->run(arguments_for(facts, passes), wasm, stop, [] {}));
  SPORE_TRY(wasm::check_peak(made, wasm, prepared, options().output_bytes_max));
  if (options().cache != nullptr) {
    options().cache->store_module(key, prepared.facts.hash, made_by, made, ns_since(begin));
  }
  return Peak{.wasm = std::make_shared<const std::vector<uint8_t>>(std::move(made)),
              .from_cache = false,
              .ns = ns_since(begin)};
}

}  // namespace spore::code
