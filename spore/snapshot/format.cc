// Superblock and the sections that have fields.  Byte for byte: docs/formats/snapshot.md.
#include "spore/snapshot/format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "spore/base/bytes.h"
#include "spore/host/wasi_state.h"
#include "spore/snapshot/reader.h"

namespace spore::snapshot {
namespace {

// Not text (0x89), damaged by any newline conversion: as PNG does.
constexpr std::array<uint8_t, 8> kMagic{0x89, 'S', 'P', 'I', '\r', '\n', 0x1A, '\n'};
constexpr uint32_t kKindBase = 1;
constexpr uint32_t kKindDelta = 2;  // reserved
constexpr uint32_t kKindDerived = 3;
constexpr size_t kVersionAt = 8;
constexpr size_t kIdAt = 40;
constexpr size_t kTableAt = 104;
constexpr size_t kTableEntryBytes = 24;
constexpr uint32_t kHotSetNumber = 8;  // reserved

constexpr uint32_t kTextBytesMax = uint32_t{1} << 20;       // in MANIFEST
constexpr uint32_t kStateTextBytesMax = uint32_t{1} << 28;  // in STATE
constexpr uint32_t kFactsBytesMax = uint32_t{1} << 30;
constexpr uint32_t kCountMax = 100'000'000;  // what there are bytes for is less
constexpr uint32_t kRunReservedMax = 5;
constexpr size_t kRunBytes = 16;
constexpr size_t kPieceEntryBytes = 16;
constexpr size_t kGlobalBytesMin = 5;
constexpr size_t kProfileEntryBytesMin = 20;
constexpr size_t kProfileBytesMax =
    5 + code::Profile::kFunctionsMax * (kProfileEntryBytesMin + code::Profile::kNameBytesMax);

void write_digest(ByteWriter& writer, const Digest& digest) {
  for (const uint8_t byte : digest.bytes) writer.u8(byte);
}
Digest read_digest(ByteReader& reader) {
  Digest digest;
  for (uint8_t& byte : digest.bytes) byte = reader.u8();
  return digest;
}

bool read_flag(ByteReader& reader) {
  const uint8_t byte = reader.u8();
  if (byte > 1) reader.fail("a flag is neither 0 nor 1");
  return byte == 1;
}

void write_bytes(ByteWriter& writer, std::span<const uint8_t> bytes) {
  writer.text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}
std::vector<uint8_t> read_bytes(ByteReader& reader, size_t bytes_max) {
  const std::string text = reader.text(bytes_max);
  return {text.begin(), text.end()};
}

// After the last field of a section.
Status finish(ByteReader&& reader, Section section) {
  reader.finish();
  return std::move(reader).status().with_context(fmt::format("section {}", section_name(section)));
}

bool all_zero(std::span<const uint8_t> bytes) {
  return std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; });
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
    case Section::kProfile: return "PROFILE";
    case Section::kHashes: return "HASHES";
  }
  return "?";
}

uint32_t section_number(Section section) {
  constexpr uint32_t kHashes = 7;
  constexpr uint32_t kProfile = 9;
  if (section == Section::kHashes) return kHashes;
  if (section == Section::kProfile) return kProfile;
  return static_cast<uint32_t>(section) + 1;
}

// --- superblock and hashes -----------------------------------------------------------------------------

uint64_t piece_count(uint64_t section_bytes) { return (section_bytes + kPieceBytes - 1) / kPieceBytes; }

uint64_t first_hash(const Superblock& superblock, Section section) {
  uint64_t count = 0;
  for (size_t i = 0; i < static_cast<size_t>(section); i++) {
    count += piece_count(superblock.sections[i].bytes);
  }
  return count;
}

Superblock lay_out(const std::array<uint64_t, kSectionCount - 1>& lengths) {
  Superblock superblock;
  uint64_t at = kSuperblockBytes;
  for (const Section section : kSections) {
    const auto number = static_cast<size_t>(section);
    if (section == Section::kProfile && lengths[number] == 0) continue;
    if (section == Section::kPages) {
      at = (at + memory::kPageBytes - 1) / memory::kPageBytes * memory::kPageBytes;
    }
    const uint64_t bytes = section == Section::kHashes
                               ? first_hash(superblock, Section::kHashes) * sizeof(Digest::bytes)
                               : lengths[number];
    superblock.sections[number] = {.offset = at, .bytes = bytes};
    at += bytes;
  }
  return superblock;
}

