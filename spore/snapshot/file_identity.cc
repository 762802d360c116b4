#include "spore/snapshot/file_identity.h"

#include <sys/stat.h>
#include <time.h>

#include <cerrno>

namespace spore::snapshot {
namespace {

constexpr int64_t kNsInSecond = 1'000'000'000;
constexpr int64_t kSettledNs = 20'000'000;

int64_t ns_of(const timespec& time) { return time.tv_sec * kNsInSecond + time.tv_nsec; }

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
  return ns_of(now) - changed_ns > kSettledNs;
}

}  // namespace spore::snapshot
