#pragma once

// What a guest reads of the row or the document that it is called for: fields by name, when it asks for them.
//
// Guests import it as `spore:document/fields` (guests/wit/document.wit).

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/host/functions.h"

namespace spore::udf {

// A name as a path: `price.amount`, `tags[0]`, `items[2].name`.
struct FieldPath {
  struct Step {
    std::string key;  // of an object; empty: an index
    size_t index = 0;
    bool is_index = false;
  };
  std::vector<Step> steps;

  static constexpr size_t kBytesMax = 512;
  // kInvalidArgument: what is wrong with it.
  static Result<FieldPath> parse(std::string_view text);
};

struct FieldValue {
  enum class Kind : uint8_t { kAbsent, kBool, kInteger, kFloat, kString, kBytes };
  Kind kind = Kind::kAbsent;
  int64_t integer = 0;  // of a bool 0 or 1
  double number = 0;
  std::string_view text;  // of a string or bytes; good until the document is asked again

  static FieldValue boolean(bool value) { return {.kind = Kind::kBool, .integer = value ? 1 : 0}; }
  static FieldValue integer_of(int64_t value) { return {.kind = Kind::kInteger, .integer = value}; }
  static FieldValue float_of(double value) { return {.kind = Kind::kFloat, .number = value}; }
  static FieldValue string(std::string_view value) { return {.kind = Kind::kString, .text = value}; }
  static FieldValue bytes(std::string_view value) { return {.kind = Kind::kBytes, .text = value}; }

  // As the guest wants it; nothing: it is of another type.  Integers are floats and whole floats integers; 0
  // and 1 are bools, for databases that have none; strings are bytes, but those that are not UTF-8 no
  // strings.
  std::optional<bool> as_bool() const;
  std::optional<int64_t> as_s64() const;
  std::optional<double> as_f64() const;
  std::optional<std::string_view> as_string() const;
  std::optional<std::string_view> as_bytes() const;
};

// A row, or a document of a search.  Asked on the thread of the call, as often as the guest likes.
class Document {
 public:
  virtual ~Document() = default;

  // Of any name, also one that is no path.  What is null is absent.
  virtual FieldValue field(std::string_view path) const = 0;
  virtual std::vector<std::string> field_names() const = 0;
  virtual std::string_view id() const { return {}; }
  virtual double score() const { return 0; }
  // All of it, for guests that cannot ask.
  virtual std::string json() const = 0;
};

// A value within JSON.  Numbers that an s64 holds are integers; objects and arrays are given as their text.
// `scratch` holds what has to be taken out of its escapes.  Absent also if it is no JSON.
FieldValue json_field(std::string_view json, const FieldPath& path, std::string& scratch);

// One JSON object.  The text is the caller's.
class JsonDocument final : public Document {
 public:
  explicit JsonDocument(std::string_view json, std::string_view id = {}, double score = 0)
      : json_(json), id_(id), score_(score) {}

  FieldValue field(std::string_view path) const override;
  std::vector<std::string> field_names() const override;
  std::string_view id() const override { return id_; }
  double score() const override { return score_; }
  std::string json() const override { return std::string(json_); }

 private:
  std::string_view json_;
  std::string_view id_;
  double score_;
  mutable std::string scratch_;
  mutable FieldPath step_;
};

inline constexpr std::string_view kDocumentInterface = "spore:document/fields";
// A guest that asks for a field of a longer name fails.
inline constexpr size_t kFieldNameBytesMax = 4096;

// What Caller::user_data() of an instance points to whose module imports the interface.
struct DocumentPlace {
  const Document* document = nullptr;  // null: all fields are absent
};

// The interface's functions.
void define_document(host::HostFunctions& functions);

}  // namespace spore::udf
