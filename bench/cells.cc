// What does a cell cost that sleeps, and waking it for a call?
//
//   counter  1,000,000 cells of a counter, each with its own name and value, asleep; the whole process's
//   memory
//            (PSS) over their number.  Of these, cells at random are woken, called and put to sleep
//   erlang   as many processes of Erlang, hibernated, each with its own name and value: its total memory over
//            their number; a message to one at random and its answer
//   runtime  1,000 cells of QuickJS, which answered one request each and keep what it did: bytes asleep, the
//            time to wake and answer, memory while all are awake beside what each would take alone, and a
//            fork
//
// Every answer is checked.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
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

int run(int argc, char** argv) {
  bench::Report report("cells", argc, argv);
  measure_counters(report);
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
