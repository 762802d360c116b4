#include "plugins/sqlite/arguments.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>

#include "spore/base/utf8.h"
#include "spore/udf/arguments.h"

namespace spore::sqlite {

using host::WitArg;
using host::WitValue;
using wasm::WitKind;
using wasm::WitType;

namespace {

std::string_view text_of(sqlite3_value* value) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
  return text == nullptr ? std::string_view()
                         : std::string_view(text, static_cast<size_t>(sqlite3_value_bytes(value)));
}

std::string_view blob_of(sqlite3_value* value) {
  const auto* bytes = static_cast<const char*>(sqlite3_value_blob(value));
  return bytes == nullptr ? std::string_view()
                          : std::string_view(bytes, static_cast<size_t>(sqlite3_value_bytes(value)));
}

bool in_range(WitKind kind, int64_t value) {
  switch (kind) {
    case WitKind::kBool: return value == 0 || value == 1;
    case WitKind::kS8: return value >= INT8_MIN && value <= INT8_MAX;
    case WitKind::kU8: return value >= 0 && value <= UINT8_MAX;
    case WitKind::kS16: return value >= INT16_MIN && value <= INT16_MAX;
    case WitKind::kU16: return value >= 0 && value <= UINT16_MAX;
    case WitKind::kS32: return value >= INT32_MIN && value <= INT32_MAX;
    case WitKind::kU32: return value >= 0 && value <= UINT32_MAX;
    case WitKind::kS64: return true;
    case WitKind::kU64: return value >= 0;
    default: return false;
  }
}

bool is_integer(WitKind kind) { return kind >= WitKind::kS8 && kind <= WitKind::kU64; }

uint64_t bits_of(float number) { return std::bit_cast<uint32_t>(number); }
uint64_t bits_of(double number) { return std::bit_cast<uint64_t>(number); }

// A number as f32: the nearest, but none that is infinite only there.
bool narrow(double number, uint64_t& bits) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (std::isfinite(number) && std::abs(number) > kMost) return false;
  bits = bits_of(static_cast<float>(number));
  return true;
}

bool take_integer(WitKind kind, int64_t value, uint64_t& bits) {
  if (kind == WitKind::kF64) {
    bits = bits_of(static_cast<double>(value));
    return true;
  }
  if (kind == WitKind::kF32) return narrow(static_cast<double>(value), bits);
  bits = static_cast<uint64_t>(value);
  return in_range(kind, value);
}

// One character, the name of a case, or an integer that an INTEGER cannot hold.
bool take_text(const WitType& type, std::string_view text, uint64_t& bits) {
  if (type.kind == WitKind::kU64) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
    return !text.empty() && end == text.data() + text.size() && error == std::errc();
  }
  if (type.kind == WitKind::kEnum) {
    const auto found = std::ranges::find(type.labels, text);
    bits = static_cast<uint64_t>(found - type.labels.begin());
    return found != type.labels.end();
  }
  if (type.kind != WitKind::kChar || text.empty()) return false;
  const size_t length = utf8_sequence_length(text);
  if (length == 0 || length != text.size()) return false;
  constexpr uint32_t kTail = 0x3f;
  constexpr uint32_t kTailBits = 6;
  const auto first = static_cast<uint8_t>(text[0]);
  uint32_t point = length == 1 ? first : first & ((1U << (7 - length)) - 1);
  for (size_t i = 1; i < length; i++) point = (point << kTailBits) | (static_cast<uint8_t>(text[i]) & kTail);
  bits = point;
  return true;
}

// What SQL is to give for a type.
std::string_view wanted(const WitType& type) {
  switch (type.kind) {
    case WitKind::kBool: return "0 or 1";
    case WitKind::kF32:
    case WitKind::kF64: return "REAL or INTEGER";
    case WitKind::kU64: return "INTEGER, or TEXT above 2^63";
    case WitKind::kChar: return "TEXT of one character";
    case WitKind::kString: return "TEXT";
    case WitKind::kBytes: return "BLOB or TEXT";
    case WitKind::kEnum: return "TEXT, the name of a case";
    case WitKind::kOption:
      return type.parts[0]->kind == WitKind::kOption ? "NULL or JSON as TEXT" : wanted(*type.parts[0]);
    default: return is_integer(type.kind) ? "INTEGER" : "JSON as TEXT";
  }
}

Status from_json_text(const WitType& type, sqlite3_value* value, WitValue& out) {
  out = SPORE_TRY(host::from_json(type, text_of(value)));
  return {};
}

Status take_value(const WitType& type, sqlite3_value* value, WitValue& out, Taken& taken);

