#pragma once

// A document that a caller in C has.

#include <optional>
#include <string>
#include <vector>

#include "include/spore.h"
#include "spore/udf/document.h"
#include "spore/udf/function.h"

namespace spore::c {

// Refers to the caller's.
class CallbackDocument final : public udf::Document {
 public:
  explicit CallbackDocument(const spore_document& document) : document_(document) {}

  udf::FieldValue field(std::string_view path) const override;
  std::vector<std::string> field_names() const override;
  std::string_view id() const override;
  double score() const override;
  std::string json() const override;

 private:
  const spore_document& document_;
};

// What a call was told beside its arguments.  Bound to its place.
class Calling {
 public:
  Calling() = default;
  Calling(const Calling&) = delete;
  Calling& operator=(const Calling&) = delete;

  // kInvalidArgument: two documents, one without `field`, or JSON that is no object.
  Status set(const spore_call_options* options);
  const udf::Document* document() const;
  udf::Watch watch() const;

 private:
  spore_call_options options_{};
  std::optional<CallbackDocument> callback_;
  std::optional<udf::JsonDocument> json_;
};

}  // namespace spore::c
