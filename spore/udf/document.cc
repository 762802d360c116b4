#include "spore/udf/document.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"
#include "spore/engine/trap.h"
#include "spore/host/cabi.h"
#include "spore/host/crossing.h"

namespace spore::udf {

using engine::Caller;
using engine::GuestMemory;
using engine::RawValue;
using engine::ValType;

// --- paths ----------------------------------------------------------------------------------------------

Result<FieldPath> FieldPath::parse(std::string_view text) {
  if (text.empty() || text.size() > kBytesMax) {
    return Status::invalid_argument("a path of {} bytes (1 to {})", text.size(), kBytesMax);
  }
  FieldPath path;
  size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '[') {
      const size_t end = text.find(']', at);
      size_t index = 0;
      const char* begin = text.data() + at + 1;
      const char* stop = text.data() + (end == std::string_view::npos ? at + 1 : end);
      const auto [after, error] = std::from_chars(begin, stop, index);
      if (end == std::string_view::npos || after != stop || begin == stop || error != std::errc()) {
        return Status::invalid_argument("the path '{}': no index at byte {}", printable(text), at);
      }
      path.steps.push_back({.index = index, .is_index = true});
      at = end + 1;
    } else {
      if (at > 0 && text[at] == '.') at++;
      const size_t end = std::min(text.find_first_of(".[", at), text.size());
      if (end == at)
        return Status::invalid_argument("the path '{}': no name at byte {}", printable(text), at);
      path.steps.push_back({.key = std::string(text.substr(at, end - at))});
      at = end;
    }
    if (at < text.size() && text[at] != '.' && text[at] != '[') {
      return Status::invalid_argument("the path '{}': a '.' is missing at byte {}", printable(text), at);
    }
    if (at + 1 == text.size() && text[at] == '.') {
      return Status::invalid_argument("the path '{}' ends in a '.'", printable(text));
    }
  }
  return path;
}

// --- values ---------------------------------------------------------------------------------------------

std::optional<bool> FieldValue::as_bool() const {
  if (kind != Kind::kBool && kind != Kind::kInteger) return std::nullopt;
  if (integer != 0 && integer != 1) return std::nullopt;
  return integer == 1;
}

std::optional<int64_t> FieldValue::as_s64() const {
  if (kind == Kind::kInteger) return integer;
  constexpr double kLimit = 9223372036854775808.0;
  if (kind != Kind::kFloat || !(number >= -kLimit && number < kLimit) || std::trunc(number) != number) {
    return std::nullopt;
  }
  return static_cast<int64_t>(number);
}

std::optional<double> FieldValue::as_f64() const {
  if (kind == Kind::kFloat) return number;
  if (kind == Kind::kInteger) return static_cast<double>(integer);
  return std::nullopt;
}

std::optional<std::string_view> FieldValue::as_string() const {
  if (kind != Kind::kString || !is_utf8(text)) return std::nullopt;
  return text;
}

std::optional<std::string_view> FieldValue::as_bytes() const {
  if (kind != Kind::kString && kind != Kind::kBytes) return std::nullopt;
  return text;
}

// --- JSON -----------------------------------------------------------------------------------------------

namespace {

// To the value that a step leads to.
bool descend(JsonReader& json, const FieldPath::Step& step) {
  bool first = true;
  if (step.is_index) {
    if (json.peek() != JsonReader::Kind::kArray || !json.begin_array()) return false;
    for (size_t i = 0; json.next_element(first); i++) {
      if (i == step.index) return true;
      if (!json.skip()) return false;
    }
    return false;
  }
  if (json.peek() != JsonReader::Kind::kObject || !json.begin_object()) return false;
  std::string key;
  while (json.next_key(first, key)) {
    if (key == step.key) return true;
    if (!json.skip()) return false;
  }
  return false;
}

FieldValue number_of(JsonReader& json) {
  const std::optional<std::string_view> text = json.number_text();
  if (!text) return {};
  int64_t integer = 0;
  const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), integer);
  if (stop == text->data() + text->size() && error == std::errc()) return FieldValue::integer_of(integer);
  JsonReader again(*text);
  const std::optional<double> number = again.number();
  return number ? FieldValue::float_of(*number) : FieldValue();
}

FieldValue value_of(JsonReader& json, std::string& scratch) {
  switch (json.peek()) {
    case JsonReader::Kind::kBool: {
      const std::optional<bool> value = json.boolean();
      return value ? FieldValue::boolean(*value) : FieldValue();
    }
    case JsonReader::Kind::kNumber: return number_of(json);
    case JsonReader::Kind::kString: return json.string(scratch) ? FieldValue::string(scratch) : FieldValue();
    case JsonReader::Kind::kArray:
    case JsonReader::Kind::kObject: {
      const std::optional<std::string_view> text = json.raw();
      return text ? FieldValue::string(*text) : FieldValue();
    }
    default: return {};
  }
}

}  // namespace

