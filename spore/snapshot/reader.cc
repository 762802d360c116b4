// Reads an image.  Byte for byte: docs/formats/snapshot.md.
#include "spore/snapshot/reader.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "spore/base/elapsed.h"
#include "spore/base/fd.h"
#include "spore/snapshot/check.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/file.h"
#include "spore/snapshot/pages.h"
#include "spore/snapshot/parts.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {

Result<Parts> read_parts(const SnapshotFile& file) {
  const Superblock& superblock = file.superblock();
  if (superblock.kind == Kind::kDelta) {
    return with_facts(
        Status::invalid_argument("this is a delta, not an image: read_delta() reads it"),
        {.kind = ErrorKind::kFormat, .section = "superblock", .expected = "an image", .found = "a delta"});
  }
  const PageLayout layout{.derived = superblock.kind == Kind::kDerived, .mapped = superblock.mapped};
  const Extent* pages = superblock.find(Section::kPages);
  Parts parts;
  const std::vector<uint8_t> manifest = SPORE_TRY(file.read(Section::kManifest));
  const std::vector<uint8_t> state = SPORE_TRY(file.read(Section::kState));
  const std::vector<uint8_t> index = SPORE_TRY(file.read(Section::kPageIndex));
  const std::vector<uint8_t> exports = SPORE_TRY(file.read(Section::kExports));
  const std::vector<uint8_t> presets = SPORE_TRY(file.read(Section::kPresets));
  const std::vector<uint8_t> hot_set = SPORE_TRY(file.read(Section::kHotSet));
  const std::vector<uint8_t> profile = SPORE_TRY(file.read(Section::kProfile));
  const std::vector<uint8_t> module = SPORE_TRY(file.read(Section::kModule));

  const Timed timed(file.times().initialise_ns);
  parts.manifest = SPORE_TRY(decode_manifest(manifest, layout.derived, superblock.version));
  parts.state = SPORE_TRY(decode_state(state));
  parts.index = SPORE_TRY(decode_page_index(index, pages == nullptr ? 0 : pages->raw_bytes, layout));
  std::vector<uint64_t> memory_pages;
  for (const MemoryIndex& memory : parts.index) {
    memory_pages.push_back(memory.pages());
    SPORE_TRY(check_memory(memory.pages(), file.options().memory_bytes_max));
  }
  if (!exports.empty()) parts.exports = SPORE_TRY(decode_exports(exports));
  if (!presets.empty()) parts.presets = SPORE_TRY(decode_presets(presets));
  if (!hot_set.empty()) parts.hot_set = SPORE_TRY(decode_hot_set(hot_set, memory_pages));
  if (!profile.empty()) parts.profile = SPORE_TRY(decode_profile(profile));
  const Extent* source = superblock.find(Section::kSource);
  if (superblock.version != 1 && parts.manifest.with_module != (source != nullptr)) {
    return with_facts(Status::corruption("section MANIFEST: the module is {}in the file",
                                         parts.manifest.with_module ? "not " : ""),
                      {.kind = ErrorKind::kFormat, .section = "MANIFEST"});
  }
  if (parts.manifest.with_module) parts.module = SPORE_TRY(decode_module(module, source->raw_bytes));
  return parts;
}

