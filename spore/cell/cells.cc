#include "spore/cell/cells.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include "spore/base/break_cell.h"
#include "spore/base/elapsed.h"
#include "spore/base/signal_block.h"
#include "spore/base/utf8.h"

namespace spore::cell {
namespace {

constexpr size_t kPlacesMin = 16;
// Of a shard's index, when it is made larger: four fifths.
constexpr size_t kLoadNumerator = 4;
constexpr size_t kLoadDenominator = 5;
constexpr uint64_t kHousekeepingMsMin = 10;
constexpr uint64_t kHousekeepingMsMax = 1'000;

Status check_name(std::string_view name) {
  constexpr size_t kPrintableMax = 4 * Cells::kNameBytesMax + 1;  // nothing is cut
  if (name.empty() || name.size() > Cells::kNameBytesMax) {
    return Status::invalid_argument("the name of a cell has 1 to {} bytes, not {}", Cells::kNameBytesMax,
                                    name.size());
  }
  if (printable(name, kPrintableMax) != name)
    return Status::invalid_argument("the name of a cell is text: '{}'", printable(name));
  return {};
}

Status no_cell(const CellId& id) {
  if (id.domain.empty()) return Status::not_found("no cell '{}'", printable(id.name));
  return Status::not_found("no cell '{}' of '{}'", printable(id.name), printable(id.domain));
}

// What encode_state() makes of an instance that is as its image.
bool says_nothing(std::span<const uint8_t> delta, size_t memories) {
  return delta.size() == 3 + memories &&
         std::ranges::all_of(delta.subspan(3), [](uint8_t byte) { return byte == 0; }) && delta[1] == 0;
}

}  // namespace

std::string_view commit_name(Commit commit) {
  return commit == Commit::kEveryCall ? "every_call" : "on_sleep";
}

Status check(const CellsOptions& options) {
  if (options.cells_max == 0) return Status::invalid_argument("cells_max is 0");
  if (options.delta_bytes_max == 0 || options.delta_bytes_max > (uint64_t{1} << 31)) {
    return Status::invalid_argument("cell_delta_bytes_max is {}, possible are 1 to 2 GiB",
                                    options.delta_bytes_max);
  }
  return {};
}

// --- making --------------------------------------------------------------------------------------------

Result<std::shared_ptr<Cells>> Cells::create(const CellsOptions& options) {
  SPORE_TRY(check(options));
  return std::shared_ptr<Cells>(new Cells(options));
}

Cells::Cells(const CellsOptions& options) : options_(options), registration_(*this) {}

// Whoever has a cell has this, too: so none is in use.
Cells::~Cells() {
  stop_thread();
  for (Shard& shard : shards_) {
    std::vector<std::unique_ptr<Active>> actives;  // leases go after the lock
    const MutexLock lock(shard.mutex);
    actives = std::move(shard.actives);
    for (Record* record : shard.places) {
      if (record != nullptr) shard.shelf.give_back(record, record->bytes());
    }
  }
}

uint32_t Cells::now_s() const {
  return static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - made_).count());
}

Result<std::shared_ptr<CellKind>> Cells::kind(const std::shared_ptr<PoolEntry>& entry) {
  std::shared_ptr<const Image> image = SPORE_TRY(entry->image());
  if (image == nullptr) {
    const auto& prepared = entry->blueprint().prepared;
    return Status::unsupported("'{}' cannot be a cell: not all of its state can be held{}",
                               printable(entry->module()),
                               prepared == nullptr || prepared->reset_reasons.empty()
                                   ? std::string()
                                   : fmt::format(" ({})", prepared->reset_reasons.front()));
  }
  std::shared_ptr<CellKind> forgotten;  // goes after the lock
  const MutexLock lock(awake_mutex_);
  size_t free = kinds_.size();
  for (size_t i = 0; i < kinds_.size(); i++) {
    if (kinds_[i]->entry_ == entry) return kinds_[i];
    // Nobody can make a cell of it any more.
    if (kinds_[i].use_count() == 1 && kinds_[i]->cells_.load() == 0) free = i;
  }
  if (free == kKindsMax) return Status::limit_exceeded("there are cells of {} modules", kKindsMax);
  std::shared_ptr<CellKind> made(new CellKind(static_cast<uint32_t>(free), entry, std::move(image)));
  if (free == kinds_.size()) kinds_.emplace_back();
  forgotten = std::exchange(kinds_[free], made);
  kinds_by_number_[free].store(made.get(), std::memory_order_release);
  return made;
}

// --- the index -----------------------------------------------------------------------------------------

