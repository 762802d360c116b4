#include "spore/code/rewriter.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "spore/base/memfd.h"
#include "spore/base/utf8.h"
#include "spore/code/child.h"
#include "spore/code/child_io.h"
#include "spore/code/helper_path.h"
#include "spore/code/helper_protocol.h"
#include "spore/wasm/asyncify.h"

namespace spore::code {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kDefaultProgram = "/usr/bin/wasm-opt";
constexpr std::string_view kVersionPrefix = "wasm-opt version ";
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

struct Feature {
  wasm::Proposal proposal;
  const char* argument;
};
constexpr Feature kFeatures[] = {
    {wasm::kMutableGlobals, "--enable-mutable-globals"},
    {wasm::kSaturatingFloatToInt, "--enable-nontrapping-float-to-int"},
    {wasm::kSignExtension, "--enable-sign-ext"},
    {wasm::kMultiValue, "--enable-multivalue"},
    {wasm::kBulkMemory, "--enable-bulk-memory"},
    {wasm::kReferenceTypes, "--enable-reference-types"},
    {wasm::kSimd, "--enable-simd"},
    {wasm::kExtendedConst, "--enable-extended-const"},
};

uint32_t all_features() {
  uint32_t all = 0;
  for (const Feature& feature : kFeatures) all |= feature.proposal;
  return all;
}

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
  // Whatever the toolchain wrote down that it might have used: what is not used is not to be needed after.
  std::vector<std::string> arguments{"--mvp-features"};
  for (const Feature& feature : kFeatures) {
    if ((facts.proposals & feature.proposal) != 0) arguments.emplace_back(feature.argument);
  }
  const bool has_names =
      std::ranges::any_of(facts.custom_sections, [](const auto& section) { return section.name == "name"; });
  if (has_names || !functions.empty()) arguments.emplace_back("-g");
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
  std::set<std::pair<std::string_view, std::string_view>> imports;
  for (const wasm::ModuleFacts::Import& import : original.imports)
    imports.emplace(import.module, import.name);
  for (const wasm::ModuleFacts::Import& import : facts->imports) {
    if (imports.contains({import.module, import.name})) continue;
    return wrong(fmt::format("it imports '{}.{}', too", printable(import.module), printable(import.name)));
  }
  const uint32_t added = facts->proposals & ~original.proposals;
  if (added == 0) return {};
  return wrong(fmt::format("it uses {}, which the module did not", wasm::proposal_names(added)));
}

// --- one process ------------------------------------------------------------------------------------------

enum class Why : uint8_t { kEnded, kStopped, kTooLong };

struct Outcome {
  Why why = Why::kEnded;
  ChildEnd end;
  std::vector<uint8_t> output;
  std::string last_line;  // of its standard error
};

struct Limits {
  uint64_t cpu_s = 0;
  uint64_t output_bytes_max = 0;
  milliseconds wall_max{};
};

constexpr size_t kTailBytesMax = 4096;

// Keeps the end of what it says.
bool read_tail(int fd, std::vector<uint8_t>& tail) {
  for (;;) {
    const bool more = read_some(fd, kTailBytesMax, tail);
    const bool filled = tail.size() > kTailBytesMax;
    if (filled) tail.erase(tail.begin(), tail.end() - kTailBytesMax);
    if (!more || !filled) return more;
  }
}

std::string last_line_of(std::span<const uint8_t> tail) {
  std::string_view text(reinterpret_cast<const char*>(tail.data()), tail.size());
  while (text.ends_with('\n') || text.ends_with(' ')) text.remove_suffix(1);
  if (const size_t line = text.rfind('\n'); line != std::string_view::npos) text.remove_prefix(line + 1);
  constexpr size_t kLineBytesMax = 500;
  return printable(text, kLineBytesMax);
}

Result<UniqueFd> input_of(std::span<const uint8_t> bytes) {
  UniqueFd file = SPORE_TRY(make_memfd("spore-rewrite-input"));
  SPORE_TRY(write_all(file.get(), bytes, "giving a module to wasm-opt"));
  SPORE_TRY(seal(file.get()));
  if (::lseek(file.get(), 0, SEEK_SET) == 0) return file;
  return Status::from_errno(errno, "giving a module to wasm-opt");
}

Result<std::vector<uint8_t>> output_of(int fd, uint64_t bytes_max) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return Status::from_errno(errno, "stat of what wasm-opt wrote");
  std::vector<uint8_t> bytes(std::min(static_cast<uint64_t>(info.st_size), bytes_max + 1));
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Status::from_errno(n == 0 ? EIO : errno, "reading what wasm-opt wrote");
    done += static_cast<size_t>(n);
  }
  return bytes;
}

