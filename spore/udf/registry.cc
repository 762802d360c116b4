#include "spore/udf/registry.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/json.h"
#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"

namespace spore::udf {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kIndex = "functions.json";
constexpr std::string_view kSources = "sources";
constexpr uint64_t kFormat = 1;
constexpr size_t kIndexBytesMax = size_t{64} << 20;
constexpr size_t kSourceBytesMax = size_t{128} << 20;

// '*' for any characters, '?' for one.  Linear in time for one star; the last star's place is all that is kept.
bool matches(std::string_view pattern, std::string_view name) {
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t from = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      p++;
      n++;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++from;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

struct Kept {
  Definition definition;
  std::string sha256;
};

Status not_as_written(std::string_view what) {
  return Status::corruption("{}: {}", kIndex, what);
}

// {"format": 1, "functions": [{"sha256": ..., "definition": {...}}, ...]}
Result<std::vector<Kept>> read_index(std::string_view text) {
  JsonReader json(text);
  std::string key;
  bool first = true;
  std::vector<Kept> kept;
  if (!json.begin_object() || !json.next_key(first, key) || key != "format") {
    return not_as_written("it does not begin with its format");
  }
  const std::optional<double> format = json.number();
  if (!format || *format != static_cast<double>(kFormat)) {
    return Status::unsupported("{}: of format {}, this version reads {}", kIndex, format.value_or(0), kFormat);
  }
  if (!json.next_key(first, key) || key != "functions" || !json.begin_array()) {
    return not_as_written("it has no list of functions");
  }
  for (bool first_function = true; json.next_element(first_function);) {
    Kept& function = kept.emplace_back();
    bool first_key = true;
    if (!json.begin_object()) break;
    while (json.next_key(first_key, key)) {
      if (key == "sha256") {
        json.string(function.sha256);
      } else if (const std::optional<std::string_view> raw = json.raw(); raw && key == "definition") {
        SPORE_TRY(function.definition.apply_json(*raw).with_context(kIndex));
      }
    }
  }
  json.next_key(first, key);
  const Status status = json.finish();
  if (!status.ok()) return not_as_written(status.message());
  return kept;
}

size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t i = 0; i <= b.size(); i++) row[i] = i;
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = row[0]++;
    for (size_t k = 1; k <= b.size(); k++) {
      const size_t next = std::min({row[k] + 1, row[k - 1] + 1, diagonal + (a[i - 1] == b[k - 1] ? 0 : 1)});
      diagonal = std::exchange(row[k], next);
    }
  }
  return row.back();
}

}  // namespace

Result<std::unique_ptr<Registry>> Registry::open(Maker& maker, fs::path directory) {
  std::error_code error;
  fs::create_directories(directory / kSources, error);
  if (error) return Status::from_errno(error.value(), directory.native());
  std::unique_ptr<Registry> registry(new Registry(maker, std::move(directory)));
  SPORE_TRY(registry->load());
  return registry;
}

Status Registry::load() {
  Result<std::vector<uint8_t>> file = read_file(directory_ / kIndex, kIndexBytesMax);
  if (file.code() == Code::kNotFound) return {};
  if (!file.ok()) return std::move(file).status();
  const std::string_view text(reinterpret_cast<const char*>(file->data()), file->size());
  const std::vector<Kept> kept = SPORE_TRY(read_index(text));
  const MutexLock lock(mutex_);
  for (const Kept& each : kept) {
    const auto make = [&]() -> Result<std::shared_ptr<const Function>> {
      SPORE_TRY(each.definition.check());
      // Not by what the file says: it names no other folder.
      if (each.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
        return Status::corruption("'{}' is no SHA-256", printable(each.sha256));
      }
      const std::vector<uint8_t> source =
          SPORE_TRY(read_file(directory_ / kSources / each.sha256, kSourceBytesMax));
      if (sha256(source).hex() != each.sha256) return Status::corruption("its source is not as it was written");
      return maker_.make(each.definition, source);
    };
    Result<std::shared_ptr<const Function>> function = make();
    if (function.ok()) {
      functions_.insert_or_assign(each.definition.name, std::move(function).value());
    } else {
      broken_.push_back({each.definition.name, std::string(function.status().message())});
    }
  }
  return {};
}

