#include "spore/snapshot/states.h"

#include <cstring>
#include <utility>

#include "spore/snapshot/check.h"
#include "spore/snapshot/errors.h"

namespace spore::snapshot {
namespace {

using PartKind = cell::Delta::Part::Kind;

constexpr uint8_t kPlaceVersion = 1;
constexpr size_t kPlaceHeadBytes = 1 + sizeof(uint32_t);

}  // namespace

std::vector<uint8_t> encode_place(const Frames& frames) {
  std::vector<uint8_t> bytes(kPlaceHeadBytes + frames.borrowed.size());
  const auto address = static_cast<uint32_t>(frames.address);
  bytes[0] = kPlaceVersion;
  std::memcpy(&bytes[1], &address, sizeof address);
  if (!frames.borrowed.empty()) {
    std::memcpy(bytes.data() + kPlaceHeadBytes, frames.borrowed.data(), frames.borrowed.size());
  }
  return bytes;
}

Result<Frames> decode_place(const std::vector<uint8_t>& bytes, const Frames& before) {
  if (bytes.size() < kPlaceHeadBytes || bytes[0] != kPlaceVersion) {
    return explained(Status::corruption("the state of a program that does not say where it waits"));
  }
  uint32_t address = 0;
  std::memcpy(&address, &bytes[1], sizeof address);
  return Frames{.address = address,
                .borrowed = {bytes.begin() + kPlaceHeadBytes, bytes.end()},
                .functions = before.functions};
}

Result<cell::Delta> difference(const Contents& from, const Contents& to) {
  if (from.manifest.prepared != to.manifest.prepared || from.frames.has_value() != to.frames.has_value()) {
    return with_facts(Status::invalid_argument("images of different modules: {} and {}",
                                               from.manifest.prepared.hex(), to.manifest.prepared.hex()),
                      {.kind = ErrorKind::kValidation,
                       .expected = from.manifest.prepared.hex(),
                       .found = to.manifest.prepared.hex()});
  }
  Result<cell::Delta> differs = cell::difference(from.image, to.image);
  if (!differs.ok()) return explained(std::move(differs).status());
  cell::Delta delta = std::move(differs).value();
  if (to.frames && !(*to.frames == *from.frames)) delta.caller = {PartKind::kSet, encode_place(*to.frames)};
  return delta;
}

Result<Contents> apply(const Contents& base, const cell::Delta& delta) {
  Contents made = base;
  made.id = {};
  made.file.reset();
  made.base.reset();
  made.manifest.base_file.reset();
  made.hot_set.clear();  // of other pages, perhaps
  Result<cell::Image::Parts> image = cell::apply_delta(base.image, delta);
  if (!image.ok()) return explained(std::move(image).status(), "DELTA");
  made.image = std::move(image).value();
  if (delta.caller.kind == PartKind::kSet) {
    if (!base.frames) {
      return explained(Status::invalid_argument("a delta of a program, on an image of a library"), "DELTA");
    }
    made.frames = SPORE_TRY(decode_place(delta.caller.bytes, *base.frames));
  }
  Status fits = check_contents(made);
  if (!fits.ok()) return explained(std::move(fits), "DELTA");
  return made;
}

}  // namespace spore::snapshot
