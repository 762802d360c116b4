// What it costs to authenticate a megabyte, and how that compares with a hash.  Nanoseconds: 100 us are 10
// GB/s.

#include <vector>

#include <benchmark/benchmark.h>

#include "spore/base/hash.h"
#include "spore/base/mac.h"

namespace spore {
namespace {

constexpr size_t kMessageBytes = 1 << 20;

MacKey key() { return MacKey(std::array<uint8_t, MacKey::kBytes>{1}); }

void BM_MacMegabyte(benchmark::State& state) {
  const std::vector<uint8_t> bytes(kMessageBytes, 7);
  Mac mac(key());
  uint64_t number = 0;
  for (auto _ : state) {
    mac.begin({.number = number++});
    mac.update(bytes);
    benchmark::DoNotOptimize(mac.finish());
  }
}
BENCHMARK(BM_MacMegabyte);

// Key, context and an empty message: what each file costs, whatever its size.
void BM_MacOfNothing(benchmark::State& state) {
  const MacKey master = key();
  const std::vector<uint8_t> salt(32, 1);
  for (auto _ : state) {
    Mac mac(master.derive(salt));
    mac.begin({});
    benchmark::DoNotOptimize(mac.finish());
  }
}
BENCHMARK(BM_MacOfNothing);

void BM_Sha256Megabyte(benchmark::State& state) {
  const std::vector<uint8_t> bytes(kMessageBytes, 7);
  for (auto _ : state) benchmark::DoNotOptimize(sha256(bytes));
}
BENCHMARK(BM_Sha256Megabyte);

}  // namespace
}  // namespace spore
