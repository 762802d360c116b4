#include "spore/host/wit_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "spore/base/json.h"
#include "spore/base/json_reader.h"
#include "spore/base/utf8.h"

namespace spore::host {

using wasm::WitKind;
using wasm::WitType;

WitValue WitValue::some(WitValue value) {
  WitValue option{.bits = 1};
  option.items.push_back(std::move(value));
  return option;
}

WitValue WitValue::ok(WitValue value) {
  WitValue result;
  result.items.push_back(std::move(value));
  return result;
}

WitValue WitValue::error(WitValue value) { return some(std::move(value)); }

bool is_number(WitKind kind) { return kind <= WitKind::kChar || kind == WitKind::kEnum; }

namespace {

struct Range {
  int64_t low;
  uint64_t high;
};

// Of the integers.
Range range_of(WitKind kind) {
  switch (kind) {
    case WitKind::kS8: return {INT8_MIN, INT8_MAX};
    case WitKind::kU8: return {0, UINT8_MAX};
    case WitKind::kS16: return {INT16_MIN, INT16_MAX};
    case WitKind::kU16: return {0, UINT16_MAX};
    case WitKind::kS32: return {INT32_MIN, INT32_MAX};
    case WitKind::kU32: return {0, UINT32_MAX};
    case WitKind::kS64: return {INT64_MIN, INT64_MAX};
    default: return {0, UINT64_MAX};
  }
}

bool is_signed(WitKind kind) {
  return kind == WitKind::kS8 || kind == WitKind::kS16 || kind == WitKind::kS32 || kind == WitKind::kS64;
}

bool is_character(uint64_t point) {
  constexpr uint64_t kEnd = 0x110000;
  constexpr uint64_t kSurrogates = 0xd800;
  constexpr uint64_t kSurrogatesEnd = 0xe000;
  return point < kEnd && (point < kSurrogates || point >= kSurrogatesEnd);
}

Status check_number(const WitType& type, uint64_t bits) {
  switch (type.kind) {
    case WitKind::kBool: return bits <= 1 ? Status() : Status::invalid_argument("{} is no bool", bits);
    case WitKind::kF32:
    case WitKind::kF64: return {};
    case WitKind::kChar:
      return is_character(bits) ? Status() : Status::invalid_argument("{:#x} is no character", bits);
    case WitKind::kEnum:
      return bits < type.labels.size()
                 ? Status()
                 : Status::invalid_argument("the enum '{}' has no case {}", type.name, bits);
    default: break;
  }
  const Range range = range_of(type.kind);
  if (is_signed(type.kind)) {
    const auto value = static_cast<int64_t>(bits);
    if (value >= range.low && value <= static_cast<int64_t>(range.high)) return {};
    return Status::invalid_argument("{} is outside of {}", value, type.text());
  }
  if (bits <= range.high) return {};
  return Status::invalid_argument("{} is outside of {}", bits, type.text());
}

Status wrong_count(const WitType& type, size_t count) {
  return Status::invalid_argument("a value with {} parts, which no {} has", count, type.text());
}

}  // namespace

Status check_value(const WitType& type, const WitValue& value) {  // NOLINT(misc-no-recursion)
  if (is_number(type.kind)) return check_number(type, value.bits);
  switch (type.kind) {
    case WitKind::kString:
      return is_utf8(value.text) ? Status() : Status::invalid_argument("a string that is not UTF-8");
    case WitKind::kBytes: return {};
    case WitKind::kList:
      for (size_t i = 0; i < value.items.size(); i++) {
        SPORE_TRY(check_value(*type.parts[0], value.items[i]).with_context(fmt::format("[{}]", i)));
      }
      return {};
    case WitKind::kOption:
      if (value.bits > 1 || value.items.size() != value.bits) return wrong_count(type, value.items.size());
      return value.bits == 0 ? Status() : check_value(*type.parts[0], value.items[0]);
    case WitKind::kResult: {
      if (value.bits > 1) return Status::invalid_argument("a result is ok or an error, not {}", value.bits);
      const wasm::WitTypeRef& part = type.parts[value.bits];
      if (value.items.size() != (part == nullptr ? 0 : 1)) return wrong_count(type, value.items.size());
      return part == nullptr ? Status() : check_value(*part, value.items[0]);
    }
    default: break;
  }
  if (value.items.size() != type.parts.size()) return wrong_count(type, value.items.size());
  for (size_t i = 0; i < type.parts.size(); i++) {
    SPORE_TRY(check_value(*type.parts[i], value.items[i])
                  .with_context(type.kind == WitKind::kRecord ? type.labels[i] : fmt::format("[{}]", i)));
  }
  return {};
}

// --- JSON ---------------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void append_base64(std::string_view bytes, std::string& out) {
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; k++) {
      group = group << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (size_t k = 0; k < 4; k++) {
      out += k <= count ? kBase64[(group >> (18U - 6U * k)) & 0x3fU] : '=';
    }
  }
}

