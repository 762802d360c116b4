// spore new LANGUAGE NAME

#include <filesystem>

#include "apps/spore/command.h"
#include "spore/base/json.h"
#include "spore/project/create.h"

namespace spore::cli {

Result<int> make_project(Args& args) {
  const std::string_view language = SPORE_TRY(args.positional("LANGUAGE"));
  const std::string_view folder = SPORE_TRY(args.positional("NAME"));
  SPORE_TRY(args.finish());
  const project::Created created = SPORE_TRY(project::create(language, std::filesystem::path(folder)));
  if (args.has("--json")) {
    JsonWriter json;
    json.begin_object().field("language", language).field("folder", folder).field("name", created.name);
    json.end_object();
    print(json.take());
  } else if (created.kind == project::Kind::kHandler) {
    print(fmt::format("{0}: a {1} handler; {0}/README.md says how to test, freeze and call it\n", folder,
                      language));
  } else {
    print(fmt::format("{0}: a function in {1}; 'spore build {0}' makes {2}.wasm, 'spore test {0}' calls it\n",
                      folder, language, created.name));
  }
  return kDone;
}

}  // namespace spore::cli
