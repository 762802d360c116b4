#pragma once

// What `spore new` makes: a folder with a function, or a handler, that builds and is tested as it stands.

#include <filesystem>
#include <string>
#include <string_view>

#include "spore/base/status.h"

namespace spore::project {

enum class Kind : uint8_t {
  kHandler,   // a file with `handle(request)`
  kFunction,  // typed functions, which are compiled
};

struct Created {
  Kind kind = Kind::kHandler;
  std::string name;  // what it is called by in its files
};

// "python, ruby, javascript, rust, c, go, assemblyscript"
std::string language_names();

// The folder's own name is that of the project; that of a function has to be one in WIT as well, where '_' is
// '-'.  kAlreadyExists: there is something of that name; kNotFound: the folder that it is to be in;
// kInvalidArgument: no name, or no language; kIo.
Result<Created> create(std::string_view language, const std::filesystem::path& folder);

// The name in WIT, or in a language: "geo-distance", "geo_distance".
std::string kebab_case(std::string_view name);
std::string snake_case(std::string_view name);

}  // namespace spore::project
