// spore freeze FILE [ARGS...] -o IMAGE
// spore freeze HANDLER -o IMAGE
// spore freeze --runner LANGUAGE -o IMAGE
// spore freeze --from BASE (HANDLER | --setup TEXT) -o IMAGE

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <system_error>

#include "apps/spore/command.h"
#include "apps/spore/image.h"
#include "apps/spore/progress.h"
#include "apps/spore/train.h"
#include "apps/spore/world.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/handler/handler.h"
#include "spore/runtime/runtime.h"

namespace spore::cli {
namespace {

using program::Framing;

constexpr uint64_t kFreezeDeadlineMs = 60'000;

// --- freezing -----------------------------------------------------------------------------------------

struct Freezing {
  const Args& args;
  std::string_view file;
  std::filesystem::path out;
  runtime::Runtime& runtime;
  std::shared_ptr<const host::WasiConfig> world;
  host::Wasi::Entropy entropy = host::Wasi::Entropy::kFresh;
  std::vector<std::string> training = {};  // requests that are answered before it is written
};

Result<std::vector<std::string>> training_of(const Args& args, Framing framing) {
  const auto file = args.value_of("--train");
  if (!file) return std::vector<std::string>();
  return read_requests(std::filesystem::path(*file), framing);
}

Result<host::Wasi::Entropy> entropy_of(const Args& args) {
  const std::string_view name = args.value_of("--entropy").value_or("fresh");
  if (name == "fresh" || name == "report") return host::Wasi::Entropy::kFresh;
  if (name == "trap") return host::Wasi::Entropy::kNone;
  return Status::invalid_argument("--entropy is fresh, report or trap, not '{}'", printable(name));
}

struct Frozen {
  Digest id;
  double boot_ms = 0;
  uint64_t memory_bytes = 0;
  uint64_t entropy_bytes = 0;
};

void print_frozen(const Freezing& freezing, const Frozen& frozen) {
  std::error_code ignored;  // then it is 0, of a file that was written just now
  const uint64_t file_bytes = std::filesystem::file_size(freezing.out, ignored);
  if (freezing.args.value_of("--entropy") == "report") {
    fmt::print(stderr,
               "spore: {} random bytes were drawn before it was frozen: they are the same in each request\n",
               frozen.entropy_bytes);
  }
  if (freezing.args.has("--json")) {
    JsonWriter json;
    json.begin_object()
        .field("id", frozen.id.hex())
        .field("image_bytes", file_bytes)
        .field("memory_bytes", frozen.memory_bytes)
        .field("entropy_bytes", frozen.entropy_bytes)
        .field("boot_ms", frozen.boot_ms)
        .end_object();
    print(json.take());
    return;
  }
  print(fmt::format("{}: {} bytes, {} of memory, started in {:.1f} ms\n", freezing.out.native(), file_bytes,
                    frozen.memory_bytes, frozen.boot_ms));
}

void print_program(const Freezing& freezing, const Digest& id, const program::FrozenFacts& facts) {
  // What it greets with is none of its answers.
  fmt::print(stderr, "{}{}", facts.error, facts.output);
  constexpr double kNsInMs = 1e6;
  print_frozen(freezing, {.id = id,
                          .boot_ms = static_cast<double>(facts.boot_ns) / kNsInMs,
                          .memory_bytes = facts.memory_bytes,
                          .entropy_bytes = facts.entropy_bytes});
}

Result<int> freeze_program(const Freezing& freezing, std::span<const uint8_t> bytes,
                           program::FreezeOptions how) {
  const std::string_view rewrite = freezing.args.value_of("--rewrite").value_or("waits");
  if (rewrite != "waits" && rewrite != "all") {
    return Status::invalid_argument("--rewrite is waits or all, not '{}'", printable(rewrite));
  }
  std::optional<Progress> progress;
  const runtime::FreezeProgramOptions options{.rewrite_all = rewrite == "all",
                                              .progress = [&](std::string_view phase) {
                                                progress.emplace(fmt::format("{} {}", phase, freezing.file));
                                              }};
  how.deadline_ms = freezing.runtime.options().limits.deadline_ms;
  how.entropy = freezing.entropy;
  runtime::FrozenProgram frozen = SPORE_TRY(
      freezing.runtime.freeze_program(freezing.file, bytes, {.wasi = freezing.world}, how, options));
  if (!freezing.training.empty()) {
    progress.emplace(fmt::format("training {}", freezing.file));
    SPORE_TRY(train(freezing.runtime, *frozen.module, *frozen.program, freezing.training));
    // A hint: what went wrong with a request was told, and where the system does not tell there is none.
    auto hot = frozen.program->hot_set(freezing.training.front());
    if (hot.ok()) frozen.source.hot_set = std::move(hot).value();
  }
  progress.reset();
  const Digest id = SPORE_TRY(frozen.program->save(freezing.out, frozen.source));
  remember_made(freezing.args, id);
  print_program(freezing, id, frozen.program->facts());
  return kDone;
}

Result<int> freeze_library(const Freezing& freezing, std::span<const uint8_t> bytes) {
  std::optional<Progress> progress(fmt::format("compiling {}", freezing.file));
  const std::shared_ptr<const runtime::Module> module = SPORE_TRY(
      freezing.runtime.load_module(freezing.file, bytes, {.wasi = freezing.world, .one_call = true}));
  progress.emplace(fmt::format("initialising {}", freezing.file));
  const std::string_view init = freezing.args.value_of("--init").value_or(program::kDefaultInit);
  const auto begin = std::chrono::steady_clock::now();
  const auto frozen = SPORE_TRY(freezing.runtime.freeze_library(
      *module,
      {.init = std::string(init), .deadline_ms = module->limits().deadline_ms, .entropy = freezing.entropy}));
  const double boot_ms = milliseconds_since(begin);
  progress.reset();
  const Digest id = SPORE_TRY(frozen->save(
      freezing.out, {.wasm = std::make_shared<const std::vector<uint8_t>>(bytes.begin(), bytes.end())}));
  remember_made(freezing.args, id);
  uint64_t memory_bytes = 0;
  for (const auto& memory : frozen->image().memories().images) memory_bytes += memory->bytes();
  print_frozen(
      freezing,
      {.id = id, .boot_ms = boot_ms, .memory_bytes = memory_bytes, .entropy_bytes = frozen->entropy_bytes()});
  return kDone;
}

// An image is called from other folders, too, than the one that it was frozen in.
Result<std::shared_ptr<const host::WasiConfig>> open_world(host::WasiOptions world) {
  for (host::WasiDirectory& directory : world.directories) {
    std::error_code error;
    const std::filesystem::path whole = std::filesystem::absolute(directory.host, error);
    if (error) return Status::from_errno(error.value(), directory.host);
    directory.host = whole.native();
  }
  return host::WasiConfig::create(std::move(world));
}

// The module that runs handlers of a language: --runtime FILE, or what lies in the data directory.
Result<FileView> open_runtime(const Args& args, const handler::Language& language, size_t bytes_max) {
  if (const auto flag = args.value_of("--runtime")) return view_file(std::filesystem::path(*flag), bytes_max);
  const std::filesystem::path home = SPORE_TRY(home_of(args));
  const std::filesystem::path file = home / "runtimes" / language.runtime;
  Result<FileView> view = view_file(file, bytes_max);
  if (view.code() != Code::kNotFound) return view;
  return Status::not_found(
      "there is no {}, which runs {} handlers (put it there, or name one with --runtime FILE; docs/guests.md "
      "says where it comes from)",
      file.native(), language.name);
}

// A handler, or, without a setup, the runner of a language that waits for one.
Result<int> freeze_handler(const Args& args, std::string_view name, handler::Handler handler,
                           std::optional<std::string> setup, const std::filesystem::path& out,
                           const runtime::RuntimeOptions& options) {
  for (const std::string_view flag : {"--stdin", "--init", "--arg", "--setup"}) {
    if (!args.has(flag)) continue;
    return Status::invalid_argument("{} is for wasm files, not for handlers and what runs them ({})", flag,
                                    name);
  }
  const host::WasiOptions given = SPORE_TRY(world_options(args, name, {}));
  handler.world.env = given.env;
  handler.world.directories.insert(handler.world.directories.end(), given.directories.begin(),
                                   given.directories.end());
  const FileView module = SPORE_TRY(open_runtime(args, *handler.language, options.module_bytes_max));
  const host::Wasi::Entropy entropy = SPORE_TRY(entropy_of(args));
  std::vector<std::string> training = SPORE_TRY(training_of(args, Framing::kLines));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::shared_ptr<const host::WasiConfig> opened = SPORE_TRY(open_world(std::move(handler.world)));
  const Freezing freezing{.args = args,
                          .file = name,
                          .out = out,
                          .runtime = *runtime,
                          .world = std::move(opened),
                          .entropy = entropy,
                          .training = std::move(training)};
  return freeze_program(freezing, module.bytes(), {.framing = handler::kFraming, .setup = std::move(setup)});
}

// From the folder of one file to another file.
Result<std::string> path_between(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  const std::filesystem::path file = std::filesystem::absolute(from, error);
  if (error) return Status::from_errno(error.value(), from.native());
  const std::filesystem::path folder = std::filesystem::canonical(file.parent_path(), error);
  if (error) return Status::from_errno(error.value(), file.parent_path().native());
  const std::filesystem::path target = std::filesystem::canonical(to, error);
  if (error) return Status::from_errno(error.value(), to.native());
  return target.lexically_relative(folder).native();
}

// What is frozen goes on from an image, which has a world already.
Result<int> freeze_from(const Args& args, std::span<const std::string_view> words,
                        const std::filesystem::path& out, const runtime::RuntimeOptions& options) {
  for (const std::string_view flag : {"--stdin", "--init", "--arg", "--env", "--dir", "--runtime", "--runner",
                                      "--site-packages", "--rewrite"}) {
    if (!args.has(flag)) continue;
    return Status::invalid_argument("{} is for what is started, and with --from nothing is: give it to BASE",
                                    flag);
  }
  const std::string_view from = args.value_of("--from").value_or("");
  const std::filesystem::path base(from);
  const bool is_handler = !words.empty();
  if (words.size() != (args.has("--setup") ? 0 : 1)) {
    return Status::invalid_argument("--from BASE takes one handler, or --setup TEXT");
  }
  const host::Wasi::Entropy entropy = SPORE_TRY(entropy_of(args));
  const ImageFile image = SPORE_TRY(read_image(args, base));
  const snapshot::Manifest& manifest = image.contents.manifest;
  if (image.base) {
    return Status::invalid_argument("{} is derived from another image itself: give --from that one", from);
  }
  if (manifest.framing == snapshot::Framing::kNone || (is_handler && manifest.framing != handler::kFraming)) {
    return Status::invalid_argument("{} is no image of a runner ('spore freeze --runner' makes one)", from);
  }
  std::error_code none;  // of a new file: then it is no other
  if (std::filesystem::equivalent(base, out, none)) {
    return Status::invalid_argument("{} would be written over, and what is derived needs it", from);
  }
  const bool packages =
      manifest.wasi && std::ranges::any_of(manifest.wasi->directories, [](const auto& directory) {
        return directory.guest == handler::kGuestPackages;
      });
  std::string setup(args.value_of("--setup").value_or(""));
  if (is_handler) {
    setup =
        SPORE_TRY(handler::read_handler(std::filesystem::path(words.front()), {.packages_mounted = packages}))
            .setup;
  }
  const std::vector<std::string> training =
      SPORE_TRY(training_of(args, is_handler ? Framing::kLines : manifest.framing));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::optional<Progress> progress(fmt::format("compiling {}", from));
  const auto module = SPORE_TRY(runtime->load_image(from, image.contents));
  const auto program = SPORE_TRY(runtime->restore(*module, image.contents));
  progress.emplace(fmt::format("starting {}", is_handler ? words.front() : from));
  const program::Program::Extended extended =
      SPORE_TRY(program->extend(setup, {.entropy = entropy, .deadline_ms = options.limits.deadline_ms}));
  progress.reset();
  if (is_handler && !extended.answer.output.empty()) {
    return Status::invalid_argument(
        "{} answered {} instead of loading it: it is no image of a runner that waits for a handler", from,
        words.front());
  }
  if (!training.empty()) {
    progress.emplace(fmt::format("training {}", is_handler ? words.front() : from));
    SPORE_TRY(train(*runtime, *module, *extended.program, training));
    progress.reset();
  }
  const program::Source source{.wasm = image.contents.source,
                               .original = manifest.original,
                               .rewriter = manifest.rewriter,
                               .rewriter_arguments = manifest.rewriter_arguments};
  const std::string to_base = SPORE_TRY(path_between(out, base));
  const Digest id = SPORE_TRY(extended.program->save_derived(out, source, to_base));
  const Freezing freezing{.args = args, .file = from, .out = out, .runtime = *runtime, .world = nullptr};
  print_program(freezing, id, extended.program->facts());
  return kDone;
}

Result<int> freeze_module(const Args& args, std::string_view file, std::span<const std::string_view> words,
                          const std::filesystem::path& out, const runtime::RuntimeOptions& options) {
  for (const std::string_view flag : {"--runtime", "--site-packages"}) {
    if (args.has(flag)) return Status::invalid_argument("{} is for handlers, which {} is not", flag, file);
  }
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  Result<wasm::ModuleFacts> facts = wasm::inspect(module_bytes.bytes(), options.module_bytes_max);
  if (!facts.ok()) return std::move(facts).status().with_context(file);
  const host::Wasi::Entropy entropy = SPORE_TRY(entropy_of(args));
  host::WasiOptions world = SPORE_TRY(world_options(args, file, words));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::shared_ptr<const host::WasiConfig> opened = SPORE_TRY(open_world(std::move(world)));
  Freezing freezing{.args = args,
                    .file = file,
                    .out = out,
                    .runtime = *runtime,
                    .world = std::move(opened),
                    .entropy = entropy};
  const bool serves = wasm::exports_function(facts.value(), program::kRequestExport);
  const bool is_library = !wasm::exports_function(facts.value(), "_start") || args.has("--init");
  // A library answers requests if it can and was not told otherwise, by --init without --stdin.
  if (is_library && (!serves || (args.has("--init") && !args.has("--stdin")))) {
    for (const std::string_view flag : {"--stdin", "--setup", "--rewrite", "--train"}) {
      if (!args.has(flag)) continue;
      return Status::invalid_argument("{} is for what answers requests, and as a library {} does not{}", flag,
                                      file, serves ? " without --stdin" : "");
    }
    return freeze_library(freezing, module_bytes.bytes());
  }
  program::FreezeOptions how;
  how.framing = SPORE_TRY(program::parse_framing(args.value_of("--stdin").value_or("lines")));
  freezing.training = SPORE_TRY(training_of(args, how.framing));
  if (const auto setup = args.value_of("--setup")) how.setup = std::string(*setup);
  if (const auto init = args.value_of("--init")) how.init = std::string(*init);
  return freeze_program(freezing, module_bytes.bytes(), std::move(how));
}

}  // namespace

Result<int> freeze_program(Args& args) {
  const std::vector<std::string_view> words = args.rest();
  const std::optional<std::string_view> out = args.value_of("-o");
  if (!out) return Status::invalid_argument("-o IMAGE is missing");
  const std::filesystem::path image(*out);
  runtime::RuntimeOptions defaults;
  defaults.limits.deadline_ms = kFreezeDeadlineMs;
  // What would be compiled better meanwhile is lost when this command ends.
  defaults.tier_up.calls = defaults.tier_up.guest_ms = UINT64_MAX;
  if (args.has("--train")) climb_at_once(defaults);  // and this is not: the image says where it came to
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args, std::move(defaults)));
  if (args.has("--from")) return freeze_from(args, words, image, options);
  const handler::HandlerOptions packages{
      .site_packages = std::filesystem::path(args.value_of("--site-packages").value_or(""))};
  if (const auto runner = args.value_of("--runner")) {
    if (!words.empty())
      return Status::invalid_argument("--runner {} takes no file, such as '{}'", *runner, words[0]);
    if (args.has("--train")) {
      return Status::invalid_argument(
          "--train is for what answers requests, and a runner waits for a handler");
    }
    const handler::Language* language = SPORE_TRY(handler::find_language(*runner));
    handler::Handler waiting = SPORE_TRY(handler::runner_of(*language, packages));
    return freeze_handler(args, *runner, std::move(waiting), {}, image, options);
  }
  if (words.empty()) return Status::invalid_argument("FILE is missing");
  const std::string_view file = words.front();
  if (handler::language_of(file) == nullptr) {
    return freeze_module(args, file, std::span(words).subspan(1), image, options);
  }
  if (words.size() > 1) {
    return Status::invalid_argument("{} is a handler, which takes no arguments, such as '{}'", file,
                                    printable(words[1]));
  }
  handler::Handler handler = SPORE_TRY(handler::read_handler(std::filesystem::path(file), packages));
  std::string setup = handler.setup;
  return freeze_handler(args, file, std::move(handler), std::move(setup), image, options);
}

}  // namespace spore::cli
