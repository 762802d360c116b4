// Compares instances that were reset with new ones, module after module.
//
//   reset_runner --tier baseline|optimised --first N --count N [--out DIR] [--until-mismatch]
//   reset_runner --tier baseline|optimised FILE...     the bytes of a case each
//   reset_runner --write FILE --first N                 the bytes of case N
//
// At the first mismatch it says how to get there, and writes the case and its module to DIR.  Without one it
// holds that enough was tried.  With --until-mismatch a mismatch is what is expected; with --mapped-faults
// only where page faults are counted without a system call.
//
// Exit: 0 as expected, 1 too little was tried, or no mismatch where one is expected; 2 misused; 3 a mismatch;
// 77 they are not counted so.

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "apps/spore/args.h"
#include "spore/base/fd.h"
#include "spore/memory/fault_counter.h"
#include "tests/reset/reset_check.h"

namespace spore::reset_test {
namespace {

namespace fs = std::filesystem;

constexpr int kShortExit = 1;
constexpr int kMisusedExit = 2;
constexpr int kMismatchExit = 3;
constexpr int kSkippedExit = 77;
constexpr size_t kCaseBytesMax = 1 << 20;

struct Options {
  engine::Tier tier = engine::Tier::kBaseline;
  uint64_t first = 0;
  uint64_t count = 0;
  fs::path out = ".";
  fs::path write;
  bool until_mismatch = false;
  bool mapped_faults = false;
  std::vector<fs::path> files;
};

constexpr cli::Flag kFlags[] = {
    {"--tier", "TIER", "baseline or optimised"},
    {"--first", "N", "the number of the first case"},
    {"--count", "N", "how many cases"},
    {"--out", "DIR", "where a case that fails is written"},
    {"--write", "FILE", "write a case and do nothing else"},
    {"--until-mismatch", "", "a mismatch is expected"},
    {"--mapped-faults", "", "only where page faults are counted without a system call"},
};

Result<uint64_t> number(const cli::Args& args, std::string_view flag) {
  const std::string_view word = args.value_of(flag).value_or("0");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) {
    return Status::invalid_argument("{} is '{}', expected a number", flag, word);
  }
  return value;
}

Result<Options> parse_options(std::span<const std::string_view> words) {
  cli::Args args = SPORE_TRY(cli::Args::parse(words, kFlags));
  Options options;
  const std::string_view tier = args.value_of("--tier").value_or("baseline");
  if (tier != "baseline" && tier != "optimised") {
    return Status::invalid_argument("--tier is '{}', expected baseline or optimised", tier);
  }
  options.tier = tier == "baseline" ? engine::Tier::kBaseline : engine::Tier::kOptimised;
  options.first = SPORE_TRY(number(args, "--first"));
  options.count = SPORE_TRY(number(args, "--count"));
  options.out = args.value_of("--out").value_or(".");
  options.write = args.value_of("--write").value_or("");
  options.until_mismatch = args.has("--until-mismatch");
  options.mapped_faults = args.has("--mapped-faults");
  for (const std::string_view file : args.rest()) options.files.emplace_back(file);
  SPORE_TRY(args.finish());
  if (options.files.empty() == (options.count == 0) && options.write.empty()) {
    return Status::invalid_argument("either --count or files are needed");
  }
  return options;
}

void write_file(const fs::path& path, std::span<const uint8_t> bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  SPORE_ASSERT(file != nullptr, path.native());
  SPORE_ASSERT(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size(), path.native());
  SPORE_ASSERT(std::fclose(file) == 0, path.native());
}

void report(const Options& options, std::string_view name, const Mismatch& mismatch,
            std::span<const uint8_t> bytes) {
  const fs::path base = options.out / fmt::format("reset-{}-{}", engine::tier_name(options.tier), name);
  write_file(base.native() + ".case", bytes);
  write_file(base.native() + ".wasm", mismatch.wasm);
  fmt::print("MISMATCH in {}: {}\n{}the case: {}.case, its module: {}.wasm\n", name, mismatch.text,
             text(mismatch.plan), base.native(), base.native());
}

// The exit code.
int run_range(const Options& options) {
  ResetCheck check(options.tier);
  for (uint64_t i = 0; i < options.count; i++) {
    const std::vector<uint8_t> bytes = case_bytes(options.first + i);
    const std::optional<Mismatch> mismatch = check.check(bytes);
    if (!mismatch) continue;
    report(options, fmt::format("{}", options.first + i), *mismatch, bytes);
    if (!options.until_mismatch) return kMismatchExit;
    fmt::print("caught after {} cases\n", i + 1);
    return 0;
  }
  const std::string shortfalls = check.statistics().shortfalls();
  fmt::print("{}{}", check.statistics().text(), shortfalls);
  if (options.until_mismatch) fmt::print("no mismatch was found\n");
  return options.until_mismatch || !shortfalls.empty() ? kShortExit : 0;
}

int run_files(const Options& options) {
  ResetCheck check(options.tier);
  for (const fs::path& file : options.files) {
    const std::vector<uint8_t> bytes = read_file(file, kCaseBytesMax).value();
    const std::optional<Mismatch> mismatch = check.check(bytes);
    if (!mismatch) continue;
    report(options, file.stem().native(), *mismatch, bytes);
    return kMismatchExit;
  }
  fmt::print("{}", check.statistics().text());
  return 0;
}

int run_program(std::span<const std::string_view> words) {
  const Result<Options> options = parse_options(words);
  if (!options.ok()) {
    fmt::print(stderr, "reset_runner: {}\n", options.status().message());
    return kMisusedExit;
  }
  if (!options->write.empty()) {
    write_file(options->write, case_bytes(options->first));
    return 0;
  }
  using memory::ThreadFaults;
  if (options->mapped_faults && !ThreadFaults::here().mark(memory::FaultCounterKind::kMapped).mapped()) {
    fmt::print("skipped: this system lets no process map a counter of page faults\n");
    return kSkippedExit;
  }
  return options->files.empty() ? run_range(options.value()) : run_files(options.value());
}

}  // namespace
}  // namespace spore::reset_test

int main(int argc, char** argv) {
  return spore::reset_test::run_program(std::vector<std::string_view>(argv + 1, argv + argc));
}
