#include "spore/cell/submission.h"

#include <exception>
#include <optional>
#include <utility>

#include "spore/base/mutex.h"
#include "spore/cell/pool.h"

namespace spore::cell {

// One call on its way.  Thread-safe.  The mutex is taken alone; the callback is called without it.
class Submission::Call {
 public:
  Call(std::shared_ptr<PoolEntry> entry, std::string function, std::vector<host::Value> args,
       Callback callback, void* user_data)
      : entry_(std::move(entry)),
        function_(std::move(function)),
        args_(std::move(args)),
        user_data_(user_data),
        callback_(std::move(callback)) {}

  // Counts it as queued.  kLimitExceeded.
  Status enter_queue();
  // The executor's work.  Only the first time.
  void run();
  void cancel();
  // Nobody will run it, or go on with it.  Nothing if it is done.
  void give_up(std::string_view why);

 private:
  enum class State : uint8_t { kQueued, kRunning, kDone };

  Answer answer();
  void leave_queue();

  const std::shared_ptr<PoolEntry> entry_;
  const std::string function_;
  const std::vector<host::Value> args_;
  void* const user_data_;
  const uint64_t generation_ = process_generation();  // a forked child counts anew

  Mutex mutex_;
  State state_ SPORE_GUARDED_BY(mutex_) = State::kQueued;
  bool cancelled_ SPORE_GUARDED_BY(mutex_) = false;
  std::optional<engine::Canceller> running_ SPORE_GUARDED_BY(mutex_);
  Callback callback_ SPORE_GUARDED_BY(mutex_);  // until it is done
};

Status Submission::Call::enter_queue() {
  Pool& pool = *entry_->pool_;
  uint32_t queued = pool.queued_.load();
  do {
    if (queued >= pool.options_.queue_max) {
      return Status::limit_exceeded("pool '{}': {} calls were submitted and did not begin (queue_max={})",
                                    entry_->module(), queued, pool.options_.queue_max);
    }
  } while (!pool.queued_.compare_exchange_weak(queued, queued + 1));
  return {};
}

void Submission::Call::leave_queue() {
  if (generation_ == process_generation()) entry_->pool_->queued_.fetch_sub(1);
}

void Submission::Call::run() {
  {
    const MutexLock lock(mutex_);
    if (state_ != State::kQueued) return;
    state_ = State::kRunning;
  }
  leave_queue();
  Answer result = answer();
  Callback callback;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kDone) return;
    state_ = State::kDone;
    callback = std::move(callback_);
  }
  callback(std::move(result));
}

Submission::Answer Submission::Call::answer() {
  const Lease lease = SPORE_TRY(entry_->acquire(user_data_));
  // The call begins here: who cancels it from now on ends whatever runs in it.
  const engine::Store::Group group(lease->store());
  {
    const MutexLock lock(mutex_);
    if (cancelled_) return Status::cancelled("the call was cancelled");
    running_ = lease->canceller();
  }
  Answer result = entry_->call_in(lease, function_, args_);
  const MutexLock lock(mutex_);
  running_.reset();
  return result;
}

void Submission::Call::cancel() {
  Callback callback;
  std::optional<engine::Canceller> running;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kDone) return;
    cancelled_ = true;
    running = running_;
    if (state_ == State::kQueued) {
      state_ = State::kDone;
      callback = std::move(callback_);
    }
  }
  if (running) running->cancel();
  if (callback == nullptr) return;
  leave_queue();
  callback(Status::cancelled("the call was cancelled before it began"));
}

void Submission::Call::give_up(std::string_view why) {
  Callback callback;
  bool queued = false;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::kDone) return;
    queued = state_ == State::kQueued;
    state_ = State::kDone;
    callback = std::move(callback_);
  }
  if (queued) leave_queue();
  callback(Status::unavailable("{}", why));
}

void Submission::cancel() const { call_->cancel(); }

Result<Submission> PoolEntry::submit(std::string function, std::vector<host::Value> args,
                                     Submission::Callback callback, void* user_data) {
  const Executor& executor = pool_->options_.executor;
  if (executor == nullptr) {
    return Status::invalid_argument("a pool needs PoolOptions::executor for calls to be submitted");
  }
  if (callback == nullptr) return Status::invalid_argument("a call that is submitted needs a callback");
  const auto call = std::make_shared<Submission::Call>(shared_from_this(), std::move(function),
                                                       std::move(args), std::move(callback), user_data);
  SPORE_TRY(call->enter_queue());
  // The work's, gone with the last copy of it, run or not; the Submission is not the work.
  const std::shared_ptr<Submission::Call> work(
      call.get(), [call](Submission::Call* ended) { ended->give_up("the executor dropped the call"); });
  try {
    executor([work] { work->run(); });
  } catch (const std::exception& error) {
    call->give_up(fmt::format("the executor threw: {}", error.what()));
  }
  return Submission(call);
}

std::future<Submission::Answer> PoolEntry::submit(std::string function, std::vector<host::Value> args,
                                                  void* user_data) {
  const auto promise = std::make_shared<std::promise<Submission::Answer>>();
  std::future<Submission::Answer> future = promise->get_future();
  Result<Submission> submitted = submit(
      std::move(function), std::move(args),
      [promise](Submission::Answer answer) { promise->set_value(std::move(answer)); }, user_data);
  if (!submitted.ok()) promise->set_value(std::move(submitted).status());
  return future;
}

}  // namespace spore::cell
