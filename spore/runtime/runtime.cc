#include "spore/runtime/runtime.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "spore/base/elapsed.h"
#include "spore/base/metrics.h"
#include "spore/base/utf8.h"
#include "spore/engine/signals.h"
#include "spore/engine/ticker.h"
#include "spore/wasm/prepared_file.h"

namespace spore::runtime {

using engine::Tier;
using host::Instance;

namespace {

// Nanoseconds of a scope, added to a counter; nothing when off.
class Timing {
 public:
  Timing(bool on, std::atomic<uint64_t>& total) : on_(on), total_(total) {
    if (on_) begin_ = std::chrono::steady_clock::now();
  }
  ~Timing() { total_.fetch_add(elapsed_ns(), std::memory_order_relaxed); }
  Timing(const Timing&) = delete;
  Timing& operator=(const Timing&) = delete;

  uint64_t elapsed_ns() const {
    if (!on_) return 0;
    return static_cast<uint64_t>((std::chrono::steady_clock::now() - begin_).count());
  }

 private:
  bool on_;
  std::atomic<uint64_t>& total_;
  std::chrono::steady_clock::time_point begin_;
};

// spore.log(address, length): a line for the Runtime's log, within log_bytes_max a call.
void define_log(host::HostFunctions& host, const Log& log) {
  host.define("spore", "log", [log](host::Caller& caller, std::string_view line) -> Status {
    SPORE_TRY(caller.charge_log(line.size()));
    log.write(LogLevel::kInfo, "guest: {}", printable(line, 4 * line.size()));
    return {};
  });
}

Result<Instance> completed(Result<Instance> instance, const wasm::PreparedModule* prepared) {
  if (!instance.ok()) return instance;
  SPORE_TRY(cell::complete(instance.value(), prepared));
  return instance;
}

std::shared_ptr<const engine::HostFunctions> merge(std::shared_ptr<const engine::HostFunctions> base,
                                                   const host::HostFunctions& more) {
  const std::shared_ptr<const engine::HostFunctions> added = more.freeze();
  if (added->empty()) return base;  // as of most modules: shared
  host::HostFunctions merged;
  for (const engine::HostFunction& function : *base) merged.define_raw(function);
  for (const engine::HostFunction& function : *added) merged.define_raw(function);
  return merged.freeze();
}

Result<std::shared_ptr<code::Compiler>> make_compiler(const RuntimeOptions& options) {
  if (options.compiler != nullptr) return options.compiler;
  auto here = std::make_unique<code::InProcessCompiler>(options.compile.limits);
  if (options.compile_in == CompileIn::kProcess) return std::shared_ptr<code::Compiler>(std::move(here));
  Result<std::unique_ptr<code::HelperCompiler>> helper = code::HelperCompiler::create(options.compile);
  if (options.compile_in == CompileIn::kHelper) {
    return std::shared_ptr<code::Compiler>(SPORE_TRY(std::move(helper)));
  }
  if (!helper.ok()) {
    options.log.write(LogLevel::kWarning, "modules are compiled in this process: {}",
                      helper.status().message());
    return std::shared_ptr<code::Compiler>(std::move(here));
  }
  return std::shared_ptr<code::Compiler>(
      std::make_shared<code::FallbackCompiler>(std::move(helper).value(), std::move(here)));
}

std::shared_ptr<code::CodeCache> open_code_cache(const RuntimeOptions& options) {
  if (!options.keep_code || options.code_cache.directory.empty()) return nullptr;
  code::CodeCacheOptions cache = options.code_cache;
  if (cache.key_file.empty()) cache.key_file = cache.directory.parent_path() / "code.key";
  cache.log = options.log;
  return code::CodeCache::open(std::move(cache));
}

void write_tier_metrics(const std::vector<code::ModuleSteps>& tiers, MetricsWriter& metrics) {
  const auto samples = [&](const auto& value) {
    for (const code::ModuleSteps& module : tiers) metrics.sample({{"module", module.module}}, value(module));
  };
  metrics.gauge("spore_module_tier", "Tier of a module's code.");
  samples([](const auto& module) { return static_cast<int>(module.tier); });
  metrics.counter("spore_hand_overs_total", "Instances that went over to better code.");
  samples([](const auto& module) { return module.hand_overs.done; });
  metrics.counter("spore_hand_over_seconds_total", "Time of going over.");
  samples([](const auto& module) { return seconds_of_ns(module.hand_overs.ns); });
  metrics.counter("spore_hand_overs_refused_total", "Instances that could not go over.");
  samples([](const auto& module) { return module.hand_overs.refused; });
  metrics.counter("spore_tiers_refused_total", "Tiers that could not take a module.");
  samples([](const auto& module) { return module.refused.size(); });
  const auto lazy = [&](const auto& value) {
    for (const code::ModuleSteps& module : tiers) {
      if (module.lazy) metrics.sample({{"module", module.module}}, value(*module.lazy));
    }
  };
  metrics.gauge("spore_interpreted_functions", "Functions of a module that is, or was, interpreted.");
  lazy([](const engine::LazyStatistics& of) { return of.functions; });
  metrics.gauge("spore_interpreted_functions_translated", "Of these, such as were needed.");
  lazy([](const engine::LazyStatistics& of) { return of.translated; });
  metrics.counter("spore_interpreted_calls_total", "Calls of a module while it was interpreted.");
  lazy([](const engine::LazyStatistics& of) { return of.calls; });
  metrics.counter("spore_interpreted_calls_translating_total",
                  "Of these, such as came to a function that was not translated yet.");
  lazy([](const engine::LazyStatistics& of) { return of.calls_translating; });
}

}  // namespace

std::string RuntimeStatistics::metrics_text() const {
  MetricsWriter metrics;
  metrics.gauge("spore_modules_loaded", "Modules loaded.").sample(modules_loaded);
  metrics.counter("spore_modules_compiled_total", "Modules compiled.").sample(modules_compiled);
  metrics.counter("spore_compile_seconds_total", "Time of compiling.").sample(seconds_of_ns(compile_ns));
  metrics.counter("spore_instances_created_total", "Instances made outside of the pool.")
      .sample(instances_created);
  metrics.counter("spore_instances_failed_total", "Instances that could not be made outside of the pool.")
      .sample(instances_failed);
  metrics.counter("spore_instantiate_seconds_total", "Time of making those instances.")
      .sample(seconds_of_ns(instantiate_ns));
  code.write_metrics(metrics);
  write_tier_metrics(tiers, metrics);
  pool.write_metrics(metrics);
  cells.write_metrics(metrics);
  metrics.counter("spore_slots_reserved_total", "Address ranges reserved for memories.")
      .sample(slots.reserved);
  metrics.counter("spore_slots_reused_total", "Address ranges used again.").sample(slots.reused);
  metrics.gauge("spore_slots_kept", "Cleared address ranges that wait for a memory.").sample(slots.kept);
  metrics.counter("spore_scratch_allocated_total", "Scratch buffers taken from the heap.")
      .sample(scratch.allocated);
  metrics.counter("spore_scratch_reused_total", "Scratch buffers used again.").sample(scratch.reused);
  metrics.counter("spore_scratch_oversize_total", "Scratch buffers too large to be kept.")
      .sample(scratch.oversize);
  metrics.gauge("spore_scratch_held_bytes", "Scratch memory that threads keep.").sample(scratch.bytes_held);
  metrics.gauge("spore_scratch_used_bytes", "Scratch memory in use.").sample(scratch.bytes_in_use);
  return metrics.take();
}

void RuntimeStatistics::write_json(JsonWriter& json) const {
  json.field("modules_loaded", modules_loaded)
      .field("modules_compiled", modules_compiled)
      .field("compile_ns", compile_ns)
      .field("instances_created", instances_created)
      .field("instances_failed", instances_failed)
      .field("instantiate_ns", instantiate_ns);
  json.begin_object("slots")
      .field("reserved", slots.reserved)
      .field("reused", slots.reused)
      .field("kept", slots.kept)
      .end_object();
  json.begin_object("scratch")
      .field("allocated", scratch.allocated)
      .field("reused", scratch.reused)
      .field("oversize", scratch.oversize)
      .field("returned_over_capacity", scratch.returned_over_capacity)
      .field("bytes_held", scratch.bytes_held)
      .field("bytes_in_use", scratch.bytes_in_use)
      .end_object();
  json.begin_object("code");
  code.write_json(json);
  json.end_object().begin_array("tiers");
  for (const code::ModuleSteps& module : tiers) {
    json.begin_object();
    module.write_json(json);
    json.end_object();
  }
  json.end_array().begin_object("pool");
  pool.write_json(json);
  json.end_object().begin_object("cells");
  cells.write_json(json);
  json.end_object();
}

Result<std::unique_ptr<Runtime>> Runtime::create(RuntimeOptions options) {
  std::unique_ptr<Runtime> runtime(new Runtime(std::move(options)));
  const RuntimeOptions& used = runtime->options_;
  engine::EngineOptions engine_options{.tier = Tier::kInterpreter,
                                       .fuel = used.fuel,
                                       .wasm_stack_bytes = used.wasm_stack_bytes,
                                       .parallel_compile = used.parallel_compile,
                                       .compact_memories = used.compact_memories,
                                       .compact_code = used.compact_code};
  for (const Tier tier : {Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak}) {
    engine_options.tier = tier;
    runtime->engines_.push_back(
        SPORE_TRY(engine::Engine::create(engine_options, runtime->ticker_, runtime->slots_)));
  }
  SPORE_TRY(engine::self_test_traps());
  runtime->pool_ = SPORE_TRY(cell::Pool::create(used.pool));
  runtime->cells_ = SPORE_TRY(cell::Cells::create(used.cells));
  std::shared_ptr<code::Compiler> compiler = SPORE_TRY(make_compiler(used));
  runtime->cache_ = open_code_cache(used);
  code::WasmOptOptions wasm_opt = used.rewrite;
  wasm_opt.cache = runtime->cache_;
  wasm_opt.helper = used.compile.helper;
  // Where there is no helper, there is no peak: whoever asks for it is told.
  Result<std::unique_ptr<code::Optimiser>> optimiser = code::Optimiser::create(wasm_opt);
  if (!optimiser.ok() && optimiser.code() != Code::kUnavailable) return std::move(optimiser).status();
  runtime->maker_ = std::make_shared<code::CodeMaker>(
      code::CodeMakerOptions{.compiler = std::move(compiler),
                             .optimiser = std::move(optimiser).value_or(nullptr),
                             .cache = runtime->cache_,
                             .queue_max = used.compile_queue_max,
                             .nice = used.compile_nice,
                             .log = used.log});
  Result<std::unique_ptr<code::Rewriter>> rewriter = code::Rewriter::create(std::move(wasm_opt));
  if (rewriter.ok()) {
    runtime->rewriter_ = std::move(rewriter).value();
  } else if (rewriter.code() == Code::kUnavailable) {
    runtime->no_rewriter_ = std::move(rewriter).status();  // whoever needs one is told
  } else {
    return std::move(rewriter).status();
  }
  code::LadderOptions ladder_options{.log = used.log};
  ladder_options.rules = {used.compile_after, used.tier_up, used.peak_after};
  ladder_options.drop_after_ms = used.drop_after_ms;
  ladder_options.peak_gain_percent = used.peak_gain_percent;
  ladder_options.keep_sources = used.peak != Peak::kOff;
  if (used.peak == Peak::kAuto) ladder_options.automatic_max = Tier::kPeak;
  runtime->ladder_ =
      std::make_unique<code::Ladder>(runtime->maker_, runtime->engines_, std::move(ladder_options));
  runtime->empty_wasi_ = SPORE_TRY(host::WasiConfig::create({}));
  return runtime;
}

Runtime::Runtime(RuntimeOptions options)
    : options_(std::move(options)),
      ticker_(std::make_shared<engine::Ticker>()),
      slots_(memory::SlotPool::create(options_.slots_kept_max)) {
  host::HostFunctions own;
  define_log(own, options_.log);
  host::define_wasi(own);
  host_ = merge(own.freeze(), options_.host);
}

Runtime::~Runtime() {
  if (cells_ != nullptr) cells_->close();
  if (pool_ != nullptr) pool_->close();
}

Status Runtime::check_open() const {
  if (closed_.load()) return Status::unavailable("this Runtime was closed");
  // Since the Runtime was made, the host may have put a signal handler over ours.
  if (engine::trap_handlers_replaced()) return engine::self_test_traps();
  return {};
}

std::optional<Tier> Runtime::tier_of(const ModuleOptions& options) const {
  return options.tier ? options.tier : options_.tier;
}

const engine::Engine& Runtime::engine_of(Tier tier) const { return *engines_[static_cast<size_t>(tier)]; }

// Saved code says itself which tier it is of.
Result<code::Made> Runtime::load_trusted_code(const code::Source& source,
                                              const ModuleOptions& options) const {
  const std::optional<Tier> tier = tier_of(options);
  const auto load = [&](const engine::Engine& engine) {
    return engine.load_trusted_code(options.trusted_code, source.hash, source.preparer);
  };
  const auto made = [](std::shared_ptr<const engine::CompiledCode> code) {
    return code::Made{.code = std::move(code), .origin = code::Origin::kCache, .ns = 0};
  };
  Result<std::shared_ptr<const engine::CompiledCode>> code = load(engine_of(tier.value_or(Tier::kOptimised)));
  if (!tier && code.code() == Code::kUnsupported) {
    Result<std::shared_ptr<const engine::CompiledCode>> other = load(engine_of(Tier::kBaseline));
    if (other.ok()) return made(std::move(other).value());
  }
  return made(SPORE_TRY(std::move(code)));
}

// Where no tier was asked for: the best that is there, or else that by which the first answer comes soonest.
Result<code::Made> Runtime::make_code(const Module& module, const code::Source& source,
                                      const ModuleOptions& options, std::string& why) {
  why = "asked for";
  if (!options.trusted_code.empty()) return load_trusted_code(source, options);
  const std::optional<Tier> tier = tier_of(options);
  if (tier) return maker_->make(engine_of(*tier), source);
  const auto found = [&](Tier of) -> std::optional<code::Made> {
    std::shared_ptr<const engine::CompiledCode> code = maker_->find(engine_of(of), source);
    if (code == nullptr) return std::nullopt;
    return code::Made{.code = std::move(code), .origin = code::Origin::kCache, .ns = 0};
  };
  const Tier highest = std::min(Tier::kOptimised, options.tier_max.value_or(Tier::kPeak));
  std::optional<code::Made> optimised;
  if (highest >= Tier::kOptimised) optimised = found(Tier::kOptimised);
  std::optional<code::Made> baseline;
  if (!optimised && highest >= Tier::kBaseline) baseline = found(Tier::kBaseline);
  const code::StartChoice choice = code::choose_start(
      {.code_bytes = module.facts_.code_bytes,
       .may_interpret = !options.compiled && may_interpret(module),
       .has_baseline = baseline.has_value(),
       .baseline_possible = wasm::check_proposals(module.facts_, wasm::kProposalsBaseline).ok(),
       .has_optimised = optimised.has_value(),
       .one_call = options.one_call || options.profile.has_value(),
       .earlier = earlier_run(module.facts_.hash, options)});
  why = choice.why;
  if (optimised) return *std::move(optimised);
  if (choice.tier == Tier::kBaseline && baseline) return *std::move(baseline);
  // What one tier cannot take, the next may.
  for (Tier at = std::min(choice.tier, highest);; at = static_cast<Tier>(static_cast<uint8_t>(at) + 1)) {
    Result<code::Made> made = maker_->make(engine_of(at), source);
    if (made.code() != Code::kUnsupported || at >= highest) return made;
    why = fmt::format("not {}: {}", engine::tier_name(at), made.status().message());
  }
}

namespace {

// What of its state the interpreter cannot have, or only at a cost that no deadline ends: the whole of a
// memory is mapped before its image is (docs/decisions/0013-interpreter.md).
bool is_interpretable(const wasm::PreparedModule& prepared) {
  constexpr uint64_t kMemoryBytesMax = uint64_t{256} << 20;
  uint64_t bytes = 0;
  for (const auto& memory : prepared.memories) {
    if (memory.pages_min > kMemoryBytesMax / memory.page_bytes) return false;
    bytes += memory.pages_min * memory.page_bytes;
  }
  return bytes <= kMemoryBytesMax &&
         std::ranges::none_of(prepared.tables, [](const auto& table) { return table.grows; });
}

}  // namespace

// Instances that could not leave the interpreter again do not begin there.
bool Runtime::may_interpret(const Module& module) const {
  return options_.interpret && module.facts_.code_bytes >= options_.interpret_bytes_min &&
         module.prepared_ != nullptr && module.prepared_->reset() == wasm::ResetMode::kInPlace &&
         module.prepared_->not_lifted.empty() && is_interpretable(*module.prepared_) &&
         wasm::check_proposals(module.facts_, wasm::kProposalsInterpreter).ok();
}

// --- earlier runs ---------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kRunsMadeBy = "spore runs 1";

struct KeptRun {
  uint32_t tier;
  uint32_t ms;
};

Digest run_key(const Digest& module) {
  const std::string text = fmt::format("how long the one call of this module took\n{}\n", kRunsMadeBy);
  return sha256({{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, module.bytes});
}

}  // namespace

// By a profile, that of the function whose calls take longest.
std::optional<code::EarlierRun> Runtime::earlier_run(const Digest& module,
                                                     const ModuleOptions& options) const {
  if (options.profile) {
    double us = 0;
    for (const code::Profile::Function& function : options.profile->functions)
      us = std::max(us, function.mean_us);
    us = std::min(us, code::Profile::kMeanUsMax);
    constexpr double kUsInMs = 1000;
    return code::EarlierRun{.tier = options.profile->tier, .ms = static_cast<uint64_t>(us / kUsInMs)};
  }
  if (!options.one_call || cache_ == nullptr) return std::nullopt;
  const auto kept = cache_->load_module(run_key(module), kRunsMadeBy);
  KeptRun run{};
  if (!kept || kept->size() != sizeof run) return std::nullopt;
  std::memcpy(&run, kept->data(), sizeof run);
  if (run.tier > static_cast<uint32_t>(Tier::kPeak)) return std::nullopt;
  return code::EarlierRun{.tier = static_cast<Tier>(run.tier), .ms = run.ms};
}

void Runtime::remember_run(const Module& module, Tier began, uint64_t ms) {
  if (cache_ == nullptr) return;
  const KeptRun run{.tier = static_cast<uint32_t>(began),
                    .ms = static_cast<uint32_t>(std::min<uint64_t>(ms, UINT32_MAX))};
  cache_->store_module(run_key(module.facts().hash), module.facts().hash, kRunsMadeBy,
                       {reinterpret_cast<const uint8_t*>(&run), sizeof run}, 0);
}

// Of a small module all is found out anew in less time than it takes to look.
constexpr size_t kKnownBytesMin = 4 * 1024;

// The name of what is known of a module in the code cache; nothing: it is not kept there.
std::optional<Digest> Runtime::facts_name(std::span<const uint8_t> bytes,
                                          const ModuleOptions& options) const {
  const bool worth_it = cache_ != nullptr && options.prepare && options.trusted_code.empty() &&
                        bytes.size() >= kKnownBytesMin && bytes.size() <= options_.module_bytes_max;
  return worth_it ? cache_->name_of(bytes) : std::nullopt;
}

bool Runtime::find_facts(Module& module, const Digest& name, std::span<const uint8_t> bytes) {
  const std::optional<std::vector<uint8_t>> facts = cache_->load_facts(name);
  if (!facts) return false;
  Result<wasm::PreparedModule> known = wasm::decode_prepared(*facts, bytes);
  if (!known.ok()) {
    options_.log.write(LogLevel::kWarning, "{}: facts in the code cache are not used: {}", module.name_,
                       known.status().message());
    return false;
  }
  module.facts_ = known->facts;
  module.prepared_ = std::make_shared<const wasm::PreparedModule>(std::move(known).value());
  return true;
}

std::shared_ptr<Module> Runtime::name_module(std::string_view name, const engine::Limits& limits,
                                             const ModuleOptions& options) {
  std::shared_ptr<Module> module(new Module);
  module->name_ = name;
  module->version_ = options.version;
  module->description_ = options.description;
  module->limits_ = options.limits.value_or(limits);
  return module;
}

Result<std::shared_ptr<const Module>> Runtime::load_module(std::string_view name,
                                                           std::span<const uint8_t> bytes,
                                                           const ModuleOptions& options) {
  SPORE_TRY(check_open());
  if (name.empty()) return Status::invalid_argument("a module needs a name");
  SPORE_TRY(check_room(name));  // before the compile, and again after it
  std::shared_ptr<Module> module = name_module(name, options_.limits, options);
  code::Source source{.wasm = bytes, .hash = {}, .preparer = options.prepare ? wasm::kPreparerVersion : 0};
  std::vector<uint8_t> prepared;  // where `source` lies, if it is not what was given
  code::Made made;
  std::string why;
  {
    const Timing timing(options_.metrics, compile_ns_);
    const std::optional<Digest> known = facts_name(bytes, options);
    if (known && find_facts(*module, *known, bytes)) {
      source.to_prepare = true;  // only if there is no code of it
    } else {
      prepared = SPORE_TRY(prepare_module(*module, bytes, options));
      if (!prepared.empty()) source.wasm = prepared;
    }
    source.hash = module->facts_.hash;
    SPORE_TRY(check_tier(module->facts_, tier_of(options)));
    source.facts = module->prepared_.get();
    made = SPORE_TRY(make_code(*module, source, options, why));
    if (known && !source.to_prepare && made.origin == code::Origin::kCompiler) {
      cache_->store_facts(*known, source.hash, wasm::encode_prepared(*module->prepared_));
    }
    module->compile_ns_ = timing.elapsed_ns();
  }
  code::OwnedSource owned{.wasm = nullptr,
                          .hash = source.hash,
                          .preparer = source.preparer,
                          .to_prepare = source.to_prepare,
                          .facts = module->prepared_};
  if (can_climb(made, options)) {
    if (prepared.empty()) prepared.assign(bytes.begin(), bytes.end());
    owned.wasm = std::make_shared<const std::vector<uint8_t>>(std::move(prepared));
  }
  return add_module(std::move(module), made, std::move(owned), options, std::move(why));
}

namespace {

Tier tier_max_of(snapshot::TierMax tier_max) {
  switch (tier_max) {
    case snapshot::TierMax::kNone: return Tier::kInterpreter;
    case snapshot::TierMax::kBasic: return Tier::kBaseline;
    case snapshot::TierMax::kAggressive: return Tier::kOptimised;
    case snapshot::TierMax::kMax: break;
  }
  return Tier::kPeak;
}

}  // namespace

Result<std::shared_ptr<const Module>> Runtime::load_image(std::string_view name,
                                                          const snapshot::Contents& contents,
                                                          const ModuleOptions& options) {
  SPORE_TRY(check_open());
  if (name.empty()) return Status::invalid_argument("a module needs a name");
  SPORE_TRY(check_room(name));
  std::shared_ptr<Module> module = name_module(name, options_.limits, options);
  const std::shared_ptr<const std::vector<uint8_t>> wasm(contents.prepared, &contents.prepared->wasm);
  wasm::PreparedModule prepared = wasm::facts_of(*contents.prepared);
  if (wasm->size() > options_.module_bytes_max) {
    return Status::limit_exceeded("the module of this image has {} bytes (module_bytes_max={})", wasm->size(),
                                  options_.module_bytes_max);
  }
  module->facts_ = prepared.facts;
  module->prepared_ = std::make_shared<const wasm::PreparedModule>(std::move(prepared));
  code::OwnedSource source{.wasm = wasm,
                           .hash = module->facts_.hash,
                           .preparer = wasm::kPreparerVersion,
                           .to_prepare = false,
                           .facts = module->prepared_};
  ModuleOptions with_image = options;
  if (with_image.wasi == nullptr && contents.manifest.wasi.has_value()) {
    with_image.wasi = SPORE_TRY(host::WasiConfig::create(*contents.manifest.wasi));
  }
  if (options_.profiles && !with_image.profile) with_image.profile = contents.profile;
  if (!with_image.tier_max) with_image.tier_max = tier_max_of(contents.manifest.tier_max);
  if (with_image.tier_max == Tier::kInterpreter && !tier_of(with_image)) with_image.tier = Tier::kInterpreter;
  SPORE_TRY(check_tier(module->facts_, tier_of(with_image)));
  code::Made made;
  std::string why;
  {
    const Timing timing(options_.metrics, compile_ns_);
    made = SPORE_TRY(make_code(*module, source.view(), with_image, why));
    module->compile_ns_ = timing.elapsed_ns();
  }
  if (!can_climb(made, with_image)) source.wasm = nullptr;
  return add_module(std::move(module), made, std::move(source), with_image, std::move(why));
}

bool Runtime::is_fixed(const ModuleOptions& options) const {
  return tier_of(options).has_value() || !options.trusted_code.empty();
}

// If not, the bytes are not needed any more.
bool Runtime::can_climb(const code::Made& made, const ModuleOptions& options) const {
  const Tier highest = std::min(options_.peak == Peak::kOff ? Tier::kOptimised : Tier::kPeak,
                                options.tier_max.value_or(Tier::kPeak));
  return !is_fixed(options) && made.code->engine().options().tier < highest;
}

Result<std::shared_ptr<const Module>> Runtime::add_module(std::shared_ptr<Module> module, code::Made made,
                                                          code::OwnedSource source,
                                                          const ModuleOptions& options, std::string why) {
  module->code_ = made.code;
  module->functions_ = merge(host_, options.host);
  // What is to be linked to others is compiled: many of them would have many memories.
  if (made.code->interpreted() != nullptr && !is_fixed(options) && source.wasm != nullptr &&
      !engine::check_imports(*made.code, *module->functions_).ok()) {
    const bool baseline = wasm::check_proposals(module->facts_, wasm::kProposalsBaseline).ok() ||
                          options.tier_max == Tier::kBaseline;
    made = SPORE_TRY(maker_->make(engine_of(baseline ? Tier::kBaseline : Tier::kOptimised), source.view()));
    module->code_ = made.code;
    why = "to be linked";
  }
  if (host::needs_wasi(*module->code_)) module->wasi_ = options.wasi != nullptr ? options.wasi : empty_wasi_;
  if (engine::check_imports(*module->code_, *module->functions_).ok()) {
    module->blueprint_ = std::make_shared<const cell::Blueprint>(
        cell::Blueprint{.name = module->name_,
                        .code = std::make_shared<engine::LiveBinding>(
                            SPORE_TRY(engine::Binding::create(module->code_, module->functions_))),
                        .prepared = module->prepared_,
                        .limits = module->limits_,
                        .wasi = module->wasi_});
  }

  // What it began with is kept for those that are linked to it, unless it is interpreted.
  if (module->blueprint_ != nullptr && made.code->interpreted() != nullptr) module->code_.reset();
  {
    const MutexLock lock(modules_mutex_);
    SPORE_TRY(check_room_locked(module->name_));
    modules_.emplace(module->name_, module);
  }
  if (module->blueprint_ == nullptr) return std::shared_ptr<const Module>(std::move(module));
  const bool fixed = is_fixed(options);
  ladder_->add({.name = module->name_,
                .source = std::move(source),
                .code = module->blueprint_->code,
                .functions = module->functions_,
                .fixed = fixed,
                .tier_max = options.tier_max.value_or(Tier::kPeak),
                .first = {.tier = made.code->engine().options().tier,
                          .why = std::move(why),
                          .origin = made.origin,
                          .make_ns = module->compile_ns_,
                          .at_ms = 0},
                .profile = options.profile});
  return std::shared_ptr<const Module>(std::move(module));
}

// What is to be compiled; nothing: the module as it is.
Result<std::vector<uint8_t>> Runtime::prepare_module(Module& module, std::span<const uint8_t> bytes,
                                                     const ModuleOptions& options) const {
  if (!options.prepare) {
    module.facts_ = SPORE_TRY(wasm::inspect(bytes, options_.module_bytes_max));
    // The names of what prepared modules keep for their host: linked to one, it must not ask for them.
    const auto reserved =
        std::ranges::find_if(module.facts_.imports, [](const wasm::ModuleFacts::Import& import) {
          return import.name.starts_with(wasm::kReservedPrefix);
        });
    if (reserved == module.facts_.imports.end()) return std::vector<uint8_t>();
    return Status::invalid_module("an import has the reserved name '{}'", printable(reserved->name));
  }
  wasm::PreparedModule made = SPORE_TRY(wasm::prepare(bytes, options_.module_bytes_max));
  module.facts_ = made.facts;
  std::vector<uint8_t> prepared = std::exchange(made.wasm, {});
  module.prepared_ = std::make_shared<const wasm::PreparedModule>(std::move(made));
  return prepared;
}

Status Runtime::check_room(std::string_view name) const {
  const MutexLock lock(modules_mutex_);
  return check_room_locked(name);
}

Status Runtime::check_room_locked(std::string_view name) const {
  const auto found = modules_.find(name);
  if (found != modules_.end()) {
    return Status::already_exists("a module '{}' is loaded already (hash {:.12})", printable(name),
                                  found->second->facts().hash.hex());
  }
  if (modules_.size() >= options_.modules_max) {
    return Status::limit_exceeded("{} modules are loaded (modules_max={})", modules_.size(),
                                  options_.modules_max);
  }
  return {};
}

// What another tier would take is not "left out": say so.
Status Runtime::check_tier(const wasm::ModuleFacts& facts, std::optional<Tier> tier) {
  SPORE_TRY(wasm::check_proposals(facts, wasm::kProposalsOptimised));
  uint32_t allowed = wasm::kProposalsOptimised;
  if (tier == Tier::kBaseline) allowed = wasm::kProposalsBaseline;
  if (tier == Tier::kInterpreter) allowed = wasm::kProposalsInterpreter;
  if (wasm::check_proposals(facts, allowed).ok()) return {};
  return Status::unsupported("the {} cannot take this module: it uses {} (try tier=optimised)",
                             tier == Tier::kInterpreter ? "interpreter" : "baseline compiler",
                             wasm::proposal_names(facts.proposals & ~allowed));
}

Result<std::shared_ptr<const Module>> Runtime::module(std::string_view name) const {
  const MutexLock lock(modules_mutex_);
  const auto found = modules_.find(name);
  if (found == modules_.end()) return Status::not_found("no module '{}' is loaded", name);
  return found->second;
}

std::vector<std::shared_ptr<const Module>> Runtime::list_modules() const {
  const MutexLock lock(modules_mutex_);
  std::vector<std::shared_ptr<const Module>> modules;
  for (const auto& [name, module] : modules_) modules.push_back(module);
  return modules;
}

std::vector<FunctionDescription> Runtime::list_functions() const {
  std::vector<FunctionDescription> functions;
  for (const std::shared_ptr<const Module>& module : list_modules()) {
    for (const engine::CompiledCode::Export& exported : module->code()->exports()) {
      if (exported.kind != engine::ExternKind::kFunction) continue;
      if (exported.name.starts_with(wasm::kReservedPrefix)) continue;
      functions.push_back({module->name(), exported.name, exported.type.text()});
    }
  }
  return functions;
}

Status Runtime::unload_module(std::string_view name) {
  std::shared_ptr<const Module> last;  // freed after the lock: unmapping code takes a while
  {
    const MutexLock lock(modules_mutex_);
    const auto found = modules_.find(name);
    if (found == modules_.end()) return Status::not_found("no module '{}' is loaded", name);
    last = std::move(found->second);
    modules_.erase(found);
  }
  if (last->blueprint_ == nullptr) return {};
  pool_->forget(*last->blueprint_);
  ladder_->remove(*last->blueprint_->code);
  return {};
}

Status Runtime::check_bound(const Module& module) {
  if (module.blueprint_ != nullptr) return {};
  return engine::check_imports(*module.code_, *module.functions_).with_context(module.name_);
}

Result<Instance> Runtime::instantiate(const Module& module, InstanceOptions options) {
  SPORE_TRY(check_open());
  Status bound = check_bound(module);
  if (!bound.ok()) {
    instances_failed_.fetch_add(1, std::memory_order_relaxed);
    return bound;
  }
  const Timing timing(options_.metrics, instantiate_ns_);
  Result<Instance> instance = cell::instantiate(*module.blueprint_, options.limits.value_or(module.limits_),
                                                options.user_data, std::move(options.wasi));
  (instance.ok() ? instances_created_ : instances_failed_).fetch_add(1, std::memory_order_relaxed);
  return instance;
}

Result<Instance> Runtime::instantiate(std::string_view module_name, InstanceOptions options) {
  const std::shared_ptr<const Module> found = SPORE_TRY(module(module_name));
  return instantiate(*found, std::move(options));
}

Result<Instance> Runtime::instantiate_linked(const Module& module, Instance& first,
                                             std::span<const Instance::Link> others) {
  SPORE_TRY(check_open());
  if (module.wasi_ != nullptr && first.wasi() == nullptr) {
    first.store().set_system(std::make_shared<host::Wasi>(module.wasi_));
  }
  Result<std::shared_ptr<const engine::CompiledCode>> code = code_beside(module, first);
  Result<Instance> instance =
      code.ok()
          ? completed(Instance::create_linked(std::move(code).value(), module.functions_, first, others),
                      module.prepared())
          : Result<Instance>(std::move(code).status());
  (instance.ok() ? instances_created_ : instances_failed_).fetch_add(1, std::memory_order_relaxed);
  return instance;
}

// Instances that are linked share a store, which is of one engine, and none of them goes over any more.
Result<std::shared_ptr<const engine::CompiledCode>> Runtime::code_beside(const Module& module,
                                                                         Instance& first) {
  engine::LiveBinding* const live = first.store().counted_in();
  if (first.code().interpreted() != nullptr && live != nullptr) {
    // As far as it can; many linked ones would have more memories than the interpreter can tell apart.
    static_cast<void>(ladder_->raise(*live, Tier::kBaseline));
    first.store().follow_now();
  }
  const engine::Engine& engine = first.code().engine();
  const auto fits = [&](const std::shared_ptr<const engine::CompiledCode>& code) {
    return code != nullptr && &code->engine() == &engine;
  };
  if (fits(module.code_)) return module.code_;
  if (fits(module.code())) return module.code();
  if (module.tier() < engine.options().tier && module.blueprint_ != nullptr) {
    static_cast<void>(ladder_->raise(*module.blueprint_->code, engine.options().tier));
    if (fits(module.code())) return module.code();
  }
  return Status::invalid_argument(
      "{}: its code is {}, that of the instances that it is to be linked to {} (load all of them with one "
      "tier)",
      printable(module.name_), engine::tier_name(module.tier()), engine::tier_name(engine.options().tier));
}

Result<std::shared_ptr<cell::PoolEntry>> Runtime::pool_entry(const Module& module, std::string_view domain) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  return pool_->entry(module.blueprint_, domain);
}

