#include "tests/spec/skip_list.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "spore/base/fd.h"
#include "tests/spec/text.h"

namespace spore::spec {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

Result<size_t> parse_line_number(std::string_view digits) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error == std::errc() && end == digits.data() + digits.size() && number > 0) return number;
  return Status::invalid_argument("'{}' is not a line", digits);
}

}  // namespace

// None stands for all.
Result<std::vector<engine::Tier>> SkipList::parse_tiers(std::string_view names) {
  std::vector<engine::Tier> tiers;
  if (names == "all") return tiers;
  do {
    const std::string_view name = take_part(names, ',');
    const std::optional<engine::Tier> tier = engine::tier_of_name(name);
    if (!tier) return Status::invalid_argument("'{}' is neither a tier nor all of them", name);
    tiers.push_back(*tier);
  } while (!names.empty());
  return tiers;
}

Result<std::vector<SkipList::Entry>> SkipList::parse(std::string_view text) {
  std::string_view lines = take_part(text, ' ');
  const std::vector<engine::Tier> tiers = SPORE_TRY(parse_tiers(take_part(text, ' ')));
  if (text.empty()) return Status::invalid_argument("no reason is given");
  const std::string_view file = take_part(lines, ':');
  std::vector<Entry> entries;
  do {
    size_t line = 0;
    if (!lines.empty()) line = SPORE_TRY(parse_line_number(take_part(lines, ',')));
    entries.push_back({std::string(file), line, tiers, std::string(text)});
  } while (!lines.empty());
  return entries;
}

Result<SkipList> SkipList::read(const std::filesystem::path& path, engine::Tier tier) {
  const std::vector<uint8_t> bytes = SPORE_TRY(read_file(path, kFileBytesMax));
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  SkipList list;
  for (size_t number = 1; !rest.empty(); number++) {
    const std::string_view line = take_part(rest, '\n');
    if (line.empty() || line.front() == '#') continue;
    Result<std::vector<Entry>> entries = parse(line);
    if (!entries.ok())
      return std::move(entries).status().with_context(fmt::format("{}:{}", path.native(), number));
    for (Entry& entry : entries.value()) {
      const bool counts = entry.tiers.empty() || std::ranges::find(entry.tiers, tier) != entry.tiers.end();
      if (counts) list.entries_.push_back(std::move(entry));
    }
  }
  return list;
}

Outcome SkipList::apply(std::string_view file, size_t line, Outcome outcome) {
  if (outcome.kind != Outcome::Kind::kFailed) return outcome;
  const auto listed = std::ranges::find_if(entries_, [&](const Entry& entry) {
    return entry.file == file && (entry.line == 0 || entry.line == line);
  });
  if (listed == entries_.end()) return outcome;
  listed->used = true;
  return Outcome::skipped(listed->reason);
}

std::vector<std::string> SkipList::stale(std::string_view only) const {
  std::vector<std::string> places;
  for (const Entry& entry : entries_) {
    const bool has_run =
        only.empty() || entry.file == only || entry.file.starts_with(fmt::format("{}/", only));
    if (entry.used || !has_run) continue;
    places.push_back(entry.line == 0 ? entry.file : fmt::format("{}:{}", entry.file, entry.line));
  }
  return places;
}

}  // namespace spore::spec
