#include "spore/project/cases.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "spore/base/fd.h"
#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"
#include "spore/project/create.h"
#include "spore/udf/arguments.h"
#include "spore/udf/document.h"

namespace spore::project {

using host::WitArg;
using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

bool read_raw(JsonReader& json, std::string& out) {
  const std::optional<std::string_view> text = json.raw();
  if (text) out = *text;
  return text.has_value();
}

Result<Case> parse_case(std::string_view line) {
  JsonReader json(line);
  Case made;
  std::string key;
  if (!json.begin_object()) return json.take_failure();
  for (bool first = true; json.next_key(first, key);) {
    bool read = false;
    if (key == "function") {
      read = json.string(made.function);
    } else if (key == "args") {
      read = read_raw(json, made.args);
    } else if (key == "document") {
      read = read_raw(json, made.document);
    } else if (key == "result") {
      read = read_raw(json, made.result);
    } else if (key == "error") {
      read = json.string(made.error);
    } else {
      return Status::invalid_argument("'{}' is none of function, args, document, result, error",
                                      printable(key));
    }
    if (!read) return json.take_failure();
  }
  SPORE_TRY(json.finish());
  if (made.function.empty()) return Status::invalid_argument("'function' is missing");
  if (made.result.empty() == made.error.empty()) {
    return Status::invalid_argument("it needs a 'result' or an 'error', and not both");
  }
  return made;
}

bool nearly_equal_numbers(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (a == b) return true;
  if (std::isinf(a) || std::isinf(b)) return false;
  constexpr double kRelative = 1e-9;
  return std::abs(a - b) <= kRelative * std::max(std::abs(a), std::abs(b));
}

// One of an array's values behind the other, as texts.
Result<std::vector<std::string_view>> elements_of(std::string_view array) {
  JsonReader json(array);
  std::vector<std::string_view> texts;
  if (!json.begin_array()) return Status::invalid_argument("'args' are no array");
  for (bool first = true; json.next_element(first);) {
    const std::optional<std::string_view> text = json.raw();
    if (!text) break;
    texts.push_back(*text);
  }
  SPORE_TRY(json.finish());
  return texts;
}

Status call_row(const udf::Function& function, const Case& of, WitValue& result) {
  const std::vector<WitValue> values = SPORE_TRY(udf::arguments_from_json(function, of.args));
  const std::vector<WitArg> args(values.begin(), values.end());
  const udf::JsonDocument document(of.document);
  return function.call(args, result, {.document = of.document.empty() ? nullptr : &document});
}

Status call_group(const udf::Function& function, const Case& of, WitValue& result) {
  const std::vector<std::string_view> rows = SPORE_TRY(elements_of(of.args));
  const std::unique_ptr<udf::Group> group = SPORE_TRY(function.begin_group({}));
  for (const std::string_view row : rows) {
    const std::vector<WitValue> values = SPORE_TRY(udf::arguments_from_json(function, row));
    SPORE_TRY(group->step(std::vector<WitArg>(values.begin(), values.end())));
  }
  return group->finish(result);
}

// What is declared, as functions to be registered: `total-step` and `total-finish` are one.
std::vector<udf::Definition> definitions_of(std::span<const wasm::WitExport> functions) {
  constexpr std::string_view kStep = "-step";
  constexpr std::string_view kFinish = "-finish";
  const auto declared = [&](const std::string& name) {
    return std::ranges::find(functions, name, &wasm::WitExport::name) != functions.end();
  };
  std::vector<udf::Definition> definitions;
  for (const wasm::WitExport& function : functions) {
    const std::string_view name = function.name;
    udf::Definition definition{.name = snake_case(name)};
    if (name.ends_with(kStep)) {
      const std::string stem(name.substr(0, name.size() - kStep.size()));
      if (declared(stem + std::string(kFinish))) {
        definition.name = snake_case(stem);
        definition.kind = udf::FunctionKind::kAggregate;
      }
    } else if (name.ends_with(kFinish)) {
      if (declared(std::string(name.substr(0, name.size() - kFinish.size())) + std::string(kStep))) continue;
    }
    definitions.push_back(std::move(definition));
  }
  return definitions;
}

}  // namespace

