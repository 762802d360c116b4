#include "spore/engine/engine.h"

#include <algorithm>
#include <cstring>

#include "spore/base/utf8.h"
#include "spore/engine/code_file.h"
#include "spore/engine/fork_guard.h"
#include "spore/engine/handles.h"
#include "spore/engine/interpreted_code.h"
#include "spore/engine/memories.h"
#include "spore/engine/signals.h"
#include "spore/engine/ticker.h"
#include "spore/engine/trap.h"

// rust/src/engine.rs says what it does.
extern "C" void spore_config_set_backtrace_frames_max(wasm_config_t* config, size_t frames);
extern "C" size_t spore_engine_compatibility(wasmtime_context_t* context, uint8_t* bytes, size_t capacity);

namespace spore::engine {
namespace {

std::vector<ValType> to_val_types(const wasm_valtype_vec_t& types) {
  std::vector<ValType> result;
  for (size_t i = 0; i < types.size; i++) result.push_back(to_val_type(types.data[i]));
  return result;
}

ExternKind to_extern_kind(const wasm_externtype_t* type) {
  switch (wasm_externtype_kind(type)) {
    case WASM_EXTERN_FUNC: return ExternKind::kFunction;
    case WASM_EXTERN_GLOBAL: return ExternKind::kGlobal;
    case WASM_EXTERN_TABLE: return ExternKind::kTable;
    case WASM_EXTERN_MEMORY: return ExternKind::kMemory;
    default: return ExternKind::kOther;
  }
}

FuncType to_func_type(const wasm_externtype_t* type) {
  const wasm_functype_t* function = wasm_externtype_as_functype_const(type);
  if (function == nullptr) return {};
  return {to_val_types(*wasm_functype_params(function)), to_val_types(*wasm_functype_results(function))};
}

// Every proposal that has a switch is set: the header's words on defaults are not to be relied on.  Those
// without a switch (reference types, function references, GC, exceptions, threads, components) follow
// from the cargo features; proposals_test.cc holds all of them to what proposals.h says.
void set_proposals(wasm_config_t* config, Tier tier) {
  const bool optimised = tier >= Tier::kOptimised;
  wasmtime_config_wasm_simd_set(config, true);
  wasmtime_config_wasm_bulk_memory_set(config, true);
  wasmtime_config_wasm_multi_value_set(config, true);
  wasmtime_config_wasm_multi_memory_set(config, true);
  wasmtime_config_wasm_memory64_set(config, true);
  // Winch has neither of the two.
  wasmtime_config_wasm_tail_call_set(config, optimised);
  wasmtime_config_wasm_relaxed_simd_set(config, optimised);
  wasmtime_config_wasm_relaxed_simd_deterministic_set(config, optimised);
  wasmtime_config_wasm_stack_switching_set(config, false);
  wasmtime_config_wasm_wide_arithmetic_set(config, false);
  wasmtime_config_wasm_custom_page_sizes_set(config, false);
  wasmtime_config_shared_memory_set(config, false);
  wasmtime_config_gc_support_set(config, false);
}

bool optimises_size(const EngineOptions& options) {
  return options.compact_code && options.tier >= Tier::kOptimised;
}

ConfigHandle make_config(const EngineOptions& options) {
  ConfigHandle config(wasm_config_new());
  set_proposals(config.get(), options.tier);
  wasmtime_config_strategy_set(
      config.get(), options.tier == Tier::kBaseline ? WASMTIME_STRATEGY_WINCH : WASMTIME_STRATEGY_CRANELIFT);
  wasmtime_config_cranelift_opt_level_set(
      config.get(), optimises_size(options) ? WASMTIME_OPT_LEVEL_SPEED_AND_SIZE : WASMTIME_OPT_LEVEL_SPEED);
  // One answer in all tiers and on all machines.
  wasmtime_config_cranelift_nan_canonicalization_set(config.get(), true);
  wasmtime_config_epoch_interruption_set(config.get(), true);
  wasmtime_config_consume_fuel_set(config.get(), options.fuel);
  wasmtime_config_max_wasm_stack_set(config.get(), options.wasm_stack_bytes);
  wasmtime_config_parallel_compilation_set(config.get(), options.parallel_compile);
  // Registering unwind tables with libgcc takes a lock per module and is quadratic.
  wasmtime_config_native_unwind_info_set(config.get(), false);
  spore_config_set_backtrace_frames_max(config.get(), kStackFunctionsMax);
  set_memory_creator(config.get(), options.compact_memories);
  return config;
}

}  // namespace

// wasm_valtype_kind() aborts the process on v128 and on typed references: never call it.
ValType to_val_type(const wasm_valtype_t* type) {
  wasmtime_valtype_t modern;
  wasmtime_valtype_new(type, &modern);
  const wasmtime_valtype_kind_t kind = modern.kind;
  wasmtime_valtype_delete(&modern);
  switch (kind) {
    case WASMTIME_VALTYPE_KIND_I32: return ValType::kI32;
    case WASMTIME_VALTYPE_KIND_I64: return ValType::kI64;
    case WASMTIME_VALTYPE_KIND_F32: return ValType::kF32;
    case WASMTIME_VALTYPE_KIND_F64: return ValType::kF64;
    case WASMTIME_VALTYPE_KIND_V128: return ValType::kV128;
    default: break;
  }
  const std::unique_ptr<wasm_valtype_t, DeleteWith<wasm_valtype_delete>> function(
      wasm_valtype_new(WASM_FUNCREF));
  return wasmtime_wasm_valtype_equal(type, function.get()) ? ValType::kFuncRef : ValType::kOtherRef;
}

std::string error_message(const wasmtime_error_t& error) {
  ByteVector text;
  wasmtime_error_message(&error, &text.value);
  // anyhow's form: "context\n\nCaused by:\n    0: cause\n    1: its cause".
  std::string line;
  std::string_view rest = view(text.value);
  while (!rest.empty()) {
    std::string_view part = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    part.remove_prefix(std::min(part.size(), part.find_first_not_of(' ')));
    if (part.empty() || part == "Caused by:") continue;
    if (part.size() > 3 && part[0] >= '0' && part[0] <= '9' && part[1] == ':') part.remove_prefix(3);
    if (!line.empty()) line += ": ";
    line += part;
  }
  constexpr size_t kMessageBytesMax = 1000;
  return printable(line, kMessageBytesMax);  // it may quote names of the module
}

std::string_view tier_name(Tier tier) {
  switch (tier) {
    case Tier::kInterpreter: return "interpreter";
    case Tier::kBaseline: return "baseline";
    case Tier::kOptimised: return "optimised";
    case Tier::kPeak: return "peak";
  }
  return "";
}

std::optional<Tier> tier_of_name(std::string_view name) {
  for (const Tier tier : {Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak}) {
    if (tier_name(tier) == name) return tier;
  }
  return std::nullopt;
}

std::string_view engine_version() { return WASMTIME_VERSION; }

void CompiledCode::DeleteModule::operator()(wasmtime_module* module) const noexcept {
  wasmtime_module_delete(module);
}

const CompiledCode::Export* CompiledCode::exported_function(std::string_view name) const {
  const auto name_of = [&](uint32_t place) -> std::string_view { return exports_[place].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_of);
  if (found == by_name_.end() || name_of(*found) != name) return nullptr;  // names are unique
  const Export& exported = exports_[*found];
  return exported.kind == ExternKind::kFunction ? &exported : nullptr;
}

CompiledCode::CompiledCode(std::shared_ptr<const Engine> engine, Handle handle, const Digest& module_hash,
                           uint32_t preparer)
    : engine_(std::move(engine)), handle_(std::move(handle)), module_hash_(module_hash), preparer_(preparer) {
  ImportTypes imports;
  wasmtime_module_imports(handle_.get(), &imports.value);
  for (size_t i = 0; i < imports.value.size; i++) {
    const wasm_importtype_t* import = imports.value.data[i];
    const wasm_externtype_t* type = wasm_importtype_type(import);
    imports_.push_back({std::string(view(*wasm_importtype_module(import))),
                        std::string(view(*wasm_importtype_name(import))), to_extern_kind(type),
                        to_func_type(type)});
  }
  ExportTypes exports;
  wasmtime_module_exports(handle_.get(), &exports.value);
  for (size_t i = 0; i < exports.value.size; i++) {
    const wasm_exporttype_t* exported = exports.value.data[i];
    const wasm_externtype_t* type = wasm_exporttype_type(exported);
    exports_.push_back(
        {std::string(view(*wasm_exporttype_name(exported))), to_extern_kind(type), to_func_type(type)});
  }
  order_exports();
}

namespace {

std::string_view text_of(const InterpretedText& text) {
  return {reinterpret_cast<const char*>(text.data), text.size};
}

FuncType type_of(const InterpretedItem& item) {
  const auto types = [](const InterpretedText& numbers) {
    std::vector<ValType> result;
    for (size_t i = 0; i < numbers.size; i++) result.push_back(static_cast<ValType>(numbers.data[i]));
    return result;
  };
  return {types(item.params), types(item.results)};
}

ExternKind kind_of(const InterpretedItem& item) {
  constexpr std::array kKinds{ExternKind::kFunction, ExternKind::kGlobal, ExternKind::kTable,
                              ExternKind::kMemory};
  return item.kind < kKinds.size() ? kKinds[item.kind] : ExternKind::kOther;
}

}  // namespace

CompiledCode::CompiledCode(std::shared_ptr<const Engine> engine,
                           std::shared_ptr<const InterpretedCode> interpreted, const Digest& module_hash,
                           uint32_t preparer)
    : engine_(std::move(engine)),
      interpreted_(std::move(interpreted)),
      module_hash_(module_hash),
      preparer_(preparer) {
  const InterpretedItem* items = nullptr;
  const size_t imports = spore_interpreted_imports(interpreted_->handle(), &items);
  for (const InterpretedItem& item : std::span(items, imports)) {
    imports_.push_back(
        {std::string(text_of(item.module)), std::string(text_of(item.name)), kind_of(item), type_of(item)});
  }
  const size_t exports = spore_interpreted_exports(interpreted_->handle(), &items);
  for (const InterpretedItem& item : std::span(items, exports)) {
    exports_.push_back({std::string(text_of(item.name)), kind_of(item), type_of(item)});
  }
  order_exports();
}

void CompiledCode::order_exports() {
  for (size_t i = 0; i < exports_.size(); i++) by_name_.push_back(static_cast<uint32_t>(i));
  std::ranges::sort(by_name_, {}, [&](uint32_t place) -> std::string_view { return exports_[place].name; });
}

std::optional<LazyStatistics> CompiledCode::lazy() const {
  if (interpreted_ == nullptr) return std::nullopt;
  InterpretedStatistics now{};
  spore_interpreted_statistics(interpreted_->handle(), &now);
  return LazyStatistics{.functions = now.functions,
                        .translated = now.translated,
                        .calls = now.calls,
                        .calls_translating = now.calls_translating};
}

CompiledCode::~CompiledCode() {
  const ForkGuard::Busy busy(engine_->fork_guard());
  handle_.reset();
}

bool CompiledCode::usable() const { return interpreted_ == nullptr || !interpreted_->is_lost(); }

size_t CompiledCode::native_bytes() const {
  if (handle_ == nullptr) return 0;
  void* begin = nullptr;
  void* end = nullptr;
  wasmtime_module_image_range(handle_.get(), &begin, &end);
  return static_cast<size_t>(static_cast<char*>(end) - static_cast<char*>(begin));
}

namespace {

Status serialize(wasmtime_module* module, ByteVector& bytes) {
  if (module == nullptr) return Status::unsupported("the interpreter makes no code that could be kept");
  const ErrorHandle error(wasmtime_module_serialize(module, &bytes.value));
  return error == nullptr ? Status() : Status::internal("saving code: {}", error_message(*error));
}

std::span<const uint8_t> as_bytes(const ByteVector& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.value.data), bytes.value.size};
}

}  // namespace

