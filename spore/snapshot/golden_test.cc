// Files of each version and kind, as they were written when it was released: they stay in tests/data for
// ever, are read, and are written again byte for byte.
//
// snapshot-v1-preparerN.spore, snapshot-v2-preparerN-KIND.spore: one for each version of the preparer; the
// latest are made by these tests when SPORE_NEW_GOLDEN is set.

#include <zstd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/snapshot/delta_file.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

class GoldenTest : public test::SnapshotFormat {
 protected:
  static fs::path golden(int version, uint32_t preparer, std::string_view kind = "") {
    return fs::path(SPORE_SOURCE_DIR "/tests/data") /
           fmt::format("snapshot-v{}-preparer{}{}{}.spore", version, preparer, kind.empty() ? "" : "-", kind);
  }
  // The bytes of that file, which is made of `made` if they are asked for.
  static std::vector<uint8_t> golden_bytes(const fs::path& path, const std::vector<uint8_t>& made) {
    if (std::getenv("SPORE_NEW_GOLDEN") != nullptr) {
      EXPECT_TRUE(write_file(path, made).ok());
    }
    EXPECT_TRUE(fs::exists(path)) << path << ": there is none for this version of the preparer: see above";
    return read_file(path, size_t{1} << 20).value();
  }
  std::vector<uint8_t> written(const Contents& contents, const WriteOptions& options) const {
    return test::written_bytes(contents, folder_ / "image", options).value();
  }

