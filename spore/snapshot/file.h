#pragma once

// An open snapshot file, whose superblock and hashes belong together.  Internal to snapshot/.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "spore/base/elapsed.h"
#include "spore/base/frames.h"
#include "spore/base/status.h"
#include "spore/snapshot/file_identity.h"
#include "spore/snapshot/progress.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/statistics.h"
#include "spore/snapshot/superblock.h"

namespace spore::snapshot {

// What reading takes, by its parts.  Thread-safe: numbers, and no more.
struct LoadTimes {
  std::atomic<uint64_t> decompress_ns{0};
  std::atomic<uint64_t> validate_ns{0};
  std::atomic<uint64_t> map_ns{0};
  std::atomic<uint64_t> initialise_ns{0};
};
class Timed {
 public:
  explicit Timed(std::atomic<uint64_t>& ns) : ns_(ns) {}
  ~Timed() { ns_.fetch_add(ns_since(begin_), std::memory_order_relaxed); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  std::atomic<uint64_t>& ns_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// One file that is being read.  Thread-safe from open() on.
class SnapshotFile {
 public:
  // `options` outlives it.  Nothing of the file is looked at but superblock and HASHES.
  static Result<std::unique_ptr<SnapshotFile>> open(int fd, const ReadOptions& options);
  SnapshotFile(const SnapshotFile&) = delete;
  SnapshotFile& operator=(const SnapshotFile&) = delete;

  int fd() const { return fd_; }
  const Superblock& superblock() const { return superblock_; }
  const ReadOptions& options() const { return options_; }
  ProgressMeter& meter() const { return meter_; }
  LoadTimes& times() const { return times_; }

  // The hashes of its pages and its source were compared before, while it was this file: they need not be
  // again.
  bool is_known() const { return known_; }
  // By which it can be told again; nothing: a change might not be seen.
  const std::optional<FileIdentity>& identity() const { return identity_; }
  // It belongs to this user or to root, and nobody else can write to it.
  bool is_ours() const { return ours_; }
  // kCorruption: somebody wrote to it since it was opened.
  Status check_unchanged() const;

  // Reads piece `number` of what is stored of a section into `bytes`, which has its length.
  Status read_piece(const Extent& extent, uint64_t number, std::span<uint8_t> bytes, bool compare) const;
  // The same of a piece of zeros, which is not read.
  Status take_zeros(const Extent& extent, uint64_t number, size_t bytes) const;
  // What is stored of a section.
  Result<std::vector<uint8_t>> read_stored(const Extent& extent, bool compare) const;
  // A section as it was before it was compressed; empty: there is none.  Hashes are compared; those of what
  // is raw, only if `compare`.
  Result<std::vector<uint8_t>> read(Section section, bool compare = true) const;

  // `stored`: of read_stored(), of a section that is compressed.
  static Result<FrameTable> frame_table(const Extent& extent, std::span<const uint8_t> stored);
  // Fills `to`, which has the frame's length.
  Status decode_frame(const Extent& extent, std::span<const uint8_t> stored, const FrameTable& table,
                      uint64_t number, FrameDecoder& decoder, std::span<uint8_t> to) const;

 private:
  SnapshotFile(int fd, const ReadOptions& options, Superblock superblock, std::vector<uint8_t> hashes);

  Status check_hashes() const;
  Status check_gap() const;
  Status compare_piece(const Extent& extent, uint64_t number, const Digest& found, size_t bytes) const;

  const int fd_;
  const ReadOptions& options_;
  const Superblock superblock_;
  const std::vector<uint8_t> hashes_;
  mutable ProgressMeter meter_;
  mutable LoadTimes times_;
  bool known_ = false;
  bool ours_ = false;
  std::optional<FileIdentity> identity_;
};

}  // namespace spore::snapshot
