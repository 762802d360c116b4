#pragma once

// Cells: named instances, each with state of its own.  Asleep a cell is its name and the bytes by which it
// differs from its image; it wakes for a call.
//
//   auto kind = SPORE_TRY(cells.kind(entry));              // of a module in a trust domain
//   SPORE_TRY(cells.create(*kind, "counter-1"));
//   auto add = SPORE_TRY(CellFunction<int64_t(int64_t)>::create(cells, kind, "add"));
//   int64_t now = SPORE_TRY(add("counter-1", 5));
//
// Calls to one cell are made one after the other, in the order in which they came.  A call either happened,
// all of it, or it did not: see Commit.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/keyed_hash.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/cell/cells_options.h"
#include "spore/cell/cells_statistics.h"
#include "spore/cell/delta.h"
#include "spore/cell/pool.h"
#include "spore/cell/shelf.h"
#include "spore/host/function.h"
#include "spore/host/value.h"

namespace spore::cell {

class Cells;

// Which cell: names are of a trust domain.
struct CellId {
  CellId(std::string_view of_name, std::string_view of_domain = {})  // NOLINT(google-explicit-constructor)
      : name(of_name), domain(of_domain) {}
  CellId(const char* of_name) : name(of_name) {}         // NOLINT(google-explicit-constructor)
  CellId(const std::string& of_name) : name(of_name) {}  // NOLINT(google-explicit-constructor)

  std::string_view name;
  std::string_view domain;
};

// Cells of one image: of one module in one trust domain.
class CellKind : public std::enable_shared_from_this<CellKind> {
 public:
  const std::string& module() const { return entry_->module(); }
  const std::string& domain() const { return entry_->domain(); }
  const std::shared_ptr<const Image>& image() const { return image_; }
  const std::shared_ptr<PoolEntry>& entry() const { return entry_; }

 private:
  friend class Cells;
  friend class CellUse;
  CellKind(uint32_t number, std::shared_ptr<PoolEntry> entry, std::shared_ptr<const Image> image)
      : number_(number), entry_(std::move(entry)), image_(std::move(image)) {}

  const uint32_t number_;
  const std::shared_ptr<PoolEntry> entry_;
  const std::shared_ptr<const Image> image_;
  std::atomic<uint32_t> awake_{0};  // instances that its cells have
  std::atomic<uint64_t> cells_{0};
};

// What a cell is while it sleeps, or was at its last commit.
struct CellState {
  std::shared_ptr<const CellKind> kind;
  std::vector<uint8_t> delta;  // encoded, on the kind's image
  uint64_t sequence = 0;       // commits until then
};

struct CellDescription {
  std::string name;
  std::string domain;
  std::string module;
  bool awake = false;        // or about to be: somebody has it
  uint32_t waiting = 0;      // calls
  uint64_t sequence = 0;     // commits
  uint64_t delta_bytes = 0;  // at the last commit
  uint64_t idle_ms = 0;      // since it was last called

  // Fields.
  void write_json(JsonWriter& json) const;
};

// One cell, awake, for as long as this lives: nobody else has it.  Move-only; bound to one thread.  Unless
// commit() was called, it is as it was before.
class CellUse {
 public:
  CellUse(CellUse&& other) noexcept;
  CellUse& operator=(CellUse&&) = delete;
  ~CellUse();

  host::Instance& instance() const;
  const CellKind& kind() const;
  // Delta::caller: nothing while it is as in the image.  May be changed.
  std::optional<std::vector<uint8_t>>& caller();
  // Ends it: what was done is the cell's state.  kLimitExceeded: its delta is too long (delta_bytes_max);
  // what encode_state() says.  Then it is as it was before.
  Status commit();

 private:
  friend class Cells;
  template <typename Signature>
  friend class CellFunction;
  struct Active;
  CellUse(std::shared_ptr<Cells> cells, Active* active) : cells_(std::move(cells)), active_(active) {}

