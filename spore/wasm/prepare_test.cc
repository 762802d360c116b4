#include "spore/wasm/prepare.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"

// What the prepared modules do when they run: tests/prepared_test.cc and the spec suite.
namespace spore::wasm {
namespace {

using Bytes = std::vector<uint8_t>;
using GlobalKind = PreparedModule::GlobalKind;
using Names = std::vector<std::string>;
using test::wasm;
using testing::Test;

constexpr size_t kBytesMax = 1 << 20;

PreparedModule prepared(std::string_view text) { return prepare(wasm(text), kBytesMax).value(); }

// Of the module that prepare() made; that it has any shows that it is valid.
ModuleFacts facts_after(const PreparedModule& module) { return inspect(module.wasm, kBytesMax).value(); }

// "spore:m0 memory 1.. pages of 64 KiB".
Names added_exports(const PreparedModule& module) {
  const ModuleFacts facts = facts_after(module);
  Names names;
  for (const auto& exported : facts.exports) {
    if (exported.name.starts_with(kReservedPrefix)) {
      names.push_back(fmt::format("{} {}", exported.name, exported.type));
    }
  }
  return names;
}

void expect_code(std::string_view text, Code code, std::string_view message) {
  const auto result = prepare(wasm(text), kBytesMax);
  EXPECT_EQ(result.code(), code) << text;
  EXPECT_EQ(result.status().message(), message);
}

std::string as_text(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

// --- exports ------------------------------------------------------------------------------------------

TEST(PrepareTest, WhatAModuleDefinesIsExportedUnderItsIndex) {
  const PreparedModule module = prepared(R"((module
    (memory 1 2) (memory i64 3)
    (table 4 funcref) (table i64 5 6 funcref)
    (global i32 (i32.const 1)) (global (mut i64) (i64.const 2)) (global (mut f64) (f64.const 3))))");
  EXPECT_EQ(added_exports(module), (Names{
                                       "spore:m0 memory 1..2 pages of 64 KiB",
                                       "spore:m1 memory i64 3.. pages of 64 KiB",
                                       "spore:t0 table 4.. funcref",
                                       "spore:t1 table i64 5..6 funcref",
                                       "spore:g1 global mut i64",
                                       "spore:g2 global mut f64",
                                   }));
  EXPECT_EQ(module.memories[1].export_name(), "spore:m1");
  EXPECT_EQ(module.tables[1].export_name(), "spore:t1");
  EXPECT_EQ(module.globals[0].export_name(), "spore:g1");
  EXPECT_EQ(module.reset(), ResetMode::kInPlace);
}

// What others own is not this module's state to give away.  Its own keeps the index that it has behind them.
TEST(PrepareTest, WhatAModuleImportsIsNotExported) {
  const PreparedModule module = prepared(R"((module
    (import "a" "m" (memory 1)) (import "a" "t" (table 1 funcref)) (import "a" "g" (global (mut i32)))
    (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0))))");
  EXPECT_EQ(added_exports(module), (Names{
                                       "spore:m1 memory 1.. pages of 64 KiB",
                                       "spore:t1 table 1.. funcref",
                                       "spore:g1 global mut i32",
                                   }));
  EXPECT_EQ(module.memories.size(), 1u);
  EXPECT_EQ(module.tables.size(), 1u);
  EXPECT_EQ(module.globals.size(), 1u);
}

TEST(PrepareTest, TheModulesOwnExportsStay) {
  const PreparedModule module = prepared(R"((module
    (memory (export "memory") 1) (func (export "f") (param i32)) (global (export "g") (mut i32) (i32.const 0))))");
  const ModuleFacts after = facts_after(module);
  ASSERT_EQ(after.exports.size(), 5u);
  EXPECT_EQ(after.exports[0].name, "memory");
  EXPECT_EQ(after.exports[1].name, "f");
  EXPECT_EQ(after.exports[1].type, "func(i32)");
  EXPECT_EQ(after.exports[2].name, "g");
  EXPECT_EQ(after.exports[3].name, "spore:m0");
  EXPECT_EQ(after.exports[4].name, "spore:g0");
}

TEST(PrepareTest, AModuleWithoutStateComesOutAsItWas) {
  const Bytes module = wasm(R"((module
    (import "a" "f" (func $f (param i32))) (global i32 (i32.const 7))
    (func (export "g") (result i32) (call $f (i32.const 1)) (global.get 0))))");
  const PreparedModule once = prepare(module, kBytesMax).value();
  EXPECT_EQ(once.wasm, module);
  EXPECT_EQ(prepare(once.wasm, kBytesMax).value().wasm, module);
  EXPECT_EQ(once.facts.hash, sha256(module));
  const Bytes smallest = wasm("(module)");
  EXPECT_EQ(prepare(smallest, kBytesMax).value().wasm, smallest);
}

