#pragma once

// A file with `handle(request)`, as a program that can be frozen.
//
//   Handler handler = SPORE_TRY(read_handler("greet.py", {}));
//   // The module of handler.language->runtime, rewritten and loaded with handler.world, is frozen with:
//   runtime.freeze(*module, {.framing = handler::kFraming, .setup = handler.setup});

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/handler/language.h"
#include "spore/host/wasi.h"
#include "spore/snapshot/contents.h"

namespace spore::handler {

// Of all runners: any text goes through, also one of several lines.
inline constexpr snapshot::Framing kFraming = snapshot::Framing::kLength;
// Where a guest finds its packages.
inline constexpr std::string_view kGuestPackages = "/site-packages";
inline constexpr size_t kSourceBytesMax = size_t{16} << 20;

struct HandlerOptions {
  // Packages that it may import, all Python; empty: only what the runtime has.
  std::filesystem::path site_packages;
  // They are there already, in the world of the runner that it will be loaded in.
  bool packages_mounted = false;
};

struct Handler {
  const Language* language = nullptr;
  host::WasiOptions world;  // arguments and directories
  std::string setup;        // what the runner is to read first
};

// Runs nothing.  kInvalidArgument: a language that there is not, a file that is no UTF-8, packages for a
// language that takes none; kUnsupported: what check_packages() says; kLimitExceeded: kSourceBytesMax;
// kNotFound, kIo.
Result<Handler> read_handler(const std::filesystem::path& file, const HandlerOptions& options);

// A file of functions, in a language whose runner knows them (python): each message to it is a call, told in
// JSON (python/runner.py).
struct FunctionSource {
  std::string_view file;    // what tracebacks call it
  std::string_view source;  // UTF-8
  std::string_view name;
  std::string_view kind;  // "scalar", "aggregate", "table"
  size_t parameters = 0;
  std::vector<size_t> bytes;  // parameters that are bytes
  bool packages_mounted = false;
};
// What the runner is to read first.
std::string function_setup(const FunctionSource& function);
// The same for a file with `handle(request)`, which is there as text.
std::string handler_setup(std::string_view file, std::string_view source, bool packages);

// What runs the handlers of a language, as it waits for one: without a setup, which is its first request
// then. As read_handler().
Result<Handler> runner_of(const Language& language, const HandlerOptions& options);

// A directory of Python packages.  kUnsupported: native code in it, named: no wasm runtime loads that; a
// wheel that was not unpacked, which would be ignored.  kNotFound, kIo; kInvalidArgument: no directory.
Status check_packages(const std::filesystem::path& directory);

}  // namespace spore::handler
