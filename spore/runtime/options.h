#pragma once

// The options of a Runtime, and the one table by which files, the environment and flags set them.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/log.h"
#include "spore/base/status.h"
#include "spore/cell/cells_options.h"
#include "spore/cell/pool_options.h"
#include "spore/code/code_cache.h"
#include "spore/code/compiler.h"
#include "spore/code/helper_compiler.h"
#include "spore/code/ladder.h"
#include "spore/code/rewriter.h"
#include "spore/engine/engine.h"
#include "spore/engine/limits.h"
#include "spore/host/functions.h"

namespace spore::runtime {

enum class CompileIn : uint8_t {
  kProcess,          // on the thread that asks, or the background thread
  kHelper,           // in a process of its own for each compile: code::HelperCompiler
  kHelperOrProcess,  // so, or where there is no helper, in this process
};
std::string_view compile_in_name(CompileIn where);  // "process", "helper", "helper_or_process"

// The tier above the optimised one.
enum class Peak : uint8_t {
  kOff,
  kManual,  // what it is made of is kept, so that a module can be raised to it: Runtime::warm_up
  kAuto,    // modules come to it by themselves, and stay if it measures faster
};
std::string_view peak_name(Peak peak);  // "off", "manual", "auto"

struct RuntimeOptions {
  // Compiled into code: the same for all modules of the Runtime.
  bool fuel = false;
  size_t wasm_stack_bytes = 512 * 1024;
  bool parallel_compile = false;
  bool compact_memories = false;
  bool compact_code = false;

  // Who compiles.  kHelper: foreign modules can hurt this process with nothing that compiling takes.
  CompileIn compile_in = CompileIn::kProcess;

  // What a module gets unless load_module or instantiate says otherwise.
  // Nothing: a module begins with the code that is there soonest, and gets better code when it is called
  // enough.
  std::optional<engine::Tier> tier;
  engine::Limits limits;
  // When it is called enough to leave the interpreter, for the optimised tier, and for the peak.
  code::StepRule compile_after = code::LadderOptions().rules[static_cast<size_t>(engine::Tier::kInterpreter)];
  code::StepRule tier_up = code::LadderOptions().rules[static_cast<size_t>(engine::Tier::kBaseline)];
  code::StepRule peak_after = code::LadderOptions().rules[static_cast<size_t>(engine::Tier::kOptimised)];
  // Whether modules may begin in the interpreter; those with less code than that are compiled sooner than it
  // pays.
  bool interpret = true;
  uint64_t interpret_bytes_min = 64 * 1024;
  uint64_t drop_after_ms = code::LadderOptions().drop_after_ms;
  // Whether a module whose image says how it was called is brought at once to the tier that it had then.
  bool profiles = true;
  Peak peak = Peak::kOff;
  uint32_t peak_gain_percent = 5;  // less is not worth keeping it

  code::HelperOptions compile;               // its limits hold for all, what is in its budget for the helper
  std::shared_ptr<code::Compiler> compiler;  // who compiles instead of these; null: nobody
  size_t compile_queue_max = 64;             // modules that wait for the background compiler
  int compile_nice = 10;                     // of its thread
  // How programs are made such that they can be frozen.  The helper is that of `compile`, the cache that of
  // code.
  code::RewriterOptions rewrite;
  bool keep_code = true;  // false: code_cache is not used
  // Where code is kept for other processes and later ones; without a directory, nowhere.  Without a key file,
  // that is code.key beside the directory.
  code::CodeCacheOptions code_cache;

  size_t module_bytes_max = 128 * engine::kMebibyte;
  size_t modules_max = 10'000;

  cell::PoolOptions pool;
  cell::CellsOptions cells;
  size_t slots_kept_max = 64;  // memories that nobody uses, cleared and kept for the next

  host::HostFunctions host;  // what every module may import
  Log log;
  bool metrics = true;  // time compiles and instantiations
};

// One option that a person can set: `name = value` in a file, SPORE_NAME=value, --name value.
struct OptionDescription {
  std::string_view name;  // as in the file: deadline_ms
  std::string_view help;
  Status (*set)(RuntimeOptions& options, std::string_view value);
  std::string (*get)(const RuntimeOptions& options);
};
std::span<const OptionDescription> option_descriptions();
std::string flag_name(const OptionDescription& option);         // --deadline-ms
std::string environment_name(const OptionDescription& option);  // SPORE_DEADLINE_MS

// kInvalidArgument: no such option (the nearest name is given), or not a value for it.
Status set_option(RuntimeOptions& options, std::string_view name, std::string_view value);

// "64KiB", "256 MiB", "1000", "none" is not a size.
Result<uint64_t> parse_bytes(std::string_view text);

// Lines `name = value`; '#' begins a comment.  The error names file and line.
Status apply_options_text(RuntimeOptions& options, std::string_view text, std::string_view file_name);

// Every SPORE_<NAME> that is set.  `lookup` is std::getenv but in tests.
Status apply_options_environment(RuntimeOptions& options,
                                 const std::function<const char*(const char*)>& lookup);

// Where Spore keeps what it keeps: `flag` if not empty, else SPORE_HOME, else XDG_DATA_HOME/spore, else
// ~/.local/share/spore.  Nothing is created.  kInvalidArgument: none of them is set.
Result<std::filesystem::path> home_directory(std::string_view flag,
                                             const std::function<const char*(const char*)>& lookup);
// By this process's environment.
Result<std::filesystem::path> default_home();

// Defaults, then <home>/spore.conf if it is there, then the environment.
Result<RuntimeOptions> load_options(const std::filesystem::path& home,
                                    const std::function<const char*(const char*)>& lookup,
                                    RuntimeOptions defaults = {});
// All that the command line has but for its flags, and so what its data directory means to others (a plugin,
// a library): load_options() and the code that is kept there.  An empty home, as in a container, is no
// mistake: the environment alone.
Result<RuntimeOptions> home_options(const std::filesystem::path& home, RuntimeOptions defaults = {});
Result<RuntimeOptions> home_options(const std::filesystem::path& home,
                                    const std::function<const char*(const char*)>& lookup,
                                    RuntimeOptions defaults);

}  // namespace spore::runtime
