#include "spore/wasm/inspect.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "spore/base/utf8.h"

extern "C" {

// rust/src/inspect.rs has the other half of these two.
struct SporeInspectFacts {
  uint32_t proposals;
  uint8_t has_start;
  uint32_t functions;
  uint32_t functions_imported;
  uint32_t tables;
  uint32_t memories;
  uint32_t globals;
  uint32_t globals_mutable;
  uint32_t data_segments;
  uint32_t element_segments;
  uint64_t code_bytes;
  uint64_t data_bytes;
  uint64_t custom_bytes;
  uint64_t body_bytes_max;
};

struct SporeInspectSink {
  void* env;
  void (*import)(void* env, const char* module, size_t module_bytes, const char* name, size_t name_bytes,
                 const char* type, size_t type_bytes);
  void (*exported)(void* env, const char* name, size_t name_bytes, const char* type, size_t type_bytes);
  void (*memory)(void* env, const char* type, size_t type_bytes);
  void (*custom)(void* env, const char* name, size_t name_bytes, uint64_t bytes);
  void (*error)(void* env, const char* text, size_t text_bytes, uint64_t offset);
};

uint8_t spore_inspect(const uint8_t* data, size_t bytes, const SporeInspectSink* sink,
                      SporeInspectFacts* facts);

}  // extern "C"

namespace spore::wasm {
namespace {

enum InspectStatus : uint8_t { kOk, kInvalid, kComponent, kPanic };

// Collects what the inspector says.  Called from Rust frames: nothing may be thrown, so running out
// of memory here ends the process (noexcept), as it does in Rust.
struct Collector {
  ModuleFacts facts;
  std::string error;
  uint64_t error_offset = 0;

  static Collector& of(void* env) noexcept { return *static_cast<Collector*>(env); }

  static void import(void* env, const char* module, size_t module_bytes, const char* name, size_t name_bytes,
                     const char* type, size_t type_bytes) noexcept {
    of(env).facts.imports.push_back(
        {std::string(module, module_bytes), std::string(name, name_bytes), std::string(type, type_bytes)});
  }
  static void exported(void* env, const char* name, size_t name_bytes, const char* type,
                       size_t type_bytes) noexcept {
    of(env).facts.exports.push_back({std::string(name, name_bytes), std::string(type, type_bytes)});
  }
  static void memory(void* env, const char* type, size_t type_bytes) noexcept {
    of(env).facts.memory_types.emplace_back(type, type_bytes);
  }
  static void custom(void* env, const char* name, size_t name_bytes, uint64_t bytes) noexcept {
    of(env).facts.custom_sections.push_back({std::string(name, name_bytes), bytes});
  }
  static void error_at(void* env, const char* text, size_t text_bytes, uint64_t offset) noexcept {
    constexpr size_t kMessageBytesMax = 1000;
    of(env).error = printable({text, text_bytes}, kMessageBytesMax);  // it may quote names of the module
    of(env).error_offset = offset;
  }
};

void copy_counts(const SporeInspectFacts& from, ModuleFacts& to) {
  to.proposals = from.proposals;
  to.has_start = from.has_start != 0;
  to.functions = from.functions;
  to.functions_imported = from.functions_imported;
  to.tables = from.tables;
  to.memories = from.memories;
  to.globals = from.globals;
  to.globals_mutable = from.globals_mutable;
  to.data_segments = from.data_segments;
  to.element_segments = from.element_segments;
  to.code_bytes = from.code_bytes;
  to.data_bytes = from.data_bytes;
  to.custom_bytes = from.custom_bytes;
  to.body_bytes_max = from.body_bytes_max;
}

Status not_wasm(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return Status::invalid_module("the module is empty (0 bytes)");
  return Status::invalid_module(
      "not WebAssembly: {} bytes that do not begin with \"\\0asm\" (expected a .wasm file)", bytes.size());
}

}  // namespace

std::string proposal_names(uint32_t proposals) {
  static constexpr std::array<std::pair<uint32_t, const char*>, 20> kNames{{
      {kMutableGlobals, "mutable-globals"},
      {kSaturatingFloatToInt, "saturating-float-to-int"},
      {kSignExtension, "sign-extension"},
      {kMultiValue, "multi-value"},
      {kBulkMemory, "bulk-memory"},
      {kReferenceTypes, "reference-types"},
      {kSimd, "simd"},
      {kRelaxedSimd, "relaxed-simd"},
      {kTailCall, "tail-call"},
      {kExtendedConst, "extended-const"},
      {kMultiMemory, "multi-memory"},
      {kMemory64, "memory64"},
      {kThreads, "threads"},
      {kExceptions, "exceptions"},
      {kGc, "gc"},
      {kFunctionReferences, "function-references"},
      {kWideArithmetic, "wide-arithmetic"},
      {kCustomPageSizes, "custom-page-sizes"},
      {kExternref, "externref"},
      {kOtherProposal, "another proposal"},
  }};
  std::string text;
  for (const auto& [bit, name] : kNames) {
    if ((proposals & bit) == 0) continue;
    if (!text.empty()) text += ", ";
    text += name;
  }
  return text;
}

bool has_wasm_magic(std::span<const uint8_t> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "\0asm", 4) == 0;
}

bool exports_function(const ModuleFacts& facts, std::string_view name) {
  return std::ranges::any_of(facts.exports, [&](const ModuleFacts::Export& exported) {
    return exported.name == name && exported.type == "func()";
  });
}

Result<ModuleFacts> inspect(std::span<const uint8_t> bytes, size_t module_bytes_max) {
  if (bytes.size() > module_bytes_max) {
    return Status::limit_exceeded("the module has {} bytes, the limit is {} (module_bytes_max)", bytes.size(),
                                  module_bytes_max);
  }
  if (!has_wasm_magic(bytes)) return not_wasm(bytes);

  Collector collector;
  const SporeInspectSink sink{&collector,        Collector::import, Collector::exported,
                              Collector::memory, Collector::custom, Collector::error_at};
  SporeInspectFacts counts{};
  const uint8_t status = spore_inspect(bytes.data(), bytes.size(), &sink, &counts);
  if (status == kInvalid) {
    return Status::invalid_module("not a valid module: {} (at offset {} of {} bytes)", collector.error,
                                  collector.error_offset, bytes.size());
  }
  if (status == kComponent) {
    return Status::unsupported(
        "this is a component, Spore runs core modules: build it for wasm32-wasip1 or "
        "wasm32-unknown-unknown, or take the module out with 'wasm-tools component unbundle'");
  }
  if (status != kOk) return Status::internal("the module inspector panicked; please report the module");

  copy_counts(counts, collector.facts);
  collector.facts.hash = sha256(bytes);
  collector.facts.module_bytes = bytes.size();
  return std::move(collector.facts);
}

Status check_proposals(const ModuleFacts& facts, uint32_t allowed) {
  const uint32_t beyond = facts.proposals & ~allowed;
  if (beyond == 0) return {};
  return Status::unsupported("the module uses what this build leaves out: {}", proposal_names(beyond));
}

}  // namespace spore::wasm
