#include "apps/spore/requests.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace spore::cli {

Result<std::optional<std::string>> RequestReader::line() {
  for (;;) {
    const size_t end = buffer_.find('\n', searched_);
    if (end != std::string::npos) return take(end, 1);
    searched_ = buffer_.size();
    const bool more = SPORE_TRY(fill());
    if (!more) return buffer_.empty() ? std::optional<std::string>() : take(buffer_.size(), 0);
  }
}

Result<std::optional<std::string>> RequestReader::message() {
  uint32_t length = 0;
  const size_t head = SPORE_TRY(fill_to(sizeof length));
  if (head == 0) return std::optional<std::string>();
  if (head == sizeof length) {
    std::memcpy(&length, buffer_.data(), sizeof length);
    buffer_.erase(0, sizeof length);
    const size_t bytes = SPORE_TRY(fill_to(length));
    if (bytes == length) return take(length, 0);
  }
  return Status::corruption("{} ends in the middle of a request", name_);
}

Result<std::string> RequestReader::rest() {
  while (SPORE_TRY(fill())) {
  }
  return std::move(buffer_);
}

std::optional<std::string> RequestReader::take(size_t bytes, size_t end) {
  std::string taken = buffer_.substr(0, bytes);
  buffer_.erase(0, bytes + end);
  searched_ = 0;
  return taken;
}

Result<size_t> RequestReader::fill_to(size_t bytes) {
  while (buffer_.size() < bytes) {
    const bool more = SPORE_TRY(fill());
    if (!more) break;
  }
  return std::min(buffer_.size(), bytes);
}

Result<bool> RequestReader::fill() {
  constexpr size_t kReadBytes = 64 * 1024;
  const size_t had = buffer_.size();
  buffer_.resize(had + kReadBytes);
  ssize_t n = 0;
  do {
    n = ::read(fd_, buffer_.data() + had, kReadBytes);
  } while (n < 0 && errno == EINTR);
  buffer_.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
  if (n < 0) return Status::from_errno(errno, name_);
  return n > 0;
}

}  // namespace spore::cli
