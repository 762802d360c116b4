#pragma once

// What a program is given: its arguments, variables and directories, from flags.

#include <array>
#include <span>
#include <string_view>

#include "apps/spore/args.h"
#include "spore/base/status.h"
#include "spore/host/wasi.h"

namespace spore::cli {

inline constexpr Flag kArgFlag{"--arg", "TEXT", "an argument of the program; also those behind FILE"};
inline constexpr Flag kEnvFlag{"--env", "NAME[=VALUE]",
                               "a variable of the program; without a value, your own"};
inline constexpr Flag kDirFlag{"--dir", "HOST[::GUEST][:rw]",
                               "a directory of the program, read-only unless :rw"};

// Its arguments begin with its name, as those of every program.  kInvalidArgument: --env names a variable
// that there is not.
Result<host::WasiOptions> world_options(const Args& args, std::string_view file,
                                        std::span<const std::string_view> words);

}  // namespace spore::cli
