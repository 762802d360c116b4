#pragma once

// Arguments of a function, for those who have them as something else than values: words, JSON, C.

#include <cstddef>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/host/wit_value.h"
#include "spore/udf/function.h"

namespace spore::udf {

// kInvalidArgument: not as many as it takes; the signature is in the message.
Status check_count(const Function& function, size_t count);

// What the argument in that place is of, and called: as the parameter there, or of further ones of a variadic
// function as what is in its list.  There must be a parameter.
const wasm::WitType& argument_type(const Function& function, size_t index);
std::string_view argument_name(const Function& function, size_t index);

// A JSON array.  kInvalidArgument: it is none, or check_count(), or which of them is none of its type.
Result<std::vector<host::WitValue>> arguments_from_json(const Function& function, std::string_view json);

}  // namespace spore::udf
