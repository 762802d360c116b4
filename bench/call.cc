// What does a call into a guest cost through Spore's C++ interface, beside Wasmtime's C API?
//
//   typed      Function<int32_t(int32_t, int32_t)>, with deadline, cancellation, nesting and stack checks
//   raw        wasmtime_func_call_unchecked, with none of them
//   dynamic    DynamicFunction over Value           checked     wasmtime_func_call over wasmtime_val_t
//   string64   Function<string(string_view)>, 64 B  checked64   the same allocation, copies and free by hand
//
// Both sides run the same wasm on the same engine configuration, in one process, in turn.

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "bench/by_hand.h"
#include "bench/harness.h"
#include "spore/spore.h"
#include "tests/guest_file.h"

namespace spore {
namespace {

using bench::ByHand;
using bench::fail;

const std::string kText = "the quick brown fox jumps over the lazy dog, and then once more!";
const std::string kUpper = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG, AND THEN ONCE MORE!";

std::vector<bench::Subject> number_subjects(Instance& instance, ByHand& by_hand) {
  auto typed = instance.function<int32_t(int32_t, int32_t)>("add").value();
  auto dynamic = instance.dynamic_function("add").value();
  const wasmtime_func_t raw = by_hand.item("add").of.func;
  return {
      {"typed",
       [typed](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           const Result<int32_t> sum = typed(static_cast<int32_t>(i), 1);
           if (!sum.ok() || sum.value() != static_cast<int32_t>(i) + 1) fail("typed");
         }
       }},
      {"raw",
       [&by_hand, raw](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           std::array<wasmtime_val_raw_t, 2> values;
           values[0].i32 = static_cast<int32_t>(i);
           values[1].i32 = 1;
           wasm_trap_t* trap = nullptr;
           if (wasmtime_func_call_unchecked(by_hand.context(), &raw, values.data(), 2, &trap) != nullptr ||
               trap != nullptr || values[0].i32 != static_cast<int32_t>(i) + 1) {
             fail("raw");
           }
         }
       }},
      {"dynamic",
       [dynamic](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           const std::array<Value, 2> args{Value::i32(static_cast<int32_t>(i)), Value::i32(1)};
           const Result<std::vector<Value>> sum = dynamic(args);
           if (!sum.ok() || sum.value()[0].as_i32().value() != static_cast<int32_t>(i) + 1) fail("dynamic");
         }
       }},
      {"checked",
       [&by_hand, raw](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           std::array<wasmtime_val_t, 2> args;
           args[0].kind = args[1].kind = WASMTIME_I32;
           args[0].of.i32 = static_cast<int32_t>(i);
           args[1].of.i32 = 1;
           std::vector<wasmtime_val_t> results(1);
           wasm_trap_t* trap = nullptr;
           if (wasmtime_func_call(by_hand.context(), &raw, args.data(), 2, results.data(), 1, &trap) !=
                   nullptr ||
               trap != nullptr || results[0].of.i32 != static_cast<int32_t>(i) + 1) {
             fail("checked");
           }
         }
       }},
  };
}

std::vector<bench::Subject> text_subjects(Instance& instance, ByHand& by_hand) {
  auto upper = instance.function<std::string(std::string_view)>("upper").value();
  const wasmtime_func_t realloc_function = by_hand.item("cabi_realloc").of.func;
  const wasmtime_func_t upper_function = by_hand.item("upper").of.func;
  const wasmtime_func_t post_function = by_hand.item("cabi_post_upper").of.func;
  const wasmtime_memory_t memory = by_hand.item("memory").of.memory;
  return {
      {"string64",
       [upper](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           const Result<std::string> text = upper(kText);
           if (!text.ok() || text.value() != kUpper) fail("string64");
         }
       }},
      {"checked64",
       [&by_hand, realloc_function, upper_function, post_function, memory](uint64_t n) {
         for (uint64_t i = 0; i < n; i++) {
           const auto bytes = static_cast<int32_t>(kText.size());
           const int32_t at = by_hand.call(realloc_function, {0, 0, 1, bytes}, true);
           std::memcpy(wasmtime_memory_data(by_hand.context(), &memory) + at, kText.data(), kText.size());
           const int32_t pair = by_hand.call(upper_function, {at, bytes}, true);
           std::array<uint32_t, 2> where;
           std::memcpy(where.data(), wasmtime_memory_data(by_hand.context(), &memory) + pair, sizeof where);
           const uint8_t* data = wasmtime_memory_data(by_hand.context(), &memory);
           const std::string text(reinterpret_cast<const char*>(data) + where[0], where[1]);
           by_hand.call(post_function, {pair}, false);
           if (text != kUpper) fail("checked64");
         }
       }},
  };
}

int run(int argc, char** argv) {
  bench::Report report("call", argc, argv);
  const std::unique_ptr<Runtime> runtime = Runtime::create({.tier = Tier::kOptimised}).value();
  const auto numbers = test::guest("numbers.wat");
  const auto text = test::guest("text.wat");
  Instance number_instance = runtime->instantiate(*runtime->load_module("numbers", numbers).value()).value();
  Instance text_instance = runtime->instantiate(*runtime->load_module("text", text).value()).value();
  ByHand number_by_hand(numbers);
  ByHand text_by_hand(text);

  report.add(bench::interleave(number_subjects(number_instance, number_by_hand), 2000, 2000));
  report.add(bench::interleave(text_subjects(text_instance, text_by_hand), 1000, 1000));
  report.ratio("typed_vs_raw", "typed", "raw", "lower");
  report.ratio("dynamic_vs_checked", "dynamic", "checked", "lower");
  report.ratio("string64_vs_checked", "string64", "checked64", "lower");
  report.top("dynamic_ns", report.p50("dynamic"));
  report.top("dynamic_baseline_ns", report.p50("checked"));
  report.top("string64_ns", report.p50("string64"));
  report.top("string64_baseline_ns", report.p50("checked64"));
  return report.print();
}

}  // namespace
}  // namespace spore

int main(int argc, char** argv) { return spore::run(argc, argv); }
