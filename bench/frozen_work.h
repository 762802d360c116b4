#pragma once

// The work of handlers that are measured: a JSON object of 200 bytes comes in; it is parsed, the numbers in
// one of its texts are replaced by one regular expression, and it is written again.  Each answer is checked.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "spore/spore.h"

namespace spore::bench {

struct Exchange {
  std::string request;
  std::string answer;
};
// As json.dumps writes it, with blanks, or as JSON.stringify does.
Exchange exchange(uint64_t number, bool blanks);

// Files that do this.
extern const std::string_view kPythonHandler;
extern const std::string_view kJavaScriptHandler;
// What stands behind the Python one to answer one line of standard input, or each.
extern const std::string_view kPythonOnce;
extern const std::string_view kPythonLoop;

// The machine's own, and not a wrapper of it, which takes longer.
inline constexpr const char* kPython = "/usr/bin/python3";

// A Runtime that keeps what it rewrites and compiles in build/handlers.
std::unique_ptr<Runtime> make_frozen_runtime(Tier tier);
// A handler, frozen in its language's runtime of build/guests; fail()s if that is not there.
std::shared_ptr<const program::Program> freeze_handler(Runtime& runtime, const std::filesystem::path& file);

// Nanoseconds of one request.  fail()s if it is answered otherwise.
double ask(const program::Program& program, const Exchange& one);

}  // namespace spore::bench
