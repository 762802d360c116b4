// Calls that an executor makes: each is answered once, whatever becomes of it.

#include "spore/cell/submission.h"

#include <atomic>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include "spore/cell/pool.h"
#include "tests/blueprint.h"

namespace spore::cell {
namespace {

using Answer = Submission::Answer;
using Work = std::function<void()>;

// An executor that does nothing until it is told to.
class Queue {
 public:
  Executor executor() {
    return [this](Work work) {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(work));
    };
  }
  // The oldest; nothing if there is none.
  Work take() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return {};
    Work work = std::move(waiting_.front());
    waiting_.pop_front();
    return work;
  }
  bool run_one() {
    const Work work = take();
    if (work) work();
    return work != nullptr;
  }

 private:
  std::mutex mutex_;
  std::deque<Work> waiting_;
};

class SubmissionTest : public testing::Test {
 protected:
  void start(PoolOptions options = {}) {
    if (options.executor == nullptr) options.executor = queue_.executor();
    host::HostFunctions host;
    host.define("env", "ask", [this](host::Caller& caller) { ask_(caller); });
    pool_ = Pool::create(std::move(options)).value();
    entry_ = pool_
                 ->entry(modules_.load("guest", R"((module
      (import "env" "ask" (func $ask))
      (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
      (func (export "spin") (call $ask) (loop $again (br $again)))))",
                                       host, {}))
                 .value();
  }
  static std::vector<host::Value> numbers(int32_t a, int32_t b) {
    return {host::Value::i32(a), host::Value::i32(b)};
  }
  // Keeps what it is answered; a second answer is an error.
  Submission::Callback keep(std::optional<Code>& code) {
    return [&code](const Answer& answer) {
      EXPECT_FALSE(code.has_value()) << "a second answer";
      code = answer.ok() ? Code::kOk : answer.code();
    };
  }
  void TearDown() override {
    while (queue_.run_one()) {
    }
    EXPECT_EQ(pool_->statistics().queued, 0u);
    EXPECT_EQ(pool_->statistics().idle, pool_->statistics().live);
    pool_->close();
  }

  Queue queue_;
  std::function<void(host::Caller&)> ask_ = [](host::Caller&) {};
  test::Modules modules_;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<PoolEntry> entry_;
};

TEST_F(SubmissionTest, ACallIsAnsweredWhenItWasMade) {
  start();
  std::optional<int32_t> sum;
  const auto submitted = entry_->submit("add", numbers(2, 3), [&](const Answer& answer) {
    EXPECT_FALSE(sum.has_value());
    sum = answer.value().at(0).as_i32().value();
  });
  ASSERT_TRUE(submitted.ok());
  EXPECT_EQ(pool_->statistics().queued, 1u);
  EXPECT_EQ(sum, std::nullopt);
  EXPECT_TRUE(queue_.run_one());
  EXPECT_EQ(sum, 5);
  EXPECT_EQ(pool_->statistics().queued, 0u);
  submitted.value().cancel();  // done: nothing
}

TEST_F(SubmissionTest, AFutureHoldsTheAnswer) {
  start();
  auto sum = entry_->submit("add", numbers(2, 3));
  auto missing = entry_->submit("subtract", numbers(2, 3));
  while (queue_.run_one()) {
  }
  EXPECT_EQ(sum.get().value(), std::vector{host::Value::i32(5)});
  EXPECT_EQ(missing.get().code(), Code::kNotFound);
}

// Goal: what cannot be submitted is refused, with the option that would help, and has no answer.
TEST_F(SubmissionTest, WhatCannotBeSubmittedIsRefused) {
  start({.queue_max = 2});
  std::optional<Code> code;
  EXPECT_EQ(entry_->submit("add", numbers(1, 1), Submission::Callback()).code(), Code::kInvalidArgument);
  auto first = entry_->submit("add", numbers(1, 1));
  auto second = entry_->submit("add", numbers(1, 1));
  const auto third = entry_->submit("add", numbers(1, 1), keep(code));
  EXPECT_EQ(third.status().message(), "pool 'guest': 2 calls were submitted and did not begin (queue_max=2)");
  EXPECT_EQ(third.code(), Code::kLimitExceeded);
  EXPECT_EQ(entry_->submit("add", numbers(1, 1)).get().code(), Code::kLimitExceeded);
  EXPECT_TRUE(queue_.run_one());
  EXPECT_TRUE(entry_->submit("add", numbers(1, 1), keep(code)).ok());  // one began: there is room
  while (queue_.run_one()) {
  }
  EXPECT_EQ(code, Code::kOk);
  EXPECT_TRUE(first.get().ok() && second.get().ok());

  const auto without = Pool::create({}).value();
  const Result<Submission> refused =
      without->entry(modules_.load("guest", "(module)")).value()->submit("f", {}, keep(code));
  EXPECT_EQ(refused.status().message(), "a pool needs PoolOptions::executor for calls to be submitted");
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  without->close();
}

// Goal: a call that did not begin ends at once when it is cancelled, and is not made later.
TEST_F(SubmissionTest, AQueuedCallIsCancelledAtOnce) {
  start();
  std::optional<Code> code;
  const Submission submission = entry_->submit("add", numbers(1, 1), keep(code)).value();
  submission.cancel();
  EXPECT_EQ(code, Code::kCancelled);
  EXPECT_EQ(pool_->statistics().queued, 0u);
  submission.cancel();
  EXPECT_TRUE(queue_.run_one());
  EXPECT_EQ(pool_->statistics().counts.acquired, 0u);
}

