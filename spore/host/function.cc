#include "spore/host/function.h"

#include <algorithm>

namespace spore::host {

using engine::RawValue;

namespace {

// More than any function a person writes; keeps the values on the stack.
constexpr size_t kValuesMax = 64;

}  // namespace

Result<DynamicFunction> DynamicFunction::create(engine::Store& store, const engine::InstanceHandle& instance,
                                                std::string_view name, Signature signature) {
  const engine::FuncType core = signature.core_type();
  const size_t values = std::max(core.params.size(), core.results.size());
  if (values > kValuesMax) {
    return Status::unsupported("'{}' takes or gives {} values, at most {} cross here", name, values,
                               kValuesMax);
  }
  const bool text_in = std::ranges::any_of(signature.params, is_text);
  const bool text_out = std::ranges::any_of(signature.results, is_text);
  const Crossing crossing = SPORE_TRY(Crossing::create(store, instance, name, core, text_in, text_out));
  return DynamicFunction(crossing, std::move(signature), text_in || text_out, values);
}

Result<std::vector<Value>> DynamicFunction::operator()(std::span<const Value> args) const {
  SPORE_TRY(check(args));
  if (!text_) return run(args);
  const engine::Store::Group group(crossing_.store());
  return run(args);
}

Result<std::vector<Value>> DynamicFunction::run(std::span<const Value> args) const {
  std::array<RawValue, kValuesMax> values;
  SPORE_TRY(lower(args, values.data()));
  SPORE_TRY(crossing_.call(values.data(), values_));
  std::vector<Value> results;
  results.reserve(signature_.results.size());
  for (size_t i = 0; i < signature_.results.size(); i++) {
    results.push_back(SPORE_TRY(lift(signature_.results[i], values[i])));
  }
  return results;
}

Status DynamicFunction::check(std::span<const Value> args) const {
  if (args.size() != signature_.params.size()) {
    return Status::invalid_argument("{} argument{} given, the function takes {}: {}", args.size(),
                                    args.size() == 1 ? "" : "s", signature_.params.size(), signature_.text());
  }
  for (size_t i = 0; i < args.size(); i++) {
    if (args[i].type() == signature_.params[i]) continue;
    return Status::invalid_argument("argument {} is of type {}, the function takes {}", i + 1,
                                    value_type_name(args[i].type()), signature_.text());
  }
  return {};
}

// The types were checked.
Status DynamicFunction::lower(std::span<const Value> args, RawValue* values) const {
  for (const Value& arg : args) {
    switch (arg.type()) {
      case ValueType::kI32: (values++)->i32 = arg.as_i32().value(); break;
      case ValueType::kI64: (values++)->i64 = arg.as_i64().value(); break;
      case ValueType::kF32: (values++)->f32 = arg.as_f32().value(); break;
      case ValueType::kF64: (values++)->f64 = arg.as_f64().value(); break;
      case ValueType::kBool: (values++)->i32 = arg.as_bool().value() ? 1 : 0; break;
      case ValueType::kString:
        SPORE_TRY(crossing_.lower(arg.as_string().value(), values));
        values += 2;
        break;
      case ValueType::kBytes: {
        const std::span<const std::byte> bytes = arg.as_bytes().value();
        SPORE_TRY(crossing_.lower({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, values));
        values += 2;
        break;
      }
    }
  }
  return {};
}

Result<Value> DynamicFunction::lift(ValueType type, const RawValue& raw) const {
  switch (type) {
    case ValueType::kI32: return Value::i32(raw.i32);
    case ValueType::kI64: return Value::i64(raw.i64);
    case ValueType::kF32: return Value::f32(raw.f32);
    case ValueType::kF64: return Value::f64(raw.f64);
    case ValueType::kBool: return Value::boolean(raw.i32 != 0);
    case ValueType::kString: {
      std::string text = SPORE_TRY(crossing_.lift<std::string>(raw));
      if (!is_utf8(text)) {
        return engine::bad_result("a string that is not UTF-8 (ask for bytes instead)");
      }
      return Value::string(std::move(text));
    }
    case ValueType::kBytes: {
      const std::string text = SPORE_TRY(crossing_.lift<std::string>(raw));
      const auto* data = reinterpret_cast<const std::byte*>(text.data());
      return Value::bytes(Value::Bytes(data, data + text.size()));
    }
  }
  return Status::internal("a result of unknown type");
}

}  // namespace spore::host
