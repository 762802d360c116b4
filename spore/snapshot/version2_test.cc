// What version 2 has and version 1 had not: forms, compression, sections; modules that are pinned.

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/bytes.h"
#include "spore/snapshot/delta_file.h"
#include "tests/json_check.h"
#include "tests/sanitizers.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::Made;
using test::says;

constexpr size_t kEntry = 40;

class Version2Test : public test::SnapshotFormat, public testing::WithParamInterface<Made> {
 protected:
  std::vector<uint8_t> written(const Contents& contents, const WriteOptions& options) const {
    return test::written_bytes(contents, folder_ / "image", options).value();
  }
  std::vector<uint8_t> section(Section which) const { return section_in(file_, which); }
  std::string with(Section which, std::span<const uint8_t> bytes, Code code = Code::kCorruption) const {
    return refused(test::with_section(file_, which, bytes), code, Validation::kChecksum);
  }
  Result<Contents> read_pinned(std::span<const uint8_t> bytes,
                               std::shared_ptr<const std::vector<uint8_t>> module) const {
    return read(test::file_of(bytes).get(), {.proved = {},
                                             .verified = {},
                                             .find_module =
                                                 [&](const Digest& prepared, const Digest& source) {
                                                   EXPECT_EQ(prepared, all_.manifest.prepared);
                                                   EXPECT_EQ(source, all_.manifest.module);
                                                   return module;
                                                 },
                                             .progress = {}});
  }

  const Contents all_ = contents_of_version_2();
  const std::vector<uint8_t> file_ = bytes_of(all_, Made::kWire);
};

// --- the whole file --------------------------------------------------------------------------------------

