#include <array>
#include <cstdio>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
#include "apps/spore/world.h"
#include "spore/base/fd.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/base/version.h"
#include "spore/engine/ticker.h"
#include "spore/runtime/machine.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/reader.h"
#include "spore/wasm/prepare.h"

namespace spore::cli {
namespace {

constexpr std::array kCommonFlags{
    Flag{"--json", "", "print one JSON object instead of text"},
    Flag{"--home", "DIR", "data directory (default: SPORE_HOME, else XDG_DATA_HOME/spore)"},
    Flag{"--help", "", "print this"},
};

// "--deadline-ms" of "deadline_ms".  Lives as long as the program: Flag holds views.
std::span<const Flag> option_flags() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> made;
    for (const runtime::OptionDescription& option : runtime::option_descriptions()) {
      made.push_back(runtime::flag_name(option));
    }
    return made;
  }();
  static const std::vector<Flag> flags = [] {
    std::vector<Flag> made;
    for (size_t i = 0; i < names.size(); i++) {
      made.push_back({names[i], "VALUE", runtime::option_descriptions()[i].help});
    }
    return made;
  }();
  return flags;
}

// --- inspect ------------------------------------------------------------------------------------------

struct Inspected {
  wasm::ModuleFacts facts;
  std::string reset;  // a reset mode, or "refused": by the preparer
  std::vector<std::string> reset_reasons;
  size_t table_functions = 0;
  bool asyncify = false;  // Binaryen's rewrote it, in a way that is known
};

Result<Inspected> inspect(std::span<const uint8_t> bytes, size_t module_bytes_max) {
  Result<wasm::PreparedModule> prepared = wasm::prepare(bytes, module_bytes_max);
  Inspected inspected;
  if (prepared.ok()) {
    inspected.facts = std::move(prepared->facts);
    inspected.reset = wasm::reset_mode_name(prepared->reset());
    inspected.reset_reasons = std::move(prepared->reset_reasons);
    inspected.table_functions = prepared->table_functions.size();
    inspected.asyncify = prepared->asyncify.has_value();
  } else {
    inspected.facts = SPORE_TRY(wasm::inspect(bytes, module_bytes_max));
    inspected.reset = "refused";
    inspected.reset_reasons.emplace_back(prepared.status().message());
  }
  return inspected;
}

void print_facts(const Inspected& inspected) {
  const wasm::ModuleFacts& facts = inspected.facts;
  const auto row = [](std::string_view label, std::string_view value) {
    print(fmt::format("{:14} {}\n", label, value));
  };
  row("module", facts.hash.hex());
  row("size", fmt::format("{} bytes: {} code (largest function {}), {} data, {} custom", facts.module_bytes,
                          facts.code_bytes, facts.body_bytes_max, facts.data_bytes, facts.custom_bytes));
  row("functions", fmt::format("{}, of them {} imported", facts.functions, facts.functions_imported));
  row("globals", fmt::format("{}, of them {} mutable", facts.globals, facts.globals_mutable));
  row("tables", fmt::format("{}", facts.tables));
  row("segments", fmt::format("{} data, {} element", facts.data_segments, facts.element_segments));
  row("start", facts.has_start ? "yes" : "no");
  const std::string proposals = wasm::proposal_names(facts.proposals);
  row("proposals", proposals.empty() ? "none" : proposals);
  const Status optimised = wasm::check_proposals(facts, wasm::kProposalsOptimised);
  const Status baseline = wasm::check_proposals(facts, wasm::kProposalsBaseline);
  row("runs on", baseline.ok()    ? "baseline, optimised"
                 : optimised.ok() ? "optimised"
                                  : fmt::format("nothing: {}", optimised.message()));
  row("reset", inspected.reset);
  for (const std::string& reason : inspected.reset_reasons) row("reset reason", reason);
  if (inspected.table_functions > 0) {
    row("table entries", fmt::format("any of {} functions, changed by code", inspected.table_functions));
  }
  if (inspected.asyncify) row("asyncify", "rewritten: it can be stopped at a read");
  for (const std::string& memory : facts.memory_types) row("memory", memory);
  for (const auto& import : facts.imports) {
    row("import", fmt::format("{}.{} {}", printable(import.module), printable(import.name), import.type));
  }
  for (const auto& exported : facts.exports) {
    row("export", fmt::format("{} {}", printable(exported.name), exported.type));
  }
  for (const auto& section : facts.custom_sections) {
    row("custom", fmt::format("{} ({} bytes)", printable(section.name), section.bytes));
  }
}

