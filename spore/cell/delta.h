#pragma once

// How one state differs from another, as bytes: what a sleeping cell is.  Byte for byte:
// docs/formats/delta.md.
//
// A cell's delta says how it differs from its image.  A link of a chain says how a later state differs from
// an earlier one of the same cell; fold() makes one delta of both.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "spore/base/status.h"
#include "spore/cell/image.h"
#include "spore/engine/instance_state.h"
#include "spore/engine/limits.h"

namespace spore::cell {

class CleanInstance;

// Taken apart.
struct Delta {
  // Bytes of a memory, from an offset on.
  struct Run {
    uint64_t offset = 0;
    std::vector<uint8_t> bytes;
    uint64_t end() const { return offset + bytes.size(); }
    bool operator==(const Run&) const = default;
  };
  struct Memory {
    std::optional<uint64_t> bytes;  // its length, if it is another one
    std::vector<Run> runs;          // in order, none touches the next; what was not there before was zeros
    bool operator==(const Memory&) const = default;
  };
  // Something that is there or not.
  struct Part {
    enum class Kind : uint8_t {
      kSame,   // as before
      kSet,    // these bytes
      kImage,  // as in the image again; in links alone
    };
    Kind kind = Kind::kSame;
    std::vector<uint8_t> bytes{};
    bool operator==(const Part&) const = default;
  };

  std::vector<Memory> memories;  // the last is not empty
  engine::InstanceState::Changes values;
  Part wasi;    // as Wasi::save() gives it
  Part caller;  // what whoever calls the cell keeps with it: where a program stands
};

// The same delta gives the same bytes.
std::vector<uint8_t> encode_delta(const Delta& delta);
// Of bytes that may come from anybody.  kCorruption: says where; kUnsupported: a newer version.
Result<Delta> decode_delta(std::span<const uint8_t> bytes);

// Ok if what differs so from the image is a state of its module, within the limits.  kInvalidArgument: says
// what cannot be; kLimitExceeded.
Status check_delta(const Delta& delta, const Image& image);

// What `instance`, used since it was clean, holds beside its image, appended to `into`.  `caller`: of
// Delta::caller; null: as in the image.  kUnsupported: a table holds a function that has no number;
// kLimitExceeded: longer than `bytes_max`; how saving the state of WASI failed.
Status encode_state(CleanInstance& instance, const std::vector<uint8_t>* caller, size_t bytes_max,
                    std::vector<uint8_t>& into);
// Makes a clean instance hold that.  `bytes`: of encode_state(), or such as check_delta() took.  `caller`:
// nothing if it is as in the image.  `lost`: files that it had open and that are gone.  kLimitExceeded: no
// memory left; kCorruption; what Wasi::restore() says.  After a failure it is to be reset.
struct Applied {
  std::optional<std::vector<uint8_t>> caller;
  std::vector<host::Wasi::Lost> lost;
};
Result<Applied> apply_state(CleanInstance& instance, std::span<const uint8_t> bytes);

// One delta of two, the second of which goes on from where the first leads.  kInvalidArgument: a memory would
// become shorter, which none does.
Result<Delta> fold(Delta first, const Delta& second);
// How `later` differs from `earlier`, two deltas on the image.
Delta difference(const Delta& earlier, const Delta& later, const Image& image);
// How an image differs from another one of the same module, also of other lengths.  kInvalidArgument: of
// another one.
Result<Delta> difference(const Image::Parts& earlier, const Image::Parts& later);
// What the image is with these changes.  kInvalidArgument: they do not fit; kIo: no memory left.
Result<Image::Parts> apply_delta(const Image::Parts& parts, const Delta& delta);

// Pages in which it has bytes.
uint64_t pages_in(const Delta& delta);

}  // namespace spore::cell
