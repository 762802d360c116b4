#include "spore/engine/wasmtime_realm.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "spore/base/utf8.h"
#include "spore/engine/fork_guard.h"
#include "spore/engine/host_call.h"
#include "spore/engine/memories.h"

// rust/src/engine.rs and table.rs say what they do.
extern "C" {
size_t spore_stack_functions(wasmtime_context_t* context, uint32_t* functions, size_t capacity);
bool spore_table_read(wasmtime_context_t* context, const wasmtime_table_t* table, void** elements,
                      size_t count);
bool spore_table_write(wasmtime_context_t* context, const wasmtime_table_t* table, void* const* elements,
                       size_t count);
bool spore_table_grow(wasmtime_context_t* context, const wasmtime_table_t* table, uint64_t delta);
}

namespace spore::engine {

static_assert(sizeof(RawValue) == sizeof(wasmtime_val_raw_t));
static_assert(offsetof(RawValue, f64) == offsetof(wasmtime_val_raw_t, f64));
static_assert(sizeof(Realm::Instance) == sizeof(wasmtime_instance_t));
static_assert(sizeof(std::array<uint64_t, 2>) == sizeof(wasmtime_func_t));

namespace {

// An item as Wasmtime has it.
template <typename T>
T* as(const Realm::Item& item) {
  static_assert(sizeof(T) <= sizeof item.words);
  return reinterpret_cast<T*>(const_cast<uint64_t*>(item.words.data()));
}

template <typename T>
Realm::Item item_of(ExternKind kind, const T& value) {
  Realm::Item item{.kind = kind};
  static_assert(sizeof value <= sizeof item.words);
  std::memcpy(item.words.data(), &value, sizeof value);
  return item;
}

const wasmtime_instance_t* to_wasmtime(const Realm::Instance& instance) {
  return reinterpret_cast<const wasmtime_instance_t*>(instance.data());
}

TrapKind trap_kind(const wasm_trap_t* trap) {
  wasmtime_trap_code_t code = 0;
  if (!wasmtime_trap_code(trap, &code)) return TrapKind::kOther;
  switch (code) {
    case WASMTIME_TRAP_CODE_STACK_OVERFLOW: return TrapKind::kStackOverflow;
    case WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS: return TrapKind::kMemoryOutOfBounds;
    case WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS: return TrapKind::kTableOutOfBounds;
    case WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL: return TrapKind::kIndirectCallToNull;
    case WASMTIME_TRAP_CODE_BAD_SIGNATURE: return TrapKind::kBadSignature;
    case WASMTIME_TRAP_CODE_INTEGER_OVERFLOW: return TrapKind::kIntegerOverflow;
    case WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO: return TrapKind::kIntegerDivisionByZero;
    case WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER: return TrapKind::kBadConversionToInteger;
    case WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED: return TrapKind::kUnreachable;
    case WASMTIME_TRAP_CODE_INTERRUPT: return TrapKind::kInterrupted;
    case WASMTIME_TRAP_CODE_OUT_OF_FUEL: return TrapKind::kOutOfFuel;
    case WASMTIME_TRAP_CODE_NULL_REFERENCE: return TrapKind::kNullReference;
    case WASMTIME_TRAP_CODE_ALLOCATION_TOO_LARGE: return TrapKind::kAllocationTooLarge;
    default: return TrapKind::kOther;
  }
}

uint64_t module_offset(const wasm_frame_t* frame) {
  const size_t offset = wasm_frame_module_offset(frame);
  return offset == SIZE_MAX ? kOffsetUnknown : offset;
}

// Innermost first; more is of no use to who reads them.
constexpr size_t kFramesToldMax = 20;

std::vector<Frame> to_frames(const wasm_frame_vec_t& frames) {
  std::vector<Frame> result;
  for (size_t i = 0; i < std::min(frames.size, kFramesToldMax); i++) {
    const wasm_frame_t* frame = frames.data[i];
    const wasm_name_t* function = wasmtime_frame_func_name(frame);
    const wasm_name_t* module = wasmtime_frame_module_name(frame);
    result.push_back({.module = module == nullptr ? "" : std::string(view(*module)),
                      .function = function == nullptr ? "" : std::string(view(*function)),
                      .function_index = wasm_frame_func_index(frame),
                      .module_offset = module_offset(frame)});
  }
  return result;
}

int64_t to_signed(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

}  // namespace

// Called by Wasmtime on Rust frames: nothing may unwind out of it.
wasm_trap_t* on_host_call(void* env, wasmtime_caller_t* caller, wasmtime_val_raw_t* values,
                          size_t /*count*/) noexcept {
  Store& store = *static_cast<Store*>(wasmtime_context_get_data(wasmtime_caller_context(caller)));
  if (store.host_call(*static_cast<const HostFunction*>(env), caller, reinterpret_cast<RawValue*>(values)))
      [[likely]]
    return nullptr;
  constexpr std::string_view kText = "host function failed";  // the store has the real one
  return wasmtime_trap_new(kText.data(), kText.size());
}

// --- making and instantiating -------------------------------------------------------------------------

WasmtimeRealm::WasmtimeRealm(Store& store, const Engine& engine)
    : store_(store),
      engine_(engine.shared_from_this()),
      handle_(wasmtime_store_new(engine.handle(), &store, nullptr)) {
  context_ = wasmtime_store_context(handle_.get());
  const Limits& limits = store.limits();
  wasmtime_store_limiter(handle_.get(), to_signed(limits.memory_bytes_max),
                         to_signed(limits.table_elements_max), kInstancesMax, limits.tables_max,
                         limits.memories_max);
  // The first check of each call comes to on_epoch at once, and then at each tick: see ticker.h.
  wasmtime_store_epoch_deadline_callback(handle_.get(), &WasmtimeRealm::on_epoch, &store, nullptr);
}

WasmtimeRealm::~WasmtimeRealm() {
  const ForkGuard::Busy busy(engine_->fork_guard());
  handle_.reset();
}

// Called by Wasmtime on Rust frames, at the first check of a call and at each tick while it runs.  Reads
// host data only: Wasmtime's store must not be touched here.
wasmtime_error_t* WasmtimeRealm::on_epoch(wasmtime_context_t* /*context*/, void* data, uint64_t* delta,
                                          uint8_t* kind) noexcept {
  if (!static_cast<Store*>(data)->may_go_on()) return wasmtime_error_new("interrupted");
  *delta = 1;
  *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
  return nullptr;
}

Result<Realm::Instance> WasmtimeRealm::instantiate(const Binding& binding, const MemoryPlan* plan) {
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  {
    const MakingMemories of_it(store_, plan);
    error = wasmtime_instance_pre_instantiate(binding.handle(), context_, &instance, &trap);
  }
  if (error != nullptr || trap != nullptr) return failure_of(error, trap);
  return std::bit_cast<Instance>(instance);
}

Result<Realm::Instance> WasmtimeRealm::instantiate(const CompiledCode& code, std::span<const Import> imports,
                                                   const MemoryPlan& plan) {
  std::vector<wasmtime_extern_t> externs;
  for (const Import& import : imports) {
    wasmtime_extern_t item{};
    if (import.function != nullptr) {
      const ForkGuard::Busy busy(engine_->fork_guard());
      item.kind = WASMTIME_EXTERN_FUNC;
      wasmtime_func_new_unchecked(context_, make_func_type(import.function->type).get(), on_host_call,
                                  const_cast<HostFunction*>(import.function), nullptr, &item.of.func);
    } else {
      switch (import.item.kind) {
        case ExternKind::kFunction:
          item.kind = WASMTIME_EXTERN_FUNC;
          item.of.func = *as<wasmtime_func_t>(import.item);
          break;
        case ExternKind::kGlobal:
          item.kind = WASMTIME_EXTERN_GLOBAL;
          item.of.global = *as<wasmtime_global_t>(import.item);
          break;
        case ExternKind::kTable:
          item.kind = WASMTIME_EXTERN_TABLE;
          item.of.table = *as<wasmtime_table_t>(import.item);
          break;
        case ExternKind::kMemory:
          item.kind = WASMTIME_EXTERN_MEMORY;
          item.of.memory = *as<wasmtime_memory_t>(import.item);
          break;
        case ExternKind::kOther: return Status::unsupported("an import of a kind that cannot be linked");
      }
    }
    externs.push_back(item);
  }
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  {
    const MakingMemories of_it(store_, &plan);
    error = wasmtime_instance_new(context_, code.handle(), externs.data(), externs.size(), &instance, &trap);
  }
  if (error != nullptr || trap != nullptr) return failure_of(error, trap);
  return std::bit_cast<Instance>(instance);
}

// --- looking into instances ---------------------------------------------------------------------------

std::optional<Realm::Item> WasmtimeRealm::find(const Instance& instance, std::string_view name) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(context_, to_wasmtime(instance), name.data(), name.size(), &item)) {
    return std::nullopt;
  }
  switch (item.kind) {
    case WASMTIME_EXTERN_FUNC: return item_of(ExternKind::kFunction, item.of.func);
    case WASMTIME_EXTERN_GLOBAL: return item_of(ExternKind::kGlobal, item.of.global);
    case WASMTIME_EXTERN_TABLE: return item_of(ExternKind::kTable, item.of.table);
    case WASMTIME_EXTERN_MEMORY: return item_of(ExternKind::kMemory, item.of.memory);
    default: return Item{};
  }
}

