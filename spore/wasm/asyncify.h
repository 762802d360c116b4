#pragma once

// Asyncify for those functions only that are on the stack where a program waits.  Binaryen goes over all of a
// module that it is given, and looks into no other function by what it does to one.  So it gets a module in
// which all others are empty, and what it makes of the few is put into the original:
//
//   module -- reduce_for_asyncify --> reduced -- wasm-opt --asyncify --> rewritten -- splice_asyncified -->
//   result
//
// wasm-opt is to be given -g, and asyncify-onlylist@ with the same functions, each by the name that the
// reduced module has for it: asyncify_name().

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "spore/base/status.h"

namespace spore::wasm {

// "f7": function 7 of the module, imported ones counted.
std::string asyncify_name(uint32_t function);

// The module with bodies for `functions` alone, which are indices, ascending.  What asyncify does not look at
// is left out: in the place of every other body stands `unreachable`, data segments are empty, there is no
// start function, and of custom sections only names, asyncify_name() of each function. `wasm` is valid
// (inspect() said so).  kInvalidModule: it cannot be read, or exports one of the five names that asyncify
// adds; kInvalidArgument: a number in `functions` is none of a function that it defines, or they do not
// ascend.
Result<std::vector<uint8_t>> reduce_for_asyncify(std::span<const uint8_t> wasm,
                                                 std::span<const uint32_t> functions);

// The module with the bodies of `functions` as they are in `rewritten`, which wasm-opt made of the reduced
// module, and behind all others the five functions and two globals of asyncify, and types if those need more.
// All indices keep their meaning; every other body and section is what it was, byte by byte, but that DWARF
// is left out, which tells offsets in the code. As reduce_for_asyncify, and kInternal: `rewritten` is not
// that module rewritten, in what way the message says. It need not be valid, nor come from a program that is
// trusted.  Of the result the sections and the bodies that are new were validated.
Result<std::vector<uint8_t>> splice_asyncified(std::span<const uint8_t> wasm,
                                               std::span<const uint8_t> rewritten,
                                               std::span<const uint32_t> functions);

}  // namespace spore::wasm
