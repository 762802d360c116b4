// What it costs to write and to read the image of a booted interpreter, by form, by compression and by what
// is validated: python.wasm, and a memory of 32 MiB, three quarters of it bytes of that module, the rest
// zeros. And a memory of 69 MiB of a small module, mapped from a file whose hashes were compared before.

#include <fcntl.h>
#include <sched.h>

#include <benchmark/benchmark.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "spore/base/fd.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/proofs.h"
#include "tests/guest_file.h"
#include "tests/snapshot_file.h"

namespace spore::snapshot {
namespace {

constexpr size_t kMebibyte = size_t{1} << 20;
constexpr size_t kMemoryBytes = 32 * kMebibyte;

std::filesystem::path python() { return SPORE_SOURCE_DIR "/build/guests/python.wasm"; }

// As a memory may be: bytes of a module, and every fourth 64 KiB zeros.
std::vector<std::byte> memory_like(std::span<const uint8_t> module, size_t bytes) {
  std::vector<std::byte> memory(bytes);
  for (size_t at = 0; at < bytes; at += kFrameBytes) {
    if (at / kFrameBytes % 4 == 0) continue;
    for (size_t i = 0; i < kFrameBytes; i++) memory[at + i] = std::byte{module[(at + i) % module.size()]};
  }
  return memory;
}

struct Booted {
  const std::filesystem::path folder = test::new_folder();
  Contents contents;

  Booted() {
    const std::vector<uint8_t> source = read_file(python(), size_t{1} << 30).value();
    contents = test::contents_without_engine(source, {memory_like(source, kMemoryBytes)});
  }
  ~Booted() { std::filesystem::remove_all(folder); }
  Booted(const Booted&) = delete;
  Booted& operator=(const Booted&) = delete;

  std::filesystem::path file(const WriteOptions& options) const {
    std::filesystem::path path = folder / fmt::format("{}-{}-{}", form_name(options.form),
                                                      compression_name(options.compression), options.level);
    if (!std::filesystem::exists(path)) SPORE_ASSERT(write(contents, path, options).ok(), "a first time");
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    while (!FileIdentity::of(fd.get())->is_settled()) ::sched_yield();
    return path;
  }
};

const Booted& booted() {
  static const Booted kBooted;
  return kBooted;
}

void set_counters(benchmark::State& state, uint64_t raw_bytes, uint64_t file_bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * raw_bytes));
  state.counters["file_bytes"] = static_cast<double>(file_bytes);
  state.counters["ratio"] = static_cast<double>(raw_bytes) / static_cast<double>(file_bytes);
}

// `known`: the module was proved, and the hashes of this file were compared before.
void read_image(benchmark::State& state, const WriteOptions& written, ReadOptions options, bool known) {
  const std::filesystem::path path = booted().file(written);
  if (known) {
    options.proved = [](const Digest&) { return true; };
    options.verified = [](const Digest&, const FileIdentity&) { return true; };
  }
  LoadStatistics load;
  for (auto _ : state) {
    const Result<Contents> contents = read(path, options);
    SPORE_ASSERT(contents.ok(), contents.status().message());
    load = contents->load;
  }
  set_counters(state, load.raw_bytes, std::filesystem::file_size(path));
  state.counters["mapped"] = load.mapped ? 1 : 0;
}

void write_image(benchmark::State& state, const WriteOptions& options) {
  const std::filesystem::path path = booted().folder / "again";
  for (auto _ : state) SPORE_ASSERT(write(booted().contents, path, options).ok(), "written");
  const Contents contents = read(path, {.validation = Validation::kChecksum, .progress = {}}).value();
  set_counters(state, contents.load.raw_bytes, contents.load.stored_bytes);
}

void describe_image(benchmark::State& state) {
  const std::filesystem::path path = booted().file({.progress = {}});
  for (auto _ : state) SPORE_ASSERT(describe(path).ok(), "described");
}

// One thread, no file: what a codec does with frames of such a memory.
void encode_frames(benchmark::State& state, Codec codec, int level) {
  const std::vector<uint8_t>& source = *booted().contents.source;
  FrameEncoder encoder = FrameEncoder::create(codec, level).value();
  uint64_t stored = 0;
  uint64_t raw = 0;
  for (auto _ : state) {
    const size_t at = raw % (source.size() - kFrameBytes);
    const auto bytes = encoder.encode(std::span(source).subspan(at, kFrameBytes), kFrameBytes).value();
    stored += bytes.empty() ? kFrameBytes : bytes.size();
    raw += kFrameBytes;
  }
  set_counters(state, raw / state.iterations(), stored / state.iterations());
}

