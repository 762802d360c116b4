#pragma once

// All that can be told about an instance from outside.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spore/host/instance.h"
#include "spore/wasm/prepare.h"

namespace spore::differential {

struct State {
  struct Global {
    engine::ValType type;
    std::array<uint8_t, 16> bits;
    bool operator==(const Global&) const = default;
  };

  std::vector<std::vector<std::byte>> memories;
  std::vector<Global> globals;
  std::vector<std::vector<uint32_t>> tables;  // as engine::StateValues has them
  uint64_t fuel_left = 0;
  std::optional<host::WasiState> wasi;
  bool retired = false;
};

// What a module has of it.  Tables only if it can be reset in place: no others can be read.
class StateReader {
 public:
  // `uncounted`: a global that tells nothing about what a module changed.
  StateReader(std::shared_ptr<const wasm::PreparedModule> module, std::optional<uint32_t> uncounted);

  // Overwrites `state`: its memory is used again.
  void read(const host::Instance& instance, State& state) const;

  // What differs first; empty if nothing does.
  std::string difference(const State& found, const State& expected) const;

  struct Changes {
    bool memory = false;
    bool length = false;
    bool global = false;
    bool table = false;
  };
  Changes changes(const State& before, const State& after) const;

 private:
  std::shared_ptr<const wasm::PreparedModule> module_;
  std::vector<std::string> memories_;  // names of exports
  std::vector<std::string> globals_;
  std::vector<std::string> tables_;
  size_t uncounted_ = SIZE_MAX;  // in globals_
};

}  // namespace spore::differential
