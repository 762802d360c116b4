#pragma once

// A row as the document of a call: what follows a function's own arguments, as name, value, name, value ...

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/sqlite/api.h"
#include "spore/base/status.h"
#include "spore/udf/document.h"

namespace spore::sqlite {

// Nothing is read before the guest asks.  A path whose name is that of no field is looked for within the JSON
// text of the field with the longest name that it begins with.
class RowDocument final : public udf::Document {
 public:
  // kInvalidArgument: not as many names as values, or a name that is no TEXT.
  Status set(std::span<sqlite3_value*> pairs);
  void clear() { fields_.clear(); }
  // Both must live as long as it is asked.
  void add(std::string_view name, sqlite3_value* value) { fields_.push_back({name, value}); }

  udf::FieldValue field(std::string_view path) const override;
  std::vector<std::string> field_names() const override;
  std::string json() const override;

 private:
  struct Field {
    std::string_view name;
    sqlite3_value* value;
  };
  const Field* find(std::string_view name) const;

  std::vector<Field> fields_;
  mutable std::string scratch_;
};

// Whichever the arguments behind the function's own are: none, one JSON object, or pairs.
class CallDocument {
 public:
  // kInvalidArgument: neither of these.
  Status set(std::span<sqlite3_value*> further);
  // Null: there is none.
  const udf::Document* get() const { return document_; }

 private:
  RowDocument row_;
  std::optional<udf::JsonDocument> json_;
  const udf::Document* document_ = nullptr;
};

}  // namespace spore::sqlite
