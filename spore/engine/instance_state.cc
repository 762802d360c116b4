#include "spore/engine/instance_state.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "spore/base/break_reset.h"
#include "spore/engine/realm.h"

namespace spore::engine {
namespace {

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
    Realm::Item item;
    Store::GlobalValue clean{};
  };
  struct Table {
    Realm::Item item;
    std::vector<void*> clean;  // elements, as the engine has them
  };
  // A function that a table may hold.
  struct Known {
    void* raw;
    uint32_t number;
  };

  Parts(Store& of, const InstanceHandle& instance_of) : store(of), instance(instance_of) {}

  Result<Realm::Item> find(const std::string& name, ExternKind kind) const;
  Result<std::vector<void*>> elements(const Realm::Item& table) const;
  Result<uint32_t> number_of(void* element) const;
  Result<void*> element_of(uint32_t number) const;
  Status keep_table(Table& table, const std::vector<uint32_t>& numbers);
  Status restore_table(const Table& table) const;

  Store& store;
  InstanceHandle instance;
  Realm* realm = nullptr;
  std::vector<Global> globals;
  std::vector<Realm::Item> memories;
  std::vector<uint32_t> memory_page_bytes;
  std::vector<memory::Slot*> slots;
  std::vector<Table> tables;
  std::vector<Known> functions;  // by raw
  size_t drop_flags = 0;         // at the end of globals
};

Result<Realm::Item> InstanceState::Parts::find(const std::string& name, ExternKind kind) const {
  const std::optional<Realm::Item> item = realm->find(store.member(instance).instance, name);
  if (item && item->kind == kind) return *item;
  return Status::internal("a prepared module without its '{}'", name);
}

Result<std::vector<void*>> InstanceState::Parts::elements(const Realm::Item& table) const {
  std::vector<void*> elements(realm->table_size(table));
  if (!realm->read_table(table, elements))
    return Status::internal("a table of functions that cannot be read");
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
  parts->realm = store.realm_.get();
  std::vector<std::string> names;
  for (const auto& global : prepared.globals) names.push_back(global.export_name());
  for (const uint32_t segment : prepared.data_flags) names.push_back(fmt::format("spore:d{}", segment));
  for (const uint32_t segment : prepared.element_flags) names.push_back(fmt::format("spore:e{}", segment));
  for (const std::string& name : names) {
    parts->globals.push_back({.item = SPORE_TRY(parts->find(name, ExternKind::kGlobal)), .clean = {}});
  }
  parts->drop_flags = prepared.data_flags.size() + prepared.element_flags.size();
  for (const auto& memory : prepared.memories) {
    parts->memories.push_back(SPORE_TRY(parts->find(memory.export_name(), ExternKind::kMemory)));
    parts->memory_page_bytes.push_back(memory.page_bytes);
  }
  const Store::Member& member = store.member(instance);
  for (size_t i = member.slots_begin; i < member.slots_end; i++)
    parts->slots.push_back(store.slots_[i].get());
  if (parts->slots.size() != parts->memories.size()) return Status::internal("a memory without a slot");
  for (const auto& table : prepared.tables) {
    if (!table.written) continue;
    parts->tables.push_back(
        {.item = SPORE_TRY(parts->find(table.export_name(), ExternKind::kTable)), .clean = {}});
  }
  for (const uint32_t number : prepared.table_functions) {
    const Realm::Item item =
        SPORE_TRY(parts->find(wasm::PreparedModule::table_function_name(number), ExternKind::kFunction));
    parts->functions.push_back({parts->realm->element(item), number});
  }
  std::ranges::sort(parts->functions, {}, &Parts::Known::raw);
  return InstanceState(std::move(parts));
}

const std::vector<memory::Slot*>& InstanceState::slots() const { return parts_->slots; }

Result<StateValues> InstanceState::read() const {
  StateValues values;
  for (const Parts::Global& global : parts_->globals) {
    values.globals.push_back(parts_->realm->global(global.item));
  }
  for (const Parts::Table& table : parts_->tables) {
    std::vector<uint32_t>& numbers = values.tables.emplace_back();
    for (void* element : SPORE_TRY(parts_->elements(table.item))) {
      numbers.push_back(SPORE_TRY(parts_->number_of(element)));
    }
  }
  values.fuel = parts_->store.fuel_left();
  return values;
}

// --- what differs --------------------------------------------------------------------------------------

namespace {

// Bit for bit: NaNs count, and both zeros.
bool same_value(const Store::GlobalValue& a, const Store::GlobalValue& b) {
  switch (a.type) {
    case ValType::kI32:
    case ValType::kF32: return a.value.i32 == b.value.i32;
    case ValType::kI64:
    case ValType::kF64: return a.value.i64 == b.value.i64;
    default: return a.value.v128 == b.value.v128;
  }
}

}  // namespace

Status InstanceState::changes(Changes& into) const {
  into.globals.clear();
  into.tables.clear();
  for (size_t i = 0; i < parts_->globals.size(); i++) {
    const Store::GlobalValue now = parts_->realm->global(parts_->globals[i].item);
    if (!same_value(now, parts_->globals[i].clean)) into.globals.push_back({static_cast<uint32_t>(i), now});
  }
  for (size_t i = 0; i < parts_->tables.size(); i++) {
    const Parts::Table& table = parts_->tables[i];
    const std::vector<void*> now = SPORE_TRY(parts_->elements(table.item));
    Changes::Table changed{.number = static_cast<uint32_t>(i), .elements = now.size(), .changed = {}};
    for (size_t k = 0; k < now.size(); k++) {
      // What it grew by was null.
      if (now[k] == (k < table.clean.size() ? table.clean[k] : nullptr)) continue;
      changed.changed.push_back({static_cast<uint32_t>(k), SPORE_TRY(parts_->number_of(now[k]))});
    }
    if (now.size() != table.clean.size() || !changed.changed.empty()) {
      into.tables.push_back(std::move(changed));
    }
  }
  return {};
}

