#pragma once

// Modules in the text format, rewritten by asyncify.

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/fd.h"
#include "tests/process.h"

namespace spore::test {

inline constexpr const char* kWasmOpt = "/usr/bin/wasm-opt";

// Each text once in a process.
inline std::vector<uint8_t> asyncified(std::string_view text) {
  static std::map<std::string, std::vector<uint8_t>, std::less<>> made;
  const auto known = made.find(text);
  if (known != made.end()) return known->second;
  const TemporaryFolder folder;
  const std::string from = (folder.path() / "from.wat").native();
  const std::string to = (folder.path() / "to.wasm").native();
  std::ofstream(from) << text;
  const ProcessResult result = run_process(
      {kWasmOpt, from, "-o", to, "--enable-bulk-memory", "--enable-mutable-globals", "--asyncify",
       "--pass-arg=asyncify-imports@wasi_snapshot_preview1.fd_read,wasi_snapshot_preview1.poll_oneoff",
       "-O1"});
  SPORE_ASSERT(result.exit_code == 0, result.err);
  return made.emplace(text, read_file(to, size_t{1} << 27).value()).first->second;
}

}  // namespace spore::test
