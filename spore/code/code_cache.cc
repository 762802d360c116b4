#include "spore/code/code_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/elapsed.h"
#include "spore/base/memfd.h"
#include "spore/code/key_file.h"
#include "spore/code/optimiser.h"
#include "spore/code/temporary_file.h"
#include "spore/wasm/prepared_file.h"

namespace spore::code {
namespace {

// Making room takes a few milliseconds: who holds the lock for so long is stopped, and others will make room.
constexpr std::chrono::milliseconds kLockWait{200};

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Another file in its place, written anew, is all that helps.
bool is_of_the_file(CacheFault fault) { return fault <= CacheFault::kRead; }

}  // namespace

Digest cache_key(const engine::Engine& engine, const Source& source) {
  // Version and options stand in the description, as text; compatibility() adds what is not ours to name.
  std::string text =
      fmt::format("spore code cache {}\n{}\n", kCacheFileVersion, engine.description(source.preparer));
  if (engine.options().tier == engine::Tier::kPeak) text += fmt::format("optimiser {}\n", kOptimiserVersion);
  return sha256({bytes_of(text), source.hash.bytes, engine.compatibility().bytes});
}

CodeCacheOptions code_cache_options(const std::filesystem::path& home) {
  CodeCacheOptions options;
  options.directory = home / "code";
  options.key_file = home / "code.key";
  return options;
}

Flight::~Flight() {
  if (process_ == process_generation()) unlock_and_remove(directory_, name_, std::move(fd_));
}

// --- opening ---------------------------------------------------------------------------------------------

CodeCache::CodeCache(CodeCacheOptions options) : options_(std::move(options)) {}

std::unique_ptr<CodeCache> CodeCache::open(CodeCacheOptions options) {
  std::unique_ptr<CodeCache> cache(new CodeCache(std::move(options)));
  const Status opened = cache->open_all();
  if (!opened.ok()) {
    cache->set_state(CodeCacheState::kOff, opened.message());
    cache->count_fault(opened, "code is not cached", CacheFault::kDirectory);
  }
  return cache;
}

Status CodeCache::open_all() {
  Result<CacheDirectory> directory = CacheDirectory::open(options_.directory, true);
  if (!directory.ok()) return cache_error(CacheFault::kDirectory, std::string(directory.status().message()));
  Result<MacKey> key = open_key_file(options_.key_file);
  if (!key.ok()) return cache_error(CacheFault::kKey, std::string(key.status().message()));
  directory_.emplace(std::move(directory).value());
  key_.emplace(std::move(key).value());
  // The first MAC of a process takes locks of OpenSSL's: here, and not while some thread forks.
  [[maybe_unused]] const Mac first(key_->derive({}));
  if (!directory_->writable()) {
    const Status status = cache_error(CacheFault::kDirectory,
                                      fmt::format("'{}' cannot be written to", options_.directory.native()));
    set_state(CodeCacheState::kReadOnly, status.message());
    count_fault(status, "code is only read from the cache", CacheFault::kDirectory);
    return {};
  }
  set_state(CodeCacheState::kOn, {});
  // Somebody who holds it cleans up, or will the next time.
  const Result<FileLock> lock = directory_->lock(std::chrono::milliseconds(0));
  if (lock.ok()) directory_->remove_stale();
  return {};
}

// --- loading ---------------------------------------------------------------------------------------------

Cached CodeCache::load(const engine::Engine& engine, const Source& source) {
  const auto begin = std::chrono::steady_clock::now();
  if (key_) {
    const Digest key = cache_key(engine, source);
    Result<Cached> loaded = try_load(engine, source, key);
    if (loaded.ok()) {
      Cached cached = std::move(loaded).value();
      cached.load_ns = ns_since(begin);
      const MutexLock lock(mutex_);
      counts_.hits++;
      counts_.bytes_read += cached.code->native_bytes();
      counts_.load_ns += cached.load_ns;
      counts_.compile_saved_ns += cached.compile_ns;
      return cached;
    }
    if (loaded.code() != Code::kNotFound) {
      count_fault(loaded.status(), fmt::format("the cached code {:.12} is not used", key.hex()),
                  CacheFault::kEngine);
    }
  }
  const MutexLock lock(mutex_);
  counts_.misses++;
  return {};
}

// A file that was refused makes room for a better one.
Status CodeCache::refuse(Status status, const Digest& key, int fd) {
  if (is_of_the_file(cache_fault(status, CacheFault::kEngine)) && directory_->writable() &&
      directory_->remove_file(key, fd)) {
    const MutexLock lock(mutex_);
    counts_.removed++;
  }
  return status;
}

Result<CodeCache::Checked> CodeCache::check(const Digest& key, std::string_view made_by) {
  Result<CacheDirectory::File> file = directory_->open_file(key);
  if (file.code() == Code::kNotFound) return std::move(file).status();
  if (!file.ok()) return refuse(std::move(file).status(), key, -1);
  const int fd = file->fd.get();
  Result<CacheHeader> header = directory_->read_header(file.value(), key);
  if (!header.ok()) return refuse(std::move(header).status(), key, fd);
  if (is_expired(header.value())) {
    if (directory_->writable() && directory_->remove_file(key, fd)) {
      const MutexLock lock(mutex_);
      counts_.evicted++;
      counts_.bytes_evicted += file->bytes;
    }
    return Status::not_found("it is older than {} s", options_.ttl_s);
  }
  // What is mapped is what was authenticated: each piece is written from the buffer that the MAC was computed
  // of, into a file that has no name and is sealed before anybody maps it.  Another process could write to it
  // before that only by opening our /proc/PID/fd: who may do that may also write to our memory, or read the
  // key.
  Result<UniqueFd> memory = make_memfd("spore-code");
  if (!memory.ok()) return cache_error(CacheFault::kMemory, std::string(memory.status().message()));
  Status checked = check_cache_file(fd, header.value(), *key_, memory->get(), options_.load_threads);
  if (!checked.ok()) return refuse(std::move(checked), key, fd);
  const Status sealed = seal(memory->get());
  if (!sealed.ok()) return cache_error(CacheFault::kMemory, std::string(sealed.message()));
  if (header->made_by != made_by) {
    return refuse(cache_error(CacheFault::kEngine, fmt::format("it was made by '{}', this engine is '{}'",
                                                               header->made_by, made_by)),
                  key, fd);
  }
  return Checked{.file = std::move(file).value(),
                 .header = std::move(header).value(),
                 .memory = std::move(memory).value()};
}

Result<Cached> CodeCache::try_load(const engine::Engine& engine, const Source& source, const Digest& key) {
  const Checked checked = SPORE_TRY(check(key, engine.description(source.preparer)));
  Result<std::shared_ptr<const engine::CompiledCode>> code =
      engine.load_native(checked.memory.get(), source.hash, source.preparer);
  if (!code.ok()) {
    return refuse(cache_error(CacheFault::kEngine, std::string(code.status().message())), key,
                  checked.file.fd.get());
  }
  directory_->note_use(key, checked.file);
  return Cached{.code = std::move(code).value(), .compile_ns = checked.header.compile_ns};
}

bool CodeCache::is_expired(const CacheHeader& header) const {
  return options_.eviction == Eviction::kTtl && options_.ttl_s > 0 &&
         now_s() - static_cast<double>(header.stored_s) > static_cast<double>(options_.ttl_s);
}

// --- storing ---------------------------------------------------------------------------------------------

bool CodeCache::store(const engine::Engine& engine, const Source& source, const Compiled& compiled,
                      uint64_t compile_ns) {
  if (state() != CodeCacheState::kOn) return false;
  const Status stored = try_store(engine, source, compiled, compile_ns);
  if (!stored.ok()) {
    count_fault(stored, "the code is not cached", CacheFault::kWrite);
    return false;
  }
  const Status room = make_room(cache_key(engine, source));
  if (!room.ok()) count_fault(room, "the code cache may be too large", CacheFault::kWrite);
  return true;
}

Status CodeCache::try_store(const engine::Engine& engine, const Source& source, const Compiled& compiled,
                            uint64_t compile_ns) {
  std::vector<uint8_t> bytes;
  CachePayload payload{.bytes = {}, .fd = compiled.native.get()};
  if (payload.fd < 0) {
    bytes = SPORE_TRY(compiled.code->native());
    payload.bytes = bytes;
  }
  CacheHeader header{.key = cache_key(engine, source),
                     .module_hash = source.hash,
                     .tier = engine.options().tier,
                     .preparer = source.preparer,
                     .compile_ns = compile_ns,
                     .stored_s = static_cast<uint64_t>(std::max(0.0, now_s())),
                     .payload_bytes = payload.bytes.size(),
                     .made_by = engine.description(source.preparer)};
  if (payload.fd >= 0) header.payload_bytes = SPORE_TRY(file_size(payload.fd));
  const uint64_t file_bytes = header.file_bytes();
  if (options_.bytes_max != 0 && file_bytes > options_.bytes_max) {
    return cache_error(CacheFault::kTooLarge,
                       fmt::format("{} bytes, all of the cache may have {}", file_bytes, options_.bytes_max));
  }
  SPORE_TRY(directory_->write_file(header, payload, *key_));
  const MutexLock lock(mutex_);
  counts_.stored++;
  counts_.bytes_stored += file_bytes;
  return {};
}

Status CodeCache::make_room(const std::optional<Digest>& keep) {
  const bool expires = options_.eviction == Eviction::kTtl && options_.ttl_s > 0;
  const bool full = options_.bytes_max != 0 && directory_->size().bytes > options_.bytes_max;
  if (!expires && !full) return {};
  const FileLock lock = SPORE_TRY(directory_->lock(kLockWait));
  const Pruned pruned =
      SPORE_TRY(directory_->prune({.bytes_max = options_.bytes_max,
                                   .eviction = options_.eviction,
                                   .age_s_max = expires ? static_cast<double>(options_.ttl_s) : 0,
                                   .keep = keep}));
  const MutexLock counting(mutex_);
  counts_.evicted += pruned.files;
  counts_.bytes_evicted += pruned.bytes;
  return {};
}

// --- facts -----------------------------------------------------------------------------------------------

namespace {

// Facts of another preparer, or in another form, are none.
std::string facts_made_by() {
  return fmt::format("facts {}; preparer {}", wasm::kPreparedFileVersion, wasm::kPreparerVersion);
}

}  // namespace

// One nonce for all: the rule of Mac is about tags that somebody sees, and nobody sees these, only what an
// HMAC under another key makes of them.
std::optional<Digest> CodeCache::name_of(std::span<const uint8_t> bytes) const {
  if (!key_) return std::nullopt;
  Mac mac(key_->derive(bytes_of("names of modules")));
  mac.begin({});
  mac.update(bytes);
  std::vector<uint8_t> label;
  const MacTag tag = mac.finish();
  label.insert(label.end(), tag.bytes.begin(), tag.bytes.end());
  for (size_t i = 0; i < sizeof(uint64_t); i++)
    label.push_back(static_cast<uint8_t>(bytes.size() >> (8 * i)));
  const MacKey name = key_->derive(bytes_of("names that are seen")).derive(label);
  Digest digest;
  std::ranges::copy(name.bytes(), digest.bytes.begin());
  return digest;
}

std::optional<std::vector<uint8_t>> CodeCache::load_bytes(const Digest& name, std::string_view made_by,
                                                          std::string_view what) {
  if (!key_) return std::nullopt;
  const Result<Checked> checked = check(name, made_by);
  if (!checked.ok()) {
    if (checked.code() != Code::kNotFound) {
      count_fault(checked.status(), fmt::format("{} {:.12} is not used", what, name.hex()),
                  CacheFault::kEngine);
    }
    return std::nullopt;
  }
  std::vector<uint8_t> facts(checked->header.payload_bytes);
  const Status read = read_at(checked->memory.get(), facts, 0);
  if (!read.ok()) {
    count_fault(read, "facts of a module are not read", CacheFault::kRead);
    return std::nullopt;
  }
  directory_->note_use(name, checked->file);
  return facts;
}

bool CodeCache::store_bytes(const CacheHeader& header, std::span<const uint8_t> bytes,
                            std::string_view what) {
  if (state() != CodeCacheState::kOn) return false;
  const Status stored = directory_->write_file(header, {.bytes = bytes, .fd = -1}, *key_);
  if (stored.ok()) return true;
  count_fault(stored, fmt::format("{} is not cached", what), CacheFault::kWrite);
  return false;
}

std::optional<std::vector<uint8_t>> CodeCache::load_facts(const Digest& name) {
  return load_bytes(name, facts_made_by(), "what is cached of module");
}

bool CodeCache::store_facts(const Digest& name, const Digest& module_hash, std::span<const uint8_t> facts) {
  const CacheHeader header{.key = name,
                           .module_hash = module_hash,
                           .tier = {},
                           .preparer = wasm::kPreparerVersion,
                           .compile_ns = 0,
                           .stored_s = static_cast<uint64_t>(std::max(0.0, now_s())),
                           .payload_bytes = facts.size(),
                           .made_by = facts_made_by()};
  return store_bytes(header, facts, "what is known of a module");
}

std::optional<std::vector<uint8_t>> CodeCache::load_module(const Digest& name, std::string_view made_by) {
  return load_bytes(name, fmt::format("{}{}", kRewrittenPrefix, made_by), "the rewritten module");
}

bool CodeCache::store_module(const Digest& name, const Digest& module_hash, std::string_view made_by,
                             std::span<const uint8_t> wasm, uint64_t ns) {
  const CacheHeader header{.key = name,
                           .module_hash = module_hash,
                           .tier = {},
                           .preparer = 0,
                           .compile_ns = ns,
                           .stored_s = static_cast<uint64_t>(std::max(0.0, now_s())),
                           .payload_bytes = wasm.size(),
                           .made_by = fmt::format("{}{}", kRewrittenPrefix, made_by)};
  if (options_.bytes_max != 0 && header.file_bytes() > options_.bytes_max) {
    count_fault(cache_error(CacheFault::kTooLarge, fmt::format("{} bytes, all of the cache may have {}",
                                                               header.file_bytes(), options_.bytes_max)),
                "a rewritten module is not cached", CacheFault::kTooLarge);
    return false;
  }
  if (!store_bytes(header, wasm, "a rewritten module")) return false;
  const Status room = make_room(name);
  if (!room.ok()) count_fault(room, "the code cache may be too large", CacheFault::kWrite);
  return true;
}

// --- flights ---------------------------------------------------------------------------------------------

Flight CodeCache::flight(const engine::Engine& engine, const Source& source,
                         std::chrono::milliseconds wait_max, const std::stop_token& stop) {
  return flight(cache_key(engine, source), wait_max, [&] { return stop.stop_requested(); });
}

Flight CodeCache::flight(const Digest& name, std::chrono::milliseconds wait_max,
                         const std::function<bool()>& stop) {
  Flight flight;
  // Whoever cannot store would let others wait for nothing.
  if (state() != CodeCacheState::kOn) return flight;
  flight.directory_ = directory_->fd();
  flight.name_ = flight_file_name(name);
  Result<UniqueFd> fd = lock_file(flight.directory_, flight.name_, std::chrono::milliseconds(0));
  if (!fd.ok() && cache_fault(fd.status(), CacheFault::kWrite) == CacheFault::kBusy) {
    const auto begin = std::chrono::steady_clock::now();
    flight.waited_ = true;
    Result<UniqueFd> later = lock_file(flight.directory_, flight.name_, wait_max, stop);
    {
      const MutexLock lock(mutex_);
      counts_.waits++;
      counts_.wait_ns += ns_since(begin);
    }
    if (later.ok()) {
      flight.fd_ = std::move(later).value();
    } else if (!stop()) {
      count_fault(later.status(), "two processes compile the same", CacheFault::kWrite);
    }
  } else if (fd.ok()) {
    flight.fd_ = std::move(fd).value();
  } else {
    count_fault(fd.status(), "two processes may compile the same", CacheFault::kWrite);
  }
  return flight;
}

// --- what is known ---------------------------------------------------------------------------------------

void CodeCache::count_fault(const Status& status, std::string_view what, CacheFault other) {
  const CacheFault fault = cache_fault(status, other);
  bool first = false;
  {
    const MutexLock lock(mutex_);
    first = faults_[static_cast<size_t>(fault)]++ == 0;
  }
  if (first) {
    options_.log.write(LogLevel::kWarning, "code cache: {}: {} ({}; said once)", what, status.message(),
                       cache_fault_name(fault));
  }
}

void CodeCache::set_state(CodeCacheState state, std::string_view reason) {
  const MutexLock lock(mutex_);
  state_ = state;
  reason_ = reason;
}

CodeCacheState CodeCache::state() const {
  const MutexLock lock(mutex_);
  return state_;
}

CodeCacheStatistics CodeCache::statistics() const {
  CodeCacheStatistics statistics;
  statistics.directory = options_.directory.native();
  statistics.bytes_max = options_.bytes_max;
  statistics.eviction = eviction_name(options_.eviction);
  if (directory_) {
    const CacheDirectory::Size size = directory_->size();
    statistics.files = size.files;
    statistics.bytes = size.bytes;
  }
  const MutexLock lock(mutex_);
  statistics.state = state_;
  statistics.reason = reason_;
  statistics.counts = counts_;
  statistics.faults = faults_;
  return statistics;
}

}  // namespace spore::code