std::vector<uint8_t> encode_superblock(const Superblock& superblock) {
  ByteWriter writer;
  for (const uint8_t byte : kMagic) writer.u8(byte);
  writer.u32(kVersion).u32(superblock.base ? kKindDerived : kKindBase).u64(superblock.file_bytes());
  writer.u32(0).u32(superblock.section_count()).u64(0);
  write_digest(writer, superblock.id);
  write_digest(writer, superblock.base.value_or(Digest{}));
  for (const Section section : kSections) {
    if (section == Section::kProfile && !superblock.has_profile()) continue;
    const Extent& extent = superblock[section];
    writer.u32(section_number(section)).u32(0).u64(extent.offset).u64(extent.bytes);
  }
  std::vector<uint8_t> bytes = writer.take();
  SPORE_ASSERT(bytes.size() == kTableAt + superblock.section_count() * kTableEntryBytes,
               "the superblock has another length");
  bytes.resize(kSuperblockBytes);
  return bytes;
}

namespace {

Status check_version(std::span<const uint8_t> bytes) {
  if (!has_snapshot_magic(bytes)) {
    return Status::corruption("this is no snapshot: wrong magic at byte 0");
  }
  if (bytes.size() < kSuperblockBytes) {
    return Status::corruption("{} bytes, a snapshot begins with {}", bytes.size(), kSuperblockBytes);
  }
  const uint32_t version = ByteReader(bytes.subspan(kVersionAt)).u32();
  if (version > kVersion) {
    return Status::unsupported("format version {}, made by a newer Spore; this build reads up to {}", version,
                               kVersion);
  }
  if (version != kVersion) return Status::corruption("there is no format version {}", version);
  return {};
}

// What later versions may mean by it, and this one does not know.
Status check_reserved(uint32_t kind, uint32_t flags, uint32_t sections) {
  if (kind == kKindDelta) return Status::unsupported("a delta: this build reads images alone");
  if (kind != kKindBase && kind != kKindDerived) {
    return Status::corruption("at byte 12: there is no kind {}", kind);
  }
  if (flags != 0) return Status::unsupported("flags {:#x}, which this build does not know", flags);
  if (sections != kSectionCount && sections != kSectionCount - 1) {
    return Status::unsupported("{} sections, this build knows files of {} and {}", sections,
                               kSectionCount - 1, kSectionCount);
  }
  return {};
}

}  // namespace

