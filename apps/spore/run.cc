// spore run FILE [--invoke NAME] [ARGS...]

#include <signal.h>

#include <atomic>
#include <chrono>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/progress.h"
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
    if (exported.kind != engine::ExternKind::kFunction) continue;
    names +=
        fmt::format("{}{} {}", names.empty() ? "" : ", ", printable(exported.name), exported.type.text());
    if (names.size() > 400) return names + ", ...";
  }
  return names.empty() ? "no functions" : names;
}

Result<std::string> function_to_call(const Args& args, const runtime::Module& module) {
  if (const auto name = args.value_of("--invoke")) return std::string(*name);
  for (const auto& exported : module.code().exports()) {
    if (exported.name == "_start") return exported.name;
  }
  return Status::invalid_argument("this is a library, say what to call with --invoke NAME: {}",
                                  function_names(module.code()));
}

Result<std::vector<Value>> parse_values(const Signature& signature, std::span<const std::string_view> words) {
  if (words.size() != signature.params.size()) {
    return Status::invalid_argument("{} argument{} given, the function takes {}: {}", words.size(),
                                    words.size() == 1 ? "" : "s", signature.params.size(), signature.text());
  }
  std::vector<Value> values;
  for (size_t i = 0; i < words.size(); i++) {
    Result<Value> value = Value::parse(signature.params[i], words[i]);
    if (!value.ok()) return std::move(value).status().with_context(fmt::format("argument {}", i + 1));
    values.push_back(std::move(value).value());
  }
  return values;
}

Result<std::shared_ptr<const runtime::Module>> load(const Args& args, std::string_view file,
                                                    runtime::Runtime& runtime) {
  const size_t bytes_max = runtime.options().module_bytes_max;
  const std::vector<uint8_t> bytes = SPORE_TRY(read_module(file, bytes_max));
  std::vector<uint8_t> code;
  if (const auto path = args.value_of("--code")) {
    constexpr size_t kCodePerModule = 16;  // native code is some times as long as wasm
    code = SPORE_TRY(read_file(std::filesystem::path(*path), bytes_max * kCodePerModule));
  }
  const Progress progress(fmt::format("compiling {}", file));
  Result<std::shared_ptr<const runtime::Module>> module =
      runtime.load_module(file, bytes, {.trusted_code = code});
  if (!module.ok()) return std::move(module).status().with_context(file);
  return module;
}

void print_results(const Args& args, std::span<const Value> results, double microseconds) {
  if (!args.has("--json")) {
    for (const Value& value : results) print(value.text() + "\n");
    return;
  }
  JsonWriter json;
  json.begin_object().begin_array("results");
  for (const Value& value : results) {
    json.begin_object()
        .field("type", host::value_type_name(value.type()))
        .field("value", value.text())
        .end_object();
  }
  json.end_array().field("call_us", microseconds).end_object();
  print(json.take());
}

}  // namespace

Status run_module(Args& args) {
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  const std::vector<std::string_view> words = args.rest();
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  const std::unique_ptr<runtime::Runtime> runtime = SPORE_TRY(runtime::Runtime::create(options));
  const std::shared_ptr<const runtime::Module> module = SPORE_TRY(load(args, file, *runtime));
  const Instance instance = SPORE_TRY(runtime->instantiate(*module));
  const std::string name = SPORE_TRY(function_to_call(args, *module));

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
  return {};
}

}  // namespace spore::cli
