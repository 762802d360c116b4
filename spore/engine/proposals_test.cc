// The engines take what wasm/proposals.h says, and nothing else: one tiny module a proposal.

#include <array>

#include <gtest/gtest.h>
#include <wasmtime/conf.h>

#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "spore/wasm/inspect.h"

namespace spore::engine {
namespace {

struct Sample {
  uint32_t proposal;
  const char* text;
};

constexpr std::array kSamples{
    Sample{0, "(module (func (result i32) i32.const 1))"},
    Sample{wasm::kMutableGlobals, "(module (global (export \"g\") (mut i32) i32.const 0))"},
    Sample{wasm::kSaturatingFloatToInt,
           "(module (func (param f32) (result i32) local.get 0 i32.trunc_sat_f32_s))"},
    Sample{wasm::kSignExtension, "(module (func (param i32) (result i32) local.get 0 i32.extend8_s))"},
    Sample{wasm::kMultiValue, "(module (func (result i32 i32) i32.const 1 i32.const 2))"},
    Sample{wasm::kBulkMemory, "(module (memory 1) (func i32.const 0 i32.const 0 i32.const 0 memory.fill))"},
    Sample{wasm::kReferenceTypes, "(module (table 1 funcref) (func i32.const 0 ref.null func table.set 0))"},
    Sample{wasm::kSimd, "(module (func (result v128) i32.const 1 i32x4.splat))"},
    Sample{wasm::kExtendedConst, "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"},
    Sample{wasm::kMultiMemory, "(module (memory 1) (memory 1))"},
    Sample{wasm::kMemory64, "(module (memory i64 1))"},
    Sample{wasm::kTailCall, "(module (func $f return_call $f))"},
    Sample{wasm::kRelaxedSimd,
           "(module (func (param v128 v128) (result v128) local.get 0 local.get 1 i8x16.relaxed_swizzle))"},
    Sample{wasm::kExternref, "(module (func (param externref)))"},
    Sample{wasm::kExceptions, "(module (tag))"},
    Sample{wasm::kGc, "(module (type (struct (field i32))))"},
    Sample{wasm::kThreads, "(module (memory 1 1 shared))"},
    Sample{wasm::kWideArithmetic,
           "(module (func (param i64 i64) (result i64 i64) local.get 0 local.get 1 i64.mul_wide_s))"},
    Sample{wasm::kCustomPageSizes, "(module (memory 1 (pagesize 1)))"},
};

class ProposalsTest : public testing::TestWithParam<Tier> {
 protected:
  std::shared_ptr<const Engine> engine_ =
      Engine::create({.tier = GetParam()}, std::make_shared<Ticker>()).value();
  static uint32_t allowed() {
    switch (GetParam()) {
      case Tier::kInterpreter: return wasm::kProposalsInterpreter;
      case Tier::kBaseline: return wasm::kProposalsBaseline;
      case Tier::kOptimised:
      case Tier::kPeak: break;
    }
    return wasm::kProposalsOptimised;
  }
};

TEST_P(ProposalsTest, TheEngineTakesEachAllowedProposalAndRefusesEachOther) {
  for (const Sample& sample : kSamples) {
    const std::vector<uint8_t> bytes = text_to_wasm(sample.text).value();
    const wasm::ModuleFacts facts = wasm::inspect(bytes, 1 << 20).value();
    EXPECT_EQ(facts.proposals & sample.proposal, sample.proposal) << sample.text;
    const bool is_allowed = wasm::check_proposals(facts, allowed()).ok();
    EXPECT_EQ(is_allowed, (sample.proposal & ~allowed()) == 0) << sample.text;
    // The interpreter looks at bodies when they are first called, and has externref: there it is
    // check_proposals() alone that keeps them out.
    if (GetParam() == Tier::kInterpreter && !is_allowed) continue;
    // What check_proposals() lets through must not depend on it: the engine agrees.
    const auto code = engine_->compile(bytes);
    EXPECT_EQ(code.ok(), is_allowed) << sample.text << ": "
                                     << (code.ok() ? "compiled" : code.status().message());
  }
}

INSTANTIATE_TEST_SUITE_P(AllTiers, ProposalsTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak),
                         [](const auto& tier) { return std::string(tier_name(tier.param)); });

// The header that the engine was built with says which parts are in it: docs/decisions/0001-lean-engine.md.
TEST(LeanEngineTest, NoPartIsBuiltInThatIsNotNeeded) {
#if defined(WASMTIME_FEATURE_WASI) || defined(WASMTIME_FEATURE_WASI_HTTP) ||        \
    defined(WASMTIME_FEATURE_ASYNC) || defined(WASMTIME_FEATURE_COMPONENT_MODEL) || \
    defined(WASMTIME_FEATURE_GC) || defined(WASMTIME_FEATURE_POOLING_ALLOCATOR) ||  \
    defined(WASMTIME_FEATURE_THREADS) || defined(WASMTIME_FEATURE_CACHE) ||         \
    defined(WASMTIME_FEATURE_PROFILING) || defined(WASMTIME_FEATURE_COREDUMP) ||    \
    defined(WASMTIME_FEATURE_ALL_ARCH)
  FAIL() << "the engine holds more than docs/decisions/0001-lean-engine.md allows";
#endif
#if !defined(WASMTIME_FEATURE_CRANELIFT) || !defined(WASMTIME_FEATURE_WINCH)
  FAIL() << "the engine lacks a compiler";
#endif
}

}  // namespace
}  // namespace spore::engine