Result<Superblock> decode_superblock(std::span<const uint8_t> bytes, uint64_t file_bytes) {
  SPORE_TRY(check_version(bytes));
  bytes = bytes.first(kSuperblockBytes);
  ByteReader reader(bytes);
  for (size_t i = 0; i < kMagic.size(); i++) reader.u8();
  reader.u32();  // version
  const uint32_t kind = reader.u32();
  const uint64_t length = reader.u64();
  const uint32_t flags = reader.u32();
  const uint32_t sections = reader.u32();
  SPORE_TRY(check_reserved(kind, flags, sections));
  const bool has_profile = sections == kSectionCount;
  if (length != file_bytes) {
    return Status::corruption("{} bytes, {} were written: cut short, or something is left over", file_bytes,
                              length);
  }
  if (file_bytes > kFileBytesMax) reader.fail("a file is too long");
  if (reader.u64() != 0) reader.fail("an image has no sequence number");
  const Digest id = read_digest(reader);
  Superblock found{.id = id, .base = {}, .sections = {}};
  const Digest parent = read_digest(reader);
  if ((parent != Digest{}) != (kind == kKindDerived)) {
    reader.fail("a derived image has a parent, and no other");
  }
  if (kind == kKindDerived) found.base = parent;
  for (const Section section : kSections) {
    if (section == Section::kProfile && !has_profile) continue;
    const uint32_t number = reader.u32();
    const uint32_t codec = reader.u32();
    Extent& extent = found.sections[static_cast<size_t>(section)];
    extent.offset = reader.u64();
    extent.bytes = reader.u64();
    if (reader.ok() && number == kHotSetNumber) {
      return Status::unsupported("section HOTSET, which this build does not know");
    }
    if (number != section_number(section)) reader.fail("a section in the place of another");
    if (reader.ok() && codec != 0) {
      return Status::unsupported("section {} has codec {}, this build reads raw ones", section_name(section),
                                 codec);
    }
    if (extent.bytes > file_bytes) reader.fail("a section is longer than the file");
    const bool of_base = section == Section::kModule || section == Section::kSource;
    if (found.base && of_base && extent.bytes != 0) reader.fail("a derived image has its base's module");
    if (section != Section::kProfile) continue;
    if (extent.bytes == 0) reader.fail("an empty section PROFILE");
    if (extent.bytes > kProfileBytesMax) reader.fail("section PROFILE is longer than it can be");
  }
  if (!all_zero(bytes.subspan(kTableAt + sections * kTableEntryBytes)))
    reader.fail("what is reserved is not 0");
  SPORE_TRY(std::move(reader).status().with_context("superblock"));
  // There is one layout for these lengths: so nothing overlaps, and nothing is left out.
  std::array<uint64_t, kSectionCount - 1> lengths{};
  for (size_t i = 0; i < lengths.size(); i++) lengths[i] = found.sections[i].bytes;
  const Superblock right = lay_out(lengths);
  for (const Section section : kSections) {
    if (found[section] == right[section]) continue;
    return Status::corruption("superblock: section {} is {} bytes at {}, should be {} at {}",
                              section_name(section), found[section].bytes, found[section].offset,
                              right[section].bytes, right[section].offset);
  }
  if (right.file_bytes() != file_bytes) {
    return Status::corruption("superblock: the sections end at {}, the file at {}", right.file_bytes(),
                              file_bytes);
  }
  return found;
}

Digest compute_id(std::span<const uint8_t> superblock, std::span<const uint8_t> hashes) {
  static constexpr std::array<uint8_t, sizeof(Digest::bytes)> kNoId{};
  return sha256({superblock.first(kIdAt), kNoId, superblock.subspan(kIdAt + kNoId.size()), hashes});
}

// --- MANIFEST ------------------------------------------------------------------------------------------

namespace {

void write_texts(ByteWriter& writer, const std::vector<std::string>& texts) {
  writer.u32(static_cast<uint32_t>(texts.size()));
  for (const std::string& text : texts) writer.text(text);
}
std::vector<std::string> read_texts(ByteReader& reader) {
  std::vector<std::string> texts(reader.count(host::kWasiTextsMax, sizeof(uint32_t)));
  for (std::string& text : texts) text = reader.text(kTextBytesMax);
  return texts;
}

void write_world(ByteWriter& writer, const host::WasiOptions& wasi) {
  write_texts(writer, wasi.args);
  write_texts(writer, wasi.env);
  writer.u32(static_cast<uint32_t>(wasi.directories.size()));
  for (const host::WasiDirectory& directory : wasi.directories) {
    writer.text(directory.host).text(directory.guest).u8(directory.writable ? 1 : 0);
  }
  writer.u8(wasi.clock ? 1 : 0);
  if (wasi.clock) writer.u64(wasi.clock->start_ns).u64(wasi.clock->step_ns);
  writer.u64(wasi.clock_resolution_ns);
  writer.u8(wasi.random_seed ? 1 : 0);
  if (wasi.random_seed) writer.u64(*wasi.random_seed);
  writer.u64(wasi.output_bytes_max);
}

host::WasiOptions read_world(ByteReader& reader) {
  constexpr size_t kDirectoryBytesMin = 9;
  host::WasiOptions wasi;
  wasi.args = read_texts(reader);
  wasi.env = read_texts(reader);
  wasi.directories.resize(reader.count(host::kWasiDirectoriesMax, kDirectoryBytesMin));
  for (host::WasiDirectory& directory : wasi.directories) {
    directory.host = reader.text(kTextBytesMax);
    directory.guest = reader.text(kTextBytesMax);
    directory.writable = read_flag(reader);
  }
  if (read_flag(reader)) {
    wasi.clock.emplace();
    wasi.clock->start_ns = reader.u64();
    wasi.clock->step_ns = reader.u64();
  }
  wasi.clock_resolution_ns = reader.u64();
  if (read_flag(reader)) wasi.random_seed = reader.u64();
  wasi.output_bytes_max = reader.u64();
  return wasi;
}

}  // namespace

