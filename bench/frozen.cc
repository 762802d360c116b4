// What does a request to a frozen Python cost, beside a Python started for it, and one that is kept running?
//
//   clean    CPython 3.12 for WASI with a handler loaded, frozen: each request gets a clean copy of that
//   moment process  the machine's own python3, started for each request, with the same handler kept     the
//   same python3, started once, which answers line after line: clean for none of them
//
// The request is a JSON object of 200 bytes; the handler parses it, replaces the numbers in one text by one
// re.sub, and dumps it.  Each answer is checked.  The first run rewrites and compiles CPython, which takes
// minutes; it is kept in build/handlers.

#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/handler/handler.h"
#include "spore/spore.h"
#include "tests/process.h"

namespace spore {
namespace {

using bench::fail;
using Clock = std::chrono::steady_clock;

constexpr double kNsInMs = 1e6;
constexpr double kNsInUs = 1e3;
constexpr double kNsInSecond = 1e9;
constexpr const char* kPython = "/usr/bin/python3";  // not a wrapper of it, which takes longer
constexpr size_t kRequestBytes = 200;

constexpr const char* kHandler = R"(import json, re

def handle(request):
    item = json.loads(request)
    item["text"] = re.sub(r"[0-9]+", "#", item["text"])
    return json.dumps(item)

handle('{"text": "warm 1"}')
)";
constexpr const char* kOnce = "\nimport sys\nprint(handle(sys.stdin.readline()))\n";
constexpr const char* kLoop = R"(
import sys
for line in sys.stdin:
    print(handle(line), flush=True)
)";

// As json.dumps would write it; the same in the answer but for the numbers in its text.
struct Exchange {
  std::string request;
  std::string answer;
};

Exchange exchange(uint64_t number) {
  const auto text = [&](std::string_view a, std::string_view b) {
    return fmt::format(
        R"({{"id": {}, "price": 12.5, "tags": ["new", "blue"], "text": "order {} of {} pieces)",
        1'000'000 + number, a, b);
  };
  Exchange made{.request = text(std::to_string(number), "42"), .answer = text("#", "#")};
  const std::string filler(kRequestBytes - made.request.size() - 2, '.');
  for (std::string* json : {&made.request, &made.answer}) *json += filler + "\"}";
  return made;
}

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

std::shared_ptr<const program::Program> freeze(Runtime& runtime, const std::filesystem::path& file) {
  const handler::Handler handler = handler::read_handler(file, {}).value();
  constexpr size_t kBytesMax = size_t{64} << 20;
  Result<std::vector<uint8_t>> bytes = read_file(SPORE_SOURCE_DIR "/build/guests/python.wasm", kBytesMax);
  if (!bytes.ok()) fail(fmt::format("{}: tools/guests.sh brings it", bytes.status().message()));
  const auto rewritten = runtime.rewrite_program(bytes.value());
  if (!rewritten.ok()) fail(rewritten.status().message());
  const auto module = runtime.load_module("python", *rewritten->wasm,
                                          {.wasi = host::WasiConfig::create(handler.world).value()});
  if (!module.ok()) fail(module.status().message());
  const auto program =
      runtime.freeze(*module.value(), {.framing = handler::kFraming, .setup = handler.setup});
  if (!program.ok()) fail(fmt::format("{}\n{}", program.status().message(), program.status().detail()));
  return program.value();
}

std::unique_ptr<Runtime> make_runtime() {
  RuntimeOptions options{.tier = Tier::kOptimised};
  options.compile_in = runtime::CompileIn::kHelper;
  options.code_cache = code::code_cache_options(SPORE_SOURCE_DIR "/build/handlers");
  return Runtime::create(std::move(options)).value();
}

double ask(const program::Program& program, uint64_t number) {
  const Exchange one = exchange(number);
  const auto begin = Clock::now();
  const Result<program::Answer> answer = program.request(one.request);
  const double ns = ns_since(begin);
  if (!answer.ok()) fail(answer.status().message());
  if (answer->output != one.answer)
    fail(fmt::format("'{}' was answered by '{}'", one.request, answer->output));
  return ns;
}

