// spore snapshot create|inspect|verify|diff|merge|extract: images and deltas as files.

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/image.h"
#include "apps/spore/progress.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/cell/delta.h"
#include "spore/runtime/options.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/states.h"
#include "spore/snapshot/writer.h"

namespace spore::cli {
namespace {

using snapshot::Contents;
using snapshot::DeltaFile;
namespace fs = std::filesystem;

Result<fs::path> out_of(const Args& args) {
  const std::optional<std::string_view> out = args.value_of("-o");
  if (!out) return Status::invalid_argument("-o FILE is missing");
  return fs::path(*out);
}

// --- how a file is written -----------------------------------------------------------------------------

// "web:instances_max=100,idle_expiry_ms=500"
Result<snapshot::Presets::Preset> parse_preset(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos) {
    return Status::invalid_argument("--preset is NAME:OPTION=VALUE,..., not '{}'", printable(text));
  }
  snapshot::Presets::Preset preset{.name = std::string(text.substr(0, colon)), .options = {}};
  for (std::string_view rest = text.substr(colon + 1); !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view option = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const size_t equals = std::min(option.find('='), option.size());
    runtime::RuntimeOptions checked;  // what cannot be set is refused now, and not when it is used
    SPORE_TRY(runtime::set_option(checked, option.substr(0, equals),
                                  option.substr(std::min(equals + 1, option.size())))
                  .with_context(fmt::format("--preset {}", preset.name)));
    preset.options.emplace_back(option);
  }
  return preset;
}

Status add_presets(const Args& args, snapshot::Presets& presets) {
  for (const std::string_view text : args.values_of("--preset")) {
    presets.list.push_back(SPORE_TRY(parse_preset(text)));
  }
  const auto name = args.value_of("--default-preset");
  if (!name) return {};
  const auto* found = presets.find(*name);
  if (found == nullptr) return Status::invalid_argument("there is no preset '{}'", printable(*name));
  presets.default_preset = static_cast<uint32_t>(found - presets.list.data());
  return {};
}

Result<snapshot::WriteOptions> write_options(const Args& args) {
  snapshot::WriteOptions options;
  const std::string_view form = args.value_of("--form").value_or("wire");
  if (form == "mapped") {
    options = snapshot::WriteOptions::local();
  } else if (form != "wire") {
    return Status::invalid_argument("--form is wire or mapped, not '{}'", printable(form));
  }
  if (const auto name = args.value_of("--compression")) {
    options.compression = SPORE_TRY(snapshot::parse_compression(*name));
  }
  if (const auto text = args.value_of("--level")) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), options.level);
    if (error != std::errc() || end != text->data() + text->size()) {
      return Status::invalid_argument("--level is a number, not '{}'", printable(*text));
    }
  }
  options.with_module = !args.has("--without-module");
  options.parallel = !args.has("--serial");
  return options;
}

void print_written(const Args& args, const fs::path& path, const Digest& id, double ms) {
  std::error_code ignored;  // then it is 0, of a file that was written just now
  const uint64_t bytes = fs::file_size(path, ignored);
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("id", id.hex()).field("file_bytes", bytes).field("ms", ms).end_object();
    print(json.take());
  } else {
    print(fmt::format("{}: {} bytes, {}, {:.1f} ms\n", path.native(), bytes, id.hex(), ms));
  }
}

Result<int> write_contents(const Args& args, const Contents& contents, const fs::path& path) {
  snapshot::WriteOptions options = SPORE_TRY(write_options(args));
  const auto begin = std::chrono::steady_clock::now();
  Digest id;
  {
    const Progress progress(fmt::format("writing {}", path.native()));
    id = SPORE_TRY(snapshot::write(contents, path, options));
  }
  // Of what was proved, in other bytes.
  if (contents.proved) remember_made(args, id);
  print_written(args, path, id, milliseconds_since(begin));
  return kDone;
}

// --- create, inspect, verify ---------------------------------------------------------------------------

Result<int> create_snapshot(Args& args) {
  const std::string_view source = SPORE_TRY(args.positional("SOURCE"));
  SPORE_TRY(args.finish());
  const fs::path out = SPORE_TRY(out_of(args));
  SPORE_TRY(write_options(args));  // before anything takes time
  Contents contents = SPORE_TRY(image_in(args, source));
  contents.base.reset();
  contents.manifest.base_file.reset();
  if (const auto name = args.value_of("--tier-max")) {
    contents.manifest.tier_max = SPORE_TRY(snapshot::parse_tier_max(*name));
  }
  SPORE_TRY(add_presets(args, contents.presets));
  return write_contents(args, contents, out);
}

Result<int> inspect_snapshot(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const snapshot::Description described = SPORE_TRY(snapshot::describe(fs::path(file)));
  if (args.has("--json")) {
    JsonWriter json;
    described.write_json(json);
    print(json.take());
  } else {
    print(described.text());
  }
  return kDone;
}

