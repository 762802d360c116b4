#include "spore/cell/pool.h"

#include <algorithm>
#include <csignal>
#include <system_error>

#include "spore/base/elapsed.h"
#include "spore/base/signal_block.h"
#include "spore/base/utf8.h"

namespace spore::cell {
namespace {

constexpr uint64_t kTimeEvery = 64;  // resets; a look at the clock costs as much as a reset does

uint64_t precise_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

std::string pool_name(const PoolEntry& entry) {
  const std::string module = printable(entry.module());
  return entry.domain().empty() ? fmt::format("pool '{}'", module)
                                : fmt::format("pool '{}' of '{}'", module, printable(entry.domain()));
}

bool start(std::jthread& thread, std::function<void()> body) {
  try {
    thread = std::jthread(std::move(body));
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

void add_counts(const PooledInstance& pooled, PoolCounts& counts) {
  const CleanInstance::Counters& clean = pooled.clean->counters();
  counts.acquired += pooled.uses.value();
  counts.resets_in_place += clean.resets_in_place.value();
  counts.resets_anew += clean.resets_anew.value();
  counts.scans += clean.scans.value();
  counts.pages_refilled += clean.pages_refilled.value();
  counts.resets_timed += pooled.resets_timed.value();
  counts.reset_ns += pooled.reset_ns.value();
}

// A program's image stands in the middle of a call: nothing else of it may be called there.
bool resumes(const Blueprint& blueprint) {
  const wasm::ModuleFacts& facts = blueprint.prepared->facts;
  return wasm::exports_function(facts, kResumedExport) && !wasm::exports_function(facts, "_start");
}

}  // namespace

// --- an entry ------------------------------------------------------------------------------------------

PoolEntry::PoolEntry(std::shared_ptr<Pool> pool, std::shared_ptr<const Blueprint> blueprint,
                     std::string domain, std::shared_ptr<const Image> image)
    : pool_(std::move(pool)),
      blueprint_(std::move(blueprint)),
      domain_(std::move(domain)),
      exits_are_ends_(image != nullptr),
      resumes_(image != nullptr && resumes(*blueprint_)) {
  if (image == nullptr) return;
  if (resumes_) state_.functions.emplace_back(kResumedExport, typeid(host::Function<void()>));
  state_.image_state = ImageState::kReady;
  state_.image = std::move(image);
}

Result<Lease> PoolEntry::acquire_slowly(void* user_data) {
  PooledInstance* pooled = SPORE_TRY(pool_->take(*this));
  return hand_out(pooled, memory::ThreadFaults::here().thread(), user_data);
}

Result<std::shared_ptr<const Image>> PoolEntry::image() { return pool_->image_of(*this); }

uint32_t PoolEntry::instances_max() const {
  const PoolOptions& options = pool_->options_;
  return std::min(options.instances_per_module_max, options.instances_max);
}

Result<Lease> PoolEntry::resumed(Lease lease) {
  SPORE_TRY(hear_resumed(lease, 0));
  return lease;
}

Status PoolEntry::hear_resumed(const Lease& lease, size_t number) {
  Status why;
  const auto* hear = function<host::Function<void()>>(
      *lease.pooled_, number,
      [](host::Instance& instance) { return instance.function<void()>(kResumedExport); }, why);
  if (hear != nullptr) why = (*hear)();
  if (host::Wasi* const wasi = lease->wasi(); wasi != nullptr) {
    // What it says is no part of an answer.
    static_cast<void>(wasi->take_output());
    static_cast<void>(wasi->take_error());
  }
  return std::move(why).with_context(kResumedExport);
}

Result<std::vector<host::Value>> PoolEntry::call(std::string_view name, std::span<const host::Value> args,
                                                 void* user_data) {
  const Lease lease = SPORE_TRY(acquire(user_data));
  return call_in(lease, name, args);
}

Result<std::vector<host::Value>> PoolEntry::call_in(const Lease& lease, std::string_view name,
                                                    std::span<const host::Value> args) {
  // Names come from outside: one that is not there takes no number.
  if (name.starts_with(wasm::kReservedPrefix) || lease->code().exported_function(name) == nullptr) {
    return lease->dynamic_function(name).status().copy();
  }
  Status why;
  const size_t number = function_number(name, typeid(host::DynamicFunction));
  const auto* found = function<host::DynamicFunction>(
      *lease.pooled_, number, [&](host::Instance& instance) { return instance.dynamic_function(name); }, why);
  if (found == nullptr) return why;
  return (*found)(args);
}

Status PoolEntry::warm_up(uint32_t instances) {
  for (;;) {
    {
      const MutexLock lock(pool_->mutex_);
      if (state_.closed) return Status::unavailable("{} was closed", pool_name(*this));
      if (state_.live() >= instances) return {};
      const Pool::Room room = pool_->find_room(*this);
      if (!room.yes()) {
        return Status::limit_exceeded("{}: no room for {} instances made ahead ({}={})", pool_name(*this),
                                      instances, room.option, room.limit);
      }
      pool_->enter(*this);
    }
    pool_->put_back(SPORE_TRY(pool_->make_entered(*this, true)));
  }
}

size_t PoolEntry::function_number(std::string_view name, std::type_index type) {
  const MutexLock lock(pool_->mutex_);
  auto& functions = state_.functions;
  const auto found = std::ranges::find_if(
      functions, [&](const auto& known) { return known.first == name && known.second == type; });
  if (found != functions.end()) return static_cast<size_t>(found - functions.begin());
  functions.emplace_back(name, type);
  return functions.size() - 1;
}

void PoolEntry::give_back(PooledInstance* pooled, bool discard) {
  const PoolOptions& options = pool_->options_;
  engine::Store& store = pooled->clean->instance().store();
  const bool spent = options.invocations_max != 0 && pooled->uses.value() >= options.invocations_max;
  if (discard || pooled->unwanted.load(std::memory_order_relaxed)) [[unlikely]] {
    return pool_->remove(pooled, &PoolCounts::cleared);
  }
  const bool retired = store.retired() && !(store.exited() && exits_are_ends_);
  if (spent || retired || (store.trapped() && options.retire_on_trap)) [[unlikely]] {
    return pool_->remove(pooled, &PoolCounts::retired);
  }
  if (!make_clean(*pooled)) [[unlikely]]
    return pool_->remove(pooled, &PoolCounts::retired);
  pooled->last_use_ms.store(coarse_ms(), std::memory_order_relaxed);
  pooled->user.store(0, std::memory_order_relaxed);
  PooledInstance* none = nullptr;
  Shard& shard = shards_[memory::ThreadFaults::here().thread() % kShards];
  if (!shard.parked.compare_exchange_strong(none, pooled, std::memory_order_release)) [[unlikely]] {
    pool_->put_back(pooled);
  }
}

bool PoolEntry::make_clean(PooledInstance& pooled) {
  const bool timed = pooled.uses.value() % kTimeEvery == 0;
  const uint64_t begin = timed ? precise_ns() : 0;
  const Result<CleanInstance::Outcome> outcome = pooled.clean->reset();
  if (!outcome.ok()) [[unlikely]]
    return false;
  if (outcome.value() == CleanInstance::Outcome::kReinstantiated) [[unlikely]]
    pooled.functions.clear();
  if (timed) [[unlikely]] {
    pooled.resets_timed.add();
    pooled.reset_ns.add(precise_ns() - begin);
  }
  return true;
}

// --- making and finding --------------------------------------------------------------------------------

Result<std::shared_ptr<Pool>> Pool::create(PoolOptions options) {
  SPORE_TRY(check(options));
  return std::shared_ptr<Pool>(new Pool(std::move(options)));
}

Pool::Pool(PoolOptions options)
    : options_(std::move(options)), waiting_(std::make_unique<Waiting>()), registration_(*this) {}

// There are no entries any more.  It may be the housekeeper that let the last one go.
Pool::~Pool() {
  if (waiting_ == nullptr) return;
  std::jthread& housekeeper = waiting_->housekeeper;
  {
    const std::lock_guard lock(waiting_->mutex);
    waiting_->stop = true;
    waiting_->wake.notify_all();
  }
  if (housekeeper.get_id() == std::this_thread::get_id()) {
    housekeeper.detach();
  } else if (housekeeper.joinable()) {
    housekeeper.join();
  }
}

Result<std::shared_ptr<PoolEntry>> Pool::entry(const std::shared_ptr<const Blueprint>& blueprint,
                                               std::string_view domain) {
  return find_entry(blueprint, nullptr, domain);
}

Result<std::shared_ptr<PoolEntry>> Pool::entry(const std::shared_ptr<const Image>& image,
                                               std::string_view domain) {
  return find_entry(image->shared_blueprint(), image, domain);
}

Result<std::shared_ptr<PoolEntry>> Pool::find_entry(const std::shared_ptr<const Blueprint>& blueprint,
                                                    const std::shared_ptr<const Image>& image,
                                                    std::string_view domain) {
  std::shared_ptr<PoolEntry> made;
  {
    const MutexLock lock(mutex_);
    if (closed_) return Status::unavailable("this pool was closed");
    const auto key = std::pair<const Blueprint*, std::string>(blueprint.get(), domain);
    const auto found = entries_.find(key);
    if (found != entries_.end()) {
      SPORE_ASSERT(image == nullptr || found->second->state_.image == image, "an entry has one image");
      return found->second;
    }
    made.reset(new PoolEntry(shared_from_this(), blueprint, std::string(domain), image));
    entries_.emplace(key, made);
  }
  // What keeps an instance from being made ahead is told to whoever needs one.
  if (options_.warm_up > 0) static_cast<void>(made->warm_up(options_.warm_up).ok());
  return made;
}

Result<Lease> Pool::acquire(const std::shared_ptr<const Blueprint>& blueprint,
                            const AcquireOptions& options) {
  const std::shared_ptr<PoolEntry> found = SPORE_TRY(entry(blueprint, options.domain));
  return found->acquire(options.user_data);
}

Result<PooledInstance*> Pool::take(PoolEntry& entry) {
  Attempt attempt;
  {
    std::vector<Owned> evicted;  // go after the lock
    const MutexLock lock(mutex_);
    attempt = try_take(entry, evicted);
    if (attempt.kind == Attempt::kFull) attempt = wait_for_room(entry, evicted);
    if (attempt.kind == Attempt::kFull) return full(entry, attempt.room);
  }
  if (attempt.kind == Attempt::kIdle) return attempt.idle;
  if (attempt.kind == Attempt::kMake) return make_entered(entry, false);
  return Status::unavailable("{} was closed, or its module unloaded", pool_name(entry));
}

// The condition variable lets the mutex go and takes it again by itself, which the analysis cannot follow.
Pool::Attempt Pool::wait_for_room(PoolEntry& entry,
                                  std::vector<Owned>& evicted) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  const Clock::time_point begin = Clock::now();
  const Clock::time_point end = begin + std::chrono::milliseconds(options_.wait_timeout_ms);
  std::unique_lock<std::mutex> lock(mutex_.native(), std::adopt_lock);
  PoolEntry::State& state = entry.state_;
  state.counts.waits++;
  state.waiting++;
  bar(entry);
  bool for_any = false;
  Attempt attempt;
  for (;;) {
    attempt = try_take(entry, evicted);
    if (attempt.kind != Attempt::kFull) break;
    if (!attempt.room.own && !for_any) {
      // What keeps it out may go by whatever another entry gives back.  Look again when all of them tell.
      for_any = true;
      waiting_for_any_++;
      for (const auto& [key, other] : entries_) bar(*other);
      continue;
    }
    if (Clock::now() >= end) break;
    if (!evicted.empty()) {
      lock.unlock();
      evicted.clear();
      lock.lock();
    } else {
      waiting().changed.wait_until(lock, end);
    }
  }
  state.waiting--;
  if (for_any) waiting_for_any_--;
  state.counts.wait_ns += static_cast<uint64_t>((Clock::now() - begin).count());
  state.counts.timeouts += attempt.kind == Attempt::kFull ? 1 : 0;
  lock.release();
  return attempt;
}

Pool::Attempt Pool::try_take(PoolEntry& entry, std::vector<Owned>& evicted) {
  if (entry.state_.closed) return {.kind = Attempt::kClosed};
  PooledInstance* idle = claim_idle(entry);
  if (idle != nullptr) return {.kind = Attempt::kIdle, .idle = idle};
  for (;;) {
    Room room = find_room(entry);
    if (room.yes()) {
      enter(entry);
      return {.kind = Attempt::kMake};
    }
    PooledInstance* victim = find_victim(room);
    if (victim == nullptr) return {.kind = Attempt::kFull, .room = std::move(room)};
    if (victim->entry.get() == &entry) return {.kind = Attempt::kIdle, .idle = victim};  // back just now
    victim->entry->state_.counts.evicted++;
    evicted.push_back(take_out(victim));
  }
}

void Pool::enter(PoolEntry& entry) {
  entry.state_.being_made++;
  live_++;
}

Result<PooledInstance*> Pool::make_entered(PoolEntry& entry, bool ahead) {
  const uint64_t generation = process_generation();
  Result<Owned> made = make(entry);
  const MutexLock lock(mutex_);
  // A guest's start forked, and this is the child, which took it for another thread's.
  if (generation != process_generation()) enter(entry);
  PoolEntry::State& state = entry.state_;
  state.being_made--;
  waiting().changed.notify_all();
  if (!made.ok()) {
    live_--;
    state.counts.failed++;
    return std::move(made).status();
  }
  state.counts.created++;
  state.counts.misses += ahead ? 0 : 1;
  PooledInstance* pooled = made.value().get();
  pooled->last_use_ms.store(coarse_ms());
  if (state.closed) pooled->unwanted.store(true);  // closed meanwhile: it serves this once
  state.instances.push_back(std::move(made).value());
  state.idle.reserve(state.instances.capacity());  // whatever is put back later finds its place
  // Somebody who waits did not see it.
  if (state.waiting > 0 || waiting_for_any_ > 0) bar(entry);
  return pooled;
}

Result<Pool::Owned> Pool::make(PoolEntry& entry) {
  const std::shared_ptr<const Image> image = SPORE_TRY(image_of(entry));
  std::unique_ptr<CleanInstance> clean = SPORE_TRY(CleanInstance::create(entry.blueprint_, image));
  return std::make_unique<PooledInstance>(entry.shared_from_this(), std::move(clean));
}

// One flight: whoever comes meanwhile waits for it.  If it fails, each finds out by itself.
Result<std::shared_ptr<const Image>> Pool::image_of(PoolEntry& entry) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  if (entry.blueprint_->reset_mode() != wasm::ResetMode::kInPlace) return std::shared_ptr<const Image>();
  PoolEntry::State& state = entry.state_;
  {
    std::unique_lock<std::mutex> lock(mutex_.native());
    waiting().changed.wait(lock, [&] { return state.image_state != PoolEntry::ImageState::kMaking; });
    if (state.image_state == PoolEntry::ImageState::kReady) return state.image;
    state.image_state = PoolEntry::ImageState::kMaking;
  }
  Result<std::shared_ptr<const Image>> image = Image::create(entry.blueprint_, options_.reset);
  const MutexLock lock(mutex_);
  waiting().changed.notify_all();
  // What cannot be held from outside is made anew each time; the statistics say so.
  const bool ready = image.ok() || image.code() == Code::kUnsupported;
  state.image_state = ready ? PoolEntry::ImageState::kReady : PoolEntry::ImageState::kNone;
  if (!ready) return std::move(image).status();
  if (image.ok()) state.image = image.value();
  return state.image;
}

// --- idle instances ------------------------------------------------------------------------------------

// From now on nothing is parked in its shards, nor taken from there: what is idle is in the one list, and
// whoever gives back finds out under the mutex who waits and what is unwanted.  Who waits bars first and
// looks then: so none is parked behind his back.
void Pool::bar(PoolEntry& entry) {
  if (std::exchange(entry.state_.barred, true)) return;
  for (PoolEntry::Shard& shard : entry.shards_) {
    PooledInstance* parked = shard.parked.exchange(PoolEntry::barred(), std::memory_order_acquire);
    if (parked != nullptr) entry.state_.idle.push_back(parked);
  }
}

// If there is no reason for it any more.
void Pool::unbar(PoolEntry& entry) {
  PoolEntry::State& state = entry.state_;
  if (!state.barred || state.closed || state.waiting > 0 || waiting_for_any_ > 0) return;
  // One that is still out may be on its way back, past the question whether it is unwanted.
  const auto unwanted = [](const Owned& pooled) { return pooled->unwanted.load() && !pooled->lost; };
  if (std::ranges::any_of(state.instances, unwanted)) return;
  for (PoolEntry::Shard& shard : entry.shards_) shard.parked.store(nullptr, std::memory_order_release);
  state.barred = false;
}

// All that are idle now.  Between this and claim() one may be taken: then claim() says no.
std::vector<PooledInstance*> Pool::idle_of(PoolEntry& entry) const {
  std::vector<PooledInstance*> idle = entry.state_.idle;
  if (entry.state_.barred) return idle;
  for (const PoolEntry::Shard& shard : entry.shards_) {
    PooledInstance* parked = shard.parked.load(std::memory_order_acquire);
    if (parked != nullptr) idle.push_back(parked);
  }
  return idle;
}

// Takes it out of its place, if it is still there.
bool Pool::claim(PooledInstance* pooled) {
  if (std::erase(pooled->entry->state_.idle, pooled) > 0) return true;
  return std::ranges::any_of(pooled->entry->shards_, [&](PoolEntry::Shard& shard) {
    PooledInstance* expected = pooled;
    return shard.parked.compare_exchange_strong(expected, nullptr, std::memory_order_acquire);
  });
}

PooledInstance* Pool::claim_idle(PoolEntry& entry) {
  if (!entry.state_.idle.empty()) {
    PooledInstance* last = entry.state_.idle.back();
    entry.state_.idle.pop_back();
    return last;
  }
  if (entry.state_.barred) return nullptr;
  for (PoolEntry::Shard& shard : entry.shards_) {
    PooledInstance* parked = shard.parked.exchange(nullptr, std::memory_order_acquire);
    if (parked != nullptr) return parked;
  }
  return nullptr;
}

// It is clean, or new.
void Pool::put_back(PooledInstance* pooled) {
  const std::shared_ptr<PoolEntry> entry = pooled->entry;  // goes after the lock
  std::vector<std::shared_ptr<PoolEntry>> dropped;
  Owned out;
  const MutexLock lock(mutex_);
  if (pooled->unwanted.load()) {
    entry->state_.counts.cleared++;
    out = take_out(pooled);
  } else {
    entry->state_.idle.push_back(pooled);
  }
  waiting().changed.notify_all();
  unbar(*entry);
  if (entry->state_.closed) drop_empty_entries(dropped);
}

// --- room ----------------------------------------------------------------------------------------------

uint64_t Pool::bytes_of(std::string_view domain) const {
  uint64_t bytes = 0;
  for (const auto& [key, entry] : entries_) {
    if (entry->domain_ != domain) continue;
    for (const Owned& pooled : entry->state_.instances) bytes += pooled->clean->counters().bytes.value();
  }
  return bytes;
}

// When the whole pool is full, the room comes from the domain that has the most beyond its share: an equal
// part of instances_max for each domain that has any.  A domain that has its share or more pays with its own:
// so no tenant can drive out others.  If there are more domains than places, each may have one, in turn.
Pool::Room Pool::find_room(const PoolEntry& entry) const {
  const PoolOptions& options = options_;
  // All of its own are in use, or they would have been taken.
  const uint32_t own = entry.state_.live();
  if (own >= options.instances_per_module_max) {
    return {.option = "instances_per_module_max",
            .limit = options.instances_per_module_max,
            .used = own,
            .own = true};
  }
  std::map<std::string_view, uint32_t> domains{{entry.domain_, 0}};
  for (const auto& [key, other] : entries_) {
    if (other->state_.live() > 0) domains[other->domain_] += other->state_.live();
  }
  const uint32_t in_domain = domains[entry.domain_];
  if (options.instances_per_domain_max != 0 && in_domain >= options.instances_per_domain_max) {
    return {.option = "instances_per_domain_max",
            .limit = options.instances_per_domain_max,
            .used = in_domain,
            .of = ", its domain",
            .domains = {entry.domain_}};
  }
  const uint64_t bytes = options.bytes_per_domain_max == 0 ? 0 : bytes_of(entry.domain_);
  if (bytes > options.bytes_per_domain_max) {
    return {.option = "bytes_per_domain_max",
            .limit = options.bytes_per_domain_max,
            .used = bytes,
            .domains = {entry.domain_}};
  }
  if (live_ < options.instances_max) return {};

  Room room{.option = "instances_max", .limit = options.instances_max, .used = live_, .of = ", all modules"};
  const auto share = static_cast<uint32_t>(options.instances_max / domains.size());
  room.any_domain = share == 0 && in_domain == 0;
  std::vector<std::pair<uint32_t, std::string_view>> by_size;
  for (const auto& [domain, live] : domains) {
    if (domain == entry.domain_ || (in_domain < share && live > share)) by_size.emplace_back(live, domain);
  }
  std::ranges::sort(by_size, std::greater<>());
  for (const auto& [live, domain] : by_size) room.domains.push_back(domain);
  return room;
}

Status Pool::full(const PoolEntry& entry, const Room& room) const {
  if (room.option == "bytes_per_domain_max") {
    return Status::limit_exceeded(
        "{}: the instances of its domain hold {} bytes and were busy for {} ms (bytes_per_domain_max={}, "
        "wait_timeout_ms={})",
        pool_name(entry), room.used, options_.wait_timeout_ms, room.limit, options_.wait_timeout_ms);
  }
  return Status::limit_exceeded("{}{}: {} of {} instances busy for {} ms ({}={}, wait_timeout_ms={})",
                                pool_name(entry), room.of, room.used, room.limit, options_.wait_timeout_ms,
                                room.option, room.limit, options_.wait_timeout_ms);
}

// An idle instance that is to go for another, claimed; null if there is none.
PooledInstance* Pool::find_victim(const Room& room) {
  for (const std::string_view domain : room.domains) {
    PooledInstance* victim = claim_oldest(&domain);
    if (victim != nullptr) return victim;
  }
  return room.any_domain ? claim_oldest(nullptr) : nullptr;
}

// The idle instance of a domain, or of all, that was not used for the longest time.
PooledInstance* Pool::claim_oldest(const std::string_view* domain) {
  for (;;) {
    PooledInstance* oldest = nullptr;
    for (const auto& [key, entry] : entries_) {
      if (domain != nullptr && entry->domain_ != *domain) continue;
      for (PooledInstance* idle : idle_of(*entry)) {
        if (oldest == nullptr || idle->last_use_ms.load() < oldest->last_use_ms.load()) oldest = idle;
      }
    }
    if (oldest == nullptr || claim(oldest)) return oldest;
  }
}

// --- removing ------------------------------------------------------------------------------------------

// From the books; it is claimed, or was in use.  The caller lets it go without the lock.
Pool::Owned Pool::take_out(PooledInstance* pooled) {
  PoolEntry& entry = *pooled->entry;
  auto& instances = entry.state_.instances;
  const auto found = std::ranges::find(instances, pooled, &Owned::get);
  SPORE_ASSERT(found != instances.end(), "an instance of another pool");
  Owned out = std::move(*found);
  instances.erase(found);
  add_counts(*out, entry.state_.counts);
  (out->lost ? entry.state_.lost : live_)--;
  return out;
}

void Pool::remove(PooledInstance* pooled, uint64_t PoolCounts::* reason) {
  const std::shared_ptr<PoolEntry> entry = pooled->entry;  // goes after the lock
  std::vector<std::shared_ptr<PoolEntry>> dropped;
  Owned out;
  const MutexLock lock(mutex_);
  entry->state_.counts.*reason += 1;
  out = take_out(pooled);
  waiting().changed.notify_all();
  unbar(*entry);
  if (entry->state_.closed) drop_empty_entries(dropped);
}

void Pool::clear_entry(PoolEntry& entry, std::vector<Owned>& removed) {
  bar(entry);
  for (const Owned& pooled : entry.state_.instances) pooled->unwanted.store(true);
  while (PooledInstance* idle = claim_idle(entry)) {
    entry.state_.counts.cleared++;
    removed.push_back(take_out(idle));
  }
  unbar(entry);
}

// Closed ones without instances, and such as nobody knows but this pool.
void Pool::drop_empty_entries(std::vector<std::shared_ptr<PoolEntry>>& dropped) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    PoolEntry& entry = *at->second;
    const bool unused = at->second.use_count() == 1;
    if (entry.state_.live() > 0 || (!entry.state_.closed && !unused)) {
      ++at;
      continue;
    }
    PoolCounts counts = entry.state_.counts;
    counts -= entry.state_.zero;
    past_ += counts;
    entry.state_.zero = entry.state_.counts;
    dropped.push_back(std::move(at->second));
    at = entries_.erase(at);
  }
}

