#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spore/base/status.h"

namespace spore {

// Reads one JSON document, piece by piece, as its reader knows what is to come.  Foreign text is its usual
// food: nothing recurses, and nothing is allocated but the strings that were asked for.  After a failure
// everything fails; take_failure() says where and why.  Not thread-safe.
//
//   JsonReader json(text);
//   if (!json.begin_array()) return json.take_failure();
//   for (bool first = true; json.next_element(first);) sum += json.number().value_or(0);
//   return json.finish();
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject, kNothing };
  // Of what comes next; kNothing: neither of these, or the end.
  Kind peek();

  bool null();
  std::optional<bool> boolean();
  // With escapes taken out; UTF-8.
  bool string(std::string& out);
  // As it is written; also NaN, Infinity and -Infinity, which Python and JavaScript write.
  std::optional<std::string_view> number_text();
  std::optional<double> number();

  bool begin_array();
  // To the next one; false: it was the last, or a failure.  `first` begins as true.
  bool next_element(bool& first);
  bool begin_object();
  bool next_key(bool& first, std::string& key);

  // Past a value of any kind, which is well-formed but for what is in its strings and numbers.
  bool skip();
  // The text of the next value, which is skipped.
  std::optional<std::string_view> raw();

  // Ok if nothing failed and nothing but blanks is left.
  Status finish();
  // The reader did not like what it read.  The first failure counts.
  bool fail(std::string_view why);
  bool failed() const { return failed_; }
  // kInvalidArgument: "... at byte 17".
  Status take_failure() const;

 private:
  void skip_blanks();
  bool take(char wanted);
  bool word(std::string_view wanted);
  bool escape(std::string& out);
  bool hex4(uint32_t& out);
  bool skip_string();

  std::string_view text_;
  size_t at_ = 0;
  bool failed_ = false;
  std::string why_;
};

}  // namespace spore
