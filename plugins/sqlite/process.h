#pragma once

// What all connections of a process share: one Runtime and one Maker.

#include "spore/base/status.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/maker.h"

namespace spore::sqlite {

// Made when the first function is, with the options of the data directory and the environment, as the command
// has them.  Never destroyed: the extension stays loaded, and its threads end with the process.  Thread-safe.
// kInvalidArgument: an option; what Runtime::create says.  The next call tries again.
Result<udf::Maker*> process_maker();

}  // namespace spore::sqlite