void Pool::clear() {
  std::vector<Owned> removed;
  const MutexLock lock(mutex_);
  for (const auto& [key, entry] : entries_) clear_entry(*entry, removed);
  waiting().changed.notify_all();
}

void Pool::forget(const Blueprint& blueprint) {
  std::vector<Owned> removed;
  std::vector<std::shared_ptr<PoolEntry>> dropped;
  const MutexLock lock(mutex_);
  for (const auto& [key, entry] : entries_) {
    if (key.first != &blueprint) continue;
    entry->state_.closed = true;
    clear_entry(*entry, removed);
  }
  drop_empty_entries(dropped);
  waiting().changed.notify_all();
}

void Pool::close() {
  std::vector<Owned> removed;
  std::vector<std::shared_ptr<PoolEntry>> dropped;
  const MutexLock lock(mutex_);
  closed_ = true;
  for (const auto& [key, entry] : entries_) {
    entry->state_.closed = true;
    clear_entry(*entry, removed);
  }
  drop_empty_entries(dropped);
  waiting().changed.notify_all();
}

// --- keeping house -------------------------------------------------------------------------------------

void Pool::clean_up() {
  std::vector<Owned> removed;
  std::vector<std::shared_ptr<PoolEntry>> dropped;
  std::vector<PooledInstance*> to_trim;
  {
    const MutexLock lock(mutex_);
    const uint64_t now = coarse_ms();
    const auto expired = [&](const PooledInstance* idle) {
      const uint64_t last = idle->last_use_ms.load();
      return now >= last && now - last >= options_.idle_expiry_ms;
    };
    for (const auto& [key, entry] : entries_) {
      for (PooledInstance* idle : idle_of(*entry)) {
        if ((!expired(idle) && !idle->clean->can_trim()) || !claim(idle)) continue;
        if (expired(idle)) {
          entry->state_.counts.expired++;
          removed.push_back(take_out(idle));
        } else {
          to_trim.push_back(idle);
        }
      }
    }
    if (!removed.empty()) waiting().changed.notify_all();
  }
  removed.clear();  // each holds its entry
  for (PooledInstance* pooled : to_trim) {
    pooled->clean->trim();
    put_back(pooled);
  }
  const MutexLock lock(mutex_);
  drop_empty_entries(dropped);
}

