#include "spore/wasm/asyncify.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "spore/wasm/inspect.h"
#include "spore/wasm/prepare.h"
#include "tests/asyncify.h"
#include "tests/guest_file.h"
#include "tests/host_guest.h"

namespace spore::wasm {
namespace {

using Bytes = std::vector<uint8_t>;
using Functions = std::vector<uint32_t>;
using test::wasm;

constexpr size_t kBytesMax = 1 << 20;

ModuleFacts facts_of(std::span<const uint8_t> module) { return inspect(module, kBytesMax).value(); }
Bytes reduced(std::span<const uint8_t> module, const Functions& functions) {
  return reduce_for_asyncify(module, functions).value();
}

std::vector<std::string> exports_of(const ModuleFacts& facts) {
  std::vector<std::string> all;
  for (const auto& entry : facts.exports) all.push_back(fmt::format("{} {}", entry.name, entry.type));
  return all;
}
std::vector<std::string> imports_of(const ModuleFacts& facts) {
  std::vector<std::string> all;
  for (const auto& entry : facts.imports) {
    all.push_back(fmt::format("{}.{} {}", entry.module, entry.name, entry.type));
  }
  return all;
}
std::vector<std::string> custom_sections_of(const ModuleFacts& facts) {
  std::vector<std::string> all;
  for (const auto& section : facts.custom_sections) all.push_back(section.name);
  return all;
}

uint32_t read_number(std::span<const uint8_t> bytes, size_t& at) {
  uint32_t number = 0;
  for (int shift = 0;; shift += 7) {
    const uint8_t byte = bytes[at++];
    number |= static_cast<uint32_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return number;
  }
}

enum SectionId : uint8_t {
  kCustom,
  kType,
  kImport,
  kFunction,
  kTable,
  kMemory,
  kGlobal,
  kExport,
  kStart,
  kElement,
  kCode,
  kData,
  kDataCount
};

// The contents of a valid module's sections; of the custom ones, one.
std::map<uint8_t, Bytes> sections_of(std::span<const uint8_t> module) {
  std::map<uint8_t, Bytes> sections;
  for (size_t at = 8; at < module.size();) {
    const uint8_t id = module[at++];
    const uint32_t size = read_number(module, at);
    const auto contents = module.subspan(at, size);
    sections[id].assign(contents.begin(), contents.end());
    at += size;
  }
  return sections;
}

// The entries of a code section.
std::vector<Bytes> bodies_of(std::span<const uint8_t> module) {
  const Bytes code = sections_of(module)[kCode];
  size_t at = 0;
  std::vector<Bytes> bodies(read_number(code, at));
  for (Bytes& body : bodies) {
    const uint32_t size = read_number(code, at);
    body.assign(code.begin() + static_cast<ptrdiff_t>(at), code.begin() + static_cast<ptrdiff_t>(at + size));
    at += size;
  }
  return bodies;
}

// Behind the count of entries: all that `before` has, and perhaps more.
void expect_appended(uint8_t id, std::span<const uint8_t> before, std::span<const uint8_t> after,
                     uint32_t added) {
  const Bytes from = sections_of(before)[id];
  const Bytes to = sections_of(after)[id];
  size_t from_at = 0;
  size_t to_at = 0;
  const uint32_t count = from.empty() ? 0 : read_number(from, from_at);
  EXPECT_EQ(read_number(to, to_at), count + added) << "section " << int{id};
  ASSERT_GE(to.size() - to_at, from.size() - from_at);
  EXPECT_TRUE(std::equal(from.begin() + static_cast<ptrdiff_t>(from_at), from.end(),
                         to.begin() + static_cast<ptrdiff_t>(to_at)))
      << "section " << int{id};
}

// --- the reduced module -----------------------------------------------------------------------------------

// With every kind of section and segment.  Function 2 is $second.
constexpr std::string_view kEverything = R"((module $guest
  (import "env" "base" (global i32))
  (import "spore" "receive" (func $receive (param i32) (result i32)))
  (import "env" "table" (table 2 10 funcref))
  (func $first (param i64) (local f32 f64) (nop))
  (func $second (export "second") (result i32) (call $receive (i32.const 5)))
  (func $third (memory.init $passive (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $passive))
  (start $third)
  (memory (export "memory") 1 4)
  (table 3 3 funcref)
  (global (export "count") (mut i64) (i64.const 7))
  (elem (i32.const 0) $first $second)
  (elem (table 1) (global.get 0) func $third)
  (elem func $first)
  (elem declare func $third)
  (data (i32.const 16) "active")
  (data $passive "passive")
  (data (global.get 0) "somewhere")
  (@custom ".debug_info" "dwarf")
  (@custom "producers" "\00")))";

TEST(AsyncifyReduceTest, WhatAsyncifyDoesNotLookAtIsLeftOut) {
  const Bytes module = wasm(kEverything);
  const Bytes small = reduced(module, {2});
  const ModuleFacts before = facts_of(module);
  const ModuleFacts after = facts_of(small);
  EXPECT_EQ(imports_of(after), imports_of(before));
  EXPECT_EQ(exports_of(after), exports_of(before));
  EXPECT_EQ(after.data_segments, 3u);
  EXPECT_EQ(after.data_bytes, 0u);
  EXPECT_TRUE(before.has_start);
  EXPECT_FALSE(after.has_start);
  EXPECT_EQ(custom_sections_of(after), std::vector<std::string>{"name"});

  const std::map<uint8_t, Bytes> from = sections_of(module);
  const std::map<uint8_t, Bytes> to = sections_of(small);
  for (const uint8_t id :
       {kType, kImport, kFunction, kTable, kMemory, kGlobal, kExport, kElement, kDataCount})
    EXPECT_EQ(from.at(id), to.at(id)) << "section " << int{id};
  EXPECT_EQ(to.at(kData), (Bytes{3, 0, 0x41, 16, 0x0B, 0, 1, 0, 0, 0x23, 0, 0x0B, 0}));
  const Bytes unreachable{0, 0x00, 0x0B};
  EXPECT_EQ(bodies_of(small), (std::vector<Bytes>{unreachable, bodies_of(module)[1], unreachable}));
}

TEST(AsyncifyReduceTest, FunctionsAreNamedAfterTheirIndices) {
  const Bytes small = reduced(wasm(kEverything), {2});
  const std::string names = "\x04name\x01\x11\x04" + std::string(
                                                         "\0\x02"
                                                         "f0\x01\x02"
                                                         "f1\x02\x02"
                                                         "f2\x03\x02"
                                                         "f3",
                                                         16);
  const Bytes section = sections_of(small)[kCustom];
  EXPECT_EQ(std::string(section.begin(), section.end()), names);
  EXPECT_EQ(asyncify_name(0), "f0");
  EXPECT_EQ(asyncify_name(4294967295), "f4294967295");
}

TEST(AsyncifyReduceTest, AnyDefinedFunctionsMayBeListed) {
  const Bytes module = wasm(kEverything);
  const std::vector<Bytes> bodies = bodies_of(module);
  EXPECT_EQ(bodies_of(reduced(module, {1, 2, 3})), bodies);
  EXPECT_EQ(bodies_of(reduced(module, {}))[0].size(), 3u);
  const Bytes once = reduced(module, {1, 3});
  EXPECT_EQ(bodies_of(once)[0], bodies[0]);
  EXPECT_EQ(bodies_of(once)[2], bodies[2]);
  EXPECT_EQ(reduced(once, {1, 3}), once);
}

// The last function, and the one behind it.
TEST(AsyncifyReduceTest, AListOfOtherFunctionsIsRefused) {
  const Bytes module = wasm(kEverything);
  const auto expect_refused = [&](const Functions& functions, std::string_view message) {
    for (const auto& result :
         {reduce_for_asyncify(module, functions), splice_asyncified(module, module, functions)}) {
      EXPECT_EQ(result.code(), Code::kInvalidArgument);
      EXPECT_EQ(result.status().message(), fmt::format("the functions to be asyncified: {}", message));
    }
  };
  EXPECT_TRUE(reduce_for_asyncify(module, Functions{3}).ok());
  expect_refused({4}, "there is no function 4, but 4");
  expect_refused({4294967295}, "there is no function 4294967295, but 4");
  expect_refused({0}, "function 0 is imported");
  expect_refused({1, 1}, "1 stands before 1 in the list of functions");
  expect_refused({1, 3, 2}, "3 stands before 2 in the list of functions");
}

TEST(AsyncifyReduceTest, AModuleThatHasAsyncifysNamesIsRefused) {
  for (const std::string_view name :
       {"asyncify_start_unwind", "asyncify_stop_unwind", "asyncify_start_rewind", "asyncify_stop_rewind",
        "asyncify_get_state"}) {
    const Bytes module = wasm(fmt::format(R"((module (func (export "{}"))))", name));
    for (const auto& result :
         {reduce_for_asyncify(module, Functions{0}), splice_asyncified(module, module, Functions{0})}) {
      EXPECT_EQ(result.code(), Code::kInvalidModule);
      EXPECT_EQ(result.status().message(),
                fmt::format("the module exports '{}' itself, a name that asyncify needs", name));
    }
  }
  EXPECT_TRUE(reduce_for_asyncify(wasm(R"((module (func (export "asyncify"))))"), {}).ok());
}

// Cut anywhere, it is no module, or one without the function.
TEST(AsyncifyReduceTest, WhatCannotBeReadIsRefused) {
  const Bytes module = wasm("(module (func) (func (drop (i32.const 1))))");
  EXPECT_TRUE(reduce_for_asyncify(module, Functions{1}).ok());
  for (size_t bytes = 0; bytes < module.size(); bytes++) {
    const auto result = reduce_for_asyncify(std::span(module).first(bytes), Functions{1});
    EXPECT_TRUE(result.code() == Code::kInvalidModule || result.code() == Code::kInvalidArgument) << bytes;
  }
}

// --- what does not fit ------------------------------------------------------------------------------------

// By hand, as wasm-opt would: $run is what it has rewritten.  Of the names only those of functions count.
constexpr std::string_view kOriginal = R"((module
  (type (func (param f64)))
  (import "env" "base" (global i32))
  (import "env" "wait" (func (param i32) (result i32)))
  (import "env" "more" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (table 2 funcref)
  (global (mut i64) (i64.const 5))
  (func (export "run") (param i32) (result i32) (call 0 (local.get 0)))
  (func (export "other") (param i32) (result i32) (i32.const 8))
  (func (param i64))
  (elem (i32.const 0) func 2 3)
  (elem declare func 4)
  (data (i32.const 0) "x")
  (data "y")))";