// Byte for byte as the document has it, told by fields that are read here by hand.
TEST_F(Version2Test, TheSuperblockIsAsDocumented) {
  EXPECT_EQ(test::get<uint32_t>(file_, 8), 2u);
  EXPECT_EQ(test::get<uint32_t>(file_, 12), 1u);
  EXPECT_EQ(test::get<uint64_t>(file_, 16), file_.size());
  EXPECT_EQ(test::get<uint32_t>(file_, 24), 0u);
  EXPECT_EQ(test::get<uint32_t>(file_, 28), 11u);
  EXPECT_EQ(test::get<uint64_t>(file_, 32), 0u);
  const std::vector<uint32_t> numbers{1, 2, 3, 10, 11, 8, 9, 4, 5, 6, 7};
  uint64_t end = 4096;
  for (size_t i = 0; i < numbers.size(); i++) {
    const size_t at = 104 + i * kEntry;
    EXPECT_EQ(test::get<uint32_t>(file_, at), numbers[i]);
    EXPECT_EQ(test::get<uint32_t>(file_, at + 4), 0u);
    if (numbers[i] == 6) end = (end + 4095) / 4096 * 4096;
    EXPECT_EQ(test::get<uint64_t>(file_, at + 8), end);
    EXPECT_EQ(test::get<uint64_t>(file_, at + 16), test::get<uint64_t>(file_, at + 24));
    EXPECT_EQ(test::get<uint64_t>(file_, at + 32), 0u);
    end += test::get<uint64_t>(file_, at + 16);
  }
  EXPECT_EQ(end, file_.size());
  EXPECT_TRUE(std::all_of(file_.begin() + 104 + 11 * kEntry, file_.begin() + 4096,
                          [](uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(test::get<uint32_t>(bytes_of(all_, Made::kMapped), 24), 1u);
}

// HASHES, computed here without the code that writes it.
TEST_F(Version2Test, TheHashesAreAsDocumented) {
  for (const Made made : {Made::kWire, Made::kZstd, Made::kMapped}) {
    const std::vector<uint8_t> file = bytes_of(all_, made);
    std::vector<uint8_t> sections;
    std::vector<uint8_t> pieces;
    const size_t count = test::get<uint32_t>(file, 28);
    for (size_t i = 0; i + 1 < count; i++) {
      const uint64_t offset = test::get<uint64_t>(file, 104 + i * kEntry + 8);
      const uint64_t bytes = test::get<uint64_t>(file, 104 + i * kEntry + 16);
      ASSERT_LE(bytes, size_t{1} << 20);
      const Digest piece = sha256(std::span(file).subspan(offset, bytes));
      const Digest section = sha256(piece.bytes);
      pieces.insert(pieces.end(), piece.bytes.begin(), piece.bytes.end());
      sections.insert(sections.end(), section.bytes.begin(), section.bytes.end());
    }
    sections.insert(sections.end(), pieces.begin(), pieces.end());
    EXPECT_EQ(section_in(file, Section::kHashes), sections);
    std::vector<uint8_t> named(file.begin(), file.begin() + 4096);
    std::fill_n(named.begin() + 40, 32, 0);
    named.insert(named.end(), sections.begin(), sections.end());
    EXPECT_EQ(test::get<Digest>(file, 40), sha256(named));
  }
}

TEST_F(Version2Test, ASectionsHashIsThatOfItsPieces) {
  std::vector<uint8_t> bytes = file_;
  const Extent hashes = test::extent_of(bytes, Section::kHashes);
  bytes[hashes.offset + 33] ^= 1;  // of STATE
  const Digest id = compute_id(std::span(bytes).first(kSuperblockBytes),
                               std::span(bytes).subspan(hashes.offset, hashes.bytes));
  test::put(bytes, test::kIdAt, id);
  EXPECT_TRUE(
      says(refused(bytes, Code::kCorruption), "the hash of section STATE is not that of its pieces'"));
}

INSTANTIATE_TEST_SUITE_P(Forms, Version2Test,
                         testing::Values(Made::kWire, Made::kZstd, Made::kLz4, Made::kMapped),
                         test::made_name_of);

TEST_P(Version2Test, AllOfItComesBack) {
  const std::vector<uint8_t> bytes = bytes_of(all_, GetParam());
  const Contents after = test::read_bytes(bytes).value();
  EXPECT_EQ(encode_manifest(after.manifest), encode_manifest(all_.manifest));
  EXPECT_EQ(after.manifest.tier_max, TierMax::kAggressive);
  EXPECT_EQ(after.presets, all_.presets);
  EXPECT_EQ(after.hot_set, all_.hot_set);
  EXPECT_EQ(after.profile, all_.profile);
  EXPECT_EQ(after.frames, all_.frames);
  EXPECT_EQ(*after.source, *all_.source);
  EXPECT_EQ(after.prepared->wasm, all_.prepared->wasm);
  ASSERT_EQ(after.exports->size(), 2u);
  EXPECT_EQ(after.exports->find("grow")->type, "func()");
  EXPECT_EQ(after.exports->find("memory")->type, "memory 2..3 pages of 64 KiB");
  EXPECT_EQ(after.exports->find("shrink"), nullptr);
  const memory::PageImage& image = *after.image.memories[0];
  ASSERT_EQ(image.bytes(), 2u * 65536);
  for (size_t at = 0; at < image.bytes(); at += memory::kPageBytes) {
    const std::byte* there = image.page(at);
    const std::byte* before = all_.image.memories[0]->page(at);
    if (before == nullptr) {
      EXPECT_TRUE(there == nullptr || is_zero_page(there)) << at;
    } else {
      ASSERT_NE(there, nullptr) << at;
      EXPECT_EQ(std::memcmp(there, before, memory::kPageBytes), 0) << at;
    }
  }
  EXPECT_EQ(bytes_of(after, GetParam()), bytes);
  // From each form to each other.
  for (const Made made : {Made::kVersion1, Made::kWire, Made::kZstd, Made::kLz4, Made::kMapped}) {
    EXPECT_EQ(bytes_of(after, made), bytes_of(all_, made)) << test::made_name(made);
  }
}

TEST_P(Version2Test, OnSeveralThreadsItIsTheSameFile) {
  std::vector<std::byte> memory(size_t{16} << 20);
  uint32_t random = 1;
  for (size_t at = 0; at < memory.size(); at += 3 + random % 29) {
    random = random * 1'664'525 + 1'013'904'223;
    if (at / 65536 % 5 != 0) memory[at] = static_cast<std::byte>(random >> 30);
  }
  const Contents contents = test::contents_without_engine(test::wasm("(module (memory 256))"), {memory});
  WriteOptions options = test::options_of(GetParam());
  options.level = 1;
  const std::vector<uint8_t> several = written(contents, options);
  options.parallel = false;
  EXPECT_EQ(written(contents, options), several);
  for (const bool parallel : {false, true}) {
    const Contents after =
        read(test::file_of(several).get(),
             {.proved = {}, .verified = {}, .find_module = {}, .parallel = parallel, .progress = {}})
            .value();
    EXPECT_EQ(written(after, options), several);
    for (size_t at = 0; at < memory.size(); at += memory::kPageBytes) {
      const std::byte* page = after.image.memories[0]->page(at);
      const std::vector<std::byte> zeros(memory::kPageBytes);
      ASSERT_EQ(std::memcmp(page == nullptr ? zeros.data() : page, memory.data() + at, memory::kPageBytes), 0)
          << at;
    }
  }
}

// Goal: there is no byte that nothing covers.  Every single bit of a small file of each form: refused, or,
// where it says the same in another way, the same.
TEST_P(Version2Test, EveryFlippedBitIsRefused) {
  std::vector<std::byte> memory(65536);
  for (size_t i = 0; i < 2000; i++) memory[i] = static_cast<std::byte>(i / 3);
  const Contents small =
      test::contents_without_engine(test::wasm("(module (memory (export \"memory\") 1))"), {memory});
  const std::vector<uint8_t> file = bytes_of(small, GetParam());
  const UniqueFd fd = test::file_of(file);
  const size_t step = test::kSanitized ? 11 : 1;
  size_t tried = 0;
  for (size_t bit = 0; bit < file.size() * 8; bit += step) {
    const size_t at = bit / 8;
    write_byte(fd, at, file[at] ^ (1 << (bit % 8)));
    const Result<Contents> result = test::read_fd(fd, Validation::kChecksum);
    ASSERT_FALSE(result.ok()) << at << "." << bit % 8;
    ASSERT_TRUE(result.code() == Code::kCorruption || result.code() == Code::kUnsupported ||
                result.code() == Code::kInvalidArgument)
        << at << ": " << result.status().message();
    ASSERT_NE(error_info(result.status()), nullptr);
    tried++;
    write_byte(fd, at, file[at]);
  }
  EXPECT_GT(tried, file.size() / 2);
  EXPECT_TRUE(test::read_fd(fd, Validation::kFull).ok());
}

TEST_P(Version2Test, EveryTruncationIsRefused) {
  const std::vector<uint8_t> file = bytes_of(all_, GetParam());
  const UniqueFd fd = test::file_of(file);
  for (size_t length = file.size(); length-- > 0;) {
    ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(length)), 0);
    const Result<Contents> result = test::read_fd(fd, Validation::kStructure);
    ASSERT_EQ(result.code(), Code::kCorruption) << length;
    if (length >= kSuperblockBytes) {
      const ErrorInfo* info = error_info(result.status());
      ASSERT_NE(info, nullptr);
      ASSERT_EQ(info->expected, fmt::format("{} bytes", file.size()));
      ASSERT_EQ(info->found, fmt::format("{} bytes", length));
    }
  }
}

// --- sections --------------------------------------------------------------------------------------------

TEST_F(Version2Test, ExportsAreTheModules) {
  ByteWriter right;
  right.u32(2).text("memory").text("memory 2..3 pages of 64 KiB").u32(0).u32(0);
  right.text("grow").text("func()").u32(0).u32(0);
  EXPECT_EQ(section(Section::kExports), right.take());

  const auto said = [&](const std::vector<ExportIndex::Export>& exports) {
    ByteWriter writer;
    writer.u32(static_cast<uint32_t>(exports.size()));
    for (const auto& it : exports) writer.text(it.name).text(it.type).u32(it.parameters).u32(it.results);
    return with(Section::kExports, writer.take());
  };
  const ExportIndex::Export memory{.name = "memory", .type = "memory 2..3 pages of 64 KiB"};
  const ExportIndex::Export grow{.name = "grow", .type = "func()"};
  EXPECT_EQ(said({memory, grow}), "");
  EXPECT_TRUE(says(said({grow, memory}), "these are not the module's"));
  EXPECT_TRUE(says(said({memory}), "these are not the module's"));
  EXPECT_TRUE(says(said({memory, grow, {.name = "more", .type = "func()"}}), "these are not the module's"));
  EXPECT_TRUE(says(said({memory, {.name = "grown", .type = "func()"}}), "these are not the module's"));
  EXPECT_TRUE(
      says(said({memory, {.name = "grow", .type = "func(i32)", .parameters = 1}}), "not the module's"));
  EXPECT_TRUE(says(said({memory, {.name = "grow", .type = "func()", .parameters = 1}}),
                   "parameters or results that the type does not have"));
  EXPECT_TRUE(
      says(said({memory, {.name = "grow", .type = "func()", .results = 1}}), "that the type does not have"));
  EXPECT_TRUE(says(said({memory, grow, grow}), "two exports of one name"));
  EXPECT_TRUE(says(said({}), "then there is no such section"));
  EXPECT_TRUE(says(with(Section::kExports, {}), "these are not the module's"));  // not there
  EXPECT_TRUE(
      says(with(Section::kExports, std::vector<uint8_t>{0xFF, 0xFF, 0xFF, 0xFF}), "a count is too large"));
  EXPECT_TRUE(
      says(with(Section::kExports, std::vector<uint8_t>{9, 0, 0, 0}), "fewer bytes than a count says"));
}

TEST_F(Version2Test, PresetsAreNamedAndOneIsTheDefault) {
  EXPECT_EQ(all_.presets.find("small")->options, std::vector<std::string>{"memory_bytes_max=1MiB"});
  EXPECT_EQ(all_.presets.find("none"), nullptr);
  const auto said = [&](const std::function<void(Presets&)>& change) {
    Presets presets = all_.presets;
    change(presets);
    return with(Section::kPresets, encode_presets(presets));
  };
  EXPECT_EQ(said([](Presets&) {}), "");
  EXPECT_EQ(said([](Presets& it) { it.default_preset = 0; }), "");
  EXPECT_TRUE(says(said([](Presets& it) { it.default_preset = 2; }), "the default is none of the presets"));
  EXPECT_TRUE(says(said([](Presets& it) { it.list.clear(); }), "the default is none of the presets"));
  const auto presets = [&](size_t count) {
    return said([&](Presets& it) {
      it.list.clear();
      for (size_t i = 0; i < count; i++) it.list.push_back({.name = std::to_string(i), .options = {}});
    });
  };
  EXPECT_EQ(presets(Presets::kPresetsMax), "");
  EXPECT_TRUE(says(presets(Presets::kPresetsMax + 1), "a count is too large"));
  const auto named = [&](const std::string& name) {
    return said([&](Presets& it) { it.list[0].name = name; });
  };
  EXPECT_EQ(named(std::string(Presets::kNameBytesMax, 'a')), "");
  EXPECT_TRUE(says(named(std::string(Presets::kNameBytesMax + 1, 'a')), "a text is too long"));
  for (const std::string name : {"", "a\n", "\xff", "\x7f"}) {
    EXPECT_TRUE(says(named(name), "a name that cannot be printed"));
  }
  EXPECT_TRUE(says(named("gr\u00f6\u00dfer"), "a preset twice"));
  const auto options = [&](std::vector<std::string> texts) {
    return said([&](Presets& it) { it.list[0].options = texts; });
  };
  EXPECT_EQ(options({}), "");
  EXPECT_EQ(options({"a=", "b=1=2"}), "");
  for (const std::string text : {"", "a", "=1"}) {
    EXPECT_TRUE(says(options({text}), "an option that is no name=value, or stands twice")) << text;
  }
  EXPECT_TRUE(says(options({"a=1", "b=2", "a=3"}), "stands twice"));
  EXPECT_EQ(options({"a=" + std::string(Presets::kOptionBytesMax - 2, 'x')}), "");
  EXPECT_TRUE(says(options({"a=" + std::string(Presets::kOptionBytesMax - 1, 'x')}), "a text is too long"));
  std::vector<std::string> many;
  for (size_t i = 0; i < Presets::kOptionsMax; i++) many.push_back(fmt::format("{}=", i));
  EXPECT_EQ(options(many), "");
  many.push_back("one=more");
  EXPECT_TRUE(says(options(many), "a count is too large"));
}

TEST_F(Version2Test, AHotSetAscendsWithinItsMemories) {
  using Runs = std::vector<HotRun>;
  const auto said = [&](const Runs& runs) { return with(Section::kHotSet, encode_hot_set(runs)); };
  EXPECT_EQ(said(all_.hot_set), "");
  EXPECT_EQ(said({{.memory = 0, .flags = 1, .first = 0, .pages = 32}}), "");
  EXPECT_EQ(said({{.memory = 0, .flags = 2, .first = 31, .pages = 1}}), "");
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 1, .first = 0, .pages = 33}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 1, .first = 32, .pages = 1}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 1, .first = UINT64_MAX, .pages = 2}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 1, .first = 1, .pages = UINT64_MAX}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 1, .first = 1, .pages = 0}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 1, .flags = 1, .first = 0, .pages = 1}}), "not in its memory"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 0, .first = 0, .pages = 1}}), "no such flags"));
  EXPECT_TRUE(says(said({{.memory = 0, .flags = 4, .first = 0, .pages = 1}}), "no such flags"));
  EXPECT_TRUE(
      says(said({{.flags = 1, .first = 1, .pages = 2}, {.flags = 2, .first = 2, .pages = 2}}), "ascend"));
  EXPECT_TRUE(
      says(said({{.flags = 1, .first = 4, .pages = 2}, {.flags = 2, .first = 2, .pages = 2}}), "ascend"));
  EXPECT_TRUE(says(said({{.flags = 1, .first = 1, .pages = 2}, {.flags = 1, .first = 3, .pages = 2}}),
                   "told as two"));
  EXPECT_EQ(said({{.flags = 1, .first = 1, .pages = 2}, {.flags = 2, .first = 3, .pages = 2}}), "");
  EXPECT_TRUE(
      says(with(Section::kHotSet, std::vector<uint8_t>{0, 0, 0, 0}), "then there is no such section"));
}

