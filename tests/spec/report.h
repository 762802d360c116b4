#pragma once

// The counts of a run: as a table, as the file that the next run is held to, as a document.

#include <filesystem>
#include <map>
#include <string>

#include "spore/base/status.h"
#include "spore/engine/engine.h"
#include "tests/spec/outcome.h"

namespace spore::spec {

using GroupCounts = std::map<std::string, Counts>;

// For a terminal.
std::string table_text(const GroupCounts& groups);

// expected-TIER.txt.  Failures are not in it: none is ever expected.
//
//   group NAME FILES FILES_WHOLE PASSED SKIPPED TEXT_ONLY
//   skip NAME COUNT REASON       of the group above: SKIPPED by reason
std::string to_expected_text(const GroupCounts& groups);
// What read_file says; kInvalidArgument names the line that makes no sense.
Result<GroupCounts> read_expected(const std::filesystem::path& path);

// What is otherwise than expected, a line each; empty if nothing is.  More passed than expected is a
// difference too: file and document would no longer be true.
std::string differences(const GroupCounts& expected, const GroupCounts& found);

// docs/spec-suite.md, of the tiers that were counted.
std::string to_document(const std::map<engine::Tier, GroupCounts>& tiers);

}  // namespace spore::spec