bool decode_base64(std::string_view text, std::string& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  while (!text.empty()) {
    const size_t padding = text.size() > 4 ? 0 : static_cast<size_t>(std::ranges::count(text, '='));
    if (padding > 2) return false;
    uint32_t group = 0;
    for (size_t k = 0; k < 4; k++) {
      const bool pad = k >= 4 - padding;
      const size_t digit = pad ? 0 : kBase64.find(text[k]);
      if (digit == std::string_view::npos || (pad && text[k] != '=')) return false;
      group = group << 6U | static_cast<uint32_t>(digit);
    }
    for (size_t k = 0; k < 3 - padding; k++) out += static_cast<char>(group >> (16U - 8U * k));
    text.remove_prefix(4);
  }
  return true;
}

// The shortest text that is this float, and is one to languages that tell floats from integers.
template <typename Float>
void append_float(Float value, std::string& json) {
  if (std::isnan(value)) {
    json += "NaN";
  } else if (std::isinf(value)) {
    json += value < 0 ? "-Infinity" : "Infinity";
  } else {
    const size_t begin = json.size();
    fmt::format_to(std::back_inserter(json), "{}", value);
    if (json.find_first_of(".e", begin) == std::string::npos) json += ".0";
  }
}

// The one character of a text.
std::optional<uint32_t> only_character(std::string_view text) {
  if (text.empty() || utf8_sequence_length(text) != text.size()) return std::nullopt;
  const auto first = static_cast<unsigned char>(text[0]);
  constexpr unsigned kLeadBits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
  uint32_t point = first & kLeadBits[text.size()];
  for (size_t i = 1; i < text.size(); i++) {
    point = point << 6U | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  return point;
}

void append_number(const WitType& type, uint64_t bits, std::string& json) {
  const WitValue value{.bits = bits};
  switch (type.kind) {
    case WitKind::kBool: json += value.as_bool() ? "true" : "false"; break;
    case WitKind::kF32: append_float(value.as_f32(), json); break;
    case WitKind::kF64: append_float(value.as_f64(), json); break;
    case WitKind::kChar: {
      std::string text;
      append_utf8(static_cast<uint32_t>(bits), text);
      json += json_quote(text);
      break;
    }
    case WitKind::kEnum: json += json_quote(bits < type.labels.size() ? type.labels[bits] : "?"); break;
    default:
      if (is_signed(type.kind)) {
        fmt::format_to(std::back_inserter(json), "{}", value.as_s64());
      } else {
        fmt::format_to(std::back_inserter(json), "{}", bits);
      }
  }
}

}  // namespace

