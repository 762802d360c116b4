#pragma once

// Snapshots for tests: made of a guest in the text format, and changed.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/memfd.h"
#include "spore/cell/clean_instance.h"
#include "spore/snapshot/format.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/writer.h"
#include "spore/wasm/prepare.h"
#include "spore/wasm/prepared_file.h"

namespace spore::test {

// Contents without an engine: a module's state as it is before anything ran, but for `fill` in its memories.
inline snapshot::Contents contents_without_engine(const std::vector<uint8_t>& source,
                                                  const std::vector<std::vector<std::byte>>& memories) {
  snapshot::Contents contents;
  contents.source = std::make_shared<const std::vector<uint8_t>>(source);
  contents.prepared =
      std::make_shared<const wasm::PreparedModule>(wasm::prepare(source, size_t{1} << 30).value());
  const wasm::PreparedModule& prepared = *contents.prepared;
  contents.manifest.name = "guest";
  contents.manifest.domain = "tests";
  contents.manifest.created_s = 1'700'000'000;
  contents.manifest.spore_version = "0.1.0";
  contents.manifest.engine_version = "wasmtime 48.0.8";
  contents.manifest.module = contents.manifest.original = prepared.facts.hash;
  contents.manifest.prepared = sha256(prepared.wasm);
  contents.manifest.preparer = wasm::kPreparerVersion;
  for (const auto& memory : memories) {
    contents.image.memories.push_back(memory::PageImage::create(memory).value());
  }
  for (const auto& global : prepared.globals) {
    engine::Store::GlobalValue& value = contents.image.values.globals.emplace_back();
    value.type = static_cast<engine::ValType>(global.kind);
    std::memcpy(&value.value, global.initial->data(), global.initial->size());
  }
  const size_t flags = prepared.data_flags.size() + prepared.element_flags.size();
  for (size_t i = 0; i < flags; i++) {
    contents.image.values.globals.push_back({.type = engine::ValType::kI32, .value = {.i32 = 0}});
  }
  for (const auto& table : prepared.tables) {
    if (!table.written) continue;
    contents.image.values.tables.emplace_back(table.elements_min, engine::StateValues::kNullFunction);
  }
  return contents;
}

// A new folder for files, in memory where that can be: each is synced, and a disk may take long for that.
inline std::filesystem::path new_folder() {
  const std::filesystem::path memory = "/dev/shm";
  const std::filesystem::path parent =
      ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
  std::string name = parent / "spore_snapshot_XXXXXX";
  SPORE_ASSERT(::mkdtemp(name.data()) != nullptr, "a temporary directory");
  return name;
}

// A file without a name that holds these bytes.
inline UniqueFd file_of(std::span<const uint8_t> bytes) {
  UniqueFd fd = make_memfd("snapshot").value();
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    SPORE_ASSERT(n > 0, "a file in memory");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return fd;
}

inline Result<snapshot::Contents> read_fd(const UniqueFd& fd, snapshot::Validation validation) {
  return snapshot::read(fd.get(), {.validation = validation, .memory_bytes_max = uint64_t{1} << 24});
}
inline Result<snapshot::Contents> read_bytes(std::span<const uint8_t> bytes,
                                             snapshot::Validation validation = snapshot::Validation::kFull) {
  return read_fd(file_of(bytes), validation);
}

// How a test writes unless it says otherwise: so that each byte of the file is known.
inline const snapshot::WriteOptions kUncompressed{.compression = snapshot::Compression::kNone,
                                                  .progress = {}};

// What writing makes of it.
inline Result<std::vector<uint8_t>> written_bytes(const snapshot::Contents& contents,
                                                  const std::filesystem::path& path,
                                                  const snapshot::WriteOptions& options = kUncompressed) {
  SPORE_TRY(snapshot::write(contents, path, options));
  return read_file(path, size_t{1} << 30);
}

template <typename T>
T get(std::span<const uint8_t> bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
template <typename T>
void put(std::span<uint8_t> bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// --- the parts of a file, of any version, that may be wrong in any way -----------------------------------

constexpr size_t kVersionAt = 8;
constexpr size_t kKindAt = 12;
constexpr size_t kFlagsAt = 24;
constexpr size_t kCountAt = 28;
constexpr size_t kSequenceAt = 32;
constexpr size_t kIdAt = 40;
constexpr size_t kParentAt = 72;
constexpr size_t kTableAt = 104;

inline size_t entry_bytes(std::span<const uint8_t> bytes) {
  return get<uint32_t>(bytes, kVersionAt) == 1 ? 24 : 40;
}
// Where the entry of a section stands in the table of a superblock; 0: nowhere.  Its offset and length are
// behind 8 bytes.
inline size_t table_entry(std::span<const uint8_t> bytes, snapshot::Section section) {
  const size_t count = std::min<size_t>(get<uint32_t>(bytes, kCountAt), 90);
  for (size_t at = kTableAt; at < kTableAt + count * entry_bytes(bytes); at += entry_bytes(bytes)) {
    if (get<uint32_t>(bytes, at) == static_cast<uint32_t>(section)) return at;
  }
  return 0;
}
// Of a section that there is not: nothing.
inline snapshot::Extent extent_of(std::span<const uint8_t> bytes, snapshot::Section section) {
  const size_t entry = table_entry(bytes, section);
  if (entry == 0) return {.section = section};
  const uint64_t stored = get<uint64_t>(bytes, entry + 16);
  return {.section = section,
          .codec = static_cast<Codec>(get<uint32_t>(bytes, entry + 4)),
          .offset = get<uint64_t>(bytes, entry + 8),
          .bytes = stored,
          .raw_bytes = get<uint32_t>(bytes, kVersionAt) == 1 ? stored : get<uint64_t>(bytes, entry + 24)};
}
// As far as it can be told.
inline snapshot::Superblock superblock_of(std::span<const uint8_t> bytes) {
  snapshot::Superblock superblock{.version = get<uint32_t>(bytes, kVersionAt),
                                  .kind = static_cast<snapshot::Kind>(get<uint32_t>(bytes, kKindAt)),
                                  .mapped = (get<uint32_t>(bytes, kFlagsAt) & 1) != 0,
                                  .sequence = get<uint64_t>(bytes, kSequenceAt),
                                  .id = get<Digest>(bytes, kIdAt),
                                  .parent = get<Digest>(bytes, kParentAt),
                                  .sections = {}};
  for (const snapshot::Section section : snapshot::section_order(superblock.version)) {
    if (table_entry(bytes, section) != 0) superblock.sections.push_back(extent_of(bytes, section));
  }
  return superblock;
}

// Makes hashes and id right again, if there is a place for them: what is refused then is refused for itself.
inline void reseal(std::vector<uint8_t>& bytes) {
  using snapshot::Section;
  if (bytes.size() < snapshot::kSuperblockBytes) return;
  const auto within = [&](const snapshot::Extent& extent) {
    return extent.offset <= bytes.size() && extent.bytes <= bytes.size() - extent.offset;
  };
  const snapshot::Superblock superblock = superblock_of(bytes);
  if (superblock.sections.empty() || superblock.sections.back().section != Section::kHashes) return;
  std::vector<Digest> pieces;
  for (const snapshot::Extent& extent : superblock.sections) {
    if (!within(extent)) return;
    if (extent.section == Section::kHashes) break;
    for (uint64_t at = 0; at < extent.bytes; at += snapshot::kPieceBytes) {
      const size_t piece = std::min<uint64_t>(snapshot::kPieceBytes, extent.bytes - at);
      pieces.push_back(sha256(std::span(bytes).subspan(extent.offset + at, piece)));
    }
  }
  const std::vector<uint8_t> hashes = snapshot::encode_hashes(superblock, pieces);
  const snapshot::Extent& place = superblock.sections.back();
  if (place.bytes != hashes.size()) return;
  std::ranges::copy(hashes, bytes.begin() + static_cast<ptrdiff_t>(place.offset));
  const Digest id = snapshot::compute_id(std::span(bytes).first(snapshot::kSuperblockBytes), hashes);
  std::ranges::copy(id.bytes, bytes.begin() + kIdAt);
}

// A section with the bytes that a file of it is to have.
struct SectionBytes {
  snapshot::Section section;
  std::vector<uint8_t> bytes;
  Codec codec = Codec::kRaw;
  uint64_t raw_bytes = 0;  // if it is compressed
};
// A file of these sections, which are in order, with all lengths and hashes right.
inline std::vector<uint8_t> file_with(snapshot::Superblock head, const std::vector<SectionBytes>& sections) {
  using snapshot::Section;
  head.sections.clear();
  for (const SectionBytes& section : sections) {
    head.sections.push_back(
        {.section = section.section,
         .codec = section.codec,
         .bytes = section.bytes.size(),
         .raw_bytes = section.codec == Codec::kRaw ? section.bytes.size() : section.raw_bytes});
  }
  head.sections.push_back({.section = Section::kHashes});
  snapshot::lay_out(head);
  std::vector<uint8_t> bytes = snapshot::encode_superblock(head);
  bytes.resize(head.file_bytes());
  for (size_t i = 0; i < sections.size(); i++) {
    std::ranges::copy(sections[i].bytes, bytes.begin() + static_cast<ptrdiff_t>(head.sections[i].offset));
  }
  reseal(bytes);
  return bytes;
}

// The same file with other bytes in the place of one section, and none in that of another, all lengths and
// hashes right.
inline std::vector<uint8_t> with_section(std::span<const uint8_t> file, snapshot::Section changed,
                                         std::span<const uint8_t> to,
                                         std::optional<snapshot::Section> emptied = {}) {
  using snapshot::Section;
  const snapshot::Superblock superblock = superblock_of(file);
  std::vector<SectionBytes> sections;
  for (const Section section : snapshot::section_order(superblock.version)) {
    if (section == Section::kHashes) break;
    const snapshot::Extent* extent = superblock.find(section);
    const bool there = section == changed ? !to.empty() : extent != nullptr && section != emptied;
    // In version 1 all sections but PROFILE are there, if they are empty or not.
    const bool keeps_place = superblock.version == 1 && section != Section::kProfile;
    if (!there && !keeps_place) continue;
    SectionBytes& one = sections.emplace_back(SectionBytes{.section = section, .bytes = {}});
    if (!there) continue;
    const std::span<const uint8_t> bytes =
        section == changed ? to : file.subspan(extent->offset, extent->bytes);
    one.bytes.assign(bytes.begin(), bytes.end());
    if (section != changed) one.codec = extent->codec, one.raw_bytes = extent->raw_bytes;
  }
  return file_with(superblock, sections);
}

// The same contents as version 1 had them.
inline std::vector<uint8_t> bytes_of_version_1(const snapshot::Contents& contents) {
  using snapshot::Section;
  const bool derived = contents.base.has_value();
  const snapshot::PageIndex index = snapshot::index_of(contents.image.memories, {.derived = derived});
  std::vector<uint8_t> pages;
  for (size_t i = 0; i < index.size(); i++) {
    for (const memory::PageRun& run : index[i].runs_of(snapshot::Run::Kind::kRaw)) {
      for (size_t at = run.offset; at < run.offset + run.bytes; at += memory::kPageBytes) {
        const auto* page = reinterpret_cast<const uint8_t*>(contents.image.memories[i]->page(at));
        pages.insert(pages.end(), page, page + memory::kPageBytes);
      }
    }
  }
  std::vector<uint8_t> module;
  std::vector<uint8_t> source;
  if (!derived) {
    snapshot::ModuleParts parts = snapshot::split_module(contents.prepared->wasm, *contents.source);
    parts.facts = wasm::encode_prepared(*contents.prepared);
    module = snapshot::encode_module(parts);
    source = *contents.source;
  }
  std::vector<SectionBytes> sections{
      {Section::kManifest, snapshot::encode_manifest(contents.manifest, 1)},
      {Section::kState,
       snapshot::encode_state({contents.image.values, contents.image.wasi, contents.frames})},
      {Section::kPageIndex, snapshot::encode_page_index(index)},
      {Section::kModule, std::move(module)},
      {Section::kSource, std::move(source)},
      {Section::kPages, std::move(pages)}};
  if (contents.profile) sections.push_back({Section::kProfile, snapshot::encode_profile(*contents.profile)});
  return file_with({.version = 1,
                    .kind = derived ? snapshot::Kind::kDerived : snapshot::Kind::kBase,
                    .id = {},
                    .parent = contents.base.value_or(Digest{}),
                    .sections = {}},
                   sections);
}

}  // namespace spore::test
