// A host in thirty lines: loads a module, gives it a function to call, calls it, and survives its failures.

#include <cstdio>

#include "spore/engine/engine.h"
#include "spore/spore.h"

constexpr const char* kGuest = R"((module
  (import "env" "twice" (func $twice (param i32) (result i32)))
  (func (export "price") (param i32 f64) (result f64)
    (f64.mul (f64.convert_i32_s (call $twice (local.get 0))) (local.get 1)))
  (func (export "spin") (loop $again (br $again)))))";

spore::Status run() {
  spore::RuntimeOptions options;
  options.limits.deadline_ms = 50;
  options.host.define("env", "twice", [](int32_t n) { return 2 * n; });
  const auto runtime = SPORE_TRY(spore::Runtime::create(options));

  const auto wasm = SPORE_TRY(spore::engine::text_to_wasm(kGuest));
  const auto module = SPORE_TRY(runtime->load_module("shop", wasm, {.version = "1"}));
  const spore::Instance instance = SPORE_TRY(runtime->instantiate(*module));

  const auto price = SPORE_TRY(instance.function<double(int32_t, double)>("price"));
  const double total = SPORE_TRY(price(21, 0.5));
  std::printf("price: %g\n", total);
  const auto spin = SPORE_TRY(instance.function<void()>("spin"));
  std::printf("spin: %s\n", std::string(spin().message()).c_str());
  return {};
}

int main() {
  const spore::Status status = run();
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
