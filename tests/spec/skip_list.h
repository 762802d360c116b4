#pragma once

// skips.txt: directives that are known to fail, and why that is right.
//
//   GROUP/FILE:LINE,LINE... TIERS REASON     these directives
//   GROUP/FILE TIERS REASON                  whatever fails in the file
//
// TIERS is "all", or the names of some with commas between them; '#' begins a comment line.  What is listed
// still runs: an entry that hides no failure is stale, and an error.

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/engine.h"
#include "tests/spec/outcome.h"

namespace spore::spec {

class SkipList {
 public:
  // The entries for `tier`.  kInvalidArgument names the line that makes no sense.
  static Result<SkipList> read(const std::filesystem::path& path, engine::Tier tier);

  // A listed failure becomes a skip.
  Outcome apply(std::string_view file, size_t line, Outcome outcome);

  // "GROUP/FILE:LINE" of the entries that hid nothing.  `only`: a GROUP or GROUP/FILE that alone has run;
  // empty: all have.
  std::vector<std::string> stale(std::string_view only) const;

 private:
  struct Entry {
    std::string file;                 // GROUP/FILE
    size_t line;                      // 0: the whole file
    std::vector<engine::Tier> tiers;  // none: all
    std::string reason;
    bool used = false;
  };
  static Result<std::vector<engine::Tier>> parse_tiers(std::string_view names);
  static Result<std::vector<Entry>> parse(std::string_view text);

  std::vector<Entry> entries_;
};

}  // namespace spore::spec
