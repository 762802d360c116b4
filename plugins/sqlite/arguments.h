#pragma once

// SQL values as arguments of a function.  The table of types: docs/sqlite.md.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "plugins/sqlite/api.h"
#include "spore/base/status.h"
#include "spore/engine/types.h"
#include "spore/host/wit_value.h"
#include "spore/udf/function.h"
#include "spore/wasm/wit.h"

namespace spore::sqlite {

enum class Taken : uint8_t {
  kValue,
  kNull,   // and its type has no word for it: the call is not made
  kWrong,  // wrong_argument() says how
};

// A number (host::is_number) as WitValue has it.
Taken take_number(const wasm::WitType& type, sqlite3_value* value, uint64_t& bits);

// `index`: from 0, for the message.
Status wrong_argument(const udf::Function& function, size_t index, sqlite3_value* value);

// Those of one call after the other.  Texts and blobs stay where SQLite has them, so they are good for as
// long as its values are.
class Arguments {
 public:
  // kNull: one of them, whose type is no option.  kInvalidArgument: not as many as the function takes, or one
  // that is none of its type.
  Result<Taken> set(const udf::Function& function, std::span<sqlite3_value*> values);
  std::span<const host::WitArg> get() const { return args_; }

 private:
  std::vector<host::WitValue> values_;  // of what has parts
  std::vector<host::WitArg> args_;
};

}  // namespace spore::sqlite
