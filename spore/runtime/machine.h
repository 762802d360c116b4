#pragma once

// What of this kernel and machine Spore can use, what each missing thing costs, and how much fits.
// `spore doctor` prints it; an embedder may ask at start.
//
// Each check tries the thing itself and never looks at a version: kernels are patched, and containers
// deny what the kernel has.  A denied or unknown system call (EPERM, ENOSYS) is an answer, not an
// error, so nothing here fails.  Only a filter that kills instead of refusing ends the process.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spore/base/json.h"

namespace spore::runtime {

// One thing looked at.  Text is printable ASCII, whatever the files it came from held.
struct MachineCheck {
  enum class State : uint8_t {
    kGood,      // there, and as Spore wants it
    kDegraded,  // usable, at a cost
    kMissing,   // not there or not allowed; `cost` says what takes its place
  };

  std::string name;  // "page scan": fixed, at most 20 characters
  State state = State::kGood;
  std::string found;   // "yes (0.53 us for 1 MiB)"
  std::string cost;    // empty when good; else what Spore does instead and what that costs
  std::string remedy;  // what an operator can do; may be empty
};

// "good", "degraded", "missing": the same words in text and JSON.
std::string_view state_name(MachineCheck::State state);

// How many of something fit, and which limit is reached first.
struct MachineCapacity {
  uint64_t count = 0;
  std::string limited_by;  // "vm.max_map_count"
  std::string assumption;  // what one of them is taken to need
};

struct MachineReport {
  std::string kernel;  // "Linux 6.18.44 x86_64"
  std::string cpu;     // "AMD EPYC"; "unknown" without /proc/cpuinfo
  unsigned cpus = 0;   // that this thread may run on

  std::vector<MachineCheck> checks;

  // Free memory, or what is left of a cgroup's limit if that is less.
  std::optional<uint64_t> memory_bytes_available;
  // What may still be committed; only with vm.overcommit_memory=2.
  std::optional<uint64_t> commit_bytes_left;
  // What could be reserved, in whole slots (or 16 MiB steps, where not even one slot fits).
  uint64_t address_space_bytes = 0;
  std::optional<uint64_t> mappings_max;
  std::optional<uint64_t> mappings_used;

  // On top of what this process has already.
  MachineCapacity slots_4gib;
  MachineCapacity instances_awake;
  MachineCapacity cells_asleep_large;  // in memory; cells asleep on disk are limited by the disk
  MachineCapacity cells_asleep_small;

  MachineCheck::State worst() const;
  // Null if no check has this name.
  const MachineCheck* find(std::string_view name) const;
};

// Where to look; the defaults are the real places, tests give their own.
struct ProbeOptions {
  std::filesystem::path proc_root = "/proc";
  std::filesystem::path sys_root = "/sys";
  // Whether the processor has "avx2", "sha" and so on; null asks the processor.
  bool (*cpu_has)(std::string_view feature) = nullptr;
};

// Runs all checks: 1 ms, or 15 ms when nothing is in any cache.  What it maps and opens is gone on
// return, and no setting of the process is changed.  Thread-safe.  For a part of that time most of
// the free address space is reserved: other threads can map, but nothing as large as a slot.
MachineReport probe_machine(const ProbeOptions& options = {});

// The report as one JSON object.
void write_json(const MachineReport& report, JsonWriter& json);

// The report for people: at most 110 columns, ends in a newline.
std::string to_text(const MachineReport& report);

}  // namespace spore::runtime
