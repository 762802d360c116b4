#include "spore/engine/interpreted_realm.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/engine/memories.h"

namespace spore::engine {

namespace {

// wasmi's TrapCode.
TrapKind trap_kind(uint8_t code) {
  switch (code) {
    case 1: return TrapKind::kUnreachable;
    case 2: return TrapKind::kMemoryOutOfBounds;
    case 3: return TrapKind::kTableOutOfBounds;
    case 4: return TrapKind::kIndirectCallToNull;
    case 5: return TrapKind::kIntegerDivisionByZero;
    case 6: return TrapKind::kIntegerOverflow;
    case 7: return TrapKind::kBadConversionToInteger;
    case 8: return TrapKind::kStackOverflow;
    case 9: return TrapKind::kBadSignature;
    case 10: return TrapKind::kOutOfFuel;
    case 12: return TrapKind::kAllocationTooLarge;
    default: return TrapKind::kOther;
  }
}

ExternKind to_kind(uint8_t kind) {
  switch (kind) {
    case 0: return ExternKind::kFunction;
    case 1: return ExternKind::kGlobal;
    case 2: return ExternKind::kTable;
    case 3: return ExternKind::kMemory;
    default: return ExternKind::kOther;
  }
}

uint8_t from_kind(ExternKind kind) {
  switch (kind) {
    case ExternKind::kFunction: return 0;
    case ExternKind::kGlobal: return 1;
    case ExternKind::kTable: return 2;
    case ExternKind::kMemory: return 3;
    case ExternKind::kOther: break;
  }
  return UINT8_MAX;
}

uint32_t member_of(const Realm::Instance& instance) { return static_cast<uint32_t>(instance[0]); }

GuestMemory memory_at(uint8_t* base, uint64_t bytes) {
  if (base == nullptr) return {};
  return GuestMemory({reinterpret_cast<std::byte*>(base), bytes});
}

}  // namespace

// Called by the interpreter: nothing may unwind out of them.  `env` is the realm.
struct InterpretedRealm::Callbacks {
  static bool new_memory(void* env, const InterpretedNewMemory* wanted,
                         InterpretedMadeMemory* made) noexcept {
    auto& realm = *static_cast<InterpretedRealm*>(env);
    Status status = realm.plan_ == nullptr ? Status::internal("a memory that nobody planned")
                                           : make_memory(realm, *wanted, *made);
    if (status.ok()) return true;
    realm.refusal_ = std::move(status);
    return false;
  }

  static Status make_memory(InterpretedRealm& realm, const InterpretedNewMemory& wanted,
                            InterpretedMadeMemory& made) {
    const Limits& limits = realm.store_.limits();
    if (wanted.bytes_min > limits.memory_bytes_max) {
      return Status::limit_exceeded(
          "memory minimum size of {} bytes exceeds memory limits (memory_bytes_max={})", wanted.bytes_min,
          limits.memory_bytes_max);
    }
    if (++realm.memories_ > limits.memories_max) {
      return Status::limit_exceeded("memory count too high at {} (memories_max={})", realm.memories_,
                                    limits.memories_max);
    }
    const bool compact = realm.store_.engine().options().compact_memories;
    const memory::SlotShape shape =
        shape_for(realm.store_, wanted.bytes_min, wanted.bytes_max, wanted.is_64,
                  compact ? 0 : kWideReservation, compact ? kCompactGuard : kWideGuard);
    memory::Slot* slot = SPORE_TRY(realm.store_.take_slot(shape));
    uint64_t bytes = wanted.bytes_min;
    if (wanted.index < realm.plan_->images.size() && realm.plan_->images[wanted.index] != nullptr) {
      bytes = std::max(bytes, realm.plan_->images[wanted.index]->bytes());
    }
    SPORE_TRY(slot->lend(bytes));
    realm.lent_.push_back({slot, bytes, wanted.index});
    made = {.base = reinterpret_cast<uint8_t*>(slot->base()), .capacity = slot->capacity(), .bytes = bytes};
    return {};
  }

  static bool memories_made(void* env) noexcept {
    auto& realm = *static_cast<InterpretedRealm*>(env);
    for (const Lent& lent : realm.lent_) {
      const auto& images = realm.plan_->images;
      Status status = lent.slot->open(lent.bytes, lent.index < images.size() ? images[lent.index] : nullptr,
                                      realm.plan_->reset);
      if (!status.ok()) {
        realm.refusal_ = std::move(status);
        return false;
      }
    }
    realm.lent_.clear();
    return true;
  }

  // A growth that is asked for again, as there was no fuel for it, has its pages already.
  static bool grow_memory(void* env, uint8_t* base, uint64_t bytes) noexcept {
    auto& realm = *static_cast<InterpretedRealm*>(env);
    if (bytes > realm.store_.limits().memory_bytes_max) return false;
    memory::Slot* slot = realm.store_.slot_at(reinterpret_cast<std::byte*>(base));
    return slot != nullptr && (slot->bytes() >= bytes || slot->grow(bytes).ok());
  }

