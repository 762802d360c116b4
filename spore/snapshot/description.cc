// What snapshots hold, told without their pages.
#include <string>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/parts.h"

namespace spore::snapshot {

namespace {

Description head_of(const SnapshotFile& file) {
  const Superblock& superblock = file.superblock();
  Description description{.version = superblock.version,
                          .kind = std::string(kind_name(superblock.kind)),
                          .form = superblock.mapped ? Form::kMapped : Form::kWire,
                          .id = superblock.id,
                          .file_bytes = superblock.file_bytes()};
  if (superblock.kind == Kind::kDerived) description.base = superblock.parent;
  for (const Extent& extent : superblock.sections) {
    description.sections.push_back({.name = std::string(section_name(extent.section)),
                                    .codec = std::string(codec_name(extent.codec)),
                                    .offset = extent.offset,
                                    .bytes = extent.bytes,
                                    .raw_bytes = extent.raw_bytes});
  }
  return description;
}

Result<Description> describe_file(int fd, const ReadOptions& options) {
  const std::unique_ptr<SnapshotFile> file = SPORE_TRY(SnapshotFile::open(fd, options));
  Description description = head_of(*file);
  if (file->superblock().kind == Kind::kDelta) {
    DeltaFile delta = SPORE_TRY(read_delta_head(*file));
    description.delta = std::make_shared<const DeltaFile>(std::move(delta));
    return description;
  }
  Parts parts = SPORE_TRY(read_parts(*file));
  description.manifest = std::move(parts.manifest);
  description.globals = parts.state.values.globals.size();
  description.prepared_bytes = parts.module.prepared_bytes;
  description.has_frames = parts.state.frames.has_value();
  description.profile = std::move(parts.profile);
  description.exports = std::move(parts.exports);
  description.presets = std::move(parts.presets);
  for (const HotRun& run : parts.hot_set) description.hot_pages += run.pages;
  for (const MemoryIndex& memory : parts.index) {
    description.memories.push_back({.bytes = memory.pages() * memory::kPageBytes,
                                    .raw_bytes = memory.pages(Run::Kind::kRaw) * memory::kPageBytes,
                                    .base_bytes = memory.pages(Run::Kind::kBase) * memory::kPageBytes});
  }
  for (const std::vector<uint32_t>& table : parts.state.values.tables) {
    description.tables.push_back(table.size());
  }
  return description;
}

void world_text(std::string& text, const host::WasiOptions& wasi) {
  const auto line = [&](std::string_view what, std::string_view value) {
    text += fmt::format("  {:<13} {}\n", what, printable(value));
  };
  for (const std::string& arg : wasi.args) line("argument", arg);
  for (const std::string& variable : wasi.env) line("variable", variable);
  for (const host::WasiDirectory& directory : wasi.directories) {
    line("directory",
         fmt::format("{} is {}{}", directory.guest, directory.host, directory.writable ? ", writable" : ""));
  }
}

}  // namespace

Result<Description> describe(const std::filesystem::path& path, const ReadOptions& options) {
  const RegularFile file = SPORE_TRY(open_file(path, options));
  Result<Description> description = describe_file(file.fd.get(), options);
  if (!description.ok()) return at_path(std::move(description).status(), path);
  return description;
}

namespace {

class Lines {
 public:
  void line(std::string_view what, std::string_view value) {
    text_ += fmt::format("{:<15} {}\n", what, value);
  }
  void add(const host::WasiOptions& wasi) { world_text(text_, wasi); }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void tell_module(Lines& lines, const Description& description) {
  const Manifest& manifest = description.manifest;
  lines.line("module", printable(manifest.name));
  lines.line("original", manifest.original.hex());
  if (!manifest.rewriter.empty()) {
    lines.line("rewritten by",
               fmt::format("{} {}", printable(manifest.rewriter), printable(manifest.rewriter_arguments)));
    lines.line("to", manifest.module.hex());
  }
  lines.line("prepared by", manifest.with_module ? fmt::format("preparer {}, to {} bytes", manifest.preparer,
                                                               description.prepared_bytes)
                                                 : fmt::format("preparer {}", manifest.preparer));
  if (!manifest.with_module && !description.base) {
    lines.line("module is",
               fmt::format("not in the file: {} makes {}", manifest.module.hex(), manifest.prepared.hex()));
  }
  lines.line("made by", fmt::format("spore {}, {}", printable(manifest.spore_version),
                                    printable(manifest.engine_version)));
  lines.line("made at", fmt::format("{} s since 1970", manifest.created_s));
  lines.line("trust domain", fmt::format("'{}'", printable(manifest.domain)));
  if (manifest.tier_max != TierMax::kMax) {
    lines.line("climbs to", fmt::format("{} at most", tier_max_name(manifest.tier_max)));
  }
}

void tell_state(Lines& lines, const Description& description) {
  const Manifest& manifest = description.manifest;
  if (!manifest.entry.empty()) lines.line("a request", fmt::format("calls {}", printable(manifest.entry)));
  lines.line("framing", framing_name(manifest.framing));
  if (description.has_frames) lines.line("state", "in the middle of a call");
  lines.line("random bytes", fmt::format("{} were drawn until then", manifest.entropy_bytes));
  for (const Description::Memory& memory : description.memories) {
    const std::string of_base =
        description.base ? fmt::format(", and {} as in that one", memory.base_bytes) : std::string();
    lines.line("memory", fmt::format("{} bytes, {} of them here{}", memory.bytes, memory.raw_bytes, of_base));
  }
  for (const uint64_t elements : description.tables)
    lines.line("table", fmt::format("{} elements", elements));
  lines.line("globals", fmt::format("{}", description.globals));
  lines.line("WASI", manifest.wasi ? "yes" : "no");
  if (manifest.wasi) lines.add(*manifest.wasi);
}

void tell_hints(Lines& lines, const Description& description) {
  if (description.exports != nullptr) lines.line("exports", fmt::format("{}", description.exports->size()));
  for (size_t i = 0; i < description.presets.list.size(); i++) {
    const Presets::Preset& preset = description.presets.list[i];
    std::string options;
    for (const std::string& option : preset.options) options += " " + printable(option);
    lines.line("preset",
               fmt::format("{}{}:{}", preset.name,
                           i == description.presets.default_preset ? " (the default)" : "", options));
  }
  if (description.hot_pages > 0) lines.line("hot set", fmt::format("{} pages", description.hot_pages));
  if (!description.profile) return;
  const code::Profile& profile = *description.profile;
  lines.line("profile", fmt::format("it was called until it had {} code", engine::tier_name(profile.tier)));
  for (const code::Profile::Function& function : profile.functions) {
    lines.line("  function",
               fmt::format("{}: {} calls, {:.1f} us each", function.name, function.calls, function.mean_us));
  }
}

void tell_delta(Lines& lines, const DeltaFile& delta) {
  lines.line("cell", printable(delta.cell));
  lines.line("sequence", fmt::format("{}, the image's is {}", delta.sequence, delta.base_sequence));
  lines.line("follows", delta.parent.hex());
  lines.line("image", delta.base.hex());
  lines.line("module", delta.module.hex());
  lines.line("trust domain", fmt::format("'{}'", printable(delta.domain)));
  lines.line("made at", fmt::format("{} s since 1970", delta.created_s));
  lines.line("memory", fmt::format("{} bytes, {} pages of it differ", delta.memory_bytes, delta.dirty_pages));
}

}  // namespace

std::string Description::text() const {
  Lines lines;
  lines.line("snapshot", fmt::format("version {}, {} of {} bytes, {} form", version,
                                     delta == nullptr ? "an image" : "a delta", file_bytes, form_name(form)));
  lines.line("id", id.hex());
  if (base) lines.line("derived from", fmt::format("{}, at {}", base->hex(), printable(*manifest.base_file)));
  if (delta != nullptr) {
    tell_delta(lines, *delta);
  } else {
    tell_module(lines, *this);
    tell_state(lines, *this);
    tell_hints(lines, *this);
  }
  for (const Section& section : sections) {
    lines.line(
        "section",
        fmt::format("{:<10} {:>12} bytes at {}{}", section.name, section.bytes, section.offset,
                    section.codec == "raw" ? std::string()
                                           : fmt::format(", {} of {}", section.codec, section.raw_bytes)));
  }
  return lines.take();
}

// --- as JSON ---------------------------------------------------------------------------------------------

namespace {

void write_texts_json(JsonWriter& json, std::string_view name, std::span<const std::string> texts) {
  json.begin_array(name);
  for (const std::string& text : texts) json.element(text);
  json.end_array();
}

void write_manifest_json(JsonWriter& json, const Description& description) {
  const Manifest& manifest = description.manifest;
  json.field("name", manifest.name).field("domain", manifest.domain);
  json.field("created_s", manifest.created_s).field("spore", manifest.spore_version);
  json.field("engine", manifest.engine_version).field("original", manifest.original.hex());
  json.field("rewriter", manifest.rewriter).field("rewriter_arguments", manifest.rewriter_arguments);
  json.field("module", manifest.module.hex()).field("prepared", manifest.prepared.hex());
  json.field("preparer", manifest.preparer).field("prepared_bytes", description.prepared_bytes);
  json.field("with_module", manifest.with_module).field("tier_max", tier_max_name(manifest.tier_max));
  json.field("entry", manifest.entry).field("framing", framing_name(manifest.framing));
  json.field("entropy_bytes", manifest.entropy_bytes);
  if (!manifest.wasi) return;
  json.begin_object("wasi");
  write_texts_json(json, "args", manifest.wasi->args);
  write_texts_json(json, "env", manifest.wasi->env);
  json.begin_array("directories");
  for (const host::WasiDirectory& directory : manifest.wasi->directories) {
    json.begin_object().field("host", directory.host).field("guest", directory.guest);
    json.field("writable", directory.writable).end_object();
  }
  json.end_array().end_object();
}

void write_state_json(JsonWriter& json, const Description& description) {
  json.field("in_a_call", description.has_frames).field("globals", description.globals);
  json.begin_array("memories");
  for (const Description::Memory& memory : description.memories) {
    json.begin_object().field("bytes", memory.bytes).field("raw_bytes", memory.raw_bytes);
    json.field("base_bytes", memory.base_bytes).end_object();
  }
  json.end_array().begin_array("tables");
  for (const uint64_t elements : description.tables) json.element(elements);
  json.end_array();
}

void write_hints_json(JsonWriter& json, const Description& description) {
  json.begin_array("exports");
  for (const ExportIndex::Export& entry :
       description.exports == nullptr ? std::span<const ExportIndex::Export>() : description.exports->all()) {
    json.begin_object().field("name", entry.name).field("type", entry.type).end_object();
  }
  json.end_array();
  if (!description.presets.empty()) {
    json.field("default_preset", description.presets.list[description.presets.default_preset].name);
    json.begin_array("presets");
    for (const Presets::Preset& preset : description.presets.list) {
      json.begin_object().field("name", preset.name);
      write_texts_json(json, "options", preset.options);
      json.end_object();
    }
    json.end_array();
  }
  json.field("hot_pages", description.hot_pages);
  if (!description.profile) return;
  json.begin_object("profile").field("tier", engine::tier_name(description.profile->tier));
  json.begin_array("functions");
  for (const code::Profile::Function& function : description.profile->functions) {
    json.begin_object().field("name", function.name).field("calls", function.calls);
    json.field("mean_us", function.mean_us).end_object();
  }
  json.end_array().end_object();
}

void write_delta_json(JsonWriter& json, const DeltaFile& delta) {
  json.field("cell", delta.cell).field("domain", delta.domain).field("sequence", delta.sequence);
  json.field("base_sequence", delta.base_sequence).field("parent", delta.parent.hex());
  json.field("image", delta.base.hex()).field("module", delta.module.hex()).field("state", delta.state.hex());
  json.field("created_s", delta.created_s).field("memory_bytes", delta.memory_bytes);
  json.field("dirty_pages", delta.dirty_pages);
}

}  // namespace

void Description::write_json(JsonWriter& json) const {
  json.begin_object().field("version", version).field("kind", kind).field("form", form_name(form));
  json.field("id", id.hex());
  if (base) json.field("base", base->hex()).field("base_file", *manifest.base_file);
  json.field("file_bytes", file_bytes);
  if (delta != nullptr) {
    write_delta_json(json, *delta);
  } else {
    write_manifest_json(json, *this);
    write_state_json(json, *this);
    write_hints_json(json, *this);
  }
  json.begin_array("sections");
  for (const Section& section : sections) {
    json.begin_object().field("name", section.name).field("codec", section.codec);
    json.field("offset", section.offset).field("bytes", section.bytes);
    json.field("raw_bytes", section.raw_bytes).end_object();
  }
  json.end_array().end_object();
}

}  // namespace spore::snapshot
