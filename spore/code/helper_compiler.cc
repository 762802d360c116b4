#include "spore/code/helper_compiler.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "spore/base/memfd.h"
#include "spore/base/utf8.h"
#include "spore/code/child.h"
#include "spore/code/child_io.h"
#include "spore/code/helper_path.h"

namespace spore::code {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kGiving = "giving a module to the compile helper";
constexpr size_t kLastWordsBytesMax = 2000;
// Between the last byte of its answer and its end: what the kernel takes to free its memory.
constexpr milliseconds kEndGrace{2000};

// --- what goes between --------------------------------------------------------------------------------

Result<UniqueFd> write_request(const HelperRequest& request, std::span<const uint8_t> wasm) {
  UniqueFd file = SPORE_TRY(make_memfd("spore-compile-request"));
  SPORE_TRY(write_all(file.get(), encode(request), kGiving));
  SPORE_TRY(write_all(file.get(), wasm, kGiving));
  SPORE_TRY(seal(file.get()));
  return file;
}

// What a crash said, on one line.
std::string read_words(int fd) {
  std::vector<uint8_t> bytes;
  read_some(fd, kLastWordsBytesMax, bytes);
  std::string words(bytes.begin(), bytes.end());
  while (!words.empty() && words.back() == '\n') words.pop_back();
  std::ranges::replace(words, '\n', ' ');
  return printable(words, kLastWordsBytesMax);
}

// --- one compile --------------------------------------------------------------------------------------

enum class Why : uint8_t { kEnded, kStopped, kTooLong, kTooMuch };

// Reads what the helper says until it ends, or must.
Why listen(const Child& child, int answer, const StopEvent& stop, Clock::time_point until,
           std::vector<uint8_t>& spoken) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now()).count();
    if (left <= 0) return Why::kTooLong;
    constexpr int64_t kPollMax = 60'000;
    std::array<pollfd, 3> waiting{{{.fd = answer, .events = POLLIN, .revents = 0},
                                   {.fd = child.pidfd(), .events = POLLIN, .revents = 0},
                                   {.fd = stop.fd(), .events = POLLIN, .revents = 0}}};
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::min(left, kPollMax))) < 0) continue;
    if (waiting[2].revents != 0) return Why::kStopped;
    const bool more = waiting[0].revents == 0 || read_some(answer, kAnswerBytesMax, spoken);
    if (spoken.size() > kAnswerBytesMax) return Why::kTooMuch;
    if (!more) return Why::kEnded;
    if (waiting[1].revents != 0) {  // somebody else may hold the pipe: a child that the host forked meanwhile
      read_some(answer, kAnswerBytesMax, spoken);
      return Why::kEnded;
    }
  }
}

class Compilation {
 public:
  Compilation(const HelperOptions& options, const std::string& library_path, const engine::Engine& engine,
              const Source& source)
      : options_(options), library_path_(library_path), engine_(engine), source_(source) {}

  Result<Compiled> run(const std::stop_token& stop) {
    UniqueFd native = SPORE_TRY(make_memfd("spore-compile-native"));
    SPORE_TRY(speak(native.get(), stop));
    // The helper is gone: nobody has the file mapped, and it can be sealed.
    SPORE_TRY(check_native(native.get()));
    SPORE_TRY(seal(native.get()));
    auto code = SPORE_TRY(engine_.load_native(native.get(), source_.hash, source_.preparer));
    return Compiled{.code = std::move(code), .native = std::move(native)};
  }

 private:
  Status speak(int native, const std::stop_token& stop) {
    const UniqueFd request = SPORE_TRY(write_request(make_request(), source_.wasm));
    Pipe answer = SPORE_TRY(Pipe::make(Pipe::WhenFull::kLose));
    Pipe errors = SPORE_TRY(Pipe::make(Pipe::WhenFull::kLose));
    const StopEvent stopped = SPORE_TRY(StopEvent::make());
    const std::stop_callback on_stop(stop, [&stopped] { stopped.raise(); });

    Result<Child> started = Child::start({.program = options_.helper,
                                          .environment = environment(),
                                          .error_output = errors.write.get(),
                                          .descriptors = {request.get(), answer.write.get(), native}});
    if (!started.ok()) return start_error(std::move(started).status());
    close_end(answer.write);
    close_end(errors.write);

    std::vector<uint8_t> spoken;
    const Why why =
        listen(started.value(), answer.read.get(), stopped, Clock::now() + options_.wall_max, spoken);
    const ChildEnd end = started.value().end(why == Why::kEnded ? kEndGrace : milliseconds(0));
    last_words_ = read_words(errors.read.get());
    return judge(why, end, spoken);
  }

