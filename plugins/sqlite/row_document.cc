#include "plugins/sqlite/row_document.h"

#include "spore/base/json.h"
#include "spore/base/json_reader.h"
#include "spore/host/wit_value.h"

namespace spore::sqlite {

using udf::FieldValue;

namespace {

std::string_view text_of(sqlite3_value* value) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
  return text == nullptr ? std::string_view()
                         : std::string_view(text, static_cast<size_t>(sqlite3_value_bytes(value)));
}

FieldValue field_of(sqlite3_value* value) {
  switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER: return FieldValue::integer_of(sqlite3_value_int64(value));
    case SQLITE_FLOAT: return FieldValue::float_of(sqlite3_value_double(value));
    case SQLITE_TEXT: return FieldValue::string(text_of(value));
    case SQLITE_BLOB: {
      const auto* bytes = static_cast<const char*>(sqlite3_value_blob(value));
      const int size = sqlite3_value_bytes(value);
      return FieldValue::bytes(bytes == nullptr ? std::string_view()
                                                : std::string_view(bytes, static_cast<size_t>(size)));
    }
    default: return {};
  }
}

bool is_json(std::string_view text) {
  JsonReader reader(text);
  const JsonReader::Kind kind = reader.peek();
  if (kind != JsonReader::Kind::kObject && kind != JsonReader::Kind::kArray) return false;
  return reader.skip() && reader.finish().ok();
}

// Text that is an object or an array stands as such, as its paths lead into it.
void append_field(sqlite3_value* value, std::string& json) {
  using host::WitValue;
  const FieldValue field = field_of(value);
  switch (field.kind) {
    case FieldValue::Kind::kInteger: json += std::to_string(field.integer); return;
    case FieldValue::Kind::kFloat:
      return host::append_json({.kind = wasm::WitKind::kF64}, WitValue::f64(field.number), json);
    case FieldValue::Kind::kString:
      json += is_json(field.text) ? std::string(field.text) : json_quote(field.text);
      return;
    case FieldValue::Kind::kBytes:
      return host::append_json({.kind = wasm::WitKind::kBytes}, WitValue::string(std::string(field.text)),
                               json);
    default: json += "null";
  }
}

}  // namespace

Status RowDocument::set(std::span<sqlite3_value*> pairs) {
  fields_.clear();
  if (pairs.size() % 2 != 0) {
    return Status::invalid_argument(
        "behind its own arguments it takes a document: one JSON object, or names and values in turn, not {} "
        "of them",
        pairs.size());
  }
  for (size_t i = 0; i < pairs.size(); i += 2) {
    if (sqlite3_value_type(pairs[i]) != SQLITE_TEXT) {
      return Status::invalid_argument("the name of field {} of its document is {}, not TEXT", i / 2 + 1,
                                      type_name(sqlite3_value_type(pairs[i])));
    }
    fields_.push_back({.name = text_of(pairs[i]), .value = pairs[i + 1]});
  }
  return {};
}

const RowDocument::Field* RowDocument::find(std::string_view name) const {
  for (const Field& field : fields_) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

FieldValue RowDocument::field(std::string_view path) const {
  if (const Field* exact = find(path)) return field_of(exact->value);
  for (size_t end = path.find_last_of(".["); end != std::string_view::npos && end > 0;
       end = path.find_last_of(".[", end - 1)) {
    const Field* field = find(path.substr(0, end));
    if (field == nullptr) continue;
    if (sqlite3_value_type(field->value) != SQLITE_TEXT) return {};
    const Result<udf::FieldPath> rest = udf::FieldPath::parse(path.substr(path[end] == '.' ? end + 1 : end));
    return rest.ok() ? udf::json_field(text_of(field->value), rest.value(), scratch_) : FieldValue();
  }
  return {};
}

std::vector<std::string> RowDocument::field_names() const {
  std::vector<std::string> names;
  for (const Field& field : fields_) names.emplace_back(field.name);
  return names;
}

std::string RowDocument::json() const {
  std::string json = "{";
  for (const Field& field : fields_) {
    if (json.size() > 1) json += ',';
    json += json_quote(field.name) + ':';
    append_field(field.value, json);
  }
  return json + '}';
}

Status CallDocument::set(std::span<sqlite3_value*> further) {
  document_ = nullptr;
  if (further.empty()) return {};
  if (further.size() != 1) {
    SPORE_TRY(row_.set(further));
    document_ = &row_;
    return {};
  }
  const int given = sqlite3_value_type(further[0]);
  if (given == SQLITE_NULL) return {};
  if (given != SQLITE_TEXT)
    return Status::invalid_argument("its document is {}, not a JSON object as TEXT", type_name(given));
  const std::string_view text = text_of(further[0]);
  JsonReader reader(text);
  if (reader.peek() != JsonReader::Kind::kObject)
    return Status::invalid_argument("its document is no JSON object");
  reader.skip();
  SPORE_TRY(reader.finish().with_context("its document"));
  json_.emplace(text);
  document_ = &*json_;
  return {};
}

}  // namespace spore::sqlite
