#include "spore/udf/maker.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/fork.h"
#include "spore/base/utf8.h"
#include "spore/handler/handler.h"
#include "spore/udf/library_function.h"
#include "spore/udf/program_function.h"

namespace spore::udf {

using wasm::WitExport;
using wasm::WitSignature;

namespace {

constexpr size_t kRuntimeBytesMax = size_t{64} << 20;
constexpr std::string_view kFunctionType = "func";

// Which interface a module's imports name says whether it asks for a document.
bool imports_document(const wasm::ModuleFacts& facts) {
  return std::ranges::any_of(facts.imports,
                             [](const auto& import) { return import.module == kDocumentInterface; });
}

// A guess by its text, and none that isolation stands on: what asks without being seen finds no fields.
bool imports_spore(std::string_view source) {
  for (const std::string_view words : {"import spore", "from spore"}) {
    for (size_t at = source.find(words); at != std::string_view::npos; at = source.find(words, at + 1)) {
      const std::string_view before = source.substr(0, at);
      const size_t line = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
      const bool alone = before.substr(line).find_first_not_of(" \t") == std::string_view::npos;
      const char after = at + words.size() < source.size() ? source[at + words.size()] : '\n';
      if (alone &&
          (after == '\n' || after == '\r' || after == ' ' || after == ',' || after == '.' || after == ';')) {
        return true;
      }
    }
  }
  return false;
}

std::vector<std::string> function_exports(const wasm::ModuleFacts& facts) {
  std::vector<std::string> names;
  for (const auto& exported : facts.exports) {
    if (std::string_view(exported.type).starts_with(kFunctionType)) names.push_back(exported.name);
  }
  return names;
}

// The one that tells of an export whose name may be spelled with '_' or '-'.
const WitExport* told(const std::vector<WitExport>& functions, const Definition& definition,
                      std::string_view ending) {
  const auto plain = [](std::string_view name) {
    std::string text(name);
    std::ranges::replace(text, '_', '-');
    return text;
  };
  std::string wanted = definition.export_name.empty() ? definition.name : definition.export_name;
  if (!ending.empty()) wanted += fmt::format("-{}", ending);
  for (const WitExport& function : functions) {
    if (plain(function.name) == plain(wanted)) return &function;
  }
  return nullptr;
}

std::string names_of(const std::vector<WitExport>& functions) {
  std::string names;
  for (const WitExport& function : functions) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", printable(function.name));
  }
  return printable(names, 500);
}

Status not_told(const Definition& definition, const std::vector<WitExport>& functions) {
  if (functions.empty()) {
    return Status::invalid_argument(
        "the module does not say what '{}' takes and gives: give its signature, such as 'func(text: string) "
        "-> f64'",
        definition.name);
  }
  return Status::not_found("the module tells of no function '{}' (it has: {})", definition.name,
                           names_of(functions));
}

Result<WitSignature> signature_told(const Definition& definition, std::span<const uint8_t> module) {
  const std::vector<WitExport> functions = SPORE_TRY(wasm::wit_of_module(module));
  const auto find = [&](std::string_view ending) -> Result<WitSignature> {
    const WitExport* function = told(functions, definition, ending);
    if (function == nullptr) return not_told(definition, functions);
    if (function->refused.empty()) return function->signature;
    return Status::unsupported("the function '{}': {}", printable(function->name), function->refused);
  };
  if (definition.kind != FunctionKind::kAggregate) return find("");
  WitSignature signature = SPORE_TRY(find("step"));
  const WitSignature finish = SPORE_TRY(find("finish"));
  signature.result = finish.result;
  return signature;
}

Result<WitSignature> signature_of(const Definition& definition, std::span<const uint8_t> module) {
  if (definition.signature.empty()) {
    if (definition.language == "wasm") return signature_told(definition, module);
    return Status::invalid_argument(
        "{}: a function in {} needs a signature, such as 'func(text: string) -> f64'", definition.name,
        definition.language);
  }
  const std::vector<WitExport> functions = SPORE_TRY(wasm::parse_wit(definition.signature, definition.name));
  const WitExport* function = functions.size() == 1 ? functions.data() : told(functions, definition, "");
  if (function == nullptr) {
    return Status::not_found("the signature declares no function '{}' (it has: {})", definition.name,
                             names_of(functions));
  }
  if (function->refused.empty()) return function->signature;
  return Status::unsupported("{}", function->refused);
}

Status check_shape(const Definition& definition, const WitSignature& signature) {
  const auto refuse = [&](std::string_view why) {
    return Status::invalid_argument("{}: {}, not {}", definition.name, why, signature.text());
  };
  if (definition.kind == FunctionKind::kTable &&
      (signature.result == nullptr || signature.result->kind != wasm::WitKind::kList)) {
    return refuse("a table function gives a list");
  }
  if (definition.kind == FunctionKind::kAggregate && signature.result == nullptr) {
    return refuse("an aggregate gives something");
  }
  if (definition.variadic &&
      (signature.params.empty() || signature.params.back().type->kind != wasm::WitKind::kList)) {
    return refuse("the last parameter of a variadic function is a list");
  }
  return {};
}

}  // namespace

