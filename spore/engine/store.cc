#include "spore/engine/store.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <exception>
#include <limits>

#include "spore/base/utf8.h"
#include "spore/engine/host_call.h"
#include "spore/engine/instance_state.h"
#include "spore/engine/interpreted_realm.h"
#include "spore/engine/signals.h"
#include "spore/engine/ticker.h"
#include "spore/engine/wasmtime_realm.h"
#include "spore/wasm/prepare.h"

namespace spore::engine {

namespace {

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

namespace {

// Codes that say more than "the host failed".
bool is_limit(Code code) {
  return code == Code::kDeadlineExceeded || code == Code::kCancelled || code == Code::kLimitExceeded;
}

Status run_body(const HostFunction& function, Caller& caller, RawValue* values) {
  try {
    return function.body(caller, values);
  } catch (const std::exception& error) {
    return Status::host_error("threw: {}", error.what());
  } catch (...) {
    return Status::host_error("threw something that is no std::exception");
  }
}

}  // namespace

bool Store::host_call(const HostFunction& function, void* raw_caller, RawValue* values) noexcept {
  if (!charge_host_call()) [[unlikely]] {
    stop(function,
         Status::limit_exceeded("more calls of host functions than one call may make (host_calls_max={})",
                                limits_.host_calls_max));
    return false;
  }
  Caller caller(*this, raw_caller);
  Status status = run_body(function, caller, values);
  if (status.ok()) [[likely]]
    return true;
  stop(function, std::move(status));
  return false;
}

[[gnu::cold]] void Store::stop(const HostFunction& function, Status status) {
  if (status.code() == Code::kExited) {
    pending_ = std::move(status);
    return;
  }
  pending_ = Status(is_limit(status.code()) ? status.code() : Code::kHostError,
                    fmt::format("host function {}.{}: {}", function.module, function.name, status.message()));
}

GuestMemory Caller::memory() {
  store_.touch_memories();
  return memory_of_this_thread();
}

GuestMemory Caller::memory_of_this_thread() {
  if (store_.members_.size() == 1 && store_.attempts_ == 1) [[likely]]
    return store_.member_memory(store_.members_.front());
  // During an instantiation, after one that failed, or with several instances: only the engine knows who
  // calls.
  return store_.realm_->caller_memory(caller_);
}

void* Caller::user_data() const { return store_.user_data_; }

Status Caller::check_running() const {
  SPORE_TRY(store_.ticker_.touch());  // a clock that parked would say that no time has passed
  SPORE_TRY(store_.check_running());
  return store_.check_watch();
}

Result<std::vector<uint32_t>> Caller::stack_functions() const {
  std::vector<uint32_t> functions = SPORE_TRY(store_.realm_->stack_functions());
  if (functions.size() >= kStackFunctionsMax) {
    return Status::limit_exceeded(
        "{} functions or more are on the guest's stack (freeze it, or what it stands on, with --rewrite all)",
        kStackFunctionsMax);
  }
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

Store::Store(std::shared_ptr<const Engine> engine, const Limits& limits, void* user_data)
    : plain_(!engine->options().fuel),
      wasm_stack_bytes_(engine->options().wasm_stack_bytes),
      limits_(limits),
      cancel_(std::make_shared<Canceller::State>()),
      ticker_(engine->ticker()),
      user_data_(user_data),
      first_deadline_ms_(limits.deadline_ms),
      counts_fuel_(engine->options().fuel),
      engine_(std::move(engine)) {
  set_realm(Realm::create(*this, *engine_));
}

Store::~Store() = default;

void Store::set_realm(std::unique_ptr<Realm> realm) {
  const auto* compiled = dynamic_cast<const WasmtimeRealm*>(realm.get());
  context_ = compiled == nullptr ? nullptr : compiled->context();
  realm_ = std::move(realm);
}

std::unique_ptr<Realm> Realm::create(Store& store, const Engine& engine) {
  if (engine.options().tier == Tier::kInterpreter) return std::make_unique<InterpretedRealm>(store);
  return std::make_unique<WasmtimeRealm>(store, engine);
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
  Result<Realm::Instance> instance = realm_->instantiate(*binding, &plan);
  close(kCall);
  return add_member(SPORE_TRY(std::move(instance)), binding->code(), slots_begin);
}

Result<InstanceHandle> Store::instantiate_linked(std::shared_ptr<const CompiledCode> code,
                                                 const std::shared_ptr<const HostFunctions>& functions,
                                                 std::span<const Linked> linked, const MemoryPlan& plan) {
  if (&code->engine() != engine_.get()) {
    return Status::invalid_argument("code of the {} tier cannot be linked to instances of the {} tier",
                                    tier_name(code->engine().options().tier),
                                    tier_name(engine_->options().tier));
  }
  attempts_++;
  const size_t slots_begin = slots_.size();
  // Also if it fails: the module may have put its functions, and imported ones, into a shared table first.
  kept_.push_back(code);
  kept_.push_back(functions);
  std::vector<std::string> names;
  for (const Linked& link : linked) names.push_back(link.name);
  SPORE_TRY(check_imports(*code, *functions, names));
  std::vector<Realm::Import> imports;
  for (const CompiledCode::Import& import : code->imports()) {
    const auto from = std::ranges::find(linked, import.module, &Linked::name);
    if (from == linked.end()) {
      imports.push_back({.function = find_host_function(*functions, import.module, import.name), .item = {}});
      continue;
    }
    const std::optional<Realm::Item> item = realm_->find(member(from->instance).instance, import.name);
    if (!item) {
      return Status::invalid_argument("unknown import: the instance '{}' does not export '{}'",
                                      printable(import.module), printable(import.name));
    }
    imports.push_back({.function = nullptr, .item = *item});
  }
  SPORE_TRY(enter());
  open(kCall);
  Result<Realm::Instance> instance = realm_->instantiate(*code, imports, plan);
  close(kCall);
  return add_member(SPORE_TRY(std::move(instance)), std::move(code), slots_begin);
}

Result<memory::Slot*> Store::take_slot(const memory::SlotShape& shape) {
  slots_.push_back(SPORE_TRY(engine_->slots().take(shape)));
  return slots_.back().get();
}

Result<memory::Slot*> Store::add_slot(const memory::SlotShape& shape, size_t bytes, const MemoryPlan& plan,
                                      size_t index) {
  memory::Slot* slot = SPORE_TRY(take_slot(shape));
  std::shared_ptr<const memory::PageImage> image;
  if (index < plan.images.size()) image = plan.images[index];
  // An image may be of a memory that grew while it was made.
  if (image != nullptr) bytes = std::max(bytes, image->bytes());
  SPORE_TRY(slot->open(bytes, std::move(image), plan.reset));
  return slot;
}

memory::Slot* Store::slot_at(const std::byte* base) const {
  const auto found = std::ranges::find(slots_, base, [](const auto& slot) { return slot->base(); });
  return found == slots_.end() ? nullptr : found->get();
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

InstanceHandle Store::add_member(const Realm::Instance& instance, std::shared_ptr<const CompiledCode> code,
                                 size_t slots_begin) {
  members_.push_back(make_member(instance, std::move(code), slots_begin));
  for (size_t i = slots_begin; i < slots_.size(); i++) {
    const memory::PageImage* image = slots_[i]->image();
    of_file_ = of_file_ || (image != nullptr && image->of_file());
  }
  return {.number = static_cast<uint32_t>(members_.size() - 1)};
}

Store::Member Store::make_member(const Realm::Instance& instance, std::shared_ptr<const CompiledCode> code,
                                 size_t slots_begin) {
  Member member{.instance = instance,
                .code = std::move(code),
                .has_memory = false,
                .memory = {},
                .slots_begin = slots_begin,
                .slots_end = slots_.size(),
                .places = {}};
  const std::optional<Realm::Item> item = realm_->find(instance, kMemoryExport);
  if (item && item->kind == ExternKind::kMemory) {
    member.has_memory = true;
    member.memory = item->words;
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
  const CompiledCode::Export* exported = member.code->exported_function(name);
  SPORE_ASSERT(exported != nullptr, "code of one module has the same functions in all tiers");
  place.function = realm_->callable(member.instance, name);
  place.type = &exported->type;
}

Status Store::translate(const InstanceHandle& instance, uint32_t function) {
  if (open_ != 0) return Status::unavailable("functions are translated between calls");
  return realm_->translate(member(instance).instance, function);
}

namespace {

Result<Realm::Item> find_global(Realm& realm, const Realm::Instance& instance, const CompiledCode& code,
                                std::string_view name) {
  const std::optional<Realm::Item> item = realm.find(instance, name);
  if (item && item->kind == ExternKind::kGlobal) return *item;
  return Status::not_found("no exported global '{}' (there are: {})", printable(name),
                           export_names(code, ExternKind::kGlobal));
}

}  // namespace

Result<Store::GlobalValue> Store::global(const InstanceHandle& instance, std::string_view name) {
  const Member& owner = member(instance);
  return realm_->global(SPORE_TRY(find_global(*realm_, owner.instance, *owner.code, name)));
}

Status Store::set_global(const InstanceHandle& instance, std::string_view name, int32_t value) {
  const Member& owner = member(instance);
  const Realm::Item global = SPORE_TRY(find_global(*realm_, owner.instance, *owner.code, name));
  if (realm_->set_global(global, {ValType::kI32, {.i32 = value}})) return {};
  return Status::invalid_argument("setting the global '{}': it is no mutable i32", printable(name));
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
  const std::optional<Realm::Item> item = realm_->find(member(instance).instance, name);
  if (!item || item->kind != ExternKind::kMemory) {
    return Status::not_found("no exported memory '{}' (there are: {})", printable(name),
                             export_names(*member(instance).code, ExternKind::kMemory));
  }
  return realm_->memory(*item);
}

GuestMemory Store::member_memory(const Member& member) {
  if (!member.has_memory) return {};
  return realm_->memory({.kind = ExternKind::kMemory, .words = member.memory});
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
  realm_->set_fuel(fuel);
}

bool Store::try_call(RawFunction::Place& function, RawValue* values, size_t count) {
  if (!may_enter() && !enter_or_fail()) [[unlikely]]
    return false;
  open(kCall);
  const Running outer = running_;
  running_ = {.use = function.use, .since = ticker_.now()};
  bool returned = call_realm(function, values, count);
  close(kCall);
  if (of_file_) [[unlikely]]
    returned = check_files(returned);
  function.use->calls.add();
  function.use->ms.add(ticker_.now() - running_.since);
  running_ = outer;
  return returned;
}

// Out of line, as is all that is not the call of compiled code itself: else it would save more registers.
[[gnu::cold, gnu::noinline]] bool Store::fail(void* error, void* trap) {
  failure_ = static_cast<WasmtimeRealm&>(*realm_).failure_of(static_cast<wasmtime_error_t*>(error),
                                                             static_cast<wasm_trap_t*>(trap));
  return false;
}

[[gnu::noinline]] bool Store::interpret(RawFunction::Place& function, RawValue* values, size_t count) {
  return realm_->call(function.function, values, count, failure_);
}

// Compiled code is entered here; interpreted, behind a virtual function.
inline bool Store::call_realm(RawFunction::Place& function, RawValue* values, size_t count) {
  if (context_ == nullptr) [[unlikely]]
    return interpret(function, values, count);
  wasm_trap_t* trap = nullptr;
  wasmtime_error_t* error = wasmtime_func_call_unchecked(
      context_, reinterpret_cast<const wasmtime_func_t*>(function.function.data()),
      reinterpret_cast<wasmtime_val_raw_t*>(values), count, &trap);
  if (error == nullptr && trap == nullptr) [[likely]]
    return true;
  return fail(error, trap);
}

// Where a file of a memory was cut short the guest has read zeros: nothing that it gave, or left, holds.
[[gnu::cold, gnu::noinline]] bool Store::check_files(bool returned) {
  const auto broken = [](const auto& slot) { return slot->broken(); };
  if (std::ranges::none_of(slots_, broken)) return returned;
  failure_ = broken_file();
  return false;
}

Status Store::broken_file() {
  retired_ = true;
  plain_ = false;
  return Status::corruption(
      "the file that the guest's memory is mapped from was cut short, or cannot be read");
}

// Out of line, so that the call itself saves few registers.
[[gnu::cold, gnu::noinline]] bool Store::enter_or_fail() {
  failure_ = enter();
  return failure_.ok();
}

void Store::let_return() {
  returning_call_ = call_number();
  realm_->interrupt();
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

Status Store::check_watch() noexcept {
  const uint64_t now = ticker_.now();
  if (watch_.wants_end == nullptr || std::exchange(watch_asked_, now) == now) return {};
  if (!watch_.wants_end(watch_.data)) return {};
  return Status::cancelled("the call was cancelled");
}

bool Store::may_go_on() noexcept {
  Status status = ticker_.touch();
  // Between calls there is nothing to end: what instantiation itself runs is bounded.
  if (status.ok() && !going_over_) status = check_running();
  if (status.ok() && !going_over_) status = check_watch();
  if (running_.use != nullptr) {
    // Of a call that lasts, too, somebody may want to know before its end.
    const uint64_t now = ticker_.now();
    running_.use->ms.add(now - running_.since);
    running_.since = now;
  }
  if (status.ok()) return true;
  pending_ = std::move(status);
  return false;
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
  watch_ = {};
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
  if (counts_fuel_) realm_->set_fuel(fuel);
}

uint64_t Store::fuel_left() const { return counts_fuel_ ? realm_->fuel() : 0; }

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

void Store::follow_now() {
  if (prepared_ != nullptr && stale() && open_ == 0) follow();
}

bool Store::catch_up(const wasm::PreparedModule& prepared) {
  const std::shared_ptr<const Binding> best = uses_->live().best();
  if (best->code() == members_.front().code) return false;
  // The interpreter's, anew: it has nothing that this one has not.
  if (best->code()->interpreted() != nullptr) return false;
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
  const Engine& other_engine = binding->code()->engine();
  const EngineOptions& then = other_engine.options();
  SPORE_ASSERT(now.fuel == then.fuel && now.wasm_stack_bytes == then.wasm_stack_bytes &&
                   now.compact_memories == then.compact_memories &&
                   &engine_->ticker() == &binding->code()->engine().ticker(),
               "code of an engine that differs in more than its tier");
  const InstanceHandle instance{};
  const InstanceState state = SPORE_TRY(InstanceState::create(*this, instance, prepared));
  const StateValues values = SPORE_TRY(state.read());

  // A realm of its own, with an instance over the same slots.  No code of the guest runs: what would, and
  // what would write to memory, was lifted.
  std::unique_ptr<Realm> other = Realm::create(*this, other_engine);
  going_over_ = true;
  Result<Realm::Instance> made = other->instantiate(*binding, nullptr);
  going_over_ = false;
  if (!made.ok()) return Status::unavailable("instantiating the other code: {}", made.status().message());
  std::unique_ptr<Realm> before = std::move(realm_);
  set_realm(std::move(other));
  Member member = make_member(made.value(), binding->code(), members_.front().slots_begin);
  std::swap(members_.front(), member);
  const Status status = take_over(instance, prepared, values);
  if (!status.ok()) {
    set_realm(std::move(before));
    std::swap(members_.front(), member);
    return Status::unavailable("{}", status.message());
  }
  for (auto& [name, place] : member.places) find(members_.front(), name, *place);
  members_.front().places = std::move(member.places);
  before.reset();  // before what it calls into
  kept_.assign(1, binding);
  engine_ = other_engine.shared_from_this();
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
  realm_->set_fuel(values.fuel);
  return {};
}

// --- failures -----------------------------------------------------------------------------------------

Status Store::trapped(TrapKind kind, std::vector<Frame> frames) {
  trapped_ = true;
  std::string where;
  if (!frames.empty()) {
    const Frame& frame = frames.front();
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
                        kind, std::move(frames));
}

Status Store::stopped(std::vector<Frame> frames) {
  retired_ = true;
  plain_ = false;
  Status status = std::exchange(pending_, Status());
  exited_ = status.code() == Code::kExited;
  if (exited_) return status;
  const bool interrupted = status.code() == Code::kDeadlineExceeded || status.code() == Code::kCancelled;
  return with_trap_info(std::move(status), interrupted ? TrapKind::kInterrupted : TrapKind::kHostError,
                        std::move(frames));
}

Status Store::broken(Status status) {
  retired_ = true;
  plain_ = false;
  return status;
}

}  // namespace spore::engine
