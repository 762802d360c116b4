#include "spore/snapshot/exports.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spore/wasm/inspect.h"
#include "tests/guest_file.h"

namespace spore::snapshot {
namespace {

TEST(ExportIndexTest, ExportsAreFoundByName) {
  const auto facts = wasm::inspect(test::wasm(R"((module
    (func (export "swap") (param i32 i64) (result i64 i32) (local.get 1) (local.get 0))
    (func (export "none"))
    (func (export "one") (result f32) (f32.const 1))
    (memory (export "memory") 1 16)
    (global (export "") (mut i32) (i32.const 1))
    (table (export "table") 2 10 funcref)))"),
                                   1 << 20)
                         .value();
  const auto index = ExportIndex::create(facts);
  ASSERT_EQ(index->size(), 6u);
  EXPECT_EQ(index->find("swap")->type, "func(i32, i64) -> i64, i32");
  EXPECT_EQ(index->find("swap")->parameters, 2u);
  EXPECT_EQ(index->find("swap")->results, 2u);
  EXPECT_TRUE(index->find("swap")->is_function());
  EXPECT_EQ(index->find("none")->parameters, 0u);
  EXPECT_EQ(index->find("one")->results, 1u);
  EXPECT_EQ(index->find("memory")->parameters, 0u);
  EXPECT_FALSE(index->find("memory")->is_function());
  EXPECT_EQ(index->find("")->type, "global mut i32");
  EXPECT_EQ(index->find("swa"), nullptr);
  EXPECT_EQ(index->all()[0].name, "swap");
}

TEST(ExportIndexTest, ANameStandsOnce) {
  EXPECT_EQ(ExportIndex::create(
                std::vector<ExportIndex::Export>{{.name = "a", .type = ""}, {.name = "a", .type = ""}}),
            nullptr);
  EXPECT_NE(ExportIndex::create(std::vector<ExportIndex::Export>{}), nullptr);
}

TEST(ExportIndexTest, ArityIsReadFromTheType) {
  EXPECT_EQ(arity_of("func()"), (Arity{0, 0}));
  EXPECT_EQ(arity_of("func(i32)"), (Arity{1, 0}));
  EXPECT_EQ(arity_of("func(i32, (ref null func), v128) -> (ref null extern)"), (Arity{3, 1}));
  EXPECT_EQ(arity_of("func() -> i32, i32, i32"), (Arity{0, 3}));
  EXPECT_EQ(arity_of("func"), (Arity{0, 0}));
  EXPECT_EQ(arity_of("func("), (Arity{0, 0}));
  EXPECT_EQ(arity_of("func(i32"), (Arity{0, 0}));
  EXPECT_EQ(arity_of("memory 1..2 pages"), (Arity{0, 0}));
  EXPECT_EQ(arity_of(""), (Arity{0, 0}));
}

}  // namespace
}  // namespace spore::snapshot
