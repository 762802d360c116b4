// Files that were changed, by accident or by malice: refused, with a reason; never trusted, never a crash.

#include "spore/snapshot/format.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/bytes.h"
#include "tests/json_check.h"
#include "tests/sanitizers.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

using test::Made;
using test::says;

// Each test of it is run on a file of version 1, on one of version 2 in the wire form, and on one in the
// mapped form: what is wrong is refused for the same reason.
class FormatTest : public test::SnapshotFormat, public testing::WithParamInterface<Made> {
 protected:
  bool is_version_1() const { return GetParam() == Made::kVersion1; }
  bool is_mapped() const { return GetParam() == Made::kMapped; }
  std::vector<uint8_t> bytes_of(const Contents& contents) const {
    return test::SnapshotFormat::bytes_of(contents, GetParam());
  }
  std::vector<uint8_t> section(Section which) const { return section_in(file_, which); }
  // The file with another section: what read() says of it.
  std::string with(Section which, std::span<const uint8_t> bytes, Code code = Code::kCorruption,
                   Validation validation = Validation::kChecksum) const {
    return refused(test::with_section(file_, which, bytes), code, validation);
  }

  const std::vector<uint8_t> file_ = bytes_of(contents());
};
INSTANTIATE_TEST_SUITE_P(Forms, FormatTest, testing::Values(Made::kVersion1, Made::kWire, Made::kMapped),
                         test::made_name_of);

// --- accidents -------------------------------------------------------------------------------------------

TEST_P(FormatTest, EveryTruncationIsRefused) {
  const UniqueFd fd = test::file_of(file_);
  for (size_t length = file_.size(); length-- > 0;) {
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(length)), 0);
    ASSERT_EQ(test::read_fd(fd, Validation::kStructure).code(), Code::kCorruption) << length;
  }
  std::vector<uint8_t> longer = file_;
  longer.push_back(0);
  EXPECT_TRUE(says(refused(longer, Code::kCorruption), "something is left over"));
}

// Goal: there is no byte that nothing covers.  Each bit of the file, one at a time; of pages and hashes,
// which are one to a reader, one bit of each byte.
TEST_P(FormatTest, EveryFlippedBitIsRefused) {
  const size_t step = test::kSanitized ? 7 : 1;
  const size_t pages = test::extent_of(file_, Section::kPages).offset;
  const UniqueFd fd = test::file_of(file_);
  for (size_t at = 0; at < file_.size(); at += step) {
    for (int bit = 0; bit < 8; bit++) {
      if (at >= pages && (bit != static_cast<int>(at % 8) || (is_mapped() && at % 61 != 0))) continue;
      write_byte(fd, at, file_[at] ^ (1 << bit));
      const Result<Contents> result = test::read_fd(fd, Validation::kChecksum);
      ASSERT_FALSE(result.ok()) << at << "." << bit;
      ASSERT_TRUE(result.code() == Code::kCorruption || result.code() == Code::kUnsupported)
          << at << ": " << result.status().message();
    }
    write_byte(fd, at, file_[at]);
  }
  EXPECT_TRUE(test::read_fd(fd, Validation::kFull).ok());
}

// What `structure` does not look at, and only that, are the bytes of pages and source, which must still fit.
TEST_P(FormatTest, StructureLooksAtAllButPagesAndSource) {
  const Extent source = test::extent_of(file_, Section::kSource);
  const Extent pages = test::extent_of(file_, Section::kPages);
  const UniqueFd fd = test::file_of(file_);
  for (size_t at = 0; at < file_.size(); at++) {
    if (is_mapped() && at >= pages.offset && at % 61 != 0) continue;
    write_byte(fd, at, file_[at] ^ 1);
    const bool looks_not =
        (at >= source.offset && at < source.end()) || (at >= pages.offset && at < pages.end());
    ASSERT_EQ(test::read_fd(fd, Validation::kStructure).ok(), looks_not) << at;
    write_byte(fd, at, file_[at]);
  }
}

// --- malice: all hashes are right ------------------------------------------------------------------------

// Goal: whatever a byte is changed to, with the hashes made to fit, there is an answer; and what is taken is
// what would be written.  That a changed byte is taken is right: it is another image then.
TEST_P(FormatTest, AnyByteMayBeAnyOther) {
  const size_t step = test::kSanitized ? 13 : 1;
  const size_t pages = test::extent_of(file_, Section::kPages).offset;
  size_t taken = 0;
  for (size_t at = 0; at < file_.size(); at += step) {
    const bool reserved = at > test::kTableAt + 12 * 40 + 64 && at < kSuperblockBytes - 64;
    if ((reserved || at > pages + 64) && at % (is_mapped() ? 509 : 61) != 0) continue;
    for (const uint8_t flip : {uint8_t{0x01}, uint8_t{0x80}, uint8_t{0xFF}}) {
      std::vector<uint8_t> bytes = file_;
      bytes[at] ^= flip;
      test::reseal(bytes);
      const Result<Contents> result = test::read_bytes(bytes, Validation::kChecksum);
      if (!result.ok()) continue;
      taken++;
      const std::vector<uint8_t> again = bytes_of(result.value());
      const Result<Contents> twice = test::read_bytes(again, Validation::kChecksum);
      ASSERT_TRUE(twice.ok()) << at << ": " << twice.status().message();
      ASSERT_EQ(twice->prepared->wasm, result->prepared->wasm) << at;
      if (at >= pages && bytes[at] == 0) continue;        // a page may be zeros now, and is left out
      if (is_mapped() && at == test::kFlagsAt) continue;  // the wire form of an image that has pages of zeros
      ASSERT_EQ(test::with_section(again, Section::kModule, {}),
                test::with_section(bytes, Section::kModule, {}))
          << at;
    }
  }
  EXPECT_GT(taken, 100u);  // names, values, bytes of pages
}

