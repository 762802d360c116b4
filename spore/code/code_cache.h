#pragma once

// Compiled code on disk, shared by the processes of one user: never compile the same thing twice.

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/log.h"
#include "spore/base/mac.h"
#include "spore/base/mutex.h"
#include "spore/base/thread_annotations.h"
#include "spore/code/cache_directory.h"
#include "spore/code/code_cache_statistics.h"
#include "spore/code/compiler.h"
#include "spore/code/eviction.h"
#include "spore/code/source.h"

namespace spore::code {

// The name of one module's code: SHA-256 of module, preparer, and of all that the code depends on of the
// engine: its version, compiler, settings and what this CPU can do.
Digest cache_key(const engine::Engine& engine, const Source& source);

struct CodeCacheOptions {
  std::filesystem::path directory;
  std::filesystem::path key_file;
  uint64_t bytes_max = uint64_t{4} << 30;  // of all files; 0: no limit
  Eviction eviction = Eviction::kAdaptive;
  uint64_t ttl_s = 30 * 24 * 3600;  // of Eviction::kTtl
  // That read one large file, the calling one included.  1 where no other thread may be.
  unsigned load_threads = 2;
  Log log;
};

// The defaults, with the places that the cache has in a data directory: home/code and home/code.key.
CodeCacheOptions code_cache_options(const std::filesystem::path& home);

// Code that was found, or none.
struct Cached {
  std::shared_ptr<const engine::CompiledCode> code;
  uint64_t compile_ns = 0;  // what it took to compile it, once
  uint64_t load_ns = 0;

  explicit operator bool() const { return code != nullptr; }
};

// The right to compile something while others of this user wait, until destruction; or no right, just the end
// of waiting.  Destroyed before its cache.
class Flight {
 public:
  Flight() = default;
  Flight(Flight&&) = default;
  Flight& operator=(Flight&&) = delete;
  ~Flight();

  bool held() const { return fd_.valid(); }
  // Another one had it: what it compiled may be in the cache now.
  bool waited() const { return waited_; }

 private:
  friend class CodeCache;
  int directory_ = -1;
  std::string name_;
  UniqueFd fd_;
  bool waited_ = false;
  uint64_t process_ = process_generation();  // a forked child's copy unlocks nothing
};

//   Cached cached = cache->load(engine, source);
//   if (!cached) {
//     const Flight flight = cache->flight(engine, source, wait_max, stop);
//     if (flight.waited()) cached = cache->load(engine, source);
//     if (!cached) { compile; cache->store(engine, source, compiled, compile_ns); }
//   }
//
// Nothing that is wrong with the cache makes a call fail: what it cannot give is compiled, what it cannot
// keep is not kept.  Statistics count it by CacheFault, the log has one line for each fault.  Code is loaded
// only if its MAC says that a process of this user wrote it; whatever is wrong with a file, it is refused and
// removed.
//
// Thread-safe; no lock is held while files are read or written, but those that are files.  A forked child may
// go on with its copy: it shares the directory, and counts for itself.  (Not the cache's doing, but met by
// those who use it so: if another thread was loading or compiling at the fork, the child has Wasmtime's locks
// held.)
class CodeCache final : ForkAware {
 public:
  // Makes directory and key if they are missing.  Of a directory or key that is not fit it says so in the
  // log, once, and is off; if it cannot write there it only reads.
  static std::unique_ptr<CodeCache> open(CodeCacheOptions options);
  ~CodeCache() = default;
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  Cached load(const engine::Engine& engine, const Source& source);
  // Keeps what was compiled of `source` by that engine, in `compile_ns`; then others make room for it.
  // False: not kept.
  bool store(const engine::Engine& engine, const Source& source, const Compiled& compiled,
             uint64_t compile_ns);

  // A name for a module's bytes, cheaper than their SHA-256 by far: none but who has the key can find bytes
  // of the same name.  Nothing if the cache is off.
  std::optional<Digest> name_of(std::span<const uint8_t> bytes) const;
  // What is known of a module, kept as code is: under its name.
  std::optional<std::vector<uint8_t>> load_facts(const Digest& name);
  // False: not kept.
  bool store_facts(const Digest& name, const Digest& module_hash, std::span<const uint8_t> facts);

  // A module that was made of another one, kept as code is: under a name that says of what and how.
  // `made_by`: for people; another one's is refused.  `ns`: what it took to make, once.
  std::optional<std::vector<uint8_t>> load_module(const Digest& name, std::string_view made_by);
  // False: not kept.
  bool store_module(const Digest& name, const Digest& module_hash, std::string_view made_by,
                    std::span<const uint8_t> wasm, uint64_t ns);

  // Waits up to `wait_max`, or until `stop` says so, for others that make what is kept under `name`.  It is
  // asked each few milliseconds.
  Flight flight(const Digest& name, std::chrono::milliseconds wait_max, const std::function<bool()>& stop);
  // For others that compile the same.
  Flight flight(const engine::Engine& engine, const Source& source, std::chrono::milliseconds wait_max,
                const std::stop_token& stop);

  CodeCacheState state() const;
  CodeCacheStatistics statistics() const;

 private:
  explicit CodeCache(CodeCacheOptions options);
  Status open_all();
  // A file that is as somebody with our key wrote it, and its payload, sealed.
  struct Checked {
    CacheDirectory::File file;
    CacheHeader header;
    UniqueFd memory;
  };
  Result<Checked> check(const Digest& key, std::string_view made_by);
  Status refuse(Status status, const Digest& key, int fd);
  // What is no code.  `what`: for the log.
  std::optional<std::vector<uint8_t>> load_bytes(const Digest& name, std::string_view made_by,
                                                 std::string_view what);
  bool store_bytes(const CacheHeader& header, std::span<const uint8_t> bytes, std::string_view what);
  Result<Cached> try_load(const engine::Engine& engine, const Source& source, const Digest& key);
  Status try_store(const engine::Engine& engine, const Source& source, const Compiled& compiled,
                   uint64_t compile_ns);
  Status make_room(const std::optional<Digest>& keep);
  bool is_expired(const CacheHeader& header) const;
  void count_fault(const Status& status, std::string_view what, CacheFault other);
  void set_state(CodeCacheState state, std::string_view reason);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override {}

  const CodeCacheOptions options_;
  // Set by open(), constant from then on.
  std::optional<CacheDirectory> directory_;
  std::optional<MacKey> key_;

  mutable Mutex mutex_;  // held for a few instructions
  CodeCacheState state_ SPORE_GUARDED_BY(mutex_) = CodeCacheState::kOff;
  std::string reason_ SPORE_GUARDED_BY(mutex_);
  CodeCacheCounts counts_ SPORE_GUARDED_BY(mutex_);
  std::array<uint64_t, kCacheFaults> faults_ SPORE_GUARDED_BY(mutex_){};

  const ForkRegistration fork_registration_{*this};
};

}  // namespace spore::code
