#include "spore/snapshot/superblock.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "spore/base/bytes.h"
#include "spore/memory/page_image.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/format.h"
#include "spore/snapshot/reader.h"

namespace spore::snapshot {
namespace {

// Not text (0x89), damaged by any newline conversion: as PNG does.
constexpr std::array<uint8_t, 8> kMagic{0x89, 'S', 'P', 'I', '\r', '\n', 0x1A, '\n'};
constexpr size_t kVersionAt = 8;
constexpr size_t kKindAt = 12;
constexpr size_t kFlagsAt = 24;
constexpr size_t kCountAt = 28;
constexpr size_t kIdAt = 40;
constexpr size_t kTableAt = 104;
constexpr uint32_t kFlagMapped = 1;

constexpr std::array kOrder1{Section::kManifest, Section::kState, Section::kPageIndex, Section::kModule,
                             Section::kSource,   Section::kPages, Section::kProfile,   Section::kHashes};
constexpr std::array kOrder2{Section::kManifest, Section::kState,  Section::kPageIndex, Section::kExports,
                             Section::kPresets,  Section::kHotSet, Section::kProfile,   Section::kModule,
                             Section::kSource,   Section::kDelta,  Section::kPages,     Section::kHashes};

size_t entry_bytes(uint32_t version) {
  constexpr size_t kEntryBytes1 = 24;
  constexpr size_t kEntryBytes2 = 40;
  return version == 1 ? kEntryBytes1 : kEntryBytes2;
}

// Whether a kind has a section, in version 2.
enum class Has : uint8_t { kMust, kMay, kNot };
Has has(Kind kind, Section section) {
  const bool delta = kind == Kind::kDelta;
  switch (section) {
    case Section::kManifest:
    case Section::kHashes: return Has::kMust;
    case Section::kState:
    case Section::kPageIndex: return delta ? Has::kNot : Has::kMust;
    case Section::kExports:
    case Section::kModule:
    case Section::kSource: return kind == Kind::kBase ? Has::kMay : Has::kNot;
    case Section::kPresets:
    case Section::kHotSet:
    case Section::kProfile:
    case Section::kPages: return delta ? Has::kNot : Has::kMay;
    case Section::kDelta: return delta ? Has::kMust : Has::kNot;
  }
  return Has::kNot;
}

bool all_zero(std::span<const uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
}

void put_digest(ByteWriter& writer, const Digest& digest) {
  for (const uint8_t byte : digest.bytes) writer.u8(byte);
}
Digest take_digest(ByteReader& reader) {
  Digest digest;
  for (uint8_t& byte : digest.bytes) byte = reader.u8();
  return digest;
}

// At an offset of the superblock.
Status refused(Status status, ErrorKind kind, size_t at, std::string expected = {}, std::string found = {}) {
  return with_facts(std::move(status), {.kind = kind,
                                        .section = "superblock",
                                        .offset = at,
                                        .expected = std::move(expected),
                                        .found = std::move(found)});
}

}  // namespace

bool has_snapshot_magic(std::span<const uint8_t> bytes) {
  return bytes.size() >= kMagic.size() && std::ranges::equal(bytes.first(kMagic.size()), kMagic);
}

std::string_view section_name(Section section) {
  switch (section) {
    case Section::kManifest: return "MANIFEST";
    case Section::kState: return "STATE";
    case Section::kPageIndex: return "PAGEINDEX";
    case Section::kModule: return "MODULE";
    case Section::kSource: return "SOURCE";
    case Section::kPages: return "PAGES";
    case Section::kHashes: return "HASHES";
    case Section::kHotSet: return "HOTSET";
    case Section::kProfile: return "PROFILE";
    case Section::kExports: return "EXPORTS";
    case Section::kPresets: return "PRESETS";
    case Section::kDelta: return "DELTA";
  }
  return "?";
}

std::span<const Section> section_order(uint32_t version) {
  return version == 1 ? std::span<const Section>(kOrder1) : std::span<const Section>(kOrder2);
}

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kBase: return "base";
    case Kind::kDelta: return "delta";
    case Kind::kDerived: return "derived";
  }
  return "?";
}

