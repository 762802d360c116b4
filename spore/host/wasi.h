#pragma once

// WASI preview 1 for one instance: what its world is, and what became of it.
//
//   auto config = SPORE_TRY(WasiConfig::create({.directories = {{"/srv/data", "/data"}}}));
//   auto wasi = std::make_unique<Wasi>(config);
//   wasi->set_input("one line\n");
//   Instance instance = SPORE_TRY(runtime.instantiate(*module, {.wasi = std::move(wasi)}));
//   uint32_t exit_code = SPORE_TRY(instance.run_command());
//   std::string answer = instance.wasi()->take_output();
//
// A guest gets what is given here and nothing else: no arguments, environment, directories or input unless
// they are named.  Sockets do not exist.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spore/base/fd.h"
#include "spore/base/status.h"
#include "spore/host/functions.h"
#include "spore/host/suspension.h"
#include "spore/host/wasi_state.h"
#include "spore/host/wasi_streams.h"

namespace spore::host {

namespace wasi {
class DirectoryReader;
}

struct WasiDirectory {
  std::string host;
  std::string guest;      // the name that the guest knows it by: "/data", "."
  bool writable = false;  // otherwise whatever would change something gives EROFS
};

// A clock that shows the same in each run.
struct WasiClock {
  uint64_t start_ns = 1'000'000'000'000'000'000;  // of the real-time clock, since 1970
  uint64_t step_ns = 1'000;                       // each look at a clock moves it on; so do waits, at once
};

struct WasiOptions {
  std::vector<std::string> args;  // the first is the program's name
  std::vector<std::string> env;   // "NAME=value"
  std::vector<WasiDirectory> directories;
  std::optional<WasiClock> clock;       // else the host's
  uint64_t clock_resolution_ns = 1;     // coarser than the host's, against measuring neighbours
  std::optional<uint64_t> random_seed;  // else the kernel's: the guest must not keep secrets by a seed
  uint64_t output_bytes_max = 1 << 20;  // of captured output, standard output and error each
};

// A world, checked, its directories open: what any number of instances start from.  Immutable, thread-safe.
class WasiConfig {
 public:
  // kNotFound, kIo: a directory cannot be opened; kInvalidArgument: a zero byte in a text, no '=' in a
  // variable, two directories of one name, or a directory of /proc, /sys and the like; kUnavailable: this
  // kernel cannot keep guests in a directory (openat2, 5.6).
  static Result<std::shared_ptr<const WasiConfig>> create(WasiOptions options);

  const WasiOptions& options() const { return options_; }
  // What an instance begins with.
  const WasiState& initial() const { return initial_; }
  int directory(size_t index) const { return at(index).fd.get(); }
  dev_t directory_device(size_t index) const { return at(index).device; }
  bool writable(size_t index) const {
    SPORE_ASSERT(index < directories_.size(), "a directory that is not there");
    return options_.directories[index].writable;
  }
  // There was an RLIMIT_FSIZE when this was made.
  bool limits_files() const { return limits_files_; }

 private:
  struct Directory {
    UniqueFd fd;
    dev_t device;
  };
  WasiConfig() = default;
  const Directory& at(size_t index) const {
    SPORE_ASSERT(index < directories_.size(), "a directory that is not there");
    return directories_[index];
  }

  WasiOptions options_;
  std::vector<Directory> directories_;
  bool limits_files_ = false;
  WasiState initial_;
};

// What a call that ended by proc_exit carries in its Status.
struct ExitInfo : Status::Attachment {
  uint32_t code = 0;
};
// The code of such a Status; none of any other.
std::optional<uint32_t> exit_code(const Status& status);

// The world of one instance (and of those linked to it).  Bound to its thread.  While a call of its guest
// runs, its Input and Output among them, nothing but take_output() and take_error() may be called.
class Wasi {
 public:
  explicit Wasi(std::shared_ptr<const WasiConfig> config);
  ~Wasi();
  Wasi(const Wasi&) = delete;
  Wasi& operator=(const Wasi&) = delete;

  // Standard input: these bytes, then the end; none at first.
  void set_input(std::string bytes);
  void set_input(std::shared_ptr<Input> input);
  // Where output goes as it is written; captured if nothing is set.
  void set_output(std::shared_ptr<Output> output) {
    used_ = true;
    output_.sink = std::move(output);
  }
  void set_error(std::shared_ptr<Output> error) {
    used_ = true;
    error_.sink = std::move(error);
  }
  // Instead of WasiOptions::output_bytes_max.
  void set_output_bytes_max(uint64_t bytes) {
    used_ = true;
    output_bytes_max_ = bytes;
  }
  // What becomes of reads of standard input that would wait; null: they wait.  Not owned; until become().
  void set_suspension(Suspension* suspension) {
    used_ = true;
    suspension_ = suspension;
  }
  Suspension* suspension() const { return suspension_; }
  // What comes of the random numbers that the guest asks for: kFresh, or the call ends (kHostError).  Until
  // become().
  enum class Entropy : uint8_t { kFresh, kNone };
  void set_entropy(Entropy entropy) {
    used_ = true;
    entropy_ = entropy;
  }
  // Random bytes that it got since become().
  uint64_t entropy_bytes() const { return entropy_bytes_; }
  // What was captured since the last time.
  std::string take_output() { return std::exchange(output_.captured, {}); }
  std::string take_error() { return std::exchange(error_.captured, {}); }

  // Set when the guest called proc_exit.
  std::optional<uint32_t> exit_code() const { return state_.exit_code; }

  const WasiConfig& config() const { return *config_; }
  const WasiState& state() const { return state_; }
  // Puts a state in place that a Wasi of the same config had: no file is opened.
  void set_state(const WasiState& state);
  void reset() { set_state(config_->initial()); }
  // As a new one whose state is `state`: also without input, output that was captured, and where it went.
  // Costs nothing if neither guest nor host did anything with it since the last time.
  void become(const WasiState& state);

  // The state as bytes, and back, perhaps in another process or on another machine, where the config has
  // directories of the same names.  Restoring opens the files again; those that are gone or changed are
  // lost, and listed: the guest gets EBADF for them.
  Result<std::vector<uint8_t>> save() const;
  struct Lost {
    uint32_t descriptor;
    std::string path;  // as the guest knows it
    std::string reason;
  };
  // kCorruption, kUnsupported; kInvalidArgument: other directories than the config's; kLimitExceeded: more
  // open files than `open_files_max`.  Then nothing changed.
  Result<std::vector<Lost>> restore(std::span<const uint8_t> bytes,
                                    uint32_t open_files_max = engine::Limits().open_files_max);

 private:
  friend struct WasiCall;
  struct Stream {
    std::shared_ptr<Output> sink;
    std::string captured;
  };

  std::shared_ptr<const WasiConfig> config_;
  bool used_ = true;  // since become()
  WasiState state_;
  std::shared_ptr<Input> input_;  // null: input_bytes_
  std::string input_bytes_;
  Stream output_;
  Stream error_;
  uint64_t output_bytes_max_;
  Suspension* suspension_ = nullptr;
  Entropy entropy_ = Entropy::kFresh;
  uint64_t entropy_bytes_ = 0;
  // Where each open directory is being read, by descriptor.  No state: cookies say all.
  std::vector<std::unique_ptr<wasi::DirectoryReader>> readers_;
};

// Adds the functions of "wasi_snapshot_preview1".  Guests that call them need a Wasi in their store.
void define_wasi(HostFunctions& host);

// True if the module imports one of them.
bool needs_wasi(const engine::CompiledCode& code);

}  // namespace spore::host
