#include "spore/code/wasm_opt.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>
#include <thread>

#include "spore/base/memfd.h"
#include "spore/base/utf8.h"
#include "spore/code/child.h"
#include "spore/code/child_io.h"
#include "spore/code/helper_path.h"
#include "spore/code/helper_protocol.h"
#include "spore/wasm/blocks.h"

namespace spore::code {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kDefaultProgram = "/usr/bin/wasm-opt";
constexpr std::string_view kVersionPrefix = "wasm-opt version ";

// --- modules ----------------------------------------------------------------------------------------------

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

constexpr uint32_t all_features() {
  uint32_t all = 0;
  for (const Feature& feature : kFeatures) all |= feature.proposal;
  return all;
}
static_assert(all_features() == kProposalsWasmOpt);

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
  Program(const WasmOptOptions& options, const std::string& library_path, const Limits& limits)
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
                                                                WasmOptOptions::kThreadsDefaultMax);
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

  const WasmOptOptions& options_;
  const std::string& library_path_;
  const Limits limits_;
};

// What it means that it ended so.
Status judge(const Outcome& outcome, const WasmOptOptions& options, const WasmOptTask& task,
             const Limits& limits) {
  const std::string& line = outcome.last_line;
  if (outcome.why == Why::kStopped) return Status::cancelled("{} was cancelled", task.doing);
  if (outcome.why == Why::kTooLong) {
    return Status::limit_exceeded("{} took longer than {} ms (rewrite_wall_ms={})", task.doing,
                                  limits.wall_max.count(), limits.wall_max.count());
  }
  const ChildEnd& end = outcome.end;
  if (end.signal == SIGXCPU) {
    return Status::limit_exceeded("{} takes more than {} s of processor time (rewrite_cpu_s={})", task.doing,
                                  limits.cpu_s, limits.cpu_s);
  }
  if (end.signal == SIGXFSZ || outcome.output.size() > limits.output_bytes_max) {
    return Status::limit_exceeded("the {} module has more than {} bytes (rewrite_output_bytes_max={})",
                                  task.done, limits.output_bytes_max, limits.output_bytes_max);
  }
  if (line.starts_with(kNotRunPrefix)) {
    return Status::unavailable(
        "wasm-opt was not run: {} ('{}'{})", line.substr(kNotRunPrefix.size()), options.helper.native(),
        options.landlock ? "; where files cannot be hidden: rewrite_landlock=false" : "");
  }
  if ((end.signal != 0 || end.exit_code != 0) && out_of_memory(line)) {
    return Status::limit_exceeded("{} takes more than {} bytes of memory (rewrite_memory_bytes_max={})",
                                  task.doing, options.memory_bytes_max, options.memory_bytes_max);
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
  return Status::unsupported("wasm-opt cannot {} this module (exit code {}){}", task.verb, end.exit_code,
                             words);
}

}  // namespace

std::vector<std::string> wasm_opt_features(uint32_t proposals) {
  std::vector<std::string> arguments{"--mvp-features"};
  for (const Feature& feature : kFeatures) {
    if ((proposals & feature.proposal) != 0) arguments.emplace_back(feature.argument);
  }
  return arguments;
}

bool has_names(const wasm::ModuleFacts& facts) {
  return std::ranges::any_of(facts.custom_sections,
                             [](const auto& section) { return section.name == "name"; });
}

std::string what_was_added(const wasm::ModuleFacts& made, const wasm::ModuleFacts& original) {
  std::set<std::pair<std::string_view, std::string_view>> imports;
  for (const wasm::ModuleFacts::Import& import : original.imports)
    imports.emplace(import.module, import.name);
  for (const wasm::ModuleFacts::Import& import : made.imports) {
    if (imports.contains({import.module, import.name})) continue;
    return fmt::format("it imports '{}.{}', too", printable(import.module), printable(import.name));
  }
  const uint32_t added = made.proposals & ~original.proposals;
  if (added == 0) return {};
  return fmt::format("it uses {}, which the module did not", wasm::proposal_names(added));
}

Result<std::unique_ptr<WasmOpt>> WasmOpt::create(WasmOptOptions options, const WasmOptTask& task) {
  if (options.threads > WasmOptOptions::kThreadsMax) {
    return Status::invalid_argument("rewrite_threads is {}, allowed is 0 to {}", options.threads,
                                    WasmOptOptions::kThreadsMax);
  }
  if (options.niceness > WasmOptOptions::kNicenessMax) {
    return Status::invalid_argument("rewrite_niceness is {}, allowed is 0 to {}", options.niceness,
                                    WasmOptOptions::kNicenessMax);
  }
  if (options.memory_bytes_max < WasmOptOptions::kMemoryBytesMin) {
    return Status::invalid_argument("rewrite_memory_bytes_max is {}, allowed is {} and more",
                                    options.memory_bytes_max, WasmOptOptions::kMemoryBytesMin);
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
  return std::unique_ptr<WasmOpt>(
      new WasmOpt(std::move(options), task, library_path == nullptr ? "" : library_path));
}

Result<std::vector<uint8_t>> WasmOpt::run(const std::vector<std::string>& arguments,
                                          std::span<const uint8_t> input, const std::stop_token& stop,
                                          const std::function<void()>& tick) const {
  // Version 108 drops what a branch to a loop carries, and says nothing (the official suite's fac-ssa).
  if (wasm::blocks_take_parameters(input)) {
    return Status::unsupported("it has blocks with parameters, which wasm-opt {} misreads", kBinaryenVersion);
  }
  const Limits limits{
      .cpu_s = options_.cpu_s, .output_bytes_max = options_.output_bytes_max, .wall_max = options_.wall_max};
  Outcome outcome = SPORE_TRY(Program(options_, library_path_, limits).run(arguments, input, stop, tick));
  SPORE_TRY(judge(outcome, options_, task_, limits));
  return std::move(outcome.output);
}

Status WasmOpt::check_version(const std::stop_token& stop) {
  constexpr const char* kInstall =
      "install Debian 12's package 'binaryen', or name one (rewrite_wasm_opt=PATH)";
  const std::string wrong = why_not_executable(options_.wasm_opt);
  if (!wrong.empty()) {
    return Status::unavailable("wasm-opt {} is needed, and '{}' cannot be started: {}; {}", kBinaryenVersion,
                               options_.wasm_opt.native(), wrong, kInstall);
  }
  if (version_is_right_.load(std::memory_order_relaxed)) return {};
  constexpr uint64_t kWords = 4096;
  constexpr uint64_t kSeconds = 10;
  const Limits limits{.cpu_s = kSeconds,
                      .output_bytes_max = kWords,
                      .wall_max = std::min<milliseconds>(options_.wall_max, std::chrono::minutes(1))};
  const Outcome outcome =
      SPORE_TRY(Program(options_, library_path_, limits).run({"--version"}, {}, stop, [] {}));
  SPORE_TRY(judge(outcome, options_, task_, limits).with_context("asking wasm-opt for its version"));
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
  version_is_right_.store(true, std::memory_order_relaxed);
  return {};
}

}  // namespace spore::code
