// Does the runner notice what is wrong?  A suite that cannot fail proves nothing.

#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "spore/spore.h"
#include "spore/wasm/inspect.h"
#include "tests/guest_file.h"
#include "tests/spec/report.h"
#include "tests/spec/script_runner.h"
#include "tests/spec/values.h"

namespace spore::spec {
namespace {

using engine::ValType;
using OutcomeKind = Outcome::Kind;

bool f32_matches(uint32_t bits, std::string_view pattern) {
  return matches({ValType::kF32, {.i32 = static_cast<int32_t>(bits)}}, pattern);
}

// The specification's two kinds of NaN, at their edges, with either sign.
TEST(SpecValuesTest, NanPatternsAreThoseOfTheSpecification) {
  for (const uint32_t canonical : {0x7fc00000u, 0xffc00000u}) {
    EXPECT_TRUE(f32_matches(canonical, "f32:nan:canonical"));
    EXPECT_TRUE(f32_matches(canonical, "f32:nan:arithmetic"));
  }
  EXPECT_FALSE(f32_matches(0x7fc00001, "f32:nan:canonical"));
  EXPECT_TRUE(f32_matches(0x7fc00001, "f32:nan:arithmetic"));
  EXPECT_FALSE(f32_matches(0x7fa00000, "f32:nan:arithmetic"));  // signalling
  EXPECT_FALSE(f32_matches(0x7f800000, "f32:nan:canonical"));   // infinity
  EXPECT_TRUE(matches({ValType::kF64, {.i64 = 0x7ff8000000000001}}, "f64:nan:arithmetic"));
  EXPECT_FALSE(matches({ValType::kF64, {.i64 = 0x7ff8000000000001}}, "f64:nan:canonical"));
  EXPECT_FALSE(matches({ValType::kF64, {.i64 = 0x7ff4000000000000}}, "f64:nan:arithmetic"));
}

TEST(SpecValuesTest, ZeroIsNotMinusZeroAndTypesCount) {
  EXPECT_TRUE(f32_matches(0x80000000, "f32:80000000"));
  EXPECT_FALSE(f32_matches(0x80000000, "f32:00000000"));
  EXPECT_FALSE(f32_matches(0x00000001, "i32:00000001"));
  EXPECT_FALSE(matches({ValType::kI64, {.i64 = 1}}, "i32:00000001"));
  EXPECT_TRUE(matches({ValType::kI64, {.i64 = 1}}, "either(i64:0000000000000002|i64:0000000000000001)"));
  EXPECT_FALSE(matches({ValType::kI64, {.i64 = 3}}, "either(i64:0000000000000002|i64:0000000000000001)"));
}

TEST(SpecValuesTest, EveryLaneOfAVectorCounts) {
  const TypedValue value = *parse_value("v128:0000803f0000c07f000000000100c07f");
  EXPECT_TRUE(matches(value, "v128:0000803f0000c07f000000000100c07f"));
  EXPECT_FALSE(matches(value, "v128:0000803f0000c07f000000000100c07e"));
  EXPECT_TRUE(matches(value, "v128.f32:3f800000,nan:canonical,00000000,nan:arithmetic"));
  EXPECT_FALSE(matches(value, "v128.f32:3f800000,nan:canonical,00000000,nan:canonical"));
  EXPECT_FALSE(matches(value, "v128.f32:3f800000,nan:canonical,00000001,nan:arithmetic"));
}

TEST(SpecValuesTest, NullAndFunctionsAreToldApart) {
  const TypedValue null = *parse_value("ref.null:func");
  int something = 0;
  const TypedValue function{ValType::kFuncRef, {.reference = &something}};
  EXPECT_TRUE(matches(null, "ref.null") && matches(null, "ref.null:func"));
  EXPECT_FALSE(matches(null, "ref.func") || matches(null, "ref.null:extern"));
  EXPECT_TRUE(matches(function, "ref.func"));
  EXPECT_FALSE(matches(function, "ref.null") || matches(function, "ref.extern"));
  EXPECT_FALSE(parse_value("ref.extern:1").has_value());
}

// A folder for the files of one test.
class ScriptTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string test = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ =
        std::filesystem::path(testing::TempDir()) / fmt::format("spec{}{}", test.substr(0, 8), getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(std::string_view name, std::string_view text) const {
    const std::span bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    ASSERT_TRUE(write_file(folder_ / name, bytes).ok());
  }

  // Adds a module to the blob and gives "OFFSET\tLENGTH".
  std::string module(std::string_view wat) {
    const std::vector<uint8_t> wasm = test::wasm(wat);
    std::string place = fmt::format("{}\t{}", blob_.size(), wasm.size());
    blob_.append(wasm.begin(), wasm.end());
    return place;
  }

  std::filesystem::path folder_;
  std::string blob_;
};

class SpecRunnerTest : public ScriptTest, public testing::WithParamInterface<Tier> {
 protected:
  // There is a peak of prepared modules alone.
  static constexpr auto kPlain = SpecHost::Mode::kPlain;
  static constexpr auto kPrepared = SpecHost::Mode::kPrepared;
  static SpecHost::Mode usual_mode() { return GetParam() == Tier::kPeak ? kPrepared : kPlain; }

