#pragma once

// Hashes for tables whose keys others choose: without the key nobody can find many that collide.

#include <array>
#include <cstdint>
#include <string_view>

namespace spore {

// SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012; with one and three rounds, as
// hash tables of several languages have it).
class KeyedHash {
 public:
  // A random key.
  KeyedHash();
  explicit KeyedHash(const std::array<uint64_t, 2>& key) : key_(key) {}

  uint64_t operator()(std::string_view text) const;

 private:
  std::array<uint64_t, 2> key_;
};

}  // namespace spore
