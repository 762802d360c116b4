#include "spore/base/keyed_hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace spore {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  }
  void take(uint64_t word) {
    v3 ^= word;
    round();
    v0 ^= word;
  }
};

}  // namespace

KeyedHash::KeyedHash() {
  std::random_device random;
  for (uint64_t& half : key_) half = uint64_t{random()} << 32 | random();
}

uint64_t KeyedHash::operator()(std::string_view text) const {
  SipState state{.v0 = 0x736f6d6570736575 ^ key_[0],
                 .v1 = 0x646f72616e646f6d ^ key_[1],
                 .v2 = 0x6c7967656e657261 ^ key_[0],
                 .v3 = 0x7465646279746573 ^ key_[1]};
  const uint64_t length = text.size();
  while (text.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), sizeof word);
    state.take(word);
    text.remove_prefix(sizeof word);
  }
  uint64_t last = length << 56;
  std::memcpy(&last, text.data(), text.size());
  state.take(last);
  state.v2 ^= 0xff;
  for (int i = 0; i < 3; i++) state.round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace spore