  HelperRequest make_request() const {
    HelperRequest request;
    request.engine = engine_.options();
    request.engine_version = engine::engine_version();
    request.compatibility = engine_.compatibility();
    request.threads = threads();
    request.niceness = options_.niceness;
    request.budget = options_.budget;
    request.limits = options_.limits;
    request.module_bytes = source_.wasm.size();
    return request;
  }

  uint32_t threads() const {
    if (source_.wasm.size() < HelperOptions::kParallelBytesMin) return 1;
    if (options_.threads != 0) return options_.threads;
    return std::clamp(std::thread::hardware_concurrency(), 1u, HelperOptions::kThreadsDefaultMax);
  }

  // The library that Wasmtime's threads come from reads the one.
  std::vector<std::string> environment() const {
    std::vector<std::string> all{fmt::format("RAYON_NUM_THREADS={}", threads())};
    if (!library_path_.empty()) all.push_back(fmt::format("LD_LIBRARY_PATH={}", library_path_));
    return all;
  }

  Status start_error(Status status) const {
    if (status.code() != Code::kUnavailable) return status;
    return Status::unavailable("the compile helper {} (compile_helper={})", status.message(),
                               options_.helper.native());
  }

  Status judge(Why why, const ChildEnd& end, std::span<const uint8_t> spoken) const {
    if (why == Why::kStopped) return Status::cancelled("compiling was cancelled");
    if (why == Why::kTooLong) {
      return Status::limit_exceeded("compiling took longer than {} ms (compile_wall_ms={})",
                                    options_.wall_max.count(), options_.wall_max.count());
    }
    if (why == Why::kTooMuch) return other_program("it says more than a compile helper does");
    const Result<HelperSpoken> parsed = decode_spoken(spoken);
    if (parsed.ok()) {
      SPORE_TRY(check_hello(parsed->hello));
      if (parsed->answered) return to_status(parsed->answer);
    }
    if (end.signal != 0) return killed(end.signal);
    if (out_of_memory(last_words_)) return too_much_memory();
    if (!parsed.ok()) return other_program(parsed.status().message());
    return Status::internal("the compile helper ended without an answer{}", how_it_ended(end));
  }

  Status check_hello(const HelperHello& hello) const {
    if (hello.protocol != kHelperProtocol) {
      return other_version(fmt::format("it speaks protocol {}, this is {}", hello.protocol, kHelperProtocol));
    }
    if (hello.engine_version != engine::engine_version()) {
      return other_version(fmt::format("its engine is {}, this is {}", printable(hello.engine_version),
                                       engine::engine_version()));
    }
    if (hello.compatibility == engine_.compatibility()) return {};
    return other_version("its engine makes code that this one cannot load");
  }

  Status other_version(std::string_view how) const {
    return Status::unavailable("the compile helper '{}' is of another version: {} (compile_helper={})",
                               options_.helper.native(), how, options_.helper.native());
  }

  Status other_program(std::string_view how) const {
    return Status::unavailable("'{}' is no compile helper: {}{} (compile_helper={})",
                               options_.helper.native(), how, last_words(), options_.helper.native());
  }

  // What the helper says is what the module made the compiler say.
  Status to_status(const HelperAnswer& answer) const {
    const std::string message = printable(answer.message, kAnswerBytesMax);
    switch (answer.code) {
      case Code::kOk: return {};
      case Code::kInvalidModule:
      case Code::kUnsupported:
        if (out_of_memory(message)) return too_much_memory();
        [[fallthrough]];
      case Code::kLimitExceeded:
      case Code::kUnavailable: return Status(answer.code, message);
      default: return Status::internal("the compile helper failed: {}", message);
    }
  }