Result<std::vector<uint8_t>> CompiledCode::save() const {
  ByteVector payload;
  SPORE_TRY(serialize(handle_.get(), payload));
  return encode_code_file({.module_hash = module_hash_,
                           .made_by = engine_->description(preparer_),
                           .payload = as_bytes(payload)});
}

Result<std::vector<uint8_t>> CompiledCode::native() const {
  ByteVector payload;
  SPORE_TRY(serialize(handle_.get(), payload));
  const std::span<const uint8_t> bytes = as_bytes(payload);
  return std::vector<uint8_t>(bytes.begin(), bytes.end());
}

Result<std::shared_ptr<const Engine>> Engine::create(const EngineOptions& options,
                                                     std::shared_ptr<Ticker> ticker,
                                                     std::shared_ptr<memory::SlotPool> slots) {
  if (options.wasm_stack_bytes < kWasmStackBytesMin || options.wasm_stack_bytes > kWasmStackBytesMax) {
    return Status::invalid_argument("wasm_stack_bytes is {}, allowed is {} to {}", options.wasm_stack_bytes,
                                    kWasmStackBytesMin, kWasmStackBytesMax);
  }
  wasm_engine_t* handle = nullptr;
  if (options.tier != Tier::kInterpreter) {
    handle = wasm_engine_new_with_config(make_config(options).release());
    remember_trap_handlers();
  }
  return std::shared_ptr<const Engine>(new Engine(options, std::move(ticker), std::move(slots), handle));
}