void decode_frames(benchmark::State& state, Codec codec) {
  const std::vector<uint8_t>& source = *booted().contents.source;
  FrameEncoder encoder = FrameEncoder::create(codec, kCompressionLevel).value();
  std::vector<std::vector<uint8_t>> frames;
  for (size_t at = 0; frames.size() < 64; at += kFrameBytes) {
    const auto bytes = encoder.encode(std::span(source).subspan(at, kFrameBytes), kFrameBytes).value();
    if (!bytes.empty()) frames.emplace_back(bytes.begin(), bytes.end());
  }
  FrameDecoder decoder;
  std::vector<uint8_t> frame(kFrameBytes);
  size_t next = 0;
  for (auto _ : state) {
    SPORE_ASSERT(decoder.decode(codec, frames[next++ % frames.size()], frame).ok(), "decoded");
    benchmark::DoNotOptimize(frame.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kFrameBytes));
}

// 69 MiB, as a booted Ruby has, of a module that takes no time.
void map_image(benchmark::State& state, bool known) {
  constexpr size_t kBytes = 69 * kMebibyte;
  const std::filesystem::path path = booted().folder / "69MiB";
  const std::vector<uint8_t> source =
      test::wasm(fmt::format("(module (memory (export \"memory\") {}))", kBytes / 65536));
  const Contents contents =
      test::contents_without_engine(source, {memory_like(*booted().contents.source, kBytes)});
  SPORE_ASSERT(write(contents, path, WriteOptions::local()).ok(), "written");
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  while (!FileIdentity::of(fd.get())->is_settled()) ::sched_yield();
  const auto proofs = Proofs::open(booted().folder / "proved", booted().folder / "key");
  const Contents first = read(path).value();
  proofs->add(first.id);
  proofs->add(first.id, *first.file);
  ReadOptions options{.proved = {}, .verified = {}, .find_module = {}, .progress = {}};
  if (known) {
    options.proved = [&](const Digest& id) { return proofs->has(id); };
    options.verified = [&](const Digest& id, const FileIdentity& file) { return proofs->has(id, file); };
  }
  for (auto _ : state) {
    const Result<Contents> again = read(path, options);
    SPORE_ASSERT(again.ok() && again->load.mapped, "mapped");
  }
  set_counters(state, first.load.raw_bytes, std::filesystem::file_size(path));
}

void small_delta(benchmark::State& state) {
  DeltaFile delta{.cell = "cell",
                  .sequence = 1,
                  .parent = sha256(std::span<const uint8_t>()),
                  .delta = std::vector<uint8_t>(7'600, 1)};
  const std::filesystem::path path = booted().folder / "delta";
  SPORE_ASSERT(write_delta(delta, path).ok(), "written");
  for (auto _ : state) SPORE_ASSERT(read_delta(path).ok(), "read");
}

// Without the guest nothing is measured.
[[maybe_unused]] const bool registered = [] {
  if (!std::filesystem::exists(python())) return true;
  const auto add = [&](const std::string& name, auto&&... args) {
    return benchmark::RegisterBenchmark(name.c_str(), args...)
        ->UseRealTime()
        ->MeasureProcessCPUTime()
        ->Unit(benchmark::kMillisecond);
  };
  const WriteOptions raw{.compression = Compression::kNone, .progress = {}};
  const std::map<std::string, WriteOptions> forms{
      {"zstd", {.compression = Compression::kZstd, .progress = {}}}, {"mapped", WriteOptions::local()}};
  for (const auto& [form, written] : forms) {
    const auto name = [&](std::string_view what) { return fmt::format("BM_ReadSnapshot/{}/{}", form, what); };
    add(name("checksum"), read_image, written,
        ReadOptions{.validation = Validation::kChecksum, .progress = {}}, false);
    add(name("checksum_one_thread"), read_image, written,
        ReadOptions{.validation = Validation::kChecksum, .parallel = false, .progress = {}}, false);
    add(name("known"), read_image, written, ReadOptions{.progress = {}}, true);
  }
  add("BM_ReadSnapshot/raw/full", read_image, raw, ReadOptions{.progress = {}}, false);
  for (const Compression compression : {Compression::kNone, Compression::kZstd, Compression::kLz4}) {
    add(fmt::format("BM_WriteSnapshot/{}", compression_name(compression)), write_image,
        WriteOptions{.compression = compression, .progress = {}});
  }
  add("BM_WriteSnapshot/mapped", write_image, WriteOptions::local());
  add("BM_DescribeSnapshot", describe_image);
  for (const Codec codec : {Codec::kZstd, Codec::kLz4}) {
    for (const int level : {1, 6, 9}) {
      add(fmt::format("BM_EncodeFrame/{}/{}", codec_name(codec), level), encode_frames, codec, level)
          ->Unit(benchmark::kMicrosecond);
    }
    add(fmt::format("BM_DecodeFrame/{}", codec_name(codec)), decode_frames, codec)
        ->Unit(benchmark::kMicrosecond);
  }
  add("BM_MapSnapshot/first", map_image, false);
  add("BM_MapSnapshot/known", map_image, true);
  add("BM_ReadDelta", small_delta)->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace spore::snapshot
