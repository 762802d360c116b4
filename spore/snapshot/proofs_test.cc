#include "spore/snapshot/proofs.h"

#include <chrono>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/process.h"

namespace spore::snapshot {
namespace {

namespace fs = std::filesystem;

Digest id_of(std::string_view text) {
  return sha256({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

class ProofsTest : public testing::Test {
 protected:
  std::unique_ptr<Proofs> open(std::string_view key = "key") const {
    return Proofs::open(folder_.path() / "proved", folder_.path() / key);
  }
  fs::path file(const Digest& image) const { return folder_.path() / "proved" / image.hex(); }

  test::TemporaryFolder folder_;
};

TEST_F(ProofsTest, WhatWasProvedIsKnownToLaterProcessesOfThisUser) {
  const auto proofs = open();
  ASSERT_NE(proofs, nullptr);
  EXPECT_FALSE(proofs->has(id_of("a")));
  proofs->add(id_of("a"));
  EXPECT_TRUE(proofs->has(id_of("a")));
  EXPECT_FALSE(proofs->has(id_of("b")));
  EXPECT_TRUE(open()->has(id_of("a")));
}

// Goal: nobody without the key can have an image believed.  Method: proofs of another key, of another image,
// and bytes that are none stand where the right one would.
TEST_F(ProofsTest, WhoDoesNotHaveTheKeyProvesNothing) {
  open("other")->add(id_of("a"));
  ASSERT_TRUE(fs::exists(file(id_of("a"))));
  EXPECT_FALSE(open()->has(id_of("a")));
  open()->add(id_of("b"));
  fs::copy_file(file(id_of("b")), file(id_of("c")));
  EXPECT_FALSE(open()->has(id_of("c")));
  for (const size_t bytes : {size_t{0}, size_t{31}, size_t{32}, size_t{33}, size_t{100'000}}) {
    std::ofstream(file(id_of("d")), std::ios::trunc) << std::string(bytes, 'x');
    EXPECT_FALSE(open()->has(id_of("d"))) << bytes;
  }
  fs::create_directory(file(id_of("e")));
  EXPECT_FALSE(open()->has(id_of("e")));
}

TEST_F(ProofsTest, WithoutAKeyThereAreNone) {
  std::ofstream(folder_.path() / "key") << "too short";
  EXPECT_EQ(open(), nullptr);
}

TEST_F(ProofsTest, TheOldestMakesRoom) {
  const auto proofs = open();
  proofs->add(id_of("new"));
  proofs->add(id_of("old"));
  fs::last_write_time(file(id_of("old")), fs::last_write_time(file(id_of("new"))) - std::chrono::hours(1));
  for (size_t i = 2; i < Proofs::kProofsMax; i++) std::ofstream(file(id_of(std::to_string(i))));
  proofs->add(id_of("last"));
  EXPECT_FALSE(proofs->has(id_of("old")));
  EXPECT_TRUE(proofs->has(id_of("new")));
  EXPECT_TRUE(proofs->has(id_of("last")));
}

TEST_F(ProofsTest, AFolderThatCannotBeWrittenToKeepsNothing) {
  std::ofstream(folder_.path() / "proved") << "no folder";
  const auto proofs = open();
  proofs->add(id_of("a"));
  EXPECT_FALSE(proofs->has(id_of("a")));
}

}  // namespace
}  // namespace spore::snapshot
