// Runs the official WebAssembly test suite on one tier and holds the counts to what is expected of it.
//
//   spec_runner --tier TIER [--scripts DIR] [--expected FILE] [--doc FILE]
//               [--prepared] [--only GROUP | --only GROUP/FILE] [--update] [--verbose]
//
// Fails if a directive fails that skips.txt (beside FILE) does not list, if a listed one passes, if the
// counts are not the expected ones, or if the document does not say so.  --update rewrites both.  With
// --prepared every module goes through wasm::prepare() first; what is expected stays the same.  The peak is
// made of prepared modules and is run with --prepared alone; a module that has no peak form runs in the tier
// below, and both are counted.
//
// Exit: 0 done, 1 failed, 2 misused.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/spore/args.h"
#include "spore/base/fd.h"
#include "spore/spore.h"
#include "tests/spec/peak_plan.h"
#include "tests/spec/report.h"
#include "tests/spec/script.h"
#include "tests/spec/script_runner.h"
#include "tests/spec/skip_list.h"
#include "tests/spec/spec_host.h"

namespace spore::spec {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDocumentBytesMax = 1 << 20;

struct Options {
  Tier tier = Tier::kOptimised;
  fs::path scripts = SPORE_BINARY_DIR "/spec";
  fs::path expected;  // of this tier; the other tiers' and skips.txt lie beside it
  fs::path document = SPORE_SOURCE_DIR "/docs/spec-suite.md";
  std::string only;
  bool prepared = false;
  bool update = false;
  bool verbose = false;

  fs::path expected_of(Tier of) const {
    if (of == tier) return expected;
    return expected.parent_path() / fmt::format("expected-{}.txt", engine::tier_name(of));
  }
};

constexpr cli::Flag kFlags[] = {
    {"--tier", "TIER", "interpreter, baseline, optimised or peak"},
    {"--scripts", "DIR", "what spore-spec-extract wrote"},
    {"--expected", "FILE", "tests/spec/expected-TIER.txt"},
    {"--doc", "FILE", "docs/spec-suite.md"},
    {"--prepared", "", "prepare every module before it is loaded"},
    {"--only", "GROUP[/FILE]", "run this alone; counts are then not compared"},
    {"--update", "", "rewrite the expected counts and the document"},
    {"--verbose", "", "print what is skipped, too"},
};

Result<Options> parse_options(std::span<const std::string_view> words) {
  cli::Args args = SPORE_TRY(cli::Args::parse(words, kFlags));
  SPORE_TRY(args.finish());
  Options options;
  const std::string_view tier = args.value_of("--tier").value_or("");
  const std::optional<Tier> known = engine::tier_of_name(tier);
  if (!known) {
    return Status::invalid_argument("--tier is '{}', expected interpreter, baseline, optimised or peak",
                                    tier);
  }
  options.tier = *known;
  options.expected = fmt::format(SPORE_SOURCE_DIR "/tests/spec/expected-{}.txt", tier);
  if (const auto value = args.value_of("--scripts")) options.scripts = *value;
  if (const auto value = args.value_of("--expected")) options.expected = *value;
  if (const auto value = args.value_of("--doc")) options.document = *value;
  options.only = args.value_of("--only").value_or("");
  options.prepared = args.has("--prepared");
  options.update = args.has("--update");
  options.verbose = args.has("--verbose");
  if (options.tier == Tier::kPeak && !options.prepared) {
    return Status::invalid_argument("--tier peak needs --prepared: there is no other way to the peak");
  }
  if (options.update && options.prepared && options.tier != Tier::kPeak) {
    return Status::invalid_argument("--update counts modules as they are, not --prepared");
  }
  if (options.update && !options.only.empty()) {
    return Status::invalid_argument("--update needs the whole suite, not --only {}", options.only);
  }
  return options;
}

// The scripts to run, as GROUP/FILE, in order.
Result<std::vector<std::string>> list_files(const Options& options) {
  std::error_code error;
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(options.scripts, error)) {
    if (entry.path().extension() != ".script") continue;
    std::string file = entry.path().lexically_relative(options.scripts).replace_extension().string();
    if (options.only.empty() || file == options.only || file.starts_with(options.only + "/")) {
      files.push_back(std::move(file));
    }
  }
  std::ranges::sort(files);
  if (error) return Status::from_errno(error.value(), options.scripts.native());
  if (files.empty())
    return Status::not_found("no scripts for '{}' in {}", options.only, options.scripts.native());
  return files;
}

