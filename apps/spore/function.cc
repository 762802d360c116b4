// spore function add|list|call|remove|enable|disable|bench: the functions of the data directory.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/functions.h"
#include "apps/spore/interrupt.h"
#include "apps/spore/progress.h"
#include "apps/spore/wit_words.h"
#include "spore/base/json.h"
#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"
#include "spore/handler/handler.h"
#include "spore/handler/language.h"
#include "spore/host/canonical.h"
#include "spore/udf/document.h"
#include "spore/udf/function.h"

namespace spore::cli {

namespace {

using host::WitArg;
using host::WitValue;
using udf::Definition;
using udf::Function;

using FunctionRef = std::shared_ptr<const Function>;

}  // namespace

// --- making and reading --------------------------------------------------------------------------------

Result<Functions> new_functions(const Args& args) {
  Functions functions;
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  functions.runtime = SPORE_TRY(runtime::Runtime::create(options));
  functions.maker =
      std::make_unique<udf::Maker>(*functions.runtime, udf::MakerOptions{.home = home_of(args).value_or({})});
  functions.registry = std::make_unique<udf::Registry>(*functions.maker);
  return functions;
}

Result<Functions> open_functions(const Args& args) {
  const std::filesystem::path home = SPORE_TRY(home_of(args));
  Functions functions = SPORE_TRY(new_functions(args));
  const Progress progress("loading functions");
  functions.registry = SPORE_TRY(udf::Registry::open(*functions.maker, home / "functions"));
  return functions;
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the analyser loses the registry within Result

Result<FunctionFile> read_function(std::string_view path, size_t bytes_max) {
  if (const handler::Language* language = handler::language_of(std::filesystem::path(path))) {
    std::vector<uint8_t> text = SPORE_TRY(read_file(std::filesystem::path(path), handler::kSourceBytesMax));
    return FunctionFile{.language = language->name, .bytes = std::move(text)};
  }
  if (!path.ends_with(".wasm") && !path.ends_with(".wat")) {
    std::string endings;
    for (const handler::Language& language : handler::languages()) {
      endings += fmt::format(", {}", language.ending);
    }
    return Status::invalid_argument("'{}' is no file of functions by its name (.wasm, .wat{})",
                                    printable(path), endings);
  }
  const ModuleBytes module = SPORE_TRY(read_module(path, bytes_max));
  return FunctionFile{.language = "wasm", .bytes = {module.bytes().begin(), module.bytes().end()}};
}

namespace {

// "pure aggregate".
std::string kind_words(const Definition& definition) {
  return fmt::format("{}{}{}", definition.enabled ? "" : "disabled ", definition.pure ? "pure " : "",
                     udf::function_kind_name(definition.kind));
}

void print_function_json(const Function& function) {
  JsonWriter json;
  json.begin_object();
  function.write_json(json);
  json.end_object();
  print(json.take());
}

// --- add -----------------------------------------------------------------------------------------------

Result<Definition> definition_of(const Args& args, std::string_view name, std::string_view language) {
  Definition definition;
  definition.language = language;
  if (const auto options = args.value_of("--options")) {
    SPORE_TRY(definition.apply_json(*options).with_context("--options"));
  }
  definition.name = name;
  const auto set = [&](std::string_view flag, std::string& field) {
    if (const auto value = args.value_of(flag)) field = *value;
  };
  set("--signature", definition.signature);
  set("--set-version", definition.version);
  set("--description", definition.description);
  set("--author", definition.author);
  set("--category", definition.category);
  if (const auto kind = args.value_of("--kind")) {
    SPORE_TRY(
        definition.apply_json(fmt::format(R"({{"kind": {}}})", json_quote(*kind))).with_context("--kind"));
  }
  if (args.has("--pure")) definition.pure = true;
  return definition;
}

Result<int> add_function(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::string_view file = SPORE_TRY(args.positional("FILE"));
  SPORE_TRY(args.finish());
  const runtime::RuntimeOptions options = SPORE_TRY(options_of(args));
  const FunctionFile source = SPORE_TRY(read_function(file, options.module_bytes_max));
  Definition definition = SPORE_TRY(definition_of(args, name, source.language));
  const Functions functions = SPORE_TRY(open_functions(args));
  std::optional<Progress> progress(fmt::format("adding {}", name));
  const udf::Replace replace = args.has("--replace") ? udf::Replace::kYes : udf::Replace::kNo;
  Result<FunctionRef> added = functions.registry->add(definition, source.bytes, replace);
  progress.reset();
  if (added.code() == Code::kAlreadyExists) {
    return Status::already_exists("{} (--replace has this one take its place)", added.status().message());
  }
  const FunctionRef function = SPORE_TRY(std::move(added));
  if (args.has("--json")) {
    print_function_json(*function);
  } else {
    print(fmt::format("{}: {} {}, {} bytes of {}\n", function->name(), kind_words(function->definition()),
                      function->signature().text(), source.bytes.size(), source.language));
  }
  return kDone;
}

// --- list ----------------------------------------------------------------------------------------------

Result<int> list_functions(Args& args) {
  const std::vector<std::string_view> patterns = args.rest();
  if (patterns.size() > 1) return Status::invalid_argument("unexpected '{}'", patterns[1]);
  const Functions functions = SPORE_TRY(open_functions(args));
  std::vector<udf::Registry::Broken> all_broken;
  const std::vector<FunctionRef> found =
      functions.registry->list(patterns.empty() ? "*" : patterns[0], &all_broken);
  for (const udf::Registry::Broken& broken : all_broken) {
    fmt::print(stderr, "spore: {}: {}\n", printable(broken.name), broken.why);
  }
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().begin_array("functions");
    for (const FunctionRef& function : found) {
      json.begin_object();
      function->write_json(json);
      json.end_object();
    }
    json.end_array().begin_array("broken");
    for (const udf::Registry::Broken& broken : all_broken) {
      json.begin_object().field("name", broken.name).field("why", broken.why).end_object();
    }
    json.end_array().end_object();
    print(json.take());
  } else {
    for (const FunctionRef& function : found) {
      const Definition& definition = function->definition();
      print(fmt::format("{:<20} {:<8} {:<10} {:<16} {}{}{}\n", function->name(), definition.version,
                        definition.language, kind_words(definition), function->signature().text(),
                        definition.description.empty() ? "" : "  # ", printable(definition.description)));
    }
  }
  return all_broken.empty() ? kDone : kFailed;
}

// --- call ----------------------------------------------------------------------------------------------

std::vector<WitArg> references(std::span<const WitValue> values) { return {values.begin(), values.end()}; }

// The words are rows, one behind the other.
Status aggregate(const Function& function, std::span<const std::string_view> words, WitValue& result) {
  const size_t width = std::max<size_t>(function.signature().params.size(), 1);
  if (words.size() % width != 0) {
    return Status::invalid_argument("'{}' takes rows of {} arguments, {} words are none: {}", function.name(),
                                    width, words.size(), function.signature().text());
  }
  const std::unique_ptr<udf::Group> group = SPORE_TRY(function.begin_group(InterruptWatch::watch()));
  for (size_t row = 0; row * width < words.size(); row++) {
    const std::vector<WitValue> values =
        SPORE_TRY(parse_wit_words(function, words.subspan(row * width, width)));
    SPORE_TRY(group->step(references(values)).with_context(fmt::format("row {}", row + 1)));
  }
  return group->finish(result);
}

Status call(const Function& function, std::span<const std::string_view> words,
            std::optional<std::string_view> document, WitValue& result) {
  if (function.definition().kind == udf::FunctionKind::kAggregate) return aggregate(function, words, result);
  const std::vector<WitValue> values = SPORE_TRY(parse_wit_words(function, words));
  const udf::JsonDocument row(document.value_or("{}"));
  return function.call(references(values), result,
                       {.document = document ? &row : nullptr, .watch = InterruptWatch::watch()});
}

void print_result(const Function& function, const WitValue& result) {
  const wasm::WitTypeRef& type = function.signature().result;
  if (type == nullptr) return;
  const bool rows =
      function.definition().kind == udf::FunctionKind::kTable && type->kind == wasm::WitKind::kList;
  if (!rows) {
    print(wit_word(*type, result) + "\n");
    return;
  }
  for (const WitValue& row : result.items) print(host::to_json(*type->parts[0], row) + "\n");
}

Status check_document(const Args& args) {
  const std::optional<std::string_view> text = args.value_of("--document");
  if (!text) return {};
  JsonReader reader(*text);
  if (reader.peek() != JsonReader::Kind::kObject)
    return Status::invalid_argument("--document: no JSON object");
  reader.skip();
  return reader.finish().with_context("--document");
}

Result<int> call_function(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::vector<std::string_view> words = args.rest();
  SPORE_TRY(check_document(args));
  const Functions functions = SPORE_TRY(open_functions(args));
  const FunctionRef function = SPORE_TRY(functions.registry->find(name));
  const InterruptWatch interrupt;
  WitValue result;
  const auto begin = std::chrono::steady_clock::now();
  SPORE_TRY(call(*function, words, args.value_of("--document"), result));
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
  if (args.has("--json")) {
    const wasm::WitTypeRef& type = function->signature().result;
    const std::string value = type == nullptr ? "null" : host::to_json(*type, result);
    print(fmt::format("{{\n  \"result\": {},\n  \"call_us\": {:.3f}\n}}\n", value, elapsed.count()));
  } else {
    print_result(*function, result);
  }
  return kDone;
}

// --- remove, enable, disable ---------------------------------------------------------------------------

Result<int> changed(const Args& args, std::string_view what, std::string_view name) {
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field(what, name).end_object();
    print(json.take());
  }
  return kDone;
}

Result<int> remove_function(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const Functions functions = SPORE_TRY(open_functions(args));
  SPORE_TRY(functions.registry->remove(name));
  return changed(args, "removed", name);
}

Result<int> switch_function(Args& args, bool enabled) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const Functions functions = SPORE_TRY(open_functions(args));
  SPORE_TRY(functions.registry->enable(name, enabled));
  return changed(args, enabled ? "enabled" : "disabled", name);
}

