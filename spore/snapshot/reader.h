#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/json.h"
#include "spore/base/status.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/file_identity.h"
#include "spore/snapshot/progress.h"
#include "spore/snapshot/writer.h"

namespace spore::snapshot {

// How much of a file is not taken on its word; docs/formats/snapshot.md, "Reading".
enum class Validation : uint8_t {
  // All but the hashes of pages and source: a file that this process has read before.
  kStructure,
  // All hashes: a file whose writer is trusted as this process is.  Whoever wrote it can undo the isolation
  // of its instances from each other, and put code under another module's name into the code cache.
  kChecksum,
  // The module is prepared again from its source: for all others.
  kFull,
};

struct ReadOptions {
  Validation validation = Validation::kFull;
  uint64_t file_bytes_max = uint64_t{1} << 30;    // of the file, also if nothing in it were compressed
  uint64_t memory_bytes_max = uint64_t{4} << 30;  // of each memory; most of it may be zeros
  const Contents* base = nullptr;                 // what a derived image stands on, as it was read
  // Whether an image of that id was proved before, or made, by somebody who is trusted as this process is:
  // then kFull does not do it again (Proofs).  Null: none was.
  std::function<bool(const Digest& id)> proved;
  // Whether all hashes of that image were compared before, by somebody trusted as this process is, in that
  // very file: then those of pages and source are not compared again (Proofs).  Null: no.
  std::function<bool(const Digest& id, const FileIdentity& file)> verified;
  // Where the module is of an image that names it by its hashes alone: the bytes of `source`, which become
  // `prepared`.  Null, or gives null: there is none.
  std::function<std::shared_ptr<const std::vector<uint8_t>>(const Digest& prepared, const Digest& source)>
      find_module;
  // Whether pages of a file in the mapped form may be mapped from it, where the file is this user's and its
  // hashes were compared, now or before.  Else they are copied.
  bool mapping = true;
  // Whether pages that are mapped, and that the file says are hot, are asked of the system at once: else each
  // is read from the disk when it is first used.
  bool prefetch = true;
  bool parallel = true;  // on several threads
  Progress progress;
};

// Reads a snapshot, of version 1 or 2.  Its pages are copied into sealed memory, and hashed there: nobody can
// change them later.  Nothing of it is run.
// kNotFound, kIo; kInvalidArgument: no regular file, or a delta; kLimitExceeded: one of the options, or no
// memory is left; kUnsupported: made by a newer Spore, or something that this build does not know;
// kCorruption: says where and what; kUnavailable: it is derived from an image that ReadOptions::base is not,
// or its module is neither in it nor found.  All carry an ErrorInfo.
Result<Contents> read(const std::filesystem::path& path, const ReadOptions& options = {});
// The same from a regular file that is open; where it is read from next may change.
Result<Contents> read(int fd, const ReadOptions& options = {});

// Whether a file of these first bytes means to be a snapshot, of any version.
bool has_snapshot_magic(std::span<const uint8_t> bytes);

struct DeltaFile;

// What a snapshot holds, without its pages and its source.  Their hashes are not looked at.
struct Description {
  struct Section {
    std::string name;
    std::string codec;
    uint64_t offset = 0;
    uint64_t bytes = 0;      // as they are stored
    uint64_t raw_bytes = 0;  // decompressed
  };
  struct Memory {
    uint64_t bytes = 0;
    uint64_t raw_bytes = 0;   // the rest are zeros,
    uint64_t base_bytes = 0;  // or the base's
  };

  uint32_t version = 0;
  std::string kind;  // "base", "derived", "delta"
  Form form = Form::kWire;
  Digest id;
  std::optional<Digest> base;  // of a derived image
  uint64_t file_bytes = 0;
  std::shared_ptr<const DeltaFile> delta;  // of a delta, without its bytes; then what follows is empty
  Manifest manifest;
  std::vector<Section> sections;
  std::vector<Memory> memories;
  std::vector<uint64_t> tables;  // their elements
  uint64_t globals = 0;          // with the flags of segments
  uint64_t prepared_bytes = 0;
  bool has_frames = false;
  std::optional<code::Profile> profile;
  std::shared_ptr<const ExportIndex> exports;  // null: the file has no such section
  Presets presets;
  uint64_t hot_pages = 0;

  // For people, in lines.
  std::string text() const;
  // An object.
  void write_json(JsonWriter& json) const;
};
// What read() says.
Result<Description> describe(const std::filesystem::path& path, const ReadOptions& options = {});

}  // namespace spore::snapshot
