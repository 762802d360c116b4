#pragma once

// Clean instances for calls: made ahead, used, made as new, used again.
//
//   Lease rank = SPORE_TRY(pool.acquire(blueprint));
//   double score = SPORE_TRY(SPORE_TRY(rank->function<double(int32_t)>("score"))(42));
//   // at the end of the scope it is clean again, and the next one's
//
// An instance that was used in one trust domain is never given to another: between domains everything is made
// anew, on slots that were cleared.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <typeindex>
#include <utility>
#include <vector>

#include "spore/base/counter.h"
#include "spore/base/fork.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/cell/clean_instance.h"
#include "spore/cell/pool_options.h"
#include "spore/cell/pool_statistics.h"
#include "spore/cell/pooled_instance.h"
#include "spore/cell/submission.h"
#include "spore/host/function.h"
#include "spore/host/value.h"

namespace spore::cell {

class Pool;
// What a frozen library may export, a function of no parameters and no results: called before each use of a
// clean instance.  What it drew at random before it was frozen is the same in all of them, and here it can
// draw anew.
inline constexpr std::string_view kResumedExport = "spore_resumed";

class PoolEntry;

// A clean instance, for as long as this lives.  Move-only; bound to one thread at a time.  What was got from
// the instance, functions and memory, must not be used after it.
class Lease {
 public:
  Lease(Lease&& other) noexcept : pooled_(std::exchange(other.pooled_, nullptr)) {}
  Lease& operator=(Lease&& other) noexcept {
    std::swap(pooled_, other.pooled_);
    return *this;
  }
  ~Lease() { release(); }

  host::Instance& operator*() const;
  host::Instance* operator->() const { return &**this; }
  // Gives it back now.
  void release();
  // Gives it up: nobody gets it again.
  void discard();

 private:
  friend class PoolEntry;
  friend class Cells;
  friend class CellUse;
  template <typename Signature>
  friend class CellFunction;
  template <typename Signature>
  friend class CleanFunction;
  template <typename F>
  friend class HeldFunction;
  explicit Lease(PooledInstance* pooled) : pooled_(pooled) {}
  // In a forked child: it is another process's.
  void forget() { pooled_ = nullptr; }

  PooledInstance* pooled_;
};

struct AcquireOptions {
  std::string_view domain;    // a trust domain; "" is one, too
  void* user_data = nullptr;  // what host functions get from Caller::user_data()
};

// One module in one trust domain: its image and its instances.  Thread-safe.  Whoever calls often keeps it,
// and saves the search.
class PoolEntry : public std::enable_shared_from_this<PoolEntry> {
 public:
  const std::string& module() const { return blueprint_->name; }
  const std::string& domain() const { return domain_; }
  const Blueprint& blueprint() const { return *blueprint_; }
  // What its instances start from, made now if it is not there yet.  Null: they are instantiated anew.  How
  // making it failed.
  Result<std::shared_ptr<const Image>> image();
  // Of this module in this domain.
  uint32_t instances_max() const;

  // kLimitExceeded: all are in use and none came free in wait_timeout_ms; the message names the option.
  // kUnavailable: the pool was closed, or the module unloaded.  How making an instance failed.
  Result<Lease> acquire(void* user_data = nullptr) {
    Result<Lease> lease = acquire_as_is(user_data);
    if (resumes_ && lease.ok()) [[unlikely]]
      return resumed(std::move(lease).value());
    return lease;
  }

  // One call in a clean instance.  What acquire() says, or DynamicFunction.
  Result<std::vector<host::Value>> call(std::string_view function, std::span<const host::Value> args,
                                        void* user_data = nullptr);

  // The same, soon, by PoolOptions::executor.  `callback` is given what call() says, once: by the executor's
  // thread, or by whoever cancels it; kUnavailable if the executor drops it or throws.  No lock is held then.
  // kInvalidArgument: no executor, no callback; kLimitExceeded: queue_max.  Then there is no callback.
  Result<Submission> submit(std::string function, std::vector<host::Value> args,
                            Submission::Callback callback, void* user_data = nullptr);
  // What the other says is in the future, too.
  std::future<Submission::Answer> submit(std::string function, std::vector<host::Value> args,
                                         void* user_data = nullptr);

