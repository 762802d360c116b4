// Deltas as files, and which of them make a chain.

#include "spore/snapshot/delta_file.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/bytes.h"
#include "tests/json_check.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;
using test::says;

Digest digest_of(uint8_t number) { return sha256(std::vector<uint8_t>{number}); }

DeltaFile small_delta() {
  DeltaFile delta{.cell = "cell 7",
                  .domain = "tenant",
                  .sequence = 5,
                  .base_sequence = 3,
                  .parent = digest_of(1),
                  .base = digest_of(2),
                  .module = digest_of(3),
                  .memory_bytes = 1 << 20,
                  .created_s = 1'700'000'000,
                  .dirty_pages = 2,
                  .delta = std::vector<uint8_t>(100)};
  for (size_t i = 0; i < delta.delta.size(); i++) delta.delta[i] = static_cast<uint8_t>(i * i + 7);
  return delta;
}

class DeltaFileTest : public testing::Test {
 protected:
  ~DeltaFileTest() override { fs::remove_all(folder_); }

  std::vector<uint8_t> written(const DeltaFile& delta, const WriteOptions& options = {.progress = {}}) const {
    const Result<DeltaFile> file = write_delta(delta, folder_ / "delta", options);
    EXPECT_TRUE(file.ok()) << file.status().message();
    return read_file(folder_ / "delta", size_t{1} << 30).value();
  }
  static Result<DeltaFile> read_bytes(std::span<const uint8_t> bytes) {
    return read_delta(test::file_of(bytes).get());
  }
  static std::string refused(std::span<const uint8_t> bytes, Code code = Code::kCorruption) {
    const Result<DeltaFile> result = read_bytes(bytes);
    if (result.ok()) return "";
    EXPECT_EQ(code_name(result.code()), code_name(code)) << result.status().message();
    EXPECT_NE(error_info(result.status()), nullptr);
    return std::string(result.status().message());
  }

  const fs::path folder_ = test::new_folder();
};

TEST_F(DeltaFileTest, AllOfItComesBack) {
  const DeltaFile before = write_delta(small_delta(), folder_ / "delta").value();
  const DeltaFile after = read_delta(folder_ / "delta").value();
  EXPECT_EQ(after.id, before.id);
  EXPECT_EQ(after.cell, "cell 7");
  EXPECT_EQ(after.domain, "tenant");
  EXPECT_EQ(after.sequence, 5u);
  EXPECT_EQ(after.base_sequence, 3u);
  EXPECT_EQ(after.parent, digest_of(1));
  EXPECT_EQ(after.base, digest_of(2));
  EXPECT_EQ(after.module, digest_of(3));
  EXPECT_EQ(after.memory_bytes, 1u << 20);
  EXPECT_EQ(after.created_s, 1'700'000'000u);
  EXPECT_EQ(after.dirty_pages, 2u);
  EXPECT_EQ(after.delta, small_delta().delta);
  EXPECT_EQ(after.state, sha256(after.delta));
  EXPECT_EQ(after.state, before.state);
  EXPECT_EQ(after.raw_bytes(), 100u);
  EXPECT_EQ(after.packed_bytes, 100u);
  EXPECT_EQ(after.ratio(), 1);
  EXPECT_EQ(written(after), written(small_delta()));
}

// Byte for byte as the document has it.
TEST_F(DeltaFileTest, ASmallDeltaIsASmallFile) {
  const std::vector<uint8_t> bytes = written(small_delta());
  EXPECT_LE(bytes.size(), 4096u + 400u);
  EXPECT_EQ(test::get<uint32_t>(bytes, 8), 2u);
  EXPECT_EQ(test::get<uint32_t>(bytes, 12), 2u);
  EXPECT_EQ(test::get<uint32_t>(bytes, 28), 3u);
  EXPECT_EQ(test::get<uint64_t>(bytes, 32), 5u);
  EXPECT_EQ(test::get<Digest>(bytes, 72), digest_of(1));
  ByteWriter manifest;
  manifest.text("cell 7").text("tenant").u64(3);
  for (const uint8_t byte : digest_of(2).bytes) manifest.u8(byte);
  for (const uint8_t byte : digest_of(3).bytes) manifest.u8(byte);
  manifest.u64(1 << 20).u64(1'700'000'000).u64(2);
  for (const uint8_t byte : sha256(small_delta().delta).bytes) manifest.u8(byte);
  const Extent extent = test::extent_of(bytes, Section::kManifest);
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin() + 4096, bytes.begin() + static_cast<ptrdiff_t>(extent.end())),
            manifest.take());
  EXPECT_EQ(test::get<uint32_t>(bytes, 104 + 40), 12u);
  EXPECT_EQ(test::get<uint32_t>(bytes, 104 + 80), 7u);
}