// The thread starts when it is first needed, and again in a forked child.
Pool::Waiting& Pool::waiting() {
  if (waiting_ == nullptr) waiting_ = std::make_unique<Waiting>();
  if (!options_.housekeeping || live_ == 0) return *waiting_;
  {
    const std::lock_guard lock(waiting_->mutex);
    if (!waiting_->needed) waiting_->wake.notify_all();
    waiting_->needed = true;
  }
  if (waiting_->housekeeper.joinable()) return *waiting_;
  const std::chrono::milliseconds interval(std::clamp<uint64_t>(options_.idle_expiry_ms / 4, 10, 1000));
  const SignalBlock block;
  // If no thread is to be had now, the next one who comes by tries again.
  static_cast<void>(start(waiting_->housekeeper, [pool = weak_from_this(), &waiting = *waiting_, interval] {
    keep_house(pool, waiting, interval);
  }));
  return *waiting_;
}

// Holds the pool only while it works: it must not keep it from going.  If the pool goes on another thread,
// that one waits for the end of this; if it goes here, `waiting` is gone with it.
void Pool::keep_house(const std::weak_ptr<Pool>& pool, Waiting& waiting, std::chrono::milliseconds interval) {
  for (;;) {
    {
      std::unique_lock lock(waiting.mutex);
      waiting.wake.wait(lock, [&] { return waiting.stop || waiting.needed; });
      waiting.wake.wait_for(lock, interval, [&] { return waiting.stop; });
      if (waiting.stop) return;
    }
    {
      const std::shared_ptr<Pool> held = pool.lock();
      if (held == nullptr) return;
      held->clean_up();
      const MutexLock lock(held->mutex_);
      const std::lock_guard own(waiting.mutex);
      waiting.needed = held->live_ > 0;
    }
    if (pool.expired()) return;
  }
}

