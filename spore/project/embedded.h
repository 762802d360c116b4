#pragma once

// What projects are made of, by its path in the tree.  Internal.

#include <span>

#include "spore/base/embedded.h"

namespace spore::project {

std::span<const EmbeddedFile> embedded_files();  // made by cmake/embed.cmake

}  // namespace spore::project
