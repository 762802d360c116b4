#include "spore/wasm/prepare.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "spore/base/utf8.h"

extern "C" {

// rust/src/prepare.rs has the other half of these.
struct SporePreparedFacts {
  uint8_t memory_grow;
  uint8_t asyncify;
  uint32_t bodies_rewritten;
  uint32_t functions_added;
  uint32_t asyncify_state;
  uint32_t asyncify_data;
};

struct SporeMemoryFact {
  uint32_t index;
  uint8_t wide;
  uint8_t shared;
  uint8_t bounded;
  uint8_t page_bytes_log2;
  uint64_t pages_min;
  uint64_t pages_max;
};

struct SporeTableFact {
  uint32_t index;
  uint8_t wide;
  uint8_t bounded;
  uint8_t changes;
  uint8_t written;
  uint8_t grows;
  uint64_t elements_min;
  uint64_t elements_max;
};

struct SporeGlobalFact {
  uint32_t index;
  uint8_t kind;
  uint8_t known;
  uint8_t initial[16];
};

struct SporePrepareSink {
  void* env;
  void (*wasm)(void* env, const uint8_t* data, size_t bytes);
  void (*reset_reason)(void* env, const char* text, size_t text_bytes);
  void (*memory)(void* env, const SporeMemoryFact* fact);
  void (*table)(void* env, const SporeTableFact* fact);
  void (*global)(void* env, const SporeGlobalFact* fact);
  void (*drop_flag)(void* env, uint8_t of_elements, uint32_t segment);
  void (*table_functions)(void* env, const uint32_t* functions, size_t count);
  void (*lifted)(void* env, uint32_t memory, uint64_t offset, const uint8_t* data, size_t bytes);
  void (*not_lifted)(void* env, const char* reason, size_t reason_bytes);
  void (*error)(void* env, const char* text, size_t text_bytes);
};

uint8_t spore_prepare(const uint8_t* data, size_t bytes, const SporePrepareSink* sink,
                      SporePreparedFacts* facts);

}  // extern "C"

namespace spore::wasm {
namespace {

enum PrepareStatus : uint8_t { kOk, kInvalid, kReservedName, kTooLarge, kPanic };

// Collects what the preparer says.  Called from Rust frames: nothing may be thrown, so running out of memory
// here ends the process (noexcept), as it does in Rust.
struct Collector {
  const uint8_t* original = nullptr;
  PreparedModule module;
  std::string error;

  static Collector& of(void* env) noexcept { return *static_cast<Collector*>(env); }

  static void wasm(void* env, const uint8_t* data, size_t bytes) noexcept {
    of(env).module.wasm.assign(data, data + bytes);
  }
  static void reset_reason(void* env, const char* text, size_t text_bytes) noexcept {
    of(env).module.reset_reasons.emplace_back(text, text_bytes);
  }
  static void memory(void* env, const SporeMemoryFact* fact) noexcept {
    of(env).module.memories.push_back({
        .index = fact->index,
        .is_64 = fact->wide != 0,
        .shared = fact->shared != 0,
        .page_bytes = uint32_t{1} << fact->page_bytes_log2,
        .pages_min = fact->pages_min,
        .pages_max = fact->bounded != 0 ? std::optional(fact->pages_max) : std::nullopt,
    });
  }
  static void table(void* env, const SporeTableFact* fact) noexcept {
    of(env).module.tables.push_back({
        .index = fact->index,
        .is_64 = fact->wide != 0,
        .changes = fact->changes != 0,
        .written = fact->written != 0,
        .grows = fact->grows != 0,
        .elements_min = fact->elements_min,
        .elements_max = fact->bounded != 0 ? std::optional(fact->elements_max) : std::nullopt,
    });
  }
  static void global(void* env, const SporeGlobalFact* fact) noexcept {
    PreparedModule::Global global{.index = fact->index,
                                  .kind = static_cast<PreparedModule::GlobalKind>(fact->kind)};
    if (fact->known != 0) std::memcpy(global.initial.emplace().data(), fact->initial, sizeof(fact->initial));
    of(env).module.globals.push_back(global);
  }
  static void drop_flag(void* env, uint8_t of_elements, uint32_t segment) noexcept {
    PreparedModule& module = of(env).module;
    (of_elements != 0 ? module.element_flags : module.data_flags).push_back(segment);
  }
  static void table_functions(void* env, const uint32_t* functions, size_t count) noexcept {
    of(env).module.table_functions.assign(functions, functions + count);
  }
  static void lifted(void* env, uint32_t memory, uint64_t offset, const uint8_t* data,
                     size_t bytes) noexcept {
    // The preparer copies no data: what it tells lies in what it was given.
    const uint64_t file_offset = bytes == 0 ? 0 : static_cast<uint64_t>(data - of(env).original);
    of(env).module.lifted.push_back(
        {.memory = memory, .offset = offset, .file_offset = file_offset, .bytes = {data, data + bytes}});
  }
  static void not_lifted(void* env, const char* reason, size_t reason_bytes) noexcept {
    of(env).module.not_lifted.assign(reason, reason_bytes);
  }
  static void error_text(void* env, const char* text, size_t text_bytes) noexcept {
    constexpr size_t kMessageBytesMax = 1000;
    of(env).error = printable({text, text_bytes}, kMessageBytesMax);  // a name of the module, perhaps
  }
};

Status failure(uint8_t status, std::string_view error) {
  switch (status) {
    case kReservedName:
      return Status::invalid_module(
          "the module imports or exports '{}': names that begin with '{}' are the preparer's (was it "
          "prepared "
          "before?)",
          error, kReservedPrefix);
    case kTooLarge: return Status::limit_exceeded("the prepared module would not be valid: {}", error);
    case kInvalid: return Status::internal("the preparer cannot read a valid module: {}", error);
    default: return Status::internal("the preparer panicked; please report the module");
  }
}

// The five functions of asyncify, with their types.  What the preparer looked into, it found by name.
bool has_asyncify_exports(const ModuleFacts& facts) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kExports{{
      {"asyncify_start_unwind", "func(i32)"},
      {"asyncify_stop_unwind", "func()"},
      {"asyncify_start_rewind", "func(i32)"},
      {"asyncify_stop_rewind", "func()"},
      {"asyncify_get_state", "func() -> i32"},
  }};
  return std::ranges::all_of(kExports, [&](const auto& wanted) {
    return std::ranges::any_of(facts.exports, [&](const ModuleFacts::Export& exported) {
      return exported.name == wanted.first && exported.type == wanted.second;
    });
  });
}

std::string numbered(char kind, uint32_t index) {
  return fmt::format("{}{}{}", kReservedPrefix, kind, index);
}

}  // namespace

