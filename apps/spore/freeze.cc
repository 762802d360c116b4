// spore freeze FILE [ARGS...] -o IMAGE | spore freeze HANDLER -o IMAGE | spore call IMAGE [--request TEXT] [<
// requests]

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
#include "apps/spore/values.h"
#include "apps/spore/world.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/handler/handler.h"
#include "spore/runtime/runtime.h"
#include "spore/snapshot/reader.h"

namespace spore::cli {
namespace {

using program::Framing;

constexpr uint64_t kFreezeDeadlineMs = 60'000;

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// --- freezing -----------------------------------------------------------------------------------------

struct Freezing {
  const Args& args;
  std::string_view file;
  std::filesystem::path out;
  runtime::Runtime& runtime;
  std::shared_ptr<const host::WasiConfig> world;
};

void print_frozen(const Freezing& freezing, const Digest& id, double boot_ms, uint64_t memory_bytes) {
  std::error_code ignored;  // then it is 0, of a file that was written just now
  const uint64_t file_bytes = std::filesystem::file_size(freezing.out, ignored);
  if (freezing.args.has("--json")) {
    JsonWriter json;
    json.begin_object()
        .field("id", id.hex())
        .field("image_bytes", file_bytes)
        .field("memory_bytes", memory_bytes)
        .field("boot_ms", boot_ms)
        .end_object();
    print(json.take());
    return;
  }
  print(fmt::format("{}: {} bytes, {} of memory, started in {:.1f} ms\n", freezing.out.native(), file_bytes,
                    memory_bytes, boot_ms));
}

Result<int> freeze_program(const Freezing& freezing, std::span<const uint8_t> bytes,
                           program::FreezeOptions how) {
  std::optional<Progress> progress(fmt::format("rewriting {}", freezing.file));
  const code::Rewritten rewritten = SPORE_TRY(freezing.runtime.rewrite_program(bytes));
  progress.emplace(fmt::format("compiling {}", freezing.file));
  const std::shared_ptr<const runtime::Module> module =
      SPORE_TRY(freezing.runtime.load_module(freezing.file, *rewritten.wasm, {.wasi = freezing.world}));
  progress.emplace(fmt::format("starting {}", freezing.file));
  how.deadline_ms = module->limits().deadline_ms;
  const auto frozen = SPORE_TRY(freezing.runtime.freeze(*module, how));
  progress.reset();
  // What it greets with is none of its answers.
  fmt::print(stderr, "{}{}", frozen->facts().error, frozen->facts().output);
  const Digest id = SPORE_TRY(
      frozen->save(freezing.out, {.wasm = rewritten.wasm,
                                  .original = rewritten.original,
                                  .rewriter = fmt::format("binaryen {}", code::kBinaryenVersion),
                                  .rewriter_arguments = fmt::format("version {}", code::kRewriterVersion)}));
  constexpr double kNsInMs = 1e6;
  print_frozen(freezing, id, static_cast<double>(frozen->facts().boot_ns) / kNsInMs,
               frozen->facts().memory_bytes);
  return kDone;
}

Result<int> freeze_library(const Freezing& freezing, std::span<const uint8_t> bytes) {
  if (freezing.args.has("--stdin")) {
    return Status::invalid_argument("{} is a library, it exports no _start: --stdin is for programs",
                                    freezing.file);
  }
  std::optional<Progress> progress(fmt::format("compiling {}", freezing.file));
  const std::shared_ptr<const runtime::Module> module =
      SPORE_TRY(freezing.runtime.load_module(freezing.file, bytes, {.wasi = freezing.world}));
  progress.emplace(fmt::format("initialising {}", freezing.file));
  const std::string_view init = freezing.args.value_of("--init").value_or(program::kDefaultInit);
  const auto begin = std::chrono::steady_clock::now();
  const auto frozen = SPORE_TRY(freezing.runtime.freeze_library(
      *module, {.init = std::string(init), .deadline_ms = module->limits().deadline_ms}));
  const double boot_ms = milliseconds_since(begin);
  progress.reset();
  const Digest id = SPORE_TRY(frozen->save(
      freezing.out, {.wasm = std::make_shared<const std::vector<uint8_t>>(bytes.begin(), bytes.end())}));
  uint64_t memory_bytes = 0;
  for (const auto& memory : frozen->image().memories().images) memory_bytes += memory->bytes();
  print_frozen(freezing, id, boot_ms, memory_bytes);
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

Result<int> freeze_handler(const Args& args, std::string_view file, const std::filesystem::path& out,
                           const runtime::RuntimeOptions& options) {
  for (const std::string_view flag : {"--stdin", "--init", "--arg"}) {
    if (args.has(flag)) return Status::invalid_argument("{} is for wasm files, {} is a handler", flag, file);
  }
  handler::Handler handler = SPORE_TRY(handler::read_handler(
      std::filesystem::path(file),
      {.site_packages = std::filesystem::path(args.value_of("--site-packages").value_or(""))}));
  const host::WasiOptions given = SPORE_TRY(world_options(args, file, {}));
  handler.world.env = given.env;
  handler.world.directories.insert(handler.world.directories.end(), given.directories.begin(),
                                   given.directories.end());
  const FileView module = SPORE_TRY(open_runtime(args, *handler.language, options.module_bytes_max));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::shared_ptr<const host::WasiConfig> opened = SPORE_TRY(open_world(std::move(handler.world)));
  const Freezing freezing{
      .args = args, .file = file, .out = out, .runtime = *runtime, .world = std::move(opened)};
  return freeze_program(freezing, module.bytes(),
                        {.framing = handler::kFraming, .setup = std::move(handler.setup)});
}

// --- requests -----------------------------------------------------------------------------------------

// Sends requests and prints answers, one after the other.
class Requests {
 public:
  // `told`: how answers are told apart.
  Requests(const Args& args, const program::Program& program, Framing told)
      : json_(args.has("--json")), told_(told), program_(program) {}

  // The exit code of one request on its own.  Nothing follows its answer, which is printed as it is.
  Result<int> one(std::string_view text) {
    const program::Answer answer = SPORE_TRY(ask(text));
    if (!json_) print(answer.output);
    constexpr uint32_t kExitCodeMax = 255;
    return static_cast<int>(std::min(answer.exit_code.value_or(kDone), kExitCodeMax));
  }
  // One of many: what goes wrong is told, and the next one is as good.
  void next(std::string_view text) {
    number_++;
    const Result<program::Answer> answer = ask(text);
    if (answer.ok()) {
      if (!json_) print_framed(answer->output);
      failed_ = failed_ || answer->exit_code.value_or(kDone) != kDone;
      return;
    }
    failed_ = true;
    if (json_) {
      JsonWriter json;
      json.begin_object().begin_object("error").field("code", code_name(answer.code()));
      json.field("message", answer.status().message()).end_object().end_object();
      print(json.take());
    }
    fmt::print(stderr, "spore: request {}: {}\n{}", number_, answer.status().message(),
               answer.status().detail());
  }
  int exit_code() const { return failed_ ? kFailed : kDone; }

 private:
  Result<program::Answer> ask(std::string_view text) {
    const auto begin = std::chrono::steady_clock::now();
    program::Answer answer = SPORE_TRY(program_.request(text));
    constexpr double kUsInMs = 1e3;
    const double microseconds = milliseconds_since(begin) * kUsInMs;
    if (json_) {
      JsonWriter json;
      json.begin_object().field("output", answer.output).field("error", answer.error);
      if (answer.exit_code.has_value()) {
        json.field("exit_code", uint64_t{*answer.exit_code});
      } else {
        json.null_field("exit_code");
      }
      json.field("call_us", microseconds).end_object();
      print(json.take());
      return answer;
    }
    fmt::print(stderr, "{}", answer.error);
    return answer;
  }
  void print_framed(std::string_view answer) const {
    if (told_ == Framing::kLength) {
      const auto length = static_cast<uint32_t>(answer.size());
      print({reinterpret_cast<const char*>(&length), sizeof length});
    }
    print(answer);
    // A program that reads lines ends its answers itself.
    if (told_ == Framing::kLines && program_.framing() != told_ && !answer.ends_with('\n')) print("\n");
  }

  bool json_;
  bool failed_ = false;
  Framing told_;
  uint64_t number_ = 0;
  const program::Program& program_;
};

// Standard input, as it comes.
class RequestReader {
 public:
  // A line without its end; nothing at the end.  kIo.
  Result<std::optional<std::string>> line() {
    for (;;) {
      const size_t end = buffer_.find('\n', searched_);
      if (end != std::string::npos) return take(end, 1);
      searched_ = buffer_.size();
      const bool more = SPORE_TRY(fill());
      if (!more) return buffer_.empty() ? std::optional<std::string>() : take(buffer_.size(), 0);
    }
  }
  // What a length announces.  kCorruption: the input ends before that.
  Result<std::optional<std::string>> message() {
    uint32_t length = 0;
    const size_t head = SPORE_TRY(fill_to(sizeof length));
    if (head == 0) return std::optional<std::string>();
    if (head == sizeof length) {
      std::memcpy(&length, buffer_.data(), sizeof length);
      buffer_.erase(0, sizeof length);
      const size_t bytes = SPORE_TRY(fill_to(length));
      if (bytes == length) return take(length, 0);
    }
    return Status::corruption("standard input ends in the middle of a request");
  }
  Result<std::string> rest() {
    while (SPORE_TRY(fill())) {
    }
    return std::move(buffer_);
  }

 private:
  std::optional<std::string> take(size_t bytes, size_t end) {
    std::string taken = buffer_.substr(0, bytes);
    buffer_.erase(0, bytes + end);
    searched_ = 0;
    return taken;
  }
  Result<size_t> fill_to(size_t bytes) {
    while (buffer_.size() < bytes) {
      const bool more = SPORE_TRY(fill());
      if (!more) break;
    }
    return std::min(buffer_.size(), bytes);
  }
  Result<bool> fill() {
    constexpr size_t kReadBytes = 64 * 1024;
    const size_t had = buffer_.size();
    buffer_.resize(had + kReadBytes);
    ssize_t n = 0;
    do {
      n = ::read(STDIN_FILENO, buffer_.data() + had, kReadBytes);
    } while (n < 0 && errno == EINTR);
    buffer_.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0) return Status::from_errno(errno, "standard input");
    return n > 0;
  }

  std::string buffer_;
  size_t searched_ = 0;  // bytes of it that are known to hold no end of line
};

Result<int> answer_input(Requests& requests, Framing framing) {
  RequestReader reader;
  if (framing == Framing::kEndOfInput) {
    const std::string text = SPORE_TRY(reader.rest());
    return requests.one(text);
  }
  for (;;) {
    const std::optional<std::string> text =
        SPORE_TRY(framing == Framing::kLines ? reader.line() : reader.message());
    if (!text.has_value()) return requests.exit_code();
    requests.next(*text);
    std::fflush(stdout);
  }
}

Result<int> call_function(const Args& args, const program::Library& library,
                          std::span<const std::string_view> words) {
  if (words.empty())
    return Status::invalid_argument("this image is of a library: say what to call, and with what");
  const cell::Lease lease = SPORE_TRY(library.pool_entry()->acquire());
  const host::DynamicFunction function = SPORE_TRY(lease->dynamic_function(words.front()));
  const std::vector<host::Value> values = SPORE_TRY(parse_values(function.signature(), words.subspan(1)));
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<host::Value> results = SPORE_TRY(function(values));
  constexpr double kUsInMs = 1e3;
  print_results(args, results, milliseconds_since(begin) * kUsInMs);
  return kDone;
}

}  // namespace

Result<int> freeze_program(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  const std::vector<std::string_view> words = args.rest();
  const std::optional<std::string_view> out = args.value_of("-o");
  if (!out) return Status::invalid_argument("-o IMAGE is missing");
  runtime::RuntimeOptions defaults;
  defaults.limits.deadline_ms = kFreezeDeadlineMs;
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args, std::move(defaults)));
  if (handler::language_of(file) != nullptr) {
    if (words.empty()) return freeze_handler(args, file, std::filesystem::path(*out), options);
    return Status::invalid_argument("{} is a handler, which takes no arguments, such as '{}'", file,
                                    printable(words.front()));
  }
  for (const std::string_view flag : {"--runtime", "--site-packages"}) {
    if (args.has(flag)) return Status::invalid_argument("{} is for handlers, which {} is not", flag, file);
  }
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, options.module_bytes_max));
  Result<wasm::ModuleFacts> facts = wasm::inspect(module_bytes.bytes(), options.module_bytes_max);
  if (!facts.ok()) return std::move(facts).status().with_context(file);
  host::WasiOptions world = SPORE_TRY(world_options(args, file, words));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::shared_ptr<const host::WasiConfig> opened = SPORE_TRY(open_world(std::move(world)));
  const Freezing freezing{.args = args,
                          .file = file,
                          .out = std::filesystem::path(*out),
                          .runtime = *runtime,
                          .world = std::move(opened)};
  const bool is_program = std::ranges::any_of(
      facts->exports, [](const wasm::ModuleFacts::Export& exported) { return exported.name == "_start"; });
  const bool by_init = args.has("--init") || !is_program;
  if (by_init) return freeze_library(freezing, module_bytes.bytes());
  const Framing framing = SPORE_TRY(program::parse_framing(args.value_of("--stdin").value_or("lines")));
  return freeze_program(freezing, module_bytes.bytes(), {.framing = framing});
}

Result<int> call_image(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("IMAGE"));
  const std::vector<std::string_view> words = args.rest();
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  const snapshot::Contents contents = SPORE_TRY(snapshot::read(std::filesystem::path(file)));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  std::optional<Progress> progress(fmt::format("compiling {}", file));
  const std::shared_ptr<const runtime::Module> module = SPORE_TRY(runtime->load_image(file, contents));
  progress.reset();
  if (!contents.frames.has_value()) {
    if (args.has("--request")) {
      return Status::invalid_argument("{} is of a library: call its functions, it takes no requests", file);
    }
    const auto library = SPORE_TRY(runtime->restore_library(*module, contents));
    return call_function(args, *library, words);
  }
  if (!words.empty()) {
    return Status::invalid_argument("{} is of a program: it takes requests, and no '{}'", file,
                                    words.front());
  }
  const auto program = SPORE_TRY(runtime->restore(*module, contents));
  Framing told = program->framing();
  if (const auto name = args.value_of("--stdin")) told = SPORE_TRY(program::parse_framing(*name));
  Requests requests(args, *program, told);
  if (const auto text = args.value_of("--request")) return requests.one(*text);
  return answer_input(requests, told);
}

}  // namespace spore::cli
