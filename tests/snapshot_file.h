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

// What writing makes of it.
inline Result<std::vector<uint8_t>> written_bytes(const snapshot::Contents& contents,
                                                  const std::filesystem::path& path) {
  SPORE_TRY(snapshot::write(contents, path));
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

// Whether a superblock says that there is a PROFILE.
inline bool has_profile(std::span<const uint8_t> bytes) {
  constexpr size_t kCountAt = 28;
  return get<uint32_t>(bytes, kCountAt) == snapshot::kSectionCount;
}
// Where the entry of a section stands in the table of a superblock; its offset and length are behind 8 bytes.
inline size_t table_entry(snapshot::Section section, bool profile = false) {
  const size_t left_out = section == snapshot::Section::kHashes && !profile ? 1 : 0;
  return 104 + 24 * (static_cast<size_t>(section) - left_out);
}
// Of a PROFILE that there is not: nothing.
inline snapshot::Extent extent_of(std::span<const uint8_t> bytes, snapshot::Section section) {
  const bool profile = has_profile(bytes);
  if (section == snapshot::Section::kProfile && !profile) return {};
  const size_t entry = table_entry(section, profile);
  return {.offset = get<uint64_t>(bytes, entry + 8), .bytes = get<uint64_t>(bytes, entry + 16)};
}

// Makes hashes and id right again, if there is a place for them: what is refused then is refused for itself.
inline void reseal(std::vector<uint8_t>& bytes) {
  using snapshot::Section;
  if (bytes.size() < snapshot::kSuperblockBytes) return;
  const auto within = [&](const snapshot::Extent& extent) {
    return extent.offset <= bytes.size() && extent.bytes <= bytes.size() - extent.offset;
  };
  std::vector<uint8_t> hashes;
  for (const Section section : snapshot::kSections) {
    const snapshot::Extent extent = extent_of(bytes, section);
    if (!within(extent)) return;
    if (section == Section::kHashes) {
      if (extent.bytes != hashes.size()) return;
      std::ranges::copy(hashes, bytes.begin() + static_cast<ptrdiff_t>(extent.offset));
      continue;
    }
    for (uint64_t at = 0; at < extent.bytes; at += snapshot::kPieceBytes) {
      const size_t piece = std::min<uint64_t>(snapshot::kPieceBytes, extent.bytes - at);
      const Digest digest = sha256(std::span(bytes).subspan(extent.offset + at, piece));
      hashes.insert(hashes.end(), digest.bytes.begin(), digest.bytes.end());
    }
  }
  const Digest id = snapshot::compute_id(std::span(bytes).first(snapshot::kSuperblockBytes), hashes);
  std::ranges::copy(id.bytes, bytes.begin() + 40);
}

// The same file with other bytes in the place of one section, and none in that of another, all lengths and
// hashes right.
inline std::vector<uint8_t> with_section(std::span<const uint8_t> file, snapshot::Section changed,
                                         std::span<const uint8_t> to,
                                         std::optional<snapshot::Section> emptied = {}) {
  using snapshot::Section;
  std::array<uint64_t, snapshot::kSectionCount - 1> lengths{};
  std::vector<std::span<const uint8_t>> sections;
  for (size_t i = 0; i < lengths.size(); i++) {
    const auto section = static_cast<Section>(i);
    const snapshot::Extent extent = extent_of(file, section);
    sections.push_back(section == changed   ? to
                       : section == emptied ? std::span<const uint8_t>()
                                            : file.subspan(extent.offset, extent.bytes));
    lengths[i] = sections.back().size();
  }
  snapshot::Superblock superblock = snapshot::lay_out(lengths);
  constexpr size_t kKindAt = 12;
  constexpr uint32_t kDerived = 3;
  constexpr size_t kParentAt = 72;
  if (get<uint32_t>(file, kKindAt) == kDerived) superblock.base = get<Digest>(file, kParentAt);
  std::vector<uint8_t> bytes = snapshot::encode_superblock(superblock);
  bytes.resize(superblock.file_bytes());
  for (size_t i = 0; i < lengths.size(); i++) {
    std::ranges::copy(sections[i], bytes.begin() + static_cast<ptrdiff_t>(superblock.sections[i].offset));
  }
  reseal(bytes);
  return bytes;
}

}  // namespace spore::test
