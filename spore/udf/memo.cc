#include "spore/udf/memo.h"

#include <cstring>

#include "spore/base/elapsed.h"

namespace spore::udf {
namespace {

uint64_t bytes_of(const host::WitValue& value) {  // NOLINT(misc-no-recursion)
  uint64_t bytes = sizeof value + value.text.capacity();
  for (const host::WitValue& item : value.items) bytes += bytes_of(item);
  return bytes;
}

void append_bits(uint64_t bits, std::string& key) {
  key.append(reinterpret_cast<const char*>(&bits), sizeof bits);
}

// By the type: what it has no use for may hold anything.
void append_value(const wasm::WitType& type, const host::WitArg& arg,
                  std::string& key) {  // NOLINT(misc-no-recursion)
  if (host::is_number(type.kind)) return append_bits(arg.bits, key);
  if (type.kind == wasm::WitKind::kString || type.kind == wasm::WitKind::kBytes)
    return Memo::append_part(arg.text, key);
  const host::WitValue empty;
  const host::WitValue& value = arg.value == nullptr ? empty : *arg.value;
  append_bits(arg.bits, key);
  append_bits(value.items.size(), key);
  for (size_t i = 0; i < value.items.size(); i++) {
    const size_t part = type.kind == wasm::WitKind::kResult ? (arg.bits == 0 ? 0 : 1)
                        : type.kind == wasm::WitKind::kList || type.kind == wasm::WitKind::kOption ? 0
                                                                                                   : i;
    // A value that is none of its type is refused by the call; here it only must not be taken for another.
    if (part < type.parts.size() && type.parts[part] != nullptr) {
      append_value(*type.parts[part], value.items[i], key);
    }
  }
}

}  // namespace

void MemoStatistics::write_json(JsonWriter& json) const {
  json.field("hits", hits).field("misses", misses).field("evicted", evicted).field("expired", expired);
  json.field("entries", entries).field("bytes", bytes);
}

Memo::Memo(MemoOptions options) : options_(options), index_(0, Hash{&hash_}) {}

size_t Memo::Hash::operator()(std::string_view key) const { return (*keyed)(key); }

void Memo::append_part(std::string_view part, std::string& key) {
  append_bits(part.size(), key);
  key += part;
}

void Memo::append_args(const wasm::WitSignature& signature, std::span<const host::WitArg> args,
                       std::string& key) {
  append_bits(args.size(), key);
  for (size_t i = 0; i < args.size() && i < signature.params.size(); i++) {
    append_value(*signature.params[i].type, args[i], key);
  }
}

void Memo::remove(Entries::iterator entry) {
  index_.erase(entry->key);
  statistics_.bytes -= entry->bytes;
  entries_.erase(entry);
}

bool Memo::find(std::string_view key, host::WitValue& result) {
  const MutexLock lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) {
    statistics_.misses++;
    return false;
  }
  const Entries::iterator entry = found->second;
  if (coarse_ms() - entry->made_ms >= options_.ttl_ms) {
    remove(entry);
    statistics_.expired++;
    statistics_.misses++;
    return false;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  result = entry->result;
  statistics_.hits++;
  return true;
}

void Memo::keep(std::string_view key, const host::WitValue& result) {
  constexpr uint64_t kOverhead = sizeof(Entry) + 64;  // with what the table and the list take
  const uint64_t bytes = kOverhead + key.size() + bytes_of(result);
  if (bytes > options_.entry_bytes_max || bytes > options_.bytes_max) return;
  const MutexLock lock(mutex_);
  if (const auto found = index_.find(key); found != index_.end()) remove(found->second);
  while (statistics_.bytes + bytes > options_.bytes_max) {
    remove(std::prev(entries_.end()));
    statistics_.evicted++;
  }
  entries_.push_front({.key = std::string(key), .result = result, .bytes = bytes, .made_ms = coarse_ms()});
  index_.emplace(entries_.front().key, entries_.begin());
  statistics_.bytes += bytes;
}

void Memo::clear() {
  const MutexLock lock(mutex_);
  index_.clear();
  entries_.clear();
  statistics_.bytes = 0;
}

MemoStatistics Memo::statistics() const {
  const MutexLock lock(mutex_);
  MemoStatistics statistics = statistics_;
  statistics.entries = entries_.size();
  return statistics;
}

}  // namespace spore::udf
