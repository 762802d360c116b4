// What it costs to load code from the cache: a tiny module, and the bytes of a large one.

#include <fcntl.h>

#include <cstdlib>
#include <filesystem>

#include <benchmark/benchmark.h>

#include "spore/base/memfd.h"
#include "spore/code/code_cache.h"
#include "spore/code/temporary_file.h"
#include "spore/engine/ticker.h"

namespace spore::code {
namespace {

constexpr size_t kLargeBytes = size_t{64} << 20;

// A folder of this benchmark's own, gone when it ends.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "spore_bench.XXXXXX").native();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The smallest module: key, open, header, MAC, memory, mapping, and counting the use.
void BM_CacheLoadSmall(benchmark::State& state) {
  const Folder folder;
  const auto engine = engine::Engine::create({}, std::make_shared<engine::Ticker>()).value();
  constexpr std::array<uint8_t, 8> kWasm{0, 'a', 's', 'm', 1, 0, 0, 0};
  const Source source{.wasm = kWasm, .hash = sha256(kWasm)};
  const auto cache = CodeCache::open(code_cache_options(folder.path()));
  if (!cache->store(*engine, source, {.code = engine->compile(kWasm).value(), .native = {}}, 1)) {
    state.SkipWithError("not stored");
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize(cache->load(*engine, source).code);
}
BENCHMARK(BM_CacheLoadSmall);

// 64 MiB from a file whose pages are in memory into a sealed one, authenticated on the way.
void load_large(benchmark::State& state, unsigned threads) {
  const Folder folder;
  const MacKey key(std::array<uint8_t, MacKey::kBytes>{1});
  const UniqueFd file(::open((folder.path() / "large").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  const std::vector<uint8_t> payload(kLargeBytes, 7);
  std::vector<uint8_t> begin(kCacheHeaderBytesMax);
  if (!write_cache_file(file.get(), {}, {.bytes = payload}, key).ok() ||
      !read_at(file.get(), begin, 0).ok()) {
    state.SkipWithError("no file");
    return;
  }
  const CacheHeader header = decode_cache_header(begin, file_size(file.get()).value()).value();
  for (auto _ : state) {
    UniqueFd memory = make_memfd("bench").value();
    if (!check_cache_file(file.get(), header, key, memory.get(), threads).ok() || !seal(memory.get()).ok()) {
      state.SkipWithError("not loaded");
    }
    state.PauseTiming();  // giving the memory back is not loading
    {
      const UniqueFd gone = std::move(memory);
    }
    state.ResumeTiming();
  }
}
void BM_CacheLoad64MiB(benchmark::State& state) { load_large(state, 1); }
BENCHMARK(BM_CacheLoad64MiB)->Unit(benchmark::kMillisecond);
void BM_CacheLoad64MiBByTwo(benchmark::State& state) { load_large(state, 2); }
BENCHMARK(BM_CacheLoad64MiBByTwo)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace spore::code