TEST(PrepareTest, PreparedModulesAreNotPreparedAgain) {
  for (const char* text : {"(module (memory 0))", "(module (table 0 funcref))",
                           "(module (global (mut i32) (i32.const 0)))", "(module (func $f) (start $f))"}) {
    const auto again = prepare(prepared(text).wasm, kBytesMax);
    EXPECT_EQ(again.code(), Code::kInvalidModule) << text;
    EXPECT_TRUE(again.status().message().ends_with("(was it prepared before?)")) << again.status().message();
  }
}

TEST(PrepareTest, ReservedNamesAreRefused) {
  const auto message = [](std::string_view name) {
    return fmt::format(
        "the module imports or exports '{}': names that begin with 'spore:' are the preparer's (was it "
        "prepared before?)",
        name);
  };
  expect_code(R"((module (func (export "spore:m0"))))", Code::kInvalidModule, message("spore:m0"));
  expect_code(R"((module (import "spore:x" "f" (func))))", Code::kInvalidModule, message("spore:x"));
  expect_code(R"((module (import "env" "spore:" (func))))", Code::kInvalidModule, message("spore:"));
  expect_code(R"((module (func (export "spore:\n"))))", Code::kInvalidModule, message("spore:\\x0a"));
  EXPECT_TRUE(
      prepare(wasm(R"((module (import "spore" "log" (func)) (func (export "a spore:"))))"), kBytesMax).ok());
  // The name of an interface.
  EXPECT_TRUE(prepare(wasm(R"((module (import "spore:document/fields" "score" (func))))"), kBytesMax).ok());
}

// --- data segments ------------------------------------------------------------------------------------

TEST(PrepareTest, ActiveDataIsLiftedInOrder) {
  const PreparedModule module = prepared(R"((module (memory 1) (memory i64 1)
    (data (i32.const 8) "first") (data "passive") (data (memory 1) (i64.const 16) "second")
    (data (offset (i32.sub (i32.mul (i32.const 4) (i32.const 5)) (i32.add (i32.const 1) (i32.const 2)))) "third")))");
  ASSERT_EQ(module.lifted.size(), 3u);
  EXPECT_EQ(module.lifted[0].memory, 0u);
  EXPECT_EQ(module.lifted[0].offset, 8u);
  EXPECT_EQ(as_text(module.lifted[0].bytes), "first");
  EXPECT_EQ(module.lifted[1].memory, 1u);
  EXPECT_EQ(module.lifted[1].offset, 16u);
  EXPECT_EQ(as_text(module.lifted[1].bytes), "second");
  EXPECT_EQ(module.lifted[2].offset, 17u);
  EXPECT_EQ(as_text(module.lifted[2].bytes), "third");
  EXPECT_EQ(module.not_lifted, "");
  // Each index keeps a segment; only the passive one keeps its bytes.
  const ModuleFacts after = facts_after(module);
  EXPECT_EQ(after.data_segments, 4u);
  EXPECT_EQ(after.data_bytes, 7u);
}

// The last byte is inside, the next is not; addresses are unsigned, and no sum wraps around.
TEST(PrepareTest, ASegmentThatWouldTrapIsLeftToTrap) {
  const auto expect_lifted = [](std::string_view text, bool lifted) {
    const PreparedModule module = prepared(text);
    EXPECT_EQ(module.not_lifted, lifted ? "" : "a data segment lies outside its memory") << text;
    EXPECT_EQ(module.lifted.empty(), !lifted) << text;
    const ModuleFacts after = facts_after(module);
    EXPECT_EQ(after.data_bytes, lifted ? 0 : module.facts.data_bytes) << text;
  };
  expect_lifted(R"((module (memory 1) (data (i32.const 65532) "four")))", true);
  expect_lifted(R"((module (memory 1) (data (i32.const 65533) "four")))", false);
  expect_lifted(R"((module (memory 1) (data (i32.const 65536) "")))", true);
  expect_lifted(R"((module (memory 1) (data (i32.const 65537) "")))", false);
  expect_lifted(R"((module (memory 0) (data (i32.const 0) "")))", true);
  expect_lifted(R"((module (memory 0 1) (data (i32.const 0) "x")))", false);
  expect_lifted(R"((module (memory 65536) (data (i32.const -1) "x")))", true);
  expect_lifted(R"((module (memory 65536) (data (i32.const -1) "xy")))", false);
  expect_lifted(R"((module (memory i64 1) (data (i64.const -1) "x")))", false);
  expect_lifted(R"((module (memory i64 1) (data (i64.const -1) "")))", false);
  expect_lifted(R"((module (memory 3 (pagesize 1)) (data (i32.const 0) "abc")))", true);
  expect_lifted(R"((module (memory 3 (pagesize 1)) (data (i32.const 0) "abcd")))", false);
  // All or none: the order of writing could be seen.
  expect_lifted(R"((module (memory 1) (data (i32.const 0) "ok") (data (i32.const 65536) "x")))", false);
}

