#pragma once

#include <filesystem>

#include "spore/base/status.h"
#include "spore/handler/language.h"

namespace spore::handler {

// Makes a folder with a handler, its test and a README.  kAlreadyExists: there is something of that name;
// kNotFound: the folder that it is to be in; kInvalidArgument: no name; kIo.
Status create_project(const Language& language, const std::filesystem::path& folder);

}  // namespace spore::handler