Engine::Engine(const EngineOptions& options, std::shared_ptr<Ticker> ticker,
               std::shared_ptr<memory::SlotPool> slots, wasm_engine_t* handle)
    : options_(options),
      ticker_(std::move(ticker)),
      slots_(std::move(slots)),
      fork_guard_(std::make_unique<ForkGuard>()),
      handle_(handle) {
  if (handle_ == nullptr) {
    constexpr std::string_view kName = "interpreter";
    compatibility_ = sha256({reinterpret_cast<const uint8_t*>(kName.data()), kName.size()});
    return;
  }
  ticker_->add(handle_);
  const StoreHandle store(wasmtime_store_new(handle_, nullptr, nullptr));
  std::vector<uint8_t> told(64 * 1024);
  const size_t bytes =
      spore_engine_compatibility(wasmtime_store_context(store.get()), told.data(), told.size());
  SPORE_ASSERT(bytes > 0 && bytes <= told.size(), "an engine tells what it is");
  compatibility_ = sha256(std::span(told).first(bytes));
}

Engine::~Engine() {
  if (handle_ == nullptr) return;
  ticker_->remove(handle_);
  wasm_engine_delete(handle_);
}

Result<std::shared_ptr<const CompiledCode>> Engine::compile(std::span<const uint8_t> wasm,
                                                            const std::optional<Digest>& hash,
                                                            uint32_t preparer) const {
  if (handle_ == nullptr) {
    return std::make_shared<const CompiledCode>(
        shared_from_this(), SPORE_TRY(InterpretedCode::create(wasm, options_.wasm_stack_bytes)),
        hash ? *hash : sha256(wasm), preparer);
  }
  const ForkGuard::Busy busy(*fork_guard_);
  wasmtime_module_t* raw = nullptr;
  const ErrorHandle error(wasmtime_module_new(handle_, wasm.data(), wasm.size(), &raw));
  if (error == nullptr) {
    return std::make_shared<const CompiledCode>(shared_from_this(), CompiledCode::Handle(raw),
                                                hash ? *hash : sha256(wasm), preparer);
  }
  const std::string message = error_message(*error);
  // What a compiler lacks is not the module's fault: validation alone tells the two apart.
  const ErrorHandle invalid(wasmtime_module_validate(handle_, wasm.data(), wasm.size()));
  if (invalid == nullptr) {
    return Status::unsupported("the {} compiler cannot take this module: {}{}", tier_name(options_.tier),
                               message, options_.tier == Tier::kBaseline ? " (try tier=optimised)" : "");
  }
  return Status::invalid_module("not a valid module: {}", message);
}