TEST(PrepareTest, DataStaysWhereTheHostCannotWriteIt) {
  const auto expect_kept = [](std::string_view text, std::string_view reason) {
    const PreparedModule module = prepared(text);
    EXPECT_EQ(module.not_lifted, reason) << text;
    EXPECT_TRUE(module.lifted.empty()) << text;
    EXPECT_EQ(facts_after(module).data_bytes, module.facts.data_bytes) << text;
  };
  expect_kept(
      R"((module (import "a" "g" (global i32)) (memory 1) (data (i32.const 0) "x") (data (global.get 0) "y")))",
      "the offset of a data segment is not a constant");
  expect_kept(
      R"((module (import "a" "m" (memory 1)) (memory 1) (data (memory 1) (i32.const 0) "x") (data (i32.const 0) "y")))",
      "a data segment is for an imported memory");
  expect_kept(R"((module (memory 1 1 shared) (data (i32.const 0) "x")))",
              "a data segment is for a shared memory");
  // Passive segments are nobody's concern.
  EXPECT_EQ(prepared(R"((module (import "a" "m" (memory 1)) (data "x")))").not_lifted, "");
}

// --- the start function -------------------------------------------------------------------------------

TEST(PrepareTest, TheStartFunctionIsAnExport) {
  const PreparedModule own = prepared("(module (func) (func $f) (start $f))");
  EXPECT_TRUE(own.facts.has_start);
  EXPECT_FALSE(facts_after(own).has_start);
  EXPECT_EQ(added_exports(own), Names{"spore:start func()"});
  const PreparedModule imported = prepared(R"((module (import "a" "f" (func $f)) (start $f)))");
  EXPECT_FALSE(facts_after(imported).has_start);
  EXPECT_EQ(added_exports(imported), Names{"spore:start func()"});
  EXPECT_EQ(added_exports(prepared("(module (func))")), Names{});
}

// --- segments that code drops -------------------------------------------------------------------------

// One helper for each memory that is initialised from the segment, one empty segment for all of them.
TEST(PrepareTest, DroppedDataBecomesAFlag) {
  const PreparedModule module = prepared(R"((module (memory 1) (memory i64 1) (global (mut i32) (i32.const 5))
    (data (i32.const 0) "active") (data "kept") (data "dropped") (data "dropped")
    (func (memory.init 2 (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop 2))
    (func (memory.init 1 2 (i64.const 0) (i32.const 0) (i32.const 1)) (data.drop 3) (data.drop 0))
    (func (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 1)))
    (func (nop))))");
  EXPECT_EQ(module.data_flags, (std::vector<uint32_t>{2, 3}));
  EXPECT_EQ(module.functions_added, 2u);
  EXPECT_EQ(module.functions_rewritten, 3u);
  EXPECT_EQ(added_exports(module), (Names{
                                       "spore:m0 memory 1.. pages of 64 KiB",
                                       "spore:m1 memory i64 1.. pages of 64 KiB",
                                       "spore:g0 global mut i32",
                                       "spore:d2 global mut i32",
                                       "spore:d3 global mut i32",
                                   }));
  const ModuleFacts after = facts_after(module);
  EXPECT_EQ(after.functions, 6u);
  EXPECT_EQ(after.globals, 3u);
  EXPECT_EQ(after.data_segments, 5u);
  EXPECT_EQ(module.globals.size(), 1u);  // a flag is listed as a flag
}

TEST(PrepareTest, DroppedElementsBecomeAFlag) {
  const PreparedModule module = prepared(R"((module (table 1 funcref) (table i64 1 funcref)
    (func $f) (elem (i32.const 0) $f) (elem declare func $f) (elem funcref (ref.func $f)) (elem func $f)
    (func (table.init 0 2 (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop 2)
          (table.init 1 2 (i64.const 0) (i32.const 0) (i32.const 1)))
    (func (elem.drop 0) (elem.drop 1) (table.init 0 3 (i32.const 0) (i32.const 0) (i32.const 1)))))");
  EXPECT_EQ(module.element_flags, std::vector<uint32_t>{2});
  EXPECT_EQ(module.functions_added, 2u);
  const ModuleFacts after = facts_after(module);
  EXPECT_EQ(after.element_segments, 5u);
  EXPECT_EQ(after.functions, 5u);
  EXPECT_EQ(added_exports(module), (Names{
                                       "spore:t0 table 1.. funcref",
                                       "spore:t1 table i64 1.. funcref",
                                       "spore:e2 global mut i32",
                                       "spore:f0 func()",
                                   }));
  EXPECT_EQ(module.reset(), ResetMode::kInPlace);
}

