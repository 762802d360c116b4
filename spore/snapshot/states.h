#pragma once

// Images and deltas of one module, as states: how one differs from another, and what one becomes.

#include <cstdint>
#include <vector>

#include "spore/base/status.h"
#include "spore/cell/delta.h"
#include "spore/snapshot/contents.h"

namespace spore::snapshot {

// How `to` differs from `from`, memory, values, WASI and where a program waits; also of other lengths.
// kInvalidArgument: they are of different modules.
Result<cell::Delta> difference(const Contents& from, const Contents& to);
// `base` with these changes, for a file of its own: it stands on no other.  kInvalidArgument, kCorruption:
// they do not fit; kIo: no memory left.
Result<Contents> apply(const Contents& base, const cell::Delta& delta);

// Where a program waits, as a delta's part of the caller: docs/formats/delta.md.
std::vector<uint8_t> encode_place(const Frames& frames);
// And back; the functions that can be stopped are as before.  kCorruption.
Result<Frames> decode_place(const std::vector<uint8_t>& bytes, const Frames& before);

}  // namespace spore::snapshot
