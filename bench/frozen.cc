// What does a request to a frozen Python cost, beside a Python started for it, and one that is kept running?
//
//   clean    CPython 3.12 for WASI with a handler loaded, frozen: each request gets a clean copy of that
//   moment process  the machine's own python3, started for each request, with the same handler kept     the
//   same python3, started once, which answers line after line: clean for none of them
//
// The request is a JSON object of 200 bytes; the handler parses it, replaces the numbers in one text by one
// re.sub, and dumps it.  Each answer is checked.  The first run rewrites and compiles CPython; it is kept in
// build/handlers.

#include <chrono>
#include <filesystem>
#include <string>

#include "bench/frozen_work.h"
#include "bench/harness.h"
#include "tests/process.h"

namespace spore {
namespace {

using bench::ask;
using bench::Exchange;
using bench::fail;
using bench::kPython;
using Clock = std::chrono::steady_clock;

constexpr double kNsInMs = 1e6;
constexpr double kNsInUs = 1e3;
constexpr double kNsInSecond = 1e9;

Exchange exchange(uint64_t number) { return bench::exchange(number, true); }

double ns_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
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
  const std::string file = folder.write("handler.py", std::string(bench::kPythonHandler));
  const std::string once =
      folder.write("once.py", std::string(bench::kPythonHandler) + std::string(bench::kPythonOnce));
  const std::string loop =
      folder.write("loop.py", std::string(bench::kPythonHandler) + std::string(bench::kPythonLoop));

  const std::unique_ptr<Runtime> runtime = bench::make_frozen_runtime(Tier::kOptimised);
  const auto program = bench::freeze_handler(*runtime, file);
  for (uint64_t i = 0; i < 500; i++) ask(*program, exchange(i));
  runtime->pool().reset_statistics();

  constexpr uint64_t kRounds = 20;
  constexpr uint64_t kRequests = 1000;
  std::vector<double> clean;
  std::vector<double> process;
  std::vector<double> kept;
  uint64_t number = 0;
  for (uint64_t round = 0; round < kRounds; round++) {  // in turn: what disturbs one disturbs all
    for (uint64_t i = 0; i < kRequests; i++) clean.push_back(ask(*program, exchange(number++)));
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
