#pragma once

#include <filesystem>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/snapshot/contents.h"

namespace spore::snapshot {

// Writes a snapshot, version 1, in the place of `path`, whole or not at all, readable by its owner alone:
// memory and environment are in it.  Gives its id.  The same contents make the same bytes.
// kInvalidArgument: the contents do not fit each other, or a text is longer than the format takes; kNotFound:
// no such folder; kIo.
Result<Digest> write(const Contents& contents, const std::filesystem::path& path);

}  // namespace spore::snapshot
