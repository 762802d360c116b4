#pragma once

// Functions of wasm libraries.  Internal to udf/.

#include <memory>
#include <string>
#include <vector>

#include "spore/cell/held_function.h"
#include "spore/host/canonical.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/function.h"

namespace spore::udf {

// A module that was loaded for functions in one trust domain, and its instances; unloaded with the last of
// them.
class LoadedModule {
 public:
  // Where the guest takes arguments that lie in memory, its instances begin with an allocator that was used
  // once: of many the first allocation grows the memory, which a clean instance would do, and a reset undo,
  // in each call.  That takes 7 us, of 3 in all.  What Runtime::pool_entry says.
  static Result<std::shared_ptr<const LoadedModule>> create(runtime::Runtime& runtime,
                                                            std::shared_ptr<const runtime::Module> module,
                                                            const std::string& domain);
  ~LoadedModule() { static_cast<void>(runtime_.unload_module(module_->name())); }
  LoadedModule(const LoadedModule&) = delete;
  LoadedModule& operator=(const LoadedModule&) = delete;

  const runtime::Module& module() const { return *module_; }
  const std::shared_ptr<cell::PoolEntry>& entry() const { return entry_; }

 private:
  LoadedModule(runtime::Runtime& runtime, std::shared_ptr<const runtime::Module> module)
      : runtime_(runtime), module_(std::move(module)) {}

  runtime::Runtime& runtime_;
  std::shared_ptr<const runtime::Module> module_;
  std::shared_ptr<const program::Library> library_;  // null: instances begin as the module does
  std::shared_ptr<cell::PoolEntry> entry_;
};

// An export by its WIT signature, as instances of an entry have it.
class LibraryExport {
 public:
  using Held = cell::HeldFunction<host::WitFunction>;
  LibraryExport(std::shared_ptr<cell::PoolEntry> entry, std::string name,
                std::shared_ptr<const host::WitAbi> abi)
      : name_(std::move(name)), abi_(std::move(abi)), held_(std::move(entry), key()) {}

  const std::string& name() const { return name_; }
  const std::shared_ptr<const host::WitAbi>& abi() const { return abi_; }
  const host::WitFunction* in(const cell::Lease& lease, Status& why) const {
    return held_.in(
        lease,
        [&](host::Instance& instance) {
          return host::WitFunction::create(instance.store(), instance.handle(), name_, abi_);
        },
        why);
  }

 private:
  std::string key() const { return name_ + " " + abi_->signature().text(); }

  std::string name_;
  std::shared_ptr<const host::WitAbi> abi_;
  Held held_;
};

class LibraryFunction final : public Function {
 public:
  // `name`: of the export; of an aggregate, what its step and its finish begin with.  Looks everything up in
  // an instance: kNotFound, kInvalidArgument with both types, how no instance could be made.
  static Result<std::shared_ptr<const Function>> create(Parts parts,
                                                        std::shared_ptr<const LoadedModule> module,
                                                        const std::vector<std::string>& exports);

 private:
  friend class LibrarySession;
  friend class LibraryGroup;
  LibraryFunction(Parts parts, std::shared_ptr<const LoadedModule> module)
      : Function(std::move(parts)), module_(std::move(module)) {}

  std::unique_ptr<Session> make_session(const Watch& watch, Isolation isolation) const override;
  Result<std::unique_ptr<Group>> make_group(const Watch& watch) const override;
  Status find_exports(const std::vector<std::string>& exports);

  std::shared_ptr<const LoadedModule> module_;
  std::unique_ptr<LibraryExport> call_;  // of an aggregate its step
  std::unique_ptr<LibraryExport> finish_;
  std::unique_ptr<LibraryExport> batch_;  // null: it has none
};

}  // namespace spore::udf