Result<int> enable_function(Args& args) { return switch_function(args, true); }
Result<int> disable_function(Args& args) { return switch_function(args, false); }

// --- bench ---------------------------------------------------------------------------------------------

constexpr double kBenchMs = 200;   // of each way, unless it was told how many calls
constexpr double kWarmUpMs = 400;  // in which its code becomes what it will be

struct Way {
  std::string name;
  size_t batch;  // 0: no batch
  uint64_t calls;
  double ns;  // a call
};

class Bench {
 public:
  Bench(std::vector<WitValue> values, std::optional<uint64_t> calls)
      : values_(std::move(values)), calls_(calls) {}

  // Warms it up, too.
  Status run(const Function& function) {
    SPORE_TRY(warm_up(function));
    const std::vector<WitArg> args = references(values_);
    WitValue result;
    SPORE_TRY(measure("a clean instance for each call", 0,
                      [&] { return function.call(args, result, {.watch = InterruptWatch::watch()}); }));
    const auto session = function.begin(InterruptWatch::watch(), udf::Isolation::kStatement);
    SPORE_TRY(measure("one for a statement", 0, [&] { return session->call(args, result); }));
    if (session->numbers()) SPORE_TRY(measure_numbers(function, *session));
    for (const size_t count : {1, 10, 100, 1'000, 10'000}) SPORE_TRY(measure_batch(function, count));
    return {};
  }
  // The function keeps results.
  Status run_memo(const Function& function) {
    const std::vector<WitArg> args = references(values_);
    WitValue result;
    SPORE_TRY(function.call(args, result, {}));
    const auto session = function.begin({}, udf::Isolation::kStatement);
    return measure("result kept from before", 0, [&] { return session->call(args, result); });
  }
  const std::vector<Way>& ways() const { return ways_; }

