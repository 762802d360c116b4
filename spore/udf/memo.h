#pragma once

// Results of pure calls, kept for the next call with the same arguments.

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "spore/base/fork.h"
#include "spore/base/json.h"
#include "spore/base/keyed_hash.h"
#include "spore/base/mutex.h"
#include "spore/host/wit_value.h"
#include "spore/wasm/wit.h"

namespace spore::udf {

struct MemoOptions {
  uint64_t bytes_max = uint64_t{64} << 20;
  uint64_t ttl_ms = 300'000;
  uint64_t entry_bytes_max = uint64_t{1} << 20;  // key and result; larger ones are not kept
};

struct MemoStatistics {
  uint64_t hits = 0;
  uint64_t misses = 0;
  uint64_t evicted = 0;  // for want of room
  uint64_t expired = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;

  void write_json(JsonWriter& json) const;  // fields
};

// Keys are compared byte by byte: two calls whose keys have the same hash are still two.  Thread-safe; in
// fork's list.
class Memo final : ForkAware {
 public:
  explicit Memo(MemoOptions options);

  // Domain, module, function and arguments, each with its length, so that no two calls have the same key.
  static void append_part(std::string_view part, std::string& key);
  static void append_args(const wasm::WitSignature& signature, std::span<const host::WitArg> args,
                          std::string& key);

  bool find(std::string_view key, host::WitValue& result);
  void keep(std::string_view key, const host::WitValue& result);
  void clear();
  MemoStatistics statistics() const;

 private:
  struct Entry {
    std::string key;
    host::WitValue result;
    uint64_t bytes;
    uint64_t made_ms;
  };
  using Entries = std::list<Entry>;  // used last first
  struct Hash {
    const KeyedHash* keyed;
    size_t operator()(std::string_view key) const;
  };
  void remove(Entries::iterator entry) SPORE_REQUIRES(mutex_);
  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override {}

  const MemoOptions options_;
  const KeyedHash hash_;
  mutable Mutex mutex_;
  Entries entries_ SPORE_GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, Entries::iterator, Hash> index_ SPORE_GUARDED_BY(mutex_);
  MemoStatistics statistics_ SPORE_GUARDED_BY(mutex_);
  ForkRegistration registration_{*this};
};

}  // namespace spore::udf