void print_outcome(std::string_view file, const Directive& directive, const Outcome& outcome, bool verbose) {
  if (outcome.kind == Outcome::Kind::kFailed) {
    fmt::print("FAILED {}:{}: {}\n", file, directive.line, outcome.reason);
  } else if (outcome.kind == Outcome::Kind::kSkipped && verbose) {
    fmt::print("skipped {}:{}: {}\n", file, directive.line, outcome.reason);
  }
}

Counts run_file(const SpecHost& host, const Options& options, SkipList& skips, const std::string& file,
                PeakCounts& peak) {
  const Script script = Script::read(options.scripts / (file + ".script"));
  ScriptRunner runner(host, script, skips, file);
  Counts counts;
  for (const Directive& directive : script.directives()) {
    const Outcome outcome = runner.run(directive);
    print_outcome(file, directive, outcome, options.verbose);
    counts.add(outcome);
  }
  peak.add(runner.peak_counts());
  counts.files = 1;
  counts.files_whole = counts.failed == 0 && counts.skipped.empty() ? 1 : 0;
  return counts;
}

Status write_text(const fs::path& path, std::string_view text) {
  return write_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// The document that the expected counts of all tiers make.  A tier that was never counted is not in it.
Result<std::string> make_document(const Options& options) {
  std::map<Tier, GroupCounts> tiers;
  for (const Tier tier : {Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak}) {
    Result<GroupCounts> expected = read_expected(options.expected_of(tier));
    if (expected.code() == Code::kNotFound) continue;
    tiers[tier] = SPORE_TRY(std::move(expected));
  }
  return to_document(tiers);
}

Status update(const Options& options, const GroupCounts& found) {
  SPORE_TRY(write_text(options.expected, to_expected_text(found)));
  const std::string document = SPORE_TRY(make_document(options));
  return write_text(options.document, document);
}

// kInvalidArgument: counts or document are not as they should be.
Status compare(const Options& options, const GroupCounts& found) {
  const GroupCounts expected = SPORE_TRY(read_expected(options.expected));
  const std::string different = differences(expected, found);
  if (!different.empty()) {
    return Status::invalid_argument("the counts are not those of {}:\n{}If this is right, run with --update.",
                                    options.expected.native(), different);
  }
  const std::string document = SPORE_TRY(make_document(options));
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(options.document, kDocumentBytesMax));
  if (document != std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())) {
    return Status::invalid_argument("{} is not what the counts say; run with --update.",
                                    options.document.native());
  }
  return {};
}

Status run(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  const auto mode = options.prepared ? SpecHost::Mode::kPrepared : SpecHost::Mode::kPlain;
  const SpecHost host = SPORE_TRY(SpecHost::create(options.tier, mode));
  SkipList skips = SPORE_TRY(SkipList::read(options.expected.parent_path() / "skips.txt", options.tier));
  GroupCounts found;
  PeakCounts peak;
  size_t failed = 0;
  for (const std::string& file : SPORE_TRY(list_files(options))) {
    const Counts counts = run_file(host, options, skips, file, peak);
    found[file.substr(0, file.find('/'))].add(counts);
    failed += counts.failed;
  }
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  fmt::print("{}{} tier{}, Wasmtime {}, {:.1f} s\n", table_text(found), engine::tier_name(options.tier),
             options.prepared ? ", modules prepared" : "", engine::engine_version(),
             std::chrono::duration<double>(elapsed).count());
  if (options.tier == Tier::kPeak) fmt::print("{}", peak.text());

  if (failed > 0) return Status::invalid_argument("{} directives failed", failed);
  const std::vector<std::string> stale = skips.stale(options.only);
  if (!stale.empty()) {
    return Status::invalid_argument("skips.txt lists what does not fail: {}", fmt::join(stale, ", "));
  }
  if (!options.only.empty()) return {};
  return options.update ? update(options, found) : compare(options, found);
}

int main_of(std::span<const std::string_view> words) {
  const Result<Options> options = parse_options(words);
  const Status status = options.ok() ? run(options.value()) : options.status().copy();
  if (status.ok()) return 0;
  fmt::print(stderr, "spec_runner: {}\n", status.message());
  return options.ok() ? 1 : 2;
}

}  // namespace
}  // namespace spore::spec

int main(int argc, char** argv) {
  try {
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    return spore::spec::main_of(words);
  } catch (const std::exception& error) {
    std::fputs(fmt::format("spec_runner: {}\n", error.what()).c_str(), stderr);
    return 1;
  }
}
