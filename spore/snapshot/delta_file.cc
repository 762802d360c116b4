#include "spore/snapshot/delta_file.h"

#include <memory>
#include <string>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/utf8.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/parts.h"
#include "spore/snapshot/stored.h"

namespace spore::snapshot {
namespace {

Status check_delta_fields(const DeltaFile& delta) {
  const auto bad = [](std::string what, std::string expected, std::string found) {
    return with_facts(Status::invalid_argument("a delta {}", what), {.kind = ErrorKind::kValidation,
                                                                     .section = "MANIFEST",
                                                                     .expected = std::move(expected),
                                                                     .found = std::move(found)});
  };
  if (delta.cell.empty() || delta.cell.size() > DeltaFile::kCellBytesMax || !is_utf8(delta.cell)) {
    return bad("of a cell that cannot be named",
               fmt::format("1 to {} bytes of UTF-8", DeltaFile::kCellBytesMax),
               fmt::format("{} bytes", delta.cell.size()));
  }
  if (delta.sequence <= delta.base_sequence) {
    return bad(fmt::format("of sequence {} on an image of {}", delta.sequence, delta.base_sequence),
               fmt::format("above {}", delta.base_sequence), fmt::format("{}", delta.sequence));
  }
  if (delta.parent == Digest{}) return bad("that follows nothing", "the id of a file", "zeros");
  if (delta.delta.empty()) return bad("of no bytes", "at least one byte", "0 bytes");
  return {};
}

}  // namespace

Result<DeltaFile> write_delta(DeltaFile delta, const std::filesystem::path& path,
                              const WriteOptions& options) {
  SPORE_TRY(check_delta_fields(delta));
  if (options.form == Form::kMapped) {
    return with_facts(Status::invalid_argument("a delta has no mapped form"),
                      {.kind = ErrorKind::kConfiguration, .expected = "wire", .found = "mapped"});
  }
  delta.state = sha256(delta.delta);
  const std::vector<uint8_t> manifest = encode_delta_manifest(delta);
  const Result<DeltaFile> readable = decode_delta_manifest(manifest);
  if (!readable.ok()) {
    return with_facts(Status::invalid_argument("no reader would take this: {}", readable.status().message()),
                      {.kind = ErrorKind::kValidation, .section = "MANIFEST"});
  }
  std::vector<NewSection> sections;
  sections.push_back({.section = Section::kManifest,
                      .raw = std::make_unique<BytesSection>(std::span<const uint8_t>(manifest))});
  sections.push_back({.section = Section::kDelta,
                      .raw = std::make_unique<BytesSection>(std::span<const uint8_t>(delta.delta))});
  const Superblock written = SPORE_TRY(write_sections(
      path,
      {.kind = Kind::kDelta, .sequence = delta.sequence, .id = {}, .parent = delta.parent, .sections = {}},
      std::move(sections), options));
  delta.id = written.id;
  delta.packed_bytes = written.find(Section::kDelta)->bytes;
  return delta;
}

Result<DeltaFile> read_delta_head(const SnapshotFile& file) {
  const Superblock& superblock = file.superblock();
  if (superblock.kind != Kind::kDelta) {
    return with_facts(
        Status::invalid_argument("this is an image, not a delta: read() reads it"),
        {.kind = ErrorKind::kFormat, .section = "superblock", .expected = "a delta", .found = "an image"});
  }
  const std::vector<uint8_t> manifest = SPORE_TRY(file.read(Section::kManifest));
  DeltaFile delta = SPORE_TRY(decode_delta_manifest(manifest));
  delta.id = superblock.id;
  delta.sequence = superblock.sequence;
  delta.parent = superblock.parent;
  delta.packed_bytes = superblock.find(Section::kDelta)->bytes;
  if (delta.sequence > delta.base_sequence) return delta;
  return with_facts(Status::corruption("section MANIFEST: a delta of sequence {} on an image of {}",
                                       delta.sequence, delta.base_sequence),
                    {.kind = ErrorKind::kFormat,
                     .section = "MANIFEST",
                     .expected = fmt::format("below {}", delta.sequence),
                     .found = fmt::format("{}", delta.base_sequence)});
}

Result<DeltaFile> read_delta(int fd, const ReadOptions& options) {
  const std::unique_ptr<SnapshotFile> file = SPORE_TRY(SnapshotFile::open(fd, options));
  DeltaFile delta = SPORE_TRY(read_delta_head(*file));
  delta.delta = SPORE_TRY(file->read(Section::kDelta));
  const Digest found = sha256(delta.delta);
  if (found == delta.state) return delta;
  return with_facts(
      Status::corruption("section DELTA: it is {}, the manifest says {}", found.hex(), delta.state.hex()),
      {.kind = ErrorKind::kValidation,
       .section = "DELTA",
       .expected = delta.state.hex(),
       .found = found.hex()});
}

Result<DeltaFile> read_delta(const std::filesystem::path& path, const ReadOptions& options) {
  const RegularFile file = SPORE_TRY(open_file(path, options));
  Result<DeltaFile> delta = read_delta(file.fd.get(), options);
  if (!delta.ok()) return at_path(std::move(delta).status(), path);
  return delta;
}

// --- chains ----------------------------------------------------------------------------------------------

namespace {

struct ChainLink {
  size_t place;
  const DeltaFile& delta;

