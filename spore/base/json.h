#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spore {

// Writes one JSON document, with indentation, into a string.  Commas and quotes are its business;
// nesting mistakes are bugs and abort.  Not thread-safe.
//
//   JsonWriter json;
//   json.begin_object().field("name", "rank").begin_array("args").element(1).end_array().end_object();
//   print(json.take());
class JsonWriter {
 public:
  JsonWriter& begin_object();
  JsonWriter& begin_object(std::string_view key);
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& begin_array(std::string_view key);
  JsonWriter& end_array();

  template <typename T>
  JsonWriter& field(std::string_view name, const T& value) {
    key(name);
    scalar(value);
    return *this;
  }
  template <typename T>
  JsonWriter& element(const T& value) {
    begin_value();
    scalar(value);
    return *this;
  }
  JsonWriter& null_field(std::string_view name);

  // The document and a newline.  All that was begun must have ended.
  std::string take();

 private:
  void begin_value();  // of an array, or the document
  void separate();
  void key(std::string_view name);
  void open(char bracket);
  void close(char bracket);
  void raw(std::string_view text) { text_ += text; }
  void string(std::string_view value);
  void number(double value);

  template <typename T>
  void scalar(const T& value) {
    if constexpr (std::same_as<T, bool>) {
      raw(value ? "true" : "false");
    } else if constexpr (std::integral<T>) {
      raw(std::to_string(value));
    } else if constexpr (std::floating_point<T>) {
      number(value);
    } else {
      string(value);
    }
  }

  struct Level {
    char bracket;
    bool empty;
  };
  std::string text_;
  std::vector<Level> levels_;
};

// `text` as a JSON string, with its quotes.  Bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

}  // namespace spore
