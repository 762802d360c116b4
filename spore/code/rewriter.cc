#include "spore/code/rewriter.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include "spore/base/utf8.h"
#include "spore/wasm/asyncify.h"

namespace spore::code {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// The imports in which a program may wait for input.
constexpr std::string_view kWasi = "wasi_snapshot_preview1";
constexpr const char* kPassArgument =
    "--pass-arg=asyncify-imports@wasi_snapshot_preview1.fd_read,wasi_snapshot_preview1.poll_oneoff,spore."
    "receive";
// Of asyncify's own passes over what it rewrites: without them the result is twice as long.  Not -O1, which
// goes over the whole module once more: that takes a third longer and gains nothing.
constexpr const char* kOptimise = "--optimize-level=1";

milliseconds elapsed_since(Clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
}

// --- what can be rewritten --------------------------------------------------------------------------------

// Of those that cannot be: why, and what to do.
struct Refusal {
  uint32_t proposals;
  const char* reason;
};
constexpr Refusal kRefusals[] = {
    {wasm::kExceptions,
     "it uses exceptions, which asyncify cannot unwind through: build it without them (-fno-exceptions)"},
    {wasm::kTailCall,
     "it uses tail calls, whose frames asyncify cannot save: build it without them (-mno-tail-call)"},
    {wasm::kGc | wasm::kFunctionReferences | wasm::kExternref,
     "it keeps references, which cannot be saved in memory: build it for linear memory"},
    {wasm::kThreads,
     "it uses threads or shared memory, of which no single moment can be frozen: build it without"},
    {wasm::kMemory64, "it uses memory64, but asyncify keeps addresses of 32 bits: build it for wasm32"},
    {wasm::kMultiMemory, "it has several memories, which wasm-opt 108 cannot read: build it with one"},
    {wasm::kRelaxedSimd,
     "it uses relaxed-simd, of which wasm-opt 108 knows an early draft: build it with -mno-relaxed-simd"},
};

bool has_export(const wasm::ModuleFacts& facts, std::string_view name) {
  return std::ranges::any_of(facts.exports, [&](const auto& entry) { return entry.name == name; });
}

bool may_wait(const wasm::ModuleFacts& facts) {
  return std::ranges::any_of(facts.imports, [](const wasm::ModuleFacts::Import& import) {
    return (import.module == kWasi && (import.name == "fd_read" || import.name == "poll_oneoff")) ||
           (import.module == "spore" && import.name == "receive");
  });
}

Status check_exports(const wasm::ModuleFacts& facts) {
  const auto taken =
      std::ranges::find_if(kAsyncifyExports, [&](std::string_view name) { return has_export(facts, name); });
  if (has_export(facts, "asyncify_start_unwind")) {
    return Status::unsupported(
        "it is asyncified already, for a host of its own: freeze it by an initialiser (--init EXPORT), or "
        "give "
        "the program as it was before");
  }
  if (taken != kAsyncifyExports.end()) {
    return Status::unsupported("it exports '{}' itself, a name that asyncify needs: rename that export",
                               *taken);
  }
  const auto start =
      std::ranges::find_if(facts.exports, [](const auto& entry) { return entry.name == "_start"; });
  if (start != facts.exports.end() && start->type.starts_with("func")) return {};
  return Status::unsupported(
      "it is no program: it has no function '_start'; freeze a library by an initialiser (--init EXPORT)");
}

// "f43,f365", as a reduced module names them.
std::string names_of(std::span<const uint32_t> functions) {
  std::string names;
  for (const uint32_t function : functions) {
    names += fmt::format("{}{}", names.empty() ? "" : ",", wasm::asyncify_name(function));
  }
  return names;
}

std::vector<std::string> arguments_for(const wasm::ModuleFacts& facts, std::span<const uint32_t> functions) {
  std::vector<std::string> arguments = wasm_opt_features(facts.proposals);
  if (has_names(facts) || !functions.empty()) arguments.emplace_back("-g");
  // First of the passes: with DWARF in it, -g makes Binaryen keep that up to date, and leave other things
  // out.
  for (const char* word : {"--strip-dwarf", "--asyncify", kPassArgument, kOptimise, "-", "-o", "-"}) {
    arguments.emplace_back(word);
  }
  if (!functions.empty()) {
    arguments.push_back(fmt::format("--pass-arg=asyncify-onlylist@{}", names_of(functions)));
  }
  return arguments;
}

// What made a result: it changes whenever the result might.
std::string made_by() {
  return fmt::format("wasm-opt {}; rewriter {}; --asyncify {} {}", kBinaryenVersion, kRewriterVersion,
                     kPassArgument, kOptimise);
}

Digest key_of(const Digest& original, std::span<const uint32_t> functions) {
  const std::string text = fmt::format("spore rewritten module\n{}\n{}\n", made_by(), names_of(functions));
  return sha256({{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, original.bytes});
}

Status check_result(std::span<const uint8_t> wasm, const wasm::ModuleFacts& original, uint64_t bytes_max) {
  const auto wrong = [](std::string_view how) {
    return Status::internal("what wasm-opt made of it is of no use: {}", how);
  };
  const Result<wasm::ModuleFacts> facts = wasm::inspect(wasm, bytes_max);
  if (!facts.ok()) return wrong(facts.status().message());
  for (const std::string_view name : kAsyncifyExports) {
    if (!has_export(facts.value(), name)) return wrong(fmt::format("it does not export '{}'", name));
  }
  for (const wasm::ModuleFacts::Export& entry : original.exports) {
    if (has_export(facts.value(), entry.name)) continue;
    return wrong(fmt::format("it does not export '{}' any more", printable(entry.name)));
  }
  const std::string added = what_was_added(facts.value(), original);
  return added.empty() ? Status() : wrong(added);
}

}  // namespace

Status check_asyncifiable(const wasm::ModuleFacts& facts) {
  SPORE_TRY(check_exports(facts));
  for (const Refusal& refusal : kRefusals) {
    if ((facts.proposals & refusal.proposals) != 0) return Status::unsupported("{}", refusal.reason);
  }
  const uint32_t unknown = facts.proposals & ~kProposalsWasmOpt;
  if (unknown != 0) {
    return Status::unsupported("it uses {}, which wasm-opt {} cannot read: build it without",
                               wasm::proposal_names(unknown), kBinaryenVersion);
  }
  if (!may_wait(facts)) {
    return Status::unsupported(
        "it imports neither fd_read nor poll_oneoff of wasi_snapshot_preview1: it never waits for input, so "
        "there "
        "is no moment to freeze it in; run it as it is, or freeze it by an initialiser (--init EXPORT)");
  }
  if (facts.memories != 1) {
    return Status::unsupported("it has {} memories, and asyncify keeps frames in the one that there must be",
                               facts.memories);
  }
  return {};
}

std::string RewriteProgress::text() const {
  const char* const what = phase == RewritePhase::kWaiting     ? "waiting for who rewrites it"
                           : phase == RewritePhase::kRewriting ? "rewriting"
                                                               : "checking what was rewritten";
  return fmt::format("{}, {} s", what, std::chrono::duration_cast<std::chrono::seconds>(elapsed).count());
}

// --- flights ----------------------------------------------------------------------------------------------

struct Rewriter::Job {
  std::span<const uint8_t> wasm;
  std::span<const uint32_t> functions;
  Digest original;
  Digest key;
  const wasm::ModuleFacts* facts = nullptr;
  const std::stop_token& stop;
  const Progress& progress;
  Clock::time_point begin;

