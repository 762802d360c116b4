#pragma once

#include <chrono>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/spore/args.h"
#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/runtime/options.h"

namespace spore::cli {

// One verb of the command line.  Results go to standard output, all else to standard error.
struct Command {
  std::string_view name;
  std::string_view operands;  // "FILE [ARGS...]"
  std::string_view help;      // one line
  std::span<const Flag> flags;
  bool takes_options;              // also --deadline-ms and the like
  Result<int> (*run)(Args& args);  // gives the exit code
};

std::span<const Command> commands();
// The flags of a command, with those that all have.
std::vector<Flag> all_flags(const Command& command);

// Exit codes; docs/operating/cli.md.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,
  kMisused = 2,
  kDeadline = 124,     // as timeout(1)
  kInterrupted = 130,  // as a shell says of SIGINT
  kTrapped = 134,      // as other runtimes say
};
int exit_code(const Status& status);

// The data directory.  kInvalidArgument: nothing says where.
Result<std::filesystem::path> home_of(const Args& args);
// Defaults, file, environment, then the flags of this command line.
Result<runtime::RuntimeOptions> options_of(const Args& args, runtime::RuntimeOptions defaults = {});

// A module's bytes: the file's, or what its text was translated to.
class ModuleBytes {
 public:
  explicit ModuleBytes(FileView file) : file_(std::move(file)) {}
  explicit ModuleBytes(std::vector<uint8_t> translated) : translated_(std::move(translated)) {}

  std::span<const uint8_t> bytes() const { return translated_.empty() ? file_.bytes() : translated_; }

 private:
  FileView file_;
  std::vector<uint8_t> translated_;
};

// Text (.wat) is translated.
Result<ModuleBytes> read_module(std::string_view path, size_t bytes_max);

void print(std::string_view text);
double milliseconds_since(std::chrono::steady_clock::time_point begin);

Result<int> run_module(Args& args);        // run.cc
Result<int> freeze_program(Args& args);    // freeze.cc
Result<int> call_image(Args& args);        // freeze.cc
Result<int> manage_cells(Args& args);      // cell.cc
Result<int> manage_code(Args& args);       // code.cc
Result<int> manage_functions(Args& args);  // function.cc
Result<int> optimise_module(Args& args);   // optimize.cc
Result<int> manage_snapshots(Args& args);  // snapshot.cc
Result<int> make_project(Args& args);      // new.cc
Result<int> build_project(Args& args);     // project.cc
Result<int> test_project(Args& args);      // project.cc
Result<int> print_completion(Args& args);  // completion.cc

}  // namespace spore::cli
