#pragma once

// Arguments of functions with WIT signatures, as words of a command line, and what they give.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/host/wit_value.h"
#include "spore/udf/function.h"

namespace spore::cli {

// Text and enums as they are, bytes in base64, `null` for an option that is nothing, all else as JSON; of
// floats also nan, inf and -inf.  kInvalidArgument: it is none of its type.
Result<host::WitValue> parse_wit_word(const wasm::WitType& type, std::string_view word);

// One row of arguments.  kInvalidArgument: not as many as it takes, or which of them is none of its type.
Result<std::vector<host::WitValue>> parse_wit_words(const udf::Function& function,
                                                    std::span<const std::string_view> words);

// Text, enums and bytes as they were words, all else as JSON.
std::string wit_word(const wasm::WitType& type, const host::WitValue& value);

}  // namespace spore::cli
