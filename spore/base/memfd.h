#pragma once

// Files in memory, without a name.

#include "spore/base/fd.h"
#include "spore/base/status.h"

namespace spore {

// An empty one, for this process and those that it gives the descriptor to.  `name` is for /proc alone.  kIo.
Result<UniqueFd> make_memfd(const char* name);

// From now on nobody can change it, neither bytes nor length.  kIo: somebody has it mapped to write to it.
Status seal(int memfd);

}  // namespace spore
