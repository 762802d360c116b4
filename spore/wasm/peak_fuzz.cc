// A module, and any bytes for what was made of its prepared form: refused, or of the same exports and of no
// state beside them.  The input: u16 bytes of the module, the module, the other bytes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "spore/wasm/inspect.h"
#include "spore/wasm/peak.h"
#include "spore/wasm/prepare.h"

namespace {

constexpr size_t kBytesMax = 1 << 16;
constexpr size_t kPreparedBytesMax = size_t{16} << 20;

std::vector<std::pair<std::string, std::string>> exports_of(const spore::wasm::ModuleFacts& facts) {
  std::vector<std::pair<std::string, std::string>> exports;
  for (const auto& exported : facts.exports) exports.emplace_back(exported.name, exported.type);
  std::ranges::sort(exports);
  return exports;
}

bool check(std::span<const uint8_t> peak, const spore::wasm::PreparedModule& prepared) {
  const spore::Status status = spore::wasm::check_peak(peak, prepared.wasm, prepared, kPreparedBytesMax);
  SPORE_ASSERT(status.ok() || status.code() == spore::Code::kUnsupported, status.message());
  return status.ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint16_t length = 0;
  if (size < sizeof length || size > kBytesMax) return 0;
  std::memcpy(&length, data, sizeof length);
  const std::span<const uint8_t> rest(data + sizeof length, size - sizeof length);
  if (length > rest.size()) return 0;
  const auto prepared = spore::wasm::prepare(rest.first(length), kBytesMax);
  if (!prepared.ok()) return 0;
  check(prepared->wasm, prepared.value());
  const std::span<const uint8_t> peak = rest.subspan(length);
  if (!check(peak, prepared.value())) return 0;
  const spore::wasm::ModuleFacts before = spore::wasm::inspect(prepared->wasm, kPreparedBytesMax).value();
  const spore::wasm::ModuleFacts after = spore::wasm::inspect(peak, kPreparedBytesMax).value();
  SPORE_ASSERT(exports_of(before) == exports_of(after), "other exports");
  SPORE_ASSERT(after.memories <= before.memories && after.tables <= before.tables, "more state");
  SPORE_ASSERT(after.globals_mutable <= before.globals_mutable, "a hidden global");
  SPORE_ASSERT(!after.has_start && after.data_segments == before.data_segments, "it does something first");
  return 0;
}