// Goal: a call that runs is cancelled like any other.  Method: the guest tells that it runs, and spins.
TEST_F(SubmissionTest, ARunningCallIsCancelled) {
  start();
  std::atomic<bool> runs{false};
  ask_ = [&](host::Caller&) { runs = true; };
  std::optional<Code> code;
  const Submission submission = entry_->submit("spin", {}, keep(code)).value();
  std::thread worker([&] { EXPECT_TRUE(queue_.run_one()); });
  while (!runs) std::this_thread::yield();
  submission.cancel();
  worker.join();
  EXPECT_EQ(code, Code::kCancelled);
  EXPECT_EQ(pool_->statistics().counts.retired, 1u);
}

// Goal: one that waits for an instance ends when it gets one, before it begins.
TEST_F(SubmissionTest, ACallThatWaitsForAnInstanceIsCancelled) {
  start({.instances_per_module_max = 1, .wait_timeout_ms = 60'000});
  std::vector<Lease> busy;
  busy.push_back(entry_->acquire().value());
  std::optional<Code> code;
  const Submission submission = entry_->submit("spin", {}, keep(code)).value();
  std::thread worker([&] { EXPECT_TRUE(queue_.run_one()); });
  while (pool_->statistics().waiting == 0) std::this_thread::yield();
  submission.cancel();
  EXPECT_EQ(code, std::nullopt);
  busy.clear();
  worker.join();
  EXPECT_EQ(code, Code::kCancelled);
  EXPECT_EQ(pool_->statistics().counts.retired, 0u);
}

// Goal: an executor that loses the work, all copies of it, or throws, is no reason to wait for ever.
TEST_F(SubmissionTest, ACallThatIsDroppedIsAnswered) {
  start();
  std::optional<Code> dropped;
  EXPECT_TRUE(entry_->submit("add", numbers(1, 1), keep(dropped)).ok());
  Work copy = queue_.take();
  Work another = copy;
  copy = nullptr;
  EXPECT_EQ(dropped, std::nullopt);
  another = nullptr;
  EXPECT_EQ(dropped, Code::kUnavailable);
  EXPECT_EQ(pool_->statistics().queued, 0u);
  pool_->close();

  start({.executor = [](const Work&) { throw std::runtime_error("full"); }});
  const Answer thrown = entry_->submit("add", numbers(1, 1)).get();
  EXPECT_EQ(thrown.status().message(), "the executor threw: full");
  EXPECT_EQ(thrown.code(), Code::kUnavailable);
}

// Goal: an executor may run it on the spot, or twice: it is made once.
TEST_F(SubmissionTest, ACallIsMadeOnce) {
  start({.executor = [](const Work& work) {
    work();
    work();
  }});
  std::optional<Code> code;
  EXPECT_TRUE(entry_->submit("add", numbers(1, 1), keep(code)).ok());
  EXPECT_EQ(code, Code::kOk);
  EXPECT_EQ(pool_->statistics().counts.acquired, 1u);
}

// Goal: the pool is closed, and everybody else gone, before the call begins.
TEST_F(SubmissionTest, ACallOfAClosedPoolIsUnavailable) {
  start();
  std::optional<Code> code;
  EXPECT_TRUE(entry_->submit("add", numbers(1, 1), keep(code)).ok());
  pool_->close();
  entry_.reset();
  EXPECT_TRUE(queue_.run_one());
  EXPECT_EQ(code, Code::kUnavailable);
}

// Goal: from its callback a call can submit the next: no lock is held.
TEST_F(SubmissionTest, ACallbackMayDoAsItLikes) {
  start({.instances_per_module_max = 1, .queue_max = 1});
  int left = 5;
  std::function<void(const Answer&)> next = [&](const Answer& answer) {
    EXPECT_TRUE(answer.ok());
    EXPECT_TRUE(entry_->acquire().ok());
    EXPECT_EQ(pool_->statistics().queued, 0u);
    if (left-- > 0) {
      EXPECT_TRUE(entry_->submit("add", numbers(1, 1), next).ok());
    }
  };
  EXPECT_TRUE(entry_->submit("add", numbers(1, 1), next).ok());
  while (queue_.run_one()) {
  }
  EXPECT_EQ(left, -1);
}

// Goal: one answer each, with threads that submit, run, drop and cancel at once.
TEST_F(SubmissionTest, EachCallHasOneAnswer) {
  start({.instances_per_module_max = 2, .wait_timeout_ms = 60'000, .queue_max = 50});
  constexpr int kCalls = 1000;
  std::atomic<int> answers{0};
  std::atomic<int> refused{0};
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  for (int t = 0; t < 2; t++) {
    workers.emplace_back([&] {
      for (int i = 0; !stop; i++) {
        const Work work = queue_.take();
        if (work && i % 7 != 0) work();
      }
    });
  }
  std::vector<std::thread> callers;
  for (int t = 0; t < 2; t++) {
    callers.emplace_back([&] {
      for (int i = 0; i < kCalls; i++) {
        const Result<Submission> made = entry_->submit("add", numbers(i, 1), [&, i](const Answer& answer) {
          answers++;
          if (answer.ok() ? answer.value().at(0) != host::Value::i32(i + 1)
                          : answer.code() != Code::kCancelled && answer.code() != Code::kUnavailable) {
            wrong++;
          }
        });
        if (!made.ok()) {
          refused++;
        } else if (i % 3 == 0) {
          made.value().cancel();
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  while (answers + refused < 2 * kCalls) std::this_thread::yield();
  stop = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(answers + refused, 2 * kCalls);
}

}  // namespace
}  // namespace spore::cell
