// What preparing a module costs, beside validating it, which is a part of that: some of the guests that
// tools/guests.sh builds into build/guests.

#include <benchmark/benchmark.h>

#include <filesystem>
#include <vector>

#include "spore/base/fd.h"
#include "spore/wasm/prepare.h"

namespace spore::wasm {
namespace {

constexpr size_t kBytesMax = size_t{1} << 30;

void inspect_file(benchmark::State& state, const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, kBytesMax).value();
  for (auto _ : state) benchmark::DoNotOptimize(inspect(bytes, kBytesMax).ok());
}

void prepare_file(benchmark::State& state, const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = read_file(path, kBytesMax).value();
  for (auto _ : state) benchmark::DoNotOptimize(prepare(bytes, kBytesMax).ok());
}

// Those that are not there are not measured.
[[maybe_unused]] const bool registered = [] {
  for (const char* name : {"python", "rust_command"}) {
    const auto path = std::filesystem::path(SPORE_SOURCE_DIR "/build/guests") / fmt::format("{}.wasm", name);
    if (!std::filesystem::exists(path)) continue;
    benchmark::RegisterBenchmark(fmt::format("BM_Inspect/{}", name).c_str(), inspect_file, path);
    benchmark::RegisterBenchmark(fmt::format("BM_Prepare/{}", name).c_str(), prepare_file, path);
  }
  return true;
}();

}  // namespace
}  // namespace spore::wasm