std::array<uint64_t, 2> WasmtimeRealm::callable(const Instance& instance, std::string_view name) {
  const std::optional<Item> item = find(instance, name);
  SPORE_ASSERT(item && item->kind == ExternKind::kFunction,
               "an export is in the module, but not in its instance");
  return {item->words[0], item->words[1]};
}

bool WasmtimeRealm::call(const std::array<uint64_t, 2>& function, RawValue* values, size_t count,
                         Status& failure) {
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error =
      wasmtime_func_call_unchecked(context_, reinterpret_cast<const wasmtime_func_t*>(function.data()),
                                   reinterpret_cast<wasmtime_val_raw_t*>(values), count, &trap);
  if (error == nullptr && trap == nullptr) return true;
  failure = failure_of(error, trap);
  return false;
}

Store::GlobalValue WasmtimeRealm::global(const Item& item) {
  const auto* global = as<wasmtime_global_t>(item);
  // Without its `gc` feature the C API aborts when a global holds a reference: only the type is told.
  const GlobalTypeHandle type(wasmtime_global_type(context_, global));
  const ValType held = to_val_type(wasm_globaltype_content(type.get()));
  if (held == ValType::kFuncRef || held == ValType::kOtherRef) return {held, {}};
  wasmtime_val_t value;
  wasmtime_global_get(context_, global, &value);
  Store::GlobalValue result{ValType::kOtherRef, {}};
  switch (value.kind) {
    case WASMTIME_I32: result = {ValType::kI32, {.i32 = value.of.i32}}; break;
    case WASMTIME_I64: result = {ValType::kI64, {.i64 = value.of.i64}}; break;
    case WASMTIME_F32: result = {ValType::kF32, {.f32 = value.of.f32}}; break;
    case WASMTIME_F64: result = {ValType::kF64, {.f64 = value.of.f64}}; break;
    case WASMTIME_V128:
      result.type = ValType::kV128;
      std::memcpy(result.value.v128.data(), value.of.v128, sizeof value.of.v128);
      break;
    default: break;
  }
  return result;
}

