#include "tests/differential/guest.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/differential/random.h"
#include "tests/guest_file.h"
#include "tests/smith/smith.h"

namespace spore::differential {

namespace {

// A case begins with these; the rest are the generator's choices.
struct Header {
  uint8_t generator;
  uint8_t variant;
  std::array<uint8_t, 6> calls_seed;
};
static_assert(sizeof(Header) == 8);

constexpr size_t kChoiceBytes = 4096;
constexpr size_t kModuleBytesMax = 1 << 20;

// In 256ths: a guest of wasm-smith seldom does what matters here, but what it does nobody thought of.
constexpr uint8_t kAnyShare = 64;
constexpr uint8_t kWasiShare = 16;

Generator generator_of(uint8_t byte) {
  if (byte < kAnyShare) return Generator::kAny;
  return byte < 256 - kWasiShare ? Generator::kSteered : Generator::kWasi;
}

}  // namespace

std::string_view generator_name(Generator generator) {
  switch (generator) {
    case Generator::kAny: return "any";
    case Generator::kSteered: return "steered";
    case Generator::kWasi: return "wasi";
  }
  return "?";
}

std::vector<uint8_t> case_bytes(uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(sizeof(Header) + kChoiceBytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.bits());
  return bytes;
}

std::optional<Guest> make_guest(std::span<const uint8_t> bytes, const GuestOptions& options) {
  Header header{};
  const size_t header_bytes = std::min(bytes.size(), sizeof(header));
  if (header_bytes > 0) std::memcpy(&header, bytes.data(), header_bytes);
  const std::span<const uint8_t> choices = bytes.subspan(header_bytes);

  Guest guest{.generator = generator_of(header.generator), .variant = header.variant};
  std::memcpy(&guest.calls_seed, header.calls_seed.data(), header.calls_seed.size());
  if (guest.generator == Generator::kWasi) {
    guest.wasm = test::guest("wasi_state.wat");
    return guest;
  }
  const SporeSmithOptions smith{
      .generator = guest.generator == Generator::kAny ? SPORE_SMITH_ANY : SPORE_SMITH_STEERED,
      .memory_pages_max = kMemoryPagesMax,
      .optimised = options.tier == engine::Tier::kOptimised,
      .numbers = options.numbers,
      .plain = options.all_tiers && guest.variant % 4 != 0,
      .fixed_tables =
          options.tier == engine::Tier::kInterpreter || (options.all_tiers && guest.variant / 4 % 4 != 0)};
  guest.wasm.resize(kModuleBytesMax);
  uint32_t counter = 0;
  guest.wasm.resize(spore_smith_make(&smith, choices.data(), choices.size(), guest.wasm.data(),
                                     guest.wasm.size(), &counter));
  if (guest.wasm.empty()) return std::nullopt;
  if (counter != UINT32_MAX) guest.counter_global = counter;
  return guest;
}

}  // namespace spore::differential
