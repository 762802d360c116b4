#pragma once

// The parts of a snapshot file, version 1, as bytes.  Byte for byte: docs/formats/snapshot.md.  Internal to
// snapshot/.
//
//   | superblock | MANIFEST | STATE | PAGEINDEX | MODULE | SOURCE | zeros | PAGES | PROFILE | HASHES |
//
// What is decoded may come from an attacker: every length, count and offset is held against what there is
// before it is used.  All of these give kCorruption with the offset, unless they say more.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/code/profile.h"
#include "spore/engine/instance_state.h"
#include "spore/memory/page_image.h"
#include "spore/snapshot/contents.h"

namespace spore::snapshot {

inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kSuperblockBytes = 4096;
// What is hashed at a time.
inline constexpr size_t kPieceBytes = size_t{1} << 20;
inline constexpr size_t kMemoriesMax = 100;
// So that no sum of lengths overflows.
inline constexpr uint64_t kFileBytesMax = uint64_t{1} << 40;

// In the order of the file; section_number() is another.
enum class Section : uint8_t { kManifest, kState, kPageIndex, kModule, kSource, kPages, kProfile, kHashes };
inline constexpr size_t kSectionCount = 8;
inline constexpr std::array kSections{Section::kManifest, Section::kState,  Section::kPageIndex,
                                      Section::kModule,   Section::kSource, Section::kPages,
                                      Section::kProfile,  Section::kHashes};
std::string_view section_name(Section section);  // "MANIFEST"
uint32_t section_number(Section section);        // in a file's table

struct Extent {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint64_t end() const { return offset + bytes; }
  bool operator==(const Extent&) const = default;
};

// --- superblock and hashes -----------------------------------------------------------------------------

struct Superblock {
  Digest id;
  std::optional<Digest> base;                  // of a derived image
  std::array<Extent, kSectionCount> sections;  // PROFILE of none if there is none

  bool has_profile() const { return (*this)[Section::kProfile].bytes > 0; }
  // Those that the file has.
  uint32_t section_count() const { return kSectionCount - (has_profile() ? 0 : 1); }
  const Extent& operator[](Section section) const { return sections[static_cast<size_t>(section)]; }
  uint64_t file_bytes() const { return sections.back().end(); }
};

// Where sections of these lengths are, but that of HASHES, which follows from them.  PROFILE of none: there
// is none.
Superblock lay_out(const std::array<uint64_t, kSectionCount - 1>& lengths);
uint64_t piece_count(uint64_t section_bytes);
// Of a section: the place of its first piece's hash in HASHES, in hashes.
uint64_t first_hash(const Superblock& superblock, Section section);

std::vector<uint8_t> encode_superblock(const Superblock& superblock);
// `bytes`: the first kSuperblockBytes of a file of `file_bytes`, or all of it.  kUnsupported: a newer
// version, another kind, something that is reserved.
Result<Superblock> decode_superblock(std::span<const uint8_t> bytes, uint64_t file_bytes);
// Of superblock and HASHES, whatever id the first has.
Digest compute_id(std::span<const uint8_t> superblock, std::span<const uint8_t> hashes);

// --- sections ------------------------------------------------------------------------------------------

std::vector<uint8_t> encode_manifest(const Manifest& manifest);
Result<Manifest> decode_manifest(std::span<const uint8_t> bytes, bool derived);

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
// `derived`: what is of the images that these stand on is left out.
PageIndex index_of(std::span<const std::shared_ptr<const memory::PageImage>> memories, bool derived);
std::vector<uint8_t> encode_page_index(const PageIndex& index);
// Of a file whose PAGES has so many bytes.
Result<PageIndex> decode_page_index(std::span<const uint8_t> bytes, uint64_t pages_bytes, bool derived);

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