std::vector<uint8_t> encode_manifest(const Manifest& manifest) {
  ByteWriter writer;
  writer.text(manifest.name).text(manifest.domain).u64(manifest.created_s);
  writer.text(manifest.spore_version).text(manifest.engine_version);
  write_digest(writer, manifest.original);
  writer.text(manifest.rewriter).text(manifest.rewriter_arguments);
  write_digest(writer, manifest.module);
  write_digest(writer, manifest.prepared);
  writer.u32(manifest.preparer).text(manifest.entry).u8(static_cast<uint8_t>(manifest.framing));
  writer.u64(manifest.entropy_bytes);
  writer.u8(manifest.wasi ? 1 : 0);
  if (manifest.wasi) write_world(writer, *manifest.wasi);
  if (manifest.base_file) writer.text(*manifest.base_file);
  return writer.take();
}

Result<Manifest> decode_manifest(std::span<const uint8_t> bytes, bool derived) {
  ByteReader reader(bytes);
  Manifest manifest;
  manifest.name = reader.text(kTextBytesMax);
  manifest.domain = reader.text(kTextBytesMax);
  manifest.created_s = reader.u64();
  manifest.spore_version = reader.text(kTextBytesMax);
  manifest.engine_version = reader.text(kTextBytesMax);
  manifest.original = read_digest(reader);
  manifest.rewriter = reader.text(kTextBytesMax);
  manifest.rewriter_arguments = reader.text(kTextBytesMax);
  manifest.module = read_digest(reader);
  if (manifest.rewriter.empty() &&
      (!manifest.rewriter_arguments.empty() || manifest.original != manifest.module)) {
    reader.fail("nothing rewrote the module, and it is another one");
  }
  manifest.prepared = read_digest(reader);
  manifest.preparer = reader.u32();
  manifest.entry = reader.text(kTextBytesMax);
  const uint8_t framing = reader.u8();
  if (framing <= static_cast<uint8_t>(Framing::kEndOfInput)) {
    manifest.framing = static_cast<Framing>(framing);
  } else {
    reader.fail("there is no such framing");
  }
  manifest.entropy_bytes = reader.u64();
  if (read_flag(reader)) manifest.wasi = read_world(reader);
  if (derived) manifest.base_file = reader.text(kTextBytesMax);
  SPORE_TRY(finish(std::move(reader), Section::kManifest));
  return manifest;
}

// --- STATE ---------------------------------------------------------------------------------------------

namespace {

size_t value_bytes(engine::ValType type) {
  switch (type) {
    case engine::ValType::kI32:
    case engine::ValType::kF32: return 4;
    case engine::ValType::kI64:
    case engine::ValType::kF64: return 8;
    case engine::ValType::kV128: return 16;
    case engine::ValType::kFuncRef:
    case engine::ValType::kOtherRef: break;
  }
  return 0;
}

// Low bytes first, as RawValue has them.
void write_global(ByteWriter& writer, const engine::Store::GlobalValue& global) {
  std::array<uint8_t, sizeof(engine::RawValue)> bytes{};
  std::memcpy(bytes.data(), &global.value, sizeof global.value);
  writer.u8(static_cast<uint8_t>(global.type));
  for (const uint8_t byte : std::span(bytes).first(value_bytes(global.type))) writer.u8(byte);
}
engine::Store::GlobalValue read_global(ByteReader& reader) {
  engine::Store::GlobalValue global{};
  const uint8_t type = reader.u8();
  if (type > static_cast<uint8_t>(engine::ValType::kV128)) {
    reader.fail("there is no such type of a global");
    return global;
  }
  global.type = static_cast<engine::ValType>(type);
  std::array<uint8_t, sizeof(engine::RawValue)> bytes{};
  for (uint8_t& byte : std::span(bytes).first(value_bytes(global.type))) byte = reader.u8();
  std::memcpy(&global.value, bytes.data(), bytes.size());
  return global;
}

}  // namespace