  // Makes instances until there are so many.  kLimitExceeded: there is no room for more; kUnavailable:
  // closed; how making one failed.
  Status warm_up(uint32_t instances);

 private:
  friend class Pool;
  friend class Lease;
  friend class Submission;
  friend class Cells;
  template <typename Signature>
  friend class CleanFunction;
  template <typename Signature>
  friend class CellFunction;
  template <typename F>
  friend class HeldFunction;

  // Where a thread leaves its instance for its own next call: it shares neither a lock nor a line with other
  // threads.  Whoever exchanges the pointer for null owns the instance; who exchanges null for it gave it up,
  // and with it all that kept this entry and the pool alive: nothing of them may be looked at after that.
  struct alignas(64) Shard {
    std::atomic<PooledInstance*> parked{nullptr};  // or barred()
  };
  static constexpr size_t kShards = 32;
  // Stands in the shards of an entry while returns and requests must pass by the mutex, as somebody waits
  // for an instance, or some are not to be had any more: see Pool::bar().
  static PooledInstance* barred() {
    static char place;
    return reinterpret_cast<PooledInstance*>(&place);
  }

  // `image` null: it is made when it is needed.
  PoolEntry(std::shared_ptr<Pool> pool, std::shared_ptr<const Blueprint> blueprint, std::string domain,
            std::shared_ptr<const Image> image);

  // The number by which its instances hold a function of this name and type.  Only for names that the module
  // exports: there are not more of them than that.
  size_t function_number(std::string_view name, std::type_index type);
  // The function, found in the instance at its first use.  Null, and `why`, if it is not there.
  template <typename F, typename Find>
  static const F* function(PooledInstance& pooled, size_t number, const Find& find, Status& why);

  // The same, of which a frozen library does not hear.
  Result<Lease> acquire_as_is(void* user_data) {
    const uint64_t thread = memory::ThreadFaults::here().thread();
    std::atomic<PooledInstance*>& parked = shards_[thread % kShards].parked;
    PooledInstance* pooled = parked.load(std::memory_order_relaxed);
    if (pooled == nullptr || pooled == barred() ||
        !parked.compare_exchange_strong(pooled, nullptr, std::memory_order_acquire)) [[unlikely]]
      return acquire_slowly(user_data);
    return hand_out(pooled, thread, user_data);
  }
  Result<Lease> acquire_slowly(void* user_data);
  // Has a frozen library hear that it goes on.
  static Result<Lease> resumed(Lease lease);
  // `number`: of kResumedExport, which its module has.
  static Status hear_resumed(const Lease& lease, size_t number);
  static Lease hand_out(PooledInstance* pooled, uint64_t thread, void* user_data) {
    pooled->uses.add();
    pooled->user.store(thread, std::memory_order_relaxed);
    pooled->clean->begin(user_data);
    return Lease(pooled);
  }
  void give_back(PooledInstance* pooled, bool discard);
  static bool make_clean(PooledInstance& pooled);
  Result<std::vector<host::Value>> call_in(const Lease& lease, std::string_view name,
                                           std::span<const host::Value> args);

  std::shared_ptr<Pool> pool_;
  std::shared_ptr<const Blueprint> blueprint_;
  std::string domain_;
  const bool exits_are_ends_;  // an exit is how a use may end, and no reason to retire an instance
  const bool resumes_;         // each use begins with a call of kResumedExport, function 0
  std::array<Shard, kShards> shards_;

  // Under the pool's mutex.
  enum class ImageState : uint8_t { kNone, kMaking, kReady };
  struct State {
    std::vector<std::unique_ptr<PooledInstance>> instances;  // all, in use or not
    std::vector<PooledInstance*> idle;                       // those that are in no shard, last used last
    uint32_t being_made = 0;
    uint32_t lost = 0;     // instances that are PooledInstance::lost
    uint32_t waiting = 0;  // threads
    bool barred = false;   // its shards are
    bool closed = false;
    ImageState image_state = ImageState::kNone;
    std::shared_ptr<const Image> image;  // null: this module is instantiated anew
    std::vector<std::pair<std::string, std::type_index>> functions;
    PoolCounts counts;  // without those of living instances
    PoolCounts zero;    // what they were at the last reset_statistics()

