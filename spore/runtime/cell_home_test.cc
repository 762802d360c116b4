// Cells in files: what one process saved another finds, whatever happened between.

#include "spore/runtime/cell_home.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "spore/engine/engine.h"
#include "spore/snapshot/errors.h"
#include "spore/snapshot/writer.h"
#include "tests/child.h"
#include "tests/guest_file.h"
#include "tests/process.h"

namespace spore::runtime {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCounter = R"((module
  (memory (export "memory") 1 4)
  (global $calls (mut i32) (i32.const 0))
  (func (export "add") (param i64) (result i64)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (i64.store (i32.const 1024) (i64.add (i64.load (i32.const 1024)) (local.get 0)))
    (i64.load (i32.const 1024)))
  (func (export "calls") (result i32) (global.get $calls))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func (export "size") (result i32) (memory.size))
  (func (export "trap") (i64.store (i32.const 1024) (i64.const 77)) (unreachable))))";

class CellHomeTest : public testing::Test {
 protected:
  static RuntimeOptions options() {
    RuntimeOptions made;
    made.tier = engine::Tier::kBaseline;
    made.keep_code = false;
    return made;
  }
  std::unique_ptr<Runtime> runtime() { return Runtime::create(options()).value(); }
  Digest keep_image() {
    const auto runtime = this->runtime();
    const std::vector<uint8_t> wasm = test::wasm(kCounter);
    const auto module = runtime->load_module("counter", wasm).value();
    const auto kind = runtime->cell_kind(*module).value();
    const snapshot::Contents contents =
        snapshot::contents_of(*kind->image(), std::make_shared<const std::vector<uint8_t>>(wasm), {}).value();
    return home_.keep_image(contents).value();
  }
  Result<OpenCell> take(Runtime& runtime, std::string_view name) { return home_.take(runtime, name, 0); }
  // In a process of its own, as far as the cell can tell.
  int64_t add(std::string_view name, int64_t by) {
    const auto runtime = this->runtime();
    OpenCell cell = take(*runtime, name).value();
    const int64_t now = cell.call("add", std::vector{host::Value::i64(by)}).value()[0].as_i64().value();
    EXPECT_TRUE(cell.save().ok());
    return now;
  }
  fs::path link(std::string_view name, uint64_t sequence) const {
    return home_.folder() / name / fmt::format("{:012}.spore", sequence);
  }
  size_t links(std::string_view name) const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(home_.folder() / name), {})) - 1;
  }

  test::TemporaryFolder folder_;
  CellHome home_ = CellHome::open(folder_.path() / "cells", nullptr).value();
};

TEST_F(CellHomeTest, AStateIsFoundAgain) {
  const Digest image = keep_image();
  ASSERT_TRUE(home_.create("a", image).ok());
  ASSERT_TRUE(home_.create("b", image).ok());
  EXPECT_EQ(add("a", 5), 5);
  EXPECT_EQ(add("a", 5), 10);
  EXPECT_EQ(add("b", 1), 1);
  EXPECT_EQ(add("a", 0), 10);
  EXPECT_EQ(home_.list().value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(home_.read("a")->sequence, 4U);
  EXPECT_EQ(home_.create("a", image).code(), Code::kAlreadyExists);
  ASSERT_TRUE(home_.remove("a").ok());
  EXPECT_EQ(home_.read("a").code(), Code::kNotFound);
  EXPECT_EQ(home_.remove("a").code(), Code::kNotFound);
  ASSERT_TRUE(home_.create("a", image).ok());
  EXPECT_EQ(add("a", 3), 3);
  EXPECT_EQ(add("b", 1), 2);
}

// Chains have at most seven links, and what they lead to is right at each of them.
TEST_F(CellHomeTest, ChainsAreFolded) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  for (int64_t i = 1; i <= 20; i++) {
    EXPECT_EQ(add("a", 1), i);
    const StoredCell stored = home_.read("a").value();
    EXPECT_LE(stored.links.size(), snapshot::kChainLinksMax);
    EXPECT_EQ(stored.links.size(), links("a"));
    EXPECT_EQ(stored.sequence, static_cast<uint64_t>(i) + 1);
  }
  const auto runtime = this->runtime();
  OpenCell cell = take(*runtime, "a").value();
  EXPECT_EQ(cell.call("calls", {}).value()[0].as_i32().value(), 20);
  EXPECT_EQ(cell.call("grow", {}).value()[0].as_i32().value(), 1);
  ASSERT_TRUE(cell.save(OpenCell::Fold::kNow).ok());
  EXPECT_EQ(links("a"), 1U);
  EXPECT_EQ(home_.read("a")->links.front().memory_bytes, 2U * 65'536);
}

// A crash between a new chain and the old one's end leaves both.
TEST_F(CellHomeTest, WhatAFoldedChainLeftBehindIsPassedBy) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  for (int64_t i = 1; i <= 4; i++) add("a", 1);
  const fs::path saved = folder_.path() / "saved";
  fs::copy(home_.folder() / "a", saved);
  {
    const auto runtime = this->runtime();
    OpenCell cell = take(*runtime, "a").value();
    ASSERT_TRUE(cell.save(OpenCell::Fold::kNow).ok());
  }
  for (const auto& old : fs::directory_iterator(saved)) {
    fs::copy_file(old.path(), home_.folder() / "a" / old.path().filename(), fs::copy_options::skip_existing);
  }
  EXPECT_GT(links("a"), 1U);
  EXPECT_EQ(home_.read("a")->links.size(), 1U);
  EXPECT_EQ(add("a", 1), 5);
}

