#include "spore/wasm/inspect.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"

namespace spore::wasm {
namespace {

using Bytes = std::vector<uint8_t>;
using std::string_view_literals::operator""sv;
using test::wasm;

constexpr size_t kBytesMax = 1 << 20;

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

ModuleFacts facts_of(std::string_view text) { return inspect(wasm(text), kBytesMax).value(); }

// A module with every kind of section, by hand: import, function, table, memory, global, export, start,
// element, data and custom.
constexpr std::string_view kAllKinds = R"((module
  (import "env" "log" (func $log (param i32 i64 f32 f64)))
  (import "env" "memory" (memory 1 16))
  (import "env" "table" (table 2 10 funcref))
  (import "env" "base" (global i32))
  (func $swap (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
  (func $start)
  (start $start)
  (global $count (export "count") (mut i32) (i32.const 7))
  (global f64 (f64.const 1))
  (elem (i32.const 0) $swap $start)
  (data (i32.const 0) "hello")
  (data (i32.const 8) "there!")
  (export "memory" (memory 0))
  (export "table" (table 0))
  (export "log" (func $log))
))";

// Where the sections of a valid module end: cut there, a module may still be valid.
std::set<size_t> section_ends(const Bytes& module) {
  std::set<size_t> ends{8};
  size_t at = 8;
  while (at < module.size()) {
    at++;  // the section's number
    size_t size = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = module.at(at++);
      size |= static_cast<size_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    at += size;
    ends.insert(at);
  }
  return ends;
}

std::vector<std::string> texts(const std::vector<ModuleFacts::Import>& imports) {
  std::vector<std::string> lines;
  for (const auto& import : imports) {
    lines.push_back(fmt::format("{}.{} {}", import.module, import.name, import.type));
  }
  return lines;
}

std::vector<std::string> texts(const std::vector<ModuleFacts::Export>& exports) {
  std::vector<std::string> lines;
  for (const auto& exported : exports) lines.push_back(fmt::format("{} {}", exported.name, exported.type));
  return lines;
}

// --- facts --------------------------------------------------------------------------------------------

TEST(InspectTest, TheSmallestModuleIsEmpty) {
  const Bytes module = bytes_of("\0asm\1\0\0\0"sv);
  const ModuleFacts facts = inspect(module, kBytesMax).value();
  EXPECT_EQ(facts.module_bytes, 8u);
  EXPECT_EQ(facts.hash, sha256(module));
  EXPECT_EQ(facts.hash.hex(), "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476");
  EXPECT_EQ(facts.proposals, 0u);
  EXPECT_EQ(facts.functions + facts.tables + facts.memories + facts.globals, 0u);
  EXPECT_FALSE(facts.has_start);
  EXPECT_TRUE(facts.imports.empty() && facts.exports.empty() && facts.custom_sections.empty());
}

TEST(InspectTest, CountsIncludeWhatIsImported) {
  const ModuleFacts facts = facts_of(kAllKinds);
  EXPECT_TRUE(facts.has_start);
  EXPECT_EQ(facts.functions, 3u);
  EXPECT_EQ(facts.functions_imported, 1u);
  EXPECT_EQ(facts.tables, 1u);
  EXPECT_EQ(facts.memories, 1u);
  EXPECT_EQ(facts.globals, 3u);
  EXPECT_EQ(facts.globals_mutable, 1u);
  EXPECT_EQ(facts.element_segments, 1u);
  EXPECT_EQ(facts.data_segments, 2u);
  EXPECT_EQ(facts.data_bytes, 11u);
}

TEST(InspectTest, ImportsAndExportsAreWrittenForPeople) {
  const ModuleFacts facts = facts_of(kAllKinds);
  EXPECT_EQ(texts(facts.imports), (std::vector<std::string>{
                                      "env.log func(i32, i64, f32, f64)",
                                      "env.memory memory 1..16 pages of 64 KiB",
                                      "env.table table 2..10 funcref",
                                      "env.base global i32",
                                  }));
  EXPECT_EQ(texts(facts.exports), (std::vector<std::string>{
                                      "swap func(i32, i64) -> i64, i32",
                                      "count global mut i32",
                                      "memory memory 1..16 pages of 64 KiB",
                                      "table table 2..10 funcref",
                                      "log func(i32, i64, f32, f64)",
                                  }));
}

TEST(InspectTest, MemoriesAreWrittenWithTheirKindAndBounds) {
  EXPECT_EQ(facts_of("(module (memory 3))").memory_types,
            std::vector<std::string>{"memory 3.. pages of 64 KiB"});
  EXPECT_EQ(facts_of("(module (memory 0 0))").memory_types,
            std::vector<std::string>{"memory 0..0 pages of 64 KiB"});
  EXPECT_EQ(facts_of("(module (memory i64 1 2))").memory_types,
            std::vector<std::string>{"memory i64 1..2 pages of 64 KiB"});
  EXPECT_EQ(facts_of("(module (memory 1 2 shared))").memory_types,
            std::vector<std::string>{"memory shared 1..2 pages of 64 KiB"});
  EXPECT_EQ(facts_of("(module (memory 100 (pagesize 1)))").memory_types,
            std::vector<std::string>{"memory 100.. pages of 1 bytes"});
  EXPECT_EQ(facts_of("(module (import \"a\" \"m\" (memory 1)) (memory 2))").memory_types,
            (std::vector<std::string>{"memory 1.. pages of 64 KiB", "memory 2.. pages of 64 KiB"}));
}

// Two functions of 2 and 5 bytes: a body is its locals and instructions, without its own length.
TEST(InspectTest, CodeIsMeasuredInBodies) {
  const ModuleFacts facts =
      facts_of("(module (func) (func (result i32) (i32.add (i32.const 1) (i32.const 2))))");
  EXPECT_EQ(facts.body_bytes_max, 7u);
  EXPECT_EQ(facts.code_bytes, 9u);
}

TEST(InspectTest, CustomSectionsAreListedWithTheirPayload) {
  Bytes module = bytes_of("\0asm\1\0\0\0"sv);
  const Bytes custom = bytes_of("\0\x08\x04note123"sv);
  module.insert(module.end(), custom.begin(), custom.end());
  const ModuleFacts facts = inspect(module, kBytesMax).value();
  ASSERT_EQ(facts.custom_sections.size(), 1u);
  EXPECT_EQ(facts.custom_sections[0].name, "note");
  EXPECT_EQ(facts.custom_sections[0].bytes, 3u);
  EXPECT_EQ(facts.custom_bytes, 3u);
}

TEST(InspectTest, TheHashIsThatOfTheBytes) {
  const Bytes first = wasm("(module (func))");
  const Bytes second = wasm("(module (func) (func))");
  EXPECT_EQ(inspect(first, kBytesMax).value().hash, sha256(first));
  EXPECT_NE(inspect(first, kBytesMax).value().hash, inspect(second, kBytesMax).value().hash);
}

// --- what is refused ----------------------------------------------------------------------------------

void expect_invalid(std::span<const uint8_t> bytes, std::string_view message) {
  const auto facts = inspect(bytes, kBytesMax);
  EXPECT_EQ(facts.code(), Code::kInvalidModule);
  EXPECT_EQ(facts.status().message(), message);
}

TEST(InspectTest, NothingIsNoModule) { expect_invalid({}, "the module is empty (0 bytes)"); }

TEST(InspectTest, OtherFilesAreNoModules) {
  const auto not_wasm = [](std::string_view content) {
    expect_invalid(bytes_of(content), fmt::format("not WebAssembly: {} bytes that do not begin with "
                                                  "\"\\0asm\" (expected a .wasm file)",
                                                  content.size()));
  };
  not_wasm("(module)");
  not_wasm(
      "\x7f"
      "ELF\2\1\1\0"sv);
  not_wasm("\0"sv);
  not_wasm("\0as"sv);
  not_wasm("asm\0\1\0\0\0"sv);
}

TEST(InspectTest, AnotherVersionIsNoModule) {
  const auto facts = inspect(bytes_of("\0asm\2\0\0\0"sv), kBytesMax);
  EXPECT_EQ(facts.code(), Code::kInvalidModule);
  const std::string_view message = facts.status().message();
  EXPECT_TRUE(message.starts_with("not a valid module: unknown binary version: ")) << message;
  EXPECT_TRUE(message.ends_with("0x2 (at offset 4 of 8 bytes)")) << message;
}

TEST(InspectTest, TheMessageSaysWhatIsWrongAndWhere) {
  // (func (result i32)) without a value, which the text format can say.
  const auto facts = inspect(wasm("(module (func (result i32)))"), kBytesMax);
  EXPECT_EQ(facts.code(), Code::kInvalidModule);
  EXPECT_EQ(facts.status().message(),
            "not a valid module: type mismatch: expected i32 but nothing on stack "
            "(at offset 24 of 25 bytes)");
}

TEST(InspectTest, ComponentsAreTold) {
  const auto component = inspect(bytes_of("\0asm\x0d\0\1\0"sv), kBytesMax);
  EXPECT_EQ(component.code(), Code::kUnsupported);
  EXPECT_EQ(component.status().message(),
            "this is a component, Spore runs core modules: build it for wasm32-wasip1 or "
            "wasm32-unknown-unknown, or take the module out with 'wasm-tools component unbundle'");
}

TEST(InspectTest, TheLimitIsTheLargestModuleThatIsTaken) {
  const Bytes module = wasm(kAllKinds);
  EXPECT_TRUE(inspect(module, module.size() + 1).ok());
  EXPECT_TRUE(inspect(module, module.size()).ok());
  const auto above = inspect(module, module.size() - 1);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(),
            fmt::format("the module has {} bytes, the limit is {} (module_bytes_max)", module.size(),
                        module.size() - 1));
  EXPECT_EQ(inspect({}, 0).code(), Code::kInvalidModule);  // empty, but not too large
}

TEST(InspectTest, TheMagicIsFourBytes) {
  EXPECT_TRUE(has_wasm_magic(bytes_of("\0asm"sv)));
  EXPECT_TRUE(has_wasm_magic(bytes_of("\0asm\x0d\0\1\0"sv)));
  EXPECT_FALSE(has_wasm_magic(bytes_of("\0as"sv)));
  EXPECT_FALSE(has_wasm_magic(bytes_of("\0asn"sv)));
  EXPECT_FALSE(has_wasm_magic({}));
}

// Cut at every length.  Only where a section ends can what is left be a module of its own.
TEST(InspectTest, TruncatedModulesAreRefusedAtEveryLength) {
  const Bytes module = wasm(kAllKinds);
  const std::set<size_t> ends = section_ends(module);
  ASSERT_GT(ends.size(), 8u);
  size_t refused = 0;
  for (size_t length = 0; length < module.size(); length++) {
    const auto facts = inspect({module.data(), length}, kBytesMax);
    if (facts.ok()) {
      EXPECT_TRUE(ends.contains(length)) << length;
      continue;
    }
    refused++;
    EXPECT_EQ(facts.code(), Code::kInvalidModule) << length << ": " << facts.status().message();
    EXPECT_FALSE(facts.status().message().empty());
  }
  EXPECT_GE(refused, module.size() - ends.size());
}

// Every byte replaced by every other.  Whatever comes out, it is an answer, and a valid module's facts
// are within what its length allows.
TEST(InspectTest, AnyOneByteMayBeWrong) {
  Bytes module = wasm(kAllKinds);
  for (size_t at = 0; at < module.size(); at++) {
    const uint8_t before = module[at];
    for (int value = 0; value < 256; value++) {
      module[at] = static_cast<uint8_t>(value);
      const auto facts = inspect(module, kBytesMax);
      if (facts.ok()) {
        ASSERT_LE(facts->data_bytes + facts->code_bytes + facts->custom_bytes, module.size());
        continue;
      }
      ASSERT_TRUE(facts.code() == Code::kInvalidModule || facts.code() == Code::kUnsupported)
          << "byte " << at << " = " << value << ": " << facts.status().message();
    }
    module[at] = before;
  }
}

TEST(InspectTest, RandomBytesAreRefused) {
  constexpr uint32_t kSeed = 20240612;
  std::mt19937 random(kSeed);
  for (int round = 0; round < 5000; round++) {
    Bytes bytes = bytes_of("\0asm\1\0\0\0"sv);
    bytes.resize(8 + 1 + random() % 200);
    std::generate(bytes.begin() + 8, bytes.end(), [&] { return static_cast<uint8_t>(random()); });
    const auto facts = inspect(bytes, kBytesMax);
    // A custom section of random content would be valid; nothing else is, in practice.
    if (facts.ok()) {
      ASSERT_GT(facts->custom_sections.size(), 0u) << "seed " << kSeed << " round " << round;
    } else {
      ASSERT_EQ(facts.code(), Code::kInvalidModule) << "seed " << kSeed << " round " << round;
    }
  }
}

// Counts and lengths that promise far more than there is: nothing may be allocated for them.
TEST(InspectTest, CountsThatLieAreRefused) {
  for (const uint8_t section : {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13}) {
    // The section's number, its length, 2^32 - 1 entries.
    Bytes module = bytes_of("\0asm\1\0\0\0"sv);
    const Bytes rest{section, 6, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00};
    module.insert(module.end(), rest.begin(), rest.end());
    EXPECT_EQ(inspect(module, kBytesMax).code(), Code::kInvalidModule) << int{section};
  }
  // One function with a group of 2^32 - 1 locals.
  expect_invalid(
      bytes_of("\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a\x0a\1\x08\1\xff\xff\xff\xff\x0f\x7f\x0b"sv),
      "not a valid module: too many locals: locals exceed maximum (at offset 23 of 30 bytes)");
}

TEST(InspectTest, NamesMustBeUtf8) {
  // An import of "\xFF" from "".
  expect_invalid(bytes_of("\0asm\1\0\0\0\2\6\1\0\1\xFF\3\x7f"sv),
                 "not a valid module: malformed UTF-8 encoding (at offset 13 of 16 bytes)");
}

// --- proposals ----------------------------------------------------------------------------------------

struct Case {
  std::string_view name;
  uint32_t proposals;
  std::string_view text;
};

std::ostream& operator<<(std::ostream& out, const Case& example) { return out << example.text; }

class ProposalTest : public testing::TestWithParam<Case> {};

// Exactly these bits: a module is not to be refused for what it does not use.
TEST_P(ProposalTest, IsSeenByATinyModule) {
  const ModuleFacts facts = facts_of(GetParam().text);
  EXPECT_EQ(proposal_names(facts.proposals), proposal_names(GetParam().proposals));
}

const Case kCases[] = {
    {"FirstVersion", 0,
     "(module (memory 1 2) (table 1 funcref) (global (mut i32) (i32.const 0)) (data (i32.const 0) \"x\")"
     " (func $f (param i32) (result f64) (local i64) (block (br 0)) (f64.const 1)) (elem (i32.const 0) $f))"},
    {"MutableGlobalExported", kMutableGlobals, "(module (global (export \"g\") (mut i32) (i32.const 0)))"},
    {"MutableGlobalImported", kMutableGlobals, "(module (import \"a\" \"g\" (global (mut i64))))"},
    {"SaturatingFloatToInt", kSaturatingFloatToInt,
     "(module (func (param f64) (result i32) (i32.trunc_sat_f64_s (local.get 0))))"},
    {"SignExtension", kSignExtension,
     "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))"},
    {"MultiValueResults", kMultiValue, "(module (func (result i32 i32) (i32.const 1) (i32.const 2)))"},
    {"MultiValueBlock", kMultiValue, "(module (func (i32.const 1) (block (param i32) (drop))))"},
    {"BulkMemoryCopy", kBulkMemory,
     "(module (memory 1) (func (memory.copy (i32.const 0) (i32.const 1) (i32.const 2))))"},
    {"BulkMemoryFill", kBulkMemory,
     "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))))"},
    {"BulkMemoryPassiveData", kBulkMemory, "(module (memory 1) (data \"x\"))"},
    {"BulkMemoryPassiveElements", kBulkMemory, "(module (func $f) (elem func $f))"},
    {"ReferenceTypesTableGet", kReferenceTypes,
     "(module (table 1 funcref) (func (result i32) (ref.is_null (table.get (i32.const 0)))))"},
    {"ReferenceTypesTwoTables", kReferenceTypes, "(module (table 1 funcref) (table 1 funcref))"},
    {"ReferenceTypesParameter", kReferenceTypes, "(module (func (param funcref)))"},
    {"SimdInstruction", kSimd, "(module (func (drop (v128.const i64x2 1 2))))"},
    {"SimdParameter", kSimd, "(module (func (param v128)))"},
    {"SimdLocal", kSimd, "(module (func (local v128)))"},
    {"RelaxedSimd", kSimd | kRelaxedSimd,
     "(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"},
    {"TailCall", kTailCall, "(module (func $f (return_call $f)))"},
    {"TailCallIndirect", kTailCall, "(module (table 1 funcref) (func (return_call_indirect (i32.const 0))))"},
    {"ExtendedConstGlobal", kExtendedConst, "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))"},
    {"ExtendedConstData", kExtendedConst,
     "(module (memory 1) (data (offset (i32.mul (i32.const 1) (i32.const 2))) \"x\"))"},
    {"MultiMemory", kMultiMemory, "(module (memory 1) (memory 1))"},
    {"MultiMemoryImported", kMultiMemory, "(module (import \"a\" \"m\" (memory 1)) (memory 1))"},
    {"Memory64", kMemory64, "(module (memory i64 1))"},
    {"Memory64Table", kMemory64, "(module (table i64 1 funcref))"},
    {"ThreadsSharedMemory", kThreads, "(module (memory 1 1 shared))"},
    {"ThreadsAtomic", kThreads, "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))"},
    {"ThreadsFence", kThreads, "(module (func (atomic.fence)))"},
    {"ExceptionsTag", kExceptions, "(module (tag))"},
    {"ExceptionsImportedTag", kExceptions, "(module (import \"a\" \"t\" (tag)))"},
    {"ExceptionsTryTable", kExceptions, "(module (func try_table end))"},
    {"ExceptionsReference", kExceptions, "(module (func (param exnref)))"},
    {"GcStruct", kGc, "(module (type (struct (field i32))))"},
    {"GcRecursionGroup", kGc, "(module (rec (type (func)) (type (func))))"},
    {"GcSubtype", kGc, "(module (type (sub (func))))"},
    {"GcInstruction", kGc, "(module (func (drop (ref.i31 (i32.const 1)))))"},
    {"GcReference", kGc, "(module (func (param anyref)))"},
    {"FunctionReferencesType", kFunctionReferences, "(module (type $t (func)) (func (param (ref $t))))"},
    {"FunctionReferencesCall", kFunctionReferences,
     "(module (type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0))))"},
    {"FunctionReferencesTableWithContent", kReferenceTypes | kFunctionReferences,
     "(module (table 1 funcref (ref.null func)))"},
    {"WideArithmetic", kWideArithmetic,
     "(module (func (param i64) (drop (drop (i64.mul_wide_u (local.get 0) (local.get 0))))))"},
    {"CustomPageSizes", kCustomPageSizes, "(module (memory 1 (pagesize 1)))"},
    {"ExternrefParameter", kExternref, "(module (func (param externref)))"},
    {"ExternrefTable", kExternref, "(module (table 1 externref))"},
    {"ExternrefGlobal", kExternref, "(module (import \"a\" \"g\" (global externref)))"},
    {"ExternrefElements", kBulkMemory | kReferenceTypes | kExternref,
     "(module (elem externref (ref.null extern)))"},
    {"ExternrefNull", kExternref | kReferenceTypes, "(module (func (drop (ref.null extern))))"},
};

INSTANTIATE_TEST_SUITE_P(Each, ProposalTest, testing::ValuesIn(kCases),
                         [](const auto& example) { return std::string(example.param.name); });

// Each bit has a case above: a new proposal cannot be forgotten here.
TEST(ProposalsTest, EveryProposalHasATinyModule) {
  uint32_t seen = 0;
  for (const Case& example : kCases) seen |= example.proposals;
  EXPECT_EQ(proposal_names(~seen & (kOtherProposal - 1)), "");
}

TEST(ProposalsTest, NamesComeInTheOrderOfTheBits) {
  EXPECT_EQ(proposal_names(0), "");
  EXPECT_EQ(proposal_names(kSimd), "simd");
  EXPECT_EQ(proposal_names(kTailCall | kSimd | kMutableGlobals), "mutable-globals, simd, tail-call");
  EXPECT_EQ(proposal_names(kExternref | kOtherProposal), "externref, another proposal");
  EXPECT_EQ(
      proposal_names((kOtherProposal << 1) - 1),
      "mutable-globals, saturating-float-to-int, sign-extension, multi-value, bulk-memory, "
      "reference-types, simd, relaxed-simd, tail-call, extended-const, multi-memory, memory64, threads, "
      "exceptions, gc, function-references, wide-arithmetic, custom-page-sizes, externref, "
      "another proposal");
}

// What the two tiers take, bit by bit.
TEST(ProposalsTest, EachTierTakesItsOwn) {
  constexpr uint32_t kNowhere = kThreads | kExceptions | kGc | kFunctionReferences | kWideArithmetic |
                                kCustomPageSizes | kExternref | kOtherProposal;
  constexpr uint32_t kOptimisedOnly = kRelaxedSimd | kTailCall;
  for (uint32_t bit = 1; bit <= kOtherProposal; bit <<= 1) {
    ModuleFacts facts;
    facts.proposals = bit;
    const Status baseline = check_proposals(facts, kProposalsBaseline);
    const Status optimised = check_proposals(facts, kProposalsOptimised);
    EXPECT_EQ(baseline.ok(), (bit & (kNowhere | kOptimisedOnly)) == 0) << proposal_names(bit);
    EXPECT_EQ(optimised.ok(), (bit & kNowhere) == 0) << proposal_names(bit);
    for (const Status* status : {&baseline, &optimised}) {
      if (status->ok()) continue;
      EXPECT_EQ(status->code(), Code::kUnsupported);
      EXPECT_TRUE(status->message().ends_with(proposal_names(bit))) << status->message();
    }
  }
}

// Only what is too much is named, and all of it.
TEST(ProposalsTest, TheRefusalNamesAllThatIsBeyond) {
  const ModuleFacts facts = facts_of(
      "(module (type (struct)) (memory 1 1 shared) (tag) (func (param externref)) (func (param v128)))");
  for (const uint32_t allowed : {kProposalsBaseline, kProposalsOptimised}) {
    const Status status = check_proposals(facts, allowed);
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_TRUE(status.message().ends_with(": threads, exceptions, gc, externref")) << status.message();
  }
}

TEST(InspectTest, ResultTypesOfBlocksAndSelectsCount) {
  for (const char* text :
       {"(module (func (drop (block (result externref) unreachable))))",
        "(module (func (drop (if (result externref) (i32.const 1) (then unreachable) (else unreachable)))))",
        "(module (func (drop (select (result externref) unreachable unreachable (i32.const 1)))))",
        "(module (func (drop (block (result anyref) unreachable))))"}) {
    EXPECT_FALSE(check_proposals(facts_of(text), kProposalsOptimised).ok()) << text;
  }
}

}  // namespace
}  // namespace spore::wasm
