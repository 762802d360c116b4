// Images that are derived from another: in their files is what differs, and in memory both share the rest.

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest_file.h"
#include "tests/snapshot_file.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPages = 16 * 40;

class DerivedTest : public testing::Test {
 protected:
  DerivedTest() {
    for (size_t at = 0; at < kPages * memory::kPageBytes / 2; at += 64) memory_[at] = std::byte{7};
    const Contents first = test::contents_without_engine(source_, {memory_});
    EXPECT_TRUE(write(first, path("base"), test::kUncompressed).ok());
    base_ = read(path("base")).value();
  }
  ~DerivedTest() override { fs::remove_all(folder_); }

  fs::path path(std::string_view name) const { return folder_ / name; }

  // The base's memory with some pages changed, one of zeros, and some behind its data.
  std::vector<std::byte> changed() const {
    std::vector<std::byte> memory = memory_;
    memory[5] = memory[200 * memory::kPageBytes] = memory[kPages * memory::kPageBytes - 1] = std::byte{1};
    std::fill_n(memory.begin() + 100 * memory::kPageBytes, memory::kPageBytes, std::byte{0});
    return memory;
  }
  Contents derived() const {
    Contents contents = test::contents_without_engine(source_, {});
    contents.image.memories.push_back(memory::PageImage::create(changed(), base_.image.memories[0]).value());
    contents.base = base_.id;
    contents.manifest.base_file = "base";
    return contents;
  }
  std::vector<uint8_t> bytes_of(const Contents& contents) const {
    return test::written_bytes(contents, path("derived")).value();
  }
  Result<Contents> read_on_base(std::span<const uint8_t> bytes) const {
    const UniqueFd fd = test::file_of(bytes);
    return read(fd.get(), {.base = &base_});
  }

  const fs::path folder_ = test::new_folder();
  const std::vector<uint8_t> source_ = test::wasm("(module (memory 1))");
  std::vector<std::byte> memory_ = std::vector<std::byte>(kPages * memory::kPageBytes);
  Contents base_;
};

TEST_F(DerivedTest, ItComesBackAndSharesWhatIsAlike) {
  ASSERT_TRUE(write(derived(), path("derived"), test::kUncompressed).ok());
  EXPECT_LT(fs::file_size(path("derived")), fs::file_size(path("base")) / 10);
  const Contents after = read(path("derived"), {.base = &base_}).value();
  const memory::PageImage& image = *after.image.memories[0];
  EXPECT_EQ(image.base(), base_.image.memories[0]);
  EXPECT_LE(image.held_bytes(), 8 * memory::kPageBytes);
  const std::vector<std::byte> right = changed();
  ASSERT_EQ(image.bytes(), right.size());
  for (size_t at = 0; at < right.size(); at += memory::kPageBytes) {
    const std::vector<std::byte> page(right.begin() + static_cast<ptrdiff_t>(at),
                                      right.begin() + static_cast<ptrdiff_t>(at + memory::kPageBytes));
    const std::byte* there = image.page(at);
    if (there == nullptr) {
      EXPECT_EQ(page, std::vector<std::byte>(memory::kPageBytes)) << at;
    } else {
      EXPECT_TRUE(std::equal(page.begin(), page.end(), there)) << at;
    }
  }
  EXPECT_EQ(after.prepared, base_.prepared);
  EXPECT_EQ(bytes_of(after), bytes_of(derived()));
}

TEST_F(DerivedTest, ADescriptionNeedsNoBase) {
  const Digest id = write(derived(), path("derived")).value();
  const Description description = describe(path("derived")).value();
  EXPECT_EQ(description.id, id);
  EXPECT_EQ(description.base, base_.id);
  EXPECT_EQ(description.manifest.base_file, "base");
  EXPECT_GT(description.memories[0].base_bytes, description.memories[0].raw_bytes);
  EXPECT_NE(description.text().find("derived from    " + base_.id.hex()), std::string::npos)
      << description.text();
}

// A hint of another image's is none of its own.
TEST_F(DerivedTest, ItsProfileIsItsOwn) {
  const code::Profile seen{.tier = engine::Tier::kOptimised,
                           .functions = {{.name = "f", .calls = 1, .mean_us = 2}}};
  Contents contents = base_;
  contents.profile = seen;
  ASSERT_TRUE(write(contents, path("base")).ok());
  base_ = read(path("base")).value();
  EXPECT_EQ(base_.profile, seen);
  EXPECT_FALSE(read_on_base(bytes_of(derived()))->profile.has_value());
  Contents other = derived();
  other.profile = code::Profile{.tier = engine::Tier::kBaseline, .functions = {}};
  EXPECT_EQ(read_on_base(bytes_of(other))->profile, other.profile);
}