// Nothing can tell whether a segment was dropped that nothing drops, or that nothing initialises from.
TEST(PrepareTest, OnlyWhatIsNeededIsAdded) {
  const PreparedModule dropped = prepared(R"((module (memory 1) (data "x") (func (data.drop 0))))");
  EXPECT_EQ(dropped.data_flags, std::vector<uint32_t>{0});
  EXPECT_EQ(dropped.functions_added, 0u);
  EXPECT_EQ(facts_after(dropped).data_segments, 1u);

  const PreparedModule kept = prepared(
      R"((module (memory 1) (data "x") (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))))");
  EXPECT_TRUE(kept.data_flags.empty());
  EXPECT_EQ(kept.functions_added + kept.functions_rewritten, 0u);

  // Active and declared segments are dropped by instantiation.
  const PreparedModule active = prepared(R"((module (memory 1) (table 1 funcref) (func $f)
    (data (i32.const 0) "x") (elem (i32.const 0) $f) (elem declare func $f)
    (func (data.drop 0) (elem.drop 0) (elem.drop 1))))");
  EXPECT_TRUE(active.data_flags.empty() && active.element_flags.empty());
  EXPECT_EQ(active.functions_added + active.functions_rewritten, 0u);
}

// A module may have no section of globals or of exports: they come where they belong.
TEST(PrepareTest, MissingSectionsAreAddedInTheirPlace) {
  const PreparedModule module = prepared(R"((module (memory 1) (data "x") (table 1 funcref) (elem func)
    (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop 0) (elem.drop 0))))");
  EXPECT_EQ(added_exports(module).size(), 4u);
  EXPECT_EQ(facts_after(module).globals, 2u);
}

// --- state --------------------------------------------------------------------------------------------

TEST(PrepareTest, MemoriesAreTold) {
  const PreparedModule module = prepared(R"((module
    (memory 1) (memory i64 2 3) (memory 5 5 (pagesize 1)) (memory 1 2 shared)))");
  ASSERT_EQ(module.memories.size(), 4u);
  EXPECT_EQ(module.memories[0].pages_min, 1u);
  EXPECT_EQ(module.memories[0].pages_max, std::nullopt);
  EXPECT_EQ(module.memories[0].page_bytes, 65536u);
  EXPECT_FALSE(module.memories[0].is_64 || module.memories[0].shared);
  EXPECT_TRUE(module.memories[1].is_64);
  EXPECT_EQ(module.memories[1].pages_min, 2u);
  EXPECT_EQ(module.memories[1].pages_max, 3u);
  EXPECT_EQ(module.memories[2].page_bytes, 1u);
  EXPECT_TRUE(module.memories[3].shared);
  EXPECT_FALSE(module.has_memory_grow);
  EXPECT_TRUE(prepared("(module (memory 1) (func (drop (memory.grow (i32.const 1)))))").has_memory_grow);
}

TEST(PrepareTest, InitialConstantsOfGlobalsAreTold) {
  const PreparedModule module = prepared(R"((module (import "a" "g" (global i32))
    (global (mut i32) (i32.const -2)) (global (mut i64) (i64.sub (i64.const 1) (i64.const 2)))
    (global (mut f32) (f32.const 1)) (global (mut f64) (f64.const -0))
    (global (mut v128) (v128.const i64x2 1 2)) (global (mut i32) (global.get 0))
    (global (mut funcref) (ref.null func)) (global (mut i32) (i32.add (global.get 0) (i32.const 1)))))");
  ASSERT_EQ(module.globals.size(), 8u);
  const auto low = [&](size_t i) {
    uint64_t bits = 0;
    std::copy_n(module.globals[i].initial.value().begin(), 8, reinterpret_cast<uint8_t*>(&bits));
    return bits;
  };
  EXPECT_EQ(module.globals[0].index, 1u);
  EXPECT_EQ(module.globals[0].kind, GlobalKind::kI32);
  EXPECT_EQ(low(0), 0xFFFFFFFEu);
  EXPECT_EQ(module.globals[1].kind, GlobalKind::kI64);
  EXPECT_EQ(low(1), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(module.globals[2].kind, GlobalKind::kF32);
  EXPECT_EQ(low(2), std::bit_cast<uint32_t>(1.0f));
  EXPECT_EQ(module.globals[3].kind, GlobalKind::kF64);
  EXPECT_EQ(low(3), std::bit_cast<uint64_t>(-0.0));
  EXPECT_EQ(module.globals[4].kind, GlobalKind::kV128);
  EXPECT_EQ(low(4), 1u);
  EXPECT_EQ(module.globals[4].initial->at(8), 2u);
  EXPECT_EQ(module.globals[5].initial, std::nullopt);
  EXPECT_EQ(module.globals[6].kind, GlobalKind::kReference);
  EXPECT_EQ(module.globals[6].initial, std::nullopt);
  EXPECT_EQ(module.globals[7].initial, std::nullopt);
}

struct TableCase {
  std::string_view text;
  bool written;
  bool grows;
  bool exported = false;
};

