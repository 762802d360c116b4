// Backups of a cell that serves on: what is restored from them is what it was at each.

#include "spore/snapshot/incremental.h"

#include <gtest/gtest.h>

#include "spore/cell/pool.h"
#include "spore/snapshot/states.h"
#include "tests/blueprint.h"
#include "tests/process.h"

namespace spore::snapshot {
namespace {

constexpr const char* kCounter = R"((module
  (memory (export "memory") 1 4)
  (func (export "add") (param i64) (result i64)
    (i64.store (i32.const 1024) (i64.add (i64.load (i32.const 1024)) (local.get 0)))
    (i64.load (i32.const 1024)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))))";

class IncrementalTest : public testing::TestWithParam<cell::Commit> {
 protected:
  void SetUp() override {
    cells_ = cell::Cells::create({.commit = GetParam(), .housekeeping = false}).value();
    blueprint_ = modules_.load("counter", kCounter);
    kind_ = cells_->kind(pool_->entry(blueprint_).value()).value();
    ASSERT_TRUE(cells_->create(kind_, "a").ok());
  }
  ~IncrementalTest() override {
    kind_.reset();
    cells_.reset();
    pool_->close();
  }
  int64_t add(std::string_view cell, int64_t by) {
    return cells_->call(cell, "add", std::vector{host::Value::i64(by)}).value()[0].as_i64().value();
  }
  Incremental start(std::vector<DeltaFile> links = {}, cell::Delta state = {}) {
    return Incremental::start(
               cells_, "a",
               {.image = image_, .module = image_, .links = std::move(links), .state = std::move(state)})
        .value();
  }
  // As a store would.
  DeltaFile write(DeltaFile link) {
    const auto file = folder_.path() / fmt::format("{}.spore", link.sequence);
    const DeltaFile written = write_delta(std::move(link), file).value();
    EXPECT_EQ(read_delta(file).value().id, written.id);
    return written;
  }
  // Another cell, of what was stored.
  int64_t restored(const std::vector<DeltaFile>& links) {
    EXPECT_TRUE(check_chain(image_, links).ok()) << check_chain(image_, links).message();
    cell::Delta state;
    for (const DeltaFile& link : links) {
      state = cell::fold(std::move(state), cell::decode_delta(link.delta).value()).value();
    }
    EXPECT_TRUE(cells_->create(kind_, "standby", {.delta = cell::encode_delta(state), .sequence = 0}).ok());
    const int64_t value = add("standby", 0);
    EXPECT_TRUE(cells_->remove("standby").ok());
    return value;
  }

  const Digest image_ = sha256(std::vector<uint8_t>{1});
  test::TemporaryFolder folder_;
  test::Modules modules_;
  std::shared_ptr<const cell::Blueprint> blueprint_;
  std::shared_ptr<cell::Pool> pool_ = cell::Pool::create({.housekeeping = false}).value();
  std::shared_ptr<cell::Cells> cells_;
  std::shared_ptr<cell::CellKind> kind_;
};
INSTANTIATE_TEST_SUITE_P(Commits, IncrementalTest,
                         testing::Values(cell::Commit::kEveryCall, cell::Commit::kOnSleep),
                         [](const auto& commit) { return std::string(cell::commit_name(commit.param)); });

TEST_P(IncrementalTest, EachLinkIsWhatChanged) {
  Incremental backup = start();
  for (int64_t i = 1; i <= 20; i++) {
    EXPECT_EQ(add("a", 1), i);
    if (i == 5) {
      EXPECT_TRUE(cells_->call("a", "grow", {}).ok());
    }
    backup.stored(write(backup.create().value().value()));
    EXPECT_TRUE(cells_->describe("a")->awake);  // it stays
    EXPECT_LE(backup.links().size(), kChainLinksMax);
    EXPECT_EQ(backup.links().back().sequence, static_cast<uint64_t>(i));
    EXPECT_LT(backup.links().back().delta.size(), 30U);
    EXPECT_EQ(restored(backup.links()), i);
    EXPECT_FALSE(backup.create().value().has_value());
  }
}

TEST_P(IncrementalTest, WhatWasNotStoredIsInTheNext) {
  Incremental backup = start();
  add("a", 1);
  backup.stored(write(backup.create().value().value()));
  add("a", 1);
  EXPECT_TRUE(backup.create().value().has_value());  // and the disk was full
  add("a", 1);
  const DeltaFile link = backup.create().value().value();
  EXPECT_EQ(link.sequence, 2U);
  backup.stored(write(link));
  EXPECT_EQ(restored(backup.links()), 3);
}

TEST_P(IncrementalTest, CallsThatChangeNothingMakeNoLink) {
  Incremental backup = start();
  add("a", 7);
  backup.stored(write(backup.create().value().value()));
  add("a", 0);
  EXPECT_FALSE(backup.create().value().has_value());
  add("a", 1);
  add("a", -1);
  EXPECT_FALSE(backup.create().value().has_value());
}

TEST_P(IncrementalTest, ItGoesOnFromAChainThatWasStored) {
  Incremental first = start();
  for (int i = 0; i < 3; i++) {
    add("a", 1);
    first.stored(write(first.create().value().value()));
  }
  cell::Delta state;
  for (const DeltaFile& link : first.links()) {
    state = cell::fold(std::move(state), cell::decode_delta(link.delta).value()).value();
  }
  Incremental second = start(first.links(), std::move(state));
  EXPECT_FALSE(second.create().value().has_value());
  add("a", 1);
  second.stored(write(second.create().value().value()));
  EXPECT_EQ(second.links().size(), 4U);
  EXPECT_EQ(restored(second.links()), 4);
  second.stored(write(second.create(true).value().value()));
  EXPECT_EQ(second.links().size(), 1U);
  EXPECT_EQ(restored(second.links()), 4);
}

TEST_P(IncrementalTest, ACellThatIsGoneIsTold) {
  Incremental backup = start();
  ASSERT_TRUE(cells_->remove("a").ok());
  EXPECT_EQ(backup.create().code(), Code::kNotFound);
  EXPECT_EQ(Incremental::start(cells_, "a", {}).code(), Code::kNotFound);
}

}  // namespace
}  // namespace spore::snapshot
