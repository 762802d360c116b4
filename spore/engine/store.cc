#include "spore/engine/store.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <exception>
#include <limits>

#include "spore/base/utf8.h"
#include "spore/engine/fork_guard.h"
#include "spore/engine/handles.h"
#include "spore/engine/host_call.h"
#include "spore/engine/instance_state.h"
#include "spore/engine/memories.h"
#include "spore/engine/signals.h"
#include "spore/engine/ticker.h"
#include "spore/wasm/prepare.h"

extern "C" size_t spore_stack_functions(wasmtime_context_t* context, uint32_t* functions, size_t capacity);

namespace spore::engine {

static_assert(sizeof(RawValue) == sizeof(wasmtime_val_raw_t));
static_assert(offsetof(RawValue, f64) == offsetof(wasmtime_val_raw_t, f64));
static_assert(sizeof(std::array<uint64_t, 2>) == sizeof(wasmtime_func_t));
static_assert(sizeof(std::array<uint64_t, 2>) == sizeof(wasmtime_instance_t));
static_assert(sizeof(wasmtime_memory_t) <= sizeof(std::array<uint64_t, 3>));

namespace {

constexpr std::string_view kMemoryExport = "memory";
constexpr int64_t kInstancesMax = 1000;  // in one store: linked ones

const wasmtime_instance_t* to_wasmtime(const std::array<uint64_t, 2>& instance) {
  return reinterpret_cast<const wasmtime_instance_t*>(instance.data());
}

// A memory as it stands now.
GuestMemory memory_of(wasmtime_context_t* context, const wasmtime_memory_t& memory) {
  return GuestMemory({reinterpret_cast<std::byte*>(wasmtime_memory_data(context, &memory)),
                      wasmtime_memory_data_size(context, &memory)});
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

Status with_trap_info(Status status, TrapKind kind, std::vector<Frame> frames) {
  auto info = std::make_shared<TrapInfo>();
  info->kind = kind;
  info->backtrace = std::move(frames);
  std::string detail = backtrace_text(info->backtrace);
  return std::move(status).with_detail(std::move(detail)).with_attachment(std::move(info));
}

Status check_limits(const Limits& limits, const EngineOptions& options) {
  if (limits.deadline_ms == 0 || limits.deadline_ms > kDeadlineMsMax) {
    return Status::invalid_argument("deadline_ms is {}, allowed is 1 to {}", limits.deadline_ms,
                                    kDeadlineMsMax);
  }
  if (limits.fuel_max != 0 && !options.fuel) {
    return Status::invalid_argument("fuel_max is {}, but the engine was made without fuel", limits.fuel_max);
  }
  if (limits.nesting_max == 0) return Status::invalid_argument("nesting_max is 0, at least 1 is needed");
  return {};
}

int64_t to_signed(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

std::string export_names(const CompiledCode& code, ExternKind kind) {
  std::string names;
  for (const CompiledCode::Export& exported : code.exports()) {
    if (exported.kind != kind || exported.name.starts_with(wasm::kReservedPrefix)) continue;
    if (names.size() > 300) return names + ", ...";
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", printable(exported.name));
  }
  return names.empty() ? "none" : names;
}

}  // namespace

void Canceller::cancel() const {
  // If that call has ended already, its number never comes back.
  state_->cancelled.store(state_->call.load());
}

// --- quotas -------------------------------------------------------------------------------------------

namespace {

Status charge(uint64_t& used, uint64_t bytes, uint64_t limit, std::string_view name) {
  if (bytes > limit - std::min(used, limit)) {
    return Status::limit_exceeded("{} bytes more than {} in one call ({}={})", bytes, used, name, limit);
  }
  used += bytes;
  return {};
}

}  // namespace

Status Store::charge_copy(uint64_t bytes) {
  begin_quota();
  return charge(copied_bytes_, bytes, limits_.copy_bytes_max, "copy_bytes_max");
}

Status Store::charge_log(uint64_t bytes) {
  begin_quota();
  return charge(logged_bytes_, bytes, limits_.log_bytes_max, "log_bytes_max");
}

Status Store::charge_io(uint64_t bytes) {
  begin_quota();
  return charge(io_bytes_, bytes, limits_.io_bytes_max, "io_bytes_max");
}

inline bool Store::charge_host_call() {
  begin_quota();
  return host_calls_++ < limits_.host_calls_max;
}

inline void Store::begin_quota() {
  if (quota_call_ == call_number()) [[likely]]
    return;
  quota_call_ = call_number();
  copied_bytes_ = logged_bytes_ = io_bytes_ = host_calls_ = 0;
}

// --- host calls ---------------------------------------------------------------------------------------

// Has access to what Store and Caller keep to themselves.
struct HostCall {
  static wasm_trap_t* run(const HostFunction& function, wasmtime_caller_t* raw_caller,
                          wasmtime_val_raw_t* values) {
    wasmtime_context_t* context = wasmtime_caller_context(raw_caller);
    Store& store = *static_cast<Store*>(wasmtime_context_get_data(context));
    Caller caller(store, raw_caller);
    Status status = store.charge_host_call() ? body(function, caller, reinterpret_cast<RawValue*>(values))
                                             : too_many(store);
    if (status.ok()) [[likely]]
      return nullptr;
    if (status.code() == Code::kExited) {
      store.pending_ = std::move(status);
    } else {
      store.pending_ =
          Status(is_limit(status.code()) ? status.code() : Code::kHostError,
                 fmt::format("host function {}.{}: {}", function.module, function.name, status.message()));
    }
    constexpr std::string_view kText = "host function failed";  // pending_ has the real one
    return wasmtime_trap_new(kText.data(), kText.size());
  }

  [[gnu::cold]] static Status too_many(const Store& store) {
    return Status::limit_exceeded("more calls of host functions than one call may make (host_calls_max={})",
                                  store.limits_.host_calls_max);
  }

  // Codes that say more than "the host failed".
  static bool is_limit(Code code) {
    return code == Code::kDeadlineExceeded || code == Code::kCancelled || code == Code::kLimitExceeded;
  }

  static Status body(const HostFunction& function, Caller& caller, RawValue* values) {
    try {
      return function.body(caller, values);
    } catch (const std::exception& error) {
      return Status::host_error("threw: {}", error.what());
    } catch (...) {
      return Status::host_error("threw something that is no std::exception");
    }
  }
};

wasm_trap_t* on_host_call(void* env, wasmtime_caller_t* caller, wasmtime_val_raw_t* values,
                          size_t /*count*/) noexcept {
  return HostCall::run(*static_cast<const HostFunction*>(env), caller, values);
}

GuestMemory Caller::memory() {
  store_.touch_memories();
  return memory_of_this_thread();
}

GuestMemory Caller::memory_of_this_thread() {
  if (store_.members_.size() == 1 && store_.attempts_ == 1) [[likely]]
    return store_.member_memory(store_.members_.front());
  // During an instantiation, after one that failed, or with several instances: only Wasmtime knows who calls.
  wasmtime_extern_t item;
  auto* caller = static_cast<wasmtime_caller_t*>(caller_);
  if (!wasmtime_caller_export_get(caller, kMemoryExport.data(), kMemoryExport.size(), &item) ||
      item.kind != WASMTIME_EXTERN_MEMORY) {
    return {};
  }
  return memory_of(store_.context_, item.of.memory);
}

void* Caller::user_data() const { return store_.user_data_; }

Status Caller::check_running() const {
  SPORE_TRY(store_.ticker_.touch());  // a clock that parked would say that no time has passed
  return store_.check_running();
}

Result<std::vector<uint32_t>> Caller::stack_functions() const {
  std::vector<uint32_t> functions(kStackFunctionsMax);
  const size_t count = spore_stack_functions(store_.context_, functions.data(), functions.size());
  if (count >= kStackFunctionsMax) {
    return Status::limit_exceeded(
        "{} functions or more are on the guest's stack (freeze it, or what it stands on, with --rewrite all)",
        kStackFunctionsMax);
  }
  functions.resize(count);
  return functions;
}

uint64_t Caller::time_left_ms() const {
  static_cast<void>(store_.ticker_.touch());  // the clock must not park while we wait by it
  if (store_.cancel_->cancelled.load() == store_.call_number()) return 0;
  const uint64_t now = store_.ticker_.now();
  const uint64_t left = now < store_.deadline_tick_ ? store_.deadline_tick_ - now : 0;
  return std::min(left, store_.limits_.deadline_ms);
}

// --- making and instantiating -------------------------------------------------------------------------

void Store::DeleteStore::operator()(wasmtime_store* store) const noexcept { wasmtime_store_delete(store); }

Store::Store(std::shared_ptr<const Engine> engine, const Limits& limits, void* user_data)
    : plain_(!engine->options().fuel),
      wasm_stack_bytes_(engine->options().wasm_stack_bytes),
      limits_(limits),
      cancel_(std::make_shared<Canceller::State>()),
      ticker_(engine->ticker()),
      user_data_(user_data),
      first_deadline_ms_(limits.deadline_ms),
      counts_fuel_(engine->options().fuel),
      engine_(std::move(engine)),
      handle_(make_handle(*engine_)) {
  context_ = wasmtime_store_context(handle_.get());
}

Store::Handle Store::make_handle(const Engine& engine) {
  Handle handle(wasmtime_store_new(engine.handle(), this, nullptr));
  wasmtime_store_limiter(handle.get(), to_signed(limits_.memory_bytes_max),
                         to_signed(limits_.table_elements_max), kInstancesMax, limits_.tables_max,
                         limits_.memories_max);
  // The first check of each call comes to on_epoch at once, and then at each tick: see ticker.h.
  wasmtime_store_epoch_deadline_callback(handle.get(), &Store::on_epoch, this, nullptr);
  return handle;
}

Store::~Store() {
  const ForkGuard::Busy busy(engine_->fork_guard());
  handle_.reset();
}

Result<std::unique_ptr<Store>> Store::create(std::shared_ptr<const Engine> engine, const Limits& limits,
                                             void* user_data) {
  SPORE_TRY(check_limits(limits, engine->options()));
  return std::unique_ptr<Store>(new Store(std::move(engine), limits, user_data));
}

Result<InstanceHandle> Store::instantiate(const std::shared_ptr<const Binding>& binding,
                                          const MemoryPlan& plan) {
  attempts_++;
  kept_.push_back(binding);
  const size_t slots_begin = slots_.size();
  SPORE_TRY(enter());
  open(kCall);
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  {
    const MakingMemories making(*this, plan);
    error = wasmtime_instance_pre_instantiate(binding->handle(), context_, &instance, &trap);
  }
  close(kCall);
  if (error != nullptr || trap != nullptr) return failure_of(error, trap);
  return add_member(instance, binding->code(), slots_begin);
}

Result<InstanceHandle> Store::instantiate_linked(std::shared_ptr<const CompiledCode> code,
                                                 const std::shared_ptr<const HostFunctions>& functions,
                                                 std::span<const Linked> linked, const MemoryPlan& plan) {
  attempts_++;
  const size_t slots_begin = slots_.size();
  // Also if it fails: the module may have put its functions, and imported ones, into a shared table first.
  kept_.push_back(code);
  kept_.push_back(functions);
  std::vector<std::string> names;
  for (const Linked& link : linked) names.push_back(link.name);
  SPORE_TRY(check_imports(*code, *functions, names));
  std::vector<wasmtime_extern_t> imports;
  for (const CompiledCode::Import& import : code->imports()) {
    wasmtime_extern_t item{};
    const auto from = std::ranges::find(linked, import.module, &Linked::name);
    if (from != linked.end()) {
      if (!wasmtime_instance_export_get(context_, to_wasmtime(member(from->instance).instance),
                                        import.name.data(), import.name.size(), &item)) {
        return Status::invalid_argument("unknown import: the instance '{}' does not export '{}'",
                                        printable(import.module), printable(import.name));
      }
    } else {
      const HostFunction* function = find_host_function(*functions, import.module, import.name);
      const ForkGuard::Busy busy(engine_->fork_guard());
      item.kind = WASMTIME_EXTERN_FUNC;
      wasmtime_func_new_unchecked(context_, make_func_type(function->type).get(), on_host_call,
                                  const_cast<HostFunction*>(function), nullptr, &item.of.func);
    }
    imports.push_back(item);
  }
  SPORE_TRY(enter());
  open(kCall);
  wasmtime_instance_t instance;
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  {
    const MakingMemories making(*this, plan);
    error = wasmtime_instance_new(context_, code->handle(), imports.data(), imports.size(), &instance, &trap);
  }
  close(kCall);
  if (error != nullptr || trap != nullptr) return failure_of(error, trap);
  return add_member(instance, std::move(code), slots_begin);
}

Result<memory::Slot*> Store::add_slot(const memory::SlotShape& shape, size_t bytes, const MemoryPlan& plan,
                                      size_t index) {
  memory::SlotPool::Handle slot = SPORE_TRY(engine_->slots().take(shape));
  std::shared_ptr<const memory::PageImage> image;
  if (index < plan.images.size()) image = plan.images[index];
  // An image may be of a memory that grew while it was made.
  if (image != nullptr) bytes = std::max(bytes, image->bytes());
  SPORE_TRY(slot->open(bytes, std::move(image), plan.reset));
  slots_.push_back(std::move(slot));
  return slots_.back().get();
}

bool Store::refused_growth() const {
  return std::ranges::any_of(slots_, [](const auto& slot) { return slot->refused_growth(); });
}

Result<memory::Slot*> Store::slot_again(const memory::SlotShape& shape, size_t index) const {
  // An access may reach as far as the code was compiled for.
  if (index >= slots_.size() || slots_[index]->capacity() < shape.capacity ||
      slots_[index]->guard() < shape.guard) {
    return Status::internal("a memory that does not fit its slot");
  }
  return slots_[index].get();
}

InstanceHandle Store::add_member(const wasmtime_instance& instance, std::shared_ptr<const CompiledCode> code,
                                 size_t slots_begin) {
  members_.push_back(make_member(instance, std::move(code), slots_begin));
  return {.number = static_cast<uint32_t>(members_.size() - 1)};
}

Store::Member Store::make_member(const wasmtime_instance& instance, std::shared_ptr<const CompiledCode> code,
                                 size_t slots_begin) {
  Member member{.instance = std::bit_cast<std::array<uint64_t, 2>>(instance),
                .code = std::move(code),
                .has_memory = false,
                .memory = {},
                .slots_begin = slots_begin,
                .slots_end = slots_.size(),
                .places = {}};
  wasmtime_extern_t item;
  if (wasmtime_instance_export_get(context_, &instance, kMemoryExport.data(), kMemoryExport.size(), &item) &&
      item.kind == WASMTIME_EXTERN_MEMORY) {
    member.has_memory = true;
    std::memcpy(member.memory.data(), &item.of.memory, sizeof item.of.memory);
  }
  return member;
}

// --- looking into instances ---------------------------------------------------------------------------

Result<RawFunction> Store::function(const InstanceHandle& instance, std::string_view name) {
  SPORE_ASSERT(instance.number < members_.size(), "an instance of another store");
  Member& owner = members_[instance.number];
  const auto known = owner.places.find(name);
  if (known != owner.places.end()) return RawFunction(*this, *known->second);
  if (owner.code->exported_function(name) == nullptr) {
    return Status::not_found("no exported function '{}' (there are: {})", printable(name),
                             export_names(*owner.code, ExternKind::kFunction));
  }
  auto place = std::make_unique<RawFunction::Place>();
  place->use = uses_ == nullptr ? &not_counted_ : &uses_->of(name);
  find(owner, name, *place);
  return RawFunction(*this, *owner.places.emplace(name, std::move(place)).first->second);
}

// In the instance that the member is by now.
void Store::find(const Member& member, std::string_view name, RawFunction::Place& place) {
  wasmtime_extern_t item;
  const CompiledCode::Export* exported = member.code->exported_function(name);
  const bool found =
      exported != nullptr &&
      wasmtime_instance_export_get(context_, to_wasmtime(member.instance), name.data(), name.size(), &item);
  SPORE_ASSERT(found, "an export is in the module, but not in its instance");
  place.function = std::bit_cast<std::array<uint64_t, 2>>(item.of.func);
  place.type = &exported->type;
}

namespace {

Result<wasmtime_global_t> find_global(wasmtime_context_t* context, const wasmtime_instance_t* instance,
                                      const CompiledCode& code, std::string_view name) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(context, instance, name.data(), name.size(), &item) ||
      item.kind != WASMTIME_EXTERN_GLOBAL) {
    return Status::not_found("no exported global '{}' (there are: {})", printable(name),
                             export_names(code, ExternKind::kGlobal));
  }
  return item.of.global;
}

}  // namespace

Result<Store::GlobalValue> Store::global(const InstanceHandle& instance, std::string_view name) {
  const Member& owner = member(instance);
  const wasmtime_global_t global =
      SPORE_TRY(find_global(context_, to_wasmtime(owner.instance), *owner.code, name));
  // Without its `gc` feature the C API aborts when a global holds a reference: only the type is told.
  const GlobalTypeHandle type(wasmtime_global_type(context_, &global));
  const ValType held = to_val_type(wasm_globaltype_content(type.get()));
  if (held == ValType::kFuncRef || held == ValType::kOtherRef) return GlobalValue{held, {}};
  wasmtime_val_t value;
  wasmtime_global_get(context_, &global, &value);
  GlobalValue result{ValType::kOtherRef, {}};
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

Status Store::set_global(const InstanceHandle& instance, std::string_view name, int32_t value) {
  const Member& owner = member(instance);
  const wasmtime_global_t global =
      SPORE_TRY(find_global(context_, to_wasmtime(owner.instance), *owner.code, name));
  wasmtime_val_t raw{};
  raw.kind = WASMTIME_I32;
  raw.of.i32 = value;
  const ErrorHandle error(wasmtime_global_set(context_, &global, &raw));
  if (error == nullptr) return {};
  return Status::invalid_argument("setting the global '{}': {}", printable(name), error_message(*error));
}

bool Store::has_memory(const InstanceHandle& instance) const { return member(instance).has_memory; }

GuestMemory Store::memory(const InstanceHandle& instance) {
  touch_memories();
  return memory_of_this_thread(instance);
}

// What another thread writes from here on, this one's fault counter does not show, nor the other way round.
// Two living threads have different stacks.
void Store::note_thread() {
  if (thread_stack.low == stack_low_) return;
  stack_low_ = thread_stack.low;
  touch_memories();
}

GuestMemory Store::memory_of_this_thread(const InstanceHandle& instance) {
  note_thread();
  return member_memory(member(instance));
}

// All of them: linked instances share theirs.
void Store::touch_memories() {
  for (const memory::SlotPool::Handle& slot : slots_) slot->touched();
}

Result<GuestMemory> Store::memory(const InstanceHandle& instance, std::string_view name) {
  touch_memories();
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(context_, to_wasmtime(member(instance).instance), name.data(),
                                    name.size(), &item) ||
      item.kind != WASMTIME_EXTERN_MEMORY) {
    return Status::not_found("no exported memory '{}' (there are: {})", printable(name),
                             export_names(*member(instance).code, ExternKind::kMemory));
  }
  return memory_of(context_, item.of.memory);
}

GuestMemory Store::member_memory(const Member& member) {
  if (!member.has_memory) return {};
  return memory_of(context_, *reinterpret_cast<const wasmtime_memory_t*>(member.memory.data()));
}

// --- calls --------------------------------------------------------------------------------------------

inline void Store::open(uint32_t what) {
  if (open_ == 0) {
    cancel_->call.store(call_number() + 1, std::memory_order_relaxed);  // this thread is its only writer
    // One more: the present tick has begun already, and a deadline must not strike early for that.
    deadline_tick_ = ticker_.begin() + limits_.deadline_ms + 1;
  }
  open_ += what;
}

inline void Store::close(uint32_t what) { open_ -= what; }

Store::Group::Group(Store& store) : store_(store) {
  if (store_.stale() && store_.open_ == 0) [[unlikely]]
    store_.follow();
  store_.open(kGroup);
}
Store::Group::~Group() { store_.close(kGroup); }

inline bool Store::may_enter() const {
  return plain_ && depth() < limits_.nesting_max && thread_fits(wasm_stack_bytes_) &&
         thread_stack.low == stack_low_ && !stale();
}

// All that may_enter() does not say yes to at once.
Status Store::enter() {
  if (exited_) return Status::unavailable("this instance has exited: make a new one");
  if (retired_) {
    return Status::unavailable(
        "this instance was stopped in the middle of an earlier call and is retired: make a new one");
  }
  if (parked_) {
    return Status::unavailable("this instance was given back to its pool: take another");
  }
  if (depth() >= limits_.nesting_max) {
    return Status::limit_exceeded(
        "calls from host functions back into the guest are {} deep "
        "(nesting_max={})",
        depth(), limits_.nesting_max);
  }
  SPORE_TRY(check_thread(wasm_stack_bytes_));
  note_thread();
  if (stale() && open_ == 0) follow();
  if (counts_fuel_) refuel();
  return {};
}

// Once a call, which may be a group of several.
void Store::refuel() {
  const uint64_t number = open_ == 0 ? call_number() + 1 : call_number();
  if (fuel_call_ == number) return;
  fuel_call_ = number;
  const uint64_t fuel = limits_.fuel_max == 0 ? std::numeric_limits<uint64_t>::max() : limits_.fuel_max;
  const ErrorHandle error(wasmtime_context_set_fuel(context_, fuel));
  SPORE_ASSERT(error == nullptr, "an engine with fuel takes fuel");
}

bool Store::try_call(RawFunction::Place& function, RawValue* values, size_t count) {
  if (!may_enter() && !enter_or_fail()) [[unlikely]]
    return false;
  open(kCall);
  const Running outer = running_;
  running_ = {.use = function.use, .since = ticker_.now()};
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = wasmtime_func_call_unchecked(
      context_, reinterpret_cast<const wasmtime_func_t*>(function.function.data()),
      reinterpret_cast<wasmtime_val_raw_t*>(values), count, &trap);
  close(kCall);
  function.use->calls.add();
  function.use->ms.add(ticker_.now() - running_.since);
  running_ = outer;
  if (error == nullptr && trap == nullptr) [[likely]]
    return true;
  return fail(error, trap);
}

// Out of line, so that the call itself saves few registers.
[[gnu::cold, gnu::noinline]] bool Store::enter_or_fail() {
  failure_ = enter();
  return failure_.ok();
}

[[gnu::cold, gnu::noinline]] bool Store::fail(wasmtime_error* error, wasm_trap_t* trap) {
  failure_ = failure_of(error, trap);
  return false;
}

void Store::let_return() {
  returning_call_ = call_number();
  // The next check comes to on_epoch, also of a function that is on the stack and keeps the old deadline in a
  // register, as Cranelift's do: that has passed, too, one epoch on.  Others' stores are called back, and go
  // on.
  wasmtime_context_set_epoch_deadline(context_, 0);
  wasmtime_engine_increment_epoch(engine_->handle());
  begin_quota();
  host_calls_ = limits_.host_calls_max;  // and the next call of a host function is one too many
}

Status Store::check_running() const {
  if (cancel_->cancelled.load() == call_number()) {
    return Status::cancelled("the call was cancelled");
  }
  if (returning_call_ == call_number()) return Status::cancelled("the call was to return, and went on");
  if (ticker_.now() >= deadline_tick_) {
    return Status::deadline_exceeded("the call ran longer than its deadline (deadline_ms={})",
                                     limits_.deadline_ms);
  }
  return {};
}

// Called by Wasmtime on Rust frames, at the first check of a call and at each tick while it runs.  Reads
// host data only: the store must not be touched here.
wasmtime_error* Store::on_epoch(wasmtime_context* /*context*/, void* data, uint64_t* delta,
                                uint8_t* kind) noexcept {
  Store& store = *static_cast<Store*>(data);
  Status status = store.ticker_.touch();
  // Between calls there is nothing to end: what instantiation itself runs is bounded.
  if (status.ok() && !store.going_over_) status = store.check_running();
  if (store.running_.use != nullptr) {
    // Of a call that lasts, too, somebody may want to know before its end.
    const uint64_t now = store.ticker_.now();
    store.running_.use->ms.add(now - store.running_.since);
    store.running_.since = now;
  }
  if (status.ok()) {
    *delta = 1;
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    return nullptr;
  }
  store.pending_ = std::move(status);
  return wasmtime_error_new("interrupted");
}

Status Store::set_deadline_ms(uint64_t deadline_ms) {
  Limits changed = limits_;
  changed.deadline_ms = deadline_ms;
  SPORE_TRY(check_limits(changed, engine_->options()));
  limits_ = changed;
  return {};
}

void Store::take_back(uint64_t fuel) {
  SPORE_ASSERT(open_ == 0, "an instance is given back in the middle of a call");
  limits_.deadline_ms = first_deadline_ms_;
  user_data_ = nullptr;
  parked_ = true;
  plain_ = false;
  trapped_ = false;
  if (exited_) retired_ = exited_ = false;
  if (!failure_.ok()) failure_ = Status();
  if (cancel_.use_count() > 1) [[unlikely]] {
    // Numbers of calls go on: quotas and fuel tell calls apart by them.
    const uint64_t number = call_number();
    cancel_ = std::make_shared<Canceller::State>();
    cancel_->call.store(number, std::memory_order_relaxed);
  }
  if (counts_fuel_) {
    const ErrorHandle error(wasmtime_context_set_fuel(context_, fuel));
    SPORE_ASSERT(error == nullptr, "an engine with fuel takes fuel");
  }
}

uint64_t Store::fuel_left() const {
  uint64_t fuel = 0;
  if (counts_fuel_) ErrorHandle(wasmtime_context_get_fuel(context_, &fuel)).reset();
  return fuel;
}

// --- going over to other code -------------------------------------------------------------------------

constinit const std::atomic<uint32_t> Store::kNoSteps{0};

void Store::count_in(std::shared_ptr<LiveBinding> live) {
  uses_ = std::make_unique<LiveBinding::Uses>(std::move(live));
}

void Store::go_along(std::shared_ptr<const wasm::PreparedModule> prepared) {
  SPORE_ASSERT(uses_ != nullptr, "a store goes along with code that it is counted in");
  prepared_ = std::move(prepared);
  steps_ = &uses_->live().step();
  step_ = steps_->load(std::memory_order_acquire);
  if (uses_->live().best()->code() != members_.front().code) step_--;  // better came while it was made
}

// Whatever comes of it, it is not tried again before there is still better code.
[[gnu::cold]] void Store::follow() {
  if (retired_ || parked_) return;
  step_ = steps_->load(std::memory_order_acquire);
  catch_up(*prepared_);
}

bool Store::catch_up(const wasm::PreparedModule& prepared) {
  const std::shared_ptr<const Binding> best = uses_->live().best();
  if (best->code() == members_.front().code) return false;
  const Status status = hand_over(best, prepared);
  if (!status.ok()) uses_->live().count_refusal(status.message());
  return status.ok();
}

namespace {

bool passes_references(const FuncType& type) {
  const auto is_reference = [](ValType value) {
    return value == ValType::kFuncRef || value == ValType::kOtherRef;
  };
  return std::ranges::any_of(type.params, is_reference) || std::ranges::any_of(type.results, is_reference);
}

}  // namespace

// Nothing of the old instance may be in anybody's hands but what hand_over() knows of.
Status Store::may_hand_over(const wasm::PreparedModule& prepared) const {
  if (open_ != 0) return Status::unavailable("a call is running");
  if (retired_) return Status::unavailable("the instance is retired");
  if (!alone() || members_.size() != 1) return Status::unavailable("other instances are linked to it");
  if (prepared.reset() != wasm::ResetMode::kInPlace) {
    return Status::unavailable("not all of its state can be held: {}", prepared.reset_reasons.front());
  }
  // Instantiation would write that over the memory that is in use.
  if (!prepared.not_lifted.empty()) {
    return Status::unavailable("its data could not be lifted: {}", prepared.not_lifted);
  }
  const Member& member = members_.front();
  for (const auto& [name, place] : member.places) {
    if (passes_references(*place->type)) return Status::unavailable("'{}' passes references", name);
  }
  for (const CompiledCode::Import& import : member.code->imports()) {
    if (import.kind == ExternKind::kFunction && passes_references(import.type)) {
      return Status::unavailable("the import '{}' passes references", printable(import.name));
    }
  }
  return {};
}

Status Store::hand_over(const std::shared_ptr<const Binding>& binding, const wasm::PreparedModule& prepared) {
  const auto begin = std::chrono::steady_clock::now();
  SPORE_TRY(may_hand_over(prepared));
  const EngineOptions& now = engine_->options();
  const EngineOptions& then = binding->code()->engine().options();
  SPORE_ASSERT(now.fuel == then.fuel && now.wasm_stack_bytes == then.wasm_stack_bytes &&
                   now.compact_memories == then.compact_memories &&
                   &engine_->ticker() == &binding->code()->engine().ticker(),
               "code of an engine that differs in more than its tier");
  const InstanceHandle instance{};
  const InstanceState state = SPORE_TRY(InstanceState::create(*this, instance, prepared));
  const StateValues values = SPORE_TRY(state.read());

  // A store of its own, with an instance over the same slots.  No code of the guest runs: what would, and
  // what would write to memory, was lifted.
  Handle other = make_handle(binding->code()->engine());
  wasmtime_instance_t made;
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = nullptr;
  {
    const MakingMemories again(*this);
    going_over_ = true;
    error = wasmtime_instance_pre_instantiate(binding->handle(), wasmtime_store_context(other.get()), &made,
                                              &trap);
    going_over_ = false;
  }
  if (error != nullptr || trap != nullptr) {
    const ErrorHandle error_guard(error);
    const TrapHandle trap_guard(trap);
    return Status::unavailable("instantiating the other code: {}",
                               error == nullptr ? "it trapped" : error_message(*error));
  }
  wasmtime_context_t* const before = std::exchange(context_, wasmtime_store_context(other.get()));
  Member member = make_member(made, binding->code(), members_.front().slots_begin);
  std::swap(members_.front(), member);
  const Status status = take_over(instance, prepared, values);
  if (!status.ok()) {
    context_ = before;
    std::swap(members_.front(), member);
    return Status::unavailable("{}", status.message());
  }
  std::swap(handle_, other);
  for (auto& [name, place] : member.places) find(members_.front(), name, *place);
  members_.front().places = std::move(member.places);
  {
    const ForkGuard::Busy busy(engine_->fork_guard());
    other.reset();  // before what it calls into
  }
  kept_.assign(1, binding);
  engine_ = binding->code()->engine().shared_from_this();
  if (uses_ != nullptr) {
    uses_->live().count_hand_over(static_cast<uint64_t>((std::chrono::steady_clock::now() - begin).count()));
  }
  return {};
}

Status Store::take_over(const InstanceHandle& instance, const wasm::PreparedModule& prepared,
                        const StateValues& values) {
  InstanceState state = SPORE_TRY(InstanceState::create(*this, instance, prepared));
  SPORE_TRY(state.keep(values));
  SPORE_TRY(state.restore_values());
  if (!counts_fuel_) return {};
  const ErrorHandle error(wasmtime_context_set_fuel(context_, values.fuel));
  SPORE_ASSERT(error == nullptr, "an engine with fuel takes fuel");
  return {};
}

// --- failures -----------------------------------------------------------------------------------------

Status Store::failure_of(wasmtime_error* raw_error, wasm_trap_t* raw_trap) {
  const ErrorHandle error(raw_error);
  const TrapHandle trap(raw_trap);
  return trap != nullptr ? describe_trap(trap.get()) : describe_error(error.get());
}

Status Store::describe_trap(wasm_trap_t* trap) {
  trapped_ = true;
  const TrapKind kind = trap_kind(trap);
  Frames frames;
  wasm_trap_trace(trap, &frames.value);
  std::vector<Frame> backtrace = to_frames(frames.value);
  std::string where;
  if (!backtrace.empty()) {
    const Frame& frame = backtrace.front();
    where = frame.function.empty() ? fmt::format(" in function {}", frame.function_index)
                                   : fmt::format(" in '{}'", printable(frame.function));
  }
  std::string hint;
  if (kind == TrapKind::kOutOfFuel) hint = fmt::format(" (fuel_max={})", limits_.fuel_max);
  if (kind == TrapKind::kStackOverflow) {
    hint = fmt::format(" (wasm_stack_bytes={})", engine_->options().wasm_stack_bytes);
  }
  const Code code = kind == TrapKind::kOutOfFuel ? Code::kLimitExceeded : Code::kTrap;
  return with_trap_info(Status::make(code, "the guest trapped: {}{}{}", trap_kind_message(kind), where, hint),
                        kind, std::move(backtrace));
}

// Whatever is not a trap: a callback of ours that stopped the guest, or instantiation that was refused.
Status Store::describe_error(wasmtime_error* error) {
  Frames frames;
  if (!pending_.ok()) {
    retired_ = true;
    plain_ = false;
    Status status = std::exchange(pending_, Status());
    exited_ = status.code() == Code::kExited;
    if (exited_) return status;
    wasmtime_error_wasm_trace(error, &frames.value);
    const bool interrupted = status.code() == Code::kDeadlineExceeded || status.code() == Code::kCancelled;
    return with_trap_info(std::move(status), interrupted ? TrapKind::kInterrupted : TrapKind::kHostError,
                          to_frames(frames.value));
  }
  const std::string message = error_message(*error);
  // Wasmtime's own words; there is no code to go by.  store_test.cc holds them to it.
  if (message.find("exceeds memory limits") != std::string::npos) {
    return Status::limit_exceeded("{} (memory_bytes_max={})", message, limits_.memory_bytes_max);
  }
  if (message.find("exceeds table limits") != std::string::npos) {
    return Status::limit_exceeded("{} (table_elements_max={})", message, limits_.table_elements_max);
  }
  if (message.find("instance count too high") != std::string::npos) {
    return Status::limit_exceeded("{} ({} instances may be linked together)", message, kInstancesMax);
  }
  if (message.find("memory count too high") != std::string::npos) {
    return Status::limit_exceeded("{} (memories_max={})", message, limits_.memories_max);
  }
  if (message.find("table count too high") != std::string::npos) {
    return Status::limit_exceeded("{} (tables_max={})", message, limits_.tables_max);
  }
  return Status::invalid_argument("{}", message);
}

}  // namespace spore::engine
