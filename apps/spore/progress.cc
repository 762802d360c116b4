#include "apps/spore/progress.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>

namespace spore::cli {

using std::chrono::milliseconds;

Progress::Progress(std::string phase) : phase_(std::move(phase)) {
  if (isatty(STDERR_FILENO) == 1) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Progress::~Progress() = default;  // the jthread stops and joins

void Progress::run(const std::stop_token& stop) {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  const auto stopped = [&](milliseconds wait) {
    return wake_.wait_for(lock, stop, wait, [&] { return stop.stop_requested(); });
  };
  if (stopped(milliseconds(500))) return;
  do {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    std::fprintf(stderr, "\r\033[K%s, %.1f s", phase_.c_str(), elapsed.count());
    std::fflush(stderr);
  } while (!stopped(milliseconds(100)));
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
}

}  // namespace spore::cli
