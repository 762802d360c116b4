#include "spore/engine/ticker.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <system_error>

#include <wasmtime.h>

namespace spore::engine {

using SteadyClock = std::chrono::steady_clock;

// All living tickers, for fork.  The handlers stay registered for the life of the process.
struct ForkHandlers {
  static ForkHandlers& get() {
    static ForkHandlers* const handlers = new ForkHandlers;  // never destroyed: a fork may come at exit
    return *handlers;
  }

  ForkHandlers() { pthread_atfork(&prepare, &parent, &child); }

  // Locks are taken in the order: list, then tickers in list order.  No other code holds two of them.
  static void prepare() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    get().mutex.lock();
    for (Ticker* ticker : get().tickers) ticker->mutex_.lock();
  }
  static void parent() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    for (Ticker* ticker : get().tickers) ticker->mutex_.unlock();
    get().mutex.unlock();
  }
  // Only what is safe after fork in a process that had threads: no allocation, no thread.
  static void child() SPORE_NO_THREAD_SAFETY_ANALYSIS {
    for (Ticker* ticker : get().tickers) {
      [[maybe_unused]] const Ticker::Worker* abandoned = ticker->worker_.release();
      ticker->parked_.store(true);
      ticker->raise_epochs();
    }
    parent();
  }

  Mutex mutex;
  std::vector<Ticker*> tickers SPORE_GUARDED_BY(mutex);
};

Ticker::Ticker() {
  ForkHandlers& handlers = ForkHandlers::get();
  const MutexLock lock(handlers.mutex);
  handlers.tickers.push_back(this);
}

Ticker::~Ticker() {
  {
    ForkHandlers& handlers = ForkHandlers::get();
    const MutexLock lock(handlers.mutex);
    std::erase(handlers.tickers, this);
  }
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
    // No signal of the host's is to be handled on our thread.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      worker_ = std::make_unique<Worker>();
      Worker& worker = *worker_;
      worker.thread = std::jthread([this, &worker] { run(worker); });
    } catch (const std::system_error& error) {
      worker_.reset();
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      return Status::unavailable("the thread that measures deadlines cannot start: {}", error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
