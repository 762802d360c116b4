#include "spore/engine/ticker.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include <wasmtime.h>

#include "spore/base/signal_block.h"

namespace spore::engine {

using SteadyClock = std::chrono::steady_clock;

Ticker::~Ticker() {
  std::unique_ptr<Worker> worker;
  {
    const MutexLock lock(mutex_);
    worker = std::move(worker_);
    if (worker != nullptr) worker->stop = true;
  }
  if (worker != nullptr) {
    worker->wake.notify_one();
    worker->thread.join();
  }
}

void Ticker::add(wasm_engine_t* engine) {
  const MutexLock lock(mutex_);
  engines_.push_back(engine);
}

void Ticker::remove(wasm_engine_t* engine) {
  const MutexLock lock(mutex_);
  std::erase(engines_, engine);
}

Status Ticker::touch() {
  touched_.store(ticks_.load());
  if (!parked_.load()) return {};
  return wake();
}

Status Ticker::wake() {
  const MutexLock lock(mutex_);
  if (!parked_.load()) {
    touched_.store(ticks_.load());
    return {};
  }
  catch_up();
  touched_.store(ticks_.load());
  if (worker_ == nullptr) {
    const SignalBlock none;  // of the host's is to be handled on our thread
    try {
      worker_ = std::make_unique<Worker>();
      Worker& worker = *worker_;
      worker.thread = std::jthread([this, &worker] { run(worker); });
    } catch (const std::system_error& error) {
      worker_.reset();
      return Status::unavailable("the thread that measures deadlines cannot start: {}", error.what());
    }
  }
  parked_.store(false);
  worker_->wake.notify_one();
  return {};
}

void Ticker::catch_up() {
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - counted_to_);
  counted_to_ += elapsed;
  ticks_.fetch_add(static_cast<uint64_t>(elapsed.count()));
}

void Ticker::raise_epochs() {
  for (wasm_engine_t* engine : engines_) wasmtime_engine_increment_epoch(engine);
}

void Ticker::repair_in_child() {
  [[maybe_unused]] const Worker* abandoned = worker_.release();
  parked_.store(true);
  raise_epochs();
}

// The condition variable takes the mutex by itself, which the analysis cannot follow.
void Ticker::run(Worker& worker) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  std::unique_lock<std::mutex> lock(mutex_.native());
  while (!worker.stop) {
    worker.wake.wait_for(lock, std::chrono::milliseconds(1), [&] { return worker.stop; });
    if (worker.stop) return;
    catch_up();
    raise_epochs();
    if (ticks_.load() - touched_.load() <= kIdleTicks) continue;

    parked_.store(true);
    if (ticks_.load() - touched_.load() <= kIdleTicks) {
      parked_.store(false);
      continue;
    }
    raise_epochs();
    worker.wake.wait(lock, [&] { return worker.stop || !parked_.load(); });
  }
}

}  // namespace spore::engine