TEST_F(DeltaFileTest, ALargeOneIsCompressed) {
  DeltaFile large = small_delta();
  large.delta.resize(300'000);
  for (size_t i = 0; i < large.delta.size(); i++) large.delta[i] = static_cast<uint8_t>(i / 100);
  for (const Compression compression : {Compression::kAuto, Compression::kLz4}) {
    const std::vector<uint8_t> bytes = written(large, {.compression = compression, .progress = {}});
    EXPECT_LT(bytes.size(), 30'000u);
    const DeltaFile after = read_bytes(bytes).value();
    EXPECT_EQ(after.delta, large.delta);
    EXPECT_GT(after.ratio(), 10);
    EXPECT_EQ(after.packed_bytes, test::extent_of(bytes, Section::kDelta).bytes);
  }
  const Result<DeltaFile> limited =
      read_delta(test::file_of(written(large)).get(), {.file_bytes_max = 100'000});
  EXPECT_EQ(limited.code(), Code::kLimitExceeded) << "decompressed it is longer";
}

TEST_F(DeltaFileTest, WhatIsNoDeltaIsNotWritten) {
  const auto refused_with = [&](const std::function<void(DeltaFile&)>& change) {
    DeltaFile delta = small_delta();
    change(delta);
    const Result<DeltaFile> result = write_delta(delta, folder_ / "wrong");
    EXPECT_EQ(result.code(), Code::kInvalidArgument);
    EXPECT_NE(error_info(result.status()), nullptr);
    return std::string(result.status().message());
  };
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.delta.clear(); }), "of no bytes"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.cell.clear(); }), "a cell that cannot be named"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.cell = "\xff"; }), "a cell that cannot be named"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.cell = std::string(1025, 'a'); }), "cannot be named"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.sequence = 3; }), "of sequence 3 on an image of 3"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.sequence = 0; }), "of sequence 0"));
  EXPECT_TRUE(says(refused_with([](DeltaFile& it) { it.parent = {}; }), "follows nothing"));
  EXPECT_TRUE(
      says(refused_with([](DeltaFile& it) { it.domain = std::string((1 << 20) + 1, 'a'); }), "too long"));
  EXPECT_EQ(write_delta(small_delta(), folder_ / "wrong", WriteOptions::local()).code(),
            Code::kInvalidArgument);
  EXPECT_EQ(write_delta(small_delta(), folder_ / "no/folder").code(), Code::kNotFound);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 0);
  DeltaFile longest = small_delta();
  longest.cell = std::string(1024, 'a');
  EXPECT_TRUE(write_delta(longest, folder_ / "right").ok());
}

TEST_F(DeltaFileTest, AnImageIsNoDeltaAndADeltaNoImage) {
  const std::vector<uint8_t> image =
      test::written_bytes(test::contents_without_engine(test::wasm("(module)"), {}), folder_ / "image")
          .value();
  EXPECT_TRUE(says(refused(image, Code::kInvalidArgument), "this is an image, not a delta"));
  const Result<Contents> result = test::read_bytes(written(small_delta()));
  EXPECT_EQ(result.code(), Code::kInvalidArgument);
  EXPECT_TRUE(says(result.status().message(), "this is a delta, not an image"));
  EXPECT_EQ(read_delta(folder_ / "nothing").code(), Code::kNotFound);
  EXPECT_EQ(read_delta(folder_).code(), Code::kInvalidArgument);
}

TEST_F(DeltaFileTest, EveryFlippedBitAndEveryTruncationIsRefused) {
  const std::vector<uint8_t> bytes = written(small_delta());
  const UniqueFd fd = test::file_of(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; bit++) {
    const auto flipped = static_cast<uint8_t>(bytes[bit / 8] ^ (1U << (bit % 8)));
    ASSERT_EQ(::pwrite(fd.get(), &flipped, 1, static_cast<off_t>(bit / 8)), 1);
    const Result<DeltaFile> result = read_delta(fd.get());
    ASSERT_FALSE(result.ok()) << bit / 8 << "." << bit % 8;
    ASSERT_NE(error_info(result.status()), nullptr);
    ASSERT_EQ(::pwrite(fd.get(), &bytes[bit / 8], 1, static_cast<off_t>(bit / 8)), 1);
  }
  EXPECT_TRUE(read_delta(fd.get()).ok());
  for (size_t length = 0; length < bytes.size(); length++) {
    ASSERT_NE(refused(std::span(bytes).first(length)), "") << length;
  }
}