void append_json(const WitType& type, const WitValue& value,
                 std::string& json) {  // NOLINT(misc-no-recursion)
  if (is_number(type.kind)) return append_number(type, value.bits, json);
  switch (type.kind) {
    case WitKind::kString: json += json_quote(value.text); return;
    case WitKind::kBytes:
      json += '"';
      append_base64(value.text, json);
      json += '"';
      return;
    case WitKind::kOption: {
      if (value.items.empty()) {
        json += "null";
        return;
      }
      const bool nested = type.parts[0]->kind == WitKind::kOption;
      if (nested) json += '[';
      append_json(*type.parts[0], value.items[0], json);
      if (nested) json += ']';
      return;
    }
    case WitKind::kResult:
      json += value.bits == 0 ? "{\"ok\":" : "{\"err\":";
      if (value.items.empty()) {
        json += "null";
      } else {
        append_json(*type.parts[value.bits], value.items[0], json);
      }
      json += '}';
      return;
    default: break;
  }
  const bool record = type.kind == WitKind::kRecord;
  json += record ? '{' : '[';
  for (size_t i = 0; i < value.items.size(); i++) {
    if (i > 0) json += ',';
    if (record) json += json_quote(type.labels[i]) + ":";
    append_json(type.kind == WitKind::kList ? *type.parts[0] : *type.parts[i], value.items[i], json);
  }
  json += record ? '}' : ']';
}

std::string to_json(const WitType& type, const WitValue& value) {
  std::string json;
  append_json(type, value, json);
  return json;
}

namespace {

// By the type.  A failure is the reader's.
class JsonValues {
 public:
  JsonValues(JsonReader& json, size_t& left) : json_(json), left_(left) {}

  bool too_many() const { return too_many_; }

  bool read(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    switch (type.kind) {
      case WitKind::kBool: {
        const std::optional<bool> value = json_.boolean();
        out.bits = value.value_or(false) ? 1 : 0;
        return value.has_value();
      }
      case WitKind::kF32:
      case WitKind::kF64: {
        const std::optional<double> value = json_.number();
        if (!value) return false;
        out = type.kind == WitKind::kF64 ? WitValue::f64(*value) : WitValue::f32(static_cast<float>(*value));
        return true;
      }
      case WitKind::kChar: {
        std::string text;
        if (!json_.string(text)) return false;
        const std::optional<uint32_t> point = only_character(text);
        out.bits = point.value_or(0);
        return point.has_value() || json_.fail("expected a string of one character");
      }
      case WitKind::kString: return json_.string(out.text);
      case WitKind::kBytes: {
        std::string text;
        return json_.string(text) &&
               (decode_base64(text, out.text) || json_.fail("expected bytes in base64"));
      }
      case WitKind::kEnum: return read_enum(type, out);
      case WitKind::kList: return read_list(type, out);
      case WitKind::kOption: return read_option(type, out);
      case WitKind::kResult: return read_result(type, out);
      case WitKind::kTuple: return read_tuple(type, out);
      case WitKind::kRecord: return read_record(type, out);
      default: return read_integer(type, out);
    }
  }