  Status too_much_memory() const {
    const uint64_t max = options_.budget.memory_bytes_max;
    return Status::limit_exceeded(
        "compiling takes more than {} bytes of memory (compile_memory_bytes_max={})", max, max);
  }

  Status killed(int signal) const {
    const CompileBudget& budget = options_.budget;
    if (signal == SIGXCPU) {
      return Status::limit_exceeded(
          "compiling takes more than {} s of processor time and {} s for each MiB of code (compile_cpu_s={}, "
          "compile_cpu_s_per_mib={})",
          budget.cpu_s, budget.cpu_s_per_mib, budget.cpu_s, budget.cpu_s_per_mib);
    }
    if (signal == SIGXFSZ) {
      return Status::limit_exceeded("the code has more than {} bytes (compile_native_bytes_max={})",
                                    budget.native_bytes_max, budget.native_bytes_max);
    }
    if (out_of_memory(last_words_)) return too_much_memory();
    const std::string name = fmt::format("signal {}, {}", signal, ::strsignal(signal));
    if (signal == SIGKILL || signal == SIGTERM) {
      return Status::unavailable("the compile helper was killed by somebody ({})", name);
    }
    return Status::internal("the compiler crashed on this module ({}){}", name, last_words());
  }

  std::string how_it_ended(const ChildEnd& end) const {
    return (end.known ? fmt::format(" (exit code {})", end.exit_code) : std::string()) + last_words();
  }

  std::string last_words() const {
    return last_words_.empty() ? std::string() : fmt::format("; its last words: {}", last_words_);
  }

  // The length is bounded in the helper by its system; it may have been taken over, but not out of that.
  Status check_native(int native) const {
    struct stat info{};
    if (::fstat(native, &info) != 0) return Status::from_errno(errno, "stat of compiled code");
    if (static_cast<uint64_t>(info.st_size) <= options_.budget.native_bytes_max && info.st_size > 0)
      return {};
    if (info.st_size == 0) return Status::internal("the compile helper gave no code");
    return killed(SIGXFSZ);
  }

  const HelperOptions& options_;
  const std::string& library_path_;
  const engine::Engine& engine_;
  const Source& source_;
  std::string last_words_;
};

}  // namespace

Result<std::unique_ptr<HelperCompiler>> HelperCompiler::create(HelperOptions options) {
  if (options.threads > HelperOptions::kThreadsMax) {
    return Status::invalid_argument("compile_threads is {}, allowed is 0 to {}", options.threads,
                                    HelperOptions::kThreadsMax);
  }
  if (options.niceness > HelperOptions::kNicenessMax) {
    return Status::invalid_argument("compile_niceness is {}, allowed is 0 to {}", options.niceness,
                                    HelperOptions::kNicenessMax);
  }
  if (options.budget.memory_bytes_max < HelperOptions::kMemoryBytesMin) {
    return Status::invalid_argument("compile_memory_bytes_max is {}, allowed is {} and more",
                                    options.budget.memory_bytes_max, HelperOptions::kMemoryBytesMin);
  }
  options.helper = SPORE_TRY(find_helper(options.helper));
  const char* library_path = std::getenv("LD_LIBRARY_PATH");
  return std::unique_ptr<HelperCompiler>(
      new HelperCompiler(std::move(options), library_path == nullptr ? "" : library_path));
}

Result<Compiled> HelperCompiler::compile(const engine::Engine& engine, const Source& source,
                                         const std::stop_token& stop) {
  if (stop.stop_requested()) return Status::cancelled("compiling was cancelled before it began");
  return Compilation(options_, library_path_, engine, source).run(stop);
}

Result<Compiled> FallbackCompiler::compile(const engine::Engine& engine, const Source& source,
                                           const std::stop_token& stop) {
  Result<Compiled> compiled = first_->compile(engine, source, stop);
  if (compiled.code() != Code::kUnavailable) return compiled;
  return second_->compile(engine, source, stop);
}

}  // namespace spore::code
