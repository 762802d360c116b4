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

#include <wasmtime.h>

#include "bench/harness.h"
#include "spore/base/fd.h"
#include "spore/engine/engine.h"
#include "spore/spore.h"

namespace spore {
namespace {

using bench::fail;

std::vector<uint8_t> guest(const char* name) {
  const auto text = read_file(std::string(SPORE_SOURCE_DIR "/tests/guests/") + name, 1 << 20).value();
  return engine::text_to_wasm({reinterpret_cast<const char*>(text.data()), text.size()}).value();
}

// The baseline: Wasmtime as its C API is used by hand.
struct ByHand {
  explicit ByHand(const std::vector<uint8_t>& wasm) {
    wasm_config_t* config = wasm_config_new();
    wasmtime_config_epoch_interruption_set(config, true);
    wasmtime_config_cranelift_nan_canonicalization_set(config, true);
    wasmtime_config_native_unwind_info_set(config, false);
    wasmtime_config_parallel_compilation_set(config, false);
    engine = wasm_engine_new_with_config(config);
    wasmtime_module_t* module = nullptr;
    if (wasmtime_module_new(engine, wasm.data(), wasm.size(), &module) != nullptr) fail("compile");
    store = wasmtime_store_new(engine, nullptr, nullptr);
    context = wasmtime_store_context(store);
    wasmtime_context_set_epoch_deadline(context, 1);
    wasm_trap_t* trap = nullptr;
    if (wasmtime_instance_new(context, module, nullptr, 0, &instance, &trap) != nullptr) fail("instance");
    wasmtime_module_delete(module);
  }
  ~ByHand() {
    wasmtime_store_delete(store);
    wasm_engine_delete(engine);
  }
  ByHand(const ByHand&) = delete;
  ByHand& operator=(const ByHand&) = delete;

  wasmtime_extern_t item(const char* name) {
    wasmtime_extern_t found;
    if (!wasmtime_instance_export_get(context, &instance, name, std::strlen(name), &found)) fail(name);
    return found;
  }

  // The checked call, for up to four arguments and one result.
  int32_t call(const wasmtime_func_t& function, std::initializer_list<int32_t> args, bool result) {
    std::array<wasmtime_val_t, 4> values;
    size_t count = 0;
    for (const int32_t arg : args) {
      values[count].kind = WASMTIME_I32;
      values[count++].of.i32 = arg;
    }
    wasmtime_val_t out;
    wasm_trap_t* trap = nullptr;
    if (wasmtime_func_call(context, &function, values.data(), count, &out, result ? 1 : 0, &trap) != nullptr ||
        trap != nullptr) {
      fail("checked call");
    }
    return result ? out.of.i32 : 0;
  }

  wasm_engine_t* engine;
  wasmtime_store_t* store;
  wasmtime_context_t* context;
  wasmtime_instance_t instance;
};

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
           if (wasmtime_func_call_unchecked(by_hand.context, &raw, values.data(), 2, &trap) != nullptr ||
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
           if (wasmtime_func_call(by_hand.context, &raw, args.data(), 2, results.data(), 1, &trap) != nullptr ||
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
           std::memcpy(wasmtime_memory_data(by_hand.context, &memory) + at, kText.data(), kText.size());
           const int32_t pair = by_hand.call(upper_function, {at, bytes}, true);
           std::array<uint32_t, 2> where;
           std::memcpy(where.data(), wasmtime_memory_data(by_hand.context, &memory) + pair, sizeof where);
           const uint8_t* data = wasmtime_memory_data(by_hand.context, &memory);
           const std::string text(reinterpret_cast<const char*>(data) + where[0], where[1]);
           by_hand.call(post_function, {pair}, false);
           if (text != kUpper) fail("checked64");
         }
       }},
  };
}

int run(int argc, char** argv) {
  bench::Report report("call", argc, argv);
  const std::unique_ptr<Runtime> runtime = Runtime::create({}).value();
  const auto numbers = guest("numbers.wat");
  const auto text = guest("text.wat");
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
