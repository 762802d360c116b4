#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "spore/base/status.h"

namespace spore::cli {

// Requests out of a file that is open, as they come.
class RequestReader {
 public:
  // `name`: of the file, for messages.
  RequestReader(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  // A line without its end; nothing at the end.  kIo.
  Result<std::optional<std::string>> line();
  // What a length announces.  kCorruption: the input ends before that.
  Result<std::optional<std::string>> message();
  Result<std::string> rest();

 private:
  std::optional<std::string> take(size_t bytes, size_t end);
  Result<size_t> fill_to(size_t bytes);
  Result<bool> fill();

  int fd_;
  std::string name_;
  std::string buffer_;
  size_t searched_ = 0;  // bytes of it that are known to hold no end of line
};

}  // namespace spore::cli
