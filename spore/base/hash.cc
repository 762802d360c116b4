#include "spore/base/hash.h"

#include <openssl/evp.h>

#include <iterator>
#include <memory>

#include <fmt/format.h>

#include "spore/base/assert.h"

namespace spore {
namespace {

// Looked up once, and kept: each look takes a lock of OpenSSL's, which a fork in another thread would leave
// held for ever in the child.
const EVP_MD* method() {
  static const EVP_MD* const found = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return found;
}

}  // namespace

std::string Digest::hex() const {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  return text;
}

Digest sha256(std::span<const uint8_t> bytes) { return sha256({bytes}); }

Digest sha256(std::initializer_list<std::span<const uint8_t>> parts) {
  struct Free {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  bool ok = context != nullptr && EVP_DigestInit_ex(context.get(), method(), nullptr) == 1;
  for (const std::span<const uint8_t> part : parts) {
    ok = ok && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  }
  Digest digest;
  ok = ok && EVP_DigestFinal_ex(context.get(), digest.bytes.data(), nullptr) == 1;
  SPORE_ASSERT(ok, "OpenSSL has no SHA-256");
  return digest;
}

}  // namespace spore
