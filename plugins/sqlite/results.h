#pragma once

// Values of WIT types as what SQL has.  The table of types: docs/sqlite.md.

#include "plugins/sqlite/api.h"
#include "spore/base/status.h"
#include "spore/host/wit_value.h"
#include "spore/wasm/wit.h"

namespace spore::sqlite {

// Of a call.  kHostError: the function gave a result that is an error, whose text is the message.
Status set_result(sqlite3_context* context, const wasm::WitType* type, const host::WitValue& value);

// A number's bits.
void set_number(sqlite3_context* context, const wasm::WitType& type, uint64_t bits);

}  // namespace spore::sqlite