TEST_P(FormatTest, WhatThisVersionDoesNotKnowIsToldFromDamage) {
  struct Change {
    size_t at;
    uint32_t to;
    std::string_view says;
    Code code = Code::kUnsupported;
  };
  const size_t table = test::table_entry(file_, Section::kManifest);
  std::vector<Change> changes{
      Change{8, 3, "format version 3, made by a newer Spore; this build reads up to 2"},
      Change{8, UINT32_MAX, "format version 4294967295, made by a newer Spore"},
      Change{8, 0, "there is no format version 0", Code::kCorruption},
      Change{0, 0, "wrong magic at byte 0", Code::kCorruption},
      Change{12, 3, "a derived image has a parent", Code::kCorruption},
      Change{12, 0, "there is no kind 0", Code::kCorruption},
      Change{12, 4, "there is no kind 4", Code::kCorruption},
      Change{24, 4, "flags 0x4"},
      Change{32, 1, "no sequence number", Code::kCorruption},
      Change{72, 1, "has a parent", Code::kCorruption},
      Change{kSuperblockBytes - 4, 1, "what is reserved is not 0", Code::kCorruption}};
  if (is_version_1()) {
    changes.insert(
        changes.end(),
        {Change{12, 2, "a delta"}, Change{24, 1, "flags 0x1"}, Change{28, 6, "6 sections"},
         Change{28, 9, "9 sections"}, Change{28, UINT32_MAX, "4294967295 sections"},
         Change{28, 8, "a section in the place of another", Code::kCorruption},  // there are 7
         Change{table, 2, "a section in the place of another", Code::kCorruption},
         Change{table, 8, "section HOTSET"}, Change{table + 4, 1, "section MANIFEST has codec 1"}});
  } else {
    const size_t pages = test::table_entry(file_, Section::kPages);
    changes.insert(
        changes.end(),
        {Change{28, 0, "0 sections", Code::kCorruption}, Change{28, 1, "1 sections", Code::kCorruption},
         Change{28, 100, "100 sections", Code::kCorruption},
         Change{28, UINT32_MAX, "4294967295 sections", Code::kCorruption},
         Change{28, 7, "section HASHES is missing", Code::kCorruption},  // there are 8
         Change{28, 9, "a section in the place of another", Code::kCorruption},
         Change{table, 0, "a section in the place of another", Code::kCorruption},
         Change{table, 2, "section STATE stands twice, or in the place of another", Code::kCorruption},
         Change{table, 13, "section 13, which this build does not know"},
         Change{table + 40, 1, "section MANIFEST stands twice", Code::kCorruption},
         Change{table + 40, 10, "section PAGEINDEX stands twice, or in the place of another",
                Code::kCorruption},
         Change{pages, 12, "section DELTA in a base file", Code::kCorruption},
         Change{pages, 9, "stands twice, or in the place of another", Code::kCorruption},
         Change{pages, 5, "stands twice, or in the place of another", Code::kCorruption},
         Change{test::table_entry(file_, Section::kSource), 9, "in the place of another", Code::kCorruption},
         Change{table + 4, 3, "section MANIFEST has codec 3"},
         Change{table + 4, 1, "a compressed section that is no shorter", Code::kCorruption},
         Change{table + 24, 1, "a raw section of two lengths", Code::kCorruption},
         Change{table + 32, 1, "what is reserved is not 0", Code::kCorruption}});
    if (!is_mapped()) changes.push_back({12, 2, "a delta has a sequence number", Code::kCorruption});
    if (is_mapped()) changes.push_back({12, 2, "a delta in the mapped form", Code::kCorruption});
  }
  for (const Change& change : changes) {
    std::vector<uint8_t> bytes = file_;
    test::put(bytes, change.at, change.to);
    test::reseal(bytes);
    EXPECT_TRUE(says(refused(bytes, change.code), change.says)) << change.at << " = " << change.to;
  }
}

// The version is told before anything else is looked at, whatever the rest has become.
TEST_P(FormatTest, ANewerFileIsToldByItsVersionAlone) {
  std::vector<uint8_t> bytes(kSuperblockBytes, 0xEE);
  std::copy_n(file_.begin(), 8, bytes.begin());
  test::put(bytes, 8, uint32_t{7});
  EXPECT_TRUE(says(refused(bytes, Code::kUnsupported), "format version 7"));
}

