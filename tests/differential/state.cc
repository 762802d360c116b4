#include "tests/differential/state.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "spore/engine/instance_state.h"

namespace spore::differential {

namespace {

using engine::ValType;

State::Global to_global(const engine::Store::GlobalValue& global) {
  State::Global result{.type = global.type, .bits = {}};
  std::array<uint8_t, 16>& bits = result.bits;
  switch (global.type) {
    case ValType::kI32:
    case ValType::kF32: std::memcpy(bits.data(), &global.value, 4); break;
    case ValType::kI64:
    case ValType::kF64: std::memcpy(bits.data(), &global.value, 8); break;
    case ValType::kV128: std::memcpy(bits.data(), &global.value, 16); break;
    case ValType::kFuncRef:
    case ValType::kOtherRef: break;  // not among what is read
  }
  return result;
}

// The elements of each table that code writes to.
std::vector<std::vector<uint32_t>> read_tables(const host::Instance& instance,
                                               const wasm::PreparedModule& prepared) {
  const auto state = engine::InstanceState::create(instance.store(), instance.handle(), prepared).value();
  return state.read().value().tables;
}

std::string text(uint32_t element) {
  return element == engine::StateValues::kNullFunction ? "null" : fmt::format("function {}", element);
}

bool same(std::span<const std::byte> one, std::span<const std::byte> other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size()) == 0);
}

std::string difference(std::string_view name, std::span<const std::byte> found,
                       std::span<const std::byte> expected) {
  if (found.size() != expected.size()) {
    return fmt::format("memory {} has {} bytes, {} are expected", name, found.size(), expected.size());
  }
  if (same(found, expected)) return {};
  const auto [at, other] = std::ranges::mismatch(found, expected);
  return fmt::format("memory {}: byte {:#x} is {:#04x}, {:#04x} is expected", name, at - found.begin(),
                     static_cast<uint8_t>(*at), static_cast<uint8_t>(*other));
}

std::string difference(std::string_view name, const std::vector<uint32_t>& found,
                       const std::vector<uint32_t>& expected) {
  if (found.size() != expected.size()) {
    return fmt::format("table {} has {} elements, {} are expected", name, found.size(), expected.size());
  }
  const auto [at, other] = std::ranges::mismatch(found, expected);
  if (at == found.end()) return {};
  return fmt::format("table {}: element {} is {}, {} is expected", name, at - found.begin(), text(*at),
                     text(*other));
}

std::string difference(const std::optional<host::WasiState>& found,
                       const std::optional<host::WasiState>& expected) {
  if (found == expected) return {};
  SPORE_ASSERT(found && expected, "one instance has WASI, the other has none");
  std::string what;
  if (found->args != expected->args) what += " args";
  if (found->env != expected->env) what += " env";
  if (found->descriptors != expected->descriptors) what += " descriptors";
  if (found->exit_code != expected->exit_code) what += " exit_code";
  if (found->input_position != expected->input_position) what += " input_position";
  if (found->random_counter != expected->random_counter) what += " random_counter";
  if (found->clock_ns != expected->clock_ns) what += " clock_ns";
  return "the state of WASI:" + what;
}

}  // namespace

StateReader::StateReader(std::shared_ptr<const wasm::PreparedModule> module,
                         std::optional<uint32_t> uncounted)
    : module_(std::move(module)) {
  const wasm::PreparedModule& prepared = *module_;
  for (const auto& memory : prepared.memories) memories_.push_back(memory.export_name());
  for (const auto& table : prepared.tables) {
    if (table.written && prepared.reset() == wasm::ResetMode::kInPlace)
      tables_.push_back(table.export_name());
  }
  for (const auto& global : prepared.globals) {
    // Nobody can look into it, and modules with one are not reset in place.
    if (global.kind == wasm::PreparedModule::GlobalKind::kReference) continue;
    if (global.index == uncounted) uncounted_ = globals_.size();
    globals_.push_back(global.export_name());
  }
  for (const uint32_t flag : prepared.data_flags) globals_.push_back(fmt::format("spore:d{}", flag));
  for (const uint32_t flag : prepared.element_flags) globals_.push_back(fmt::format("spore:e{}", flag));
}

void StateReader::read(const host::Instance& instance, State& state) const {
  state.memories.resize(memories_.size());
  for (size_t i = 0; i < memories_.size(); i++) {
    const engine::GuestMemory memory = instance.memory(memories_[i]).value();
    const std::span<std::byte> bytes = memory.span({0}, memory.size()).value();
    state.memories[i].assign(bytes.begin(), bytes.end());
  }
  state.globals.clear();
  for (const std::string& name : globals_) state.globals.push_back(to_global(instance.global(name).value()));
  state.tables.clear();
  if (!tables_.empty()) state.tables = read_tables(instance, *module_);
  state.fuel_left = instance.fuel_left();
  state.retired = instance.retired();
  state.wasi.reset();
  if (instance.wasi() != nullptr) state.wasi = instance.wasi()->state();
}

std::string StateReader::difference(const State& found, const State& expected) const {
  for (size_t i = 0; i < memories_.size(); i++) {
    std::string text =
        differential::difference(memories_[i], std::span(found.memories[i]), std::span(expected.memories[i]));
    if (!text.empty()) return text;
  }
  for (size_t i = 0; i < globals_.size(); i++) {
    if (found.globals[i] == expected.globals[i]) continue;
    return fmt::format("global {} is {:02x}, {:02x} is expected (bytes, lowest first)", globals_[i],
                       fmt::join(found.globals[i].bits, ""), fmt::join(expected.globals[i].bits, ""));
  }
  for (size_t i = 0; i < tables_.size(); i++) {
    std::string text = differential::difference(tables_[i], found.tables[i], expected.tables[i]);
    if (!text.empty()) return text;
  }
  if (found.fuel_left != expected.fuel_left) {
    return fmt::format("{} units of fuel are left, {} are expected", found.fuel_left, expected.fuel_left);
  }
  if (found.retired != expected.retired) return "only one of them is retired";
  return differential::difference(found.wasi, expected.wasi);
}

StateReader::Changes StateReader::changes(const State& before, const State& after) const {
  Changes changes;
  for (size_t i = 0; i < memories_.size(); i++) {
    const std::span<const std::byte> was = before.memories[i];
    const std::span<const std::byte> is = after.memories[i];
    SPORE_ASSERT(is.size() >= was.size(), "a memory became shorter");
    const auto is_written = [](std::byte byte) { return byte != std::byte{0}; };
    changes.length |= is.size() > was.size();
    changes.memory |=
        !same(was, is.first(was.size())) || std::ranges::any_of(is.subspan(was.size()), is_written);
  }
  for (size_t i = 0; i < globals_.size(); i++) {
    changes.global |= i != uncounted_ && before.globals[i] != after.globals[i];
  }
  changes.table = before.tables != after.tables;
  return changes;
}

}  // namespace spore::differential