bool WasmtimeRealm::set_global(const Item& item, const Store::GlobalValue& value) {
  wasmtime_val_t raw{};
  switch (value.type) {
    case ValType::kI32: raw.kind = WASMTIME_I32; break;
    case ValType::kI64: raw.kind = WASMTIME_I64; break;
    case ValType::kF32: raw.kind = WASMTIME_F32; break;
    case ValType::kF64: raw.kind = WASMTIME_F64; break;
    case ValType::kV128: raw.kind = WASMTIME_V128; break;
    case ValType::kFuncRef:
    case ValType::kOtherRef: SPORE_ASSERT(false, "a global that holds a reference is never saved");
  }
  // Each member begins at the first byte, in both.
  static_assert(sizeof raw.of.v128 == sizeof value.value);
  std::memcpy(&raw.of, &value.value, sizeof raw.of.v128);
  const ErrorHandle error(wasmtime_global_set(context_, as<wasmtime_global_t>(item), &raw));
  return error == nullptr;
}

GuestMemory WasmtimeRealm::memory(const Item& item) {
  const auto* memory = as<wasmtime_memory_t>(item);
  return GuestMemory({reinterpret_cast<std::byte*>(wasmtime_memory_data(context_, memory)),
                      wasmtime_memory_data_size(context_, memory)});
}

GuestMemory WasmtimeRealm::caller_memory(void* caller) {
  wasmtime_extern_t item;
  if (!wasmtime_caller_export_get(static_cast<wasmtime_caller_t*>(caller), kMemoryExport.data(),
                                  kMemoryExport.size(), &item) ||
      item.kind != WASMTIME_EXTERN_MEMORY) {
    return {};
  }
  return memory(item_of(ExternKind::kMemory, item.of.memory));
}

// The instance has base and length in a place of its own, and looks at ours when its memory grows.
bool WasmtimeRealm::shrink(const Item& memory) {
  uint64_t before = 0;
  const ErrorHandle error(wasmtime_memory_grow(context_, as<wasmtime_memory_t>(memory), 0, &before));
  return error == nullptr;
}