Result<std::shared_ptr<const CompiledCode>> Engine::load_trusted_code(std::span<const uint8_t> bytes,
                                                                      const Digest& module_hash,
                                                                      uint32_t preparer) const {
  if (handle_ == nullptr) return Status::unsupported("the interpreter loads no code");
  const CodeFile file = SPORE_TRY(decode_code_file(bytes));
  if (file.module_hash != module_hash) {
    return Status::invalid_argument("the saved code was made from another module ({:.12}, this is {:.12})",
                                    file.module_hash.hex(), module_hash.hex());
  }
  if (file.made_by != description(preparer)) {
    return Status::unsupported("the saved code was made by '{}', this engine is '{}': compile it again",
                               file.made_by, description(preparer));
  }
  const ForkGuard::Busy busy(*fork_guard_);
  wasmtime_module_t* raw = nullptr;
  const ErrorHandle error(
      wasmtime_module_deserialize(handle_, file.payload.data(), file.payload.size(), &raw));
  if (error != nullptr) return Status::unsupported("the saved code does not fit: {}", error_message(*error));
  return std::make_shared<const CompiledCode>(shared_from_this(), CompiledCode::Handle(raw), module_hash,
                                              preparer);
}

Result<std::shared_ptr<const CompiledCode>> Engine::load_native(int fd, const Digest& module_hash,
                                                                uint32_t preparer) const {
  if (handle_ == nullptr) return Status::unsupported("the interpreter loads no code");
  const ForkGuard::Busy busy(*fork_guard_);
  wasmtime_module_t* raw = nullptr;
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  const ErrorHandle error(wasmtime_module_deserialize_file(handle_, path.c_str(), &raw));
  if (error != nullptr) return Status::unsupported("the native code does not fit: {}", error_message(*error));
  return std::make_shared<const CompiledCode>(shared_from_this(), CompiledCode::Handle(raw), module_hash,
                                              preparer);
}