FieldValue json_field(std::string_view text, const FieldPath& path, std::string& scratch) {
  JsonReader json(text);
  for (const FieldPath::Step& step : path.steps) {
    if (!descend(json, step)) return {};
  }
  return value_of(json, scratch);
}

FieldValue JsonDocument::field(std::string_view path) const {
  // A name that is no path may still be one of a field, and so may one that looks like a path.  Whether such
  // a name is there at all takes less time to see, unless both are long and alike.
  constexpr size_t kSearchedMax = 64;
  const bool plain = path.find_first_of(".[") == std::string_view::npos;
  if (plain || path.size() > kSearchedMax || json_.find(path) != std::string_view::npos ||
      json_.find('\\') != std::string_view::npos) {
    step_.steps.resize(1);
    step_.steps[0].key = path;
    const FieldValue as_it_is = json_field(json_, step_, scratch_);
    if (plain || as_it_is.kind != FieldValue::Kind::kAbsent) return as_it_is;
  }
  const Result<FieldPath> parsed = FieldPath::parse(path);
  return parsed.ok() ? json_field(json_, parsed.value(), scratch_) : FieldValue();
}

std::vector<std::string> JsonDocument::field_names() const {
  std::vector<std::string> names;
  JsonReader json(json_);
  std::string key;
  if (json.peek() != JsonReader::Kind::kObject || !json.begin_object()) return names;
  for (bool first = true; json.next_key(first, key);) {
    names.push_back(key);
    if (!json.skip()) break;
  }
  return names;
}

// --- what guests import -----------------------------------------------------------------------------------

namespace {

// Of the instance that calls; a host function is called by the one instance of its store.
constexpr engine::InstanceHandle kCaller{};

const Document* document_of(Caller& caller) {
  const auto* place = static_cast<const DocumentPlace*>(caller.user_data());
  return place == nullptr ? nullptr : place->document;
}

Result<std::span<std::byte>> guest_bytes(Caller& caller, uint32_t address, uint64_t bytes) {
  return caller.memory_of_this_thread().span({address}, bytes);
}

Status put(Caller& caller, uint32_t address, uint64_t bits, uint32_t bytes) {
  const std::span<std::byte> to = SPORE_TRY(guest_bytes(caller, address, bytes));
  std::memcpy(to.data(), &bits, bytes);
  return {};
}

Result<uint32_t> allocate(Caller& caller, uint32_t align, uint32_t bytes) {
  namespace cabi = host::cabi;
  const engine::RawFunction realloc =
      SPORE_TRY(cabi::helper(caller.store(), kCaller, cabi::kRealloc, cabi::realloc_type()));
  const uint32_t address = SPORE_TRY(cabi::allocate(realloc, align, bytes));
  if (address % align != 0) return engine::bad_result("memory that is not aligned");
  SPORE_TRY(guest_bytes(caller, address, bytes));
  return address;
}

// Text into the guest; its address and length at `pair`.
Status give_text(Caller& caller, std::string_view text, uint32_t pair) {
  SPORE_TRY(caller.charge_copy(text.size()));
  if (text.size() > UINT32_MAX) return Status::limit_exceeded("a field of {} bytes", text.size());
  const auto length = static_cast<uint32_t>(text.size());
  const uint32_t address = SPORE_TRY(allocate(caller, 1, length));
  const std::span<std::byte> to = SPORE_TRY(guest_bytes(caller, address, length));
  if (length > 0) std::memcpy(to.data(), text.data(), length);
  SPORE_TRY(put(caller, pair, address, sizeof(uint32_t)));
  return put(caller, pair + sizeof(uint32_t), length, sizeof(uint32_t));
}

// The field whose name the first two core values tell.
Result<FieldValue> asked_field(Caller& caller, const RawValue* values) {
  const auto length = static_cast<uint32_t>(values[1].i32);
  // Who has the fields may take long to look for a long name, and no deadline strikes meanwhile.
  if (length > kFieldNameBytesMax) {
    return Status::limit_exceeded("the name of a field of {} bytes (at most {})", length, kFieldNameBytesMax);
  }
  SPORE_TRY(caller.charge_copy(length));
  const std::span<std::byte> name =
      SPORE_TRY(guest_bytes(caller, static_cast<uint32_t>(values[0].i32), length));
  const Document* document = document_of(caller);
  if (document == nullptr) return FieldValue();
  // Copied: the document may look at it while the guest's memory grows.
  const std::string own(reinterpret_cast<const char*>(name.data()), name.size());
  return document->field(own);
}

void define(host::HostFunctions& functions, std::string_view name, engine::FuncType type,
            std::function<Status(Caller&, RawValue*)> body) {
  functions.define_raw({.module = std::string(kDocumentInterface),
                        .name = std::string(name),
                        .type = std::move(type),
                        .body = std::move(body)});
}

// An option of something that is `bytes` long and as aligned, at the address that comes third.
template <typename Get>
void define_number(host::HostFunctions& functions, std::string_view name, uint32_t bytes, const Get& get) {
  define(functions, name, {{ValType::kI32, ValType::kI32, ValType::kI32}, {}},
         [get, bytes](Caller& caller, RawValue* values) -> Status {
           const auto to = static_cast<uint32_t>(values[2].i32);
           const FieldValue field = SPORE_TRY(asked_field(caller, values));
           const std::optional<uint64_t> bits = get(field);
           SPORE_TRY(put(caller, to, bits.has_value() ? 1 : 0, 1));
           return bits ? put(caller, to + bytes, *bits, bytes) : Status();
         });
}

template <typename Get>
void define_text(host::HostFunctions& functions, std::string_view name, const Get& get) {
  define(functions, name, {{ValType::kI32, ValType::kI32, ValType::kI32}, {}},
         [get](Caller& caller, RawValue* values) -> Status {
           const auto to = static_cast<uint32_t>(values[2].i32);
           const FieldValue field = SPORE_TRY(asked_field(caller, values));
           const std::optional<std::string_view> text = get(field);
           SPORE_TRY(put(caller, to, text.has_value() ? 1 : 0, 1));
           if (!text) return {};
           // Copied: while the guest allocates it may ask again, and what the document gave is gone then.
           const host::ScratchText own(*text);
           return give_text(caller, own.view(), to + sizeof(uint32_t));
         });
}

Status give_names(Caller& caller, uint32_t to) {
  const Document* document = document_of(caller);
  std::vector<std::string> names = document == nullptr ? std::vector<std::string>() : document->field_names();
  std::erase_if(names, [](const std::string& name) { return !is_utf8(name); });
  constexpr uint32_t kPair = 2 * sizeof(uint32_t);
  const auto count = static_cast<uint32_t>(names.size());
  SPORE_TRY(caller.charge_copy(uint64_t{count} * kPair));
  const uint32_t address = SPORE_TRY(allocate(caller, sizeof(uint32_t), count * kPair));
  for (uint32_t i = 0; i < count; i++) SPORE_TRY(give_text(caller, names[i], address + i * kPair));
  SPORE_TRY(put(caller, to, address, sizeof(uint32_t)));
  return put(caller, to + sizeof(uint32_t), count, sizeof(uint32_t));
}

}  // namespace