void print_facts_json(const Inspected& inspected) {
  const wasm::ModuleFacts& facts = inspected.facts;
  JsonWriter json;
  json.begin_object()
      .field("hash", facts.hash.hex())
      .field("module_bytes", facts.module_bytes)
      .field("code_bytes", facts.code_bytes)
      .field("body_bytes_max", facts.body_bytes_max)
      .field("data_bytes", facts.data_bytes)
      .field("custom_bytes", facts.custom_bytes)
      .field("functions", facts.functions)
      .field("functions_imported", facts.functions_imported)
      .field("globals", facts.globals)
      .field("globals_mutable", facts.globals_mutable)
      .field("tables", facts.tables)
      .field("data_segments", facts.data_segments)
      .field("element_segments", facts.element_segments)
      .field("start", facts.has_start)
      .field("proposals", wasm::proposal_names(facts.proposals))
      .field("runs_on_baseline", wasm::check_proposals(facts, wasm::kProposalsBaseline).ok())
      .field("runs_on_optimised", wasm::check_proposals(facts, wasm::kProposalsOptimised).ok())
      .field("reset", inspected.reset)
      .field("table_functions", inspected.table_functions)
      .field("asyncify", inspected.asyncify);
  json.begin_array("reset_reasons");
  for (const std::string& reason : inspected.reset_reasons) json.element(reason);
  json.end_array().begin_array("memories");
  for (const std::string& memory : facts.memory_types) json.element(memory);
  json.end_array().begin_array("imports");
  for (const auto& import : facts.imports) {
    json.begin_object().field("module", import.module).field("name", import.name);
    json.field("type", import.type).end_object();
  }
  json.end_array().begin_array("exports");
  for (const auto& exported : facts.exports) {
    json.begin_object().field("name", exported.name).field("type", exported.type).end_object();
  }
  json.end_array().begin_array("custom_sections");
  for (const auto& section : facts.custom_sections) {
    json.begin_object().field("name", section.name).field("bytes", section.bytes).end_object();
  }
  json.end_array().end_object();
  print(json.take());
}

Result<bool> is_image(std::string_view file) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 40;
  const FileView view = SPORE_TRY(view_file(std::filesystem::path(file), kBytesMax));
  return snapshot::has_snapshot_magic(view.bytes());
}

Result<int> inspect_module(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  if (SPORE_TRY(is_image(file))) {
    const snapshot::Description image = SPORE_TRY(snapshot::describe(std::filesystem::path(file)));
    if (args.has("--json")) {
      JsonWriter json;
      image.write_json(json);
      print(json.take());
    } else {
      print(image.text());
    }
    return kDone;
  }
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  const std::span<const uint8_t> bytes = module_bytes.bytes();
  Result<Inspected> inspected = inspect(bytes, options.module_bytes_max);
  if (!inspected.ok()) return std::move(inspected).status().with_context(file);
  args.has("--json") ? print_facts_json(inspected.value()) : print_facts(inspected.value());
  return kDone;
}

// --- compile ------------------------------------------------------------------------------------------

constexpr std::array kCompileFlags{Flag{"-o", "OUT", "where the native code goes"}};

Result<int> compile_module(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const std::optional<std::string_view> out = args.value_of("-o");
  if (!out) return Status::invalid_argument("-o OUT is missing");
  runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  if (!options.tier) options.tier = engine::Tier::kOptimised;  // who compiles ahead has the time
  options.keep_code = false;                                   // and wants it in that file
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  const std::span<const uint8_t> bytes = module_bytes.bytes();
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::shared_ptr<const runtime::Module> module;
  {
    const Progress progress(fmt::format("compiling {}", file));
    Result<std::shared_ptr<const runtime::Module>> loaded = runtime->load_module(file, bytes);
    if (!loaded.ok()) return std::move(loaded).status().with_context(file);
    module = std::move(loaded).value();
  }
  const std::vector<uint8_t> code = SPORE_TRY(module->code()->save());
  SPORE_TRY(write_file(std::filesystem::path(*out), code));
  const double milliseconds = static_cast<double>(module->compile_ns()) / 1e6;
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object()
        .field("hash", module->facts().hash.hex())
        .field("tier", engine::tier_name(module->tier()))
        .field("module_bytes", bytes.size())
        .field("code_file_bytes", code.size())
        .field("compile_ms", milliseconds)
        .end_object();
    print(json.take());
  } else {
    print(fmt::format("{}: {} bytes of wasm, {} bytes of {} code, {:.1f} ms\n", *out, bytes.size(),
                      code.size(), engine::tier_name(module->tier()), milliseconds));
  }
  return kDone;
}

