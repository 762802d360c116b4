#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/host/function.h"
#include "spore/host/value.h"
#include "spore/host/wasi.h"

namespace spore::host {

// Code bound to memory of its own: what a host calls.  Move-only.  Bound to one thread at a time; only its
// Canceller may be used from others.  See engine::Store for what a failed call leaves behind.
class Instance {
 public:
  // A module that needs WASI is given its world here; the instance owns it.
  static Result<Instance> create(const std::shared_ptr<const engine::Binding>& binding,
                                 const engine::Limits& limits, void* user_data = nullptr,
                                 std::unique_ptr<Wasi> wasi = nullptr, const engine::MemoryPlan& plan = {});

  // A further instance that imports what `others` export, under their names.  All of them share limits,
  // thread and fate: one that is retired retires them all.
  struct Link {
    std::string name;
    const Instance* instance;
  };
  static Result<Instance> create_linked(std::shared_ptr<const engine::CompiledCode> code,
                                        const std::shared_ptr<const engine::HostFunctions>& functions,
                                        Instance& first, std::span<const Link> others);

  // Libraries of WASI ("reactors") export `_initialize`, which has to run before all else: constructors, a
  // language's runtime.  Runs it; nothing if there is none.  Runtime::instantiate does.
  Status initialize();
  // Programs ("commands") export `_start`.  Runs it and gives the exit code; 0 if it just returned.
  // kNotFound: this is no program; how the call failed.
  Result<uint32_t> run_command();
  // What a module with WASI was made with, shared with those linked to it; else null.
  Wasi* wasi() const { return static_cast<Wasi*>(store_->system()); }

  // Resolves and type-checks once.  kNotFound, kInvalidArgument: with both types in the message.
  template <typename Type>
  Result<Function<Type>> function(std::string_view name) const {
    return Function<Type>::create(*store_, handle_, name);
  }
  // The signature is the core function's, unless one is given.  Names that begin with "spore:" are not found.
  Result<DynamicFunction> dynamic_function(std::string_view name) const;
  Result<DynamicFunction> dynamic_function(std::string_view name, Signature signature) const;
  Result<engine::RawFunction> raw_function(std::string_view name) const {
    return store_->function(handle_, name);
  }

  Result<engine::Store::GlobalValue> global(std::string_view name) const {
    return store_->global(handle_, name);
  }

  // Bytes of the exported memory "memory"; 0 if there is none.
  size_t memory_bytes() const { return store_->memory_of_this_thread(handle_).size(); }
  // The exported memory of that name, such as one of a prepared module.  kNotFound.
  Result<engine::GuestMemory> memory(std::string_view name) const { return store_->memory(handle_, name); }
  // Copies out of and into guest memory.  kInvalidArgument: not inside the memory.
  Result<std::string> read_string(engine::GuestPtr pointer, uint64_t length) const;
  Result<std::vector<std::byte>> read_bytes(engine::GuestPtr pointer, uint64_t length) const;
  Status write_bytes(engine::GuestPtr pointer, std::span<const std::byte> bytes);
  Status write_string(engine::GuestPtr pointer, std::string_view text);

  // What it runs; another one once it went over to better code.
  const engine::CompiledCode& code() const { return *store_->code(handle_); }
  const engine::Limits& limits() const { return store_->limits(); }
  Status set_deadline_ms(uint64_t deadline_ms) { return store_->set_deadline_ms(deadline_ms); }
  engine::Canceller canceller() const { return store_->canceller(); }
  bool retired() const { return store_->retired(); }
  uint64_t fuel_left() const { return store_->fuel_left(); }
  engine::Store& store() const { return *store_; }
  const engine::InstanceHandle& handle() const { return handle_; }

 private:
  Instance(std::shared_ptr<engine::Store> store, const engine::InstanceHandle& handle)
      : store_(std::move(store)), handle_(handle) {}

  // Shared, against the habit, by linked instances: their memories and tables live in one store, and the
  // last of them frees it.
  std::shared_ptr<engine::Store> store_;
  engine::InstanceHandle handle_;
};

}  // namespace spore::host
