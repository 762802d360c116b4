#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "spore/base/status.h"
#include "spore/engine/types.h"

namespace spore::engine {

// A guest's linear memory as it stands now.  Dead after any call into the guest or growth of the memory:
// take a new one from the Caller or the Instance.
//
// span() is the one place where a guest address becomes host memory.
class GuestMemory {
 public:
  GuestMemory() = default;
  explicit GuestMemory(std::span<std::byte> bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }

  // `length` bytes at `pointer`.  kInvalidArgument if they do not lie inside the memory as a whole.
  Result<std::span<std::byte>> span(GuestPtr pointer, uint64_t length) const {
    // Both sides are 64 bits wide and nothing is added: no sum can wrap around.
    if (pointer.address > bytes_.size() || length > bytes_.size() - pointer.address) [[unlikely]] {
      return out_of_bounds(pointer, length);
    }
    return bytes_.subspan(pointer.address, length);
  }

  // The bytes as text; not checked for UTF-8, and dead when the memory is.
  Result<std::string_view> string(GuestPtr pointer, uint64_t length) const {
    const std::span<std::byte> bytes = SPORE_TRY(span(pointer, length));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  Status out_of_bounds(GuestPtr pointer, uint64_t length) const;

  std::span<std::byte> bytes_;
};

}  // namespace spore::engine
