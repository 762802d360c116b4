#include "apps/spore/values.h"

#include <utility>

#include "apps/spore/command.h"
#include "spore/base/json.h"

namespace spore::cli {

using host::Signature;
using host::Value;

Result<std::vector<Value>> parse_values(const Signature& signature, std::span<const std::string_view> words) {
  if (words.size() != signature.params.size()) {
    return Status::invalid_argument("{} argument{} given, the function takes {}: {}", words.size(),
                                    words.size() == 1 ? "" : "s", signature.params.size(), signature.text());
  }
  std::vector<Value> values;
  for (size_t i = 0; i < words.size(); i++) {
    Result<Value> value = Value::parse(signature.params[i], words[i]);
    if (!value.ok()) return std::move(value).status().with_context(fmt::format("argument {}", i + 1));
    values.push_back(std::move(value).value());
  }
  return values;
}

void print_results(const Args& args, std::span<const Value> results, double microseconds) {
  if (!args.has("--json")) {
    for (const Value& value : results) print(value.text() + "\n");
    return;
  }
  JsonWriter json;
  json.begin_object().begin_array("results");
  for (const Value& value : results) {
    json.begin_object()
        .field("type", host::value_type_name(value.type()))
        .field("value", value.text())
        .end_object();
  }
  json.end_array().field("call_us", microseconds).end_object();
  print(json.take());
}

}  // namespace spore::cli