// `wasm-opt`, once.
class Program {
 public:
  Program(const RewriterOptions& options, const std::string& library_path, const Limits& limits)
      : options_(options), library_path_(library_path), limits_(limits) {}

  // `tick` is called each progress_interval.
  Result<Outcome> run(const std::vector<std::string>& arguments, std::span<const uint8_t> input,
                      const std::stop_token& stop, const std::function<void()>& tick) const {
    const UniqueFd in = SPORE_TRY(input_of(input));
    const UniqueFd out = SPORE_TRY(make_memfd("spore-rewrite-output"));
    Pipe errors = SPORE_TRY(Pipe::make(Pipe::WhenFull::kWait));
    const StopEvent stopped = SPORE_TRY(StopEvent::make());
    const std::stop_callback on_stop(stop, [&stopped] { stopped.raise(); });
    Child child = SPORE_TRY(Child::start({.program = options_.helper,
                                          .arguments = words(arguments),
                                          .environment = environment(),
                                          .input = in.get(),
                                          .output = out.get(),
                                          .error_output = errors.write.get(),
                                          .descriptors = {}}));
    close_end(errors.write);
    Outcome outcome;
    std::vector<uint8_t> tail;
    outcome.why = listen(child, errors.read.get(), stopped, tail, tick);
    outcome.end = child.end(outcome.why == Why::kEnded ? kEndGrace : milliseconds(0));
    read_tail(errors.read.get(), tail);
    outcome.last_line = last_line_of(tail);
    outcome.output = SPORE_TRY(output_of(out.get(), limits_.output_bytes_max));
    return outcome;
  }

 private:
  static constexpr milliseconds kEndGrace{2000};

  std::vector<std::string> words(const std::vector<std::string>& arguments) const {
    std::vector<std::string> all{"--run",
                                 std::to_string(limits_.cpu_s),
                                 std::to_string(options_.memory_bytes_max),
                                 std::to_string(limits_.output_bytes_max),
                                 std::to_string(options_.niceness),
                                 options_.landlock ? "landlock" : "no-landlock",
                                 options_.wasm_opt.native()};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }

  std::vector<std::string> environment() const {
    const uint32_t threads = options_.threads != 0 ? options_.threads
                                                   : std::clamp(std::thread::hardware_concurrency(), 1u,
                                                                RewriterOptions::kThreadsDefaultMax);
    std::vector<std::string> all{fmt::format("BINARYEN_CORES={}", threads)};
    if (!library_path_.empty()) all.push_back(fmt::format("LD_LIBRARY_PATH={}", library_path_));
    return all;
  }

  // Until it ends, or must.
  Why listen(const Child& child, int errors, const StopEvent& stop, std::vector<uint8_t>& tail,
             const std::function<void()>& tick) const {
    const Clock::time_point until = Clock::now() + limits_.wall_max;
    Clock::time_point next_tick = Clock::now() + options_.progress_interval;
    for (;;) {
      const Clock::time_point now = Clock::now();
      if (now >= until) return Why::kTooLong;
      if (now >= next_tick) {
        tick();
        next_tick = Clock::now() + options_.progress_interval;
      }
      const auto left = std::chrono::ceil<milliseconds>(std::min(until, next_tick) - Clock::now()).count();
      std::array<pollfd, 3> waiting{{{.fd = errors, .events = POLLIN, .revents = 0},
                                     {.fd = child.pidfd(), .events = POLLIN, .revents = 0},
                                     {.fd = stop.fd(), .events = POLLIN, .revents = 0}}};
      if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::max<int64_t>(left, 0))) < 0) continue;
      if (waiting[2].revents != 0) return Why::kStopped;
      if (waiting[1].revents != 0) return Why::kEnded;
      if (waiting[0].revents == 0 || read_tail(errors, tail)) continue;
      if (child.pidfd() < 0) return Why::kEnded;  // it was gone before anybody could ask for it
      errors = -1;                                // it may go on without saying anything
    }
  }

  const RewriterOptions& options_;
  const std::string& library_path_;
  const Limits limits_;
};

