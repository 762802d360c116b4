#include "spore/code/compile_limits.h"

#include <cstddef>
#include <string>

#include "spore/base/utf8.h"

extern "C" {

// rust/src/limits.rs has the other half of these.
struct SporeCompileMost {
  uint64_t count;
  uint64_t function;
};

struct SporeCompileFacts {
  uint64_t functions;
  uint64_t code_bytes;
  uint64_t locals_bytes;
  uint64_t values;
  uint64_t br_table_targets;
  uint64_t initialisers;
  SporeCompileMost body_bytes;
  SporeCompileMost locals;
  SporeCompileMost values_of_one;
  SporeCompileMost br_table_targets_of_one;
  SporeCompileMost nesting;
};

struct SporeLimitsSink {
  void* env;
  void (*error)(void* env, const char* text, size_t text_bytes, uint64_t offset);
};

uint8_t spore_compile_facts(const uint8_t* data, size_t bytes, const SporeLimitsSink* sink,
                            SporeCompileFacts* facts);

}  // extern "C"

namespace spore::code {
namespace {

enum FactsStatus : uint8_t { kOk, kInvalid, kComponent, kPanic };

struct ParseError {
  std::string text;
  uint64_t offset = 0;

  // Called from Rust frames: nothing may be thrown.
  static void at(void* env, const char* text, size_t text_bytes, uint64_t offset) noexcept {
    constexpr size_t kMessageBytesMax = 1000;
    auto& error = *static_cast<ParseError*>(env);
    error.text = printable({text, text_bytes}, kMessageBytesMax);  // it may quote names of the module
    error.offset = offset;
  }
};

CompileFacts::Most most(const SporeCompileMost& from) {
  return {.count = from.count, .function = from.function};
}

Status check_total(uint64_t count, std::string_view what, uint64_t max, std::string_view name) {
  if (count <= max) return {};
  return Status::limit_exceeded("the module has {} {}, more than compiling allows (compile_{}={})", count,
                                what, name, max);
}

Status check_most(const CompileFacts::Most& most, std::string_view what, uint64_t max,
                  std::string_view name) {
  if (most.count <= max) return {};
  return Status::limit_exceeded("function {} has {} {}, more than compiling allows (compile_{}={})",
                                most.function, most.count, what, name, max);
}

}  // namespace

Result<CompileFacts> compile_facts(std::span<const uint8_t> wasm) {
  ParseError error;
  const SporeLimitsSink sink{&error, ParseError::at};
  SporeCompileFacts raw{};
  const uint8_t status = spore_compile_facts(wasm.data(), wasm.size(), &sink, &raw);
  if (status == kInvalid) {
    return Status::invalid_module("not a valid module: {} (at offset {} of {} bytes)", error.text,
                                  error.offset, wasm.size());
  }
  if (status == kComponent) return Status::unsupported("this is a component, only modules are compiled");
  if (status != kOk)
    return Status::internal("counting what a module holds panicked; please report the module");
  return CompileFacts{.functions = raw.functions,
                      .code_bytes = raw.code_bytes,
                      .locals_bytes = raw.locals_bytes,
                      .values_total = raw.values,
                      .br_table_targets_total = raw.br_table_targets,
                      .initialisers = raw.initialisers,
                      .body_bytes = most(raw.body_bytes),
                      .locals = most(raw.locals),
                      .values = most(raw.values_of_one),
                      .br_table_targets = most(raw.br_table_targets_of_one),
                      .nesting = most(raw.nesting)};
}

Status check_compile_limits(const CompileFacts& facts, const CompileLimits& limits) {
  SPORE_TRY(check_total(facts.functions, "functions", limits.functions_max, "functions_max"));
  SPORE_TRY(check_most(facts.body_bytes, "bytes of code", limits.body_bytes_max, "body_bytes_max"));
  SPORE_TRY(check_most(facts.locals, "locals", limits.locals_max, "locals_max"));
  SPORE_TRY(check_total(facts.locals_bytes, "bytes of locals", limits.locals_bytes_max, "locals_bytes_max"));
  SPORE_TRY(check_total(facts.initialisers, "segments, elements and globals to initialise by code",
                        limits.initialisers_max, "initialisers_max"));
  SPORE_TRY(check_most(facts.nesting, "blocks in one another", limits.nesting_max, "nesting_max"));
  SPORE_TRY(check_most(facts.br_table_targets, "targets of br_table", limits.br_table_targets_max,
                       "br_table_targets_max"));
  SPORE_TRY(check_most(facts.values, "values that its calls and blocks take and give", limits.values_max,
                       "values_max"));
  return check_total(facts.values_total, "values that calls and blocks take and give",
                     limits.values_total_max, "values_total_max");
}

}  // namespace spore::code