  // Small in the mapped form, too.
  static Contents base() {
    Contents contents = contents_of_version_2();
    std::vector<std::byte> memory(size_t{2} * 65536);
    memory[5] = memory[5000] = memory[17'000] = std::byte{1};
    std::fill_n(memory.begin() + 6000, 300, std::byte{7});
    contents.image.memories = {memory::PageImage::create(memory).value()};
    return contents;
  }
  static Contents derived_from(const Contents& below) {
    Contents contents = base();
    std::vector<std::byte> memory(size_t{2} * 65536);
    std::memcpy(memory.data(), below.image.memories[0]->page(0), memory::kPageBytes);
    memory[memory::kPageBytes + 9] = memory[70'000] = std::byte{3};
    contents.image.memories = {memory::PageImage::create(memory, below.image.memories[0]).value()};
    contents.base = below.id;
    contents.manifest.base_file = "../base.spore";
    return contents;
  }
  static void expect_base(const Contents& contents) {
    EXPECT_EQ(contents.manifest.name, "guest");
    EXPECT_EQ(contents.manifest.tier_max, TierMax::kAggressive);
    EXPECT_EQ(contents.manifest.entropy_bytes, 16u);
    EXPECT_EQ(contents.frames, (Frames{.address = 4000, .borrowed = {1, 2, 3}, .functions = {{5, 9}}}));
    EXPECT_EQ(contents.presets, base().presets);
    EXPECT_EQ(contents.hot_set, base().hot_set);
    EXPECT_EQ(contents.profile, base().profile);
    EXPECT_EQ(contents.image.memories[0]->page(4096)[5000 - 4096], std::byte{1});
    EXPECT_EQ(contents.image.values.tables[0][1], contents.prepared->table_functions[0]);
    ASSERT_NE(contents.exports->find("grow"), nullptr);
    EXPECT_EQ(contents.exports->find("grow")->type, "func()");
  }
};

TEST_F(GoldenTest, Version1IsAsItWas) {
  const fs::path path = golden(1, wasm::kPreparerVersion);
  const std::vector<uint8_t> made = test::bytes_of_version_1(contents());
  const std::vector<uint8_t> bytes = golden_bytes(path, made);
  EXPECT_EQ(made, bytes);
  const Result<Contents> contents = snapshot::read(path);
  ASSERT_TRUE(contents.ok()) << contents.status().message();
  EXPECT_EQ(test::bytes_of_version_1(contents.value()), bytes) << "a file that was read is another image";
  EXPECT_EQ(contents->manifest.name, "guest");
  EXPECT_EQ(contents->manifest.tier_max, TierMax::kMax);
  EXPECT_TRUE(contents->manifest.with_module);
  EXPECT_EQ(contents->frames, (Frames{.address = 4000, .borrowed = {1, 2, 3}, .functions = {{5, 9}}}));
  EXPECT_EQ(contents->image.memories[0]->page(4096)[5000 - 4096], std::byte{1});
  EXPECT_EQ(contents->image.values.tables[0][1], contents->prepared->table_functions[0]);
  EXPECT_EQ(contents->exports->size(), 2u);
  // And it can be written as version 2, and is the same image there.
  const std::vector<uint8_t> second = written(contents.value(), test::kUncompressed);
  EXPECT_EQ(test::bytes_of_version_1(test::read_bytes(second).value()), bytes);
}

TEST_F(GoldenTest, Version2IsAsItWas) {
  struct Kind {
    std::string_view name;
    WriteOptions options;
  };
  const WriteOptions raw = test::kUncompressed;
  WriteOptions pinned = raw;
  pinned.with_module = false;
  for (const Kind& kind :
       {Kind{"base-wire", raw}, Kind{"base-mapped", WriteOptions::local()}, Kind{"base-pinned", pinned}}) {
    const fs::path path = golden(2, wasm::kPreparerVersion, kind.name);
    const std::vector<uint8_t> made = written(base(), kind.options);
    const std::vector<uint8_t> bytes = golden_bytes(path, made);
    EXPECT_EQ(made, bytes) << kind.name;
    const auto source = base().source;
    const Result<Contents> contents = snapshot::read(
        path,
        {.proved = {}, .verified = {}, .find_module = [&](auto&&...) { return source; }, .progress = {}});
    ASSERT_TRUE(contents.ok()) << contents.status().message();
    expect_base(contents.value());
    EXPECT_EQ(written(contents.value(), kind.options), bytes) << kind.name;
    for (const WriteOptions& options : {raw, WriteOptions::local()}) {
      const std::string derived_name = fmt::format("derived-{}", form_name(options.form));
      if (kind.name != "base-wire") continue;
      const std::vector<uint8_t> above = written(derived_from(contents.value()), options);
      const fs::path derived = golden(2, wasm::kPreparerVersion, derived_name);
      EXPECT_EQ(golden_bytes(derived, above), above);
      const Result<Contents> again = snapshot::read(derived, {.base = &contents.value()});
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(again->base, contents->id);
      EXPECT_EQ(again->manifest.base_file, "../base.spore");
      EXPECT_EQ(again->image.memories[0]->page(4096)[9], std::byte{3});
      EXPECT_EQ(written(again.value(), options), above);
    }
  }
}

// What a compressor gives may change with its version: then the file is read all the same, and what is
// written holds the same.
TEST_F(GoldenTest, WhatWasCompressedIsReadForEver) {
  constexpr unsigned kZstdVersion = 10'504;  // that made the files
  for (const auto& [name, compression] :
       {std::pair("base-zstd", Compression::kZstd), std::pair("base-lz4", Compression::kLz4)}) {
    const WriteOptions options{.compression = compression, .progress = {}};
    const fs::path path = golden(2, wasm::kPreparerVersion, name);
    const std::vector<uint8_t> made = written(base(), options);
    const std::vector<uint8_t> bytes = golden_bytes(path, made);
    const Result<Contents> contents = snapshot::read(path);
    ASSERT_TRUE(contents.ok()) << contents.status().message();
    expect_base(contents.value());
    EXPECT_EQ(test::extent_of(bytes, Section::kPages).codec,
              compression == Compression::kZstd ? Codec::kZstd : Codec::kLz4);
    EXPECT_EQ(written(contents.value(), test::kUncompressed), written(base(), test::kUncompressed));
    if (compression == Compression::kZstd && ZSTD_versionNumber() != kZstdVersion) continue;
    EXPECT_EQ(made, bytes);
    EXPECT_EQ(written(contents.value(), options), bytes);
  }
}

TEST_F(GoldenTest, ADeltaIsAsItWas) {
  DeltaFile delta{.cell = "a cell",
                  .domain = "tests",
                  .sequence = 12,
                  .base_sequence = 9,
                  .parent = sha256(std::vector<uint8_t>{1}),
                  .base = sha256(std::vector<uint8_t>{2}),
                  .module = sha256(std::vector<uint8_t>{3}),
                  .memory_bytes = 131'072,
                  .created_s = 1'700'000'000,
                  .dirty_pages = 3,
                  .delta = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};
  const fs::path path = fs::path(SPORE_SOURCE_DIR "/tests/data") / "snapshot-v2-delta.spore";
  const DeltaFile written_delta = write_delta(delta, folder_ / "delta", test::kUncompressed).value();
  const std::vector<uint8_t> made = read_file(folder_ / "delta", 1 << 20).value();
  const std::vector<uint8_t> bytes = golden_bytes(path, made);
  EXPECT_EQ(made, bytes);
  const Result<DeltaFile> read = read_delta(path);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(read->id, written_delta.id);
  EXPECT_EQ(read->cell, "a cell");
  EXPECT_EQ(read->domain, "tests");
  EXPECT_EQ(read->sequence, 12u);
  EXPECT_EQ(read->base_sequence, 9u);
  EXPECT_EQ(read->parent, delta.parent);
  EXPECT_EQ(read->base, delta.base);
  EXPECT_EQ(read->module, delta.module);
  EXPECT_EQ(read->memory_bytes, 131'072u);
  EXPECT_EQ(read->created_s, 1'700'000'000u);
  EXPECT_EQ(read->dirty_pages, 3u);
  EXPECT_EQ(read->delta, delta.delta);
  EXPECT_EQ(read->state, sha256(delta.delta));
}

// What an older preparer made can be described, and says why it is not taken.
TEST_F(GoldenTest, FilesOfOlderPreparersAreToldAsSuch) {
  size_t found = 0;
  for (const auto& entry : fs::directory_iterator(SPORE_SOURCE_DIR "/tests/data")) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("snapshot-v1-preparer") && !name.starts_with("snapshot-v2-preparer")) continue;
    found++;
    const Result<Description> description = describe(entry.path());
    ASSERT_TRUE(description.ok()) << name << ": " << description.status().message();
    EXPECT_TRUE(name.starts_with(
        golden(static_cast<int>(description->version), description->manifest.preparer).stem().native()));
    const Code code = snapshot::read(entry.path()).code();
    const bool ours = description->manifest.preparer == wasm::kPreparerVersion;
    const bool alone = !description->base && description->manifest.with_module;
    const Code expected = ours ? (alone ? Code::kOk : Code::kUnavailable) : Code::kUnsupported;
    if (ours || alone) {
      EXPECT_EQ(code_name(code), code_name(expected)) << name;
    } else {
      EXPECT_NE(code, Code::kOk) << name;
    }
  }
  EXPECT_GE(found, 8u);
}

}  // namespace
}  // namespace spore::snapshot