TEST_P(FormatTest, SectionsAreWhereTheyMustBe) {
  const auto change = [&](Section which, size_t field, uint64_t to) {
    std::vector<uint8_t> bytes = file_;
    test::put(bytes, test::table_entry(file_, which) + field, to);
    test::reseal(bytes);
    return refused(bytes, Code::kCorruption);
  };
  constexpr size_t kOffset = 8;
  constexpr size_t kBytes = 16;
  const Extent state = test::extent_of(file_, Section::kState);
  EXPECT_TRUE(says(change(Section::kState, kOffset, state.offset - 1), "section STATE is"));  // they overlap
  EXPECT_TRUE(says(change(Section::kState, kOffset, state.offset + 1), "section STATE is"));  // a gap
  if (is_version_1()) {
    EXPECT_TRUE(says(change(Section::kState, kBytes, state.bytes - 1), "section PAGEINDEX is"));
    EXPECT_TRUE(says(change(Section::kState, kBytes, file_.size()), "section PAGEINDEX is"));
  } else {
    EXPECT_TRUE(says(change(Section::kState, kBytes, state.bytes - 1), "a raw section of two lengths"));
    EXPECT_TRUE(says(change(Section::kState, kBytes, 0), "an empty section"));
  }
  for (const Section which : section_order(is_version_1() ? 1 : 2)) {
    if (test::table_entry(file_, which) == 0) continue;
    EXPECT_TRUE(says(change(which, kBytes, UINT64_MAX), "a section is longer than the file"));
    EXPECT_TRUE(says(change(which, kOffset, UINT64_MAX), section_name(which)));
    if (which == Section::kHashes) continue;  // resealing writes them over all else
    EXPECT_TRUE(says(change(which, kOffset, 0), section_name(which)));
  }
  // Lengths that add up to the right end only if they overflow.
  std::vector<uint8_t> bytes = file_;
  test::put(bytes, 16, UINT64_MAX);
  EXPECT_TRUE(says(refused(bytes, Code::kCorruption), "were written"));
}

// Where PAGES has no gaps; of the mapped form there are tests beside those of version 2.
class WireFormatTest : public FormatTest {};
INSTANTIATE_TEST_SUITE_P(Forms, WireFormatTest, testing::Values(Made::kVersion1, Made::kWire),
                         test::made_name_of);

TEST_P(WireFormatTest, ThePagesAreThoseOfTheIndex) {
  struct Entry {
    uint32_t kind;
    uint32_t pages;
    uint64_t at = 0;
  };
  const auto index = [](const std::vector<std::vector<Entry>>& memories) {
    ByteWriter writer;
    writer.u32(static_cast<uint32_t>(memories.size()));
    for (const auto& runs : memories) {
      writer.u32(static_cast<uint32_t>(runs.size()));
      for (const Entry& run : runs) writer.u32(run.kind).u32(run.pages).u64(run.at);
    }
    return writer.take();
  };
  const auto said = [&](const std::vector<std::vector<Entry>>& memories, Code code = Code::kCorruption) {
    return with(Section::kPageIndex, index(memories), code);
  };
  // What it is: three raw pages, 0, 1 and 24, of 32.
  ASSERT_EQ(index({{{2, 2, 0}, {1, 22}, {2, 1, 2}, {1, 7}}}), section(Section::kPageIndex));
  EXPECT_EQ(said({{{2, 1, 0}, {1, 23}, {2, 2, 1}, {1, 6}}}), "");  // another image
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 22}, {2, 1, 2}, {1, 8}}}), "memory 0 of 135168 bytes"));
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 6}, {2, 1, 2}, {1, 7}}}),
                   "memory 0 of 65536 bytes"));                                         // below its minimum
  EXPECT_TRUE(says(said({{{2, 3, 0}, {1, 61}}}), "memory 0 of 262144 bytes"));          // above its maximum
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 23}, {2, 1, 1}, {1, 6}}}), "do not follow"));  // one page twice
  EXPECT_TRUE(says(said({{{2, 2, 1}, {1, 22}, {2, 1, 0}, {1, 7}}}), "do not follow"));
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 22, 2}, {2, 1, 2}, {1, 7}}}), "do not follow"));
  EXPECT_TRUE(says(said({{{2, 2, UINT64_MAX}, {1, 30}}}), "do not follow"));
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 30}}}), "2 pages, PAGES has 12288 bytes"));
  EXPECT_TRUE(says(said({{{2, 4, 0}, {1, 28}}}), "4 pages, PAGES has 12288 bytes"));
  EXPECT_TRUE(says(said({{{2, UINT32_MAX, 0}}}), "4294967295 pages, PAGES has"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {1, 0}, {1, 29}}}), "a run of no pages"));
  EXPECT_TRUE(says(said({{{2, 2, 0}, {2, 1, 2}, {1, 29}}}), "one run that is told as two"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {0, 29}}}), "no such kind of page"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {6, 29}}}), "no such kind of page"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {3, 29}}}, Code::kUnsupported), "pages of kind 3"));
  EXPECT_TRUE(says(said({}), "0 pages, PAGES has"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {1, 29}}, {{1, 32}}}), "2 memories, the module has 1"));
  EXPECT_TRUE(says(said({{{2, 3, 0}, {1, UINT32_MAX}}}, Code::kLimitExceeded), "memory_bytes_max"));
  EXPECT_TRUE(says(said({std::vector<std::vector<Entry>>(101)}), "a count is too large"));
  // Counts without bytes for them.
  EXPECT_TRUE(says(with(Section::kPageIndex, std::vector<uint8_t>{1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x00}),
                   "fewer bytes"));
  EXPECT_TRUE(
      says(with(Section::kPageIndex, std::vector<uint8_t>{0xFF, 0xFF, 0xFF, 0xFF}), "a count is too large"));
  // Pages that are cut.
  std::vector<uint8_t> pages = section(Section::kPages);
  pages.pop_back();
  EXPECT_TRUE(says(with(Section::kPages, pages), "3 pages, PAGES has 12287 bytes"));
}

