#pragma once

// Images that were read, kept in memory for who asks for them next.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "spore/base/hash.h"
#include "spore/code/eviction.h"
#include "spore/snapshot/contents.h"
#include "spore/snapshot/file_identity.h"

namespace spore::snapshot {

struct ImageCacheOptions {
  uint64_t bytes_max = uint64_t{128} << 20;  // that it keeps; what is mapped from a file is not kept by it
  // Which goes first; kAdaptive: the one that saves least, reading time for each byte, by how often it was
  // asked for.
  code::Eviction eviction = code::Eviction::kAdaptive;
  uint64_t ttl_s = 24 * 3600;  // for kTtl
  // What nobody holds, and nobody asked for since so long, is let go.
  uint64_t max_age_ms = 600'000;
  std::function<uint64_t()> now_ms;  // a clock that does not go back; null: the system's
};

// By id, and by the file that it was read from.  An image that went is found again as long as anybody holds
// it. Not thread-safe: SnapshotManager's lock is over it.
class ImageCache {
 public:
  using Image = std::shared_ptr<const Contents>;

  explicit ImageCache(ImageCacheOptions options) : options_(std::move(options)) {}

  // What was read of this very file; null: nothing, or it is mapped from a file that cannot be read any more.
  // It is counted.
  Image find(const FileIdentity& file);
  // Keeps an image, if it is no larger than there may be.  Gives it, or the same one, if that was there.
  Image add(const Image& image);
  // Lets go of what is too old, and too much.  What went is destroyed by the caller, under no lock.
  std::vector<Image> trim();
  // Lets go of all.
  std::vector<Image> clear();

  struct Held {
    Digest id;
    std::string name;
    uint64_t bytes = 0;
    uint64_t uses = 0;  // times that it was asked for, after the first
    uint64_t idle_ms = 0;
    bool held = false;  // by somebody else, too
  };
  std::vector<Held> images() const;
  uint64_t bytes() const { return bytes_; }
  const ImageCacheOptions& options() const { return options_; }

  struct Counts {
    uint64_t evicted = 0;  // to make room
    uint64_t evicted_bytes = 0;
    uint64_t expired = 0;  // as too old
    uint64_t cleared = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  struct Entry {
    Image kept;                          // null: it was let go
    std::weak_ptr<const Contents> seen;  // as long as anybody holds it
    uint64_t bytes = 0;
    code::Usage usage;
    std::vector<FileIdentity> files;
  };
  using Entries = std::map<Digest, Entry>;

  uint64_t now_ms() const;
  void keep(Entry& entry, const Image& image);
  void let_go(Entry& entry, std::vector<Image>& gone);
  void remember(const Digest& id, Entry& entry, const FileIdentity& file);
  void expire(std::vector<Image>& gone);
  void make_room(std::vector<Image>& gone);
  void forget_dead();

  const ImageCacheOptions options_;
  Entries entries_;
  std::map<FileIdentity, Digest> files_;
  uint64_t bytes_ = 0;  // of what is kept
  Counts counts_;
};

// Memory that an image takes up, without that of the image that it stands on.
uint64_t bytes_held_by(const Contents& contents);

}  // namespace spore::snapshot