uint64_t Cells::hash_of(const CellId& id) const {
  const uint64_t hash = hash_(id.name);
  return id.domain.empty() ? hash : hash ^ std::rotl(hash_(id.domain), 17);
}

bool Cells::is(const Record& record, const CellId& id) const {
  return record.name() == id.name && kind_at(record.kind).domain() == id.domain;
}

Cells::Record** Cells::find(Shard& shard, uint64_t hash, const CellId& id) {
  if (shard.places.empty()) return nullptr;
  const size_t mask = shard.places.size() - 1;
  for (size_t at = hash & mask; shard.places[at] != nullptr; at = (at + 1) & mask) {
    if (is(*shard.places[at], id)) return &shard.places[at];
  }
  return nullptr;
}

void Cells::insert(Shard& shard, uint64_t hash, Record* record) {
  const size_t mask = shard.places.size() - 1;
  size_t at = hash & mask;
  while (shard.places[at] != nullptr) at = (at + 1) & mask;
  shard.places[at] = record;
}

// Room for one more.  False: no memory is left.
bool Cells::make_place(Shard& shard) {
  if (!shard.places.empty() && (shard.used + 1) * kLoadDenominator <= shard.places.size() * kLoadNumerator) {
    return true;
  }
  std::vector<Record*> before = std::move(shard.places);
  shard.places = std::vector<Record*>(std::max(kPlacesMin, before.size() * 2));
  for (Record* record : before) {
    if (record == nullptr) continue;
    insert(shard, hash_of({record->name(), kind_at(record->kind).domain()}), record);
  }
  return true;
}

// Those behind it that would not be found any more come nearer.
void Cells::erase(Shard& shard, Record** place) {
  const size_t mask = shard.places.size() - 1;
  size_t hole = static_cast<size_t>(place - shard.places.data());
  shard.places[hole] = nullptr;
  for (size_t at = (hole + 1) & mask; shard.places[at] != nullptr; at = (at + 1) & mask) {
    Record* record = shard.places[at];
    const size_t home = hash_of({record->name(), kind_at(record->kind).domain()}) & mask;
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    shard.places[hole] = record;
    shard.places[at] = nullptr;
    hole = at;
  }
  shard.used--;
}

Cells::Record* Cells::make_record(Shard& shard, std::string_view name, std::span<const uint8_t> delta) {
  Record head{.active = nullptr,
              .sequence = 0,
              .kind = 0,
              .delta_bytes = static_cast<uint32_t>(delta.size()),
              .used_s = 0,
              .name_bytes = static_cast<uint16_t>(name.size()),
              .fresh = 0};
  void* memory = shard.shelf.take(head.bytes());
  if (memory == nullptr) return nullptr;
  auto* record = new (memory) Record(head);
  auto* bytes = reinterpret_cast<uint8_t*>(record + 1);
  std::memcpy(bytes, name.data(), name.size());
  if (!delta.empty()) std::memcpy(bytes + name.size(), delta.data(), delta.size());
  return record;
}

Status Cells::add(const std::shared_ptr<CellKind>& kind, std::string_view name, const CreateOptions& options,
                  bool fresh) {
  if (closed_.load(std::memory_order_relaxed)) return Status::unavailable("cells were closed");
  const CellId id(name, kind->domain());
  const uint64_t hash = hash_of(id);
  Shard& shard = shard_of(hash);
  const MutexLock lock(shard.mutex);
  if (find(shard, hash, id) != nullptr) {
    return Status::already_exists("there is a cell '{}' already", printable(name));
  }
  if (cells_.fetch_add(1, std::memory_order_relaxed) >= options_.cells_max) {
    cells_.fetch_sub(1, std::memory_order_relaxed);
    return Status::limit_exceeded("there are {} cells (cells_max={})", options_.cells_max,
                                  options_.cells_max);
  }
  Record* record = make_record(shard, name, options.delta);
  if (record == nullptr || !make_place(shard)) {
    cells_.fetch_sub(1, std::memory_order_relaxed);
    return Status::limit_exceeded("no memory is left for another cell");
  }
  record->sequence = options.sequence;
  record->kind = kind->number_;
  record->used_s = now_s();
  record->fresh = fresh ? 1 : 0;
  insert(shard, hash, record);
  shard.used++;
  shard.counts.created++;
  kind->cells_.fetch_add(1);
  return {};
}

Status Cells::create(const std::shared_ptr<CellKind>& kind, std::string_view name,
                     const CreateOptions& options) {
  SPORE_TRY(check_name(name));
  if (options.delta.size() > options_.delta_bytes_max) {
    return Status::limit_exceeded("a delta of {} bytes (cell_delta_bytes_max={})", options.delta.size(),
                                  options_.delta_bytes_max);
  }
  if (!options.delta.empty()) {
    const Delta delta = SPORE_TRY(decode_delta(options.delta));
    SPORE_TRY(check_delta(delta, *kind->image_));
  }
  return add(kind, name, options, true);
}

