#include "spore/base/process_fd.h"

#include <unistd.h>

#include "spore/base/fork.h"

namespace spore {
namespace {

constexpr uint64_t pack(uint64_t generation, int fd) { return generation << 32 | static_cast<uint32_t>(fd); }
constexpr int fd_of(uint64_t opened) { return static_cast<int>(opened & UINT32_MAX); }

}  // namespace

ProcessFd::~ProcessFd() {
  const uint64_t opened = opened_.load();
  if (opened != 0) ::close(fd_of(opened));
}

Result<int> ProcessFd::get() const {
  uint64_t opened = opened_.load(std::memory_order_acquire);
  const uint64_t generation = process_generation();
  if (opened >> 32 == generation) [[likely]]
    return fd_of(opened);
  const int fd = SPORE_TRY(open_());
  if (opened_.compare_exchange_strong(opened, pack(generation, fd))) {
    if (opened != 0) ::close(fd_of(opened));  // the parent's
    return fd;
  }
  ::close(fd);  // another thread was quicker
  return fd_of(opened);
}

}  // namespace spore
