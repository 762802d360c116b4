#pragma once

// Snapshots of a process: written, read once for all who want them at a time, kept in memory, and, where one
// cannot be read, what is to be had instead.

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/fork.h"
#include "spore/base/json.h"
#include "spore/base/log.h"
#include "spore/base/metrics.h"
#include "spore/base/mutex.h"
#include "spore/base/status.h"
#include "spore/snapshot/delta_file.h"
#include "spore/snapshot/image_cache.h"
#include "spore/snapshot/proofs.h"
#include "spore/snapshot/reader.h"
#include "spore/snapshot/writer.h"

namespace spore::snapshot {

struct ManagerOptions {
  ImageCacheOptions cache;
  ReadOptions read;  // its `base` is not used, and with `proofs` neither are `proved` and `verified`
  WriteOptions write;
  std::shared_ptr<const Proofs> proofs;  // null: none are kept
  Log log;                               // a line for each step of load() that did not succeed
};

// What load() tries, one after the other.
enum class LoadStep : uint8_t {
  kDelta,      // the image, and the chain of deltas on it
  kBase,       // the image alone: the cell is as when it was frozen
  kColdStart,  // what the caller can make anew
};
inline constexpr size_t kLoadSteps = 3;
std::string_view load_step_name(LoadStep step);  // "delta", "base", "cold_start"

struct LoadRequest {
  std::filesystem::path image;
  std::filesystem::path base{};                 // that a derived image stands on; empty: where the image says
  std::vector<std::filesystem::path> deltas{};  // a chain, in order; may be empty
  // What else must hold for the deltas: whether their bytes are a state of this image.  Null: nothing.
  std::function<Status(const Contents& image, std::span<const DeltaFile> deltas)> check_deltas{};
  // Makes the image anew, if it cannot be read.  Null: that is an error.
  std::function<Result<Contents>()> cold_start{};
};

struct Loaded {
  LoadStep step{};  // that succeeded
  std::shared_ptr<const Contents> contents;
  std::vector<DeltaFile> deltas;  // of kDelta
  struct Failure {
    LoadStep step;
    Status cause;
  };
  std::vector<Failure> failed;  // the steps before it, in order
  LoadStatistics statistics;    // of the image
};

// What happened, in numbers that only grow.
struct ManagerCounts {
  uint64_t created = 0;  // files written
  uint64_t created_bytes = 0;
  uint64_t create_ns = 0;
  uint64_t create_failures = 0;
  uint64_t loads = 0;  // of images: asked for
  uint64_t hits = 0;   // found in memory
  uint64_t waits = 0;  // for somebody else who was reading the same
  uint64_t reads = 0;  // read from a file
  uint64_t read_failures = 0;
  uint64_t mapped = 0;   // of reads
  uint64_t read_ns = 0;  // of reads that succeeded, as all of these
  uint64_t decompress_ns = 0;
  uint64_t validate_ns = 0;
  uint64_t map_ns = 0;
  uint64_t initialise_ns = 0;
  uint64_t stored_bytes = 0;
  uint64_t raw_bytes = 0;
  uint64_t delta_reads = 0;
  uint64_t verified = 0;
  uint64_t verify_failures = 0;
  struct Step {
    uint64_t succeeded = 0;
    uint64_t failed = 0;
  };
  std::array<Step, kLoadSteps> steps{};  // of load()
};

struct ManagerStatistics {
  ManagerCounts counts;
  ImageCache::Counts cache;
  std::vector<ImageCache::Held> images;  // that are kept
  uint64_t bytes = 0;                    // of these
  uint64_t bytes_max = 0;
  std::string_view eviction;

  // An object.
  void write_json(JsonWriter& json) const;
  // The families of "spore_snapshot_...".
  void write_metrics(MetricsWriter& metrics) const;
};

// Thread-safe.  All failures carry an ErrorInfo, but those that the caller's functions give.
//
// No file is read, written or mapped, and nothing destroyed, under its lock.  A forked child has the images,
// and reads anew what another thread of its parent was reading.
class SnapshotManager final : private ForkAware {
 public:
  explicit SnapshotManager(ManagerOptions options = {});
  ~SnapshotManager();
  SnapshotManager(const SnapshotManager&) = delete;
  SnapshotManager& operator=(const SnapshotManager&) = delete;

  // Writes a file; what write() and write_delta() say.  Who makes an image need not prove it.
  Result<Digest> create(const Contents& contents, const std::filesystem::path& path);
  Result<DeltaFile> create(DeltaFile delta, const std::filesystem::path& path);

  // The best of an image that is to be had, step by step (LoadStep).  What the last step says: of the image
  // what read() says, or what cold_start gave.  The contents are shared, and kept for the next who asks; as
  // long as the file is as it was then, and somebody holds them, or there is room, nothing is read again.
  Result<Loaded> load(const LoadRequest& request) SPORE_EXCLUDES(mutex_);
  // An image alone.
  Result<std::shared_ptr<const Contents>> load_image(const std::filesystem::path& image,
                                                     const std::filesystem::path& base = {}) {
    return image_of(image, base, nullptr);
  }

  // Reads a file as if nothing were known of it: all hashes, the module proved, an image or a delta.  What
  // read() says.
  struct Verified {
    Digest id;
    bool is_delta = false;
    LoadStatistics statistics;  // of an image
  };
  Result<Verified> verify(const std::filesystem::path& path, const std::filesystem::path& base = {});

  // Lets go of all images; those who hold one keep it.
  void clear() SPORE_EXCLUDES(mutex_);
  // Lets go of what is too old; each load does.
  void trim() SPORE_EXCLUDES(mutex_);
  ManagerStatistics statistics() const SPORE_EXCLUDES(mutex_);

 private:
  struct Flight;
  struct Work;
  class Landing;
  using Image = std::shared_ptr<const Contents>;

  // `told`: what it took; may be null.
  Result<Image> image_of(const std::filesystem::path& path, const std::filesystem::path& base,
                         LoadStatistics* told) SPORE_EXCLUDES(mutex_);
  Result<Image> read_image(int fd, const std::filesystem::path& path, const std::filesystem::path& base);
  // Of a derived image, from where the caller or the image says; null: it stands on none.
  Result<Image> base_of(int fd, const std::filesystem::path& path, const std::filesystem::path& base);
  Result<std::vector<DeltaFile>> deltas_of(const LoadRequest& request, const Contents& image);
  Result<Loaded> start_cold(const LoadRequest& request, Loaded loaded, Status cause);
  ReadOptions options_for(const Contents* base) const;
  void count_step(Loaded& loaded, LoadStep step, Status cause) SPORE_EXCLUDES(mutex_);
  Work& now() SPORE_REQUIRES(mutex_);
  Result<Image> wait_for(const Flight& flight);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex_.unlock(); }
  void repair_in_child() override;

  const ManagerOptions options_;
  mutable Mutex mutex_;
  ImageCache cache_ SPORE_GUARDED_BY(mutex_);
  std::unique_ptr<Work> work_ SPORE_GUARDED_BY(mutex_);
  ManagerCounts counts_ SPORE_GUARDED_BY(mutex_);
  const ForkRegistration registration_{*this};
};

}  // namespace spore::snapshot
