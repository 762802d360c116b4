#include "spore/engine/engine.h"

#include <gtest/gtest.h>

#include "spore/engine/code_file.h"
#include "spore/engine/ticker.h"

namespace spore::engine {
namespace {

std::vector<uint8_t> answer_module() {
  return text_to_wasm("(module (func (export \"answer\") (result i32) i32.const 42))").value();
}

std::shared_ptr<const Engine> make(const EngineOptions& options) {
  return Engine::create(options, std::make_shared<Ticker>()).value();
}

// A combination that Wasmtime refuses aborts the process: so every one that can be asked for is made.
TEST(EngineTest, EveryConfigurationCanBeMadeAndCompiles) {
  for (const Tier tier : {Tier::kBaseline, Tier::kOptimised}) {
    for (const bool fuel : {false, true}) {
      for (const bool parallel : {false, true}) {
        for (const size_t stack : {kWasmStackBytesMin, size_t{512 * 1024}, kWasmStackBytesMax}) {
          const auto engine =
              make({.tier = tier, .fuel = fuel, .wasm_stack_bytes = stack, .parallel_compile = parallel});
          EXPECT_TRUE(engine->compile(answer_module()).ok());
          const auto compact = make({.tier = tier,
                                     .fuel = fuel,
                                     .wasm_stack_bytes = stack,
                                     .parallel_compile = parallel,
                                     .compact_memories = true,
                                     .compact_code = true});
          EXPECT_TRUE(compact->compile(answer_module()).ok());
        }
      }
    }
  }
}

TEST(EngineTest, CompactCodeIsOfTheOptimisedTierAlone) {
  const auto description = [](Tier tier, bool compact) {
    return make({.tier = tier, .compact_code = compact})->description(0);
  };
  EXPECT_EQ(description(Tier::kBaseline, true), description(Tier::kBaseline, false));
  EXPECT_NE(description(Tier::kOptimised, true), description(Tier::kOptimised, false));
  EXPECT_EQ(make({.tier = Tier::kBaseline, .compact_code = true})->compatibility(),
            make({.tier = Tier::kBaseline})->compatibility());
}

TEST(EngineTest, AStackOutOfRangeIsRefusedWithTheRange) {
  const auto ticker = std::make_shared<Ticker>();
  for (const size_t bytes : {kWasmStackBytesMin - 1, kWasmStackBytesMax + 1}) {
    const auto engine = Engine::create({.wasm_stack_bytes = bytes}, ticker);
    ASSERT_EQ(engine.code(), Code::kInvalidArgument);
    EXPECT_NE(engine.status().message().find("65536 to 2097152"), std::string::npos);
  }
}

TEST(EngineTest, CodeTellsImportsAndExportsWithTheirTypes) {
  const auto wasm = text_to_wasm(R"((module
    (import "env" "f" (func (param i32 v128) (result f64)))
    (import "env" "m" (memory 1))
    (global (export "g") i64 i64.const 1)
    (table (export "t") 1 funcref)
    (func (export "h") (param funcref) (result i32 i64) i32.const 1 i64.const 2)))");
  const auto code = make({})->compile(wasm.value()).value();
  ASSERT_EQ(code->imports().size(), 2u);
  EXPECT_EQ(code->imports()[0].type.text(), "(i32, v128) -> f64");
  EXPECT_EQ(code->imports()[1].kind, ExternKind::kMemory);
  ASSERT_EQ(code->exports().size(), 3u);
  EXPECT_EQ(code->exports()[0].kind, ExternKind::kGlobal);
  EXPECT_EQ(code->exports()[1].kind, ExternKind::kTable);
  EXPECT_EQ(code->exports()[2].type.text(), "(funcref) -> (i32, i64)");
  EXPECT_GT(code->native_bytes(), 0u);
}

TEST(EngineTest, AnInvalidModuleIsNotTheCompilersLack) {
  const std::vector<uint8_t> garbage{0, 'a', 's', 'm', 1, 0, 0, 0, 99};
  EXPECT_EQ(make({})->compile(garbage).code(), Code::kInvalidModule);
  const auto text = text_to_wasm("(module (func (result i32)))").value();  // no result on the stack
  const auto code = make({})->compile(text);
  EXPECT_EQ(code.code(), Code::kInvalidModule);
  EXPECT_EQ(code.status().message().find('\n'), std::string::npos) << "an error is one line";
}

TEST(EngineTest, TextWithAMistakeNamesLineAndColumn) {
  const auto wasm = text_to_wasm("(module\n  (func i32.nonsense))");
  EXPECT_EQ(wasm.code(), Code::kInvalidModule);
  EXPECT_NE(wasm.status().message().find("2:9"), std::string::npos) << wasm.status().message();
}

class SavedCodeTest : public testing::TestWithParam<Tier> {};

TEST_P(SavedCodeTest, IsLoadedByAnEngineOfTheSameOptions) {
  const auto code = make({.tier = GetParam()})->compile(answer_module()).value();
  const std::vector<uint8_t> saved = code->save().value();
  const auto loaded = make({.tier = GetParam()})->load_trusted_code(saved, code->module_hash());
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded.value()->exports().size(), 1u);
}

TEST_P(SavedCodeTest, IsRefusedByAnyOtherEngineAndForAnyOtherModule) {
  const auto code = make({.tier = GetParam()})->compile(answer_module()).value();
  const std::vector<uint8_t> saved = code->save().value();
  const Tier other = GetParam() == Tier::kBaseline ? Tier::kOptimised : Tier::kBaseline;
  EXPECT_EQ(make({.tier = other})->load_trusted_code(saved, code->module_hash()).code(), Code::kUnsupported);
  EXPECT_EQ(make({.tier = GetParam(), .fuel = true})->load_trusted_code(saved, code->module_hash()).code(),
            Code::kUnsupported);
  EXPECT_EQ(make({.tier = GetParam()})->load_trusted_code(saved, Digest{}).code(), Code::kInvalidArgument);
}

// The header says one thing and the payload is another engine's: Wasmtime's own check must hold.
TEST_P(SavedCodeTest, AForeignPayloadUnderAGoodHeaderIsRefused) {
  const auto engine = make({.tier = GetParam()});
  const auto code = engine->compile(answer_module()).value();
  const std::vector<uint8_t> saved = code->save().value();
  const std::vector<uint8_t> other =
      make({.tier = GetParam(), .fuel = true})->compile(answer_module()).value()->save().value();
  CodeFile mixed = decode_code_file(saved).value();
  mixed.payload = decode_code_file(other).value().payload;
  EXPECT_EQ(engine->load_trusted_code(encode_code_file(mixed), code->module_hash()).code(),
            Code::kUnsupported);
}

INSTANTIATE_TEST_SUITE_P(BothTiers, SavedCodeTest, testing::Values(Tier::kBaseline, Tier::kOptimised),
                         [](const auto& tier) { return std::string(tier_name(tier.param)); });

}  // namespace
}  // namespace spore::engine
