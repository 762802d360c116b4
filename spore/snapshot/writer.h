#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "spore/base/frames.h"
#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/progress.h"

namespace spore::snapshot {

enum class Form : uint8_t {
  kWire,    // for moving and keeping
  kMapped,  // for starting from: pages stand as in memory, and are mapped; those of zeros are holes
};
std::string_view form_name(Form form);  // "wire", "mapped"

enum class Compression : uint8_t {
  kAuto,  // zstd, where it makes something 1.15 times smaller
  kNone,
  kZstd,
  kLz4,
};
std::string_view compression_name(Compression compression);  // "auto", "none", "zstd", "lz4"
// kInvalidArgument names them.
Result<Compression> parse_compression(std::string_view name);

struct WriteOptions {
  Form form = Form::kWire;
  // Of all sections, but of pages in the mapped form.
  Compression compression = Compression::kAuto;
  int level = kCompressionLevel;  // kCompressionLevelMin to Max
  // Whether the module is in the file; else it is named by its hash, and a reader has to find it
  // (ReadOptions::find_module).  A derived image never has it.
  bool with_module = true;
  // How far the module may climb, and presets, that are written instead of those of the contents.
  std::optional<TierMax> tier_max{};
  std::optional<Presets> presets{};
  bool parallel = true;  // on several threads
  Progress progress;

  // For a file that stays where it is written, and is started from there.
  static WriteOptions local() {
    return {.form = Form::kMapped, .compression = Compression::kNone, .progress = {}};
  }
};

// Writes a snapshot, version 2, in the place of `path`, whole or not at all, readable by its owner alone:
// memory and environment are in it.  Gives its id.  The same contents and options make the same bytes.
// kInvalidArgument: the contents do not fit each other, a text is longer than the format takes, there is no
// such level; kNotFound: no such folder; kIo; kLimitExceeded: no memory is left.  All carry an ErrorInfo.
Result<Digest> write(const Contents& contents, const std::filesystem::path& path,
                     const WriteOptions& options = {});

}  // namespace spore::snapshot