  void tell(RewritePhase phase) const {
    if (progress) progress({.phase = phase, .elapsed = elapsed_since(begin)});
  }
  uint64_t ns() const {
    return static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count());
  }
  Rewritten done(std::vector<uint8_t> bytes, bool from_cache) const {
    Rewritten rewritten{.wasm = std::make_shared<const std::vector<uint8_t>>(std::move(bytes)),
                        .original = original,
                        .functions = nullptr,
                        .from_cache = from_cache,
                        .ns = ns()};
    if (!functions.empty()) {
      rewritten.functions = std::make_shared<const std::vector<uint32_t>>(functions.begin(), functions.end());
    }
    return rewritten;
  }
};

// What one thread does and others wait for.  Under the lock.
struct Rewriter::Flight {
  bool landed = false;
  Status status;
  Rewritten rewritten;
};

// A forked child abandons it: it has no such threads.
struct Rewriter::Work {
  std::condition_variable_any changed;
  std::map<Digest, std::shared_ptr<Flight>> flights;
};

Rewriter::Work& Rewriter::now() {
  if (work_ == nullptr) work_ = std::make_unique<Work>();
  return *work_;
}

void Rewriter::repair_in_child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  [[maybe_unused]] const Work* abandoned = work_.release();
}

std::pair<std::shared_ptr<Rewriter::Flight>, bool> Rewriter::board(const Digest& key) {
  const MutexLock lock(mutex_);
  std::shared_ptr<Flight>& flight = now().flights[key];
  const bool first = flight == nullptr;
  if (first) flight = std::make_shared<Flight>();
  return {flight, first};
}

void Rewriter::land(const Digest& key, Flight& flight, const Result<Rewritten>& rewritten) {
  const MutexLock lock(mutex_);
  flight.landed = true;
  if (rewritten.ok()) {
    flight.rewritten = rewritten.value();
  } else {
    flight.status = rewritten.status().copy();
  }
  now().flights.erase(key);
  now().changed.notify_all();
}