TEST_P(FormatTest, ValuesFitTheirModule) {
  const auto said = [&](const std::function<void(State&)>& change) {
    State state = decode_state(section(Section::kState)).value();
    change(state);
    return with(Section::kState, encode_state(state));
  };
  EXPECT_EQ(said([](State&) {}), "");
  EXPECT_TRUE(says(said([](State& state) { state.values.globals[0].type = engine::ValType::kI64; }),
                   "global 0 of 3 is i64, the module's is i32"));
  EXPECT_TRUE(says(said([](State& state) { state.values.globals.pop_back(); }),
                   "2 globals, the module has 2 and 1 flags"));
  EXPECT_TRUE(
      says(said([](State& state) { state.values.globals[2].value.i32 = 2; }), "the flag of a segment is 2"));
  EXPECT_EQ(said([](State& state) { state.values.globals[2].value.i32 = 1; }), "");
  EXPECT_TRUE(
      says(said([](State& state) { state.values.tables.clear(); }), "0 tables, the module writes to 1"));
  EXPECT_TRUE(
      says(said([](State& state) { state.values.tables[0][0] = 1000; }), "table 0 has function 1000"));
  EXPECT_TRUE(
      says(said([](State& state) { state.values.tables[0][0] = UINT32_MAX - 1; }), "table 0 has function"));
  EXPECT_TRUE(says(said([](State& state) { state.values.tables[0].pop_back(); }),
                   "table 0 has 1 elements, possible are 2 to 4"));
  EXPECT_EQ(said([](State& state) { state.values.tables[0].resize(4, UINT32_MAX); }), "");
  EXPECT_TRUE(says(said([](State& state) { state.values.tables[0].resize(5, UINT32_MAX); }),
                   "table 0 has 5 elements, possible are 2 to 4"));
  EXPECT_TRUE(says(said([](State& state) { state.wasi.reset(); }), "a world without its state"));
  EXPECT_TRUE(says(said([](State& state) { state.wasi->pop_back(); }), "state of WASI"));
  EXPECT_TRUE(says(said([](State& state) { state.wasi->clear(); }), "state of WASI"));
  EXPECT_TRUE(
      says(said([](State& state) { state.frames->address = 2 * 65536; }), "3 bytes of frames at 131072"));
  EXPECT_TRUE(says(said([](State& state) { state.frames->address = UINT64_MAX; }), "bytes of frames at"));
  EXPECT_EQ(said([](State& state) { state.frames->address = 2 * 65536 - 3; }), "");
  EXPECT_EQ(said([](State& state) { state.frames.reset(); }), "");
}

TEST_P(FormatTest, FieldsAreWhatTheyCanBe) {
  const std::vector<uint8_t> state = section(Section::kState);
  std::vector<uint8_t> bytes = state;
  test::put(bytes, 0, UINT32_MAX);
  EXPECT_TRUE(says(with(Section::kState, bytes), "section STATE: at byte 4: a count is too large"));
  bytes = state;
  test::put(bytes, 0, uint32_t{50'000'000});
  EXPECT_TRUE(says(with(Section::kState, bytes), "fewer bytes than a count says"));
  bytes = state;
  bytes[4] = 5;  // a reference
  EXPECT_TRUE(says(with(Section::kState, bytes), "no such type of a global"));
  bytes = state;
  bytes.push_back(0);
  EXPECT_TRUE(says(with(Section::kState, bytes), "bytes are left over"));
  EXPECT_TRUE(says(with(Section::kState, {}),
                   is_version_1() ? "the bytes end too early" : "section STATE is missing in a base file"));

  std::vector<uint8_t> manifest = section(Section::kManifest);
  test::put(manifest, 0, UINT32_MAX);
  EXPECT_TRUE(says(with(Section::kManifest, manifest), "section MANIFEST: at byte 4: a text is too long"));
  EXPECT_TRUE(says(with(Section::kManifest, {}), is_version_1()
                                                     ? "the bytes end too early"
                                                     : "section MANIFEST is missing in a base file"));
  const uint32_t version = is_version_1() ? 1 : 2;
  const auto said = [&](const std::function<void(Manifest&)>& change) {
    Manifest changed = decode_manifest(section(Section::kManifest), false, version).value();
    change(changed);
    return with(Section::kManifest, encode_manifest(changed, version));
  };
  EXPECT_EQ(said([](Manifest&) {}), "");
  EXPECT_TRUE(says(said([](Manifest& it) { it.framing = static_cast<Framing>(4); }), "no such framing"));
  EXPECT_TRUE(says(said([](Manifest& it) { it.original.bytes[3]++; }), "nothing rewrote the module"));
  EXPECT_TRUE(says(said([](Manifest& it) { it.rewriter_arguments = "-O1"; }), "nothing rewrote the module"));
  EXPECT_EQ(said([](Manifest& it) { it.rewriter = "x", it.original.bytes[3]++; }), "");
  EXPECT_TRUE(says(said([](Manifest& it) { it.module.bytes[0]++, it.rewriter = "x"; }), "another module"));
  EXPECT_TRUE(says(said([](Manifest& it) { it.preparer++; }), "the manifest says"));
  EXPECT_TRUE(says(said([](Manifest& it) { it.wasi.reset(); }), "a state of WASI without its world"));
}

