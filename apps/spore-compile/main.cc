// The compile helper: one module in, native code out, as little else as possible in between.  Started by
// code::HelperCompiler, never by people.  What goes between them: spore/code/helper_protocol.h.

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <vector>

#include "apps/spore-compile/confine.h"
#include "apps/spore-compile/run_program.h"
#include "apps/spore-compile/self_test.h"
#include "spore/code/helper_protocol.h"
#include "spore/engine/ticker.h"

namespace spore::helper {
namespace {

using code::HelperAnswer;
using code::HelperRequest;

constexpr int kMisused = 2;
// The smallest module: it makes the compiler set up all that it sets up once, threads too.
constexpr std::array<uint8_t, 8> kNothing{0x00, 'a', 's', 'm', 1, 0, 0, 0};

// In one write(), which a pipe takes whole or not at all.  The host may be gone: then nobody misses it.
void say(std::span<const uint8_t> bytes) {
  if (::write(code::kAnswerFd, bytes.data(), bytes.size()) < 0) ::_exit(1);
}

// What SIGXCPU says, unless an answer is on its way.
std::atomic<bool> answering{false};
std::vector<uint8_t>* out_of_time = nullptr;

[[noreturn]] void answer(const Status& status, uint64_t native_bytes = 0) {
  const std::vector<uint8_t> bytes = encode(HelperAnswer{
      .code = status.code(), .message = std::string(status.message()), .native_bytes = native_bytes});
  if (!answering.exchange(true)) say(bytes);
  ::_exit(0);
}

void on_cpu_limit(int /*signal*/) {
  if (!answering.exchange(true)) say(*out_of_time);
  ::_exit(0);
}

void answer_at_cpu_limit(const code::CompileBudget& budget) {
  const HelperAnswer late{
      .code = Code::kLimitExceeded,
      .message = fmt::format("compiling takes more than {} s of processor time and {} s for "
                             "each MiB of code (compile_cpu_s={}, compile_cpu_s_per_mib={})",
                             budget.cpu_s, budget.cpu_s_per_mib, budget.cpu_s, budget.cpu_s_per_mib)};
  out_of_time = new std::vector<uint8_t>(encode(late));  // for ever
  struct sigaction action{};
  action.sa_handler = on_cpu_limit;
  ::sigaction(SIGXCPU, &action, nullptr);
  ::signal(SIGXFSZ, SIG_IGN);  // write() says it, too
}

Result<HelperRequest> read_request() {
  std::vector<uint8_t> bytes(code::kRequestBytes);
  if (::pread(code::kRequestFd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return Status(Code::kCorruption, "the request is too short");
  }
  if (SPORE_TRY(code::request_protocol(bytes)) == code::kHelperProtocol) return code::decode_request(bytes);
  say(encode(code::HelperHello{}));
  ::_exit(0);
}

Result<std::span<const uint8_t>> map_module(uint64_t bytes) {
  if (bytes == 0) return std::span<const uint8_t>();
  void* at = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, code::kRequestFd, code::kRequestBytes);
  if (at == MAP_FAILED) return Status::from_errno(errno, "mapping the module");
  return std::span(static_cast<const uint8_t*>(at), bytes);
}

Status write_native(std::span<const uint8_t> bytes, uint64_t bytes_max) {
  if (bytes.size() > bytes_max) {
    return Status::limit_exceeded("the code has {} bytes (compile_native_bytes_max={})", bytes.size(),
                                  bytes_max);
  }
  while (!bytes.empty()) {
    const ssize_t n = ::write(code::kNativeFd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Status::from_errno(errno, "writing native code");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

// Before anything of the module is read: all that needs a system.
Result<std::shared_ptr<const engine::Engine>> prepare(const HelperRequest& request) {
  const int niceness = static_cast<int>(request.niceness);
  if (::getpriority(PRIO_PROCESS, 0) < niceness && ::setpriority(PRIO_PROCESS, 0, niceness) != 0) {
    return Status::unavailable("the compile helper cannot lower its priority: {}", std::strerror(errno));
  }
  engine::EngineOptions options = request.engine;
  options.parallel_compile = request.threads > 1;
  auto engine = SPORE_TRY(engine::Engine::create(options, std::make_shared<engine::Ticker>()));
  say(encode(code::HelperHello{.engine_version = std::string(engine::engine_version()),
                               .compatibility = engine->compatibility()}));
  if (engine::engine_version() != request.engine_version ||
      engine->compatibility() != request.compatibility) {
    ::_exit(0);  // the host sees it, too
  }
  SPORE_TRY(engine->compile(kNothing, Digest{}));
  return engine;
}

Result<uint64_t> compile(const HelperRequest& request) {
  const auto engine = SPORE_TRY(prepare(request));
  const std::span<const uint8_t> wasm = SPORE_TRY(map_module(request.module_bytes));
  answer_at_cpu_limit(request.budget);
  SPORE_TRY(confine({.memory_bytes_max = request.budget.memory_bytes_max,
                     .cpu_s_max = request.budget.cpu_s_for(request.module_bytes),
                     .file_bytes_max = request.budget.native_bytes_max}));
  // From here on the module may do its worst.
  const code::CompileFacts facts = SPORE_TRY(code::compile_facts(wasm));
  SPORE_TRY(code::check_compile_limits(facts, request.limits));
  SPORE_TRY(confine_more(request.budget.cpu_s_for(facts.code_bytes)));
  const auto code = SPORE_TRY(engine->compile(wasm, Digest{}));
  const std::vector<uint8_t> native = SPORE_TRY(code->native());
  SPORE_TRY(write_native(native, request.budget.native_bytes_max));
  return native.size();
}

bool has_descriptors() {
  return ::fcntl(code::kRequestFd, F_GETFD) >= 0 && ::fcntl(code::kAnswerFd, F_GETFD) >= 0 &&
         ::fcntl(code::kNativeFd, F_GETFD) >= 0;
}

[[noreturn]] void serve() {
  if (const Status status = stand_alone(code::kNativeFd); !status.ok()) answer(status);
  const Result<HelperRequest> request = read_request();
  if (!request.ok()) answer(request.status());
  const Result<uint64_t> bytes = compile(request.value());
  if (!bytes.ok()) answer(bytes.status());
  answer({}, bytes.value());
}

int usage(std::FILE* out) {
  std::fputs(
      "spore-compile: compiles one module, confined, for a process that runs Spore.  It is not for people: "
      "'spore\n"
      "compile' is.\n\n"
      "  --version    what it speaks, and its engine\n"
      "  --self-test  that what must be refused is refused on this system\n"
      "  --run ...    becomes another program, confined\n",
      out);
  return out == stdout ? 0 : kMisused;
}

int run(int argc, char** argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  if (word == "--version") {
    std::fputs(fmt::format("spore-compile: protocol {}, engine {}\n", code::kHelperProtocol,
                           engine::engine_version())
                   .c_str(),
               stdout);
    return 0;
  }
  if (word == "--self-test") return self_test();
  if (word == "--run") run_program(std::span(argv, static_cast<size_t>(argc)).subspan(2));
  if (word == "--help") return usage(stdout);
  if (!word.empty() || !has_descriptors()) return usage(stderr);
  serve();
}

}  // namespace
}  // namespace spore::helper

int main(int argc, char** argv) {
  try {
    return spore::helper::run(argc, argv);
  } catch (const std::exception& exception) {
    std::fputs(exception.what(), stderr);  // "std::bad_alloc": the host knows the word
    std::fflush(stderr);
    ::_exit(1);
  }
}