Status InstanceState::apply(const Changes& changes) const {
  for (const Changes::Global& global : changes.globals) {
    SPORE_ASSERT(global.number < parts_->globals.size(), "changes that were checked");
    const bool set = parts_->realm->set_global(parts_->globals[global.number].item, global.value);
    SPORE_ASSERT(set, "changes that were checked");
  }
  for (const Changes::Table& table : changes.tables) {
    SPORE_ASSERT(table.number < parts_->tables.size(), "changes that were checked");
    const Parts::Table& here = parts_->tables[table.number];
    const uint64_t size = parts_->realm->table_size(here.item);
    if (size < table.elements && !parts_->realm->grow_table(here.item, table.elements - size)) {
      return Status::limit_exceeded("a table of {} elements (table_elements_max={})", table.elements,
                                    parts_->store.limits().table_elements_max);
    }
    std::vector<void*> elements = SPORE_TRY(parts_->elements(here.item));
    for (const Changes::Element& element : table.changed) {
      SPORE_ASSERT(element.number < elements.size(), "changes that were checked");
      elements[element.number] = SPORE_TRY(parts_->element_of(element.function));
    }
    const bool written = parts_->realm->write_table(here.item, elements);
    SPORE_ASSERT(written, "changes that were checked");
  }
  return {};
}

Status InstanceState::grow_memory(size_t number, uint64_t bytes) const {
  SPORE_ASSERT(number < parts_->slots.size(), "a memory that is there");
  const uint64_t now = parts_->slots[number]->bytes();
  const uint64_t page_bytes = parts_->memory_page_bytes[number];
  SPORE_ASSERT(bytes >= now && (bytes - now) % page_bytes == 0, "a memory grows by whole pages");
  if (bytes == now) return {};
  if (parts_->realm->grow_memory(parts_->memories[number], (bytes - now) / page_bytes) &&
      parts_->slots[number]->bytes() == bytes) {
    return {};
  }
  return Status::limit_exceeded("a memory of {} bytes cannot become one of {} (memory_bytes_max={})", now,
                                bytes, parts_->store.limits().memory_bytes_max);
}

// --- keeping and restoring -----------------------------------------------------------------------------

Status InstanceState::keep(const StateValues& values) {
  SPORE_ASSERT(
      values.globals.size() == parts_->globals.size() && values.tables.size() == parts_->tables.size(),
      "values of another module");
  for (size_t i = 0; i < values.globals.size(); i++) parts_->globals[i].clean = values.globals[i];
  for (size_t i = 0; i < values.tables.size(); i++) {
    SPORE_TRY(parts_->keep_table(parts_->tables[i], values.tables[i]));
  }
  return {};
}

Status InstanceState::Parts::keep_table(Table& table, const std::vector<uint32_t>& numbers) {
  const uint64_t size = realm->table_size(table.item);
  if (size < numbers.size() && !realm->grow_table(table.item, numbers.size() - size)) {
    return Status::limit_exceeded("a table of {} elements (table_elements_max={})", numbers.size(),
                                  store.limits().table_elements_max);
  }
  table.clean.clear();
  for (const uint32_t number : numbers) table.clean.push_back(SPORE_TRY(element_of(number)));
  return {};
}

Status InstanceState::restore() {
  Parts& parts = *parts_;
  const bool can_shrink = parts.realm->can_shrink();
  for (size_t i = 0; i < parts.slots.size(); i++) {
    // It would go on as if nothing had been closed.
    if (!can_shrink && parts.slots[i]->grown()) return Status::unavailable("a memory grew");
    const bool shorter = SPORE_TRY(parts.slots[i]->reset());
    if (shorter) [[unlikely]] {
      if (!parts.realm->shrink(parts.memories[i])) return Status::internal("a memory that does not shrink");
    }
  }
  return restore_values();
}

Status InstanceState::restore_values() {
  Parts& parts = *parts_;
  size_t globals = parts.globals.size();
  if constexpr (kBreakReset == BreakReset::kDropFlag) globals -= parts.drop_flags;
  for (size_t i = kBreakReset == BreakReset::kGlobal ? 1 : 0; i < globals; i++) {
    const bool set = parts.realm->set_global(parts.globals[i].item, parts.globals[i].clean);
    SPORE_ASSERT(set, "a global takes back what it had");
  }
  for (const Parts::Table& table : parts.tables) SPORE_TRY(parts.restore_table(table));
  return {};
}

Status InstanceState::Parts::restore_table(const Table& table) const {
  const uint64_t size = realm->table_size(table.item);
  if (size != table.clean.size()) {
    return Status::unavailable("a table grew from {} elements to {}", table.clean.size(), size);
  }
  size_t count = table.clean.size();
  if (kBreakReset == BreakReset::kTable && count > 0) count--;
  const bool written = realm->write_table(table.item, std::span(table.clean).first(count));
  SPORE_ASSERT(written, "a table takes back what it had");
  return {};
}

}  // namespace spore::engine