// With all hashes right.
TEST_F(DeltaFileTest, FieldsAreWhatTheyCanBe) {
  const std::vector<uint8_t> bytes = written(small_delta());
  const auto with = [&](const std::function<void(DeltaFile&)>& change) {
    DeltaFile delta = read_bytes(bytes).value();
    change(delta);
    return refused(test::with_section(bytes, Section::kManifest, encode_delta_manifest(delta)));
  };
  EXPECT_EQ(with([](DeltaFile&) {}), "");
  EXPECT_EQ(with([](DeltaFile& it) { it.base_sequence = 4; }), "");
  EXPECT_TRUE(
      says(with([](DeltaFile& it) { it.base_sequence = 5; }), "a delta of sequence 5 on an image of 5"));
  EXPECT_TRUE(says(with([](DeltaFile& it) { it.cell.clear(); }), "a cell that cannot be named"));
  EXPECT_TRUE(says(with([](DeltaFile& it) { it.cell = std::string(1025, 'a'); }), "a text is too long"));
  EXPECT_TRUE(says(with([](DeltaFile& it) { it.state.bytes[0]++; }), "section DELTA: it is"));
  const auto other = [&](size_t at, auto to, Code code = Code::kCorruption) {
    std::vector<uint8_t> changed = bytes;
    test::put(changed, at, to);
    test::reseal(changed);
    return refused(changed, code);
  };
  EXPECT_TRUE(says(other(32, uint64_t{0}), "a delta has a sequence number"));
  EXPECT_EQ(other(32, UINT64_MAX), "");
  EXPECT_TRUE(says(other(24, uint32_t{1}), "a delta in the mapped form"));
  EXPECT_TRUE(says(other(72, Digest{}), "a derived image has a parent, so has a delta"));
  EXPECT_TRUE(says(other(12, uint32_t{1}), "an image has no sequence number"));
  EXPECT_TRUE(says(other(104 + 40, uint32_t{2}), "section STATE in a delta file"));
  EXPECT_TRUE(says(refused(test::with_section(bytes, Section::kDelta, {})),
                   "section DELTA is missing in a delta file"));
  EXPECT_TRUE(says(refused(test::with_section(bytes, Section::kState, std::vector<uint8_t>{1})),
                   "section STATE in a delta file"));
}

TEST_F(DeltaFileTest, ADescriptionTellsWhatItIs) {
  const DeltaFile file = write_delta(small_delta(), folder_ / "delta").value();
  const Description description = describe(folder_ / "delta").value();
  EXPECT_EQ(description.kind, "delta");
  EXPECT_EQ(description.id, file.id);
  ASSERT_NE(description.delta, nullptr);
  EXPECT_EQ(description.delta->cell, "cell 7");
  EXPECT_TRUE(description.delta->delta.empty());
  const std::string text = description.text();
  for (const std::string part :
       {"version 2, a delta of", "cell            cell 7", "sequence        5, the image's is 3"}) {
    EXPECT_TRUE(says(text, part));
  }
  JsonWriter writer;
  description.write_json(writer);
  const std::string json = writer.take();
  EXPECT_TRUE(test::JsonCheck::is_json(json)) << json;
  EXPECT_TRUE(says(json, "\"kind\": \"delta\""));
}

// --- chains ----------------------------------------------------------------------------------------------

class ChainTest : public testing::Test {
 protected:
  static std::vector<DeltaFile> chain(size_t links) {
    std::vector<DeltaFile> all;
    Digest parent = digest_of(100);
    for (size_t i = 0; i < links; i++) {
      DeltaFile delta = small_delta();
      delta.base = digest_of(100);
      delta.base_sequence = 40;
      delta.sequence = 41 + i;
      delta.parent = parent;
      delta.id = parent = digest_of(static_cast<uint8_t>(101 + i));
      all.push_back(std::move(delta));
    }
    return all;
  }
  // The chain with one link changed: why it is refused.
  static std::string said(const std::function<void(std::vector<DeltaFile>&)>& change,
                          Code code = Code::kCorruption) {
    std::vector<DeltaFile> links = chain(4);
    change(links);
    const Status status = check_chain(digest_of(100), links);
    if (status.ok()) return "";
    EXPECT_EQ(status.code(), code) << status.message();
    const ErrorInfo* info = error_info(status);
    EXPECT_NE(info, nullptr);
    EXPECT_EQ(info->kind, ErrorKind::kValidation);
    EXPECT_NE(info->expected, "");
    EXPECT_NE(info->found, "");
    EXPECT_NE(info->expected, info->found);
    return std::string(status.message());
  }
};