  // What becomes of each line of `script`.
  std::vector<Outcome> run(const std::string& script, std::string_view skips = "",
                           SpecHost::Mode mode = usual_mode()) {
    write("t.script", script);
    write("t.wasm-blob", blob_);
    write("skips.txt", skips);
    const SpecHost host = SpecHost::create(GetParam(), mode).value();
    skips_ = SkipList::read(folder_ / "skips.txt", GetParam()).value();
    const Script parsed = Script::read(folder_ / "t.script");
    ScriptRunner runner(host, parsed, skips_, "g/t");
    std::vector<Outcome> outcomes;
    for (const Directive& directive : parsed.directives()) outcomes.push_back(runner.run(directive));
    peak_ = runner.peak_counts();
    return outcomes;
  }

  SkipList skips_;
  PeakCounts peak_;
};

void expect_kinds(const std::vector<Outcome>& outcomes, const std::vector<OutcomeKind>& kinds) {
  ASSERT_EQ(outcomes.size(), kinds.size());
  for (size_t i = 0; i < kinds.size(); i++) EXPECT_EQ(outcomes[i].kind, kinds[i]) << i << outcomes[i].reason;
}

// Each assertion once where it holds and once where it does not.
TEST_P(SpecRunnerTest, WrongExpectationsFail) {
  const std::string valid = module(R"((module
    (func (export "one") (result i32) (i32.const 1))
    (func $deep (export "deep") (call $deep))
    (func (export "trap") (drop (i32.div_u (i32.const 1) (i32.const 0))))
    (global (export "g") i32 (i32.const 7))))");
  const std::string trapping = module("(module (func unreachable) (start 0))");
  const std::string importing = module("(module (import \"no\" \"such\" (func)))");
  const std::string invalid = module("(module (func (result i32) (i32.const 1)))");
  blob_.back() = '\x7f';  // not "end"
  const std::vector<Outcome> outcomes = run("1\tmodule\t-\t" + valid +
                                            "\n2\tassert_return\tinvoke\t-\tone\t=>\ti32:00000001"
                                            "\n3\tassert_return\tinvoke\t-\tone\t=>\ti32:00000002"
                                            "\n4\tassert_return\tinvoke\t-\tone\t=>"
                                            "\n5\tassert_return\tinvoke\t-\ttrap\t=>"
                                            "\n6\tassert_return\tget\t-\tg\t=>\ti32:00000007"
                                            "\n7\tassert_return\tget\t-\tg\t=>\ti32:00000008"
                                            "\n8\tassert_trap\tinvoke\t-\ttrap\tinteger divide by zero"
                                            "\n9\tassert_trap\tinvoke\t-\ttrap\tinteger overflow"
                                            "\n10\tassert_trap\tinvoke\t-\tone\tinteger overflow"
                                            "\n11\tassert_exhaustion\t-\tdeep\tcall stack exhausted"
                                            "\n12\tassert_exhaustion\t-\ttrap\tcall stack exhausted"
                                            "\n13\tassert_trap\tmodule\t" +
                                            trapping +
                                            "\tunreachable"
                                            "\n14\tassert_trap\tmodule\t" +
                                            valid +
                                            "\tunreachable"
                                            "\n15\tassert_unlinkable\t" +
                                            importing +
                                            "\tunknown import"
                                            "\n16\tassert_unlinkable\t" +
                                            valid +
                                            "\tunknown import"
                                            "\n17\tassert_unlinkable\t" +
                                            trapping +
                                            "\tunknown import"
                                            "\n18\tassert_invalid\t" +
                                            invalid +
                                            "\ttype mismatch"
                                            "\n19\tassert_invalid\t" +
                                            valid +
                                            "\ttype mismatch"
                                            "\n20\tassert_malformed_text\tunknown operator"
                                            "\n21\tinvoke\t-\ttrap\n");
  using enum OutcomeKind;
  expect_kinds(outcomes, {kPassed, kPassed, kFailed, kFailed, kFailed, kPassed,   kFailed,
                          kPassed, kFailed, kFailed, kPassed, kFailed, kPassed,   kFailed,
                          kPassed, kFailed, kFailed, kPassed, kFailed, kTextOnly, kFailed});
}

// An instance must not answer for the module after it, and what is left out is skipped with all that needs
// it.
TEST_P(SpecRunnerTest, AModuleThatIsMissingIsMissed) {
  const std::string plain = module(R"((module (func (export "f"))))");
  const std::string left_out = module(R"((module (func (export "f") (param externref))))");
  const std::string needing = module(R"((module (import "x" "f" (func (param externref)))))");
  const std::string unlinked = module(R"((module (import "no" "such" (func)) (func (export "f"))))");
  const std::vector<Outcome> outcomes = run("1\tmodule\t$plain\t" + plain + "\n2\tmodule\t-\t" + left_out +
                                            "\n3\tinvoke\t-\tf\n4\tregister\tx\t-"
                                            "\n5\tmodule\t-\t" +
                                            needing +
                                            "\n6\tinvoke\t$plain\tf"
                                            "\n7\tmodule\t-\t" +
                                            unlinked + "\n8\tinvoke\t-\tf\n");
  using enum OutcomeKind;
  expect_kinds(outcomes, {kPassed, kSkipped, kSkipped, kSkipped, kSkipped, kPassed, kFailed, kFailed});
  EXPECT_EQ(outcomes[2].reason, "externref");
}

// That prepared modules are used at all shows in what only they are refused for.
TEST_P(SpecRunnerTest, PreparedModulesAreFinishedByTheHost) {
  const std::string started = module(R"((module (memory 1) (data (i32.const 4) "\07")
    (func $start (i32.store (i32.const 8) (i32.add (i32.load (i32.const 4)) (i32.const 1)))) (start $start)
    (func (export "f") (result i32) (i32.load (i32.const 8)))))");
  const std::string trapping = module("(module (func unreachable) (start 0))");
  const std::string outside = module("(module (memory 1) (data (i32.const 65536) \"x\"))");
  const std::string reserved = module("(module (func (export \"spore:f\")))");
  const std::string script = "1\tmodule\t-\t" + started +
                             "\n2\tassert_return\tinvoke\t-\tf\t=>\ti32:00000008"
                             "\n3\tassert_trap\tmodule\t" +
                             trapping + "\tunreachable\n4\tassert_trap\tmodule\t" + outside +
                             "\tout of bounds memory access\n5\tmodule\t-\t" + reserved + "\n";
  using enum OutcomeKind;
  if (GetParam() != Tier::kPeak) {
    expect_kinds(run(script, "", kPlain), {kPassed, kPassed, kPassed, kPassed, kPassed});
  }
  expect_kinds(run(script, "", kPrepared), {kPassed, kPassed, kPassed, kPassed, kFailed});
}

