#pragma once

// Arguments and expected results, as scripts spell them; extract/src/main.rs, "Values".

#include <optional>
#include <string>
#include <string_view>

#include "spore/engine/types.h"

namespace spore::spec {

struct TypedValue {
  engine::ValType type;
  engine::RawValue raw;
};

// Nothing for a reference that no host of this build can make.
std::optional<TypedValue> parse_value(std::string_view text);

// `value` has the type that `pattern` asks for and is such a value, to the bit.
bool matches(const TypedValue& value, std::string_view pattern);

// The value as a script would spell it.
std::string value_text(const TypedValue& value);

}  // namespace spore::spec
