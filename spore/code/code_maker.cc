#include "spore/code/code_maker.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "spore/base/assert.h"
#include "spore/base/elapsed.h"
#include "spore/base/fork.h"
#include "spore/base/mutex.h"
#include "spore/wasm/prepare.h"

namespace spore::code {

using engine::CompiledCode;
using engine::Engine;
using Clock = std::chrono::steady_clock;

namespace {

// For another process that compiles the same.
constexpr std::chrono::milliseconds kWaitMax{60'000};
constexpr std::chrono::milliseconds kWaitNowMax{10'000};  // while somebody waits for it here

// What the interpreter makes of a module is there at once, and is nothing that could be kept.
bool is_interpreter(const Engine& engine) { return engine.options().tier == engine::Tier::kInterpreter; }

// What two requests for the same thing must give: the same answer.
Result<Made> copy_of(const Result<Made>& made) {
  if (!made.ok()) return made.status().copy();
  return made.value();
}

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::kMemory: return "this process";
    case Origin::kCache: return "the cache";
    case Origin::kCompiler: return "the compiler";
  }
  return "";
}

// One thing that is being made, or is to be made.
struct CodeMaker::Flight {
  Digest key;
  std::shared_ptr<const Engine> engine;
  OwnedSource source;  // of one that waits in the background
  Digest module;
  bool background = false;
  Clock::time_point asked = Clock::now();
  std::stop_source stop;

  // Under the state's mutex.
  bool running = false;
  std::optional<Result<Made>> made;
  std::vector<Done> done;
};

// Lock order: the mutex is taken alone.  Nothing is compiled, loaded, stored or called under it.
struct CodeMaker::State final : ForkAware {
  explicit State(CodeMakerOptions the_options) : options(std::move(the_options)) {}

  // What threads wait by, and what they have begun.  A forked child abandons it: of both it has only a copy.
  struct Work {
    std::condition_variable changed;  // a flight ended, or there is something to do
    std::map<Digest, std::shared_ptr<Flight>> flights;
    std::deque<std::shared_ptr<Flight>> queue;  // those of them that wait for the background thread
    struct Storing {
      std::shared_ptr<const Engine> engine;
      Digest hash;
      uint32_t preparer = 0;
      Compiled compiled;
      uint64_t compile_ns = 0;
      std::optional<code::Flight> among_processes;  // until it is stored
    };
    std::deque<Storing> to_store;
    std::thread handle;
    bool thread = false;  // it has not come to its end
    bool busy = false;    // with a compile
    bool stop = false;
  };

  Work& now() SPORE_REQUIRES(mutex) {
    if (work_ == nullptr) work_ = std::make_unique<Work>();
    return *work_;
  }
  void start_thread(const std::shared_ptr<State>& self) SPORE_REQUIRES(mutex);
  void finish(const std::shared_ptr<Flight>& flight, Result<Made> made) SPORE_EXCLUDES(mutex);
  std::shared_ptr<const CompiledCode> known_locked(const Digest& key) SPORE_REQUIRES(mutex);

  void lock_for_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex.lock(); }
  void unlock_after_fork() override SPORE_NO_THREAD_SAFETY_ANALYSIS { mutex.unlock(); }
  void repair_in_child() override SPORE_NO_THREAD_SAFETY_ANALYSIS {
    // Other threads' things: they are in nobody's hands any more.
    [[maybe_unused]] const Work* abandoned = work_.release();
  }

