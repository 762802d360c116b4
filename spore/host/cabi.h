#pragma once

// What all that crosses by the canonical ABI shares.

#include <cstdint>
#include <span>
#include <string_view>

#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/engine/trap.h"

namespace spore::host::cabi {

inline constexpr std::string_view kRealloc = "cabi_realloc";
const engine::FuncType& realloc_type();

// An export by which the guest takes part in the ABI.  kNotFound; kInvalidArgument: it has another type.
Result<engine::RawFunction> helper(engine::Store& store, const engine::InstanceHandle& instance,
                                   std::string_view name, const engine::FuncType& type);
// What it has for `function` to free its result by, if it has something.  kInvalidArgument as above.
Result<std::optional<engine::RawFunction>> post_return(engine::Store& store,
                                                       const engine::InstanceHandle& instance,
                                                       std::string_view function);

// Memory that the guest itself named: if it is not there, that is the guest's failure.
inline Result<std::span<std::byte>> given_span(const engine::GuestMemory& memory, engine::GuestPtr pointer,
                                               uint64_t length) {
  Result<std::span<std::byte>> bytes = memory.span(pointer, length);
  if (!bytes.ok()) [[unlikely]]
    return engine::bad_result(bytes.status().message());
  return bytes;
}

// Room for `bytes` in the guest; its memory has to be looked at anew after that.
Result<uint32_t> allocate(const engine::RawFunction& realloc, uint32_t align, uint32_t bytes);

}  // namespace spore::host::cabi
