// spore cell create|call|list|inspect|sleep|wake|fork|snapshot|restore|delete: cells that are kept as files.

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/image.h"
#include "apps/spore/progress.h"
#include "apps/spore/values.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/runtime/cell_home.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/writer.h"

namespace spore::cli {
namespace {

using runtime::CellHome;
using runtime::OpenCell;
using runtime::StoredCell;

constexpr double kUsInMs = 1e3;

Result<CellHome> open_home(const Args& args) {
  const std::filesystem::path home = SPORE_TRY(home_of(args));
  return CellHome::open(home / "cells", open_proofs(args));
}

// A cell, loaded, and what loading it took.
struct Loaded {
  std::unique_ptr<runtime::Runtime> runtime;
  CellHome home;
  OpenCell cell;
  double load_ms = 0;
};
Result<Loaded> load(const Args& args, std::string_view name) {
  const auto begin = std::chrono::steady_clock::now();
  runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  options.cells.idle_sleep_ms = 60'000;  // this process ends before
  CellHome home = SPORE_TRY(open_home(args));
  std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(std::move(options)));
  const Progress progress(fmt::format("waking {}", name));
  OpenCell cell = SPORE_TRY(home.take(*runtime, name));
  return Loaded{.runtime = std::move(runtime),
                .home = std::move(home),
                .cell = std::move(cell),
                .load_ms = milliseconds_since(begin)};
}

// --- create --------------------------------------------------------------------------------------------

void print_stored(const Args& args, const StoredCell& cell) {
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("name", cell.name).field("domain", cell.domain);
    json.field("image", cell.image.hex()).field("sequence", cell.sequence);
    json.field("links", cell.links.size()).field("delta_bytes", cell::encode_delta(cell.delta).size());
    json.field("pages", cell::pages_in(cell.delta)).field("file_bytes", cell.file_bytes).end_object();
    print(json.take());
    return;
  }
  print(fmt::format("{}: sequence {}, asleep in {} bytes of {} pages; {} bytes in {} files\n",
                    printable(cell.name), cell.sequence, cell::encode_delta(cell.delta).size(),
                    cell::pages_in(cell.delta), cell.file_bytes, cell.links.size()));
}

Result<int> create_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  const snapshot::Contents contents = SPORE_TRY(image_in(args, file));
  if (contents.manifest.framing == snapshot::Framing::kEndOfInput) {
    return Status::unsupported("{} reads all of its input in one request, so nothing of it goes on", file);
  }
  const Digest image = SPORE_TRY(home.keep_image(contents));
  SPORE_TRY(home.create(name, image));
  print_stored(args, SPORE_TRY(home.read(name)));
  return kDone;
}

// --- call ----------------------------------------------------------------------------------------------

Result<int> request(const Args& args, Loaded& loaded, std::span<const std::string_view> words) {
  if (words.size() != 1) {
    return Status::invalid_argument("this cell answers requests: 'spore cell call NAME TEXT', and quote it");
  }
  const auto begin = std::chrono::steady_clock::now();
  const program::Answer answer = SPORE_TRY(loaded.cell.request(words.front()));
  const double us = milliseconds_since(begin) * kUsInMs;
  SPORE_TRY(loaded.cell.save());
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("output", answer.output).field("error", answer.error);
    if (answer.exit_code) {
      json.field("exit_code", uint64_t{*answer.exit_code});
    } else {
      json.null_field("exit_code");
    }
    json.field("load_ms", loaded.load_ms).field("call_us", us).end_object();
    print(json.take());
  } else {
    fmt::print(stderr, "{}", answer.error);
    print(answer.output);
  }
  constexpr uint32_t kExitCodeMax = 255;
  return static_cast<int>(std::min(answer.exit_code.value_or(kDone), kExitCodeMax));
}

Result<int> call_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::vector<std::string_view> words = args.rest();
  Loaded loaded = SPORE_TRY(load(args, name));
  if (loaded.cell.answers()) return request(args, loaded, words);
  if (words.empty()) return Status::invalid_argument("say which function of {} to call", name);
  cell::CellUse use = SPORE_TRY(loaded.cell.cells().use(loaded.cell.id()));
  const host::DynamicFunction function = SPORE_TRY(use.instance().dynamic_function(words.front()));
  const std::vector<host::Value> values =
      SPORE_TRY(parse_values(function.signature(), std::span(words).subspan(1)));
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<host::Value> results = SPORE_TRY(function(values));
  const double us = milliseconds_since(begin) * kUsInMs;
  SPORE_TRY(use.commit());
  SPORE_TRY(loaded.cell.save());
  print_results(args, results, us);
  return kDone;
}