Result<code::Rewritten> Runtime::rewrite_program(std::span<const uint8_t> bytes,
                                                 const code::Rewriter::Progress& progress,
                                                 std::span<const uint32_t> functions) {
  SPORE_TRY(check_open());
  if (rewriter_ == nullptr) return no_rewriter_.copy();
  return rewriter_->asyncify(bytes, {}, progress, functions);
}

Result<std::shared_ptr<const program::Program>> Runtime::freeze(const Module& module,
                                                                const program::FreezeOptions& options) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  const Tier began = module.tier();
  const auto begin = std::chrono::steady_clock::now();
  auto program = SPORE_TRY(program::Program::freeze(*module.blueprint_, pool_, options));
  remember_run(module, began, ms_since(begin));
  return program;
}

Result<std::shared_ptr<const program::Library>> Runtime::freeze_library(
    const Module& module, const program::LibraryOptions& options) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  const Tier began = module.tier();
  const auto begin = std::chrono::steady_clock::now();
  auto library = SPORE_TRY(program::Library::freeze(*module.blueprint_, pool_, options));
  remember_run(module, began, ms_since(begin));
  return library;
}

Result<std::shared_ptr<const program::Program>> Runtime::restore(const Module& module,
                                                                 const snapshot::Contents& contents,
                                                                 const program::RestoreOptions& options) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  heed_derived(module, contents);
  return program::Program::restore(contents, *module.blueprint_, pool_, options);
}