std::vector<uint8_t> encode_state(const State& state) {
  ByteWriter writer;
  writer.u32(static_cast<uint32_t>(state.values.globals.size()));
  for (const engine::Store::GlobalValue& global : state.values.globals) write_global(writer, global);
  writer.u32(static_cast<uint32_t>(state.values.tables.size()));
  for (const std::vector<uint32_t>& table : state.values.tables) {
    writer.u32(static_cast<uint32_t>(table.size()));
    for (const uint32_t function : table) writer.u32(function);
  }
  writer.u64(state.values.fuel);
  writer.u8(state.wasi ? 1 : 0);
  if (state.wasi) write_bytes(writer, *state.wasi);
  writer.u8(state.frames ? 1 : 0);
  if (state.frames) {
    writer.u64(state.frames->address);
    write_bytes(writer, state.frames->borrowed);
    writer.u8(state.frames->functions ? 1 : 0);
    if (state.frames->functions) {
      writer.u32(static_cast<uint32_t>(state.frames->functions->size()));
      for (const uint32_t function : *state.frames->functions) writer.u32(function);
    }
  }
  return writer.take();
}

Result<State> decode_state(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  State state;
  const uint32_t globals = reader.count(kCountMax, kGlobalBytesMin);
  for (uint32_t i = 0; i < globals && reader.ok(); i++) state.values.globals.push_back(read_global(reader));
  const uint32_t tables = reader.count(kCountMax, sizeof(uint32_t));
  for (uint32_t i = 0; i < tables && reader.ok(); i++) {
    std::vector<uint32_t>& table = state.values.tables.emplace_back();
    table.resize(reader.count(kCountMax, sizeof(uint32_t)));
    for (uint32_t& function : table) function = reader.u32();
  }
  state.values.fuel = reader.u64();
  if (read_flag(reader)) state.wasi = read_bytes(reader, kStateTextBytesMax);
  if (read_flag(reader)) {
    state.frames.emplace();
    state.frames->address = reader.u64();
    state.frames->borrowed = read_bytes(reader, kStateTextBytesMax);
    if (read_flag(reader)) {
      std::vector<uint32_t>& functions = state.frames->functions.emplace();
      functions.resize(reader.count(kCountMax, sizeof(uint32_t)));
      for (uint32_t& function : functions) function = reader.u32();
      if (std::ranges::adjacent_find(functions, std::greater_equal()) != functions.end()) {
        reader.fail("functions that do not ascend");
      }
    }
  }
  SPORE_TRY(finish(std::move(reader), Section::kState));
  if (state.wasi) {
    const Result<host::SavedWasi> saved = host::decode_wasi(*state.wasi);
    if (!saved.ok()) return saved.status().copy().with_context("section STATE");
  }
  return state;
}

// --- PROFILE -------------------------------------------------------------------------------------------

std::vector<uint8_t> encode_profile(const code::Profile& profile) {
  ByteWriter writer;
  writer.u8(static_cast<uint8_t>(profile.tier)).u32(static_cast<uint32_t>(profile.functions.size()));
  for (const code::Profile::Function& function : profile.functions) {
    writer.text(function.name).u64(function.calls).u64(std::bit_cast<uint64_t>(function.mean_us));
  }
  return writer.take();
}

