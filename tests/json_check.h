#pragma once

#include <cstdint>
#include <string_view>

#include "spore/base/utf8.h"

namespace spore::test {

// Whether a text is one JSON document (RFC 8259), to the letter: a reader that shares nothing with
// JsonWriter but the idea of UTF-8.
class JsonCheck {
 public:
  static bool is_json(std::string_view text) {
    JsonCheck check(text);
    check.skip_space();
    if (!is_utf8(text) || !check.value(0)) return false;
    check.skip_space();
    return check.rest_.empty();
  }

 private:
  static constexpr int kDepthMax = 100;

  explicit JsonCheck(std::string_view text) : rest_(text) {}

  bool take(char c) {
    if (!rest_.starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  void skip_space() {
    while (take(' ') || take('\n') || take('\t') || take('\r')) {
    }
  }
  bool digits() {
    const size_t before = rest_.size();
    while (!rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9') rest_.remove_prefix(1);
    return rest_.size() < before;
  }
  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (!take('e') && !take('E')) return true;
    if (!take('+')) take('-');
    return digits();
  }
  bool hex_digits() {
    for (int i = 0; i < 4; i++) {
      if (rest_.empty() || std::string_view("0123456789abcdefABCDEF").find(rest_[0]) == rest_.npos)
        return false;
      rest_.remove_prefix(1);
    }
    return true;
  }
  bool string() {
    if (!take('"')) return false;
    while (!rest_.empty() && rest_[0] != '"') {
      const char c = rest_[0];
      if (static_cast<uint8_t>(c) < 0x20) return false;
      rest_.remove_prefix(1);
      if (c != '\\') continue;
      if (take('u')) {
        if (!hex_digits()) return false;
      } else if (rest_.empty() || std::string_view("\"\\/bfnrt").find(rest_[0]) == rest_.npos) {
        return false;
      } else {
        rest_.remove_prefix(1);
      }
    }
    return take('"');
  }
  bool list(char close, bool keys, int depth) {
    skip_space();
    if (take(close)) return true;
    do {
      skip_space();
      if (keys) {
        if (!string()) return false;
        skip_space();
        if (!take(':')) return false;
        skip_space();
      }
      if (!value(depth + 1)) return false;
      skip_space();
    } while (take(','));
    return take(close);
  }
  bool value(int depth) {
    if (depth > kDepthMax) return false;
    if (take('{')) return list('}', true, depth);
    if (take('[')) return list(']', false, depth);
    if (rest_.starts_with('"')) return string();
    if (take(std::string_view("true")) || take(std::string_view("false")) || take(std::string_view("null"))) {
      return true;
    }
    return number();
  }

  std::string_view rest_;
};

inline bool is_json(std::string_view text) { return JsonCheck::is_json(text); }

}  // namespace spore::test
