#include "spore/code/helper_protocol.h"

#include <algorithm>
#include <string_view>

#include "spore/base/bytes.h"

namespace spore::code {
namespace {

constexpr uint64_t kRequestMagic = 0x31515250'4D435053;  // "SPCMPRQ1", as a little-endian number
constexpr uint64_t kAnswerMagic = 0x314E4150'4D435053;   // "SPCMPAN1"
constexpr size_t kMessageBytesMax = 4096;
constexpr size_t kVersionBytesMax = 100;
constexpr uint64_t kMib = 1024 * 1024;

void put(ByteWriter& out, const Digest& digest) {
  out.text({reinterpret_cast<const char*>(digest.bytes.data()), digest.bytes.size()});
}

Digest get_digest(ByteReader& in) {
  Digest digest;
  const std::string text = in.text(digest.bytes.size());
  if (text.size() == digest.bytes.size()) {
    std::ranges::copy(text, digest.bytes.begin());
  } else {
    in.fail("the length of a digest");
  }
  return digest;
}

// Those of the struct, in its order.
template <typename Limits, typename Visit>
void each_limit(Limits& limits, Visit visit) {
  for (auto* limit : {&limits.functions_max, &limits.body_bytes_max, &limits.locals_max,
                      &limits.locals_bytes_max, &limits.initialisers_max, &limits.nesting_max,
                      &limits.br_table_targets_max, &limits.values_max, &limits.values_total_max}) {
    visit(*limit);
  }
}
static_assert(sizeof(CompileLimits) == 9 * sizeof(uint64_t), "a new limit travels, too");

template <typename Budget, typename Visit>
void each_budget(Budget& budget, Visit visit) {
  for (auto* part :
       {&budget.memory_bytes_max, &budget.cpu_s, &budget.cpu_s_per_mib, &budget.native_bytes_max}) {
    visit(*part);
  }
}
static_assert(sizeof(CompileBudget) == 4 * sizeof(uint64_t), "a new part travels, too");

}  // namespace

uint64_t CompileBudget::cpu_s_for(uint64_t code_bytes) const {
  return cpu_s + (code_bytes * cpu_s_per_mib + kMib - 1) / kMib;
}

std::vector<uint8_t> encode(const HelperRequest& request) {
  ByteWriter out;
  out.u64(kRequestMagic).u32(kHelperProtocol);
  // All of them: a new option does not compile here until it travels, too.
  const auto& [tier, fuel, wasm_stack_bytes, parallel_compile, compact_memories, compact_code] =
      request.engine;
  static_cast<void>(parallel_compile);
  out.u8(static_cast<uint8_t>(tier)).u8(fuel ? 1 : 0).u8(compact_memories ? 1 : 0).u8(compact_code ? 1 : 0);
  out.u64(wasm_stack_bytes);
  out.text(request.engine_version);
  put(out, request.compatibility);
  out.u32(request.threads).u32(request.niceness).u64(request.module_bytes);
  each_budget(request.budget, [&](uint64_t part) { out.u64(part); });
  each_limit(request.limits, [&](uint64_t limit) { out.u64(limit); });
  std::vector<uint8_t> bytes = out.take();
  SPORE_ASSERT(bytes.size() <= kRequestBytes, "a request has room in its place");
  bytes.resize(kRequestBytes);
  return bytes;
}

Result<uint32_t> request_protocol(std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  const bool known = in.u64() == kRequestMagic;
  const uint32_t protocol = in.u32();
  if (!in.ok() || !known) return Status(Code::kCorruption, "this is no request to compile");
  return protocol;
}

Result<HelperRequest> decode_request(std::span<const uint8_t> bytes) {
  const uint32_t protocol = SPORE_TRY(request_protocol(bytes));
  if (protocol != kHelperProtocol) return Status::unsupported("the request is of protocol {}", protocol);
  ByteReader in(bytes);
  in.u64();
  in.u32();
  HelperRequest request;
  const uint8_t tier = in.u8();
  if (tier < static_cast<uint8_t>(engine::Tier::kBaseline) ||
      tier > static_cast<uint8_t>(engine::Tier::kPeak)) {
    in.fail("the tier");
  } else {
    request.engine.tier = static_cast<engine::Tier>(tier);
  }
  request.engine.fuel = in.u8() != 0;
  request.engine.compact_memories = in.u8() != 0;
  request.engine.compact_code = in.u8() != 0;
  request.engine.wasm_stack_bytes = in.u64();
  request.engine_version = in.text(kVersionBytesMax);
  request.compatibility = get_digest(in);
  request.threads = in.u32();
  request.niceness = in.u32();
  request.module_bytes = in.u64();
  each_budget(request.budget, [&](uint64_t& part) { part = in.u64(); });
  each_limit(request.limits, [&](uint64_t& limit) { limit = in.u64(); });
  if (!in.ok()) return std::move(in).status();
  return request;
}

std::vector<uint8_t> encode(const HelperHello& hello) {
  ByteWriter out;
  out.u64(kAnswerMagic).u32(hello.protocol).text(hello.engine_version);
  put(out, hello.compatibility);
  return out.take();
}

std::vector<uint8_t> encode(const HelperAnswer& answer) {
  ByteWriter out;
  out.u8(static_cast<uint8_t>(answer.code));
  out.text(std::string_view(answer.message).substr(0, kMessageBytesMax)).u64(answer.native_bytes);
  return out.take();
}

Result<HelperSpoken> decode_spoken(std::span<const uint8_t> bytes) {
  ByteReader in(bytes);
  HelperSpoken spoken;
  if (in.u64() != kAnswerMagic) in.fail("it does not begin as a compile helper's");
  spoken.hello.protocol = in.u32();
  if (!in.ok()) return std::move(in).status();
  if (spoken.hello.protocol != kHelperProtocol) return spoken;
  spoken.hello.engine_version = in.text(kVersionBytesMax);
  spoken.hello.compatibility = get_digest(in);
  if (in.ok() && in.offset() < bytes.size()) {
    const uint8_t code = in.u8();
    if (code <= static_cast<uint8_t>(Code::kInternal)) {
      spoken.answer.code = static_cast<Code>(code);
    } else {
      in.fail("the code of an error");
    }
    spoken.answer.message = in.text(kMessageBytesMax);
    spoken.answer.native_bytes = in.u64();
    in.finish();
    spoken.answered = true;
  }
  if (!in.ok()) return std::move(in).status();
  return spoken;
}

}  // namespace spore::code