Result<code::Profile> decode_profile(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  code::Profile profile;
  const uint8_t tier = reader.u8();
  if (tier > static_cast<uint8_t>(engine::Tier::kPeak)) {
    reader.fail("there is no such tier");
  } else if (tier == static_cast<uint8_t>(engine::Tier::kInterpreter)) {
    reader.fail("a profile of the tier in which modules begin");
  } else {
    profile.tier = static_cast<engine::Tier>(tier);
  }
  profile.functions.resize(reader.count(code::Profile::kFunctionsMax, kProfileEntryBytesMin));
  for (size_t i = 0; i < profile.functions.size() && reader.ok(); i++) {
    code::Profile::Function& function = profile.functions[i];
    function.name = reader.text(code::Profile::kNameBytesMax);
    if (!code::can_be_named(function.name)) reader.fail("a name that cannot be printed");
    function.calls = reader.u64();
    if (function.calls == 0) reader.fail("a function that was never called");
    function.mean_us = std::bit_cast<double>(reader.u64());
    if (std::isnan(function.mean_us) || std::signbit(function.mean_us) ||
        function.mean_us > code::Profile::kMeanUsMax) {
      reader.fail("there is no such time");
    }
    const auto before = std::span(profile.functions).first(i);
    if (std::ranges::find(before, function.name, &code::Profile::Function::name) != before.end()) {
      reader.fail("a function twice");
    } else if (i > 0 && !code::hotter(before.back(), function)) {
      reader.fail("functions that are not told hottest first");
    }
  }
  SPORE_TRY(finish(std::move(reader), Section::kProfile));
  return profile;
}

// --- PAGEINDEX -----------------------------------------------------------------------------------------

uint64_t MemoryIndex::pages() const {
  uint64_t pages = 0;
  for (const Run& run : runs) pages += run.pages;
  return pages;
}

uint64_t MemoryIndex::pages(Run::Kind kind) const {
  uint64_t pages = 0;
  for (const Run& run : runs) pages += run.kind == kind ? run.pages : 0;
  return pages;
}

std::vector<memory::PageRun> MemoryIndex::runs_of(Run::Kind kind) const {
  std::vector<memory::PageRun> found;
  size_t offset = 0;
  for (const Run& run : runs) {
    const size_t bytes = run.pages * memory::kPageBytes;
    if (run.kind == kind) found.push_back({.offset = offset, .bytes = bytes});
    offset += bytes;
  }
  return found;
}

PageIndex index_of(std::span<const std::shared_ptr<const memory::PageImage>> memories, bool derived) {
  PageIndex index;
  uint64_t at = 0;
  for (const auto& image : memories) {
    std::vector<Run>& runs = index.emplace_back().runs;
    for (size_t offset = 0; offset < image->bytes(); offset += memory::kPageBytes) {
      const Run::Kind kind = derived && image->of_base(offset) ? Run::Kind::kBase
                             : image->page(offset) != nullptr  ? Run::Kind::kRaw
                                                               : Run::Kind::kZeros;
      const bool raw = kind == Run::Kind::kRaw;
      if (runs.empty() || runs.back().kind != kind || runs.back().pages == UINT32_MAX) {
        runs.push_back({.kind = kind, .pages = 0, .at = raw ? at : 0});
      }
      runs.back().pages++;
      at += raw ? 1 : 0;
    }
  }
  return index;
}

std::vector<uint8_t> encode_page_index(const PageIndex& index) {
  ByteWriter writer;
  writer.u32(static_cast<uint32_t>(index.size()));
  for (const MemoryIndex& memory : index) {
    writer.u32(static_cast<uint32_t>(memory.runs.size()));
    for (const Run& run : memory.runs) {
      writer.u32(static_cast<uint32_t>(run.kind)).u32(run.pages).u64(run.at);
    }
  }
  return writer.take();
}