// Whoever is given the table, by an export, can do all that code can; but that is not code of this module.
TEST(PrepareTest, TablesThatMayChangeAreTold) {
  const TableCase cases[] = {
      {R"((table 1 funcref) (func $f) (elem (i32.const 0) $f) (func (drop (table.get 0 (i32.const 0)))))",
       false, false},
      {"(table 1 funcref) (func (call_indirect (i32.const 0)))", false, false},
      {"(table 1 funcref) (func (table.set 0 (i32.const 0) (ref.null func)))", true, false},
      {"(table 1 funcref) (func (table.fill 0 (i32.const 0) (ref.null func) (i32.const 1)))", true, false},
      {"(table 1 funcref) (func (table.copy 0 0 (i32.const 0) (i32.const 0) (i32.const 1)))", true, false},
      {"(table 1 funcref) (elem func) (func (table.init 0 0 (i32.const 0) (i32.const 0) (i32.const 0)))",
       true, false},
      {"(table 1 funcref) (func (drop (table.grow 0 (ref.null func) (i32.const 1))))", true, true},
      {"(table 1 2 funcref) (func (drop (table.grow 0 (ref.null func) (i32.const 1))))", true, true},
      {"(table 1 1 funcref) (func (drop (table.grow 0 (ref.null func) (i32.const 1))))", true, false},
      {R"((table (export "t") 1 funcref))", false, true, true},
      {R"((table (export "t") 1 1 funcref))", false, false, true},
      {R"((table (export "t") 1 1 funcref) (func (table.set 0 (i32.const 0) (ref.null func))))", true, false,
       true},
  };
  for (const TableCase& example : cases) {
    const PreparedModule module = prepared(fmt::format("(module {})", example.text));
    ASSERT_EQ(module.tables.size(), 1u);
    EXPECT_EQ(module.tables[0].changes, example.written || example.exported) << example.text;
    EXPECT_EQ(module.tables[0].written, example.written) << example.text;
    EXPECT_EQ(module.tables[0].grows, example.grows) << example.text;
    EXPECT_EQ(module.reset(), ResetMode::kInPlace) << example.text;
  }
  // The source of a copy only is read.
  const PreparedModule copied = prepared(
      "(module (table 1 funcref) (table i64 2 3 funcref)"
      " (func (table.copy 0 1 (i32.const 0) (i64.const 0) (i32.const 1))))");
  EXPECT_TRUE(copied.tables[0].changes && copied.tables[0].written);
  EXPECT_FALSE(copied.tables[1].changes || copied.tables[1].written);
  EXPECT_TRUE(copied.tables[1].is_64);
  EXPECT_EQ(copied.tables[1].elements_min, 2u);
  EXPECT_EQ(copied.tables[1].elements_max, 3u);
}

TEST(PrepareTest, EveryReasonAgainstResetInPlaceIsTold) {
  const auto reasons = [](std::string_view text) { return prepared(text).reset_reasons; };
  EXPECT_EQ(reasons(R"((module (import "a" "m" (memory 1))))"), Names{"imports a memory"});
  EXPECT_EQ(reasons(R"((module (import "a" "t" (table 1 funcref))))"), Names{"imports a table"});
  EXPECT_EQ(reasons(R"((module (import "a" "g" (global (mut i32)))))"), Names{"imports a mutable global"});
  EXPECT_EQ(reasons("(module (memory 1 1 shared))"), Names{"has a shared memory"});
  EXPECT_EQ(reasons("(module (global (mut funcref) (ref.null func)))"),
            Names{"has a mutable global that holds a reference"});
  EXPECT_EQ(reasons(R"((module (import "a" "m" (memory 1)) (import "a" "m2" (memory 1 2 shared))
                         (import "a" "g" (global (mut funcref)))))"),
            (Names{"imports a memory", "imports a mutable global", "has a shared memory"}));
  // What cannot change is no state.
  EXPECT_EQ(reasons(R"((module (import "a" "g" (global i32)) (import "a" "r" (global funcref))
                         (import "a" "f" (func)) (global funcref (ref.null func))))"),
            Names{});
  EXPECT_EQ(reset_mode_name(ResetMode::kInPlace), "in_place");
  EXPECT_EQ(reset_mode_name(ResetMode::kReinstantiate), "reinstantiate");
  EXPECT_EQ(prepared(R"((module (import "a" "m" (memory 1))))").reset(), ResetMode::kReinstantiate);
}

// --- functions that tables may hold -------------------------------------------------------------------

// A module with a table that code writes to, and `more` in front of that code.
PreparedModule with_written_table(std::string_view more) {
  return prepared(fmt::format(
      "(module {} (table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func))))", more));
}

