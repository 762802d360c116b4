#pragma once

// The directory that holds cached code: files by key, and what is known of their use.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/hash.h"
#include "spore/base/mac.h"
#include "spore/base/status.h"
#include "spore/code/cache_file.h"
#include "spore/code/eviction.h"

namespace spore::code {

// One file of the cache, as its header tells it: only check() knows whether that is true.
struct CacheEntry {
  Digest key;
  uint64_t bytes = 0;
  Usage usage;
  Status status;  // why there is no header
  std::optional<CacheHeader> header;
};

struct PruneLimits {
  uint64_t bytes_max = 0;  // 0: no limit
  Eviction eviction = Eviction::kAdaptive;
  double unused_s_max = 0;  // not used for longer: gone.  0: no limit
  double age_s_max = 0;     // stored longer ago: gone.  0: no limit
  std::optional<Digest> keep;
};
struct Pruned {
  uint64_t files = 0;
  uint64_t bytes = 0;
};

// An flock on a file, held until destruction.  One description, one holder: threads exclude each other, too.
class FileLock {
 public:
  FileLock(FileLock&&) = default;
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  friend class CacheDirectory;
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// Immutable once it is open; the files in it are shared by threads and processes.  All names are looked up in
// the directory that was opened, wherever its path leads later; no symlink in it is followed.  Beside the
// files of code, KEY.code, stand KEY.uses (how often they were used), KEY.flight (locks of those who
// compile), `lock` and temporary files.  What has other names is left alone.
class CacheDirectory {
 public:
  // With `create`, what is missing of the path is made, 0700.  kNotFound; kInvalidArgument: it is a symlink
  // or no directory, or others own it or can write to it; kIo.
  static Result<CacheDirectory> open(const std::filesystem::path& path, bool create);

  // False if nothing can be stored in it: by its mode, also for root, or as the file system is read-only.
  bool writable() const { return writable_; }

  struct File {
    UniqueFd fd;
    uint64_t bytes = 0;
    double last_use_s = 0;
  };
  // kNotFound.  Faults: kForeign, kRead.
  Result<File> open_file(const Digest& key) const;
  // kNotFound; other faults: all of open_file(), decode_cache_header() and kMisnamed.
  Result<CacheHeader> read_header(const File& file, const Digest& key) const;

  // A new file gets its name when it is whole.  Faults: those of write_cache_file(), kBusy: no.
  Status write_file(const CacheHeader& header, const CachePayload& payload, const MacKey& mac_key) const;
  // Removes the file if it is a regular one of this user and still the one that `fd` is (-1: whichever).
  bool remove_file(const Digest& key, int fd) const;

  // Counts a use, if that can be written.  Two at once may count as one.
  void note_use(const Digest& key, const File& file) const;

  // Waits up to `wait`.  Faults: kBusy, kDirectory, kWrite.
  Result<FileLock> lock(std::chrono::milliseconds wait) const;

  // In no order.  kIo.
  Result<std::vector<CacheEntry>> entries() const;
  struct Size {
    uint64_t files = 0;
    uint64_t bytes = 0;
  };
  Size size() const;  // zeros if it cannot be read
  // Whether it is as it was written with this key.  Faults: those of read_header() and check_cache_file().
  Status check(const Digest& key, const MacKey& mac_key) const;

  // Under lock(): removes what is too old, then by policy until the rest fits.  kIo.
  Result<Pruned> prune(const PruneLimits& limits) const;
  // Under lock(): removes what writers and compilers that died have left, and counts of uses of files that
  // are gone.
  void remove_stale() const;

  int fd() const { return fd_.get(); }

 private:
  CacheDirectory(UniqueFd fd, bool writable) : fd_(std::move(fd)), writable_(writable) {}
  Usage usage_of(const Digest& key, double last_s) const;

  UniqueFd fd_;
  bool writable_;
};

// Opens or makes `name` in `directory` and locks it, waiting up to `wait` or until `stop` says so.  The file
// stays. Faults: kBusy, kDirectory, kWrite.
Result<UniqueFd> lock_file(int directory, const std::string& name, std::chrono::milliseconds wait,
                           const std::function<bool()>& stop = {});
// Its counterpart for locks that leave nothing behind: removes the file first.
void unlock_and_remove(int directory, const std::string& name, UniqueFd fd);

std::string code_file_name(const Digest& key);
std::string flight_file_name(const Digest& key);
// Seconds since 1970.
double now_s();

}  // namespace spore::code