  std::shared_ptr<Cells> cells_;
  Active* active_;  // null: it ended
};

// Thread-safe.  Leases of awake cells keep their pools alive; close() it when it is not needed any more.
//
// Lock order: a shard's mutex, or two, the lower first, then awake_mutex_.  No guest runs, and no instance is
// made, reset or destroyed under any of them.
class Cells : public std::enable_shared_from_this<Cells>, private ForkAware {
 public:
  static constexpr size_t kNameBytesMax = 512;
  static constexpr size_t kKindsMax = 10'000;  // that have cells, or are in somebody's hands

  // What check() says.
  static Result<std::shared_ptr<Cells>> create(const CellsOptions& options);
  virtual ~Cells();
  Cells(const Cells&) = delete;
  Cells& operator=(const Cells&) = delete;

  const CellsOptions& options() const { return options_; }

  // The kind of cells that start from the image of a pool's entry, which is made now if it is not there yet.
  // kUnsupported: not all of its state can be held, and why; kLimitExceeded: kKindsMax; how making the image
  // failed.
  Result<std::shared_ptr<CellKind>> kind(const std::shared_ptr<PoolEntry>& entry);

  // Asleep, as the image is, or with a delta on it, which is checked.  kAlreadyExists; kInvalidArgument: a
  // name that is empty, too long or no text, or a delta that does not fit; kLimitExceeded: cells_max,
  // delta_bytes_max, or no memory is left.
  struct CreateOptions {
    std::span<const uint8_t> delta{};
    uint64_t sequence = 0;
  };
  Status create(const std::shared_ptr<CellKind>& kind, std::string_view name, const CreateOptions& options);
  Status create(const std::shared_ptr<CellKind>& kind, std::string_view name) {
    return create(kind, name, CreateOptions());
  }

  struct UseOptions {
    void* user_data = nullptr;              // what host functions get from Caller::user_data()
    std::optional<uint64_t> deadline_ms{};  // of each call; nothing: as in the module's limits
  };
  // Waits for its turn, and wakes the cell.  kNotFound; kLimitExceeded: queue_max others wait already;
  // kDeadlineExceeded: queue_timeout_ms; what PoolEntry::acquire() and apply_state() say.
  Result<CellUse> use(const CellId& id, const UseOptions& options);
  Result<CellUse> use(const CellId& id) { return use(id, UseOptions()); }
  // One call of an export.  What use(), DynamicFunction and CellUse::commit() say.
  Result<std::vector<host::Value>> call(const CellId& id, std::string_view function,
                                        std::span<const host::Value> args, const UseOptions& options);
  Result<std::vector<host::Value>> call(const CellId& id, std::string_view function,
                                        std::span<const host::Value> args) {
    return call(id, function, args, UseOptions());
  }

  // Wakes it, and leaves it awake.  What use() says.
  Status wake(const CellId& id);
  // After the calls that wait already.  Nothing to do if it sleeps.  What use() and commit() say.
  Status sleep(const CellId& id);
  // Another cell that begins as this one is.  kNotFound, kAlreadyExists; what create() says.
  Status fork(const CellId& id, std::string_view name);
  // As of the last call that was committed: calls that run are not in it.
  Result<CellState> state(const CellId& id);
  // After the calls that wait already.  kNotFound; what use() says of waiting.
  Status remove(const CellId& id);
  // kNotFound.
  Result<CellDescription> describe(const CellId& id);
  // In order of their names, the first `max` after `after` of a domain.
  std::vector<CellDescription> list(std::string_view domain, std::string_view after, size_t max);

  // Puts to sleep what was idle for too long, and the coldest while there is too little memory.
  void clean_up();
  // From now on nothing is created or called (kUnavailable); idle cells sleep.
  void close();

  CellsStatistics statistics() const;

 private:
  friend class CellUse;
  template <typename Signature>
  friend class CellFunction;
  using Active = CellUse::Active;
  using Clock = std::chrono::steady_clock;

  // What a cell is: this, its name, its delta.  In its shard's shelf.
  struct Record {
    Active* active;     // null: it sleeps, and nobody waits for it
    uint64_t sequence;  // commits
    uint32_t kind;
    uint32_t delta_bytes;
    uint32_t used_s;  // when it was last called, since the Cells were made
    uint16_t name_bytes;
    uint16_t fresh;  // it is to hear that it goes on from where others may have been, too

