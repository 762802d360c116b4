#include "spore/snapshot/contents.h"

#include <algorithm>
#include <array>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/base/version.h"
#include "spore/engine/engine.h"
#include "spore/snapshot/errors.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {

std::string_view framing_name(Framing framing) {
  switch (framing) {
    case Framing::kNone: return "none";
    case Framing::kLines: return "lines";
    case Framing::kLength: return "length";
    case Framing::kEndOfInput: return "eof";
  }
  return "?";
}

namespace {

constexpr std::array<std::string_view, 4> kTierMaxNames{"none", "basic", "aggressive", "max"};

}  // namespace

std::string_view tier_max_name(TierMax tier_max) { return kTierMaxNames[static_cast<size_t>(tier_max)]; }

Result<TierMax> parse_tier_max(std::string_view name) {
  const auto* found = std::ranges::find(kTierMaxNames, name);
  if (found == kTierMaxNames.end()) {
    return explained(
        Status::invalid_argument("'{}' is none of none, basic, aggressive, max", printable(name)));
  }
  return static_cast<TierMax>(found - kTierMaxNames.begin());
}

const Presets::Preset* Presets::find(std::string_view name) const {
  const auto found = std::ranges::find(list, name, &Preset::name);
  return found == list.end() ? nullptr : &*found;
}

Result<Contents> contents_of(const cell::Image& image, std::shared_ptr<const std::vector<uint8_t>> source,
                             Origin origin) {
  const cell::Blueprint& blueprint = image.blueprint();
  const Digest module = sha256(*source);
  if (module != blueprint.prepared->facts.hash) {
    const std::string right = blueprint.prepared->facts.hash.hex();
    return with_facts(
        Status::invalid_argument("an image of module {} with the source of {}", right, module.hex()),
        {.kind = ErrorKind::kValidation, .expected = right, .found = module.hex()});
  }
  std::shared_ptr<const wasm::PreparedModule> prepared = blueprint.prepared;
  if (prepared->wasm.empty()) {
    Result<wasm::PreparedModule> again = wasm::prepare(*source, source->size());
    if (!again.ok()) return explained(std::move(again).status());
    prepared = std::make_shared<const wasm::PreparedModule>(std::move(again).value());
  }
  Contents contents;
  Result<cell::Image::Parts> parts = image.parts();
  if (!parts.ok()) return explained(std::move(parts).status());
  contents.image = std::move(parts).value();
  contents.manifest = {.name = blueprint.name,
                       .domain = std::move(origin.domain),
                       .created_s = origin.created_s,
                       .spore_version = std::string(version()),
                       .engine_version = fmt::format("wasmtime {}", engine::engine_version()),
                       .original = origin.original.value_or(module),
                       .rewriter = std::move(origin.rewriter),
                       .rewriter_arguments = std::move(origin.rewriter_arguments),
                       .module = module,
                       .prepared = sha256(prepared->wasm),
                       .preparer = wasm::kPreparerVersion,
                       .entry = std::move(origin.entry),
                       .framing = origin.framing,
                       .entropy_bytes = origin.entropy_bytes,
                       .wasi = {},
                       .tier_max = origin.tier_max};
  if (blueprint.wasi != nullptr) contents.manifest.wasi = blueprint.wasi->options();
  if (origin.base) {
    contents.base = origin.base->id;
    contents.manifest.base_file = std::move(origin.base->file);
  }
  contents.frames = std::move(origin.frames);
  contents.profile = std::move(origin.profile);
  contents.hot_set = std::move(origin.hot_set);
  contents.presets = std::move(origin.presets);
  contents.exports = ExportIndex::create(prepared->facts);
  contents.prepared = std::move(prepared);
  contents.source = std::move(source);
  return contents;
}

Result<cell::Image::Restored> restore(const Contents& contents,
                                      std::shared_ptr<const cell::Blueprint> blueprint,
                                      const memory::ResetOptions& options) {
  const wasm::PreparedModule* prepared = blueprint->prepared.get();
  const bool same =
      prepared == contents.prepared.get() ||
      (prepared != nullptr && (prepared->wasm.empty() || prepared->wasm == contents.prepared->wasm) &&
       wasm::encode_prepared(*prepared) == wasm::encode_prepared(*contents.prepared));
  if (!same) {
    return explained(Status::invalid_argument("'{}' is not the module of this image, which is '{}' ({})",
                                              blueprint->name, contents.manifest.name,
                                              contents.manifest.module.hex()));
  }
  Result<cell::Image::Restored> restored = cell::Image::restore(
      std::move(blueprint),
      cell::Image::Parts{
          .memories = contents.image.memories, .values = contents.image.values, .wasi = contents.image.wasi},
      options);
  if (!restored.ok()) return explained(std::move(restored).status());
  return restored;
}

}  // namespace spore::snapshot
