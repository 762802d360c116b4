// Writes an image.  Byte for byte: docs/formats/snapshot.md.
#include "spore/snapshot/writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/snapshot/check.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/format.h"
#include "spore/snapshot/stored.h"
#include "spore/wasm/prepared_file.h"

namespace spore::snapshot {
namespace {

constexpr std::array<std::string_view, 4> kCompressionNames{"auto", "none", "zstd", "lz4"};

using Memories = std::span<const std::shared_ptr<const memory::PageImage>>;

// Ok if what was read of them is right: they may be mapped from files.
Status check_files(Memories memories) {
  for (const auto& image : memories) SPORE_TRY(image->check());
  return {};
}

// PAGES, out of the memories.
class PagesSection final : public RawSection {
 public:
  PagesSection(Memories memories, const PageIndex& index, uint64_t pages)
      : bytes_(pages * memory::kPageBytes), memories_(memories) {
    for (size_t i = 0; i < memories.size(); i++) {
      size_t offset = 0;
      for (const Run& run : index[i].runs) {
        const size_t bytes = run.pages * memory::kPageBytes;
        if (run.kind == Run::Kind::kRaw) {
          parts_.push_back({.at = run.at * memory::kPageBytes,
                            .bytes = bytes,
                            .image = memories[i].get(),
                            .offset = offset});
        }
        offset += bytes;
      }
    }
  }

  uint64_t bytes() const override { return bytes_; }
  Status check() const override { return check_files(memories_); }
  void read(uint64_t offset, std::span<uint8_t> to) const override {
    auto part =
        std::ranges::lower_bound(parts_, offset, {}, [](const Part& it) { return it.at + it.bytes - 1; });
    while (!to.empty()) {
      // What is between the parts, in the mapped form, are zeros.
      const uint64_t next = part == parts_.end() ? bytes_ : std::max(part->at, offset);
      const size_t zeros = std::min<uint64_t>(to.size(), next - offset);
      std::ranges::fill(to.first(zeros), 0);
      to = to.subspan(zeros);
      offset += zeros;
      if (to.empty()) return;
      const size_t bytes = std::min<uint64_t>(to.size(), part->at + part->bytes - offset);
      copy(*part, offset - part->at, to.first(bytes));
      to = to.subspan(bytes);
      offset += bytes;
      ++part;
    }
  }

 private:
  struct Part {
    uint64_t at;  // in PAGES
    uint64_t bytes;
    const memory::PageImage* image;
    uint64_t offset;  // in the memory
  };

  static void copy(const Part& part, uint64_t from, std::span<uint8_t> to) {
    uint64_t offset = part.offset + from;
    while (!to.empty()) {
      const uint64_t in_page = offset % memory::kPageBytes;
      const size_t bytes = std::min<uint64_t>(to.size(), memory::kPageBytes - in_page);
      const std::byte* page = part.image->page(offset - in_page);
      if (page == nullptr) {
        std::ranges::fill(to.first(bytes), 0);
      } else {
        std::memcpy(to.data(), page + in_page, bytes);
      }
      to = to.subspan(bytes);
      offset += bytes;
    }
  }

  uint64_t bytes_;
  Memories memories_;
  std::vector<Part> parts_;  // by `at`
};

// What a reader takes.
Status check_readable(const Contents& contents, const Manifest& manifest,
                      std::span<const NewSection> sections) {
  std::vector<uint64_t> memory_pages;
  for (const auto& image : contents.image.memories)
    memory_pages.push_back(image->bytes() / memory::kPageBytes);
  for (const NewSection& section : sections) {
    const bool has_fields = section.section != Section::kSource && section.section != Section::kPages;
    if (!has_fields) continue;
    std::vector<uint8_t> bytes(section.raw->bytes());
    section.raw->read(0, bytes);
    switch (section.section) {
      case Section::kManifest: SPORE_TRY(decode_manifest(bytes, manifest.base_file.has_value())); break;
      case Section::kState: SPORE_TRY(decode_state(bytes)); break;
      case Section::kExports: SPORE_TRY(decode_exports(bytes)); break;
      case Section::kPresets: SPORE_TRY(decode_presets(bytes)); break;
      case Section::kHotSet: SPORE_TRY(decode_hot_set(bytes, memory_pages)); break;
      case Section::kProfile: SPORE_TRY(decode_profile(bytes)); break;
      case Section::kModule: SPORE_TRY(decode_module(bytes, contents.source->size())); break;
      default: break;
    }
  }
  return {};
}

// As a failure of the caller.
Status invalid(Status status, std::string_view what) {
  if (status.ok()) return status;
  const ErrorInfo* info = error_info(status);
  ErrorFacts facts = info == nullptr ? ErrorFacts{} : ErrorFacts(*info);
  facts.kind = ErrorKind::kValidation;
  return with_facts(Status::invalid_argument("{}{}", what, status.message()), std::move(facts));
}

class ImageSections {
 public:
  void add(Section section, std::vector<uint8_t> bytes) {
    add(section, std::make_unique<BytesSection>(std::move(bytes)));
  }
  void add(Section section, std::unique_ptr<const RawSection> raw, bool sparse = false) {
    if (raw->bytes() > 0) sections_.push_back({.section = section, .raw = std::move(raw), .sparse = sparse});
  }
  std::span<const NewSection> all() const { return sections_; }
  std::vector<NewSection> take() && { return std::move(sections_); }

