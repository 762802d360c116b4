#pragma once

// What HelperCompiler and the compile helper (apps/spore-compile) say to each other.
//
//   request   a sealed file in memory: kRequestBytes of Request, zeros behind it, then the module
//   answer    a pipe: the helper's Hello, then its Answer
//   native    a file in memory that the helper fills
//
// Of all versions the first 12 bytes are the same, magic and version, in both directions.  The helper is
// trusted with the request.  Its answer may be that of a compiler which a module has taken over.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/code/compile_limits.h"
#include "spore/engine/engine.h"

namespace spore::code {

inline constexpr uint32_t kHelperProtocol = 1;
// The helper's descriptors.  0 to 2 are /dev/null, twice, and a pipe that takes what it says when it crashes.
inline constexpr int kRequestFd = 3;
inline constexpr int kAnswerFd = 4;
inline constexpr int kNativeFd = 5;
inline constexpr size_t kRequestBytes = 4096;
inline constexpr size_t kAnswerBytesMax = 16 * 1024;  // Hello and Answer

// `spore-compile --run`, which becomes another program: what it ends with if it cannot, and how it begins to
// say why.
inline constexpr int kNotRun = 125;
inline constexpr std::string_view kNotRunPrefix = "spore-compile: ";

// What one compile may take.
struct CompileBudget {
  // Address space of the helper.  Without a module it takes about 40 MiB.
  uint64_t memory_bytes_max = uint64_t{2} * 1024 * 1024 * 1024;
  // Processor time, all threads together: so much, and so much more for each MiB of code.
  uint64_t cpu_s = 4;
  uint64_t cpu_s_per_mib = 10;
  uint64_t native_bytes_max = 256 * 1024 * 1024;

  // For that many bytes of code.
  uint64_t cpu_s_for(uint64_t code_bytes) const;
};

struct HelperRequest {
  engine::EngineOptions engine;  // but for parallel_compile: `threads` decides
  std::string engine_version;
  Digest compatibility;  // of the engine that is to load the code
  uint32_t threads = 1;
  uint32_t niceness = 0;
  CompileBudget budget;
  CompileLimits limits;
  uint64_t module_bytes = 0;
};

// What the helper is.  It goes no further if that is not what the request wants.
struct HelperHello {
  uint32_t protocol = kHelperProtocol;
  std::string engine_version;
  Digest compatibility;
};

struct HelperAnswer {
  Code code = Code::kOk;
  std::string message;
  uint64_t native_bytes = 0;
};

// kRequestBytes of them.
std::vector<uint8_t> encode(const HelperRequest& request);
// The protocol that a request is of.  kCorruption: it is none.
Result<uint32_t> request_protocol(std::span<const uint8_t> bytes);
// kCorruption.
Result<HelperRequest> decode_request(std::span<const uint8_t> bytes);

std::vector<uint8_t> encode(const HelperHello& hello);
// Message is cut at a length that the reader takes.
std::vector<uint8_t> encode(const HelperAnswer& answer);

// All that the pipe gave.  Only the first 12 bytes of a Hello of another protocol are read; no Answer is
// left out silently: kCorruption if these bytes are not a Hello and an Answer, or one Hello of an engine that
// is not `engine_version` and `compatibility`.
struct HelperSpoken {
  HelperHello hello;
  bool answered = false;
  HelperAnswer answer;
};
Result<HelperSpoken> decode_spoken(std::span<const uint8_t> bytes);

}  // namespace spore::code
