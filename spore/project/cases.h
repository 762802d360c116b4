#pragma once

// tests.jsonl: what the functions of a project are to give, one call a line.
//
//   {"function": "similarity", "args": ["a", "b"], "result": 0.5}
//   {"function": "price", "args": [10], "document": {"member": true}, "result": 9}
//   {"function": "price", "args": ["x"], "error": "part of the message"}
//   {"function": "total", "args": [[1], [2]], "result": 3}      an aggregate: an array of rows

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/project/build.h"
#include "spore/udf/registry.h"

namespace spore::project {

struct Case {
  size_t line = 0;
  std::string function;
  std::string args = "[]";  // JSON, here and below
  std::string document;     // empty: none
  std::string result;
  std::string error;  // text; either of them
};

// kInvalidArgument names the line.  Blank ones, and such as begin with '//', are passed over.
Result<std::vector<Case>> parse_cases(std::string_view text);

struct Outcome {
  std::string got;  // JSON, or what failed
  bool passed = false;
};

// Calls functions of a module, or of a text, with what cases have.
class Tester {
 public:
  // Adds what the project has to the registry, which has nothing yet.  kNotFound: it was not built; what
  // Registry::add says.
  static Result<Tester> create(const Project& project, udf::Registry& registry);

  // kNotFound: no such function.
  Result<Outcome> run(const Case& of) const;

 private:
  explicit Tester(udf::Registry& registry) : registry_(registry) {}
  udf::Registry& registry_;
};

// Whether a result is as expected: floats may differ by 1e-9 of their size.
bool nearly_equal(const wasm::WitType& type, const host::WitValue& a, const host::WitValue& b);

}  // namespace spore::project