 private:
  Status warm_up(const Function& function) {
    const auto session = function.begin(InterruptWatch::watch(), udf::Isolation::kStatement);
    const std::vector<WitArg> args = references(values_);
    WitValue result;
    const auto begin = std::chrono::steady_clock::now();
    do {
      SPORE_TRY(session->call(args, result));
    } while (milliseconds_since(begin) < kWarmUpMs);
    return {};
  }

  // `once` makes so many calls as the batch has, or one.
  template <typename Once>
  Status measure(std::string_view name, size_t batch, const Once& once) {
    const size_t rows = std::max<size_t>(batch, 1);
    uint64_t done = 0;
    uint64_t step = 1;
    const auto begin = std::chrono::steady_clock::now();
    double ms = 0;
    do {
      for (uint64_t i = 0; i < step; i++) SPORE_TRY(once());
      done += step * rows;
      ms = milliseconds_since(begin);
      step = std::min<uint64_t>(step * 2, 1'000);  // a clock costs more than a call
      if (calls_) step = std::min(step, (*calls_ - std::min(done, *calls_) + rows - 1) / rows);
    } while (calls_ ? done < *calls_ : ms < kBenchMs);
    constexpr double kNsInMs = 1e6;
    ways_.push_back({std::string(name), batch, done, ms * kNsInMs / static_cast<double>(done)});
    return {};
  }

  Status measure_numbers(const Function& function, udf::Session& session) {
    const std::vector<wasm::WitParam>& params = function.signature().params;
    std::vector<engine::RawValue> lowered;
    for (size_t i = 0; i < params.size(); i++) {
      lowered.push_back(host::WitFunction::lower_number(params[i].type->kind, values_[i].bits));
    }
    if (lowered.empty()) lowered.emplace_back();
    std::vector<engine::RawValue> values(lowered.size());
    return measure("one for a statement, core values", 0, [&] {
      std::ranges::copy(lowered, values.begin());
      return session.call_numbers(values.data(), values.size()) ? Status() : session.take_failure();
    });
  }

  Status measure_batch(const Function& function, size_t count) {
    std::vector<WitArg> args;
    for (size_t row = 0; row < count; row++) args.insert(args.end(), values_.begin(), values_.end());
    std::vector<Result<WitValue>> results;
    return measure(fmt::format("batch of {}", count), count, [&]() -> Status {
      results.clear();
      function.call_batch({.args = args, .count = count}, results, {.watch = InterruptWatch::watch()});
      for (const Result<WitValue>& result : results) {
        if (!result.ok()) return result.status().copy();
      }
      return {};
    });
  }

  std::vector<WitValue> values_;
  std::optional<uint64_t> calls_;
  std::vector<Way> ways_;
};

void print_bench(const Args& args, const Function& function, std::span<const Way> ways) {
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("name", function.name()).field("signature", function.signature().text());
    json.begin_array("ways");
    for (const Way& way : ways) {
      json.begin_object().field("way", way.name).field("batch", way.batch).field("calls", way.calls);
      json.field("ns_per_call", way.ns).end_object();
    }
    json.end_array().end_object();
    print(json.take());
    return;
  }
  print(fmt::format("{} {}\n", function.name(), function.signature().text()));
  for (const Way& way : ways) {
    print(fmt::format("{:<34} {:>12.1f} ns per call, of {} calls\n", way.name, way.ns, way.calls));
  }
}