// --- having a cell -------------------------------------------------------------------------------------

Cells::Active* Cells::activate(Shard& shard, Record* record, uint64_t hash) {
  if (shard.spare.empty()) {
    shard.actives.push_back(std::make_unique<Active>());
    shard.spare.reserve(shard.actives.size());
    shard.spare.push_back(shard.actives.back().get());
  }
  Active* active = shard.spare.back();
  shard.spare.pop_back();
  active->record = record;
  active->hash = hash;
  active->kind = kind_at(record->kind).shared_from_this();
  record->active = active;
  return active;
}

// The condition variable lets the mutex go and takes it again by itself, which the analysis cannot follow.
Result<Cells::Active*> Cells::claim(const CellId& id) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  if (closed_.load(std::memory_order_relaxed)) return Status::unavailable("cells were closed");
  const uint64_t hash = hash_of(id);
  const uint64_t thread = memory::ThreadFaults::here().thread();
  Shard& shard = shard_of(hash);
  std::unique_lock<std::mutex> lock(shard.mutex.native());
  Record** place = find(shard, hash, id);
  if (place == nullptr) return no_cell(id);
  Record* record = *place;
  Active* active = record->active;
  if (active == nullptr) {
    active = activate(shard, record, hash);
    active->busy = true;
    active->thread = thread;
    return active;
  }
  if (!active->busy) {
    active->busy = true;
    active->thread = thread;
    const MutexLock awake(awake_mutex_);
    take_idle(*active);
    return active;
  }
  if (active->thread == thread) {
    return Status::unavailable("the cell '{}' is called from a call of its own, on the same thread",
                               printable(id.name));
  }
  if (active->line.size() >= options_.queue_max) {
    shard.counts.refused++;
    return Status::limit_exceeded("{} calls wait for the cell '{}' already (cell_queue_max={})",
                                  active->line.size(), printable(id.name), options_.queue_max);
  }
  shard.counts.waits++;
  Active::Waiter waiter{.thread = thread};
  active->line.push_back(&waiter);
  const auto end = Clock::now() + std::chrono::milliseconds(options_.queue_timeout_ms);
  while (!waiter.turn && waiter.changed.wait_until(lock, end) != std::cv_status::timeout) {
  }
  if (!waiter.turn) {
    std::erase(active->line, &waiter);
    shard.counts.timeouts++;
    return Status::deadline_exceeded("the cell '{}' was busy for {} ms (cell_queue_timeout_ms={})",
                                     printable(id.name), options_.queue_timeout_ms,
                                     options_.queue_timeout_ms);
  }
  if (waiter.gone) return no_cell(id);
  return active;
}

Result<CellUse> Cells::use(const CellId& id, const UseOptions& options) {
  Active* active = SPORE_TRY(claim(id));
  CellUse use(shared_from_this(), active);
  SPORE_TRY(wake(*active, options));
  return use;
}

Status Cells::wake(Active& active, const UseOptions& options) {
  if (active.lease) {
    PooledInstance& pooled = *active.lease->pooled_;
    pooled.user.store(active.thread, std::memory_order_relaxed);
    pooled.clean->begin(options.user_data);
  } else {
    active.lease.emplace(SPORE_TRY(acquire(*active.kind, options.user_data)));
    active.kind->awake_.fetch_add(1, std::memory_order_relaxed);
    awake_.fetch_add(1, std::memory_order_relaxed);
    // Nobody else writes to it as long as it is claimed.
    const std::span<const uint8_t> delta = active.record->delta();
    uint64_t lost = 0;
    if (!delta.empty()) {
      Applied applied = SPORE_TRY(apply_state(*active.lease->pooled_->clean, delta));
      active.caller = std::move(applied.caller);
      lost = applied.lost.size();
    }
    if (active.record->fresh != 0) SPORE_TRY(hear(active));
    Shard& shard = shard_of(active.hash);
    const MutexLock lock(shard.mutex);
    shard.counts.woken++;
    shard.counts.files_lost += lost;
  }
  if (options.deadline_ms || active.other_deadline) {
    host::Instance& instance = **active.lease;
    SPORE_TRY(instance.set_deadline_ms(
        options.deadline_ms.value_or(active.kind->image_->blueprint().limits.deadline_ms)));
    active.other_deadline = options.deadline_ms.has_value();
  }
  return {};
}