// --- doctor, options, version -------------------------------------------------------------------------

Result<int> examine_machine(Args& args) {
  SPORE_TRY(args.finish());
  const runtime::MachineReport report = runtime::probe_machine({});
  if (args.has("--json")) {
    JsonWriter json;
    runtime::write_json(report, json);
    print(json.take());
  } else {
    print(runtime::to_text(report));
  }
  return kDone;
}

Result<int> print_options(Args& args) {
  SPORE_TRY(args.finish());
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  JsonWriter json;
  json.begin_object();
  for (const runtime::OptionDescription& option : runtime::option_descriptions()) {
    if (args.has("--json")) {
      json.field(option.name, option.get(options));
    } else {
      print(fmt::format("{:20} = {:14} # {}\n", option.name, option.get(options), option.help));
    }
  }
  json.end_object();
  if (args.has("--json")) print(json.take());
  return kDone;
}

Result<int> print_version(Args& args) {
  SPORE_TRY(args.finish());
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("spore", version()).field("wasmtime", engine::engine_version()).end_object();
    print(json.take());
  } else {
    print(fmt::format("spore {} (wasmtime {})\n", version(), engine::engine_version()));
  }
  return kDone;
}

constexpr std::array kRunFlags{
    Flag{"--invoke", "NAME", "the exported function to call, instead of running a program"},
    Flag{"--signature", "TYPES", "of that function, for text: '(string, f64) -> string'"},
    kArgFlag,
    kEnvFlag,
    kDirFlag,
    Flag{"--explain", "", "tell on standard error which code was run, how it came about, and why"},
    Flag{"--code", "FILE", "native code from 'spore compile', trusted like a program of yours"},
};

constexpr std::array kFreezeFlags{
    Flag{"-o", "IMAGE", "where the image goes; by habit its name ends in .spore"},
    Flag{"--stdin", "lines|length|eof", "how requests will be told to the program; lines if not given"},
    Flag{"--from", "BASE", "go on from that image, and share its pages: a handler on a started runner"},
    Flag{"--runner", "LANGUAGE", "no file: what runs handlers of that language, as it waits for one"},
    Flag{"--setup", "TEXT", "a request that it is given before it is frozen, and does not answer"},
    Flag{"--train", "FILE",
         "requests that it answers before, so that the image says what is hot; waits 30 s at most"},
    Flag{"--rewrite", "waits|all", "the functions that it waits in (default), or all, which takes minutes"},
    Flag{"--entropy", "fresh|report|trap",
         "of random numbers drawn until then: let, tell of, or refuse them"},
    Flag{"--runtime", "FILE", "of a handler: what runs it; LANGUAGE.wasm of the data directory if not given"},
    Flag{"--site-packages", "DIR", "of a Python handler: packages that it may import"},
    Flag{"--init", "EXPORT", "of a library: what initialises it; wizer.initialize if not given"},
    kArgFlag,
    kEnvFlag,
    kDirFlag,
};

constexpr std::array kCallFlags{
    Flag{"--preset", "NAME", "limits that the image has under that name; its default one if not given"},
    Flag{"--no-prefetch", "", "do not have the system read pages ahead that the image says are hot"},
    Flag{"--base", "FILE", "the image that this one is derived from, if it is not where it was"},
    Flag{"--request", "TEXT", "one request; else they are read from standard input"},
    Flag{"--stdin", "lines|length|eof",
         "how they are told apart there; as the program wants them if not given"},
};