// --- list, inspect -------------------------------------------------------------------------------------

Result<int> list_cells(Args& args) {
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  JsonWriter json;
  json.begin_object().begin_array("cells");
  int exit = kDone;
  const std::vector<std::string> names = SPORE_TRY(home.list());
  for (const std::string& name : names) {
    const Result<StoredCell> cell = home.read(name);
    if (!cell.ok()) {
      fmt::print(stderr, "spore: {}: {}\n", printable(name), cell.status().message());
      exit = kFailed;
      continue;
    }
    const uint64_t bytes = cell::encode_delta(cell->delta).size();
    json.begin_object().field("name", name).field("sequence", cell->sequence);
    json.field("delta_bytes", bytes).field("image", cell->image.hex()).end_object();
    if (args.has("--json")) continue;
    print(fmt::format("{:<30} sequence {:>6} {:>10} bytes  {}\n", printable(name), cell->sequence, bytes,
                      cell->image.hex().substr(0, 12)));
  }
  json.end_array().end_object();
  if (args.has("--json")) print(json.take());
  return exit;
}

Result<int> inspect_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  const StoredCell cell = SPORE_TRY(home.read(name));
  const snapshot::Contents image = SPORE_TRY(home.image(cell.image));
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("name", cell.name).field("domain", cell.domain);
    json.field("image", cell.image.hex()).field("module", image.manifest.name);
    json.field("sequence", cell.sequence);
    json.field("delta_bytes", cell::encode_delta(cell.delta).size());
    json.field("pages", cell::pages_in(cell.delta)).field("file_bytes", cell.file_bytes);
    json.field("globals", cell.delta.values.globals.size());
    json.field("tables", cell.delta.values.tables.size()).begin_array("links");
    for (const snapshot::DeltaFile& link : cell.links) {
      json.begin_object().field("id", link.id.hex()).field("parent", link.parent.hex());
      json.field("sequence", link.sequence).field("created_s", link.created_s);
      json.field("pages", link.dirty_pages).field("raw_bytes", link.raw_bytes());
      json.field("packed_bytes", link.packed_bytes).field("ratio", link.ratio()).end_object();
    }
    json.end_array().end_object();
    print(json.take());
    return kDone;
  }
  const auto line = [](std::string_view what, std::string_view value) {
    print(fmt::format("{:<12} {}\n", what, value));
  };
  line("cell", printable(cell.name));
  line("module", printable(image.manifest.name));
  line("image", cell.image.hex());
  line("sequence", fmt::format("{}", cell.sequence));
  line("asleep in", fmt::format("{} bytes: {} pages, {} globals, {} tables differ",
                                cell::encode_delta(cell.delta).size(), cell::pages_in(cell.delta),
                                cell.delta.values.globals.size(), cell.delta.values.tables.size()));
  for (const snapshot::DeltaFile& link : cell.links) {
    line("link",
         fmt::format("{} {}: {} bytes, packed {}, {} pages", link.sequence, link.id.hex().substr(0, 12),
                     link.raw_bytes(), link.packed_bytes, link.dirty_pages));
  }
  return kDone;
}

// --- sleep, wake, fork ---------------------------------------------------------------------------------

// Cells of files sleep between two commands.  This makes one link of all.
Result<int> sleep_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  Loaded loaded = SPORE_TRY(load(args, name));
  SPORE_TRY(loaded.cell.save(OpenCell::Fold::kNow));
  print_stored(args, SPORE_TRY(loaded.home.read(name)));
  return kDone;
}

// Shows that it wakes, and what that takes.
Result<int> wake_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  Loaded loaded = SPORE_TRY(load(args, name));
  const auto begin = std::chrono::steady_clock::now();
  SPORE_TRY(loaded.cell.cells().wake(loaded.cell.id()));
  const double first_us = milliseconds_since(begin) * kUsInMs;
  SPORE_TRY(loaded.cell.cells().sleep(loaded.cell.id()));
  const auto again = std::chrono::steady_clock::now();
  SPORE_TRY(loaded.cell.cells().wake(loaded.cell.id()));
  const double us = milliseconds_since(again) * kUsInMs;
  const uint64_t lost = loaded.cell.cells().statistics().counts.files_lost;
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("name", name).field("load_ms", loaded.load_ms);
    json.field("first_wake_us", first_us).field("wake_us", us).field("files_lost", lost).end_object();
    print(json.take());
  } else {
    print(fmt::format("{}: loaded in {:.1f} ms, woke in {:.1f} us, and once more in {:.1f} us\n",
                      printable(name), loaded.load_ms, first_us, us));
    if (lost > 0) print(fmt::format("{} files that it had open are gone\n", lost));
  }
  return kDone;
}

