#pragma once

// Whether the parts of a snapshot fit each other.  Internal to snapshot/.

#include "spore/base/status.h"
#include "spore/snapshot/contents.h"

namespace spore::snapshot {

// Ok if the image is one of the module, as the module's facts have it, and the manifest names that module.
// kInvalidArgument: says what does not fit.
Status check_contents(const Contents& contents);

// Ok if preparing the source gives this module, and these facts: so nothing is taken on anybody's word.
// kInvalidArgument: it gives another one; what wasm::prepare() says.
Status prove_module(const Contents& contents);

}  // namespace spore::snapshot