// If all instances are taken, the cells that are idle have some.
Result<Lease> Cells::acquire(CellKind& kind, void* user_data) {
  for (;;) {
    Result<Lease> lease = kind.entry_->acquire_as_is(user_data);
    if (lease.code() != Code::kLimitExceeded) return lease;
    if (!put_coldest_to_sleep(&kind) && !put_coldest_to_sleep(nullptr)) return lease;
  }
}

// A guest that was made, forked or restored learns that others may go on from where it stands.
Status Cells::hear(Active& active) {
  const wasm::ModuleFacts& facts = active.kind->image_->blueprint().prepared->facts;
  if (!wasm::exports_function(facts, kResumedExport) || wasm::exports_function(facts, "_start")) return {};
  PoolEntry& entry = *active.kind->entry_;
  return PoolEntry::hear_resumed(*active.lease,
                                 entry.function_number(kResumedExport, typeid(host::Function<void()>)));
}

// --- the end of a use ----------------------------------------------------------------------------------

Status Cells::commit(Active& active) {
  CleanInstance& clean = *active.lease->pooled_->clean;
  if (clean.instance().retired()) {
    return Status::unavailable("the cell's instance was stopped in the middle of a call");
  }
  thread_local std::vector<uint8_t> buffer;
  buffer.clear();
  SPORE_TRY(encode_state(clean, active.caller ? &*active.caller : nullptr, options_.delta_bytes_max, buffer));
  std::span<const uint8_t> delta = buffer;
  if (says_nothing(delta, clean.state().slots().size())) delta = {};
  {
    Shard& shard = shard_of(active.hash);
    const MutexLock lock(shard.mutex);
    Record* record = active.record;
    if (record->delta_bytes == delta.size()) {
      if (!delta.empty() && kBreakCell != BreakCell::kSameBytes) {
        std::memcpy(reinterpret_cast<uint8_t*>(record + 1) + record->name_bytes, delta.data(), delta.size());
      }
    } else {
      Record* made = make_record(shard, record->name(), delta);
      if (made == nullptr) return Status::limit_exceeded("no memory is left for the state of a cell");
      made->active = record->active;
      made->sequence = record->sequence;
      made->kind = record->kind;
      const size_t mask = shard.places.size() - 1;
      size_t at = active.hash & mask;
      while (shard.places[at] != record) at = (at + 1) & mask;
      shard.places[at] = made;
      active.record = made;
      shard.shelf.give_back(record, record->bytes());
      record = made;
    }
    record->sequence++;
    record->used_s = now_s();
    record->fresh = 0;
    shard.counts.calls += std::max<uint64_t>(1, active.uncommitted);
  }
  active.uncommitted = 0;
  // What is larger is rare, and not to be kept for each thread for ever.
  constexpr size_t kBufferBytesMax = size_t{1} << 20;
  if (buffer.capacity() > kBufferBytesMax) std::vector<uint8_t>().swap(buffer);
  return {};
}

void Cells::roll_back(Active& active) {
  const uint64_t lost = std::exchange(active.uncommitted, 0);
  active.caller.reset();
  if (active.lease) {
    Lease lease = std::move(*active.lease);
    active.lease.reset();
    let_go(std::move(lease), *active.kind);
  }
  Shard& shard = shard_of(active.hash);
  const MutexLock lock(shard.mutex);
  shard.counts.rolled_back++;
  shard.counts.calls_lost += lost;
}

void Cells::let_go(Lease lease, CellKind& kind) {
  kind.awake_.fetch_sub(1, std::memory_order_relaxed);
  awake_.fetch_sub(1, std::memory_order_relaxed);
  lease.release();
}

// Whether one more idle cell of a kind may keep its instance.
bool Cells::stays_awake(const CellKind& kind) const {
  if (options_.idle_sleep_ms == 0 || closed_.load(std::memory_order_relaxed)) return false;
  return awake_.load(std::memory_order_relaxed) <= options_.awake_max &&
         kind.awake_.load(std::memory_order_relaxed) <=
             std::max<uint32_t>(1, kind.entry_->instances_max() / 2);
}

