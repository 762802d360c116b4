// What a buffer for a call costs, beside the heap's: on one thread, and on two at once.

#include <benchmark/benchmark.h>

#include "spore/base/scratch.h"

namespace spore {
namespace {

constexpr size_t kSmall = 256;
constexpr size_t kLarge = 64 * 1024;

void use_scratch(benchmark::State& state, size_t bytes) {
  for (auto _ : state) {
    const ScratchBuffer buffer(bytes);
    benchmark::DoNotOptimize(buffer.data());
  }
}

void use_heap(benchmark::State& state, size_t bytes) {
  for (auto _ : state) {
    void* block = ::operator new(bytes);
    benchmark::DoNotOptimize(block);
    ::operator delete(block, bytes);
  }
}

void BM_ScratchSmall(benchmark::State& state) { use_scratch(state, kSmall); }
BENCHMARK(BM_ScratchSmall);

void BM_HeapSmall(benchmark::State& state) { use_heap(state, kSmall); }
BENCHMARK(BM_HeapSmall);

void BM_ScratchLarge(benchmark::State& state) { use_scratch(state, kLarge); }
BENCHMARK(BM_ScratchLarge);

void BM_HeapLarge(benchmark::State& state) { use_heap(state, kLarge); }
BENCHMARK(BM_HeapLarge);

void BM_ScratchOnTwoThreads(benchmark::State& state) { use_scratch(state, kSmall); }
BENCHMARK(BM_ScratchOnTwoThreads)->Threads(2);

void BM_HeapOnTwoThreads(benchmark::State& state) { use_heap(state, kSmall); }
BENCHMARK(BM_HeapOnTwoThreads)->Threads(2);

}  // namespace
}  // namespace spore
