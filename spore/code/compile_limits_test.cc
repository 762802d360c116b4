#include "spore/code/compile_limits.h"

#include <chrono>
#include <filesystem>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "tests/bombs.h"
#include "tests/guest_file.h"

namespace spore::code {
namespace {

using test::Wasm;

CompileFacts facts_of(const Wasm& wasm) { return compile_facts(wasm).value(); }

TEST(CompileLimitsTest, WhatIsCountedIsWhatIsThere) {
  const CompileFacts facts = facts_of(test::wasm(R"((module
    (type $many (func (param i32 i32 i32) (result i32 i32)))
    (import "env" "f" (func $f (type $many)))
    (func (local i32 v128 f64) (local i64))
    (func $second (local i32)
      (block (loop (if (i32.const 1) (then (nop)))))
      (block $a (block $b (br_table $a $b $a (i32.const 0))))
      (call $f (i32.const 1) (i32.const 2) (i32.const 3)) drop drop
      (block (result i32) (i32.const 1)) drop)))"));
  EXPECT_EQ(facts.functions, 2u);
  EXPECT_EQ(facts.locals.count, 4u);
  EXPECT_EQ(facts.locals.function, 1u) << "imported functions count";
  EXPECT_EQ(facts.locals_bytes, 16u + 4 * 8);
  EXPECT_EQ(facts.nesting.count, 3u);
  EXPECT_EQ(facts.nesting.function, 2u);
  EXPECT_EQ(facts.br_table_targets.count, 3u) << "with the default";
  EXPECT_EQ(facts.values.count, 5u + 1);
  EXPECT_EQ(facts.values_total, 6u);
  EXPECT_EQ(facts.body_bytes.function, 2u);
  EXPECT_GT(facts.code_bytes, facts.body_bytes.count);
}

// Each limit alone: what is as large as the limit passes, and one less does not, by its name.
TEST(CompileLimitsTest, EachLimitHoldsAndIsNamed) {
  const CompileFacts facts = facts_of(test::wasm(R"((module
    (memory 1)
    (data (i32.const 0) "x")
    (func (local i32 v128))
    (func $f (param i32) (result i32) (local i32) (block (block (br_table 0 1 0 (i32.const 0)))) (call $f (i32.const 1)))))"));
  const CompileLimits exact{.functions_max = facts.functions,
                            .body_bytes_max = facts.body_bytes.count,
                            .locals_max = facts.locals.count,
                            .locals_bytes_max = facts.locals_bytes,
                            .initialisers_max = facts.initialisers,
                            .nesting_max = facts.nesting.count,
                            .br_table_targets_max = facts.br_table_targets.count,
                            .values_max = facts.values.count,
                            .values_total_max = facts.values_total};
  EXPECT_TRUE(check_compile_limits(facts, exact).ok());
  const auto refused = [&](uint64_t CompileLimits::* limit, std::string_view name) {
    CompileLimits limits = exact;
    limits.*limit -= 1;
    const Status status = check_compile_limits(facts, limits);
    EXPECT_EQ(status.code(), Code::kLimitExceeded) << name;
    EXPECT_NE(status.message().find(fmt::format("(compile_{}={})", name, limits.*limit)), std::string::npos)
        << status.message();
  };
  refused(&CompileLimits::functions_max, "functions_max");
  refused(&CompileLimits::body_bytes_max, "body_bytes_max");
  refused(&CompileLimits::locals_max, "locals_max");
  refused(&CompileLimits::locals_bytes_max, "locals_bytes_max");
  refused(&CompileLimits::initialisers_max, "initialisers_max");
  refused(&CompileLimits::nesting_max, "nesting_max");
  refused(&CompileLimits::br_table_targets_max, "br_table_targets_max");
  refused(&CompileLimits::values_max, "values_max");
  refused(&CompileLimits::values_total_max, "values_total_max");
}

TEST(CompileLimitsTest, TheMessageNamesFunctionAndCount) {
  const Status status = check_compile_limits(facts_of(test::many_locals(3, 49'999, test::kV128)), {});
  EXPECT_EQ(status.message(),
            "function 0 has 49999 locals, more than compiling allows (compile_locals_max=10000)");
}

TEST(CompileLimitsTest, BytesThatAreNoModuleAreAnError) {
  const Wasm whole = test::nested(10);
  for (size_t bytes = 9; bytes < whole.size(); bytes++) {
    const Wasm cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes));
    const auto facts = compile_facts(cut);
    // Cut between two sections it reads as a module, which only validation refuses.
    EXPECT_TRUE(facts.ok() || facts.code() == Code::kInvalidModule) << bytes;
  }
  EXPECT_EQ(compile_facts({}).code(), Code::kInvalidModule);
  EXPECT_EQ(compile_facts(Wasm{0, 'a', 's', 'm', 13, 0, 1, 0}).code(), Code::kUnsupported);
}

// Wrong in what validation looks at: indices of types and functions that are not there, ends too many.
TEST(CompileLimitsTest, BytesThatAreNotValidDoNoHarm) {
  EXPECT_TRUE(compile_facts(test::module_of(1, {0}, {0x10, 0x7F, 0x02, 0x30, 0x0B})).ok());
  EXPECT_EQ(compile_facts(test::module_of(1, {0}, {0x0B, 0x0B, 0x0B})).code(), Code::kInvalidModule);
  EXPECT_EQ(compile_facts(test::module_of(1, {2, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x7F, 2, 0x7F}, {})).code(),
            Code::kInvalidModule);
}

TEST(CompileLimitsTest, WhatInstantiationDoesByCodeIsCounted) {
  const CompileFacts facts = facts_of(test::wasm(R"((module
    (import "env" "base" (global $base i32))
    (memory 1)
    (table 9 funcref)
    (data "passive")
    (data (i32.const 0) "one")
    (data (i32.add (global.get $base) (i32.const 4)) "three: itself and two instructions")
    (elem (i32.const 0) $f $f $f)
    (elem (i32.const 4) funcref (ref.func $f) (ref.null func))
    (global i32 (i32.const 1))
    (global funcref (ref.null func))
    (global funcref (ref.func $f))
    (func $f)))"));
  EXPECT_EQ(facts.initialisers, 1u + 3 + 1 + 3 + 1);
}

// Goal: the defaults are for real programs.  Method: each guest here stays below a third of each limit, but
// for the segments of Go's, which are 36,893.
TEST(CompileLimitsTest, RealProgramsAreFarFromTheLimits) {
  const std::filesystem::path folder = SPORE_SOURCE_DIR "/build/guests";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no guest programs";
  const CompileLimits limits;
  constexpr size_t kBytesMax = 64 * 1024 * 1024;
  size_t seen = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() != ".wasm") continue;
    const CompileFacts facts = compile_facts(read_file(file.path(), kBytesMax).value()).value();
    seen++;
    const auto far = [&](uint64_t count, uint64_t max, const char* name) {
      EXPECT_LT(3 * count, max) << file.path() << ": " << name;
    };
    far(facts.functions, limits.functions_max, "functions");
    far(facts.body_bytes.count, limits.body_bytes_max, "body_bytes");
    far(facts.locals.count, limits.locals_max, "locals");
    far(facts.locals_bytes, limits.locals_bytes_max, "locals_bytes");
    EXPECT_LT(facts.initialisers, limits.initialisers_max) << file.path();
    far(facts.nesting.count, limits.nesting_max, "nesting");
    far(facts.br_table_targets.count, limits.br_table_targets_max, "br_table_targets");
    far(facts.values.count, limits.values_max, "values");
    far(facts.values_total, limits.values_total_max, "values_total");
  }
  EXPECT_GT(seen, 5u);
}

// Goal: the pass is linear in the bytes.  Method: what took a compiler a minute takes it far below a second.
TEST(CompileLimitsTest, BombsAreCountedAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(facts_of(test::many_locals(2000, 49'999, test::kV128)).locals_bytes, 2000u * 49'999 * 16);
  EXPECT_EQ(facts_of(test::empty_functions(500'000)).functions, 500'000u);
  EXPECT_GT(facts_of(test::straight_line(6'000'000)).body_bytes.count, 5'900'000u);
  EXPECT_EQ(facts_of(test::nested(500'000)).nesting.count, 500'000u);
  EXPECT_EQ(facts_of(test::br_table(1'000'000)).br_table_targets.count, 1'000'001u);
  EXPECT_EQ(facts_of(test::many_values(1, 100'000)).values.count, 200'000'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace spore::code