constexpr std::string_view kFitting = R"((module
  (type (func (param i64)))
  (import "env" "wait" (func $f0 (param i32) (result i32)))
  (import "env" "more" (func $f1 (param i32) (result i32)))
  (import "env" "base" (global i32))
  (memory 1)
  (table 2 funcref)
  (global (mut i64) (i64.const 5))
  (global $state (mut i32) (i32.const 0))
  (global $data (mut i32) (i32.const 0))
  (func $f2 (param i32) (result i32) (block (result i32) (i32.add (global.get $state) (call $f0 (local.get 0)))))
  (func $f3 (param i32) (result i32) (unreachable))
  (func $f4 (param i64) (unreachable))
  (func $start_unwind (param i32) (global.set $data (local.get 0)))
  (func $stop_unwind)
  (func $start_rewind (param i32))
  (func $stop_rewind)
  (func $get_state (result i32) (global.get $state))
  (export "other" (func $f3))
  (export "run" (func $f2))
  (export "memory" (memory 0))
  (export "asyncify_start_unwind" (func $start_unwind))
  (export "asyncify_stop_unwind" (func $stop_unwind))
  (export "asyncify_start_rewind" (func $start_rewind))
  (export "asyncify_stop_rewind" (func $stop_rewind))
  (export "asyncify_get_state" (func $get_state))
  (elem (i32.const 0) $f2 $f3)
  (data (i32.const 0) "")
  (data "")))";
