#include "spore/base/mac.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <limits>

#include "spore/base/assert.h"

namespace spore {
namespace {

void store_little_endian(std::span<uint8_t> to, uint64_t value) {
  for (uint8_t& byte : to) {
    byte = static_cast<uint8_t>(value);
    value >>= 8;
  }
}

struct FreeMac {
  void operator()(EVP_MAC* mac) const noexcept { EVP_MAC_free(mac); }
  void operator()(EVP_MAC_CTX* context) const noexcept { EVP_MAC_CTX_free(context); }
};
using MacContext = std::unique_ptr<EVP_MAC_CTX, FreeMac>;

// What these two give was looked up once, and is kept: each look takes a lock of OpenSSL's, which a fork in
// another thread would leave held for ever in the child.
const EVP_CIPHER* cipher() {
  static const EVP_CIPHER* const found = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return found;
}
// HMAC-SHA256 of some key; copies are given theirs.
const EVP_MAC_CTX* hmac() {
  static const EVP_MAC_CTX* const made = [] {
    const std::unique_ptr<EVP_MAC, FreeMac> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    MacContext context(mac == nullptr ? nullptr : EVP_MAC_CTX_new(mac.get()));
    std::array<char, 7> digest{"SHA256"};
    const std::array<OSSL_PARAM, 2> parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
        OSSL_PARAM_construct_end()};
    const std::array<uint8_t, MacKey::kBytes> none{};
    const bool ok =
        context != nullptr && EVP_MAC_init(context.get(), none.data(), none.size(), parameters.data()) == 1;
    if (!ok) context.reset();
    return context.release();
  }();
  return made;
}

}  // namespace

MacKey::MacKey(std::span<const uint8_t, kBytes> bytes) { std::ranges::copy(bytes, bytes_.begin()); }

MacKey::~MacKey() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

MacKey MacKey::derive(std::span<const uint8_t> label) const {
  MacKey derived(*this);
  size_t length = 0;
  const MacContext context(EVP_MAC_CTX_dup(hmac()));
  const bool ok = context != nullptr &&
                  EVP_MAC_init(context.get(), bytes_.data(), bytes_.size(), nullptr) == 1 &&
                  EVP_MAC_update(context.get(), label.data(), label.size()) == 1 &&
                  EVP_MAC_final(context.get(), derived.bytes_.data(), &length, kBytes) == 1;
  SPORE_ASSERT(ok && length == kBytes, "OpenSSL has no HMAC-SHA256");
  return derived;
}

bool MacTag::operator==(const MacTag& other) const {
  return CRYPTO_memcmp(bytes.data(), other.bytes.data(), bytes.size()) == 0;
}

void Mac::Free::operator()(evp_cipher_ctx_st* context) const noexcept { EVP_CIPHER_CTX_free(context); }

Mac::Mac(const MacKey& key) : context_(EVP_CIPHER_CTX_new()) {
  const bool ok = context_ != nullptr &&
                  EVP_EncryptInit_ex(context_.get(), cipher(), nullptr, key.bytes().data(), nullptr) == 1;
  SPORE_ASSERT(ok, "OpenSSL has no AES-256-GCM");
}

void Mac::begin(const Nonce& nonce) {
  constexpr size_t kPurposeBytes = 4;
  std::array<uint8_t, 12> bytes{};
  store_little_endian(std::span(bytes).first(kPurposeBytes), nonce.purpose);
  store_little_endian(std::span(bytes).subspan(kPurposeBytes), nonce.number);
  const int ok = EVP_EncryptInit_ex(context_.get(), nullptr, nullptr, nullptr, bytes.data());
  SPORE_ASSERT(ok == 1, "a nonce of 12 bytes is what GCM takes");
}

void Mac::update(std::span<const uint8_t> bytes) {
  constexpr size_t kStepBytes = size_t{1} << 30;  // OpenSSL counts in int
  static_assert(kStepBytes <= std::numeric_limits<int>::max());
  while (!bytes.empty()) {
    const std::span<const uint8_t> step = bytes.first(std::min(bytes.size(), kStepBytes));
    int length = 0;
    const int ok =
        EVP_EncryptUpdate(context_.get(), nullptr, &length, step.data(), static_cast<int>(step.size()));
    SPORE_ASSERT(ok == 1, "begin() comes before update()");
    bytes = bytes.subspan(step.size());
  }
}

MacTag Mac::finish() {
  MacTag tag;
  std::array<uint8_t, 16> none{};  // nothing was encrypted
  int length = 0;
  EVP_CIPHER_CTX* const context = context_.get();
  const bool ok = EVP_EncryptFinal_ex(context, none.data(), &length) == 1 &&
                  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(tag.bytes.size()),
                                      tag.bytes.data()) == 1;
  SPORE_ASSERT(ok, "begin() comes before finish()");
  return tag;
}

}  // namespace spore
