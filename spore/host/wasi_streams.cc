#include "spore/host/wasi_streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <string>
#include <thread>
#include <utility>

#include "spore/host/wasi_files.h"

namespace spore::host {
namespace {

using wasi::Errno;
using wasi::FileType;

enum class Kind : uint8_t { kFile, kTerminal, kOther };

Kind kind_of(int fd) {
  if (::isatty(fd) == 1) return Kind::kTerminal;
  struct stat stat{};
  return ::fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) ? Kind::kFile : Kind::kOther;
}

// Only a terminal is a character device to a guest: programs take that for one, and /dev/null is none.
FileType type_of(Kind kind) {
  return kind == Kind::kTerminal ? FileType::kCharacterDevice : FileType::kUnknown;
}

// A description of our own for a pipe or a terminal: it does not block, and whoever shares `fd` with us does
// not notice.  (O_NONBLOCK belongs to the description, not to the descriptor.)  Empty where that cannot be.
UniqueFd reopen_nonblocking(int fd, int mode) {
  struct stat stat{};
  if (::fstat(fd, &stat) != 0 || (!S_ISFIFO(stat.st_mode) && ::isatty(fd) != 1)) return UniqueFd();
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  return UniqueFd(::open(path.c_str(), mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

// A descriptor of the host's that a guest's standard stream goes through.
struct HostStream {
  HostStream(int given, int mode)
      : own(reopen_nonblocking(given, mode)), fd(own.valid() ? own.get() : given), kind(kind_of(given)) {}

  UniqueFd own;
  int fd;
  Kind kind;
};

bool poll_one(int fd, short events, uint64_t at_most_ms) {
  pollfd waiting{fd, events, 0};
  return ::poll(&waiting, 1, static_cast<int>(std::min<uint64_t>(at_most_ms, INT_MAX))) > 0;
}

class FunctionInput final : public Input {
 public:
  explicit FunctionInput(std::function<Read(std::span<std::byte>)> read) : read_(std::move(read)) {}

  Read read(std::span<std::byte> into) override {
    if (ahead_.outcome == Outcome::kWait) return read_(into);
    const Read read{ahead_.outcome, std::min(ahead_.bytes - given_, into.size())};
    std::copy_n(buffer_.begin() + static_cast<ptrdiff_t>(given_), read.bytes, into.begin());
    given_ += read.bytes;
    if (given_ == ahead_.bytes) ahead_ = {Outcome::kWait};
    return read;
  }

  // Whether there is something is found out by reading it: ahead, a little.
  bool wait(uint64_t at_most_ms) override {
    if (look_ahead() || at_most_ms == 0) return ahead_.outcome != Outcome::kWait;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return look_ahead();
  }

 private:
  bool look_ahead() {
    if (ahead_.outcome == Outcome::kWait) {
      given_ = 0;
      ahead_ = read_(buffer_);
      SPORE_ASSERT(ahead_.bytes <= buffer_.size(), "an Input gave more than there is room for");
    }
    return ahead_.outcome != Outcome::kWait;
  }

  std::function<Read(std::span<std::byte>)> read_;
  std::array<std::byte, 256> buffer_{};
  Read ahead_{Outcome::kWait};  // what look_ahead() got, and nobody has had yet
  size_t given_ = 0;            // how much of it
};

class FdInput final : public Input {
 public:
  explicit FdInput(int fd) : stream_(fd, O_RDONLY) {}

  Read read(std::span<std::byte> into) override {
    if (stream_.kind != Kind::kFile && !wait(0)) return {Outcome::kWait};
    const ssize_t n = ::read(stream_.fd, into.data(), into.size());
    if (n > 0) return {Outcome::kData, static_cast<size_t>(n)};
    if (n == 0) return {Outcome::kEnd};
    return {errno == EAGAIN || errno == EINTR ? Outcome::kWait : Outcome::kFailed};
  }
  bool wait(uint64_t at_most_ms) override { return poll_one(stream_.fd, POLLIN, at_most_ms); }
  FileType type() const override { return type_of(stream_.kind); }

 private:
  HostStream stream_;
};

class FunctionOutput final : public Output {
 public:
  explicit FunctionOutput(std::function<void(std::span<const std::byte>)> write) : write_(std::move(write)) {}

  Errno write(std::span<const std::byte> bytes, size_t& taken) override {
    write_(bytes);
    taken = bytes.size();
    return Errno::kSuccess;
  }
  bool wait(uint64_t /*at_most_ms*/) override { return true; }

 private:
  std::function<void(std::span<const std::byte>)> write_;
};

class FdOutput final : public Output {
 public:
  explicit FdOutput(int fd) : stream_(fd, O_WRONLY) {}

  Errno write(std::span<const std::byte> bytes, size_t& taken) override {
    taken = 0;
    if (stream_.kind != Kind::kFile && !stream_.own.valid()) {
      // What is writable takes something at once; more might block beyond the deadline.
      if (!wait(0)) return Errno::kSuccess;
      constexpr size_t kTerminalBytes = 1;
      const size_t sure = stream_.kind == Kind::kTerminal ? kTerminalBytes : PIPE_BUF;
      bytes = bytes.first(std::min(bytes.size(), sure));
    }
    const ssize_t n = ::write(stream_.fd, bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR ? Errno::kSuccess : wasi::to_errno(errno);
    taken = static_cast<size_t>(n);
    return Errno::kSuccess;
  }
  bool wait(uint64_t at_most_ms) override { return poll_one(stream_.fd, POLLOUT, at_most_ms); }
  FileType type() const override { return type_of(stream_.kind); }

 private:
  HostStream stream_;
};

}  // namespace

std::shared_ptr<Input> make_input(std::function<Input::Read(std::span<std::byte>)> read) {
  return std::make_shared<FunctionInput>(std::move(read));
}
std::shared_ptr<Input> make_fd_input(int fd) { return std::make_shared<FdInput>(fd); }
std::shared_ptr<Output> make_output(std::function<void(std::span<const std::byte>)> write) {
  return std::make_shared<FunctionOutput>(std::move(write));
}
std::shared_ptr<Output> make_fd_output(int fd) { return std::make_shared<FdOutput>(fd); }

}  // namespace spore::host
