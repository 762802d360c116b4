#pragma once

// Code with its imports resolved: what instances are made of.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/engine.h"
#include "spore/engine/types.h"

struct wasmtime_instance_pre;

namespace spore::engine {

class Caller;

// One function that the host offers to guests.  `body` finds the arguments in `values` and leaves the
// results there.  It runs on the thread of the call, perhaps on several at once for several instances.
// What it throws becomes a trap.
struct HostFunction {
  std::string module;
  std::string name;
  FuncType type;
  std::function<Status(Caller& caller, RawValue* values)> body;
};

// A set of host functions.  Immutable once shared: code that is bound to it calls into it.
using HostFunctions = std::vector<HostFunction>;

// Imports that nobody provides, and such as have another type, all of them in one message.
// kInvalidArgument.  `linked` are module names that instances provide; they are not looked into.
Status check_imports(const CompiledCode& code, const HostFunctions& functions,
                     std::span<const std::string> linked = {});

// Immutable and thread-safe; keeps code and host functions alive.
class Binding {
 public:
  // kInvalidArgument: what check_imports says.
  static Result<std::shared_ptr<const Binding>> create(std::shared_ptr<const CompiledCode> code,
                                                       std::shared_ptr<const HostFunctions> functions);

  ~Binding();
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  const std::shared_ptr<const CompiledCode>& code() const { return code_; }
  const std::shared_ptr<const HostFunctions>& functions() const { return functions_; }
  // The functions of the host that it imports, in order.
  const std::vector<const HostFunction*>& resolved() const { return resolved_; }
  const wasmtime_instance_pre* handle() const { return handle_.get(); }  // null: it is interpreted

 private:
  struct DeletePre {
    void operator()(wasmtime_instance_pre* pre) const noexcept;
  };
  Binding(std::shared_ptr<const CompiledCode> code, std::shared_ptr<const HostFunctions> functions,
          wasmtime_instance_pre* handle);

  std::shared_ptr<const CompiledCode> code_;
  std::shared_ptr<const HostFunctions> functions_;
  std::vector<const HostFunction*> resolved_;
  std::unique_ptr<wasmtime_instance_pre, DeletePre> handle_;
};

}  // namespace spore::engine
