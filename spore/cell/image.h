#pragma once

// The clean start state that instances begin with, and go back to.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "spore/base/status.h"
#include "spore/cell/blueprint.h"
#include "spore/engine/instance_state.h"
#include "spore/host/wasi.h"
#include "spore/host/wasi_state.h"
#include "spore/memory/page_image.h"
#include "spore/memory/slot.h"

namespace spore::cell {

// Memory, globals, tables and WASI as one initialised instance had them: the module was initialised once, for
// all that start from here.  Immutable, shared.  Belongs to one trust domain: what initialisation drew, as
// random numbers, is nothing that two domains may share.
class Image {
 public:
  // Runs the module's initialisation, under the limits of one call.  How that failed; kLimitExceeded, kIo: no
  // memory left.  Only for modules whose reset mode is in_place.
  static Result<std::shared_ptr<const Image>> create(std::shared_ptr<const Blueprint> blueprint,
                                                     const memory::ResetOptions& options);
  // Of an instance of the blueprint's code as it is now, between two calls: whatever was done to it.  `base`:
  // an image of the same module, or null; pages that are as there are held once.
  // kUnsupported: a table holds a function that has no number; kLimitExceeded, kIo: no memory left.
  static Result<std::shared_ptr<const Image>> capture(std::shared_ptr<const Blueprint> blueprint,
                                                      host::Instance& instance,
                                                      const memory::ResetOptions& options,
                                                      const Image* base = nullptr);

  // What an image is, without how its instances are made: to be kept, and made an image of again, perhaps in
  // another process.
  struct Parts {
    std::vector<std::shared_ptr<const memory::PageImage>> memories;  // none is null
    engine::StateValues values;
    std::optional<std::vector<uint8_t>> wasi;  // as Wasi::save() gives it; nothing: it has none
  };
  // How saving the state of WASI failed.
  Result<Parts> parts() const;

  // One of these parts: nothing is run.  Files that it had open are opened again; those that are gone or
  // changed are lost.  kInvalidArgument: the parts do not fit the blueprint's module; kLimitExceeded: nor its
  // limits; what Wasi::restore() says.  Only for modules whose reset mode is in_place.
  struct Restored {
    std::shared_ptr<const Image> image;
    std::vector<host::Wasi::Lost> lost;
  };
  static Result<Restored> restore(std::shared_ptr<const Blueprint> blueprint, Parts parts,
                                  const memory::ResetOptions& options);

  const Blueprint& blueprint() const { return *blueprint_; }
  const std::shared_ptr<const Blueprint>& shared_blueprint() const { return blueprint_; }
  // What the memories of its instances are opened with.
  const engine::MemoryPlan& memories() const { return memories_; }
  const engine::StateValues& values() const { return values_; }
  const host::WasiState& wasi() const { return wasi_; }
  // Bytes of memory that all its instances share.
  size_t bytes() const;

 private:
  explicit Image(std::shared_ptr<const Blueprint> blueprint) : blueprint_(std::move(blueprint)) {}

  std::shared_ptr<const Blueprint> blueprint_;
  engine::MemoryPlan memories_;
  engine::StateValues values_;
  host::WasiState wasi_;
};

// Ok if the memories of the module can be these.  kInvalidArgument: says which cannot.
Status check_memories(std::span<const std::shared_ptr<const memory::PageImage>> memories,
                      const wasm::PreparedModule& prepared);

}  // namespace spore::cell