double start_process(const std::string& script, const test::TemporaryFolder& folder, uint64_t number) {
  const Exchange one = exchange(number);
  const std::string input = folder.write("request", one.request + "\n");
  const auto begin = Clock::now();
  const test::ProcessResult result = test::run_process({kPython, script}, {.input_path = input});
  const double ns = ns_since(begin);
  if (result.out != one.answer + "\n") fail(fmt::format("python3: '{}' {}", result.out, result.err));
  return ns;
}

// Nanoseconds a request, of many that are sent at once; what starting takes is taken off.
double keep_process(const std::string& script, const test::TemporaryFolder& folder) {
  constexpr uint64_t kMany = 20'000;
  const auto run = [&](uint64_t count) {
    std::string input;
    std::string expected;
    for (uint64_t i = 0; i < count; i++) {
      const Exchange one = exchange(i);
      input += one.request + "\n";
      expected += one.answer + "\n";
    }
    const std::string file = folder.write("requests", input);
    const auto begin = Clock::now();
    const test::ProcessResult result = test::run_process({kPython, script}, {.input_path = file});
    const double ns = ns_since(begin);
    if (result.out != expected) fail(fmt::format("python3 answered otherwise: {}", result.err));
    return ns;
  };
  return (run(kMany) - run(1)) / static_cast<double>(kMany - 1);
}

int run(int argc, char** argv) {
  bench::Report report("frozen", argc, argv);
  const test::TemporaryFolder folder;
  const std::string file = folder.write("handler.py", kHandler);
  const std::string once = folder.write("once.py", std::string(kHandler) + kOnce);
  const std::string loop = folder.write("loop.py", std::string(kHandler) + kLoop);

  const std::unique_ptr<Runtime> runtime = make_runtime();
  const auto program = freeze(*runtime, file);
  for (uint64_t i = 0; i < 500; i++) ask(*program, i);
  runtime->pool().reset_statistics();

  constexpr uint64_t kRounds = 20;
  constexpr uint64_t kRequests = 1000;
  std::vector<double> clean;
  std::vector<double> process;
  std::vector<double> kept;
  uint64_t number = 0;
  for (uint64_t round = 0; round < kRounds; round++) {  // in turn: what disturbs one disturbs all
    for (uint64_t i = 0; i < kRequests; i++) clean.push_back(ask(*program, number++));
    for (uint64_t i = 0; i < 5; i++) process.push_back(start_process(once, folder, number++));
    if (round % 4 == 0) kept.push_back(keep_process(loop, folder));
  }
  report.add({bench::figure_of("clean_request", clean), bench::figure_of("process_per_request", process),
              bench::figure_of("kept_process", kept)});

  const cell::PoolCounts counts = runtime->pool().statistics().counts;
  if (counts.resets_in_place < kRounds * kRequests)
    fail("not every request was followed by a reset in place");
  const double reset_ns = static_cast<double>(counts.reset_ns) / static_cast<double>(counts.resets_timed);
  const auto boot_ns = static_cast<double>(program->facts().boot_ns);
  report.top("boot_ms", boot_ns / kNsInMs);
  report.top("clean_request_us", report.p50("clean_request") / kNsInUs);
  report.top("reset_us", reset_ns / kNsInUs);
  report.top("reset_pages",
             static_cast<double>(counts.pages_refilled) / static_cast<double>(counts.resets_in_place));
  double sum = 0;
  for (const double ns : clean) sum += ns;
  report.top("requests_per_s_core", kNsInSecond * static_cast<double>(clean.size()) / sum);
  report.top("memory_bytes", static_cast<double>(program->facts().memory_bytes));
  report.ratio({.name = "ratio_boot_vs_reset",
                .numerator = "boot",
                .denominator = "reset",
                .value = boot_ns / reset_ns,
                .better = "higher"});
  report.ratio("ratio_vs_process_per_request", "process_per_request", "clean_request", "higher");
  report.ratio("ratio_vs_kept_process", "kept_process", "clean_request", "higher");
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