TEST_F(Version2Test, TheManifestSaysHowFarItClimbs) {
  const auto said = [&](const std::function<void(Manifest&)>& change) {
    Manifest manifest = decode_manifest(section(Section::kManifest), false).value();
    change(manifest);
    return with(Section::kManifest, encode_manifest(manifest));
  };
  for (const int tier : {0, 1, 2, 3}) {
    EXPECT_EQ(said([&](Manifest& it) { it.tier_max = static_cast<TierMax>(tier); }), "");
  }
  EXPECT_TRUE(
      says(said([](Manifest& it) { it.tier_max = static_cast<TierMax>(4); }), "there is no such tier"));
  EXPECT_TRUE(says(said([](Manifest& it) { it.with_module = false; }), "the module is in the file"));
  EXPECT_EQ(parse_tier_max("basic").value(), TierMax::kBasic);
  EXPECT_EQ(parse_tier_max("optimal").code(), Code::kInvalidArgument);
  for (const TierMax tier : {TierMax::kNone, TierMax::kBasic, TierMax::kAggressive, TierMax::kMax}) {
    EXPECT_EQ(parse_tier_max(tier_max_name(tier)).value(), tier);
  }
}

TEST_F(Version2Test, OptionsStandBeforeTheContents) {
  WriteOptions options = test::kUncompressed;
  options.tier_max = TierMax::kBasic;
  options.presets = Presets{.list = {{.name = "only", .options = {"a=b"}}}};
  const Contents changed = test::read_bytes(written(all_, options)).value();
  EXPECT_EQ(changed.manifest.tier_max, TierMax::kBasic);
  EXPECT_EQ(changed.presets, *options.presets);
  options.presets = Presets();
  EXPECT_TRUE(test::read_bytes(written(all_, options))->presets.empty());
  EXPECT_EQ(test::read_bytes(written(all_, test::kUncompressed))->presets, all_.presets);
}