Result<int> fork_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::string_view other = SPORE_TRY(args.positional("OTHER"));
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  const StoredCell cell = SPORE_TRY(home.read(name));
  SPORE_TRY(home.create(other, cell.image, cell.delta));
  print_stored(args, SPORE_TRY(home.read(other)));
  return kDone;
}

// --- snapshot, restore, delete -------------------------------------------------------------------------

Result<int> snapshot_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const std::optional<std::string_view> out = args.value_of("-o");
  if (!out) return Status::invalid_argument("-o FILE is missing");
  const std::filesystem::path path(*out);
  Digest id;
  if (args.has("--delta")) {
    const CellHome home = SPORE_TRY(open_home(args));
    const StoredCell cell = SPORE_TRY(home.read(name));
    snapshot::DeltaFile file = cell.links.back();
    file.parent = file.base;
    file.base_sequence = file.sequence - 1;
    file.dirty_pages = cell::pages_in(cell.delta);
    file.delta = cell::encode_delta(cell.delta);
    id = SPORE_TRY(snapshot::write_delta(std::move(file), path)).id;
  } else {
    const Loaded loaded = SPORE_TRY(load(args, name));
    const snapshot::Contents contents = SPORE_TRY(loaded.cell.contents());
    const Progress progress(fmt::format("writing {}", *out));
    id = SPORE_TRY(snapshot::write(contents, path));
    remember_made(args, id);
  }
  std::error_code ignored;  // then it is 0, of a file that was written just now
  const uint64_t bytes = std::filesystem::file_size(path, ignored);
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("id", id.hex()).field("file_bytes", bytes).end_object();
    print(json.take());
  } else {
    print(fmt::format("{}: {} bytes\n", *out, bytes));
  }
  return kDone;
}

Result<int> restore_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  const snapshot::Description described = SPORE_TRY(snapshot::describe(std::filesystem::path(file)));
  if (described.delta == nullptr) {
    const ImageFile image = SPORE_TRY(read_image(args, std::filesystem::path(file)));
    const Digest id = SPORE_TRY(home.keep_image(image.contents));
    SPORE_TRY(home.create(name, id));
  } else {
    const snapshot::DeltaFile delta = SPORE_TRY(snapshot::read_delta(std::filesystem::path(file)));
    SPORE_TRY(snapshot::check_chain(delta.base, {&delta, 1}).with_context(file));
    const Result<snapshot::Contents> image = home.image(delta.base);
    if (image.code() == Code::kNotFound) {
      return Status::unavailable("{} is a delta on the image {}, which is not here (restore that one first)",
                                 file, delta.base.hex());
    }
    if (!image.ok()) return image.status().copy();
    const cell::Delta state = SPORE_TRY(cell::decode_delta(delta.delta));
    SPORE_TRY(home.create(name, delta.base, state));
  }
  // It is there only if it wakes.
  const Result<Loaded> loaded = load(args, name);
  if (!loaded.ok()) {
    SPORE_TRY(home.remove(name));
    return loaded.status().copy();
  }
  print_stored(args, loaded->cell.stored());
  return kDone;
}

Result<int> delete_cell(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const CellHome home = SPORE_TRY(open_home(args));
  SPORE_TRY(home.remove(name));
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("deleted", name).end_object();
    print(json.take());
  }
  return kDone;
}

}  // namespace

Result<int> manage_cells(Args& args) {
  struct Verb {
    std::string_view name;
    Result<int> (*run)(Args& args);
  };
  static constexpr std::array kVerbs{Verb{"create", create_cell},   Verb{"call", call_cell},
                                     Verb{"list", list_cells},      Verb{"inspect", inspect_cell},
                                     Verb{"sleep", sleep_cell},     Verb{"wake", wake_cell},
                                     Verb{"fork", fork_cell},       Verb{"snapshot", snapshot_cell},
                                     Verb{"restore", restore_cell}, Verb{"delete", delete_cell}};
  const std::string_view verb = SPORE_TRY(
      args.positional("create, call, list, inspect, sleep, wake, fork, snapshot, restore or delete"));
  const auto found = std::ranges::find(kVerbs, verb, &Verb::name);
  if (found != kVerbs.end()) return found->run(args);
  return Status::invalid_argument(
      "'{}' is nothing that is done to a cell (there are: create, call, list, inspect, sleep, wake, fork, "
      "snapshot, restore, delete)",
      printable(verb));
}

}  // namespace spore::cli
