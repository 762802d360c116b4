// spore run FILE [ARGS...] | spore run FILE --invoke NAME [ARGS...]

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <limits>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
#include "apps/spore/values.h"
#include "apps/spore/world.h"
#include "spore/base/fd.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/runtime/runtime.h"

namespace spore::cli {
namespace {

using host::DynamicFunction;
using host::Instance;
using host::Signature;
using host::Value;

// Ctrl-C ends the guest's call, not the process: its exit code and its message are ours.
class InterruptGuard {
 public:
  explicit InterruptGuard(engine::Canceller canceller) : canceller_(std::move(canceller)) {
    active = &canceller_;
    struct sigaction action{};
    action.sa_handler = &on_interrupt;
    sigaction(SIGINT, &action, &before_);
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &before_, nullptr);
    active = nullptr;
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  // Two atomic operations: safe in a signal handler.
  static void on_interrupt(int /*signal*/) {
    if (const engine::Canceller* canceller = active.load()) canceller->cancel();
  }

  static inline std::atomic<const engine::Canceller*> active{nullptr};
  engine::Canceller canceller_;
  struct sigaction before_{};
};

std::string function_names(const engine::CompiledCode& code) {
  std::string names;
  for (const auto& exported : code.exports()) {
    if (exported.name.starts_with(wasm::kReservedPrefix)) continue;
    if (exported.kind != engine::ExternKind::kFunction) continue;
    names +=
        fmt::format("{}{} {}", names.empty() ? "" : ", ", printable(exported.name), exported.type.text());
    if (names.size() > 400) return names + ", ...";
  }
  return names.empty() ? "no functions" : names;
}

Result<std::shared_ptr<const runtime::Module>> load(const Args& args, std::string_view file,
                                                    runtime::Runtime& runtime) {
  const size_t bytes_max = runtime.options().module_bytes_max;
  const ModuleBytes module_bytes = SPORE_TRY(read_module(file, bytes_max));
  const std::span<const uint8_t> bytes = module_bytes.bytes();
  std::vector<uint8_t> code;
  if (const auto path = args.value_of("--code")) {
    constexpr size_t kCodePerModule = 16;  // native code is some times as long as wasm
    code = SPORE_TRY(read_file(std::filesystem::path(*path), bytes_max * kCodePerModule));
  }
  const Progress progress(fmt::format("compiling {}", file));
  Result<std::shared_ptr<const runtime::Module>> module =
      runtime.load_module(file, bytes, {.trusted_code = code, .one_call = true});
  if (!module.ok()) return std::move(module).status().with_context(file);
  return module;
}

// --- programs -----------------------------------------------------------------------------------------

// Its streams are ours.
Result<std::unique_ptr<host::Wasi>> make_world(const Args& args, std::string_view file,
                                               std::span<const std::string_view> words) {
  host::WasiOptions options = SPORE_TRY(world_options(args, file, words));
  constexpr uint64_t kJsonOutputBytesMax = uint64_t{64} << 20;
  options.output_bytes_max = kJsonOutputBytesMax;
  const auto config = SPORE_TRY(host::WasiConfig::create(std::move(options)));
  auto wasi = std::make_unique<host::Wasi>(config);
  wasi->set_input(host::make_fd_input(STDIN_FILENO));
  if (args.has("--json")) return wasi;  // its output is a part of ours
  wasi->set_output(host::make_fd_output(STDOUT_FILENO));
  wasi->set_error(host::make_fd_output(STDERR_FILENO));
  return wasi;
}

// What a person waits for may take its time: a program has no deadline and no quota of bytes, but such as
// were asked for.
runtime::RuntimeOptions program_defaults() {
  runtime::RuntimeOptions options;
  options.limits.deadline_ms = engine::kDeadlineMsMax;
  options.limits.io_bytes_max = std::numeric_limits<uint64_t>::max();
  options.limits.host_calls_max = std::numeric_limits<uint64_t>::max();
  return options;
}

Result<int> process_exit_code(uint32_t code) {
  constexpr uint32_t kExitCodeMax = 255;
  if (code <= kExitCodeMax) return static_cast<int>(code);
  return Status::make(Code::kExited, "the program exited with code {}, which no process can have", code);
}

Result<int> run_program(const Args& args, Instance& instance) {
  const InterruptGuard guard(instance.canceller());
  const auto begin = std::chrono::steady_clock::now();
  const uint32_t code = SPORE_TRY(instance.run_command());
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object()
        .field("exit_code", uint64_t{code})
        .field("output", instance.wasi()->take_output())
        .field("error", instance.wasi()->take_error())
        .field("call_us", elapsed.count())
        .end_object();
    print(json.take());
  }
  return process_exit_code(code);
}

// --- explaining ---------------------------------------------------------------------------------------

// What became of the module's code, told when the run is over, however it ended.
class Explanation {
 public:
  Explanation(const Args& args, const runtime::Runtime& runtime, const runtime::Module& module)
      : wanted_(args.has("--explain")), runtime_(runtime), module_(module), began_(module.tier()) {}
  ~Explanation() {
    if (!wanted_) return;
    const Result<code::ModuleSteps> steps = runtime_.explain(module_);
    if (!steps.ok()) return;
    std::string text = steps.value().text();
    text += fmt::format("the call ran in {} code to its end: a running call is not moved\n",
                        engine::tier_name(began_));
    fmt::print(stderr, "{}", text);
  }
  Explanation(const Explanation&) = delete;
  Explanation& operator=(const Explanation&) = delete;