constexpr uint32_t kRun = 2;

std::string changed(std::string_view text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  SPORE_ASSERT(at != std::string_view::npos, from);
  return std::string(text).replace(at, from.size(), to);
}

void expect_misfit(std::span<const uint8_t> rewritten, std::string_view message) {
  const auto result = splice_asyncified(wasm(kOriginal), rewritten, Functions{kRun});
  EXPECT_EQ(result.code(), Code::kInternal) << message;
  EXPECT_EQ(result.status().message(),
            fmt::format("what wasm-opt made of some functions does not fit the module: {}", message));
}

TEST(AsyncifySpliceTest, WhatFitsIsSpliced) {
  const Bytes original = wasm(kOriginal);
  const Bytes result = splice_asyncified(original, wasm(kFitting), Functions{kRun}).value();
  const ModuleFacts facts = facts_of(result);
  EXPECT_EQ(exports_of(facts), (std::vector<std::string>{
                                   "memory memory 1.. pages of 64 KiB",
                                   "run func(i32) -> i32",
                                   "other func(i32) -> i32",
                                   "asyncify_start_unwind func(i32)",
                                   "asyncify_stop_unwind func()",
                                   "asyncify_start_rewind func(i32)",
                                   "asyncify_stop_rewind func()",
                                   "asyncify_get_state func() -> i32",
                               }));
  EXPECT_EQ(facts.functions, 10u);
  EXPECT_EQ(facts.globals, 4u);
  EXPECT_EQ(facts.data_bytes, 2u);
  const std::vector<Bytes> before = bodies_of(original);
  const std::vector<Bytes> after = bodies_of(result);
  ASSERT_EQ(after.size(), 8u);
  EXPECT_NE(after[0], before[0]);
  EXPECT_EQ(after[1], before[1]);
  EXPECT_EQ(after[2], before[2]);
  // Without a list, nothing but the additions.
  const Bytes none = splice_asyncified(original, wasm(kFitting), {}).value();
  EXPECT_EQ(bodies_of(none)[0], before[0]);
  EXPECT_EQ(facts_of(none).functions, 10u);
}

