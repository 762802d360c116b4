#pragma once

// The composition root: options in, a system that loads modules and makes instances out.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/json.h"
#include "spore/base/mutex.h"
#include "spore/base/scratch.h"
#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/cell/cells.h"
#include "spore/cell/clean_function.h"
#include "spore/cell/pool.h"
#include "spore/code/code_maker.h"
#include "spore/code/ladder.h"
#include "spore/code/rewriter.h"
#include "spore/code/start.h"
#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/host/instance.h"
#include "spore/program/library.h"
#include "spore/program/program.h"
#include "spore/runtime/options.h"
#include "spore/wasm/inspect.h"
#include "spore/wasm/prepare.h"

namespace spore::runtime {

// What load_module may be told beside the bytes.
struct ModuleOptions {
  std::string version;
  std::string description;
  std::optional<engine::Tier> tier;  // for good
  // It begins in no higher one, and climbs no further.  Nothing: as its image says, if it is loaded from one
  // (snapshot::TierMax).  Does not hold for a `tier` that is asked for.
  std::optional<engine::Tier> tier_max{};
  std::optional<engine::Limits> limits;
  // Added to the Runtime's own host functions; a same name replaces.
  host::HostFunctions host;
  // What CompiledCode::save() gave for this module and tier: loaded instead of compiling.  As trusted as a
  // shared library: see Engine::load_trusted_code.
  std::span<const uint8_t> trusted_code;
  // The world of its instances, pooled ones too, if it needs WASI.  Null: no arguments, no input, no files;
  // output is captured.
  std::shared_ptr<const host::WasiConfig> wasi;
  // Rewrites it so that its state can be held from outside (wasm::prepare).  Without, no instance of it can
  // be reset in place.
  bool prepare = true;
  // Its one call, or its initialiser, is what everybody waits for, and stays in the code that it begins in:
  // that is chosen by how long it will take (Runtime::remember_run, or its size).
  bool one_call = false;
  // Not in the interpreter, unless its tier was asked for: somebody will look at its stack.
  bool compiled = false;
  // What was seen of it before.  It is brought there at once.  Nothing: as its image says, if it is loaded
  // from one that does (RuntimeOptions::profiles).
  std::optional<code::Profile> profile;
};

// A loaded module.  Immutable, shared; whoever holds it can make instances, also after it was unloaded.
class Module {
 public:
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  const std::string& description() const { return description_; }
  const wasm::ModuleFacts& facts() const { return facts_; }
  // What new instances of it have, by now.
  std::shared_ptr<const engine::CompiledCode> code() const;
  const engine::Limits& limits() const { return limits_; }
  // Null if it was loaded as it is.
  const wasm::PreparedModule* prepared() const { return prepared_.get(); }
  // That new instances of it have.
  engine::Tier tier() const;
  // Until it had code: compiled, or found.
  uint64_t compile_ns() const { return compile_ns_; }

 private:
  friend class Runtime;
  Module() = default;

  std::string name_;
  std::string version_;
  std::string description_;
  wasm::ModuleFacts facts_;
  engine::Limits limits_;
  uint64_t compile_ns_ = 0;
  std::shared_ptr<const engine::CompiledCode> code_;  // that it began with; null: interpreted, and gone
  std::shared_ptr<const engine::HostFunctions> functions_;
  std::shared_ptr<const wasm::PreparedModule> prepared_;
  std::shared_ptr<const host::WasiConfig> wasi_;      // null: it needs none
  std::shared_ptr<const cell::Blueprint> blueprint_;  // null: imports that only linked instances provide
};

struct InstanceOptions {
  std::optional<engine::Limits> limits;
  void* user_data = nullptr;  // what host functions get from Caller::user_data()
  // The world of a module that needs WASI.  Null: as the module was loaded with.
  std::unique_ptr<host::Wasi> wasi;
};

struct FreezeProgramOptions {
  bool rewrite_all = false;
  // Also if it calls host functions of yours: they may be called by each start.
  bool may_start_again = false;
  // Told what begins: "compiling", "watching", "rewriting", "starting".
  std::function<void(std::string_view)> progress;
};
struct FrozenProgram {
  std::shared_ptr<const Module> module;
  std::shared_ptr<const program::Program> program;
  program::Source source;  // for its file
};

struct FunctionDescription {
  std::string module;
  std::string name;
  std::string type;
};

// Since the Runtime was made.
struct RuntimeStatistics {
  uint64_t modules_loaded = 0;    // now
  uint64_t modules_compiled = 0;  // in all
  uint64_t compile_ns = 0;
  uint64_t instances_created = 0;
  uint64_t instances_failed = 0;
  uint64_t instantiate_ns = 0;
  code::CodeMakerStatistics code;
  std::vector<code::ModuleSteps> tiers;  // of each module
  cell::PoolStatistics pool;
  cell::CellsStatistics cells;
  memory::SlotPoolStatistics slots;
  ScratchStatistics scratch;