// Where a module has no peak form it runs below, with all that it is linked to, and is counted.
using PeakPlanTest = ScriptTest;

TEST_F(PeakPlanTest, WhatHasNoPeakFormIsBelowWithAllThatIsLinkedToIt) {
  const std::string alone = module(R"((module (import "spectest" "print" (func)) (func (export "f"))))");
  const std::string offering = module(R"((module (memory (export "m") 1)))");
  const std::string formless = module(R"((module (import "x" "m" (memory 1)) (global i32 (i32.const 7))))");
  const std::string third = module(R"((module (import "x" "m" (memory 1)) (func)))");
  const std::string before = module(R"((module (import "x" "f" (func))))");
  write("t.script", "1\tmodule\t-\t" + alone + "\n2\tregister\tx\t-\n3\tmodule\t-\t" + before +
                        "\n4\tmodule\t$o\t" + offering + "\n5\tregister\tx\t$o\n6\tmodule\t-\t" + third +
                        "\n7\tassert_unlinkable\t" + formless + "\tincompatible\n");
  write("t.wasm-blob", blob_);
  const Script script = Script::read(folder_ / "t.script");
  const PeakPlan plan(script, [](std::span<const uint8_t> wasm) -> std::optional<PeakPlan::Attempt> {
    const bool has_global = wasm::inspect(wasm, wasm.size()).value().globals > 0;
    return PeakPlan::Attempt{nullptr, has_global ? "it has a global" : ""};
  });
  std::vector<bool> below;
  for (const Directive& directive : script.directives()) {
    if (directive.kind != Kind::kRegister) below.push_back(plan.is_below(directive));
  }
  EXPECT_EQ(below, (std::vector<bool>{false, false, true, true, true}));
  EXPECT_EQ(plan.counts().at_peak, 2u);
  const std::map<std::string, size_t> causes{{"it has a global", 1},
                                             {"linked to one that has no peak form", 2}};
  EXPECT_EQ(plan.counts().below, causes);
}

