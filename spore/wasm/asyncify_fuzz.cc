// A valid module, and any bytes for what wasm-opt made of it: refused, or spliced into a valid module that
// has all the exports of the first.  The input: functions as a mask of the first eight, u16 bytes of the
// module, the module, the other bytes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "spore/wasm/asyncify.h"
#include "spore/wasm/inspect.h"

namespace {

constexpr size_t kBytesMax = 1 << 16;

std::vector<uint32_t> functions_of(uint8_t mask, const spore::wasm::ModuleFacts& facts) {
  std::vector<uint32_t> functions;
  for (uint32_t i = 0; i < 8; i++) {
    if ((mask >> i & 1) != 0) functions.push_back(static_cast<uint32_t>(facts.functions_imported) + i);
  }
  return functions;
}

void check_exports(const spore::wasm::ModuleFacts& before, const spore::wasm::ModuleFacts& after) {
  for (const auto& exported : before.exports) {
    const bool there = std::ranges::any_of(after.exports, [&](const auto& other) {
      return other.name == exported.name && other.type == exported.type;
    });
    SPORE_ASSERT(there, "an export is gone");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint16_t length = 0;
  if (size < 1 + sizeof length || size > kBytesMax) return 0;
  std::memcpy(&length, data + 1, sizeof length);
  const std::span<const uint8_t> rest(data + 1 + sizeof length, size - 1 - sizeof length);
  if (length > rest.size()) return 0;
  const std::span<const uint8_t> module = rest.first(length);
  const auto facts = spore::wasm::inspect(module, kBytesMax);
  if (!facts.ok()) return 0;
  const std::vector<uint32_t> functions = functions_of(data[0], facts.value());
  const auto reduced = spore::wasm::reduce_for_asyncify(module, functions);
  if (reduced.ok()) {
    const auto after = spore::wasm::inspect(reduced.value(), size_t{16} << 20);
    SPORE_ASSERT(after.ok(), after.status().message());
    check_exports(facts.value(), after.value());
  }
  const auto spliced = spore::wasm::splice_asyncified(module, rest.subspan(length), functions);
  if (!spliced.ok()) return 0;
  const auto after = spore::wasm::inspect(spliced.value(), size_t{16} << 20);
  SPORE_ASSERT(after.ok(), after.status().message());
  check_exports(facts.value(), after.value());
  return 0;
}