// CPU features are checked by Wasmtime itself.
std::string Engine::description(uint32_t preparer) const {
  return fmt::format("wasmtime {}; {}{}; fuel {}; stack {}; memories {}; preparer {}", engine_version(),
                     tier_name(options_.tier), optimises_size(options_) ? " for size" : "",
                     options_.fuel ? "on" : "off", options_.wasm_stack_bytes,
                     options_.compact_memories ? "compact" : "wide", preparer);
}

#ifdef WASMTIME_FEATURE_WAT
namespace {

// From "expected `)`: --> <anon>:2:8: |: 2 | (func: | ^" to "2:8: expected `)`".
Status text_error(std::string_view message) {
  constexpr std::string_view kArrow = ": --> <anon>:";
  const size_t arrow = message.find(kArrow);
  if (arrow == std::string_view::npos) return Status::invalid_module("not valid text: {}", message);
  const std::string_view place = message.substr(arrow + kArrow.size());
  return Status::invalid_module("{}: {}", place.substr(0, place.find(": ")), message.substr(0, arrow));
}

}  // namespace
#endif

Result<std::vector<uint8_t>> text_to_wasm(std::string_view text) {
#ifdef WASMTIME_FEATURE_WAT
  ByteVector bytes;
  const ErrorHandle error(wasmtime_wat2wasm(text.data(), text.size(), &bytes.value));
  if (error != nullptr) return text_error(error_message(*error));
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.value.data);
  return std::vector<uint8_t>(data, data + bytes.value.size);
#else
  static_cast<void>(text);
  return Status::unsupported("this build does not read WebAssembly text; use wat2wasm first");
#endif
}

}  // namespace spore::engine
