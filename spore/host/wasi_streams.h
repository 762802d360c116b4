#pragma once

// Where a guest's standard input comes from and where its output goes.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "spore/base/fd.h"
#include "spore/host/wasi_abi.h"

namespace spore::host {

// Bound to the thread of the call that reads it.
class Input {
 public:
  virtual ~Input() = default;

  enum class Outcome : uint8_t { kData, kEnd, kWait, kFailed };
  struct Read {
    Outcome outcome;
    size_t bytes = 0;  // with kData; at least 1
  };
  // Never blocks: kWait says that there is nothing yet.
  virtual Read read(std::span<std::byte> into) = 0;
  // True as soon as read() has something else to say than kWait; false after about `at_most_ms`, or earlier
  // when a signal came.
  virtual bool wait(uint64_t at_most_ms) = 0;
  virtual wasi::FileType type() const { return wasi::FileType::kUnknown; }
  // True if read() copies on this thread, and has neither the system nor another thread write to guest
  // memory.
  virtual bool copies() const { return false; }
};

// Asks `read` again each millisecond while it says kWait; for poll_oneoff it may be asked ahead of a read.
std::shared_ptr<Input> make_input(std::function<Input::Read(std::span<std::byte>)> read);
// A descriptor of the host, which is not closed.  Made for the command line: a terminal, a pipe, a file.
std::shared_ptr<Input> make_fd_input(int fd);

// Bound to the thread of the call that writes to it.
class Output {
 public:
  virtual ~Output() = default;

  // Takes some bytes: `taken` is 0 when it has no room at this time.  Does not block for long.
  virtual wasi::Errno write(std::span<const std::byte> bytes, size_t& taken) = 0;
  // As Input's.
  virtual bool wait(uint64_t at_most_ms) = 0;
  virtual wasi::FileType type() const { return wasi::FileType::kUnknown; }
};

// Each write of the guest, as it comes.
std::shared_ptr<Output> make_output(std::function<void(std::span<const std::byte>)> write);
// SIGPIPE and SIGXFSZ are the host's affair, as with any write: a server ignores them, and its guests get an
// error.
std::shared_ptr<Output> make_fd_output(int fd);

}  // namespace spore::host
