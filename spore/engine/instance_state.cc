#include "spore/engine/instance_state.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "spore/base/break_reset.h"
#include "spore/engine/handles.h"

// rust/src/table.rs says what they do.
extern "C" {
bool spore_table_read(wasmtime_context_t* context, const wasmtime_table_t* table, void** elements,
                      size_t count);
bool spore_table_write(wasmtime_context_t* context, const wasmtime_table_t* table, void* const* elements,
                       size_t count);
bool spore_table_grow(wasmtime_context_t* context, const wasmtime_table_t* table, uint64_t delta);
}

namespace spore::engine {
namespace {

wasmtime_val_t to_wasmtime(const Store::GlobalValue& value) {
  wasmtime_val_t result{};
  switch (value.type) {
    case ValType::kI32:
      result.kind = WASMTIME_I32;
      result.of.i32 = value.value.i32;
      break;
    case ValType::kI64:
      result.kind = WASMTIME_I64;
      result.of.i64 = value.value.i64;
      break;
    case ValType::kF32:
      result.kind = WASMTIME_F32;
      std::memcpy(&result.of.f32, &value.value.f32, sizeof result.of.f32);
      break;
    case ValType::kF64:
      result.kind = WASMTIME_F64;
      std::memcpy(&result.of.f64, &value.value.f64, sizeof result.of.f64);
      break;
    case ValType::kV128:
      result.kind = WASMTIME_V128;
      std::memcpy(result.of.v128, value.value.v128.data(), sizeof result.of.v128);
      break;
    case ValType::kFuncRef:
    case ValType::kOtherRef: SPORE_ASSERT(false, "a global that holds a reference is never saved");
  }
  return result;
}

// As the engine has it.  References are not held.
ValType value_type(wasm::PreparedModule::GlobalKind kind) {
  using Kind = wasm::PreparedModule::GlobalKind;
  switch (kind) {
    case Kind::kI32: return ValType::kI32;
    case Kind::kI64: return ValType::kI64;
    case Kind::kF32: return ValType::kF32;
    case Kind::kF64: return ValType::kF64;
    case Kind::kV128: return ValType::kV128;
    case Kind::kReference: break;
  }
  return ValType::kOtherRef;
}

Status check_globals(const StateValues& values, const wasm::PreparedModule& prepared) {
  const size_t flags = prepared.data_flags.size() + prepared.element_flags.size();
  if (values.globals.size() != prepared.globals.size() + flags) {
    return Status::invalid_argument("{} globals, the module has {} and {} flags", values.globals.size(),
                                    prepared.globals.size(), flags);
  }
  for (size_t i = 0; i < values.globals.size(); i++) {
    const Store::GlobalValue& global = values.globals[i];
    const bool is_flag = i >= prepared.globals.size();
    const ValType type = is_flag ? ValType::kI32 : value_type(prepared.globals[i].kind);
    if (global.type != type || type == ValType::kOtherRef) {
      return Status::invalid_argument("global {} of {} is {}, the module's is {}", i, values.globals.size(),
                                      val_type_name(global.type), val_type_name(type));
    }
    if (is_flag && global.value.i32 != 0 && global.value.i32 != 1) {
      return Status::invalid_argument("the flag of a segment is {}", global.value.i32);
    }
  }
  return {};
}

Status check_table(const std::vector<uint32_t>& elements, const wasm::PreparedModule::Table& table,
                   const std::vector<uint32_t>& functions) {
  const uint64_t most = table.grows ? table.elements_max.value_or(UINT64_MAX) : table.elements_min;
  if (elements.size() < table.elements_min || elements.size() > most) {
    return Status::invalid_argument("table {} has {} elements, possible are {} to {}", table.index,
                                    elements.size(), table.elements_min, most);
  }
  for (const uint32_t number : elements) {
    if (number != StateValues::kNullFunction && !std::ranges::binary_search(functions, number)) {
      return Status::invalid_argument("table {} has function {}, which no table of the module may hold",
                                      table.index, number);
    }
  }
  return {};
}

}  // namespace

Status check_values(const StateValues& values, const wasm::PreparedModule& prepared) {
  SPORE_TRY(check_globals(values, prepared));
  std::vector<const wasm::PreparedModule::Table*> written;
  for (const auto& table : prepared.tables) {
    if (table.written) written.push_back(&table);
  }
  if (values.tables.size() != written.size()) {
    return Status::invalid_argument("{} tables, the module writes to {}", values.tables.size(),
                                    written.size());
  }
  for (size_t i = 0; i < written.size(); i++) {
    SPORE_TRY(check_table(values.tables[i], *written[i], prepared.table_functions));
  }
  return {};
}

struct InstanceState::Parts {
  struct Global {
    wasmtime_global_t global;
    std::string name;
    wasmtime_val_t clean{};
  };
  struct Table {
    wasmtime_table_t table;
    std::vector<void*> clean;  // elements, as the engine has them
  };
  // A function that a table may hold.
  struct Known {
    void* raw;
    uint32_t number;
  };