class Maker::Impl final : ForkAware {
 public:
  Impl(runtime::Runtime& runtime, const MakerOptions& options) : runtime_(runtime), options_(options) {}

  Result<std::shared_ptr<const Function>> make_library(Function::Parts parts);
  Result<std::shared_ptr<const Function>> make_program(Function::Parts parts);
  Result<std::shared_ptr<const Function>> make_text(Function::Parts parts);

 private:
  using Program = program::Program;
  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override {}
  // What a module is loaded for.
  using Key = std::tuple<std::string, uint64_t, uint64_t, uint64_t, int, std::string>;

  engine::Limits limits_of(const Definition& definition) const;
  Result<std::shared_ptr<const LoadedModule>> load(const Definition& definition, const Digest& hash,
                                                   std::span<const uint8_t> module);
  Result<std::shared_ptr<const Program>> runner(const handler::Language& language) SPORE_EXCLUDES(mutex_);

  runtime::Runtime& runtime_;
  const MakerOptions& options_;
  std::atomic<uint64_t> names_{1};
  Mutex starting_;  // of a runner: everybody else waits for it
  std::map<std::string, std::shared_ptr<const Program>, std::less<>> runners_ SPORE_GUARDED_BY(starting_);
  Mutex mutex_;
  std::map<Key, std::weak_ptr<const LoadedModule>> modules_ SPORE_GUARDED_BY(mutex_);
  ForkRegistration registration_{*this};
};

engine::Limits Maker::Impl::limits_of(const Definition& definition) const {
  engine::Limits limits = runtime_.options().limits;
  if (definition.deadline_ms) limits.deadline_ms = *definition.deadline_ms;
  if (definition.memory_bytes_max) limits.memory_bytes_max = *definition.memory_bytes_max;
  if (definition.copy_bytes_max) limits.copy_bytes_max = *definition.copy_bytes_max;
  return limits;
}

Result<std::shared_ptr<const LoadedModule>> Maker::Impl::load(const Definition& definition,
                                                              const Digest& hash,
                                                              std::span<const uint8_t> module) {
  runtime::ModuleOptions options{.version = definition.version, .description = definition.description};
  const engine::Limits limits = limits_of(definition);
  options.limits = limits;
  options.tier_max = definition.tier_max;
  define_document(options.host);
  const Key key{hash.hex(),
                limits.deadline_ms,
                limits.memory_bytes_max,
                limits.copy_bytes_max,
                definition.tier_max ? static_cast<int>(*definition.tier_max) : -1,
                definition.domain};
  {
    const MutexLock lock(mutex_);
    std::erase_if(modules_, [](const auto& entry) { return entry.second.expired(); });
    if (const auto found = modules_.find(key); found != modules_.end()) {
      if (auto loaded = found->second.lock()) return loaded;
    }
  }
  // Two that do this at once load it twice, which costs no more than time.
  const std::string name = fmt::format("function {} {}", definition.name, names_.fetch_add(1));
  auto its_module = SPORE_TRY(runtime_.load_module(name, module, options));
  auto loaded = SPORE_TRY(LoadedModule::create(runtime_, std::move(its_module), definition.domain));
  const MutexLock lock(mutex_);
  modules_[key] = loaded;
  return loaded;
}

Result<std::shared_ptr<const Function>> Maker::Impl::make_library(Function::Parts parts) {
  auto loaded = SPORE_TRY(load(parts.definition, parts.source_hash, *parts.source));
  const runtime::Module& module = loaded->module();
  parts.reads_document = imports_document(module.facts());
  const std::vector<std::string> exports = function_exports(module.facts());
  return LibraryFunction::create(std::move(parts), std::move(loaded), exports);
}

// Booted once, frozen as it waits for a file; functions stand on its image.
Result<std::shared_ptr<const program::Program>> Maker::Impl::runner(const handler::Language& language) {
  const MutexLock lock(starting_);
  if (const auto found = runners_.find(language.name); found != runners_.end()) return found->second;
  const std::filesystem::path file = options_.home / "runtimes" / language.runtime;
  Result<std::vector<uint8_t>> bytes =
      options_.home.empty() ? Result<std::vector<uint8_t>>(Status::not_found("no data directory"))
                            : read_file(file, kRuntimeBytesMax);
  if (!bytes.ok()) {
    return Status(bytes.code(), fmt::format("the runtime of {} is not there: {} ('./dev runtimes' brings it)",
                                            language.name, bytes.status().message()));
  }
  handler::Handler waiting = SPORE_TRY(handler::runner_of(language, {}));
  auto world = SPORE_TRY(host::WasiConfig::create(std::move(waiting.world)));
  const runtime::FrozenProgram frozen = SPORE_TRY(
      runtime_.freeze_program(fmt::format("functions in {} {}", language.name, names_.fetch_add(1)),
                              bytes.value(), {.wasi = std::move(world)}, {.framing = handler::kFraming}));
  runners_.emplace(language.name, frozen.program);
  return frozen.program;
}