constexpr std::array kCellFlags{
    Flag{"--base", "FILE", "create, restore: the image that FILE is derived from, if it is not where it was"},
    Flag{"-o", "FILE", "snapshot: where it goes"},
    Flag{"--delta", "", "snapshot: what differs from its image alone"},
};

constexpr std::array kFunctionFlags{
    Flag{"--signature", "WIT",
         "add: 'func(text: string, boost: f64) -> f64'; as the module tells if not given"},
    Flag{"--kind", "scalar|aggregate|table", "add: scalar if not given"},
    Flag{"--pure", "", "add: the same arguments give the same result"},
    Flag{"--description", "TEXT", "add: what it does"},
    Flag{"--author", "TEXT", "add: who wrote it"},
    Flag{"--category", "TEXT", "add: what it is for"},
    Flag{"--set-version", "TEXT", "add: 1 if not given"},
    Flag{"--options", "JSON",
         "add: the rest, as an object (docs/functions.md): memo, variadic, deadline_ms, ..."},
    Flag{"--replace", "", "add: take the place of the one that has the name"},
    Flag{"--document", "JSON", "call: the object whose fields the function may ask for"},
    Flag{"--calls", "N", "bench: so many of each kind; as many as go into 200 ms if not given"},
};

constexpr std::array kSnapshotFlags{
    Flag{"-o", "FILE", "where what is made goes"},
    Flag{"--base", "FILE", "the image that FILE is derived from, or, with verify, that a delta is on"},
    Flag{"--form", "wire|mapped", "for moving (default), or for starting from: pages as they are in memory"},
    Flag{"--compression", "auto|none|zstd|lz4", "of the wire form; auto (default): zstd where it helps"},
    Flag{"--level", "1-9", "of compression; 6 if not given"},
    Flag{"--serial", "", "on one thread"},
    Flag{"--without-module", "", "name the module by its hash alone: who reads the file has to have it"},
    Flag{"--tier-max", "none|basic|aggressive|max",
         "how far up its module may climb: interpreter, baseline, optimised, any (default)"},
    Flag{"--preset", "NAME:OPTION=VALUE,...", "limits that its instances are meant to have; repeatable"},
    Flag{"--default-preset", "NAME", "the one that counts if none is asked for; the first if not given"},
    Flag{"--validation", "structure|checksum|full",
         "verify: how far; full (default) prepares the module again"},
};

constexpr std::array kCodeFlags{
    Flag{"--bytes-max", "SIZE", "prune: remove files until the rest has at most so many bytes"},
    Flag{"--unused-s", "SECONDS", "prune: remove what was not used for longer"},
    Flag{"--eviction", "POLICY", "prune: lru, lfu, ttl (the oldest) or adaptive (what saves least; default)"},
};

constexpr std::array kOptimizeFlags{
    Flag{"--preset", "default|aggressive|minimal",
         "small and fast, as small as can be, or only read and written"},
    Flag{"--no-dce", "", "leave what nobody calls and nothing reaches"},
    Flag{"--no-fold", "", "leave functions and pieces of code that are the same"},
    Flag{"--max-inline", "N",
         "inline functions with one caller up to this size (default: 128, aggressive: 64; 0: none)"},
    Flag{"-o", "OUT", "where the module goes; FILE with .opt.wasm if not given"},
    Flag{"--no-native", "", "do not compile to measure native code, which takes longest"},
};