  Parts(Store& of, const InstanceHandle& instance_of) : store(of), instance(instance_of) {}

  Result<wasmtime_extern_t> find(const std::string& name, wasmtime_extern_kind_t kind) const;
  Result<std::vector<void*>> elements(const wasmtime_table_t& table) const;
  Result<uint32_t> number_of(void* element) const;
  Result<void*> element_of(uint32_t number) const;
  Status keep_table(Table& table, const std::vector<uint32_t>& numbers);
  Status restore_table(const Table& table) const;

  Store& store;
  InstanceHandle instance;
  wasmtime_context_t* context = nullptr;
  std::vector<Global> globals;
  std::vector<wasmtime_memory_t> memories;
  std::vector<memory::Slot*> slots;
  std::vector<Table> tables;
  std::vector<Known> functions;  // by raw
  size_t drop_flags = 0;         // at the end of globals
};

Result<wasmtime_extern_t> InstanceState::Parts::find(const std::string& name,
                                                     wasmtime_extern_kind_t kind) const {
  wasmtime_extern_t item;
  const auto* of = reinterpret_cast<const wasmtime_instance_t*>(store.member(instance).instance.data());
  if (!wasmtime_instance_export_get(context, of, name.data(), name.size(), &item) || item.kind != kind) {
    return Status::internal("a prepared module without its '{}'", name);
  }
  return item;
}

Result<std::vector<void*>> InstanceState::Parts::elements(const wasmtime_table_t& table) const {
  std::vector<void*> elements(wasmtime_table_size(context, &table));
  if (!spore_table_read(context, &table, elements.data(), elements.size())) {
    return Status::internal("a table of functions that cannot be read");
  }
  return elements;
}

Result<uint32_t> InstanceState::Parts::number_of(void* element) const {
  if (element == nullptr) return StateValues::kNullFunction;
  const auto found = std::ranges::lower_bound(functions, element, {}, &Known::raw);
  if (found != functions.end() && found->raw == element) return found->number;
  return Status::unsupported("a table holds a function that is not among those of its module");
}

Result<void*> InstanceState::Parts::element_of(uint32_t number) const {
  if (number == StateValues::kNullFunction) return static_cast<void*>(nullptr);
  const auto found = std::ranges::find(functions, number, &Known::number);
  if (found == functions.end()) return Status::internal("no function {} for a table", number);
  return found->raw;
}

// --- making --------------------------------------------------------------------------------------------

InstanceState::InstanceState(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
InstanceState::InstanceState(InstanceState&&) noexcept = default;
InstanceState::~InstanceState() = default;

Result<InstanceState> InstanceState::create(Store& store, const InstanceHandle& instance,
                                            const wasm::PreparedModule& prepared) {
  auto parts = std::make_unique<Parts>(store, instance);
  parts->context = store.context_;
  std::vector<std::string> names;
  for (const auto& global : prepared.globals) names.push_back(global.export_name());
  for (const uint32_t segment : prepared.data_flags) names.push_back(fmt::format("spore:d{}", segment));
  for (const uint32_t segment : prepared.element_flags) names.push_back(fmt::format("spore:e{}", segment));
  for (std::string& name : names) {
    const wasmtime_extern_t item = SPORE_TRY(parts->find(name, WASMTIME_EXTERN_GLOBAL));
    parts->globals.push_back({.global = item.of.global, .name = std::move(name)});
  }
  parts->drop_flags = prepared.data_flags.size() + prepared.element_flags.size();
  for (const auto& memory : prepared.memories) {
    const wasmtime_extern_t item = SPORE_TRY(parts->find(memory.export_name(), WASMTIME_EXTERN_MEMORY));
    parts->memories.push_back(item.of.memory);
  }
  const Store::Member& member = store.member(instance);
  for (size_t i = member.slots_begin; i < member.slots_end; i++)
    parts->slots.push_back(store.slots_[i].get());
  if (parts->slots.size() != parts->memories.size()) return Status::internal("a memory without a slot");
  for (const auto& table : prepared.tables) {
    if (!table.written) continue;
    const wasmtime_extern_t item = SPORE_TRY(parts->find(table.export_name(), WASMTIME_EXTERN_TABLE));
    parts->tables.push_back({.table = item.of.table});
  }
  for (const uint32_t number : prepared.table_functions) {
    const wasmtime_extern_t item =
        SPORE_TRY(parts->find(wasm::PreparedModule::table_function_name(number), WASMTIME_EXTERN_FUNC));
    parts->functions.push_back({wasmtime_func_to_raw(parts->context, &item.of.func), number});
  }
  std::ranges::sort(parts->functions, {}, &Parts::Known::raw);
  return InstanceState(std::move(parts));
}

const std::vector<memory::Slot*>& InstanceState::slots() const { return parts_->slots; }

Result<StateValues> InstanceState::read() const {
  StateValues values;
  for (const Parts::Global& global : parts_->globals) {
    values.globals.push_back(SPORE_TRY(parts_->store.global(parts_->instance, global.name)));
  }
  for (const Parts::Table& table : parts_->tables) {
    std::vector<uint32_t>& numbers = values.tables.emplace_back();
    for (void* element : SPORE_TRY(parts_->elements(table.table))) {
      numbers.push_back(SPORE_TRY(parts_->number_of(element)));
    }
  }
  values.fuel = parts_->store.fuel_left();
  return values;
}

// --- keeping and restoring -----------------------------------------------------------------------------

Status InstanceState::keep(const StateValues& values) {
  SPORE_ASSERT(
      values.globals.size() == parts_->globals.size() && values.tables.size() == parts_->tables.size(),
      "values of another module");
  for (size_t i = 0; i < values.globals.size(); i++)
    parts_->globals[i].clean = to_wasmtime(values.globals[i]);
  for (size_t i = 0; i < values.tables.size(); i++) {
    SPORE_TRY(parts_->keep_table(parts_->tables[i], values.tables[i]));
  }
  return {};
}

Status InstanceState::Parts::keep_table(Table& table, const std::vector<uint32_t>& numbers) {
  const uint64_t size = wasmtime_table_size(context, &table.table);
  if (size < numbers.size() && !spore_table_grow(context, &table.table, numbers.size() - size)) {
    return Status::limit_exceeded("a table of {} elements (table_elements_max={})", numbers.size(),
                                  store.limits().table_elements_max);
  }
  table.clean.clear();
  for (const uint32_t number : numbers) table.clean.push_back(SPORE_TRY(element_of(number)));
  return {};
}

Status InstanceState::restore() {
  Parts& parts = *parts_;
  for (size_t i = 0; i < parts.slots.size(); i++) {
    const bool shorter = SPORE_TRY(parts.slots[i]->reset());
    if (shorter) [[unlikely]] {
      // The instance has base and length in a place of its own, and looks at ours when its memory grows.
      uint64_t before = 0;
      const ErrorHandle error(wasmtime_memory_grow(parts.context, &parts.memories[i], 0, &before));
      if (error != nullptr) return Status::internal("shrinking a memory: {}", error_message(*error));
    }
  }
  return restore_values();
}

Status InstanceState::restore_values() {
  Parts& parts = *parts_;
  size_t globals = parts.globals.size();
  if constexpr (kBreakReset == BreakReset::kDropFlag) globals -= parts.drop_flags;
  for (size_t i = kBreakReset == BreakReset::kGlobal ? 1 : 0; i < globals; i++) {
    const ErrorHandle error(
        wasmtime_global_set(parts.context, &parts.globals[i].global, &parts.globals[i].clean));
    SPORE_ASSERT(error == nullptr, "a global takes back what it had");
  }
  for (const Parts::Table& table : parts.tables) SPORE_TRY(parts.restore_table(table));
  return {};
}

Status InstanceState::Parts::restore_table(const Table& table) const {
  const uint64_t size = wasmtime_table_size(context, &table.table);
  if (size != table.clean.size()) {
    return Status::unavailable("a table grew from {} elements to {}", table.clean.size(), size);
  }
  size_t count = table.clean.size();
  if (kBreakReset == BreakReset::kTable && count > 0) count--;
  const bool written = spore_table_write(context, &table.table, table.clean.data(), count);
  SPORE_ASSERT(written, "a table takes back what it had");
  return {};
}

}  // namespace spore::engine
