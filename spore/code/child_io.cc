#include "spore/code/child_io.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace spore::code {

Result<Pipe> Pipe::make(WhenFull when_full) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) return Status::from_errno(errno, "pipe2");
  Pipe pipe{.read = UniqueFd(ends[0]), .write = UniqueFd(ends[1])};
  if (when_full == WhenFull::kWait && ::fcntl(pipe.write.get(), F_SETFL, 0) != 0) {
    return Status::from_errno(errno, "a pipe that waits");
  }
  return pipe;
}

Status write_all(int fd, std::span<const uint8_t> bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Status::from_errno(errno, what);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

bool read_some(int fd, size_t bytes_max, std::vector<uint8_t>& to) {
  std::array<uint8_t, 4096> buffer;
  while (to.size() <= bytes_max) {
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return false;
    to.insert(to.end(), buffer.begin(), buffer.begin() + n);
  }
  return true;
}

bool out_of_memory(std::string_view words) {
  const std::array<std::string_view, 4> signs{"memory allocation of", "bad_alloc", "Cannot allocate memory",
                                              "os error 12"};
  return std::ranges::any_of(
      signs, [&](std::string_view sign) { return words.find(sign) != std::string_view::npos; });
}

Result<StopEvent> StopEvent::make() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) return Status::from_errno(errno, "eventfd");
  return StopEvent(std::move(fd));
}

void StopEvent::raise() const {
  const uint64_t one = 1;
  static_cast<void>(!::write(fd_.get(), &one, sizeof one));  // full: raised already
}

}  // namespace spore::code