const Extent* Superblock::find(Section section) const {
  const auto found = std::ranges::find(sections, section, &Extent::section);
  return found == sections.end() ? nullptr : &*found;
}

uint64_t Superblock::raw_bytes() const {
  uint64_t bytes = 0;
  for (const Extent& extent : sections) bytes += extent.raw_bytes;
  return bytes;
}

// --- hashes ----------------------------------------------------------------------------------------------

uint64_t piece_count(uint64_t section_bytes) { return (section_bytes + kPieceBytes - 1) / kPieceBytes; }

namespace {

// Digests that come before those of pieces.
uint64_t section_hashes(const Superblock& superblock) {
  return superblock.version == 1 ? 0 : superblock.sections.size() - 1;
}

}  // namespace

uint64_t first_hash(const Superblock& superblock, const Extent& extent) {
  uint64_t count = section_hashes(superblock);
  for (const Extent& before : superblock.sections) {
    if (before.section == extent.section) break;
    count += piece_count(before.bytes);
  }
  return count;
}

uint64_t hash_count(const Superblock& superblock) {
  return first_hash(superblock, superblock.sections.back());
}

std::vector<uint8_t> encode_hashes(const Superblock& superblock, std::span<const Digest> pieces) {
  ByteWriter writer;
  const auto as_bytes = [](std::span<const Digest> digests) {
    return std::span(reinterpret_cast<const uint8_t*>(digests.data()), digests.size_bytes());
  };
  if (superblock.version != 1) {
    std::span<const Digest> left = pieces;
    for (const Extent& extent : std::span(superblock.sections).first(superblock.sections.size() - 1)) {
      const uint64_t count = piece_count(extent.bytes);
      put_digest(writer, sha256(as_bytes(left.first(count))));
      left = left.subspan(count);
    }
  }
  for (const Digest& digest : pieces) put_digest(writer, digest);
  return writer.take();
}

Digest compute_id(std::span<const uint8_t> superblock, std::span<const uint8_t> hashes) {
  static constexpr std::array<uint8_t, sizeof(Digest::bytes)> kNoId{};
  return sha256({superblock.first(kIdAt), kNoId, superblock.subspan(kIdAt + kNoId.size()), hashes});
}

// --- layout ----------------------------------------------------------------------------------------------

bool is_aligned(const Superblock& superblock, const Extent& extent) {
  return extent.section == Section::kPages && (superblock.version == 1 || extent.codec == Codec::kRaw);
}

void lay_out(Superblock& superblock) {
  Extent& hashes = superblock.sections.back();
  SPORE_ASSERT(hashes.section == Section::kHashes, "HASHES comes last");
  hashes.bytes = hashes.raw_bytes = hash_count(superblock) * sizeof(Digest::bytes);
  uint64_t at = kSuperblockBytes;
  for (Extent& extent : superblock.sections) {
    if (is_aligned(superblock, extent)) {
      at = (at + memory::kPageBytes - 1) / memory::kPageBytes * memory::kPageBytes;
    }
    extent.offset = at;
    at += extent.bytes;
  }
}

std::vector<uint8_t> encode_superblock(const Superblock& superblock) {
  ByteWriter writer;
  for (const uint8_t byte : kMagic) writer.u8(byte);
  writer.u32(superblock.version).u32(static_cast<uint32_t>(superblock.kind)).u64(superblock.file_bytes());
  writer.u32(superblock.mapped ? kFlagMapped : 0).u32(static_cast<uint32_t>(superblock.sections.size()));
  writer.u64(superblock.sequence);
  put_digest(writer, superblock.id);
  put_digest(writer, superblock.parent);
  for (const Extent& extent : superblock.sections) {
    writer.u32(static_cast<uint32_t>(extent.section)).u32(static_cast<uint32_t>(extent.codec));
    writer.u64(extent.offset).u64(extent.bytes);
    if (superblock.version != 1) writer.u64(extent.raw_bytes).u64(0);
  }
  std::vector<uint8_t> bytes = writer.take();
  SPORE_ASSERT(bytes.size() == kTableAt + superblock.sections.size() * entry_bytes(superblock.version),
               "the superblock has another length");
  bytes.resize(kSuperblockBytes);
  return bytes;
}

