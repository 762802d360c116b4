#pragma once

// What reading an image, describing one and reading a delta have in common.  Internal to snapshot/.

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/file.h"
#include "spore/snapshot/format.h"
#include "spore/snapshot/reader.h"

namespace spore::snapshot {

// What is read of an image before its pages and its source.
struct Parts {
  Manifest manifest;
  State state;
  PageIndex index;
  std::shared_ptr<const ExportIndex> exports;  // null: there is no such section
  Presets presets;
  std::vector<HotRun> hot_set;
  std::optional<code::Profile> profile;
  ModuleParts module;  // empty if it is not in the file
};
// kInvalidArgument: it is a delta.
Result<Parts> read_parts(const SnapshotFile& file);
// Of a delta, all but its bytes.  kInvalidArgument: it is an image.
Result<DeltaFile> read_delta_head(const SnapshotFile& file);

Result<RegularFile> open_file(const std::filesystem::path& path, const ReadOptions& options);
// The same status, with the path before it.
Status at_path(Status status, const std::filesystem::path& path);
// kLimitExceeded: a chain of so many.
Status check_chain_length(size_t links);
// kLimitExceeded: a memory of so many pages.
Status check_memory(uint64_t pages, uint64_t bytes_max);

}  // namespace spore::snapshot
