#pragma once

// Scripts of the WebAssembly test suite, as extract/ writes them: its main.rs describes the format.  They are
// our own tool's output, so whatever is wrong with one is a bug and aborts.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace spore::spec {

enum class Kind : uint8_t {
  kModule,
  kModuleDefinition,
  kModuleInstance,
  kRegister,
  kInvoke,
  kAssertReturnInvoke,
  kAssertReturnGet,
  kAssertTrapInvoke,
  kAssertTrapModule,
  kAssertExhaustion,
  kAssertInvalid,
  kAssertMalformed,
  kAssertMalformedText,
  kAssertUnlinkable,
  kSkip,
};

struct Directive {
  size_t line = 0;  // in the wast file, from 1
  Kind kind = Kind::kSkip;
  std::string name;     // the instance; what a module or an instance is called.  Empty: "-"
  std::string field;    // the export; AS of register; MODULE of module_instance (empty: "-")
  std::string message;  // what the reference interpreter says; REASON of skip
  size_t wasm_offset = 0;
  size_t wasm_bytes = 0;
  std::vector<std::string> arguments;
  std::vector<std::string> results;
};

class Script {
 public:
  // `path` ends in ".script"; the binaries lie beside it.
  static Script read(const std::filesystem::path& path);

  const std::vector<Directive>& directives() const { return directives_; }
  std::span<const uint8_t> wasm(const Directive& directive) const {
    return std::span(blob_).subspan(directive.wasm_offset, directive.wasm_bytes);
  }

 private:
  std::vector<Directive> directives_;
  std::vector<uint8_t> blob_;
};

}  // namespace spore::spec
