#include "spore/udf/registry.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "spore/base/edit_distance.h"
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

// '*' for any characters, '?' for one.  Linear in time for one star; the last star's place is all that is
// kept.
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

Status not_as_written(std::string_view what) { return Status::corruption("{}: {}", kIndex, what); }

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
    return Status::unsupported("{}: of format {}, this version reads {}", kIndex, format.value_or(0),
                               kFormat);
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
  std::vector<Kept> kept = SPORE_TRY(read_index(text));
  const MutexLock lock(mutex_);
  for (Kept& each : kept) {
    SPORE_TRY(each.definition.check().with_context(kIndex));
    // What the file says names no other folder.
    if (each.sha256.empty() || each.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return not_as_written(fmt::format("'{}' is no SHA-256", printable(each.sha256)));
    }
    std::string name = each.definition.name;
    functions_.insert_or_assign(std::move(name),
                                Entry{std::move(each.definition), std::move(each.sha256), nullptr});
  }
  return {};
}

Registry::Functions Registry::copy() const {
  const MutexLock lock(mutex_);
  return functions_;
}

// Two threads that ask at once may make it twice; the first one's is kept.
Result<std::shared_ptr<const Function>> Registry::make(const Entry& entry) {
  if (entry.function != nullptr) return entry.function;
  const std::vector<uint8_t> source =
      SPORE_TRY(read_file(directory_ / kSources / entry.sha256, kSourceBytesMax));
  if (sha256(source).hex() != entry.sha256) {
    return Status::corruption("{}: its source is not as it was kept", entry.definition.name);
  }
  auto function = SPORE_TRY(maker_.make(entry.definition, source));
  const MutexLock lock(mutex_);
  const auto found = functions_.find(entry.definition.name);
  const bool same =
      found != functions_.end() && found->second.function == nullptr && found->second.sha256 == entry.sha256;
  if (same) found->second.function = function;
  return function;
}

Status Registry::keep_source(const Function& function) const {
  const fs::path file = directory_ / kSources / function.source_hash().hex();
  // One that is there may be damaged, and who adds the function anew wants it whole.
  const Result<std::vector<uint8_t>> there = read_file(file, kSourceBytesMax);
  if (there.ok() && there.value() == function.source()) return {};
  return write_file(file, function.source());
}

Status Registry::save(const Functions& functions) const {
  JsonWriter json;
  json.begin_object().field("format", kFormat).begin_array("functions");
  for (const auto& [name, entry] : functions) {
    json.begin_object().field("sha256", entry.sha256).begin_object("definition");
    entry.definition.write_json(json);
    json.end_object().end_object();
  }
  json.end_array().end_object();
  return write_file(directory_ / kIndex, bytes_of(json.take()));
}

Result<std::shared_ptr<const Function>> Registry::add(const Definition& definition,
                                                      std::span<const uint8_t> source, Replace replace) {
  const MutexLock changing(changing_);
  Functions functions = copy();
  const bool there = functions.contains(definition.name);
  if (there && replace == Replace::kNo) {
    return Status::already_exists("there is a function '{}' already", definition.name);
  }
  if (!there && functions.size() >= kFunctionsMax) {
    return Status::limit_exceeded("{} functions, which is all that there may be", kFunctionsMax);
  }
  auto function = SPORE_TRY(maker_.make(definition, source));
  functions.insert_or_assign(function->name(),
                             Entry{function->definition(), function->source_hash().hex(), function});
  if (!directory_.empty()) {
    SPORE_TRY(keep_source(*function));
    SPORE_TRY(save(functions));
  }
  const MutexLock lock(mutex_);
  functions_ = std::move(functions);
  return function;
}

Result<std::shared_ptr<const Function>> Registry::find(std::string_view name) {
  Entry entry;
  {
    const MutexLock lock(mutex_);
    const auto found = functions_.find(name);
    if (found != functions_.end()) {
      if (!found->second.definition.enabled) {
        return Status::unavailable("the function '{}' is disabled", found->first);
      }
      if (found->second.function != nullptr) return found->second.function;
      entry = found->second;
    }
  }
  if (!entry.sha256.empty()) return make(entry);
  constexpr size_t kTypo = 3;
  constexpr size_t kNameMax = 200;
  const Functions functions = copy();
  std::string_view nearest;
  size_t least = kTypo + 1;
  for (const auto& [other, unused] : functions) {
    const size_t away = name.size() > kNameMax ? least : edit_distance(name, other);
    if (away < least) {
      least = away;
      nearest = other;
    }
  }
  if (nearest.empty()) return Status::not_found("there is no function '{}'", printable(name));
  return Status::not_found("there is no function '{}' (there is '{}')", printable(name), nearest);
}

std::vector<std::shared_ptr<const Function>> Registry::list(std::string_view pattern,
                                                            std::vector<Broken>* broken) {
  std::vector<std::shared_ptr<const Function>> made;
  for (const auto& [name, entry] : copy()) {
    if (!matches(pattern, name)) continue;
    Result<std::shared_ptr<const Function>> function = make(entry);
    if (function.ok()) {
      made.push_back(std::move(function).value());
    } else if (broken != nullptr) {
      broken->push_back({name, std::string(function.status().message())});
    }
  }
  return made;
}

Status Registry::enable(std::string_view name, bool enabled) {
  const Functions functions = copy();
  const auto found = functions.find(name);
  if (found == functions.end()) return Status::not_found("there is no function '{}'", printable(name));
  if (found->second.definition.enabled == enabled) return {};
  const std::shared_ptr<const Function> function = SPORE_TRY(make(found->second));
  Definition definition = function->definition();
  definition.enabled = enabled;
  return add(definition, function->source(), Replace::kYes).status().copy();
}

Status Registry::remove(std::string_view name) {
  const MutexLock changing(changing_);
  Functions functions = copy();
  const auto found = functions.find(name);
  if (found == functions.end()) return Status::not_found("there is no function '{}'", printable(name));
  const std::string gone = found->second.sha256;
  functions.erase(found);
  if (!directory_.empty()) {
    SPORE_TRY(save(functions));
    const bool used =
        std::ranges::any_of(functions, [&](const auto& entry) { return entry.second.sha256 == gone; });
    std::error_code none;  // a source too many does no harm
    if (!used) fs::remove(directory_ / kSources / gone, none);
  }
  const MutexLock lock(mutex_);
  functions_ = std::move(functions);
  return {};
}

}  // namespace spore::udf
