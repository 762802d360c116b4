#pragma once

// Becoming another program, one that is not ours and reads what may be hostile: confined first.

#include <span>

namespace spore::helper {

// --run CPU_S MEMORY_BYTES FILE_BYTES NICENESS landlock|no-landlock PROGRAM [ARGUMENT...]
//
// What it reads and writes are its three standard streams, which are kept; BINARYEN_CORES is all that is left
// of the environment.  If that fails, it ends with an exit code of its own, and the last line of standard
// error begins with "spore-compile: ".
[[noreturn]] void run_program(std::span<char*> words);

}  // namespace spore::helper