Result<snapshot::Validation> validation_of(const Args& args) {
  const std::string_view name = args.value_of("--validation").value_or("full");
  if (name == "full") return snapshot::Validation::kFull;
  if (name == "checksum") return snapshot::Validation::kChecksum;
  if (name == "structure") return snapshot::Validation::kStructure;
  return Status::invalid_argument("--validation is structure, checksum or full, not '{}'", printable(name));
}

// What is wrong, for programs.
void print_fault(const Args& args, std::string_view file, const Status& status) {
  if (!args.has("--json")) return;
  JsonWriter json;
  json.begin_object().field("file", file).field("ok", false);
  json.field("code", code_name(status.code())).field("message", status.message());
  if (const snapshot::ErrorInfo* info = snapshot::error_info(status); info != nullptr) {
    json.field("kind", snapshot::error_kind_name(info->kind)).field("section", info->section);
    if (info->offset) json.field("offset", *info->offset);
    json.field("expected", info->expected).field("found", info->found);
  }
  json.end_object();
  print(json.take());
}

Status verify_delta(const Args& args, const fs::path& file, JsonWriter& json) {
  const DeltaFile delta = SPORE_TRY(snapshot::read_delta(file));
  const cell::Delta state = SPORE_TRY(cell::decode_delta(delta.delta));
  json.field("kind", "delta").field("id", delta.id.hex()).field("base", delta.base.hex());
  const auto base = args.value_of("--base");
  if (!base) return {};
  const ImageFile image = SPORE_TRY(read_image_alone(args, fs::path(*base)));
  if (image.contents.id != delta.base) {
    return Status::invalid_argument("{} is the image {}, and not {}, which the delta is on", *base,
                                    image.contents.id.hex(), delta.base.hex());
  }
  // Of a chain it may be a later link: what can be told of it alone is whether it fits.
  SPORE_TRY(snapshot::apply(image.contents, state));
  json.field("fits_base", true);
  return {};
}

Status verify_image(const Args& args, const fs::path& file, JsonWriter& json) {
  const snapshot::Validation validation = SPORE_TRY(validation_of(args));
  std::optional<Contents> base;
  snapshot::ReadOptions options{.validation = validation};
  if (const auto path = args.value_of("--base")) {
    base = SPORE_TRY(snapshot::read(fs::path(*path), options));
    options.base = &*base;
  }
  const Contents contents = SPORE_TRY(snapshot::read(file, options));
  json.field("kind", contents.base ? "derived" : "base").field("id", contents.id.hex());
  json.field("module", contents.manifest.name).begin_object("load");
  contents.load.write_json(json);
  json.end_object();
  return {};
}

Result<int> verify_snapshot(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  SPORE_TRY(validation_of(args));
  const fs::path file(name);
  JsonWriter json;
  json.begin_object().field("file", name).field("ok", true);
  Status status;
  {
    const Progress progress(fmt::format("verifying {}", name));
    const Result<snapshot::Description> described = snapshot::describe(file);
    status = !described.ok()               ? described.status().copy()
             : described->delta != nullptr ? verify_delta(args, file, json)
                                           : verify_image(args, file, json);
  }
  if (!status.ok()) {
    print_fault(args, name, status);
    return status;
  }
  json.end_object();
  args.has("--json") ? print(json.take()) : print(fmt::format("{}: ok\n", name));
  return kDone;
}

// --- diff, merge, extract ------------------------------------------------------------------------------

uint64_t bytes_in(const cell::Delta& delta) {
  uint64_t bytes = 0;
  for (const cell::Delta::Memory& memory : delta.memories) {
    for (const cell::Delta::Run& run : memory.runs) bytes += run.bytes.size();
  }
  return bytes;
}

Result<int> diff_snapshots(Args& args) {
  const std::string_view first = SPORE_TRY(args.positional("FILE"));
  const std::string_view second = SPORE_TRY(args.positional("OTHER"));
  SPORE_TRY(args.finish());
  const ImageFile from = SPORE_TRY(read_image_alone(args, fs::path(first)));
  const ImageFile to = SPORE_TRY(read_image_alone(args, fs::path(second)));
  const cell::Delta delta = SPORE_TRY(snapshot::difference(from.contents, to.contents));
  const std::vector<uint8_t> encoded = cell::encode_delta(delta);
  size_t runs = 0;
  for (const cell::Delta::Memory& memory : delta.memories) runs += memory.runs.size();
  std::optional<DeltaFile> written;
  if (const auto out = args.value_of("-o")) {
    written = SPORE_TRY(snapshot::write_delta({.cell = std::string(second),
                                               .domain = from.contents.manifest.domain,
                                               .sequence = 1,
                                               .base_sequence = 0,
                                               .parent = from.contents.id,
                                               .base = from.contents.id,
                                               .module = from.contents.manifest.module,
                                               .memory_bytes =
                                                   [&] {
                                                     uint64_t bytes = 0;
                                                     for (const auto& memory : to.contents.image.memories) {
                                                       bytes += memory->bytes();
                                                     }
                                                     return bytes;
                                                   }(),
                                               .created_s = to.contents.manifest.created_s,
                                               .dirty_pages = cell::pages_in(delta),
                                               .delta = encoded},
                                              fs::path(*out)));
  }
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("from", from.contents.id.hex()).field("to", to.contents.id.hex());
    json.field("pages", cell::pages_in(delta)).field("runs", runs).field("bytes", bytes_in(delta));
    json.field("globals", delta.values.globals.size()).field("tables", delta.values.tables.size());
    json.field("wasi", delta.wasi.kind != cell::Delta::Part::Kind::kSame);
    json.field("delta_bytes", encoded.size());
    if (written) json.field("id", written->id.hex()).field("packed_bytes", written->packed_bytes);
    json.end_object();
    print(json.take());
    return kDone;
  }
  print(fmt::format("{} pages, {} runs, {} bytes, {} globals, {} tables{}; as a delta {} bytes\n",
                    cell::pages_in(delta), runs, bytes_in(delta), delta.values.globals.size(),
                    delta.values.tables.size(),
                    delta.wasi.kind != cell::Delta::Part::Kind::kSame ? ", WASI" : "", encoded.size()));
  return kDone;
}

