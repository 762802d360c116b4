#pragma once

// Makes programs that can be stopped in the middle of a read, and gone on with: Binaryen's asyncify, by
// `wasm-opt`, in a process that can do little else.  Why so, and what it refuses:
// docs/decisions/0011-asyncify.md.

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/hash.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/base/thread_annotations.h"
#include "spore/code/wasm_opt.h"
#include "spore/wasm/inspect.h"

namespace spore::code {

// Grows whenever the same module is rewritten differently: part of the name of the result in the cache.
inline constexpr uint32_t kRewriterVersion = 3;

// What a rewritten module exports beside what it exported before.
inline constexpr std::array<std::string_view, 5> kAsyncifyExports{
    "asyncify_start_unwind", "asyncify_stop_unwind", "asyncify_start_rewind", "asyncify_stop_rewind",
    "asyncify_get_state"};

using RewriterOptions = WasmOptOptions;

enum class RewritePhase : uint8_t {
  kWaiting,    // somebody else rewrites the same
  kRewriting,  // wasm-opt runs; it tells nothing of how far it is
  kChecking,   // what came out
};
struct RewriteProgress {
  RewritePhase phase = RewritePhase::kRewriting;
  std::chrono::milliseconds elapsed{0};  // since it was asked for

  std::string text() const;  // "rewriting, 12 s"
};

struct Rewritten {
  std::shared_ptr<const std::vector<uint8_t>> wasm;  // valid, and exports kAsyncifyExports
  Digest original;                                   // SHA-256 of what it was made of
  // The functions that were rewritten, ascending; null: all that can come to a wait.
  std::shared_ptr<const std::vector<uint32_t>> functions;
  bool from_cache = false;
  uint64_t ns = 0;  // that this took
};

// What cannot be rewritten so, before it is tried: kUnsupported, with the cause and the way out.
Status check_asyncifiable(const wasm::ModuleFacts& facts);

// Thread-safe.  Each module is rewritten once among the threads of a process, and among processes that share
// the cache.  A forked child may go on with its copy.
class Rewriter final : ForkAware {
 public:
  // Each `progress_interval`, and when a phase begins, on the thread that asked, with no lock held.
  using Progress = std::function<void(const RewriteProgress&)>;

  // Starts nothing yet.  kUnavailable: there is no helper.  kInvalidArgument: an option is out of range.
  static Result<std::unique_ptr<Rewriter>> create(RewriterOptions options);
  ~Rewriter();
  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  // `wasm`, such that a call of it can be unwound in an import that waits for input, and rewound.  The same
  // bytes for the same bytes.
  // `functions`, ascending: those that will be on the stack then; only their bodies change, and nobody looks
  // whether others are there.  Empty: all that can come to be, which takes long.
  //
  // - What wasm::inspect says.
  // - kUnsupported: what check_asyncifiable says, or wasm-opt, in its last line.
  // - kLimitExceeded: one of the limits, named; also time, memory and length of the result.
  // - kCancelled: heeded at once; wasm-opt is killed.
  // - kUnavailable: wasm-opt or the helper is not there, of another version, cannot be confined, or was
  // killed
  //   by somebody.
  // - kInternal: wasm-opt crashed, or what it made is no such module.
  // - kIo: no descriptors or no memory for what goes between.
  Result<Rewritten> asyncify(std::span<const uint8_t> wasm, const std::stop_token& stop = {},
                             const Progress& progress = {}, std::span<const uint32_t> functions = {});

  const RewriterOptions& options() const { return wasm_opt_->options(); }

 private:
  struct Flight;
  struct Work;
  struct Job;

  explicit Rewriter(std::unique_ptr<WasmOpt> wasm_opt);
  std::optional<Rewritten> load(const Job& job) const;
  // On this thread, but for those of other processes.
  Result<Rewritten> lead(const Job& job);
  Result<std::vector<uint8_t>> rewrite(const Job& job);

  Work& now() SPORE_REQUIRES(mutex_);
  std::pair<std::shared_ptr<Flight>, bool> board(const Digest& key) SPORE_EXCLUDES(mutex_);
  void land(const Digest& key, Flight& flight, const Result<Rewritten>& rewritten) SPORE_EXCLUDES(mutex_);
  // What another thread came to; nothing if that thread was told to stop.
  std::optional<Result<Rewritten>> wait_for(const Flight& flight, const Job& job) SPORE_EXCLUDES(mutex_);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override;

  const std::unique_ptr<WasmOpt> wasm_opt_;
  Mutex mutex_;  // held for a few instructions
  std::unique_ptr<Work> work_ SPORE_GUARDED_BY(mutex_);
  const ForkRegistration fork_registration_{*this};
};

}  // namespace spore::code
