#include "tests/tiers/flaw.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <utility>

#include "spore/base/assert.h"
#include "tests/smith/smith.h"

namespace spore::tiers_test {

using differential::Outcome;
using differential::State;
using engine::TrapKind;
using engine::ValType;

namespace {

// Of two rows of equal things, the first that differs becomes what it was.  False: none does.
template <typename Row>
bool put_one_back(const Row& before, Row& after) {
  const auto [was, is] = std::ranges::mismatch(before, after);
  if (was == before.end() || is == after.end()) return false;
  *is = *was;
  return true;
}

template <typename Rows>
void put_one_back_in_any(const Rows& before, Rows& after) {
  for (size_t i = 0; i < before.size(); i++) {
    if (put_one_back(before[i], after[i])) return;
  }
}

}  // namespace

std::optional<Flaw> flaw_of(std::string_view name) {
  constexpr std::pair<std::string_view, Flaw> kNames[] = {
      {"none", Flaw::kNone},       {"nan", Flaw::kNan},       {"trap", Flaw::kTrap},
      {"byte", Flaw::kByte},       {"length", Flaw::kLength}, {"global", Flaw::kGlobal},
      {"element", Flaw::kElement}, {"min", Flaw::kMin},       {"nearest", Flaw::kNearest},
      {"shift", Flaw::kShift},     {"less", Flaw::kLess},     {"saturate", Flaw::kSaturate},
      {"vector", Flaw::kVector},   {"state", Flaw::kState}};
  const auto* const found = std::ranges::find(kNames, name, &std::pair<std::string_view, Flaw>::first);
  if (found == std::end(kNames)) return std::nullopt;
  return found->second;
}

bool is_nan(ValType type, const Outcome::Bits& bits) {
  float single = 0;
  double number = 0;
  std::memcpy(&single, bits.data(), sizeof(single));
  std::memcpy(&number, bits.data(), sizeof(number));
  return type == ValType::kF32 ? std::isnan(single) : type == ValType::kF64 && std::isnan(number);
}

void spoil(Flaw flaw, const engine::FuncType& type, Outcome& outcome) {
  if (flaw == Flaw::kTrap && outcome.trap == TrapKind::kIntegerDivisionByZero) {
    outcome.trap = TrapKind::kIntegerOverflow;
  }
  if (flaw != Flaw::kNan) return;
  for (size_t i = 0; i < outcome.results.size(); i++) {
    if (!is_nan(type.results[i], outcome.results[i])) continue;
    outcome.results[i][0] ^= 1;
    return;
  }
}

void spoil(Flaw flaw, const State& before, State& after) {
  switch (flaw) {
    case Flaw::kByte: put_one_back_in_any(before.memories, after.memories); break;
    case Flaw::kLength:
      for (size_t i = 0; i < before.memories.size(); i++) after.memories[i].resize(before.memories[i].size());
      break;
    case Flaw::kGlobal: put_one_back(before.globals, after.globals); break;
    case Flaw::kElement: put_one_back_in_any(before.tables, after.tables); break;
    default: break;
  }
}

void spoil(Flaw flaw, std::span<uint8_t> wasm) {
  // Instructions as they are encoded.
  const auto replace = [&](std::initializer_list<uint8_t> from, std::initializer_list<uint8_t> to) {
    SPORE_ASSERT(spore_smith_replace(wasm.data(), wasm.size(), from.begin(), to.begin(), from.size()),
                 "a prepared module is valid");
  };
  switch (flaw) {
    case Flaw::kMin: replace({0xa4}, {0xa5}); break;
    case Flaw::kNearest: replace({0x90}, {0x8f}); break;
    case Flaw::kShift: replace({0x87}, {0x88}); break;
    case Flaw::kLess: replace({0x48}, {0x4c}); break;
    case Flaw::kSaturate: replace({0xfc, 0x04}, {0xfc, 0x05}); break;
    case Flaw::kVector: replace({0xfd, 0xf6, 0x01}, {0xfd, 0xf7, 0x01}); break;
    default: break;
  }
}

}  // namespace spore::tiers_test
