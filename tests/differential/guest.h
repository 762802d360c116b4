#pragma once

// The guests of the test: modules made from bytes.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/engine/engine.h"

namespace spore::differential {

enum class Generator : uint8_t {
  kAny,      // wasm-smith: whatever is valid
  kSteered,  // what changes state, and looks at it
  kWasi,     // one hand-written guest that uses WASI
};
std::string_view generator_name(Generator generator);

// Of each memory, as they are made and as they may grow.
inline constexpr uint32_t kMemoryPagesMax = 20;

// One case: a module, and what is done with it.
struct Guest {
  Generator generator = Generator::kAny;
  uint8_t variant = 0;      // which options it runs with
  uint64_t calls_seed = 0;  // of what is called
  std::vector<uint8_t> wasm;
  std::optional<uint32_t> counter_global;  // in which the module counts its own steps
};

// The bytes of the case that has this number.
std::vector<uint8_t> case_bytes(uint64_t seed);

struct GuestOptions {
  engine::Tier tier = engine::Tier::kBaseline;  // what it uses, this one takes
  bool numbers = false;                         // more floats and vectors
  bool all_tiers = false;  // three quarters such as the interpreter takes, and three such as Binaryen reads
};
// Any bytes; what is missing of them is zero.  Nothing: the generator makes no module of them.
std::optional<Guest> make_guest(std::span<const uint8_t> bytes, const GuestOptions& options);

}  // namespace spore::differential