  static bool call(void* env, const void* function, void* caller, void* values) noexcept {
    auto& realm = *static_cast<InterpretedRealm*>(env);
    return realm.store_.host_call(*static_cast<const HostFunction*>(function), caller,
                                  static_cast<RawValue*>(values));
  }

  static bool go_on(void* env) noexcept { return static_cast<InterpretedRealm*>(env)->store_.may_go_on(); }
};

// --- making and instantiating -------------------------------------------------------------------------

InterpretedRealm::InterpretedRealm(Store& store) : store_(store) {}

InterpretedRealm::~InterpretedRealm() {
  if (handle_ == nullptr) return;
  const InterpretedCode::Inside inside(*code_);
  if (inside) spore_interpreted_store_delete(handle_);
}

Status InterpretedRealm::make_store(const InterpretedCode& code) {
  const Limits& limits = store_.limits();
  const InterpretedHost host{.env = this,
                             .new_memory = &Callbacks::new_memory,
                             .memories_made = &Callbacks::memories_made,
                             .grow_memory = &Callbacks::grow_memory,
                             .call = &Callbacks::call,
                             .go_on = &Callbacks::go_on,
                             .table_elements_max = limits.table_elements_max,
                             .tables_max = limits.tables_max,
                             .memories_max = limits.memories_max,
                             .instances_max = static_cast<uint32_t>(kInstancesMax),
                             .counts_fuel = store_.engine().options().fuel};
  handle_ = spore_interpreted_store_new(code.handle(), &host);
  if (handle_ == nullptr) return Status::internal("the interpreter could not make a store");
  spore_interpreted_set_fuel(handle_, first_fuel_);
  return {};
}

Result<Realm::Instance> InterpretedRealm::instantiate(const Binding& binding, const MemoryPlan* plan) {
  if (plan == nullptr) {
    return Status::unavailable("the interpreter cannot begin with memories that are in use");
  }
  std::vector<Import> imports;
  for (const HostFunction* function : binding.resolved())
    imports.push_back({.function = function, .item = {}});
  return instantiate(*binding.code(), imports, *plan);
}

Result<Realm::Instance> InterpretedRealm::instantiate(const CompiledCode& code,
                                                      std::span<const Import> imports,
                                                      const MemoryPlan& plan) {
  if (code_ == nullptr) {
    code_ = code.interpreted();
  } else {
    linked_.push_back(code.interpreted());
  }
  const InterpretedCode::Inside inside(*code_);
  const InterpretedCode::Inside inside_other(*code.interpreted());
  if (!inside || !inside_other) return InterpretedCode::lost();
  if (handle_ == nullptr) SPORE_TRY(make_store(*code_));
  std::vector<InterpretedImport> raw;
  for (const Import& import : imports) {
    raw.push_back(
        {.function = import.function, .kind = from_kind(import.item.kind), .handle = import.item.words[0]});
  }
  uint32_t number = 0;
  InterpretedFailure failure{};
  plan_ = &plan;
  bool made = spore_interpreted_instantiate(handle_, code.interpreted()->handle(), raw.data(), raw.size(),
                                            &number, &failure);
  plan_ = nullptr;
  lent_.clear();
  if (!made) return instantiation_failure(failure);
  if (!spore_interpreted_start(handle_, number, &failure)) return failure_of(failure);
  return Instance{number, 0};
}

// --- looking into instances ---------------------------------------------------------------------------

std::optional<Realm::Item> InterpretedRealm::find(const Instance& instance, std::string_view name) {
  InterpretedFound found{};
  if (!spore_interpreted_export(handle_, member_of(instance), name.data(), name.size(), &found)) {
    return std::nullopt;
  }
  return Item{.kind = to_kind(found.kind), .words = {found.handle}};
}

std::array<uint64_t, 2> InterpretedRealm::callable(const Instance& instance, std::string_view name) {
  const InterpretedCode::Inside inside(*code_);
  if (!inside) return {};  // call() tells it
  const InterpretedFunction* function =
      spore_interpreted_function(handle_, member_of(instance), name.data(), name.size());
  SPORE_ASSERT(function != nullptr, "an export is in the module, but not in its instance");
  return {std::bit_cast<uint64_t>(function), 0};
}

bool InterpretedRealm::call(const std::array<uint64_t, 2>& function, RawValue* values, size_t /*count*/,
                            Status& failure) {
  const InterpretedCode::Inside inside(*code_);
  if (!inside) [[unlikely]] {
    failure = InterpretedCode::lost();
    return false;
  }
  InterpretedFailure failed;
  failed.what = 0;
  if (spore_interpreted_call(handle_, std::bit_cast<const InterpretedFunction*>(function[0]), values,
                             &failed)) [[likely]]
    return true;
  failure = failure_of(failed);
  return false;
}

Store::GlobalValue InterpretedRealm::global(const Item& item) {
  Store::GlobalValue held{ValType::kOtherRef, {}};
  const uint8_t type = spore_interpreted_global_get(handle_, item.words[0], &held.value);
  if (type < static_cast<uint8_t>(ValType::kOtherRef)) held.type = static_cast<ValType>(type);
  if (held.type == ValType::kFuncRef || held.type == ValType::kOtherRef) held.value = {};
  return held;
}

bool InterpretedRealm::set_global(const Item& item, const Store::GlobalValue& value) {
  return spore_interpreted_global_set(handle_, item.words[0], static_cast<uint8_t>(value.type), &value.value);
}

GuestMemory InterpretedRealm::memory(const Item& item) {
  uint64_t bytes = 0;
  uint8_t* base = spore_interpreted_memory(handle_, item.words[0], &bytes);
  return memory_at(base, bytes);
}

GuestMemory InterpretedRealm::caller_memory(void* /*caller*/) {
  uint64_t bytes = 0;
  uint8_t* base =
      spore_interpreted_caller_memory(handle_, kMemoryExport.data(), kMemoryExport.size(), &bytes);
  return memory_at(base, bytes);
}

bool InterpretedRealm::shrink(const Item& /*memory*/) { return false; }

bool InterpretedRealm::grow_memory(const Item& memory, uint64_t delta) {
  return spore_interpreted_memory_grow(handle_, memory.words[0], delta);
}

uint64_t InterpretedRealm::table_size(const Item& table) {
  return spore_interpreted_table_size(handle_, table.words[0]);
}

static_assert(sizeof(void*) == sizeof(uint64_t));

bool InterpretedRealm::read_table(const Item& table, std::span<void*> elements) {
  return spore_interpreted_table_read(handle_, table.words[0], reinterpret_cast<uint64_t*>(elements.data()),
                                      elements.size());
}

bool InterpretedRealm::write_table(const Item& table, std::span<void* const> elements) {
  return spore_interpreted_table_write(handle_, table.words[0],
                                       reinterpret_cast<const uint64_t*>(elements.data()), elements.size());
}

bool InterpretedRealm::grow_table(const Item& table, uint64_t delta) {
  return spore_interpreted_table_grow(handle_, table.words[0], delta);
}

void* InterpretedRealm::element(const Item& function) { return std::bit_cast<void*>(function.words[0]); }

void InterpretedRealm::set_fuel(uint64_t fuel) {
  if (handle_ == nullptr) {
    first_fuel_ = fuel;
  } else {
    spore_interpreted_set_fuel(handle_, fuel);
  }
}

uint64_t InterpretedRealm::fuel() {
  return handle_ == nullptr ? first_fuel_ : spore_interpreted_fuel(handle_);
}

void InterpretedRealm::interrupt() { spore_interpreted_interrupt(handle_); }

Result<std::vector<uint32_t>> InterpretedRealm::stack_functions() {
  return Status::unavailable("the interpreter does not tell what is on its stack");
}

Status InterpretedRealm::translate(const Instance& instance, uint32_t function) {
  const InterpretedCode::Inside inside(*code_);
  if (!inside) return InterpretedCode::lost();
  if (spore_interpreted_translate(handle_, member_of(instance), function)) return {};
  return Status::not_found("function {} is not one that the module defines, or cannot be translated",
                           function);
}

// --- failures -----------------------------------------------------------------------------------------

Status InterpretedRealm::failure_of(const InterpretedFailure& failure) {
  if (failure.what == kFailedTrap) {
    Status status = store_.trapped(trap_kind(failure.trap), {});
    // It ran out of fuel in a growth that has its pages, and does not know: it is not called again.
    return failure.message_bytes == 0 ? std::move(status) : store_.broken(std::move(status));
  }
  if (failure.what == kFailedStopped && store_.was_stopped()) return store_.stopped({});
  // It is not known what it was in the middle of.
  return store_.broken(interpreter_error(failure));
}

Status InterpretedRealm::instantiation_failure(const InterpretedFailure& failure) {
  if (!refusal_.ok()) return std::exchange(refusal_, Status());
  if (failure.what == kFailedTrap) return store_.trapped(trap_kind(failure.trap), {});
  Status status = interpreter_error(failure);
  // wasmi's own words; store_test.cc holds them to it.
  const std::string_view message = status.message();
  const Limits& limits = store_.limits();
  if (message.find("too many tables") != std::string_view::npos) {
    return Status::limit_exceeded("{} (tables_max={})", message, limits.tables_max);
  }
  if (message.find("too many instances") != std::string_view::npos) {
    return Status::limit_exceeded("{} ({} instances may be linked together)", message, kInstancesMax);
  }
  if (message.find("table") != std::string_view::npos && message.find("limit") != std::string_view::npos) {
    return Status::limit_exceeded("{} (table_elements_max={})", message, limits.table_elements_max);
  }
  return status;
}

}  // namespace spore::engine
