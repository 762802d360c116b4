#pragma once

#include <cstddef>
#include <string_view>

namespace spore {

// Levenshtein's distance, for "did you mean".  Takes time by the product of both lengths.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace spore