TEST_P(FormatTest, AModuleIsMadeOfPiecesThatAreThere) {
  const uint64_t source = test::extent_of(file_, Section::kSource).bytes;
  const ModuleParts right = decode_module(section(Section::kModule), source).value();
  ASSERT_GE(right.pieces.size(), 2u);
  const auto said = [&](const std::function<void(ModuleParts&)>& change) {
    ModuleParts parts = right;
    change(parts);
    return with(Section::kModule, encode_module(parts));
  };
  EXPECT_EQ(said([](ModuleParts&) {}), "");
  const auto set = [](std::vector<Piece> pieces, uint64_t prepared, size_t literals) {
    return [=](ModuleParts& parts) {
      parts.pieces = pieces;
      parts.prepared_bytes = prepared;
      parts.literals.assign(literals, 0);
    };
  };
  EXPECT_TRUE(says(said(set({{source, 1}}, 1, 0)), "a piece that is not in SOURCE"));
  EXPECT_TRUE(says(said(set({{0, source + 1}}, source + 1, 0)), "a piece that is not in SOURCE"));
  EXPECT_TRUE(says(said(set({{UINT64_MAX - 1, 2}}, 2, 0)), "a piece that is not in SOURCE"));
  EXPECT_TRUE(says(said(set({{1, UINT64_MAX}}, 0, 0)), "a piece that is not in SOURCE"));
  EXPECT_TRUE(says(said(set({{0, 8}, {7, 8}}, 16, 0)),
                   "before the one before it"));  // or it could be made of one byte
  EXPECT_TRUE(says(said(set({{0, 0}}, 0, 0)), "an empty piece"));
  EXPECT_TRUE(says(said(set({{Piece::kLiteral, 9}}, 9, 8)), "literals have another length"));
  EXPECT_TRUE(says(said(set({{Piece::kLiteral, 7}}, 7, 8)), "literals have another length"));
  EXPECT_TRUE(
      says(said(set({{Piece::kLiteral, UINT64_MAX}}, UINT64_MAX, 8)), "a piece of more than there is"));
  EXPECT_TRUE(says(said(set({{0, source}}, source - 1, 0)), "another length than the module"));
  EXPECT_TRUE(says(said([](ModuleParts& parts) { parts.facts.clear(); }), "section MODULE: facts"));
  EXPECT_TRUE(says(with(Section::kModule, {}),
                   is_version_1() ? "section MODULE: at byte 0: the bytes end too early"
                                  : "section SOURCE and MODULE are there both or not at all"));
  EXPECT_TRUE(says(with(Section::kSource, {}),
                   is_version_1() ? "a piece that is not in SOURCE"
                                  : "section SOURCE and MODULE are there both or not at all"));
}

// Facts that lie undo isolation.  `full` finds every lie, as they follow from the source; `checksum` takes
// its writer's word, which is why it is not the default.
TEST_P(FormatTest, FactsThatLieAreFoundByProof) {
  const std::vector<uint8_t> source = section(Section::kSource);
  const ModuleParts right = decode_module(section(Section::kModule), source.size()).value();
  const auto said = [&](const std::function<void(wasm::PreparedModule&)>& change, Validation validation) {
    wasm::PreparedModule lie = wasm::decode_prepared(right.facts, source).value();
    change(lie);
    ModuleParts parts = right;
    parts.facts = wasm::encode_prepared(lie);
    return with(Section::kModule, encode_module(parts), Code::kCorruption, validation);
  };
  const auto grows_not = [](wasm::PreparedModule& it) { it.has_memory_grow = !it.has_memory_grow; };
  EXPECT_EQ(said(grows_not, Validation::kChecksum), "");
  EXPECT_TRUE(says(said(grows_not, Validation::kFull),
                   "the facts of the module are not what preparing SOURCE finds"));
  const auto no_start = [](wasm::PreparedModule& it) { it.facts.has_start = true; };
  EXPECT_TRUE(says(said(no_start, Validation::kFull), "the facts of the module"));
  const auto in_place = [](wasm::PreparedModule& it) { it.reset_reasons.emplace_back("a reason"); };
  EXPECT_TRUE(says(said(in_place, Validation::kChecksum), "whose state cannot be held"));
  const auto other = [](wasm::PreparedModule& it) { it.facts.hash.bytes[0]++; };
  EXPECT_TRUE(says(said(other, Validation::kChecksum), "another module"));

  // A module that is another than its source gives: one byte of a literal.
  ModuleParts parts = right;
  parts.literals.back()++;
  EXPECT_EQ(with(Section::kModule, encode_module(parts)), "");
  EXPECT_TRUE(says(with(Section::kModule, encode_module(parts), Code::kCorruption, Validation::kFull),
                   "MODULE is not what preparing SOURCE gives"));
  // And a name that is not the source's own: both say so, the source is another.
  std::vector<uint8_t> other_source = source;
  other_source.back() ^= 1;
  EXPECT_NE(with(Section::kSource, other_source, Code::kCorruption, Validation::kFull), "");
  // The hash of the prepared module is a claim like all others.
  const uint32_t version = is_version_1() ? 1 : 2;
  Manifest manifest = decode_manifest(section(Section::kManifest), false, version).value();
  manifest.prepared.bytes[0]++;
  EXPECT_TRUE(
      says(with(Section::kManifest, encode_manifest(manifest, version), Code::kCorruption, Validation::kFull),
           "MODULE is not what preparing SOURCE gives"));
}

