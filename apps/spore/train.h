#pragma once

// Requests that are answered before an image is written, so that it says what is hot.

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "spore/base/status.h"
#include "spore/program/program.h"
#include "spore/runtime/runtime.h"

namespace spore::cli {

// How long a module may take to come to optimised code then.
inline constexpr std::chrono::seconds kTrainingMax{30};

// So that a module climbs from the start, whether it is called enough or not.
void climb_at_once(runtime::RuntimeOptions& options);

// All requests in a file.  kNotFound, kIo; kInvalidArgument: there is none; kLimitExceeded: a large file;
// kCorruption: it ends within one.
Result<std::vector<std::string>> read_requests(const std::filesystem::path& path, program::Framing framing);

// Has them answered, waits until the module has optimised code, and has them answered once more: their times
// are those of that code.  One that fails is told on standard error, and so is a module that does not get
// there in time.  How the last failed, if none was answered.
Status train(const runtime::Runtime& runtime, const runtime::Module& module, const program::Program& program,
             const std::vector<std::string>& requests);

}  // namespace spore::cli
