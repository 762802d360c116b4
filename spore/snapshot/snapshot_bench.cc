// What it costs to write and to read the image of a booted interpreter, by what is validated: python.wasm,
// and a memory of 32 MiB, three quarters of it not zeros.

#include <benchmark/benchmark.h>

#include <filesystem>
#include <vector>

#include "spore/base/fd.h"
#include "tests/snapshot_file.h"

namespace spore::snapshot {
namespace {

constexpr size_t kMemoryBytes = size_t{32} << 20;

struct Booted {
  const std::filesystem::path folder = test::new_folder();
  const std::filesystem::path image = folder / "image";
  Contents contents;

  explicit Booted(const std::filesystem::path& module) {
    const std::vector<uint8_t> source = read_file(module, size_t{1} << 30).value();
    std::vector<std::byte> memory(kMemoryBytes);
    for (size_t page = 0; page < memory.size() / memory::kPageBytes; page++) {
      if (page / 16 % 4 == 0) continue;
      for (size_t i = 0; i < memory::kPageBytes; i++) {
        memory[page * memory::kPageBytes + i] = static_cast<std::byte>(page * 7 + i * i);
      }
    }
    contents = test::contents_without_engine(source, {memory});
    SPORE_ASSERT(write(contents, image).ok(), "a first time");
  }
  ~Booted() { std::filesystem::remove_all(folder); }
  Booted(const Booted&) = delete;
  Booted& operator=(const Booted&) = delete;
};

const Booted& booted(const std::filesystem::path& module) {
  static const Booted kBooted(module);
  return kBooted;
}

void read_image(benchmark::State& state, const std::filesystem::path& module, Validation validation) {
  const Booted& image = booted(module);
  for (auto _ : state) {
    const Result<Contents> contents = read(image.image, {.validation = validation});
    SPORE_ASSERT(contents.ok(), contents.status().message());
  }
  state.counters["file_bytes"] = static_cast<double>(std::filesystem::file_size(image.image));
}

void write_image(benchmark::State& state, const std::filesystem::path& module) {
  const Booted& image = booted(module);
  for (auto _ : state) SPORE_ASSERT(write(image.contents, image.folder / "again").ok(), "written");
}

void describe_image(benchmark::State& state, const std::filesystem::path& module) {
  const Booted& image = booted(module);
  for (auto _ : state) SPORE_ASSERT(describe(image.image).ok(), "described");
}

// Without the guest nothing is measured.
[[maybe_unused]] const bool registered = [] {
  const auto module = std::filesystem::path(SPORE_SOURCE_DIR "/build/guests/python.wasm");
  if (!std::filesystem::exists(module)) return true;
  const auto add = [&](const char* name, auto&&... args) {
    benchmark::RegisterBenchmark(name, args...)
        ->UseRealTime()
        ->MeasureProcessCPUTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("BM_ReadSnapshot/structure", read_image, module, Validation::kStructure);
  add("BM_ReadSnapshot/checksum", read_image, module, Validation::kChecksum);
  add("BM_ReadSnapshot/full", read_image, module, Validation::kFull);
  add("BM_WriteSnapshot", write_image, module);
  add("BM_DescribeSnapshot", describe_image, module);
  return true;
}();

}  // namespace
}  // namespace spore::snapshot