// Function 1 each time, which is neither called nor anything else; what is only called is not taken.
TEST(PrepareTest, AFunctionMayComeIntoATableFromEverySource) {
  for (const char* source : {
           "(elem (i32.const 0) $f)",
           "(elem func $f)",
           "(elem declare func $f) (func (drop (ref.func $f)))",
           "(elem (i32.const 0) funcref (ref.null func) (ref.func $f))",
           "(elem funcref (ref.func $f) (ref.null func))",
           "(elem declare funcref (ref.func $f))",
           "(elem (table $two) (i32.const 0) func $f) (table $two 1 funcref)",
           "(global funcref (ref.func $f))",
           "(global (mut funcref) (ref.func $f))",
           R"((export "f" (func $f)))",
       }) {
    const PreparedModule module =
        with_written_table(fmt::format("(func $g) (func $f (param i32)) (func (call $g)) {}", source));
    EXPECT_EQ(module.table_functions, std::vector<uint32_t>{1}) << source;
    const Names names = added_exports(module);
    EXPECT_EQ(std::ranges::count(names, "spore:f1 func(i32)"), 1) << source;
    EXPECT_EQ(std::ranges::count_if(names, [](auto& name) { return name.starts_with("spore:f"); }), 1)
        << source;
  }
  EXPECT_EQ(PreparedModule::table_function_name(17), "spore:f17");
}

// Why code need not be searched: it may refer only to what is referred to elsewhere.  And why tables need
// not: an initialiser is of a proposal that is refused.
TEST(PrepareTest, ThereAreNoOtherSources) {
  EXPECT_EQ(prepare(wasm("(module (func $f) (func (drop (ref.func $f))))"), kBytesMax).code(),
            Code::kInvalidModule);
  EXPECT_EQ(prepare(wasm("(module (func $f) (start $f) (func (drop (ref.func $f))))"), kBytesMax).code(),
            Code::kInvalidModule);
  expect_code("(module (func $f) (elem declare func $f) (table 1 funcref (ref.func $f)))", Code::kUnsupported,
              "the module uses what this build leaves out: function-references");
  // What an imported global holds is a function of somebody else.
  const PreparedModule imported =
      with_written_table(R"((import "a" "g" (global funcref)) (func $f) (elem funcref (global.get 0)))");
  EXPECT_EQ(imported.table_functions, std::vector<uint32_t>{});
}

TEST(PrepareTest, TableFunctionsAreListedOnceAndInOrder) {
  const PreparedModule module = with_written_table(R"(
    (import "a" "f" (func $imported (result f64))) (import "a" "g" (func)) (start $started)
    (func $first) (func $second) (func $third) (func $started)
    (elem declare func $third $first) (elem func $third $imported) (elem funcref (ref.func $second))
    (export "a" (func $third)) (export "b" (func $third)))");
  EXPECT_EQ(module.table_functions, (std::vector<uint32_t>{0, 2, 3, 4}));
  EXPECT_EQ(added_exports(module), (Names{
                                       "spore:t0 table 1.. funcref",
                                       "spore:f0 func() -> f64",
                                       "spore:f2 func()",
                                       "spore:f3 func()",
                                       "spore:f4 func()",
                                       "spore:start func()",
                                   }));
  EXPECT_EQ(module.reset(), ResetMode::kInPlace);
}

// Byte for byte what somebody would write by hand: nothing else is added, nor anything where no code writes
// to a table of the module itself.
TEST(PrepareTest, OnlyModulesWithAWrittenTableExportTableFunctions) {
  const auto expect_added = [](std::string_view text, std::string_view added, size_t functions) {
    constexpr std::string_view kReferred = R"((func) (elem (i32.const 0) func 0) (export "f" (func 0)))";
    const PreparedModule module = prepared(fmt::format("(module {} {})", text, kReferred));
    EXPECT_EQ(module.wasm, wasm(fmt::format("(module {} {} {})", text, kReferred, added))) << text;
    EXPECT_EQ(module.table_functions.size(), functions) << text;
  };
  constexpr std::string_view kTable = R"((export "spore:t0" (table 0)))";
  expect_added("(table 1 funcref)", kTable, 0);
  expect_added(R"((table (export "t") 1 funcref))", kTable, 0);
  constexpr std::string_view kWrite = "(func (table.set 0 (i32.const 0) (ref.null func)))";
  expect_added(fmt::format(R"((import "a" "t" (table 1 funcref)) {})", kWrite), "", 0);
  expect_added(fmt::format("(table 1 funcref) {}", kWrite),
               R"((export "spore:t0" (table 0)) (export "spore:f0" (func 0)))", 1);
}

