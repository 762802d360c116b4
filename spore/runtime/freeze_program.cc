// Runtime::freeze_program: which functions of a program are rewritten so that it can be frozen, and how that
// is found out.
#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <utility>

#include "spore/engine/trap.h"
#include "spore/host/wasi_abi.h"
#include "spore/runtime/runtime.h"

namespace spore::runtime {

using engine::Tier;

namespace {

constexpr std::string_view kWaitsMadeBy = "spore waits 1";

Digest waits_key(const Digest& module) {
  const std::string text = fmt::format("functions that this program waits in\n{}\n", kWaitsMadeBy);
  return sha256({{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, module.bytes});
}

std::vector<uint32_t> joined(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  std::vector<uint32_t> both;
  std::ranges::set_union(a, b, std::back_inserter(both));
  return both;
}

bool writes_to_files(const host::WasiConfig* wasi) {
  return wasi != nullptr && std::ranges::any_of(wasi->options().directories, &host::WasiDirectory::writable);
}

bool answers_as_library(const wasm::ModuleFacts& facts, const program::FreezeOptions& freeze) {
  return !program::is_started(facts, freeze) && wasm::exports_function(facts, program::kRequestExport);
}

// A host function may do something outside of the guest's world, and would do it again.
bool imports_others_functions(const wasm::ModuleFacts& facts) {
  return std::ranges::any_of(facts.imports, [](const wasm::ModuleFacts::Import& import) {
    return import.module != host::wasi::kModule && import.module != "spore";
  });
}

bool overflowed_stack(const Status& status) {
  const engine::TrapInfo* trap = engine::trap_info(status);
  return trap != nullptr && trap->kind == engine::TrapKind::kStackOverflow;
}

}  // namespace

std::vector<uint32_t> Runtime::remembered_wait(const Digest& module) const {
  if (cache_ == nullptr) return {};
  const auto kept = cache_->load_module(waits_key(module), kWaitsMadeBy);
  if (!kept || kept->size() % sizeof(uint32_t) != 0) return {};
  std::vector<uint32_t> functions(kept->size() / sizeof(uint32_t));
  std::memcpy(functions.data(), kept->data(), kept->size());
  if (std::ranges::adjacent_find(functions, std::greater_equal()) != functions.end()) return {};
  return functions;
}

void Runtime::remember_wait(const Digest& module, std::span<const uint32_t> functions) {
  if (cache_ == nullptr) return;
  const auto* bytes = reinterpret_cast<const uint8_t*>(functions.data());
  cache_->store_module(waits_key(module), module, kWaitsMadeBy, {bytes, functions.size_bytes()}, 0);
}

// Of the program as it is, for which the code that is ready first will do.  Empty: all of it has to be
// rewritten.
Result<std::vector<uint32_t>> Runtime::find_wait(std::string_view name, std::span<const uint8_t> bytes,
                                                 const wasm::ModuleFacts& facts, const ModuleOptions& module,
                                                 const program::FreezeOptions& freeze,
                                                 const FreezeProgramOptions& options) {
  if (options.progress) options.progress("compiling");
  ModuleOptions as_it_is = module;
  const bool baseline = wasm::check_proposals(facts, wasm::kProposalsBaseline).ok();
  const std::optional<Tier> tier = tier_of(module);
  // The interpreter does not tell what is on its stack, and the peak has other functions.
  if (!tier || tier == Tier::kInterpreter || tier == Tier::kPeak) {
    as_it_is.tier = baseline ? Tier::kBaseline : Tier::kOptimised;
  }
  const std::string watched = fmt::format("{} (watched, {})", name, watched_.fetch_add(1) + 1);
  const auto loaded = SPORE_TRY(load_module(watched, bytes, as_it_is));
  if (options.progress) options.progress("watching");
  Status bound = check_bound(*loaded);
  Result<std::vector<uint32_t>> functions =
      bound.ok() ? program::Program::find_wait(*loaded->blueprint_, freeze) : std::move(bound);
  static_cast<void>(unload_module(watched));
  if (functions.ok()) return functions;
  // With other code it may come further.
  if (overflowed_stack(functions.status())) return std::vector<uint32_t>();
  return std::move(functions).status().with_context(name);
}

// Frees the name again if it cannot be frozen.
Result<FrozenProgram> Runtime::freeze_loaded(std::shared_ptr<const Module> module,
                                             const program::FreezeOptions& freeze,
                                             const FreezeProgramOptions& options, program::Source source) {
  if (options.progress) options.progress("starting");
  Result<std::shared_ptr<const program::Program>> program = this->freeze(*module, freeze);
  if (!program.ok()) {
    static_cast<void>(unload_module(module->name()));
    return std::move(program).status();
  }
  return FrozenProgram{
      .module = std::move(module), .program = std::move(program).value(), .source = std::move(source)};
}

Result<FrozenProgram> Runtime::freeze_rewritten(std::string_view name, std::span<const uint8_t> bytes,
                                                const ModuleOptions& module,
                                                const program::FreezeOptions& freeze,
                                                const FreezeProgramOptions& options,
                                                std::span<const uint32_t> functions) {
  if (options.progress) options.progress("rewriting");
  const code::Rewritten rewritten = SPORE_TRY(rewrite_program(bytes, {}, functions));
  if (options.progress) options.progress("compiling");
  ModuleOptions starting = module;
  starting.one_call = true;
  // Whether it waits in the functions that were rewritten is seen by its stack.
  starting.compiled = !functions.empty();
  if (starting.compiled && tier_of(module) == Tier::kInterpreter) starting.tier = Tier::kBaseline;
  auto loaded = SPORE_TRY(load_module(name, *rewritten.wasm, starting));
  program::FreezeOptions how = freeze;
  how.functions = rewritten.functions;
  return freeze_loaded(std::move(loaded), how, options,
                       {.wasm = rewritten.wasm,
                        .original = rewritten.original,
                        .rewriter = fmt::format("binaryen {}", code::kBinaryenVersion),
                        .rewriter_arguments = fmt::format("version {}", code::kRewriterVersion)});
}

Result<FrozenProgram> Runtime::freeze_program(std::string_view name, std::span<const uint8_t> bytes,
                                              const ModuleOptions& module,
                                              const program::FreezeOptions& freeze,
                                              const FreezeProgramOptions& options) {
  SPORE_TRY(check_open());
  bool all = options.rewrite_all || writes_to_files(module.wasi.get());
  // What was seen with other arguments will often do; whether it does is found out when it is frozen.  A
  // module that is remembered was looked at then.
  const Digest hash = sha256(bytes);
  std::vector<uint32_t> functions;
  const bool others = !module.host.freeze()->empty() || !options_.host.freeze()->empty();
  if (!all && !freeze.init.has_value() && (options.may_start_again || !others)) {
    functions = remembered_wait(hash);
  }
  const bool remembered = !functions.empty();
  if (!remembered) {
    const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(bytes, options_.module_bytes_max));
    if (answers_as_library(facts, freeze)) {
      if (options.progress) options.progress("compiling");
      ModuleOptions starting = module;
      starting.one_call = true;
      return freeze_loaded(SPORE_TRY(load_module(name, bytes, starting)), freeze, options,
                           {.wasm = std::make_shared<const std::vector<uint8_t>>(bytes.begin(), bytes.end()),
                            .original = {},
                            .rewriter = {},
                            .rewriter_arguments = {}});
    }
    SPORE_TRY(code::check_asyncifiable(facts).with_context(name));
    all = all || (imports_others_functions(facts) && !options.may_start_again);
    if (!all) functions = SPORE_TRY(find_wait(name, bytes, facts, module, freeze, options));
  }
  for (int attempt = 0;; attempt++) {
    Result<FrozenProgram> frozen = freeze_rewritten(name, bytes, module, freeze, options, functions);
    const auto* wait =
        frozen.ok() ? nullptr : dynamic_cast<const program::WaitInfo*>(frozen.status().attachment());
    if (frozen.ok() && !functions.empty() && (!remembered || attempt > 0)) remember_wait(hash, functions);
    if (wait == nullptr) return frozen;
    // One that waits elsewhere each time is not worth more of this.
    constexpr int kAttemptsMax = 3;
    const bool again = attempt < kAttemptsMax && !wait->functions.empty();
    functions = again ? joined(functions, wait->functions) : std::vector<uint32_t>();
  }
}

}  // namespace spore::runtime
