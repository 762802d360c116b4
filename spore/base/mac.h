#pragma once

// Message authentication: whether bytes are as somebody with our key wrote them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct evp_cipher_ctx_st;

namespace spore {

// A secret.  Wiped when it is destroyed.
class MacKey {
 public:
  static constexpr size_t kBytes = 32;

  explicit MacKey(std::span<const uint8_t, kBytes> bytes);
  MacKey(const MacKey&) = default;
  MacKey& operator=(const MacKey&) = default;
  MacKey(MacKey&&) = default;  // what is left behind is wiped when it is destroyed
  MacKey& operator=(MacKey&&) = default;
  ~MacKey();

  // Another key, for one purpose: the HMAC-SHA256 of `label`.  Who has it can tell neither this key nor any
  // other that was derived from it.
  MacKey derive(std::span<const uint8_t> label) const;

  std::span<const uint8_t, kBytes> bytes() const { return bytes_; }

 private:
  std::array<uint8_t, kBytes> bytes_{};
};

struct MacTag {
  std::array<uint8_t, 16> bytes{};

  // In the same time wherever they differ: who sees how long it took learns nothing about the right one.
  bool operator==(const MacTag& other) const;
};

// Computes AES-256-GMAC: several GB/s, where SHA-256 has one or two.  Not thread-safe: a thread, a Mac.
//
// A GMAC tag is a polynomial of the message, whose unknown is secret and one for the key, plus a mask that is
// the cipher's of key and nonce.  Two messages under one key AND one nonce share the mask: their difference
// betrays the polynomial's unknown, and with it every tag of that key.  So the rule for callers: under one
// key a nonce is used for one message, ever.  Who cannot count over all files and processes takes a key for
// each file, derived from a random salt of 32 bytes that stands in it; within the file, nonces are numbers of
// its pieces.  That two files draw the same salt has a chance of n^2 / 2^257, n being all files ever written.
//
// Forging one piece of 2^k blocks of 16 bytes succeeds with a chance of about 2^k / 2^128 a try.
class Mac {
 public:
  explicit Mac(const MacKey& key);

  // What tells the messages under one key apart.  Never the same twice with different bytes.
  struct Nonce {
    uint32_t purpose = 0;
    uint64_t number = 0;
  };
  void begin(const Nonce& nonce);
  // Of a message in pieces; how it was cut makes no difference.
  void update(std::span<const uint8_t> bytes);
  MacTag finish();

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;
};

}  // namespace spore
