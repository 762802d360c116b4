// What does a call into a clean instance cost: one that nothing of any call before can be seen in?
//
//   spore_*     a CleanFunction of the pool, reset in place.  What it needs not look at for written pages is
//               told by a mapped counter of faults (mapped) or by a system call (getrusage), or it looks at
//               each reset (scan)
//   pooling     Wasmtime's pooling allocator, a new store and instance for each call; of all settings tried
//               (the figures "sweep/...") the best for this layout and number of pages
//   dontneed    one instance over a memory of the host's own, all written pages dropped by MADV_DONTNEED
//   on_demand   a new store and instance for each call, without a pool
//
// For two layouts of the guest's memory (clean_guest.h) and 3 or 64 pages written by each call.  All run the
// same wasm in one process, in turn, and every answer says whether the instance was clean.
//
// Targets, at stack_first: ratio_vs_wasmtime_pooling 40, ratio_getrusage 15, ratio_vs_wasmtime_pooling_64 6;
// scaling_2_threads_vs_control 0.9; allocations_per_call 0; syscalls_per_call 0, with getrusage 1.

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bench/clean_guest.h"
#include "bench/clean_spore.h"
#include "bench/count_allocations.h"
#include "bench/count_syscalls.h"
#include "bench/dontneed.h"
#include "bench/fresh.h"
#include "bench/harness.h"
#include "bench/scaling.h"

