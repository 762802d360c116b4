// The micro-benchmarks that lie beside their code (*_bench.cc), run by Google Benchmark and told as all
// benchmarks are.  A figure is nanoseconds of one iteration; p50 and p99 are over repetitions.

#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "bench/harness.h"

namespace {

// Keeps each repetition's time, prints nothing.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& /*context*/) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      if (run.error_occurred) spore::bench::fail(run.error_message);
      samples[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
    }
  }

  std::map<std::string, std::vector<double>> samples;
};

}  // namespace

int main(int argc, char** argv) {
  spore::bench::Report report("micro", argc, argv);
  std::string program = "micro";
  // Of a test that looks at what is printed, not at the figures (cmake/check_bench.cmake).
  const bool quick = std::getenv("SPORE_BENCH_QUICK") != nullptr;  // NOLINT(concurrency-mt-unsafe)
  std::string repetitions = quick ? "--benchmark_repetitions=3" : "--benchmark_repetitions=30";
  std::string time = quick ? "--benchmark_min_time=0.002" : "--benchmark_min_time=0.02";
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  std::vector<char*> arguments{program.data(), repetitions.data(), time.data(), interleave.data()};
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  for (const auto& [name, samples] : collector.samples) {
    report.add({spore::bench::figure_of(name, samples)});
  }
  return report.print();
}
