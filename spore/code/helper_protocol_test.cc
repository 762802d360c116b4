#include "spore/code/helper_protocol.h"

#include <gtest/gtest.h>

namespace spore::code {
namespace {

HelperRequest a_request() {
  HelperRequest request;
  request.engine = {.tier = engine::Tier::kBaseline,
                    .fuel = true,
                    .wasm_stack_bytes = 123'456,
                    .compact_memories = true,
                    .compact_code = true};
  request.engine_version = "1.2.3";
  request.compatibility.bytes.fill(7);
  request.threads = 3;
  request.niceness = 4;
  request.budget = {.memory_bytes_max = 1, .cpu_s = 2, .cpu_s_per_mib = 3, .native_bytes_max = 4};
  request.limits.locals_max = 99;
  request.limits.values_total_max = 98;
  request.module_bytes = 1234;
  return request;
}

HelperHello a_hello() { return {.engine_version = "1.2.3", .compatibility = a_request().compatibility}; }

std::vector<uint8_t> spoken(const HelperAnswer& answer) {
  std::vector<uint8_t> bytes = encode(a_hello());
  const std::vector<uint8_t> rest = encode(answer);
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  return bytes;
}

TEST(HelperProtocolTest, ARequestArrivesAsItWasSent) {
  const std::vector<uint8_t> bytes = encode(a_request());
  EXPECT_EQ(bytes.size(), kRequestBytes);
  const HelperRequest request = decode_request(bytes).value();
  EXPECT_EQ(encode(request), bytes);
  EXPECT_EQ(request.engine.tier, engine::Tier::kBaseline);
  EXPECT_TRUE(request.engine.fuel);
  EXPECT_TRUE(request.engine.compact_memories);
  EXPECT_TRUE(request.engine.compact_code);
  EXPECT_EQ(request.engine.wasm_stack_bytes, 123'456u);
  EXPECT_EQ(request.budget.cpu_s_per_mib, 3u);
  EXPECT_EQ(request.limits.locals_max, 99u);
  EXPECT_EQ(request.limits.values_total_max, 98u);
  EXPECT_EQ(request.module_bytes, 1234u);
}

TEST(HelperProtocolTest, ARequestOfAnotherProtocolIsKnownAsThat) {
  std::vector<uint8_t> bytes = encode(a_request());
  bytes[8] = 9;
  EXPECT_EQ(request_protocol(bytes).value(), 9u);
  EXPECT_EQ(decode_request(bytes).code(), Code::kUnsupported);
  bytes[0] ^= 1;
  EXPECT_EQ(request_protocol(bytes).code(), Code::kCorruption);
}

TEST(HelperProtocolTest, AnAnswerArrivesAsItWasSent) {
  const HelperSpoken told =
      decode_spoken(spoken({.code = Code::kLimitExceeded, .message = "too much", .native_bytes = 5})).value();
  EXPECT_EQ(told.hello.engine_version, "1.2.3");
  EXPECT_EQ(told.hello.compatibility, a_request().compatibility);
  ASSERT_TRUE(told.answered);
  EXPECT_EQ(told.answer.code, Code::kLimitExceeded);
  EXPECT_EQ(told.answer.message, "too much");
  EXPECT_EQ(told.answer.native_bytes, 5u);
}

// A hello alone is no answer; anything else that is cut short is an error; nothing reads beyond the end.
TEST(HelperProtocolTest, EveryTruncationIsSeen) {
  const std::vector<uint8_t> bytes = spoken({.code = Code::kOk, .message = "m", .native_bytes = 1});
  const size_t hello = encode(a_hello()).size();
  for (size_t length = 0; length < bytes.size(); length++) {
    const auto told = decode_spoken(std::span(bytes).first(length));
    if (length == hello) {
      ASSERT_TRUE(told.ok());
      EXPECT_FALSE(told.value().answered);
    } else {
      EXPECT_EQ(told.code(), Code::kCorruption) << length;
    }
  }
}

// Method: every bit flipped; whatever comes out was read in bounds, and no code is out of range.
TEST(HelperProtocolTest, EveryFlippedBitIsReadInBounds) {
  const std::vector<uint8_t> bytes = spoken({.code = Code::kOk, .message = "m", .native_bytes = 1});
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    std::vector<uint8_t> flipped = bytes;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ (1u << (bit % 8)));
    const auto told = decode_spoken(flipped);
    EXPECT_TRUE(!told.ok() || told.value().answer.code <= Code::kInternal) << bit;
  }
}

TEST(HelperProtocolTest, AnythingBehindAnAnswerIsAnError) {
  std::vector<uint8_t> bytes = spoken({});
  bytes.push_back(0);
  EXPECT_EQ(decode_spoken(bytes).code(), Code::kCorruption);
}

TEST(HelperProtocolTest, TimeGrowsWithTheCode) {
  const CompileBudget budget{.cpu_s = 4, .cpu_s_per_mib = 10};
  EXPECT_EQ(budget.cpu_s_for(0), 4u);
  EXPECT_EQ(budget.cpu_s_for(1), 5u) << "whole seconds, rounded up";
  EXPECT_EQ(budget.cpu_s_for(6 * 1024 * 1024), 64u);
}

}  // namespace
}  // namespace spore::code