  const CodeMakerOptions options;
  mutable Mutex mutex;
  std::unique_ptr<Work> work_ SPORE_GUARDED_BY(mutex);
  std::map<Digest, std::weak_ptr<const CompiledCode>> known SPORE_GUARDED_BY(mutex);
  CodeMakerStatistics counts SPORE_GUARDED_BY(mutex);
  const ForkRegistration registration{*this};
};

std::shared_ptr<const CompiledCode> CodeMaker::State::known_locked(const Digest& key) {
  const auto found = known.find(key);
  if (found == known.end()) return nullptr;
  std::shared_ptr<const CompiledCode> code = found->second.lock();
  if (code == nullptr || !code->usable()) {
    known.erase(found);
    return nullptr;
  }
  return code;
}

CodeMaker::CodeMaker(CodeMakerOptions options) : state_(std::make_shared<State>(std::move(options))) {}

// Waits by a condition variable, which the analysis cannot follow.
CodeMaker::~CodeMaker() SPORE_NO_THREAD_SAFETY_ANALYSIS {
  std::vector<std::shared_ptr<Flight>> dropped;
  {
    std::unique_lock<std::mutex> lock(state_->mutex.native());
    State::Work& work = state_->now();
    work.stop = true;
    for (const auto& [key, flight] : work.flights) flight->stop.request_stop();
    for (std::shared_ptr<Flight>& flight : work.queue) dropped.push_back(std::move(flight));
    work.queue.clear();
    work.changed.notify_all();
  }
  for (const std::shared_ptr<Flight>& flight : dropped) {
    state_->finish(flight, Status::cancelled("nobody makes code any more"));
  }
  // What was compiled is stored; what is being compiled here is not waited for.
  std::thread handle;
  bool outlives = false;
  {
    std::unique_lock<std::mutex> lock(state_->mutex.native());
    State::Work& work = state_->now();
    work.changed.wait(lock, [&] { return !work.thread || work.busy; });
    handle = std::move(work.handle);
    outlives = work.thread;
  }
  if (!handle.joinable()) return;
  if (outlives) {
    handle.detach();
  } else {
    // Of a thread that is at its end there is still what it does after: what libraries keep for each thread
    // is freed there, which must not meet their clearing up at the end of the process.
    handle.join();
  }
}

// --- making --------------------------------------------------------------------------------------------

std::shared_ptr<const CompiledCode> CodeMaker::find(const Engine& engine, const Source& source) {
  const Digest key = cache_key(engine, source);
  {
    const MutexLock lock(state_->mutex);
    if (std::shared_ptr<const CompiledCode> code = state_->known_locked(key)) {
      state_->counts.found_in_memory++;
      return code;
    }
  }
  if (state_->options.cache == nullptr || is_interpreter(engine)) return nullptr;
  Cached cached = state_->options.cache->load(engine, source);
  if (!cached) return nullptr;
  const MutexLock lock(state_->mutex);
  state_->counts.found_in_cache++;
  state_->known[key] = cached.code;
  return std::move(cached.code);
}

namespace {

Result<Compiled> compile_prepared(const CodeMakerOptions& options, const Engine& engine, const Source& source,
                                  const std::stop_token& stop) {
  switch (engine.options().tier) {
    case engine::Tier::kInterpreter:
      return Compiled{.code = SPORE_TRY(engine.compile(source.wasm, source.hash, source.preparer)),
                      .native = {}};
    case engine::Tier::kPeak: {
      if (options.optimiser == nullptr)
        return Status::unsupported("there is no wasm-opt, which makes peak code");
      if (source.facts == nullptr)
        return Status::unsupported("the module is not prepared: it has no peak form");
      const Peak peak = SPORE_TRY(options.optimiser->peak(source.wasm, *source.facts, stop));
      return options.compiler->compile(
          engine, {.wasm = *peak.wasm, .hash = source.hash, .preparer = source.preparer}, stop);
    }
    default: return options.compiler->compile(engine, source, stop);
  }
}

// Of a module whose facts are known, and its code not, or not that of this tier.
Result<Compiled> prepare_and_compile(const CodeMakerOptions& options, const Engine& engine,
                                     const Source& source, const std::stop_token& stop) {
  if (!source.to_prepare) return compile_prepared(options, engine, source, stop);
  const wasm::PreparedModule prepared = SPORE_TRY(wasm::prepare(source.wasm, source.wasm.size()));
  SPORE_ASSERT(source.preparer == wasm::kPreparerVersion && prepared.facts.hash == source.hash,
               "what is to be prepared is the module that was named");
  return compile_prepared(
      options, engine,
      {.wasm = prepared.wasm, .hash = source.hash, .preparer = source.preparer, .facts = &prepared}, stop);
}

}  // namespace

Result<Made> CodeMaker::make_anew(const Engine& engine, const Source& source) {
  const Clock::time_point begin = Clock::now();
  Compiled compiled = SPORE_TRY(prepare_and_compile(state_->options, engine, source, {}));
  return Made{.code = std::move(compiled.code), .origin = Origin::kCompiler, .ns = ns_since(begin)};
}

// The flight is in the list, and nobody else's.
Result<Made> CodeMaker::fly(State& state, Flight& flight, const Source& source, bool background) {
  const Clock::time_point begin = Clock::now();
  CodeCache* const cache = is_interpreter(*flight.engine) ? nullptr : state.options.cache.get();
  std::optional<code::Flight> among_processes;
  if (cache != nullptr) {
    Cached cached = cache->load(*flight.engine, source);
    if (!cached) {
      among_processes.emplace(cache->flight(*flight.engine, source, background ? kWaitMax : kWaitNowMax,
                                            flight.stop.get_token()));
      if (among_processes->waited()) cached = cache->load(*flight.engine, source);
    }
    if (cached) {
      const MutexLock lock(state.mutex);
      state.counts.found_in_cache++;
      return Made{.code = std::move(cached.code), .origin = Origin::kCache, .ns = ns_since(begin)};
    }
  }
  if (background) {
    const MutexLock lock(state.mutex);
    state.now().busy = true;
    state.now().changed.notify_all();
  }
  const Clock::time_point compile_begin = Clock::now();
  Result<Compiled> compiled =
      prepare_and_compile(state.options, *flight.engine, source, flight.stop.get_token());
  const uint64_t compile_ns = ns_since(compile_begin);
  const MutexLock lock(state.mutex);
  State::Work& work = state.now();
  if (background) work.busy = false;
  if (!compiled.ok()) {
    state.counts.failed++;
    return std::move(compiled).status();
  }
  state.counts.compiled++;
  state.counts.compile_ns += compile_ns;
  Made made{.code = compiled.value().code, .origin = Origin::kCompiler, .ns = ns_since(begin)};
  if (cache != nullptr && !work.stop) {
    work.to_store.push_back({.engine = flight.engine,
                             .hash = source.hash,
                             .preparer = source.preparer,
                             .compiled = std::move(compiled).value(),
                             .compile_ns = compile_ns,
                             .among_processes = std::move(among_processes)});
  }
  return made;
}

void CodeMaker::State::finish(const std::shared_ptr<Flight>& flight, Result<Made> made) {
  std::vector<Done> done;
  {
    const MutexLock lock(mutex);
    if (made.ok()) known[flight->key] = made.value().code;
    if (!made.ok() && made.status().code() == Code::kCancelled) counts.cancelled++;
    flight->made.emplace(copy_of(made));
    done.swap(flight->done);
    Work& work = now();
    const auto found = work.flights.find(flight->key);
    if (found != work.flights.end() && found->second == flight) work.flights.erase(found);
    work.changed.notify_all();
  }
  for (const Done& call : done) call(copy_of(made));
}

Result<Made> CodeMaker::make(const Engine& engine, const Source& source,
                             const std::stop_token& stop) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  const Clock::time_point begin = Clock::now();
  const Digest key = cache_key(engine, source);
  std::shared_ptr<Flight> flight;
  {
    std::unique_lock<std::mutex> lock(state_->mutex.native());
    State& state = *state_;
    if (std::shared_ptr<const CompiledCode> code = state.known_locked(key)) {
      state.counts.found_in_memory++;
      return Made{.code = std::move(code), .origin = Origin::kMemory, .ns = ns_since(begin)};
    }
    State::Work& work = state.now();
    std::shared_ptr<Flight>& there = work.flights[key];
    if (there != nullptr && there->running) {
      state.counts.joined++;
      flight = there;
      work.changed.wait(lock, [&] { return flight->made.has_value(); });
      Result<Made> made = copy_of(*flight->made);
      // Whoever began it may have given it up; we did not.
      const bool given_up = !made.ok() && made.status().code() == Code::kCancelled;
      if (!given_up || stop.stop_requested()) return made;
      lock.unlock();
      return make(engine, source, stop);
    }
    if (there == nullptr) {
      there = std::make_shared<Flight>();
      there->key = key;
      there->engine = engine.shared_from_this();
      there->module = source.hash;
    } else {
      std::erase(work.queue, there);  // it waits for the background thread: this one is sooner
    }
    flight = there;
    flight->running = true;
    flight->background = false;
  }
  const std::stop_callback stopper(stop, [&] { flight->stop.request_stop(); });
  Result<Made> made = fly(*state_, *flight, source, /*background=*/false);
  state_->finish(flight, copy_of(made));
  const MutexLock lock(state_->mutex);
  if (!state_->now().to_store.empty()) state_->start_thread(state_);
  return made;
}