TEST_F(CellHomeTest, ACallThatFailsIsNotSaved) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  add("a", 4);
  {
    const auto runtime = this->runtime();
    OpenCell cell = take(*runtime, "a").value();
    EXPECT_EQ(cell.call("trap", {}).code(), Code::kTrap);
    ASSERT_TRUE(cell.save().ok());
  }
  EXPECT_EQ(home_.read("a")->sequence, 2U);
  EXPECT_EQ(add("a", 0), 4);
}

// Two writers: one has it, the other is told, or waits.
TEST_F(CellHomeTest, OneAtATimeHasACell) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  const auto runtime = this->runtime();
  std::optional<OpenCell> cell(take(*runtime, "a").value());
  const auto other = this->runtime();
  EXPECT_EQ(take(*other, "a").code(), Code::kUnavailable);
  EXPECT_EQ(home_.remove("a").code(), Code::kUnavailable);
  std::jthread waits([&] {
    EXPECT_EQ(home_.take(*other, "a", 60'000)
                  ->call("add", std::vector{host::Value::i64(0)})
                  .value()[0]
                  .as_i64()
                  .value(),
              9);
  });
  EXPECT_TRUE(cell->call("add", std::vector{host::Value::i64(9)}).ok());
  EXPECT_TRUE(cell->save().ok());
  cell.reset();
  waits.join();
  ASSERT_TRUE(home_.remove("a").ok());
}

TEST_F(CellHomeTest, NamesAreFolders) {
  const Digest image = keep_image();
  for (const std::string& name : {std::string("images"), std::string(".."), std::string("a/b"),
                                  std::string("Zelle nº 1"), std::string(512, 'x'), std::string("%2E")}) {
    ASSERT_TRUE(home_.create(name, image).ok()) << name;
    EXPECT_EQ(add(name, 7), 7) << name;
  }
  EXPECT_EQ(home_.list()->size(), 6U);
  EXPECT_FALSE(fs::exists(folder_.path() / "b"));
  const std::vector<std::string> names = home_.list().value();
  for (const std::string& name : names) EXPECT_EQ(home_.read(name)->name, name);
  EXPECT_EQ(home_.create("", image).code(), Code::kInvalidArgument);
  EXPECT_EQ(home_.create("a\nb", image).code(), Code::kInvalidArgument);
  EXPECT_EQ(home_.create(std::string(513, 'x'), image).code(), Code::kInvalidArgument);
}

// Whatever is wrong with its files is told, and another cell's are none of it.
TEST_F(CellHomeTest, DamagedLinksAreRefused) {
  const Digest image = keep_image();
  ASSERT_TRUE(home_.create("a", image).ok());
  ASSERT_TRUE(home_.create("b", image).ok());
  for (int i = 0; i < 3; i++) add("a", 1);
  add("b", 1);
  // A link is missing in the middle.
  fs::rename(link("a", 3), folder_.path() / "three");
  EXPECT_EQ(home_.read("a").code(), Code::kCorruption);
  // Another cell's link in its place.
  fs::copy_file(link("b", 2), link("a", 3));
  EXPECT_EQ(home_.read("a").code(), Code::kCorruption);
  fs::remove(link("a", 3));
  // A flipped bit.
  std::string bytes = test::file_content(folder_.path() / "three");
  bytes[bytes.size() - 40] ^= 1;
  std::ofstream(link("a", 3), std::ios::binary) << bytes;
  EXPECT_EQ(home_.read("a").code(), Code::kCorruption);
  fs::rename(folder_.path() / "three", link("a", 3));
  EXPECT_EQ(add("a", 0), 3);
  // Its image.
  fs::rename(home_.folder() / "images" / (image.hex() + ".spore"), folder_.path() / "image");
  const auto runtime = this->runtime();
  EXPECT_EQ(take(*runtime, "a").code(), Code::kNotFound);
  fs::rename(folder_.path() / "image", home_.folder() / "images" / (image.hex() + ".spore"));
  EXPECT_EQ(add("b", 0), 1);
}

// A full disk: what was saved before is there, and nothing else.
TEST_F(CellHomeTest, AFullDiskLosesNothingThatWasSaved) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  add("a", 5);
  const std::string wrong = test::in_child([&]() -> std::string {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto runtime = this->runtime();
    Result<OpenCell> cell = take(*runtime, "a");
    if (!cell.ok()) return std::string(cell.status().message());
    if (!cell->call("add", std::vector{host::Value::i64(1)}).ok()) return "no call";
    const rlimit small{.rlim_cur = 1'000, .rlim_max = 1'000};
    if (::setrlimit(RLIMIT_FSIZE, &small) != 0) return "no limit";
    const Status status = cell->save();
    return status.code() == Code::kIo ? "" : fmt::format("saved: {}", status.message());
  });
  EXPECT_EQ(wrong, "");
  EXPECT_EQ(links("a"), 2U);
  EXPECT_EQ(add("a", 0), 5);
}

// A whole state as an image of its own.
TEST_F(CellHomeTest, ACellBecomesAnImage) {
  ASSERT_TRUE(home_.create("a", keep_image()).ok());
  add("a", 5);
  const fs::path file = folder_.path() / "a.spore";
  {
    const auto runtime = this->runtime();
    OpenCell cell = take(*runtime, "a").value();
    EXPECT_EQ(cell.call("grow", {}).value()[0].as_i32().value(), 1);
    ASSERT_TRUE(snapshot::write(cell.contents().value(), file).ok());
  }
  const snapshot::Contents contents = snapshot::read(file).value();
  ASSERT_TRUE(home_.create("b", home_.keep_image(contents).value()).ok());
  EXPECT_EQ(add("b", 1), 6);
  EXPECT_EQ(add("a", 1), 6);
  const auto runtime = this->runtime();
  EXPECT_EQ(take(*runtime, "b")->call("size", {}).value()[0].as_i32().value(), 2);
}

}  // namespace
}  // namespace spore::runtime