    uint32_t live() const { return static_cast<uint32_t>(instances.size()) + being_made - lost; }
  };
  State state_;
};

// Clean instances of any number of modules and domains, within limits that they share.  Thread-safe.  Entries
// and instances keep it alive: close() it when it is not needed any more.
//
// Lock order: mutex_ is taken alone.  No guest runs and no instance is made or destroyed under it.
class Pool : public std::enable_shared_from_this<Pool>, private ForkAware {
 public:
  // What check() says.
  static Result<std::shared_ptr<Pool>> create(PoolOptions options);
  virtual ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  const PoolOptions& options() const { return options_; }

  // The place of a module in a domain.  kUnavailable: closed.
  Result<std::shared_ptr<PoolEntry>> entry(const std::shared_ptr<const Blueprint>& blueprint,
                                           std::string_view domain = {}) SPORE_EXCLUDES(mutex_);
  // A place whose instances start from an image that is there already, that of a program at its read, say.
  // What ends itself there, by proc_exit, is made as new in place like what returned.  kUnavailable: closed.
  Result<std::shared_ptr<PoolEntry>> entry(const std::shared_ptr<const Image>& image,
                                           std::string_view domain = {}) SPORE_EXCLUDES(mutex_);
  // entry() and PoolEntry::acquire().
  Result<Lease> acquire(const std::shared_ptr<const Blueprint>& blueprint,
                        const AcquireOptions& options = {});

  // Removes what has been idle for too long, gives memory back.  The pool's own thread does it, if there is
  // one.
  void clean_up() SPORE_EXCLUDES(mutex_);
  // Removes all instances: idle ones now, others when they come back.
  void clear() SPORE_EXCLUDES(mutex_);
  // The same for one module, which is not to be had any more.
  void forget(const Blueprint& blueprint) SPORE_EXCLUDES(mutex_);
  // The same for all.  Leases that are out stay good.
  void close() SPORE_EXCLUDES(mutex_);

  PoolStatistics statistics() const SPORE_EXCLUDES(mutex_);
  // Counts from now on; what there is now stays.
  void reset_statistics() SPORE_EXCLUDES(mutex_);

 private:
  friend class PoolEntry;
  friend class Submission;

  using Clock = std::chrono::steady_clock;
  using Owned = std::unique_ptr<PooledInstance>;
  // What threads wait by.  A forked child abandons it: it cannot be destroyed while threads that do not exist
  // wait on it.
  struct Waiting {
    std::condition_variable changed;  // an instance came back, an image was made
    std::jthread housekeeper;

    // The housekeeper's.  Lock order: after Pool::mutex_.
    std::mutex mutex;
    std::condition_variable wake;
    bool stop = false;
    bool needed = false;  // there is something to keep
  };
  // Whether another instance may be made, and if not, which option says so and where room can come from.
  struct Room {
    std::string_view option;  // empty: yes
    uint64_t limit = 0;
    uint64_t used = 0;
    std::string_view of;                    // of what: for the message
    bool own = false;                       // only its own instances count
    std::vector<std::string_view> domains;  // whose idle instances may go, the first one's first
    bool any_domain = false;

    bool yes() const { return option.empty(); }
  };

  // What came of looking for an instance: one that is idle, or leave to make one, entered into the books.
  struct Attempt {
    enum Kind : uint8_t { kIdle, kMake, kFull, kClosed };
    Kind kind = kIdle;
    PooledInstance* idle = nullptr;
    Room room;
  };

  explicit Pool(PoolOptions options);

  Result<std::shared_ptr<PoolEntry>> find_entry(const std::shared_ptr<const Blueprint>& blueprint,
                                                const std::shared_ptr<const Image>& image,
                                                std::string_view domain) SPORE_EXCLUDES(mutex_);
  Result<PooledInstance*> take(PoolEntry& entry) SPORE_EXCLUDES(mutex_);
  // What was evicted for it is the caller's to let go, without the lock.
  Attempt try_take(PoolEntry& entry, std::vector<Owned>& evicted) SPORE_REQUIRES(mutex_);
  Attempt wait_for_room(PoolEntry& entry, std::vector<Owned>& evicted) SPORE_REQUIRES(mutex_);
  void enter(PoolEntry& entry) SPORE_REQUIRES(mutex_);
  // What was entered; `ahead`: not for somebody who asked for it.
  Result<PooledInstance*> make_entered(PoolEntry& entry, bool ahead) SPORE_EXCLUDES(mutex_);
  Result<Owned> make(PoolEntry& entry) SPORE_EXCLUDES(mutex_);
  Result<std::shared_ptr<const Image>> image_of(PoolEntry& entry) SPORE_EXCLUDES(mutex_);
  void put_back(PooledInstance* pooled) SPORE_EXCLUDES(mutex_);
  void remove(PooledInstance* pooled, uint64_t PoolCounts::* reason) SPORE_EXCLUDES(mutex_);