// What other threads of the parent were doing does not go on here: who waits, who makes an instance, calls
// that were submitted.  Instances that they had are nobody's.  They may be in the middle of a call and are
// not touched any more, but they take no place.  (A lease that another thread took and gave to this one is
// good; its instance just does not come back to the pool.)
//
// lock_for_fork() took the mutex.
void Pool::repair_in_child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  for (const auto& [key, entry] : entries_) {
    PoolEntry::State& state = entry->state_;
    state.waiting = 0;
    live_ -= std::exchange(state.being_made, 0);
    if (state.image_state == PoolEntry::ImageState::kMaking) state.image_state = PoolEntry::ImageState::kNone;
    bar(*entry);  // also so that the next return comes by and starts the housekeeper
    for (const Owned& pooled : state.instances) {
      const bool idle = std::ranges::find(state.idle, pooled.get()) != state.idle.end();
      if (idle || pooled->lost || pooled->user.load() == forker_) continue;
      pooled->lost = true;
      pooled->unwanted.store(true);
      state.lost++;
      live_--;
    }
  }
  waiting_for_any_ = 0;
  queued_.store(0);
  // Its thread is not here, nor are those that wait: nothing of it can be destroyed.
  [[maybe_unused]] const Waiting* abandoned = waiting_.release();
}