 private:
  std::vector<NewSection> sections_;  // in order
};

}  // namespace

std::string_view form_name(Form form) { return form == Form::kMapped ? "mapped" : "wire"; }

std::string_view compression_name(Compression compression) {
  return kCompressionNames[static_cast<size_t>(compression)];
}

Result<Compression> parse_compression(std::string_view name) {
  const auto* found = std::ranges::find(kCompressionNames, name);
  if (found == kCompressionNames.end()) {
    return with_facts(Status::invalid_argument("'{}' is none of auto, none, zstd, lz4", printable(name)),
                      {.kind = ErrorKind::kConfiguration, .found = std::string(name)});
  }
  return static_cast<Compression>(found - kCompressionNames.begin());
}

Result<Digest> write(const Contents& contents, const std::filesystem::path& path,
                     const WriteOptions& options) {
  SPORE_TRY(invalid(check_contents(contents), ""));
  if (contents.image.memories.size() > kMemoriesMax) {
    return with_facts(Status::invalid_argument("{} memories, a snapshot has at most {}",
                                               contents.image.memories.size(), kMemoriesMax),
                      {.kind = ErrorKind::kValidation,
                       .section = "PAGEINDEX",
                       .expected = fmt::format("at most {}", kMemoriesMax),
                       .found = fmt::format("{}", contents.image.memories.size())});
  }
  const bool derived = contents.base.has_value();
  const PageLayout layout{.derived = derived, .mapped = options.form == Form::kMapped};
  const PageIndex index = index_of(contents.image.memories, layout);
  SPORE_TRY(explained(check_files(contents.image.memories), "PAGES"));  // it may be of zeros that are none
  Manifest manifest = contents.manifest;
  manifest.with_module = options.with_module && !derived;
  if (options.tier_max) manifest.tier_max = *options.tier_max;
  if (derived && !manifest.base_file) manifest.base_file.emplace();
  if (!derived) manifest.base_file.reset();

  ImageSections sections;
  sections.add(Section::kManifest, encode_manifest(manifest));
  sections.add(Section::kState, encode_state({contents.image.values, contents.image.wasi, contents.frames}));
  sections.add(Section::kPageIndex, encode_page_index(index));
  if (!derived && !contents.prepared->facts.exports.empty()) {
    sections.add(Section::kExports, encode_exports(*ExportIndex::create(contents.prepared->facts)));
  }
  const Presets& presets = options.presets ? *options.presets : contents.presets;
  if (!presets.empty()) sections.add(Section::kPresets, encode_presets(presets));
  if (!contents.hot_set.empty()) sections.add(Section::kHotSet, encode_hot_set(contents.hot_set));
  if (contents.profile) sections.add(Section::kProfile, encode_profile(*contents.profile));
  if (manifest.with_module) {
    ModuleParts module = split_module(contents.prepared->wasm, *contents.source);
    module.facts = wasm::encode_prepared(*contents.prepared);
    sections.add(Section::kModule, encode_module(module));
    sections.add(Section::kSource,
                 std::make_unique<BytesSection>(std::span<const uint8_t>(*contents.source)));
  }
  SPORE_TRY(invalid(check_readable(contents, manifest, sections.all()), "no reader would take this: "));
  sections.add(Section::kPages,
               std::make_unique<PagesSection>(contents.image.memories, index, pages_in(index, layout)),
               layout.mapped);
  const Superblock written = SPORE_TRY(write_sections(path,
                                                      {.kind = derived ? Kind::kDerived : Kind::kBase,
                                                       .mapped = layout.mapped,
                                                       .id = {},
                                                       .parent = contents.base.value_or(Digest{}),
                                                       .sections = {}},
                                                      std::move(sections).take(), options));
  return written.id;
}

}  // namespace spore::snapshot