namespace {

// The file says what cannot be.
Status corrupt(Status status) {
  if (status.ok()) return status;
  if (status.code() == Code::kUnsupported) return explained(std::move(status));
  return with_facts(Status::corruption("{}", status.message()), {.kind = ErrorKind::kValidation});
}

// The image that a derived one names.
Status check_base(const Digest& named, const Manifest& manifest, const Contents* base) {
  if (base == nullptr || base->id != named) {
    return with_facts(
        Status::unavailable(
            "this image is derived from image {}{}", named.hex(),
            base == nullptr ? ", which is not given" : fmt::format(", and this one is {}", base->id.hex())),
        {.kind = ErrorKind::kConfiguration,
         .section = "superblock",
         .expected = named.hex(),
         .found = base == nullptr ? std::string() : base->id.hex()});
  }
  if (base->base.has_value()) {
    return with_facts(Status::unsupported("this image is derived from one that is derived itself"),
                      {.kind = ErrorKind::kValidation});
  }
  const Manifest& below = base->manifest;
  const bool same = below.module == manifest.module && below.prepared == manifest.prepared &&
                    below.preparer == manifest.preparer && below.original == manifest.original &&
                    below.rewriter == manifest.rewriter &&
                    below.rewriter_arguments == manifest.rewriter_arguments &&
                    below.domain == manifest.domain;
  if (same) return {};
  return with_facts(
      Status::corruption("section MANIFEST: a derived image is of its base's module and trust domain"),
      {.kind = ErrorKind::kValidation,
       .section = "MANIFEST",
       .expected = fmt::format("module {}, domain '{}'", below.module.hex(), below.domain),
       .found = fmt::format("module {}, domain '{}'", manifest.module.hex(), manifest.domain)});
}

// The module of a file that has it.
Status take_module(Contents& contents, const ModuleParts& module, std::vector<uint8_t> source) {
  contents.source = std::make_shared<const std::vector<uint8_t>>(std::move(source));
  Result<wasm::PreparedModule> prepared = wasm::decode_prepared(module.facts, *contents.source);
  if (!prepared.ok()) {
    return explained(std::move(prepared).status().with_context("section MODULE: facts"), "MODULE");
  }
  prepared->wasm = join_module(module, *contents.source);
  contents.prepared = std::make_shared<const wasm::PreparedModule>(std::move(prepared).value());
  return {};
}

// The module of a file that names it alone.  It is prepared here: so nothing of it is to be proved.
Status find_module(Contents& contents, const ReadOptions& options) {
  const Manifest& manifest = contents.manifest;
  if (options.find_module) contents.source = options.find_module(manifest.prepared, manifest.module);
  const ErrorFacts facts{
      .kind = ErrorKind::kConfiguration, .section = "SOURCE", .expected = manifest.module.hex()};
  if (contents.source == nullptr) {
    return with_facts(
        Status::unavailable("the module {} is not in this file, and was not found{}", manifest.module.hex(),
                            options.find_module ? "" : ": nobody looked (find_module)"),
        facts);
  }
  const Digest found = sha256(*contents.source);
  if (found != manifest.module) {
    ErrorFacts other = facts;
    other.found = found.hex();
    return with_facts(Status::unavailable("the module {} is not in this file, and what was found is {}",
                                          manifest.module.hex(), found.hex()),
                      other);
  }
  if (manifest.preparer != wasm::kPreparerVersion) {
    return with_facts(Status::unsupported("the module was prepared by preparer {}, this build has {}",
                                          manifest.preparer, wasm::kPreparerVersion),
                      {.kind = ErrorKind::kVersion,
                       .section = "MANIFEST",
                       .expected = fmt::format("preparer {}", wasm::kPreparerVersion),
                       .found = fmt::format("preparer {}", manifest.preparer)});
  }
  Result<wasm::PreparedModule> prepared = wasm::prepare(*contents.source, contents.source->size());
  if (!prepared.ok()) return corrupt(std::move(prepared).status());
  const Digest made = sha256(prepared->wasm);
  if (made != manifest.prepared) {
    return with_facts(Status::corruption("section MANIFEST: preparing module {} gives {}, not {}",
                                         manifest.module.hex(), made.hex(), manifest.prepared.hex()),
                      {.kind = ErrorKind::kValidation,
                       .section = "MANIFEST",
                       .expected = manifest.prepared.hex(),
                       .found = made.hex()});
  }
  contents.prepared = std::make_shared<const wasm::PreparedModule>(std::move(prepared).value());
  contents.proved = true;
  return {};
}

// EXPORTS is what the module's facts say.
Status take_exports(Contents& contents, const ExportIndex* stored, uint32_t version) {
  std::shared_ptr<const ExportIndex> right = ExportIndex::create(contents.prepared->facts);
  if (right == nullptr)
    return corrupt(Status::invalid_argument("section MODULE: facts: two exports of one name"));
  const std::span<const ExportIndex::Export> there =
      stored == nullptr ? std::span<const ExportIndex::Export>() : stored->all();
  if (version != 1 && !std::ranges::equal(there, right->all())) {
    return with_facts(
        Status::corruption("section EXPORTS: these are not the module's, which has {}", right->size()),
        {.kind = ErrorKind::kValidation,
         .section = "EXPORTS",
         .expected = fmt::format("{} exports", right->size()),
         .found = fmt::format("{} exports", there.size())});
  }
  contents.exports = std::move(right);
  return {};
}

// The module, from the file, from the base, or from wherever it is.
Status bring_module(Contents& contents, const SnapshotFile& file, Parts& parts, bool compare) {
  const ReadOptions& options = file.options();
  if (contents.base) {
    contents.source = options.base->source;
    contents.prepared = options.base->prepared;
    contents.exports = options.base->exports;
    if (contents.exports == nullptr) contents.exports = ExportIndex::create(contents.prepared->facts);
    return {};
  }
  if (!parts.manifest.with_module) {
    SPORE_TRY(find_module(contents, options));
  } else {
    std::vector<uint8_t> source = SPORE_TRY(file.read(Section::kSource, compare));
    const Timed timed(file.times().initialise_ns);
    SPORE_TRY(take_module(contents, parts.module, std::move(source)));
  }
  return take_exports(contents, parts.exports.get(), file.superblock().version);
}

Status prove(Contents& contents, const ReadOptions& options) {
  if (contents.base && options.base->proved) contents.proved = true;
  if (options.validation != Validation::kFull) return {};
  if (options.proved && options.proved(contents.id)) contents.proved = true;
  if (contents.proved) return {};
  SPORE_TRY(corrupt(prove_module(contents)));
  contents.proved = true;
  return {};
}

LoadStatistics statistics_of(const SnapshotFile& file, std::chrono::steady_clock::time_point begin) {
  const LoadTimes& times = file.times();
  LoadStatistics statistics{.load_ns = ns_since(begin),
                            .decompress_ns = times.decompress_ns.load(),
                            .validate_ns = times.validate_ns.load(),
                            .map_ns = times.map_ns.load(),
                            .initialise_ns = times.initialise_ns.load(),
                            .raw_bytes = file.superblock().raw_bytes()};
  for (const Extent& extent : file.superblock().sections) statistics.stored_bytes += extent.bytes;
  return statistics;
}

Result<Contents> read_contents(const SnapshotFile& file) {
  const auto begin = std::chrono::steady_clock::now();
  const ReadOptions& options = file.options();
  const Superblock& superblock = file.superblock();
  const bool compare = options.validation != Validation::kStructure && !file.is_known();
  Parts parts = SPORE_TRY(read_parts(file));
  Contents contents;
  contents.id = superblock.id;
  contents.manifest = parts.manifest;
  if (superblock.kind == Kind::kDerived) {
    SPORE_TRY(check_base(superblock.parent, parts.manifest, options.base));
    contents.base = superblock.parent;
  }
  ReadPages pages = SPORE_TRY(read_pages(file, parts.index, contents.base ? options.base : nullptr, compare));
  SPORE_TRY(bring_module(contents, file, parts, compare));
  if (compare || file.is_known()) {
    // What was not compared now must still be what was compared then.
    if (file.is_known() || pages.mapped) SPORE_TRY(file.check_unchanged());
    if (file.check_unchanged().ok()) contents.file = file.identity();
  }
  contents.frames = std::move(parts.state.frames);
  contents.profile = std::move(parts.profile);
  contents.hot_set = std::move(parts.hot_set);
  contents.presets = std::move(parts.presets);
  contents.image.values = std::move(parts.state.values);
  contents.image.wasi = std::move(parts.state.wasi);
  contents.image.memories = std::move(pages.memories);
  {
    const Timed timed(file.times().validate_ns);
    SPORE_TRY(corrupt(check_contents(contents)));
    SPORE_TRY(prove(contents, options));
  }
  contents.load = statistics_of(file, begin);
  contents.load.mapped = pages.mapped;
  contents.load.exports = contents.exports->size();
  return contents;
}

}  // namespace