// --- statistics ----------------------------------------------------------------------------------------

namespace {

PoolCounts counts_of(const PoolCounts& counts,
                     const std::vector<std::unique_ptr<PooledInstance>>& instances) {
  PoolCounts all = counts;
  for (const auto& pooled : instances) add_counts(*pooled, all);
  return all;
}

}  // namespace

PoolStatistics Pool::statistics() const {
  PoolStatistics statistics;
  const MutexLock lock(mutex_);
  const uint64_t now = coarse_ms();
  statistics.counts = past_;
  statistics.queued = queued_.load();
  for (const auto& [key, entry] : entries_) {
    const PoolEntry::State& state = entry->state_;
    statistics.waiting += state.waiting;
    PoolStatistics::Entry& of = statistics.entries.emplace_back();
    of.module = entry->module();
    of.domain = entry->domain();
    of.in_place = state.image != nullptr;
    of.live = state.live();
    of.image_bytes = state.image == nullptr ? 0 : state.image->bytes();
    of.counts = counts_of(state.counts, state.instances);
    of.counts -= state.zero;
    const std::vector<PooledInstance*> idle = idle_of(*entry);
    of.idle = static_cast<uint32_t>(idle.size());
    for (const Owned& pooled : state.instances) {
      of.private_bytes += pooled->clean->counters().bytes.value();
      const uint64_t last = pooled->last_use_ms.load();
      of.instances.push_back({.uses = pooled->uses.value(),
                              .idle_ms = last == 0 || last > now ? 0 : now - last,
                              .idle = std::ranges::find(idle, pooled.get()) != idle.end()});
    }
    statistics.live += of.live;
    statistics.idle += of.idle;
    statistics.private_bytes += of.private_bytes;
    statistics.image_bytes += of.image_bytes;
    statistics.counts += of.counts;
  }
  return statistics;
}

void Pool::reset_statistics() {
  const MutexLock lock(mutex_);
  past_ = {};
  for (const auto& [key, entry] : entries_) {
    entry->state_.zero = counts_of(entry->state_.counts, entry->state_.instances);
  }
}

}  // namespace spore::cell
