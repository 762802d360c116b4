// Writes a snapshot.  Byte for byte: docs/formats/snapshot.md.
#include "spore/snapshot/writer.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/engine/instance_state.h"
#include "spore/snapshot/check.h"
#include "spore/snapshot/format.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {
namespace {

// All but HASHES and the superblock.
constexpr size_t kHashed = kSectionCount - 1;

// Writes one file from front to back, piece by piece.
class FileWriter {
 public:
  FileWriter(NewFile& file, const Superblock& superblock) : file_(file), superblock_(superblock) {}

  Status section(Section section, std::span<const uint8_t> bytes) {
    const Extent& extent = superblock_[section];
    SPORE_ASSERT(bytes.size() == extent.bytes, "a section of another length");
    for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
      SPORE_TRY(piece(bytes.subspan(at, std::min(kPieceBytes, bytes.size() - at)), extent.offset + at));
    }
    return {};
  }

  Status pages(std::span<const std::shared_ptr<const memory::PageImage>> memories, const PageIndex& index) {
    uint64_t at = superblock_[Section::kPages].offset;
    std::vector<uint8_t> buffer;
    buffer.reserve(kPieceBytes);
    for (size_t i = 0; i < memories.size(); i++) {
      for (const memory::PageRun& run : index[i].runs_of(Run::Kind::kRaw)) {
        for (size_t offset = run.offset; offset < run.offset + run.bytes; offset += memory::kPageBytes) {
          const auto* page = reinterpret_cast<const uint8_t*>(memories[i]->page(offset));
          buffer.insert(buffer.end(), page, page + memory::kPageBytes);
          if (buffer.size() < kPieceBytes) continue;
          SPORE_TRY(piece(buffer, at));
          at += buffer.size();
          buffer.clear();
        }
      }
    }
    return buffer.empty() ? Status() : piece(buffer, at);
  }

  // HASHES and, last, the superblock.
  Result<Digest> finish() {
    const Extent& extent = superblock_[Section::kHashes];
    SPORE_ASSERT(hashes_.size() == extent.bytes, "a hash for each piece");
    SPORE_TRY(file_.write_at(hashes_, extent.offset));
    superblock_.id = compute_id(encode_superblock(superblock_), hashes_);
    SPORE_TRY(file_.write_at(encode_superblock(superblock_), 0));
    return superblock_.id;
  }

 private:
  Status piece(std::span<const uint8_t> bytes, uint64_t offset) {
    const Digest digest = sha256(bytes);
    hashes_.insert(hashes_.end(), digest.bytes.begin(), digest.bytes.end());
    return file_.write_at(bytes, offset);
  }

  NewFile& file_;
  Superblock superblock_;
  std::vector<uint8_t> hashes_;
};

// What a reader takes.
Status check_readable(const std::array<std::vector<uint8_t>, kHashed>& sections, const Contents& contents) {
  const auto bytes = [&](Section section) -> const std::vector<uint8_t>& {
    return sections[static_cast<size_t>(section)];
  };
  SPORE_TRY(decode_manifest(bytes(Section::kManifest), contents.base.has_value()));
  SPORE_TRY(decode_state(bytes(Section::kState)));
  if (contents.profile) SPORE_TRY(decode_profile(bytes(Section::kProfile)));
  if (contents.base) return {};
  SPORE_TRY(decode_module(bytes(Section::kModule), contents.source->size()));
  return {};
}

}  // namespace

Result<Digest> write(const Contents& contents, const std::filesystem::path& path) {
  SPORE_TRY(check_contents(contents));
  if (contents.image.memories.size() > kMemoriesMax) {
    return Status::invalid_argument("{} memories, a snapshot has at most {}", contents.image.memories.size(),
                                    kMemoriesMax);
  }
  const bool derived = contents.base.has_value();
  const PageIndex index = index_of(contents.image.memories, derived);
  std::vector<uint8_t> module_section;
  std::span<const uint8_t> source;
  if (!derived) {
    ModuleParts module = split_module(contents.prepared->wasm, *contents.source);
    module.facts = wasm::encode_prepared(*contents.prepared);
    module_section = encode_module(module);
    source = *contents.source;
  }
  const std::array<std::vector<uint8_t>, kHashed> sections{
      encode_manifest(contents.manifest),
      encode_state({contents.image.values, contents.image.wasi, contents.frames}),
      encode_page_index(index),
      std::move(module_section),
      {},
      {},
      contents.profile ? encode_profile(*contents.profile) : std::vector<uint8_t>()};
  const Status readable = check_readable(sections, contents);
  if (!readable.ok()) return Status::invalid_argument("no reader would take this: {}", readable.message());
  std::array<uint64_t, kHashed> lengths{};
  for (size_t i = 0; i < kHashed; i++) lengths[i] = sections[i].size();
  uint64_t raw_pages = 0;
  for (const MemoryIndex& memory : index) raw_pages += memory.pages(Run::Kind::kRaw);
  lengths[static_cast<size_t>(Section::kSource)] = source.size();
  lengths[static_cast<size_t>(Section::kPages)] = raw_pages * memory::kPageBytes;
  Superblock superblock = lay_out(lengths);
  superblock.base = contents.base;

  NewFile file = SPORE_TRY(NewFile::create(path, NewFile::kForOwner));
  FileWriter writer(file, superblock);
  for (const Section section : {Section::kManifest, Section::kState, Section::kPageIndex, Section::kModule}) {
    SPORE_TRY(writer.section(section, sections[static_cast<size_t>(section)]));
  }
  SPORE_TRY(writer.section(Section::kSource, source));
  SPORE_TRY(writer.pages(contents.image.memories, index));
  SPORE_TRY(writer.section(Section::kProfile, sections[static_cast<size_t>(Section::kProfile)]));
  const Digest id = SPORE_TRY(writer.finish());
  SPORE_TRY(file.commit());
  return id;
}

}  // namespace spore::snapshot
