#pragma once

// The sections of a snapshot file that have fields, as bytes.  Byte for byte: docs/formats/snapshot.md.
// Internal to snapshot/.
//
// What is decoded may come from an attacker: every length, count and offset is held against what there is
// before it is used.  All of these give kCorruption with the offset, unless they say more.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/code/profile.h"
#include "spore/engine/instance_state.h"
#include "spore/memory/page_image.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/superblock.h"

namespace spore::snapshot {

inline constexpr size_t kMemoriesMax = 100;
inline constexpr size_t kProfileEntryBytesMin = 20;
inline constexpr size_t kProfileBytesMax =
    5 + code::Profile::kFunctionsMax * (kProfileEntryBytesMin + code::Profile::kNameBytesMax);

// As a version has it.
std::vector<uint8_t> encode_manifest(const Manifest& manifest, uint32_t version = kFormatVersion);
Result<Manifest> decode_manifest(std::span<const uint8_t> bytes, bool derived,
                                 uint32_t version = kFormatVersion);

// Of a delta: all but what stands elsewhere in the file.
std::vector<uint8_t> encode_delta_manifest(const DeltaFile& delta);
Result<DeltaFile> decode_delta_manifest(std::span<const uint8_t> bytes);

struct State {
  engine::StateValues values;
  std::optional<std::vector<uint8_t>> wasi;
  std::optional<Frames> frames;
};
std::vector<uint8_t> encode_state(const State& state);
// kUnsupported: a newer state of WASI.
Result<State> decode_state(std::span<const uint8_t> bytes);

// Never of no bytes.
std::vector<uint8_t> encode_profile(const code::Profile& profile);
Result<code::Profile> decode_profile(std::span<const uint8_t> bytes);

std::vector<uint8_t> encode_exports(const ExportIndex& exports);
Result<std::shared_ptr<const ExportIndex>> decode_exports(std::span<const uint8_t> bytes);

std::vector<uint8_t> encode_presets(const Presets& presets);
Result<Presets> decode_presets(std::span<const uint8_t> bytes);

std::vector<uint8_t> encode_hot_set(std::span<const HotRun> runs);
// `memory_pages`: of each memory.
Result<std::vector<HotRun>> decode_hot_set(std::span<const uint8_t> bytes,
                                           std::span<const uint64_t> memory_pages);

struct Run {
  enum class Kind : uint8_t { kZeros = 1, kRaw = 2, kBase = 3 };  // the last in derived images alone
  Kind kind = Kind::kZeros;
  uint32_t pages = 0;  // at least 1
  uint64_t at = 0;     // of raw pages: where in PAGES, in pages
};
struct MemoryIndex {
  std::vector<Run> runs;

  uint64_t pages() const;
  uint64_t pages(Run::Kind kind) const;
  // Those of a kind, in the memory.
  std::vector<memory::PageRun> runs_of(Run::Kind kind) const;
};
using PageIndex = std::vector<MemoryIndex>;
// What differs by the kind of file and its form.
struct PageLayout {
  bool derived = false;  // what is of the images that these stand on is left out
  bool mapped = false;   // pages stand in PAGES as they stand in memory
};
PageIndex index_of(std::span<const std::shared_ptr<const memory::PageImage>> memories, PageLayout layout);
// Pages that PAGES has.
uint64_t pages_in(const PageIndex& index, PageLayout layout);
std::vector<uint8_t> encode_page_index(const PageIndex& index);
// Of a file whose PAGES has so many bytes.
Result<PageIndex> decode_page_index(std::span<const uint8_t> bytes, uint64_t pages_bytes, PageLayout layout);
bool is_zero_page(const std::byte* page);

// The prepared module, told by what it has in common with its source.
struct Piece {
  static constexpr uint64_t kLiteral = UINT64_MAX;
  uint64_t from = kLiteral;  // else an offset in the source
  uint64_t bytes = 0;
};
struct ModuleParts {
  std::vector<uint8_t> facts;  // wasm::encode_prepared
  std::vector<Piece> pieces;
  uint64_t prepared_bytes = 0;
  std::vector<uint8_t> literals;
};
ModuleParts split_module(std::span<const uint8_t> prepared, std::span<const uint8_t> source);
// The bytes of the prepared module.  `parts` were decoded for a source of this length.
std::vector<uint8_t> join_module(const ModuleParts& parts, std::span<const uint8_t> source);
std::vector<uint8_t> encode_module(const ModuleParts& parts);
Result<ModuleParts> decode_module(std::span<const uint8_t> bytes, uint64_t source_bytes);

}  // namespace spore::snapshot
