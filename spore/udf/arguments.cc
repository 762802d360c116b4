#include "spore/udf/arguments.h"

#include <algorithm>
#include <utility>

#include "spore/base/json_reader.h"

namespace spore::udf {

namespace {

const wasm::WitParam& param_at(const Function& function, size_t index) {
  const std::vector<wasm::WitParam>& params = function.signature().params;
  SPORE_ASSERT(!params.empty(), "an argument of a function that takes none");
  return params[std::min(index, params.size() - 1)];
}

}  // namespace

Status check_count(const Function& function, size_t count) {
  if (function.arity().takes(count)) return {};
  const std::string takes = function.arity().text();
  return Status::invalid_argument("'{}' takes {} argument{}, {} given: {}", function.name(), takes,
                                  takes == "1" ? "" : "s", count, function.signature().text());
}

const wasm::WitType& argument_type(const Function& function, size_t index) {
  const wasm::WitType& type = *param_at(function, index).type;
  const bool further = function.definition().variadic && index + 1 >= function.signature().params.size() &&
                       !type.parts.empty();
  return further ? *type.parts[0] : type;
}

std::string_view argument_name(const Function& function, size_t index) {
  return param_at(function, index).name;
}

Result<std::vector<host::WitValue>> arguments_from_json(const Function& function, std::string_view json) {
  JsonReader reader(json);
  std::vector<std::string_view> texts;
  if (!reader.begin_array()) return Status::invalid_argument("the arguments are no JSON array");
  for (bool first = true; reader.next_element(first);) {
    const std::optional<std::string_view> text = reader.raw();
    if (!text) break;
    texts.push_back(*text);
  }
  SPORE_TRY(reader.finish().with_context("the arguments"));
  SPORE_TRY(check_count(function, texts.size()));
  std::vector<host::WitValue> values;
  for (size_t i = 0; i < texts.size(); i++) {
    Result<host::WitValue> value = host::from_json(argument_type(function, i), texts[i]);
    if (!value.ok()) {
      return std::move(value).status().with_context(
          fmt::format("argument {} ({})", i + 1, argument_name(function, i)));
    }
    values.push_back(std::move(value).value());
  }
  return values;
}

}  // namespace spore::udf
