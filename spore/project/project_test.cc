// Projects: what a new one consists of, how one is told, the lines of its tests.  Compilers are run by
// tests/function_command_test.cc.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "spore/engine/engine.h"
#include "spore/handler/handler.h"
#include "spore/project/build.h"
#include "spore/project/cases.h"
#include "spore/project/command.h"
#include "spore/project/create.h"
#include "spore/runtime/runtime.h"
#include "spore/udf/maker.h"
#include "tests/process.h"
#include "tests/says.h"

namespace spore::project {
namespace {

namespace fs = std::filesystem;
using host::WitValue;
using test::expect_says;
using test::file_content;
using test::has;
using test::ProcessResult;
using test::TemporaryFolder;

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

// --- new projects ---------------------------------------------------------------------------------------

// Goal: what is made works as its README says.  Python's own test tool runs it.
TEST(ProjectTest, TheTestOfAHandlerPasses) {
  const TemporaryFolder folder;
  const fs::path project = folder.path() / "greet";
  const Created created = create("python", project).value();
  EXPECT_EQ(created.kind, Kind::kHandler);
  EXPECT_TRUE(has(file_content(project / "README.md"), "# greet\n"));
  const ProcessResult result = test::run_process({"python3", "-m", "unittest"}, {.folder = project});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(has(result.err, "Ran 2 tests"));
}

TEST(ProjectTest, EveryLanguageHasOne) {
  const TemporaryFolder folder;
  for (const handler::Language& language : handler::languages()) {
    const fs::path project = folder.path() / language.name;
    ASSERT_TRUE(create(language.name, project).ok());
    const fs::path file = project / fmt::format("handler{}", language.ending);
    EXPECT_TRUE(handler::read_handler(file, {}).ok()) << file;
    EXPECT_EQ(find_project(project).code(), Code::kUnsupported);
  }
  for (const std::string_view language : {"rust", "c", "go", "assemblyscript"}) {
    const fs::path project = folder.path() / fmt::format("my_{}", language);
    const Created created = create(language, project).value();
    EXPECT_EQ(created.kind, Kind::kFunction);
    EXPECT_EQ(created.name, fmt::format("my-{}", language));
    for (const char* file : {"README.md", "function.wit", "tests.jsonl", ".gitignore"}) {
      EXPECT_TRUE(fs::exists(project / file)) << language << file;
    }
    const Project found = find_project(project).value();
    EXPECT_EQ(found.language, language);
    EXPECT_EQ(found.name, created.name);
    EXPECT_EQ(found.module.filename(), created.name + ".wasm");
    EXPECT_FALSE(parse_cases(file_content(project / "tests.jsonl")).value().empty());
  }
  for (const fs::path& file : files_in(folder.path())) {
    for (const char* mark : {"@NAME@", "@IDENT@"}) EXPECT_FALSE(has(file_content(file), mark)) << file;
  }
}

TEST(ProjectTest, NothingIsOverwritten) {
  const TemporaryFolder folder;
  const std::string file = folder.write("taken", "mine");
  EXPECT_EQ(create("python", file).code(), Code::kAlreadyExists);
  EXPECT_EQ(create("c", file).code(), Code::kAlreadyExists);
  EXPECT_EQ(file_content(file), "mine");
  EXPECT_EQ(create("python", folder.path() / "none" / "greet").code(), Code::kNotFound);
  EXPECT_EQ(create("python", "").code(), Code::kInvalidArgument);
  EXPECT_EQ(create("python", folder.path() / "..").code(), Code::kInvalidArgument);
  expect_says(create("cobol", folder.path() / "greet").status(), Code::kInvalidArgument, {"cobol", "rust"});
}

TEST(ProjectTest, AFunctionIsNamedAsWitAndItsLanguageLetIt) {
  const TemporaryFolder folder;
  for (const char* name : {"Rank", "2nd", "a--b", "list", "rank!", "a-", "string"}) {
    expect_says(create("c", folder.path() / name).status(), Code::kInvalidArgument, {name});
  }
  expect_says(create("rust", folder.path() / "match").status(), Code::kInvalidArgument, {"match", "rust"});
  EXPECT_TRUE(create("c", folder.path() / "match").ok());
  EXPECT_FALSE(fs::is_empty(folder.path() / "match"));
  EXPECT_FALSE(fs::exists(folder.path() / "list"));
}

TEST(ProjectTest, AFolderThatIsNoneIsTold) {
  const TemporaryFolder folder;
  expect_says(find_project(folder.path()).status(), Code::kNotFound, {"no project", "Cargo.toml"});
  EXPECT_EQ(find_project(folder.path() / "none").code(), Code::kNotFound);
  folder.write("package.json", "{}");
  EXPECT_EQ(find_project(folder.path()).code(), Code::kNotFound);
  folder.write("function.ts", "");
  EXPECT_EQ(find_project(folder.path())->language, "assemblyscript");
}

// --- modules --------------------------------------------------------------------------------------------

std::vector<uint8_t> module_of(std::string_view text, std::string_view wit) {
  return wasm::with_wit(engine::text_to_wasm(text).value(), wit).value();
}

constexpr std::string_view kAdd = R"((module (memory (export "memory") 1)
  (func (export "add_all") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "note") (param i64))))";