TEST_F(DerivedTest, ItStandsOnItsBaseAndOnNoOther) {
  const std::vector<uint8_t> bytes = bytes_of(derived());
  EXPECT_EQ(test::read_bytes(bytes).code(), Code::kUnavailable);
  const UniqueFd fd = test::file_of(bytes);
  // The same but for the time at which it was made.
  Contents other = test::contents_without_engine(source_, {memory_});
  other.manifest.created_s++;
  ASSERT_TRUE(write(other, path("other")).ok());
  other = read(path("other")).value();
  const Result<Contents> on_other = read(fd.get(), {.base = &other});
  EXPECT_EQ(on_other.code(), Code::kUnavailable);
  EXPECT_NE(on_other.status().message().find(other.id.hex()), std::string::npos)
      << on_other.status().message();
  // Nor on one that is derived itself.
  const Contents middle = read_on_base(bytes).value();
  Contents top = derived();
  top.base = middle.id;
  const UniqueFd top_fd = test::file_of(bytes_of(top));
  EXPECT_EQ(read(top_fd.get(), {.base = &middle}).code(), Code::kUnsupported);
}

// Hostile files: what they say of their base is held against it.
TEST_F(DerivedTest, WhatDoesNotFitTheBaseIsRefused) {
  const auto refused = [&](const Contents& contents, std::string_view says) {
    const Result<Contents> result = read_on_base(bytes_of(contents));
    if (result.ok()) return testing::AssertionFailure() << "it was taken";
    if (result.code() != Code::kCorruption || result.status().message().find(says) == std::string::npos) {
      return testing::AssertionFailure() << result.status().message();
    }
    return testing::AssertionSuccess();
  };
  Contents domain = derived();
  domain.manifest.domain = "another";
  EXPECT_TRUE(refused(domain, "its base's module and trust domain"));
  Contents rewritten = derived();
  rewritten.manifest.rewriter = "another";
  EXPECT_TRUE(refused(rewritten, "its base's module and trust domain"));

  const auto with_runs = [&](const std::vector<std::pair<uint32_t, uint32_t>>& runs) {
    std::vector<uint8_t> index;
    const auto add = [&](auto number) {
      const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
      index.insert(index.end(), bytes, bytes + sizeof number);
    };
    add(uint32_t{1});
    add(static_cast<uint32_t>(runs.size()));
    for (const auto& [kind, pages] : runs) {
      add(kind);
      add(pages);
      add(uint64_t{0});
    }
    const std::vector<uint8_t> file =
        test::with_section(bytes_of(derived()), Section::kPageIndex, index, Section::kPages);
    return read_on_base(file);
  };
  EXPECT_TRUE(with_runs({{3, kPages / 2}, {1, kPages / 2}}).ok());
  EXPECT_EQ(with_runs({{3, kPages / 2 + 1}, {1, kPages / 2 - 1}}).code(), Code::kCorruption);  // not mapped
  EXPECT_EQ(with_runs({{3, kPages / 2}, {4, kPages / 2}}).code(), Code::kUnsupported);
  EXPECT_EQ(with_runs({{0, kPages}}).code(), Code::kCorruption);
  std::vector<std::pair<uint32_t, uint32_t>> many;
  for (size_t i = 0; i < memory::PageImage::kBaseRunsMax; i++) many.insert(many.end(), {{3, 1}, {1, 1}});
  many.back().second += kPages - 2 * memory::PageImage::kBaseRunsMax;
  EXPECT_TRUE(with_runs(many).ok());
  many.back().second -= 2;
  many.insert(many.end(), {{3, 1}, {1, 1}});
  EXPECT_EQ(with_runs(many).code(), Code::kCorruption);
}

TEST_F(DerivedTest, EveryTruncationAndEveryFlippedBitIsRefused) {
  const std::vector<uint8_t> bytes = bytes_of(derived());
  for (size_t length = 0; length < bytes.size(); length += 97)
    EXPECT_FALSE(read_on_base(std::span(bytes).first(length)).ok()) << length;
  std::vector<uint8_t> flipped = bytes;
  for (size_t at = 0; at < bytes.size(); at += at < kSuperblockBytes ? 1 : 61) {
    flipped[at] ^= static_cast<uint8_t>(1U << (at % 8));
    EXPECT_FALSE(read_on_base(flipped).ok()) << at;
    flipped[at] = bytes[at];
  }
}

}  // namespace
}  // namespace spore::snapshot