namespace spore::bench {
namespace {

using Run = std::function<void(uint64_t)>;

// Long enough to forget what the neighbours did to the caches and to the fault counters.
constexpr double kSliceNs = 2e6;

Run fresh_calls(FreshInstances instances, std::string function) {
  return repeat_clean([shared = std::make_shared<const FreshInstances>(std::move(instances)),
                       function = std::move(function)](int32_t arg) { return shared->call(function, arg); });
}

Run dontneed_calls(const std::vector<uint8_t>& wasm, std::string_view name) {
  const auto instance = std::make_shared<DontneedInstance>(wasm);
  return repeat_clean(
      [instance, function = instance->function(name)](int32_t arg) { return instance->call(function, arg); });
}

// Spore's three ways to know what to reset.
struct Way {
  std::string name;
  memory::FaultCounterKind counter;
};
std::vector<Way> ways() {
  using memory::FaultCounterKind;
  return {{"mapped", FaultCounterKind::kMapped},
          {"getrusage", FaultCounterKind::kSystemCall},
          {"scan", FaultCounterKind::kNone}};
}

// What is measured: a function of the guest in one layout, and how the names of its figures end.
struct Case {
  Layout layout;
  std::string function;
  std::string ratio_suffix;
  std::string name() const { return fmt::format("{}/{}", layout_name(layout), function); }
};

// Adds the figures of all settings and returns the best of them.
PoolingSettings best_pooling(const Case& test, const std::vector<uint8_t>& wasm, Report& report) {
  const std::vector<PoolingSettings> settings = pooling_settings();
  std::vector<Subject> subjects;
  for (const PoolingSettings& each : settings) {
    subjects.push_back({fmt::format("sweep/{}/{}", test.name(), each.name()),
                        fresh_calls(FreshInstances::pooling(wasm, each), test.function)});
  }
  constexpr uint64_t kBatch = 64;  // of calls: a whole batch of decommits, so that each sample has its share
  const std::vector<Figure> figures = interleave(subjects, 10, kBatch);
  report.add(figures);
  return settings[std::ranges::min_element(figures, {}, &Figure::p50_ns) - figures.begin()];
}

void measure_calls(const Case& test, Report& report) {
  const std::vector<uint8_t> wasm = clean_guest(test.layout);
  std::vector<Subject> subjects;
  for (const Way& way : ways()) {
    subjects.push_back({fmt::format("spore_{}/{}", way.name, test.name()),
                        SporeGuest(wasm, way.counter).calls(test.function)});
  }
  const std::string mapped = subjects[0].name;
  const PoolingSettings best = best_pooling(test, wasm, report);
  const std::string pooling = fmt::format("pooling/{}/{}", test.name(), best.name());
  const std::string on_demand = "on_demand/" + test.name();
  subjects.push_back({pooling, fresh_calls(FreshInstances::pooling(wasm, best), test.function)});
  subjects.push_back({on_demand, fresh_calls(FreshInstances::on_demand(wasm), test.function)});
  const bool grows = test.function == "grow";
  if (!grows) subjects.push_back({"dontneed/" + test.name(), dontneed_calls(wasm, test.function)});
  report.add(interleave_slices(subjects, 100, kSliceNs));

  const auto ratio = [&](const std::string& name, const std::string& numerator,
                         const std::string& denominator) {
    report.ratio(name + test.ratio_suffix, numerator, denominator, "higher");
  };
  ratio("ratio_vs_wasmtime_pooling", pooling, mapped);
  ratio("ratio_getrusage", pooling, subjects[1].name);
  ratio("ratio_scan", pooling, subjects[2].name);
  ratio("ratio_vs_reinstantiation", on_demand, mapped);
  if (!grows) ratio("ratio_vs_dontneed", "dontneed/" + test.name(), mapped);
}

// 10,000 small calls, before and after one that writes 80 MB: what it wrote must not be paid for ever.
void measure_after_huge_call(Report& report) {
  constexpr int32_t kBytes = 80'000'000;
  constexpr uint32_t kWasmPages = 1'300;
  constexpr int kSamples = 200;
  constexpr uint64_t kBatch = 50;
  const std::vector<uint8_t> wasm = clean_guest(Layout::kStackFirst, kWasmPages);
  SporeGuest guest(wasm, memory::FaultCounterKind::kMapped);
  const Run small = guest.calls("write3");
  const auto figure = [&](std::string name) {
    std::vector<double> samples;
    for (int i = 0; i < kSamples; i++) samples.push_back(ns_per_call(small, kBatch));
    return figure_of(std::move(name), std::move(samples));
  };
  small(kSamples * kBatch);
  report.add({figure("before_huge_call")});
  guest.fill(kBytes);
  report.add({figure("after_huge_call")});
  report.ratio("ratio_after_huge_call", "after_huge_call", "before_huge_call", "lower");
}

// The bytes of a line of /proc/self/<file>, which tells KiB.
double proc_bytes(const std::string& file, std::string_view line_name) {
  std::ifstream lines("/proc/self/" + file);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(line_name)) return std::stod(line.substr(line_name.size())) * 1024;
  }
  fail(line_name);
}

// Instances that were used once and lie in the pool: what one more of them costs.
void measure_idle(Report& report) {
  constexpr uint32_t kInstances = 400;
  const SporeGuest guest(clean_guest(Layout::kStackFirst), memory::FaultCounterKind::kMapped, kInstances);
  guest.make_idle(1);
  ::malloc_trim(0);  // what lies free in the heap would hide what they take
  const auto pss = [] { return proc_bytes("smaps_rollup", "Pss:"); };
  const auto page_tables = [] { return proc_bytes("status", "VmPTE:"); };
  const double pss_before = pss();
  const double page_tables_before = page_tables();
  guest.make_idle(kInstances);
  constexpr double kMore = kInstances - 1;
  report.top("live_bytes_per_idle_instance", (pss() - pss_before) / kMore);
  report.top("page_table_bytes_per_idle_instance", (page_tables() - page_tables_before) / kMore);
}

// Numbers without anything of a guest: what two threads of this machine can do at most.
Run arithmetic() {
  return [](uint64_t n) {
    uint64_t number = n;
    for (uint64_t i = 0; i < n; i++) {
      number = number * 6364136223846793005U + 1442695040888963407U;
      asm volatile("" : "+r"(number));
    }
  };
}