TEST(ModuleTest, ExportsAreHeldAgainstTheSignatures) {
  const auto functions =
      check_module(module_of(kAdd, "add-all: func(a: s32, b: u32) -> s32; note: func(x: s64);"));
  ASSERT_TRUE(functions.ok()) << functions.status().message();
  EXPECT_EQ(functions->size(), 2U);
  expect_says(check_module(module_of(kAdd, "add-all: func(a: s32) -> s32;")).status(), Code::kInvalidModule,
              {"add-all", "func(a: s32) -> s32", "func(i32) -> i32", "func(i32, i32) -> i32"});
  expect_says(check_module(module_of(kAdd, "mul: func(a: s32) -> s32;")).status(), Code::kInvalidModule,
              {"'mul' is declared, but not exported"});
}

// --- tests ----------------------------------------------------------------------------------------------

TEST(CasesTest, LinesAreParsed) {
  const auto cases = parse_cases(
                         "\n// a comment\n{\"function\": \"f\", \"args\": [1, \"x\"], \"result\": 2}\n"
                         "{\"function\": \"f\", \"document\": {\"a\": 1}, \"error\": \"no\"}\n")
                         .value();
  ASSERT_EQ(cases.size(), 2U);
  EXPECT_EQ(cases[0].line, 3U);
  EXPECT_EQ(cases[0].args, "[1, \"x\"]");
  EXPECT_EQ(cases[0].result, "2");
  EXPECT_EQ(cases[1].args, "[]");
  EXPECT_EQ(cases[1].document, "{\"a\": 1}");
  EXPECT_EQ(cases[1].error, "no");
  for (const char* line : {"{}", "[]", "{\"function\": \"f\"}", "{\"function\": \"f\", \"result\": 1} 2",
                           "{\"function\": \"f\", \"result\": 1, \"error\": \"x\"}",
                           "{\"function\": \"f\", \"resutl\": 1}", "{\"function\": 1, \"result\": 1}"}) {
    expect_says(parse_cases(line).status(), Code::kInvalidArgument, {"tests.jsonl:1"});
  }
}

TEST(CasesTest, FloatsMayDifferInTheirLastDigits) {
  const wasm::WitType f64{.kind = wasm::WitKind::kF64};
  const auto equal = [&](double a, double b) {
    return nearly_equal(f64, WitValue::f64(a), WitValue::f64(b));
  };
  EXPECT_TRUE(equal(1e6, 1e6 * (1 + 0.9e-9)));
  EXPECT_FALSE(equal(1e6, 1e6 * (1 + 1.1e-9)));
  EXPECT_TRUE(equal(NAN, NAN));
  EXPECT_FALSE(equal(NAN, 1));
  EXPECT_TRUE(equal(0, -0.0));
  EXPECT_FALSE(equal(0, 1e-300));
  EXPECT_TRUE(equal(INFINITY, INFINITY));
  EXPECT_FALSE(equal(INFINITY, -INFINITY));
}