// --- in the background ---------------------------------------------------------------------------------

Status CodeMaker::make_soon(std::shared_ptr<const Engine> engine, const OwnedSource& source, Done done) {
  const Digest key = cache_key(*engine, source.view());
  std::shared_ptr<const CompiledCode> there_already;
  State& state = *state_;
  {
    const MutexLock lock(state.mutex);
    there_already = state.known_locked(key);
    if (there_already == nullptr) {
      State::Work& work = state.now();
      const auto there = work.flights.find(key);
      if (there != work.flights.end()) {
        state.counts.joined++;
        there->second->done.push_back(std::move(done));
        return {};
      }
      if (work.queue.size() >= state.options.queue_max) {
        return Status::limit_exceeded("{} modules wait to be compiled (compile_queue_max={})",
                                      work.queue.size(), state.options.queue_max);
      }
      auto flight = std::make_shared<Flight>();
      flight->key = key;
      flight->engine = std::move(engine);
      flight->source = source;
      flight->module = source.hash;
      flight->background = true;
      flight->done.push_back(std::move(done));
      work.queue.push_back(flight);
      work.flights.emplace(key, std::move(flight));
      state.counts.queued_max = std::max<uint64_t>(state.counts.queued_max, work.queue.size());
      state.start_thread(state_);
      return {};
    }
    state.counts.found_in_memory++;
  }
  done(Made{.code = std::move(there_already), .origin = Origin::kMemory, .ns = 0});
  return {};
}