void Cells::release(Active& active, After after) {
  std::optional<Lease> lease;
  const std::shared_ptr<CellKind> kind = active.kind;
  Shard& shard = shard_of(active.hash);
  bool too_many = false;
  {
    const MutexLock lock(shard.mutex);
    if (after == After::kRemove) {
      Record** place = shard.places.data();
      const size_t mask = shard.places.size() - 1;
      size_t at = active.hash & mask;
      while (shard.places[at] != active.record) at = (at + 1) & mask;
      erase(shard, place + at);
      shard.shelf.give_back(active.record, active.record->bytes());
      active.record = nullptr;
      cells_.fetch_sub(1, std::memory_order_relaxed);
      kind->cells_.fetch_sub(1);
      shard.counts.removed++;
      for (Active::Waiter* waiter : active.line) {
        waiter->turn = waiter->gone = true;
        waiter->changed.notify_one();
      }
      active.line.clear();
    } else if (!active.line.empty()) {
      Active::Waiter* next = active.line.front();
      active.line.pop_front();
      next->turn = true;
      active.thread = next->thread;
      next->changed.notify_one();
      return;
    }
    active.busy = false;
    active.thread = 0;
    // Asked once: others change the answer.
    const bool stays = active.lease && after == After::kKeep && stays_awake(*kind);
    too_many = active.lease && after == After::kKeep && !stays && options_.idle_sleep_ms > 0;
    if (stays || too_many) {
      active.used_ms.store(coarse_ms(), std::memory_order_relaxed);
      const MutexLock awake(awake_mutex_);
      keep_idle(active);
      if (options_.housekeeping) start_thread();
    } else {
      if (active.lease) {
        shard.counts.slept++;
        lease = std::move(active.lease);
        active.lease.reset();
      }
      active.caller.reset();
      active.uncommitted = 0;  // of a cell that was removed
      active.other_deadline = false;
      active.kind.reset();
      if (active.record != nullptr) active.record->active = nullptr;
      active.record = nullptr;
      shard.spare.push_back(&active);
    }
  }
  if (lease) let_go(std::move(*lease), *kind);
  if (too_many) put_coldest_to_sleep(awake_.load() > options_.awake_max ? nullptr : kind.get());
}

// As the warmest.
void Cells::keep_idle(Active& active) {
  active.idle = true;
  active.next = nullptr;
  active.previous = warmest_;
  (warmest_ != nullptr ? warmest_->next : coldest_) = &active;
  warmest_ = &active;
}

void Cells::take_idle(Active& active) {
  if (!active.idle) return;
  (active.previous != nullptr ? active.previous->next : coldest_) = active.next;
  (active.next != nullptr ? active.next->previous : warmest_) = active.previous;
  active.idle = false;
}

// Of that kind, or of all.  False: none was idle.
bool Cells::put_coldest_to_sleep(const CellKind* kind) {
  for (;;) {
    Active* found = nullptr;
    uint64_t hash = 0;
    {
      const MutexLock awake(awake_mutex_);
      found = coldest_;
      while (found != nullptr && kind != nullptr && found->kind.get() != kind) found = found->next;
      if (found == nullptr) return false;
      hash = found->hash;
    }
    // Actives live as long as this does; by now it may be somebody else's.
    Shard& shard = shard_of(hash);
    {
      const MutexLock lock(shard.mutex);
      const MutexLock awake(awake_mutex_);
      if (!found->idle || found->hash != hash) continue;
      take_idle(*found);
      found->busy = true;
      found->thread = memory::ThreadFaults::here().thread();
    }
    const bool has_more = found->uncommitted > 0 && kBreakCell != BreakCell::kUncommitted;
    if (has_more && !commit(*found).ok()) roll_back(*found);
    release(*found, After::kSleep);
    return true;
  }
}

// --- uses ----------------------------------------------------------------------------------------------

CellUse::CellUse(CellUse&& other) noexcept
    : cells_(std::move(other.cells_)), active_(std::exchange(other.active_, nullptr)) {}

CellUse::~CellUse() {
  if (active_ == nullptr) return;
  if constexpr (kBreakCell == BreakCell::kRollBack) {
    if (active_->lease) static_cast<void>(cells_->commit(*active_));
  }
  cells_->roll_back(*active_);
  cells_->release(*active_, Cells::After::kSleep);
}

host::Instance& CellUse::instance() const { return **active_->lease; }
const CellKind& CellUse::kind() const { return *active_->kind; }
std::optional<std::vector<uint8_t>>& CellUse::caller() { return active_->caller; }

Status CellUse::commit() {
  SPORE_ASSERT(active_ != nullptr, "a use is committed once");
  const bool lasts = cells_->options_.commit == Commit::kEveryCall || cells_->options_.idle_sleep_ms == 0;
  if (lasts) {
    Status kept = cells_->commit(*active_);
    if (!kept.ok()) return kept;
  } else if (active_->lease->pooled_->clean->instance().retired()) {
    return Status::unavailable("the cell's instance was stopped in the middle of a call");
  } else {
    active_->uncommitted++;
  }
  Active* active = std::exchange(active_, nullptr);
  cells_->release(*active, Cells::After::kKeep);
  return {};
}