Result<std::shared_ptr<const program::Library>> Runtime::restore_library(const Module& module,
                                                                         const snapshot::Contents& contents) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  heed_derived(module, contents);
  return program::Library::restore(contents, *module.blueprint_, pool_);
}

// The module was loaded for its base, which may have seen less of it.
void Runtime::heed_derived(const Module& module, const snapshot::Contents& contents) {
  if (!options_.profiles || !contents.base || !contents.profile) return;
  ladder_->expect(*module.blueprint_->code, *contents.profile);
}

Result<cell::Lease> Runtime::acquire(const Module& module, const cell::AcquireOptions& options) {
  const std::shared_ptr<cell::PoolEntry> entry = SPORE_TRY(pool_entry(module, options.domain));
  return entry->acquire(options.user_data);
}

Result<cell::Lease> Runtime::acquire(std::string_view module_name, const cell::AcquireOptions& options) {
  const std::shared_ptr<const Module> found = SPORE_TRY(module(module_name));
  return acquire(*found, options);
}

Status Runtime::warm_up(const Module& module, Tier tier) {
  SPORE_TRY(check_open());
  SPORE_TRY(check_bound(module));
  return ladder_->raise(*module.blueprint_->code, tier).with_context(module.name_);
}

Result<code::ModuleSteps> Runtime::explain(const Module& module) const {
  SPORE_TRY(check_bound(module));
  return ladder_->module(*module.blueprint_->code);
}

Tier Module::tier() const { return code()->engine().options().tier; }

std::shared_ptr<const engine::CompiledCode> Module::code() const {
  return blueprint_ == nullptr ? code_ : blueprint_->code->best()->code();
}

void Runtime::close() {
  closed_.store(true);
  cells_->close();
  pool_->close();
}

RuntimeStatistics Runtime::statistics() const {
  RuntimeStatistics statistics;
  {
    const MutexLock lock(modules_mutex_);
    statistics.modules_loaded = modules_.size();
  }
  statistics.code = maker_->statistics();
  statistics.modules_compiled = statistics.code.compiled;
  statistics.tiers = ladder_->modules();
  statistics.compile_ns = compile_ns_.load(std::memory_order_relaxed);
  statistics.instances_created = instances_created_.load(std::memory_order_relaxed);
  statistics.instances_failed = instances_failed_.load(std::memory_order_relaxed);
  statistics.instantiate_ns = instantiate_ns_.load(std::memory_order_relaxed);
  statistics.pool = pool_->statistics();
  statistics.cells = cells_->statistics();
  statistics.slots = slots_->statistics();
  statistics.scratch = scratch_statistics();
  return statistics;
}

}  // namespace spore::runtime