TEST(AsyncifySpliceTest, EachDifferenceIsTold) {
  struct Difference {
    std::string_view from;
    std::string_view to;
    std::string_view message;
  };
  constexpr Difference kDifferences[] = {
      // functions
      {"(import \"env\" \"more\" (func $f1 (param i32) (result i32)))", "",
       "it has 1 imported functions where 2 should be"},
      {"\"env\" \"wait\"", "\"env\" \"wake\"", "function 0 is not the import env.wait"},
      {"\"env\" \"wait\"", "\"spore\" \"wait\"", "function 0 is not the import env.wait"},
      {"(func $f4 (param i64)", "(func $f4 (param f32)", "function 4 has another type than it had"},
      {"(func $f4 (param i64) (unreachable))", "", "it has 9 functions where 10 should be"},
      {"(func $stop_unwind)", "(func $stop_unwind) (func)", "it has 11 functions where 10 should be"},
      {"(func $f3", "(func $f3 (@name \"g3\")", "function 3 has the name 'g3'"},
      {"(func $f1", "(func", "function 1 has no name"},
      // globals
      {"(import \"env\" \"base\" (global i32))", "(global i32 (i32.const 0))",
       "it has 0 imported globals where 1 should be"},
      {"(global $data (mut i32) (i32.const 0))",
       "(global $data (mut i32) (i32.const 0)) (global i32 (i32.const 0))",
       "it has 5 globals where 4 should be"},
      {"(global (mut i64) (i64.const 5))", "(global i64 (i64.const 5))",
       "global 1 has another type than it had"},
      {"(global $data (mut i32) (i32.const 0))", "(global $data (mut i32) (i32.const 1))",
       "the globals that it adds are not asyncify's"},
      {"(global $state (mut i32) (i32.const 0))", "(global $state (mut i32) (global.get 0))",
       "the globals that it adds are not asyncify's"},
      // the rest
      {"(memory 1)", "(import \"env\" \"memory\" (memory 1))",
       "it has 1 imported memories where 0 should be"},
      {"(table 2 funcref)", "(table 2 funcref) (table 2 funcref)", "it has 2 tables where 1 should be"},
      {"(elem (i32.const 0) $f2 $f3)", "(elem (i32.const 0) $f2) (elem (i32.const 1) $f3)",
       "it has 2 element segments where 1 should be"},
      {"(data \"\")", "", "it has 1 data segments where 2 should be"},
      {"(memory 1)", "(memory 1) (start $stop_unwind)", "it has a start function"},
      // exports
      {"(export \"other\" (func $f3))", "", "it has 7 exports where 8 should be"},
      {"(export \"other\" (func $f3))", "(export \"other\" (func $f2))",
       "its export 'other' is not the module's"},
      {"(export \"other\" (func $f3))", "(export \"other\" (global 3))",
       "its export 'other' is not the module's"},
      {"(export \"other\"", "(export \"another\"", "its export 'other' is not the module's"},
      {"(export \"asyncify_get_state\" (func $get_state))",
       "(export \"asyncify_got_state\" (func $get_state))",
       "'asyncify_get_state' is not a function that it added"},
      {"(export \"asyncify_get_state\" (func $get_state))",
       "(export \"asyncify_get_state\" (func $stop_unwind))",
       "'asyncify_get_state' is not a function that it added"},
      {"(export \"asyncify_get_state\" (func $get_state))", "(export \"asyncify_get_state\" (global $state))",
       "'asyncify_get_state' is not a function that it added"},
      {"(export \"asyncify_stop_rewind\" (func $stop_rewind))",
       "(export \"asyncify_stop_rewind\" (func $stop_unwind))",
       "it has 4 functions of asyncify where 5 should be"},
  };
  for (const Difference& difference : kDifferences) {
    expect_misfit(wasm(changed(kFitting, difference.from, difference.to)), difference.message);
  }
}