Result<std::vector<host::Value>> Cells::call(const CellId& id, std::string_view function,
                                             std::span<const host::Value> args, const UseOptions& options) {
  CellUse use = SPORE_TRY(this->use(id, options));
  const std::shared_ptr<PoolEntry> entry = use.kind().entry();
  std::vector<host::Value> results = SPORE_TRY(entry->call_in(*use.active_->lease, function, args));
  SPORE_TRY(use.commit());
  return results;
}

Status Cells::wake(const CellId& id) {
  CellUse use = SPORE_TRY(this->use(id));
  Active* active = std::exchange(use.active_, nullptr);
  release(*active, After::kKeep);
  return {};
}

Status Cells::sleep(const CellId& id) {
  Active* active = SPORE_TRY(claim(id));
  CellUse use(shared_from_this(), active);  // for the failure
  if (active->uncommitted > 0) SPORE_TRY(commit(*active));
  use.active_ = nullptr;
  release(*active, After::kSleep);
  return {};
}

Result<CellState> Cells::state(const CellId& id) {
  if (options_.commit == Commit::kOnSleep && kBreakCell != BreakCell::kStale) {
    // What was done since it slept last belongs to it, too.
    Active* active = SPORE_TRY(claim(id));
    CellUse use(shared_from_this(), active);
    if (active->uncommitted > 0) SPORE_TRY(commit(*active));
    use.active_ = nullptr;
    release(*active, After::kKeep);
  }
  const uint64_t hash = hash_of(id);
  Shard& shard = shard_of(hash);
  const MutexLock lock(shard.mutex);
  Record** place = find(shard, hash, id);
  if (place == nullptr) return no_cell(id);
  const std::span<const uint8_t> delta = (*place)->delta();
  return CellState{.kind = kind_at((*place)->kind).shared_from_this(),
                   .delta = {delta.begin(), delta.end()},
                   .sequence = (*place)->sequence};
}

Status Cells::fork(const CellId& id, std::string_view name) {
  SPORE_TRY(check_name(name));
  const CellState from = SPORE_TRY(state(id));
  const std::shared_ptr<CellKind> kind = std::const_pointer_cast<CellKind>(from.kind);
  SPORE_TRY(add(kind, name, {.delta = from.delta, .sequence = from.sequence}, true));
  if constexpr (kBreakCell == BreakCell::kFork) {
    SPORE_TRY(remove(id));
    SPORE_TRY(add(kind, id.name, {.sequence = from.sequence}, true));
  }
  // The one that it was made of may be where it is now for the second time, too.
  const uint64_t hash = hash_of({name, kind->domain()});
  Shard& shard = shard_of(hash);
  const MutexLock lock(shard.mutex);
  shard.counts.forked++;
  return {};
}

Status Cells::remove(const CellId& id) {
  Active* active = SPORE_TRY(claim(id));
  release(*active, After::kRemove);
  return {};
}

// --- looking -------------------------------------------------------------------------------------------

Result<CellDescription> Cells::describe(const CellId& id) {
  const uint64_t hash = hash_of(id);
  Shard& shard = shard_of(hash);
  const MutexLock lock(shard.mutex);
  Record** place = find(shard, hash, id);
  if (place == nullptr) return no_cell(id);
  const Record& record = **place;
  const CellKind& kind = kind_at(record.kind);
  constexpr uint64_t kMsInSecond = 1'000;
  return CellDescription{
      .name = std::string(record.name()),
      .domain = kind.domain(),
      .module = kind.module(),
      .awake = record.active != nullptr,  // the lease is whose who has it
      .waiting = record.active == nullptr ? 0 : static_cast<uint32_t>(record.active->line.size()),
      .sequence = record.sequence,
      .delta_bytes = record.delta_bytes,
      .idle_ms = (now_s() - std::min(now_s(), record.used_s)) * kMsInSecond};
}

std::vector<CellDescription> Cells::list(std::string_view domain, std::string_view after, size_t max) {
  std::vector<std::string> names;
  for (Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    for (const Record* record : shard.places) {
      if (record == nullptr || record->name() <= after || kind_at(record->kind).domain() != domain) continue;
      names.emplace_back(record->name());
    }
    const auto end = names.begin() + static_cast<ptrdiff_t>(std::min(max, names.size()));
    std::ranges::partial_sort(names, end);
    names.erase(end, names.end());
  }
  std::vector<CellDescription> found;
  for (const std::string& name : names) {
    Result<CellDescription> one = describe({name, domain});
    if (one.ok()) found.push_back(std::move(one).value());  // else it went meanwhile
  }
  return found;
}

