#pragma once

// The tier above the optimising compiler: a prepared module that Binaryen optimised.  It merges, inlines and
// reorders what it likes, so nothing of it is known by index any more; but an instance of one tier becomes
// one of another by names.  Whether that can be so is looked at here.

#include <cstdint>
#include <span>

#include "spore/base/status.h"
#include "spore/wasm/prepare.h"

namespace spore::wasm {

// Whether `peak` holds the same state as the module that it was made of, and no other: an instance of the one
// can go on as one of the other.  `wasm`: the prepared form, of which `prepared` tells.
//
// - It is valid and uses no proposal beside those of the prepared form.
// - Every mutable global, memory and table that it defines is exported, under the names of the prepared form.
// - It exports the same names, of the same types; what was one under two names is one, what was two is two.
//   So every spore:fN is a function of its own, and what globals begin with is what they began with.
// - It has no start function.  Its segments are as they were, each with the same bytes or functions at the
//   same place; of functions that have no name the types are compared.
// - It drops no segment, and neither grows memories nor changes or grows a table if the prepared form does
// not:
//   what never changes is neither saved nor put back.
// - It imports nothing beside what the prepared form does.
//
// What its functions do is not looked at further: that is the guest's own, as far as its state is.
// kUnsupported: says which of these does not hold.  kInvalidArgument: `wasm` is not what `prepared` tells of.
// kInternal: `wasm` cannot be read.
Status check_peak(std::span<const uint8_t> peak, std::span<const uint8_t> wasm,
                  const PreparedModule& prepared, size_t bytes_max);

}  // namespace spore::wasm
