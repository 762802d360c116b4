#include "spore/engine/guest_memory.h"

namespace spore::engine {

Status GuestMemory::out_of_bounds(GuestPtr pointer, uint64_t length) const {
  return Status::invalid_argument("{} bytes at guest address {:#x} are not inside the memory of {} bytes",
                                  length, pointer.address, bytes_.size());
}

}  // namespace spore::engine
