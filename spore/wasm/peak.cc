#include "spore/wasm/peak.h"

#include <set>
#include <string>
#include <string_view>

#include "spore/base/utf8.h"

extern "C" {

// rust/src/peak.rs has the other half of these.
struct SporePeakSink {
  void* env;
  void (*error)(void* env, const char* text, size_t text_bytes);
};

uint8_t spore_check_peak(const uint8_t* prepared, size_t prepared_bytes, const uint8_t* peak,
                         size_t peak_bytes, const SporePeakSink* sink);

}  // extern "C"

namespace spore::wasm {
namespace {

enum PeakStatus : uint8_t { kOk, kUnfit, kInvalid, kPanic };

// Called from Rust frames: running out of memory here ends the process, as it does in Rust.
void take_error(void* env, const char* text, size_t text_bytes) noexcept {
  constexpr size_t kMessageBytesMax = 1000;
  *static_cast<std::string*>(env) = printable({text, text_bytes}, kMessageBytesMax);  // it may quote names
}

Status unfit(std::string_view why) {
  return Status::unsupported("the optimised form does not hold the state of the prepared one: {}", why);
}

// All that `prepared` says it exports, `wasm` exports.
Status check_names(const ModuleFacts& wasm, const PreparedModule& prepared) {
  std::set<std::string_view> exported;
  for (const ModuleFacts::Export& entry : wasm.exports) exported.insert(entry.name);
  const auto check = [&](const std::string& name) -> Status {
    if (exported.contains(name)) return {};
    return Status::invalid_argument("this is not the prepared form of that module: it does not export '{}'",
                                    name);
  };
  for (const auto& memory : prepared.memories) SPORE_TRY(check(memory.export_name()));
  for (const auto& table : prepared.tables) SPORE_TRY(check(table.export_name()));
  for (const auto& global : prepared.globals) SPORE_TRY(check(global.export_name()));
  for (const uint32_t segment : prepared.data_flags) {
    SPORE_TRY(check(fmt::format("{}d{}", kReservedPrefix, segment)));
  }
  for (const uint32_t segment : prepared.element_flags) {
    SPORE_TRY(check(fmt::format("{}e{}", kReservedPrefix, segment)));
  }
  for (const uint32_t function : prepared.table_functions) {
    SPORE_TRY(check(PreparedModule::table_function_name(function)));
  }
  return {};
}

}  // namespace

Status check_peak(std::span<const uint8_t> peak, std::span<const uint8_t> wasm,
                  const PreparedModule& prepared, size_t bytes_max) {
  const ModuleFacts before = SPORE_TRY(inspect(wasm, bytes_max));
  SPORE_TRY(check_names(before, prepared));
  const Result<ModuleFacts> after = inspect(peak, bytes_max);
  if (!after.ok()) return unfit(after.status().message());
  const uint32_t added = after->proposals & ~before.proposals;
  if (added != 0) return unfit(fmt::format("it uses {}", proposal_names(added)));

  std::string error;
  const SporePeakSink sink{&error, take_error};
  switch (spore_check_peak(wasm.data(), wasm.size(), peak.data(), peak.size(), &sink)) {
    case kOk: return {};
    case kUnfit: return unfit(error);
    case kInvalid: return Status::internal("a valid module cannot be read: {}", error);
    default: return Status::internal("looking at the optimised form panicked; please report the module");
  }
}

}  // namespace spore::wasm
