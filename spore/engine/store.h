#pragma once

// Instances and calls: limits, deadlines, cancelling, traps.

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/guest_memory.h"
#include "spore/engine/limits.h"
#include "spore/engine/live_binding.h"
#include "spore/engine/signals.h"
#include "spore/engine/trap.h"
#include "spore/engine/types.h"
#include "spore/memory/slot_pool.h"
#include "spore/wasm/prepare.h"

struct wasmtime_context;

namespace spore::engine {

class Realm;
class Store;
class Ticker;
class WasmtimeRealm;
struct StateValues;

inline constexpr std::string_view kMemoryExport = "memory";
inline constexpr int64_t kInstancesMax = 1000;  // in one store: linked ones

// What the memories of a new instance are.
struct MemoryPlan {
  // What the memories that the module defines begin with, in order; a null, or none, is all zeros.
  std::vector<std::shared_ptr<const memory::PageImage>> images;
  memory::ResetOptions reset;
};

// Ends the call that a store is running.  Thread-safe, may outlive the store.
class Canceller {
 public:
  // The running call ends with kCancelled within some milliseconds: at its next function entry or loop
  // head, after the bulk operation or host function that it may be in.  No effect on later calls; none
  // if no call runs.
  void cancel() const;

 private:
  friend class Store;
  struct State {
    std::atomic<uint64_t> call{0};       // the number of the running call, or of the last one
    std::atomic<uint64_t> cancelled{0};  // the number of the call that is to end; calls begin at 1
  };
  explicit Canceller(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// What a host function may do with the guest that calls it.  Valid during that host call only.
class Caller {
 public:
  // The calling instance's exported memory "memory"; empty if it has none.  Take it anew after any call
  // into the guest.  Whatever is done with it until then, the instance can be made as new.
  GuestMemory memory();
  // The same for those who write to it on this thread and in no system call: a reset then costs less.
  GuestMemory memory_of_this_thread();

  // Counts against copy_bytes_max or log_bytes_max of the running call; kLimitExceeded names it.
  Status charge_copy(uint64_t bytes);
  Status charge_log(uint64_t bytes);
  // The same for io_bytes_max.
  Status charge_io(uint64_t bytes);

  // For host functions that wait: milliseconds until the deadline; 0 when it has passed or somebody
  // cancelled the call.
  uint64_t time_left_ms() const;
  // kDeadlineExceeded or kCancelled when the call is to end: for host functions that take long.
  Status check_running() const;

  // The functions of the guest that are on the stack, innermost first, each by its index in its module.
  // kLimitExceeded: kStackFunctionsMax or more.  kUnavailable: the interpreter does not tell.
  Result<std::vector<uint32_t>> stack_functions() const;

  // For calls back into the guest, and what the embedder and the layer above attached.
  Store& store() { return store_; }
  void* user_data() const;
  void* system() const;

 private:
  friend class Store;
  Caller(Store& store, void* caller) : store_(store), caller_(caller) {}

  Store& store_;
  void* caller_;  // what the engine calls its caller
};

// A function of an instance, resolved.  Must not outlive its Store.  Stays good when the instance goes over
// to other code.
class RawFunction {
 public:
  const FuncType& type() const;
  // `values` has room for the larger of arguments and results; the types are not checked.
  Status call_unchecked(RawValue* values, size_t count) const;
  // The same for callers that count nanoseconds: false, and store().take_failure() says why.
  bool try_call_unchecked(RawValue* values, size_t count) const;

 private:
  friend class Store;
  // Where the store keeps what it found.
  struct Place {
    std::array<uint64_t, 2> function{};  // as its realm calls it
    FunctionUse* use = nullptr;
    const FuncType* type = nullptr;
  };
  RawFunction(Store& store, Place& place) : store_(&store), place_(&place) {}

  Store* store_;
  Place* place_;
};

inline const FuncType& RawFunction::type() const { return *place_->type; }

// One or more instances that share limits and fate.  Bound to one thread at a time: it may move between
// threads, but never be used by two at once.  Only its Canceller is thread-safe.
//
// After a deadline, a cancellation, an exit or a failed host function the guest was stopped in the middle of
// something that the engine does not promise to leave whole: the store is retired, and every later call
// is refused.  After a trap it can be called again; what the guest wrote before the trap stays.
class Store {
 public:
  // kInvalidArgument: a limit that is out of range, or fuel on an engine that does not count it.
  static Result<std::unique_ptr<Store>> create(std::shared_ptr<const Engine> engine, const Limits& limits,
                                               void* user_data = nullptr);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Makes an instance and runs its start function, under the limits of one call.
  // kLimitExceeded: its memory or tables are larger than the limits; or how the start function failed.
  Result<InstanceHandle> instantiate(const std::shared_ptr<const Binding>& binding,
                                     const MemoryPlan& plan = {});

  // The same, where `linked` instances of this store provide what modules of those names export.
  struct Linked {
    std::string name;
    InstanceHandle instance;
  };
  Result<InstanceHandle> instantiate_linked(std::shared_ptr<const CompiledCode> code,
                                            const std::shared_ptr<const HostFunctions>& functions,
                                            std::span<const Linked> linked, const MemoryPlan& plan = {});

  // kNotFound names what there is instead.
  Result<RawFunction> function(const InstanceHandle& instance, std::string_view name);
  struct GlobalValue {
    ValType type;
    RawValue value;
  };
  // Of one that holds a reference, the type alone.
  Result<GlobalValue> global(const InstanceHandle& instance, std::string_view name);
  // Sets one that is exported, mutable and an i32.  kNotFound, kInvalidArgument.
  Status set_global(const InstanceHandle& instance, std::string_view name, int32_t value);
  // The memory exported as "memory"; empty if there is none.
  GuestMemory memory(const InstanceHandle& instance);
  // See Caller::memory_of_this_thread.
  GuestMemory memory_of_this_thread(const InstanceHandle& instance);
  // The one exported under another name.  kNotFound names what there is instead.
  Result<GuestMemory> memory(const InstanceHandle& instance, std::string_view name);
  bool has_memory(const InstanceHandle& instance) const;

  // Counts against copy_bytes_max, log_bytes_max or io_bytes_max of the running call; kLimitExceeded names
  // it.
  Status charge_copy(uint64_t bytes);
  Status charge_log(uint64_t bytes);
  Status charge_io(uint64_t bytes);

  // Counts its calls from now on, for who decides what code a module deserves.  Before functions are looked
  // up.
  void count_in(std::shared_ptr<LiveBinding> live);
  // Has the one instance go over to what is best by now of the code it is counted in, and to any better that
  // comes, between two calls: functions, cancellers and addresses stay good.  `prepared`: what the instance
  // was made of.  After this nobody may keep an InstanceState of it.
  void go_along(std::shared_ptr<const wasm::PreparedModule> prepared);
  // Goes over to `binding`, code of the same prepared module, with all its state; no byte of memory moves.
  // For those who do not go_along().  After a failure all is as it was, but for what is retired:
  // kUnavailable: a call is open, several instances are linked, or not all state can be held (see ResetMode),
  // or a table holds a function that has no number.
  Status hand_over(const std::shared_ptr<const Binding>& binding, const wasm::PreparedModule& prepared);
  // Goes over to what is best by now of the code it is counted in.  A failure is counted there.  True: it
  // did.
  bool catch_up(const wasm::PreparedModule& prepared);
  // Between two calls, if it goes along: as its next call would.
  void follow_now();
  // Null: nobody counts.
  LiveBinding* counted_in() const { return uses_ == nullptr ? nullptr : &uses_->live(); }
  // What the instance runs.
  const std::shared_ptr<const CompiledCode>& code(const InstanceHandle& instance) const {
    return member(instance).code;
  }

  // The call itself.  `values` holds the arguments, then the results.  A bool and not a Status: returning
  // an object that needs a destructor costs as much as all checks of a call together.
  bool try_call(RawFunction::Place& function, RawValue* values, size_t count);
  // Why the last try_call() gave false.
  Status take_failure() { return std::exchange(failure_, Status()); }

  // Several calls into the guest that are one call to everybody else: one deadline, one quota, one
  // cancellation.  What passes a string allocates, calls and frees under one of these.
  class Group {
   public:
    explicit Group(Store& store);
    ~Group();
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

   private:
    Store& store_;
  };

  const Limits& limits() const { return limits_; }
  // The deadline of calls from now on.
  Status set_deadline_ms(uint64_t deadline_ms);
  Canceller canceller() const { return Canceller(cancel_); }
  // Asked while a call runs, once a tick at most, on the thread of the call: true ends it with kCancelled.
  // For hosts whose own wish to stop can only be looked up.  It must not call this store.  Until take_back().
  struct Watch {
    bool (*wants_end)(void* data) noexcept = nullptr;
    void* data = nullptr;
  };
  void set_watch(const Watch& watch) { watch_ = watch; }
  bool retired() const { return retired_; }
  // It is retired by its guest's own wish: that was stopped at a call of a host function, where nothing of it
  // is half done.  Made as new, and taken back, it is as good as one that trapped.
  bool exited() const { return exited_; }
  // For host functions: the guest may return from here, and do nothing else.  The next function that it
  // enters, of its own or of the host's, or the next round of a loop, ends the call; interpreted, a million
  // units of fuel do, which are instructions.
  void let_return();
  // Guest calls that are open, one inside the other.
  uint32_t nesting() const { return depth(); }
  // A call trapped since it was made or taken back: what it was in the middle of is not finished.
  bool trapped() const { return trapped_; }
  // What is left of the fuel; 0 if it is not counted.
  uint64_t fuel_left() const;
  void* user_data() const { return user_data_; }

  // What the layer above gives to all instances of this store: the state of WASI.  Before the first of them.
  void set_system(std::shared_ptr<void> system) { system_ = std::move(system); }
  void* system() const { return system_.get(); }

  // For pools.  Between take_back() and hand_out() every call is refused: somebody kept a function that he
  // had given back.  take_back() makes as new what is neither memory, global nor table: deadline, user data,
  // fuel, what a failure or an exit left, and cancellers, whose holders cannot reach later calls.  No call
  // may be open.
  void hand_out(void* user_data) {
    user_data_ = user_data;
    stack_low_ = thread_stack.low;
    parked_ = false;
    plain_ = !retired_ && !counts_fuel_;
  }
  void take_back(uint64_t fuel);
  // Nothing was ever instantiated here beside the first instance.
  bool alone() const { return attempts_ == 1; }

  // A memory was to grow by more than MemoryPlan::reset allows, since it was made as new.
  bool refused_growth() const;

  // Has a function of the module translated before it is called, in code that translates one by one.
  // kUnavailable: all of it is compiled, or a call is open; kNotFound: the module defines none of that index.
  Status translate(const InstanceHandle& instance, uint32_t function);

  // For the engine's own callbacks: a slot for the memory that comes next.
  Result<memory::Slot*> add_slot(const memory::SlotShape& shape, size_t bytes, const MemoryPlan& plan,
                                 size_t index);
  // One that is not opened yet.
  Result<memory::Slot*> take_slot(const memory::SlotShape& shape);
  // Likewise: the one that the same memory has had.
  Result<memory::Slot*> slot_again(const memory::SlotShape& shape, size_t index) const;
  memory::Slot* slot_at(const std::byte* base) const;
  const Engine& engine() const { return *engine_; }
  // The guest calls a function of the host.  False: the call is to end, and was_stopped().
  bool host_call(const HostFunction& function, void* caller, RawValue* values) noexcept;
  // At the first check of a call and at each tick while it runs.  Likewise.
  bool may_go_on() noexcept;
  bool was_stopped() const { return !pending_.ok(); }
  // What a call gives that a callback stopped, trapped, or ended in a way that the engine cannot account for.
  Status stopped(std::vector<Frame> frames);
  Status trapped(TrapKind kind, std::vector<Frame> frames);
  Status broken(Status status);

 private:
  friend class Caller;
  friend class InstanceState;
  struct Member {
    std::array<uint64_t, 2> instance;  // as the realm calls it
    std::shared_ptr<const CompiledCode> code;
    bool has_memory;
    std::array<uint64_t, 3> memory;  // likewise
    size_t slots_begin;              // of its own memories, in slots_
    size_t slots_end;
    // Functions that were looked up.
    std::map<std::string, std::unique_ptr<RawFunction::Place>, std::less<>> places;
  };

  Store(std::shared_ptr<const Engine> engine, const Limits& limits, void* user_data);

  static constinit const std::atomic<uint32_t> kNoSteps;  // of a store that does not go along
  // open_ counts guest calls in its low half and groups in its high half.
  static constexpr uint32_t kCall = 1;
  static constexpr uint32_t kGroup = 1 << 16;
  void open(uint32_t what);
  void close(uint32_t what);
  uint32_t depth() const { return open_ % kGroup; }
  uint64_t call_number() const { return cancel_->call.load(std::memory_order_relaxed); }
  bool may_enter() const;
  Status enter();
  bool enter_or_fail();
  void refuel();
  void begin_quota();
  bool charge_host_call();
  void stop(const HostFunction& function, Status status);
  bool fail(void* error, void* trap);
  bool check_files(bool returned);
  Status broken_file();
  bool interpret(RawFunction::Place& function, RawValue* values, size_t count);
  bool call_realm(RawFunction::Place& function, RawValue* values, size_t count);
  void set_realm(std::unique_ptr<Realm> realm);
  InstanceHandle add_member(const std::array<uint64_t, 2>& instance, std::shared_ptr<const CompiledCode> code,
                            size_t slots_begin);
  Member make_member(const std::array<uint64_t, 2>& instance, std::shared_ptr<const CompiledCode> code,
                     size_t slots_begin);
  void find(const Member& member, std::string_view name, RawFunction::Place& place);
  Status may_hand_over(const wasm::PreparedModule& prepared) const;
  Status take_over(const InstanceHandle& instance, const wasm::PreparedModule& prepared,
                   const StateValues& values);
  bool stale() const { return step_ != steps_->load(std::memory_order_relaxed); }
  const Member& member(const InstanceHandle& instance) const {
    SPORE_ASSERT(instance.number < members_.size(), "an instance of another store");
    return members_[instance.number];
  }
  void follow();
  GuestMemory member_memory(const Member& member);
  void touch_memories();
  void note_thread();
  // Ok while the running call may go on.
  Status check_running() const;
  Status check_watch() noexcept;

  // The innermost call, and from when on its time is not counted yet.
  struct Running {
    FunctionUse* use = nullptr;
    uint64_t since = 0;
  };

  // Read by each call.
  wasmtime_context* context_ = nullptr;  // of compiled code: not worth a virtual call; null: interpreted
  uint64_t deadline_tick_ = 0;
  uint64_t returning_call_ = 0;  // that let_return() was said of
  uint32_t open_ = 0;
  bool of_file_ = false;  // a memory's image is of a file on disk
  bool plain_ = true;     // neither retired, parked nor counting fuel: nothing but the usual checks
  uint32_t step_ = 0;     // of the code that it goes along with, when that was last looked at
  const std::atomic<uint32_t>* steps_ = &kNoSteps;
  size_t wasm_stack_bytes_ = 0;
  Running running_;
  // Of the thread that used it last: its memories' fault counters are of one thread.
  uintptr_t stack_low_ = 0;
  Limits limits_;
  std::shared_ptr<Canceller::State> cancel_;
  Ticker& ticker_;

  void* user_data_;
  Watch watch_;
  uint64_t watch_asked_ = 0;  // at which tick
  std::shared_ptr<void> system_;
  uint64_t fuel_call_ = 0;   // the call that was given its fuel
  uint64_t attempts_ = 0;    // to instantiate
  uint64_t quota_call_ = 0;  // the call that those below count for
  uint64_t copied_bytes_ = 0;
  uint64_t logged_bytes_ = 0;
  uint64_t io_bytes_ = 0;
  uint64_t host_calls_ = 0;
  bool retired_ = false;
  bool trapped_ = false;
  bool parked_ = false;
  bool going_over_ = false;
  uint64_t first_deadline_ms_;
  bool exited_ = false;  // retired by its own wish
  bool counts_fuel_ = false;
  Status failure_;
  Status pending_;  // why a callback of ours stopped the guest
  std::vector<Member> members_;
  std::vector<std::shared_ptr<const void>> kept_;  // all that code of this store may call into
  std::unique_ptr<LiveBinding::Uses> uses_;        // null: nobody counts
  FunctionUse not_counted_;
  std::shared_ptr<const wasm::PreparedModule> prepared_;  // null: it does not go along
  std::shared_ptr<const Engine> engine_;
  std::vector<memory::SlotPool::Handle> slots_;  // of all memories made here; outlive them
  std::unique_ptr<Realm> realm_;                 // goes first: what it frees uses the rest
};

inline Status Caller::charge_copy(uint64_t bytes) { return store_.charge_copy(bytes); }
inline Status Caller::charge_log(uint64_t bytes) { return store_.charge_log(bytes); }
inline Status Caller::charge_io(uint64_t bytes) { return store_.charge_io(bytes); }
inline void* Caller::system() const { return store_.system_.get(); }

inline bool RawFunction::try_call_unchecked(RawValue* values, size_t count) const {
  return store_->try_call(*place_, values, count);
}

inline Status RawFunction::call_unchecked(RawValue* values, size_t count) const {
  if (store_->try_call(*place_, values, count)) [[likely]]
    return {};
  return store_->take_failure();
}

}  // namespace spore::engine
