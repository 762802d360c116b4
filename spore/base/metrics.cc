#include "spore/base/metrics.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "spore/base/assert.h"
#include "spore/base/utf8.h"

namespace spore {
namespace {

// [a-zA-Z_][a-zA-Z0-9_]*, and colons in the names of metrics.
bool is_name(std::string_view name, bool colons) {
  const auto is_letter = [colons](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colons && c == ':');
  };
  return !name.empty() && is_letter(name[0]) &&
         std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

// Only these have escapes; every other character stands for itself.
void append_escaped(std::string& out, std::string_view text, bool quoted) {
  while (!text.empty()) {
    const size_t length = utf8_sequence_length(text);
    if (length == 0) {
      out += "\uFFFD";
    } else if (text[0] == '\\') {
      out += "\\\\";
    } else if (text[0] == '\n') {
      out += "\\n";
    } else if (text[0] == '"' && quoted) {
      out += "\\\"";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

}  // namespace

MetricsWriter& MetricsWriter::counter(std::string_view name, std::string_view help) {
  begin_family("counter", name, help);
  return *this;
}

MetricsWriter& MetricsWriter::gauge(std::string_view name, std::string_view help) {
  begin_family("gauge", name, help);
  return *this;
}

std::string MetricsWriter::take() {
  families_.clear();
  return std::exchange(text_, {});
}

void MetricsWriter::begin_family(std::string_view type, std::string_view name, std::string_view help) {
  SPORE_ASSERT(is_name(name, true), "not the name of a metric");
  SPORE_ASSERT(std::ranges::find(families_, name) == families_.end(), "a metric family is begun twice");
  families_.emplace_back(name);
  fmt::format_to(std::back_inserter(text_), "# HELP {} ", name);
  append_escaped(text_, help, false);
  fmt::format_to(std::back_inserter(text_), "\n# TYPE {} {}\n", name, type);
}

void MetricsWriter::begin_sample(Labels labels) {
  SPORE_ASSERT(!families_.empty(), "a sample without a metric family");
  text_ += families_.back();
  char separator = '{';
  for (const auto& [name, value] : labels) {
    // Prometheus keeps two underscores in front for itself.
    SPORE_ASSERT(is_name(name, false) && !name.starts_with("__"), "not the name of a label");
    text_ += separator;
    text_ += name;
    text_ += "=\"";
    append_escaped(text_, value, true);
    text_ += '"';
    separator = ',';
  }
  text_ += separator == ',' ? "} " : " ";
}

void MetricsWriter::end_sample(std::string_view value) {
  text_ += value;
  text_ += '\n';
}

std::string MetricsWriter::number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace spore
