#include "tests/differential/calls.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "spore/wasm/prepare.h"

namespace spore::differential {

using engine::RawValue;
using engine::ValType;

namespace {

size_t width(ValType type) {
  switch (type) {
    case ValType::kI32:
    case ValType::kF32: return 4;
    case ValType::kI64:
    case ValType::kF64: return 8;
    default: return 16;
  }
}

uint64_t draw_bits(Random& random) {
  switch (random.below(4)) {
    case 0: return random.below(16);
    case 1: return -random.below(16);
    case 2: return uint64_t{1} << random.below(64);
    default: return random.bits();
  }
}

RawValue draw_value(ValType type, Random& random) {
  RawValue value{};
  // A reference of another kind than null would have to be of one instance.
  if (type == ValType::kFuncRef || type == ValType::kOtherRef) return value;
  const std::array<uint64_t, 2> bits{draw_bits(random), draw_bits(random)};
  std::memcpy(&value, bits.data(), width(type));
  return value;
}

// Little-endian bytes as one number.
std::string hex(std::span<const uint8_t> bytes) {
  std::string digits;
  for (const uint8_t byte : bytes) digits.insert(0, fmt::format("{:02x}", byte));
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size() - 1);
  return "0x" + digits.substr(first);
}

}  // namespace

std::vector<engine::CompiledCode::Export> functions_of(const engine::CompiledCode& code) {
  std::vector<engine::CompiledCode::Export> functions;
  for (const auto& exported : code.exports()) {
    if (exported.kind != engine::ExternKind::kFunction) continue;
    if (exported.name.starts_with(wasm::kReservedPrefix)) continue;
    functions.push_back(exported);
  }
  return functions;
}

std::vector<Call> draw_calls(const std::vector<engine::CompiledCode::Export>& functions, uint64_t count,
                             Random& random) {
  std::vector<Call> calls;
  for (uint64_t i = 0; i < count; i++) {
    const auto& function = functions[random.below(functions.size())];
    Call call{.function = function.name, .type = function.type, .args = {}};
    for (const ValType type : call.type.params) call.args.push_back(draw_value(type, random));
    calls.push_back(std::move(call));
  }
  return calls;
}

Outcome::Bits bits_of(ValType type, const RawValue& value) {
  Outcome::Bits bits{};
  if (type == ValType::kFuncRef || type == ValType::kOtherRef) {
    bits[0] = value.reference == nullptr ? 0 : 1;
  } else {
    std::memcpy(bits.data(), &value, width(type));
  }
  return bits;
}

Outcome outcome_of(const Status& status, const std::vector<int32_t>& log) {
  Outcome outcome{.code = status.code(), .logged = log};
  if (const engine::TrapInfo* info = engine::trap_info(status)) outcome.trap = info->kind;
  return outcome;
}

Outcome run(const Call& call, const engine::RawFunction& function, std::vector<int32_t>& log) {
  log.clear();
  std::vector<RawValue> values = call.args;
  values.resize(std::max(call.type.params.size(), call.type.results.size()));
  const Status status = function.call_unchecked(values.data(), values.size());

  Outcome outcome = outcome_of(status, log);
  if (!status.ok()) return outcome;
  for (size_t i = 0; i < call.type.results.size(); i++) {
    outcome.results.push_back(bits_of(call.type.results[i], values[i]));
  }
  return outcome;
}

Outcome run(const Call& call, const host::Instance& instance, std::vector<int32_t>& log) {
  return run(call, instance.raw_function(call.function).value(), log);
}

std::string text(const Call& call) {
  std::string args;
  for (size_t i = 0; i < call.args.size(); i++) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(&call.args[i]);
    args += (i == 0 ? "" : ", ") + hex({bytes, width(call.type.params[i])});
  }
  return fmt::format("{}({})", call.function, args);
}

std::string text(const Outcome& outcome) {
  std::string all;
  if (outcome.code == Code::kTrap) {
    all = fmt::format("trap: {}", engine::trap_kind_message(outcome.trap));
  } else if (outcome.code != Code::kOk) {
    all = code_name(outcome.code);
  } else {
    for (const Outcome::Bits& bits : outcome.results) all += (all.empty() ? "" : ", ") + hex(bits);
    if (all.empty()) all = "nothing";
  }
  if (!outcome.logged.empty()) all += fmt::format(", logged {}", fmt::join(outcome.logged, " "));
  return all;
}

std::string text(const std::vector<Call>& calls) {
  std::string all;
  for (const Call& call : calls) all += (all.empty() ? "" : "; ") + text(call);
  return all.empty() ? "nothing" : all;
}

}  // namespace spore::differential