// The parser counts imports and exports by their types: a function as 2 and its parameters and results,
// others as 1, and 1 for the module; all have to stay below a million.  Table functions that do not fit are
// left out.
TEST(PrepareTest, TableFunctionsMustFitIntoTheLimits) {
  // 1 + 998 * 1000 + `globals`; then 1 for spore:t0, and 1000 for spore:f0.
  const auto with_exports = [](size_t globals) {
    std::string text = "(module (table 1 funcref) (global i32 (i32.const 0)) (func (param";
    for (int i = 0; i < 998; i++) text += " i32";
    text += ")) (func (table.set (i32.const 0) (ref.null func)))";
    for (int i = 0; i < 998; i++) text += fmt::format("(export \"f{}\" (func 0))", i);
    for (size_t i = 0; i < globals; i++) text += fmt::format("(export \"g{}\" (global 0))", i);
    return prepare(wasm(text + ")"), kBytesMax);
  };
  const auto fits = with_exports(997);
  EXPECT_EQ(fits->table_functions, std::vector<uint32_t>{0});
  EXPECT_EQ(fits->reset(), ResetMode::kInPlace);
  const auto above = with_exports(998);
  EXPECT_EQ(above->table_functions, std::vector<uint32_t>{});
  EXPECT_EQ(above->reset_reasons, Names{"has too many functions that its tables may hold"});
  EXPECT_TRUE(above->tables[0].written);
  EXPECT_EQ(added_exports(above.value()), Names{"spore:t0 table 1.. funcref"});
  EXPECT_TRUE(with_exports(1997).ok());
  const auto beyond = with_exports(1998);
  EXPECT_EQ(beyond.code(), Code::kLimitExceeded);
  EXPECT_EQ(beyond.status().message(),
            "the prepared module would not be valid: effective type size exceeds the limit of 1000000");
}

// --- what stays ---------------------------------------------------------------------------------------

constexpr std::string_view kAllKinds = R"((module $named
  (import "env" "log" (func $log (param i32)))
  (import "env" "base" (global $base i32))
  (memory $memory (export "memory") 1 2) (table $table 4 funcref)
  (global $count (export "count") (mut i32) (i32.const 7))
  (func $start (call $log (i32.const 1)))
  (func $init (export "init") (param $to i32)
    (block $out (br_if $out (local.get $to)) (memory.init $passive (local.get $to) (i32.const 0) (i32.const 2)))
    (data.drop $passive) (table.init $table $functions (i32.const 1) (i32.const 0) (i32.const 1))
    (elem.drop $functions))
  (start $start) (elem (i32.const 0) $start) (elem $functions func $log $init)
  (data (i32.const 0) "active") (data $passive "passive")))";

TEST(PrepareTest, EverythingElseStays) {
  Bytes module = wasm(kAllKinds);
  const std::string_view custom("\0\x08\x04note123", 10);
  module.insert(module.begin() + 8, custom.begin(), custom.end());  // in front of all sections
  const PreparedModule after_bytes = prepare(module, kBytesMax).value();
  const ModuleFacts before = inspect(module, kBytesMax).value();
  const ModuleFacts after = facts_after(after_bytes);
  EXPECT_EQ(after_bytes.facts.hash, before.hash);
  EXPECT_EQ(after.functions_imported, before.functions_imported);
  EXPECT_EQ(after.functions, before.functions + 2);
  EXPECT_EQ(after.globals, before.globals + 2);
  EXPECT_EQ(after.tables, before.tables);
  EXPECT_EQ(after.memory_types, before.memory_types);
  ASSERT_EQ(after.imports.size(), before.imports.size());
  EXPECT_EQ(after.imports[0].type, "func(i32)");
  ASSERT_EQ(after.custom_sections.size(), before.custom_sections.size());
  for (size_t i = 0; i < before.custom_sections.size(); i++) {
    EXPECT_EQ(after.custom_sections[i].name, before.custom_sections[i].name);
    EXPECT_EQ(after.custom_sections[i].bytes, before.custom_sections[i].bytes);
  }
  EXPECT_EQ(before.custom_sections.size(), 2u);  // "note", and the names
}

// Prepared twice, the same bytes: caches name what is made of them.
TEST(PrepareTest, TheResultIsTheSameEachTime) {
  EXPECT_EQ(prepared(kAllKinds).wasm, prepared(kAllKinds).wasm);
}

// --- what is refused ----------------------------------------------------------------------------------

TEST(PrepareTest, ReferencesOutsideTablesAreRefusedByName) {
  const auto expect_refused = [](std::string_view text, std::string_view names) {
    expect_code(text, Code::kUnsupported,
                fmt::format("the module uses what this build leaves out: {}", names));
  };
  expect_refused("(module (func (param externref)))", "externref");
  expect_refused("(module (type (struct)))", "gc");
  expect_refused("(module (tag))", "exceptions");
  expect_refused("(module (type $t (func)) (func (param (ref $t))))", "function-references");
  EXPECT_TRUE(prepare(wasm("(module (memory 1 1 shared) (func (atomic.fence)))"), kBytesMax).ok());
  EXPECT_TRUE(prepare(wasm("(module (func $f (return_call $f)))"), kBytesMax).ok());
}

// As wasm-opt 108 writes it at -O0 to -O3; `start` stands for what tells the globals.
std::string asyncified(std::string_view start, std::string_view state = "0",
                       std::string_view unwind_param = "i32") {
  return fmt::format(R"((module (memory (export "memory") 1)
    (global $s (mut i32) (i32.const 0)) (global $d (mut i32) (i32.const 0)) (global $l (mut i64) (i64.const 0))
    (func (export "asyncify_start_unwind") (param {2}) {0})
    (func $stop (export "asyncify_stop_unwind") (global.set $s (i32.const 0)))
    (func (export "asyncify_start_rewind") (param i32) (global.set $s (i32.const 2)))
    (export "asyncify_stop_rewind" (func $stop))
    (func (export "asyncify_get_state") (result i32) (global.get {1}))))",
                     start, state, unwind_param);
}
constexpr std::string_view kStartUnwind =
    "(global.set $s (i32.const 1)) (global.set $d (local.get 0)) "
    "(if (i32.gt_u (i32.load (global.get $d)) (i32.load offset=4 (global.get $d))) (then (unreachable)))";

