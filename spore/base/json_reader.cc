#include "spore/base/json_reader.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "spore/base/utf8.h"

namespace spore {
namespace {

bool is_number_part(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

}  // namespace

void JsonReader::skip_blanks() {
  while (at_ < text_.size() &&
         (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
    at_++;
  }
}

JsonReader::Kind JsonReader::peek() {
  skip_blanks();
  if (failed_ || at_ == text_.size()) return Kind::kNothing;
  switch (text_[at_]) {
    case 'n': return Kind::kNull;
    case 't':
    case 'f': return Kind::kBool;
    case '"': return Kind::kString;
    case '[': return Kind::kArray;
    case '{': return Kind::kObject;
    case 'N':
    case 'I': return Kind::kNumber;
    default: return is_number_part(text_[at_]) ? Kind::kNumber : Kind::kNothing;
  }
}

bool JsonReader::fail(std::string_view why) {
  if (!failed_) why_ = why;
  failed_ = true;
  return false;
}

Status JsonReader::take_failure() const {
  return Status::invalid_argument("{} at byte {}", why_.empty() ? "no JSON" : why_, at_);
}

Status JsonReader::finish() {
  skip_blanks();
  if (!failed_ && at_ != text_.size()) fail("something follows the JSON");
  return failed_ ? take_failure() : Status();
}

bool JsonReader::take(char wanted) {
  skip_blanks();
  if (failed_ || at_ == text_.size() || text_[at_] != wanted) return false;
  at_++;
  return true;
}

bool JsonReader::word(std::string_view wanted) {
  if (failed_ || !text_.substr(at_).starts_with(wanted)) return false;
  at_ += wanted.size();
  return true;
}

bool JsonReader::null() {
  skip_blanks();
  return word("null") || fail("expected null");
}

std::optional<bool> JsonReader::boolean() {
  skip_blanks();
  if (word("true")) return true;
  if (word("false")) return false;
  fail("expected true or false");
  return std::nullopt;
}

std::optional<std::string_view> JsonReader::number_text() {
  skip_blanks();
  const size_t begin = at_;
  if (word("NaN") || word("Infinity") || word("-Infinity")) return text_.substr(begin, at_ - begin);
  if (!failed_) {
    while (at_ < text_.size() && is_number_part(text_[at_])) at_++;
  }
  if (at_ == begin) {
    fail("expected a number");
    return std::nullopt;
  }
  return text_.substr(begin, at_ - begin);
}

std::optional<double> JsonReader::number() {
  const std::optional<std::string_view> text = number_text();
  if (!text) return std::nullopt;
  if (*text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (*text == "Infinity") return std::numeric_limits<double>::infinity();
  if (*text == "-Infinity") return -std::numeric_limits<double>::infinity();
  double value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (end != text->data() + text->size()) {
    fail("expected a number");
    return std::nullopt;
  }
  // Too large or too small for a double; from_chars does not say which.
  if (error == std::errc::result_out_of_range) value = std::strtod(std::string(*text).c_str(), nullptr);
  return value;
}

bool JsonReader::hex4(uint32_t& out) {
  constexpr size_t kDigits = 4;
  if (text_.size() - at_ < kDigits) return fail("an escape that is cut short");
  const char* begin = text_.data() + at_;
  const auto [end, error] = std::from_chars(begin, begin + kDigits, out, 16);
  if (end != begin + kDigits || error != std::errc()) return fail("an escape that is none");
  at_ += kDigits;
  return true;
}

// Behind the backslash.
bool JsonReader::escape(std::string& out) {
  if (at_ == text_.size()) return fail("a string that does not end");
  switch (const char c = text_[at_++]) {
    case '"':
    case '\\':
    case '/': out += c; return true;
    case 'b': out += '\b'; return true;
    case 'f': out += '\f'; return true;
    case 'n': out += '\n'; return true;
    case 'r': out += '\r'; return true;
    case 't': out += '\t'; return true;
    case 'u': break;
    default: return fail("an escape that is none");
  }
  constexpr uint32_t kHigh = 0xd800;
  constexpr uint32_t kLow = 0xdc00;
  constexpr uint32_t kEnd = 0xe000;
  uint32_t point = 0;
  if (!hex4(point)) return false;
  if (point >= kHigh && point < kEnd) {
    uint32_t low = 0;
    if (point >= kLow || !word("\\u")) return fail("half a character");
    if (!hex4(low)) return false;
    if (low < kLow || low >= kEnd) return fail("half a character");
    point = 0x10000U + ((point - kHigh) << 10U) + (low - kLow);
  }
  append_utf8(point, out);
  return true;
}

bool JsonReader::string(std::string& out) {
  out.clear();
  if (!take('"')) return fail("expected a string");
  for (;;) {
    size_t end = at_;
    while (end < text_.size() && text_[end] != '"' && text_[end] != '\\') {
      if (static_cast<unsigned char>(text_[end]) < ' ') return fail("a control character in a string");
      end++;
    }
    out.append(text_.substr(at_, end - at_));
    at_ = end;
    if (at_ == text_.size()) return fail("a string that does not end");
    if (text_[at_++] == '"') return is_utf8(out) || fail("a string that is not UTF-8");
    if (!escape(out)) return false;
  }
}

bool JsonReader::begin_array() { return take('[') || fail("expected an array"); }
bool JsonReader::begin_object() { return take('{') || fail("expected an object"); }

bool JsonReader::next_element(bool& first) {
  if (failed_ || take(']')) return false;
  if (!first && !take(',')) return fail("expected a comma or the end of the array");
  first = false;
  return true;
}

bool JsonReader::next_key(bool& first, std::string& key) {
  if (failed_ || take('}')) return false;
  if (!first && !take(',')) return fail("expected a comma or the end of the object");
  first = false;
  return string(key) && (take(':') || fail("expected a colon"));
}

bool JsonReader::skip_string() {
  at_++;
  for (; at_ < text_.size(); at_++) {
    if (text_[at_] == '"') {
      at_++;
      return true;
    }
    if (text_[at_] == '\\') at_++;
  }
  at_ = text_.size();
  return fail("a string that does not end");
}

bool JsonReader::skip() {
  // Of each that is open, whether it is an object.
  std::vector<bool> open;
  bool value_next = true;
  for (;;) {
    skip_blanks();
    if (value_next) {
      value_next = false;
      switch (peek()) {
        case Kind::kNull:
          if (!null()) return false;
          break;
        case Kind::kBool:
          if (!boolean()) return false;
          break;
        case Kind::kNumber:
          if (!number_text()) return false;
          break;
        case Kind::kString:
          if (!skip_string()) return false;
          break;
        case Kind::kArray:
          at_++;
          if (take(']')) break;
          open.push_back(false);
          value_next = true;
          continue;
        case Kind::kObject:
          at_++;
          if (take('}')) break;
          open.push_back(true);
          skip_blanks();
          if (peek() != Kind::kString) return fail("expected a string");
          if (!skip_string() || !(take(':') || fail("expected a colon"))) return false;
          value_next = true;
          continue;
        case Kind::kNothing: return fail("expected a value");
      }
    }
    if (open.empty()) return true;
    const bool object = open.back();
    if (take(object ? '}' : ']')) {
      open.pop_back();
      continue;
    }
    if (!take(',')) return fail("expected a comma or the end");
    if (object) {
      skip_blanks();
      if (peek() != Kind::kString) return fail("expected a string");
      if (!skip_string() || !(take(':') || fail("expected a colon"))) return false;
    }
    value_next = true;
  }
}

std::optional<std::string_view> JsonReader::raw() {
  skip_blanks();
  const size_t begin = at_;
  if (!skip()) return std::nullopt;
  return text_.substr(begin, at_ - begin);
}

}  // namespace spore