// What it means that it ended so.
Status judge(const Outcome& outcome, const RewriterOptions& options, const Limits& limits) {
  const std::string& line = outcome.last_line;
  if (outcome.why == Why::kStopped) return Status::cancelled("rewriting was cancelled");
  if (outcome.why == Why::kTooLong) {
    return Status::limit_exceeded("rewriting took longer than {} ms (rewrite_wall_ms={})",
                                  limits.wall_max.count(), limits.wall_max.count());
  }
  const ChildEnd& end = outcome.end;
  if (end.signal == SIGXCPU) {
    return Status::limit_exceeded("rewriting takes more than {} s of processor time (rewrite_cpu_s={})",
                                  limits.cpu_s, limits.cpu_s);
  }
  if (end.signal == SIGXFSZ || outcome.output.size() > limits.output_bytes_max) {
    return Status::limit_exceeded("the rewritten module has more than {} bytes (rewrite_output_bytes_max={})",
                                  limits.output_bytes_max, limits.output_bytes_max);
  }
  if (line.starts_with(kNotRunPrefix)) {
    return Status::unavailable(
        "wasm-opt was not run: {} ('{}'{})", line.substr(kNotRunPrefix.size()), options.helper.native(),
        options.landlock ? "; where files cannot be hidden: rewrite_landlock=false" : "");
  }
  if ((end.signal != 0 || end.exit_code != 0) && out_of_memory(line)) {
    return Status::limit_exceeded(
        "rewriting takes more than {} bytes of memory (rewrite_memory_bytes_max={})",
        options.memory_bytes_max, options.memory_bytes_max);
  }
  const std::string words = line.empty() ? "" : fmt::format("; its last line: {}", line);
  if (end.signal == SIGKILL || end.signal == SIGTERM) {
    return Status::unavailable("wasm-opt was killed by somebody, or for want of memory (signal {})",
                               end.signal);
  }
  if (end.signal != 0) {
    return Status::internal("wasm-opt crashed on this module (signal {}, {}){}", end.signal,
                            ::strsignal(end.signal), words);
  }
  if (end.exit_code == 0) return {};
  return Status::unsupported("wasm-opt cannot rewrite this module (exit code {}){}", end.exit_code, words);
}

}  // namespace

