#include "spore/host/cabi.h"

namespace spore::host::cabi {

using engine::FuncType;
using engine::RawFunction;
using engine::RawValue;
using engine::ValType;

const FuncType& realloc_type() {
  static const FuncType type{{ValType::kI32, ValType::kI32, ValType::kI32, ValType::kI32}, {ValType::kI32}};
  return type;
}

Result<RawFunction> helper(engine::Store& store, const engine::InstanceHandle& instance,
                           std::string_view name, const FuncType& type) {
  const RawFunction function = SPORE_TRY(store.function(instance, name));
  if (function.type() == type) return function;
  return Status::invalid_argument("the guest's '{}' is of type {}, the canonical ABI wants {}", name,
                                  function.type().text(), type.text());
}

Result<std::optional<RawFunction>> post_return(engine::Store& store, const engine::InstanceHandle& instance,
                                               std::string_view function) {
  Result<RawFunction> found =
      helper(store, instance, fmt::format("cabi_post_{}", function), {{ValType::kI32}, {}});
  if (found.ok()) return std::optional<RawFunction>(found.value());
  if (found.code() == Code::kNotFound) return std::optional<RawFunction>();
  return std::move(found).status();
}

Result<uint32_t> allocate(const RawFunction& realloc, uint32_t align, uint32_t bytes) {
  RawValue call[4] = {
      {.i32 = 0}, {.i32 = 0}, {.i32 = static_cast<int32_t>(align)}, {.i32 = static_cast<int32_t>(bytes)}};
  SPORE_TRY(realloc.call_unchecked(call, 4));
  return static_cast<uint32_t>(call[0].i32);
}

}  // namespace spore::host::cabi
