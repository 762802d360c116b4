#pragma once

// What a module may have that makes it dear to compile.  Compilers take time and memory that is no constant
// times the length of their input: 16 KB can cost them gigabytes.

#include <cstdint>
#include <span>
#include <string_view>

#include "spore/base/status.h"

namespace spore::code {

// Limits named in messages have "compile_" before their names, as the options have.  What they cost at the
// most, and how near real programs come: docs/decisions/0009-compile-helper.md.
struct CompileLimits {
  uint64_t functions_max = 100'000;              // with a body
  uint64_t body_bytes_max = 512 * 1024;          // of one function
  uint64_t locals_max = 10'000;                  // of one function
  uint64_t locals_bytes_max = 16 * 1024 * 1024;  // of all: 16 bytes a v128, 8 any other
  uint64_t initialisers_max =
      50'000;  // active segments, elements that are expressions, globals that are no constants
  uint64_t nesting_max = 5'000;                 // blocks in one another
  uint64_t br_table_targets_max = 65'520;       // of one function
  uint64_t values_max = 100'000;                // what calls and blocks of one function take and give
  uint64_t values_total_max = 8 * 1024 * 1024;  // the same of all functions
};

// What is held against CompileLimits, and where it was found; functions are numbered with the imported ones.
struct CompileFacts {
  struct Most {
    uint64_t count = 0;
    uint64_t function = 0;
  };
  uint64_t functions = 0;
  uint64_t code_bytes = 0;  // of all bodies
  uint64_t locals_bytes = 0;
  uint64_t values_total = 0;
  uint64_t br_table_targets_total = 0;
  uint64_t initialisers = 0;
  Most body_bytes;
  Most locals;
  Most values;
  Most br_table_targets;
  Most nesting;
};

// One pass over bytes that need not be valid: linear in time, and in memory that is freed again.
// kInvalidModule: they cannot be read as a module; what this lets pass may still be invalid.  kUnsupported: a
// component.
Result<CompileFacts> compile_facts(std::span<const uint8_t> wasm);

// kLimitExceeded: says what, how much of it, in which function, and the limit's name.
Status check_compile_limits(const CompileFacts& facts, const CompileLimits& limits);

}  // namespace spore::code
