#pragma once

// What goes between this process and a child of it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"

namespace spore::code {

struct Pipe {
  UniqueFd read;
  UniqueFd write;

  // kLose: neither end blocks, and what is said beyond what is read in time is lost.  kWait: who says it
  // waits.
  enum class WhenFull : uint8_t { kLose, kWait };
  // kIo.
  static Result<Pipe> make(WhenFull when_full);
};

// Before the one that holds it is gone.
inline void close_end(UniqueFd& fd) { const UniqueFd closed = std::move(fd); }

// kIo, with `what` it was about.
Status write_all(int fd, std::span<const uint8_t> bytes, std::string_view what);

// Adds what is there, and little more than `bytes_max` in all.  False: no more will come.
bool read_some(int fd, size_t bytes_max, std::vector<uint8_t>& to);

// Whether a child that ended with these words had no memory left.
bool out_of_memory(std::string_view words);

// Made readable for poll() by a stop_token, through a stop_callback.
class StopEvent {
 public:
  // kIo.
  static Result<StopEvent> make();
  int fd() const { return fd_.get(); }
  void raise() const;

 private:
  explicit StopEvent(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace spore::code
