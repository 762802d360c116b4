// spore code: the real program over a cache that was filled here.

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cache_fixture.h"
#include "tests/json_check.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::code {
namespace {

using test::has;
namespace fs = std::filesystem;

constexpr uint64_t kCompileNs = 12'345'678;

class CodeCommandTest : public CacheFixture {
 protected:
  test::ProcessResult spore(std::vector<std::string> words) const {
    words.insert(words.begin(), {SPORE_CLI, "code"});
    words.insert(words.end(), {"--home", home().native()});
    return test::run_process(words, {});
  }
  // What a command that succeeds prints.
  std::string output(std::vector<std::string> words) const {
    const test::ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  void expect_failure(std::vector<std::string> words, int exit_code, std::string_view message) const {
    const test::ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  }

  void fill(int modules) {
    const auto cache = open();
    for (int i = 0; i < modules; i++) {
      made_.push_back(make(i));
      ASSERT_TRUE(cache->store(*engine_, made_.back().source, made_.back().compiled, kCompileNs));
    }
    EXPECT_TRUE(cache->load(*engine_, made_[0].source));
  }
  void damage(const Source& source) {
    std::vector<uint8_t> bytes = read(file_of(source));
    bytes.back() ^= 1;
    write(file_of(source), bytes);
  }

  std::vector<Made> made_;
};

TEST_F(CodeCommandTest, ListTellsWhatIsThere) {
  fill(2);
  const std::string text = output({"list"});
  const std::string key = cache_key(*engine_, made_[0].source).hex();
  EXPECT_TRUE(has(text, key.substr(0, 12)));
  EXPECT_TRUE(has(text, made_[1].source.hash.hex().substr(0, 12)));
  EXPECT_TRUE(has(text, "optimised"));
  EXPECT_TRUE(has(text, "12.3"));
  EXPECT_TRUE(has(text, ": 2 files, "));
  const std::string json = output({"list", "--json"});
  EXPECT_TRUE(test::JsonCheck::is_json(json)) << json;
  EXPECT_TRUE(has(json, fmt::format("\"key\": \"{}\"", key)));
  EXPECT_TRUE(has(json, "\"files\": 2"));
  EXPECT_TRUE(has(json, "\"uses\": 1"));
  EXPECT_TRUE(has(json, "\"uses\": 0"));
  EXPECT_TRUE(has(json, "\"compile_ms\": 12.345678"));
}

TEST_F(CodeCommandTest, WithoutACacheThereIsNothingAndNothingIsMade) {
  EXPECT_TRUE(has(output({"list"}), "0 files, 0 bytes"));
  EXPECT_EQ(output({"verify"}), "0 files, 0 bad\n");
  EXPECT_EQ(output({"clear"}), "removed 0 files of 0 bytes, left 0 of 0\n");
  EXPECT_EQ(output({"prune", "--bytes-max", "1"}), "removed 0 files of 0 bytes, left 0 of 0\n");
  for (const std::string verb : {"list", "verify", "clear"}) {
    EXPECT_TRUE(test::JsonCheck::is_json(output({verb, "--json"})));
  }
  EXPECT_FALSE(fs::exists(home()));
}

TEST_F(CodeCommandTest, VerifyFindsTheBadOneAndLeavesIt) {
  fill(3);
  EXPECT_EQ(output({"verify"}), "3 files, 0 bad\n");
  damage(made_[1].source);
  const test::ProcessResult result = spore({"verify"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(has(result.out, cache_key(*engine_, made_[1].source).hex().substr(0, 12) + ": "));
  EXPECT_TRUE(has(result.out, "3 files, 1 bad\n"));
  const test::ProcessResult json = spore({"verify", "--json"});
  EXPECT_EQ(json.exit_code, 1);
  EXPECT_TRUE(test::JsonCheck::is_json(json.out));
  EXPECT_TRUE(has(json.out, "\"fault\": \"mac\""));
  EXPECT_TRUE(fs::exists(file_of(made_[1].source)));
  // What cannot be read at all is listed, too.
  write(file_of(made_[2].source), {});
  EXPECT_TRUE(has(output({"list"}), "truncated"));
  EXPECT_TRUE(has(output({"list", "--json"}), "\"fault\": \"truncated\""));
}

TEST_F(CodeCommandTest, WithoutItsKeyNothingCanBeVerified) {
  fill(1);
  fs::remove(key_file());
  expect_failure({"verify"}, 1, "there is no key");
  EXPECT_FALSE(fs::exists(key_file()));
  fs::create_symlink("/dev/zero", key_file());
  expect_failure({"verify"}, 1, "symbolic link");
}

TEST_F(CodeCommandTest, PruneRemovesUntilTheRestFits) {
  fill(4);
  const uint64_t bytes = fs::file_size(file_of(made_[0].source));
  EXPECT_EQ(output({"prune", "--bytes-max", std::to_string(2 * bytes), "--eviction", "lfu"}),
            fmt::format("removed 2 files of {} bytes, left 2 of {}\n", 2 * bytes, 2 * bytes));
  EXPECT_TRUE(fs::exists(file_of(made_[0].source))) << "the one that was used";
  const timeval then{.tv_sec = ::time(nullptr) - 1000, .tv_usec = 0};
  const std::array<timeval, 2> times{then, then};
  ASSERT_EQ(::utimes(file_of(made_[0].source).c_str(), times.data()), 0);
  EXPECT_TRUE(has(output({"prune", "--unused-s", "1100"}), "removed 0 files"));
  EXPECT_TRUE(has(output({"prune", "--unused-s", "900", "--json"}), "\"removed_files\": 1"));
  EXPECT_FALSE(fs::exists(file_of(made_[0].source)));
}

TEST_F(CodeCommandTest, ClearRemovesAllThatIsItsOwn) {
  fill(3);
  write(directory() / "notes.txt", {});
  write(directory() / "x.0123456789abcdef.tmp", {});  // of a process that died
  EXPECT_TRUE(has(output({"clear"}), "removed 3 files"));
  EXPECT_EQ(count(".code") + count(".uses") + count(".tmp"), 0u);
  EXPECT_TRUE(fs::exists(directory() / "notes.txt"));
  EXPECT_TRUE(fs::exists(key_file()));
}

TEST_F(CodeCommandTest, MisuseIsSaid) {
  expect_failure({}, 2, "list, verify, prune or clear");
  expect_failure({"show"}, 2, "there is no 'spore code show'");
  expect_failure({"list", "all"}, 2, "all");
  expect_failure({"prune"}, 2, "--bytes-max SIZE or --unused-s SECONDS");
  expect_failure({"prune", "--bytes-max", "0"}, 2, "spore code clear");
  expect_failure({"prune", "--unused-s", "0"}, 2, "--unused-s '0'");
  expect_failure({"prune", "--unused-s", "1x"}, 2, "--unused-s '1x'");
  expect_failure({"prune", "--bytes-max", "1", "--eviction", "fifo"}, 2, "lru, lfu, ttl, adaptive");
  expect_failure({"clear", "--bytes-max", "1"}, 2, "--bytes-max is for 'spore code prune'");
}

TEST_F(CodeCommandTest, ADirectoryThatOthersCanWriteToIsRefused) {
  fill(1);
  ASSERT_EQ(::chmod(directory().c_str(), 0777), 0);
  for (const std::string verb : {"list", "verify", "clear"})
    expect_failure({verb}, 1, "others can write to it");
  ASSERT_EQ(::chmod(directory().c_str(), 0700), 0);
}

}  // namespace
}  // namespace spore::code