// --- decoding --------------------------------------------------------------------------------------------

namespace {

Status check_version(std::span<const uint8_t> bytes) {
  if (!has_snapshot_magic(bytes)) {
    return refused(Status::corruption("this is no snapshot: wrong magic at byte 0"), ErrorKind::kFormat, 0);
  }
  if (bytes.size() < kSuperblockBytes) {
    return refused(Status::corruption("{} bytes, a snapshot begins with {}", bytes.size(), kSuperblockBytes),
                   ErrorKind::kCorruption, bytes.size(), fmt::format("{} bytes", kSuperblockBytes),
                   fmt::format("{} bytes", bytes.size()));
  }
  const uint32_t version = ByteReader(bytes.subspan(kVersionAt)).u32();
  const std::string expected = fmt::format("version 1 to {}", kFormatVersion);
  const std::string found = fmt::format("version {}", version);
  if (version > kFormatVersion) {
    return refused(Status::unsupported("format version {}, made by a newer Spore; this build reads up to {}",
                                       version, kFormatVersion),
                   ErrorKind::kVersion, kVersionAt, expected, found);
  }
  if (version == 0) {
    return refused(Status::corruption("there is no format version 0"), ErrorKind::kFormat, kVersionAt,
                   expected, found);
  }
  return {};
}

struct Head {
  uint32_t version = 0;
  uint32_t kind = 0;
  uint32_t flags = 0;
  uint32_t sections = 0;
};

// What later versions may mean by it, and this one does not know.
Status check_head(const Head& head) {
  if (head.kind < static_cast<uint32_t>(Kind::kBase) || head.kind > static_cast<uint32_t>(Kind::kDerived)) {
    return refused(Status::corruption("at byte 12: there is no kind {}", head.kind), ErrorKind::kFormat,
                   kKindAt, "kind 1 to 3", fmt::format("kind {}", head.kind));
  }
  const bool delta = head.kind == static_cast<uint32_t>(Kind::kDelta);
  if (head.version == 1 && delta) {
    return refused(Status::unsupported("a delta: in version 1 there are images alone"), ErrorKind::kVersion,
                   kKindAt, "an image", "a delta");
  }
  const uint32_t flags_known = head.version == 1 ? 0 : kFlagMapped;
  if ((head.flags & ~flags_known) != 0) {
    return refused(Status::unsupported("flags {:#x}, which this build does not know", head.flags),
                   ErrorKind::kVersion, kFlagsAt, fmt::format("flags {:#x} or fewer", flags_known),
                   fmt::format("flags {:#x}", head.flags));
  }
  if (delta && head.flags != 0) {
    return refused(Status::corruption("a delta in the mapped form"), ErrorKind::kFormat, kFlagsAt, "no flags",
                   fmt::format("flags {:#x}", head.flags));
  }
  const uint32_t most = head.version == 1 ? kOrder1.size() : (kSuperblockBytes - kTableAt) / entry_bytes(2);
  const uint32_t least = head.version == 1 ? most - 1 : 2;
  if (head.sections >= least && head.sections <= most) return {};
  const std::string found = fmt::format("{} sections", head.sections);
  if (head.version == 1) {
    return refused(Status::unsupported("{}, this build knows files of {} and {}", found, least, most),
                   ErrorKind::kVersion, kCountAt, fmt::format("{} or {} sections", least, most), found);
  }
  return refused(Status::corruption("{}, there are {} to {}", found, least, most), ErrorKind::kFormat,
                 kCountAt, fmt::format("{} to {} sections", least, most), found);
}

// One entry of the table.  What is wrong with its lengths alone; check_table() has the rest.
Result<Extent> read_entry(ByteReader& reader, const Superblock& head, uint64_t file_bytes) {
  const uint32_t number = reader.u32();
  const uint32_t codec = reader.u32();
  Extent extent;
  extent.offset = reader.u64();
  extent.bytes = extent.raw_bytes = reader.u64();
  const bool first = head.version == 1;
  if (!first) {
    extent.raw_bytes = reader.u64();
    if (reader.u64() != 0) reader.fail("what is reserved is not 0");
  }
  if (!reader.ok()) return extent;
  const size_t at = reader.offset() - entry_bytes(head.version);
  if (number == 0) reader.fail("a section in the place of another");
  if (first && number == static_cast<uint32_t>(Section::kHotSet)) {
    return refused(Status::unsupported("section HOTSET, which version 1 has not"), ErrorKind::kVersion, at);
  }
  if (!first && number > kSectionNumberMax) {
    return refused(Status::unsupported("section {}, which this build does not know", number),
                   ErrorKind::kVersion, at, fmt::format("sections up to {}", kSectionNumberMax),
                   fmt::format("section {}", number));
  }
  extent.section = static_cast<Section>(std::min(number, kSectionNumberMax));
  const uint32_t codec_max = static_cast<uint32_t>(first ? Codec::kRaw : Codec::kLz4);
  if (codec > codec_max && reader.ok() && !(first && number > kSectionNumberMax)) {
    return refused(Status::unsupported("section {} has codec {}, this build reads those up to {}",
                                       section_name(extent.section), codec, codec_max),
                   ErrorKind::kVersion, at + sizeof(uint32_t), fmt::format("codec 0 to {}", codec_max),
                   fmt::format("codec {}", codec));
  }
  extent.codec = static_cast<Codec>(codec);
  if (extent.bytes > file_bytes) reader.fail("a section is longer than the file");
  if (first) return extent;
  if (extent.bytes == 0 || extent.raw_bytes == 0) reader.fail("an empty section");
  if (extent.raw_bytes > kFileBytesMax) reader.fail("a section is too long");
  if (extent.codec == Codec::kRaw) {
    if (extent.bytes != extent.raw_bytes) reader.fail("a raw section of two lengths");
  } else if (extent.bytes >= extent.raw_bytes) {
    reader.fail("a compressed section that is no shorter");
  } else if (frame_count(extent.raw_bytes) > extent.bytes / (sizeof(uint32_t) + 1)) {
    reader.fail("a compressed section of fewer bytes than it has frames");
  }
  return extent;
}

// That these sections are those of such a file, in order.
Status check_table_1(const Superblock& found, ByteReader& reader) {
  size_t place = 0;
  for (const Section section : kOrder1) {
    if (section == Section::kProfile && found.sections.size() < kOrder1.size()) continue;
    const Extent& extent = found.sections[place++];
    if (extent.section != section) {
      return refused(Status::corruption("superblock: at byte {}: a section in the place of another",
                                        kTableAt + place * entry_bytes(1)),
                     ErrorKind::kFormat, kTableAt + (place - 1) * entry_bytes(1),
                     std::string(section_name(section)), std::string(section_name(extent.section)));
    }
    const bool of_base = section == Section::kModule || section == Section::kSource;
    if (found.kind == Kind::kDerived && of_base && extent.bytes != 0) {
      reader.fail("a derived image has its base's module");
    }
    if (section == Section::kProfile && extent.bytes == 0) reader.fail("an empty section PROFILE");
  }
  return {};
}

Status check_table_2(const Superblock& found) {
  const auto bad = [](const Extent& extent, std::string_view what) {
    const std::string section(section_name(extent.section));
    return with_facts(Status::corruption("superblock: section {} {}", section, what),
                      {.kind = ErrorKind::kFormat, .section = section});
  };
  const auto place_of = [](const Extent& extent) { return std::ranges::find(kOrder2, extent.section); };
  for (size_t i = 1; i < found.sections.size(); i++) {
    if (place_of(found.sections[i - 1]) < place_of(found.sections[i])) continue;
    return bad(found.sections[i], "stands twice, or in the place of another");
  }
  for (const Section section : kOrder2) {
    const Has wanted = has(found.kind, section);
    const Extent* extent = found.find(section);
    if (extent == nullptr) {
      if (wanted == Has::kMust) {
        return bad({.section = section}, fmt::format("is missing in a {} file", kind_name(found.kind)));
      }
      continue;
    }
    if (wanted == Has::kNot) return bad(*extent, fmt::format("in a {} file", kind_name(found.kind)));
    const bool raw = section == Section::kHashes || (section == Section::kPages && found.mapped);
    if (raw && extent->codec != Codec::kRaw) return bad(*extent, "is compressed, and must not be");
  }
  if ((found.find(Section::kModule) == nullptr) != (found.find(Section::kSource) == nullptr)) {
    return bad({.section = Section::kSource}, "and MODULE are there both or not at all");
  }
  return {};
}

// There is one layout for these lengths: so nothing overlaps, and nothing is left out.
Status check_layout(const Superblock& found, uint64_t file_bytes) {
  Superblock right = found;
  lay_out(right);
  for (size_t i = 0; i < found.sections.size(); i++) {
    const Extent& there = found.sections[i];
    const Extent& wanted = right.sections[i];
    if (there == wanted) continue;
    const auto text = [](const Extent& extent) {
      return fmt::format("{} bytes at {}", extent.bytes, extent.offset);
    };
    const std::string section(section_name(there.section));
    return with_facts(
        Status::corruption("superblock: section {} is {}, should be {}", section, text(there), text(wanted)),
        {.kind = ErrorKind::kFormat, .section = section, .expected = text(wanted), .found = text(there)});
  }
  if (right.file_bytes() == file_bytes) return {};
  return refused(Status::corruption("superblock: the sections end at {}, the file at {}", right.file_bytes(),
                                    file_bytes),
                 ErrorKind::kFormat, kTableAt, fmt::format("{} bytes", right.file_bytes()),
                 fmt::format("{} bytes", file_bytes));
}

}  // namespace

