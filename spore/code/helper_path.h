#pragma once

// Where the helper is, `spore-compile`.

#include <filesystem>
#include <string>

#include "spore/base/status.h"

namespace spore::code {

// Whether `path` can be executed: empty, or why not.
std::string why_not_executable(const std::filesystem::path& path);

// `wanted`, or if that is empty: beside this process's own program, then in ../libexec/spore from there, then
// where it was installed.  kUnavailable: it is not there or may not be executed.
Result<std::filesystem::path> find_helper(const std::filesystem::path& wanted);

}  // namespace spore::code