Status Registry::keep_source(const Function& function) const {
  const fs::path file = directory_ / kSources / function.source_hash().hex();
  std::error_code none;
  if (fs::exists(file, none)) return {};
  return write_file(file, function.source());
}

Status Registry::save(const Functions& functions) const {
  JsonWriter json;
  json.begin_object().field("format", kFormat).begin_array("functions");
  for (const auto& [name, function] : functions) {
    json.begin_object().field("sha256", function->source_hash().hex()).begin_object("definition");
    function->definition().write_json(json);
    json.end_object().end_object();
  }
  json.end_array().end_object();
  return write_file(directory_ / kIndex, bytes_of(json.take()));
}

Result<std::shared_ptr<const Function>> Registry::add(Definition definition, std::span<const uint8_t> source,
                                                      Replace replace) {
  const MutexLock changing(changing_);
  Functions functions;
  {
    const MutexLock lock(mutex_);
    functions = functions_;
  }
  const bool there = functions.contains(definition.name);
  if (there && replace == Replace::kNo) {
    return Status::already_exists("there is a function '{}' already", definition.name);
  }
  if (!there && functions.size() >= kFunctionsMax) {
    return Status::limit_exceeded("{} functions, which is all that there may be", kFunctionsMax);
  }
  auto function = SPORE_TRY(maker_.make(std::move(definition), source));
  functions.insert_or_assign(function->name(), function);
  if (!directory_.empty()) {
    SPORE_TRY(keep_source(*function));
    SPORE_TRY(save(functions));
  }
  const MutexLock lock(mutex_);
  functions_ = std::move(functions);
  return function;
}

Result<std::shared_ptr<const Function>> Registry::find(std::string_view name) const {
  const MutexLock lock(mutex_);
  const auto found = functions_.find(name);
  if (found != functions_.end()) {
    if (found->second->definition().enabled) return found->second;
    return Status::unavailable("the function '{}' is disabled", found->first);
  }
  constexpr size_t kTypo = 3;
  constexpr size_t kNameMax = 200;
  std::string_view nearest;
  size_t least = kTypo + 1;
  for (const auto& [other, function] : functions_) {
    const size_t away = name.size() > kNameMax ? least : distance(name, other);
    if (away < least) {
      least = away;
      nearest = other;
    }
  }
  if (nearest.empty()) return Status::not_found("there is no function '{}'", printable(name));
  return Status::not_found("there is no function '{}' (there is '{}')", printable(name), nearest);
}

std::vector<std::shared_ptr<const Function>> Registry::list(std::string_view pattern) const {
  std::vector<std::shared_ptr<const Function>> found;
  const MutexLock lock(mutex_);
  for (const auto& [name, function] : functions_) {
    if (matches(pattern, name)) found.push_back(function);
  }
  return found;
}

Status Registry::enable(std::string_view name, bool enabled) {
  std::shared_ptr<const Function> function;
  {
    const MutexLock lock(mutex_);
    const auto found = functions_.find(name);
    if (found == functions_.end()) return Status::not_found("there is no function '{}'", printable(name));
    function = found->second;
  }
  if (function->definition().enabled == enabled) return {};
  Definition definition = function->definition();
  definition.enabled = enabled;
  const Result<std::shared_ptr<const Function>> changed = add(std::move(definition), function->source(), Replace::kYes);
  return changed.status().copy();
}

Status Registry::remove(std::string_view name) {
  const MutexLock changing(changing_);
  Functions functions;
  {
    const MutexLock lock(mutex_);
    functions = functions_;
  }
  const auto found = functions.find(name);
  if (found == functions.end()) return Status::not_found("there is no function '{}'", printable(name));
  const std::shared_ptr<const Function> gone = found->second;
  functions.erase(found);
  if (!directory_.empty()) {
    SPORE_TRY(save(functions));
    const bool used = std::ranges::any_of(
        functions, [&](const auto& entry) { return entry.second->source_hash() == gone->source_hash(); });
    std::error_code none;  // a source too many does no harm
    if (!used) fs::remove(directory_ / kSources / gone->source_hash().hex(), none);
  }
  const MutexLock lock(mutex_);
  functions_ = std::move(functions);
  return {};
}

}  // namespace spore::udf
