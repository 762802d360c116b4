// Which modules get better code, and when.

#include "spore/code/ladder.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "spore/engine/store.h"
#include "spore/engine/ticker.h"
#include "tests/guest_file.h"

namespace spore::code {
namespace {

using engine::Tier;
using engine::Use;

TEST(StepRuleTest, CallsCountAfterTheDelayAndTimeInTheGuestAtOnce) {
  const StepRule rule{.calls = 1000, .delay_ms = 100, .guest_ms = 100};
  EXPECT_FALSE(decide(rule, {}, 1'000'000).due);
  EXPECT_FALSE(decide(rule, {.calls = 999, .ms = 99}, 1'000'000).due);
  EXPECT_FALSE(decide(rule, {.calls = 1'000'000, .ms = 99}, 99).due);
  EXPECT_TRUE(decide(rule, {.calls = 1000, .ms = 0}, 100).due);
  EXPECT_TRUE(decide(rule, {.calls = 1, .ms = 100}, 0).due);
  EXPECT_TRUE(decide(rule, {.calls = 0, .ms = 100}, 0).due);  // in a call that is not over
  EXPECT_EQ(decide(rule, {.calls = 1000, .ms = 0}, 100).why, "1000 calls in 100 ms");
  EXPECT_EQ(decide(rule, {.calls = 1, .ms = 100}, 0).why, "100 ms in the guest");
  EXPECT_EQ(decide(rule, {.calls = 3, .ms = 2}, 0).why, "3 of 1000 calls, 2 of 100 ms in the guest");
}

TEST(StepRuleTest, TheTiersThatComeLaterHaveTheirPlace) {
  const LadderOptions options;
  EXPECT_EQ(options.rules[0].calls, 100u);
  EXPECT_EQ(options.rules[0].delay_ms, 10u);
  EXPECT_EQ(options.rules[1].calls, 1'000u);
  EXPECT_EQ(options.rules[1].delay_ms, 100u);
  EXPECT_EQ(options.rules[2].calls, 10'000u);
  EXPECT_EQ(options.rules[2].delay_ms, 1'000u);
}

// Compiles, when it may, and counts.
class GatedCompiler final : public Compiler {
 public:
  Result<Compiled> compile(const engine::Engine& engine, const Source& source,
                           const std::stop_token& stop) override {
    asked++;
    std::unique_lock lock(mutex_);
    const std::stop_callback wake(stop, [this] { changed_.notify_all(); });
    changed_.wait(lock, [&] { return open_ || stop.stop_requested(); });
    lock.unlock();
    if (stop.stop_requested()) return Status::cancelled("stopped");
    if (fails) return Status::limit_exceeded("too large");
    return InProcessCompiler().compile(engine, source, {});
  }
  void open(bool open) {
    const std::scoped_lock lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  std::atomic<int> asked{0};
  std::atomic<bool> fails{false};

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
};

class CodeTest : public testing::Test {
 protected:
  CodeTest() {
    const auto ticker = std::make_shared<engine::Ticker>();
    baseline_ = engine::Engine::create({.tier = Tier::kBaseline}, ticker).value();
    optimised_ = engine::Engine::create({.tier = Tier::kOptimised}, ticker).value();
    begin({});
  }
  ~CodeTest() override { compiler_->open(true); }

  void begin(CodeMakerOptions options) {
    options.compiler = compiler_;
    maker_ = std::make_shared<CodeMaker>(std::move(options));
  }

  static OwnedSource source(int answer) {
    auto bytes = std::make_shared<const std::vector<uint8_t>>(
        test::wasm(fmt::format("(module (func (export \"f\") (result i32) (i32.const {})))", answer)));
    return {.wasm = bytes, .hash = sha256(*bytes), .preparer = 0, .to_prepare = false};
  }
  static int32_t run(const std::shared_ptr<const engine::Binding>& binding) {
    auto store = engine::Store::create(binding->code()->engine().shared_from_this(), {}).value();
    const auto instance = store->instantiate(binding).value();
    engine::RawValue value{};
    EXPECT_TRUE(store->function(instance, "f").value().call_unchecked(&value, 1).ok());
    return value.i32;
  }
  static int32_t run(const std::shared_ptr<const engine::CompiledCode>& code) {
    return run(engine::Binding::create(code, std::make_shared<const engine::HostFunctions>()).value());
  }
  template <typename Condition>
  static bool soon(const Condition& condition) {
    for (int i = 0; i < 10'000 && !condition(); i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }

  std::shared_ptr<GatedCompiler> compiler_ = std::make_shared<GatedCompiler>();
  std::shared_ptr<const engine::Engine> baseline_;
  std::shared_ptr<const engine::Engine> optimised_;
  std::shared_ptr<CodeMaker> maker_;
};

// --- making code once ----------------------------------------------------------------------------------

class CodeMakerTest : public CodeTest {};

TEST_F(CodeMakerTest, TheSameThingIsMadeOnceWhileSomebodyHasIt) {
  const OwnedSource seven = source(7);
  const Made first = maker_->make(*baseline_, seven.view()).value();
  EXPECT_EQ(first.origin, Origin::kCompiler);
  const Made second = maker_->make(*baseline_, seven.view()).value();
  EXPECT_EQ(second.origin, Origin::kMemory);
  EXPECT_EQ(second.code, first.code);
  EXPECT_EQ(run(second.code), 7);
  EXPECT_NE(maker_->make(*optimised_, seven.view()).value().code, first.code);
  EXPECT_NE(maker_->make(*baseline_, source(8).view()).value().code, first.code);
  EXPECT_EQ(compiler_->asked, 3);
  EXPECT_EQ(maker_->find(*baseline_, seven.view()), first.code);
  EXPECT_EQ(maker_->find(*baseline_, source(9).view()), nullptr);
}

TEST_F(CodeMakerTest, WhoAsksForWhatIsBeingMadeWaitsForIt) {
  compiler_->open(false);
  const OwnedSource seven = source(7);
  std::array<std::shared_ptr<const engine::CompiledCode>, 4> made;
  {
    std::vector<std::jthread> threads;
    for (auto& one : made) {
      threads.emplace_back([&] { one = maker_->make(*baseline_, seven.view()).value().code; });
    }
    EXPECT_TRUE(soon([&] { return maker_->statistics().joined == made.size() - 1; }));
    EXPECT_EQ(maker_->statistics().flights.size(), 1u);
    EXPECT_TRUE(maker_->statistics().flights[0].running);
    compiler_->open(true);
  }
  for (const auto& one : made) EXPECT_EQ(one, made[0]);
  EXPECT_EQ(compiler_->asked, 1);
}

TEST_F(CodeMakerTest, TheQueueIsBoundedAndInOrder) {
  begin({.compiler = nullptr, .cache = nullptr, .queue_max = 2});
  compiler_->open(false);
  std::mutex mutex;
  std::vector<int> done;
  const auto note = [&](int number) {
    return [&, number](const Result<Made>& made) {
      EXPECT_TRUE(made.ok()) << made.status().message();
      const std::scoped_lock lock(mutex);
      done.push_back(number);
    };
  };
  EXPECT_TRUE(maker_->make_soon(optimised_, source(0), note(0)).ok());
  EXPECT_TRUE(soon([&] { return compiler_->asked == 1; }));
  EXPECT_TRUE(maker_->make_soon(optimised_, source(1), note(1)).ok());
  EXPECT_TRUE(maker_->make_soon(optimised_, source(2), note(2)).ok());
  const Status full = maker_->make_soon(optimised_, source(3), note(3));
  EXPECT_EQ(full.code(), Code::kLimitExceeded);
  EXPECT_EQ(full.message(), "2 modules wait to be compiled (compile_queue_max=2)");
  EXPECT_TRUE(maker_->make_soon(optimised_, source(1), note(10)).ok());  // joins
  EXPECT_EQ(maker_->statistics().flights.size(), 3u);
  compiler_->open(true);
  EXPECT_TRUE(soon([&] {
    const std::scoped_lock lock(mutex);
    return done.size() == 4;
  }));
  EXPECT_EQ(done, (std::vector<int>{0, 1, 10, 2}));
  EXPECT_EQ(compiler_->asked, 3);
}

TEST_F(CodeMakerTest, WhatWaitsInTheBackgroundIsTakenByWhoNeedsItNow) {
  compiler_->open(false);
  std::atomic<int> done{0};
  EXPECT_TRUE(maker_->make_soon(optimised_, source(1), [&](const Result<Made>&) { done++; }).ok());
  EXPECT_TRUE(soon([&] { return compiler_->asked == 1; }));
  EXPECT_TRUE(maker_
                  ->make_soon(optimised_, source(2),
                              [&](const Result<Made>& made) {
                                EXPECT_TRUE(made.ok());
                                done++;
                              })
                  .ok());
  std::jthread now([&] { EXPECT_EQ(run(maker_->make(*optimised_, source(2).view()).value().code), 2); });
  EXPECT_TRUE(soon([&] { return compiler_->asked == 2; }));  // though the background is at the first
  compiler_->open(true);
  EXPECT_TRUE(soon([&] { return done == 2; }));
}

TEST_F(CodeMakerTest, CancelledWorkEndsAndSaysSo) {
  compiler_->open(false);
  std::atomic<int> cancelled{0};
  const auto note = [&](const Result<Made>& made) {
    EXPECT_EQ(made.code(), Code::kCancelled);
    cancelled++;
  };
  EXPECT_TRUE(maker_->make_soon(optimised_, source(1), note).ok());
  EXPECT_TRUE(soon([&] { return compiler_->asked == 1; }));
  EXPECT_TRUE(maker_->make_soon(optimised_, source(2), note).ok());
  maker_->cancel(*optimised_, source(2).view());
  EXPECT_EQ(cancelled, 1);
  maker_->cancel(*optimised_, source(1).view());
  EXPECT_TRUE(soon([&] { return cancelled == 2; }));
  EXPECT_EQ(maker_->statistics().cancelled, 2u);
  compiler_->open(true);
  EXPECT_EQ(run(maker_->make(*optimised_, source(1).view()).value().code), 1);
}

TEST_F(CodeMakerTest, ItEndsWhileItWorks) {
  compiler_->open(false);
  std::atomic<int> ended{0};
  for (int i = 0; i < 3; i++) {
    EXPECT_TRUE(maker_
                    ->make_soon(optimised_, source(i),
                                [&](const Result<Made>& made) {
                                  EXPECT_EQ(made.code(), Code::kCancelled);
                                  ended++;
                                })
                    .ok());
  }
  EXPECT_TRUE(soon([&] { return compiler_->asked == 1; }));
  maker_.reset();
  EXPECT_TRUE(soon([&] { return ended == 3; }));
}

// --- climbing ------------------------------------------------------------------------------------------

class LadderTest : public CodeTest {
 protected:
  struct Loaded {
    std::shared_ptr<engine::LiveBinding> code;
    std::unique_ptr<engine::Store> store;
    std::optional<engine::RawFunction> f;

    int32_t call() const {
      engine::RawValue value{};
      EXPECT_TRUE(f->call_unchecked(&value, 1).ok());
      return value.i32;
    }
    Tier tier() const { return code->best()->code()->engine().options().tier; }
  };

  void make_ladder(const StepRule& rule) {
    LadderOptions options;
    options.rules[static_cast<size_t>(Tier::kBaseline)] = rule;
    options.log = Log(LogLevel::kWarning, [this](LogLevel, std::string_view line) {
      const std::scoped_lock lock(log_mutex_);
      log_ += line;
    });
    ladder_ = std::make_unique<Ladder>(
        maker_, std::vector<std::shared_ptr<const engine::Engine>>{baseline_, optimised_},
        std::move(options));
  }

  Loaded load(int answer, bool fixed = false) {
    const OwnedSource bytes = source(answer);
    const auto functions = std::make_shared<const engine::HostFunctions>();
    Loaded loaded;
    loaded.code = std::make_shared<engine::LiveBinding>(
        engine::Binding::create(baseline_->compile(*bytes.wasm).value(), functions).value());
    loaded.store = engine::Store::create(baseline_, {}).value();
    const auto instance = loaded.store->instantiate(loaded.code->best()).value();
    loaded.store->count_in(loaded.code);
    loaded.f = loaded.store->function(instance, "f").value();
    ladder_->add({.name = "m",
                  .source = bytes,
                  .code = loaded.code,
                  .functions = functions,
                  .fixed = fixed,
                  .first = {.tier = Tier::kBaseline, .why = "there soonest"}});
    return loaded;
  }
  std::string log() {
    const std::scoped_lock lock(log_mutex_);
    return log_;
  }

  std::mutex log_mutex_;
  std::string log_;
  std::unique_ptr<Ladder> ladder_;
};

TEST_F(LadderTest, AModuleThatIsCalledEnoughGetsBetterCode) {
  make_ladder({.calls = 100, .delay_ms = 1, .guest_ms = 1'000'000});
  const Loaded hot = load(7);
  const Loaded cold = load(8);
  EXPECT_EQ(cold.call(), 8);
  for (int i = 0; i < 100; i++) EXPECT_EQ(hot.call(), 7);
  EXPECT_TRUE(soon([&] { return hot.tier() == Tier::kOptimised; }));
  EXPECT_EQ(run(hot.code->best()), 7);
  EXPECT_EQ(cold.tier(), Tier::kBaseline);
  const ModuleSteps steps = ladder_->module(*hot.code).value();
  ASSERT_EQ(steps.steps.size(), 2u);
  EXPECT_TRUE(steps.steps[1].why.starts_with("100 calls in ")) << steps.steps[1].why;
  EXPECT_EQ(steps.next, "none: there is no tier above");
  ASSERT_EQ(steps.functions.size(), 1u);
  EXPECT_EQ(steps.functions[0].name, "f");
  EXPECT_EQ(steps.functions[0].calls, 100u);
  EXPECT_EQ(ladder_->module(*cold.code).value().next,
            "optimised after 1 of 100 calls, 0 of 1000000 ms in the guest");
}

// What was seen elsewhere stands for calls, also if it becomes known later.
TEST_F(LadderTest, AModuleIsBroughtToWhereItWas) {
  make_ladder({.calls = 1'000'000, .delay_ms = 0, .guest_ms = 1'000'000});
  const Loaded first = load(7);
  const Loaded second = load(8);
  ladder_->expect(*first.code, {.tier = Tier::kBaseline});
  ladder_->expect(*second.code, {.tier = Tier::kOptimised});
  EXPECT_TRUE(soon([&] { return second.tier() == Tier::kOptimised; }));
  EXPECT_EQ(first.tier(), Tier::kBaseline);
  EXPECT_EQ(ladder_->module(*second.code).value().steps[1].why, "it was optimised before");
  EXPECT_TRUE(ladder_->module(*second.code).value().at_top);
  EXPECT_FALSE(ladder_->module(*first.code).value().at_top);
}

TEST_F(LadderTest, AProfileIsOfWhatWasCalledSince) {
  make_ladder({.calls = 1'000'000, .delay_ms = 0, .guest_ms = 1'000'000});
  const Loaded loaded = load(7);
  const engine::UseByName none;
  EXPECT_FALSE(profile_since(*loaded.code, none).has_value());  // not called
  EXPECT_EQ(loaded.call(), 7);
  EXPECT_FALSE(profile_since(*loaded.code, none).has_value());  // where it began
  ASSERT_TRUE(ladder_->raise(*loaded.code, Tier::kOptimised).ok());
  const std::optional<Profile> all = profile_since(*loaded.code, none);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->tier, Tier::kOptimised);
  ASSERT_EQ(all->functions.size(), 1u);
  EXPECT_EQ(all->functions[0].name, "f");
  EXPECT_EQ(all->functions[0].calls, 1u);
  const engine::UseByName now = loaded.code->functions();
  EXPECT_FALSE(profile_since(*loaded.code, now).has_value());
  EXPECT_EQ(loaded.call(), 7);
  EXPECT_EQ(profile_since(*loaded.code, now)->functions[0].calls, 1u);
  EXPECT_EQ(profile_of(*loaded.code).functions[0].calls, 2u);
}

// Times are those of the code that a module came to: what it took before is nobody's concern any more.
TEST(ProfileTest, TimesAreOfTheLastTier) {
  const auto engine =
      engine::Engine::create({.tier = Tier::kOptimised}, std::make_shared<engine::Ticker>()).value();
  const auto functions = std::make_shared<const engine::HostFunctions>();
  const auto code = engine->compile(test::wasm("(module)")).value();
  const auto live = std::make_shared<engine::LiveBinding>(engine::Binding::create(code, functions).value());
  engine::LiveBinding::Uses uses(live);
  engine::FunctionUse& slow = uses.of("slow");
  engine::FunctionUse& quick = uses.of("quick");
  engine::FunctionUse& unnamed = uses.of("un\nnamed");
  slow.calls.add(10);
  slow.ms.add(1000);
  quick.calls.add(10);
  unnamed.calls.add(5);
  unnamed.ms.add(5000);
  live->improve(engine::Binding::create(code, functions).value());
  slow.calls.add(4);
  slow.ms.add(8);
  const Profile profile = profile_since(*live, {}).value();
  EXPECT_EQ(profile.functions,
            (std::vector<Profile::Function>{{.name = "slow", .calls = 14, .mean_us = 2000},
                                            {.name = "quick", .calls = 10, .mean_us = 0}}));
  EXPECT_EQ(profile_of(*live).functions.size(), 3u);
}

TEST_F(LadderTest, AFixedTierStays) {
  make_ladder({.calls = 1, .delay_ms = 0, .guest_ms = 0});
  const Loaded loaded = load(7, /*fixed=*/true);
  for (int i = 0; i < 100; i++) EXPECT_EQ(loaded.call(), 7);
  EXPECT_FALSE(ladder_->look());
  EXPECT_EQ(compiler_->asked, 0);
  EXPECT_EQ(ladder_->module(*loaded.code).value().next, "none: its tier was asked for");
  EXPECT_EQ(ladder_->raise(*loaded.code, Tier::kOptimised).code(), Code::kInvalidArgument);
}

TEST_F(LadderTest, ARaisedModuleIsThereAtOnce) {
  make_ladder({.calls = 1'000'000, .delay_ms = 0, .guest_ms = 1'000'000});
  const Loaded loaded = load(7);
  EXPECT_TRUE(ladder_->raise(*loaded.code, Tier::kBaseline).ok());
  EXPECT_EQ(loaded.tier(), Tier::kBaseline);
  EXPECT_TRUE(ladder_->raise(*loaded.code, Tier::kOptimised).ok());
  EXPECT_EQ(loaded.tier(), Tier::kOptimised);
  EXPECT_EQ(ladder_->module(*loaded.code).value().steps[1].why, "warm-up");
  EXPECT_TRUE(ladder_->raise(*loaded.code, Tier::kOptimised).ok());
  EXPECT_EQ(compiler_->asked, 1);
}

TEST_F(LadderTest, WhatCannotBeCompiledIsToldOnceAndGoesOn) {
  make_ladder({.calls = 1, .delay_ms = 0, .guest_ms = 1'000'000});
  compiler_->fails = true;
  const Loaded loaded = load(7);
  for (int i = 0; i < 100; i++) EXPECT_EQ(loaded.call(), 7);
  EXPECT_TRUE(soon([&] { return !log().empty(); }));
  EXPECT_EQ(log(), "m: no optimised code: too large");
  EXPECT_EQ(loaded.call(), 7);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(compiler_->asked, 1);
  EXPECT_EQ(ladder_->module(*loaded.code).value().next, "none: optimised: too large");
  EXPECT_EQ(ladder_->raise(*loaded.code, Tier::kOptimised).code(), Code::kUnsupported);
}

TEST_F(LadderTest, ARemovedModuleIsNotCompiledFor) {
  make_ladder({.calls = 1, .delay_ms = 0, .guest_ms = 1'000'000});
  compiler_->open(false);
  const Loaded loaded = load(7);
  EXPECT_EQ(loaded.call(), 7);
  EXPECT_TRUE(soon([&] { return compiler_->asked == 1; }));
  ladder_->remove(*loaded.code);
  EXPECT_TRUE(soon([&] { return maker_->statistics().cancelled == 1; }));
  EXPECT_EQ(ladder_->module(*loaded.code).code(), Code::kNotFound);
  EXPECT_EQ(loaded.call(), 7);
  EXPECT_EQ(loaded.tier(), Tier::kBaseline);
}

}  // namespace
}  // namespace spore::code
