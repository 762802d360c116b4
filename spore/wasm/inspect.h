#pragma once

// What a module is, without compiling it.  No engine is needed; nothing is executed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/wasm/proposals.h"

namespace spore::wasm {

// The facts of one valid module.
struct ModuleFacts {
  struct Import {
    std::string module;
    std::string name;
    std::string type;  // for people: "func(i32, i32) -> i64", "memory 1..16 pages of 64 KiB"
  };
  struct Export {
    std::string name;
    std::string type;
  };
  struct CustomSection {
    std::string name;
    uint64_t bytes = 0;
  };

  Digest hash;
  uint64_t module_bytes = 0;
  uint32_t proposals = 0;  // of enum Proposal: what the module uses
  bool has_start = false;
  uint32_t functions = 0;  // with the imported ones
  uint32_t functions_imported = 0;
  uint32_t tables = 0;
  uint32_t memories = 0;
  uint32_t globals = 0;
  uint32_t globals_mutable = 0;
  uint32_t data_segments = 0;
  uint32_t element_segments = 0;
  uint64_t code_bytes = 0;
  uint64_t data_bytes = 0;
  uint64_t custom_bytes = 0;
  uint64_t body_bytes_max = 0;  // the largest function
  std::vector<Import> imports;
  std::vector<Export> exports;
  std::vector<std::string> memory_types;
  std::vector<CustomSection> custom_sections;
};

// A function of no parameters and no results is exported under that name.
bool exports_function(const ModuleFacts& facts, std::string_view name);

// Validates `bytes` and tells what is in it.
// kInvalidModule: not WebAssembly, cut short, or not valid; says what is wrong at which offset.
// kUnsupported: a component instead of a module; says what to do.
// kLimitExceeded: longer than `module_bytes_max`.
Result<ModuleFacts> inspect(std::span<const uint8_t> bytes, size_t module_bytes_max);

// kUnsupported if the module uses a proposal outside `allowed`, naming it.
Status check_proposals(const ModuleFacts& facts, uint32_t allowed);

// "\0asm" at the front: a module or a component, as opposed to text or anything else.
bool has_wasm_magic(std::span<const uint8_t> bytes);

}  // namespace spore::wasm