void CellDescription::write_json(JsonWriter& json) const {
  json.field("name", name).field("domain", domain).field("module", module);
  json.field("awake", awake).field("waiting", waiting).field("sequence", sequence);
  json.field("delta_bytes", delta_bytes).field("idle_ms", idle_ms);
}

// --- housekeeping --------------------------------------------------------------------------------------

// Of this machine, as far as it tells.
bool Cells::short_of_memory() const {
  if (options_.available_bytes_min == 0) return false;
  std::FILE* file = std::fopen("/proc/meminfo", "re");
  if (file == nullptr) return false;
  char line[128];
  bool is_short = false;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long long kib = 0;
    if (std::sscanf(line, "MemAvailable: %llu", &kib) != 1) continue;
    is_short = kib * 1024 < options_.available_bytes_min;
    break;
  }
  std::fclose(file);
  return is_short;
}

void Cells::clean_up() {
  const uint64_t now = coarse_ms();
  const auto oldest = [&]() -> std::optional<uint64_t> {
    const MutexLock awake(awake_mutex_);
    if (coldest_ == nullptr) return {};
    return coldest_->used_ms.load(std::memory_order_relaxed);
  };
  for (auto used = oldest(); used && *used + options_.idle_sleep_ms <= now; used = oldest()) {
    if (!put_coldest_to_sleep(nullptr)) break;
  }
  const auto bytes = [&] {
    uint64_t sum = 0;
    const MutexLock awake(awake_mutex_);
    for (const Active* active = coldest_; active != nullptr; active = active->next) {
      for (const memory::Slot* slot : active->lease->pooled_->clean->state().slots()) {
        sum += slot->private_bytes();
      }
    }
    return sum;
  };
  while (bytes() > options_.awake_bytes_max && put_coldest_to_sleep(nullptr)) {
  }
  if (short_of_memory()) {
    while (put_coldest_to_sleep(nullptr)) {
    }
  }
}

void Cells::close() {
  closed_.store(true);
  stop_thread();  // a cell that it is putting to sleep sleeps then, too
  while (put_coldest_to_sleep(nullptr)) {
  }
}

void Cells::start_thread() {
  if (waiting_ != nullptr || closed_.load()) return;
  waiting_ = std::make_unique<Waiting>();
  const std::chrono::milliseconds interval(
      std::clamp(options_.idle_sleep_ms / 2, kHousekeepingMsMin, kHousekeepingMsMax));
  const SignalBlock block;
  try {
    waiting_->thread = std::jthread(
        [cells = weak_from_this(), &waiting = *waiting_, interval] { keep_house(cells, waiting, interval); });
  } catch (const std::system_error&) {
    waiting_.reset();  // no thread to be had: the next one who needs it tries again
  }
}

void Cells::stop_thread() {
  std::unique_ptr<Waiting> waiting;
  {
    const MutexLock lock(awake_mutex_);
    waiting = std::move(waiting_);
  }
  if (waiting == nullptr) return;
  {
    const std::lock_guard lock(waiting->mutex);
    waiting->stop = true;
    waiting->wake.notify_all();
  }
  if (waiting->thread.get_id() == std::this_thread::get_id()) {
    waiting->thread.detach();
    [[maybe_unused]] const Waiting* left = waiting.release();  // it is still on its way out of it
  }
}

void Cells::keep_house(const std::weak_ptr<Cells>& cells, Waiting& waiting,
                       std::chrono::milliseconds interval) {
  for (;;) {
    {
      std::unique_lock lock(waiting.mutex);
      if (waiting.wake.wait_for(lock, interval, [&] { return waiting.stop; })) return;
    }
    const std::shared_ptr<Cells> alive = cells.lock();
    if (alive == nullptr) return;
    alive->clean_up();
  }
}

// --- statistics ----------------------------------------------------------------------------------------

CellCounts& CellCounts::operator+=(const CellCounts& other) {
  created += other.created;
  forked += other.forked;
  removed += other.removed;
  calls += other.calls;
  rolled_back += other.rolled_back;
  calls_lost += other.calls_lost;
  woken += other.woken;
  slept += other.slept;
  files_lost += other.files_lost;
  waits += other.waits;
  timeouts += other.timeouts;
  refused += other.refused;
  return *this;
}