Result<std::shared_ptr<const Function>> Maker::Impl::make_program(Function::Parts parts) {
  const Definition& definition = parts.definition;
  if (definition.kind == FunctionKind::kAggregate) {
    return Status::unsupported("{}: aggregates are for wasm and python", definition.name);
  }
  runtime::ModuleOptions options{.version = definition.version, .description = definition.description};
  options.limits = limits_of(definition);
  options.tier_max = definition.tier_max;
  const runtime::FrozenProgram frozen =
      SPORE_TRY(runtime_.freeze_program(fmt::format("function {} {}", definition.name, names_.fetch_add(1)),
                                        *parts.source, options, {.domain = definition.domain}));
  return ProgramFunction::create(std::move(parts), runtime_,
                                 {.program = frozen.program, .module = frozen.module->name()});
}

Result<std::shared_ptr<const Function>> Maker::Impl::make_text(Function::Parts parts) {
  const Definition& definition = parts.definition;
  const handler::Language& language = *SPORE_TRY(handler::find_language(definition.language));
  if (definition.memory_bytes_max || definition.tier_max) {
    return Status::unsupported(
        "{}: memory_bytes_max and tier_max are for modules; a text's are the Runtime's", definition.name);
  }
  if (!definition.domain.empty()) {
    return Status::unsupported("{}: functions that are texts are of the trust domain '' alone",
                               definition.name);
  }
  const std::string_view source(reinterpret_cast<const char*>(parts.source->data()), parts.source->size());
  if (!is_utf8(source)) return Status::invalid_argument("{}: the source is not UTF-8", definition.name);
  const std::string file = fmt::format("{}{}", definition.name, language.ending);
  const bool calls = language.name == "python";
  if (!calls && definition.kind == FunctionKind::kAggregate) {
    return Status::unsupported("{}: aggregates are for wasm and python", definition.name);
  }
  std::string setup;
  if (calls) {
    handler::FunctionSource function{
        .file = file,
        .source = source,
        .name = definition.export_name.empty() ? definition.name : definition.export_name,
        .kind = function_kind_name(definition.kind),
        .parameters = parts.signature.params.size(),
        .bytes = {}};
    for (size_t i = 0; i < parts.signature.params.size(); i++) {
      if (parts.signature.params[i].type->kind == wasm::WitKind::kBytes) function.bytes.push_back(i);
    }
    setup = handler::function_setup(function);
    parts.reads_document = imports_spore(source);
  } else {
    setup = handler::handler_setup(file, source, false);
  }
  const std::shared_ptr<const Program> base = SPORE_TRY(runner(language));
  Result<Program::Extended> extended = base->extend(setup, {});
  if (!extended.ok()) {
    const std::string_view detail = extended.status().detail();
    const std::string_view line = last_line(detail);
    if (line.empty()) return std::move(extended).status();
    constexpr size_t kMessageBytesMax = 500;
    return Status::invalid_argument("{}", printable(line, kMessageBytesMax))
        .with_detail(std::string(detail.begin(), line.end()) + "\n");
  }
  return ProgramFunction::create(std::move(parts), runtime_,
                                 {.program = std::move(extended->program), .calls = calls});
}

Maker::Maker(runtime::Runtime& runtime, MakerOptions options)
    : runtime_(runtime),
      options_(std::move(options)),
      memo_(std::make_shared<Memo>(options_.memo)),
      impl_(std::make_unique<Impl>(runtime_, options_)) {}

Maker::~Maker() = default;

Result<std::shared_ptr<const Function>> Maker::make(const Definition& definition,
                                                    std::span<const uint8_t> source) {
  SPORE_TRY(definition.check());
  const bool library = definition.language == "wasm";
  const bool program = definition.language == "program";
  if (!library && !program) SPORE_TRY(handler::find_language(definition.language));
  if ((library || program) && !wasm::has_wasm_magic(source)) {
    return Status::invalid_module(
        "{}: the source is not WebAssembly: {} bytes that do not begin with \"\\0asm\"", definition.name,
        source.size());
  }
  Result<WitSignature> signature = signature_of(definition, source);
  if (!signature.ok()) return std::move(signature).status().with_context(definition.name);
  SPORE_TRY(check_shape(definition, signature.value()));
  Function::Parts parts{.definition = definition,
                        .signature = std::move(signature).value(),
                        .source = std::make_shared<const std::vector<uint8_t>>(source.begin(), source.end()),
                        .source_hash = sha256(source)};
  if (definition.memo) parts.memo = memo_;
  Result<std::shared_ptr<const Function>> function = library   ? impl_->make_library(std::move(parts))
                                                     : program ? impl_->make_program(std::move(parts))
                                                               : impl_->make_text(std::move(parts));
  if (!function.ok()) return std::move(function).status().with_context(definition.name);
  return function;
}

}  // namespace spore::udf