 private:
  bool count(size_t values) {
    too_many_ = too_many_ || values > left_;
    if (too_many_) return json_.fail("more values than there may be");
    left_ -= values;
    return true;
  }
  bool read_item(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    return count(1) && read(type, out.items.emplace_back());
  }
  bool read_integer(const WitType& type, WitValue& out) {
    const std::optional<std::string_view> text = json_.number_text();
    if (!text) return false;
    const char* const end = text->data() + text->size();
    const Range range = range_of(type.kind);
    if (is_signed(type.kind)) {
      int64_t value = 0;
      const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), value);
      out = WitValue::integer(value);
      if (stop == end && error == std::errc() && value >= range.low &&
          value <= static_cast<int64_t>(range.high)) {
        return true;
      }
    } else {
      uint64_t value = 0;
      const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), value);
      out = WitValue::unsigned_integer(value);
      if (stop == end && error == std::errc() && value <= range.high) return true;
    }
    return read_integral_float(type, *text, out);
  }
  // 3.0 and 1e3 are integers, too, if a double holds them exactly.
  bool read_integral_float(const WitType& type, std::string_view text, WitValue& out) {
    constexpr double kExactMax = 9007199254740992.0;
    double value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = stop == text.data() + text.size() && error == std::errc() &&
                       std::abs(value) <= kExactMax && std::trunc(value) == value;
    if (!whole) return json_.fail(fmt::format("expected a number in the range of {}", type.text()));
    out = WitValue::integer(static_cast<int64_t>(value));
    const bool fits = !(value < 0 && !is_signed(type.kind)) && check_number(type, out.bits).ok();
    return fits || json_.fail(fmt::format("expected a number in the range of {}", type.text()));
  }
  bool read_enum(const WitType& type, WitValue& out) {
    std::string name;
    if (!json_.string(name)) return false;
    const auto found = std::ranges::find(type.labels, name);
    if (found == type.labels.end()) return json_.fail(fmt::format("no case of {}", type.text()));
    out.bits = static_cast<uint64_t>(found - type.labels.begin());
    return true;
  }
  bool read_list(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    if (!json_.begin_array()) return false;
    for (bool first = true; json_.next_element(first);) {
      if (!read_item(*type.parts[0], out)) return false;
    }
    return !json_.failed();
  }
  bool read_option(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    if (json_.peek() == JsonReader::Kind::kNull) return json_.null();
    out.bits = 1;
    if (type.parts[0]->kind != WitKind::kOption) return read_item(*type.parts[0], out);
    bool first = true;
    if (!json_.begin_array() || !json_.next_element(first)) return json_.fail("expected an array of one");
    if (!read_item(*type.parts[0], out)) return false;
    return !json_.next_element(first) && !json_.failed();
  }
  bool read_result(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    bool first = true;
    std::string key;
    if (!json_.begin_object() || !json_.next_key(first, key) || (key != "ok" && key != "err")) {
      return json_.fail(R"(expected {"ok": ...} or {"err": ...})");
    }
    out.bits = key == "ok" ? 0 : 1;
    const wasm::WitTypeRef& part = type.parts[out.bits];
    if (part == nullptr ? !json_.null() : !read_item(*part, out)) return false;
    if (json_.next_key(first, key)) return json_.fail("expected the end of the object");
    return !json_.failed();
  }
  bool read_tuple(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    if (!json_.begin_array()) return false;
    bool first = true;
    for (const wasm::WitTypeRef& part : type.parts) {
      if (!json_.next_element(first))
        return json_.fail(fmt::format("expected {} elements", type.parts.size()));
      if (!read_item(*part, out)) return false;
    }
    if (json_.next_element(first)) return json_.fail(fmt::format("expected {} elements", type.parts.size()));
    return !json_.failed();
  }
  bool read_record(const WitType& type, WitValue& out) {  // NOLINT(misc-no-recursion)
    if (!json_.begin_object()) return false;
    if (!count(type.parts.size())) return false;
    out.items.resize(type.parts.size());
    std::vector<bool> seen(type.parts.size());
    std::string key;
    for (bool first = true; json_.next_key(first, key);) {
      const auto found = std::ranges::find(type.labels, key);
      const auto index = static_cast<size_t>(found - type.labels.begin());
      if (found == type.labels.end() || seen[index]) {
        return json_.fail(
            fmt::format("the field '{}', which {} does not have once", printable(key), type.name));
      }
      seen[index] = true;
      if (!read(*type.parts[index], out.items[index])) return false;
    }
    if (json_.failed()) return false;
    for (size_t i = 0; i < seen.size(); i++) {
      if (!seen[i] && type.parts[i]->kind != WitKind::kOption) {
        return json_.fail(fmt::format("the field '{}' is missing", type.labels[i]));
      }
    }
    return true;
  }

  JsonReader& json_;
  size_t& left_;
  bool too_many_ = false;
};

}  // namespace

Result<WitValue> from_json(const WitType& type, std::string_view json, size_t& values_left) {
  JsonReader reader(json);
  JsonValues values(reader, values_left);
  WitValue value;
  if (!values.read(type, value)) {
    if (!values.too_many()) return reader.take_failure();
    return Status::limit_exceeded("{}", reader.take_failure().message());
  }
  SPORE_TRY(reader.finish());
  return value;
}

Result<WitValue> from_json(const WitType& type, std::string_view json) {
  size_t values_left = kJsonValuesMax;
  return from_json(type, json, values_left);
}

}  // namespace spore::host
