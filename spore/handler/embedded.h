#pragma once

// The text files below spore/handler/, as part of the library.  Internal.

#include <span>
#include <string_view>

namespace spore::handler {

struct EmbeddedFile {
  std::string_view path;  // "python/runner.py"
  std::string_view text;
};

std::span<const EmbeddedFile> embedded_files();  // made by cmake/embed.cmake

}  // namespace spore::handler