bool WasmtimeRealm::grow_memory(const Item& memory, uint64_t delta) {
  uint64_t before = 0;
  const ErrorHandle error(wasmtime_memory_grow(context_, as<wasmtime_memory_t>(memory), delta, &before));
  return error == nullptr;
}

uint64_t WasmtimeRealm::table_size(const Item& table) {
  return wasmtime_table_size(context_, as<wasmtime_table_t>(table));
}

bool WasmtimeRealm::read_table(const Item& table, std::span<void*> elements) {
  return spore_table_read(context_, as<wasmtime_table_t>(table), elements.data(), elements.size());
}

bool WasmtimeRealm::write_table(const Item& table, std::span<void* const> elements) {
  return spore_table_write(context_, as<wasmtime_table_t>(table), elements.data(), elements.size());
}

bool WasmtimeRealm::grow_table(const Item& table, uint64_t delta) {
  return spore_table_grow(context_, as<wasmtime_table_t>(table), delta);
}

void* WasmtimeRealm::element(const Item& function) {
  return wasmtime_func_to_raw(context_, as<wasmtime_func_t>(function));
}

void WasmtimeRealm::set_fuel(uint64_t fuel) {
  const ErrorHandle error(wasmtime_context_set_fuel(context_, fuel));
  SPORE_ASSERT(error == nullptr, "an engine with fuel takes fuel");
}

uint64_t WasmtimeRealm::fuel() {
  uint64_t fuel = 0;
  ErrorHandle(wasmtime_context_get_fuel(context_, &fuel)).reset();
  return fuel;
}

// The next check comes to on_epoch, also of a function that is on the stack and keeps the old deadline in a
// register, as Cranelift's do: that has passed, too, one epoch on.  Others' stores are called back, and go
// on.
void WasmtimeRealm::interrupt() {
  wasmtime_context_set_epoch_deadline(context_, 0);
  wasmtime_engine_increment_epoch(engine_->handle());
}

Result<std::vector<uint32_t>> WasmtimeRealm::stack_functions() {
  if (engine_->options().tier == Tier::kPeak) {
    return Status::unavailable("in the peak tier functions are others than the module's");
  }
  std::vector<uint32_t> functions(kStackFunctionsMax);
  functions.resize(spore_stack_functions(context_, functions.data(), functions.size()));
  return functions;
}

Status WasmtimeRealm::translate(const Instance& /*instance*/, uint32_t /*function*/) {
  return Status::unavailable("all functions of this module are compiled");
}

// --- failures -----------------------------------------------------------------------------------------

// Binaryen merges and renumbers functions, and takes their names: what a peak's frames say is of no use.
std::vector<Frame> WasmtimeRealm::told(const Frames& frames) const {
  return engine_->options().tier == Tier::kPeak ? std::vector<Frame>() : to_frames(frames.value);
}

Status WasmtimeRealm::failure_of(wasmtime_error_t* raw_error, wasm_trap_t* raw_trap) {
  const ErrorHandle error(raw_error);
  const TrapHandle trap(raw_trap);
  if (trap == nullptr) return error_status(error.get());
  Frames frames;
  wasm_trap_trace(trap.get(), &frames.value);
  return store_.trapped(trap_kind(trap.get()), told(frames));
}

// Whatever is not a trap: a callback of ours that stopped the guest, or instantiation that was refused.
Status WasmtimeRealm::error_status(wasmtime_error_t* error) {
  if (store_.was_stopped()) {
    Frames frames;
    wasmtime_error_wasm_trace(error, &frames.value);
    return store_.stopped(told(frames));
  }
  const Limits& limits = store_.limits();
  const std::string message = error_message(*error);
  // Wasmtime's own words; there is no code to go by.  store_test.cc holds them to it.
  if (message.find("exceeds memory limits") != std::string::npos) {
    return Status::limit_exceeded("{} (memory_bytes_max={})", message, limits.memory_bytes_max);
  }
  if (message.find("exceeds table limits") != std::string::npos) {
    return Status::limit_exceeded("{} (table_elements_max={})", message, limits.table_elements_max);
  }
  if (message.find("instance count too high") != std::string::npos) {
    return Status::limit_exceeded("{} ({} instances may be linked together)", message, kInstancesMax);
  }
  if (message.find("memory count too high") != std::string::npos) {
    return Status::limit_exceeded("{} (memories_max={})", message, limits.memories_max);
  }
  if (message.find("table count too high") != std::string::npos) {
    return Status::limit_exceeded("{} (tables_max={})", message, limits.tables_max);
  }
  return Status::invalid_argument("{}", message);
}

}  // namespace spore::engine