 private:
  bool wanted_;
  const runtime::Runtime& runtime_;
  const runtime::Module& module_;
  engine::Tier began_;
};

// --- functions ----------------------------------------------------------------------------------------

Result<int> call_function(const Args& args, const Instance& instance, std::string_view name,
                          std::span<const std::string_view> words) {
  std::optional<Signature> signature;
  if (const auto text = args.value_of("--signature")) signature = SPORE_TRY(Signature::parse(*text));
  const DynamicFunction function =
      SPORE_TRY(signature ? instance.dynamic_function(name, *signature) : instance.dynamic_function(name));
  const std::vector<Value> values = SPORE_TRY(parse_values(function.signature(), words));
  const InterruptGuard guard(instance.canceller());
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Value> results = SPORE_TRY(function(values));
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
  print_results(args, results, elapsed.count());
  return kDone;
}

}  // namespace

Result<int> run_module(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  const std::vector<std::string_view> words = args.rest();
  const std::optional<std::string_view> function = args.value_of("--invoke");
  const runtime::RuntimeOptions options =
      SPORE_TRY(options_of(args, function ? runtime::RuntimeOptions() : program_defaults()));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  const std::shared_ptr<const runtime::Module> module = SPORE_TRY(load(args, file, *runtime));
  const Explanation explanation(args, *runtime, *module);
  if (!function && module->code()->exported_function("_start") == nullptr) {
    return Status::invalid_argument("this is a library, say what to call with --invoke NAME: {}",
                                    function_names(*module->code()));
  }
  const std::span<const std::string_view> program_words =
      function ? std::span<const std::string_view>() : std::span(words);
  std::unique_ptr<host::Wasi> wasi = SPORE_TRY(make_world(args, file, program_words));
  Result<Instance> made = runtime->instantiate(*module, {.wasi = std::move(wasi)});
  if (const auto code = host::exit_code(made.status())) return process_exit_code(*code);  // before it began
  Instance instance = SPORE_TRY(std::move(made));
  const engine::Tier began = instance.code().engine().options().tier;
  const auto begin = std::chrono::steady_clock::now();
  Result<int> ended =
      function ? call_function(args, instance, *function, words) : run_program(args, instance);
  if (ended.ok()) {
    const auto took = std::chrono::steady_clock::now() - begin;
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
    runtime->remember_run(*module, began, static_cast<uint64_t>(ms));
  }
  return ended;
}

}  // namespace spore::cli
