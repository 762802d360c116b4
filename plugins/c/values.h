#pragma once

// Values as C has them, and as functions take them.

#include <deque>
#include <span>
#include <vector>

#include "include/spore.h"
#include "spore/base/status.h"
#include "spore/host/wit_value.h"
#include "spore/udf/function.h"

namespace spore::c {

// Arguments that refer to what a caller in C has, or to what had to be made of it.  Used again for each call.
class Arguments {
 public:
  // Adds them.  kInvalidArgument: not as many as the function takes, or which of them is none of its type.
  Status add(const udf::Function& function, std::span<const spore_value> values);
  void clear();
  std::span<const host::WitArg> args() const { return args_; }

 private:
  Result<host::WitArg> arg_of(const wasm::WitType& type, const spore_value& value);
  host::WitArg keep(host::WitValue value);

  std::vector<host::WitArg> args_;
  std::deque<host::WitValue> kept_;
};

// Nothing: it is no number of that type.
std::optional<uint64_t> number_bits(const wasm::WitType& type, const spore_value& value);

// `type` null: there is no result.  Throws std::bad_alloc.
spore_value value_of(const wasm::WitType* type, const host::WitValue& value);

}  // namespace spore::c
