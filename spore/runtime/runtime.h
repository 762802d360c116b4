#pragma once

// The composition root: options in, a system that loads modules and makes instances out.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/json.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/host/instance.h"
#include "spore/runtime/options.h"
#include "spore/wasm/inspect.h"

namespace spore::runtime {

// What load_module may be told beside the bytes.
struct ModuleOptions {
  std::string version;
  std::string description;
  std::optional<engine::Tier> tier;
  std::optional<engine::Limits> limits;
  // Added to the Runtime's own host functions; a same name replaces.
  host::HostFunctions host;
  // What CompiledCode::save() gave for this module and tier: loaded instead of compiling.  As trusted as a
  // shared library: see Engine::load_trusted_code.
  std::span<const uint8_t> trusted_code;
};

// A loaded module.  Immutable, shared; whoever holds it can make instances, also after it was unloaded.
class Module {
 public:
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  const std::string& description() const { return description_; }
  const wasm::ModuleFacts& facts() const { return facts_; }
  const engine::CompiledCode& code() const { return *code_; }
  const engine::Limits& limits() const { return limits_; }
  engine::Tier tier() const { return code_->engine().options().tier; }
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
  std::shared_ptr<const engine::CompiledCode> code_;
  std::shared_ptr<const engine::HostFunctions> functions_;
  std::shared_ptr<const engine::Binding> binding_;  // null: imports that only linked instances provide
  bool needs_wasi_ = false;
};

struct InstanceOptions {
  std::optional<engine::Limits> limits;
  void* user_data = nullptr;  // what host functions get from Caller::user_data()
  // The world of a module that needs WASI.  Null: no arguments, no input, no files; output is captured.
  std::unique_ptr<host::Wasi> wasi;
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

  void write_json(JsonWriter& json) const;
};

// Loads modules and makes instances.  Thread-safe.  Modules and instances may outlive it.
//
// Lock order: modules_mutex_ is taken alone; nothing is compiled, called or logged under it.
class Runtime {
 public:
  // kInvalidArgument: an option out of range.  kUnavailable: native code cannot run in this process, the
  // message says why.
  static Result<std::unique_ptr<Runtime>> create(RuntimeOptions options);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Validates and compiles on this thread.  kAlreadyExists: the name is taken (unload first);
  // kLimitExceeded: module_bytes_max, modules_max; what inspect() and compile() say; kUnavailable: closed.
  // Imports that nobody provides are told by instantiate().
  Result<std::shared_ptr<const Module>> load_module(std::string_view name, std::span<const uint8_t> bytes,
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
  // An instance in the company of `first`, importing what `others` export.
  Result<host::Instance> instantiate_linked(const Module& module, host::Instance& first,
                                            std::span<const host::Instance::Link> others);

  // From now on nothing is loaded or instantiated (kUnavailable).  What runs goes on.
  void close();

  RuntimeStatistics statistics() const;
  const RuntimeOptions& options() const { return options_; }

 private:
  explicit Runtime(RuntimeOptions options);
  Result<std::shared_ptr<const engine::CompiledCode>> make_code(std::span<const uint8_t> bytes,
                                                                const Digest& hash,
                                                                const ModuleOptions& options);
  Status check_open() const;
  Status check_room(std::string_view name) const SPORE_EXCLUDES(modules_mutex_);
  Status check_room_locked(std::string_view name) const SPORE_REQUIRES(modules_mutex_);
  static Status check_tier(const wasm::ModuleFacts& facts, engine::Tier tier);

  RuntimeOptions options_;
  std::shared_ptr<engine::Ticker> ticker_;
  std::shared_ptr<const engine::HostFunctions> host_;
  std::shared_ptr<const host::WasiConfig> empty_wasi_;
  std::shared_ptr<const engine::Engine> baseline_;
  std::shared_ptr<const engine::Engine> optimised_;

  std::atomic<bool> closed_{false};
  std::atomic<uint64_t> modules_compiled_{0};
  std::atomic<uint64_t> compile_ns_{0};
  std::atomic<uint64_t> instances_created_{0};
  std::atomic<uint64_t> instances_failed_{0};
  std::atomic<uint64_t> instantiate_ns_{0};
  mutable Mutex modules_mutex_;
  std::map<std::string, std::shared_ptr<const Module>, std::less<>> modules_ SPORE_GUARDED_BY(modules_mutex_);
};

}  // namespace spore::runtime
