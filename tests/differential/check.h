#pragma once

// A differential test: case after case, until one is found that is wrong.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace spore::differential {

struct Mismatch {
  std::string text;  // lines: what is different, and a short way to it
  std::vector<uint8_t> wasm;
};

class Check {
 public:
  virtual ~Check() = default;

  // One case, of any bytes: see make_guest.
  virtual std::optional<Mismatch> check(std::span<const uint8_t> bytes) = 0;
  // What was tried, and what was tried too little of, if anything.
  virtual std::string statistics_text() const = 0;
  virtual std::string shortfalls() const = 0;
};

}  // namespace spore::differential
