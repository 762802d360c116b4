#include "spore/base/hash.h"

#include <openssl/sha.h>

#include <fmt/format.h>

namespace spore {

std::string Digest::hex() const {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

Digest sha256(std::span<const uint8_t> bytes) {
  Digest digest;
  SHA256(bytes.data(), bytes.size(), digest.bytes.data());
  return digest;
}

}  // namespace spore
