// spore build [FOLDER], spore test [FOLDER]

#include <cstdio>
#include <filesystem>
#include <optional>

#include "apps/spore/command.h"
#include "apps/spore/functions.h"
#include "apps/spore/progress.h"
#include "spore/base/fd.h"
#include "spore/base/json.h"
#include "spore/base/utf8.h"
#include "spore/project/build.h"
#include "spore/project/cases.h"

namespace spore::cli {

namespace {

Result<project::Project> project_of(Args& args) {
  const std::vector<std::string_view> words = args.rest();
  if (words.size() > 1) return Status::invalid_argument("unexpected '{}'", words[1]);
  return project::find_project(words.empty() ? "." : words[0]);
}

}  // namespace

Result<int> build_project(Args& args) {
  const project::Project project = SPORE_TRY(project_of(args));
  project::Built built;
  {
    std::optional<Progress> progress;
    built = SPORE_TRY(project::build(project, [&](std::string_view phase) {
      progress.reset();
      progress.emplace(fmt::format("{} {}", phase, project.name));
    }));
  }
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("language", project.language).field("module", built.module.native());
    json.field("module_bytes", built.bytes).begin_array("functions");
    for (const wasm::WitExport& function : built.functions) {
      json.begin_object().field("name", function.name).field("signature", function.signature.text());
      json.end_object();
    }
    json.end_array().end_object();
    print(json.take());
    return kDone;
  }
  print(fmt::format("{}: {} bytes\n", built.module.filename().native(), built.bytes));
  for (const wasm::WitExport& function : built.functions) {
    print(fmt::format("  {}: {}\n", function.name, function.signature.text()));
  }
  return kDone;
}

Result<int> test_project(Args& args) {
  const project::Project project = SPORE_TRY(project_of(args));
  const std::vector<uint8_t> text =
      SPORE_TRY(read_file(project.folder / project::kTests, project::kFileBytesMax));
  const std::vector<project::Case> cases =
      SPORE_TRY(project::parse_cases({reinterpret_cast<const char*>(text.data()), text.size()}));
  const Functions functions = SPORE_TRY(new_functions(args));
  std::optional<Progress> progress(fmt::format("loading {}", project.name));
  const project::Tester tester = SPORE_TRY(project::Tester::create(project, *functions.registry));
  progress.reset();
  const bool as_json = args.has("--json");
  size_t failed = 0;
  JsonWriter json;
  json.begin_object().begin_array("failures");
  for (const project::Case& of : cases) {
    const Result<project::Outcome> ran = tester.run(of);
    if (!ran.ok()) return ran.status().copy().with_context(fmt::format("{}:{}", project::kTests, of.line));
    const project::Outcome& outcome = ran.value();
    if (outcome.passed) continue;
    failed++;
    const std::string expected = of.error.empty() ? of.result : fmt::format("the error '{}'", of.error);
    json.begin_object().field("line", of.line).field("function", of.function).field("args", of.args);
    json.field("got", outcome.got).field("expected", expected).end_object();
    if (as_json) continue;
    print(fmt::format("{}:{}: {} {}{}{}: got {}, expected {}\n", project::kTests, of.line, of.function,
                      of.args, of.document.empty() ? "" : " with ", of.document, outcome.got, expected));
  }
  json.end_array().field("passed", cases.size() - failed).field("failed", failed).end_object();
  print(as_json ? json.take() : fmt::format("{} passed, {} failed\n", cases.size() - failed, failed));
  return failed == 0 ? kDone : kFailed;
}

}  // namespace spore::cli