  Status refused(std::string_view what, const std::string& expected, const std::string& found) const {
    return with_facts(Status::corruption("link {} of the chain (sequence {}) {}: expected {}, found {}",
                                         place, delta.sequence, what, expected, found),
                      {.kind = ErrorKind::kValidation, .expected = expected, .found = found});
  }
};

std::string in_quotes(std::string_view text) { return fmt::format("'{}'", printable(text)); }

// What is the same in all links.
Status check_same(const ChainLink& link, const Digest& base, const DeltaFile& first) {
  const DeltaFile& delta = link.delta;
  if (delta.base != base) return link.refused("is of another image", base.hex(), delta.base.hex());
  if (delta.cell != first.cell)
    return link.refused("is of another cell", in_quotes(first.cell), in_quotes(delta.cell));
  if (delta.domain != first.domain) {
    return link.refused("is of another trust domain", in_quotes(first.domain), in_quotes(delta.domain));
  }
  if (delta.module != first.module) {
    return link.refused("is of another module", first.module.hex(), delta.module.hex());
  }
  if (delta.base_sequence != first.base_sequence) {
    return link.refused("has the image at another sequence", fmt::format("{}", first.base_sequence),
                        fmt::format("{}", delta.base_sequence));
  }
  return {};
}

}  // namespace

Status check_chain_length(size_t links) {
  if (links <= kChainLinksMax) return {};
  return with_facts(Status::limit_exceeded("a chain of {} links (kChainLinksMax={})", links, kChainLinksMax),
                    {.kind = ErrorKind::kValidation,
                     .expected = fmt::format("at most {}", kChainLinksMax),
                     .found = fmt::format("{}", links)});
}

Status check_chain(const Digest& base, std::span<const DeltaFile> links) {
  SPORE_TRY(check_chain_length(links.size()));
  Digest parent = base;
  for (size_t i = 0; i < links.size(); i++) {
    const ChainLink link{.place = i, .delta = links[i]};
    SPORE_TRY(check_same(link, base, links.front()));
    const uint64_t sequence = links[0].base_sequence + i + 1;
    const std::string expected = fmt::format("sequence {}", sequence);
    const std::string found = fmt::format("sequence {}", links[i].sequence);
    for (size_t before = 0; before < i; before++) {
      if (links[before].sequence != links[i].sequence && links[before].parent != links[i].parent) continue;
      return link.refused(fmt::format("forks from link {}", before), expected + " after " + parent.hex(),
                          found + " after " + links[i].parent.hex());
    }
    if (links[i].sequence != sequence) return link.refused("leaves a gap", expected, found);
    if (links[i].parent != parent) {
      return link.refused("follows another", parent.hex(), links[i].parent.hex());
    }
    parent = links[i].id;
  }
  return {};
}

}  // namespace spore::snapshot