Result<PageIndex> decode_page_index(std::span<const uint8_t> bytes, uint64_t pages_bytes, bool derived) {
  const auto kind_max = static_cast<uint32_t>(derived ? Run::Kind::kBase : Run::Kind::kRaw);
  ByteReader reader(bytes);
  PageIndex index(reader.count(kMemoriesMax, sizeof(uint32_t)));
  uint64_t at = 0;
  for (MemoryIndex& memory : index) {
    memory.runs.resize(reader.count(kCountMax, kRunBytes));
    for (size_t i = 0; i < memory.runs.size() && reader.ok(); i++) {
      Run& run = memory.runs[i];
      const uint32_t kind = reader.u32();
      run.pages = reader.u32();
      run.at = reader.u64();
      if (kind > kind_max && kind <= kRunReservedMax && reader.ok()) {
        return Status::unsupported(
            "section PAGEINDEX: at byte {}: pages of kind {}, this build knows those up to {} here",
            reader.offset(), kind, kind_max);
      }
      if (kind == 0 || kind > kind_max) {
        reader.fail("there is no such kind of page");
        break;
      }
      run.kind = static_cast<Run::Kind>(kind);
      const bool raw = run.kind == Run::Kind::kRaw;
      if (run.pages == 0) reader.fail("a run of no pages");
      // No memory has so many that a run ends for their number.
      if (i > 0 && memory.runs[i - 1].kind == run.kind) reader.fail("one run that is told as two");
      if (run.at != (raw ? at : 0)) reader.fail("pages that do not follow those before them");
      at += raw ? run.pages : 0;
    }
    // Each is a mapping in every slot.
    if (memory.runs_of(Run::Kind::kBase).size() > memory::PageImage::kBaseRunsMax) {
      reader.fail("more runs of the base's pages than there may be");
    }
  }
  if (reader.ok() && at != pages_bytes / memory::kPageBytes) {
    reader.fail(fmt::format("{} pages, PAGES has {} bytes", at, pages_bytes));
  }
  if (reader.ok() && pages_bytes % memory::kPageBytes != 0) reader.fail("PAGES ends within a page");
  SPORE_TRY(finish(std::move(reader), Section::kPageIndex));
  return index;
}

// --- MODULE --------------------------------------------------------------------------------------------

std::vector<uint8_t> encode_module(const ModuleParts& parts) {
  ByteWriter writer;
  write_bytes(writer, parts.facts);
  writer.u32(static_cast<uint32_t>(parts.pieces.size()));
  for (const Piece& piece : parts.pieces) writer.u64(piece.from).u64(piece.bytes);
  writer.u64(parts.prepared_bytes);
  std::vector<uint8_t> bytes = writer.take();
  bytes.insert(bytes.end(), parts.literals.begin(), parts.literals.end());
  return bytes;
}

Result<ModuleParts> decode_module(std::span<const uint8_t> bytes, uint64_t source_bytes) {
  ByteReader reader(bytes);
  ModuleParts parts;
  parts.facts = read_bytes(reader, kFactsBytesMax);
  parts.pieces.resize(reader.count(kCountMax, kPieceEntryBytes));
  uint64_t in_source = 0;    // where the last piece of it ended
  uint64_t in_literals = 0;  // likewise
  for (size_t i = 0; i < parts.pieces.size() && reader.ok(); i++) {
    Piece& piece = parts.pieces[i];
    piece.from = reader.u64();
    piece.bytes = reader.u64();
    if (piece.bytes == 0) reader.fail("an empty piece");
    if (piece.from == Piece::kLiteral) {
      if (piece.bytes > bytes.size() - in_literals) {
        reader.fail("a piece of more than there is");
      } else {
        in_literals += piece.bytes;
      }
    } else if (piece.from < in_source || piece.from > source_bytes ||
               piece.bytes > source_bytes - piece.from) {
      reader.fail("a piece that is not in SOURCE, or before the one before it");
    } else {
      in_source = piece.from + piece.bytes;
    }
    parts.prepared_bytes += reader.ok() ? piece.bytes : 0;
  }
  if (reader.u64() != parts.prepared_bytes) reader.fail("the pieces have another length than the module");
  if (reader.ok() && bytes.size() - reader.offset() != in_literals) {
    reader.fail("the literals have another length than their pieces");
  }
  SPORE_TRY(std::move(reader).status().with_context("section MODULE"));
  const std::span<const uint8_t> literals = bytes.last(in_literals);
  parts.literals.assign(literals.begin(), literals.end());
  return parts;
}

}  // namespace spore::snapshot