  void write_json(JsonWriter& json) const;
  // In Prometheus' text format.
  std::string metrics_text() const;
};

// Loads modules and makes instances.  Thread-safe.  Modules and instances may outlive it.
//
// Lock order: modules_mutex_ is taken alone; nothing is compiled, called or logged under it.  It is in fork's
// list, so that a child finds it free.
class Runtime final : ForkAware {
 public:
  // kInvalidArgument: an option out of range.  kUnavailable: native code cannot run in this process, the
  // message says why.
  static Result<std::unique_ptr<Runtime>> create(RuntimeOptions options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Validates, and finds code or compiles, on this thread.  kAlreadyExists: the name is taken (unload first);
  // kLimitExceeded: module_bytes_max, modules_max; what inspect() and compile() say; kUnavailable: closed.
  // Imports that nobody provides are told by instantiate().
  Result<std::shared_ptr<const Module>> load_module(std::string_view name, std::span<const uint8_t> bytes,
                                                    const ModuleOptions& options = {});
  // The module that an image in a file is of: it is not prepared again.  Its world and what was seen of it
  // are as in the file, unless the options have one; directories are opened here.  As above, and what
  // WasiConfig::create says.
  Result<std::shared_ptr<const Module>> load_image(std::string_view name, const snapshot::Contents& contents,
                                                   const ModuleOptions& options = {});
  // kNotFound.
  Result<std::shared_ptr<const Module>> module(std::string_view name) const;
  std::vector<std::shared_ptr<const Module>> list_modules() const;
  // The exported functions of all modules, in order of their names.
  std::vector<FunctionDescription> list_functions() const;
  // Forgets the name.  Instances and calls in flight go on; the code goes with the last of them.
  Status unload_module(std::string_view name);

  // Also runs `_initialize`, if the module exports it.  kInvalidArgument names every import that nobody
  // provides; what Store::instantiate says, and how `_initialize` failed.
  Result<host::Instance> instantiate(const Module& module, InstanceOptions options = {});
  Result<host::Instance> instantiate(std::string_view module_name, InstanceOptions options = {});
  // An instance in the company of `first`, importing what `others` export.  One that is interpreted goes over
  // first. kInvalidArgument: the modules' code is of different tiers.
  Result<host::Instance> instantiate_linked(const Module& module, host::Instance& first,
                                            std::span<const host::Instance::Link> others);

  // A clean instance out of the pool; it goes back, clean again, when the lease goes.  What
  // PoolEntry::acquire says; kInvalidArgument names imports that nobody provides.
  Result<cell::Lease> acquire(const Module& module, const cell::AcquireOptions& options = {});
  Result<cell::Lease> acquire(std::string_view module_name, const cell::AcquireOptions& options = {});
  // The module's place in the pool, for those who call often.
  Result<std::shared_ptr<cell::PoolEntry>> pool_entry(const Module& module, std::string_view domain = {});
  // A function, each call of it in a clean instance.
  template <typename Signature>
  Result<cell::CleanFunction<Signature>> clean_function(const Module& module, std::string_view name,
                                                        const cell::AcquireOptions& options = {}) {
    return cell::CleanFunction<Signature>::create(SPORE_TRY(pool_entry(module, options.domain)), name,
                                                  options.user_data);
  }
  cell::Pool& pool() { return *pool_; }
  // Named instances that keep their state: cells of modules, cell_kind(), and of programs,
  // Program::cell_kind().
  const std::shared_ptr<cell::Cells>& cells() { return cells_; }
  // What pool_entry() and Cells::kind() say.
  Result<std::shared_ptr<cell::CellKind>> cell_kind(const Module& module, std::string_view domain = {}) {
    return cells_->kind(SPORE_TRY(pool_entry(module, domain)));
  }

  // Loads a program under a name and freezes it where it waits for its first request.  It is rewritten for
  // that: only the functions that it waits in, which are found by running it until then (so it is started
  // twice the first time, and once more, up to three times, if it waits in others then); or all of them,
  // which takes minutes, if it was told so, may write to its world's directories, or calls host functions
  // other than WASI's.  A library that answers requests is loaded as it is.  What load_module, freeze,
  // rewrite_program and Program::find_wait say.
  Result<FrozenProgram> freeze_program(std::string_view name, std::span<const uint8_t> bytes,
                                       const ModuleOptions& module, const program::FreezeOptions& freeze,
                                       const FreezeProgramOptions& options = {});

  // A program such that it can be frozen, from the code cache or by wasm-opt, on this thread.  `functions`:
  // as code::Rewriter::asyncify has them.  kUnavailable: there is no helper; what that says.
  Result<code::Rewritten> rewrite_program(std::span<const uint8_t> bytes,
                                          const code::Rewriter::Progress& progress = {},
                                          std::span<const uint32_t> functions = {});
  // Starts a program that was rewritten so and freezes it at its first read: program::Program::freeze.  Its
  // code climbs like that of its module, while that is loaded; requests go on after it was unloaded.
  Result<std::shared_ptr<const program::Program>> freeze(const Module& module,
                                                         const program::FreezeOptions& options = {});
  // A library that begins each call behind its initialiser: program::Library::freeze.
  Result<std::shared_ptr<const program::Library>> freeze_library(const Module& module,
                                                                 const program::LibraryOptions& options = {});
  // The same of what a file holds, whose module was loaded: program::Program::restore, Library::restore.
  // What a derived image has seen of its module is heeded now, as load_image() heeds it.
  Result<std::shared_ptr<const program::Program>> restore(const Module& module,
                                                          const snapshot::Contents& contents,
                                                          const program::RestoreOptions& options = {});
  Result<std::shared_ptr<const program::Library>> restore_library(const Module& module,
                                                                  const snapshot::Contents& contents);

  // Has the module reach that tier now, on this thread, with all its instances.  kInvalidArgument: it was
  // loaded for another tier alone, or lacks imports; kNotFound: it was unloaded; what CodeMaker::make says.
  Status warm_up(const Module& module, engine::Tier tier);
  // Its tier, how it came there and what it waits for, and its hottest functions.  kNotFound: it was
  // unloaded; kInvalidArgument: it lacks imports.
  Result<code::ModuleSteps> explain(const Module& module) const;

  // From now on nothing is loaded or instantiated (kUnavailable).  What runs goes on; leases stay good.
  void close();

  // How long the one call of a module took that began in this tier, for who loads it with
  // ModuleOptions::one_call next, in this or another process that shares the code cache.
  void remember_run(const Module& module, engine::Tier began, uint64_t ms);

  RuntimeStatistics statistics() const;
  const RuntimeOptions& options() const { return options_; }

 private:
  explicit Runtime(RuntimeOptions options);
  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { modules_mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { modules_mutex_.unlock(); }
  void repair_in_child() override {}
  Result<code::Made> make_code(const Module& module, const code::Source& source, const ModuleOptions& options,
                               std::string& why);
  static std::shared_ptr<Module> name_module(std::string_view name, const engine::Limits& limits,
                                             const ModuleOptions& options);
  // What of a module does not depend on where its code came from.
  Result<std::shared_ptr<const Module>> add_module(std::shared_ptr<Module> module, code::Made made,
                                                   code::OwnedSource source, const ModuleOptions& options,
                                                   std::string why);
  bool is_fixed(const ModuleOptions& options) const;
  bool may_interpret(const Module& module) const;
  Result<std::shared_ptr<const engine::CompiledCode>> code_beside(const Module& module,
                                                                  host::Instance& first);
  std::optional<code::EarlierRun> earlier_run(const Digest& module, const ModuleOptions& options) const;
  bool can_climb(const code::Made& made, const ModuleOptions& options) const;
  Result<code::Made> load_trusted_code(const code::Source& source, const ModuleOptions& options) const;
  std::optional<Digest> facts_name(std::span<const uint8_t> bytes, const ModuleOptions& options) const;
  // Facts of a module that was seen before: then it is neither read nor prepared.  False: they are not there.
  bool find_facts(Module& module, const Digest& name, std::span<const uint8_t> bytes);
  Result<std::vector<uint8_t>> prepare_module(Module& module, std::span<const uint8_t> bytes,
                                              const ModuleOptions& options) const;
  std::optional<engine::Tier> tier_of(const ModuleOptions& options) const;
  const engine::Engine& engine_of(engine::Tier tier) const;
  Status check_open() const;
  Status check_room(std::string_view name) const SPORE_EXCLUDES(modules_mutex_);
  Status check_room_locked(std::string_view name) const SPORE_REQUIRES(modules_mutex_);
  // The functions that a program was seen to wait in, by earlier calls of freeze_program.
  std::vector<uint32_t> remembered_wait(const Digest& module) const;
  void remember_wait(const Digest& module, std::span<const uint32_t> functions);
  Result<std::vector<uint32_t>> find_wait(std::string_view name, std::span<const uint8_t> bytes,
                                          const wasm::ModuleFacts& facts, const ModuleOptions& module,
                                          const program::FreezeOptions& freeze,
                                          const FreezeProgramOptions& options);
  Result<FrozenProgram> freeze_loaded(std::shared_ptr<const Module> module,
                                      const program::FreezeOptions& freeze,
                                      const FreezeProgramOptions& options, program::Source source);
  Result<FrozenProgram> freeze_rewritten(std::string_view name, std::span<const uint8_t> bytes,
                                         const ModuleOptions& module, const program::FreezeOptions& freeze,
                                         const FreezeProgramOptions& options,
                                         std::span<const uint32_t> functions);
  static Status check_tier(const wasm::ModuleFacts& facts, std::optional<engine::Tier> tier);
  static Status check_bound(const Module& module);
  void heed_derived(const Module& module, const snapshot::Contents& contents);

  RuntimeOptions options_;
  std::shared_ptr<engine::Ticker> ticker_;
  std::shared_ptr<const engine::HostFunctions> host_;
  std::shared_ptr<const host::WasiConfig> empty_wasi_;
  std::vector<std::shared_ptr<const engine::Engine>> engines_;  // by tier
  std::shared_ptr<memory::SlotPool> slots_;
  std::shared_ptr<cell::Pool> pool_;
  std::shared_ptr<cell::Cells> cells_;
  std::shared_ptr<code::CodeCache> cache_;  // null: none
  std::shared_ptr<code::CodeMaker> maker_;
  std::unique_ptr<code::Ladder> ladder_;
  std::unique_ptr<code::Rewriter> rewriter_;  // null: no_rewriter_ says why
  Status no_rewriter_;

  std::atomic<bool> closed_{false};
  std::atomic<uint64_t> compile_ns_{0};
  std::atomic<uint64_t> watched_{0};  // programs, by which they are told apart
  std::atomic<uint64_t> instances_created_{0};
  std::atomic<uint64_t> instances_failed_{0};
  std::atomic<uint64_t> instantiate_ns_{0};
  mutable Mutex modules_mutex_;
  std::map<std::string, std::shared_ptr<const Module>, std::less<>> modules_ SPORE_GUARDED_BY(modules_mutex_);
  const ForkRegistration fork_registration_{*this};
};

}  // namespace spore::runtime