// Two functions of one type: only their names tell.
TEST(AsyncifySpliceTest, SwappedFunctionsAreNoticed) {
  constexpr std::string_view kOther = "(func $f3 (param i32) (result i32) (unreachable))";
  const std::string without = changed(kFitting, kOther, "");
  expect_misfit(wasm(changed(without, "(func $f2", fmt::format("{} (func $f2", kOther))),
                "function 2 has the name 'f3'");
}

TEST(AsyncifySpliceTest, WhatIsNotValidIsRefused) {
  const auto expect_invalid = [](std::span<const uint8_t> rewritten) {
    const auto result = splice_asyncified(wasm(kOriginal), rewritten, Functions{kRun});
    EXPECT_EQ(result.code(), Code::kInternal) << rewritten.size();
  };
  const Bytes fitting = wasm(kFitting);
  for (size_t bytes = 0; bytes < fitting.size(); bytes++) expect_invalid(std::span(fitting).first(bytes));
  expect_invalid(wasm(changed(kFitting, "(unreachable)", "(drop)")));
  // Of a proposal that wasm-opt was not told of, types in code could mean something else.
  expect_invalid(wasm(changed(kFitting, "(call $f0 (local.get 0))", "(return_call $f0 (local.get 0))")));
  expect_invalid(wasm(changed(kFitting, "(type (func (param i64)))", "(type (struct))")));
}

TEST(AsyncifySpliceTest, WhatIsNotRewrittenIsRefused) {
  const Bytes original = wasm(kOriginal);
  expect_misfit(reduced(original, {kRun}), "it has 5 functions where 10 should be");
  expect_misfit(original, "it has 5 functions where 10 should be");
  expect_misfit(wasm("(module)"), "it has 0 imported functions where 2 should be");
  expect_misfit(splice_asyncified(original, wasm(kFitting), Functions{kRun}).value(),
                "function 0 has no name");
}

// Valid by itself, but not in the original, in which nobody else refers to $f1.
TEST(AsyncifySpliceTest, TheResultIsValidated) {
  const std::string referring =
      changed(kFitting, "(block (result i32)", "(drop (ref.func $f1)) (block (result i32)");
  const Bytes rewritten = wasm(changed(referring, "(data \"\")", "(data \"\") (elem declare func $f1)"));
  const auto result = splice_asyncified(wasm(kOriginal), rewritten, Functions{kRun});
  EXPECT_EQ(result.code(), Code::kInternal);
  EXPECT_NE(result.status().message().find("put together, it is not valid: undeclared function reference"),
            std::string_view::npos)
      << result.status().message();
}