std::string_view reset_mode_name(ResetMode mode) {
  return mode == ResetMode::kInPlace ? "in_place" : "reinstantiate";
}

std::string PreparedModule::Memory::export_name() const { return numbered('m', index); }
std::string PreparedModule::Table::export_name() const { return numbered('t', index); }
std::string PreparedModule::Global::export_name() const { return numbered('g', index); }
std::string PreparedModule::table_function_name(uint32_t index) { return numbered('f', index); }

Result<PreparedModule> prepare(std::span<const uint8_t> wasm, size_t bytes_max) {
  ModuleFacts facts = SPORE_TRY(inspect(wasm, bytes_max));
  SPORE_TRY(check_proposals(facts, kProposalsPreparable));

  Collector collector{.original = wasm.data()};
  const SporePrepareSink sink{
      &collector,        Collector::wasm,       Collector::reset_reason, Collector::memory,
      Collector::table,  Collector::global,     Collector::drop_flag,    Collector::table_functions,
      Collector::lifted, Collector::not_lifted, Collector::error_text};
  SporePreparedFacts counts{};
  const uint8_t status = spore_prepare(wasm.data(), wasm.size(), &sink, &counts);
  if (status != kOk) return failure(status, collector.error);

  PreparedModule& module = collector.module;
  module.facts = std::move(facts);
  module.has_memory_grow = counts.memory_grow != 0;
  if (counts.asyncify != 0 && has_asyncify_exports(module.facts)) {
    module.asyncify = {.state_global = counts.asyncify_state, .data_global = counts.asyncify_data};
  }
  module.functions_rewritten = counts.bodies_rewritten;
  module.functions_added = counts.functions_added;
  return std::move(module);
}

PreparedModule facts_of(const PreparedModule& module) {
  // Each of them: another one does not compile here until it is copied, too.
  const auto& [facts, wasm, asyncify, memories, tables, globals, data_flags, element_flags, has_memory_grow,
               table_functions, lifted, not_lifted, functions_rewritten, functions_added, reset_reasons] =
      module;
  static_cast<void>(wasm);
  return {.facts = facts,
          .wasm = {},
          .asyncify = asyncify,
          .memories = memories,
          .tables = tables,
          .globals = globals,
          .data_flags = data_flags,
          .element_flags = element_flags,
          .has_memory_grow = has_memory_grow,
          .table_functions = table_functions,
          .lifted = lifted,
          .not_lifted = not_lifted,
          .functions_rewritten = functions_rewritten,
          .functions_added = functions_added,
          .reset_reasons = reset_reasons};
}

}  // namespace spore::wasm