    size_t bytes() const { return sizeof(Record) + name_bytes + delta_bytes; }
    std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), name_bytes}; }
    std::span<const uint8_t> delta() const {
      return {reinterpret_cast<const uint8_t*>(this + 1) + name_bytes, delta_bytes};
    }
  };
  // Open addressing, by name.
  struct Shard {
    Mutex mutex;
    std::vector<Record*> places SPORE_GUARDED_BY(mutex);  // a power of two of them, or none
    size_t used SPORE_GUARDED_BY(mutex) = 0;
    Shelf shelf SPORE_GUARDED_BY(mutex);
    std::vector<std::unique_ptr<Active>> actives SPORE_GUARDED_BY(mutex);  // all that there ever were
    std::vector<Active*> spare SPORE_GUARDED_BY(mutex);
    CellCounts counts SPORE_GUARDED_BY(mutex);
  };
  static constexpr size_t kShards = 16;
  // What the thread waits by.  A forked child abandons it.
  struct Waiting {
    std::mutex mutex;
    std::condition_variable wake;
    bool stop = false;
    std::jthread thread;
  };
  enum class Wake : uint8_t { kYes, kNo };

  explicit Cells(const CellsOptions& options);

  uint64_t hash_of(const CellId& id) const;
  Shard& shard_of(uint64_t hash) { return shards_[hash >> 60]; }
  // Of a record that is there: so it is, too.
  CellKind& kind_at(uint32_t number) const {
    return *kinds_by_number_[number].load(std::memory_order_acquire);
  }
  Record** find(Shard& shard, uint64_t hash, const CellId& id) SPORE_REQUIRES(shard.mutex);
  bool is(const Record& record, const CellId& id) const;
  bool make_place(Shard& shard) SPORE_REQUIRES(shard.mutex);
  void insert(Shard& shard, uint64_t hash, Record* record) SPORE_REQUIRES(shard.mutex);
  void erase(Shard& shard, Record** place) SPORE_REQUIRES(shard.mutex);
  Status add(const std::shared_ptr<CellKind>& kind, std::string_view name, const CreateOptions& options,
             bool fresh);
  static Record* make_record(Shard& shard, std::string_view name, std::span<const uint8_t> delta)
      SPORE_REQUIRES(shard.mutex);

  Result<Active*> claim(const CellId& id);
  Active* activate(Shard& shard, Record* record, uint64_t hash) SPORE_REQUIRES(shard.mutex);
  Status wake(Active& active, const UseOptions& options);
  Result<Lease> acquire(CellKind& kind, void* user_data);
  Status hear(Active& active);
  Status commit(Active& active);
  void roll_back(Active& active);
  // Ends a claim: the next in line has it, or it stays awake, or it sleeps.
  enum class After : uint8_t { kKeep, kSleep, kRemove };
  void release(Active& active, After after);
  void let_go(Lease lease, CellKind& kind);
  void keep_idle(Active& active) SPORE_REQUIRES(awake_mutex_);
  void take_idle(Active& active) SPORE_REQUIRES(awake_mutex_);
  bool put_coldest_to_sleep(const CellKind* kind);
  bool stays_awake(const CellKind& kind) const;
  void start_thread() SPORE_REQUIRES(awake_mutex_);
  void stop_thread();
  bool short_of_memory() const;
  uint32_t now_s() const;
  static void keep_house(const std::weak_ptr<Cells>& cells, Waiting& waiting,
                         std::chrono::milliseconds interval);

  void lock_for_fork() override;
  void unlock_after_fork() override;
  void repair_in_child() override;

  const CellsOptions options_;
  const KeyedHash hash_;
  const Clock::time_point made_ = Clock::now();
  std::atomic<bool> closed_{false};
  std::atomic<uint64_t> cells_{0};
  std::atomic<uint32_t> awake_{0};  // instances that cells have
  std::array<Shard, kShards> shards_;
  // Read by each call, so without a lock; written under awake_mutex_.
  std::vector<std::atomic<CellKind*>> kinds_by_number_{kKindsMax};

  mutable Mutex awake_mutex_;
  std::vector<std::shared_ptr<CellKind>> kinds_ SPORE_GUARDED_BY(awake_mutex_);
  // Awake and idle ones, the coldest first: a list through Active::next.
  Active* coldest_ SPORE_GUARDED_BY(awake_mutex_) = nullptr;
  Active* warmest_ SPORE_GUARDED_BY(awake_mutex_) = nullptr;
  std::unique_ptr<Waiting> waiting_ SPORE_GUARDED_BY(awake_mutex_);
  uint64_t forker_ SPORE_GUARDED_BY(awake_mutex_) = 0;  // the thread that forks
  ForkRegistration registration_;
};