// Each bit turned over: an error, or a module that is valid.
TEST(AsyncifySpliceTest, NoBytesDoHarm) {
  const Bytes original = wasm(kOriginal);
  Bytes rewritten = wasm(kFitting);
  for (size_t bit = 0; bit < rewritten.size() * 8; bit++) {
    rewritten[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    const auto result = splice_asyncified(original, rewritten, Functions{kRun});
    if (result.ok()) {
      EXPECT_TRUE(inspect(result.value(), kBytesMax).ok()) << bit;
    } else {
      EXPECT_EQ(result.code(), Code::kInternal) << bit;
      EXPECT_EQ(result.status().message().find("panicked"), std::string_view::npos) << bit;
    }
    rewritten[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

// Of the original's types: numbered anew, and those that nothing needed are gone.
TEST(AsyncifySpliceTest, TypesAreTheOriginals) {
  const auto body = [](std::string_view more) {
    return changed(kFitting, "(block (result i32)", fmt::format("{} (block (result i32)", more));
  };
  const auto types_of = [](const Bytes& module) { return sections_of(module)[kType].at(0); };
  const Bytes original = wasm(kOriginal);
  EXPECT_EQ(types_of(original), 3);  // f64; i32 -> i32; i64
  const auto spliced = [&](const std::string& rewritten) {
    const Bytes result = splice_asyncified(original, wasm(rewritten), Functions{kRun}).value();
    EXPECT_TRUE(inspect(result, kBytesMax).ok());
    expect_appended(kType, original, result, static_cast<uint32_t>(types_of(result) - types_of(original)));
    return result;
  };
  // (i32), (), () -> i32
  EXPECT_EQ(types_of(spliced(std::string(kFitting))), 6);
  EXPECT_EQ(types_of(spliced(body("(call_indirect (param f64) (f64.const 1) (i32.const 0))"))), 6);
  EXPECT_EQ(types_of(spliced(body("(call_indirect (param f32) (f32.const 1) (i32.const 0))"))), 7);
  EXPECT_EQ(types_of(spliced(body("(block (result i64 i32) (i64.const 1) (i32.const 1)) (drop) (drop)"))), 7);
  EXPECT_EQ(types_of(spliced(body("(i64.const 1) (loop (param i64) (drop))"))), 6);
  EXPECT_EQ(
      types_of(spliced(body("(f64.const 1) (if (param f64) (i32.const 1) (then (drop)) (else (drop)))"))), 6);
}

// --- with wasm-opt ----------------------------------------------------------------------------------------

// A program that receives 100 more than what it asks for, at once or when its stack was unwound and rewound.
class Guest {
 public:
  Guest(const Bytes& module, bool waits) : waits_(waits) {
    test::HostGuestOptions options;
    options.host.define("spore", "receive", [this](int32_t wanted) { return received(wanted); });
    instance_.emplace(test::host_guest(module, options));
  }

  int32_t call(std::string_view name) { return instance_->function<int32_t()>(name).value()().value(); }
  int32_t run(int32_t argument) {
    const auto run = instance_->function<int32_t(int32_t)>("run").value();
    int32_t result = run(argument).value();
    while (waits_ && call("asyncify_get_state") == kUnwinding) {
      waited_++;
      tell("asyncify_stop_unwind");
      tell_where_frames_are("asyncify_start_rewind");
      result = run(argument).value();
    }
    return result;
  }
  int waited() const { return waited_; }

 private:
  static constexpr int32_t kUnwinding = 1;
  static constexpr int32_t kRewinding = 2;
  static constexpr int32_t kFrames = 4096;  // where the guest has nothing
  static constexpr int32_t kFramesBytes = 4096;

  void tell(std::string_view name) { EXPECT_TRUE(instance_->function<void()>(name).value()().ok()); }
  void tell_where_frames_are(std::string_view name) {
    EXPECT_TRUE(instance_->function<void(int32_t)>(name).value()(kFrames).ok());
  }
  int32_t received(int32_t wanted) {
    if (!waits_) return wanted + 100;
    if (call("asyncify_get_state") == kRewinding) {
      tell("asyncify_stop_rewind");
      return wanted_ + 100;
    }
    wanted_ = wanted;
    const std::array<int32_t, 2> frames{kFrames + 8, kFrames + kFramesBytes};
    const auto to = instance_->memory("memory").value().span({kFrames}, sizeof(frames)).value();
    std::memcpy(to.data(), frames.data(), sizeof(frames));
    tell_where_frames_are("asyncify_start_unwind");
    return 0;
  }

  bool waits_;
  int waited_ = 0;
  int32_t wanted_ = 0;
  std::optional<host::Instance> instance_;
};

// run waits twice: with $middle and $deep on its stack, and with $pairs.
constexpr std::string_view kProgram = R"((module $guest
  (type $unused (func (param f32 f64)))
  (type $binary (func (param i32 i32) (result i32)))
  (type $pair (func (result i32 i64)))
  (type $rare (func (param i64 f32) (result f64)))
  (import "spore" "receive" (func $receive (param i32) (result i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (table $more 1 funcref)
  (global $seen (export "seen") (mut i32) (i32.const 3))
  (func $start (global.set $seen (i32.const 40)))
  (func $deep (type $binary)
    (i32.add (i32.mul (local.get 0) (i32.const 10)) (call $receive (local.get 1))))
  (func $rarely (type $rare) (f64.add (f64.convert_i64_s (local.get 0)) (f64.promote_f32 (local.get 1))))
  (func $pairs (type $pair) (block (type $pair) (call $receive (i32.const 5)) (i64.const 6)))
  (func $middle (param i32) (result i32)
    (memory.init $text (i32.const 512) (i32.const 1) (i32.const 4))
    (i32.add
      (i32.add (call_indirect (type $binary) (local.get 0) (i32.const 7) (i32.const 1))
               (i32.load (i32.const 512)))
      (i32.trunc_f64_s (call_indirect $more (type $rare) (i64.const 2) (f32.const 3) (i32.const 0)))))
  (func (export "run") (param i32) (result i32) (local i64)
    (call $middle (local.get 0))
    (call $pairs)
    (local.set 1)
    (i32.add)
    (i32.add (global.get $seen))
    (i32.add (i32.wrap_i64 (local.get 1))))
  (func (export "apart") (result i32) (call_indirect (type $binary) (i32.const 1) (i32.const 2) (i32.const 1)))
  (start $start)
  (elem (i32.const 1) $deep $rarely)
  (elem (table $more) (i32.const 0) func $rarely)
  (data $text "passive")
  (data (i32.const 1024) "active")
  (@custom ".debug_info" "dwarf")
  (@custom "sourceMappingURL" "url")
  (@custom "external_debug_info" "url")
  (@custom "producers" "\00")))";
const Functions kOnTheStack{2, 4, 5, 6};

class AsyncifyProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(test::kWasmOpt)) GTEST_SKIP() << "there is no wasm-opt";
  }

  // Of a module with names as a reduced one has them.
  static Bytes rewritten(const Bytes& module, const Functions& functions) {
    const test::TemporaryFolder folder;
    const std::string from =
        folder.write("from.wasm", {reinterpret_cast<const char*>(module.data()), module.size()});
    const std::string to = (folder.path() / "to.wasm").native();
    std::vector<std::string> names;
    for (const uint32_t function : functions) names.push_back(asyncify_name(function));
    const std::string list = fmt::format("--pass-arg=asyncify-onlylist@{}", fmt::join(names, ","));
    const test::ProcessResult result = test::run_process(
        {test::kWasmOpt, from, "-o", to, "--mvp-features", "--enable-bulk-memory", "--enable-mutable-globals",
         "--enable-multivalue", "--enable-reference-types", "-g", "--asyncify",
         "--pass-arg=asyncify-imports@spore.receive", list, "--optimize-level=1"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return read_file(to, kBytesMax).value();
  }
  static Bytes spliced(const Bytes& module, const Functions& functions) {
    const Bytes made = rewritten(reduced(module, functions), functions);
    return splice_asyncified(module, made, functions).value();
  }
};

TEST_F(AsyncifyProgramTest, AllElseStaysAsItIs) {
  const Bytes module = wasm(kProgram);
  const Bytes result = spliced(module, kOnTheStack);
  const std::map<uint8_t, Bytes> from = sections_of(module);
  const std::map<uint8_t, Bytes> to = sections_of(result);
  for (const uint8_t id : {kImport, kTable, kMemory, kStart, kElement, kDataCount, kData})
    EXPECT_EQ(from.at(id), to.at(id)) << "section " << int{id};
  expect_appended(kType, module, result, 1);  // (i32), which nothing but asyncify has
  expect_appended(kFunction, module, result, 5);
  expect_appended(kGlobal, module, result, 2);
  expect_appended(kExport, module, result, 5);
  EXPECT_EQ(custom_sections_of(facts_of(result)), (std::vector<std::string>{"producers", "name"}));

  const std::vector<Bytes> before = bodies_of(module);
  const std::vector<Bytes> after = bodies_of(result);
  ASSERT_EQ(after.size(), before.size() + 5);
  for (uint32_t number = 0; number < before.size(); number++) {
    const bool listed = std::ranges::binary_search(kOnTheStack, number + 1);
    EXPECT_EQ(after[number] == before[number], !listed) << number;
  }
}

TEST_F(AsyncifyProgramTest, ItRunsAsItDid) {
  const Bytes module = wasm(kProgram);
  Guest before(module, false);
  Guest after(spliced(module, kOnTheStack), false);
  for (const int32_t argument : {0, 1, -7}) EXPECT_EQ(after.run(argument), before.run(argument));
  EXPECT_EQ(after.call("apart"), before.call("apart"));
  EXPECT_EQ(before.call("apart"), 112);
}

TEST_F(AsyncifyProgramTest, ItCanBeStoppedWhereItWaits) {
  const Bytes module = wasm(kProgram);
  Guest before(module, false);
  Guest after(spliced(module, kOnTheStack), true);
  EXPECT_EQ(after.run(3), before.run(3));
  EXPECT_EQ(after.waited(), 2);
  EXPECT_EQ(after.run(-4), before.run(-4));
  EXPECT_EQ(after.waited(), 4);
}

// What the preparer, and so a frozen program, needs of it.
TEST_F(AsyncifyProgramTest, ItIsKnownToBeAsyncified) {
  const PreparedModule prepared = prepare(spliced(wasm(kProgram), kOnTheStack), kBytesMax).value();
  ASSERT_TRUE(prepared.asyncify.has_value());
  EXPECT_EQ(prepared.asyncify->state_global, 1u);
  EXPECT_EQ(prepared.asyncify->data_global, 2u);
}

// wasm-opt looks into no body but those that are listed: it makes the same of them where all others are
// there.
TEST_F(AsyncifyProgramTest, TheOtherBodiesDoNotCount) {
  const Bytes module = wasm(kProgram);
  Functions all(bodies_of(module).size());
  std::iota(all.begin(), all.end(), 1);
  const Bytes made = rewritten(reduced(module, all), kOnTheStack);
  EXPECT_EQ(splice_asyncified(module, made, kOnTheStack).value(), spliced(module, kOnTheStack));
}

// Imported globals and tables; a module whose name section is not one.
TEST_F(AsyncifyProgramTest, EveryKindOfSectionIsKept) {
  const Bytes module = wasm(
      changed(kEverything, "(@custom \"producers\"", "(@custom \"name\" \"\\ff\") (@custom \"producers\""));
  const Bytes result = spliced(module, {2});
  const ModuleFacts before = facts_of(module);
  const ModuleFacts after = facts_of(result);
  EXPECT_EQ(imports_of(after), imports_of(before));
  EXPECT_EQ(after.globals, before.globals + 2);
  EXPECT_EQ(after.functions, before.functions + 5);
  EXPECT_EQ(after.data_bytes, before.data_bytes);
  EXPECT_EQ(after.element_segments, before.element_segments);
  EXPECT_TRUE(after.has_start);
}

}  // namespace
}  // namespace spore::wasm