Status check_asyncifiable(const wasm::ModuleFacts& facts) {
  SPORE_TRY(check_exports(facts));
  for (const Refusal& refusal : kRefusals) {
    if ((facts.proposals & refusal.proposals) != 0) return Status::unsupported("{}", refusal.reason);
  }
  const uint32_t unknown = facts.proposals & ~all_features();
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
  while (!now().changed.wait_for(lock, job.stop, options_.progress_interval, [&] { return flight.landed; })) {
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

Rewriter::Rewriter(RewriterOptions options, std::string library_path)
    : options_(std::move(options)), library_path_(std::move(library_path)) {}

Rewriter::~Rewriter() = default;

Result<std::unique_ptr<Rewriter>> Rewriter::create(RewriterOptions options) {
  if (options.threads > RewriterOptions::kThreadsMax) {
    return Status::invalid_argument("rewrite_threads is {}, allowed is 0 to {}", options.threads,
                                    RewriterOptions::kThreadsMax);
  }
  if (options.niceness > RewriterOptions::kNicenessMax) {
    return Status::invalid_argument("rewrite_niceness is {}, allowed is 0 to {}", options.niceness,
                                    RewriterOptions::kNicenessMax);
  }
  if (options.memory_bytes_max < RewriterOptions::kMemoryBytesMin) {
    return Status::invalid_argument("rewrite_memory_bytes_max is {}, allowed is {} and more",
                                    options.memory_bytes_max, RewriterOptions::kMemoryBytesMin);
  }
  if (options.cpu_s == 0 || options.wall_max.count() <= 0 || options.progress_interval.count() <= 0) {
    return Status::invalid_argument(
        "rewrite_cpu_s, rewrite_wall_ms and the interval of progress are 1 and more");
  }
  options.helper = SPORE_TRY(find_helper(options.helper));
  if (options.wasm_opt.empty()) options.wasm_opt = kDefaultProgram;
  std::error_code error;
  if (auto path = std::filesystem::absolute(options.wasm_opt, error); !error)
    options.wasm_opt = std::move(path);
  const char* library_path = std::getenv("LD_LIBRARY_PATH");
  return std::unique_ptr<Rewriter>(
      new Rewriter(std::move(options), library_path == nullptr ? "" : library_path));
}

Result<Rewritten> Rewriter::asyncify(std::span<const uint8_t> wasm, const std::stop_token& stop,
                                     const Progress& progress, std::span<const uint32_t> functions) {
  const Clock::time_point begin = Clock::now();
  if (stop.stop_requested()) return Status::cancelled("rewriting was cancelled before it began");
  if (wasm.size() > options_.module_bytes_max) {
    return Status::limit_exceeded(
        "the module has {} bytes, at most {} are rewritten (rewrite_module_bytes_max={})", wasm.size(),
        options_.module_bytes_max, options_.module_bytes_max);
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
  const wasm::ModuleFacts facts = SPORE_TRY(wasm::inspect(wasm, options_.module_bytes_max));
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
  if (options_.cache == nullptr) return std::nullopt;
  std::optional<std::vector<uint8_t>> kept = options_.cache->load_module(job.key, made_by());
  if (!kept) return std::nullopt;
  return job.done(*std::move(kept), true);
}

Result<Rewritten> Rewriter::lead(const Job& job) {
  std::optional<code::Flight> among_processes;
  if (options_.cache != nullptr) {
    Clock::time_point told;
    among_processes.emplace(options_.cache->flight(job.key, options_.wall_max, [&] {
      if (Clock::now() - told >= options_.progress_interval) {
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
  if (options_.cache != nullptr) {
    options_.cache->store_module(job.key, job.original, made_by(), bytes, job.ns());
  }
  return job.done(std::move(bytes), false);
}

Result<std::vector<uint8_t>> Rewriter::rewrite(const Job& job) {
  SPORE_TRY(check_version(job));
  const Limits limits{
      .cpu_s = options_.cpu_s, .output_bytes_max = options_.output_bytes_max, .wall_max = options_.wall_max};
  job.tell(RewritePhase::kRewriting);
  std::vector<uint8_t> reduced;  // what the functions to be rewritten need, and nothing of all others
  if (!job.functions.empty()) reduced = SPORE_TRY(wasm::reduce_for_asyncify(job.wasm, job.functions));
  Outcome outcome =
      SPORE_TRY(Program(options_, library_path_, limits)
                    .run(arguments_for(*job.facts, job.functions), job.functions.empty() ? job.wasm : reduced,
                         job.stop, [&] { job.tell(RewritePhase::kRewriting); }));
  SPORE_TRY(judge(outcome, options_, limits));
  job.tell(RewritePhase::kChecking);
  if (!job.functions.empty()) {
    outcome.output = SPORE_TRY(wasm::splice_asyncified(job.wasm, outcome.output, job.functions));
  }
  SPORE_TRY(check_result(outcome.output, *job.facts, options_.output_bytes_max));
  return std::move(outcome.output);
}

Status Rewriter::check_version(const Job& job) {
  constexpr const char* kInstall =
      "install Debian 12's package 'binaryen', or name one (rewrite_wasm_opt=PATH)";
  const std::string wrong = why_not_executable(options_.wasm_opt);
  if (!wrong.empty()) {
    return Status::unavailable("wasm-opt {} is needed, and '{}' cannot be started: {}; {}", kBinaryenVersion,
                               options_.wasm_opt.native(), wrong, kInstall);
  }
  {
    const MutexLock lock(mutex_);
    if (version_is_right_) return {};
  }
  constexpr uint64_t kWords = 4096;
  constexpr uint64_t kSeconds = 10;
  const Limits limits{.cpu_s = kSeconds,
                      .output_bytes_max = kWords,
                      .wall_max = std::min<milliseconds>(options_.wall_max, std::chrono::minutes(1))};
  const Outcome outcome =
      SPORE_TRY(Program(options_, library_path_, limits).run({"--version"}, {}, job.stop, [] {}));
  SPORE_TRY(judge(outcome, options_, limits).with_context("asking wasm-opt for its version"));
  const std::string_view said(reinterpret_cast<const char*>(outcome.output.data()), outcome.output.size());
  const std::string_view version =
      said.starts_with(kVersionPrefix) ? said.substr(kVersionPrefix.size()) : std::string_view();
  const std::string_view digits = version.substr(0, version.find_first_not_of("0123456789"));
  if (digits != std::to_string(kBinaryenVersion)) {
    const std::string found =
        digits.empty() ? fmt::format("says '{}' for a version", printable(said.substr(0, said.find('\n'))))
                       : fmt::format("is version {}", digits);
    return Status::unavailable("'{}' {}, and version {} is needed: {}", options_.wasm_opt.native(), found,
                               kBinaryenVersion, kInstall);
  }
  const MutexLock lock(mutex_);
  version_is_right_ = true;
  return {};
}

}  // namespace spore::code
