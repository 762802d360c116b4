#pragma once

// A folder of typed functions: what it is in, how it is built, and what comes of it.

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/wasm/wit.h"

namespace spore::project {

// Files that each project may have.
inline constexpr std::string_view kSignatures = "function.wit";
inline constexpr std::string_view kTests = "tests.jsonl";
inline constexpr size_t kFileBytesMax = size_t{64} << 20;

struct Project {
  std::filesystem::path folder;  // absolute
  std::string name;              // of the folder, in kebab case
  std::string_view language;     // "rust", "c", "go", "assemblyscript"; "python": nothing is built
  std::filesystem::path module;  // NAME.wasm; of a Python project the file
};

// By the files that are there.  kNotFound: no folder, or none of a project; kUnsupported: a handler, and how
// that is tested.
Result<Project> find_project(const std::filesystem::path& folder);

struct Built {
  std::filesystem::path module;
  size_t bytes = 0;
  std::vector<wasm::WitExport> functions;
};

// Runs the language's compiler, and checks what it made: each function that function.wit or the module
// declares is exported, by the type that the canonical ABI has for it.  `progress` is told what begins.
// kNotFound: a tool that is missing, and how it is installed; kUnavailable: a compiler failed, its output is
// the detail; kInvalidArgument: function.wit; kInvalidModule: what was made is none, or has another type,
// both are named.
Result<Built> build(const Project& project, const std::function<void(std::string_view)>& progress = {});

// The checks alone, of a module that is complete.
Result<std::vector<wasm::WitExport>> check_module(std::span<const uint8_t> module);

}  // namespace spore::project
