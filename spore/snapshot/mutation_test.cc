// A hundred thousand damaged files: refused with a reason, or, if they were made to fit, another image that
// is whole.  Never trusted, never a crash.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/snapshot/delta_file.h"
#include "tests/sanitizers.h"
#include "tests/snapshot_format.h"

namespace spore::snapshot {
namespace {

using test::Made;

constexpr uint64_t kSeed = 20'251'130;
constexpr size_t kMutations = test::kSanitized ? 10'000 : 100'000;

// A file in memory, of which a test changes a little and puts it right again.
class Patient {
 public:
  explicit Patient(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)), fd_(test::file_of(bytes_)) {}

  const std::vector<uint8_t>& bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }
  void write(std::span<const uint8_t> bytes, size_t at) const {
    SPORE_ASSERT(::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)) ==
                     static_cast<ssize_t>(bytes.size()),
                 "a file in memory");
  }
  void set_length(size_t bytes) const {
    SPORE_ASSERT(::ftruncate(fd_.get(), static_cast<off_t>(bytes)) == 0, "a file in memory");
  }
  void heal() const {
    set_length(bytes_.size());
    write(bytes_, 0);
  }

 private:
  std::vector<uint8_t> bytes_;
  UniqueFd fd_;
};

class MutationTest : public test::SnapshotFormat {
 protected:
  MutationTest() {
    Contents contents = contents_of_version_2();
    constexpr size_t kWasmPages = 3;
    std::string guest = test::kFormatGuest;
    const std::string two = "\"memory\") 2 3";
    guest.replace(guest.find(two), two.size(), fmt::format("\"memory\") {} {}", kWasmPages, kWasmPages + 1));
    Contents larger = test::contents_without_engine(test::wasm(guest), {});
    contents.source = larger.source;
    contents.prepared = larger.prepared;
    contents.manifest.module = contents.manifest.original = larger.manifest.module;
    contents.manifest.prepared = larger.manifest.prepared;
    std::vector<std::byte> memory(kWasmPages * 65536);
    std::mt19937_64 random(kSeed);
    for (size_t at = 0; at < memory.size(); at += 1 + random() % 37) {
      if (at / memory::kPageBytes % 3 != 1) memory[at] = static_cast<std::byte>(random() % 50);
    }
    contents.image.memories = {memory::PageImage::create(memory).value()};
    for (const Made made : {Made::kWire, Made::kZstd, Made::kLz4, Made::kMapped, Made::kVersion1}) {
      images_.emplace_back(bytes_of(contents, made));
    }
    DeltaFile delta{
        .cell = "c", .domain = "d", .sequence = 2, .parent = sha256(memory_span(memory)), .delta = {}};
    delta.delta.assign(40'000, 9);
    for (size_t i = 0; i < delta.delta.size(); i += 1 + random() % 9)
      delta.delta[i] = static_cast<uint8_t>(random());
    EXPECT_TRUE(write_delta(delta, folder_ / "delta").ok());
    delta_.emplace_back(read_file(folder_ / "delta", size_t{1} << 20).value());
    std::printf("seed %llu\n", static_cast<unsigned long long>(kSeed));
  }
  static std::span<const uint8_t> memory_span(const std::vector<std::byte>& memory) {
    return {reinterpret_cast<const uint8_t*>(memory.data()), memory.size()};
  }

  size_t below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  // Changes some bits anywhere, or the length: no hash fits, unless it is as it was.
  void damage(const Patient& patient) {
    const size_t kind = below(10);
    if (kind == 0) return patient.set_length(below(patient.bytes().size() + 5000));
    for (size_t i = 0; i <= below(8); i++) {
      // The superblock, which is read first, as often as all else.
      const size_t at = below(below(2) == 0 ? kSuperblockBytes : patient.bytes().size());
      const auto byte = static_cast<uint8_t>(kind < 6 ? patient.bytes()[at] ^ (1U << below(8)) : random_());
      patient.write(std::span(&byte, 1), at);
    }
  }

  // Changes numbers in the superblock, or bytes of a section, and makes all hashes right.
  std::vector<uint8_t> forge(const std::vector<uint8_t>& bytes) {
    static constexpr std::array<uint64_t, 10> kNumbers{0,
                                                       1,
                                                       4095,
                                                       4096,
                                                       65536,
                                                       UINT32_MAX,
                                                       UINT64_MAX,
                                                       uint64_t{1} << 31,
                                                       UINT64_MAX / 2,
                                                       uint64_t{1} << 40};
    std::vector<uint8_t> forged = bytes;
    const Superblock superblock = test::superblock_of(bytes);
    for (size_t i = 0; i <= below(3); i++) {
      if (below(3) == 0) {
        const size_t at = below(test::kTableAt + superblock.sections.size() * test::entry_bytes(bytes) - 8);
        const uint64_t number = kNumbers[below(kNumbers.size())] + below(3);
        if (below(2) == 0)
          test::put(forged, at / 4 * 4, static_cast<uint32_t>(number));
        else
          test::put(forged, at / 8 * 8, number);
        continue;
      }
      const Extent& extent = superblock.sections[below(superblock.sections.size() - 1)];
      if (extent.bytes == 0) continue;
      const size_t at =
          extent.offset + below(std::min<size_t>(extent.bytes, below(2) == 0 ? 64 : extent.bytes));
      forged[at] = below(3) == 0 ? static_cast<uint8_t>(random_())
                                 : static_cast<uint8_t>(forged[at] ^ (1U << below(8)));
    }
    test::reseal(forged);
    return forged;
  }

  // What is taken can be written, and is read as the same again.
  void expect_whole(const Contents& contents) {
    const Result<std::vector<uint8_t>> once = test::written_bytes(contents, folder_ / "again");
    ASSERT_TRUE(once.ok()) << once.status().message();
    const Result<Contents> again = test::read_bytes(once.value(), Validation::kChecksum);
    ASSERT_TRUE(again.ok()) << again.status().message();
    ASSERT_EQ(test::written_bytes(again.value(), folder_ / "again").value(), once.value());
  }

  std::vector<Patient> images_;
  std::vector<Patient> delta_;
  std::mt19937_64 random_{kSeed};
};

TEST_F(MutationTest, DamageIsNeverTaken) {
  size_t same = 0;
  for (size_t i = 0; i < kMutations / 2; i++) {
    const Patient& patient = i % 8 == 0 ? delta_[0] : images_[i % images_.size()];
    damage(patient);
    Status status;
    if (i % 8 == 0) {
      const Result<DeltaFile> result = read_delta(patient.fd());
      status = result.status().copy();
    } else {
      const Result<Contents> result = read(
          patient.fd(), {.validation = Validation::kChecksum, .memory_bytes_max = 1 << 24, .progress = {}});
      status = result.status().copy();
    }
    if (status.ok()) {
      std::vector<uint8_t> now(patient.bytes().size());
      ASSERT_TRUE(read_at(patient.fd(), now, 0).ok());
      ASSERT_EQ(now, patient.bytes()) << "mutation " << i;
      same++;
    } else {
      ASSERT_NE(error_info(status), nullptr) << status.message();
    }
    patient.heal();
  }
  EXPECT_LT(same, kMutations / 50);
  for (const Patient& patient : images_) EXPECT_TRUE(read(patient.fd()).ok());
}

TEST_F(MutationTest, WhatIsMadeToFitIsRefusedOrWhole) {
  size_t taken = 0;
  for (size_t i = 0; i < kMutations / 2; i++) {
    const bool of_delta = i % 8 == 0;
    const Patient& patient = of_delta ? delta_[0] : images_[i % images_.size()];
    const std::vector<uint8_t> forged = forge(patient.bytes());
    patient.write(forged, 0);
    if (of_delta) {
      const Result<DeltaFile> result = read_delta(patient.fd(), {.file_bytes_max = 1 << 24});
      ASSERT_TRUE(result.ok() || error_info(result.status()) != nullptr) << result.status().message();
    } else {
      const Result<Contents> result = read(patient.fd(), {.validation = Validation::kChecksum,
                                                          .file_bytes_max = 1 << 24,
                                                          .memory_bytes_max = 1 << 24,
                                                          .progress = {}});
      ASSERT_TRUE(result.ok() || error_info(result.status()) != nullptr) << result.status().message();
      taken += result.ok() ? 1 : 0;
      if (result.ok() && taken % 64 == 0) expect_whole(result.value());
    }
    if (HasFatalFailure()) FAIL() << "mutation " << i;
    patient.heal();
  }
  EXPECT_GT(taken, kMutations / 100) << "bytes of names and pages may be any";
}

}  // namespace
}  // namespace spore::snapshot