// Waits by a condition variable, which the analysis cannot follow.
std::optional<Result<Rewritten>> Rewriter::wait_for(const Flight& flight,
                                                    const Job& job) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  job.tell(RewritePhase::kWaiting);
  std::unique_lock<std::mutex> lock(mutex_.native());
  while (
      !now().changed.wait_for(lock, job.stop, options().progress_interval, [&] { return flight.landed; })) {
    if (job.stop.stop_requested()) return Result<Rewritten>(Status::cancelled("rewriting was cancelled"));
    lock.unlock();
    job.tell(RewritePhase::kWaiting);
    lock.lock();
  }
  if (flight.status.ok()) return Result<Rewritten>(flight.rewritten);
  if (flight.status.code() == Code::kCancelled) return std::nullopt;
  return Result<Rewritten>(flight.status.copy());
}

// --- rewriting --------------------------------------------------------------------------------------------

Rewriter::Rewriter(std::unique_ptr<WasmOpt> wasm_opt) : wasm_opt_(std::move(wasm_opt)) {}

Rewriter::~Rewriter() = default;

Result<std::unique_ptr<Rewriter>> Rewriter::create(RewriterOptions options) {
  std::unique_ptr<WasmOpt> wasm_opt = SPORE_TRY(WasmOpt::create(std::move(options), {}));
  return std::unique_ptr<Rewriter>(new Rewriter(std::move(wasm_opt)));
}

Result<Rewritten> Rewriter::asyncify(std::span<const uint8_t> wasm, const std::stop_token& stop,
                                     const Progress& progress, std::span<const uint32_t> functions) {
  const Clock::time_point begin = Clock::now();
  if (stop.stop_requested()) return Status::cancelled("rewriting was cancelled before it began");
  if (wasm.size() > options().module_bytes_max) {
    return Status::limit_exceeded(
        "the module has {} bytes, at most {} are rewritten (rewrite_module_bytes_max={})", wasm.size(),
        options().module_bytes_max, options().module_bytes_max);
  }
  const Digest original = sha256(wasm);
  Job job{.wasm = wasm,
          .functions = functions,
          .original = original,
          .key = key_of(original, functions),
          .facts = nullptr,
          .stop = stop,
          .progress = progress,
          .begin = begin};
  if (std::optional<Rewritten> kept = load(job)) return *std::move(kept);
  const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(wasm, options().module_bytes_max));
  SPORE_TRY(check_asyncifiable(facts));
  job.facts = &facts;
  for (;;) {
    const auto [flight, first] = board(job.key);
    if (first) {
      Result<Rewritten> rewritten = lead(job);
      land(job.key, *flight, rewritten);
      return rewritten;
    }
    std::optional<Result<Rewritten>> others = wait_for(*flight, job);
    if (!others) continue;  // who led was told to stop, we were not
    if (others->ok()) others->value().ns = job.ns();
    return *std::move(others);
  }
}

std::optional<Rewritten> Rewriter::load(const Job& job) const {
  if (options().cache == nullptr) return std::nullopt;
  std::optional<std::vector<uint8_t>> kept = options().cache->load_module(job.key, made_by());
  if (!kept) return std::nullopt;
  return job.done(*std::move(kept), true);
}

Result<Rewritten> Rewriter::lead(const Job& job) {
  std::optional<code::Flight> among_processes;
  if (options().cache != nullptr) {
    Clock::time_point told;
    among_processes.emplace(options().cache->flight(job.key, options().wall_max, [&] {
      if (Clock::now() - told >= options().progress_interval) {
        job.tell(RewritePhase::kWaiting);
        told = Clock::now();
      }
      return job.stop.stop_requested();
    }));
    if (job.stop.stop_requested()) return Status::cancelled("rewriting was cancelled");
    // Once more, even if nobody was waited for: who had it may have landed since we looked.
    if (std::optional<Rewritten> kept = load(job)) return *std::move(kept);
  }
  std::vector<uint8_t> bytes = SPORE_TRY(rewrite(job));
  if (options().cache != nullptr) {
    options().cache->store_module(job.key, job.original, made_by(), bytes, job.ns());
  }
  return job.done(std::move(bytes), false);
}

Result<std::vector<uint8_t>> Rewriter::rewrite(const Job& job) {
  SPORE_TRY(wasm_opt_->check_version(job.stop));
  job.tell(RewritePhase::kRewriting);
  std::vector<uint8_t> reduced;  // what the functions to be rewritten need, and nothing of all others
  if (!job.functions.empty()) reduced = SPORE_TRY(wasm::reduce_for_asyncify(job.wasm, job.functions));
  std::vector<uint8_t> made = SPORE_TRY(wasm_opt_->run(arguments_for(*job.facts, job.functions),
                                                       job.functions.empty() ? job.wasm : reduced, job.stop,
                                                       [&] { job.tell(RewritePhase::kRewriting); }));
  job.tell(RewritePhase::kChecking);
  if (!job.functions.empty()) made = SPORE_TRY(wasm::splice_asyncified(job.wasm, made, job.functions));
  SPORE_TRY(check_result(made, *job.facts, options().output_bytes_max));
  return made;
}

}  // namespace spore::code