Status at_path(Status status, const std::filesystem::path& path) {
  return explained(std::move(status).with_context(fmt::format("'{}'", path.native())));
}

Result<Contents> read(int fd, const ReadOptions& options) {
  const std::unique_ptr<SnapshotFile> file = SPORE_TRY(SnapshotFile::open(fd, options));
  Result<Contents> contents = read_contents(*file);
  if (!contents.ok()) return explained(std::move(contents).status());
  return contents;
}

Result<Contents> read(const std::filesystem::path& path, const ReadOptions& options) {
  const RegularFile file = SPORE_TRY(open_file(path, options));
  Result<Contents> contents = read(file.fd.get(), options);
  if (!contents.ok()) return at_path(std::move(contents).status(), path);
  return contents;
}

Result<RegularFile> open_file(const std::filesystem::path& path, const ReadOptions& options) {
  Result<RegularFile> file = open_regular(path, options.file_bytes_max);
  if (!file.ok()) return explained(std::move(file).status());
  return file;
}

Status check_memory(uint64_t pages, uint64_t bytes_max) {
  if (pages <= bytes_max / memory::kPageBytes) return {};
  return with_facts(
      Status::limit_exceeded("a memory of {} pages of 4096 bytes (memory_bytes_max={})", pages, bytes_max),
      {.kind = ErrorKind::kConfiguration,
       .section = "PAGEINDEX",
       .expected = fmt::format("at most {} bytes", bytes_max),
       .found = fmt::format("{} pages", pages)});
}

}  // namespace spore::snapshot