// --- profiles --------------------------------------------------------------------------------------------

class ProfileFormatTest : public FormatTest {
 protected:
  static code::Profile profile() {
    return {.tier = engine::Tier::kOptimised,
            .functions = {{.name = "_start", .calls = 2000, .mean_us = 84.5},
                          {.name = "gr\u00fc\u00dfe", .calls = 3, .mean_us = 12},
                          {.name = "", .calls = 7, .mean_us = 0}}};
  }
  static Contents with_profile() {
    Contents contents = FormatTest::contents();
    contents.profile = profile();
    return contents;
  }
  // The file without a profile, and these bytes as one: what read() says of it.
  std::string profiled(std::span<const uint8_t> bytes) const { return with(Section::kProfile, bytes); }
  std::string profiled(const code::Profile& changed) const { return profiled(encode_profile(changed)); }

  const std::vector<uint8_t> profiled_ = bytes_of(with_profile());
};

INSTANTIATE_TEST_SUITE_P(Forms, ProfileFormatTest, testing::Values(Made::kVersion1, Made::kWire),
                         test::made_name_of);

// Byte for byte as the document has it; and nothing else of the file is another.
TEST_P(ProfileFormatTest, AProfileIsOneSectionMore) {
  const Superblock before = test::superblock_of(file_);
  const Superblock after = test::superblock_of(profiled_);
  EXPECT_EQ(test::get<uint32_t>(file_, 28), is_version_1() ? 7u : 8u);
  EXPECT_EQ(test::get<uint32_t>(profiled_, 28), is_version_1() ? 8u : 9u);
  ASSERT_EQ(after.sections.size(), before.sections.size() + 1);
  for (const Extent& extent : before.sections) {
    if (extent.section == Section::kHashes) continue;
    EXPECT_EQ(section_in(profiled_, extent.section), section_in(file_, extent.section));
  }
  const Extent& extent = *after.find(Section::kProfile);
  EXPECT_EQ(test::get<uint32_t>(profiled_, test::table_entry(profiled_, Section::kProfile)), 9u);
  EXPECT_EQ((&extent - 1)->section, is_version_1() ? Section::kPages : Section::kExports);
  EXPECT_EQ((&extent + 1)->section, is_version_1() ? Section::kHashes : Section::kModule);
  ByteWriter right;
  right.u8(2).u32(3);
  right.text("_start").u64(2000).u64(0x4055200000000000);
  right.text("gr\u00fc\u00dfe").u64(3).u64(0x4028000000000000);
  right.text("").u64(7).u64(0);
  EXPECT_EQ(section_in(profiled_, Section::kProfile), right.take());

  const Contents read = test::read_bytes(profiled_).value();
  EXPECT_EQ(read.profile, profile());
  EXPECT_EQ(bytes_of(read), profiled_);
  EXPECT_FALSE(test::read_bytes(file_)->profile.has_value());
  EXPECT_EQ(test::with_section(profiled_, Section::kProfile, {}), file_);
}

TEST_P(ProfileFormatTest, ADescriptionShowsIt) {
  ASSERT_TRUE(write_file(folder_ / "profiled", profiled_).ok());
  const Description description = describe(folder_ / "profiled").value();
  EXPECT_EQ(description.profile, profile());
  EXPECT_EQ(description.sections.size(), is_version_1() ? 8u : 9u);
  EXPECT_TRUE(says(description.text(), "profile         it was called until it had optimised code\n"));
  EXPECT_TRUE(says(description.text(), "  function      _start: 2000 calls, 84.5 us each\n"));
  JsonWriter writer;
  description.write_json(writer);
  const std::string json = writer.take();
  EXPECT_TRUE(test::JsonCheck::is_json(json)) << json;
  EXPECT_TRUE(says(json, "\"tier\": \"optimised\""));
  ASSERT_TRUE(write_file(folder_ / "plain", file_).ok());
  const Description plain = describe(folder_ / "plain").value();
  EXPECT_EQ(plain.sections.size(), is_version_1() ? 7u : 8u);
  EXPECT_EQ(plain.text().find("profile"), std::string::npos);
}

