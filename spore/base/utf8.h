#pragma once

#include <cstddef>
#include <string_view>

namespace spore {

// Length of the well-formed UTF-8 sequence at the front of `text`, which is not empty; 0 if there is none.
size_t utf8_sequence_length(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace spore
