#include "spore/snapshot/check.h"

#include "spore/engine/instance_state.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {
namespace {

Status check_frames(const Contents& contents) {
  if (!contents.frames) return {};
  const Frames& frames = *contents.frames;
  const size_t bytes = contents.image.memories.empty() ? 0 : contents.image.memories[0]->bytes();
  if (frames.address <= bytes && frames.borrowed.size() <= bytes - frames.address) return {};
  return Status::invalid_argument("{} bytes of frames at {}, in a memory of {}", frames.borrowed.size(),
                                  frames.address, bytes);
}

}  // namespace

Status check_contents(const Contents& contents) {
  const wasm::PreparedModule& prepared = *contents.prepared;
  const Manifest& manifest = contents.manifest;
  if (prepared.facts.hash != manifest.module || prepared.facts.module_bytes != contents.source->size()) {
    return Status::invalid_argument("the facts are of another module than the manifest's");
  }
  if (manifest.preparer != wasm::kPreparerVersion) {
    return Status::invalid_argument("prepared by preparer {}, the manifest says {}", wasm::kPreparerVersion,
                                    manifest.preparer);
  }
  if (prepared.reset() != wasm::ResetMode::kInPlace) {
    return Status::invalid_argument("an image of a module whose state cannot be held: {}",
                                    prepared.reset_reasons.front());
  }
  SPORE_TRY(engine::check_values(contents.image.values, prepared));
  SPORE_TRY(cell::check_memories(contents.image.memories, prepared));
  if (contents.image.wasi.has_value() != manifest.wasi.has_value()) {
    return Status::invalid_argument("a state of WASI without its world, or a world without its state");
  }
  return check_frames(contents);
}

Status prove_module(const Contents& contents) {
  const wasm::PreparedModule right = SPORE_TRY(wasm::prepare(*contents.source, contents.source->size()));
  if (right.facts.hash != contents.manifest.module) {
    return Status::invalid_argument("SOURCE is module {}, the manifest says {}", right.facts.hash.hex(),
                                    contents.manifest.module.hex());
  }
  if (right.wasm != contents.prepared->wasm || sha256(right.wasm) != contents.manifest.prepared) {
    return Status::invalid_argument("MODULE is not what preparing SOURCE gives");
  }
  if (wasm::encode_prepared(right) != wasm::encode_prepared(*contents.prepared)) {
    return Status::invalid_argument("the facts of the module are not what preparing SOURCE finds");
  }
  return {};
}

}  // namespace spore::snapshot