TEST_P(ProfileFormatTest, EveryTruncationAndEveryFlippedBitIsRefused) {
  const size_t begin = test::extent_of(profiled_, Section::kProfile).offset;
  const size_t end_of_table = test::table_entry(profiled_, Section::kHashes) + test::entry_bytes(profiled_);
  for (size_t length = begin - 10; length < profiled_.size(); length++) {
    ASSERT_NE(refused(std::span(profiled_).first(length), Code::kCorruption), "") << length;
  }
  const UniqueFd fd = test::file_of(profiled_);
  for (size_t at = 0; at < profiled_.size(); at++) {
    if (at == end_of_table) at = begin;
    if (at == test::extent_of(profiled_, Section::kModule).offset && !is_version_1()) {
      at = test::extent_of(profiled_, Section::kHashes).offset;
    }
    for (int bit = 0; bit < 8; bit++) {
      write_byte(fd, at, profiled_[at] ^ (1 << bit));
      // `structure` looks at all of it, too.
      const Result<Contents> result = test::read_fd(fd, Validation::kStructure);
      ASSERT_FALSE(result.ok()) << at << "." << bit;
      ASSERT_TRUE(result.code() == Code::kCorruption || result.code() == Code::kUnsupported)
          << at << ": " << result.status().message();
    }
    write_byte(fd, at, profiled_[at]);
  }
  EXPECT_TRUE(test::read_fd(fd, Validation::kFull).ok());
}

TEST_P(ProfileFormatTest, AnyByteMayBeAnyOther) {
  const Extent extent = test::extent_of(profiled_, Section::kProfile);
  size_t taken = 0;
  for (size_t at = extent.offset; at < extent.end(); at++) {
    for (int value = 0; value < 256; value++) {
      std::vector<uint8_t> bytes = profiled_;
      bytes[at] = static_cast<uint8_t>(value);
      test::reseal(bytes);
      const Result<Contents> result = test::read_bytes(bytes, Validation::kChecksum);
      if (!result.ok()) {
        ASSERT_EQ(result.code(), Code::kCorruption) << result.status().message();
        continue;
      }
      taken++;
      if (taken % 16 != 0) continue;  // writing takes its time
      ASSERT_EQ(bytes_of(result.value()), bytes) << at;
    }
  }
  EXPECT_GT(taken, 1000u);
}

