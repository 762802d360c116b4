#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace spore::cli {

// While it lives, and if standard error is a terminal: after half a second, one line that says what is
// going on and for how long.  No share: a compiler does not tell.
class Progress {
 public:
  explicit Progress(std::string phase);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void run(const std::stop_token& stop);

  std::string phase_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;
};

}  // namespace spore::cli
