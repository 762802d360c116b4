#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "spore/base/status.h"

namespace spore::code {

// Why a file of the cache is of no use, or the cache itself.
enum class CacheFault : uint8_t {
  // Of a file.
  kForeign,    // not a regular file of this user that nobody else can write to
  kFormat,     // not such a file
  kVersion,    // of another version of the format
  kTruncated,  // the lengths in its header are not the file's
  kMisnamed,   // it has another key than its name says
  kMac,        // not as it was written, or written under another key
  kEngine,     // as it was written, but this engine does not take it
  kRead,       // it cannot be read
  // Of what is around it.
  kMemory,     // there is no file in memory to be had
  kDirectory,  // the directory is unfit, or may not be changed
  kKey,        // the key file is
  kFull,       // no space
  kWrite,      // any other reason for which a file could not be written
  kTooLarge,   // the file is larger than one may be
  kBusy,       // another process held a lock for too long
};
inline constexpr size_t kCacheFaults = 15;
// "foreign", "too_large": the same words in messages, JSON and metrics.
std::string_view cache_fault_name(CacheFault fault);

// An error that says its fault: kCorruption for what is wrong with a file, kUnavailable for the rest.
Status cache_error(CacheFault fault, std::string message);
// The same, from errno: kFull, kDirectory (it may not be changed) or kWrite.
Status cache_write_error(int error, std::string_view what);
// Of such an error; of any other, `other`.
CacheFault cache_fault(const Status& status, CacheFault other);

}  // namespace spore::code
