// What does a cell cost that sleeps, and waking it for a call?
//
//   counter  1,000,000 cells, each with its own name and value, asleep: the memory of the whole process (PSS)
//            over their number; then cells at random are woken, called and put to sleep
//   erlang   as many processes of Erlang (counters.erl), hibernated, each with its own name and value:
//            likewise; a message to one at random and its answer
//   python   1,000 cells of CPython 3.12, which answered one request each and keep what it did: bytes
//            asleep, the time to wake, answer and sleep, a fork of a warm one; memory while all are awake,
//            beside the plain sum: what as many memories of their own would take
//
// Every answer is checked.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "bench/frozen_work.h"
#include "bench/harness.h"
#include "spore/base/elapsed.h"
#include "spore/cell/cells.h"
#include "spore/spore.h"
#include "tests/guest_file.h"
#include "tests/process.h"

namespace spore {
namespace {

using bench::fail;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kCells = 1'000'000;
constexpr uint64_t kChecked = 1'000;
constexpr double kNsInUs = 1e3;

constexpr const char* kCounter = R"((module
  (memory (export "memory") 1)
  (func (export "add") (param i64) (result i64)
    (i64.store (i32.const 1024) (i64.add (i64.load (i32.const 1024)) (local.get 0)))
    (i64.load (i32.const 1024)))))";

template <typename T>
T must(Result<T> result, std::string_view what) {
  if (!result.ok()) fail(fmt::format("{}: {}", what, result.status().message()));
  return std::move(result).value();
}
void must(const Status& status, std::string_view what) {
  if (!status.ok()) fail(fmt::format("{}: {}", what, status.message()));
}

// Of this process: pages that it shares count in part.
uint64_t pss_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  std::string line;
  while (std::getline(file, line)) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "Pss: %llu kB", &kib) == 1) return kib * 1024;
  }
  fail("/proc/self/smaps_rollup does not say what this process takes");
}

double ns_since_begin(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

std::string name_of(uint64_t number) { return fmt::format("counter-{}", number); }
int64_t value_of(uint64_t number) { return static_cast<int64_t>(number * 2'654'435'761 % 1'000'000'007); }

// --- counters ------------------------------------------------------------------------------------------

void measure_counters(bench::Report& report) {
  RuntimeOptions options;
  options.tier = Tier::kOptimised;
  options.keep_code = false;
  const std::unique_ptr<Runtime> runtime = must(Runtime::create(options), "the runtime");
  const auto module = must(runtime->load_module("counter", test::wasm(kCounter)), "the module");
  const auto cells = must(cell::Cells::create({.idle_sleep_ms = 0}), "cells");
  const auto kind = must(cells->kind(must(runtime->pool_entry(*module), "the pool")), "the kind");
  const auto add = must(cell::CellFunction<int64_t(int64_t)>::create(cells, kind, "add"), "'add'");
  const auto begin = Clock::now();
  for (uint64_t i = 0; i < kCells; i++) {
    const std::string name = name_of(i);
    must(cells->create(kind, name), name);
    if (must(add(name, value_of(i)), name) != value_of(i)) fail("a new counter counts wrong");
  }
  const double made_ns = ns_since_begin(begin) / kCells;
  const uint64_t pss = pss_bytes();
  const cell::CellsStatistics statistics = cells->statistics();
  if (statistics.cells != kCells || statistics.awake != 0) fail("not all of them sleep");

  std::mt19937_64 random(1);
  for (uint64_t i = 0; i < kChecked; i++) {
    const uint64_t number = random() % kCells;
    if (must(add(name_of(number), 0), "a counter") != value_of(number)) fail("a counter that slept is wrong");
  }
  constexpr uint64_t kTimed = 100'000;
  std::vector<double> samples;
  for (uint64_t i = 0; i < kTimed; i++) {
    const uint64_t number = random() % kCells;
    const std::string name = name_of(number);
    const auto start = Clock::now();
    const auto value = add(name, 0);
    samples.push_back(ns_since_begin(start));
    if (!value.ok() || value.value() != value_of(number)) fail("a counter that slept is wrong");
  }
  report.add({bench::figure_of("wake_call_sleep", std::move(samples)),
              {.name = "create_call_sleep", .p50_ns = made_ns, .p99_ns = made_ns, .worst_ns = made_ns}});
  report.top("cells", static_cast<double>(kCells));
  report.top("bytes_per_sleeping_cell", static_cast<double>(pss) / kCells);
  report.top("record_bytes_per_cell", static_cast<double>(statistics.record_bytes) / kCells);
  report.top("index_bytes_per_cell", static_cast<double>(statistics.index_bytes) / kCells);
  report.top("wake_call_sleep_us", report.p50("wake_call_sleep") / kNsInUs);
}

// --- Erlang --------------------------------------------------------------------------------------------

void measure_erlang(bench::Report& report) {
  constexpr uint64_t kSamples = 100'000;
  const test::ProcessResult result =
      test::run_process({"/usr/bin/escript", SPORE_SOURCE_DIR "/bench/counters.erl", std::to_string(kCells),
                         std::to_string(kSamples)},
                        {});
  if (result.exit_code != 0) fail(fmt::format("escript (Debian's erlang-base): {}", result.err));
  std::istringstream out(result.out);
  double own_count = 0;
  double pss = 0;
  out >> own_count >> pss;
  std::vector<double> samples;
  for (double ns = 0; out >> ns;) samples.push_back(ns);
  if (samples.size() != kSamples) fail(fmt::format("escript answered {} of {}", samples.size(), kSamples));
  report.add({bench::figure_of("erlang_message_answer", std::move(samples))});
  report.top("erlang_bytes_per_process", pss / kCells);
  report.top("erlang_message_answer_us", report.p50("erlang_message_answer") / kNsInUs);
}

// --- CPython -------------------------------------------------------------------------------------------

constexpr std::string_view kKeeper = R"(import json, re

seen = {}

def handle(request):
    item = json.loads(request)
    seen[item["id"]] = re.sub(r"[0-9]+", "#", item["text"])
    item["seen"] = len(seen)
    return json.dumps(item)
)";

