#pragma once

// The first 4,096 bytes of a snapshot file: what it is, and where its sections are; and its hashes.  Byte for
// byte: docs/formats/snapshot.md.  Internal to snapshot/.
//
// Version 2:
//
//   | superblock | MANIFEST | STATE | PAGEINDEX | EXPORTS | ... | MODULE | SOURCE | zeros | PAGES | HASHES |
//
// What is decoded may come from an attacker: every length, count and offset is held against what there is
// before it is used.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/frames.h"
#include "spore/base/hash.h"
#include "spore/base/status.h"

namespace spore::snapshot {

inline constexpr uint32_t kFormatVersion = 2;  // that is written; all up to it are read
inline constexpr size_t kSuperblockBytes = 4096;
// What is hashed at a time.
inline constexpr size_t kPieceBytes = size_t{1} << 20;
// So that no sum of lengths overflows.
inline constexpr uint64_t kFileBytesMax = uint64_t{1} << 40;

// By its number in a file's table.
enum class Section : uint8_t {
  kManifest = 1,
  kState,
  kPageIndex,
  kModule,
  kSource,
  kPages,
  kHashes,
  kHotSet,
  kProfile,
  kExports,
  kPresets,
  kDelta,
};
inline constexpr uint32_t kSectionNumberMax = 12;
std::string_view section_name(Section section);  // "MANIFEST"
// All that a version has, in the order of the file.
std::span<const Section> section_order(uint32_t version);

enum class Kind : uint8_t { kBase = 1, kDelta, kDerived };
std::string_view kind_name(Kind kind);  // "base", "delta", "derived"

// Where a section is.
struct Extent {
  Section section{};
  Codec codec = Codec::kRaw;
  uint64_t offset = 0;
  uint64_t bytes = 0;      // as they are stored
  uint64_t raw_bytes = 0;  // decompressed

  uint64_t end() const { return offset + bytes; }
  bool operator==(const Extent&) const = default;
};

struct Superblock {
  uint32_t version = kFormatVersion;
  Kind kind = Kind::kBase;
  bool mapped = false;    // the form
  uint64_t sequence = 0;  // of a delta
  Digest id;
  Digest parent;                 // of a base zeros
  std::vector<Extent> sections;  // those that the file has, in order

  // Null: there is none.
  const Extent* find(Section section) const;
  uint64_t file_bytes() const { return sections.back().end(); }
  uint64_t raw_bytes() const;
};

// Sets all offsets, and the length of HASHES, which is the last section.
void lay_out(Superblock& superblock);

std::vector<uint8_t> encode_superblock(const Superblock& superblock);
// `bytes`: the first kSuperblockBytes of a file of `file_bytes`, or all of it.  kUnsupported: a newer
// version, something that this build does not know or that is reserved; kCorruption.
Result<Superblock> decode_superblock(std::span<const uint8_t> bytes, uint64_t file_bytes);

// Whether pages of PAGES begin at pages of the file.
bool is_aligned(const Superblock& superblock, const Extent& extent);

// --- hashes ----------------------------------------------------------------------------------------------

uint64_t piece_count(uint64_t section_bytes);
// Digests of HASHES: in version 2 one for each section, then those of the pieces.
uint64_t hash_count(const Superblock& superblock);
// The place of the first piece's.
uint64_t first_hash(const Superblock& superblock, const Extent& extent);
// HASHES, given the pieces' alone.
std::vector<uint8_t> encode_hashes(const Superblock& superblock, std::span<const Digest> pieces);
// Of superblock and HASHES, whatever id the first has.
Digest compute_id(std::span<const uint8_t> superblock, std::span<const uint8_t> hashes);

}  // namespace spore::snapshot