TEST_P(ProfileFormatTest, AProfileSaysWhatCanBe) {
  const auto said = [&](const std::function<void(code::Profile&)>& change) {
    code::Profile changed = profile();
    change(changed);
    return profiled(changed);
  };
  const auto with_tier = [&](int tier) {
    return said([&](code::Profile& it) { it.tier = static_cast<engine::Tier>(tier); });
  };
  EXPECT_TRUE(says(with_tier(0), "section PROFILE: at byte 1: a profile of the tier in which modules begin"));
  for (const int tier : {1, 2, 3}) EXPECT_EQ(with_tier(tier), "");
  EXPECT_TRUE(says(with_tier(4), "there is no such tier"));
  EXPECT_TRUE(says(with_tier(255), "there is no such tier"));

  EXPECT_EQ(said([](code::Profile& it) { it.functions.clear(); }), "");  // no name of it could be kept
  const auto functions = [&](size_t count) {
    return said([&](code::Profile& it) {
      it.functions.clear();
      for (size_t i = 0; i < count; i++) {
        it.functions.push_back({.name = std::to_string(i), .calls = count - i, .mean_us = 1});
      }
    });
  };
  EXPECT_EQ(functions(code::Profile::kFunctionsMax), "");
  EXPECT_TRUE(says(functions(code::Profile::kFunctionsMax + 1), "a count is too large"));

  const auto with_name = [&](std::string_view name) {
    return said([&](code::Profile& it) { it.functions[0].name = name; });
  };
  EXPECT_EQ(with_name(std::string(code::Profile::kNameBytesMax, 'a')), "");
  EXPECT_TRUE(says(with_name(std::string(code::Profile::kNameBytesMax + 1, 'a')), "a text is too long"));
  for (const std::string_view name : {"a\nb", "\x1b[0m", "\x7f", "\xc2\x80", "\xff", "cut \xc3"}) {
    EXPECT_TRUE(says(with_name(name), "a name that cannot be printed"));
  }
  EXPECT_TRUE(says(with_name(""), "a function twice"));

  const auto with_time = [&](double mean_us) {
    return said([&](code::Profile& it) { it.functions[0].mean_us = mean_us; });
  };
  EXPECT_EQ(with_time(code::Profile::kMeanUsMax), "");
  for (const double mean_us :
       {std::nan(""), -std::nan(""), -0.0, -1.0, std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity(), code::Profile::kMeanUsMax * 1.001, 1e300}) {
    EXPECT_TRUE(says(with_time(mean_us), "there is no such time")) << mean_us;
  }
  EXPECT_TRUE(says(with_time(0), "not told hottest first"));
  EXPECT_TRUE(says(said([](code::Profile& it) { std::swap(it.functions[0], it.functions[2]); }),
                   "not told hottest first"));
  EXPECT_TRUE(
      says(said([](code::Profile& it) { it.functions[2].calls = 0; }), "a function that was never called"));
  EXPECT_EQ(said([](code::Profile& it) { it.functions[0].calls = UINT64_MAX; }), "");

  // Lengths and counts without bytes for them, and bytes without a length.
  std::vector<uint8_t> bytes = encode_profile(profile());
  for (size_t length = 1; length < bytes.size(); length++) {
    EXPECT_TRUE(says(profiled(std::span(bytes).first(length)), "section PROFILE: at byte")) << length;
  }
  bytes.push_back(0);
  EXPECT_TRUE(says(profiled(bytes), "bytes are left over"));
  test::put(bytes, 1, UINT32_MAX);
  EXPECT_TRUE(says(profiled(bytes), "a count is too large"));
  bytes = encode_profile(profile());
  test::put(bytes, 5, UINT32_MAX);
  EXPECT_TRUE(says(profiled(bytes), "a text is too long"));
  EXPECT_TRUE(says(profiled(std::vector<uint8_t>(10'000)), "section PROFILE is longer than it can be"));
}

TEST_P(ProfileFormatTest, TheTableSaysWhatThereIs) {
  const size_t entry = test::table_entry(profiled_, Section::kProfile);
  const auto changed = [&](size_t at, auto to, Code code) {
    std::vector<uint8_t> bytes = profiled_;
    test::put(bytes, at, to);
    test::reseal(bytes);
    return refused(bytes, code);
  };
  EXPECT_TRUE(says(changed(entry + 8, uint64_t{0}, Code::kCorruption), "section PROFILE is"));
  EXPECT_TRUE(says(changed(entry + 16, uint64_t{0}, Code::kCorruption), "an empty section"));
  if (!is_version_1()) return;
  EXPECT_TRUE(says(changed(entry, uint32_t{8}, Code::kUnsupported), "section HOTSET"));
  EXPECT_TRUE(says(changed(entry, uint32_t{7}, Code::kCorruption),
                   "superblock: at byte 272: a section in the place"));
  EXPECT_TRUE(says(changed(entry + 4, uint32_t{1}, Code::kUnsupported), "section PROFILE has codec 1"));
  EXPECT_TRUE(says(changed(28, uint32_t{7}, Code::kCorruption), "a section in the place of another"));
}

TEST_P(ProfileFormatTest, WhatNobodyWouldReadIsNotWritten) {
  Contents contents = with_profile();
  contents.profile->functions[0].mean_us = std::nan("");
  EXPECT_EQ(write(contents, folder_ / "wrong").code(), Code::kInvalidArgument);
  contents.profile = code::Profile{.tier = engine::Tier::kInterpreter, .functions = {}};
  EXPECT_EQ(write(contents, folder_ / "wrong").code(), Code::kInvalidArgument);
  EXPECT_FALSE(fs::exists(folder_ / "wrong"));
}

// --- pieces of modules -----------------------------------------------------------------------------------

std::vector<uint8_t> noise(size_t bytes, uint32_t seed) {
  std::vector<uint8_t> result(bytes);
  for (uint8_t& byte : result) {
    seed = seed * 1'664'525 + 1'013'904'223;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return result;
}

void expect_joins(const std::vector<uint8_t>& prepared, const std::vector<uint8_t>& source,
                  size_t literals_max) {
  const ModuleParts parts = split_module(prepared, source);
  EXPECT_EQ(join_module(parts, source), prepared);
  EXPECT_LE(parts.literals.size(), literals_max);
  const Result<ModuleParts> decoded = decode_module(encode_module(parts), source.size());
  ASSERT_TRUE(decoded.ok()) << decoded.status().message();
  EXPECT_EQ(join_module(decoded.value(), source), prepared);
}

TEST(ModulePartsTest, WhatWasCopiedIsNotKeptTwice) {
  const std::vector<uint8_t> source = noise(100'000, 1);
  expect_joins({}, source, 0);
  expect_joins({}, {}, 0);
  expect_joins(source, {}, source.size());
  expect_joins(source, source, 0);
  expect_joins(noise(1000, 2), source, 1000);
  // Something added, left out and changed, each in places that no window begins at.
  std::vector<uint8_t> prepared = source;
  prepared.insert(prepared.begin() + 777, 33, 0xAA);
  prepared.erase(prepared.begin() + 20'001, prepared.begin() + 24'003);
  for (const size_t at : {5'003, 50'111, 90'000}) prepared[at] ^= 1;
  expect_joins(prepared, source, 33 + 3 + 2 * 64);
  // The end left out; the front.
  expect_joins({source.begin(), source.begin() + 60'123}, source, 0);
  expect_joins({source.begin() + 13, source.end()}, source, 64);
}

// What repeats itself leads nowhere far: the whole stays small.
TEST(ModulePartsTest, RepetitionDoesNotLeadAway) {
  std::vector<uint8_t> source(300'000);
  const std::vector<uint8_t> middle = noise(200'000, 3);
  std::ranges::copy(middle, source.begin() + 50'000);
  std::vector<uint8_t> prepared = source;
  prepared.insert(prepared.begin() + 60'000, 200, 0);  // as the zeros behind are
  expect_joins(prepared, source, 1000);
}

TEST(ModulePartsTest, APreparedModuleIsMostlyItsSource) {
  const fs::path path = fs::path(SPORE_SOURCE_DIR) / "build/guests/rust_command.wasm";
  if (!fs::exists(path)) GTEST_SKIP() << "no guests were built";
  const std::vector<uint8_t> source = read_file(path, size_t{1} << 30).value();
  const std::vector<uint8_t> prepared = wasm::prepare(source, source.size()).value().wasm;
  expect_joins(prepared, source, prepared.size() / 100);
}

}  // namespace
}  // namespace spore::snapshot
