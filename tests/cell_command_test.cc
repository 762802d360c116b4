// spore cell, spore snapshot: the real program, over files that it made.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/json_check.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr const char* kCounter = R"((module (memory (export "memory") 1 8)
  (func (export "add") (param i64) (result i64)
    (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (local.get 0)))
    (i64.load (i32.const 0)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "trap") (i64.store (i32.const 0) (i64.const 9)) (unreachable))
  (func (export "spin") (loop $again (br $again)))))";

class CellCommandTest : public testing::Test {
 protected:
  void SetUp() override { folder_.write("counter.wat", kCounter); }
  ProcessResult spore(Words words) const {
    words.insert(words.begin(), SPORE_CLI);
    return run_process(words, {.environment = {{"SPORE_HOME", (folder_.path() / "home").native()}},
                               .folder = folder_.path()});
  }
  std::string out(Words words) const {
    const ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  void fails(Words words, int exit_code, std::string_view says) const {
    const ProcessResult result = spore(std::move(words));
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    EXPECT_TRUE(has(result.err, says));
  }
  void make(const std::string& name) const { out({"cell", "create", name, "counter.wat"}); }

  TemporaryFolder folder_;
};

TEST_F(CellCommandTest, ACellKeepsItsStateBetweenProcesses) {
  make("a");
  EXPECT_EQ(out({"cell", "call", "a", "add", "40"}), "40\n");
  EXPECT_EQ(out({"cell", "call", "a", "add", "2"}), "42\n");
  EXPECT_EQ(out({"cell", "call", "a", "grow"}), "1\n");
  EXPECT_EQ(out({"cell", "call", "a", "grow"}), "2\n");
  out({"cell", "fork", "a", "b"});
  EXPECT_EQ(out({"cell", "call", "b", "add", "1"}), "43\n");
  EXPECT_EQ(out({"cell", "call", "b", "grow"}), "3\n");
  EXPECT_EQ(out({"cell", "call", "a", "add", "0"}), "42\n");
  for (int i = 0; i < 10; i++) out({"cell", "call", "a", "add", "1"});
  out({"cell", "sleep", "a"});
  EXPECT_TRUE(has(out({"cell", "wake", "a"}), "woke in"));
  EXPECT_EQ(out({"cell", "call", "a", "add", "0"}), "52\n");
  EXPECT_TRUE(has(out({"cell", "list"}), "b "));
  EXPECT_TRUE(has(out({"cell", "inspect", "a"}), "asleep in"));
  out({"cell", "delete", "a"});
  fails({"cell", "call", "a", "add", "1"}, 1, "no cell 'a'");
  EXPECT_EQ(out({"cell", "call", "b", "add", "1"}), "44\n");
}

TEST_F(CellCommandTest, ACallThatFailsDidNotHappen) {
  make("a");
  EXPECT_EQ(out({"cell", "call", "a", "add", "5"}), "5\n");
  fails({"cell", "call", "a", "trap"}, 134, "unreachable");
  fails({"cell", "call", "a", "spin", "--deadline-ms", "20"}, 124, "deadline");
  EXPECT_EQ(out({"cell", "call", "a", "add", "0"}), "5\n");
}

TEST_F(CellCommandTest, MistakesAreTold) {
  make("a");
  fails({"cell", "create", "a", "counter.wat"}, 1, "there is a cell 'a' already");
  fails({"cell", "create", "", "counter.wat"}, 2, "1 to 512 bytes");
  fails({"cell", "create", "b", "nothing.wat"}, 1, "nothing.wat");
  fails({"cell", "call", "a"}, 2, "say which function");
  fails({"cell", "call", "a", "none"}, 1, "none");
  fails({"cell", "call", "a", "add", "x"}, 2, "x");
  fails({"cell", "dance", "a"}, 2, "'dance'");
  fails({"cell"}, 2, "create");
  fails({"cell", "snapshot", "a"}, 2, "-o");
  fails({"cell", "fork", "none", "b"}, 1, "no cell 'none'");
  fails({"cell", "fork", "a", "a"}, 1, "already");
  fails({"cell", "restore", "b", "counter.wat"}, 1, "no snapshot");
  fails({"snapshot", "merge", "counter.wat", "-o", "x"}, 2, "which deltas");
  fails({"snapshot", "create", "counter.wat"}, 2, "-o");
  fails({"snapshot", "create", "counter.wat", "-o", "x", "--level", "10"}, 2, "level");
  fails({"snapshot", "create", "counter.wat", "-o", "x", "--form", "flat"}, 2, "flat");
  fails({"snapshot", "create", "counter.wat", "-o", "x", "--preset", "a:nope=1"}, 2, "nope");
  fails({"snapshot", "create", "counter.wat", "-o", "x", "--default-preset", "a"}, 2, "no preset 'a'");
  fails({"snapshot", "extract", "counter.wat", "heart", "-o", "x"}, 2, "heart");
}

TEST_F(CellCommandTest, SnapshotsMoveACell) {
  make("a");
  out({"cell", "call", "a", "add", "7"});
  out({"cell", "snapshot", "a", "-o", "whole.spore"});
  out({"cell", "snapshot", "a", "-o", "delta.spore", "--delta"});
  out({"cell", "restore", "b", "whole.spore"});
  EXPECT_EQ(out({"cell", "call", "b", "add", "1"}), "8\n");
  out({"cell", "restore", "c", "delta.spore"});
  EXPECT_EQ(out({"cell", "call", "c", "add", "2"}), "9\n");
  fs::remove_all(folder_.path() / "home" / "cells");
  fails({"cell", "restore", "c", "delta.spore"}, 1, "not here");
  out({"cell", "restore", "b", "whole.spore"});
  EXPECT_EQ(out({"cell", "call", "b", "add", "1"}), "8\n");
}

// Goal: the bytes of a state are the same whichever way it went: a cell, a delta of two images, a merge.
TEST_F(CellCommandTest, DeltasOfImagesAreMerged) {
  out({"snapshot", "create", "counter.wat", "-o", "base.spore"});
  out({"cell", "create", "a", "base.spore"});
  out({"cell", "call", "a", "add", "7"});
  out({"cell", "call", "a", "grow"});
  out({"cell", "snapshot", "a", "-o", "whole.spore"});
  EXPECT_TRUE(
      has(out({"snapshot", "diff", "base.spore", "whole.spore", "-o", "one.spore"}), "1 pages, 1 runs"));
  out({"cell", "snapshot", "a", "-o", "two.spore", "--delta"});
  for (const std::string delta : {"one.spore", "two.spore"}) {
    EXPECT_EQ(out({"snapshot", "verify", delta, "--base", "base.spore"}), delta + ": ok\n");
    out({"snapshot", "merge", "base.spore", delta, "-o", "merged.spore"});
    EXPECT_TRUE(has(out({"snapshot", "diff", "merged.spore", "whole.spore"}), "0 pages, 0 runs, 0 bytes"));
    EXPECT_EQ(out({"call", "merged.spore", "add", "1"}), "8\n");
    EXPECT_EQ(out({"call", "merged.spore", "grow"}), "2\n");
  }
  fails({"snapshot", "merge", "whole.spore", "one.spore", "-o", "x.spore"}, 1, "another image");
  fails({"snapshot", "verify", "one.spore", "--base", "whole.spore"}, 2, "which the delta is on");
  out({"snapshot", "extract", "whole.spore", "memory", "0", "-o", "memory"});
  const std::string memory = file_content(folder_.path() / "memory");
  EXPECT_EQ(memory.size(), 2U * 65'536);
  EXPECT_EQ(memory[0], 7);
  out({"snapshot", "extract", "whole.spore", "source", "-o", "source.wasm"});
  out({"cell", "create", "again", "source.wasm"});
  EXPECT_EQ(out({"cell", "call", "again", "add", "1"}), "1\n");
}

TEST_F(CellCommandTest, FormsAndPresets) {
  out({"snapshot", "create", "counter.wat", "-o", "wire.spore", "--compression", "lz4", "--level", "9",
       "--preset", "web:instances_max=10", "--preset", "big:instances_max=99,deadline_ms=5",
       "--default-preset", "big", "--tier-max", "basic"});
  const std::string described = out({"snapshot", "inspect", "wire.spore"});
  for (const char* word : {"wire form", "basic at most", "big (the default): instances_max=99 deadline_ms=5",
                           "web: instances_max=10", "exports         5"}) {
    EXPECT_TRUE(has(described, word));
  }
  EXPECT_EQ(out({"call", "wire.spore", "add", "2"}), "2\n");
  out({"snapshot", "create", "wire.spore", "-o", "mapped.spore", "--form", "mapped"});
  EXPECT_TRUE(has(out({"snapshot", "inspect", "mapped.spore"}), "mapped form"));
  EXPECT_EQ(out({"call", "mapped.spore", "add", "2"}), "2\n");
  for (const char* level : {"structure", "checksum", "full"}) {
    EXPECT_EQ(out({"snapshot", "verify", "mapped.spore", "--validation", level}), "mapped.spore: ok\n");
  }
  out({"snapshot", "create", "wire.spore", "-o", "pinned.spore", "--without-module"});
  fails({"snapshot", "verify", "pinned.spore"}, 1, "is not in this file");
  EXPECT_LT(fs::file_size(folder_.path() / "pinned.spore"), fs::file_size(folder_.path() / "wire.spore"));
}

// What an image's preset says holds, unless a flag says otherwise.
TEST_F(CellCommandTest, PresetsAreHeeded) {
  out({"snapshot", "create", "counter.wat", "-o", "s.spore", "--preset", "quick:deadline_ms=20", "--preset",
       "other:deadline_ms=30"});
  fails({"call", "s.spore", "spin"}, 124, "deadline_ms=20");
  fails({"call", "s.spore", "spin", "--preset", "other"}, 124, "deadline_ms=30");
  fails({"call", "s.spore", "spin", "--deadline-ms", "40"}, 124, "deadline_ms=40");
  fails({"call", "s.spore", "spin", "--preset", "none"}, 1, "there are: quick, other");
}

TEST_F(CellCommandTest, AllOfItIsJsonWhereThatIsAskedFor) {
  make("a");
  for (const Words& words :
       std::vector<Words>{{"cell", "call", "a", "add", "3"},
                          {"cell", "list"},
                          {"cell", "inspect", "a"},
                          {"cell", "wake", "a"},
                          {"cell", "sleep", "a"},
                          {"cell", "fork", "a", "b"},
                          {"cell", "snapshot", "a", "-o", "a.spore"},
                          {"cell", "restore", "c", "a.spore"},
                          {"cell", "delete", "c"},
                          {"snapshot", "create", "counter.wat", "-o", "s.spore"},
                          {"snapshot", "inspect", "s.spore"},
                          {"snapshot", "verify", "s.spore"},
                          {"snapshot", "diff", "s.spore", "a.spore", "-o", "d.spore"},
                          {"snapshot", "merge", "s.spore", "d.spore", "-o", "m.spore"}}) {
    Words all = words;
    all.emplace_back("--json");
    EXPECT_TRUE(JsonCheck::is_json(out(all))) << words[0] << " " << words[1];
  }
  std::ofstream(folder_.path() / "cut.spore") << file_content(folder_.path() / "s.spore").substr(0, 4500);
  const ProcessResult cut = spore({"snapshot", "verify", "cut.spore", "--json"});
  EXPECT_EQ(cut.exit_code, 1);
  EXPECT_TRUE(has(cut.out, R"("kind": "corruption")"));
}

}  // namespace
}  // namespace spore::test