std::string python_name(uint64_t cell) { return fmt::format("python-{}", cell); }

// A request, and how many it says it has seen, this one included.
void ask_cell(const program::Program& program, cell::Cells& cells, uint64_t cell, uint64_t number) {
  const std::string request =
      fmt::format(R"({{"id": {}, "text": "order {} of cell {}"}})", number, number, cell);
  const auto answer = program.request_in(cells, python_name(cell), request);
  if (!answer.ok()) fail(fmt::format("{}: {}", python_name(cell), answer.status().message()));
  if (answer->output.find(fmt::format(R"("seen": {}}})", number)) == std::string::npos) {
    fail(fmt::format("{} answered '{}' as number {}", python_name(cell), answer->output, number));
  }
}

void measure_python(bench::Report& report) {
  constexpr uint64_t kPythons = 1'000;
  const test::TemporaryFolder folder;
  RuntimeOptions options{.tier = Tier::kOptimised};
  options.compile_in = runtime::CompileIn::kHelper;
  options.code_cache = code::code_cache_options(SPORE_SOURCE_DIR "/build/handlers");
  options.pool.instances_per_module_max = options.pool.instances_max = 3 * kPythons;
  options.cells.awake_max = 2 * kPythons;
  options.cells.idle_sleep_ms = 3'600'000;
  options.cells.awake_bytes_max = uint64_t{16} << 30;
  const std::unique_ptr<Runtime> runtime = must(Runtime::create(std::move(options)), "the runtime");
  const auto program = bench::freeze_handler(*runtime, folder.write("keeper.py", kKeeper));
  cell::Cells& cells = *runtime->cells();
  const auto kind = must(program->cell_kind(cells), "the kind");
  uint64_t asleep = 0;
  for (uint64_t i = 0; i < kPythons; i++) {
    const std::string name = python_name(i);
    must(cells.create(kind, name), name);
    ask_cell(*program, cells, i, 1);
    must(cells.sleep(name), name);
    asleep += must(cells.describe(name), name).delta_bytes;
  }
  std::vector<double> waking;
  std::vector<double> answering;
  std::vector<double> forking;
  for (uint64_t i = 0; i < kPythons; i++) {
    const std::string name = python_name(i);
    auto begin = Clock::now();
    must(cells.wake(name), name);
    waking.push_back(ns_since_begin(begin));
    must(cells.sleep(name), name);
    begin = Clock::now();
    ask_cell(*program, cells, i, 2);
    must(cells.sleep(name), name);
    answering.push_back(ns_since_begin(begin));
    ask_cell(*program, cells, i, 3);  // warm
    begin = Clock::now();
    must(cells.fork(name, "fork"), "fork");
    forking.push_back(ns_since_begin(begin));
    must(cells.remove("fork"), "fork");
    must(cells.sleep(name), name);
  }
  const uint64_t before = pss_bytes();
  for (uint64_t i = 0; i < kPythons; i++) must(cells.wake(python_name(i)), "wake");
  const uint64_t awake = pss_bytes() - before;
  if (cells.statistics().awake != kPythons) fail("not all of them are awake");
  for (uint64_t i = 0; i < kPythons; i++) ask_cell(*program, cells, i, 4);
  const uint64_t answered = pss_bytes() - before;
  const auto memory_bytes = static_cast<double>(program->facts().memory_bytes);
  report.add({bench::figure_of("python_wake", std::move(waking)),
              bench::figure_of("python_wake_answer_sleep", std::move(answering)),
              bench::figure_of("python_fork", std::move(forking))});
  report.top("python_cells", static_cast<double>(kPythons));
  report.top("python_bytes_asleep", static_cast<double>(asleep) / kPythons);
  report.top("python_memory_bytes", memory_bytes);
  report.top("python_wake_us", report.p50("python_wake") / kNsInUs);
  report.top("python_fork_us", report.p50("python_fork") / kNsInUs);
  report.top("python_pss_awake_per_cell", static_cast<double>(awake) / kPythons);
  report.top("python_pss_answered_per_cell", static_cast<double>(answered) / kPythons);
  report.ratio({.name = "python_awake_vs_plain_sum",
                .numerator = "python_pss_answered_per_cell",
                .denominator = "python_memory_bytes",
                .value = static_cast<double>(answered) / kPythons / memory_bytes,
                .better = "lower"});
}

int run(int argc, char** argv) {
  bench::Report report("cells", argc, argv);
  measure_counters(report);
  measure_erlang(report);
  report.ratio({.name = "erlang_vs_cell_bytes",
                .numerator = "erlang_bytes_per_process",
                .denominator = "bytes_per_sleeping_cell",
                .value = report.top("erlang_bytes_per_process") / report.top("bytes_per_sleeping_cell"),
                .better = "higher"});
  report.ratio("erlang_vs_cell_time", "erlang_message_answer", "wake_call_sleep", "higher");
  measure_python(report);
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