void define_document(host::HostFunctions& functions) {
  define_text(functions, "get-string", [](const FieldValue& field) { return field.as_string(); });
  define_text(functions, "get-bytes", [](const FieldValue& field) { return field.as_bytes(); });
  define_number(functions, "get-s64", 8, [](const FieldValue& field) -> std::optional<uint64_t> {
    const std::optional<int64_t> value = field.as_s64();
    return value ? std::optional(static_cast<uint64_t>(*value)) : std::nullopt;
  });
  define_number(functions, "get-f64", 8, [](const FieldValue& field) -> std::optional<uint64_t> {
    const std::optional<double> value = field.as_f64();
    return value ? std::optional(std::bit_cast<uint64_t>(*value)) : std::nullopt;
  });
  define_number(functions, "get-bool", 1, [](const FieldValue& field) -> std::optional<uint64_t> {
    const std::optional<bool> value = field.as_bool();
    return value ? std::optional(uint64_t{*value ? 1U : 0U}) : std::nullopt;
  });
  define(functions, "document-id", {{ValType::kI32}, {}}, [](Caller& caller, RawValue* values) -> Status {
    const Document* document = document_of(caller);
    const std::string id(document == nullptr ? std::string_view() : document->id());
    return give_text(caller, is_utf8(id) ? id : "", static_cast<uint32_t>(values[0].i32));
  });
  define(functions, "score", {{}, {ValType::kF64}}, [](Caller& caller, RawValue* values) -> Status {
    const Document* document = document_of(caller);
    values[0].f64 = document == nullptr ? 0 : document->score();
    return {};
  });
  define(functions, "field-names", {{ValType::kI32}, {}}, [](Caller& caller, RawValue* values) -> Status {
    return give_names(caller, static_cast<uint32_t>(values[0].i32));
  });
}

}  // namespace spore::udf
