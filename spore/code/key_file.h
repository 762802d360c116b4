#pragma once

#include <filesystem>

#include "spore/base/mac.h"
#include "spore/base/status.h"

namespace spore::code {

// The key by which this user's processes know the code that they wrote: 32 random bytes in a file that nobody
// else can read.  If there is none it is made; of processes that do so at once, all get the same one.
//
// A file that is not as we make it is refused and left as it is, since whoever changed it may know its bytes:
// kInvalidArgument if it is no regular file (a symlink is not followed), belongs to somebody else, others may
// read or write it, or it has another length.  kIo, kNotFound: it cannot be opened, or made.
Result<MacKey> open_key_file(const std::filesystem::path& path);

}  // namespace spore::code