TEST_F(Version2Test, WhatNobodyWouldReadIsNotWritten) {
  std::vector<Contents> wrong(6, all_);
  wrong[0].presets.default_preset = 9;
  wrong[1].hot_set.push_back({.memory = 7, .flags = 1, .first = 0, .pages = 1});
  wrong[2].manifest.tier_max = static_cast<TierMax>(9);
  wrong[3].presets.list[0].name = "a\nb";
  wrong[4].profile->functions[0].calls = 0;
  wrong[5].frames->functions = {{9, 5}};
  for (size_t i = 0; i < wrong.size(); i++) {
    const Result<Digest> result = write(wrong[i], folder_ / "wrong");
    EXPECT_EQ(result.code(), Code::kInvalidArgument) << i;
    ASSERT_NE(error_info(result.status()), nullptr);
    EXPECT_EQ(error_info(result.status())->kind, ErrorKind::kValidation);
    EXPECT_NE(error_info(result.status())->section, "");
  }
  for (const int level : {0, 10, -1}) {
    const Result<Digest> result = write(all_, folder_ / "wrong", {.level = level, .progress = {}});
    EXPECT_EQ(result.code(), Code::kInvalidArgument);
    EXPECT_EQ(error_info(result.status())->kind, ErrorKind::kConfiguration);
  }
  EXPECT_FALSE(fs::exists(folder_ / "wrong"));
}

// --- modules that are named by their hashes --------------------------------------------------------------

TEST_F(Version2Test, APinnedModuleIsFoundByItsHash) {
  WriteOptions options = test::kUncompressed;
  options.with_module = false;
  const std::vector<uint8_t> pinned = written(all_, options);
  EXPECT_EQ(test::table_entry(pinned, Section::kModule), 0u);
  EXPECT_EQ(test::table_entry(pinned, Section::kSource), 0u);
  EXPECT_LT(pinned.size(), file_.size());
  const Contents after = read_pinned(pinned, all_.source).value();
  EXPECT_TRUE(after.proved) << "it was prepared here";
  EXPECT_FALSE(after.manifest.with_module);
  EXPECT_EQ(after.prepared->wasm, all_.prepared->wasm);
  EXPECT_EQ(wasm::encode_prepared(*after.prepared), wasm::encode_prepared(*all_.prepared));
  EXPECT_EQ(written(after, options), pinned);
  EXPECT_EQ(written(after, test::kUncompressed), file_) << "and can be put in again";
}

TEST_F(Version2Test, APinnedModuleThatIsNotFoundIsNamed) {
  WriteOptions options = test::kUncompressed;
  options.with_module = false;
  const std::vector<uint8_t> pinned = written(all_, options);
  const Result<Contents> nobody = test::read_bytes(pinned);
  EXPECT_EQ(nobody.code(), Code::kUnavailable);
  EXPECT_TRUE(says(nobody.status().message(), all_.manifest.module.hex()));
  EXPECT_TRUE(says(nobody.status().message(), "nobody looked"));
  EXPECT_EQ(error_info(nobody.status())->expected, all_.manifest.module.hex());
  EXPECT_EQ(error_info(nobody.status())->kind, ErrorKind::kConfiguration);
  EXPECT_EQ(read_pinned(pinned, nullptr).code(), Code::kUnavailable);
  const auto other = std::make_shared<const std::vector<uint8_t>>(test::wasm("(module)"));
  const Result<Contents> another = read_pinned(pinned, other);
  EXPECT_EQ(another.code(), Code::kUnavailable);
  EXPECT_EQ(error_info(another.status())->found, sha256(*other).hex());
}

// What the file says of the module is held against what preparing it gives, at each level.
TEST_F(Version2Test, APinnedModuleIsThatOfTheFile) {
  WriteOptions options = test::kUncompressed;
  options.with_module = false;
  const std::vector<uint8_t> pinned = written(all_, options);
  const auto said = [&](const std::vector<uint8_t>& bytes) {
    const Result<Contents> result =
        read(test::file_of(bytes).get(), {.validation = Validation::kStructure,
                                          .proved = {},
                                          .verified = {},
                                          .find_module = [&](auto&&...) { return all_.source; },
                                          .progress = {}});
    return result.ok() ? std::string() : std::string(result.status().message());
  };
  EXPECT_EQ(said(pinned), "");
  Manifest manifest = decode_manifest(section_in(pinned, Section::kManifest), false).value();
  manifest.prepared.bytes[0]++;
  EXPECT_TRUE(says(said(test::with_section(pinned, Section::kManifest, encode_manifest(manifest))),
                   "preparing module"));
  manifest = decode_manifest(section_in(pinned, Section::kManifest), false).value();
  manifest.preparer++;
  EXPECT_TRUE(says(said(test::with_section(pinned, Section::kManifest, encode_manifest(manifest))),
                   "was prepared by preparer 4"));
  manifest.preparer--;
  manifest.with_module = true;
  EXPECT_TRUE(says(said(test::with_section(pinned, Section::kManifest, encode_manifest(manifest))),
                   "the module is not in the file"));
  EXPECT_TRUE(says(said(test::with_section(pinned, Section::kExports, {})), "section EXPORTS"));
}

