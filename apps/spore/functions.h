#pragma once

// What functions with WIT signatures are made by.

#include <memory>
#include <string_view>

#include "apps/spore/args.h"
#include "spore/base/status.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/maker.h"
#include "spore/udf/registry.h"

namespace spore::cli {

struct Functions {
  std::unique_ptr<runtime::Runtime> runtime;
  std::unique_ptr<udf::Maker> maker;
  std::unique_ptr<udf::Registry> registry;
};
// Those of the data directory.
Result<Functions> open_functions(const Args& args);
// None, in memory.
Result<Functions> new_functions(const Args& args);

// A module (text is translated), or the source text of a language that handlers are written in.
struct FunctionFile {
  std::string_view language;  // "wasm", "python"
  std::vector<uint8_t> bytes;
};
Result<FunctionFile> read_function(std::string_view path, size_t bytes_max);

}  // namespace spore::cli