Status take_option(const WitType& type, sqlite3_value* value, WitValue& out, Taken& taken) {
  taken = Taken::kValue;
  if (sqlite3_value_type(value) == SQLITE_NULL) {
    out = WitValue::none();
    return {};
  }
  WitValue inner;
  const WitType& part = *type.parts[0];
  if (part.kind == WitKind::kOption) {  // SQL has but one NULL
    if (sqlite3_value_type(value) != SQLITE_TEXT) {
      taken = Taken::kWrong;
      return {};
    }
    SPORE_TRY(from_json_text(part, value, inner));
  } else {
    SPORE_TRY(take_value(part, value, inner, taken));
  }
  out = WitValue::some(std::move(inner));
  return {};
}

// As a value of its own.
Status take_value(const WitType& type, sqlite3_value* value, WitValue& out, Taken& taken) {
  const int given = sqlite3_value_type(value);
  taken = Taken::kValue;
  if (type.kind == WitKind::kOption) return take_option(type, value, out, taken);
  if (given == SQLITE_NULL) {
    taken = Taken::kNull;
  } else if (host::is_number(type.kind)) {
    taken = take_number(type, value, out.bits);
  } else if (type.kind == WitKind::kString || type.kind == WitKind::kBytes) {
    const bool blob = given == SQLITE_BLOB && type.kind == WitKind::kBytes;
    if (!blob && given != SQLITE_TEXT) {
      taken = Taken::kWrong;
    } else {
      out.text = blob ? blob_of(value) : text_of(value);
    }
  } else if (given != SQLITE_TEXT) {
    taken = Taken::kWrong;
  } else {
    return from_json_text(type, value, out);
  }
  return {};
}

}  // namespace

Taken take_number(const WitType& type, sqlite3_value* value, uint64_t& bits) {
  bool done = false;
  switch (sqlite3_value_type(value)) {
    case SQLITE_NULL: return Taken::kNull;
    case SQLITE_INTEGER: done = take_integer(type.kind, sqlite3_value_int64(value), bits); break;
    case SQLITE_FLOAT:
      if (type.kind == WitKind::kF64) {
        bits = bits_of(sqlite3_value_double(value));
        done = true;
      } else if (type.kind == WitKind::kF32) {
        done = narrow(sqlite3_value_double(value), bits);
      }
      break;
    case SQLITE_TEXT: done = take_text(type, text_of(value), bits); break;
    default: break;
  }
  return done ? Taken::kValue : Taken::kWrong;
}

Status wrong_argument(const udf::Function& function, size_t index, sqlite3_value* value) {
  const WitType& type = udf::argument_type(function, index);
  const int given = sqlite3_value_type(value);
  const std::string place = fmt::format("argument {} ({})", index + 1, udf::argument_name(function, index));
  const WitType& plain = type.kind == WitKind::kOption ? *type.parts[0] : type;
  const bool integer = given == SQLITE_INTEGER && (is_integer(plain.kind) || plain.kind == WitKind::kBool);
  if (integer || (given == SQLITE_FLOAT && plain.kind == WitKind::kF32)) {
    const std::string text(text_of(value));  // changes the value's type
    return Status::invalid_argument("{}: {} is outside of {}", place, text, type.text());
  }
  const bool one = given == SQLITE_TEXT && (plain.kind == WitKind::kChar || plain.kind == WitKind::kEnum ||
                                            plain.kind == WitKind::kU64);
  if (one) {
    return Status::invalid_argument("{}: '{}' is no {} ({})", place, printable(text_of(value)), type.text(),
                                    wanted(type));
  }
  return Status::invalid_argument("{} is {}, not {} ({})", place, type_name(given), type.text(),
                                  wanted(type));
}

Result<Taken> Arguments::set(const udf::Function& function, std::span<sqlite3_value*> values) {
  SPORE_TRY(udf::check_count(function, values.size()));
  if (values_.size() < values.size()) values_.resize(values.size());
  args_.clear();
  for (size_t i = 0; i < values.size(); i++) {
    const WitType& type = udf::argument_type(function, i);
    sqlite3_value* const value = values[i];
    const int given = sqlite3_value_type(value);
    WitArg arg;
    Taken taken = Taken::kValue;
    if (host::is_number(type.kind)) {
      taken = take_number(type, value, arg.bits);
    } else if (given == SQLITE_TEXT && (type.kind == WitKind::kString || type.kind == WitKind::kBytes)) {
      arg.text = text_of(value);
    } else if (given == SQLITE_BLOB && type.kind == WitKind::kBytes) {
      arg.text = blob_of(value);
    } else {
      Status status = take_value(type, value, values_[i], taken);
      if (!status.ok()) {
        return std::move(status).with_context(
            fmt::format("argument {} ({})", i + 1, udf::argument_name(function, i)));
      }
      arg = values_[i];
    }
    if (taken == Taken::kNull) return taken;
    if (taken == Taken::kWrong) return wrong_argument(function, i, value);
    args_.push_back(arg);
  }
  return Taken::kValue;
}

}  // namespace spore::sqlite