void CodeMaker::cancel(const Engine& engine, const Source& source) {
  const Digest key = cache_key(engine, source);
  std::shared_ptr<Flight> waiting;
  {
    const MutexLock lock(state_->mutex);
    State::Work& work = state_->now();
    const auto there = work.flights.find(key);
    if (there == work.flights.end() || !there->second->background) return;
    there->second->stop.request_stop();
    if (there->second->running) return;
    waiting = there->second;
    std::erase(work.queue, waiting);
  }
  state_->finish(waiting, Status::cancelled("compiling was cancelled before it began"));
}

void CodeMaker::State::start_thread(const std::shared_ptr<State>& self) {
  Work& there = now();
  there.changed.notify_all();
  if (there.thread || there.stop) return;
  try {
    there.handle = std::thread(&CodeMaker::run, self);
    there.thread = true;
  } catch (const std::system_error& error) {
    // What waits is looked at again with the next request.
    options.log.write(LogLevel::kWarning, "no thread to compile in the background: {}", error.what());
  }
}

void CodeMaker::run(const std::shared_ptr<State>& state) SPORE_NO_THREAD_SAFETY_ANALYSIS {
  ::pthread_setname_np(::pthread_self(), "spore-compile");
  // Of this thread alone.  Linux lets everybody be nicer; where not, it is as others are.
  static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), state->options.nice));
  std::unique_lock<std::mutex> lock(state->mutex.native());
  State::Work& work = state->now();  // this process's, as long as this thread lives
  while (true) {
    if (!work.to_store.empty()) {
      std::optional<State::Work::Storing> storing(std::move(work.to_store.front()));
      work.to_store.pop_front();
      lock.unlock();
      state->options.cache->store(*storing->engine,
                                  {.wasm = {}, .hash = storing->hash, .preparer = storing->preparer},
                                  storing->compiled, storing->compile_ns);
      storing.reset();  // code is not freed under a lock: see engine/fork_guard.h
      lock.lock();
    } else if (work.stop) {
      break;
    } else if (!work.queue.empty()) {
      std::shared_ptr<Flight> flight = std::move(work.queue.front());
      work.queue.pop_front();
      flight->running = true;
      lock.unlock();
      state->finish(flight, fly(*state, *flight, flight->source.view(), /*background=*/true));
      flight.reset();
      lock.lock();
    } else {
      work.changed.wait(lock);
    }
  }
  work.thread = false;
  work.changed.notify_all();
}

