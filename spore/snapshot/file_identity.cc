#include "spore/snapshot/file_identity.h"

#include <sys/stat.h>
#include <time.h>

#include <cerrno>

namespace spore::snapshot {
namespace {

constexpr int64_t kNsInSecond = 1'000'000'000;
constexpr int64_t kSettledNs = 20'000'000;

// Times are what users of a file set: of far years they wrap around, and are still told apart.
int64_t ns_of(const timespec& time) {
  const auto seconds = static_cast<uint64_t>(time.tv_sec);
  return static_cast<int64_t>(seconds * uint64_t{kNsInSecond} + static_cast<uint64_t>(time.tv_nsec));
}

}  // namespace

Result<FileIdentity> FileIdentity::of(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return Status::from_errno(errno, "stat");
  return FileIdentity{.device = info.st_dev,
                      .inode = info.st_ino,
                      .bytes = static_cast<uint64_t>(info.st_size),
                      .modified_ns = ns_of(info.st_mtim),
                      .changed_ns = ns_of(info.st_ctim)};
}

bool FileIdentity::is_settled() const {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto since = static_cast<uint64_t>(ns_of(now)) - static_cast<uint64_t>(changed_ns);
  return static_cast<int64_t>(since) > kSettledNs;
}

}  // namespace spore::snapshot