// Nothing is counted twice, and nothing in another tier.
TEST_P(SpecRunnerTest, ModulesAreCountedAtThePeakAndBelow) {
  const std::string plain = module(R"((module (func (export "f"))))");
  const std::string left_out = module(R"((module (func (param externref))))");
  run("1\tmodule\t-\t" + plain + "\n2\tmodule\t-\t" + left_out + "\n3\tmodule\t-\t" + plain + "\n");
  size_t counted = peak_.at_peak;
  for (const auto& [cause, count] : peak_.below) counted += count;
  EXPECT_EQ(counted, GetParam() == Tier::kPeak ? 1 : 0);
}

TEST_P(SpecRunnerTest, ListedFailuresAreSkippedAndStaleEntriesAreTold) {
  const std::string plain = module(R"((module (func (export "f"))))");
  const std::vector<Outcome> outcomes =
      run("1\tmodule\t-\t" + plain + "\n2\tassert_trap\tinvoke\t-\tf\tunreachable\n3\tinvoke\t-\tf\n",
          "# comment\n\ng/t:2,3 all a good reason\ng/other optimised,interpreter why\n");
  using enum OutcomeKind;
  expect_kinds(outcomes, {kPassed, kSkipped, kPassed});
  EXPECT_EQ(outcomes[1].reason, "a good reason");
  EXPECT_EQ(skips_.stale("g/t"), std::vector<std::string>{"g/t:3"});
  const bool listed = GetParam() == Tier::kOptimised || GetParam() == Tier::kInterpreter;
  EXPECT_EQ(skips_.stale("").size(), listed ? 2 : 1);
  for (const std::string_view broken :
       {"g/t:2", "g/t:2 all", "g/t:2 both reason", "g/t:2 all,peak reason", "g/t:x all reason"}) {
    write("skips.txt", broken);
    EXPECT_EQ(SkipList::read(folder_ / "skips.txt", GetParam()).code(), Code::kInvalidArgument) << broken;
  }
}

TEST_P(SpecRunnerTest, ExpectedCountsAreReadAsWrittenAndDifferencesTold) {
  GroupCounts found;
  found["simd"] = {.files = 2, .files_whole = 1, .passed = 10, .failed = 0, .text_only = 3, .skipped = {}};
  found["simd"].skipped["two words"] = 4;
  write("expected.txt", to_expected_text(found));
  GroupCounts expected = read_expected(folder_ / "expected.txt").value();
  EXPECT_EQ(differences(expected, found), "");
  expected["simd"].passed++;
  EXPECT_NE(differences(expected, found), "");
  expected["simd"].passed--;
  expected["gone"] = {};
  EXPECT_NE(differences(expected, found), "");
  write("expected.txt", "group simd 1 2\n");
  EXPECT_EQ(read_expected(folder_ / "expected.txt").code(), Code::kInvalidArgument);
}

// A tier that was never counted is not told of; one that lacks a group has nothing in it.
TEST(SpecReportTest, TheDocumentHasAllTiersThatWereCounted) {
  std::map<Tier, GroupCounts> tiers;
  tiers[Tier::kBaseline]["simd"] = {.files = 2, .files_whole = 1, .passed = 10, .skipped = {{"why", 4}}};
  tiers[Tier::kInterpreter]["simd"] = {.files = 2, .files_whole = 2, .passed = 14, .skipped = {}};
  tiers[Tier::kInterpreter]["gc"] = {.files = 1, .files_whole = 0, .passed = 3, .skipped = {{"gc", 7}}};
  const std::string document = to_document(tiers);
  for (const std::string_view line :
       {"| group | files | wasmi: whole | passed | skipped | Winch: whole | passed | skipped | text only |",
        "| simd | 2 | 2 | 14 | 0 | 1 | 10 | 4 | 0 |", "| gc | 1 | 0 | 3 | 7 | 0 | 0 | 0 | 0 |",
        "| interpreter | wasmi | 3 | 2 | 17 | 7 |", "| gc | 7 | 0 |", "| why | 0 | 4 |"}) {
    EXPECT_NE(document.find(line), std::string::npos) << line << "\n" << document;
  }
  EXPECT_EQ(document.find("Cranelift |"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Tiers, SpecRunnerTest,
                         testing::Values(Tier::kInterpreter, Tier::kBaseline, Tier::kOptimised, Tier::kPeak),
                         [](const auto& test) { return std::string(engine::tier_name(test.param)); });

}  // namespace
}  // namespace spore::spec
