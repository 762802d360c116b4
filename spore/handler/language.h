#pragma once

// Languages whose files with `handle(request)` become programs.

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"

namespace spore::handler {

// Immutable; all there are live as long as the process.
struct Language {
  std::string_view name;     // "python"; also the folder of its files below spore/handler/
  std::string_view ending;   // of its files: ".py"
  std::string_view runtime;  // its module among the runtimes: "python.wasm"
  // The program that loads a handler and has it answer requests; empty: it is part of the runtime.
  std::string_view runner;
  // How the runtime is started with it; the first is the program's name.
  std::vector<std::string> (*args)(std::string_view runner);
};

std::span<const Language> languages();
// "python, javascript"
std::string language_names();
// kInvalidArgument: none of these.
Result<const Language*> find_language(std::string_view name);
// By the ending of its name; null: it is no handler.
const Language* language_of(const std::filesystem::path& file);

}  // namespace spore::handler
