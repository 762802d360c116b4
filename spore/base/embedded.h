#pragma once

// Text files of the tree that are part of a library: cmake/embed.cmake.

#include <string_view>

namespace spore {

struct EmbeddedFile {
  std::string_view path;  // within the folder that was embedded
  std::string_view text;
};

}  // namespace spore
