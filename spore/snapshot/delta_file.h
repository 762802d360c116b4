#pragma once

// Deltas as files: what a cell differs by from its image, or from the state before.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/base/status.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/writer.h"

namespace spore::snapshot {

// More are folded by whoever adds to a chain.
inline constexpr size_t kChainLinksMax = 7;

struct DeltaFile {
  static constexpr size_t kCellBytesMax = 1024;

  Digest id;                   // of the file: set when it is read, or written
  std::string cell;            // which cell it is of; UTF-8
  std::string domain;          // the trust domain
  uint64_t sequence = 0;       // above base_sequence
  uint64_t base_sequence = 0;  // of the state that the image holds
  Digest parent;               // the file that it follows: a delta, or the image
  Digest base;                 // the image
  Digest module;               // that was prepared
  uint64_t memory_bytes = 0;   // of all memories of the cell
  uint64_t created_s = 0;      // since 1970
  uint64_t dirty_pages = 0;
  std::vector<uint8_t> delta;  // cell::encode_delta's, which nothing is known of here
  Digest state;                // their SHA-256: set when it is read, or written
  uint64_t packed_bytes = 0;   // of `delta` in the file: likewise

  uint64_t raw_bytes() const { return delta.size(); }
  // How many times smaller it is in the file.
  double ratio() const {
    return packed_bytes == 0 ? 1 : static_cast<double>(raw_bytes()) / static_cast<double>(packed_bytes);
  }
};

// Writes a delta in the place of `path`, whole or not at all, readable by its owner alone.  Gives it with
// what writing it has set.  kInvalidArgument: no delta, no cell, a sequence that is not above that of its
// base; kNotFound: no such folder; kIo.
Result<DeltaFile> write_delta(DeltaFile delta, const std::filesystem::path& path,
                              const WriteOptions& options = {});
// What read() says; kInvalidArgument: it is an image.
Result<DeltaFile> read_delta(const std::filesystem::path& path, const ReadOptions& options = {});
Result<DeltaFile> read_delta(int fd, const ReadOptions& options = {});

// Ok if the deltas lead on from the image `base`, one after the other.  kCorruption says which link does not,
// what was expected and what was found: another base, cell, module or trust domain; a gap in the sequence; a
// fork, that is two of one sequence; another parent.  kLimitExceeded: more than kChainLinksMax.
Status check_chain(const Digest& base, std::span<const DeltaFile> links);

}  // namespace spore::snapshot