// An export of a kind's module, each call of it in a cell.
template <typename Signature>
class CellFunction;

// Thread-safe.  A call says what Cells::use(), Function and CellUse::commit() say.
template <typename R, typename... Args>
class CellFunction<R(Args...)> {
 public:
  using Function = host::Function<R(Args...)>;

  // Also looks the function up: what acquire() and Instance::function say.
  static Result<CellFunction> create(std::shared_ptr<Cells> cells, const std::shared_ptr<CellKind>& kind,
                                     std::string_view name) {
    const Lease lease = SPORE_TRY(kind->entry()->acquire());
    SPORE_TRY(lease->function<R(Args...)>(name));
    return CellFunction(std::move(cells), kind, std::string(name));
  }

  std::conditional_t<std::is_void_v<R>, Status, Result<R>> operator()(std::string_view cell,
                                                                      Args... args) const {
    Result<CellUse> use = cells_->use({cell, kind_->domain()});
    if (!use.ok()) [[unlikely]]
      return std::move(use).status();
    if (&use->kind() != kind_.get()) [[unlikely]]
      return Status::invalid_argument("the cell '{}' is of another kind", cell);
    Status why;
    const Function* function = find(use.value(), why);
    if (function == nullptr) [[unlikely]]
      return why;
    auto result = (*function)(args...);
    if (!result.ok()) [[unlikely]]
      return result;
    Status kept = use->commit();
    if (!kept.ok()) [[unlikely]]
      return kept;
    return result;
  }

 private:
  CellFunction(std::shared_ptr<Cells> cells, std::shared_ptr<CellKind> kind, std::string name)
      : cells_(std::move(cells)),
        kind_(std::move(kind)),
        name_(std::move(name)),
        number_(kind_->entry()->function_number(name_, typeid(Function))) {}

  const Function* find(CellUse& use, Status& why) const;

  std::shared_ptr<Cells> cells_;
  std::shared_ptr<CellKind> kind_;
  std::string name_;
  size_t number_;
};

// A cell that somebody has, or that is awake.
struct CellUse::Active {
  struct Waiter {
    uint64_t thread;
    std::condition_variable changed{};
    bool turn = false;
    bool gone = false;  // there is no such cell any more
  };

  // Of the one who has it.
  std::optional<Lease> lease;
  std::shared_ptr<CellKind> kind;
  std::optional<std::vector<uint8_t>> caller;
  uint64_t uncommitted = 0;  // calls since the last commit
  bool other_deadline = false;

  // Under the shard's mutex.
  Cells::Record* record = nullptr;
  uint64_t hash = 0;
  bool busy = false;
  std::deque<Waiter*> line;
  uint64_t thread = 0;  // that has it

  // Under awake_mutex_.
  bool idle = false;  // it is in the list
  Active* previous = nullptr;
  Active* next = nullptr;
  std::atomic<uint64_t> used_ms{0};
};

template <typename R, typename... Args>
const typename CellFunction<R(Args...)>::Function* CellFunction<R(Args...)>::find(CellUse& use,
                                                                                  Status& why) const {
  return PoolEntry::function<Function>(
      *use.active_->lease->pooled_, number_,
      [&](host::Instance& instance) { return instance.function<R(Args...)>(name_); }, why);
}

}  // namespace spore::cell
