// Pools as a Runtime has them: leases, clean functions and submitted calls when modules and the Runtime go.

#include <memory>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "spore/runtime/runtime.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using cell::Lease;
using runtime::Module;
using runtime::Runtime;
using runtime::RuntimeOptions;

constexpr const char* kGuest = R"((module
  (memory (export "memory") 1)
  (func (export "bump") (param i32) (result i32)
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get 0))) (i32.load (i32.const 8)))))";

class RuntimePoolTest : public testing::Test {
 protected:
  void start(RuntimeOptions options = {}) {
    runtime_ = Runtime::create(std::move(options)).value();
    module_ = runtime_->load_module("guest", test::wasm(kGuest)).value();
  }
  static int32_t bump(const Lease& lease, int32_t by) {
    return lease->function<int32_t(int32_t)>("bump").value()(by).value();
  }

  std::unique_ptr<Runtime> runtime_;
  std::shared_ptr<const Module> module_;
};

TEST_F(RuntimePoolTest, AModuleIsUnloadedUnderALease) {
  start();
  const auto call = runtime_->clean_function<int32_t(int32_t)>(*module_, "bump").value();
  EXPECT_EQ(call(3).value(), 3);
  EXPECT_EQ(call(4).value(), 4);
  std::optional<Lease> lease = runtime_->acquire("guest").value();
  EXPECT_EQ(bump(*lease, 5), 5);
  ASSERT_TRUE(runtime_->unload_module("guest").ok());
  EXPECT_EQ(call(3).code(), Code::kUnavailable);
  EXPECT_EQ(runtime_->acquire("guest").code(), Code::kNotFound);
  EXPECT_EQ(bump(*lease, 5), 10);
  lease.reset();
  EXPECT_EQ(runtime_->statistics().pool.live, 0u);
  // Another of that name has its own place.
  module_ = runtime_->load_module("guest", test::wasm(kGuest)).value();
  EXPECT_EQ(bump(runtime_->acquire("guest").value(), 1), 1);
  EXPECT_EQ(call(3).code(), Code::kUnavailable);
}

TEST_F(RuntimePoolTest, ALeaseOutlivesTheRuntime) {
  start();
  std::optional<Lease> lease = runtime_->acquire(*module_, {.domain = "tenant"}).value();
  const auto call = runtime_->clean_function<int32_t(int32_t)>(*module_, "bump").value();
  const auto entry = runtime_->pool_entry(*module_, "tenant").value();
  runtime_.reset();
  module_.reset();
  EXPECT_EQ(bump(*lease, 2), 2);
  EXPECT_EQ(bump(*lease, 2), 4);
  EXPECT_EQ(call(1).code(), Code::kUnavailable);
  EXPECT_EQ(entry->acquire().code(), Code::kUnavailable);
  lease.reset();
}

TEST_F(RuntimePoolTest, AClosedRuntimeHandsOutNothing) {
  start();
  const auto entry = runtime_->pool_entry(*module_).value();
  const Lease lease = entry->acquire().value();
  runtime_->close();
  EXPECT_EQ(runtime_->acquire(*module_).code(), Code::kUnavailable);
  EXPECT_EQ(runtime_->pool_entry(*module_).code(), Code::kUnavailable);
  EXPECT_EQ(entry->acquire().code(), Code::kUnavailable);
  EXPECT_EQ(bump(lease, 2), 2);
}

// Goal: a call that was submitted holds all that it needs, also when everything else is gone before it runs.
TEST_F(RuntimePoolTest, ASubmittedCallOutlivesTheRuntime) {
  std::function<void()> work;
  RuntimeOptions options;
  options.pool.executor = [&work](std::function<void()> given) { work = std::move(given); };
  start(std::move(options));
  auto early = runtime_->pool_entry(*module_).value()->submit("bump", {host::Value::i32(7)});
  work();
  EXPECT_EQ(early.get().value(), std::vector{host::Value::i32(7)});
  auto late = runtime_->pool_entry(*module_).value()->submit("bump", {host::Value::i32(7)});
  runtime_.reset();
  module_.reset();
  work();
  EXPECT_EQ(late.get().code(), Code::kUnavailable);
  work = nullptr;
}

// Goal: a module whose imports nobody provides is told so by the pool as by instantiate().
TEST_F(RuntimePoolTest, ImportsThatNobodyProvidesAreNamed) {
  start();
  const auto module =
      runtime_->load_module("needy", test::wasm(R"((module (import "a" "b" (func))))")).value();
  const Result<Lease> lease = runtime_->acquire(*module);
  EXPECT_EQ(lease.code(), Code::kInvalidArgument);
  EXPECT_NE(lease.status().message().find("a.b"), std::string_view::npos) << lease.status().message();
}

}  // namespace
}  // namespace spore
