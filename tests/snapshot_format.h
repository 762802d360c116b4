#pragma once

// What tests of the snapshot format begin with: a file of each kind of form, whose bytes they change.

#include <unistd.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/host/wasi.h"
#include "spore/snapshot/errors.h"
#include "tests/guest_file.h"
#include "tests/snapshot_file.h"

namespace spore::test {

constexpr const char* kFormatGuest = R"((module
  (memory (export "memory") 2 3)
  (table $t 2 4 funcref)
  (global (mut i32) (i32.const 1))
  (global (mut f64) (f64.const 2))
  (data $passive "passive, and long enough to be a piece of its own, of which there is to be more than one")
  (elem declare func $f)
  (func $f (table.set $t (i32.const 0) (ref.func $f)) (data.drop $passive))
  (func (export "grow") (drop (table.grow $t (ref.null func) (i32.const 1))))))";

// How a file is made.
enum class Made { kVersion1, kWire, kZstd, kLz4, kMapped };
inline std::string made_name(Made made) {
  switch (made) {
    case Made::kVersion1: return "version1";
    case Made::kWire: return "wire";
    case Made::kZstd: return "zstd";
    case Made::kLz4: return "lz4";
    case Made::kMapped: return "mapped";
  }
  return "?";
}
inline std::string made_name_of(const testing::TestParamInfo<Made>& test) { return made_name(test.param); }

inline snapshot::WriteOptions options_of(Made made) {
  snapshot::WriteOptions options = kUncompressed;
  if (made == Made::kMapped) options.form = snapshot::Form::kMapped;
  if (made == Made::kZstd) options.compression = snapshot::Compression::kZstd;
  if (made == Made::kLz4) options.compression = snapshot::Compression::kLz4;
  return options;
}

class SnapshotFormat : public testing::Test {
 protected:
  ~SnapshotFormat() override { std::filesystem::remove_all(folder_); }

  // With all that every version can have, but a profile.
  static snapshot::Contents contents() {
    std::vector<std::byte> memory(size_t{2} * 65536);
    memory[5] = memory[5000] = memory[100'000] = std::byte{1};
    snapshot::Contents contents = contents_without_engine(wasm(kFormatGuest), {memory});
    contents.image.values.tables[0][1] = contents.prepared->table_functions[0];
    contents.manifest.wasi = host::WasiOptions{.args = {"a"}, .env = {"B=c"}, .clock = host::WasiClock{}};
    contents.image.wasi =
        host::Wasi(host::WasiConfig::create(*contents.manifest.wasi).value()).save().value();
    contents.manifest.wasi->directories.push_back({.host = "/h", .guest = "/g", .writable = true});
    contents.manifest.wasi->random_seed = 9;
    contents.frames = snapshot::Frames{.address = 4000, .borrowed = {1, 2, 3}, .functions = {{5, 9}}};
    contents.manifest.entropy_bytes = 16;
    return contents;
  }
  // And what version 2 has beside.
  static snapshot::Contents contents_of_version_2() {
    snapshot::Contents all = contents();
    all.manifest.tier_max = snapshot::TierMax::kAggressive;
    all.presets = {
        .list = {{.name = "small", .options = {"memory_bytes_max=1MiB"}},
                 {.name = "gr\u00f6\u00dfer", .options = {"memory_bytes_max=1GiB", "deadline_ms=100"}}},
        .default_preset = 1};
    all.hot_set = {{.memory = 0, .flags = 1, .first = 0, .pages = 1},
                   {.memory = 0, .flags = 3, .first = 1, .pages = 1},
                   {.memory = 0, .flags = 2, .first = 24, .pages = 8}};
    all.profile = code::Profile{.tier = engine::Tier::kOptimised,
                                .functions = {{.name = "grow", .calls = 9, .mean_us = 1.5}}};
    return all;
  }

  std::vector<uint8_t> bytes_of(const snapshot::Contents& contents, Made made) const {
    if (made == Made::kVersion1) return bytes_of_version_1(contents);
    return written_bytes(contents, folder_ / "image", options_of(made)).value();
  }

  static void write_byte(const UniqueFd& fd, size_t at, int value) {
    const auto byte = static_cast<uint8_t>(value);
    SPORE_ASSERT(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(at)) == 1, "a file in memory");
  }
  // Why these bytes are refused; "" if they are not.
  static std::string refused(std::span<const uint8_t> bytes, Code code,
                             snapshot::Validation validation = snapshot::Validation::kFull) {
    const Result<snapshot::Contents> result = read_bytes(bytes, validation);
    if (result.ok()) return "";
    EXPECT_EQ(code_name(result.code()), code_name(code)) << result.status().message();
    EXPECT_NE(snapshot::error_info(result.status()), nullptr) << result.status().message();
    return std::string(result.status().message());
  }
  static std::vector<uint8_t> section_in(std::span<const uint8_t> file, snapshot::Section which) {
    const snapshot::Extent extent = extent_of(file, which);
    const auto bytes = file.subspan(extent.offset, extent.bytes);
    return {bytes.begin(), bytes.end()};
  }

  const std::filesystem::path folder_ = new_folder();
};

inline testing::AssertionResult says(std::string_view text, std::string_view part) {
  if (text.find(part) != std::string_view::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "it says '" << text << "' and not '" << part << "'";
}

}  // namespace spore::test
