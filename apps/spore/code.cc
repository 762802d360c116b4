// spore code list|verify|prune|clear: the code cache, as files.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <system_error>

#include "apps/spore/command.h"
#include "spore/base/json.h"
#include "spore/code/code_cache.h"
#include "spore/code/key_file.h"

namespace spore::cli {
namespace {

using code::CacheDirectory;
using code::CacheEntry;

constexpr size_t kPrefixDigits = 12;
constexpr double kNsPerMs = 1e6;
constexpr std::chrono::seconds kLockWait{5};

Result<code::CodeCacheOptions> places(const Args& args) {
  const std::filesystem::path home =
      SPORE_TRY(runtime::home_directory(args.value_of("--home").value_or(""),
                                        [](const char* name) -> const char* { return std::getenv(name); }));
  return code::code_cache_options(home);
}

// None: nothing was ever cached there.
Result<std::optional<CacheDirectory>> open_directory(const code::CodeCacheOptions& options) {
  Result<CacheDirectory> directory = CacheDirectory::open(options.directory, false);
  if (directory.code() == Code::kNotFound) return std::optional<CacheDirectory>();
  if (!directory.ok()) return std::move(directory).status();
  return std::optional<CacheDirectory>(std::move(directory).value());
}

// The last used first.
Result<std::vector<CacheEntry>> entries_of(const std::optional<CacheDirectory>& directory) {
  if (!directory) return std::vector<CacheEntry>();
  std::vector<CacheEntry> entries = SPORE_TRY(directory->entries());
  std::ranges::sort(entries, std::greater(), [](const CacheEntry& entry) { return entry.usage.last_s; });
  return entries;
}

std::string_view fault_of(const Status& status) {
  return code::cache_fault_name(code::cache_fault(status, code::CacheFault::kRead));
}

uint64_t bytes_of(std::span<const CacheEntry> entries) {
  uint64_t bytes = 0;
  for (const CacheEntry& entry : entries) bytes += entry.bytes;
  return bytes;
}

uint64_t seconds_since(double then_s) { return static_cast<uint64_t>(std::max(0.0, code::now_s() - then_s)); }

// "3 days": one number is enough.
std::string age(uint64_t seconds) {
  constexpr uint64_t kMinute = 60;
  constexpr uint64_t kHour = 60 * kMinute;
  constexpr uint64_t kDay = 24 * kHour;
  if (seconds < kMinute) return fmt::format("{} s", seconds);
  if (seconds < kHour) return fmt::format("{} min", seconds / kMinute);
  if (seconds < kDay) return fmt::format("{} h", seconds / kHour);
  return fmt::format("{} d", seconds / kDay);
}

void write_entry(const CacheEntry& entry, JsonWriter& json) {
  json.begin_object().field("key", entry.key.hex()).field("bytes", entry.bytes);
  json.field("uses", entry.usage.uses).field("unused_s", seconds_since(entry.usage.last_s));
  if (entry.header) {
    json.field("age_s", seconds_since(entry.usage.stored_s))
        .field("module", entry.header->module_hash.hex())
        .field("tier", entry.header->kind())
        .field("compile_ms", static_cast<double>(entry.header->compile_ns) / kNsPerMs)
        .field("made_by", entry.header->made_by);
  } else {
    json.field("fault", fault_of(entry.status));
  }
  json.end_object();
}

Result<int> list(const code::CodeCacheOptions& options, bool as_json) {
  const std::optional<CacheDirectory> directory = SPORE_TRY(open_directory(options));
  const std::vector<CacheEntry> entries = SPORE_TRY(entries_of(directory));
  if (as_json) {
    JsonWriter json;
    json.begin_object().field("directory", options.directory.native());
    json.field("files", entries.size()).field("bytes", bytes_of(entries)).begin_array("entries");
    for (const CacheEntry& entry : entries) write_entry(entry, json);
    json.end_array().end_object();
    print(json.take());
    return kDone;
  }
  const auto row = [](std::string_view key, std::string_view module, std::string_view tier, auto bytes,
                      auto uses, std::string_view unused, std::string_view age, std::string_view compile_ms) {
    print(fmt::format("{:12}  {:12}  {:9}  {:>10}  {:>6}  {:>7}  {:>7}  {:>10}\n", key, module, tier, bytes,
                      uses, unused, age, compile_ms));
  };
  if (!entries.empty()) row("key", "module", "tier", "bytes", "uses", "unused", "age", "compile ms");
  for (const CacheEntry& entry : entries) {
    const std::string key = entry.key.hex().substr(0, kPrefixDigits);
    const std::string unused = age(seconds_since(entry.usage.last_s));
    if (!entry.header) {
      row(key, "-", fault_of(entry.status), entry.bytes, entry.usage.uses, unused, "-", "-");
      continue;
    }
    row(key, entry.header->module_hash.hex().substr(0, kPrefixDigits), entry.header->kind(), entry.bytes,
        entry.usage.uses, unused, age(seconds_since(entry.usage.stored_s)),
        fmt::format("{:.1f}", static_cast<double>(entry.header->compile_ns) / kNsPerMs));
  }
  print(
      fmt::format("{}: {} files, {} bytes\n", options.directory.native(), entries.size(), bytes_of(entries)));
  return kDone;
}

Result<int> verify(const code::CodeCacheOptions& options, bool as_json) {
  const std::optional<CacheDirectory> directory = SPORE_TRY(open_directory(options));
  const std::vector<CacheEntry> entries = SPORE_TRY(entries_of(directory));
  JsonWriter json;
  json.begin_object().field("files", entries.size()).begin_array("bad");
  size_t bad = 0;
  if (!entries.empty()) {
    // A key that is made now fits none of them.
    std::error_code error;
    if (std::filesystem::symlink_status(options.key_file, error).type() ==
        std::filesystem::file_type::not_found) {
      return Status::unavailable("there is no key '{}': none of the {} files can be verified",
                                 options.key_file.native(), entries.size());
    }
    const MacKey key = SPORE_TRY(code::open_key_file(options.key_file));
    for (const CacheEntry& entry : entries) {
      const Status status = directory->check(entry.key, key);
      if (status.ok() || status.code() == Code::kNotFound) continue;  // or evicted meanwhile
      bad++;
      json.begin_object().field("key", entry.key.hex()).field("fault", fault_of(status));
      json.field("message", status.message()).end_object();
      if (!as_json) print(fmt::format("{:.{}}: {}\n", entry.key.hex(), kPrefixDigits, status.message()));
    }
  }
  json.end_array().end_object();
  print(as_json ? json.take() : fmt::format("{} files, {} bad\n", entries.size(), bad));
  return bad == 0 ? kDone : kFailed;
}

Result<int> remove(const code::CodeCacheOptions& options, const std::optional<code::PruneLimits>& limits,
                   bool as_json) {
  const std::optional<CacheDirectory> directory = SPORE_TRY(open_directory(options));
  code::Pruned removed;
  CacheDirectory::Size left;
  if (directory) {
    const code::FileLock lock = SPORE_TRY(directory->lock(kLockWait));
    directory->remove_stale();
    Result<code::Pruned> result = limits ? directory->prune(*limits) : directory->clear();
    removed = SPORE_TRY(std::move(result));
    left = directory->size();
  }
  if (as_json) {
    JsonWriter json;
    json.begin_object().field("removed_files", removed.files).field("removed_bytes", removed.bytes);
    json.field("files", left.files).field("bytes", left.bytes).end_object();
    print(json.take());
  } else {
    print(fmt::format("removed {} files of {} bytes, left {} of {}\n", removed.files, removed.bytes,
                      left.files, left.bytes));
  }
  return kDone;
}

Result<code::PruneLimits> limits_of(const Args& args) {
  code::PruneLimits limits;
  const std::optional<std::string_view> bytes = args.value_of("--bytes-max");
  const std::optional<std::string_view> unused = args.value_of("--unused-s");
  if (!bytes && !unused)
    return Status::invalid_argument("prune to what? --bytes-max SIZE or --unused-s SECONDS");
  if (bytes) {
    limits.bytes_max = SPORE_TRY(runtime::parse_bytes(*bytes));
    if (limits.bytes_max == 0) return Status::invalid_argument("--bytes-max 0: use 'spore code clear'");
  }
  if (unused) {
    uint64_t seconds = 0;
    const auto [stop, error] = std::from_chars(unused->begin(), unused->end(), seconds);
    if (error != std::errc() || stop != unused->end() || seconds == 0) {
      return Status::invalid_argument("--unused-s '{}' is not a number of seconds from 1 on", *unused);
    }
    limits.unused_s_max = static_cast<double>(seconds);
  }
  if (const std::optional<std::string_view> policy = args.value_of("--eviction")) {
    limits.eviction = SPORE_TRY(code::parse_eviction(*policy));
  }
  return limits;
}

}  // namespace

Result<int> manage_code(Args& args) {
  const std::string_view verb = SPORE_TRY(args.positional("list, verify, prune or clear"));
  SPORE_TRY(args.finish());
  for (const std::string_view flag : {"--bytes-max", "--unused-s", "--eviction"}) {
    if (args.has(flag) && verb != "prune")
      return Status::invalid_argument("{} is for 'spore code prune'", flag);
  }
  const code::CodeCacheOptions options = SPORE_TRY(places(args));
  const bool as_json = args.has("--json");
  if (verb == "list") return list(options, as_json);
  if (verb == "verify") return verify(options, as_json);
  if (verb == "clear") return remove(options, std::nullopt, as_json);
  if (verb == "prune") {
    const code::PruneLimits limits = SPORE_TRY(limits_of(args));
    return remove(options, limits, as_json);
  }
  return Status::invalid_argument("there is no 'spore code {}' (list, verify, prune, clear)", verb);
}

}  // namespace spore::cli
