#pragma once

#include <cstdint>

namespace spore::engine {

inline constexpr uint64_t kMebibyte = uint64_t{1} << 20;

// What one instance may use.  Each has a name that error messages, options files and flags share.
struct Limits {
  // Of one call from the host, instantiation and nested calls included.  Waits in host functions count.
  uint64_t deadline_ms = 10'000;
  // Instructions, roughly, of one call.  0: not counted.  Needs an engine with `fuel`.
  uint64_t fuel_max = 0;
  // Each linear memory.  Kept small, since one bulk operation cannot be interrupted and runs at ~2 GiB/s.
  uint64_t memory_bytes_max = 256 * kMebibyte;
  // Linear memories, of linked instances together: they hold memories_max times memory_bytes_max.
  uint32_t memories_max = 1;
  // Elements of each table, and tables of linked instances together.
  uint64_t table_elements_max = 100'000;
  uint32_t tables_max = 10;
  // Calls host -> guest -> host -> guest ... that are open at once.
  uint32_t nesting_max = 4;
  // Bytes of text arguments and results, and of the views that host functions take, in one call.
  uint64_t copy_bytes_max = 64 * kMebibyte;
  // Bytes that one call may log.
  uint64_t log_bytes_max = 64 * 1024;
  // Bytes that one call may read and write through WASI: files, standard streams, random numbers.
  uint64_t io_bytes_max = 1024 * kMebibyte;
  // Calls of host functions, WASI's among them, in one call.
  uint64_t host_calls_max = 100'000'000;
  // Files and directories that an instance has open, those of its start included.
  uint32_t open_files_max = 128;
};

inline constexpr uint64_t kDeadlineMsMax = uint64_t{1} << 40;  // 34 years: "none"

}  // namespace spore::engine