Result<std::vector<Case>> parse_cases(std::string_view text) {
  std::vector<Case> cases;
  size_t number = 0;
  while (!text.empty()) {
    number++;
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos || line.substr(begin).starts_with("//")) continue;
    Result<Case> parsed = parse_case(line);
    if (!parsed.ok()) return std::move(parsed).status().with_context(fmt::format("{}:{}", kTests, number));
    parsed->line = number;
    cases.push_back(std::move(parsed).value());
  }
  return cases;
}

bool nearly_equal(const WitType& type, const WitValue& a, const WitValue& b) {  // NOLINT(misc-no-recursion)
  if (type.kind == WitKind::kF32) return nearly_equal_numbers(a.as_f32(), b.as_f32());
  if (type.kind == WitKind::kF64) return nearly_equal_numbers(a.as_f64(), b.as_f64());
  if (a.bits != b.bits || a.text != b.text || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); i++) {
    // Of a list and an option all parts are of one type; of a result it is that of its case.
    const size_t part = type.kind == WitKind::kResult                                  ? a.bits
                        : type.kind == WitKind::kList || type.kind == WitKind::kOption ? 0
                                                                                       : i;
    if (!nearly_equal(*type.parts[part], a.items[i], b.items[i])) return false;
  }
  return true;
}

Result<Tester> Tester::create(const Project& project, udf::Registry& registry) {
  Result<std::vector<uint8_t>> source = read_file(project.module, kFileBytesMax);
  if (source.code() == Code::kNotFound) {
    return Status::not_found("{} is not there: 'spore build' makes it", project.module.native());
  }
  const std::vector<uint8_t> bytes = SPORE_TRY(std::move(source));
  if (project.language != "python") {
    const std::vector<wasm::WitExport> functions = SPORE_TRY(check_module(bytes));
    for (const udf::Definition& definition : definitions_of(functions)) {
      SPORE_TRY(registry.add(definition, bytes));
    }
    return Tester(registry);
  }
  const std::vector<uint8_t> file =
      SPORE_TRY(read_file(project.folder / kSignatures, wasm::kWitTextBytesMax));
  const std::string text(file.begin(), file.end());
  const std::vector<wasm::WitExport> functions = SPORE_TRY(wasm::parse_wit(text, ""));
  for (const wasm::WitExport& function : functions) {
    udf::Definition definition{.name = snake_case(function.name), .language = "python"};
    definition.signature = text;  // all of it: one may name types that are declared there
    SPORE_TRY(registry.add(definition, bytes));
  }
  return Tester(registry);
}

Result<Outcome> Tester::run(const Case& of) const {
  const auto function = SPORE_TRY(registry_.find(snake_case(of.function)));
  const bool aggregate = function->definition().kind == udf::FunctionKind::kAggregate;
  WitValue result;
  const Status status = aggregate ? call_group(*function, of, result) : call_row(*function, of, result);
  if (!status.ok()) {
    const bool expected = !of.error.empty() && status.message().find(of.error) != std::string_view::npos;
    return Outcome{.got = fmt::format("the error '{}'", status.message()), .passed = expected};
  }
  const wasm::WitTypeRef& type = function->signature().result;
  if (type == nullptr) return Outcome{.got = "null", .passed = of.result == "null"};
  Outcome outcome{.got = host::to_json(*type, result)};
  if (!of.error.empty()) return outcome;
  const Result<WitValue> expected = host::from_json(*type, of.result);
  outcome.passed = expected.ok() && nearly_equal(*type, expected.value(), result);
  return outcome;
}

}  // namespace spore::project