TEST(CasesTest, FunctionsAndAggregatesAreCalled) {
  const TemporaryFolder folder;
  constexpr std::string_view kTotal = R"((module (memory (export "memory") 1)
    (global $sum (mut i64) (i64.const 0))
    (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
    (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
    (func (export "total-step") (param i64) (global.set $sum (i64.add (global.get $sum) (local.get 0))))
    (func (export "total-finish") (result i64) (global.get $sum))))";
  const std::vector<uint8_t> module =
      module_of(kTotal,
                "half: func(x: f64) -> f64; divide: func(a: s32, b: s32) -> s32;"
                "total-step: func(x: s64); total-finish: func() -> s64;");
  const auto runtime = runtime::Runtime::create({}).value();
  udf::Maker maker(*runtime, {});
  udf::Registry registry(maker);
  Project project{.folder = folder.path(), .name = "p", .language = "c", .module = folder.path() / "p.wasm"};
  expect_says(Tester::create(project, registry).status(), Code::kNotFound, {"spore build"});
  ASSERT_TRUE(write_file(project.module, module).ok());
  const Tester tester = Tester::create(project, registry).value();
  const auto outcome = [&](std::string_view line) {
    const std::vector<Case> cases = parse_cases(line).value();
    return tester.run(cases.front()).value();
  };
  EXPECT_TRUE(outcome(R"({"function": "half", "args": [5], "result": 2.5})").passed);
  const Outcome wrong = outcome(R"({"function": "half", "args": [5], "result": 3})");
  EXPECT_FALSE(wrong.passed);
  EXPECT_EQ(wrong.got, "2.5");
  EXPECT_FALSE(outcome(R"({"function": "half", "args": [5], "result": "2.5"})").passed);
  EXPECT_TRUE(outcome(R"({"function": "divide", "args": [1, 0], "error": "by zero"})").passed);
  EXPECT_FALSE(outcome(R"({"function": "divide", "args": [1, 0], "error": "overflow"})").passed);
  EXPECT_FALSE(outcome(R"({"function": "divide", "args": [1, 1], "error": "by zero"})").passed);
  EXPECT_TRUE(outcome(R"({"function": "divide", "args": [1], "error": "takes 2 arguments"})").passed);
  EXPECT_TRUE(outcome(R"({"function": "total", "args": [[1], [2], [3]], "result": 6})").passed);
  EXPECT_TRUE(outcome(R"({"function": "total", "args": [], "result": 0})").passed);
  const std::vector<Case> none = parse_cases(R"({"function": "nothing", "result": 0})").value();
  EXPECT_EQ(tester.run(none.front()).code(), Code::kNotFound);
}

// --- commands -------------------------------------------------------------------------------------------

TEST(CommandTest, OutputAndEndAreTold) {
  const TemporaryFolder folder;
  const CommandEnd end = run({.words = {"sh", "-c", "echo out; echo err >&2; echo $WORD; pwd; exit 3"},
                              .folder = folder.path(),
                              .environment = {{"WORD", "moon"}}})
                             .value();
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_EQ(end.output, fmt::format("out\nerr\nmoon\n{}\n", folder.path().native()));
  const auto failed = run_well({.words = {"sh", "-c", "echo why; exit 1"}, .folder = {}, .environment = {}});
  EXPECT_EQ(failed.code(), Code::kUnavailable);
  EXPECT_EQ(failed.status().detail(), "why\n");
  EXPECT_EQ(run({.words = {"spore-no-such-program"}, .folder = {}, .environment = {}}).code(),
            Code::kNotFound);
  EXPECT_EQ(find_program("spore-no-such-program"), "");
  EXPECT_NE(find_program("sh"), "");
}

// The last of it, where compilers say what failed.
TEST(CommandTest, OfMuchOutputTheEndIsKept) {
  const CommandEnd end = run({.words = {"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' a; echo end"},
                              .folder = {},
                              .environment = {}})
                             .value();
  EXPECT_EQ(end.output.size(), kOutputBytesMax);
  EXPECT_TRUE(end.output.ends_with("aend\n"));
}

}  // namespace
}  // namespace spore::project
