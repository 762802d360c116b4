#pragma once

// The text files below spore/handler/, as part of the library.  Internal.

#include <span>

#include "spore/base/embedded.h"

namespace spore::handler {

std::span<const EmbeddedFile> embedded_files();  // made by cmake/embed.cmake

}  // namespace spore::handler