CellsStatistics Cells::statistics() const {
  CellsStatistics sum;
  for (Shard& shard : const_cast<Cells*>(this)->shards_) {
    const MutexLock lock(shard.mutex);
    sum.counts += shard.counts;
    sum.cells += shard.used;
    sum.record_bytes += shard.shelf.statistics().bytes;
    sum.class_bytes += shard.shelf.statistics().class_bytes;
    sum.slab_bytes += shard.shelf.statistics().slab_bytes;
    sum.index_bytes += shard.places.capacity() * sizeof(Record*);
  }
  sum.awake = awake_.load(std::memory_order_relaxed);
  return sum;
}

void CellsStatistics::write_json(JsonWriter& json) const {
  json.field("cells", cells).field("awake", awake).field("created", counts.created);
  json.field("forked", counts.forked).field("removed", counts.removed).field("calls", counts.calls);
  json.field("rolled_back", counts.rolled_back).field("calls_lost", counts.calls_lost);
  json.field("woken", counts.woken).field("slept", counts.slept).field("files_lost", counts.files_lost);
  json.field("waits", counts.waits).field("timeouts", counts.timeouts).field("refused", counts.refused);
  json.field("record_bytes", record_bytes).field("class_bytes", class_bytes);
  json.field("slab_bytes", slab_bytes).field("index_bytes", index_bytes);
}

void CellsStatistics::write_metrics(MetricsWriter& metrics) const {
  metrics.gauge("spore_cells", "Cells, by whether they are awake.")
      .sample({{"state", "awake"}}, awake)
      .sample({{"state", "asleep"}}, cells - std::min(cells, awake));
  metrics.gauge("spore_cells_bytes", "Memory of sleeping cells, by use.")
      .sample({{"use", "records"}}, record_bytes)
      .sample({{"use", "size_classes"}}, class_bytes - std::min(class_bytes, record_bytes))
      .sample({{"use", "room"}}, slab_bytes - std::min(slab_bytes, class_bytes))
      .sample({{"use", "index"}}, index_bytes);
  metrics.counter("spore_cells_created_total", "Cells made.")
      .sample({{"of", "image"}}, counts.created - counts.forked)
      .sample({{"of", "cell"}}, counts.forked);
  metrics.counter("spore_cells_removed_total", "Cells deleted.").sample(counts.removed);
  metrics.counter("spore_cell_calls_total", "Calls of cells, by what became of them.")
      .sample({{"outcome", "committed"}}, counts.calls)
      .sample({{"outcome", "rolled_back"}}, counts.rolled_back)
      .sample({{"outcome", "lost"}}, counts.calls_lost);
  metrics.counter("spore_cell_wakes_total", "Cells that were woken.").sample(counts.woken);
  metrics.counter("spore_cell_sleeps_total", "Cells that went to sleep.").sample(counts.slept);
  metrics.counter("spore_cell_files_lost_total", "Open files that were gone when a cell woke.")
      .sample(counts.files_lost);
  metrics.counter("spore_cell_waits_total", "Calls that waited for their turn.").sample(counts.waits);
  metrics.counter("spore_cell_refusals_total", "Calls that were not made, by reason.")
      .sample({{"reason", "queue_max"}}, counts.refused)
      .sample({{"reason", "queue_timeout_ms"}}, counts.timeouts);
}

// --- fork ----------------------------------------------------------------------------------------------

void Cells::lock_for_fork() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  const uint64_t thread = memory::ThreadFaults::here().thread();
  for (Shard& shard : shards_) shard.mutex.lock();
  awake_mutex_.lock();
  forker_ = thread;
}

void Cells::unlock_after_fork() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  awake_mutex_.unlock();
  for (Shard& shard : shards_) shard.mutex.unlock();
}

// Cells that another thread has are as they were at their last commit, and so are those whose instances
// another thread used last, which the pool gives up, too.  What was committed is here.
void Cells::repair_in_child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  [[maybe_unused]] const Waiting* abandoned = waiting_.release();
  coldest_ = warmest_ = nullptr;
  for (Shard& shard : shards_) {
    for (const std::unique_ptr<Active>& active : shard.actives) {
      if (active->record == nullptr) continue;
      active->line.clear();
      const bool mine = active->lease && active->lease->pooled_->user.load() == forker_;
      if (active->busy ? active->thread == forker_ : mine && active->idle) {
        if (!active->busy) keep_idle(*active);
        continue;
      }
      if (active->lease) {
        active->lease->forget();
        active->kind->awake_.fetch_sub(1, std::memory_order_relaxed);
        awake_.fetch_sub(1, std::memory_order_relaxed);
      }
      active->lease.reset();
      active->caller.reset();
      active->idle = active->busy = false;
      active->uncommitted = 0;
      active->record->active = nullptr;
      active->record = nullptr;
      shard.spare.push_back(active.get());  // it has room for all of them
    }
  }
}

}  // namespace spore::cell
