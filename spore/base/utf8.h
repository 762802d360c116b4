#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace spore {

// Length of the well-formed UTF-8 sequence at the front of `text`, which is not empty; 0 if there is none.
size_t utf8_sequence_length(std::string_view text);

bool is_utf8(std::string_view text);

// A character that there is (no surrogate, below 0x110000).
void append_utf8(uint32_t point, std::string& out);

// Text from a guest or a file, fit for one line of a message, a log or a terminal: control characters and
// what is not UTF-8 become \xNN; what is longer than `bytes_max` is cut, with "...".
std::string printable(std::string_view text, size_t bytes_max = 100);

}  // namespace spore