void report_scaling(Report& report) {
  const std::vector<uint8_t> wasm = clean_guest(Layout::kStackFirst);
  std::vector<ThreadSubject> subjects{{"arithmetic", arithmetic}};
  // Both threads use one pool.
  for (const Way& way : ways()) {
    const SporeGuest guest(wasm, way.counter);
    subjects.push_back({"spore_" + way.name, [guest] { return guest.calls("write3"); }});
  }
  subjects.push_back({"dontneed", [&wasm] { return dontneed_calls(wasm, "write3"); }});
  const std::vector<Scaling> measured = measure_scaling(subjects, 200, kSliceNs);
  const double control = measured[0].ratio();
  report.top("scaling_2_threads_control", control);
  for (size_t i = 1; i < measured.size(); i++) {
    const Scaling& each = measured[i];
    report.top(each.name + "_per_s_1_thread", each.one_thread_per_s);
    report.top(each.name + "_per_s_2_threads", each.two_threads_per_s);
    const std::string suffix = each.name == "spore_mapped" ? "" : "_" + each.name;
    report.ratio({"scaling_2_threads_vs_control" + suffix, each.name + ", 2 threads over 1",
                  "arithmetic, 2 threads over 1", each.ratio() / control, "higher"});
  }
}

void count_syscalls(Report& report) {
  const std::vector<uint8_t> wasm = clean_guest(Layout::kStackFirst);
  const auto count = [&](const std::string& suffix, const std::function<Run()>& make) {
    const std::optional<double> calls = syscalls_per_call(make);
    if (calls) report.top("syscalls_per_call" + suffix, *calls);
    return calls;
  };
  for (const Way& way : ways()) {
    count(way.counter == memory::FaultCounterKind::kMapped ? "" : "_" + way.name,
          [&] { return SporeGuest(wasm, way.counter).calls("write3"); });
  }
  // madvise(2): if it is not seen, nothing is.
  if (count("_dontneed", [&] { return dontneed_calls(wasm, "write3"); }).value_or(1) != 1) {
    fail("the count of system calls");
  }
}

void count_allocations(Report& report) {
  const std::vector<uint8_t> wasm = clean_guest(Layout::kStackFirst);
  const auto count = [&](const std::string& name, const Run& run) {
    constexpr uint64_t kCalls = 10'000;
    run(kCalls / 10);
    const uint64_t before = allocations_of_this_thread();
    run(kCalls);
    const double each = static_cast<double>(allocations_of_this_thread() - before) / double{kCalls};
    report.top(name, each);
    return each;
  };
  count("allocations_per_call", SporeGuest(wasm, memory::FaultCounterKind::kMapped).calls("write3"));
  // A store is an allocation of the Rust half: if it is not seen, nothing of that is.
  if (count("allocations_per_call_on_demand", fresh_calls(FreshInstances::on_demand(wasm), "write3")) < 1) {
    fail("the count of allocations");
  }
}

int run(int argc, char** argv) {
  Report report("clean-call", argc, argv);
  count_syscalls(report);  // first: it forks, and other parts have threads
  measure_idle(report);
  count_allocations(report);
  for (const Case& test : std::vector<Case>{{Layout::kStackFirst, "write3", ""},
                                            {Layout::kStackFirst, "write64", "_64"},
                                            {Layout::kLow, "write3", "_low"},
                                            {Layout::kLow, "write64", "_low_64"},
                                            {Layout::kStackFirst, "grow", "_grow"}}) {
    measure_calls(test, report);
    if (test.ratio_suffix.empty()) {
      const Figure& clean = report.figure("spore_mapped/" + test.name());
      report.top("clean_call_ns", clean.p50_ns);
      report.top("clean_call_p99_ns", clean.p99_ns);
    }
  }
  measure_after_huge_call(report);
  report_scaling(report);
  return report.print();
}

}  // namespace
}  // namespace spore::bench

int main(int argc, char** argv) { return spore::bench::run(argc, argv); }