// --- the mapped form -------------------------------------------------------------------------------------

class MappedFormTest : public Version2Test {
 protected:
  struct Entry {
    uint32_t kind;
    uint32_t pages;
    uint64_t at = 0;
  };
  static std::vector<uint8_t> index(const std::vector<std::vector<Entry>>& memories) {
    ByteWriter writer;
    writer.u32(static_cast<uint32_t>(memories.size()));
    for (const auto& runs : memories) {
      writer.u32(static_cast<uint32_t>(runs.size()));
      for (const Entry& run : runs) writer.u32(run.kind).u32(run.pages).u64(run.at);
    }
    return writer.take();
  }
  const std::vector<uint8_t> mapped_ = bytes_of(contents(), Made::kMapped);
};

TEST_F(MappedFormTest, PagesStandAsInMemory) {
  // Pages 0, 1 and 24 of 32 have data.
  EXPECT_EQ(section_in(mapped_, Section::kPageIndex), index({{{2, 25, 0}, {1, 7}}}));
  const Extent pages = test::extent_of(mapped_, Section::kPages);
  EXPECT_EQ(pages.bytes, 25u * 4096);
  EXPECT_EQ(pages.offset % 4096, 0u);
  EXPECT_EQ(mapped_[pages.offset + 5], 1);
  EXPECT_EQ(mapped_[pages.offset + 5000], 1);
  EXPECT_EQ(mapped_[pages.offset + 100'000], 1);
  EXPECT_EQ(std::count(mapped_.begin() + static_cast<ptrdiff_t>(pages.offset),
                       mapped_.begin() + static_cast<ptrdiff_t>(pages.end()), 0),
            static_cast<ptrdiff_t>(pages.bytes - 3));
}

// Two memories, one after the other; one of zeros, which takes up nothing.
TEST_F(MappedFormTest, MemoriesFollowEachOther) {
  std::vector<std::byte> first(65536);
  first[3 * 4096] = std::byte{1};
  std::vector<std::byte> second(65536);
  second[4096] = std::byte{2};
  const Contents contents =
      test::contents_without_engine(test::wasm("(module (memory 1) (memory 1) (memory 1))"),
                                    {first, std::vector<std::byte>(65536), second});
  const std::vector<uint8_t> file = bytes_of(contents, Made::kMapped);
  EXPECT_EQ(section_in(file, Section::kPageIndex),
            index({{{2, 4, 0}, {1, 12}}, {{1, 16}}, {{2, 2, 4}, {1, 14}}}));
  EXPECT_EQ(test::extent_of(file, Section::kPages).bytes, 6u * 4096);
  const Contents after = test::read_bytes(file).value();
  EXPECT_EQ(after.image.memories[0]->page(3 * 4096)[0], std::byte{1});
  EXPECT_EQ(after.image.memories[1]->mapped_bytes(), 0u);
  EXPECT_EQ(after.image.memories[2]->page(4096)[0], std::byte{2});
  EXPECT_EQ(bytes_of(after, Made::kMapped), file);

  const Contents nothing =
      test::contents_without_engine(test::wasm("(module (memory 1))"), {std::vector<std::byte>(65536)});
  const std::vector<uint8_t> empty = bytes_of(nothing, Made::kMapped);
  EXPECT_EQ(test::table_entry(empty, Section::kPages), 0u);
  EXPECT_TRUE(test::read_bytes(empty).ok());
  const Contents no_memory = test::contents_without_engine(test::wasm("(module)"), {});
  EXPECT_TRUE(test::read_bytes(bytes_of(no_memory, Made::kMapped)).ok());
}

TEST_F(MappedFormTest, WhatIsZerosTakesUpNoDisk) {
  std::vector<std::byte> memory(size_t{64} << 20);
  memory[5] = memory[memory.size() - 1] = std::byte{1};
  const Contents contents = test::contents_without_engine(test::wasm("(module (memory 1024))"), {memory});
  ASSERT_TRUE(write(contents, folder_ / "sparse", WriteOptions::local()).ok());
  EXPECT_GT(fs::file_size(folder_ / "sparse"), memory.size());
  struct stat info{};
  ASSERT_EQ(::stat((folder_ / "sparse").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 100'000);
  const Contents after = read(folder_ / "sparse", {.mapping = false, .progress = {}}).value();
  EXPECT_FALSE(after.load.mapped);
  EXPECT_LE(after.image.memories[0]->held_bytes(), 2u * 4096);
  EXPECT_EQ(after.image.memories[0]->page(memory.size() - 4096)[4095], std::byte{1});
}

TEST_F(MappedFormTest, TheIndexHasNoOtherForm) {
  const auto said = [&](const std::vector<std::vector<Entry>>& memories) {
    return refused(test::with_section(mapped_, Section::kPageIndex, index(memories)), Code::kCorruption,
                   Validation::kChecksum);
  };
  EXPECT_EQ(said({{{2, 25, 0}, {1, 7}}}), "");
  EXPECT_EQ(said({{{2, 25, 0}, {1, 23}}}), "");  // a longer memory
  EXPECT_TRUE(says(said({{{2, 2, 0}, {1, 22}, {2, 1, 24}, {1, 7}}}), "zeros that are not the end"));
  EXPECT_TRUE(says(said({{{1, 1}, {2, 24, 1}, {1, 7}}}), "zeros that are not the end"));
  EXPECT_TRUE(says(said({{{2, 25, 1}, {1, 7}}}), "do not stand where they stand in memory"));
  EXPECT_TRUE(says(said({{{2, 24, 0}, {1, 8}}}), "24 pages, PAGES has 102400 bytes"));
  EXPECT_TRUE(says(said({{{2, 26, 0}, {1, 6}}}), "26 pages, PAGES has 102400 bytes"));
  EXPECT_TRUE(says(said({{{1, 32}}}), "0 pages, PAGES has"));
  EXPECT_TRUE(says(said({{{2, 10, 0}, {2, 15, 10}, {1, 7}}}), "told as two"));
}

TEST_F(MappedFormTest, PagesAreNotCompressed) {
  std::vector<uint8_t> bytes = mapped_;
  const size_t entry = test::table_entry(bytes, Section::kPages);
  test::put(bytes, entry + 4, uint32_t{1});
  test::put(bytes, entry + 24, test::get<uint64_t>(bytes, entry + 16) + 4096);
  test::reseal(bytes);
  EXPECT_TRUE(says(refused(bytes, Code::kCorruption), "section PAGES is compressed, and must not be"));
  // All else may be.
  const std::vector<uint8_t> some = written(all_, {.form = Form::kMapped, .progress = {}});
  EXPECT_EQ(test::extent_of(some, Section::kManifest).codec, Codec::kZstd);
  EXPECT_EQ(test::extent_of(some, Section::kPages).codec, Codec::kRaw);
  EXPECT_TRUE(test::read_bytes(some).ok());
}

// Of a derived image, what is its base's is a hole in its own file.
TEST_F(MappedFormTest, ADerivedImageKeepsItsPlaces) {
  constexpr size_t kPages = 64;
  std::vector<std::byte> memory(kPages * memory::kPageBytes);
  for (size_t at = 0; at < memory.size() / 2; at += 64) memory[at] = std::byte{7};
  const std::vector<uint8_t> source = test::wasm("(module (memory 1))");
  const Contents base =
      test::read_bytes(bytes_of(test::contents_without_engine(source, {memory}), Made::kMapped)).value();
  memory[20 * memory::kPageBytes] = std::byte{1};
  Contents contents = test::contents_without_engine(source, {});
  contents.image.memories.push_back(memory::PageImage::create(memory, base.image.memories[0]).value());
  contents.base = base.id;
  const std::vector<uint8_t> file = bytes_of(contents, Made::kMapped);
  EXPECT_EQ(section_in(file, Section::kPageIndex), index({{{3, 20}, {2, 1, 20}, {3, 11}, {1, 32}}}));
  EXPECT_EQ(test::extent_of(file, Section::kPages).bytes, 21u * 4096);
  const auto read_it = [&](std::span<const uint8_t> bytes) {
    return read(test::file_of(bytes).get(), {.base = &base});
  };
  const Contents after = read_it(file).value();
  EXPECT_EQ(after.image.memories[0]->base(), base.image.memories[0]);
  EXPECT_EQ(after.image.memories[0]->held_bytes(), memory::kPageBytes);
  EXPECT_EQ(after.image.memories[0]->page(20 * memory::kPageBytes)[0], std::byte{1});
  EXPECT_EQ(bytes_of(after, Made::kMapped), file);
  EXPECT_EQ(bytes_of(after, Made::kWire), bytes_of(contents, Made::kWire));
  // What is in no run must be zeros.
  std::vector<uint8_t> pages = section_in(file, Section::kPages);
  pages[3 * memory::kPageBytes + 1] = 1;
  const Result<Contents> hidden = read_it(test::with_section(file, Section::kPages, pages));
  EXPECT_EQ(hidden.code(), Code::kCorruption);
  EXPECT_TRUE(says(hidden.status().message(), "at byte 12288: a page of no memory is not zeros"));
}

// --- compression -----------------------------------------------------------------------------------------

class CompressionTest : public Version2Test {
 protected:
  // 1 MiB of a memory; each 64 KiB by what `fill` says of it.
  static Contents memory_of(const std::function<void(size_t frame, std::span<std::byte>)>& fill) {
    std::vector<std::byte> memory(size_t{1} << 20);
    for (size_t i = 0; i < memory.size() / kFrameBytes; i++)
      fill(i, std::span(memory).subspan(i * kFrameBytes, kFrameBytes));
    return test::contents_without_engine(test::wasm("(module (memory 16))"), {memory});
  }
  static void noise(size_t seed, std::span<std::byte> frame) {
    auto random = static_cast<uint32_t>(seed + 1);
    for (std::byte& byte : frame) {
      random = random * 1'664'525 + 1'013'904'223;
      byte = static_cast<std::byte>(random >> 24);
    }
  }
  static void text(size_t seed, std::span<std::byte> frame) {
    for (size_t i = 0; i < frame.size(); i++)
      frame[i] = static_cast<std::byte>("spore snapshots "[(i + seed) % 16]);
  }
};

TEST_F(CompressionTest, EachFrameIsCompressedWhereItIsWorthIt) {
  const Contents mixed =
      memory_of([](size_t i, auto frame) { i % 2 == 0 ? noise(i, frame) : text(i, frame); });
  for (const Compression compression : {Compression::kAuto, Compression::kZstd, Compression::kLz4}) {
    const std::vector<uint8_t> file = written(mixed, {.compression = compression, .progress = {}});
    const Extent pages = test::extent_of(file, Section::kPages);
    EXPECT_EQ(pages.codec, compression == Compression::kLz4 ? Codec::kLz4 : Codec::kZstd);
    EXPECT_EQ(pages.raw_bytes, size_t{1} << 20);
    for (size_t i = 0; i < 16; i++) {
      const auto entry = test::get<uint32_t>(file, pages.offset + 4 * i);
      EXPECT_EQ(entry >> 31, i % 2 == 0 ? 1u : 0u) << i;
      EXPECT_TRUE(i % 2 != 0 || (entry & ~kRawFrame) == kFrameBytes);
    }
    EXPECT_EQ(written(test::read_bytes(file).value(), test::kUncompressed),
              written(mixed, test::kUncompressed));
  }
  const Contents random = memory_of(noise);
  EXPECT_EQ(test::extent_of(written(random, {.progress = {}}), Section::kPages).codec, Codec::kRaw);
  EXPECT_EQ(
      test::extent_of(written(random, {.compression = Compression::kZstd, .progress = {}}), Section::kPages)
          .codec,
      Codec::kRaw);
  const std::vector<uint8_t> none = written(mixed, test::kUncompressed);
  for (const Section section : section_order(2)) EXPECT_EQ(test::extent_of(none, section).codec, Codec::kRaw);
}

// `auto` leaves what becomes smaller by less than 1.15; zstd takes it.
TEST_F(CompressionTest, AutoWantsMore) {
  const Contents hardly = memory_of([](size_t i, std::span<std::byte> frame) {
    noise(i, frame);
    std::ranges::fill(frame.first(frame.size() / 20), std::byte{0});
  });
  EXPECT_EQ(test::extent_of(written(hardly, {.progress = {}}), Section::kPages).codec, Codec::kRaw);
  const Extent pages =
      test::extent_of(written(hardly, {.compression = Compression::kZstd, .progress = {}}), Section::kPages);
  EXPECT_EQ(pages.codec, Codec::kZstd);
  EXPECT_LT(pages.bytes, pages.raw_bytes);
}

TEST_F(CompressionTest, AHigherLevelIsSmaller) {
  // Words in any order: who looks longer finds longer ones.
  const Contents contents = memory_of([](size_t i, std::span<std::byte> frame) {
    std::vector<std::byte> words(4096);
    noise(1, words);
    for (size_t at = 0, n = i; at < frame.size(); n++) {
      const size_t bytes = std::min<size_t>(5 + n % 11, frame.size() - at);
      std::copy_n(words.begin() + static_cast<ptrdiff_t>(n * n * 7919 % 4001), bytes,
                  frame.begin() + static_cast<ptrdiff_t>(at));
      at += bytes;
    }
  });
  for (const Compression compression : {Compression::kZstd, Compression::kLz4}) {
    const std::vector<uint8_t> first =
        written(contents, {.compression = compression, .level = 1, .progress = {}});
    const std::vector<uint8_t> last =
        written(contents, {.compression = compression, .level = 9, .progress = {}});
    EXPECT_LT(last.size(), first.size());
    EXPECT_TRUE(test::read_bytes(last).ok());
  }
}

// Goal: a small file does not take up much memory.  Raw lengths are held against the limits before anything
// is allocated by them, and a frame that gives another length is refused.
TEST_F(CompressionTest, BombsAreRefused) {
  const Contents zeros =
      memory_of([](size_t, std::span<std::byte> frame) { std::ranges::fill(frame, std::byte{1}); });
  const std::vector<uint8_t> file = written(zeros, {.compression = Compression::kZstd, .progress = {}});
  const uint64_t raw = test::superblock_of(file).raw_bytes() + kSuperblockBytes;
  ASSERT_GT(raw, 20 * file.size());
  const auto with_limit = [&](uint64_t bytes_max) {
    return read(test::file_of(file).get(), {.file_bytes_max = bytes_max});
  };
  EXPECT_TRUE(with_limit(raw).ok());
  const Result<Contents> refused_one = with_limit(raw - 1);
  EXPECT_EQ(refused_one.code(), Code::kLimitExceeded);
  EXPECT_TRUE(says(refused_one.status().message(), "bytes decompressed, at most"));
  EXPECT_EQ(error_info(refused_one.status())->kind, ErrorKind::kConfiguration);
  // Lengths that lie, with all hashes right.
  const auto lie = [&](uint64_t raw_bytes, Code code) {
    std::vector<uint8_t> bytes = file;
    test::put(bytes, test::table_entry(bytes, Section::kPages) + 24, raw_bytes);
    test::reseal(bytes);
    return refused(bytes, code, Validation::kChecksum);
  };
  EXPECT_TRUE(says(lie(uint64_t{1} << 39, Code::kCorruption), "fewer bytes than it has frames"));
  EXPECT_TRUE(says(lie(UINT64_MAX, Code::kCorruption), "a section is too long"));
  EXPECT_TRUE(says(lie((uint64_t{1} << 20) + 4096, Code::kCorruption), "256 pages, PAGES has 1052672 bytes"));
  EXPECT_TRUE(says(lie((uint64_t{1} << 20) - 4096, Code::kCorruption), "256 pages, PAGES has 1044480 bytes"));
  // A frame of which the table says that it gives less, or more, than it does.
  const Extent pages = test::extent_of(file, Section::kPages);
  const std::vector<uint8_t> stored = section_in(file, Section::kPages);
  const FrameTable table =
      FrameTable::decode(std::span(stored).first(64), stored.size(), pages.raw_bytes).value();
  std::vector<uint8_t> changed = stored;
  FrameEncoder encoder = FrameEncoder::create(Codec::kZstd, 6).value();
  const std::vector<uint8_t> small(kFrameBytes - 1, 1);
  const auto frame = encoder.encode(small, small.size()).value();
  ASSERT_LE(frame.size(), table[3].bytes);
  changed.erase(changed.begin() + static_cast<ptrdiff_t>(table[3].offset),
                changed.begin() + static_cast<ptrdiff_t>(table[3].offset + table[3].bytes));
  changed.insert(changed.begin() + static_cast<ptrdiff_t>(table[3].offset), frame.begin(), frame.end());
  test::put(changed, 12, static_cast<uint32_t>(frame.size()));
  std::vector<test::SectionBytes> sections;
  for (const Extent& extent : test::superblock_of(file).sections) {
    if (extent.section == Section::kHashes) break;
    sections.push_back(
        {.section = extent.section,
         .bytes = extent.section == Section::kPages ? changed : section_in(file, extent.section),
         .codec = extent.codec,
         .raw_bytes = extent.raw_bytes});
  }
  const Result<Contents> result = test::read_bytes(test::file_with(test::superblock_of(file), sections));
  EXPECT_EQ(result.code(), Code::kCorruption);
  EXPECT_TRUE(says(result.status().message(),
                   "section PAGES: frame 3: a frame of 65536 bytes says that it gives 65535"));
  EXPECT_EQ(error_info(result.status())->kind, ErrorKind::kCompression);
  EXPECT_EQ(error_info(result.status())->section, "PAGES");
}

// Nothing is decompressed before its hash was compared, at any level.
TEST_F(CompressionTest, HashesComeFirst) {
  const Contents contents = memory_of(text);
  const std::vector<uint8_t> file = written(contents, {.compression = Compression::kZstd, .progress = {}});
  for (const Section section : {Section::kPages, Section::kSource, Section::kState}) {
    const Extent extent = test::extent_of(file, section);
    if (extent.codec == Codec::kRaw) continue;
    std::vector<uint8_t> bytes = file;
    bytes[extent.end() - 1] ^= 1;
    for (const Validation validation : {Validation::kStructure, Validation::kChecksum, Validation::kFull}) {
      EXPECT_TRUE(says(refused(bytes, Code::kCorruption, validation), "another hash"));
    }
  }
}

// --- what is told beside ---------------------------------------------------------------------------------

TEST_P(Version2Test, ProgressIsToldOnTheCallersThread) {
  std::vector<std::byte> memory(size_t{8} << 20, std::byte{3});
  memory[0] = std::byte{1};
  const Contents contents = test::contents_without_engine(test::wasm("(module (memory 128))"), {memory});
  const std::thread::id caller = std::this_thread::get_id();
  uint64_t last = 0;
  uint64_t all = 0;
  const Progress progress = [&](uint64_t done, uint64_t of) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_GE(done, last);
    EXPECT_LE(done, of);
    last = done;
    all = of;
  };
  WriteOptions options = test::options_of(GetParam());
  options.progress = progress;
  const std::vector<uint8_t> file = written(contents, options);
  EXPECT_GT(all, memory.size());
  EXPECT_EQ(last, all);
  last = all = 0;
  EXPECT_TRUE(
      read(test::file_of(file).get(), {.proved = {}, .verified = {}, .find_module = {}, .progress = progress})
          .ok());
  EXPECT_GT(all, memory.size());
  EXPECT_GT(last, memory.size());
}

TEST_P(Version2Test, ALoadIsMeasured) {
  const std::vector<uint8_t> file = bytes_of(all_, GetParam());
  const LoadStatistics load = test::read_bytes(file)->load;
  const Superblock superblock = test::superblock_of(file);
  EXPECT_GT(load.load_ns, 0u);
  EXPECT_GT(load.validate_ns, 0u);
  EXPECT_GT(load.initialise_ns, 0u);
  EXPECT_EQ(load.exports, 2u);
  EXPECT_EQ(load.raw_bytes, superblock.raw_bytes());
  EXPECT_FALSE(load.from_cache);
  const bool compressed = GetParam() == Made::kZstd || GetParam() == Made::kLz4;
  EXPECT_EQ(load.decompress_ns > 0, compressed);
  EXPECT_EQ(load.ratio() > 1.5, compressed) << load.ratio();
  EXPECT_GT(load.throughput(), 0);
  JsonWriter json;
  json.begin_object();
  load.write_json(json);
  json.end_object();
  EXPECT_TRUE(test::JsonCheck::is_json(json.take()));
}

TEST_P(Version2Test, ADescriptionSaysWhatIsInIt) {
  ASSERT_TRUE(write(all_, folder_ / "image", test::options_of(GetParam())).ok());
  const Description description = describe(folder_ / "image").value();
  EXPECT_EQ(description.version, 2u);
  EXPECT_EQ(description.kind, "base");
  EXPECT_EQ(description.form, GetParam() == Made::kMapped ? Form::kMapped : Form::kWire);
  EXPECT_EQ(description.exports->size(), 2u);
  EXPECT_EQ(description.presets, all_.presets);
  EXPECT_EQ(description.hot_pages, 10u);
  const std::string text = description.text();
  for (const std::string part :
       {"preset          small: memory_bytes_max=1MiB", " (the default): ", "exports         2",
        "hot set         10 pages", "climbs to       aggressive at most"}) {
    EXPECT_TRUE(says(text, part));
  }
  EXPECT_TRUE(GetParam() != Made::kZstd || says(text, ", zstd of "));
  JsonWriter writer;
  description.write_json(writer);
  const std::string json = writer.take();
  EXPECT_TRUE(test::JsonCheck::is_json(json)) << json;
  EXPECT_TRUE(says(json, "\"tier_max\": \"aggressive\""));
}

// Each failure says its kind, where it was found, what was expected and what was found.
TEST_F(Version2Test, ErrorsCarryTheirFacts) {
  const auto info = [](std::span<const uint8_t> bytes) {
    const Result<Contents> result = test::read_bytes(bytes);
    EXPECT_FALSE(result.ok());
    const ErrorInfo* found = error_info(result.status());
    EXPECT_NE(found, nullptr) << result.status().message();
    return found == nullptr ? ErrorFacts{} : ErrorFacts(*found);
  };
  std::vector<uint8_t> newer = file_;
  test::put(newer, 8, uint32_t{9});
  const ErrorFacts version = info(newer);
  EXPECT_EQ(version.kind, ErrorKind::kVersion);
  EXPECT_EQ(version.section, "superblock");
  EXPECT_EQ(version.offset, 8u);
  EXPECT_EQ(version.expected, "version 1 to 2");
  EXPECT_EQ(version.found, "version 9");

  std::vector<uint8_t> damaged = file_;
  const Extent pages = test::extent_of(file_, Section::kPages);
  damaged[pages.offset + 100] ^= 1;
  const ErrorFacts hash = info(damaged);
  EXPECT_EQ(hash.kind, ErrorKind::kCorruption);
  EXPECT_EQ(hash.section, "PAGES");
  EXPECT_EQ(hash.offset, 0u);
  EXPECT_EQ(hash.expected, sha256(section(Section::kPages)).hex());
  EXPECT_EQ(hash.found, sha256(std::span(damaged).subspan(pages.offset, pages.bytes)).hex());

  std::vector<uint8_t> state = section(Section::kState);
  state[4] = 9;
  const ErrorFacts field = info(test::with_section(file_, Section::kState, state));
  EXPECT_EQ(field.kind, ErrorKind::kFormat);
  EXPECT_EQ(field.section, "STATE");
  EXPECT_EQ(field.offset, 5u);

  const Result<Contents> missing = read(folder_ / "nothing");
  EXPECT_EQ(error_info(missing.status())->kind, ErrorKind::kIo);
  EXPECT_EQ(error_info(read(folder_).status())->kind, ErrorKind::kValidation);
  EXPECT_EQ(error_info(write(all_, folder_ / "no/folder").status())->kind, ErrorKind::kIo);
  const Result<Contents> limit = read(test::file_of(file_).get(), {.file_bytes_max = 5000});
  EXPECT_EQ(error_info(limit.status())->expected, "at most 5000 bytes");
  for (const ErrorKind kind :
       {ErrorKind::kIo, ErrorKind::kFormat, ErrorKind::kCompression, ErrorKind::kValidation,
        ErrorKind::kVersion, ErrorKind::kCorruption, ErrorKind::kConfiguration}) {
    EXPECT_NE(error_kind_name(kind), "?");
  }
  EXPECT_EQ(error_info(Status::internal("of somebody else")), nullptr);
}

TEST_F(Version2Test, NamesOfOptionsAreTakenBack) {
  for (const Compression it :
       {Compression::kAuto, Compression::kNone, Compression::kZstd, Compression::kLz4}) {
    EXPECT_EQ(parse_compression(compression_name(it)).value(), it);
  }
  EXPECT_EQ(parse_compression("gzip").code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace spore::snapshot