TEST_F(ChainTest, LinksLeadOnFromTheImage) {
  for (size_t links = 0; links <= kChainLinksMax; links++) {
    EXPECT_TRUE(check_chain(digest_of(100), chain(links)).ok()) << links;
  }
  EXPECT_EQ(said([](auto& it) { it = chain(kChainLinksMax + 1); }, Code::kLimitExceeded),
            "a chain of 8 links (kChainLinksMax=7)");
}

TEST_F(ChainTest, GapsAreRefused) {
  EXPECT_TRUE(
      says(said([](auto& it) { it.erase(it.begin()); }),
           "link 0 of the chain (sequence 42) leaves a gap: expected sequence 41, found sequence 42"));
  EXPECT_TRUE(
      says(said([](auto& it) { it.erase(it.begin() + 2); }),
           "link 2 of the chain (sequence 44) leaves a gap: expected sequence 43, found sequence 44"));
  EXPECT_TRUE(says(said([](auto& it) { std::swap(it[1], it[2]); }),
                   "link 1 of the chain (sequence 43) leaves a gap"));
  EXPECT_TRUE(says(said([](auto& it) { it[3].sequence = UINT64_MAX; }), "leaves a gap"));
}

TEST_F(ChainTest, ForksAreRefused) {
  EXPECT_TRUE(says(said([](auto& it) { it.insert(it.begin() + 1, it[0]); }),
                   "link 1 of the chain (sequence 41) forks from link 0"));
  EXPECT_TRUE(says(said([](auto& it) {
                     it[2].sequence = 42;
                     it[2].id = digest_of(9);
                   }),
                   "forks from link 1"));
  EXPECT_TRUE(says(said([](auto& it) { it[3].parent = it[1].id; }),
                   "link 3 of the chain (sequence 44) forks from link 2"));
}

TEST_F(ChainTest, AnotherParentIsRefused) {
  EXPECT_TRUE(says(said([](auto& it) { it[1].parent = digest_of(9); }),
                   fmt::format("link 1 of the chain (sequence 42) follows another: expected {}, found {}",
                               digest_of(101).hex(), digest_of(9).hex())));
  EXPECT_TRUE(says(said([](auto& it) { it[0].parent = digest_of(9); }),
                   "link 0 of the chain (sequence 41) follows another"));
}

TEST_F(ChainTest, WhatIsOfAnotherIsRefused) {
  EXPECT_TRUE(says(said([](auto& it) { it[2].base = digest_of(9); }), "is of another image: expected"));
  EXPECT_TRUE(says(said([](auto& it) {
                     for (DeltaFile& link : it) link.base = digest_of(9);
                   }),
                   "link 0 of the chain (sequence 41) is of another image"));
  EXPECT_TRUE(says(said([](auto& it) { it[1].cell = "cell 8"; }),
                   "is of another cell: expected 'cell 7', found 'cell 8'"));
  EXPECT_TRUE(says(said([](auto& it) { it[1].domain = "other"; }), "is of another trust domain"));
  EXPECT_TRUE(says(said([](auto& it) { it[3].module = digest_of(9); }), "is of another module"));
  EXPECT_TRUE(says(said([](auto& it) { it[3].base_sequence = 39; }), "has the image at another sequence"));
}

// As files: the second names the id of the first, which is only known when that was written.
TEST_F(ChainTest, FilesMakeAChain) {
  const fs::path folder = test::new_folder();
  std::vector<DeltaFile> read;
  Digest parent = digest_of(100);
  for (size_t i = 0; i < 3; i++) {
    DeltaFile delta = small_delta();
    delta.base = digest_of(100);
    delta.parent = parent;
    delta.sequence = delta.base_sequence + 1 + i;
    const fs::path path = folder / std::to_string(i);
    parent = write_delta(delta, path).value().id;
    read.push_back(read_delta(path).value());
  }
  EXPECT_TRUE(check_chain(digest_of(100), read).ok());
  std::swap(read[0], read[1]);
  EXPECT_FALSE(check_chain(digest_of(100), read).ok());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace spore::snapshot