Result<Superblock> decode_superblock(std::span<const uint8_t> bytes, uint64_t file_bytes) {
  SPORE_TRY(check_version(bytes));
  bytes = bytes.first(kSuperblockBytes);
  ByteReader reader(bytes);
  for (size_t i = 0; i < kMagic.size(); i++) reader.u8();
  Head head;
  head.version = reader.u32();
  head.kind = reader.u32();
  const uint64_t length = reader.u64();
  head.flags = reader.u32();
  head.sections = reader.u32();
  SPORE_TRY(check_head(head));
  if (length != file_bytes) {
    return refused(Status::corruption("{} bytes, {} were written: cut short, or something is left over",
                                      file_bytes, length),
                   ErrorKind::kCorruption, kKindAt + sizeof(uint32_t), fmt::format("{} bytes", length),
                   fmt::format("{} bytes", file_bytes));
  }
  if (file_bytes > kFileBytesMax) reader.fail("a file is too long");
  Superblock found{.version = head.version,
                   .kind = static_cast<Kind>(head.kind),
                   .mapped = (head.flags & kFlagMapped) != 0,
                   .sequence = reader.u64(),
                   .id = {},
                   .parent = {},
                   .sections = {}};
  const bool delta = found.kind == Kind::kDelta;
  if (!delta && found.sequence != 0) reader.fail("an image has no sequence number");
  if (delta && found.sequence == 0) reader.fail("a delta has a sequence number");
  found.id = take_digest(reader);
  found.parent = take_digest(reader);
  if ((found.parent != Digest{}) != (found.kind != Kind::kBase)) {
    reader.fail("a derived image has a parent, so has a delta, and no other");
  }
  for (uint32_t i = 0; i < head.sections; i++) {
    found.sections.push_back(SPORE_TRY(read_entry(reader, found, file_bytes)));
  }
  if (reader.ok()) SPORE_TRY(head.version == 1 ? check_table_1(found, reader) : check_table_2(found));
  if (const Extent* profile = found.find(Section::kProfile); profile != nullptr) {
    if (profile->raw_bytes > kProfileBytesMax) reader.fail("section PROFILE is longer than it can be");
  }
  if (!all_zero(bytes.subspan(kTableAt + head.sections * entry_bytes(head.version)))) {
    reader.fail("what is reserved is not 0");
  }
  const size_t at = reader.offset();
  Status status = std::move(reader).status().with_context("superblock");
  if (!status.ok()) return refused(std::move(status), ErrorKind::kFormat, at);
  SPORE_TRY(check_layout(found, file_bytes));
  return found;
}

}  // namespace spore::snapshot
