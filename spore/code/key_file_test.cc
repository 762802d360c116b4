#include "spore/code/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "spore/base/fd.h"
#include "tests/process.h"

namespace spore::code {
namespace {

namespace fs = std::filesystem;

class KeyFileTest : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "code.key"; }
  std::vector<uint8_t> content() const { return read_file(path(), 1000).value(); }
  void expect_refused(std::string_view because) const {
    const auto key = open_key_file(path());
    ASSERT_EQ(key.code(), Code::kUnavailable);
    EXPECT_NE(key.status().message().find(because), std::string::npos) << key.status().message();
    EXPECT_NE(key.status().message().find(path().native()), std::string::npos) << "which file?";
  }
  size_t files() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()));
  }

  test::TemporaryFolder folder_;
};

std::vector<uint8_t> bytes_of(const MacKey& key) { return {key.bytes().begin(), key.bytes().end()}; }

TEST_F(KeyFileTest, AKeyIsMadeOnceAndFoundAgain) {
  const MacKey key = open_key_file(path()).value();
  EXPECT_EQ(bytes_of(key), content());
  EXPECT_EQ(bytes_of(open_key_file(path()).value()), content());
  EXPECT_EQ(content().size(), 32u);
  EXPECT_NE(content(), std::vector<uint8_t>(32));
  EXPECT_EQ(files(), 1u);
  struct stat info{};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0600U);
  fs::remove(path());
  EXPECT_NE(bytes_of(open_key_file(path()).value()), bytes_of(key));
}

TEST_F(KeyFileTest, TheUmaskDoesNotOpenIt) {
  const mode_t before = ::umask(0);
  static_cast<void>(open_key_file(path()).value());
  ::umask(before);
  struct stat info{};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0600U);
}

// Goal: of processes that begin at once all have the same key.
TEST_F(KeyFileTest, ProcessesThatBeginAtOnceAgree) {
  constexpr int kRounds = 30;
  constexpr int kProcesses = 4;
  for (int round = 0; round < kRounds; round++) {
    fs::remove(path());
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    std::array<pid_t, kProcesses> children{};
    for (pid_t& child : children) {
      child = ::fork();
      ASSERT_GE(child, 0);
      if (child != 0) continue;
      const auto key = open_key_file(path());
      if (!key.ok()) ::_exit(1);
      ::_exit(::write(ends[1], key.value().bytes().data(), MacKey::kBytes) == MacKey::kBytes ? 0 : 1);
    }
    ::close(ends[1]);
    for (int i = 0; i < kProcesses; i++) {
      std::vector<uint8_t> key(MacKey::kBytes);
      ASSERT_EQ(::read(ends[0], key.data(), key.size()), static_cast<ssize_t>(key.size()));
      EXPECT_EQ(key, content());
    }
    ::close(ends[0]);
    for (const pid_t child : children) {
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(files(), 1u) << "a temporary file stayed";
  }
}

TEST_F(KeyFileTest, OthersThatCanReadItOrMoreAreRefused) {
  static_cast<void>(open_key_file(path()).value());
  for (const mode_t bit : {0001U, 0002U, 0004U, 0010U, 0020U, 0040U}) {
    ASSERT_EQ(::chmod(path().c_str(), 0600 | bit), 0);
    expect_refused(fmt::format("{:04o}", 0600 | bit));
  }
  for (const mode_t mode : {0600U, 0400U}) {
    ASSERT_EQ(::chmod(path().c_str(), mode), 0);
    EXPECT_TRUE(open_key_file(path()).ok()) << mode;
  }
}

TEST_F(KeyFileTest, AnyOtherLengthIsRefusedAndKept) {
  for (const size_t length : {0, 1, 31, 33, 64}) {
    fs::remove(path());
    const UniqueFd fd(::open(path().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    const std::vector<uint8_t> bytes(length, 1);
    ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(length));
    expect_refused(fmt::format("{} bytes instead of 32", length));
    EXPECT_EQ(content(), bytes);
  }
}

TEST_F(KeyFileTest, WhatIsNoRegularFileIsRefused) {
  const fs::path target = folder_.path() / "target";
  static_cast<void>(open_key_file(target).value());
  fs::create_symlink(target, path());
  expect_refused("symbolic link");
  fs::remove(path());
  fs::create_symlink(folder_.path() / "nothing", path());
  expect_refused("symbolic link");
  EXPECT_FALSE(fs::exists(folder_.path() / "nothing"));
  fs::remove(path());
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  expect_refused("regular");
  fs::remove(path());
  fs::create_directory(path());
  expect_refused("regular");
}

TEST_F(KeyFileTest, AnotherUsersIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  static_cast<void>(open_key_file(path()).value());
  ASSERT_EQ(::chown(path().c_str(), 65534, 65534), 0);
  expect_refused("belongs to user 65534");
}

TEST_F(KeyFileTest, WhereNoneCanBeMadeItSaysSo) {
  const auto key = open_key_file(folder_.path() / "no" / "code.key");
  EXPECT_FALSE(key.ok());
  EXPECT_NE(key.status().message().find("making the key"), std::string::npos) << key.status().message();
}

TEST_F(KeyFileTest, WhatWritersThatDiedHaveLeftGoes) {
  const fs::path stale = folder_.path() / "code.key.0123456789abcdef.tmp";
  const fs::path foreign = folder_.path() / "else.tmp";
  for (const fs::path& left : {stale, foreign}) {
    const UniqueFd fd(::open(left.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_TRUE(fd.valid());
  }
  static_cast<void>(open_key_file(path()).value());
  EXPECT_FALSE(fs::exists(stale));
  EXPECT_TRUE(fs::exists(foreign));
}

}  // namespace
}  // namespace spore::code