constexpr std::array kCommands{
    Command{"run", "FILE [ARGS...]", "run a program, or call a function of a library", kRunFlags, true,
            run_module},
    Command{"freeze", "FILE [ARGS...] -o IMAGE",
            "start a program or a handler (.py, .rb, .js), and keep it as it waits for its first input",
            kFreezeFlags, true, freeze_program},
    Command{"call", "IMAGE [FUNCTION ARGS...]", "have a frozen program answer requests", kCallFlags, true,
            call_image},
    Command{"cell", "create|call|list|inspect|sleep|wake|fork|snapshot|restore|delete [NAME] ...",
            "named instances that keep their state between calls, as files of the data directory", kCellFlags,
            true, manage_cells},
    Command{"function", "add|list|call|remove|enable|disable|bench [NAME] [FILE | ARGS...]",
            "typed functions of modules and of Python files, kept in the data directory", kFunctionFlags,
            true, manage_functions},
    Command{
        "new",
        "LANGUAGE NAME",
        "make a folder with a function (rust, c, go, assemblyscript) or a handler (python, ruby, javascript)",
        {},
        false,
        make_project},
    Command{"build",
            "[FOLDER]",
            "compile a folder of functions, and check what it exports",
            {},
            false,
            build_project},
    Command{"test",
            "[FOLDER]",
            "call its functions with what tests.jsonl has, and compare",
            {},
            true,
            test_project},
    Command{"inspect",
            "FILE",
            "print what a module is, or an image holds, without running it",
            {},
            true,
            inspect_module},
    Command{"compile", "FILE -o OUT", "make native code ahead of time", kCompileFlags, true, compile_module},
    Command{"optimize", "FILE", "make a module smaller, and tell what each step saved", kOptimizeFlags, true,
            optimise_module},
    Command{"code", "list|verify|prune|clear", "look after the native code that is kept", kCodeFlags, false,
            manage_code},
    Command{"snapshot", "create|inspect|verify|diff|merge|extract FILE ...",
            "images and deltas as files: make, look at, check, compare, join, take apart", kSnapshotFlags,
            true, manage_snapshots},
    Command{"doctor", "", "print what of this machine Spore can use", {}, false, examine_machine},
    Command{"options", "", "print the options in force, as a file", {}, true, print_options},
    Command{"completion", "bash|zsh|fish", "print a shell's completion script", {}, false, print_completion},
    Command{"version", "", "print the versions", {}, false, print_version},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

std::vector<Flag> all_flags(const Command& command) {
  std::vector<Flag> flags(command.flags.begin(), command.flags.end());
  flags.insert(flags.end(), kCommonFlags.begin(), kCommonFlags.end());
  if (command.takes_options) {
    const std::span<const Flag> more = option_flags();
    flags.insert(flags.end(), more.begin(), more.end());
  }
  return flags;
}

int exit_code(const Status& status) {
  switch (status.code()) {
    case Code::kOk: return kDone;
    case Code::kInvalidArgument: return kMisused;
    case Code::kTrap: return kTrapped;
    case Code::kDeadlineExceeded: return kDeadline;
    case Code::kCancelled: return kInterrupted;
    default: return kFailed;
  }
}

Result<std::filesystem::path> home_of(const Args& args) {
  const std::string_view home = args.value_of("--home").value_or("");
  if (home.empty()) return runtime::default_home();
  return std::filesystem::path(home);
}

Result<runtime::RuntimeOptions> options_of(const Args& args, runtime::RuntimeOptions defaults) {
  defaults.compile_in = runtime::CompileIn::kHelper;  // whose modules these are, nobody knows
  runtime::RuntimeOptions options =
      SPORE_TRY(runtime::home_options(home_of(args).value_or({}), std::move(defaults)));
  const std::span<const Flag> flags = option_flags();
  for (size_t i = 0; i < flags.size(); i++) {
    const std::optional<std::string_view> value = args.value_of(flags[i].name);
    if (!value) continue;
    SPORE_TRY(runtime::set_option(options, runtime::option_descriptions()[i].name, *value));
  }
  options.log = Log(LogLevel::kInfo, stderr_sink());
  return options;
}

Result<ModuleBytes> read_module(std::string_view path, size_t bytes_max) {
  Result<FileView> file = view_file(std::filesystem::path(path), bytes_max);
  if (file.code() == Code::kLimitExceeded) {
    return Status::limit_exceeded("{} (module_bytes_max={})", file.status().message(), bytes_max);
  }
  if (!file.ok()) return std::move(file).status();
  const std::span<const uint8_t> bytes = file->bytes();
  const bool text = !wasm::has_wasm_magic(bytes) && path.ends_with(".wat");
  if (!text) return ModuleBytes(std::move(file).value());
  Result<std::vector<uint8_t>> wasm =
      engine::text_to_wasm({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  // "shop.wat:2:8: expected `)`", as compilers say it.
  if (!wasm.ok()) return Status::make(wasm.code(), "{}:{}", path, wasm.status().message());
  return ModuleBytes(std::move(wasm).value());
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace spore::cli
