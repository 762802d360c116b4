#pragma once

#include <compare>
#include <cstdint>

#include "spore/base/status.h"

namespace spore::snapshot {

// Which file it is, and that nobody wrote to it since: each write to a file changes its `changed_ns`, and no
// process can set that.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;

  auto operator<=>(const FileIdentity&) const = default;
  // kIo.
  static Result<FileIdentity> of(int fd);
  // Whether a change from now on would be seen.  A file system tells time by a clock that moves with the
  // kernel's tick, of 10 ms at most: two changes within one look like one.
  bool is_settled() const;
};

}  // namespace spore::snapshot
