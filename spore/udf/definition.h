#pragma once

// What is said of a function when it is registered.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spore/base/json.h"
#include "spore/base/status.h"
#include "spore/engine/engine.h"

namespace spore::udf {

enum class FunctionKind : uint8_t {
  kScalar,
  kAggregate,  // a step for each row and a finish, in an instance of their own for each group
  kTable,      // gives a list, whose items are rows
};
std::string_view function_kind_name(FunctionKind kind);  // "scalar", "aggregate", "table"

// Between which calls of a function what it left behind is cleared away.
enum class Isolation : uint8_t {
  kCall,       // all: each call finds a clean instance
  kStatement,  // those of different statements; a failed call ends the instance, too
};
std::string_view isolation_name(Isolation isolation);  // "call", "statement"

// How its time grows with its input: what a planner goes by until it was measured.
enum class CostClass : uint8_t { kConstant, kLogarithmic, kLinear, kQuadratic, kCubic, kExponential };
std::string_view cost_class_name(CostClass cost);  // "constant", "logarithmic", ...

struct Definition {
  static constexpr size_t kNameBytesMax = 128;
  static constexpr size_t kTextBytesMax = 4096;  // of a description, and the like

  std::string name;  // as SQL has it: letters, digits, '_', not a digit first
  std::string version = "1";
  std::string description;
  std::string author;
  std::string category;

  // What the source is: a library ("wasm"); a WASI program that reads lines in a loop ("program"), to which a
  // call is a line with the array of its arguments, in JSON, and its answer JSON; or a text ("python",
  // "javascript", "ruby").
  std::string language = "wasm";
  std::string signature;    // WIT; empty: as the module tells
  std::string export_name;  // of the module; empty: the name, with '-' or '_'
  FunctionKind kind = FunctionKind::kScalar;

  bool pure = false;       // the same arguments give the same result
  bool innocuous = false;  // may be called by what is in a database: views, triggers, indexes
  bool variadic = false;   // the last parameter, a list, takes all further arguments
  bool memo = false;       // results are kept; for pure ones
  bool enabled = true;
  Isolation isolation = Isolation::kCall;
  CostClass cost = CostClass::kLinear;
  std::optional<engine::Tier> tier_max{};

  // Nothing: as the Runtime's options have it.
  std::optional<uint64_t> deadline_ms{};
  std::optional<uint64_t> memory_bytes_max{};
  std::optional<uint64_t> copy_bytes_max{};

  std::string domain;  // trust domain

  // kInvalidArgument: a name or a text that is none, or settings that contradict each other.
  Status check() const;
  // As an object's fields, under the names above.
  void write_json(JsonWriter& json) const;
  // Sets what the object has.  kInvalidArgument: no JSON, a field that there is not (the nearest is named),
  // or not a value for it.
  Status apply_json(std::string_view json);
};

}  // namespace spore::udf
