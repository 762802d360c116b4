#include "spore/engine/binding.h"

#include <algorithm>

#include "spore/base/utf8.h"
#include "spore/engine/fork_guard.h"
#include "spore/engine/handles.h"
#include "spore/engine/host_call.h"

namespace spore::engine {
namespace {

wasm_valtype_t* make_val_type(ValType type) {
  switch (type) {
    case ValType::kI32: return wasm_valtype_new(WASM_I32);
    case ValType::kI64: return wasm_valtype_new(WASM_I64);
    case ValType::kF32: return wasm_valtype_new(WASM_F32);
    case ValType::kF64: return wasm_valtype_new(WASM_F64);
    case ValType::kV128: return wasmtime_wasm_valtype_v128();
    case ValType::kFuncRef: return wasm_valtype_new(WASM_FUNCREF);
    case ValType::kOtherRef: break;
  }
  SPORE_ASSERT(false, "no host function has such a type");
  return nullptr;
}

void make_val_types(const std::vector<ValType>& types, wasm_valtype_vec_t* out) {
  std::vector<wasm_valtype_t*> made;
  made.reserve(types.size());
  for (const ValType type : types) made.push_back(make_val_type(type));
  wasm_valtype_vec_new(out, made.size(), made.data());
}

std::string import_text(const CompiledCode::Import& import) {
  const std::string name = fmt::format("{}.{}", printable(import.module), printable(import.name));
  return import.kind == ExternKind::kFunction ? fmt::format("{} {}", name, import.type.text())
                                              : fmt::format("{} ({})", name, extern_kind_name(import.kind));
}

}  // namespace

FuncTypeHandle make_func_type(const FuncType& type) {
  wasm_valtype_vec_t params;
  wasm_valtype_vec_t results;
  make_val_types(type.params, &params);
  make_val_types(type.results, &results);
  return FuncTypeHandle(wasm_functype_new(&params, &results));  // consumes both
}

const HostFunction* find_host_function(const HostFunctions& functions, std::string_view module,
                                       std::string_view name) {
  const auto found = std::ranges::find_if(functions, [&](const HostFunction& function) {
    return function.module == module && function.name == name;
  });
  return found == functions.end() ? nullptr : &*found;
}

Status check_imports(const CompiledCode& code, const HostFunctions& functions,
                     std::span<const std::string> linked) {
  std::string problems;
  size_t count = 0;
  size_t named = 0;
  for (const CompiledCode::Import& import : code.imports()) {
    if (std::ranges::find(linked, import.module) != linked.end()) continue;
    const HostFunction* function = find_host_function(functions, import.module, import.name);
    if (function != nullptr && import.kind == ExternKind::kFunction && function->type == import.type) {
      continue;
    }
    count++;
    constexpr size_t kMessageBytesMax = 8000;
    if (problems.size() > kMessageBytesMax) continue;
    fmt::format_to(std::back_inserter(problems), "{}{}", count == 1 ? "" : ", ", import_text(import));
    named++;
    if (function != nullptr) problems += fmt::format(" (the host has {})", function->type.text());
  }
  if (count == 0) return {};
  if (named < count) problems += fmt::format(" and {} more", count - named);
  return Status::invalid_argument("{} import{} that nobody provides: {}", count, count == 1 ? "" : "s",
                                  problems);
}

Binding::~Binding() {
  const ForkGuard::Busy busy(code_->engine().fork_guard());
  handle_.reset();
}

void Binding::DeletePre::operator()(wasmtime_instance_pre* pre) const noexcept {
  wasmtime_instance_pre_delete(pre);
}

Binding::Binding(std::shared_ptr<const CompiledCode> code, std::shared_ptr<const HostFunctions> functions,
                 wasmtime_instance_pre* handle)
    : code_(std::move(code)), functions_(std::move(functions)), handle_(handle) {
  for (const CompiledCode::Import& import : code_->imports()) {
    resolved_.push_back(find_host_function(*functions_, import.module, import.name));
  }
}

Result<std::shared_ptr<const Binding>> Binding::create(std::shared_ptr<const CompiledCode> code,
                                                       std::shared_ptr<const HostFunctions> functions) {
  SPORE_TRY(check_imports(*code, *functions));
  if (code->handle() == nullptr) {
    return std::shared_ptr<const Binding>(new Binding(std::move(code), std::move(functions), nullptr));
  }
  const ForkGuard::Busy busy(code->engine().fork_guard());
  const LinkerHandle linker(wasmtime_linker_new(code->engine().handle()));
  wasmtime_linker_allow_shadowing(linker.get(), true);  // a module may import one function twice
  for (const CompiledCode::Import& import : code->imports()) {
    const HostFunction* function = find_host_function(*functions, import.module, import.name);
    const FuncTypeHandle type = make_func_type(function->type);
    // The linker never writes through `env`; the set outlives it, as this Binding holds it.
    const ErrorHandle error(wasmtime_linker_define_func_unchecked(
        linker.get(), import.module.data(), import.module.size(), import.name.data(), import.name.size(),
        type.get(), on_host_call, const_cast<HostFunction*>(function), nullptr));
    if (error != nullptr) return Status::internal("linking {}: {}", import.name, error_message(*error));
  }
  wasmtime_instance_pre_t* raw = nullptr;
  const ErrorHandle error(wasmtime_linker_instantiate_pre(linker.get(), code->handle(), &raw));
  if (error != nullptr) return Status::invalid_argument("linking: {}", error_message(*error));
  return std::shared_ptr<const Binding>(new Binding(std::move(code), std::move(functions), raw));
}

}  // namespace spore::engine
