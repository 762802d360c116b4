#include "plugins/c/document.h"

#include "spore/base/json.h"
#include "spore/base/json_reader.h"

namespace spore::c {

using udf::FieldValue;

FieldValue CallbackDocument::field(std::string_view path) const {
  spore_value value = spore_value_null();
  if (document_.field(document_.data, path.data(), path.size(), &value) == 0) return {};
  switch (value.kind) {
    case SPORE_NULL: return {};
    case SPORE_I64: return FieldValue::integer_of(value.as.i64);
    case SPORE_U64:
      if (value.as.u64 <= INT64_MAX) return FieldValue::integer_of(value.as.i64);
      return FieldValue::float_of(static_cast<double>(value.as.u64));
    case SPORE_F64: return FieldValue::float_of(value.as.f64);
    case SPORE_STRING:
    case SPORE_JSON: return FieldValue::string({value.as.text.data, value.as.text.size});
    case SPORE_BYTES: return FieldValue::bytes({value.as.text.data, value.as.text.size});
  }
  return {};
}

std::vector<std::string> CallbackDocument::field_names() const {
  std::vector<std::string> names;
  if (document_.field_count == nullptr || document_.field_name == nullptr) return names;
  const size_t count = document_.field_count(document_.data);
  for (size_t i = 0; i < count; i++) {
    const char* name = document_.field_name(document_.data, i);
    if (name != nullptr) names.emplace_back(name);
  }
  return names;
}

std::string_view CallbackDocument::id() const {
  const char* id = document_.id == nullptr ? nullptr : document_.id(document_.data);
  return id == nullptr ? std::string_view() : id;
}

double CallbackDocument::score() const {
  return document_.score == nullptr ? 0 : document_.score(document_.data);
}

std::string CallbackDocument::json() const {
  const char* all = document_.json == nullptr ? nullptr : document_.json(document_.data);
  if (all != nullptr) return all;
  JsonWriter json;
  json.begin_object();
  for (const std::string& name : field_names()) {
    const FieldValue value = field(name);
    switch (value.kind) {
      case FieldValue::Kind::kAbsent: json.null_field(name); break;
      case FieldValue::Kind::kBool: json.field(name, value.integer != 0); break;
      case FieldValue::Kind::kInteger: json.field(name, value.integer); break;
      case FieldValue::Kind::kFloat: json.field(name, value.number); break;
      case FieldValue::Kind::kString:
      case FieldValue::Kind::kBytes: json.field(name, value.text); break;
    }
  }
  json.end_object();
  return json.take();
}

Status Calling::set(const spore_call_options* options) {
  if (options == nullptr) return {};
  options_ = *options;
  if (options_.document != nullptr) {
    if (options_.document_json != nullptr) return Status::invalid_argument("one document, not two");
    if (options_.document->field == nullptr) return Status::invalid_argument("a document without 'field'");
    callback_.emplace(*options_.document);
  } else if (options_.document_json != nullptr) {
    JsonReader reader(options_.document_json);
    if (reader.peek() != JsonReader::Kind::kObject)
      return Status::invalid_argument("a document that is no JSON object");
    reader.skip();
    SPORE_TRY(reader.finish().with_context("the document"));
    json_.emplace(options_.document_json);
  }
  return {};
}

const udf::Document* Calling::document() const {
  if (callback_) return &*callback_;
  return json_ ? &*json_ : nullptr;
}

udf::Watch Calling::watch() const {
  if (options_.wants_end == nullptr) return {};
  return {.wants_end =
              [](void* data) noexcept {
                const auto& options = *static_cast<const spore_call_options*>(data);
                return options.wants_end(options.wants_end_data) != 0;
              },
          .data = const_cast<spore_call_options*>(&options_)};
}

}  // namespace spore::c
