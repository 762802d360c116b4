// spore new LANGUAGE NAME

#include <filesystem>

#include "apps/spore/command.h"
#include "spore/base/json.h"
#include "spore/handler/project.h"

namespace spore::cli {

Result<int> make_project(Args& args) {
  const std::string_view name = SPORE_TRY(args.positional("LANGUAGE"));
  const std::string_view folder = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const handler::Language* language = SPORE_TRY(handler::find_language(name));
  SPORE_TRY(handler::create_project(*language, std::filesystem::path(folder)));
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("language", language->name).field("folder", folder).end_object();
    print(json.take());
  } else {
    print(fmt::format("{0}: a {1} handler; {0}/README.md says how to test, freeze and call it\n", folder,
                      language->name));
  }
  return kDone;
}

}  // namespace spore::cli