// --- what it has done ----------------------------------------------------------------------------------

CodeMakerStatistics CodeMaker::statistics() const {
  std::optional<CodeCacheStatistics> cache;
  if (state_->options.cache != nullptr) cache = state_->options.cache->statistics();
  const MutexLock lock(state_->mutex);
  CodeMakerStatistics statistics = state_->counts;
  statistics.cache = std::move(cache);
  const State::Work& work = state_->now();
  const auto add = [&](const Flight& flight) {
    statistics.flights.push_back({.module = flight.module,
                                  .tier = flight.engine->options().tier,
                                  .running = flight.running,
                                  .background = flight.background,
                                  .ms = ns_since(flight.asked) / 1'000'000});
  };
  for (const auto& [key, flight] : work.flights) {
    if (flight->running) add(*flight);
  }
  for (const std::shared_ptr<Flight>& flight : work.queue) add(*flight);
  return statistics;
}

void CodeMakerStatistics::write_json(JsonWriter& json) const {
  json.field("compiled", compiled)
      .field("compile_ns", compile_ns)
      .field("failed", failed)
      .field("found_in_memory", found_in_memory)
      .field("found_in_cache", found_in_cache)
      .field("joined", joined)
      .field("cancelled", cancelled)
      .field("queued_max", queued_max);
  json.begin_array("flights");
  for (const Flight& flight : flights) {
    json.begin_object()
        .field("module", flight.module.hex())
        .field("tier", engine::tier_name(flight.tier))
        .field("running", flight.running)
        .field("background", flight.background)
        .field("ms", flight.ms)
        .end_object();
  }
  json.end_array();
  if (!cache) return;
  json.begin_object("cache");
  cache->write_json(json);
  json.end_object();
}

void CodeMakerStatistics::write_metrics(MetricsWriter& metrics) const {
  metrics.counter("spore_code_compiled_total", "Modules compiled, once for each tier.").sample(compiled);
  metrics.counter("spore_code_compile_seconds_total", "Time of compiling.").sample(seconds_of_ns(compile_ns));
  metrics.counter("spore_code_failed_total", "Modules that could not be compiled.").sample(failed);
  metrics.counter("spore_code_found_total", "Code that was there already, by where.")
      .sample({{"where", "memory"}}, found_in_memory)
      .sample({{"where", "cache"}}, found_in_cache);
  metrics.counter("spore_code_cancelled_total", "Compiles that nobody wanted any more.").sample(cancelled);
  metrics.gauge("spore_code_flights", "Compiles that run or wait.").sample(flights.size());
  if (cache) cache->write_metrics(metrics);
}

}  // namespace spore::code
