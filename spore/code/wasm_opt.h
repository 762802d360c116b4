#pragma once

// `wasm-opt`, of Debian's Binaryen, in a process that can do little else: a module in, a module out.  Why so:
// docs/decisions/0011-asyncify.md.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/status.h"
#include "spore/code/code_cache.h"
#include "spore/wasm/inspect.h"
#include "spore/wasm/proposals.h"

namespace spore::code {

// Of `wasm-opt`.  Another one makes other code, which a frozen state does not fit.
inline constexpr uint32_t kBinaryenVersion = 108;

// In messages the limits are called as the options are: rewrite_cpu_s, rewrite_memory_bytes_max.
struct WasmOptOptions {
  std::filesystem::path wasm_opt;    // empty: /usr/bin/wasm-opt
  std::filesystem::path helper;      // that confines it; empty: as HelperOptions::helper
  std::shared_ptr<CodeCache> cache;  // null: none
  // CPython takes 150 s of processor time and 0.9 GB.
  uint64_t cpu_s = 1800;
  uint64_t memory_bytes_max = uint64_t{4} << 30;  // address space
  uint64_t module_bytes_max = uint64_t{128} << 20;
  uint64_t output_bytes_max = uint64_t{256} << 20;
  std::chrono::milliseconds wall_max = std::chrono::minutes(30);
  std::chrono::milliseconds progress_interval{500};
  uint32_t threads = 0;  // 0: one for each processor, up to kThreadsDefaultMax
  uint32_t niceness = 10;
  // Where the kernel cannot hide files from a process: false lets it read (not write) what this user can.
  bool landlock = true;

  static constexpr uint32_t kThreadsDefaultMax = 8;
  static constexpr uint32_t kThreadsMax = 64;
  static constexpr uint32_t kNicenessMax = 19;
  static constexpr uint64_t kMemoryBytesMin = 256 * 1024 * 1024;
};

// What it is run for, in messages.
struct WasmOptTask {
  std::string_view doing = "rewriting";
  std::string_view verb = "rewrite";
  std::string_view done = "rewritten";
};

// What modules may use that it is given: what this version reads as it was standardised.
inline constexpr uint32_t kProposalsWasmOpt = wasm::kMutableGlobals | wasm::kSaturatingFloatToInt |
                                              wasm::kSignExtension | wasm::kMultiValue | wasm::kBulkMemory |
                                              wasm::kReferenceTypes | wasm::kSimd | wasm::kExtendedConst;

// Its arguments for a module that uses these: whatever else the toolchain wrote down that it might have used,
// is not to be needed after.
std::vector<std::string> wasm_opt_features(uint32_t proposals);

// Whether it names its functions: of such a module -g keeps the names.
bool has_names(const wasm::ModuleFacts& facts);

// What `made` needs beside what the module needed that it was made of: "it imports 'a.b', too".  Empty:
// nothing.
std::string what_was_added(const wasm::ModuleFacts& made, const wasm::ModuleFacts& original);

// Thread-safe.  A forked child may go on with its copy.
class WasmOpt {
 public:
  // Starts nothing yet.  kUnavailable: there is no helper.  kInvalidArgument: an option is out of range.
  static Result<std::unique_ptr<WasmOpt>> create(WasmOptOptions options, const WasmOptTask& task);

  // That it is there, and of the right version; it is asked until it was once.  kUnavailable, kCancelled.
  Status check_version(const std::stop_token& stop);

  // What it writes, of `input` and by these arguments.  `tick` is called each progress_interval, on this
  // thread.
  //
  // - kUnsupported: it refuses, in its last line.
  // - kLimitExceeded: time, memory or length of the result, by the limit's name.
  // - kCancelled: heeded at once; it is killed.
  // - kUnavailable: it or the helper is not there, cannot be confined, or was killed by somebody.
  // - kInternal: it crashed.
  // - kIo: no descriptors or no memory for what goes between.
  Result<std::vector<uint8_t>> run(const std::vector<std::string>& arguments, std::span<const uint8_t> input,
                                   const std::stop_token& stop, const std::function<void()>& tick) const;

  const WasmOptOptions& options() const { return options_; }

 private:
  WasmOpt(WasmOptOptions options, const WasmOptTask& task, std::string library_path)
      : options_(std::move(options)), task_(task), library_path_(std::move(library_path)) {}

  const WasmOptOptions options_;
  const WasmOptTask task_;
  const std::string library_path_;             // LD_LIBRARY_PATH as it was at the start
  std::atomic<bool> version_is_right_{false};  // relaxed: who does not see it asks once more
};

}  // namespace spore::code