Result<std::optional<uint64_t>> calls_of(const Args& args) {
  const std::optional<std::string_view> text = args.value_of("--calls");
  if (!text) return std::optional<uint64_t>();
  const Result<uint64_t> calls = runtime::parse_bytes(*text);
  constexpr uint64_t kCallsMax = 1'000'000'000;
  if (!calls.ok() || calls.value() == 0 || calls.value() > kCallsMax) {
    return Status::invalid_argument("--calls: '{}' is no number from 1 to {}", *text, kCallsMax);
  }
  return std::optional(calls.value());
}

Result<int> bench_function(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("NAME"));
  const std::vector<std::string_view> words = args.rest();
  const std::optional<uint64_t> calls = SPORE_TRY(calls_of(args));
  const Functions functions = SPORE_TRY(open_functions(args));
  const FunctionRef found = SPORE_TRY(functions.registry->find(name));
  if (found->definition().kind == udf::FunctionKind::kAggregate) {
    return Status::unsupported("'{}' is an aggregate, which has no single call to measure", name);
  }
  std::vector<WitValue> values = SPORE_TRY(parse_wit_words(*found, words));
  // What keeps no results, and what does: the same function twice more.
  Definition definition = found->definition();
  definition.memo = false;
  const FunctionRef plain = SPORE_TRY(functions.maker->make(definition, found->source()));
  const InterruptWatch interrupt;
  Bench bench(std::move(values), calls);
  {
    const Progress progress(fmt::format("measuring {}", name));
    SPORE_TRY(bench.run(*plain));
    if (definition.pure) {
      definition.memo = true;
      const FunctionRef kept = SPORE_TRY(functions.maker->make(definition, found->source()));
      SPORE_TRY(bench.run_memo(*kept));
    }
  }
  print_bench(args, *found, bench.ways());
  return kDone;
}

}  // namespace

Result<int> manage_functions(Args& args) {
  struct Verb {
    std::string_view name;
    Result<int> (*run)(Args& args);
  };
  static constexpr std::array kVerbs{Verb{"add", add_function},       Verb{"list", list_functions},
                                     Verb{"call", call_function},     Verb{"remove", remove_function},
                                     Verb{"enable", enable_function}, Verb{"disable", disable_function},
                                     Verb{"bench", bench_function}};
  const std::string_view verb =
      SPORE_TRY(args.positional("add, list, call, remove, enable, disable or bench"));
  const auto found = std::ranges::find(kVerbs, verb, &Verb::name);
  if (found != kVerbs.end()) return found->run(args);
  return Status::invalid_argument(
      "'{}' is nothing that is done to functions (there are: add, list, call, remove, enable, disable, "
      "bench)",
      printable(verb));
}

}  // namespace spore::cli
