// What it costs to ask whether this process is a forked child: it is asked on the path of every call.

#include <unistd.h>

#include <benchmark/benchmark.h>

#include "spore/base/fork.h"

namespace spore {
namespace {

void BM_ProcessGeneration(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(process_generation());
}
BENCHMARK(BM_ProcessGeneration);

// The other way to know it: a system call.
void BM_Getpid(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(getpid());
}
BENCHMARK(BM_Getpid);

}  // namespace
}  // namespace spore
