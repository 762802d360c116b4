#include "spore/base/json.h"

#include <cmath>

#include <fmt/format.h>

#include "spore/base/assert.h"
#include "spore/base/utf8.h"

namespace spore {
std::string json_quote(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const size_t length = utf8_sequence_length(text);
    const char c = text[0];
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<uint8_t>(c) < 0x20 || c == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
  return out;
}

JsonWriter& JsonWriter::begin_object() {
  begin_value();
  open('{');
  return *this;
}

JsonWriter& JsonWriter::begin_object(std::string_view name) {
  key(name);
  open('{');
  return *this;
}

JsonWriter& JsonWriter::end_object() {
  close('}');
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  begin_value();
  open('[');
  return *this;
}

JsonWriter& JsonWriter::begin_array(std::string_view name) {
  key(name);
  open('[');
  return *this;
}

JsonWriter& JsonWriter::end_array() {
  close(']');
  return *this;
}

JsonWriter& JsonWriter::null_field(std::string_view name) {
  key(name);
  raw("null");
  return *this;
}

std::string JsonWriter::take() {
  SPORE_ASSERT(levels_.empty(), "a JSON object or array was not ended");
  text_ += '\n';
  return std::move(text_);
}

void JsonWriter::begin_value() {
  SPORE_ASSERT(levels_.empty() ? text_.empty() : levels_.back().bracket == '[',
               "a JSON value without a key in an object, or a second document");
  if (!levels_.empty()) separate();
}

void JsonWriter::separate() {
  if (!levels_.back().empty) text_ += ',';
  levels_.back().empty = false;
  text_ += '\n';
  text_.append(levels_.size() * 2, ' ');
}

void JsonWriter::key(std::string_view name) {
  SPORE_ASSERT(!levels_.empty() && levels_.back().bracket == '{', "a JSON key outside an object");
  separate();
  text_ += json_quote(name);
  text_ += ": ";
}

void JsonWriter::open(char bracket) {
  text_ += bracket;
  levels_.push_back({bracket, true});
}

void JsonWriter::close(char bracket) {
  SPORE_ASSERT(!levels_.empty() && (levels_.back().bracket == '{') == (bracket == '}'),
               "JSON brackets do not match");
  const bool empty = levels_.back().empty;
  levels_.pop_back();
  if (!empty) {
    text_ += '\n';
    text_.append(levels_.size() * 2, ' ');
  }
  text_ += bracket;
}

void JsonWriter::string(std::string_view value) { text_ += json_quote(value); }

void JsonWriter::number(double value) {
  // JSON has neither NaN nor infinity.
  if (std::isfinite(value)) {
    fmt::format_to(std::back_inserter(text_), "{}", value);
  } else {
    raw("null");
  }
}

}  // namespace spore
