#include "spore/base/memfd.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

namespace spore {
namespace {

constexpr unsigned kNoExecSeal = 8;  // MFD_NOEXEC_SEAL, since 6.3

}  // namespace

Result<UniqueFd> make_memfd(const char* name) {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = ::memfd_create(name, kFlags | kNoExecSeal);
  if (fd < 0 && errno == EINVAL) fd = ::memfd_create(name, kFlags);
  if (fd < 0) return Status::from_errno(errno, "memfd_create");
  return UniqueFd(fd);
}

Status seal(int memfd) {
  if (::fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) return {};
  return Status::from_errno(errno, "sealing a file in memory");
}

}  // namespace spore