TEST(PrepareTest, TheGlobalsOfAsyncifyAreFound) {
  const auto asyncify_of = [](const std::string& text) { return prepare(wasm(text), kBytesMax)->asyncify; };
  const auto found = asyncify_of(asyncified(kStartUnwind));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->state_global, 0u);
  EXPECT_EQ(found->data_global, 1u);
  const std::string swapped =
      "(global.set $d (i32.const 1)) (global.set $s (local.get 0)) "
      "(if (i32.gt_u (i32.load (global.get $s)) (i32.load offset=4 (global.get $s))) (then (unreachable)))";
  EXPECT_EQ(asyncify_of(asyncified(swapped, "1"))->state_global, 1u);
}

// Whatever is not as asyncify makes it is no program that can be stopped.
TEST(PrepareTest, WhatLooksLikeAsyncifyAlmostIsNot) {
  const auto is_known = [](const std::string& text) {
    return prepare(wasm(text), kBytesMax)->asyncify.has_value();
  };
  ASSERT_TRUE(is_known(asyncified(kStartUnwind)));
  EXPECT_FALSE(is_known(asyncified(kStartUnwind, "1")));  // another global is told
  EXPECT_FALSE(is_known(asyncified("")));
  EXPECT_FALSE(is_known(asyncified(std::string(kStartUnwind) + "(nop)")));
  EXPECT_FALSE(is_known(asyncified("(global.set $s (i32.const 1)) (global.set $d (local.get 0))")));
  EXPECT_FALSE(is_known(asyncified(kStartUnwind, "0", "i32 i32")));
  for (const auto& [from, to] : {std::pair("(i32.const 1)", "(i32.const 2)"),
                                 {"offset=4", "offset=8"},
                                 {"i32.gt_u", "i32.ge_u"},
                                 {"$d (local", "$s (local"}}) {
    std::string other(kStartUnwind);
    other.replace(other.find(from), std::string_view(from).size(), to);
    EXPECT_FALSE(is_known(asyncified(other))) << to;
  }
  std::string without = asyncified(kStartUnwind);
  without.replace(without.find("asyncify_start_rewind"), 21, "asyncify_other");
  EXPECT_FALSE(is_known(without));
}

TEST(PrepareTest, WhatInspectRefusesIsRefused) {
  const Bytes module = wasm(kAllKinds);
  EXPECT_TRUE(prepare(module, module.size()).ok());
  const auto above = prepare(module, module.size() - 1);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_EQ(above.status().message(), inspect(module, module.size() - 1).status().message());
  EXPECT_EQ(prepare({}, kBytesMax).code(), Code::kInvalidModule);
  EXPECT_EQ(prepare(wasm("(module (func (result i32)))"), kBytesMax).code(), Code::kInvalidModule);
}

// 100,000 segments are allowed, and a dropped one needs an empty one beside it.
TEST(PrepareTest, WhatIsAddedMustFitIntoTheLimits) {
  const auto with_segments = [](size_t count) {
    std::string text =
        "(module (memory 1) (func (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 0)) (data.drop 0))";
    for (size_t i = 0; i < count; i++) text += "(data)";
    return prepare(wasm(text + ")"), kBytesMax);
  };
  EXPECT_TRUE(with_segments(99'999).ok());
  const auto above = with_segments(100'000);
  EXPECT_EQ(above.code(), Code::kLimitExceeded);
  EXPECT_TRUE(above.status().message().starts_with("the prepared module would not be valid: data count"))
      << above.status().message();
}

// Every byte replaced by every other.  Whatever comes out, it is an answer, and what is taken is valid again.
TEST(PrepareTest, AnyOneByteMayBeWrong) {
  Bytes module = wasm(kAllKinds);
  for (size_t at = 0; at < module.size(); at++) {
    const uint8_t before = module[at];
    for (int value = 0; value < 256; value++) {
      module[at] = static_cast<uint8_t>(value);
      const auto result = prepare(module, kBytesMax);
      if (result.ok()) {
        ASSERT_TRUE(inspect(result->wasm, kBytesMax).ok()) << "byte " << at << " = " << value;
        continue;
      }
      ASSERT_TRUE(result.code() == Code::kInvalidModule || result.code() == Code::kUnsupported)
          << "byte " << at << " = " << value << ": " << result.status().message();
    }
    module[at] = before;
  }
}

}  // namespace
}  // namespace spore::wasm