Result<int> merge_snapshots(Args& args) {
  const std::string_view base = SPORE_TRY(args.positional("BASE"));
  const std::vector<std::string_view> files = args.rest();
  const fs::path out = SPORE_TRY(out_of(args));
  if (files.empty()) return Status::invalid_argument("say which deltas to put on {}", base);
  const ImageFile image = SPORE_TRY(read_image_alone(args, fs::path(base)));
  std::vector<DeltaFile> links;
  cell::Delta delta;
  for (const std::string_view file : files) {
    links.push_back(SPORE_TRY(snapshot::read_delta(fs::path(file))));
    const cell::Delta link = SPORE_TRY(cell::decode_delta(links.back().delta));
    delta = SPORE_TRY(cell::fold(std::move(delta), link));
  }
  SPORE_TRY(snapshot::check_chain(image.contents.id, links));
  return write_contents(args, SPORE_TRY(snapshot::apply(image.contents, delta)), out);
}

// One part of a file, as it is.
Result<int> extract_part(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  const std::string_view part = SPORE_TRY(args.positional("source, prepared, delta or memory"));
  size_t number = 0;
  if (const std::vector<std::string_view> rest = args.rest(); !rest.empty()) {
    const std::string_view text = rest.front();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (part != "memory" || rest.size() > 1 || error != std::errc() || end != text.data() + text.size()) {
      return Status::invalid_argument("'{}' is not the number of a memory", printable(text));
    }
  }
  const fs::path out = SPORE_TRY(out_of(args));
  if (part == "delta") {
    const DeltaFile delta = SPORE_TRY(snapshot::read_delta(fs::path(file)));
    SPORE_TRY(write_file(out, delta.delta));
    return kDone;
  }
  if (part != "source" && part != "prepared" && part != "memory") {
    return Status::invalid_argument(
        "'{}' is no part of a snapshot (there are: source, prepared, delta, memory)", printable(part));
  }
  const ImageFile image = SPORE_TRY(read_image(args, fs::path(file)));
  const Contents& contents = image.contents;
  if (part == "source") {
    SPORE_TRY(write_file(out, *contents.source));
  } else if (part == "prepared") {
    SPORE_TRY(write_file(out, contents.prepared->wasm));
  } else {
    if (number >= contents.image.memories.size()) {
      return Status::not_found("{} has {} memories, and no memory {}", file, contents.image.memories.size(),
                               number);
    }
    const memory::PageImage& memory = *contents.image.memories[number];
    NewFile made = SPORE_TRY(NewFile::create(out, NewFile::kForOwner));
    for (size_t offset = 0; offset < memory.bytes(); offset += memory::kPageBytes) {
      static constexpr std::array<uint8_t, memory::kPageBytes> kZeros{};
      const auto* page = reinterpret_cast<const uint8_t*>(memory.page(offset));
      const bool is_last = offset + memory::kPageBytes == memory.bytes();
      if (page == nullptr && !is_last) continue;  // a hole
      SPORE_TRY(made.write_at({page == nullptr ? kZeros.data() : page, memory::kPageBytes}, offset));
    }
    SPORE_TRY(made.commit());
  }
  return kDone;
}

}  // namespace

Result<int> manage_snapshots(Args& args) {
  struct Verb {
    std::string_view name;
    Result<int> (*run)(Args& args);
  };
  static constexpr std::array kVerbs{Verb{"create", create_snapshot}, Verb{"inspect", inspect_snapshot},
                                     Verb{"verify", verify_snapshot}, Verb{"diff", diff_snapshots},
                                     Verb{"merge", merge_snapshots},  Verb{"extract", extract_part}};
  const std::string_view verb = SPORE_TRY(args.positional("create, inspect, verify, diff, merge or extract"));
  const auto found = std::ranges::find(kVerbs, verb, &Verb::name);
  if (found != kVerbs.end()) return found->run(args);
  return Status::invalid_argument(
      "'{}' is nothing that is done to a snapshot (there are: create, inspect, verify, diff, merge, extract)",
      printable(verb));
}

}  // namespace spore::cli
