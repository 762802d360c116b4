// The sections that have fields.  Byte for byte: docs/formats/snapshot.md.
#include "spore/snapshot/format.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include "spore/base/bytes.h"
#include "spore/base/utf8.h"
#include "spore/host/wasi_state.h"
#include "spore/snapshot/errors.h"

namespace spore::snapshot {
namespace {

constexpr uint32_t kTextBytesMax = uint32_t{1} << 20;       // in MANIFEST
constexpr uint32_t kStateTextBytesMax = uint32_t{1} << 28;  // in STATE
constexpr uint32_t kFactsBytesMax = uint32_t{1} << 30;
constexpr uint32_t kCountMax = 100'000'000;  // what there are bytes for is less
constexpr uint32_t kRunReservedMax = 5;
constexpr size_t kRunBytes = 16;
constexpr size_t kPieceEntryBytes = 16;
constexpr size_t kGlobalBytesMin = 5;
constexpr uint32_t kExportsMax = 1'000'000;  // of a module
constexpr size_t kExportBytesMin = 16;
constexpr size_t kHotRunBytes = 24;

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

// What is wrong with it so far, and where.
Status failed(ByteReader&& reader, Section section) {
  const std::string name(section_name(section));
  const size_t at = reader.offset();
  Status status = std::move(reader).status();
  if (status.ok()) return status;
  return with_facts(std::move(status).with_context(fmt::format("section {}", name)),
                    {.kind = ErrorKind::kFormat, .section = name, .offset = at});
}

// After the last field of a section.
Status finish(ByteReader&& reader, Section section) {
  reader.finish();
  return failed(std::move(reader), section);
}

}  // namespace

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

std::vector<uint8_t> encode_manifest(const Manifest& manifest, uint32_t version) {
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
  if (version != 1) {
    writer.u8(static_cast<uint8_t>(manifest.tier_max))
        .u8(manifest.with_module && !manifest.base_file ? 1 : 0);
  }
  if (manifest.base_file) writer.text(*manifest.base_file);
  return writer.take();
}

Result<Manifest> decode_manifest(std::span<const uint8_t> bytes, bool derived, uint32_t version) {
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
  manifest.with_module = !derived;
  if (version != 1) {
    const uint8_t tier_max = reader.u8();
    if (tier_max <= static_cast<uint8_t>(TierMax::kMax)) {
      manifest.tier_max = static_cast<TierMax>(tier_max);
    } else {
      reader.fail("there is no such tier");
    }
    manifest.with_module = read_flag(reader);
    if (derived && manifest.with_module) reader.fail("a derived image has its base's module");
  }
  if (derived) manifest.base_file = reader.text(kTextBytesMax);
  SPORE_TRY(finish(std::move(reader), Section::kManifest));
  return manifest;
}

std::vector<uint8_t> encode_delta_manifest(const DeltaFile& delta) {
  ByteWriter writer;
  writer.text(delta.cell).text(delta.domain).u64(delta.base_sequence);
  write_digest(writer, delta.base);
  write_digest(writer, delta.module);
  writer.u64(delta.memory_bytes).u64(delta.created_s).u64(delta.dirty_pages);
  write_digest(writer, delta.state);
  return writer.take();
}

Result<DeltaFile> decode_delta_manifest(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  DeltaFile delta;
  delta.cell = reader.text(DeltaFile::kCellBytesMax);
  if (reader.ok() && (delta.cell.empty() || !is_utf8(delta.cell))) reader.fail("a cell that cannot be named");
  delta.domain = reader.text(kTextBytesMax);
  delta.base_sequence = reader.u64();
  delta.base = read_digest(reader);
  delta.module = read_digest(reader);
  delta.memory_bytes = reader.u64();
  delta.created_s = reader.u64();
  delta.dirty_pages = reader.u64();
  delta.state = read_digest(reader);
  SPORE_TRY(finish(std::move(reader), Section::kManifest));
  return delta;
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
    if (!saved.ok()) return explained(saved.status().copy().with_context("section STATE"), "STATE");
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

// --- EXPORTS, PRESETS, HOTSET ----------------------------------------------------------------------------

std::vector<uint8_t> encode_exports(const ExportIndex& exports) {
  ByteWriter writer;
  writer.u32(static_cast<uint32_t>(exports.size()));
  for (const ExportIndex::Export& entry : exports.all()) {
    writer.text(entry.name).text(entry.type).u32(entry.parameters).u32(entry.results);
  }
  return writer.take();
}

Result<std::shared_ptr<const ExportIndex>> decode_exports(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  std::vector<ExportIndex::Export> exports(reader.count(kExportsMax, kExportBytesMin));
  if (reader.ok() && exports.empty()) reader.fail("no exports: then there is no such section");
  for (size_t i = 0; i < exports.size() && reader.ok(); i++) {
    ExportIndex::Export& entry = exports[i];
    entry.name = reader.text(kTextBytesMax);
    entry.type = reader.text(kTextBytesMax);
    entry.parameters = reader.u32();
    entry.results = reader.u32();
    if (reader.ok() && arity_of(entry.type) != Arity{entry.parameters, entry.results}) {
      reader.fail("parameters or results that the type does not have");
    }
  }
  std::shared_ptr<const ExportIndex> index;
  if (reader.ok()) index = ExportIndex::create(std::move(exports));
  if (reader.ok() && index == nullptr) reader.fail("two exports of one name");
  SPORE_TRY(finish(std::move(reader), Section::kExports));
  return index;
}

std::vector<uint8_t> encode_presets(const Presets& presets) {
  ByteWriter writer;
  writer.u32(presets.default_preset).u32(static_cast<uint32_t>(presets.list.size()));
  for (const Presets::Preset& preset : presets.list) {
    writer.text(preset.name);
    write_texts(writer, preset.options);
  }
  return writer.take();
}

namespace {

// "name=value", whose name no option before has.
bool is_new_option(std::span<const std::string> before, std::string_view option) {
  const auto name_of = [](std::string_view text) { return text.substr(0, text.find('=')); };
  const std::string_view name = name_of(option);
  if (name.empty() || name.size() == option.size()) return false;
  return std::ranges::none_of(before, [&](const std::string& other) { return name_of(other) == name; });
}

void read_preset(ByteReader& reader, std::span<const Presets::Preset> before, Presets::Preset& preset) {
  preset.name = reader.text(Presets::kNameBytesMax);
  if (reader.ok() && (preset.name.empty() || !code::can_be_named(preset.name))) {
    reader.fail("a name that cannot be printed");
  }
  if (std::ranges::find(before, preset.name, &Presets::Preset::name) != before.end()) {
    reader.fail("a preset twice");
  }
  preset.options.resize(reader.count(Presets::kOptionsMax, sizeof(uint32_t)));
  for (size_t i = 0; i < preset.options.size() && reader.ok(); i++) {
    preset.options[i] = reader.text(Presets::kOptionBytesMax);
    if (reader.ok() && !is_new_option(std::span(preset.options).first(i), preset.options[i])) {
      reader.fail("an option that is no name=value, or stands twice");
    }
  }
}

}  // namespace

Result<Presets> decode_presets(std::span<const uint8_t> bytes) {
  constexpr size_t kPresetBytesMin = 9;
  ByteReader reader(bytes);
  Presets presets;
  presets.default_preset = reader.u32();
  presets.list.resize(reader.count(Presets::kPresetsMax, kPresetBytesMin));
  if (presets.default_preset >= presets.list.size()) reader.fail("the default is none of the presets");
  for (size_t i = 0; i < presets.list.size() && reader.ok(); i++) {
    read_preset(reader, std::span(presets.list).first(i), presets.list[i]);
  }
  SPORE_TRY(finish(std::move(reader), Section::kPresets));
  return presets;
}

std::vector<uint8_t> encode_hot_set(std::span<const HotRun> runs) {
  ByteWriter writer;
  writer.u32(static_cast<uint32_t>(runs.size()));
  for (const HotRun& run : runs) writer.u32(run.memory).u32(run.flags).u64(run.first).u64(run.pages);
  return writer.take();
}

Result<std::vector<HotRun>> decode_hot_set(std::span<const uint8_t> bytes,
                                           std::span<const uint64_t> memory_pages) {
  ByteReader reader(bytes);
  std::vector<HotRun> runs(reader.count(kCountMax, kHotRunBytes));
  if (reader.ok() && runs.empty()) reader.fail("no runs: then there is no such section");
  for (size_t i = 0; i < runs.size() && reader.ok(); i++) {
    HotRun& run = runs[i];
    run.memory = reader.u32();
    run.flags = reader.u32();
    run.first = reader.u64();
    run.pages = reader.u64();
    if (!reader.ok()) break;
    if (run.flags == 0 || (run.flags & ~(HotRun::kRead | HotRun::kWritten)) != 0) {
      reader.fail("there are no such flags");
    }
    const uint64_t pages = run.memory < memory_pages.size() ? memory_pages[run.memory] : 0;
    if (run.pages == 0 || run.first >= pages || run.pages > pages - run.first) {
      reader.fail("a run that is not in its memory");
    }
    if (i == 0 || runs[i - 1].memory < run.memory || !reader.ok()) continue;
    const HotRun& before = runs[i - 1];
    const uint64_t end = before.first + before.pages;
    if (before.memory > run.memory || end > run.first) reader.fail("runs that do not ascend");
    if (end == run.first && before.flags == run.flags) reader.fail("one run that is told as two");
  }
  SPORE_TRY(finish(std::move(reader), Section::kHotSet));
  return runs;
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

bool is_zero_page(const std::byte* page) {
  // Each byte equal to the next, and the first is zero.
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, memory::kPageBytes - 1) == 0;
}

namespace {

Run::Kind kind_of_page(const memory::PageImage& image, size_t offset, bool derived) {
  if (derived && image.of_base(offset)) return Run::Kind::kBase;
  const std::byte* page = image.page(offset);
  return page == nullptr || is_zero_page(page) ? Run::Kind::kZeros : Run::Kind::kRaw;
}

// Where the page is behind the last one that is not zeros.
size_t end_of_data(const memory::PageImage& image, bool derived) {
  size_t end = std::min(image.bytes(), image.mapped_bytes());
  while (end > 0 && kind_of_page(image, end - memory::kPageBytes, derived) == Run::Kind::kZeros) {
    end -= memory::kPageBytes;
  }
  return end;
}

}  // namespace

PageIndex index_of(std::span<const std::shared_ptr<const memory::PageImage>> memories, PageLayout layout) {
  PageIndex index;
  uint64_t at = 0;  // pages of PAGES that are taken
  for (const auto& image : memories) {
    std::vector<Run>& runs = index.emplace_back().runs;
    const uint64_t start = at;
    const size_t end = end_of_data(*image, layout.derived);
    for (size_t offset = 0; offset < image->bytes(); offset += memory::kPageBytes) {
      Run::Kind kind = offset < end ? kind_of_page(*image, offset, layout.derived) : Run::Kind::kZeros;
      if (layout.mapped && offset < end && kind == Run::Kind::kZeros) kind = Run::Kind::kRaw;
      const bool raw = kind == Run::Kind::kRaw;
      if (raw && layout.mapped) at = start + offset / memory::kPageBytes;
      if (runs.empty() || runs.back().kind != kind || runs.back().pages == UINT32_MAX) {
        runs.push_back({.kind = kind, .pages = 0, .at = raw ? at : 0});
      }
      runs.back().pages++;
      at += raw ? 1 : 0;
    }
  }
  return index;
}

uint64_t pages_in(const PageIndex& index, PageLayout layout) {
  uint64_t pages = 0;
  for (const MemoryIndex& memory : index) {
    for (const Run& run : memory.runs) {
      if (run.kind != Run::Kind::kRaw) continue;
      pages = layout.mapped ? run.at + run.pages : pages + run.pages;
    }
  }
  return pages;
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

namespace {

// One run.  `memory`: those before it.  `next`: where in PAGES its pages stand, if it has any.
Status read_run(ByteReader& reader, std::span<const Run> before, PageLayout layout, uint64_t next, Run& run) {
  const auto kind_max = static_cast<uint32_t>(layout.derived ? Run::Kind::kBase : Run::Kind::kRaw);
  const uint32_t kind = reader.u32();
  run.pages = reader.u32();
  run.at = reader.u64();
  if (kind > kind_max && kind <= kRunReservedMax && reader.ok()) {
    return with_facts(
        Status::unsupported(
            "section PAGEINDEX: at byte {}: pages of kind {}, this build knows those up to {} here",
            reader.offset(), kind, kind_max),
        {.kind = ErrorKind::kVersion,
         .section = "PAGEINDEX",
         .offset = reader.offset(),
         .expected = fmt::format("kind 1 to {}", kind_max),
         .found = fmt::format("kind {}", kind)});
  }
  if (kind == 0 || kind > kind_max) {
    reader.fail("there is no such kind of page");
    return {};
  }
  run.kind = static_cast<Run::Kind>(kind);
  const bool raw = run.kind == Run::Kind::kRaw;
  if (run.pages == 0) reader.fail("a run of no pages");
  // No memory has so many that a run ends for their number.
  if (!before.empty() && before.back().kind == run.kind) reader.fail("one run that is told as two");
  if (layout.mapped && !before.empty() && before.back().kind == Run::Kind::kZeros) {
    reader.fail("zeros that are not the end of their memory");
  }
  if (run.at != (raw ? next : 0)) {
    reader.fail(layout.mapped ? "pages that do not stand where they stand in memory"
                              : "pages that do not follow those before them");
  }
  return {};
}

}  // namespace

Result<PageIndex> decode_page_index(std::span<const uint8_t> bytes, uint64_t pages_bytes, PageLayout layout) {
  ByteReader reader(bytes);
  PageIndex index(reader.count(kMemoriesMax, sizeof(uint32_t)));
  uint64_t at = 0;
  for (MemoryIndex& memory : index) {
    memory.runs.resize(reader.count(kCountMax, kRunBytes));
    const uint64_t start = at;
    uint64_t page = 0;
    for (size_t i = 0; i < memory.runs.size() && reader.ok(); i++) {
      Run& run = memory.runs[i];
      const uint64_t next = layout.mapped ? start + page : at;
      SPORE_TRY(read_run(reader, std::span(memory.runs).first(i), layout, next, run));
      if (run.kind == Run::Kind::kRaw) at = next + run.pages;
      page += run.pages;
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
  SPORE_TRY(failed(std::move(reader), Section::kModule));
  const std::span<const uint8_t> literals = bytes.last(in_literals);
  parts.literals.assign(literals.begin(), literals.end());
  return parts;
}

}  // namespace spore::snapshot
