#include "tests/differential/runner.h"

#include <charconv>
#include <cstdio>

#include <fmt/format.h>

#include "spore/base/fd.h"
#include "tests/differential/guest.h"

namespace spore::differential {
namespace {

namespace fs = std::filesystem;

constexpr int kShortExit = 1;
constexpr int kMismatchExit = 3;
constexpr size_t kCaseBytesMax = 1 << 20;

Result<uint64_t> number(const cli::Args& args, std::string_view flag) {
  const std::string_view word = args.value_of(flag).value_or("0");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) {
    return Status::invalid_argument("{} is '{}', expected a number", flag, word);
  }
  return value;
}

void write_file(const fs::path& path, std::span<const uint8_t> bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  SPORE_ASSERT(file != nullptr, path.native());
  SPORE_ASSERT(std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size(), path.native());
  SPORE_ASSERT(std::fclose(file) == 0, path.native());
}

void report(const fs::path& base, std::string_view name, const Mismatch& mismatch,
            std::span<const uint8_t> bytes) {
  write_file(base.native() + ".case", bytes);
  write_file(base.native() + ".wasm", mismatch.wasm);
  fmt::print("MISMATCH in {}: {}the case: {}.case, its module: {}.wasm\n", name, mismatch.text, base.native(),
             base.native());
}

int run_range(Check& check, const RunnerOptions& options, std::string_view name) {
  for (uint64_t i = 0; i < options.count; i++) {
    const std::vector<uint8_t> bytes = case_bytes(options.first + i);
    const std::optional<Mismatch> mismatch = check.check(bytes);
    if (!mismatch) continue;
    const std::string number = fmt::format("{}", options.first + i);
    report(options.out / fmt::format("{}-{}", name, number), number, *mismatch, bytes);
    if (!options.until_mismatch) return kMismatchExit;
    fmt::print("caught after {} cases\n", i + 1);
    return 0;
  }
  const std::string shortfalls = check.shortfalls();
  fmt::print("{}{}", check.statistics_text(), shortfalls);
  if (options.until_mismatch) fmt::print("no mismatch was found\n");
  return options.until_mismatch || !shortfalls.empty() ? kShortExit : 0;
}

int run_files(Check& check, const RunnerOptions& options, std::string_view name) {
  for (const fs::path& file : options.files) {
    const std::vector<uint8_t> bytes = read_file(file, kCaseBytesMax).value();
    const std::optional<Mismatch> mismatch = check.check(bytes);
    if (!mismatch) continue;
    const std::string stem = file.stem().native();
    report(options.out / fmt::format("{}-{}", name, stem), stem, *mismatch, bytes);
    return kMismatchExit;
  }
  fmt::print("{}", check.statistics_text());
  return 0;
}

}  // namespace

std::vector<cli::Flag> runner_flags(std::initializer_list<cli::Flag> own) {
  std::vector<cli::Flag> flags{
      {"--first", "N", "the number of the first case"},
      {"--count", "N", "how many cases"},
      {"--out", "DIR", "where a case that fails is written"},
      {"--write", "FILE", "write a case and do nothing else"},
      {"--until-mismatch", "", "a mismatch is expected"},
  };
  flags.insert(flags.end(), own);
  return flags;
}

Result<RunnerOptions> runner_options(cli::Args& args) {
  RunnerOptions options;
  options.first = SPORE_TRY(number(args, "--first"));
  options.count = SPORE_TRY(number(args, "--count"));
  options.out = args.value_of("--out").value_or(".");
  options.write = args.value_of("--write").value_or("");
  options.until_mismatch = args.has("--until-mismatch");
  for (const std::string_view file : args.rest()) options.files.emplace_back(file);
  SPORE_TRY(args.finish());
  if (options.files.empty() == (options.count == 0) && options.write.empty()) {
    return Status::invalid_argument("either --count or files are needed");
  }
  return options;
}

int run_cases(Check& check, const RunnerOptions& options, std::string_view name) {
  if (!options.write.empty()) {
    write_file(options.write, case_bytes(options.first));
    return 0;
  }
  return options.files.empty() ? run_range(check, options, name) : run_files(check, options, name);
}

}  // namespace spore::differential