  void bar(PoolEntry& entry) SPORE_REQUIRES(mutex_);
  void unbar(PoolEntry& entry) SPORE_REQUIRES(mutex_);
  PooledInstance* claim_idle(PoolEntry& entry) SPORE_REQUIRES(mutex_);
  static bool claim(PooledInstance* pooled);
  std::vector<PooledInstance*> idle_of(PoolEntry& entry) const SPORE_REQUIRES(mutex_);
  Room find_room(const PoolEntry& entry) const SPORE_REQUIRES(mutex_);
  Status full(const PoolEntry& entry, const Room& room) const;
  PooledInstance* find_victim(const Room& room) SPORE_REQUIRES(mutex_);
  PooledInstance* claim_oldest(const std::string_view* domain) SPORE_REQUIRES(mutex_);
  Owned take_out(PooledInstance* pooled) SPORE_REQUIRES(mutex_);
  uint64_t bytes_of(std::string_view domain) const SPORE_REQUIRES(mutex_);
  void clear_entry(PoolEntry& entry, std::vector<Owned>& removed) SPORE_REQUIRES(mutex_);
  void drop_empty_entries(std::vector<std::shared_ptr<PoolEntry>>& dropped) SPORE_REQUIRES(mutex_);
  Waiting& waiting() SPORE_REQUIRES(mutex_);
  static void keep_house(const std::weak_ptr<Pool>& pool, Waiting& waiting,
                         std::chrono::milliseconds interval);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS {
    const uint64_t thread = memory::ThreadFaults::here().thread();
    mutex_.lock();
    forker_ = thread;
  }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override;

  const PoolOptions options_;
  std::atomic<uint32_t> queued_{0};  // calls that were submitted and did not begin
  mutable Mutex mutex_;
  std::map<std::pair<const Blueprint*, std::string>, std::shared_ptr<PoolEntry>, std::less<>> entries_
      SPORE_GUARDED_BY(mutex_);
  uint32_t live_ SPORE_GUARDED_BY(mutex_) = 0;             // instances of all entries
  uint32_t waiting_for_any_ SPORE_GUARDED_BY(mutex_) = 0;  // threads, for an instance of any entry to go
  uint64_t forker_ SPORE_GUARDED_BY(mutex_) = 0;           // the thread that forks
  bool closed_ SPORE_GUARDED_BY(mutex_) = false;
  PoolCounts past_ SPORE_GUARDED_BY(mutex_);  // of entries that are gone
  std::unique_ptr<Waiting> waiting_ SPORE_GUARDED_BY(mutex_);
  ForkRegistration registration_;
};

inline host::Instance& Lease::operator*() const { return pooled_->clean->instance(); }

inline void Lease::release() {
  if (pooled_ != nullptr) pooled_->entry->give_back(std::exchange(pooled_, nullptr), false);
}

inline void Lease::discard() {
  if (pooled_ != nullptr) pooled_->entry->give_back(std::exchange(pooled_, nullptr), true);
}

template <typename F, typename Find>
const F* PoolEntry::function(PooledInstance& pooled, size_t number, const Find& find, Status& why) {
  if (number >= pooled.functions.size()) [[unlikely]]
    pooled.functions.resize(number + 1);
  std::unique_ptr<PooledInstance::Held>& held = pooled.functions[number];
  if (held == nullptr) [[unlikely]] {
    Result<F> found = find(pooled.clean->instance());
    if (!found.ok()) {
      why = std::move(found).status();
      return nullptr;
    }
    held = std::make_unique<PooledInstance::HeldFunction<F>>(std::move(found).value());
  }
  return &static_cast<PooledInstance::HeldFunction<F>&>(*held).function;
}

}  // namespace spore::cell
