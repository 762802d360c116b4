// What an error costs, beside success: why a trap or a full pool can be an everyday answer.

#include <benchmark/benchmark.h>

#include "spore/base/status.h"

namespace spore {
namespace {

__attribute__((noinline)) Result<int> half(int number) {
  if (number % 2 != 0) return Status::invalid_argument("{} is odd", number);
  return number / 2;
}

__attribute__((noinline)) Result<int> quarter(int number) {
  const int once = SPORE_TRY(half(number));
  return half(once);
}

void BM_Success(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(quarter(8).value());
}
BENCHMARK(BM_Success);

void BM_ErrorThroughTwoFrames(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(quarter(7).code());
}
BENCHMARK(BM_ErrorThroughTwoFrames);

}  // namespace
}  // namespace spore
